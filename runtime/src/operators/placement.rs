//! Which vnode a stored row belongs to.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use tidemill_types::plan::Distribution;
use tidemill_types::vnode::{EMPTY_KEY_HASH, hash_columns, hash_of_vnode};

use super::{BuildContext, OperatorError};

/// The vnodes of an operator's rows, always among those of its worker: after a change
/// of parallelism a row is where the next change of it will arrive.
#[derive(Clone, Debug)]
pub(super) enum Placement {
    /// The hash of these columns.
    Columns(Vec<usize>),
    /// A constant.
    Hash(u64),
}

impl Placement {
    /// By the rows' distribution.
    pub fn of(distribution: &Distribution, cx: &BuildContext<'_>) -> Self {
        match distribution {
            Distribution::Hash(columns) => Placement::Columns(columns.clone()),
            Distribution::Single => Placement::Hash(EMPTY_KEY_HASH),
            // By where the row was read; a reader of another split never meets it.
            Distribution::Split => Placement::at_writer(cx),
        }
    }

    /// With whoever writes the row down, for rows that are never touched again.
    pub fn at_writer(cx: &BuildContext<'_>) -> Self {
        Placement::Hash(hash_of_vnode(cx.vnodes.range(cx.worker).start))
    }

    /// A hash for each row that has its vnode.
    pub fn hashes(&self, rows: &RecordBatch) -> Result<Vec<u64>, OperatorError> {
        match self {
            Placement::Hash(hash) => Ok(vec![*hash; rows.num_rows()]),
            Placement::Columns(columns) => {
                let mut hashes = Vec::new();
                hash_columns(&pick(rows, columns), rows.num_rows(), &mut hashes)
                    .map_err(|e| OperatorError::internal(e.to_string()))?;
                Ok(hashes)
            }
        }
    }
}

pub(super) fn pick(rows: &RecordBatch, columns: &[usize]) -> Vec<ArrayRef> {
    columns.iter().map(|c| Arc::clone(rows.column(*c))).collect()
}
