//! The catalog's only writer.
//!
//! ```text
//!  change ─► checked against what is visible ─► appended to the log ─► visible
//! ```
//!
//! Everyone reads an immutable [`CatalogSnapshot`]; a change makes a new one. A
//! statement that was planned against an older snapshot says what it depends on,
//! and the change is refused if any of that is gone by then: so a definition never
//! refers to an object that does not exist.
//!
//! An object with a job is visible as soon as the job is being brought up, so that
//! its name is taken and it can be dropped; it is **pending** until
//! [`Catalog::confirm`] has written it down. Nothing may depend on a pending
//! object, and a crash leaves nothing of it.
//!
//! Invariants: a change is durable before anyone sees it; a change that could not
//! be written down leaves the catalog as it was; ids are never reused; every id in
//! `depends_on` of an object is in the same snapshot.
//!
//! Changes block for as long as the log's storage does and are made one at a time;
//! reading never waits for them.

mod contents;
mod error;
mod journal;
mod order;
pub mod record;
pub mod skeleton;
pub mod system;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};
use tidemill_planner::catalog::{
    CatalogObject, CatalogSnapshot, DEFAULT_SCHEMA, ObjectKind, SYSTEM_SCHEMA,
};
use tidemill_types::{JobId, ObjectId, TableId};

pub use contents::{Contents, FoldError, NextIds, fed, job_of};
pub use error::CatalogError;
pub use journal::{Journal, JournalError};
use order::{may_replace, refuse_dependents, removal_order};
use record::{CatalogRecord, Change, JobDefinition};

/// What to do when the name of a new object is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfTaken {
    /// 42P07.
    Refuse,
    /// Leave the existing object alone (`IF NOT EXISTS`).
    Keep,
    /// Take its place (`OR REPLACE`); both must be plain views.
    Replace,
}

/// What a DROP removes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removal<'a> {
    pub objects: &'a [ObjectId],
    pub schemas: &'a [String],
    /// And all that depends on it or is in it.
    pub cascade: bool,
}

/// The catalog of the process.
#[derive(Debug)]
pub struct Catalog {
    /// What is visible. Held for the swap alone.
    current: RwLock<Arc<CatalogSnapshot>>,
    /// Held for a whole change.
    writer: Mutex<Writer>,
    next_object: AtomicU32,
    next_job: AtomicU32,
    next_table: AtomicU32,
}

#[derive(Debug)]
struct Writer {
    /// What the log says.
    written: Contents,
    pending: BTreeMap<ObjectId, Pending>,
    /// `None`: the catalog lives as long as the process.
    journal: Option<Box<dyn Journal>>,
    /// Why nothing can be written any more.
    closed: Option<JournalError>,
}

/// An object whose job is being brought up, as it is visible.
#[derive(Debug)]
struct Pending {
    object: Arc<CatalogObject>,
    job: Arc<JobDefinition>,
    /// It was there before, as a sink target that nothing feeds.
    declared: bool,
}

