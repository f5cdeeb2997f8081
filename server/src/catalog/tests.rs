//! Changes, what they leave in the log, and what the log adds up to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidemill_planner::catalog::{
    CatalogObject, CatalogSnapshot, MaterializedViewObject, ObjectKind, QualifiedName, SinkObject,
    ViewObject,
};
use tidemill_types::{JobId, ObjectId};

use super::record::{JobDefinition, PARALLELISM, tests::job};
use super::*;

/// A log in memory that can be told to fail.
#[derive(Clone, Debug, Default)]
struct TestJournal {
    records: Arc<Mutex<Vec<Vec<u8>>>>,
    failure: Arc<Mutex<Option<JournalError>>>,
}

impl TestJournal {
    fn contents(&self, records: usize) -> Contents {
        let all = self.records.lock();
        Contents::fold(all.iter().take(records).map(Vec::as_slice)).unwrap()
    }

    fn len(&self) -> usize {
        self.records.lock().len()
    }
}

impl Journal for TestJournal {
    fn append(&mut self, record: &[u8]) -> Result<(), JournalError> {
        if let Some(failure) = self.failure.lock().clone() {
            return Err(failure);
        }
        self.records.lock().push(record.to_vec());
        Ok(())
    }
}

fn durable() -> (Catalog, TestJournal) {
    let journal = TestJournal::default();
    (Catalog::durable(Contents::new(), Box::new(journal.clone())), journal)
}

fn columns() -> Arc<Schema> {
    Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
}

fn object(id: ObjectId, name: &str, depends_on: &[ObjectId], kind: ObjectKind) -> CatalogObject {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    CatalogObject {
        id,
        name: QualifiedName::new(schema, name),
        sql: String::new(),
        depends_on: depends_on.to_vec(),
        kind,
    }
}

fn view(catalog: &Catalog, name: &str, depends_on: &[ObjectId]) -> CatalogObject {
    let kind = ObjectKind::View(ViewObject {
        schema: columns(),
        query: "SELECT 1 AS a".to_owned(),
        search_path: Vec::new(),
    });
    object(catalog.new_object_id(), name, depends_on, kind)
}

fn target(catalog: &Catalog, name: &str) -> CatalogObject {
    let kind = ObjectKind::Sink(SinkObject {
        job: None,
        connector: "blackhole".to_owned(),
        options: BTreeMap::new(),
        incarnation: 1,
        schema: columns(),
    });
    object(catalog.new_object_id(), name, &[], kind)
}

fn with_job(
    catalog: &Catalog,
    name: &str,
    depends_on: &[ObjectId],
) -> (CatalogObject, JobDefinition) {
    let definition = definition(catalog);
    let kind = ObjectKind::MaterializedView(MaterializedViewObject {
        job: definition.job,
        stored: columns(),
        visible: 1,
        key: vec![0],
    });
    (object(catalog.new_object_id(), name, depends_on, kind), definition)
}

fn definition(catalog: &Catalog) -> JobDefinition {
    let (id, first) = (catalog.new_job_id(), catalog.new_tables(2));
    JobDefinition::clone(&job(id.0, first.0, 2))
}

fn add(catalog: &Catalog, name: &str, depends_on: &[ObjectId]) -> ObjectId {
    let object = view(catalog, name, depends_on);
    let id = object.id;
    assert!(catalog.create(object, IfTaken::Refuse).unwrap());
    id
}

fn drop(catalog: &Catalog, ids: &[ObjectId], cascade: bool) -> Result<Vec<ObjectId>, CatalogError> {
    let removal = Removal { objects: ids, schemas: &[], cascade };
    Ok(catalog.drop(removal)?.iter().map(|o| o.id).collect())
}

fn drop_schema(catalog: &Catalog, name: &str, cascade: bool) -> Result<usize, CatalogError> {
    let schemas = &[name.to_owned()];
    Ok(catalog.drop(Removal { objects: &[], schemas, cascade })?.len())
}

