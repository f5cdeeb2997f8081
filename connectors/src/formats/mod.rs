//! Formats: how bytes of the outside become values.
//!
//! [`text`] is one value's text form, as PostgreSQL reads and writes it; [`csv`] is
//! records of such texts, [`json`] is a document per record. A format knows nothing of
//! where its bytes come from or go to.

pub mod csv;
pub mod json;
pub mod text;