impl Catalog {
    /// A catalog that is forgotten with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Contents::new(), None)
    }

    /// A catalog that goes on from what its log says.
    #[must_use]
    pub fn durable(contents: Contents, journal: Box<dyn Journal>) -> Self {
        Self::new(contents, Some(journal))
    }

    fn new(written: Contents, journal: Option<Box<dyn Journal>>) -> Self {
        let NextIds { object, job, table } = written.next;
        Catalog {
            current: RwLock::new(Arc::new(written.snapshot.clone())),
            next_object: AtomicU32::new(object),
            next_job: AtomicU32::new(job),
            next_table: AtomicU32::new(table),
            writer: Mutex::new(Writer { written, pending: BTreeMap::new(), journal, closed: None }),
        }
    }

    /// All objects at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.current.read())
    }

    /// The definitions of all jobs that are written down.
    #[must_use]
    pub fn jobs(&self) -> BTreeMap<JobId, Arc<JobDefinition>> {
        self.writer.lock().written.jobs.clone()
    }

    /// A number for a new object.
    pub fn new_object_id(&self) -> ObjectId {
        ObjectId(self.next_object.fetch_add(1, Ordering::Relaxed))
    }

    /// A number for a new job.
    pub fn new_job_id(&self) -> JobId {
        JobId(self.next_job.fetch_add(1, Ordering::Relaxed))
    }

    /// Numbers for `count` state tables, one after another: the first.
    pub fn new_tables(&self, count: u32) -> TableId {
        TableId(self.next_table.fetch_add(count, Ordering::Relaxed))
    }

    /// Adds an object without a job. `Ok(false)`: the name was taken and that was
    /// to be kept.
    ///
    /// # Errors
    /// The name is taken or reserved, its schema does not exist, or something it
    /// depends on has been dropped since it was planned; the log cannot be written.
    pub fn create(&self, object: CatalogObject, if_taken: IfTaken) -> Result<bool, CatalogError> {
        let mut writer = self.writer.lock();
        let visible = self.snapshot();
        writable_schema(&visible, &object.name.schema)?;
        let mut changes = Vec::new();
        if let Some(existing) = visible.get(&object.name) {
            match if_taken {
                IfTaken::Refuse => return Err(CatalogError::NameTaken(object.name.name)),
                IfTaken::Keep => return Ok(false),
                IfTaken::Replace => {
                    may_replace(&visible, existing, &object)?;
                    changes.push(Change::Drop { ids: vec![existing.id] });
                }
            }
        }
        writer.check_dependencies(&object.name.to_string(), &object.depends_on)?;
        changes.push(Change::Create { object: Arc::new(object), job: None });
        writer.write(changes)?;
        self.publish(&writer);
        Ok(true)
    }

    /// Makes an object visible whose job is about to be brought up.
    ///
    /// # Errors
    /// As [`Self::create`]; nothing is written yet.
    pub fn begin_create(
        &self,
        object: CatalogObject,
        job: JobDefinition,
    ) -> Result<(), CatalogError> {
        let mut writer = self.writer.lock();
        let visible = self.snapshot();
        writer.check_open()?;
        writable_schema(&visible, &object.name.schema)?;
        if visible.get(&object.name).is_some() {
            return Err(CatalogError::NameTaken(object.name.name));
        }
        writer.check_dependencies(&object.name.to_string(), &object.depends_on)?;
        let (object, job) = (Arc::new(object), Arc::new(job));
        writer.pending.insert(object.id, Pending { object, job, declared: false });
        self.publish(&writer);
        Ok(())
    }

    /// Gives a declared sink target the job that is about to feed it, and what
    /// that reads.
    ///
    /// # Errors
    /// It is gone or fed already, or something the job reads has been dropped.
    pub fn begin_feed(
        &self,
        id: ObjectId,
        depends_on: &[ObjectId],
        job: JobDefinition,
    ) -> Result<(), CatalogError> {
        let mut writer = self.writer.lock();
        let visible = self.snapshot();
        writer.check_open()?;
        let gone = || CatalogError::DependencyGone(id.to_string());
        let declared = visible.by_id(id).ok_or_else(gone)?;
        let name = &declared.name;
        let taken = || CatalogError::AlreadyFed(name.name.clone());
        let object = fed(declared, depends_on, &job).ok_or_else(taken)?;
        writer.check_dependencies(&name.to_string(), depends_on)?;
        let pending = Pending { object: Arc::new(object), job: Arc::new(job), declared: true };
        writer.pending.insert(id, pending);
        self.publish(&writer);
        Ok(())
    }

    /// Writes down a pending object, whose job runs now.
    ///
    /// # Errors
    /// It was dropped meanwhile; the log cannot be written. The object stays
    /// pending: see [`Self::abandon`].
    pub fn confirm(&self, id: ObjectId, job: JobId) -> Result<(), CatalogError> {
        let mut writer = self.writer.lock();
        let Some(pending) = writer.pending.get(&id).filter(|p| p.job.job == job) else {
            return Err(CatalogError::DroppedMeanwhile);
        };
        let job = Arc::clone(&pending.job);
        let depends_on = pending.object.depends_on.clone();
        let change = match pending.declared {
            false => Change::Create { object: Arc::clone(&pending.object), job: Some(job) },
            true => Change::Feed { sink: id, depends_on, job },
        };
        writer.write(vec![change])?;
        writer.pending.remove(&id);
        self.publish(&writer);
        Ok(())
    }

    /// Takes back what is pending because of `job`, if anything is.
    pub fn abandon(&self, id: ObjectId, job: JobId) {
        let mut writer = self.writer.lock();
        if writer.pending.get(&id).is_some_and(|p| p.job.job == job) {
            writer.pending.remove(&id);
            self.publish(&writer);
        }
    }

    /// Writes down that an object's job runs on another number of workers; 0: all.
    ///
    /// # Errors
    /// It was dropped meanwhile; the log cannot be written.
    pub fn set_parallelism(&self, id: ObjectId, parallelism: u32) -> Result<(), CatalogError> {
        let mut writer = self.writer.lock();
        if let Some(pending) = writer.pending.get_mut(&id) {
            pending.job = Arc::new(pending.job.with_parallelism(parallelism));
            return Ok(());
        }
        if writer.written.snapshot.by_id(id).is_none() {
            return Err(CatalogError::DependencyGone(id.to_string()));
        }
        writer.write(vec![Change::SetParallelism { object: id, parallelism }])
    }

    /// Adds a schema. `Ok(false)`: it exists already and `keep`.
    ///
    /// # Errors
    /// It exists (unless `keep`), or its name is reserved; the log cannot be written.
    pub fn create_schema(&self, name: &str, keep: bool) -> Result<bool, CatalogError> {
        let mut writer = self.writer.lock();
        if writer.written.snapshot.schemas.iter().any(|s| s == name) {
            return if keep { Ok(false) } else { Err(CatalogError::SchemaTaken(name.to_owned())) };
        }
        if name.starts_with("pg_") || name.starts_with("tm_") || name == "information_schema" {
            return Err(CatalogError::ReservedSchema(name.to_owned()));
        }
        writer.write(vec![Change::CreateSchema { name: name.to_owned() }])?;
        self.publish(&writer);
        Ok(true)
    }

    /// Removes objects and schemas, all or none. Answers what was removed,
    /// dependents first; pending objects may be among them.
    ///
    /// # Errors
    /// Something depends on them or is in them and not `cascade`; a system relation
    /// or a schema that always exists is meant; the log cannot be written.
    pub fn drop(&self, removal: Removal<'_>) -> Result<Vec<Arc<CatalogObject>>, CatalogError> {
        let mut writer = self.writer.lock();
        let visible = self.snapshot();
        let mut roots = removal.objects.to_vec();
        for schema in removal.schemas {
            roots.extend(inside_of(&visible, schema, removal.cascade)?);
        }
        let order = removal_order(&visible, &roots);
        if let Some(system) = order.iter().find(|o| matches!(o.kind, ObjectKind::System { .. })) {
            return Err(CatalogError::SystemObject(system.name.name.clone()));
        }
        refuse_dependents(&visible, &roots, &order, removal.cascade)?;
        let written = |o: &&Arc<CatalogObject>| writer.written.snapshot.by_id(o.id).is_some();
        let ids: Vec<ObjectId> = order.iter().filter(written).map(|o| o.id).collect();
        let mut changes = Vec::new();
        if !ids.is_empty() {
            changes.push(Change::Drop { ids });
        }
        for schema in removal.schemas {
            changes.push(Change::DropSchema { name: schema.clone() });
        }
        if !changes.is_empty() {
            writer.write(changes)?;
        }
        for object in &order {
            writer.pending.remove(&object.id);
        }
        self.publish(&writer);
        Ok(order)
    }

    /// Shows what is written and what is pending.
    fn publish(&self, writer: &Writer) {
        let mut snapshot = writer.written.snapshot.clone();
        for pending in writer.pending.values() {
            snapshot.objects.insert(pending.object.name.clone(), Arc::clone(&pending.object));
        }
        *self.current.write() = Arc::new(snapshot);
    }
}

