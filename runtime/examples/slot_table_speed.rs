//! How fast keys become slots: our slot table against DataFusion's grouping.
//!
//! `cargo run --release -p tidemill-runtime --example slot_table_speed [largest number of keys]`
//!
//! Both get the same batches of 8192 random bigint keys. `GroupValuesPrimitive`
//! hashes inside; the slot table gets its hashes from outside, as behind an
//! exchange, so it is measured twice: without and with computing them. Each round
//! alternates between the two, the best of the rounds counts. "fill" begins with
//! an empty table, "again" meets only known keys. Time is the thread's time on a
//! processor where the system tells it (Linux), so other work on the machine
//! matters little.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::physical_plan::aggregates::group_values::new_group_values;
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_runtime::state::keys::KeyEncoder;
use tidemill_types::vnode::hash_columns;

const BATCH_ROWS: usize = 8192;
const ROUNDS: usize = 5;

type Failure = Box<dyn std::error::Error>;

/// Nanoseconds per row.
#[derive(Clone, Copy)]
struct Times {
    fill: f64,
    again: f64,
    bytes_per_key: f64,
}

impl Times {
    fn best(self, other: Times) -> Times {
        Times {
            fill: self.fill.min(other.fill),
            again: self.again.min(other.again),
            bytes_per_key: self.bytes_per_key,
        }
    }
}

fn main() -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "keys       table                   fill ns/row  again ns/row  bytes/key")?;
    let largest = std::env::args().nth(1).map_or(Ok(10_000_000), |a| a.parse())?;
    for keys in [1_000usize, 100_000, 1_000_000, 10_000_000] {
        if keys > largest {
            break;
        }
        let batches = batches(keys);
        let mut best: [Option<Times>; 3] = [None; 3];
        for _ in 0..ROUNDS {
            let times = [datafusion(&batches)?, ours(&batches, false)?, ours(&batches, true)?];
            for (best, times) in best.iter_mut().zip(times) {
                *best = Some(best.map_or(times, |b| b.best(times)));
            }
        }
        let names = ["GroupValuesPrimitive", "slot table", "slot table and hashes"];
        for (name, times) in names.into_iter().zip(best.into_iter().flatten()) {
            let Times { fill, again, bytes_per_key } = times;
            writeln!(
                out,
                "{keys:<10} {name:<22} {fill:>12.1} {again:>13.1} {bytes_per_key:>10.1}"
            )?;
        }
    }
    Ok(())
}

/// Random keys below `keys`, twice as many rows as keys but at least a million.
fn batches(keys: usize) -> Vec<ArrayRef> {
    let mut rng = SmallRng::seed_from_u64(1);
    let rows = (keys * 2).max(1_000_000);
    (0..rows.div_ceil(BATCH_ROWS))
        .map(|_| {
            let values = (0..BATCH_ROWS).map(|_| rng.random_range(0..keys as i64));
            Arc::new(Int64Array::from_iter_values(values)) as ArrayRef
        })
        .collect()
}

/// A stopwatch for this thread.
struct Watch {
    wall: Instant,
    busy: Option<u64>,
}

impl Watch {
    fn start() -> Self {
        Watch { wall: Instant::now(), busy: busy_nanos() }
    }

    fn per_row(&self, batches: &[ArrayRef]) -> f64 {
        let nanos = match (self.busy, busy_nanos()) {
            (Some(before), Some(after)) => (after - before) as f64,
            _ => self.wall.elapsed().as_nanos() as f64,
        };
        nanos / (batches.len() * BATCH_ROWS) as f64
    }
}

fn busy_nanos() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok()
}

fn datafusion(batches: &[ArrayRef]) -> Result<Times, Failure> {
    let schema = Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, false)]));
    let mut table = new_group_values(schema, &GroupOrdering::None)?;
    let mut groups = Vec::new();
    let mut pass = || -> Result<f64, Failure> {
        let start = Watch::start();
        for batch in batches {
            table.intern(std::slice::from_ref(batch), &mut groups)?;
            black_box(&groups);
        }
        Ok(start.per_row(batches))
    };
    let (fill, again) = (pass()?, pass()?);
    Ok(Times { fill, again, bytes_per_key: table.size() as f64 / table.len() as f64 })
}

fn ours(batches: &[ArrayRef], with_hashes: bool) -> Result<Times, Failure> {
    let mut ready = Vec::new();
    if !with_hashes {
        for batch in batches {
            let mut hashes = Vec::new();
            hash_columns(std::slice::from_ref(batch), BATCH_ROWS, &mut hashes)?;
            ready.push(hashes);
        }
    }
    let mut encoder = KeyEncoder::new(vec![DataType::Int64])?;
    let mut table = encoder.table();
    let (mut slots, mut own) = (Vec::new(), Vec::new());
    let mut pass = || -> Result<f64, Failure> {
        let start = Watch::start();
        for (position, batch) in batches.iter().enumerate() {
            let columns = std::slice::from_ref(batch);
            let hashes = match ready.get(position) {
                Some(hashes) => hashes,
                None => {
                    hash_columns(columns, BATCH_ROWS, &mut own)?;
                    &own
                }
            };
            let keys = encoder.encode(columns, BATCH_ROWS, &[])?;
            slots.clear();
            table.intern(keys, hashes, 0..BATCH_ROWS, &mut slots)?;
            black_box(&slots);
        }
        Ok(start.per_row(batches))
    };
    let (fill, again) = (pass()?, pass()?);
    Ok(Times { fill, again, bytes_per_key: table.bytes() as f64 / table.len() as f64 })
}
