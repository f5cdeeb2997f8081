//! Reading sources as the engine does, with its checks of the contract.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use tidemill_connectors::source::{Read, ReadRequest, Rejected, SplitReader};
use tidemill_connectors::{ConnectorConfig, ConnectorError, Connectors};
use tidemill_types::{ColumnFact, ConnectorFacts, Options, SourceShape};

pub fn connectors(file_roots: &[PathBuf]) -> Connectors {
    Connectors::new(&ConnectorConfig { file_roots: file_roots.to_vec() })
}

pub fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

pub fn shape(connector: &str, options: &Options, declared: &[ColumnFact]) -> SourceShape {
    connectors(&[]).source_shape(connector, options, declared).unwrap()
}

/// A request for `columns` of the shape, in the shape's order (none: all).
pub fn request(shape: &SourceShape, columns: &[&str]) -> Arc<ReadRequest> {
    let field = |fact: &ColumnFact| Field::new(&fact.name, fact.data_type.clone(), fact.nullable);
    let chosen: Vec<usize> = (0..shape.columns.len())
        .filter(|i| columns.is_empty() || columns.contains(&shape.columns[*i].name.as_str()))
        .collect();
    Arc::new(ReadRequest {
        columns: chosen.iter().map(|i| field(&shape.columns[*i])).collect(),
        physical_names: chosen.iter().map(|i| shape.physical_names[*i].clone()).collect(),
        declared: shape.columns.iter().map(field).collect(),
    })
}

/// Everything from `ordinal` on, in batches of at most `batch`.
pub fn read_from(
    connector: &str,
    options: &Options,
    request: &Arc<ReadRequest>,
    split: usize,
    ordinal: u64,
    batch: usize,
) -> (Vec<RecordBatch>, Vec<Rejected>) {
    let source = connectors(&[]).open_source(connector, options).unwrap();
    let mut reader = source.open(split, ordinal, request).unwrap();
    drain(reader.as_mut(), ordinal, batch).unwrap()
}

/// Reads to the end, checking what the engine checks.
pub fn drain(
    reader: &mut dyn SplitReader,
    ordinal: u64,
    batch: usize,
) -> Result<(Vec<RecordBatch>, Vec<Rejected>), ConnectorError> {
    let (mut batches, mut rejected, mut next) = (Vec::new(), Vec::new(), ordinal);
    loop {
        match reader.read(batch, 0)? {
            Read::Records(records) => {
                assert_eq!(records.start, next);
                let count = (records.end - records.start) as usize;
                assert!(count > 0 && count <= batch);
                assert_eq!(records.rows.num_rows() + records.rejected.len(), count);
                assert!(records.rejected.is_sorted_by(|a, b| a.ordinal < b.ordinal));
                let inside = |r: &Rejected| (records.start..records.end).contains(&r.ordinal);
                assert!(records.rejected.iter().all(inside));
                next = records.end;
                batches.push(records.rows);
                rejected.extend(records.rejected);
            }
            Read::Pending { .. } => panic!("nothing to wait for"),
            Read::End => {
                assert!(matches!(reader.read(batch, 0)?, Read::End), "an end stays");
                return Ok((batches, rejected));
            }
        }
    }
}
