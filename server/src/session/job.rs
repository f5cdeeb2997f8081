//! Statements that start a job: CREATE MATERIALIZED VIEW, CREATE SINK, INSERT INTO.
//!
//! ```text
//! plan -> register in the catalog -> deploy -> wait until the first caught-up
//!                                               epoch is visible
//! ```
//!
//! A creation that fails, times out or is cancelled on the way leaves nothing
//! behind: [`Creation`] takes everything back unless it is told that it succeeded.

use std::sync::Arc;

use sqlparser::ast::{Ident, ObjectName, Query, Spanned};
use tidemill_planner::PlanError;
use tidemill_planner::catalog::{
    CatalogObject, MaterializedViewObject, ObjectKind, QualifiedName, SinkObject,
};
use tidemill_planner::ddl::{resolve_existing, resolve_new_name, taken};
use tidemill_planner::lower::{JobInput, JobTarget, PlannedJob, plan_job};
use tidemill_planner::parse::{
    CreateMaterializedView, CreateSink, Emit, OptionDef, SinkInput, fold, parse_query,
};
use tidemill_planner::types_sql::pg_field_type_name;
use tidemill_runtime::{JobKind, JobSpec, JobState};
use tidemill_storage::ViewSchema;
use tidemill_types::plan::{EmitMode, FragmentGraph, wire};
use tidemill_types::{ConnectorFacts, Diagnostic, JobId, ObjectId, Options, SqlState};

use super::api::{Execution, StatementText};
use super::names::job_name;
use super::settings::Settings;
use super::{Shared, SqlSession};
use crate::catalog::{CatalogError, IfTaken};

type Result<T> = std::result::Result<T, Diagnostic>;

/// Options of WITH that are settings of the job, not of a connector.
const JOB_OPTIONS: &[&str] = &["parallelism", "allowed_lateness", "late_rows"];

/// What a job is planned from.
pub(super) struct JobQuery<'a> {
    pub query: &'a Query,
    pub column_names: &'a [Ident],
    pub emit: Option<Emit>,
    pub target: JobTarget<'a>,
}

/// An option, and the places of its name and value for errors.
fn option_error(diagnostic: Diagnostic, option: &OptionDef, text: &StatementText) -> Diagnostic {
    PlanError::from(diagnostic).or_at(option.name_span).diagnostic(&text.source)
}

/// The session's settings with a statement's own on top.
pub(super) fn job_settings(
    settings: &Settings,
    options: &[OptionDef],
    text: &StatementText,
) -> Result<Settings> {
    let mut settings = settings.clone();
    for option in options {
        if !JOB_OPTIONS.contains(&option.name.as_str()) {
            let unknown = Diagnostic::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("unknown option \"{}\"", option.name),
            )
            .with_hint(format!("The options are {}.", JOB_OPTIONS.join(", ")));
            return Err(option_error(unknown, option, text));
        }
        settings
            .set(&option.name, std::slice::from_ref(&option.value), true)
            .map_err(|d| option_error(d, option, text))?;
    }
    Ok(settings)
}

/// A sink's connector and its validated options.
pub(super) fn sink_connector(
    facts: &dyn ConnectorFacts,
    options: &[OptionDef],
    at: &ObjectName,
    text: &StatementText,
) -> Result<(String, Options)> {
    let Some(connector) = options.iter().find(|o| o.name == "connector") else {
        let missing = PlanError::invalid(
            SqlState::INVALID_PARAMETER_VALUE,
            "option \"connector\" is missing",
            at.span(),
        )
        .with_hint("SHOW CONNECTORS lists the connectors.");
        return Err(missing.diagnostic(&text.source));
    };
    let given: Options = options
        .iter()
        .filter(|o| o.name != "connector")
        .map(|o| (o.name.clone(), o.value.clone()))
        .collect();
    let complete = facts
        .sink_options(&connector.value, &given)
        .map_err(|d| PlanError::from(d).or_at(connector.value_span).diagnostic(&text.source))?;
    Ok((connector.value.clone(), complete))
}

