//! One worker's part of a source: its splits, read in turn, and the barriers
//! between epochs.
//!
//! Epochs to end arrive in a queue. While one is due, each split is read exactly
//! to the boundary that all jobs agree on ([`super::boundaries`]) and no further;
//! when every split stands there, the barrier goes out with the minimum of the
//! splits' watermarks. Otherwise the splits are read round robin, one batch a
//! call, unless the job has a sink whose rows have filled the memory that they may
//! wait in.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tidemill_connectors::source::{Read, ReadRequest, Records, Rejected, Source, SplitReader};
use tidemill_types::plan::SourceScan;
use tidemill_types::{ChangeBatch, Epoch, EventTime, JobId, OnError, OperatorId, WATERMARK_END};

use super::boundaries::{Allowance, SourceBoundaries};
use super::decode::{Decoder, split_records};
use crate::error::JobError;
use crate::operators::Barrier;
use crate::sink_log::SinkProgress;

/// How far a split has been read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitProgress {
    /// The operator that reads it.
    pub operator: OperatorId,
    pub source: String,
    pub split: u32,
    pub name: String,
    /// Records read: decoded and rejected.
    pub offset: u64,
    pub rejected: u64,
    pub watermark: EventTime,
}

/// The server's clock has ticked: an epoch is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    pub epoch: Epoch,
    /// The server's time of the tick.
    pub now: EventTime,
    /// The epoch is to be made durable.
    pub checkpoint: bool,
    /// Nothing is read after it.
    pub stop: bool,
}

/// What a source has for the operators above it.
#[derive(Debug)]
pub enum Polled {
    Batch(ChangeBatch),
    /// The end of an epoch, with where each split stood then.
    Barrier(Barrier, Vec<SplitProgress>, Alignment),
    /// Nothing now; at the latest at this time there may be.
    Idle {
        ready_at: Option<EventTime>,
    },
}

/// Whether an epoch can be compared with other jobs' epochs of that number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alignment {
    Aligned,
    CatchingUp,
}

/// A split to be read, and where from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitStart {
    pub number: u32,
    pub name: String,
    /// The first record to read.
    pub position: u64,
    /// Records before `position` that were rejected.
    pub rejected: u64,
    /// The split's watermark after the records before `position`.
    pub watermark: EventTime,
}

/// Reads the splits of one instance.
pub struct SourceLeaf {
    job: JobId,
    operator: OperatorId,
    name: String,
    decoder: Decoder,
    on_error: OnError,
    watermark_slot: usize,
    boundaries: Arc<SourceBoundaries>,
    splits: Vec<SplitState>,
    next_split: usize,
    due: VecDeque<EpochEnd>,
    /// An epoch that was to be the last has ended.
    stopped: bool,
    batch_rows: usize,
    /// The job's sinks that rows may wait in.
    sinks: Vec<Arc<SinkProgress>>,
    polls: u64,
}

struct SplitState {
    number: u32,
    name: String,
    reader: Box<dyn SplitReader>,
    /// Read, but beyond the boundary of the running epoch.
    carried: Option<Records>,
    position: u64,
    rejected: u64,
    watermark: EventTime,
    ended: bool,
    sealed: Option<bool>,
    ready_at: Option<EventTime>,
}

/// What opening a leaf needs.
pub struct LeafContext {
    pub job: JobId,
    pub source: Arc<dyn Source>,
    pub operator: OperatorId,
    /// This instance's splits.
    pub splits: Vec<SplitStart>,
    pub boundaries: Arc<SourceBoundaries>,
    pub batch_rows: usize,
    /// The job's sinks with a log: while one is full, no more is read than a running
    /// epoch needs to end.
    pub(crate) sinks: Vec<Arc<SinkProgress>>,
}

impl std::fmt::Debug for LeafContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeafContext").field("job", &self.job).field("splits", &self.splits).finish()
    }
}

impl std::fmt::Debug for SourceLeaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceLeaf").field("source", &self.name).finish_non_exhaustive()
    }
}

