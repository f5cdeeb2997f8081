//! What can go wrong in an operator, by who has to act.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tidemill_connectors::error::ConnectorError;
use tidemill_storage::state::StateError;
use tidemill_types::{Diagnostic, SqlState};

/// An error of an operator. It ends the job; [`OperatorError::diagnostic`] is
/// what the user is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OperatorError {
    /// A value left the range of its type: SQLSTATE 22003.
    #[error("{what}: value out of range for type {data_type}")]
    OutOfRange {
        /// The column or aggregate, as the user named it.
        what: String,
        data_type: String,
    },
    /// An expression failed on a row; classified already.
    #[error("{0}")]
    Expression(Diagnostic),
    /// A sink failed.
    #[error("sink \"{sink}\": {error}")]
    Sink { sink: String, error: ConnectorError },
    /// The storage of a view failed.
    #[error("materialized view storage: {0}")]
    View(Diagnostic),
    /// Stored state cannot be read.
    #[error("stored state: {0}")]
    State(String),
    /// A broken invariant of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<StateError> for OperatorError {
    fn from(error: StateError) -> Self {
        OperatorError::State(error.to_string())
    }
}

impl OperatorError {
    /// A broken invariant of ours.
    pub fn internal(what: impl Into<String>) -> Self {
        OperatorError::Internal(what.into())
    }

    /// What the user is told.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            OperatorError::OutOfRange { .. } => {
                Diagnostic::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, self.to_string())
            }
            OperatorError::Expression(d) | OperatorError::View(d) => d.clone(),
            OperatorError::Sink { sink, error } => {
                error.diagnostic().with_detail(format!("The sink is \"{sink}\"."))
            }
            OperatorError::State(_) => Diagnostic::internal(self.to_string()),
            OperatorError::Internal(what) => Diagnostic::internal(what.clone()),
        }
    }

    /// An error of evaluating a user's expression.
    pub fn expression(error: &DataFusionError) -> Self {
        OperatorError::Expression(classify(error))
    }
}

/// Outside expressions an Arrow kernel fails only if we called it wrongly.
impl From<ArrowError> for OperatorError {
    fn from(error: ArrowError) -> Self {
        OperatorError::Internal(error.to_string())
    }
}

/// PostgreSQL's words and codes for the errors that data can cause.
fn classify(error: &DataFusionError) -> Diagnostic {
    match error.find_root() {
        DataFusionError::ArrowError(e, _) => classify_arrow(e),
        DataFusionError::External(e) => match e.downcast_ref::<Diagnostic>() {
            Some(d) => d.clone(),
            None => Diagnostic::new(SqlState::DATA_EXCEPTION, e.to_string()),
        },
        DataFusionError::Execution(what) => Diagnostic::new(SqlState::DATA_EXCEPTION, what.clone()),
        DataFusionError::NotImplemented(what) => Diagnostic::unsupported(what.clone()),
        DataFusionError::ResourcesExhausted(what) => {
            Diagnostic::new(SqlState::OUT_OF_MEMORY, what.clone())
        }
        other => Diagnostic::internal(other.to_string()),
    }
}

fn classify_arrow(error: &ArrowError) -> Diagnostic {
    match error {
        ArrowError::DivideByZero => Diagnostic::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(what) => {
            Diagnostic::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range")
                .with_detail(what.clone())
        }
        ArrowError::CastError(what) | ArrowError::ParseError(what) => {
            Diagnostic::new(SqlState::INVALID_TEXT_REPRESENTATION, what.clone())
        }
        ArrowError::ExternalError(e) => match e.downcast_ref::<Diagnostic>() {
            Some(d) => d.clone(),
            None => Diagnostic::new(SqlState::DATA_EXCEPTION, e.to_string()),
        },
        ArrowError::ComputeError(what) | ArrowError::InvalidArgumentError(what) => {
            Diagnostic::new(SqlState::DATA_EXCEPTION, what.clone())
        }
        other => Diagnostic::internal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_errors_have_the_codes_of_postgresql() {
        let cases = [
            (ArrowError::DivideByZero, SqlState::DIVISION_BY_ZERO),
            (ArrowError::ArithmeticOverflow("1 + 2".into()), SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
            (ArrowError::CastError("x".into()), SqlState::INVALID_TEXT_REPRESENTATION),
        ];
        for (error, state) in cases {
            let wrapped = DataFusionError::ArrowError(Box::new(error), None).context("in a test");
            assert_eq!(OperatorError::expression(&wrapped).diagnostic().state, state);
        }
    }

    #[test]
    fn a_diagnostic_thrown_by_a_function_arrives_as_it_was() {
        let thrown = Diagnostic::new(SqlState::DATETIME_FIELD_OVERFLOW, "no such day");
        let wrapped = DataFusionError::External(Box::new(thrown.clone()));
        assert_eq!(OperatorError::expression(&wrapped).diagnostic(), thrown);
    }
}
