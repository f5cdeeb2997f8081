//! What the catalog's log adds up to.
//!
//! The contents are a pure fold over records: the running catalog applies each
//! record that it has written by the same function with which a restart reads it
//! back, so both always agree.
//!
//! Invariants: every id in `depends_on` of an object is in the same contents, and
//! so is its schema; every job belongs to one object; `next` is above every id
//! that a record has named.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_planner::catalog::{
    CatalogObject, CatalogSnapshot, DEFAULT_SCHEMA, ObjectKind, SYSTEM_SCHEMA, SinkObject,
};
use tidemill_types::{JobId, ObjectId};

use super::record::{CatalogRecord, Change, JobDefinition, RecordError};
use super::system;

/// The first id of a user's object; those below belong to system relations, as
/// PostgreSQL keeps its own object ids below the same number.
const FIRST_USER_ID: u32 = 16_384;

/// Numbers above all that have been used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NextIds {
    pub object: u32,
    pub job: u32,
    pub table: u32,
}

/// Everything that the log says.
#[derive(Clone, Debug)]
pub struct Contents {
    pub snapshot: CatalogSnapshot,
    pub jobs: BTreeMap<JobId, Arc<JobDefinition>>,
    pub next: NextIds,
}

/// The log contradicts itself: it was damaged, or written by something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("{0} is created twice")]
    Twice(ObjectId),
    #[error("\"{0}\" is created while there is an object of that name")]
    NameTaken(String),
    #[error("\"{object}\" needs {missing}, which does not exist")]
    Missing { object: String, missing: String },
    #[error("{0} is dropped and does not exist")]
    NotThere(ObjectId),
    #[error("{0} is dropped while \"{1}\" depends on it")]
    StillNeeded(ObjectId, String),
    #[error("{0} is fed and is not a declared sink target")]
    NotATarget(ObjectId),
    #[error("{0} has no job")]
    NoJob(ObjectId),
    #[error("schema \"{0}\" is created or dropped out of order")]
    Schema(String),
    #[error("{0} belongs to two objects")]
    JobTwice(JobId),
    #[error(transparent)]
    Record(#[from] RecordError),
}

type Result<T> = std::result::Result<T, FoldError>;

impl Default for Contents {
    fn default() -> Self {
        Self::new()
    }
}

impl Contents {
    /// Before the first record: schemas `public` and `tm_catalog`, and the system
    /// relations.
    #[must_use]
    pub fn new() -> Self {
        let mut snapshot = CatalogSnapshot {
            schemas: vec![DEFAULT_SCHEMA.to_owned(), SYSTEM_SCHEMA.to_owned()],
            ..CatalogSnapshot::default()
        };
        for (position, relation) in system::SystemRelation::ALL.iter().enumerate() {
            let object = relation.object(ObjectId(1 + position as u32));
            snapshot.objects.insert(object.name.clone(), Arc::new(object));
        }
        let next = NextIds { object: FIRST_USER_ID, job: 1, table: 1 };
        Contents { snapshot, jobs: BTreeMap::new(), next }
    }

    /// What all records say, oldest first.
    ///
    /// # Errors
    /// The first record that cannot be read or contradicts those before it.
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Self> {
        let mut contents = Contents::new();
        for bytes in records {
            contents.apply(&CatalogRecord::decode(bytes)?)?;
        }
        Ok(contents)
    }

