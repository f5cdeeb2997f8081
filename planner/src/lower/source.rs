//! The scan of a source: only the columns that the query, the generated columns
//! and the watermark need.
//!
//! A watermark is computed where windows may use it, and where the query reads its
//! columns anyway, so that it can be looked at; no column is decoded for a
//! watermark that nothing waits for.
//!
//! The watermark is an expression of type `Timestamp(us)`, with or without a zone,
//! or of type bigint in microseconds.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::Column;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use sqlparser::tokenizer::Span;
use tidemill_types::plan::{
    ChangelogKind, Distribution, Operator, Properties, SourceScan, StateKind,
};
use tidemill_types::{SqlState, hidden};

use super::project::keep_columns;
use super::refuse;
use super::relation::{Builder, Relation, Slot};
use crate::bind::{BoundScalar, CatalogTableSource, bind_scalar};
use crate::catalog::{CatalogObject, ColumnOrigin, ObjectKind, SourceObject};
use crate::error::PlanError;
use crate::logical::WindowTvf;
use crate::parse::parse_expression;

pub(super) fn lower(scan: &TableScan, builder: &mut Builder) -> Result<Relation, PlanError> {
    let any: &dyn Any = scan.source.as_ref();
    let Some(table) = any.downcast_ref::<CatalogTableSource>() else {
        return Err(PlanError::Internal(format!("{} is no catalog relation", scan.table_name)));
    };
    let object = &table.object;
    let ObjectKind::Source(source) = &object.kind else {
        let what = format!("the {} \"{}\" as input", object.kind.noun(), object.name.name);
        return Err(refuse::in_view(&what, Span::empty())
            .with_hint("Only sources can be read, directly or through plain views."));
    };
    if scan.fetch.is_some() || !scan.filters.is_empty() {
        return Err(PlanError::Internal("a scan with a filter or limit".to_owned()));
    }
    let all: Vec<usize> = (0..source.columns.len()).collect();
    let projected = scan.projection.as_ref().unwrap_or(&all);
    let columns = Columns::new(source, projected, !builder.windows.is_empty())?;
    builder.source_watermark = source.watermark.is_some();
    let row_watermark = reads_watermark(source, &builder.windows)?;
    emit(object, source, &columns, row_watermark, builder)?;
    let relation = relation(scan, source, &columns, projected);
    Ok(drop_unread(relation, &columns, builder))
}

