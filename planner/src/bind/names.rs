//! Parameters of a query's text.

use std::ops::ControlFlow;

use sqlparser::ast::{self, Value, Visit, Visitor};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;

use crate::error::PlanError;

/// How many parameters a statement may have: a 16-bit count on the wire.
const PARAMETERS_MAX: usize = 65_535;

/// The largest `n` of a parameter `$n`; 0: there is none.
pub(super) fn parameter_count(query: &ast::Query) -> Result<usize, PlanError> {
    let mut count = Count { largest: 0 };
    match query.visit(&mut count) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(count.largest),
    }
}

struct Count {
    largest: usize,
}

impl Visitor for Count {
    type Break = PlanError;

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<PlanError> {
        let ast::Expr::Value(value) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        match name.strip_prefix('$').and_then(|n| n.parse().ok()) {
            Some(n @ 1..=PARAMETERS_MAX) => {
                self.largest = self.largest.max(n);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(undefined(name, value.span)),
        }
    }
}

fn undefined(name: &str, span: Span) -> PlanError {
    let message = format!("there is no parameter {name}");
    PlanError::invalid(SqlState::UNDEFINED_PARAMETER, message, span)
        .with_hint("Parameters are $1, $2, and so on.")
}
