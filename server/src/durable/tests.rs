//! Checkpoints over a store in a directory, and the state that comes back.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use tidemill_runtime::clock::SystemClock;
use tidemill_runtime::operators::Counters;
use tidemill_runtime::source::SplitProgress;
use tidemill_runtime::{CheckpointStore, JobImage};
use tidemill_storage::checkpoint::GroupSettings;
use tidemill_storage::records::{EpochBlocks, RecordSequence, WriterId};
use tidemill_storage::state::{
    Delta, Family, FamilyStats, IngestFile, KeyCodec, KeyRange, ModelBackend, OnValue, RunFormat,
    StateBackend, StateCursor, StateError, StateTable, ValueCodec,
};
use tidemill_storage::store::Store;
use tidemill_types::{Epoch, JobId, ObjectId, OperatorId, TableId};
use tokio::runtime::Runtime;

use super::checkpoints::reserve;
use super::ledger::{JobFacts, Ledger};
use super::{Checkpoints, EPOCHS, Restored, journal::*};
use crate::catalog::record::JobDefinition;
use crate::catalog::skeleton::{Skeleton, StatefulOperator};
use crate::catalog::{Journal, JournalError};

const JOB: JobId = JobId(4);

/// A backend that can be told to refuse files.
#[derive(Debug, Default)]
struct Backend {
    model: ModelBackend,
    refuses: AtomicBool,
}

impl StateBackend for Backend {
    fn run_format(&self) -> &dyn RunFormat {
        self.model.run_format()
    }

    fn ingest(&self, files: &[IngestFile]) -> Result<(), StateError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StateError::Database("no space left".to_owned()));
        }
        self.model.ingest(files)
    }

    fn get_many(
        &self,
        family: Family,
        keys: &[&[u8]],
        each: &mut OnValue<'_>,
    ) -> Result<(), StateError> {
        self.model.get_many(family, keys, each)
    }

    fn scan(
        &self,
        family: Family,
        range: &KeyRange,
    ) -> Result<Box<dyn StateCursor + '_>, StateError> {
        self.model.scan(family, range)
    }

    fn drop_range(&self, family: Family, range: &KeyRange) -> Result<(), StateError> {
        self.model.drop_range(family, range)
    }

    fn stats(&self, family: Family) -> Result<FamilyStats, StateError> {
        self.model.stats(family)
    }
}

/// One server's share of a store.
struct Server {
    checkpoints: Checkpoints,
    backend: Arc<Backend>,
    ledger: Ledger,
    store: Store,
    writer: WriterId,
    _scratch: tempfile::TempDir,
}

fn definition() -> JobDefinition {
    let operator = |id, kind: &str, tables, source| StatefulOperator {
        operator: OperatorId(id),
        kind: kind.to_owned(),
        keys: Vec::new(),
        values: Vec::new(),
        distribution: String::new(),
        tables,
        source,
        detail: String::new(),
    };
    JobDefinition {
        job: JOB,
        sql: String::new(),
        settings: BTreeMap::new(),
        first_table: TableId(7),
        tables: 2,
        skeleton: Skeleton(vec![
            operator(0, "Source", 0, Some(ObjectId(16_384))),
            operator(5, "GlobalAggregate", 1, None),
            operator(6, "Materialize", 1, None),
        ]),
    }
}

fn server(runtime: &Runtime, directory: &Path) -> Server {
    let io = runtime.handle().clone();
    let store = io.block_on(Store::open(None, directory)).unwrap();
    let writer = WriterId::draw();
    let epochs = io.block_on(EpochBlocks::take_over(&store, EPOCHS, writer, 100)).unwrap();
    let backend = Arc::new(Backend::default());
    let (ledger, scratch) = (Ledger::default(), tempfile::tempdir().unwrap());
    ledger.register(JOB, JobFacts::of(&definition()).unwrap());
    let checkpoints = Checkpoints {
        store: store.clone(),
        io,
        backend: backend.clone(),
        scratch: scratch.path().to_owned(),
        writer,
        settings: GroupSettings::default(),
        clock: Arc::new(SystemClock),
        ledger: ledger.clone(),
        epochs,
        groups: HashMap::new(),
        files: 0,
    };
    Server { checkpoints, backend, ledger, store, writer, _scratch: scratch }
}

fn names() -> BTreeMap<ObjectId, String> {
    BTreeMap::from([(ObjectId(16_384), "bids".to_owned())])
}

