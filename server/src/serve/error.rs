//! What a failing query tells its user: DataFusion's and Arrow's errors as
//! SQLSTATEs, with the wrapping taken off.
//!
//! Arrow says most of what can go wrong in a value as text, so this is the one
//! place of `serve` that looks at wording; what it does not know is 22000 for
//! errors of execution and XX000 for broken invariants.

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use tidemill_planner::error::PlanError;
use tidemill_types::{Diagnostic, SqlState};

/// The diagnostic of an error of planning or execution. Positions are lost: the
/// error is about a value, not about a place in the statement.
#[must_use]
pub fn query_error(error: &DataFusionError) -> Diagnostic {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            query_error(inner)
        }
        DataFusionError::Shared(inner) => query_error(inner),
        DataFusionError::Collection(errors) if !errors.is_empty() => query_error(&errors[0]),
        DataFusionError::ArrowError(arrow, _) => arrow_error(arrow),
        DataFusionError::External(inner) => {
            external(inner.as_ref()).unwrap_or_else(|| value_error(&inner.to_string()))
        }
        DataFusionError::Execution(message) => value_error(message),
        DataFusionError::ExecutionJoin(join) => Diagnostic::internal(join.to_string()),
        DataFusionError::ResourcesExhausted(message) => {
            Diagnostic::new(SqlState::OUT_OF_MEMORY, "the query needs more memory than it may use")
                .with_detail(first_line(message))
                .with_hint(
                    "Reduce what it sorts, joins or groups, or raise the server's query memory.",
                )
        }
        DataFusionError::IoError(io) => Diagnostic::new(SqlState::IO_ERROR, io.to_string()),
        DataFusionError::Internal(message) => Diagnostic::internal(first_line(message)),
        other => PlanError::from(plain_copy(other)).diagnostic(""),
    }
}

/// The planner maps the errors of planning; it takes them by value.
fn plain_copy(error: &DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::NotImplemented(m) => DataFusionError::NotImplemented(m.clone()),
        DataFusionError::Plan(m) => DataFusionError::Plan(m.clone()),
        DataFusionError::Configuration(m) => DataFusionError::Configuration(m.clone()),
        other => DataFusionError::Plan(other.strip_backtrace()),
    }
}

fn external(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<Diagnostic> {
    if let Some(diagnostic) = error.downcast_ref::<Diagnostic>() {
        return Some(diagnostic.clone());
    }
    if let Some(plan) = error.downcast_ref::<PlanError>() {
        return Some(plan.diagnostic(""));
    }
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return Some(query_error(inner));
    }
    error.downcast_ref::<ArrowError>().map(arrow_error)
}

/// The diagnostic of an error of a kernel.
#[must_use]
pub fn arrow_error(error: &ArrowError) -> Diagnostic {
    match error {
        ArrowError::DivideByZero => Diagnostic::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => out_of_range(message),
        ArrowError::ExternalError(inner) => {
            external(inner.as_ref()).unwrap_or_else(|| value_error(&inner.to_string()))
        }
        ArrowError::CastError(m) | ArrowError::ParseError(m) => cast_error(m),
        ArrowError::ComputeError(m) | ArrowError::InvalidArgumentError(m) => value_error(m),
        ArrowError::NotYetImplemented(m) => Diagnostic::unsupported(first_line(m)),
        ArrowError::MemoryError(m) => Diagnostic::new(SqlState::OUT_OF_MEMORY, first_line(m)),
        ArrowError::IoError(m, _) => Diagnostic::new(SqlState::IO_ERROR, first_line(m)),
        other => Diagnostic::internal(first_line(&other.to_string())),
    }
}

fn out_of_range(message: &str) -> Diagnostic {
    Diagnostic::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range")
        .with_detail(first_line(message))
}

fn value_error(message: &str) -> Diagnostic {
    let lower = message.to_ascii_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Diagnostic::new(SqlState::DIVISION_BY_ZERO, "division by zero");
    }
    if lower.contains("overflow") || lower.contains("out of range") {
        return out_of_range(message);
    }
    if lower.contains("cast") || lower.contains("parse") || lower.contains("parsing") {
        return cast_error(message);
    }
    Diagnostic::new(SqlState::DATA_EXCEPTION, first_line(message))
}

