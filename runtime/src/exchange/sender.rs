//! The producing side of an exchange: partitions, coalesces, and never loses the
//! order of data and barriers.
//!
//! A batch is cut by the owner of each row's vnode with one counting pass. Small
//! pieces for a destination are gathered until they are worth sending, but never
//! kept from a consumer that has nothing else to do: a piece leaves when it is
//! full, when the consumer's ring is empty, or at a barrier. What a full ring
//! refuses waits in an outbox, and until that is empty the fragment takes no more
//! input: that is the backpressure.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;
use tidemill_types::vnode::{UnhashableType, VnodeMap, hash_columns, vnode_of};
use tidemill_types::{ChangeBatch, Ops};

use super::ring::{Message, RingSender};
use crate::operators::Barrier;

/// Rows gathered for one destination before they are sent to a busy consumer.
const GATHER_ROWS: usize = 2048;

/// What can go wrong while rows are routed; all are broken invariants.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error(transparent)]
    Key(#[from] UnhashableType),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Routes the rows of one fragment instance.
#[derive(Debug)]
pub struct ExchangeSender {
    keys: Vec<usize>,
    owners: VnodeMap,
    lanes: Vec<Lane>,
    sent: Traffic,
}

/// How much has left, for rows per batch on an edge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub rows: u64,
    pub batches: u64,
}

#[derive(Debug)]
struct Lane {
    ring: RingSender,
    gathered: Vec<ChangeBatch>,
    gathered_rows: usize,
    outbox: VecDeque<Message>,
}

impl ExchangeSender {
    /// One ring per consuming instance, in the order of the workers.
    #[must_use]
    pub fn new(keys: Vec<usize>, rings: Vec<RingSender>) -> Self {
        let owners = VnodeMap::new(rings.len() as u32);
        let lanes = rings
            .into_iter()
            .map(|ring| Lane {
                ring,
                gathered: Vec::new(),
                gathered_rows: 0,
                outbox: VecDeque::new(),
            })
            .collect();
        ExchangeSender { keys, owners, lanes, sent: Traffic::default() }
    }

    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.sent
    }

    /// Routes a batch. Check [`Self::pump`] first: a blocked sender would only
    /// grow its outbox.
    pub fn send(&mut self, batch: ChangeBatch) -> Result<(), ExchangeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.with_hash(batch)?;
        if let [lane] = self.lanes.as_mut_slice() {
            return lane.gather(batch, &mut self.sent);
        }
        let hash = batch.hash.as_deref().expect("with_hash fills the hash");
        let (indices, bounds) = group_by_owner(hash, &self.owners, self.lanes.len());
        for (d, lane) in self.lanes.iter_mut().enumerate() {
            let (from, to) = (bounds[d] as usize, bounds[d + 1] as usize);
            if to - from == batch.num_rows() {
                lane.gather(batch.clone(), &mut self.sent)?;
            } else if from < to {
                let piece = take(&batch, &indices[from..to])?;
                lane.gather(piece, &mut self.sent)?;
            }
        }
        Ok(())
    }

    fn with_hash(&self, mut batch: ChangeBatch) -> Result<ChangeBatch, ExchangeError> {
        if batch.hash.is_none() {
            let columns: Vec<ArrayRef> =
                self.keys.iter().map(|k| Arc::clone(batch.rows.column(*k))).collect();
            let mut hash = Vec::new();
            hash_columns(&columns, batch.num_rows(), &mut hash)?;
            batch.hash = Some(hash.into());
        }
        Ok(batch)
    }

    /// Sends the barrier to every consumer, after all rows before it.
    pub fn barrier(&mut self, barrier: &Barrier) -> Result<(), ExchangeError> {
        for lane in &mut self.lanes {
            lane.release(&mut self.sent)?;
            lane.outbox.push_back(Message::Barrier(barrier.clone()));
        }
        self.pump();
        Ok(())
    }

    /// Sends what is gathered although it is small.
    pub fn flush(&mut self) -> Result<(), ExchangeError> {
        for lane in &mut self.lanes {
            lane.release(&mut self.sent)?;
        }
        self.pump();
        Ok(())
    }

    /// Moves outboxes into the rings; whether all are empty.
    pub fn pump(&mut self) -> bool {
        let mut clear = true;
        for lane in &mut self.lanes {
            clear &= lane.pump();
        }
        clear
    }

    /// Whether some consumer has nothing to read.
    #[must_use]
    pub fn consumer_idle(&self) -> bool {
        self.lanes.iter().any(|lane| lane.outbox.is_empty() && lane.ring.is_empty())
    }
}

