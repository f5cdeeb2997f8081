//! `INTERVAL '...'` with PostgreSQL's spellings.
//!
//! DataFusion reads such a constant while it binds, and fewer spellings than
//! PostgreSQL. So it is read here first, fields such as `DAY TO SECOND` included,
//! and put back in a form that DataFusion reads the same.

use std::ops::ControlFlow;

use sqlparser::ast::{
    DateTimeField, Expr, Interval, Query, Value, ValueWithSpan, VisitMut, visit_expressions_mut,
};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;
use tidemill_types::text::{Fault, IntervalField, IntervalFields, interval};

use crate::error::{PlanError, start};

/// Reads the interval constants of a query.
pub(super) fn read_in_query(query: &mut Query) -> Result<(), PlanError> {
    read_in(query)
}

/// Reads the interval constants of an expression.
pub(super) fn read_in_expr(expr: &mut Expr) -> Result<(), PlanError> {
    read_in(expr)
}

fn read_in(tree: &mut impl VisitMut) -> Result<(), PlanError> {
    let flow = visit_expressions_mut(tree, |expr| match expr {
        Expr::Interval(interval) => match read(interval) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        },
        _ => ControlFlow::Continue(()),
    });
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

fn read(constant: &mut Interval) -> Result<(), PlanError> {
    let Expr::Value(ValueWithSpan { value, span }) = constant.value.as_ref() else {
        return Ok(());
    };
    let (Value::SingleQuotedString(text) | Value::Number(text, _)) = value else { return Ok(()) };
    let span = *span;
    // What is left for DataFusion, it refuses or reads as Flink does (WEEK).
    let Some(fields) = fields(constant, span)? else { return Ok(()) };
    let invalid = |fault: Fault| PlanError::Diagnostic {
        diagnostic: fault.diagnostic(text, "interval"),
        at: start(span),
    };
    let read = interval::interval(text, fields).map_err(invalid)?;
    if read.micros.checked_mul(1_000).is_none() {
        return Err(invalid(Fault::Range));
    }
    let parts = format!("{} months {} days {} microseconds", read.months, read.days, read.micros);
    *constant = Interval {
        value: Box::new(Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(parts),
            span,
        })),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    };
    Ok(())
}

/// The fields behind a constant; `None`: they are none of PostgreSQL's.
fn fields(constant: &Interval, span: Span) -> Result<Option<Option<IntervalFields>>, PlanError> {
    let Some(leading) = &constant.leading_field else { return Ok(Some(None)) };
    let Some(first) = field(leading) else { return Ok(None) };
    let last = match &constant.last_field {
        Some(last) => match field(last) {
            Some(last) => last,
            None => return Ok(None),
        },
        None => first,
    };
    let of_months = |f| matches!(f, IntervalField::Year | IntervalField::Month);
    if last < first || of_months(first) != of_months(last) {
        let message = format!("an interval cannot be from {first:?} to {last:?}").to_lowercase();
        return Err(PlanError::invalid(SqlState::SYNTAX_ERROR, message, span)
            .with_hint("Write YEAR TO MONTH, or DAY, HOUR or MINUTE TO a smaller field."));
    }
    let precision = match (constant.leading_precision, constant.fractional_seconds_precision) {
        (None, precision) => precision,
        // `SECOND(2)`.
        (Some(precision), None) if first == IntervalField::Second => Some(precision),
        _ => return Ok(None),
    };
    let precision = precision.map(|p| u32::try_from(p).unwrap_or(u32::MAX));
    Ok(Some(Some(IntervalFields { first, last, precision })))
}

fn field(field: &DateTimeField) -> Option<IntervalField> {
    Some(match field {
        DateTimeField::Year | DateTimeField::Years => IntervalField::Year,
        DateTimeField::Month | DateTimeField::Months => IntervalField::Month,
        DateTimeField::Day | DateTimeField::Days => IntervalField::Day,
        DateTimeField::Hour | DateTimeField::Hours => IntervalField::Hour,
        DateTimeField::Minute | DateTimeField::Minutes => IntervalField::Minute,
        DateTimeField::Second | DateTimeField::Seconds => IntervalField::Second,
        _ => return None,
    })
}
