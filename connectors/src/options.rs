//! Options of a connector: checked against its table, then read by type.
//!
//! A connector declares its options once as [`OptionFact`]s. [`Checked::new`]
//! compares what the user wrote with that table and is the only parser of option
//! texts, so every connector refuses a misspelt name or a bad value in the same
//! words: SQLSTATE 22023, the nearest valid name, the list of all of them.
//!
//! Invariant: a [`Checked`] has a value of the declared kind for every option
//! that was given, is required or has a default, and no other.

use std::collections::BTreeMap;

use tidemill_types::text::datetime;
use tidemill_types::{Diagnostic, OptionFact, OptionKind, Options, SqlState};

use tidemill_types::names;

/// A parsed value.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// Microseconds: a length for durations, since the Unix epoch for timestamps.
    Micros(i64),
}

/// Options that agree with their table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    values: BTreeMap<&'static str, Value>,
    complete: Options,
}

impl Checked {
    /// Checks `given` against `facts`; `owner` names the connector in messages
    /// (`connector "nexmark"`). An unknown, missing or ill-typed option is 22023.
    pub fn new(
        owner: &str,
        facts: &'static [OptionFact],
        given: &Options,
    ) -> Result<Self, Diagnostic> {
        if let Some(name) = given.keys().find(|n| facts.iter().all(|f| f.name != n.as_str())) {
            return Err(unknown(owner, facts, name));
        }
        let mut checked = Checked { values: BTreeMap::new(), complete: Options::new() };
        for fact in facts {
            let text = match given.get(fact.name).map(String::as_str).or(fact.default) {
                Some(text) => text,
                None if fact.required => {
                    let message = format!("{owner} needs the option \"{}\"", fact.name);
                    return Err(invalid(message).with_hint(sentence(fact.doc)));
                }
                None => continue,
            };
            checked.values.insert(fact.name, parse(fact, text)?);
            checked.complete.insert(fact.name.to_string(), text.to_string());
        }
        Ok(checked)
    }

    /// Every option with a value, defaults included, as texts.
    #[must_use]
    pub fn complete(&self) -> &Options {
        &self.complete
    }

    /// The text of a `Text` or `OneOf` option (lower case for the latter).
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// Of an `Integer` option whose least value is not negative.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<u64> {
        self.integer(name).and_then(|value| u64::try_from(value).ok())
    }

    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some(Value::Boolean(value)) => Some(*value),
            _ => None,
        }
    }

    /// Of a `Duration` (a length) or a `Timestamp` (since the Unix epoch).
    #[must_use]
    pub fn micros(&self, name: &str) -> Option<i64> {
        match self.values.get(name) {
            Some(Value::Micros(value)) => Some(*value),
            _ => None,
        }
    }
}

fn invalid(message: String) -> Diagnostic {
    Diagnostic::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A bad value of an option that its connector itself has to judge.
#[must_use]
pub fn bad_value(name: &str, text: &str, wanted: &str) -> Diagnostic {
    invalid(format!("invalid value for option \"{name}\": \"{text}\""))
        .with_hint(format!("It takes {wanted}."))
}

fn unknown(owner: &str, facts: &[OptionFact], name: &str) -> Diagnostic {
    let message = format!("{owner} has no option \"{name}\"");
    let valid: Vec<&str> = facts.iter().map(|f| f.name).collect();
    if valid.is_empty() {
        return invalid(message).with_hint("It takes no options.");
    }
    invalid(message).with_hint(names::hint(name, "options", &valid))
}

fn sentence(doc: &str) -> String {
    format!("{}.", doc.trim_end_matches('.'))
}

fn parse(fact: &OptionFact, text: &str) -> Result<Value, Diagnostic> {
    let parsed = match fact.kind {
        OptionKind::Text => Some(Value::Text(text.to_string())),
        OptionKind::Integer { min, max } => {
            text.trim().parse().ok().filter(|v| (min..=max).contains(v)).map(Value::Integer)
        }
        OptionKind::Boolean => boolean(text.as_bytes()).map(Value::Boolean),
        OptionKind::Duration => duration(text).map(Value::Micros),
        OptionKind::Timestamp => datetime::timestamptz(text.as_bytes()).ok().map(Value::Micros),
        OptionKind::OneOf(choices) => choices
            .iter()
            .find(|choice| choice.eq_ignore_ascii_case(text.trim()))
            .map(|choice| Value::Text((*choice).to_string())),
    };
    parsed.ok_or_else(|| {
        let error = bad_value(fact.name, text, &wanted(fact.kind));
        match fact.kind {
            OptionKind::OneOf(choices) => error.with_hint(names::hint(text, "values", choices)),
            _ => error,
        }
    })
}

/// What a kind of option takes, for people.
#[must_use]
pub fn wanted(kind: OptionKind) -> String {
    match kind {
        OptionKind::Text => "a text".to_string(),
        OptionKind::Integer { min, max: i64::MAX } => format!("an integer of at least {min}"),
        OptionKind::Integer { min, max } => format!("an integer between {min} and {max}"),
        OptionKind::Boolean => "true or false".to_string(),
        OptionKind::Duration => "a duration such as 5 s, 100ms or 1 hour".to_string(),
        OptionKind::Timestamp => {
            "a timestamp such as 2015-07-15 00:00:00 (UTC where no zone is given)".to_string()
        }
        OptionKind::OneOf(choices) => format!("one of {}", choices.join(", ")),
    }
}

/// PostgreSQL's texts of a boolean: true, yes, on, 1 and their opposites, any
/// unique beginning of them, in any case, blanks around.
#[must_use]
pub fn boolean(text: &[u8]) -> Option<bool> {
    let text = text.trim_ascii();
    let begins = |word: &str, least: usize| {
        text.len() >= least
            && text.len() <= word.len()
            && word.as_bytes()[..text.len()].eq_ignore_ascii_case(text)
    };
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || begins("1", 1) {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || begins("0", 1) {
        Some(false)
    } else {
        None
    }
}

/// Microseconds of `5 s`, `1 hour 30 minutes`, `00:00:05`; never negative.
/// Months and years have no fixed length and are refused.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest.contains(':') {
        return datetime::time(rest.as_bytes()).ok();
    }
    let mut total = 0i64;
    let mut any = false;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, tail) = rest.split_at(number);
        let tail = tail.trim_start();
        let unit = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let micros = unit_micros(&tail[..unit].to_ascii_lowercase())?;
        total = total.checked_add(scaled(digits, micros)?)?;
        rest = tail[unit..].trim_start();
        any = true;
    }
    any.then_some(total)
}

