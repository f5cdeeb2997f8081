//! Text to value, by PostgreSQL's input rules; [`output`] is the way back.
//!
//! Every function of the readers takes the bytes of one value and answers `None` where
//! PostgreSQL refuses them as input of that type (SQLSTATE 22P02, 22003, 22007 or
//! 22008 there; callers say which value and column it was). Blanks around numbers
//! and booleans are allowed. Nothing here allocates. Dates and times are read by
//! [`tidemill_types::text`].

pub mod number;
pub mod output;
