//! What a checkpoint's state costs to store: files that are taken in, against
//! writes through the database's memtables without a log.
//!
//! ```text
//! cargo run --release -p tidemill-storage --example ingest_speed -- [keys] [rounds]
//! ```
//!
//! Without arguments: 10 million keys, written twice. A row is what an aggregate of
//! a bigint has, a count and a sum. CPU is that of the whole process, compaction
//! included: each round ends when the process is idle.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::DataType;
use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use tidemill_storage::state::{
    Delta, EncodedRows, Family, IngestFile, KeyCodec, KeyLayout, RocksBackend, RocksConfig,
    StateBackend, StateTable, ValueCodec, write_sorted_run,
};
use tidemill_types::TableId;
use tidemill_types::vnode::hash_columns;

const KEYS: usize = 10_000_000;
const ROUNDS: u64 = 2;
const BATCH: usize = 8192;
const CACHE_BYTES: usize = 256 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().map_or(Ok(KEYS), |text| text.parse())?;
    let rounds = arguments.next().map_or(Ok(ROUNDS), |text| text.parse())?;
    let directory = std::env::temp_dir().join(format!("ingest-speed-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let done = files(&directory, keys, rounds).and_then(|()| writes(&directory, keys, rounds));
    std::fs::remove_dir_all(&directory)?;
    done
}

/// Dump, sort, file, ingest.
fn files(directory: &Path, keys: usize, rounds: u64) -> Outcome<()> {
    let cores = std::thread::available_parallelism()?.get();
    let backend =
        RocksBackend::create(&directory.join("files"), RocksConfig::for_cores(cores, CACHE_BYTES))?;
    let (key, value) = codecs()?;
    let mut table = StateTable::new(TableId(1), Family::Aggregate, false, true, key, value)?;
    for round in 0..rounds {
        let whole = Clock::start()?;
        let clock = Clock::start()?;
        let mut delta = Delta::new();
        for rows in batches(keys) {
            let (columns, hashes, values) = batch(rows, round)?;
            table.write(&mut delta, None, &hashes, &columns, &values)?;
        }
        clock.say("  dump")?;
        let clock = Clock::start()?;
        let runs = delta.into_runs();
        clock.say("  sort")?;
        let clock = Clock::start()?;
        let mut incoming = Vec::new();
        let mut bytes = 0;
        for (family, run) in runs.iter() {
            let path = directory.join(format!("{round}-{}.sst", family.name()));
            let file = write_sorted_run(backend.run_format(), &path, run)?;
            bytes += file.map_or(0, |file| file.bytes);
            incoming.push(IngestFile { family, path });
        }
        drop(runs);
        clock.say("  file")?;
        let clock = Clock::start()?;
        backend.ingest(&incoming)?;
        clock.say("  ingest")?;
        wait_until_idle()?;
        whole.say(&format!("files, round {round}, {keys} keys, {bytes} bytes"))?;
    }
    Ok(())
}

/// The same rows through write batches, flushed at the end of a round as a
/// checkpoint would have to.
fn writes(directory: &Path, keys: usize, rounds: u64) -> Outcome<()> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    let db = DB::open(&options, directory.join("writes"))?;
    let mut no_log = WriteOptions::default();
    no_log.disable_wal(true);
    let layout = KeyLayout::new(TableId(1), false, true)?;
    let (key, value) = codecs()?;
    let (mut columns_bytes, mut values_bytes) = (EncodedRows::default(), EncodedRows::default());
    let mut stored = Vec::new();
    for round in 0..rounds {
        let whole = Clock::start()?;
        for rows in batches(keys) {
            let (columns, hashes, values) = batch(rows, round)?;
            key.encode(&columns, hashes.len(), &mut columns_bytes)?;
            value.encode(&values, hashes.len(), &mut values_bytes)?;
            let mut writes = WriteBatch::default();
            for (row, hash) in hashes.iter().enumerate() {
                stored.clear();
                stored.resize(layout.prefix_len(), 0);
                layout.write_prefix(0, *hash, &mut stored);
                stored.extend_from_slice(columns_bytes.row(row));
                writes.put(&stored, values_bytes.row(row));
            }
            db.write_opt(writes, &no_log)?;
        }
        db.flush()?;
        wait_until_idle()?;
        whole.say(&format!("writes, round {round}, {keys} keys"))?;
    }
    Ok(())
}

fn codecs() -> Outcome<(KeyCodec, ValueCodec)> {
    let value = ValueCodec::new(&[DataType::Int64, DataType::Int64])?;
    Ok((KeyCodec::new(&[DataType::Int64])?, value))
}

fn batches(keys: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..keys).step_by(BATCH).map(move |start| start..keys.min(start + BATCH))
}

/// Keys, their hashes, values.
type Rows = (Vec<ArrayRef>, Vec<u64>, Vec<ArrayRef>);

/// Keys in no order, the same in every round.
fn batch(rows: std::ops::Range<usize>, round: u64) -> Outcome<Rows> {
    let numbers = rows.map(|n| (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.clone().map(|n| n as i64)));
    let counts = Int64Array::from_iter_values(numbers.clone().map(|n| (n % 1000 + round) as i64));
    let sums = Int64Array::from_iter_values(numbers.map(|n| (n >> 20) as i64));
    let mut hashes = Vec::new();
    hash_columns(std::slice::from_ref(&keys), keys.len(), &mut hashes)?;
    Ok((vec![keys], hashes, vec![Arc::new(counts), Arc::new(sums)]))
}

/// Wall time and CPU time since a start.
struct Clock {
    start: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Outcome<Self> {
        Ok(Clock { start: Instant::now(), cpu: cpu_seconds()? })
    }

    fn say(&self, what: &str) -> Outcome<()> {
        let (wall, cpu) = (self.start.elapsed().as_secs_f64(), cpu_seconds()? - self.cpu);
        writeln!(std::io::stdout(), "{what}: {cpu:.2} s CPU, {wall:.2} s")?;
        Ok(())
    }
}

/// CPU seconds of the process, all threads, user and system.
fn cpu_seconds() -> Outcome<f64> {
    // The name in parentheses may hold blanks; fields 14 and 15 are in ticks of 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
    let ticks = |position| -> Outcome<f64> {
        Ok(fields.split_whitespace().nth(position).ok_or("/proc/self/stat is short")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Until compaction has nothing left to do.
fn wait_until_idle() -> Outcome<()> {
    loop {
        let before = cpu_seconds()?;
        std::thread::sleep(Duration::from_secs(1));
        if cpu_seconds()? - before < 0.02 {
            return Ok(());
        }
    }
}