fn state<T: std::fmt::Debug>(result: Result<T, CatalogError>) -> &'static str {
    result.unwrap_err().diagnostic().state.code()
}

#[test]
fn dependents_protect_and_cascade() {
    let catalog = Catalog::in_memory();
    let a = add(&catalog, "a", &[]);
    let b = add(&catalog, "b", &[a]);
    let c = add(&catalog, "c", &[a, b]);
    let before = catalog.snapshot();
    assert_eq!(state(drop(&catalog, &[a], false)), "2BP01");
    assert!(drop(&catalog, &[a, b], false).is_err());
    assert_eq!(drop(&catalog, &[a], true).unwrap(), [c, b, a]);
    assert!(catalog.snapshot().by_id(a).is_none());
    assert!(before.by_id(a).is_some(), "a snapshot never changes");
}

#[test]
fn names_are_checked() {
    let catalog = Catalog::in_memory();
    let a = add(&catalog, "a", &[]);
    let again = |taken| catalog.create(view(&catalog, "a", &[]), taken);
    assert_eq!(state(again(IfTaken::Refuse)), "42P07");
    assert!(!again(IfTaken::Keep).unwrap());
    assert_eq!(catalog.snapshot().by_id(a).unwrap().id, a);
    assert!(again(IfTaken::Replace).unwrap());
    let stale = view(&catalog, "d", &[a]);
    assert!(catalog.create(stale, IfTaken::Refuse).is_err(), "a was replaced");
    let elsewhere = view(&catalog, "nowhere.x", &[]);
    assert_eq!(state(catalog.create(elsewhere, IfTaken::Refuse)), "3F000");
}

#[test]
fn schemas_hold_their_objects() {
    let catalog = Catalog::in_memory();
    assert!(catalog.create_schema("s", false).unwrap());
    assert!(!catalog.create_schema("s", true).unwrap());
    assert!(catalog.create_schema("s", false).is_err());
    assert!(catalog.create_schema("pg_temp", false).is_err());
    let inside = add(&catalog, "s.x", &[]);
    let outside = add(&catalog, "y", &[inside]);
    assert!(drop_schema(&catalog, "s", false).is_err());
    assert_eq!(drop_schema(&catalog, "s", true).unwrap(), 2);
    assert!(catalog.snapshot().by_id(outside).is_none());
    assert!(drop_schema(&catalog, "public", true).is_err());
    assert!(drop(&catalog, &[ObjectId(1)], true).is_err(), "a system relation");
}

#[test]
fn what_is_pending_is_seen_and_not_written() {
    let (catalog, journal) = durable();
    let (object, job) = with_job(&catalog, "v", &[]);
    let (id, job_id) = (object.id, job.job);
    catalog.begin_create(object, job).unwrap();
    assert!(catalog.snapshot().by_id(id).is_some());
    assert_eq!(journal.len(), 0);
    let (again, other) = with_job(&catalog, "v", &[]);
    assert_eq!(state(catalog.begin_create(again, other)), "42P07");
    let reader = view(&catalog, "w", &[id]);
    assert_eq!(state(catalog.create(reader, IfTaken::Refuse)), "55000");
    catalog.abandon(id, JobId(999));
    catalog.set_parallelism(id, 2).unwrap();
    catalog.confirm(id, job_id).unwrap();
    catalog.abandon(id, job_id);
    assert!(journal.contents(1).snapshot.by_id(id).is_some());
    assert_eq!(journal.contents(1).jobs[&job_id].settings[PARALLELISM], "2");
    catalog.set_parallelism(id, 3).unwrap();
    assert_eq!(journal.contents(2).jobs[&job_id].settings[PARALLELISM], "3");
    assert_eq!(drop(&catalog, &[id], false).unwrap(), [id]);
    assert!(journal.contents(3).jobs.is_empty());
    assert!(catalog.set_parallelism(id, 3).is_err());
}

