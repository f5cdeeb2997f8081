//! How fast the generator is: rows per second of one table, one thread.
//!
//! ```text
//! cargo run --release --example nexmark_speed -- [table] [rows] [column ...]
//! ```
//!
//! Without arguments: 50 million bids with the columns auction, bidder, price and
//! date_time, then with all columns.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::Field;
use tidemill_connectors::source::{Read, ReadRequest};
use tidemill_connectors::{ConnectorConfig, Connectors};
use tidemill_types::{ColumnFact, ConnectorFacts, Options};

const BATCH: usize = 4096;
const ROWS: u64 = 50_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let table = arguments.first().map_or("bid", String::as_str);
    let rows = arguments.get(1).map_or(Ok(ROWS), |text| text.parse())?;
    match arguments.get(2..) {
        Some(columns) if !columns.is_empty() => measure(table, rows, columns),
        _ => {
            let few = ["auction", "bidder", "price", "date_time"].map(String::from);
            if table == "bid" {
                measure(table, rows, &few)?;
            }
            measure(table, rows, &[])
        }
    }
}

/// Reads `rows` rows of `wanted` columns (none: all) and says how long it took.
fn measure(table: &str, rows: u64, wanted: &[String]) -> Result<(), Box<dyn Error>> {
    let connectors = Connectors::new(&ConnectorConfig::default());
    let options = Options::from([
        ("nexmark.table.type".to_string(), table.to_string()),
        ("nexmark.split.num".to_string(), "1".to_string()),
    ]);
    let shape = connectors.source_shape("nexmark", &options, &[])?;
    let chosen = |fact: &&ColumnFact| wanted.is_empty() || wanted.contains(&fact.name);
    let columns: Vec<_> = shape.columns.iter().filter(chosen).collect();
    let request = Arc::new(ReadRequest {
        columns: columns
            .iter()
            .map(|fact| Field::new(&fact.name, fact.data_type.clone(), fact.nullable))
            .collect(),
        physical_names: columns.iter().map(|fact| fact.name.clone()).collect(),
        declared: Vec::new(),
    });
    let source = connectors.open_source("nexmark", &shape.options)?;
    let mut reader = source.open(0, 0, &request)?;
    let names: Vec<&str> = columns.iter().map(|fact| fact.name.as_str()).collect();
    let start = Instant::now();
    let mut done = 0;
    while done < rows {
        match reader.read(BATCH, 0)? {
            Read::Records(records) => done += records.rows.num_rows() as u64,
            Read::Pending { .. } | Read::End => break,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = done as f64 / seconds / 1e6;
    let names = names.join(", ");
    writeln!(
        std::io::stdout(),
        "{table} ({names}): {done} rows in {seconds:.2} s, {rate:.1} M rows/s"
    )?;
    Ok(())
}
