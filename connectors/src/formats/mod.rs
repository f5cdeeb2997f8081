//! Formats: how bytes of the outside become values.
//!
//! [`text`] is one value's text form, as PostgreSQL reads it; [`csv`] is records
//! of such texts. A format knows nothing of where its bytes come from.

pub mod csv;
pub mod text;
