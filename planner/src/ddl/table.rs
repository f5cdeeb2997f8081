//! CREATE TABLE with a connector, as Flink writes it: a source, or a target
//! that INSERT INTO starts a job for.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use tidemill_types::{ConnectorFacts, ConnectorKind, Options};

use super::names::{resolve_new_name, taken};
use super::source::{AnalyzedSource, analyze_create_source, connector, place};
use super::{option_texts, user_name};
use crate::catalog::{CatalogSnapshot, QualifiedName};
use crate::error::{PlanError, start};
use crate::parse::{ColumnDef, CreateSource};
use crate::types_sql::arrow_field;

/// What a CREATE TABLE with a connector declares.
#[derive(Clone, Debug)]
pub enum AnalyzedTable {
    Source(AnalyzedSource),
    Sink(AnalyzedSink),
}

/// A declared target of INSERT INTO. It runs nothing by itself.
#[derive(Clone, Debug)]
pub struct AnalyzedSink {
    pub name: QualifiedName,
    pub connector: String,
    /// Validated, defaults filled in.
    pub options: Options,
    /// The declared columns; what is inserted is cast to them.
    pub schema: SchemaRef,
}

/// Checks `CREATE TABLE x (...) WITH ('connector' = ...)`. `None`: the name is
/// taken and IF NOT EXISTS was said.
///
/// # Errors
/// As [`analyze_create_source`]; 0A000 for a watermark, a generated column or a
/// format on a target.
pub fn analyze_create_table(
    create: &CreateSource,
    search_path: &[String],
    snapshot: &CatalogSnapshot,
    facts: &dyn ConnectorFacts,
) -> Result<Option<AnalyzedTable>, PlanError> {
    let named = connector(create, ConnectorKind::Source, facts)?;
    let is_sink = facts.options(ConnectorKind::Source, &named.value).is_none()
        && facts.options(ConnectorKind::Sink, &named.value).is_some();
    if !is_sink {
        let source = analyze_create_source(create, search_path, snapshot, facts)?;
        return Ok(source.map(AnalyzedTable::Source));
    }
    let name = resolve_new_name(&create.name, search_path, snapshot)?;
    if taken(&name, &create.name, create.if_not_exists, snapshot)? {
        return Ok(None);
    }
    refuse_source_parts(create)?;
    let schema = target_schema(create.columns.as_deref().unwrap_or_default())?;
    let options = facts
        .sink_options(&named.value, &option_texts(&create.options, &["connector"]))
        .map_err(|diagnostic| place(diagnostic, create))?;
    let connector = named.value.clone();
    Ok(Some(AnalyzedTable::Sink(AnalyzedSink { name, connector, options, schema })))
}

fn refuse_source_parts(create: &CreateSource) -> Result<(), PlanError> {
    let refuse = |what: &str, span| {
        Err(PlanError::unsupported(format!("{what} is not supported on a sink target"), span)
            .with_hint("A target has columns with types only."))
    };
    if let Some(watermark) = &create.watermark {
        return refuse("WATERMARK", watermark.column.span);
    }
    if let Some(format) = &create.format {
        return refuse("FORMAT", format.span);
    }
    match create.columns.iter().flatten().find(|c| c.generated.is_some()) {
        Some(column) => refuse("a generated column", column.name.span),
        None => Ok(()),
    }
}

fn target_schema(columns: &[ColumnDef]) -> Result<SchemaRef, PlanError> {
    let mut fields = Vec::with_capacity(columns.len());
    for def in columns {
        let name = user_name(&def.name, "column")?;
        if fields.iter().any(|f: &arrow::datatypes::Field| *f.name() == name) {
            return Err(PlanError::DuplicateColumn { name, at: start(def.name.span) });
        }
        if let Some(sql) = &def.data_type {
            let field = arrow_field(&name, &sql.data_type, !def.not_null);
            fields.push(field.map_err(|e| e.or_at(sql.span))?);
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}
