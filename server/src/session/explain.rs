//! EXPLAIN: the dataflow of a job, or the physical plan of a SELECT. Plans only,
//! starts nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::displayable;
use sqlparser::ast::{self, Spanned};
use tidemill_planner::PlanError;
use tidemill_planner::catalog::ObjectKind;
use tidemill_planner::ddl::resolve_existing;
use tidemill_planner::explain::explain;
use tidemill_planner::lower::JobTarget;
use tidemill_planner::parse::{Explain, SinkInput, Statement};
use tidemill_types::{Diagnostic, ObjectId, Options, SqlState};

use super::SqlSession;
use super::api::{Execution, StatementText};
use super::job::{JobQuery, job_settings};
use super::show::ready_rows;

type Result<T> = std::result::Result<T, Diagnostic>;

/// Stands for the number of an object that is not going to be made.
const NO_OBJECT: ObjectId = ObjectId(0);

/// The columns of EXPLAIN.
pub(super) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8View, false)]))
}

impl SqlSession {
    pub(super) async fn explain(
        &mut self,
        statement: &Explain,
        text: &StatementText,
    ) -> Result<Execution> {
        if statement.analyze {
            return Err(Diagnostic::unsupported("EXPLAIN ANALYZE is not supported")
                .with_hint("tm_catalog.jobs shows what a job has done."));
        }
        let plan = match statement.statement.as_ref() {
            Statement::Query(query) => self.explain_query(query, statement.verbose, text).await?,
            other => self.explain_job(other, text)?,
        };
        let lines: ArrayRef = Arc::new(StringViewArray::from_iter_values(plan.lines()));
        ready_rows(columns(), vec![lines], "EXPLAIN")
    }

    async fn explain_query(
        &mut self,
        query: &ast::Query,
        verbose: bool,
        text: &StatementText,
    ) -> Result<String> {
        let snapshot = self.shared.catalog.snapshot();
        self.refresh_functions(&snapshot);
        let bound = self.bind(query, &snapshot, &[]).map_err(|e| e.diagnostic(&text.source))?;
        let readable = self.readable(bound.plan).await?;
        let state = self.executing_state();
        let physical = self.shared.queries.physical_plan(state, readable.plan).await?;
        Ok(displayable(physical.as_ref()).indent(verbose).to_string())
    }

    fn explain_job(&self, statement: &Statement, text: &StatementText) -> Result<String> {
        let shown = |e: PlanError| e.diagnostic(&text.source);
        let no_options = Options::new();
        let sink = |name| JobTarget::Sink {
            id: NO_OBJECT,
            name,
            connector: "",
            options: &no_options,
            log: None,
        };
        let planned = match statement {
            Statement::CreateMaterializedView(view) => {
                let settings = job_settings(&self.settings, &view.options, text)?;
                let job = JobQuery {
                    query: &view.query,
                    column_names: &view.columns,
                    emit: view.emit,
                    target: JobTarget::MaterializedView { id: NO_OBJECT },
                };
                self.plan_job(&job, &settings, text)?
            }
            Statement::CreateSink(create) => {
                let SinkInput::Query(query) = &create.input else {
                    return Err(shown(
                        PlanError::unsupported(
                            "EXPLAIN of a sink FROM a relation is not supported",
                            create.name.span(),
                        )
                        .with_hint("Write CREATE SINK ... AS SELECT * FROM it."),
                    ));
                };
                let name = create.name.to_string();
                let job =
                    JobQuery { query, column_names: &[], emit: create.emit, target: sink(&name) };
                self.plan_job(&job, &self.settings, text)?
            }
            Statement::InsertInto { target, query, .. } => {
                let snapshot = self.shared.catalog.snapshot();
                let object = resolve_existing(target, &self.settings.search_path(), &snapshot)
                    .map_err(shown)?;
                if !matches!(object.kind, ObjectKind::Sink(_)) {
                    let message = format!("cannot insert into {}", object.kind.noun());
                    return Err(shown(PlanError::invalid(
                        SqlState::WRONG_OBJECT_TYPE,
                        message,
                        target.span(),
                    )));
                }
                let target = sink(&object.name.name);
                let job = JobQuery { query, column_names: &[], emit: None, target };
                self.plan_job(&job, &self.settings, text)?
            }
            _ => {
                return Err(Diagnostic::unsupported("EXPLAIN of this statement is not supported")
                    .with_hint(
                        "EXPLAIN takes SELECT, CREATE MATERIALIZED VIEW, CREATE SINK and INSERT.",
                    ));
            }
        };
        Ok(explain(&planned.graph))
    }
}
