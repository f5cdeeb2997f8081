//! Text to times, by PostgreSQL's input rules.
//!
//! Casts in SQL and connectors that decode text read the same spellings. Nothing
//! here allocates for a value that is right, and nothing depends on a clock or a
//! session: text without a zone is UTC.
//!
//! What PostgreSQL reads and this does not: date orders other than year-month-day,
//! names of months and zones (but for UTC, GMT and Z), AM and PM, BC, and `now`
//! and its like.

pub mod datetime;
pub mod interval;

use crate::diagnostic::{Diagnostic, SqlState};

pub use interval::{Interval, IntervalField, IntervalFields};

/// Why a text is no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It has not the form of one.
    Syntax,
    /// A part of it, or the whole, is beyond its range.
    Range,
    /// It says `infinity`, which no type here can hold.
    Infinite,
}

impl Fault {
    /// What the user is told about `text` as a value of the type named `type_name`.
    #[must_use]
    pub fn diagnostic(self, text: &str, type_name: &str) -> Diagnostic {
        let (state, message) = match self {
            Fault::Syntax => (
                SqlState::INVALID_DATETIME_FORMAT,
                format!("invalid input syntax for type {type_name}: \"{text}\""),
            ),
            Fault::Range if type_name == "interval" => (
                SqlState::INTERVAL_FIELD_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            ),
            Fault::Range => (
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{text}\""),
            ),
            Fault::Infinite => {
                let message = format!("infinite values of type {type_name} are not supported");
                return Diagnostic::unsupported(message)
                    .with_hint("Use NULL, or a time that no row reaches.");
            }
        };
        let diagnostic = Diagnostic::new(state, message);
        match (self, type_name) {
            (Fault::Syntax, "interval") => {
                diagnostic.with_hint("Write for example '1 day 02:03:04' or '90 minutes'.")
            }
            (Fault::Syntax, "time") => diagnostic.with_hint("Write times as HH:MM:SS."),
            (Fault::Syntax, _) => diagnostic.with_hint("Write dates as YYYY-MM-DD."),
            _ => diagnostic,
        }
    }
}
