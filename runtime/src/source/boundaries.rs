//! Where each epoch ends in each split, agreed between all jobs that read it.
//!
//! Jobs read a source independently, each at its own pace, yet equal epochs must
//! mean equal input: the first job to end an epoch fixes the ordinal at which
//! each split ends it, and every other job obeys. So two views of one source,
//! read at one epoch, describe the same rows.
//!
//! # Model
//! Per split: `fixed`, the ordinals that are settled by epoch; and `high`, the
//! furthest that any aligned job has read. A job at the **frontier** (nothing
//! fixed ahead of it) reads freely and raises `high`; a job behind stops at the
//! next fixed boundary. An epoch that nobody has fixed yet is fixed at `high`,
//! so that no aligned job has read past it.
//!
//! A job that starts while others are far ahead **catches up**: its epochs end
//! where it happens to be, and nobody may compare them, until it is near enough to
//! reach `high` within one epoch; from that epoch on it is aligned. While
//! somebody catches up, the frontier yields (see [`SourceBoundaries::crowded`]).
//!
//! # Invariants
//! * `fixed` rises with the epoch, and never lies behind an aligned reader.
//! * Once aligned, a reader stays aligned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tidemill_types::{Epoch, JobId, ObjectId};

/// The boundaries of every source that some job reads.
#[derive(Clone, Debug, Default)]
pub struct Boundaries(Arc<Mutex<HashMap<ObjectId, Arc<SourceBoundaries>>>>);

impl Boundaries {
    /// Registers `job` as a reader of all splits of `source`, from these ordinals on.
    pub fn join(&self, source: ObjectId, starts: &[u64], job: JobId) -> Arc<SourceBoundaries> {
        let mut all = self.0.lock();
        let new = || Arc::new(SourceBoundaries::new(starts.len()));
        let entry = all.entry(source).or_insert_with(new).clone();
        for (split, start) in entry.splits.iter().zip(starts) {
            let mut state = split.lock();
            let aligned = state.readers.is_empty();
            if aligned {
                *state = SplitState { high: *start, ..SplitState::default() };
            } else {
                entry.catching_up.fetch_add(1, Ordering::Relaxed);
            }
            state.readers.insert(
                job,
                Reader { sealed: Epoch::ZERO, aligned, last_span: 0, sealed_at: *start },
            );
        }
        entry
    }

    /// Forgets a reader; the source itself when it was the last.
    pub fn leave(&self, source: ObjectId, job: JobId) {
        let mut all = self.0.lock();
        let Some(entry) = all.get(&source) else { return };
        let mut readers = 0;
        for split in &entry.splits {
            let mut state = split.lock();
            if let Some(reader) = state.readers.remove(&job)
                && !reader.aligned
            {
                entry.catching_up.fetch_sub(1, Ordering::Relaxed);
            }
            state.prune();
            readers += state.readers.len();
        }
        if readers == 0 {
            all.remove(&source);
        }
    }
}

/// The boundaries of one source's splits.
#[derive(Debug)]
pub struct SourceBoundaries {
    splits: Vec<Mutex<SplitState>>,
    catching_up: AtomicUsize,
}

#[derive(Debug, Default)]
struct SplitState {
    fixed: BTreeMap<Epoch, u64>,
    high: u64,
    readers: HashMap<JobId, Reader>,
}

#[derive(Debug)]
struct Reader {
    sealed: Epoch,
    aligned: bool,
    /// Records between the last two seals, to judge what one epoch can read.
    last_span: u64,
    sealed_at: u64,
}

/// How far a reader may go now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowance {
    /// As far as it likes.
    Unlimited,
    /// Up to this ordinal.
    UpTo(u64),
}

/// Where a split is to end an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// Read exactly up to here first.
    pub at: u64,
    /// Whether the epoch means the same as in every other aligned job.
    pub aligned: bool,
}

impl SourceBoundaries {
    fn new(splits: usize) -> Self {
        SourceBoundaries {
            splits: (0..splits).map(|_| Mutex::default()).collect(),
            catching_up: AtomicUsize::new(0),
        }
    }

