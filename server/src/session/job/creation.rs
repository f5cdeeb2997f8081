//! A job that is being made: until it is written down, it can be taken back.

use std::sync::Arc;

use tidemill_runtime::{JobSpec, JobState};
use tidemill_types::{Diagnostic, JobId, ObjectId};

use crate::catalog::record::JobDefinition;
use crate::catalog::{Catalog, CatalogError};
use crate::durable::ledger::JobFacts;
use crate::session::Shared;

type Result<T> = std::result::Result<T, Diagnostic>;

/// A creation under way. Dropped before it succeeded, it is taken back.
#[derive(Debug)]
pub(super) struct Creation {
    shared: Arc<Shared>,
    id: ObjectId,
    job: JobId,
    /// The view whose contents the job makes.
    view: Option<ObjectId>,
    done: bool,
}

impl Creation {
    /// Of an object that is about to be pending in the catalog.
    ///
    /// # Errors
    /// The job's state has columns that cannot be stored.
    pub fn new(
        shared: &Arc<Shared>,
        id: ObjectId,
        definition: &JobDefinition,
        view: Option<ObjectId>,
    ) -> Result<Self> {
        let facts = JobFacts::of(definition).map_err(CatalogError::from)?;
        shared.ledger.register(definition.job, facts);
        Ok(Creation { shared: Arc::clone(shared), id, job: definition.job, view, done: false })
    }

    /// Makes the object pending. Carried to its end even if nobody waits for it.
    pub async fn begin(
        self,
        begin: impl FnOnce(&Catalog) -> std::result::Result<(), CatalogError> + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::clone(&self.shared);
        let begin = move || begin(&self.shared.catalog).map(|()| self);
        shared.queries.block(begin).await?.map_err(Diagnostic::from)
    }

    /// Brings the job up and writes the object down; on failure takes both back
    /// and waits until they are gone.
    pub async fn carry_out(mut self, spec: JobSpec) -> Result<()> {
        if let Err(diagnostic) = run_up(&self.shared, spec).await {
            self.done = true;
            let doomed = self.doomed();
            // A panic there has been reported; there is nothing more to be done here.
            self.shared.queries.block(doomed).await.ok();
            return Err(diagnostic);
        }
        let shared = Arc::clone(&self.shared);
        // Carried to its end even if nobody waits for it any more.
        shared.queries.block(move || self.write_down()).await?.map_err(Diagnostic::from)
    }

    fn write_down(mut self) -> std::result::Result<(), CatalogError> {
        self.done = true;
        let written = self.shared.catalog.confirm(self.id, self.job);
        if written.is_err() {
            self.doomed()();
        }
        written
    }

    /// Takes everything back; may block.
    fn doomed(&self) -> impl FnOnce() + Send + 'static {
        let (shared, id, job, view) = (Arc::clone(&self.shared), self.id, self.job, self.view);
        move || {
            shared.catalog.abandon(id, job);
            if shared.engine.drop_job(job).is_err() {
                // It was never deployed.
                shared.ledger.forget(job);
            }
            if let Some(view) = view {
                shared.views.drop_view(view);
            }
        }
    }
}

impl Drop for Creation {
    fn drop(&mut self) {
        if !self.done {
            let doomed = self.doomed();
            self.shared.queries.detach(doomed);
        }
    }
}

/// Deploys a job and waits until it is level with its sources.
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
            return Err(CatalogError::DroppedMeanwhile.into());
        }
    }
}
