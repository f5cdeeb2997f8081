//! From the text of a statement to the plan of its job: the same way for a session
//! that runs it and for a restart that finds it in the catalog.

use datafusion::execution::session_state::SessionState;
use sqlparser::ast::{Ident, ObjectName, Query, Spanned};
use tidemill_planner::PlanError;
use tidemill_planner::catalog::{CatalogObject, CatalogSnapshot, SinkObject};
use tidemill_planner::lower::{JobInput, JobTarget, PlannedJob, plan_job};
use tidemill_planner::parse::{
    CreateMaterializedView, CreateSink, Emit, OptionDef, SinkInput, fold, parse_query,
};
use tidemill_planner::types_sql::pg_field_type_name;
use tidemill_types::plan::{EmitMode, FragmentGraph, SinkLog, wire};
use tidemill_types::{ConnectorFacts, Diagnostic, ObjectId, Options, SqlState};

use crate::session::api::StatementText;
use crate::session::settings::Settings;

type Result<T> = std::result::Result<T, Diagnostic>;

/// Options of WITH that are settings of the job, not of a connector.
pub(super) const JOB_OPTIONS: &[&str] = &["parallelism", "allowed_lateness", "late_rows"];

/// What a job is planned from.
#[derive(Clone, Copy)]
pub(in crate::session) struct JobQuery<'a> {
    pub query: &'a Query,
    pub column_names: &'a [Ident],
    pub emit: Option<Emit>,
    pub target: JobTarget<'a>,
}

/// What a job's plan depends on beside its statement.
#[derive(Clone, Copy)]
pub(in crate::session) struct Planner<'a> {
    pub snapshot: &'a CatalogSnapshot,
    pub state: &'a SessionState,
    /// The session's, with the statement's own on top.
    pub settings: &'a Settings,
    pub text: &'a StatementText,
}

impl Planner<'_> {
    pub fn plan(&self, job: &JobQuery<'_>) -> Result<PlannedJob> {
        let emit = match job.emit {
            Some(Emit::OnWindowClose) => EmitMode::OnWindowClose,
            Some(Emit::OnUpdate) | None => EmitMode::OnUpdate,
        };
        plan_job(JobInput {
            query: job.query,
            column_names: job.column_names,
            emit,
            target: job.target,
            snapshot: self.snapshot,
            search_path: &self.settings.search_path(),
            state: self.state,
            allowed_lateness: self.settings.allowed_lateness(),
        })
        .map_err(|e| e.diagnostic(&self.text.source))
    }

    pub fn view(&self, statement: &CreateMaterializedView, id: ObjectId) -> Result<PlannedJob> {
        self.plan(&JobQuery {
            query: &statement.query,
            column_names: &statement.columns,
            emit: statement.emit,
            target: JobTarget::MaterializedView { id },
        })
    }

    /// A sink that is made together with its query.
    pub fn sink(&self, statement: &CreateSink, target: JobTarget<'_>) -> Result<PlannedJob> {
        let query = sink_query(&statement.input).map_err(|e| e.diagnostic(&self.text.source))?;
        self.plan(&JobQuery { query: &query, column_names: &[], emit: statement.emit, target })
    }

    /// INSERT of a query into a declared sink target.
    pub fn insert(
        &self,
        declared: &CatalogObject,
        sink: &SinkObject,
        log: Option<SinkLog>,
        columns: &[Ident],
        query: &Query,
    ) -> Result<PlannedJob> {
        check_insert_columns(columns, sink, self.text)?;
        let target = JobTarget::Sink {
            id: declared.id,
            name: &declared.name.name,
            connector: &sink.connector,
            options: &sink.options,
            log,
        };
        let plan =
            |query: &Query| self.plan(&JobQuery { query, column_names: &[], emit: None, target });
        let planned = plan(query)?;
        match cast_to_target(query, &planned, sink, self.text)? {
            Some(cast) => plan(&cast),
            None => Ok(planned),
        }
    }
}

/// An option, and the places of its name and value for errors.
fn option_error(diagnostic: Diagnostic, option: &OptionDef, text: &StatementText) -> Diagnostic {
    PlanError::from(diagnostic).or_at(option.name_span).diagnostic(&text.source)
}

/// The session's settings with a statement's own on top.
pub(in crate::session) fn job_settings(
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

pub(super) fn encode(graph: &FragmentGraph) -> Result<Vec<u8>> {
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