/// The delta of one worker: keys with their values, `None` for a deletion.
fn delta(table: u32, family: Family, rows: &[(i64, Option<i64>)]) -> Delta {
    let types = [DataType::Int64];
    let (key, value) = (KeyCodec::new(&types).unwrap(), ValueCodec::new(&types).unwrap());
    let mut table = StateTable::new(TableId(table), family, false, true, key, value).unwrap();
    let mut delta = Delta::new();
    for (key, value) in rows {
        let hashes = [*key as u64];
        let keys: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![*key]))];
        match value {
            Some(value) => {
                let values: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![*value]))];
                table.write(&mut delta, None, &hashes, &keys, &values).unwrap();
            }
            None => table.delete(&mut delta, None, &hashes, &keys).unwrap(),
        }
    }
    delta
}

fn image(epoch: u64) -> JobImage {
    JobImage {
        epoch: Epoch(epoch),
        parallelism: 2,
        splits: vec![SplitProgress {
            operator: OperatorId(0),
            source: "bids".to_owned(),
            split: 3,
            name: "part 3".to_owned(),
            offset: epoch * 10,
            rejected: 1,
            watermark: -5,
        }],
        watermarks: vec![epoch as i64, 8],
        counters: vec![(OperatorId(5), Counters { rows_in: epoch, ..Counters::default() })],
        finished: epoch == 99,
    }
}

/// Everything that a backend has.
fn entries(backend: &Backend) -> Vec<(Family, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for family in Family::ALL {
        let everything = KeyRange { from: Vec::new(), to: vec![0xFF; 8] };
        let mut cursor = backend.scan(family, &everything).unwrap();
        while let Some((key, value)) = cursor.next_entry().unwrap() {
            all.push((family, key.to_vec(), value.to_vec()));
        }
    }
    all
}

fn restored(server: &mut Server) -> JobImage {
    match server.checkpoints.restore(&definition(), &names()) {
        Restored::Image(image) => *image,
        other => panic!("{other:?}"),
    }
}

fn objects(runtime: &Runtime, server: &Server) -> usize {
    runtime.block_on(server.store.list("groups")).unwrap().len()
}

/// Enough commits for bases and collections of garbage in between.
#[test]
fn what_was_committed_comes_back() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    let nothing = first.checkpoints.restore(&definition(), &names());
    assert!(matches!(nothing, Restored::Nothing), "{nothing:?}");
    for epoch in 1..=99_u64 {
        let key = (epoch % 13) as i64;
        let one = delta(7, Family::Aggregate, &[(key, Some(epoch as i64)), (key + 50, None)]);
        let two = delta(8, Family::View, &[(epoch as i64, Some(1)), (epoch as i64 - 9, None)]);
        first.checkpoints.commit(JOB, &image(epoch), vec![one, two]).unwrap();
    }
    let mut second = server(&runtime, directory.path());
    let found = restored(&mut second);
    assert_eq!(format!("{found:?}"), format!("{:?}", image(99)));
    assert_eq!(entries(&second.backend), entries(&first.backend));
    assert_eq!(entries(&second.backend).len(), 13 + 9);
    let totals = first.ledger.totals()[&JOB];
    assert_eq!((totals.committed, totals.failed), (99, 0));
    let scratch = std::fs::read_dir(second._scratch.path()).unwrap().count();
    assert_eq!(scratch, 0, "scratch files are removed");
    // The first server is fenced and does no harm.
    let refused = first.checkpoints.commit(JOB, &image(100), Vec::new()).unwrap_err();
    assert!(refused.0.contains("taken over"), "{refused}");
    second.checkpoints.commit(JOB, &image(101), Vec::new()).unwrap();
    assert_eq!(restored(&mut server(&runtime, directory.path())).epoch, Epoch(101));
}

#[test]
fn what_could_not_be_taken_in_comes_with_the_next() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    let change = |rows: &[(i64, Option<i64>)]| vec![delta(7, Family::Aggregate, rows)];
    let commit = |server: &mut Server, epoch, changes| {
        server.checkpoints.commit(JOB, &image(epoch), changes).is_ok()
    };
    assert!(commit(&mut first, 1, change(&[(1, Some(1)), (2, Some(2))])));
    first.backend.refuses.store(true, Ordering::Relaxed);
    assert!(!commit(&mut first, 2, change(&[(1, Some(7)), (3, Some(3))])));
    first.backend.refuses.store(false, Ordering::Relaxed);
    assert!(commit(&mut first, 3, change(&[(2, None), (3, Some(4))])));
    let mut second = server(&runtime, directory.path());
    assert_eq!(restored(&mut second).epoch, Epoch(3));
    assert_eq!(entries(&second.backend), entries(&first.backend));
    assert_eq!(entries(&first.backend).len(), 2);
    assert_eq!(first.ledger.totals()[&JOB].failed, 1);
}