impl SourceLeaf {
    /// Opens the splits where they start. `schema` is that of the plan's node.
    pub fn open(
        scan: &SourceScan,
        schema: SchemaRef,
        context: &LeafContext,
    ) -> Result<Self, JobError> {
        let request = Arc::new(ReadRequest {
            columns: scan.columns.clone(),
            physical_names: scan.physical_names.clone(),
            declared: scan.declared.clone(),
        });
        let failed = |error| JobError::Source { name: scan.name.clone(), error };
        let mut splits = Vec::new();
        for start in &context.splits {
            let opened = context.source.open(start.number as usize, start.position, &request);
            splits.push(SplitState {
                number: start.number,
                name: start.name.clone(),
                reader: opened.map_err(failed)?,
                carried: None,
                position: start.position,
                rejected: start.rejected,
                watermark: start.watermark,
                ended: false,
                sealed: None,
                ready_at: None,
            });
        }
        Ok(SourceLeaf {
            job: context.job,
            operator: context.operator,
            name: scan.name.clone(),
            decoder: Decoder::new(scan, schema),
            on_error: scan.on_error,
            watermark_slot: scan.watermark_slot,
            boundaries: Arc::clone(&context.boundaries),
            splits,
            next_split: 0,
            due: VecDeque::new(),
            stopped: false,
            batch_rows: context.batch_rows,
            sinks: context.sinks.clone(),
            polls: 0,
        })
    }

    /// Asks for the end of an epoch.
    pub fn end_epoch(&mut self, end: EpochEnd) {
        self.due.push_back(end);
    }

    /// The next batch or barrier.
    pub fn poll(&mut self, now: EventTime) -> Result<Polled, JobError> {
        if self.stopped {
            return Ok(Polled::Idle { ready_at: None });
        }
        self.polls += 1;
        match self.due.front().copied() {
            Some(end) => self.poll_sealing(end, now),
            None if self.sinks.iter().any(|s| s.is_full()) => Ok(Polled::Idle { ready_at: None }),
            None => self.poll_open(now),
        }
    }

    fn poll_open(&mut self, now: EventTime) -> Result<Polled, JobError> {
        // Others are catching up with this source: leave them most of the time.
        if self.boundaries.crowded() && !self.polls.is_multiple_of(4) && self.all_aligned() {
            return Ok(Polled::Idle { ready_at: Some(now) });
        }
        let mut ready_at: Option<EventTime> = None;
        for _ in 0..self.splits.len() {
            let i = self.next_split;
            self.next_split = (self.next_split + 1) % self.splits.len();
            let split = &self.splits[i];
            if split.ended && split.carried.is_none() {
                continue;
            }
            let number = split.number as usize;
            let limit = self.boundaries.allowance(number, self.job);
            if let Some(batch) = self.read(i, Limit::Open(limit), now)? {
                return Ok(Polled::Batch(batch));
            }
            if let Some(at) = self.splits[i].ready_at {
                ready_at = Some(ready_at.map_or(at, |r| r.min(at)));
            }
        }
        Ok(Polled::Idle { ready_at })
    }

    fn all_aligned(&self) -> bool {
        self.splits.iter().all(|s| self.boundaries.is_aligned(s.number as usize, self.job))
    }

    fn poll_sealing(&mut self, end: EpochEnd, now: EventTime) -> Result<Polled, JobError> {
        let epoch = end.epoch;
        let mut ready_at = None;
        for i in 0..self.splits.len() {
            if self.splits[i].sealed.is_some() {
                continue;
            }
            let (number, position) = (self.splits[i].number as usize, self.splits[i].position);
            let seal = self.boundaries.seal(number, self.job, epoch, position);
            if position < seal.at {
                if let Some(batch) = self.read(i, Limit::Sealing(seal.at), now)? {
                    return Ok(Polled::Batch(batch));
                }
                ready_at = self.splits[i].ready_at.or(ready_at);
                if self.splits[i].position < seal.at {
                    continue;
                }
            }
            self.boundaries.sealed(number, self.job, epoch, seal.at);
            self.splits[i].sealed = Some(seal.aligned);
        }
        if self.splits.iter().any(|s| s.sealed.is_none()) {
            return Ok(Polled::Idle { ready_at });
        }
        self.due.pop_front();
        self.stopped = end.stop;
        Ok(self.barrier(end))
    }

