//! Window functions: kept pending until it is known what is above.
//!
//! An aggregation by the window turns a pending window into slices
//! ([`super::aggregate`]); everything else needs a row per window ([`assign`]).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::Expr;
use sqlparser::tokenizer::Span;
use tidemill_types::plan::{AssignWindows, Operator, Properties, StateKind, WatermarkColumn};

use super::project::push_filter;
use super::refuse;
use super::relation::{Builder, PendingWindow, Relation, Slot};
use crate::error::PlanError;
use crate::logical::{WINDOW_END, WINDOW_START, WindowTvf};

/// Lowers a window function.
pub(super) fn lower(
    input: Relation,
    tvf: &WindowTvf,
    builder: &mut Builder,
) -> Result<Relation, PlanError> {
    if input.aggregated {
        let what = format!("{} over an aggregation", tvf.function.name());
        return Err(refuse::in_view(&what, Span::empty()));
    }
    let input = assign(input, builder)?;
    let Slot::Column(time) = input.slot(&tvf.time)? else {
        return Err(PlanError::Internal("a window was not assigned".to_owned()));
    };
    let watermarked = builder.properties().row_watermark.is_some() && input.time == Some(time);
    let mut slots = input.slots.clone();
    slots.extend([Slot::WindowStart, Slot::WindowEnd]);
    Ok(Relation {
        logical: Arc::clone(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(tvf)),
        slots,
        window: Some(PendingWindow {
            spec: tvf.window,
            time,
            time_type: tvf.time_type().clone(),
            watermarked,
            filters: vec![],
        }),
        ..input
    })
}

/// The schema that deferred predicates are over.
fn bounds_schema(time_type: &DataType) -> Result<DFSchema, PlanError> {
    let field = |name| Field::new(name, time_type.clone(), false);
    Ok(DFSchema::try_from(Schema::new(vec![field(WINDOW_START), field(WINDOW_END)]))?)
}

/// Keeps a predicate over the bounds of the pending window for later.
pub(super) fn defer(relation: &mut Relation, predicate: Expr) -> Result<(), PlanError> {
    let renamed = predicate.transform(|e| {
        let Expr::Column(column) = &e else { return Ok(Transformed::no(e)) };
        let name = match relation.slot(column)? {
            Slot::WindowStart => WINDOW_START,
            Slot::WindowEnd => WINDOW_END,
            Slot::Column(_) => return Ok(Transformed::no(e)),
        };
        Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
    })?;
    match &mut relation.window {
        Some(window) => window.filters.push(renamed.data),
        None => return Err(PlanError::Internal("a predicate on no window".to_owned())),
    }
    Ok(())
}

/// Appends the predicates that waited for the bounds of a window to exist, now
/// that they are the columns `start` and `end`.
pub(super) fn apply_deferred(
    window: &PendingWindow,
    (start, end): (usize, usize),
    builder: &mut Builder,
) -> Result<(), PlanError> {
    let bounds = Relation {
        logical: Arc::new(bounds_schema(&window.time_type)?),
        slots: vec![Slot::Column(start), Slot::Column(end)],
        window: None,
        time: None,
        window_pair: None,
        aggregated: false,
    };
    for predicate in &window.filters {
        push_filter(&bounds, predicate, builder)?;
    }
    Ok(())
}

/// Repeats each row for its windows, if a window is pending.
pub(super) fn assign(relation: Relation, builder: &mut Builder) -> Result<Relation, PlanError> {
    let Some(window) = relation.window.clone() else { return Ok(relation) };
    let before = builder.properties().clone();
    let schema = Arc::clone(builder.schema());
    let (start, end) = (schema.fields().len(), schema.fields().len() + 1);
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    for name in [WINDOW_START, WINDOW_END] {
        fields.push(Arc::new(Field::new(name, window.time_type.clone(), false)));
    }
    let lateness = if window.watermarked { builder.allowed_lateness } else { 0 };
    let mut stream_key = before.stream_key.clone();
    if !stream_key.is_empty() && window.spec.windows_per_row() > 1 {
        stream_key.push(end);
    }
    let watermarks = match window.watermarked {
        true => bounds_watermarks(&window, (start, end), lateness),
        false => vec![],
    };
    let operator = Operator::AssignWindows(AssignWindows {
        window: window.spec,
        time_column: window.time,
        watermark_column: before.row_watermark.filter(|_| window.watermarked),
        allowed_lateness: lateness,
    });
    let properties = Properties {
        stream_key,
        watermarks,
        row_watermark: None,
        state: StateKind::None,
        ..before
    };
    builder.push(operator, Arc::new(Schema::new(fields)), properties);
    apply_deferred(&window, (start, end), builder)?;
    let slots = relation.slots.iter().map(|slot| match slot {
        Slot::WindowStart => Slot::Column(start),
        Slot::WindowEnd => Slot::Column(end),
        column => *column,
    });
    Ok(Relation {
        slots: slots.collect(),
        window: None,
        time: None,
        window_pair: Some((start, end)),
        ..relation
    })
}

/// The watermarks of a window's bounds: no row comes or changes for a window
/// whose end, with the allowed lateness, the source's watermark has reached.
pub(super) fn bounds_watermarks(
    window: &PendingWindow,
    (start, end): (usize, usize),
    allowed_lateness: i64,
) -> Vec<WatermarkColumn> {
    let lag = allowed_lateness;
    vec![
        WatermarkColumn { column: start, slot: 0, lag: lag.saturating_add(window.spec.size) },
        WatermarkColumn { column: end, slot: 0, lag },
    ]
}
