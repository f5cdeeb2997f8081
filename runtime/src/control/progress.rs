//! A job's epochs, decided without clocks, threads or messages.
//!
//! Epochs are put in flight by ticks, completed by the reports of all workers, and
//! become the job's history: what can be read. While a job catches up with others
//! its epochs do not count; from its first aligned epoch on they do.

use std::collections::VecDeque;
use std::sync::Arc;

use tidemill_types::{Epoch, EventTime, WATERMARK_END};

use crate::exchange::sender::Traffic;
use crate::operators::Counters;
use crate::source::SplitProgress;
use crate::worker::EpochReport;
use crate::worker::task::OperatorSnapshot;

/// Epochs of one job that may be under way at once: the next tick waits, and so
/// makes a larger epoch, when the workers are behind.
pub const EPOCHS_IN_FLIGHT_MAX: usize = 2;

/// What a job had done by the end of an epoch, over all workers.
#[derive(Clone, Debug, Default)]
pub struct EpochSummary {
    pub epoch: Epoch,
    pub splits: Vec<SplitProgress>,
    pub operators: Vec<OperatorSnapshot>,
    pub watermarks: Vec<EventTime>,
    pub traffic: Traffic,
}

impl EpochSummary {
    /// Records that the sources have read, decoded and rejected.
    #[must_use]
    pub fn records_read(&self) -> u64 {
        self.splits.iter().map(|s| s.offset).sum()
    }

    /// Records that the sources rejected.
    #[must_use]
    pub fn records_rejected(&self) -> u64 {
        self.splits.iter().map(|s| s.rejected).sum()
    }

    /// The counters of all operators, added up.
    #[must_use]
    pub fn totals(&self) -> Counters {
        let mut totals = Counters::default();
        for operator in &self.operators {
            totals.add(&operator.counters);
        }
        totals
    }

    /// Rows that reached the materialize or sink.
    #[must_use]
    pub fn rows_out(&self) -> u64 {
        let last = |o: &&OperatorSnapshot| matches!(o.name, "Materialize" | "Sink");
        self.operators.iter().filter(last).map(|o| o.counters.rows_in).sum()
    }

    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.operators.iter().map(|o| o.state_bytes).sum()
    }

    /// The smallest watermark of the job's sources.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.watermarks.iter().copied().min().unwrap_or(WATERMARK_END)
    }
}

/// What completing an epoch means for the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// It still catches up; nobody sees the epoch.
    CatchingUp,
    /// The epoch is visible.
    Visible,
    /// The epoch is visible and is the job's last.
    Finished,
}

/// The epochs of one job.
#[derive(Debug)]
pub struct JobProgress {
    workers: usize,
    in_flight: VecDeque<InFlight>,
    history: VecDeque<Arc<EpochSummary>>,
    /// The last epochs while the job catches up, as many as may end at once.
    unseen: VecDeque<Arc<EpochSummary>>,
    caught_up: bool,
    closed: bool,
}

#[derive(Debug)]
struct InFlight {
    epoch: Epoch,
    reports: Vec<EpochReport>,
}

impl JobProgress {
    #[must_use]
    pub fn new(workers: usize) -> Self {
        JobProgress {
            workers,
            in_flight: VecDeque::new(),
            history: VecDeque::new(),
            unseen: VecDeque::new(),
            caught_up: false,
            closed: false,
        }
    }

    /// A job that goes on from `summary`, its last durable epoch. Until it is level
    /// with the others again that is the epoch that can be read. `closed`: it had
    /// ended.
    #[must_use]
    pub fn restored(workers: usize, summary: EpochSummary, closed: bool) -> Self {
        JobProgress {
            history: VecDeque::from([Arc::new(summary)]),
            closed,
            ..JobProgress::new(workers)
        }
    }

    /// The server's clock has ticked: whether the job is to end `epoch` now.
    pub fn tick(&mut self, epoch: Epoch) -> bool {
        if self.closed || self.in_flight.len() >= EPOCHS_IN_FLIGHT_MAX {
            return false;
        }
        self.in_flight.push_back(InFlight { epoch, reports: Vec::new() });
        true
    }

