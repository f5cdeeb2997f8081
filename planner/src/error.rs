//! What can go wrong between a statement's text and its plan.
//!
//! A variant carries facts, among them **where**: a [`Location`] in the source
//! string, as the tokenizer counts (line and column from 1). Only
//! [`PlanError::diagnostic`] turns it into what the wire wants, a count of
//! characters from the beginning of that same string.
//!
//! An error that arises inside the stored text of a view has locations of that
//! text, not of the statement; whoever expands a view calls
//! [`PlanError::without_position`].

use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::tokenizer::{Location, Span};
use tidemill_types::{Diagnostic, SqlState};

/// An error of parsing, name resolution, binding or planning.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// The text is no statement. `near` is the offending token's text; `None`:
    /// the text ended too early.
    #[error("{}", syntax_message(.near.as_deref()))]
    Syntax { near: Option<String>, at: Option<Location>, hint: Option<String> },
    /// Something that Tidemill does not do. `what` is a whole message.
    #[error("{what}")]
    Unsupported { what: String, at: Option<Location>, hint: Option<String> },
    #[error("relation \"{name}\" does not exist")]
    UndefinedTable { name: String, at: Option<Location>, hint: Option<String> },
    #[error("schema \"{name}\" does not exist")]
    UndefinedSchema { name: String, at: Option<Location> },
    /// `name` as PostgreSQL shows it: `"c"` quoted, `t.c` bare.
    #[error("column {name} does not exist")]
    UndefinedColumn { name: String, at: Option<Location>, hint: Option<String> },
    /// `signature` with argument types where known: `f(integer)`.
    #[error("function {signature} does not exist")]
    UndefinedFunction { signature: String, at: Option<Location>, hint: Option<String> },
    /// A relation of this name is already there.
    #[error("relation \"{name}\" already exists")]
    DuplicateRelation { name: String, at: Option<Location> },
    #[error("column \"{name}\" specified more than once")]
    DuplicateColumn { name: String, at: Option<Location> },
    /// Types that do not go together (42804). `message` is whole.
    #[error("{message}")]
    Type { message: String, at: Option<Location>, hint: Option<String> },
    /// Anything else that the user has to change, with its own SQLSTATE.
    #[error("{message}")]
    Invalid {
        state: SqlState,
        message: String,
        at: Option<Location>,
        detail: Option<String>,
        hint: Option<String>,
    },
    /// Said by somebody else (a connector); `at` is the place that it concerns.
    #[error("{diagnostic}")]
    Diagnostic { diagnostic: Diagnostic, at: Option<Location> },
    /// A broken invariant of ours.
    #[error("{0}")]
    Internal(String),
}

impl PlanError {
    /// A syntax error at the token that begins at `at` and reads `near`.
    #[must_use]
    pub fn syntax(near: impl Into<String>, at: Location) -> Self {
        PlanError::Syntax { near: Some(near.into()), at: Some(at), hint: None }
    }

    /// 0A000: `what` is a whole message, such as `ASOF JOIN is not supported`.
    #[must_use]
    pub fn unsupported(what: impl Into<String>, span: Span) -> Self {
        PlanError::Unsupported { what: what.into(), at: start(span), hint: None }
    }

    /// An error with a SQLSTATE of its own.
    #[must_use]
    pub fn invalid(state: SqlState, message: impl Into<String>, span: Span) -> Self {
        PlanError::Invalid {
            state,
            message: message.into(),
            at: start(span),
            detail: None,
            hint: None,
        }
    }

    /// 42804 at `span`.
    #[must_use]
    pub fn type_mismatch(message: impl Into<String>, span: Span) -> Self {
        PlanError::Type { message: message.into(), at: start(span), hint: None }
    }