#[test]
fn what_is_pending_can_be_dropped_and_taken_back() {
    let (catalog, journal) = durable();
    let (object, job) = with_job(&catalog, "v", &[]);
    let (id, job_id) = (object.id, job.job);
    catalog.begin_create(object, job).unwrap();
    assert_eq!(drop(&catalog, &[id], false).unwrap(), [id]);
    assert_eq!(state(catalog.confirm(id, job_id)), "57014");
    let (object, job) = with_job(&catalog, "v", &[]);
    let (id, job_id) = (object.id, job.job);
    catalog.begin_create(object, job).unwrap();
    catalog.abandon(id, job_id);
    assert!(catalog.snapshot().by_id(id).is_none());
    assert_eq!(journal.len(), 0);
}

#[test]
fn a_target_is_fed_once() {
    let (catalog, journal) = durable();
    let sink = target(&catalog, "t");
    let id = sink.id;
    catalog.create(sink, IfTaken::Refuse).unwrap();
    let first = definition(&catalog);
    let first_job = first.job;
    catalog.begin_feed(id, &[], first).unwrap();
    let second = definition(&catalog);
    let second_job = second.job;
    assert_eq!(state(catalog.begin_feed(id, &[], second)), "55000");
    // The second taking its own attempt back does not touch the first.
    catalog.abandon(id, second_job);
    catalog.confirm(id, first_job).unwrap();
    let fed = journal.contents(2).snapshot.by_id(id).and_then(|o| job_of(o));
    assert_eq!(fed, Some(first_job));
}

#[test]
fn a_failed_append_changes_nothing() {
    let (catalog, journal) = durable();
    let a = add(&catalog, "a", &[]);
    *journal.failure.lock() = Some(JournalError::Failed("no space".to_owned()));
    let refused = catalog.create(view(&catalog, "b", &[]), IfTaken::Refuse).unwrap_err();
    assert_eq!(refused.diagnostic().state.code(), "58030");
    assert!(refused.to_string().contains("no space"));
    assert!(drop(&catalog, &[a], false).is_err());
    assert!(catalog.create_schema("s", false).is_err());
    assert!(catalog.snapshot().by_id(a).is_some());
    assert_eq!(catalog.snapshot().schemas.len(), 2);
    *journal.failure.lock() = None;
    add(&catalog, "b", &[a]);
    assert_eq!(journal.len(), 2);
}

#[test]
fn a_fenced_catalog_accepts_no_changes() {
    for (failure, code) in [
        (JournalError::Fenced("term 4".to_owned()), "57P03"),
        (JournalError::Unknown("timeout".to_owned()), "58030"),
    ] {
        let (catalog, journal) = durable();
        let (object, job) = with_job(&catalog, "v", &[]);
        let (id, job_id) = (object.id, job.job);
        catalog.begin_create(object, job).unwrap();
        *journal.failure.lock() = Some(failure);
        assert_eq!(state(catalog.confirm(id, job_id)), code);
        *journal.failure.lock() = None;
        // Nothing is tried any more: it could not mean what it says.
        assert_eq!(state(catalog.create(view(&catalog, "b", &[]), IfTaken::Refuse)), code);
        let (object, job) = with_job(&catalog, "w", &[]);
        assert_eq!(state(catalog.begin_create(object, job)), code);
        assert_eq!(journal.len(), 0);
    }
}

/// Random statements; what is visible, what is in the log, and every prefix of it.
#[test]
fn every_prefix_of_the_log_is_consistent() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut catalog, journal) = durable();
        for step in 0..80 {
            random_change(&mut rng, &catalog, step);
            if rng.random_range(0..20) == 0 {
                // Restarted: what was pending is gone.
                catalog = Catalog::durable(journal.contents(usize::MAX), Box::new(journal.clone()));
            }
        }
        let mut used: BTreeMap<ObjectId, String> = BTreeMap::new();
        let mut jobs: BTreeSet<JobId> = BTreeSet::new();
        let mut before = journal.contents(0);
        for records in 0..=journal.len() {
            let contents = journal.contents(records);
            check(&contents, &before, &mut used, &mut jobs);
            before = contents;
        }
        let pending: Vec<_> = catalog.writer.lock().pending.keys().copied().collect();
        for id in pending {
            drop(&catalog, &[id], true).unwrap();
        }
        let reread = journal.contents(usize::MAX);
        assert_eq!(shown(&catalog.snapshot()), shown(&reread.snapshot), "seed {seed}");
    }
}