/// The engine goes back to what it was told of; a checkpoint that was committed
/// all the same is not built on.
#[test]
fn what_the_engine_has_left_behind_is_not_built_on() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    let change = |key| vec![delta(8, Family::View, &[(key, Some(key))])];
    first.checkpoints.commit(JOB, &image(1), change(1)).unwrap();
    first.backend.refuses.store(true, Ordering::Relaxed);
    first.checkpoints.commit(JOB, &image(2), change(2)).unwrap_err();
    first.backend.refuses.store(false, Ordering::Relaxed);
    first.checkpoints.discard(JOB);
    first.checkpoints.commit(JOB, &image(3), change(3)).unwrap();
    let mut second = server(&runtime, directory.path());
    assert_eq!(restored(&mut second).epoch, Epoch(3));
    assert_eq!(entries(&second.backend).len(), 2, "rows 1 and 3");
    assert_eq!(entries(&second.backend), entries(&first.backend));
}

#[test]
fn nothing_is_left_of_a_job_that_is_gone() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    let mine = delta(8, Family::View, &[(1, Some(1))]);
    first.checkpoints.commit(JOB, &image(1), vec![mine]).unwrap();
    assert!(objects(&runtime, &first) > 0);
    first.checkpoints.forget(JOB).unwrap();
    assert_eq!((objects(&runtime, &first), entries(&first.backend).len()), (0, 0));
    let late = delta(8, Family::View, &[(1, Some(1))]);
    assert!(first.checkpoints.commit(JOB, &image(2), vec![late]).is_err());
    assert_eq!(objects(&runtime, &first), 0);
}

#[test]
fn damage_is_refused_with_the_name_of_the_file() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    let change = delta(7, Family::Aggregate, &[(1, Some(1))]);
    first.checkpoints.commit(JOB, &image(1), vec![change]).unwrap();
    let files = runtime.block_on(first.store.list("groups/4/files")).unwrap();
    let path = directory.path().join("store").join(&files[0].path);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let mut second = server(&runtime, directory.path());
    let Restored::Refused(refused) = second.checkpoints.restore(&definition(), &names()) else {
        panic!("a damaged file was taken in");
    };
    assert_eq!(refused.state.code(), "58030");
    assert!(refused.message.contains(&files[0].path), "{refused}");
    assert!(path.exists(), "nothing is removed");
}

#[test]
fn another_plan_is_refused_with_the_difference() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    first.checkpoints.commit(JOB, &image(1), Vec::new()).unwrap();
    let mut other = definition();
    other.skeleton.0[1].detail = "sum".to_owned();
    let mut second = server(&runtime, directory.path());
    let Restored::Refused(refused) = second.checkpoints.restore(&other, &names()) else {
        panic!("the state of another plan was taken in");
    };
    let detail = refused.detail.unwrap();
    assert!(detail.lines().count() == 2 && detail.contains("sum"), "{detail}");
}

#[test]
fn epoch_numbers_are_never_given_twice() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let mut first = server(&runtime, directory.path());
    let one = reserve(runtime.handle(), &mut first.checkpoints.epochs).unwrap();
    let two = first.checkpoints.reserve_epochs().unwrap();
    assert_eq!((one.end - one.start, one.end), (100, two.start));
    let mut second = server(&runtime, directory.path());
    assert_eq!(second.checkpoints.reserve_epochs().unwrap().start, two.end);
    assert!(first.checkpoints.reserve_epochs().is_err());
}

#[test]
fn a_log_that_was_taken_over_is_closed() {
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let first = server(&runtime, directory.path());
    let own = |writer| {
        let taken = RecordSequence::take_over(&first.store, CATALOG, writer);
        runtime.block_on(taken).unwrap()
    };
    let mut journal = StoreJournal::new(own(first.writer).0, runtime.handle().clone());
    journal.append(b"one").unwrap();
    let (sequence, loaded) = own(WriterId::draw());
    assert_eq!(loaded.records.len(), 1);
    assert_eq!(loaded.records[0].payload.as_ref(), b"one");
    let refused = journal.append(b"two").unwrap_err();
    assert!(matches!(refused, JournalError::Fenced(_)), "{refused}");
    let mut journal = StoreJournal::new(sequence, runtime.handle().clone());
    journal.append(b"three").unwrap();
}