    /// Whether somebody is catching up, so that aligned jobs should yield.
    #[must_use]
    pub fn crowded(&self) -> bool {
        self.catching_up.load(Ordering::Relaxed) > 0
    }

    /// How far `job` may read in its running epoch, standing at `position`.
    #[must_use]
    pub fn allowance(&self, split: usize, job: JobId) -> Allowance {
        let state = self.splits[split].lock();
        state.allowance(job)
    }

    /// Whether `job` is aligned in this split.
    #[must_use]
    pub fn is_aligned(&self, split: usize, job: JobId) -> bool {
        self.splits[split].lock().readers.get(&job).is_some_and(|r| r.aligned)
    }

    /// `job` has read records up to `position` and would like to pass them on.
    /// Answers how far it may; what lies beyond belongs to a later epoch.
    /// `sealing`: the boundary of the epoch that it is ending, if it is.
    pub fn advance(&self, split: usize, job: JobId, position: u64, sealing: Option<u64>) -> u64 {
        let mut state = self.splits[split].lock();
        let granted = match (sealing, state.allowance(job)) {
            (Some(boundary), _) => position.min(boundary),
            (None, Allowance::Unlimited) => position,
            (None, Allowance::UpTo(limit)) => position.min(limit),
        };
        if state.readers.get(&job).is_some_and(|r| r.aligned) {
            state.high = state.high.max(granted);
        }
        granted
    }

    /// Where `job`, standing at `position`, ends `epoch`. Asking again gives the
    /// same answer once it is aligned.
    pub fn seal(&self, split: usize, job: JobId, epoch: Epoch, position: u64) -> Seal {
        let mut state = self.splits[split].lock();
        let Some(reader) = state.readers.get(&job) else {
            return Seal { at: position, aligned: true };
        };
        let aligned = reader.aligned;
        let reach = reader.last_span.max(position - reader.sealed_at).max(1);
        let at = state.settled_or_next(epoch);
        if !aligned {
            // Behind the boundary by more than an epoch's work, or already past it
            // (restored further ahead than others), unless nobody else is left.
            let alone = !state.readers.values().any(|r| r.aligned);
            if !alone && (at < position || at - position > reach) {
                return Seal { at: position, aligned: false };
            }
            let reader = state.readers.get_mut(&job).expect("looked up above");
            reader.aligned = true;
            self.catching_up.fetch_sub(1, Ordering::Relaxed);
        }
        let at = at.max(position);
        state.high = state.high.max(at);
        state.fixed.insert(epoch, at);
        Seal { at, aligned: true }
    }

    /// `job` has ended `epoch` in this split at `position`.
    pub fn sealed(&self, split: usize, job: JobId, epoch: Epoch, position: u64) {
        let mut state = self.splits[split].lock();
        if let Some(reader) = state.readers.get_mut(&job) {
            reader.sealed = epoch;
            reader.last_span = position - reader.sealed_at;
            reader.sealed_at = position;
        }
        state.prune();
    }
}

impl SplitState {
    fn allowance(&self, job: JobId) -> Allowance {
        match self.readers.get(&job) {
            Some(reader) if reader.aligned => self
                .fixed
                .range(reader.sealed.next()..)
                .next()
                .map_or(Allowance::Unlimited, |(_, at)| Allowance::UpTo(*at)),
            // Past `high` nobody has settled anything; a job that catches up may
            // not settle it either.
            Some(_) => Allowance::UpTo(self.high),
            None => Allowance::Unlimited,
        }
    }

    /// Where `epoch` ends, or would end if it were fixed now: at the frontier, but
    /// not past a later epoch that somebody has fixed already.
    fn settled_or_next(&self, epoch: Epoch) -> u64 {
        match self.fixed.range(epoch..).next() {
            Some((fixed, at)) if *fixed == epoch => *at,
            Some((_, later)) => self.high.min(*later),
            None => self.high,
        }
    }

