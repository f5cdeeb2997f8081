//! The catalog's only writer.
//!
//! Everyone reads an immutable [`CatalogSnapshot`]; a change makes a new one and
//! swaps it in under a lock that is held for the change alone. A statement that
//! was planned against an older snapshot says what it depends on, and the change
//! is refused if any of that is gone by then: so a definition never refers to an
//! object that does not exist.
//!
//! Invariants: ids are never reused; `public` and `tm_catalog` always exist; every
//! id in `depends_on` of an object is in the same snapshot.
//!
//! Deliberately absent: durability. The catalog lives as long as the process; its
//! log is written together with the first checkpoints.

mod error;
pub mod system;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;
use tidemill_planner::catalog::{
    CatalogObject, CatalogSnapshot, DEFAULT_SCHEMA, ObjectKind, SYSTEM_SCHEMA, SinkObject,
};
use tidemill_types::{JobId, ObjectId};

pub use error::CatalogError;

/// The first id of a user's object; those below belong to system relations, as
/// PostgreSQL keeps its own object ids below the same number.
const FIRST_USER_ID: u32 = 16_384;

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

/// The catalog of the process.
#[derive(Debug)]
pub struct Catalog {
    current: RwLock<Arc<CatalogSnapshot>>,
    next_object: AtomicU32,
    next_job: AtomicU32,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    /// Schemas `public` and `tm_catalog`, and the system relations.
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
        Catalog {
            current: RwLock::new(Arc::new(snapshot)),
            next_object: AtomicU32::new(FIRST_USER_ID),
            next_job: AtomicU32::new(1),
        }
    }

    /// All objects at this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        Arc::clone(&self.current.read())
    }

    /// A number for a new object.
    pub fn new_object_id(&self) -> ObjectId {
        ObjectId(self.next_object.fetch_add(1, Ordering::Relaxed))
    }

    /// A number for a new job.
    pub fn new_job_id(&self) -> JobId {
        JobId(self.next_job.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds an object. `Ok(false)`: the name was taken and that was to be kept.
    ///
    /// # Errors
    /// The name is taken or reserved, its schema does not exist, or something it
    /// depends on has been dropped since it was planned.
    pub fn create(&self, object: CatalogObject, if_taken: IfTaken) -> Result<bool, CatalogError> {
        let mut current = self.current.write();
        writable_schema(&current, &object.name.schema)?;
        if let Some(existing) = current.get(&object.name) {
            match if_taken {
                IfTaken::Refuse => return Err(CatalogError::NameTaken(object.name.name)),
                IfTaken::Keep => return Ok(false),
                IfTaken::Replace => may_replace(&current, existing, &object)?,
            }
        }
        for id in &object.depends_on {
            if current.by_id(*id).is_none() {
                return Err(CatalogError::DependencyGone(object.name.to_string()));
            }
        }
        let mut next = CatalogSnapshot::clone(&current);
        next.objects.insert(object.name.clone(), Arc::new(object));
        *current = Arc::new(next);
        Ok(true)
    }

    /// Gives a declared sink target the job that feeds it, and what that reads.
    ///
    /// # Errors
    /// It is gone or fed already, or something the job reads has been dropped.
    pub fn feed_sink(
        &self,
        id: ObjectId,
        job: JobId,
        sql: String,
        depends_on: Vec<ObjectId>,
    ) -> Result<(), CatalogError> {
        let mut current = self.current.write();
        let object = current.by_id(id).cloned();
        let gone = || CatalogError::DependencyGone(id.to_string());
        let object = object.ok_or_else(gone)?;
        let ObjectKind::Sink(sink) = &object.kind else { return Err(gone()) };
        if sink.job.is_some() {
            return Err(CatalogError::AlreadyFed(object.name.name.clone()));
        }
        if depends_on.iter().any(|d| current.by_id(*d).is_none()) {
            return Err(CatalogError::DependencyGone(object.name.to_string()));
        }
        let fed = CatalogObject {
            sql: format!("{};\n{sql}", object.sql),
            depends_on,
            kind: ObjectKind::Sink(SinkObject { job: Some(job), ..sink.clone() }),
            ..CatalogObject::clone(&object)
        };
        let mut next = CatalogSnapshot::clone(&current);
        next.objects.insert(fed.name.clone(), Arc::new(fed));
        *current = Arc::new(next);
        Ok(())
    }

    /// Takes [`Self::feed_sink`] back.
    pub fn unfeed_sink(&self, declared: &Arc<CatalogObject>) {
        let mut current = self.current.write();
        if current.by_id(declared.id).is_some() {
            let mut next = CatalogSnapshot::clone(&current);
            next.objects.insert(declared.name.clone(), Arc::clone(declared));
            *current = Arc::new(next);
        }
    }

    /// Adds a schema. `Ok(false)`: it exists already and `keep`.
    ///
    /// # Errors
    /// It exists (unless `keep`), or its name is reserved.
    pub fn create_schema(&self, name: &str, keep: bool) -> Result<bool, CatalogError> {
        let mut current = self.current.write();
        if current.schemas.iter().any(|s| s == name) {
            return if keep { Ok(false) } else { Err(CatalogError::SchemaTaken(name.to_owned())) };
        }
        if name.starts_with("pg_") || name.starts_with("tm_") || name == "information_schema" {
            return Err(CatalogError::ReservedSchema(name.to_owned()));
        }
        let mut next = CatalogSnapshot::clone(&current);
        next.schemas.push(name.to_owned());
        *current = Arc::new(next);
        Ok(true)
    }

    /// Removes objects, and with `cascade` everything that depends on them.
    /// Answers what was removed, dependents first.
    ///
    /// # Errors
    /// Something depends on them and not `cascade`; a system relation is meant.
    pub fn drop_objects(
        &self,
        ids: &[ObjectId],
        cascade: bool,
    ) -> Result<Vec<Arc<CatalogObject>>, CatalogError> {
        let mut current = self.current.write();
        let order = removal_order(&current, ids);
        if let Some(system) = order.iter().find(|o| matches!(o.kind, ObjectKind::System { .. })) {
            return Err(CatalogError::SystemObject(system.name.name.clone()));
        }
        refuse_dependents(&current, ids, &order, cascade)?;
        *current = Arc::new(without(&current, &order));
        Ok(order)
    }

    /// Removes a schema, and with `cascade` what is in it and what depends on that.
    ///
    /// # Errors
    /// There is no such schema, it is not empty and not `cascade`, or it is one of
    /// the two that always exist.
    pub fn drop_schema(
        &self,
        name: &str,
        cascade: bool,
    ) -> Result<Vec<Arc<CatalogObject>>, CatalogError> {
        let mut current = self.current.write();
        if !current.schemas.iter().any(|s| s == name) {
            return Err(CatalogError::NoSchema(name.to_owned()));
        }
        if name == DEFAULT_SCHEMA || name == SYSTEM_SCHEMA {
            return Err(CatalogError::FixedSchema(name.to_owned()));
        }
        let inside: Vec<ObjectId> =
            current.objects.values().filter(|o| o.name.schema == name).map(|o| o.id).collect();
        if !inside.is_empty() && !cascade {
            let names = current.objects.values().filter(|o| o.name.schema == name);
            let detail = names.map(|o| format!("{} {} is in schema {name}", o.kind.noun(), o.name));
            return Err(CatalogError::StillNeeded {
                what: format!("schema {name}"),
                detail: detail.collect::<Vec<_>>().join("\n"),
            });
        }
        let order = removal_order(&current, &inside);
        let mut next = without(&current, &order);
        next.schemas.retain(|s| s != name);
        *current = Arc::new(next);
        Ok(order)
    }

    /// Takes back a creation that failed after it was registered. Whatever came
    /// to depend on it in between goes too and is answered, dependents first.
    pub fn discard(&self, id: ObjectId) -> Vec<Arc<CatalogObject>> {
        let mut current = self.current.write();
        let order = removal_order(&current, &[id]);
        *current = Arc::new(without(&current, &order));
        order
    }
}

fn writable_schema(current: &CatalogSnapshot, schema: &str) -> Result<(), CatalogError> {
    if schema == SYSTEM_SCHEMA {
        return Err(CatalogError::ReservedSchema(schema.to_owned()));
    }
    if !current.schemas.iter().any(|s| s == schema) {
        return Err(CatalogError::NoSchema(schema.to_owned()));
    }
    Ok(())
}

/// `OR REPLACE` may give a plain view another query with the same columns (more
/// may follow): what has been planned over it stays right.
fn may_replace(
    current: &CatalogSnapshot,
    existing: &CatalogObject,
    object: &CatalogObject,
) -> Result<(), CatalogError> {
    let (ObjectKind::View(old), ObjectKind::View(new)) = (&existing.kind, &object.kind) else {
        return Err(CatalogError::NotAView(object.name.name.clone()));
    };
    let fits = old.schema.fields().len() <= new.schema.fields().len()
        && old
            .schema
            .fields()
            .iter()
            .zip(new.schema.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    if !fits {
        return Err(CatalogError::ColumnsChanged(object.name.name.clone()));
    }
    if let Some(dependent) = current.dependents(existing.id).next() {
        return Err(CatalogError::StillNeeded {
            what: format!("view {}", existing.name),
            detail: format!(
                "{} {} depends on view {}",
                dependent.kind.noun(),
                dependent.name,
                existing.name
            ),
        });
    }
    Ok(())
}

/// The objects and all that depend on them, dependents first.
fn removal_order(current: &CatalogSnapshot, ids: &[ObjectId]) -> Vec<Arc<CatalogObject>> {
    fn visit(
        current: &CatalogSnapshot,
        id: ObjectId,
        seen: &mut BTreeSet<ObjectId>,
        order: &mut Vec<Arc<CatalogObject>>,
    ) {
        if !seen.insert(id) {
            return;
        }
        for dependent in current.dependents(id) {
            visit(current, dependent.id, seen, order);
        }
        order.extend(current.by_id(id).cloned());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for id in ids {
        visit(current, *id, &mut seen, &mut order);
    }
    order
}

fn refuse_dependents(
    current: &CatalogSnapshot,
    ids: &[ObjectId],
    order: &[Arc<CatalogObject>],
    cascade: bool,
) -> Result<(), CatalogError> {
    let dependents: Vec<_> = order.iter().filter(|o| !ids.contains(&o.id)).collect();
    let Some(first) = ids.iter().find_map(|id| current.by_id(*id)) else { return Ok(()) };
    if cascade || dependents.is_empty() {
        return Ok(());
    }
    let line = |o: &&Arc<CatalogObject>| {
        format!("{} {} depends on {} {}", o.kind.noun(), o.name, first.kind.noun(), first.name)
    };
    Err(CatalogError::StillNeeded {
        what: format!("{} {}", first.kind.noun(), first.name.name),
        detail: dependents.iter().rev().map(line).collect::<Vec<_>>().join("\n"),
    })
}

fn without(current: &CatalogSnapshot, gone: &[Arc<CatalogObject>]) -> CatalogSnapshot {
    let mut next = current.clone();
    for object in gone {
        next.objects.remove(&object.name);
    }
    next
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use tidemill_planner::catalog::{QualifiedName, ViewObject};

    use super::*;

    fn view(catalog: &Catalog, name: &str, depends_on: &[ObjectId]) -> CatalogObject {
        let field = Field::new("a", DataType::Int64, true);
        CatalogObject {
            id: catalog.new_object_id(),
            name: QualifiedName::new("public", name),
            sql: String::new(),
            depends_on: depends_on.to_vec(),
            kind: ObjectKind::View(ViewObject {
                schema: Arc::new(Schema::new(vec![field])),
                query: "SELECT 1 AS a".to_owned(),
                search_path: Vec::new(),
            }),
        }
    }

    fn add(catalog: &Catalog, name: &str, depends_on: &[ObjectId]) -> ObjectId {
        let object = view(catalog, name, depends_on);
        let id = object.id;
        assert!(catalog.create(object, IfTaken::Refuse).unwrap());
        id
    }

    #[test]
    fn dependents_protect_and_cascade() {
        let catalog = Catalog::new();
        let a = add(&catalog, "a", &[]);
        let b = add(&catalog, "b", &[a]);
        let c = add(&catalog, "c", &[a, b]);
        let before = catalog.snapshot();
        let refused = catalog.drop_objects(&[a], false).unwrap_err();
        assert_eq!(refused.diagnostic().state.code(), "2BP01");
        assert!(catalog.drop_objects(&[a, b], false).is_err());
        let gone: Vec<_> = catalog.drop_objects(&[a], true).unwrap().iter().map(|o| o.id).collect();
        assert_eq!(gone, vec![c, b, a]);
        assert!(catalog.snapshot().by_id(a).is_none());
        assert!(before.by_id(a).is_some(), "a snapshot never changes");
    }

    #[test]
    fn names_are_checked() {
        let catalog = Catalog::new();
        let a = add(&catalog, "a", &[]);
        let again = |taken| catalog.create(view(&catalog, "a", &[]), taken);
        assert_eq!(again(IfTaken::Refuse).unwrap_err().diagnostic().state.code(), "42P07");
        assert!(!again(IfTaken::Keep).unwrap());
        assert_eq!(catalog.snapshot().by_id(a).unwrap().id, a);
        assert!(again(IfTaken::Replace).unwrap());
        let stale = view(&catalog, "d", &[a]);
        assert!(catalog.create(stale, IfTaken::Refuse).is_err(), "a was replaced");
        let mut elsewhere = view(&catalog, "x", &[]);
        elsewhere.name.schema = "nowhere".to_owned();
        assert_eq!(
            catalog.create(elsewhere, IfTaken::Refuse).unwrap_err().diagnostic().state.code(),
            "3F000"
        );
    }

    #[test]
    fn schemas_hold_their_objects() {
        let catalog = Catalog::new();
        assert!(catalog.create_schema("s", false).unwrap());
        assert!(!catalog.create_schema("s", true).unwrap());
        assert!(catalog.create_schema("s", false).is_err());
        assert!(catalog.create_schema("pg_temp", false).is_err());
        let mut inside = view(&catalog, "x", &[]);
        inside.name.schema = "s".to_owned();
        let id = inside.id;
        catalog.create(inside, IfTaken::Refuse).unwrap();
        let outside = add(&catalog, "y", &[id]);
        assert!(catalog.drop_schema("s", false).is_err());
        assert_eq!(catalog.drop_schema("s", true).unwrap().len(), 2);
        assert!(catalog.snapshot().by_id(outside).is_none());
        assert!(catalog.drop_schema("public", true).is_err());
        assert!(catalog.drop_objects(&[ObjectId(1)], true).is_err(), "a system relation");
    }
}
