//! What moving a row through an exchange costs, by the number of consumers.
//!
//!     cargo run --release -p tidemill-runtime --example exchange_speed
//!
//! One thread routes batches of 8192 rows and 10 bigint columns to 1, 2, 16 and
//! 64 rings and empties them: hashing, partitioning, gathering and the rings,
//! without waiting. Prints nanoseconds per row and rows per delivered batch.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use tidemill_runtime::exchange::{ExchangeSender, Message, RingReceiver, Waker, ring};
use tidemill_types::ChangeBatch;

const ROWS: usize = 8192;
const COLUMNS: usize = 10;
const BATCHES: usize = 2000;

fn batch() -> RecordBatch {
    let fields = (0..COLUMNS).map(|i| Field::new(format!("c{i}"), DataType::Int64, false));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let column = |c: usize| {
        let value = |r: usize| (r * COLUMNS + c) as i64;
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(value))) as ArrayRef
    };
    RecordBatch::try_new(schema, (0..COLUMNS).map(column).collect()).expect("columns of one length")
}

fn drain(rings: &mut [RingReceiver]) -> (u64, u64) {
    let (mut rows, mut batches) = (0, 0);
    for ring in rings {
        while let Some(message) = ring.try_receive() {
            if let Message::Batch(batch) = message {
                rows += batch.num_rows() as u64;
                batches += 1;
            }
        }
    }
    (rows, batches)
}

fn measure(consumers: usize, rows: &RecordBatch) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let (senders, mut receivers): (Vec<_>, Vec<_>) =
        (0..consumers).map(|_| ring(Waker::default(), Waker::default())).unzip();
    let mut sender = ExchangeSender::new(vec![0], senders);
    let (mut total, mut batches) = (0, 0);
    let start = Instant::now();
    for _ in 0..BATCHES {
        sender.send(ChangeBatch::inserts(rows.clone()))?;
        while !sender.pump() {
            let (r, b) = drain(&mut receivers);
            (total, batches) = (total + r, batches + b);
        }
        let (r, b) = drain(&mut receivers);
        (total, batches) = (total + r, batches + b);
    }
    sender.flush()?;
    let (r, b) = drain(&mut receivers);
    (total, batches) = (total + r, batches + b);
    let nanos = start.elapsed().as_nanos() as f64;
    assert_eq!(total, (BATCHES * ROWS) as u64, "no row is lost");
    Ok((nanos / total as f64, total as f64 / batches as f64))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows = batch();
    let mut out = std::io::stdout();
    writeln!(out, "consumers  ns/row  rows/batch")?;
    for consumers in [1, 2, 16, 64] {
        measure(consumers, &rows)?;
        let (nanos, rows_per_batch) = measure(consumers, &rows)?;
        writeln!(out, "{consumers:9}  {nanos:6.2}  {rows_per_batch:10.0}")?;
    }
    Ok(())
}