    /// Drops what no reader can ask for again.
    fn prune(&mut self) {
        if let Some(oldest) = self.readers.values().map(|r| r.sealed).min() {
            self.fixed = self.fixed.split_off(&oldest.next());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: JobId = JobId(1);
    const B: JobId = JobId(2);
    const S: ObjectId = ObjectId(9);

    #[test]
    fn the_first_to_end_an_epoch_fixes_it_for_all() {
        let all = Boundaries::default();
        let s = all.join(S, &[0], A);
        assert_eq!(s.advance(0, A, 100, None), 100);
        all.join(S, &[0], B);
        // B is behind and catches up; it may read up to what A has read.
        assert_eq!(s.allowance(0, B), Allowance::UpTo(100));
        assert_eq!(s.advance(0, B, 60, None), 60);
        // B is near: it fixes epoch 1, but not behind A.
        assert_eq!(s.seal(0, B, Epoch(1), 60), Seal { at: 100, aligned: true });
        // A had read on before it heard: the rest belongs to the next epoch.
        assert_eq!(s.advance(0, A, 180, None), 100);
        assert_eq!(s.seal(0, A, Epoch(1), 100), Seal { at: 100, aligned: true });
        s.sealed(0, A, Epoch(1), 100);
        assert_eq!(s.advance(0, A, 180, None), 180);
    }

    #[test]
    fn a_far_follower_ends_epochs_where_it_is() {
        let all = Boundaries::default();
        let s = all.join(S, &[0], A);
        s.advance(0, A, 1_000_000, None);
        all.join(S, &[0], B);
        assert!(s.crowded());
        assert_eq!(s.advance(0, B, 10, None), 10);
        assert_eq!(s.seal(0, B, Epoch(5), 10), Seal { at: 10, aligned: false });
        s.sealed(0, B, Epoch(5), 10);
        assert!(!s.is_aligned(0, B));
        // A is free of B's private boundaries.
        assert_eq!(s.seal(0, A, Epoch(5), 1_000_000), Seal { at: 1_000_000, aligned: true });
        s.advance(0, B, 600_000, None);
        let seal = s.seal(0, B, Epoch(6), 600_000);
        assert_eq!(seal, Seal { at: 1_000_000, aligned: true });
        assert!(!s.crowded());
    }

    #[test]
    fn a_reader_restored_further_ahead_waits_for_the_others() {
        let all = Boundaries::default();
        let s = all.join(S, &[100], A);
        all.join(S, &[200], B);
        assert_eq!(s.allowance(0, B), Allowance::UpTo(100));
        assert_eq!(s.seal(0, B, Epoch(1), 200), Seal { at: 200, aligned: false });
        s.advance(0, A, 250, None);
        // Nobody has settled epoch 2 at B's position: it may read on, and meets A.
        assert_eq!(s.seal(0, B, Epoch(2), 200), Seal { at: 200, aligned: false });
        assert_eq!(s.advance(0, B, 260, None), 250);
        assert_eq!(s.seal(0, B, Epoch(3), 250), Seal { at: 250, aligned: true });
    }

    #[test]
    fn a_reader_that_waits_for_others_goes_on_when_they_leave() {
        let all = Boundaries::default();
        let s = all.join(S, &[100], A);
        all.join(S, &[200], B);
        all.leave(S, A);
        assert_eq!(s.seal(0, B, Epoch(1), 200), Seal { at: 200, aligned: true });
        assert_eq!(s.allowance(0, B), Allowance::UpTo(200));
        s.sealed(0, B, Epoch(1), 200);
        assert_eq!(s.allowance(0, B), Allowance::Unlimited);
    }

    #[test]
    fn a_source_without_readers_starts_anew() {
        let all = Boundaries::default();
        all.join(S, &[0], A).advance(0, A, 100, None);
        all.leave(S, A);
        let s = all.join(S, &[0], B);
        assert_eq!(s.allowance(0, B), Allowance::Unlimited);
        assert_eq!(s.seal(0, B, Epoch(3), 7), Seal { at: 7, aligned: true });
    }
}