    /// Sets the hint, where the variant has one.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            PlanError::Syntax { hint, .. }
            | PlanError::Unsupported { hint, .. }
            | PlanError::UndefinedTable { hint, .. }
            | PlanError::UndefinedColumn { hint, .. }
            | PlanError::UndefinedFunction { hint, .. }
            | PlanError::Type { hint, .. }
            | PlanError::Invalid { hint, .. } => *hint = Some(text.into()),
            PlanError::Diagnostic { diagnostic, .. } => diagnostic.hint = Some(text.into()),
            PlanError::UndefinedSchema { .. }
            | PlanError::DuplicateRelation { .. }
            | PlanError::DuplicateColumn { .. }
            | PlanError::Internal(_) => {}
        }
        self
    }

    /// Sets the detail, where the variant has one.
    #[must_use]
    pub fn with_detail(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            PlanError::Invalid { detail, .. } => *detail = Some(text.into()),
            PlanError::Diagnostic { diagnostic, .. } => diagnostic.detail = Some(text.into()),
            _ => {}
        }
        self
    }

    /// Sets the place where none is known yet.
    #[must_use]
    pub fn or_at(mut self, span: Span) -> Self {
        if let Some(at @ None) = self.place_mut() {
            *at = start(span);
        }
        self
    }

    /// Forgets the place: it refers to another text than the statement's.
    #[must_use]
    pub fn without_position(mut self) -> Self {
        if let Some(at) = self.place_mut() {
            *at = None;
        }
        if let PlanError::Diagnostic { diagnostic, .. } = &mut self {
            diagnostic.position = None;
        }
        self
    }

    /// Where in the source, if known.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        self.clone().place_mut().and_then(|at| *at)
    }

    fn place_mut(&mut self) -> Option<&mut Option<Location>> {
        match self {
            PlanError::Syntax { at, .. }
            | PlanError::Unsupported { at, .. }
            | PlanError::UndefinedTable { at, .. }
            | PlanError::UndefinedSchema { at, .. }
            | PlanError::UndefinedColumn { at, .. }
            | PlanError::UndefinedFunction { at, .. }
            | PlanError::DuplicateRelation { at, .. }
            | PlanError::DuplicateColumn { at, .. }
            | PlanError::Type { at, .. }
            | PlanError::Invalid { at, .. }
            | PlanError::Diagnostic { at, .. } => Some(at),
            PlanError::Internal(_) => None,
        }
    }

    /// PostgreSQL's code for this error.
    #[must_use]
    pub fn state(&self) -> SqlState {
        match self {
            PlanError::Syntax { .. } => SqlState::SYNTAX_ERROR,
            PlanError::Unsupported { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            PlanError::UndefinedTable { .. } => SqlState::UNDEFINED_TABLE,
            PlanError::UndefinedSchema { .. } => SqlState::INVALID_SCHEMA_NAME,
            PlanError::UndefinedColumn { .. } => SqlState::UNDEFINED_COLUMN,
            PlanError::UndefinedFunction { .. } => SqlState::UNDEFINED_FUNCTION,
            PlanError::DuplicateRelation { .. } => SqlState::DUPLICATE_TABLE,
            PlanError::DuplicateColumn { .. } => SqlState::DUPLICATE_COLUMN,
            PlanError::Type { .. } => SqlState::DATATYPE_MISMATCH,
            PlanError::Invalid { state, .. } => *state,
            PlanError::Diagnostic { diagnostic, .. } => diagnostic.state,
            PlanError::Internal(_) => SqlState::INTERNAL_ERROR,
        }
    }

    /// For the user. `source` is the whole string that locations refer to: what
    /// was given to [`crate::parse::parse_statement`].
    #[must_use]
    pub fn diagnostic(&self, source: &str) -> Diagnostic {
        let mut diagnostic = match self {
            PlanError::Diagnostic { diagnostic, .. } => diagnostic.clone(),
            other => Diagnostic::new(other.state(), other.to_string()),
        };
        match self {
            PlanError::Syntax { hint, .. }
            | PlanError::Unsupported { hint, .. }
            | PlanError::UndefinedTable { hint, .. }
            | PlanError::UndefinedColumn { hint, .. }
            | PlanError::UndefinedFunction { hint, .. }
            | PlanError::Type { hint, .. } => diagnostic.hint = hint.clone(),
            PlanError::Invalid { detail, hint, .. } => {
                diagnostic.detail = detail.clone();
                diagnostic.hint = hint.clone();
            }
            _ => {}
        }
        if let Some(position) = self.location().and_then(|at| character(source, at)) {
            diagnostic.position = Some(position);
        }
        diagnostic
    }
}

impl From<Diagnostic> for PlanError {
    fn from(diagnostic: Diagnostic) -> Self {
        PlanError::Diagnostic { diagnostic, at: None }
    }
}

impl From<DataFusionError> for PlanError {
    fn from(error: DataFusionError) -> Self {
        from_datafusion(&error)
    }
}

fn syntax_message(near: Option<&str>) -> String {
    match near {
        Some(token) => format!("syntax error at or near \"{token}\""),
        None => "syntax error at end of input".to_owned(),
    }
}

/// Where a span begins; `None` for the empty span of made-up nodes.
#[must_use]
pub fn start(span: Span) -> Option<Location> {
    (span.start.line > 0).then_some(span.start)
}

/// The 1-based count of characters up to `at`. `None` for a location outside of
/// `source`. A location just behind the last character is inside.
#[must_use]
pub fn character(source: &str, at: Location) -> Option<u32> {
    let line_index = usize::try_from(at.line.checked_sub(1)?).ok()?;
    let column = usize::try_from(at.column.checked_sub(1)?).ok()?;
    let mut lines = source.split('\n');
    let before: usize = lines.by_ref().take(line_index).map(|l| l.chars().count() + 1).sum();
    let line = lines.next()?;
    (column <= line.chars().count()).then(|| u32::try_from(before + column + 1).ok()).flatten()
}