    /// A worker has passed an epoch. Answers what follows when it was the last
    /// worker; epochs complete in order.
    pub fn report(&mut self, report: EpochReport) -> Vec<(Epoch, Completion)> {
        if let Some(flight) = self.in_flight.iter_mut().find(|f| f.epoch == report.epoch) {
            flight.reports.push(report);
        }
        let mut completions = Vec::new();
        while self.in_flight.front().is_some_and(|f| f.reports.len() == self.workers) {
            let Some(flight) = self.in_flight.pop_front() else { break };
            completions.push((flight.epoch, self.complete(flight)));
        }
        completions
    }

    fn complete(&mut self, flight: InFlight) -> Completion {
        let end = flight.reports.iter().all(|r| r.end);
        let aligned = flight.reports.iter().all(|r| r.aligned);
        self.caught_up |= aligned || end;
        if self.closed {
            return Completion::CatchingUp;
        }
        if !self.caught_up {
            self.unseen.truncate(EPOCHS_IN_FLIGHT_MAX - 1);
            self.unseen.push_front(Arc::new(summarize(flight)));
            return Completion::CatchingUp;
        }
        self.history.push_back(Arc::new(summarize(flight)));
        self.closed = end;
        if end { Completion::Finished } else { Completion::Visible }
    }

    /// The job has stopped: its last epoch stays what it is.
    pub fn close(&mut self) {
        self.closed = true;
        self.in_flight.clear();
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether its epochs count: it is level with the other readers of its sources.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.caught_up
    }

    /// The newest visible epoch.
    #[must_use]
    pub fn newest(&self) -> Option<Epoch> {
        self.history.back().map(|s| s.epoch)
    }

    /// Visible epochs, newest first.
    pub fn visible(&self) -> impl Iterator<Item = Epoch> + '_ {
        self.history.iter().rev().map(|s| s.epoch)
    }

    /// Whether the contents at `epoch` are defined: the job ended that very
    /// epoch, or had ended for good before. Of a job that ended without an epoch
    /// there is nothing to wait for.
    #[must_use]
    pub fn is_visible_at(&self, epoch: Epoch) -> bool {
        self.history.binary_search_by_key(&epoch, |s| s.epoch).is_ok()
            || (self.closed && self.newest().is_none_or(|last| last <= epoch))
    }

    /// What the job had done by `epoch`.
    #[must_use]
    pub fn at(&self, epoch: Epoch) -> Option<&Arc<EpochSummary>> {
        let after = self.history.partition_point(|s| s.epoch <= epoch);
        self.history.get(after.checked_sub(1)?)
    }

    /// What the job had done by `epoch`, which has just ended, seen or not.
    #[must_use]
    pub fn ended(&self, epoch: Epoch) -> Option<&Arc<EpochSummary>> {
        let seen = self.history.iter().rev().take(EPOCHS_IN_FLIGHT_MAX);
        seen.chain(&self.unseen).find(|s| s.epoch == epoch)
    }

    /// Forgets epochs that nobody can ask for: those before the newest one that
    /// is not after `floor`.
    pub fn retain_from(&mut self, floor: Epoch) {
        while self.history.get(1).is_some_and(|s| s.epoch <= floor) {
            self.history.pop_front();
        }
    }
}

fn summarize(flight: InFlight) -> EpochSummary {
    let mut summary = EpochSummary { epoch: flight.epoch, ..EpochSummary::default() };
    for report in flight.reports {
        for (slot, watermark) in report.watermarks.iter().enumerate() {
            match summary.watermarks.get_mut(slot) {
                Some(seen) => *seen = (*seen).min(*watermark),
                None => summary.watermarks.push(*watermark),
            }
        }
        summary.traffic.rows += report.traffic.rows;
        summary.traffic.batches += report.traffic.batches;
        summary.splits.extend(report.splits);
        summary.operators.extend(report.operators);
    }
    summary.splits.sort_by(|a, b| (&a.source, a.split).cmp(&(&b.source, b.split)));
    summary.operators.sort_by_key(|o| o.id);
    summary
}

/// The newest epoch, not before `min`, that is visible in all of `jobs`. Jobs
/// that have ended are visible at every later epoch; when all have, `now` is.
#[must_use]
pub fn common_epoch(jobs: &[&JobProgress], min: Epoch, now: Epoch) -> Option<Epoch> {
    let Some(live) = jobs.iter().find(|j| !j.closed) else {
        let ended = jobs.iter().filter_map(|j| j.newest()).max().unwrap_or(Epoch::ZERO);
        return Some(ended.max(min).max(now));
    };
    live.visible()
        .take_while(|epoch| *epoch >= min)
        .find(|epoch| jobs.iter().all(|j| j.is_visible_at(*epoch)))
}

