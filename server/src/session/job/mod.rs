//! Statements that start a job: CREATE MATERIALIZED VIEW, CREATE SINK, INSERT INTO.
//!
//! ```text
//! plan -> pending in the catalog -> deploy -> wait until the first caught-up epoch
//!                                             is visible -> written down -> answer
//! ```
//!
//! A creation that fails, times out or is cancelled on the way leaves nothing
//! behind: [`Creation`] takes everything back unless the catalog's log has it. A
//! crash before that leaves nothing either; after it, the job goes on when the
//! server starts again ([`stored`]).

mod creation;
mod plan;
pub mod stored;

use std::sync::Arc;

use sqlparser::ast::{Ident, ObjectName, Query, Spanned};
use tidemill_planner::PlanError;
use tidemill_planner::catalog::{
    CatalogObject, MaterializedViewObject, ObjectKind, QualifiedName, SinkObject,
};
use tidemill_planner::ddl::{resolve_existing, resolve_new_name, taken};
use tidemill_planner::lower::{JobTarget, PlannedJob};
use tidemill_planner::parse::{CreateMaterializedView, CreateSink};
use tidemill_runtime::{JobKind, JobSpec};
use tidemill_storage::ViewSchema;
use tidemill_types::{ConnectorFacts, Diagnostic, ObjectId, SqlState, TableId};

use super::api::{Execution, StatementText};
use super::create::new_incarnation;
use super::names::job_name;
use super::settings::Settings;
use super::{Shared, SqlSession};
use crate::catalog::CatalogError;
use crate::catalog::record::JobDefinition;
use crate::catalog::skeleton::Skeleton;
use creation::Creation;
use plan::{JOB_OPTIONS, encode, sink_connector};
pub(super) use plan::{JobQuery, Planner, job_settings};

type Result<T> = std::result::Result<T, Diagnostic>;

impl SqlSession {
    pub(super) fn plan_job(
        &self,
        job: &JobQuery<'_>,
        settings: &Settings,
        text: &StatementText,
    ) -> Result<PlannedJob> {
        let snapshot = self.shared.catalog.snapshot();
        let state = self.shared.job_state();
        Planner { snapshot: &snapshot, state, settings, text }.plan(job)
    }

    pub(super) async fn create_materialized_view(
        &mut self,
        statement: &CreateMaterializedView,
        text: &StatementText,
    ) -> Result<Execution> {
        const TAG: &str = "CREATE MATERIALIZED VIEW";
        self.outside_transaction(TAG)?;
        let Some(name) = self.new_name(&statement.name, statement.if_not_exists, text)? else {
            return Ok(Execution::Command { tag: TAG.to_owned() });
        };
        let settings = job_settings(&self.settings, &statement.options, text)?;
        let id = self.shared.catalog.new_object_id();
        let planned = {
            let snapshot = self.shared.catalog.snapshot();
            let state = self.shared.job_state();
            let planner = Planner { snapshot: &snapshot, state, settings: &settings, text };
            planner.view(statement, id)?
        };
        let definition = self.definition(&planned, &settings, text);
        let shape = JobShape { name: &name, kind: JobKind::MaterializedView, view: Some(id) };
        let spec = shape.spec(&self.shared, &definition, &planned, &settings)?;
        let object = CatalogObject {
            id,
            name,
            sql: text.text().to_owned(),
            depends_on: planned.depends_on.clone(),
            kind: ObjectKind::MaterializedView(MaterializedViewObject {
                job: definition.job,
                stored: Arc::clone(&planned.stored),
                visible: planned.visible.fields().len(),
                key: planned.key.clone(),
            }),
        };
        let parts = self.shared.engine.parts(spec.parallelism);
        self.shared.views.create(id, view_schema(&planned), parts).map_err(|e| e.diagnostic())?;
        let creation = Creation::new(&self.shared, id, &definition, Some(id))?;
        let creation = creation.begin(move |c| c.begin_create(object, definition)).await?;
        self.bring_up(creation, spec, planned.notices).await?;
        Ok(Execution::Command { tag: TAG.to_owned() })
    }

    pub(super) async fn create_sink(
        &mut self,
        statement: &CreateSink,
        text: &StatementText,
    ) -> Result<Execution> {
        const TAG: &str = "CREATE SINK";
        self.outside_transaction(TAG)?;
        if let Some(format) = &statement.format {
            return Err(PlanError::unsupported("FORMAT of a sink is not supported", format.span)
                .diagnostic(&text.source));
        }
        let Some(name) = self.new_name(&statement.name, statement.if_not_exists, text)? else {
            return Ok(Execution::Command { tag: TAG.to_owned() });
        };
        let (of_job, of_connector): (Vec<_>, Vec<_>) =
            statement.options.iter().cloned().partition(|o| JOB_OPTIONS.contains(&o.name.as_str()));
        let settings = job_settings(&self.settings, &of_job, text)?;
        let (connector, options) =
            sink_connector(&self.shared.connectors, &of_connector, &statement.name, text)?;
        let id = self.shared.catalog.new_object_id();
        let incarnation = new_incarnation();
        let planned = {
            let snapshot = self.shared.catalog.snapshot();
            let state = self.shared.job_state();
            let planner = Planner { snapshot: &snapshot, state, settings: &settings, text };
            let log = self.shared.connectors.sink_log(&connector, &options, incarnation)?;
            let (name, connector, options) = (&name.name, &connector, &options);
            planner.sink(statement, JobTarget::Sink { id, name, connector, options, log })?
        };
        let definition = self.definition(&planned, &settings, text);
        let shape = JobShape { name: &name, kind: JobKind::Sink, view: None };
        let spec = shape.spec(&self.shared, &definition, &planned, &settings)?;
        let object = CatalogObject {
            id,
            name,
            sql: text.text().to_owned(),
            depends_on: planned.depends_on.clone(),
            kind: ObjectKind::Sink(SinkObject {
                job: Some(definition.job),
                connector,
                options,
                incarnation,
                schema: Arc::clone(&planned.visible),
            }),
        };
        let creation = Creation::new(&self.shared, id, &definition, None)?;
        let creation = creation.begin(move |c| c.begin_create(object, definition)).await?;
        self.bring_up(creation, spec, planned.notices).await?;
        Ok(Execution::Command { tag: TAG.to_owned() })
    }

