//! SHOW and DESCRIBE: rows of the server's own making.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use sqlparser::ast::{Ident, ObjectName, Spanned};
use tidemill_planner::PlanError;
use tidemill_planner::bind::relation_schema;
use tidemill_planner::catalog::{CatalogObject, CatalogSnapshot, ColumnOrigin, ObjectKind};
use tidemill_planner::ddl::resolve_existing;
use tidemill_planner::parse::{RelationKind, SettingName, Show, fold};
use tidemill_planner::types_sql::pg_field_type_name;
use tidemill_runtime::JobState;
use tidemill_types::{ConnectorFacts, ConnectorKind, Diagnostic, OptionKind, SqlState};

use super::SqlSession;
use super::api::{Execution, StatementText};
use super::names::is_of_kind;
use super::settings::{self, SETTINGS};

type Result<T> = std::result::Result<T, Diagnostic>;

/// The columns of a SHOW.
///
/// # Errors
/// 42704 for a setting that does not exist.
pub(super) fn columns(show: &Show) -> std::result::Result<SchemaRef, PlanError> {
    Ok(match show {
        Show::Sources | Show::Views | Show::MaterializedViews | Show::Sinks => {
            texts_schema(&["schema", "name"])
        }
        Show::Tables => texts_schema(&["schema", "name", "kind"]),
        Show::Schemas => texts_schema(&["name"]),
        Show::Jobs => Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            text_field("name"),
            text_field("kind"),
            text_field("state"),
            text_field("error"),
        ])),
        Show::Connectors => texts_schema(&["name", "kind"]),
        Show::Options { .. } => {
            texts_schema(&["name", "kind", "value", "required", "default_value", "doc"])
        }
        Show::Create { .. } => texts_schema(&["name", "create_statement"]),
        Show::Columns { .. } => describe_columns(),
        Show::Setting(name) => texts_schema(&[setting(name)?.name]),
        Show::All => texts_schema(&["name", "setting", "description"]),
    })
}

/// The columns of DESCRIBE.
pub(super) fn describe_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        text_field("name"),
        text_field("type"),
        Field::new("nullable", DataType::Boolean, false),
        // What the column is computed from, and what its watermark is.
        text_field("generated"),
        text_field("watermark"),
    ]))
}

fn text_field(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

fn texts_schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|n| text_field(n)).collect::<Vec<_>>()))
}

fn setting(name: &SettingName) -> std::result::Result<&'static settings::SettingFact, PlanError> {
    settings::find(&name.name)
        .ok_or_else(|| PlanError::from(settings::unknown(&name.name)).or_at(name.span))
}

/// Rows that are there already.
pub(super) fn ready_rows(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    tag: &'static str,
) -> Result<Execution> {
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
        .map_err(|e| Diagnostic::internal(e.to_string()))?;
    Ok(Execution::Rows { schema, rows: futures::stream::iter([Ok(batch)]).boxed(), tag })
}

/// Rows of text columns.
fn text_rows(schema: SchemaRef, rows: Vec<Vec<Option<String>>>) -> Result<Execution> {
    let column = |i: usize| -> ArrayRef {
        Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row[i].as_deref())))
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    ready_rows(schema, columns, "SHOW")
}

fn some(text: impl Into<String>) -> Option<String> {
    Some(text.into())
}

impl SqlSession {
    pub(super) fn show(&mut self, show: &Show, text: &StatementText) -> Result<Execution> {
        let shown = |e: PlanError| e.diagnostic(&text.source);
        let schema = columns(show).map_err(shown)?;
        let snapshot = self.shared.catalog.snapshot();
        let relations = |kind: RelationKind| {
            let all = snapshot.objects.values().filter(|o| is_of_kind(o, kind));
            all.map(|o| vec![some(&o.name.schema), some(&o.name.name)]).collect()
        };
        let rows = match show {
            Show::Sources => relations(RelationKind::Source),
            Show::Views => relations(RelationKind::View),
            Show::MaterializedViews => relations(RelationKind::MaterializedView),
            Show::Sinks => relations(RelationKind::Sink),
            Show::Tables => tables(&snapshot),
            Show::Schemas => snapshot.schemas.iter().map(|s| vec![some(s)]).collect(),
            Show::Jobs => return self.show_jobs(schema),
            Show::Connectors => connectors(&self.shared.connectors),
            Show::Options { connector } => {
                options(&self.shared.connectors, connector).map_err(shown)?
            }
            Show::Create { kind, name } => {
                let object = self.existing(name, &snapshot, text)?;
                vec![create_statement(object, *kind, name).map_err(shown)?]
            }
            Show::Columns { name } => return self.describe(name, text),
            Show::Setting(name) => {
                vec![vec![some(self.settings.value(setting(name).map_err(shown)?))]]
            }
            Show::All => SETTINGS
                .iter()
                .map(|f| vec![some(f.name), some(self.settings.value(f)), some(f.doc)])
                .collect(),
        };
        text_rows(schema, rows)
    }