/// Whether some window is over the column that the watermark is declared for.
fn reads_watermark(source: &SourceObject, windows: &[WindowTvf]) -> Result<bool, PlanError> {
    let Some(watermark) = &source.watermark else { return Ok(false) };
    for tvf in windows {
        if origin(&tvf.input, &tvf.time)? == Some(watermark.column.clone()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The source column that `column` of `plan` is, if it is nothing but that.
fn origin(plan: &LogicalPlan, column: &Column) -> Result<Option<String>, PlanError> {
    let index = plan.schema().index_of_column(column)?;
    let nth = |input: &LogicalPlan| Column::from(input.schema().qualified_field(index));
    match plan {
        LogicalPlan::TableScan(_) => Ok(Some(column.name.clone())),
        LogicalPlan::SubqueryAlias(alias) => origin(&alias.input, &nth(&alias.input)),
        LogicalPlan::Filter(filter) => origin(&filter.input, &nth(&filter.input)),
        LogicalPlan::Projection(projection) => {
            match projection.expr[index].clone().unalias_nested().data {
                datafusion::logical_expr::Expr::Column(c) => origin(&projection.input, &c),
                _ => Ok(None),
            }
        }
        _ => Ok(None),
    }
}

/// What is decoded and computed, by position among the source's columns.
struct Columns {
    decoded: Vec<usize>,
    computed: Vec<(usize, BoundScalar)>,
    watermark: Option<BoundScalar>,
    /// Columns that only the watermark or generated columns read.
    unread: bool,
}

impl Columns {
    /// `timed`: the query has windows.
    fn new(source: &SourceObject, projected: &[usize], timed: bool) -> Result<Self, PlanError> {
        let mut decoded: BTreeSet<usize> = BTreeSet::new();
        let mut generated: BTreeSet<usize> = BTreeSet::new();
        let position = |name: &str| source.columns.iter().position(|c| c.field.name() == name);
        let mut need = |i: usize| match source.columns[i].origin {
            ColumnOrigin::Connector { .. } => decoded.insert(i),
            ColumnOrigin::Generated { .. } => generated.insert(i),
        };
        projected.iter().for_each(|i| {
            need(*i);
        });
        let watermark = watermark(source)?.filter(|watermark| {
            let reads = watermark.expr.column_refs();
            timed || reads.iter().all(|c| position(&c.name).is_some_and(|i| projected.contains(&i)))
        });
        if let Some(expression) = &watermark {
            for column in expression.expr.column_refs() {
                position(&column.name).map(&mut need);
            }
        }
        let mut computed = vec![];
        for i in generated {
            let bound = generated_column(source, i)?;
            for column in bound.expr.column_refs() {
                decoded.extend(position(&column.name));
            }
            computed.push((i, bound));
        }
        if decoded.is_empty() {
            decoded.insert(narrowest(source)?);
        }
        let used: BTreeSet<usize> = projected.iter().copied().collect();
        let unread =
            decoded.iter().chain(computed.iter().map(|(i, _)| i)).any(|i| !used.contains(i));
        let unread = unread && !used.is_empty();
        Ok(Columns { decoded: decoded.into_iter().collect(), computed, watermark, unread })
    }

    /// Where a column of the source is in the scan's output.
    fn output(&self, column: usize) -> Option<usize> {
        self.decoded.iter().position(|i| *i == column).or_else(|| {
            let computed = self.computed.iter().position(|(i, _)| *i == column)?;
            Some(self.decoded.len() + computed)
        })
    }
}

/// A query that reads no column still counts rows: the cheapest column to decode.
fn narrowest(source: &SourceObject) -> Result<usize, PlanError> {
    let width = |field: &Field| field.data_type().primitive_width().unwrap_or(usize::MAX);
    let connector = source
        .columns
        .iter()
        .enumerate()
        .filter(|(_, c)| matches!(c.origin, ColumnOrigin::Connector { .. }));
    connector
        .min_by_key(|(_, c)| width(&c.field))
        .map(|(i, _)| i)
        .ok_or_else(|| PlanError::Internal("a source without columns of its connector".to_owned()))
}

fn fields(source: &SourceObject, only: impl Fn(&ColumnOrigin) -> bool) -> Vec<Field> {
    source.columns.iter().filter(|c| only(&c.origin)).map(|c| c.field.clone()).collect()
}

fn generated_column(source: &SourceObject, i: usize) -> Result<BoundScalar, PlanError> {
    let column = &source.columns[i];
    let ColumnOrigin::Generated { expression } = &column.origin else {
        return Err(PlanError::Internal(format!("{} is not generated", column.field.name())));
    };
    let decoded = Schema::new(fields(source, |o| matches!(o, ColumnOrigin::Connector { .. })));
    let expr = parse_expression(expression).map_err(PlanError::without_position)?;
    bind_scalar(&expr, &decoded, Some(column.field.data_type()))
        .map_err(PlanError::without_position)
}

fn watermark(source: &SourceObject) -> Result<Option<BoundScalar>, PlanError> {
    let Some(watermark) = &source.watermark else { return Ok(None) };
    let schema = Schema::new(fields(source, |_| true));
    let expr = parse_expression(&watermark.expression).map_err(PlanError::without_position)?;
    let bound = bind_scalar(&expr, &schema, None).map_err(PlanError::without_position)?;
    match bound.data_type {
        DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Int64 => Ok(Some(bound)),
        ref other => Err(PlanError::invalid(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "the watermark of \"{}\" has type {}, it must be timestamp",
                watermark.column,
                crate::types_sql::pg_type_name(other)
            ),
            Span::empty(),
        )),
    }
}

/// Appends the scan.
fn emit(
    object: &CatalogObject,
    source: &SourceObject,
    columns: &Columns,
    row_watermark: bool,
    builder: &mut Builder,
) -> Result<(), PlanError> {
    let field = |i: &usize| source.columns[*i].field.clone();
    let decoded: Vec<Field> = columns.decoded.iter().map(field).collect();
    let decoded_schema = Schema::new(decoded.clone());
    let computed = columns
        .computed
        .iter()
        .map(|(i, bound)| Ok((field(i), bound.physical(&decoded_schema)?)))
        .collect::<Result<Vec<(Field, Arc<dyn PhysicalExpr>)>, PlanError>>()?;
    let mut output = decoded.clone();
    output.extend(computed.iter().map(|(field, _)| field.clone()));
    let readable = Schema::new(output.clone());
    let watermark = columns.watermark.as_ref().map(|w| w.physical(&readable)).transpose()?;
    let row_id = builder.row_id.then(|| {
        output.push(Field::new(hidden::ROW_ID, DataType::Int64, false));
        output.len() - 1
    });
    let row_watermark = row_watermark.then(|| {
        output.push(Field::new(hidden::ROW_WATERMARK, DataType::Int64, false));
        output.len() - 1
    });
    let physical_names = columns.decoded.iter().filter_map(|i| match &source.columns[*i].origin {
        ColumnOrigin::Connector { physical_name } => Some(physical_name.clone()),
        ColumnOrigin::Generated { .. } => None,
    });
    let scan = SourceScan {
        source: object.id,
        name: object.name.name.clone(),
        connector: source.connector.clone(),
        options: source.options.clone(),
        physical_names: physical_names.collect(),
        columns: decoded,
        declared: fields(source, |o| matches!(o, ColumnOrigin::Connector { .. })),
        computed,
        watermark,
        row_id: row_id.is_some(),
        row_watermark: row_watermark.is_some(),
        watermark_slot: 0,
        on_error: source.on_error,
        bounded: source.bounded,
    };
    let properties = Properties {
        changelog: ChangelogKind::AppendOnly,
        stream_key: row_id.into_iter().collect(),
        watermarks: vec![],
        distribution: Distribution::Split,
        row_watermark,
        state: StateKind::None,
    };
    builder.push(Operator::Source(scan), Arc::new(Schema::new(output)), properties);
    Ok(())
}

fn relation(
    scan: &TableScan,
    source: &SourceObject,
    columns: &Columns,
    projected: &[usize],
) -> Relation {
    let output = |i: usize| columns.output(i).expect("projected columns are decoded or computed");
    let time = source.watermark.as_ref().and_then(|w| {
        let column = source.columns.iter().position(|c| *c.field.name() == w.column)?;
        columns.output(column)
    });
    Relation {
        logical: Arc::clone(&scan.projected_schema),
        slots: projected.iter().map(|i| Slot::Column(output(*i))).collect(),
        window: None,
        time,
        window_pair: None,
        aggregated: false,
    }
}

/// Columns that only the watermark or generated columns needed end here, so that
/// no filter or exchange copies them.
fn drop_unread(relation: Relation, columns: &Columns, builder: &mut Builder) -> Relation {
    if !columns.unread {
        return relation;
    }
    let mut keep: Vec<usize> = relation
        .slots
        .iter()
        .filter_map(|s| match s {
            Slot::Column(i) => Some(*i),
            _ => None,
        })
        .collect();
    keep.extend(builder.properties().stream_key.iter());
    keep.extend(builder.properties().row_watermark);
    keep.sort_unstable();
    keep.dedup();
    keep_columns(relation, &keep, builder)
}