fn random_change(rng: &mut StdRng, catalog: &Catalog, step: usize) {
    let snapshot = catalog.snapshot();
    let users: Vec<_> = snapshot.objects.values().filter(|o| o.id.0 >= 16_384).collect();
    let some = |rng: &mut StdRng| -> Vec<ObjectId> {
        let count = rng.random_range(0..3).min(users.len());
        (0..count).map(|_| users[rng.random_range(0..users.len())].id).collect()
    };
    let schema = ["public", "s", "t"][rng.random_range(0..3)];
    let name = format!("{schema}.o{}", step % 13);
    let depends_on = some(rng);
    // Refusals are part of it; only what was accepted must add up.
    match rng.random_range(0..10) {
        0..3 => {
            let taken = [IfTaken::Refuse, IfTaken::Keep, IfTaken::Replace][rng.random_range(0..3)];
            let _ = catalog.create(view(catalog, &name, &depends_on), taken);
        }
        3 => {
            let _ = catalog.create(target(catalog, &name), IfTaken::Refuse);
        }
        4..6 => {
            let (object, job) = with_job(catalog, &name, &depends_on);
            let (id, job_id) = (object.id, job.job);
            if catalog.begin_create(object, job).is_ok() {
                match rng.random_range(0..3) {
                    0 => catalog.abandon(id, job_id),
                    1 => {}
                    _ => catalog.confirm(id, job_id).unwrap(),
                }
            }
        }
        6 => {
            let targets = users.iter().find(|o| matches!(&o.kind, ObjectKind::Sink(_)));
            let definition = definition(catalog);
            let job = definition.job;
            if let Some(sink) = targets
                && !depends_on.contains(&sink.id)
                && catalog.begin_feed(sink.id, &depends_on, definition).is_ok()
                && rng.random()
            {
                catalog.confirm(sink.id, job).unwrap();
            }
        }
        7 => {
            let _ = catalog.create_schema(schema, rng.random());
        }
        8 => {
            let _ = drop_schema(catalog, schema, rng.random());
        }
        _ => {
            let _ = drop(catalog, &depends_on, rng.random());
        }
    }
}

fn check(
    contents: &Contents,
    before: &Contents,
    used: &mut BTreeMap<ObjectId, String>,
    jobs: &mut BTreeSet<JobId>,
) {
    let snapshot = &contents.snapshot;
    for object in snapshot.objects.values() {
        assert!(snapshot.schemas.contains(&object.name.schema));
        assert!(object.depends_on.iter().all(|id| snapshot.by_id(*id).is_some()));
        let known = used.entry(object.id).or_insert_with(|| object.name.to_string());
        assert_eq!(*known, object.name.to_string(), "an id is never used again");
        assert!(object.id.0 < contents.next.object);
    }
    let owned: BTreeSet<JobId> = snapshot.objects.values().filter_map(|o| job_of(o)).collect();
    assert_eq!(owned, contents.jobs.keys().copied().collect());
    for job in contents.jobs.values() {
        if !before.jobs.contains_key(&job.job) {
            assert!(jobs.insert(job.job), "a job's number is never used again");
            assert!(job.job.0 < contents.next.job);
            assert!(job.first_table.0 + job.tables <= contents.next.table);
        }
    }
    let next = (before.next, contents.next);
    assert!(next.0.object <= next.1.object && next.0.job <= next.1.job);
    assert!(next.0.table <= next.1.table);
}

fn shown(snapshot: &CatalogSnapshot) -> String {
    format!("{:?} {:?}", snapshot.schemas, snapshot.objects)
}
