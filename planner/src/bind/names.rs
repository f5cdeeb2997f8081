//! Parameters of a query's text.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Value};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;

use crate::error::PlanError;
use crate::walk::{Syntax, walk};

/// How many parameters a statement may have: a 16-bit count on the wire.
const PARAMETERS_MAX: usize = 65_535;

/// The largest `n` of a parameter `$n`; 0: there is none.
pub(super) fn parameter_count(query: &ast::Query) -> Result<usize, PlanError> {
    let (mut largest, mut error) = (0, None);
    walk(query, &mut |syntax| {
        let Syntax::Expr(ast::Expr::Value(value)) = syntax else {
            return ControlFlow::Continue(());
        };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        match name.strip_prefix('$').and_then(|n| n.parse().ok()) {
            Some(n @ 1..=PARAMETERS_MAX) => {
                largest = largest.max(n);
                ControlFlow::Continue(())
            }
            _ => {
                error = Some(undefined(name, value.span));
                ControlFlow::Break(())
            }
        }
    });
    error.map_or(Ok(largest), Err)
}

fn undefined(name: &str, span: Span) -> PlanError {
    let message = format!("there is no parameter {name}");
    PlanError::invalid(SqlState::UNDEFINED_PARAMETER, message, span)
        .with_hint("Parameters are $1, $2, and so on.")
}