#[cfg(test)]
mod tests {
    use tidemill_types::{JobId, WorkerIndex};

    use super::*;

    fn report(worker: u32, epoch: u64, aligned: bool, end: bool) -> EpochReport {
        EpochReport {
            job: JobId(1),
            worker: WorkerIndex(worker),
            epoch: Epoch(epoch),
            end,
            aligned,
            watermarks: Arc::from([i64::from(worker)]),
            splits: Vec::new(),
            operators: Vec::new(),
            traffic: Traffic::default(),
            deltas: Vec::new(),
        }
    }

    #[test]
    fn an_epoch_is_visible_when_all_workers_have_passed_it() {
        let mut job = JobProgress::new(2);
        assert!(job.tick(Epoch(5)) && job.tick(Epoch(6)));
        assert!(!job.tick(Epoch(7)), "two are in flight");
        assert_eq!(job.report(report(0, 5, true, false)), []);
        assert_eq!(job.report(report(0, 6, true, false)), []);
        let visible = [(Epoch(5), Completion::Visible)];
        assert_eq!(job.report(report(1, 5, true, false)), visible);
        assert_eq!(job.newest(), Some(Epoch(5)));
        assert_eq!(job.at(Epoch(9)).map(|s| s.watermark()), Some(0));
        assert!(job.is_visible_at(Epoch(5)) && !job.is_visible_at(Epoch(6)));
    }

    #[test]
    fn catching_up_is_invisible_until_aligned_on_every_worker() {
        let mut job = JobProgress::new(2);
        job.tick(Epoch(1));
        job.report(report(0, 1, true, false));
        let hidden = [(Epoch(1), Completion::CatchingUp)];
        assert_eq!(job.report(report(1, 1, false, false)), hidden);
        assert_eq!(job.newest(), None);
        assert_eq!(job.ended(Epoch(1)).map(|s| s.epoch), Some(Epoch(1)));
        job.tick(Epoch(2));
        job.report(report(0, 2, true, false));
        let visible = [(Epoch(2), Completion::Visible)];
        assert_eq!(job.report(report(1, 2, true, false)), visible);
        let ended = |epoch| job.ended(Epoch(epoch)).map(|s| s.epoch.0);
        assert_eq!([ended(1), ended(2), ended(3)], [Some(1), Some(2), None]);
    }

    #[test]
    fn an_ended_job_is_visible_ever_after() {
        let mut job = JobProgress::new(1);
        job.tick(Epoch(3));
        assert_eq!(job.report(report(0, 3, true, true)), [(Epoch(3), Completion::Finished)]);
        assert!(!job.tick(Epoch(4)));
        assert!(job.is_visible_at(Epoch(3)) && job.is_visible_at(Epoch(99)));
        assert!(!job.is_visible_at(Epoch(2)));
    }

    #[test]
    fn a_common_epoch_is_one_that_every_live_job_has_ended() {
        let with = |epochs: &[u64], end: bool| {
            let mut job = JobProgress::new(1);
            for (i, e) in epochs.iter().enumerate() {
                job.tick(Epoch(*e));
                job.report(report(0, *e, true, end && i + 1 == epochs.len()));
            }
            job
        };
        let a = with(&[1, 2, 3, 4, 5], false);
        let b = with(&[1, 2, 4], false);
        let ended = with(&[2, 3], true);
        let at =
            |jobs: &[&JobProgress], min| common_epoch(jobs, Epoch(min), Epoch(50)).map(|e| e.0);
        assert_eq!(at(&[&a, &b], 0), Some(4));
        assert_eq!(at(&[&a, &b], 5), None);
        assert_eq!(at(&[&ended, &b], 0), Some(4));
        assert_eq!(at(&[&ended], 0), Some(50));
        assert_eq!(at(&[], 60), Some(60));
    }

    #[test]
    fn forgetting_keeps_what_the_floor_needs() {
        let mut job = JobProgress::new(1);
        for e in 1..=9 {
            job.tick(Epoch(e));
            job.report(report(0, e, true, false));
        }
        job.retain_from(Epoch(6));
        assert_eq!(job.visible().map(|e| e.0).collect::<Vec<_>>(), [9, 8, 7, 6]);
        assert_eq!(job.at(Epoch(5)).map(|s| s.epoch), None);
    }
}
