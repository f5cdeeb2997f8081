//! Text to value, by PostgreSQL's input rules.
//!
//! Every function takes the bytes of one value and answers `None` where
//! PostgreSQL refuses them as input of that type (SQLSTATE 22P02, 22003, 22007 or
//! 22008 there; callers say which value and column it was). Blanks around numbers,
//! dates and booleans are allowed. Nothing here allocates.
//!
//! What PostgreSQL reads and this does not: date orders other than year-month-day,
//! names of months and zones (but for UTC, GMT and Z), AM and PM, BC, `infinity`
//! and `now` as times.

pub mod datetime;
pub mod number;
