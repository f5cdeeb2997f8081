//! Comma-separated values, as RFC 4180 writes and PostgreSQL's COPY reads them.
//!
//! Two steps, so that each is a tight loop: [`split`] finds the fields of a record
//! without copying them, [`decode`] turns one column of fields of many records
//! into an array. Columns that are not asked for are split but never decoded: a
//! bad value in one of them does not reject the record.
//!
//! Rules: a field that begins with the quote is quoted to the next single quote
//! and may contain anything; two quotes stand for one. An unquoted field that is
//! the null text is NULL, a quoted one never is. Records end at a newline, with or
//! without a carriage return before it. An empty line is not a record, unless
//! records have one field.
//!
//! [`encode`] writes what this reads.

pub mod decode;
pub mod encode;
pub mod split;
