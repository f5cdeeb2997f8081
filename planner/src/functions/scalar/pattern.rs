//! Date patterns as PostgreSQL and Java write them.
//!
//! A pattern is read into pieces once and then applied to every row. A letter
//! that is not a known field is refused, never printed as it stands: silently
//! wrong dates are worse than an error.

use std::fmt::Write;

use chrono::{DateTime, Datelike, Timelike, Utc};
use datafusion::common::{DataFusionError, Result};
use tidemill_types::Diagnostic;

/// Whose letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    PostgreSql,
    Java,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Year4,
    Year2,
    Month,
    MonthShort,
    Day,
    DayOfYear,
    Hour24,
    Hour12,
    Minute,
    Second,
    Milliseconds,
    Microseconds,
    Meridiem,
    WeekdayShort,
}

/// Longer names stand before their own beginnings.
const POSTGRESQL: &[(&str, Field)] = &[
    ("YYYY", Field::Year4),
    ("YY", Field::Year2),
    ("MM", Field::Month),
    ("MON", Field::MonthShort),
    ("MI", Field::Minute),
    ("MS", Field::Milliseconds),
    ("DDD", Field::DayOfYear),
    ("DD", Field::Day),
    ("DY", Field::WeekdayShort),
    ("HH24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("HH", Field::Hour12),
    ("SS", Field::Second),
    ("US", Field::Microseconds),
    ("AM", Field::Meridiem),
    ("PM", Field::Meridiem),
];

const JAVA: &[(&str, Field)] = &[
    ("yyyy", Field::Year4),
    ("yy", Field::Year2),
    ("MMM", Field::MonthShort),
    ("MM", Field::Month),
    ("dd", Field::Day),
    ("DDD", Field::DayOfYear),
    ("HH", Field::Hour24),
    ("hh", Field::Hour12),
    ("mm", Field::Minute),
    ("ss", Field::Second),
    ("SSSSSS", Field::Microseconds),
    ("SSS", Field::Milliseconds),
    ("EEE", Field::WeekdayShort),
    ("a", Field::Meridiem),
];

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Field(Field),
    Text(String),
}

/// A pattern that has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern(Vec<Piece>);

impl Pattern {
    pub(super) fn read(text: &str, style: Style) -> Result<Self> {
        let (fields, quote) = match style {
            Style::PostgreSql => (POSTGRESQL, '"'),
            Style::Java => (JAVA, '\''),
        };
        let mut pieces = vec![];
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(quoted) = rest.strip_prefix(quote) {
                let end = quoted.find(quote).unwrap_or(quoted.len());
                pieces.push(Piece::Text(quoted[..end].to_owned()));
                rest = quoted.get(end + 1..).unwrap_or_default();
            } else if let Some((name, field)) = fields.iter().find(|(n, _)| begins(rest, n, style))
            {
                pieces.push(Piece::Field(*field));
                rest = &rest[name.len()..];
            } else if first.is_alphabetic() {
                let message = format!("date pattern \"{rest}\" is not supported");
                let diagnostic = Diagnostic::unsupported(message)
                    .with_hint(format!("Known fields: {}.", known(fields)));
                return Err(DataFusionError::External(Box::new(diagnostic)));
            } else {
                pieces.push(Piece::Text(first.to_string()));
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(Pattern(pieces))
    }

    pub(super) fn format(&self, at: DateTime<Utc>) -> String {
        let mut out = String::with_capacity(self.0.len() * 3);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(field) => push(&mut out, *field, at),
            }
        }
        out
    }
}

/// PostgreSQL's fields are the same in either case.
fn begins(text: &str, name: &str, style: Style) -> bool {
    match text.get(..name.len()) {
        Some(head) if style == Style::PostgreSql => head.eq_ignore_ascii_case(name),
        Some(head) => head == name,
        None => false,
    }
}

fn known(fields: &[(&str, Field)]) -> String {
    fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn push(out: &mut String, field: Field, at: DateTime<Utc>) {
    let written = match field {
        Field::Year4 => write!(out, "{:04}", at.year()),
        Field::Year2 => write!(out, "{:02}", at.year().rem_euclid(100)),
        Field::Month => write!(out, "{:02}", at.month()),
        Field::MonthShort => write!(out, "{}", at.format("%b")),
        Field::Day => write!(out, "{:02}", at.day()),
        Field::DayOfYear => write!(out, "{:03}", at.ordinal()),
        Field::Hour24 => write!(out, "{:02}", at.hour()),
        Field::Hour12 => write!(out, "{:02}", at.hour12().1),
        Field::Minute => write!(out, "{:02}", at.minute()),
        Field::Second => write!(out, "{:02}", at.second()),
        Field::Milliseconds => write!(out, "{:03}", at.nanosecond() / 1_000_000),
        Field::Microseconds => write!(out, "{:06}", at.nanosecond() / 1_000),
        Field::Meridiem => write!(out, "{}", if at.hour() < 12 { "AM" } else { "PM" }),
        Field::WeekdayShort => write!(out, "{}", at.format("%a")),
    };
    debug_assert!(written.is_ok(), "writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_both_dialects() {
        let at = DateTime::from_timestamp_micros(1_436_918_401_234_567).unwrap();
        let text = |pattern, style| Pattern::read(pattern, style).map(|p| p.format(at));
        assert_eq!(
            text("YYYY-MM-DD hh24:mi:ss.us", Style::PostgreSql).unwrap(),
            "2015-07-15 00:00:01.234567"
        );
        assert_eq!(text("HH12 AM \"Uhr\"", Style::PostgreSql).unwrap(), "12 AM Uhr");
        assert_eq!(
            text("yyyy-MM-dd HH:mm:ss.SSS", Style::Java).unwrap(),
            "2015-07-15 00:00:01.234"
        );
        assert!(text("yyyy QQ", Style::Java).is_err());
        assert!(text("ä", Style::Java).is_err());
    }
}