impl Writer {
    /// Appends the changes to the log, as one record, and adds them up.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), CatalogError> {
        self.check_open()?;
        let record = CatalogRecord { changes };
        let mut next = self.written.clone();
        next.apply(&record)?;
        if let Some(journal) = &mut self.journal {
            let bytes = record.encode()?;
            if let Err(error) = journal.append(&bytes) {
                tracing::error!(%error, "a change of the catalog was not written down");
                self.closed = error.is_final().then(|| error.clone());
                return Err(error.into());
            }
        }
        self.written = next;
        Ok(())
    }

    fn check_open(&self) -> Result<(), CatalogError> {
        self.closed.clone().map_or(Ok(()), |closed| Err(closed.into()))
    }

    /// What an object reads must be there, and written down before it.
    fn check_dependencies(&self, object: &str, ids: &[ObjectId]) -> Result<(), CatalogError> {
        for id in ids {
            if let Some(pending) = self.pending.get(id) {
                return Err(CatalogError::StillCreated(pending.object.name.to_string()));
            }
            if self.written.snapshot.by_id(*id).is_none() {
                return Err(CatalogError::DependencyGone(object.to_owned()));
            }
        }
        Ok(())
    }
}

fn writable_schema(visible: &CatalogSnapshot, schema: &str) -> Result<(), CatalogError> {
    if schema == SYSTEM_SCHEMA {
        return Err(CatalogError::ReservedSchema(schema.to_owned()));
    }
    if !visible.schemas.iter().any(|s| s == schema) {
        return Err(CatalogError::NoSchema(schema.to_owned()));
    }
    Ok(())
}

/// The objects of a schema that is to be dropped.
fn inside_of(
    visible: &CatalogSnapshot,
    schema: &str,
    cascade: bool,
) -> Result<Vec<ObjectId>, CatalogError> {
    if !visible.schemas.iter().any(|s| s == schema) {
        return Err(CatalogError::NoSchema(schema.to_owned()));
    }
    if schema == DEFAULT_SCHEMA || schema == SYSTEM_SCHEMA {
        return Err(CatalogError::FixedSchema(schema.to_owned()));
    }
    let inside = || visible.objects.values().filter(|o| o.name.schema == schema);
    if inside().next().is_some() && !cascade {
        let line =
            |o: &Arc<CatalogObject>| format!("{} {} is in schema {schema}", o.kind.noun(), o.name);
        return Err(CatalogError::StillNeeded {
            what: format!("schema {schema}"),
            detail: inside().map(line).collect::<Vec<_>>().join("\n"),
        });
    }
    Ok(inside().map(|o| o.id).collect())
}
