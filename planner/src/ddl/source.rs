//! CREATE SOURCE: columns, types, generated columns, watermark, options.
//!
//! A source's columns are in the user's order. Those without an expression are
//! decoded by the connector, which says under which name of its own; the others
//! are computed from the decoded ones. With no decoded column declared, the
//! connector's own come first.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use sqlparser::ast::Spanned;
use sqlparser::tokenizer::Span;
use tidemill_types::{
    ColumnFact, ConnectorFacts, ConnectorKind, Diagnostic, OnError, Options, SourceShape, SqlState,
    WatermarkFact,
};

use super::names::{resolve_new_name, taken};
use super::{option_texts, user_name};
use crate::bind::bind_scalar;
use crate::catalog::{
    CatalogSnapshot, ColumnOrigin, QualifiedName, SourceColumn, SourceObject, SourceWatermark,
};
use crate::error::{PlanError, start};
use crate::parse::{ColumnDef, CreateSource, FormatDef, OptionDef, SqlExpr, WatermarkDef, fold};
use crate::types_sql::{arrow_field, pg_field_type_name, pg_type_name};

const CONNECTOR: &str = "connector";
const ON_ERROR: &str = "on_error";
const FORMAT: &str = "format";

/// A source that may be made.
#[derive(Clone, Debug)]
pub struct AnalyzedSource {
    pub name: QualifiedName,
    pub source: SourceObject,
}

/// Checks `CREATE SOURCE`. `None`: the name is taken and IF NOT EXISTS was said.
///
/// # Errors
/// Whatever is wrong with names, types, options or expressions, at its place.
pub fn analyze_create_source(
    create: &CreateSource,
    search_path: &[String],
    snapshot: &CatalogSnapshot,
    facts: &dyn ConnectorFacts,
) -> Result<Option<AnalyzedSource>, PlanError> {
    let name = resolve_new_name(&create.name, search_path, snapshot)?;
    if taken(&name, &create.name, create.if_not_exists, snapshot)? {
        return Ok(None);
    }
    let connector = connector(create, ConnectorKind::Source, facts)?;
    let on_error = on_error(create.option(ON_ERROR))?;
    let declared = declare(create.columns.as_deref().unwrap_or_default())?;
    let mut options = option_texts(&create.options, &[CONNECTOR, ON_ERROR]);
    add_format(create, connector, facts, &mut options)?;
    let facts_declared: Vec<ColumnFact> = declared.iter().filter_map(Declared::fact).collect();
    let shape = facts
        .source_shape(&connector.value, &options, &facts_declared)
        .map_err(|diagnostic| place(diagnostic, create))?;
    let columns = columns(&declared, &shape)?;
    let watermark = match &create.watermark {
        Some(watermark) => Some(declared_watermark(watermark, &columns)?),
        None => shape.default_watermark.as_ref().and_then(|w| default_watermark(w, &columns)),
    };
    let source = SourceObject {
        connector: connector.value.clone(),
        options: shape.options,
        columns,
        watermark,
        bounded: shape.bounded,
        on_error,
        loose_names: shape.loose_names,
    };
    Ok(Some(AnalyzedSource { name, source }))
}

/// The option that names the connector.
pub(super) fn connector<'a>(
    create: &'a CreateSource,
    kind: ConnectorKind,
    facts: &dyn ConnectorFacts,
) -> Result<&'a OptionDef, PlanError> {
    create.option(CONNECTOR).ok_or_else(|| {
        PlanError::invalid(
            SqlState::INVALID_PARAMETER_VALUE,
            "the option connector is missing",
            create.name.span(),
        )
        .with_hint(format!(
            "WITH (connector = '...') names one of: {}.",
            facts.names(kind).join(", ")
        ))
    })
}

fn on_error(option: Option<&OptionDef>) -> Result<OnError, PlanError> {
    let Some(option) = option else { return Ok(OnError::default()) };
    match option.value.to_lowercase().as_str() {
        "drop" => Ok(OnError::Drop),
        "fail" => Ok(OnError::Fail),
        "keep" => {
            Err(PlanError::unsupported("on_error = 'keep' is not supported", option.value_span)
                .with_hint("'drop' counts rejected records and goes on, 'fail' fails the job."))
        }
        other => Err(PlanError::invalid(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for option \"{ON_ERROR}\": \"{other}\""),
            option.value_span,
        )
        .with_hint("It is 'drop' or 'fail'.")),
    }
}

