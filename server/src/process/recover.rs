//! Jobs of the catalog, started again.
//!
//! ```text
//!  checkpoint ─► state in the database ─┐
//!  SQL ─► plan ─► same skeleton? ───────┴─► engine
//! ```
//!
//! One job that cannot be started is one job that has failed, with its cause where
//! `tm_catalog.jobs` shows it: the server starts all the same. What is kept of such a
//! job stays until it is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_planner::catalog::CatalogObject;
use tidemill_runtime::{Engine, JobState};
use tidemill_types::{Diagnostic, JobId, ObjectId};

use crate::catalog::record::JobDefinition;
use crate::catalog::{CatalogError, job_of};
use crate::durable::ledger::JobFacts;
use crate::durable::{Durable, Restored};
use crate::session::Shared;
use crate::session::job::stored::{plan_again, without_plan};

/// How often it is looked whether all jobs have been deployed.
const POLL: Duration = Duration::from_millis(2);

/// Takes the checkpoints of all jobs over and their states in.
pub fn restore(durable: &mut Durable) -> BTreeMap<JobId, Restored> {
    let objects = durable.contents.snapshot.objects.values();
    let names: BTreeMap<ObjectId, String> = objects.map(|o| (o.id, o.name.name.clone())).collect();
    let jobs: Vec<_> = durable.contents.jobs.values().cloned().collect();
    let restore = |job: Arc<JobDefinition>| {
        let restored = durable.checkpoints.restore(&job, &names);
        (job.job, restored)
    };
    jobs.into_iter().map(restore).collect()
}

/// Starts all jobs, the oldest first, and waits until each is on its workers or has
/// failed: from then on views can be read.
pub fn start(shared: &Shared, mut restored: BTreeMap<JobId, Restored>) {
    let (snapshot, jobs) = (shared.catalog.snapshot(), shared.catalog.jobs());
    let owners: BTreeMap<JobId, &Arc<CatalogObject>> =
        snapshot.objects.values().filter_map(|o| Some((job_of(o)?, o))).collect();
    for (job, object) in owners {
        let Some(definition) = jobs.get(&job) else { continue };
        let state = restored.remove(&job).unwrap_or(Restored::Nothing);
        let epoch = match &state {
            Restored::Image(image) => Some(image.epoch.0),
            _ => None,
        };
        match start_one(shared, object, definition, state) {
            Ok(()) => tracing::info!(name = %object.name, epoch, "a job goes on"),
            Err(diagnostic) => {
                tracing::error!(name = %object.name, error = %diagnostic, "a job cannot go on");
                shared.views.drop_view(object.id);
                let spec = without_plan(object, definition);
                if let Err(error) = shared.engine.register_failed(spec, diagnostic) {
                    tracing::error!(name = %object.name, %error, "a failed job is not shown");
                }
            }
        }
    }
    wait_until_deployed(&shared.engine);
}

fn start_one(
    shared: &Shared,
    object: &CatalogObject,
    definition: &JobDefinition,
    restored: Restored,
) -> Result<(), Diagnostic> {
    let facts = JobFacts::of(definition).map_err(CatalogError::from)?;
    shared.ledger.register(definition.job, facts);
    let image = match restored {
        Restored::Nothing => None,
        Restored::Image(image) => Some(*image),
        Restored::Refused(diagnostic) => return Err(diagnostic),
    };
    let snapshot = shared.catalog.snapshot();
    let mut stored = plan_again(shared, &snapshot, object, definition)?;
    if let Some((id, schema)) = stored.view {
        let parts = shared.engine.parts(stored.spec.parallelism);
        shared.views.create(id, schema, parts).map_err(|e| e.diagnostic())?;
    }
    stored.spec.restored = image;
    shared.engine.create_job(stored.spec).map_err(|e| e.diagnostic())
}

fn wait_until_deployed(engine: &Engine) {
    loop {
        let jobs = engine.jobs_at(engine.current_epoch());
        let deployed = |state: &JobState, started: bool| started || state.is_final();
        if jobs.iter().all(|j| deployed(&j.state, j.started_at.is_some())) {
            return;
        }
        std::thread::sleep(POLL);
    }
}
