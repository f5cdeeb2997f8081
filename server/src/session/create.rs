//! CREATE of what runs nothing by itself: sources, sink targets, views, schemas.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use sqlparser::ast::{Ident, Spanned};
use tidemill_planner::PlanError;
use tidemill_planner::catalog::{CatalogObject, ObjectKind, QualifiedName, SinkObject, ViewObject};
use tidemill_planner::ddl::{
    AnalyzedTable, analyze_create_source, analyze_create_table, resolve_new_name,
};
use tidemill_planner::parse::{CreateSource, CreateView, fold};
use tidemill_types::{Diagnostic, SqlState, hidden};

use super::SqlSession;
use super::api::{Execution, StatementText};
use crate::catalog::{Catalog, CatalogError, IfTaken};

type Result<T> = std::result::Result<T, Diagnostic>;

/// Microseconds since the Unix epoch: no sink of another data directory has the same.
pub(super) fn new_incarnation() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

fn command(tag: &str) -> Result<Execution> {
    Ok(Execution::Command { tag: tag.to_owned() })
}

impl SqlSession {
    pub(super) async fn create_source(
        &mut self,
        statement: &CreateSource,
        text: &StatementText,
    ) -> Result<Execution> {
        const TAG: &str = "CREATE SOURCE";
        self.outside_transaction(TAG)?;
        let snapshot = self.shared.catalog.snapshot();
        let path = self.settings.search_path();
        let analyzed = analyze_create_source(statement, &path, &snapshot, &self.shared.connectors)
            .map_err(|e| e.diagnostic(&text.source))?;
        match analyzed {
            Some(source) => {
                self.register(source.name, ObjectKind::Source(source.source), text).await?;
            }
            None => self.skipped(&statement.name.to_string()),
        }
        command(TAG)
    }

    /// Flink's declaration of either end.
    pub(super) async fn create_table(
        &mut self,
        statement: &CreateSource,
        text: &StatementText,
    ) -> Result<Execution> {
        const TAG: &str = "CREATE TABLE";
        self.outside_transaction(TAG)?;
        let snapshot = self.shared.catalog.snapshot();
        let path = self.settings.search_path();
        let analyzed = analyze_create_table(statement, &path, &snapshot, &self.shared.connectors)
            .map_err(|e| e.diagnostic(&text.source))?;
        match analyzed {
            Some(AnalyzedTable::Source(source)) => {
                self.register(source.name, ObjectKind::Source(source.source), text).await?;
            }
            Some(AnalyzedTable::Sink(sink)) => {
                let kind = ObjectKind::Sink(SinkObject {
                    job: None,
                    connector: sink.connector,
                    options: sink.options,
                    incarnation: new_incarnation(),
                    schema: sink.schema,
                });
                self.register(sink.name, kind, text).await?;
            }
            None => self.skipped(&statement.name.to_string()),
        }
        command(TAG)
    }

    pub(super) async fn create_view(
        &mut self,
        statement: &CreateView,
        text: &StatementText,
    ) -> Result<Execution> {
        const TAG: &str = "CREATE VIEW";
        self.outside_transaction(TAG)?;
        let shown = |e: PlanError| e.diagnostic(&text.source);
        let name = if statement.or_replace {
            let snapshot = self.shared.catalog.snapshot();
            let path = self.settings.search_path();
            resolve_new_name(&statement.name, &path, &snapshot).map_err(shown)?
        } else {
            match self.new_name(&statement.name, statement.if_not_exists, text)? {
                Some(name) => name,
                None => return command(TAG),
            }
        };
        let snapshot = self.shared.catalog.snapshot();
        let bound = self.bind_definition(&statement.query, &snapshot).map_err(shown)?;
        if !bound.parameters.is_empty() {
            let message = "a view cannot have parameters";
            let error =
                PlanError::invalid(SqlState::UNDEFINED_PARAMETER, message, statement.query.span());
            return Err(shown(error));
        }
        let schema = view_schema(&bound.schema(), &statement.columns, statement).map_err(shown)?;
        let object = CatalogObject {
            id: self.shared.catalog.new_object_id(),
            name,
            sql: text.text().to_owned(),
            depends_on: bound.relations.iter().copied().collect(),
            kind: ObjectKind::View(ViewObject {
                schema: Arc::new(schema),
                query: statement.query_text.clone(),
                search_path: self.settings.search_path(),
            }),
        };
        let if_taken = if statement.or_replace { IfTaken::Replace } else { IfTaken::Refuse };
        self.change(move |catalog| catalog.create(object, if_taken)).await?;
        self.transaction.forget_implicit_pin();
        command(TAG)
    }

    pub(super) async fn create_schema(
        &mut self,
        name: &Ident,
        if_not_exists: bool,
    ) -> Result<Execution> {
        const TAG: &str = "CREATE SCHEMA";
        self.outside_transaction(TAG)?;
        let name = fold(name);
        let created = name.clone();
        if !self.change(move |catalog| catalog.create_schema(&created, if_not_exists)).await? {
            self.notice(Diagnostic::new(
                SqlState::DUPLICATE_SCHEMA,
                format!("schema \"{name}\" already exists, skipping"),
            ));
        }
        command(TAG)
    }

    async fn register(
        &mut self,
        name: QualifiedName,
        kind: ObjectKind,
        text: &StatementText,
    ) -> Result<()> {
        let id = self.shared.catalog.new_object_id();
        let object =
            CatalogObject { id, name, sql: text.text().to_owned(), depends_on: Vec::new(), kind };
        self.change(move |catalog| catalog.create(object, IfTaken::Refuse)).await?;
        Ok(())
    }

    /// Changes the catalog off the sockets' threads, as that waits for its log. The
    /// change is carried to its end even if the client does not wait for it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Catalog) -> std::result::Result<T, CatalogError> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        Ok(self.shared.queries.block(move || change(&shared.catalog)).await??)
    }
}

/// The query's columns under the names that CREATE VIEW gives them.
fn view_schema(
    bound: &Schema,
    names: &[Ident],
    statement: &CreateView,
) -> std::result::Result<Schema, PlanError> {
    if let Some(extra) = names.get(bound.fields().len()) {
        let message = "CREATE VIEW specifies more column names than columns";
        return Err(PlanError::invalid(SqlState::SYNTAX_ERROR, message, extra.span));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(bound.fields().len());
    for (i, field) in bound.fields().iter().enumerate() {
        let name = names.get(i).map_or_else(|| field.name().clone(), fold);
        let span = names.get(i).map_or_else(|| statement.query.span(), |n| n.span);
        if hidden::is_hidden(&name) {
            let message = format!("column name \"{name}\" is reserved");
            return Err(PlanError::invalid(SqlState::INVALID_OBJECT_DEFINITION, message, span));
        }
        if fields.iter().any(|f| *f.name() == name) {
            let at = tidemill_planner::error::start(span);
            return Err(PlanError::DuplicateColumn { name, at });
        }
        fields.push(field.as_ref().clone().with_name(name));
    }
    Ok(Schema::new(fields))
}