fn unit_micros(unit: &str) -> Option<i64> {
    Some(match unit {
        "us" | "microsecond" | "microseconds" => 1,
        "ms" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "week" | "weeks" => 7 * 86_400_000_000,
        _ => return None,
    })
}

/// `digits` (with at most one point) times `unit`, cut to whole microseconds.
fn scaled(digits: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = i128::from(whole) * i128::from(unit);
    if !fraction.is_empty() {
        let fraction = &fraction[..fraction.len().min(12)];
        let value: i128 = fraction.parse().ok()?;
        total += value * i128::from(unit) / 10i128.pow(fraction.len() as u32);
    }
    i64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: &[OptionFact] = &[
        OptionFact {
            name: "path",
            kind: OptionKind::Text,
            required: true,
            default: None,
            doc: "Where",
        },
        OptionFact {
            name: "split.num",
            kind: OptionKind::Integer { min: 1, max: 8 },
            required: false,
            default: Some("4"),
            doc: "How many",
        },
        OptionFact {
            name: "kind",
            kind: OptionKind::OneOf(&["bid", "person"]),
            required: false,
            default: None,
            doc: "Which",
        },
        OptionFact {
            name: "wait",
            kind: OptionKind::Duration,
            required: false,
            default: Some("5 s"),
            doc: "How long",
        },
    ];

    fn check(given: &[(&str, &str)]) -> Result<Checked, Diagnostic> {
        let given = given.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Checked::new("connector \"x\"", FACTS, &given)
    }

    #[test]
    fn defaults_are_filled_in() {
        let checked = check(&[("path", "a"), ("kind", "BID")]).unwrap();
        assert_eq!(checked.text("path"), Some("a"));
        assert_eq!(checked.text("kind"), Some("bid"));
        assert_eq!(checked.integer("split.num"), Some(4));
        assert_eq!(checked.micros("wait"), Some(5_000_000));
        let names: Vec<_> = checked.complete().keys().cloned().collect();
        assert_eq!(names, ["kind", "path", "split.num", "wait"]);
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        let error = check(&[("path", "a"), ("splitnum", "3")]).unwrap_err();
        assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE);
        let hint = error.hint.unwrap();
        assert!(hint.contains("\"split.num\"") && hint.contains("path, split.num, kind"), "{hint}");
    }

    #[test]
    fn bad_values_are_refused() {
        for given in [
            vec![],
            vec![("path", "a"), ("split.num", "9")],
            vec![("path", "a"), ("split.num", "x")],
            vec![("path", "a"), ("kind", "bids")],
            vec![("path", "a"), ("wait", "5 months")],
        ] {
            let error = check(&given).unwrap_err();
            assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE, "{given:?}");
            assert!(error.hint.is_some(), "{given:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, micros) in [
            ("5 s", Some(5_000_000)),
            ("100ms", Some(100_000)),
            ("1 hour 30 minutes", Some(5_400_000_000)),
            ("1.5s", Some(1_500_000)),
            ("00:00:05", Some(5_000_000)),
            ("0 s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            (". s", None),
            ("1..5 s", None),
            ("99999999999999999 days", None),
        ] {
            assert_eq!(duration(text), micros, "{text}");
        }
    }

    #[test]
    fn booleans() {
        for (text, value) in [
            ("t", Some(true)),
            ("TRUE", Some(true)),
            (" y ", Some(true)),
            ("on", Some(true)),
            ("1", Some(true)),
            ("f", Some(false)),
            ("of", Some(false)),
            ("n", Some(false)),
            ("0", Some(false)),
            ("o", None),
            ("", None),
            ("truely", None),
        ] {
            assert_eq!(boolean(text.as_bytes()), value, "{text}");
        }
    }
}