/// A text that is no value of the type it should become, or a value that does not
/// fit in it.
fn cast_error(message: &str) -> Diagnostic {
    let lower = message.to_ascii_lowercase();
    let time = ["timestamp", "date", "time", "interval"].iter().any(|t| lower.contains(t));
    let too_large =
        ["overflow", "out of range", "too large", "can't cast value", "too many digits"];
    if too_large.iter().any(|t| lower.contains(t)) {
        return if time {
            Diagnostic::new(SqlState::DATETIME_FIELD_OVERFLOW, "date/time value out of range")
                .with_detail(first_line(message))
        } else {
            out_of_range(message)
        };
    }
    let state = if time {
        SqlState::INVALID_DATETIME_FORMAT
    } else {
        SqlState::INVALID_TEXT_REPRESENTATION
    };
    match (quoted(message), type_name(&lower)) {
        (Some(value), Some(name)) => {
            Diagnostic::new(state, format!("invalid input syntax for type {name}: \"{value}\""))
        }
        _ => Diagnostic::new(state, first_line(message)),
    }
}

/// PostgreSQL's name of the Arrow type that a message mentions last.
fn type_name(lower: &str) -> Option<&'static str> {
    const NAMES: &[(&str, &str)] = &[
        ("timestamp", "timestamp"),
        ("int16", "smallint"),
        ("int32", "integer"),
        ("int64", "bigint"),
        ("float32", "real"),
        ("float64", "double precision"),
        ("decimal", "numeric"),
        ("boolean", "boolean"),
        ("interval", "interval"),
        ("date32", "date"),
        ("date", "date"),
        ("time64", "time"),
        ("time", "time"),
    ];
    let of_type = lower.rfind(" type").map_or(lower, |at| &lower[at..]);
    let in_text =
        |text: &str| NAMES.iter().find(|(arrow, _)| text.contains(arrow)).map(|(_, pg)| *pg);
    in_text(of_type).or_else(|| in_text(lower))
}

/// What stands between the first two single (or double) quotes.
fn quoted(message: &str) -> Option<&str> {
    let quote = message.find(['\'', '"'])?;
    let mark = message[quote..].chars().next()?;
    let rest = &message[quote + 1..];
    rest.rfind(mark).map(|end| &rest[..end])
}

fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
    let mut text = line;
    for prefix in [
        "Arrow error: ",
        "Execution error: ",
        "External error: ",
        "Compute error: ",
        "Cast error: ",
        "Parser error: ",
        "Invalid argument error: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(error: DataFusionError) -> (String, String) {
        let d = query_error(&error);
        (d.state.code().to_owned(), d.message)
    }

    fn arrow(error: ArrowError) -> DataFusionError {
        DataFusionError::ArrowError(Box::new(error), None).context("somewhere")
    }

    #[test]
    fn values_have_postgresql_codes() {
        let cast = |m: &str| arrow(ArrowError::CastError(m.to_owned()));
        let cases = [
            (arrow(ArrowError::DivideByZero), "22012", "division by zero"),
            (
                arrow(ArrowError::ArithmeticOverflow("Overflow happened on: 1 + 2".into())),
                "22003",
                "value out of range",
            ),
            (
                cast("Cannot cast string 'abc' to value of Int64 type"),
                "22P02",
                "invalid input syntax for type bigint: \"abc\"",
            ),
            (
                arrow(ArrowError::ParseError(
                    "Error parsing timestamp from 'x y': error parsing date".into(),
                )),
                "22007",
                "invalid input syntax for type timestamp: \"x y\"",
            ),
            (cast("Can't cast value 70000 to type Int16"), "22003", "value out of range"),
            (
                DataFusionError::Execution("Divide by zero error".into()),
                "22012",
                "division by zero",
            ),
        ];
        for (error, code, message) in cases {
            assert_eq!(state(error), (code.to_owned(), message.to_owned()));
        }
    }

    #[test]
    fn a_diagnostic_survives_every_wrapping() {
        let ours = Diagnostic::new(SqlState::DUPLICATE_TABLE, "x");
        let inner = ArrowError::ExternalError(Box::new(ours.clone()));
        let error = DataFusionError::External(Box::new(arrow(inner)));
        assert_eq!(query_error(&DataFusionError::Shared(std::sync::Arc::new(error))), ours);
    }
}