    pub(super) async fn insert_into(
        &mut self,
        written: &ObjectName,
        columns: &[Ident],
        query: &Query,
        text: &StatementText,
    ) -> Result<Execution> {
        self.outside_transaction("INSERT INTO a sink")?;
        let shown = |e: PlanError| e.diagnostic(&text.source);
        let snapshot = self.shared.catalog.snapshot();
        let declared =
            resolve_existing(written, &self.settings.search_path(), &snapshot).map_err(shown)?;
        let ObjectKind::Sink(sink) = &declared.kind else {
            let message =
                format!("cannot insert into {} \"{}\"", declared.kind.noun(), declared.name.name);
            return Err(shown(
                PlanError::invalid(SqlState::WRONG_OBJECT_TYPE, message, written.span()).with_hint(
                    "INSERT INTO takes a sink target: CREATE TABLE ... WITH ('connector' = ...).",
                ),
            ));
        };
        if sink.job.is_some() {
            return Err(CatalogError::AlreadyFed(declared.name.name.clone()).diagnostic());
        }
        let (id, settings) = (declared.id, &self.settings);
        let state = self.shared.job_state();
        let planner = Planner { snapshot: &snapshot, state, settings, text };
        let facts = &self.shared.connectors;
        let log = facts.sink_log(&sink.connector, &sink.options, sink.incarnation)?;
        let planned = planner.insert(declared, sink, log, columns, query)?;
        let definition = self.definition(&planned, settings, text);
        let shape = JobShape { name: &declared.name, kind: JobKind::Sink, view: None };
        let spec = shape.spec(&self.shared, &definition, &planned, settings)?;
        let creation = Creation::new(&self.shared, id, &definition, None)?;
        let depends_on = planned.depends_on.clone();
        let creation = creation.begin(move |c| c.begin_feed(id, &depends_on, definition)).await?;
        self.bring_up(creation, spec, planned.notices).await?;
        // A job has been started; no row has been counted yet.
        Ok(Execution::Command { tag: "INSERT 0 0".to_owned() })
    }

    /// What the catalog will know of a new job.
    fn definition(
        &self,
        planned: &PlannedJob,
        settings: &Settings,
        text: &StatementText,
    ) -> JobDefinition {
        let skeleton = Skeleton::of(&planned.graph);
        // What the engine will number, whatever the skeleton tells of it.
        let tables = planned.graph.number_tables(TableId(0)).1.0;
        JobDefinition {
            job: self.shared.catalog.new_job_id(),
            sql: text.text().to_owned(),
            settings: settings.captured(),
            first_table: self.shared.catalog.new_tables(tables),
            tables,
            skeleton,
        }
    }

    /// The qualified name of a new object. `None`: it exists and is to be kept,
    /// which a notice has said.
    pub(super) fn new_name(
        &mut self,
        written: &ObjectName,
        if_not_exists: bool,
        text: &StatementText,
    ) -> Result<Option<QualifiedName>> {
        let shown = |e: PlanError| e.diagnostic(&text.source);
        let snapshot = self.shared.catalog.snapshot();
        let name =
            resolve_new_name(written, &self.settings.search_path(), &snapshot).map_err(shown)?;
        if taken(&name, written, if_not_exists, &snapshot).map_err(shown)? {
            self.skipped(&name.name);
            return Ok(None);
        }
        Ok(Some(name))
    }

    /// IF NOT EXISTS had nothing to do.
    pub(super) fn skipped(&mut self, name: &str) {
        self.notice(Diagnostic::new(
            SqlState::DUPLICATE_TABLE,
            format!("relation \"{name}\" already exists, skipping"),
        ));
    }

    async fn bring_up(
        &mut self,
        creation: Creation,
        spec: JobSpec,
        notices: Vec<Diagnostic>,
    ) -> Result<()> {
        creation.carry_out(spec).await?;
        for notice in notices {
            self.notice(notice);
        }
        self.transaction.forget_implicit_pin();
        Ok(())
    }
}

/// What a job is beside its plan.
#[derive(Clone, Copy)]
struct JobShape<'a> {
    name: &'a QualifiedName,
    kind: JobKind,
    view: Option<ObjectId>,
}

impl JobShape<'_> {
    /// The job as the engine starts it from the beginning.
    fn spec(
        &self,
        shared: &Shared,
        definition: &JobDefinition,
        planned: &PlannedJob,
        settings: &Settings,
    ) -> Result<JobSpec> {
        let workers = shared.engine.workers();
        Ok(JobSpec {
            job: definition.job,
            name: job_name(self.name),
            kind: self.kind,
            plan: encode(&planned.graph)?,
            parallelism: settings.parallelism().map_or(workers, |n| n.min(workers)),
            view: self.view,
            first_table: definition.first_table,
            restored: None,
        })
    }
}

/// What the storage of a view is made from.
fn view_schema(planned: &PlannedJob) -> ViewSchema {
    ViewSchema {
        stored: Arc::clone(&planned.stored),
        key: planned.key.clone(),
        append_only: planned.append_only,
    }
}
