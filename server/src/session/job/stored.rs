//! Jobs of the catalog, planned again when the server starts.
//!
//! The statement is planned as it was the first time: with the settings of the
//! session that ran it, and against those objects only that it depends on, so that
//! a name cannot mean something that was created later. The plan may be another
//! one, made by a newer planner; its stateful skeleton must be the same, as the
//! job's state is to be given to it.

use std::collections::BTreeSet;

use tidemill_planner::PlanError;
use tidemill_planner::catalog::{CatalogObject, CatalogSnapshot, ObjectKind};
use tidemill_planner::lower::{JobTarget, PlannedJob};
use tidemill_planner::parse::{Statement, parse_statement};
use tidemill_runtime::{JobKind, JobSpec};
use tidemill_storage::ViewSchema;
use tidemill_types::{ConnectorFacts, Diagnostic, ObjectId, SqlState};

use super::plan::Planner;
use super::{JobShape, view_schema};
use crate::catalog::record::JobDefinition;
use crate::catalog::skeleton::Skeleton;
use crate::session::Shared;
use crate::session::api::StatementText;
use crate::session::names::job_name;
use crate::session::settings::Settings;

type Result<T> = std::result::Result<T, Diagnostic>;

/// A job of the catalog, ready to be started.
#[derive(Debug)]
pub struct StoredJob {
    pub spec: JobSpec,
    /// The view that it fills and what is to be stored of it.
    pub view: Option<(ObjectId, ViewSchema)>,
}

/// Plans the job of an object again.
///
/// # Errors
/// The statement can no longer be planned, or gives a plan that cannot go on with
/// the job's state; the detail has the differences.
pub fn plan_again(
    shared: &Shared,
    snapshot: &CatalogSnapshot,
    object: &CatalogObject,
    definition: &JobDefinition,
) -> Result<StoredJob> {
    let settings = Settings::of_job(&definition.settings)?;
    let (planned, kind) = plan(shared, snapshot, object, definition, &settings)?;
    let skeleton = Skeleton::of(&planned.graph);
    if skeleton != definition.skeleton {
        let difference = definition.skeleton.difference(&skeleton);
        return Err(Diagnostic::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "this version plans the statement in a way that cannot go on with the job's state",
        )
        .with_detail(difference)
        .with_hint("The state is kept. Start the version that wrote it, or DROP the object."));
    }
    let view = (kind == JobKind::MaterializedView).then(|| (object.id, view_schema(&planned)));
    let shape = JobShape { name: &object.name, kind, view: view.as_ref().map(|(id, _)| *id) };
    Ok(StoredJob { spec: shape.spec(shared, definition, &planned, &settings)?, view })
}

/// What is known of a job that cannot be planned.
#[must_use]
pub fn without_plan(object: &CatalogObject, definition: &JobDefinition) -> JobSpec {
    let view = matches!(object.kind, ObjectKind::MaterializedView(_));
    JobSpec {
        job: definition.job,
        name: job_name(&object.name),
        kind: if view { JobKind::MaterializedView } else { JobKind::Sink },
        plan: Vec::new(),
        parallelism: 1,
        view: view.then_some(object.id),
        first_table: definition.first_table,
        restored: None,
    }
}

fn plan(
    shared: &Shared,
    snapshot: &CatalogSnapshot,
    object: &CatalogObject,
    definition: &JobDefinition,
    settings: &Settings,
) -> Result<(PlannedJob, JobKind)> {
    let source: std::sync::Arc<str> = definition.sql.as_str().into();
    let text = StatementText { range: 0..source.len(), source };
    let statement = parse_statement(&text.source, text.range.clone())
        .map_err(|e: PlanError| e.diagnostic(&text.source))?;
    let known = reachable(snapshot, &object.depends_on);
    let state = shared.job_state();
    let planner = Planner { snapshot: &known, state, settings, text: &text };
    match (&object.kind, &statement) {
        (ObjectKind::MaterializedView(_), Statement::CreateMaterializedView(view)) => {
            Ok((planner.view(view, object.id)?, JobKind::MaterializedView))
        }
        (ObjectKind::Sink(sink), Statement::CreateSink(create)) => {
            let (id, name) = (object.id, object.name.name.as_str());
            let (connector, options) = (sink.connector.as_str(), &sink.options);
            let log = shared.connectors.sink_log(connector, options, sink.incarnation)?;
            let target = JobTarget::Sink { id, name, connector, options, log };
            Ok((planner.sink(create, target)?, JobKind::Sink))
        }
        (ObjectKind::Sink(sink), Statement::InsertInto { columns, query, .. }) => {
            let log =
                shared.connectors.sink_log(&sink.connector, &sink.options, sink.incarnation)?;
            Ok((planner.insert(object, sink, log, columns, query)?, JobKind::Sink))
        }
        _ => Err(Diagnostic::internal(format!(
            "the catalog has another statement for {} {}",
            object.kind.noun(),
            object.name
        ))),
    }
}

/// The snapshot without what `roots` do not read, directly or through views.
fn reachable(snapshot: &CatalogSnapshot, roots: &[ObjectId]) -> CatalogSnapshot {
    let mut wanted: BTreeSet<ObjectId> = BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(id) = open.pop() {
        if wanted.insert(id)
            && let Some(object) = snapshot.by_id(id)
        {
            open.extend_from_slice(&object.depends_on);
        }
    }
    let mut known = snapshot.clone();
    known.objects.retain(|_, object| wanted.contains(&object.id));
    known
}