impl SqlSession {
    pub(super) fn plan_job(
        &self,
        job: &JobQuery<'_>,
        settings: &Settings,
        text: &StatementText,
    ) -> Result<PlannedJob> {
        let search_path = self.settings.search_path();
        let snapshot = self.shared.catalog.snapshot();
        let emit = match job.emit {
            Some(Emit::OnWindowClose) => EmitMode::OnWindowClose,
            Some(Emit::OnUpdate) | None => EmitMode::OnUpdate,
        };
        plan_job(JobInput {
            query: job.query,
            column_names: job.column_names,
            emit,
            target: job.target,
            snapshot: &snapshot,
            search_path: &search_path,
            state: self.shared.job_state(),
            allowed_lateness: settings.allowed_lateness(),
        })
        .map_err(|e| e.diagnostic(&text.source))
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
        let (id, job) = self.new_ids();
        let query = JobQuery {
            query: &statement.query,
            column_names: &statement.columns,
            emit: statement.emit,
            target: JobTarget::MaterializedView { id },
        };
        let planned = self.plan_job(&query, &settings, text)?;
        let parallelism = self.parallelism(&settings);
        let object = CatalogObject {
            id,
            name: name.clone(),
            sql: text.text().to_owned(),
            depends_on: planned.depends_on.clone(),
            kind: ObjectKind::MaterializedView(MaterializedViewObject {
                job,
                stored: Arc::clone(&planned.stored),
                visible: planned.visible.fields().len(),
                key: planned.key.clone(),
            }),
        };
        let stored = ViewSchema {
            stored: Arc::clone(&planned.stored),
            key: planned.key.clone(),
            append_only: planned.append_only,
        };
        let parts = self.shared.engine.parts(parallelism);
        self.shared.views.create(id, stored, parts).map_err(|e| e.diagnostic())?;
        let creation = Creation::of_object(&self.shared, id, job);
        self.shared.catalog.create(object, IfTaken::Refuse)?;
        let spec = JobSpec {
            job,
            name: job_name(&name),
            kind: JobKind::MaterializedView,
            plan: encode(&planned.graph)?,
            parallelism,
            view: Some(id),
        };
        self.start(creation, spec, planned.notices).await?;
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
        let query = sink_query(&statement.input).map_err(|e| e.diagnostic(&text.source))?;
        let (id, job) = self.new_ids();
        let target =
            JobTarget::Sink { id, name: &name.name, connector: &connector, options: &options };
        let planned = self.plan_job(
            &JobQuery { query: &query, column_names: &[], emit: statement.emit, target },
            &settings,
            text,
        )?;
        let object = CatalogObject {
            id,
            name: name.clone(),
            sql: text.text().to_owned(),
            depends_on: planned.depends_on.clone(),
            kind: ObjectKind::Sink(SinkObject {
                job: Some(job),
                connector: connector.clone(),
                options: options.clone(),
                schema: Arc::clone(&planned.visible),
            }),
        };
        let creation = Creation::of_object(&self.shared, id, job);
        self.shared.catalog.create(object, IfTaken::Refuse)?;
        let spec = self.sink_spec(job, &name, &planned, &settings)?;
        self.start(creation, spec, planned.notices).await?;
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
        check_insert_columns(columns, sink, text)?;
        let job = self.shared.catalog.new_job_id();
        let target = JobTarget::Sink {
            id: declared.id,
            name: &declared.name.name,
            connector: &sink.connector,
            options: &sink.options,
        };
        let plan = |query: &Query| {
            self.plan_job(
                &JobQuery { query, column_names: &[], emit: None, target },
                &self.settings,
                text,
            )
        };
        let mut planned = plan(query)?;
        if let Some(cast) = cast_to_target(query, &planned, sink, text)? {
            planned = plan(&cast)?;
        }
        let creation = Creation::of_feed(&self.shared, Arc::clone(declared), job);
        self.shared.catalog.feed_sink(
            declared.id,
            job,
            text.text().to_owned(),
            planned.depends_on.clone(),
        )?;
        let spec = self.sink_spec(job, &declared.name, &planned, &self.settings)?;
        self.start(creation, spec, planned.notices).await?;
        // A job has been started; no row has been counted yet.
        Ok(Execution::Command { tag: "INSERT 0 0".to_owned() })
    }

