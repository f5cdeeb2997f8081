//! Errors of binding, with what the query's text adds: a place where DataFusion
//! has none, and the nearest name that would have been right.

use std::ops::ControlFlow;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::common::{DataFusionError, SchemaError};
use sqlparser::ast::{self, Spanned};
use sqlparser::tokenizer::Span;

use crate::error::PlanError;
use crate::parse::fold;
use crate::walk::{Syntax, walk};

/// A suggestion may differ by so many edits from what was written.
const NEAR: usize = 3;

/// Turns a binder's error into ours.
pub(super) fn explain(error: DataFusionError, query: &ast::Query) -> PlanError {
    let suggestion = suggestion(&error);
    let span = place(&error, query);
    let mut error = PlanError::from(error);
    if let PlanError::UndefinedColumn { hint: None, .. } = &error
        && let Some(suggestion) = suggestion
    {
        error = error.with_hint(suggestion);
    }
    if let PlanError::UndefinedFunction { signature, at, .. } = &error
        && is_grouped_window(signature)
    {
        error = PlanError::Unsupported {
            what: "window functions in GROUP BY or SELECT are not supported".to_owned(),
            at: *at,
            hint: Some(
                "Write FROM TUMBLE(relation, time column, size) and group by window_start, \
                 window_end."
                    .to_owned(),
            ),
        };
    }
    match span {
        Some(span) => error.or_at(span),
        None => error,
    }
}

/// `TUMBLE(ts, size)` as a key, and its companions.
fn is_grouped_window(signature: &str) -> bool {
    let name = signature.split('(').next().unwrap_or_default().to_ascii_lowercase();
    let family = name.split('_').next().unwrap_or_default();
    let is_bound = matches!(name.split_once('_'), None | Some((_, "start" | "end" | "rowtime")));
    is_bound && matches!(family, "tumble" | "hop" | "session" | "cumulate")
}

pub(super) fn schema_error(error: &DataFusionError) -> Option<&SchemaError> {
    match error {
        DataFusionError::SchemaError(schema, _) => Some(schema),
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            schema_error(inner)
        }
        DataFusionError::Collection(errors) => errors.first().and_then(schema_error),
        DataFusionError::Shared(inner) => schema_error(inner),
        _ => None,
    }
}

fn suggestion(error: &DataFusionError) -> Option<String> {
    let SchemaError::FieldNotFound { field, valid_fields } = schema_error(error)? else {
        return None;
    };
    let (distance, nearest) = valid_fields
        .iter()
        .filter(|f| !tidemill_types::hidden::is_hidden(&f.name))
        .map(|f| (levenshtein(&f.name, &field.name), f))
        .min_by_key(|(distance, _)| *distance)?;
    if distance == 0 && field.name == nearest.name {
        return Some(format!("There is a column \"{}\".", nearest.flat_name()));
    }
    (distance <= NEAR && distance < field.name.len())
        .then(|| format!("Perhaps you meant to reference the column \"{}\".", nearest.name))
}

/// Where the name that an error is about stands in the query.
fn place(error: &DataFusionError, query: &ast::Query) -> Option<Span> {
    let name = match schema_error(error) {
        Some(SchemaError::AmbiguousReference { field }) => field.name.clone(),
        Some(SchemaError::FieldNotFound { field, .. }) => field.name.clone(),
        _ => match PlanError::from(DataFusionError::Plan(error.message().into_owned())) {
            PlanError::UndefinedFunction { signature, .. } => {
                signature.split('(').next().unwrap_or_default().to_owned()
            }
            _ => return None,
        },
    };
    let mut found = None;
    walk(query, &mut |syntax| {
        let Syntax::Expr(expr) = syntax else { return ControlFlow::Continue(()) };
        if !is_named(expr, &name) {
            return ControlFlow::Continue(());
        }
        found = Some(expr.span());
        ControlFlow::Break(())
    });
    found
}

/// Whether an expression is the column or a call of the function of this name.
fn is_named(expr: &ast::Expr, name: &str) -> bool {
    match expr {
        ast::Expr::Identifier(ident) => fold(ident) == name,
        ast::Expr::CompoundIdentifier(idents) => {
            idents.last().is_some_and(|ident| fold(ident) == name)
        }
        ast::Expr::Function(function) => function.name.to_string().eq_ignore_ascii_case(name),
        _ => false,
    }
}