    fn barrier(&mut self, due: EpochEnd) -> Polled {
        let aligned = self.splits.iter().all(|s| s.sealed == Some(true));
        let mut watermarks = vec![WATERMARK_END; self.watermark_slot + 1];
        let mut end = true;
        let mut progress = Vec::with_capacity(self.splits.len());
        for split in &mut self.splits {
            split.sealed = None;
            let ended = split.ended && split.carried.is_none();
            let watermark = if ended { WATERMARK_END } else { split.watermark };
            end &= ended;
            let slot = &mut watermarks[self.watermark_slot];
            *slot = (*slot).min(watermark);
            progress.push(SplitProgress {
                operator: self.operator,
                source: self.name.clone(),
                split: split.number,
                name: split.name.clone(),
                offset: split.position,
                rejected: split.rejected,
                watermark,
            });
        }
        let barrier = Barrier {
            epoch: due.epoch,
            now: due.now,
            watermarks: watermarks.into(),
            end,
            checkpoint: due.checkpoint,
        };
        let alignment = if aligned { Alignment::Aligned } else { Alignment::CatchingUp };
        Polled::Barrier(barrier, progress, alignment)
    }

    /// Reads one batch of split `i` that ends at `limit` at the latest.
    fn read(
        &mut self,
        i: usize,
        limit: Limit,
        now: EventTime,
    ) -> Result<Option<ChangeBatch>, JobError> {
        let (limit, sealing) = match limit {
            Limit::Open(Allowance::Unlimited) => (u64::MAX, None),
            Limit::Open(Allowance::UpTo(limit)) => (limit, None),
            Limit::Sealing(limit) => (limit, Some(limit)),
        };
        let split = &mut self.splits[i];
        if split.position >= limit {
            return Ok(None);
        }
        split.ready_at = None;
        let records = match split.carried.take() {
            Some(records) => records,
            None if split.ended => return Ok(None),
            None => {
                let room = usize::try_from(limit - split.position).unwrap_or(usize::MAX);
                let most = self.batch_rows.min(room);
                if limit < u64::MAX {
                    // Somebody has read up to the limit before.
                    split.reader.released_before(limit);
                }
                let failed = |error| JobError::Source { name: self.name.clone(), error };
                match split.reader.read(most, now).map_err(failed)? {
                    Read::Records(records) => records,
                    Read::Pending { ready_at } => {
                        split.ready_at = ready_at;
                        return Ok(None);
                    }
                    Read::End => {
                        split.ended = true;
                        return Ok(None);
                    }
                }
            }
        };
        if records.start != split.position || records.end <= records.start {
            return Err(JobError::Invariant(format!(
                "split {} of source {} delivered records {}..{} at position {}",
                split.name, self.name, records.start, records.end, split.position
            )));
        }
        let number = split.number as usize;
        let granted = self.boundaries.advance(number, self.job, records.end, sealing);
        let records = if granted < records.end {
            if granted <= records.start {
                split.carried = Some(records);
                return Ok(None);
            }
            let (now, later) = split_records(records, granted);
            split.carried = Some(later);
            now
        } else {
            records
        };
        split.position = records.end;
        let decoded = self.decoder.decode(split.number, records, &mut split.watermark)?;
        split.rejected += decoded.rejected.len() as u64;
        if self.on_error == OnError::Fail
            && let Some(first) = decoded.rejected.into_iter().next()
        {
            return Err(bad_record(&self.name, &split.name, &first));
        }
        // An empty batch still counts as progress: its records were rejected.
        Ok(Some(ChangeBatch::inserts(decoded.rows)))
    }
}

/// How far a split may be read.
#[derive(Clone, Copy)]
enum Limit {
    /// Within a running epoch.
    Open(Allowance),
    /// To the boundary of the epoch that is ending.
    Sealing(u64),
}

fn bad_record(source: &str, split: &str, rejected: &Rejected) -> JobError {
    JobError::BadRecord {
        name: source.to_owned(),
        split: split.to_owned(),
        reason: rejected.reason.clone(),
    }
}