/// FORMAT and ENCODE in terms of the connector's options.
fn add_format(
    create: &CreateSource,
    connector: &OptionDef,
    facts: &dyn ConnectorFacts,
    options: &mut Options,
) -> Result<(), PlanError> {
    let Some(def) = &create.format else { return Ok(()) };
    if def.format != "PLAIN" {
        return Err(PlanError::unsupported(
            format!("FORMAT {} is not supported", def.format),
            def.span,
        )
        .with_hint("FORMAT PLAIN is."));
    }
    let known = facts.options(ConnectorKind::Source, &connector.value);
    if !known.is_none_or(|known| known.iter().any(|option| option.name == FORMAT)) {
        return Err(PlanError::unsupported(
            format!("connector \"{}\" takes no FORMAT", connector.value),
            def.span,
        )
        .with_hint("Leave FORMAT ... ENCODE out."));
    }
    let encode = std::iter::once((FORMAT.to_owned(), def.encode.to_lowercase()));
    for (name, value) in encode.chain(option_texts(&def.options, &[])) {
        if options.insert(name.clone(), value).is_some() {
            return Err(given_twice(&name, def));
        }
    }
    Ok(())
}

fn given_twice(name: &str, def: &FormatDef) -> PlanError {
    let message = format!("option \"{name}\" is given in WITH and in FORMAT ... ENCODE");
    PlanError::invalid(SqlState::SYNTAX_ERROR, message, def.span)
}

/// Puts a connector's complaint where the text that it is about stands: at the
/// option or column whose name it quotes, else at the connector's name.
pub(super) fn place(diagnostic: Diagnostic, create: &CreateSource) -> PlanError {
    let quoted = |name: &str| {
        ['"', '\'', '`'].iter().any(|q| diagnostic.message.contains(&format!("{q}{name}{q}")))
    };
    let format = create.format.iter().flat_map(|format| &format.options);
    let option = create
        .options
        .iter()
        .chain(format)
        .find(|option| option.name != CONNECTOR && quoted(&option.name));
    let column =
        || create.columns.iter().flatten().find(|c| quoted(&fold(&c.name))).map(|c| c.name.span);
    let fallback = create.option(CONNECTOR).map_or(Span::empty(), |option| option.value_span);
    let span = option.map(|option| option.name_span).or_else(column).unwrap_or(fallback);
    PlanError::Diagnostic { diagnostic, at: start(span) }
}

/// A column of the statement, its type resolved.
struct Declared<'a> {
    def: &'a ColumnDef,
    name: String,
    /// `None`: a generated column whose type its expression decides.
    field: Option<Field>,
}

impl Declared<'_> {
    /// What the connector is told; `None` for a generated column.
    fn fact(&self) -> Option<ColumnFact> {
        let field = self.field.as_ref()?;
        self.def.generated.is_none().then(|| ColumnFact {
            name: self.name.clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
        })
    }
}

fn declare(columns: &[ColumnDef]) -> Result<Vec<Declared<'_>>, PlanError> {
    let mut declared: Vec<Declared<'_>> = Vec::with_capacity(columns.len());
    for def in columns {
        let name = user_name(&def.name, "column")?;
        if declared.iter().any(|earlier| earlier.name == name) {
            return Err(PlanError::DuplicateColumn { name, at: start(def.name.span) });
        }
        if def.not_null && def.generated.is_some() {
            return Err(PlanError::unsupported(
                "NOT NULL on a generated column is not supported",
                def.name.span,
            )
            .with_hint("Whether the column can be NULL follows from its expression."));
        }
        let field = match &def.data_type {
            Some(sql) => Some(
                arrow_field(&name, &sql.data_type, !def.not_null).map_err(|e| e.or_at(sql.span))?,
            ),
            None => None,
        };
        declared.push(Declared { def, name, field });
    }
    Ok(declared)
}