    fn existing<'a>(
        &self,
        name: &ObjectName,
        snapshot: &'a CatalogSnapshot,
        text: &StatementText,
    ) -> Result<&'a Arc<CatalogObject>> {
        resolve_existing(name, &self.settings.search_path(), snapshot)
            .map_err(|e| e.diagnostic(&text.source))
    }

    fn show_jobs(&self, schema: SchemaRef) -> Result<Execution> {
        let engine = &self.shared.engine;
        let jobs = engine.jobs_at(engine.current_epoch());
        let error = |state: &JobState| match state {
            JobState::Failed(diagnostic) => Some(diagnostic.message.clone()),
            _ => None,
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(jobs.iter().map(|j| i64::from(j.job.0)))),
            Arc::new(StringViewArray::from_iter_values(jobs.iter().map(|j| &j.name))),
            Arc::new(StringViewArray::from_iter_values(jobs.iter().map(|j| j.kind.name()))),
            Arc::new(StringViewArray::from_iter_values(jobs.iter().map(|j| j.state.name()))),
            Arc::new(StringViewArray::from_iter(jobs.iter().map(|j| error(&j.state)))),
        ];
        ready_rows(schema, columns, "SHOW")
    }

    pub(super) fn describe(
        &mut self,
        name: &ObjectName,
        text: &StatementText,
    ) -> Result<Execution> {
        let snapshot = self.shared.catalog.snapshot();
        let object = self.existing(name, &snapshot, text)?;
        let schema = match &object.kind {
            ObjectKind::Sink(sink) => Arc::clone(&sink.schema),
            _ => relation_schema(object)
                .ok_or_else(|| Diagnostic::internal(format!("{} has no columns", object.name)))?,
        };
        let fields = schema.fields();
        let extra: Vec<_> = fields.iter().map(|f| column_extra(object, f.name())).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(fields.iter().map(|f| f.name()))),
            Arc::new(StringViewArray::from_iter_values(
                fields.iter().map(|f| pg_field_type_name(f)),
            )),
            Arc::new(BooleanArray::from_iter(fields.iter().map(|f| Some(f.is_nullable())))),
            Arc::new(StringViewArray::from_iter(extra.iter().map(|e| e.0.as_deref()))),
            Arc::new(StringViewArray::from_iter(extra.iter().map(|e| e.1.as_deref()))),
        ];
        ready_rows(describe_columns(), columns, "DESCRIBE")
    }
}

/// A source column's expression and watermark.
fn column_extra(object: &CatalogObject, column: &str) -> (Option<String>, Option<String>) {
    let ObjectKind::Source(source) = &object.kind else { return (None, None) };
    let generated =
        source.columns.iter().find(|c| c.field.name() == column).and_then(|c| match &c.origin {
            ColumnOrigin::Generated { expression } => Some(expression.clone()),
            ColumnOrigin::Connector { .. } => None,
        });
    let watermark = source.watermark.as_ref().filter(|w| w.column == column);
    (generated, watermark.map(|w| w.expression.clone()))
}

/// Everything that can be read or written, but the system's own.
fn tables(snapshot: &CatalogSnapshot) -> Vec<Vec<Option<String>>> {
    snapshot
        .objects
        .values()
        .filter(|o| !matches!(o.kind, ObjectKind::System { .. }))
        .map(|o| vec![some(&o.name.schema), some(&o.name.name), some(o.kind.noun())])
        .collect()
}

fn connectors(facts: &dyn ConnectorFacts) -> Vec<Vec<Option<String>>> {
    let of = |kind, noun: &'static str| {
        facts.names(kind).into_iter().map(move |name| vec![some(name), some(noun)])
    };
    of(ConnectorKind::Source, "source").chain(of(ConnectorKind::Sink, "sink")).collect()
}

fn options(
    facts: &dyn ConnectorFacts,
    connector: &Ident,
) -> std::result::Result<Vec<Vec<Option<String>>>, PlanError> {
    let name = fold(connector);
    let of = |kind, word| Some((word, facts.options(kind, &name)?));
    let known: Vec<_> = [of(ConnectorKind::Source, "source"), of(ConnectorKind::Sink, "sink")]
        .into_iter()
        .flatten()
        .collect();
    if known.is_empty() {
        return Err(PlanError::invalid(
            SqlState::UNDEFINED_OBJECT,
            format!("there is no connector \"{name}\""),
            connector.span,
        )
        .with_hint("SHOW CONNECTORS lists the connectors."));
    }
    let row = |kind: &str, fact: &tidemill_types::OptionFact| {
        vec![
            some(fact.name),
            some(kind),
            some(value_form(fact.kind)),
            some(if fact.required { "yes" } else { "no" }),
            fact.default.map(str::to_owned),
            some(fact.doc),
        ]
    };
    Ok(known.iter().flat_map(|(kind, facts)| facts.iter().map(|f| row(kind, f))).collect())
}

fn value_form(kind: OptionKind) -> String {
    match kind {
        OptionKind::Text => "text".to_owned(),
        OptionKind::Integer { min, max: i64::MAX } => format!("integer, at least {min}"),
        OptionKind::Integer { min, max } => format!("integer, {min} to {max}"),
        OptionKind::Boolean => "true or false".to_owned(),
        OptionKind::Duration => "duration".to_owned(),
        OptionKind::Timestamp => "timestamp".to_owned(),
        OptionKind::OneOf(words) => words.join(" | "),
    }
}

fn create_statement(
    object: &CatalogObject,
    kind: Option<RelationKind>,
    written: &ObjectName,
) -> std::result::Result<Vec<Option<String>>, PlanError> {
    let wrong =
        |message: String| PlanError::invalid(SqlState::WRONG_OBJECT_TYPE, message, written.span());
    if matches!(object.kind, ObjectKind::System { .. }) {
        return Err(wrong(format!("\"{}\" is a system relation", object.name.name)));
    }
    if let Some(kind) = kind.filter(|k| !is_of_kind(object, *k)) {
        let message = format!("\"{}\" is not a {}", object.name.name, kind.noun());
        return Err(wrong(message).with_hint(format!("It is a {}.", object.kind.noun())));
    }
    Ok(vec![some(object.name.to_string()), some(&object.sql)])
}