impl Lane {
    fn gather(&mut self, batch: ChangeBatch, sent: &mut Traffic) -> Result<(), ExchangeError> {
        self.gathered_rows += batch.num_rows();
        self.gathered.push(batch);
        let idle = self.outbox.is_empty() && self.ring.is_empty();
        if self.gathered_rows >= GATHER_ROWS || idle {
            self.release(sent)?;
            self.pump();
        }
        Ok(())
    }

    fn release(&mut self, sent: &mut Traffic) -> Result<(), ExchangeError> {
        if self.gathered_rows == 0 {
            return Ok(());
        }
        sent.rows += self.gathered_rows as u64;
        sent.batches += 1;
        self.gathered_rows = 0;
        let batch = concat(std::mem::take(&mut self.gathered))?;
        self.outbox.push_back(Message::Batch(batch));
        Ok(())
    }

    fn pump(&mut self) -> bool {
        while let Some(message) = self.outbox.pop_front() {
            if let Err(refused) = self.ring.try_send(message) {
                self.outbox.push_front(refused);
                return false;
            }
        }
        true
    }
}

/// Row numbers ordered by destination, and where each destination's begin.
fn group_by_owner(hash: &[u64], owners: &VnodeMap, lanes: usize) -> (Vec<u32>, Vec<u32>) {
    let mut bounds = vec![0u32; lanes + 1];
    let owner: Vec<u32> = hash.iter().map(|h| owners.owner(vnode_of(*h)).0).collect();
    for d in &owner {
        bounds[*d as usize + 1] += 1;
    }
    for d in 0..lanes {
        bounds[d + 1] += bounds[d];
    }
    let mut next = bounds.clone();
    let mut indices = vec![0u32; hash.len()];
    for (row, d) in owner.iter().enumerate() {
        let at = &mut next[*d as usize];
        indices[*at as usize] = row as u32;
        *at += 1;
    }
    (indices, bounds)
}

fn take(batch: &ChangeBatch, rows: &[u32]) -> Result<ChangeBatch, ArrowError> {
    let indices = UInt32Array::from(rows.to_vec());
    Ok(ChangeBatch {
        rows: take_record_batch(&batch.rows, &indices)?,
        ops: match &batch.ops {
            Ops::Insert => Ops::Insert,
            Ops::Signs { neg } => {
                Ops::Signs { neg: rows.iter().map(|r| neg.value(*r as usize)).collect() }
            }
        },
        hash: batch.hash.as_ref().map(|h| rows.iter().map(|r| h[*r as usize]).collect()),
    })
}

/// Several batches of one edge as one.
fn concat(mut batches: Vec<ChangeBatch>) -> Result<ChangeBatch, ArrowError> {
    if batches.len() == 1 {
        return Ok(batches.remove(0));
    }
    let schema = batches[0].rows.schema();
    let rows: Vec<&RecordBatch> = batches.iter().map(|b| &b.rows).collect();
    let ops = if batches.iter().all(|b| b.ops == Ops::Insert) {
        Ops::Insert
    } else {
        let mut neg = arrow::array::BooleanBufferBuilder::new(0);
        for batch in &batches {
            match &batch.ops {
                Ops::Insert => neg.append_n(batch.num_rows(), false),
                Ops::Signs { neg: bits } => neg.append_buffer(bits),
            }
        }
        let neg: BooleanBuffer = neg.finish();
        Ops::Signs { neg }
    };
    let hash = batches.iter().flat_map(|b| b.hash.as_deref().unwrap_or_default()).copied();
    Ok(ChangeBatch { hash: Some(hash.collect()), rows: concat_batches(&schema, rows)?, ops })
}