    /// Adds what a record says. After an error the contents are of no use.
    ///
    /// # Errors
    /// The record contradicts those before it.
    pub fn apply(&mut self, record: &CatalogRecord) -> Result<()> {
        record.changes.iter().try_for_each(|change| self.change(change))
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Create { object, job } => self.create(object, job.as_ref()),
            Change::Feed { sink, depends_on, job } => self.feed(*sink, depends_on, job),
            Change::Drop { ids } => self.drop(ids),
            Change::SetParallelism { object, parallelism } => {
                self.set_parallelism(*object, *parallelism)
            }
            Change::CreateSchema { name } => {
                if self.snapshot.schemas.contains(name) {
                    return Err(FoldError::Schema(name.clone()));
                }
                self.snapshot.schemas.push(name.clone());
                Ok(())
            }
            Change::DropSchema { name } => {
                let used = self.snapshot.objects.keys().any(|n| n.schema == *name);
                if used || !self.snapshot.schemas.contains(name) {
                    return Err(FoldError::Schema(name.clone()));
                }
                self.snapshot.schemas.retain(|s| s != name);
                Ok(())
            }
        }
    }

    fn create(
        &mut self,
        object: &Arc<CatalogObject>,
        job: Option<&Arc<JobDefinition>>,
    ) -> Result<()> {
        if self.snapshot.by_id(object.id).is_some() {
            return Err(FoldError::Twice(object.id));
        }
        if self.snapshot.get(&object.name).is_some() {
            return Err(FoldError::NameTaken(object.name.to_string()));
        }
        if !self.snapshot.schemas.contains(&object.name.schema) {
            let missing = format!("schema {}", object.name.schema);
            return Err(FoldError::Missing { object: object.name.to_string(), missing });
        }
        self.check_dependencies(&object.name.to_string(), &object.depends_on)?;
        if let Some(job) = job {
            self.add_job(job)?;
        }
        self.next.object = self.next.object.max(object.id.0.saturating_add(1));
        self.snapshot.objects.insert(object.name.clone(), Arc::clone(object));
        Ok(())
    }

    fn feed(
        &mut self,
        sink: ObjectId,
        depends_on: &[ObjectId],
        job: &Arc<JobDefinition>,
    ) -> Result<()> {
        let declared = self.snapshot.by_id(sink).cloned().ok_or(FoldError::NotATarget(sink))?;
        let fed = fed(&declared, depends_on, job).ok_or(FoldError::NotATarget(sink))?;
        self.check_dependencies(&declared.name.to_string(), depends_on)?;
        self.add_job(job)?;
        self.snapshot.objects.insert(fed.name.clone(), Arc::new(fed));
        Ok(())
    }

    fn drop(&mut self, ids: &[ObjectId]) -> Result<()> {
        for id in ids {
            let object = self.snapshot.by_id(*id).cloned().ok_or(FoldError::NotThere(*id))?;
            self.snapshot.objects.remove(&object.name);
            if let Some(job) = job_of(&object) {
                self.jobs.remove(&job);
            }
        }
        for id in ids {
            if let Some(dependent) = self.snapshot.dependents(*id).next() {
                return Err(FoldError::StillNeeded(*id, dependent.name.to_string()));
            }
        }
        Ok(())
    }

    fn set_parallelism(&mut self, object: ObjectId, parallelism: u32) -> Result<()> {
        let job = self.snapshot.by_id(object).and_then(|o| job_of(o));
        let job = job.and_then(|job| self.jobs.get_mut(&job)).ok_or(FoldError::NoJob(object))?;
        *job = Arc::new(job.with_parallelism(parallelism));
        Ok(())
    }

    fn check_dependencies(&self, object: &str, depends_on: &[ObjectId]) -> Result<()> {
        match depends_on.iter().find(|id| self.snapshot.by_id(**id).is_none()) {
            None => Ok(()),
            Some(id) => {
                Err(FoldError::Missing { object: object.to_owned(), missing: id.to_string() })
            }
        }
    }

    fn add_job(&mut self, job: &Arc<JobDefinition>) -> Result<()> {
        let end = job.first_table.0.saturating_add(job.tables);
        self.next.job = self.next.job.max(job.job.0.saturating_add(1));
        self.next.table = self.next.table.max(end);
        match self.jobs.insert(job.job, Arc::clone(job)) {
            None => Ok(()),
            Some(_) => Err(FoldError::JobTwice(job.job)),
        }
    }
}

/// The job that an object has.
#[must_use]
pub fn job_of(object: &CatalogObject) -> Option<JobId> {
    match &object.kind {
        ObjectKind::MaterializedView(view) => Some(view.job),
        ObjectKind::Sink(sink) => sink.job,
        ObjectKind::Source(_) | ObjectKind::View(_) | ObjectKind::System { .. } => None,
    }
}

/// A declared sink target with the job that feeds it; `None`: it is none, or is
/// fed already.
#[must_use]
pub fn fed(
    declared: &CatalogObject,
    depends_on: &[ObjectId],
    job: &JobDefinition,
) -> Option<CatalogObject> {
    let ObjectKind::Sink(sink) = &declared.kind else { return None };
    if sink.job.is_some() {
        return None;
    }
    Some(CatalogObject {
        sql: format!("{};\n{}", declared.sql, job.sql),
        depends_on: depends_on.to_vec(),
        kind: ObjectKind::Sink(SinkObject { job: Some(job.job), ..sink.clone() }),
        ..declared.clone()
    })
}