/// DataFusion's errors speak in variants and English; this is the one place that
/// maps both to PostgreSQL's codes and words.
fn from_datafusion(error: &DataFusionError) -> PlanError {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<PlanError>() {
            Some(ours) => ours.clone(),
            None => match inner.downcast_ref::<Diagnostic>() {
                Some(diagnostic) => diagnostic.clone().into(),
                None => PlanError::Internal(inner.to_string()),
            },
        },
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let error = from_datafusion(inner);
            match diagnostic.span {
                Some(span) => error.or_at(Span::new(
                    Location::new(span.start.line, span.start.column),
                    Location::new(span.end.line, span.end.column),
                )),
                None => error,
            }
        }
        DataFusionError::Context(_, inner) => from_datafusion(inner),
        DataFusionError::Shared(inner) => from_datafusion(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => from_datafusion(first),
            None => PlanError::Internal(error.to_string()),
        },
        DataFusionError::SchemaError(schema, _) => from_schema_error(schema),
        DataFusionError::SQL(..) => plain(SqlState::SYNTAX_ERROR, error),
        DataFusionError::NotImplemented(message) => unsupported_message(message),
        DataFusionError::Plan(message) => from_plan_message(message),
        DataFusionError::Configuration(_) => plain(SqlState::INVALID_PARAMETER_VALUE, error),
        DataFusionError::Execution(_) => plain(SqlState::DATA_EXCEPTION, error),
        DataFusionError::ArrowError(arrow, _) => from_arrow_error(arrow),
        DataFusionError::ResourcesExhausted(_) => plain(SqlState::OUT_OF_MEMORY, error),
        DataFusionError::IoError(_) => plain(SqlState::IO_ERROR, error),
        _ => PlanError::Internal(error.strip_backtrace()),
    }
}

fn from_schema_error(error: &SchemaError) -> PlanError {
    let no_span = Span::empty();
    match error {
        SchemaError::FieldNotFound { field, .. } => {
            let name = match &field.relation {
                Some(relation) => format!("{}.{}", relation.table(), field.name),
                None => format!("\"{}\"", field.name),
            };
            let at = field.spans().first().map(|s| Location::new(s.start.line, s.start.column));
            PlanError::UndefinedColumn { name, at, hint: None }
        }
        SchemaError::AmbiguousReference { field } => PlanError::invalid(
            SqlState::AMBIGUOUS_COLUMN,
            format!("column reference \"{}\" is ambiguous", field.name),
            no_span,
        ),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            PlanError::DuplicateColumn { name: name.clone(), at: None }
        }
    }
}

fn from_arrow_error(error: &datafusion::arrow::error::ArrowError) -> PlanError {
    use datafusion::arrow::error::ArrowError;
    let state = match error {
        ArrowError::DivideByZero => SqlState::DIVISION_BY_ZERO,
        ArrowError::ArithmeticOverflow(_) => SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        ArrowError::CastError(_) | ArrowError::ParseError(_) => {
            SqlState::INVALID_TEXT_REPRESENTATION
        }
        ArrowError::NotYetImplemented(_) => SqlState::FEATURE_NOT_SUPPORTED,
        ArrowError::ExternalError(inner) => {
            return match inner.downcast_ref::<Diagnostic>() {
                Some(diagnostic) => diagnostic.clone().into(),
                None => PlanError::Internal(error.to_string()),
            };
        }
        _ => SqlState::DATA_EXCEPTION,
    };
    PlanError::invalid(state, error.to_string(), Span::empty())
}

fn plain(state: SqlState, error: &DataFusionError) -> PlanError {
    PlanError::invalid(state, first_line(&error.message()), Span::empty())
}

/// DataFusion explains itself over several lines, sometimes with a dump of its
/// own structures; the first line is what concerns the user.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn unsupported_message(message: &str) -> PlanError {
    let what = first_line(message);
    let what = if what.contains("not") { what } else { format!("{what} is not supported") };
    PlanError::Unsupported { what, at: None, hint: None }
}

/// The text between the first two single quotes behind `prefix`.
fn quoted_after<'a>(message: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = message.strip_prefix(prefix)?;
    let rest = rest.strip_prefix('\'').unwrap_or(rest);
    rest.split('\'').next().filter(|s| !s.is_empty())
}

fn last_part(name: &str) -> String {
    name.strip_prefix("datafusion.").unwrap_or(name).to_owned()
}