/// The source's columns, from what the user declared and the connector offers.
fn columns(declared: &[Declared<'_>], shape: &SourceShape) -> Result<Vec<SourceColumn>, PlanError> {
    if shape.columns.len() != shape.physical_names.len() {
        return Err(PlanError::Internal("a connector's columns and names differ in number".into()));
    }
    let tags: HashMap<&str, &HashMap<String, String>> = declared
        .iter()
        .filter_map(|d| d.field.as_ref().map(|field| (d.name.as_str(), field.metadata())))
        .collect();
    let decoded: Vec<SourceColumn> = shape
        .columns
        .iter()
        .zip(&shape.physical_names)
        .map(|(fact, physical_name)| {
            let mut field = Field::new(&fact.name, fact.data_type.clone(), fact.nullable);
            if let Some(tags) = tags.get(fact.name.as_str()) {
                field.set_metadata((*tags).clone());
            }
            let origin = ColumnOrigin::Connector { physical_name: physical_name.clone() };
            SourceColumn { field, origin }
        })
        .collect();
    let schema = Schema::new(decoded.iter().map(|c| c.field.clone()).collect::<Vec<_>>());
    let names_own = declared.iter().all(|d| d.def.generated.is_some());
    let mut rest = decoded.into_iter();
    let mut columns: Vec<SourceColumn> =
        if names_own { rest.by_ref().collect() } else { Vec::new() };
    for column in declared {
        let next = match &column.def.generated {
            Some(expression) => generated(column, expression, &schema)?,
            None => rest.next().ok_or_else(|| {
                PlanError::Internal("a connector offers fewer columns than declared".to_owned())
            })?,
        };
        if columns.iter().any(|c| c.field.name() == next.field.name()) {
            let at = start(column.def.name.span);
            return Err(PlanError::DuplicateColumn { name: column.name.clone(), at });
        }
        columns.push(next);
    }
    Ok(columns)
}

fn generated(
    column: &Declared<'_>,
    expression: &SqlExpr,
    decoded: &Schema,
) -> Result<SourceColumn, PlanError> {
    let wanted = column.field.as_ref().map(Field::data_type);
    let bound =
        bind_scalar(&expression.expr, decoded, wanted).map_err(|e| e.or_at(expression.span))?;
    if bound.data_type == DataType::Null {
        return Err(PlanError::invalid(
            SqlState::INDETERMINATE_DATATYPE,
            format!("the type of column \"{}\" is not known", column.name),
            column.def.name.span,
        )
        .with_hint("Write the type behind the column's name."));
    }
    let mut field = Field::new(&column.name, bound.data_type, bound.nullable);
    if let Some(declared) = &column.field {
        field.set_metadata(declared.metadata().clone());
    }
    let origin = ColumnOrigin::Generated { expression: expression.text.clone() };
    Ok(SourceColumn { field, origin })
}

fn is_timestamp(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _))
}

fn declared_watermark(
    def: &WatermarkDef,
    columns: &[SourceColumn],
) -> Result<SourceWatermark, PlanError> {
    let name = fold(&def.column);
    let column = columns.iter().find(|c| *c.field.name() == name).ok_or_else(|| {
        PlanError::UndefinedColumn {
            name: format!("\"{name}\""),
            at: start(def.column.span),
            hint: None,
        }
    })?;
    if !is_timestamp(column.field.data_type()) {
        return Err(PlanError::type_mismatch(
            format!(
                "the watermark's column \"{name}\" has type {}, it must be a timestamp",
                pg_field_type_name(&column.field)
            ),
            def.column.span,
        ));
    }
    let schema = Schema::new(columns.iter().map(|c| c.field.clone()).collect::<Vec<_>>());
    let bound = bind_scalar(&def.expression.expr, &schema, None)
        .map_err(|e| e.or_at(def.expression.span))?;
    if bound.data_type != *column.field.data_type() {
        return Err(PlanError::type_mismatch(
            format!(
                "the watermark has type {}, its column \"{name}\" has type {}",
                pg_type_name(&bound.data_type),
                pg_field_type_name(&column.field)
            ),
            def.expression.span,
        ));
    }
    Ok(SourceWatermark { column: name, expression: def.expression.text.clone() })
}

/// The connector's watermark, where its column is there and a timestamp.
fn default_watermark(fact: &WatermarkFact, columns: &[SourceColumn]) -> Option<SourceWatermark> {
    columns.iter().find(|c| *c.field.name() == fact.column && is_timestamp(c.field.data_type()))?;
    let quoted = format!("\"{}\"", fact.column.replace('"', "\"\""));
    let expression = match fact.delay {
        0 => quoted,
        delay if delay % 1_000_000 == 0 => {
            format!("{quoted} - INTERVAL '{} seconds'", delay / 1_000_000)
        }
        delay => format!("{quoted} - INTERVAL '{delay} microseconds'"),
    };
    Some(SourceWatermark { column: fact.column.clone(), expression })
}