    fn sink_spec(
        &self,
        job: JobId,
        name: &QualifiedName,
        planned: &PlannedJob,
        settings: &Settings,
    ) -> Result<JobSpec> {
        Ok(JobSpec {
            job,
            name: job_name(name),
            kind: JobKind::Sink,
            plan: encode(&planned.graph)?,
            parallelism: self.parallelism(settings),
            view: None,
        })
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

    pub(super) fn new_ids(&self) -> (ObjectId, JobId) {
        (self.shared.catalog.new_object_id(), self.shared.catalog.new_job_id())
    }

    fn parallelism(&self, settings: &Settings) -> usize {
        let workers = self.shared.engine.workers();
        settings.parallelism().map_or(workers, |n| n.min(workers))
    }

    /// Deploys a registered job and waits until it is level with its sources.
    async fn start(
        &mut self,
        creation: Creation,
        spec: JobSpec,
        notices: Vec<Diagnostic>,
    ) -> Result<()> {
        match run_up(&self.shared, spec).await {
            Ok(()) => creation.succeeded(),
            Err(diagnostic) => {
                creation.undo().await;
                return Err(diagnostic);
            }
        }
        for notice in notices {
            self.notice(notice);
        }
        self.transaction.forget_implicit_pin();
        Ok(())
    }
}

async fn run_up(shared: &Arc<Shared>, spec: JobSpec) -> Result<()> {
    let (engine, job) = (shared.engine.clone(), spec.job);
    // Opening sources may list files.
    shared.queries.block(move || engine.create_job(spec)).await?.map_err(|e| e.diagnostic())?;
    let mut status = shared.engine.status(job).map_err(|e| e.diagnostic())?;
    loop {
        match &status.borrow_and_update().state {
            JobState::Creating => {}
            JobState::Running | JobState::Finished => return Ok(()),
            JobState::Failed(diagnostic) => return Err(diagnostic.clone()),
        }
        if status.changed().await.is_err() {
            return Err(Diagnostic::new(
                SqlState::QUERY_CANCELED,
                "the object was dropped while it was being created",
            ));
        }
    }
}

fn encode(graph: &FragmentGraph) -> Result<Vec<u8>> {
    wire::encode(graph).map_err(|e| Diagnostic::internal(e.to_string()))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query of a sink; `FROM x` is `SELECT * FROM x`.
fn sink_query(input: &SinkInput) -> std::result::Result<Query, PlanError> {
    match input {
        SinkInput::Query(query) => Ok(Query::clone(query)),
        SinkInput::Relation(name) => parse_query(&format!("SELECT * FROM {name}"))
            .map(|query| *query)
            .map_err(PlanError::without_position),
    }
}

/// A column list of INSERT must be all columns in their order.
fn check_insert_columns(columns: &[Ident], sink: &SinkObject, text: &StatementText) -> Result<()> {
    let names = sink.schema.fields().iter().map(|f| f.name().clone());
    if columns.is_empty() || columns.iter().map(fold).eq(names) {
        return Ok(());
    }
    let span = columns.first().map_or_else(sqlparser::tokenizer::Span::empty, |c| c.span);
    Err(PlanError::unsupported("INSERT into some of the columns is not supported", span)
        .with_hint("Name all columns in their order, or leave the list out.")
        .diagnostic(&text.source))
}

/// The query with its columns cast to the target's types; `None`: they are those.
fn cast_to_target(
    query: &Query,
    planned: &PlannedJob,
    sink: &SinkObject,
    text: &StatementText,
) -> Result<Option<Query>> {
    let (given, wanted) = (planned.visible.fields(), sink.schema.fields());
    if wanted.is_empty() {
        // Declared without columns: whatever comes is right.
        return Ok(None);
    }
    if given.len() != wanted.len() {
        let more = if given.len() > wanted.len() {
            "expressions than target columns"
        } else {
            "target columns than expressions"
        };
        return Err(PlanError::invalid(
            SqlState::SYNTAX_ERROR,
            format!("INSERT has more {more}"),
            query.span(),
        )
        .diagnostic(&text.source));
    }
    if given.iter().zip(wanted).all(|(g, w)| g.data_type() == w.data_type()) {
        return Ok(None);
    }
    let casts: Vec<String> = given
        .iter()
        .zip(wanted)
        .map(|(g, w)| {
            let column = quoted(g.name());
            format!("CAST({column} AS {}) AS {}", pg_field_type_name(w), quoted(w.name()))
        })
        .collect();
    let cast = format!("SELECT {} FROM ({query}) AS inserted", casts.join(", "));
    match parse_query(&cast) {
        Ok(query) => Ok(Some(*query)),
        Err(error) => Err(error.without_position().diagnostic(&text.source)),
    }
}

/// A creation under way. Dropped before it succeeded, it is taken back.
#[derive(Debug)]
struct Creation {
    shared: Arc<Shared>,
    job: JobId,
    what: Created,
    done: bool,
}

#[derive(Debug)]
enum Created {
    Object(ObjectId),
    /// A sink target got a job; this is how it was before.
    Feed(Arc<CatalogObject>),
}

impl Creation {
    fn of_object(shared: &Arc<Shared>, id: ObjectId, job: JobId) -> Self {
        Creation { shared: Arc::clone(shared), job, what: Created::Object(id), done: false }
    }

    fn of_feed(shared: &Arc<Shared>, declared: Arc<CatalogObject>, job: JobId) -> Self {
        Creation { shared: Arc::clone(shared), job, what: Created::Feed(declared), done: false }
    }

    fn succeeded(mut self) {
        self.done = true;
    }

    /// Takes everything back and waits until it is gone.
    async fn undo(mut self) {
        self.done = true;
        let doomed = self.unregister();
        // A panic there has been reported; there is nothing more to be done here.
        self.shared.queries.block(doomed).await.ok();
    }

    /// Takes the catalog entry back; what remains to be done may block.
    fn unregister(&self) -> impl FnOnce() + Send + 'static {
        let mut gone = Vec::new();
        match &self.what {
            Created::Object(id) => gone = self.shared.catalog.discard(*id),
            Created::Feed(declared) => self.shared.catalog.unfeed_sink(declared),
        }
        let (shared, job, object) = (
            Arc::clone(&self.shared),
            self.job,
            match &self.what {
                Created::Object(id) => Some(*id),
                Created::Feed(_) => None,
            },
        );
        move || {
            super::remove::release(&shared, &gone);
            // The job may never have been deployed.
            shared.engine.drop_job(job).ok();
            if let Some(id) = object {
                shared.views.drop_view(id);
            }
        }
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if !self.done {
            let doomed = self.unregister();
            self.shared.queries.detach(doomed);
        }
    }
}