fn from_plan_message(message: &str) -> PlanError {
    let undefined_table =
        |name: &str| PlanError::UndefinedTable { name: last_part(name), at: None, hint: None };
    if message.ends_with("not found")
        && let Some(name) = quoted_after(message, "table ")
    {
        return undefined_table(name);
    }
    if let Some(name) = quoted_after(message, "No table named ") {
        return undefined_table(name);
    }
    if let Some(name) = message.strip_prefix("Table not found: ") {
        return undefined_table(name);
    }
    if let Some(name) = quoted_after(message, "Invalid function ") {
        return PlanError::UndefinedFunction {
            signature: format!("{name}()"),
            at: None,
            hint: Some("No function of this name is known.".to_owned()),
        };
    }
    if let Some(name) = message.strip_prefix("There is no window function named ") {
        return PlanError::UndefinedFunction {
            signature: format!("{}()", first_line(name)),
            at: None,
            hint: None,
        };
    }
    PlanError::invalid(plan_state(message), first_line(message), Span::empty())
}

/// The code for a planning message that no better rule above knows.
fn plan_state(message: &str) -> SqlState {
    const RULES: &[(&str, SqlState)] = &[
        ("must appear in the GROUP BY clause", SqlState::GROUPING_ERROR),
        ("must be in GROUP BY", SqlState::GROUPING_ERROR),
        ("could not be resolved from available columns", SqlState::GROUPING_ERROR),
        ("Aggregate functions are not allowed", SqlState::GROUPING_ERROR),
        ("Failed to coerce", SqlState::UNDEFINED_FUNCTION),
        ("No function matches", SqlState::UNDEFINED_FUNCTION),
        ("does not support zero arguments", SqlState::UNDEFINED_FUNCTION),
        ("expects", SqlState::UNDEFINED_FUNCTION),
        ("Cannot infer common argument type", SqlState::UNDEFINED_FUNCTION),
        ("Cannot coerce arithmetic expression", SqlState::UNDEFINED_FUNCTION),
        ("only supports", SqlState::UNDEFINED_FUNCTION),
        ("requires a boolean", SqlState::DATATYPE_MISMATCH),
        ("Cannot create filter with non-boolean", SqlState::DATATYPE_MISMATCH),
        ("Cannot cast", SqlState::DATATYPE_MISMATCH),
        ("different number of columns", SqlState::SYNTAX_ERROR),
        ("specified more than once", SqlState::SYNTAX_ERROR),
        ("placeholder", SqlState::UNDEFINED_PARAMETER),
        ("Placeholder", SqlState::UNDEFINED_PARAMETER),
        ("not supported", SqlState::FEATURE_NOT_SUPPORTED),
        ("Unsupported", SqlState::FEATURE_NOT_SUPPORTED),
        ("not yet supported", SqlState::FEATURE_NOT_SUPPORTED),
        ("out of bounds", SqlState::SYNTAX_ERROR),
        ("duplicate", SqlState::DUPLICATE_COLUMN),
        ("unique expression names", SqlState::DUPLICATE_COLUMN),
    ];
    RULES
        .iter()
        .find(|(part, _)| message.contains(part))
        .map_or(SqlState::SYNTAX_ERROR, |(_, state)| *state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_become_character_counts() {
        let source = "SELECT 'ä',\n\tb\r\nFROM \u{1F600}x";
        let at = |line, column| character(source, Location::new(line, column));
        assert_eq!(at(1, 1), Some(1));
        assert_eq!(at(1, 11), Some(11));
        assert_eq!(at(2, 2), Some(14));
        assert_eq!(at(3, 7), Some(23));
        assert_eq!(at(3, 8), Some(24));
        assert_eq!(at(3, 9), None);
        assert_eq!(at(4, 1), None);
        assert_eq!(at(0, 0), None);
    }

    #[test]
    fn datafusion_errors_have_postgresql_codes() {
        let cases = [
            (
                "table 'datafusion.public.t' not found",
                "42P01",
                "relation \"public.t\" does not exist",
            ),
            (
                "Invalid function 'frob'.\nDid you mean 'floor'?",
                "42883",
                "function frob() does not exist",
            ),
            (
                "Column in SELECT must be in GROUP BY or an aggregate function: x",
                "42803",
                "Column in SELECT must be in GROUP BY or an aggregate function: x",
            ),
        ];
        for (message, state, shown) in cases {
            let error = PlanError::from(DataFusionError::Plan(message.to_owned()));
            assert_eq!((error.state().code(), error.to_string().as_str()), (state, shown));
        }
    }

    #[test]
    fn our_errors_survive_a_trip_through_datafusion() {
        let ours = PlanError::syntax("x", Location::new(1, 3));
        let wrapped = DataFusionError::External(Box::new(ours)).context("planning");
        let back = PlanError::from(wrapped).diagnostic("a x");
        assert_eq!((back.state.code(), back.position), ("42601", Some(3)));
    }
}
