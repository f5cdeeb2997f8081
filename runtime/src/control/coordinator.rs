//! The coordinator thread: ticks the clock and handles what workers, the storage
//! thread and the delivery thread report.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tidemill_types::{Epoch, EventTime};

use super::delivery::DeliveryWork;
use super::durable::{JobImage, StorageWork};
use super::engine::{Engine, Job, RETENTION, State};
use super::progress::Completion;
use super::status::JobState;
use crate::source::leaf::EpochEnd;
use crate::worker::{Command, EpochReport, Report};

/// Epoch numbers that are left when more are reserved: several minutes' worth.
const EPOCHS_LOW: u64 = 4_096;

impl Engine {
    /// Handles reports and ticks until the engine stops, which it notices within
    /// a tick.
    pub(super) fn coordinate(&self, reports: &Receiver<Report>) {
        let tick = i64::try_from(self.0.config.tick.as_micros()).unwrap_or(i64::MAX);
        let mut next_tick = self.0.clock.now() + tick;
        loop {
            let wait = u64::try_from(next_tick - self.0.clock.now()).unwrap_or(0);
            match reports.recv_timeout(Duration::from_micros(wait)) {
                Ok(report) => self.handle(report),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.0.state.lock().stopped {
                return;
            }
            let now = self.0.clock.now();
            if now >= next_tick {
                self.tick(now);
                // Ticks that were missed are not made up for.
                next_tick = now.max(next_tick + tick);
            }
        }
    }

    fn tick(&self, now: EventTime) {
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        self.tend(state, now);
        if state.jobs.values().all(|j| j.progress.is_closed()) {
            return;
        }
        if !self.epochs_left(state) {
            return;
        }
        state.epoch = state.epoch.next();
        let epoch = state.epoch;
        state.ticks.push_back((epoch, now));
        for (id, job) in &mut state.jobs {
            if let Some(end) = job.end_epoch(epoch, now) {
                for worker in 0..job.workers {
                    self.command(worker, Command::EndEpoch { job: *id, end });
                }
            }
        }
        self.forget(state, now);
    }

    /// Drops versions and summaries that no reader can ask for.
    fn forget(&self, state: &mut State, now: EventTime) {
        let retention = i64::try_from(RETENTION.as_micros()).unwrap_or(i64::MAX);
        while state.ticks.front().is_some_and(|(_, at)| now - at > retention) {
            state.ticks.pop_front();
        }
        let oldest_kept = state.ticks.front().map_or(state.epoch, |(e, _)| *e);
        let live = state.jobs.values().filter(|j| !j.progress.is_closed());
        let common = live.filter_map(|j| j.progress.newest()).min().unwrap_or(state.epoch);
        let pinned = state.pins.keys().next().copied().unwrap_or(state.epoch);
        let floor = common.max(oldest_kept).min(pinned);
        for job in state.jobs.values_mut() {
            // A job that has ended is read at its last visible epoch for ever; a
            // failed one may have sealed parts beyond it.
            let last = job.progress.newest().filter(|_| job.progress.is_closed());
            let floor = last.map_or(floor, |last| floor.min(last));
            job.progress.retain_from(floor);
            if let Some(view) = job.spec.view.and_then(|v| self.0.environment.views.get(v)) {
                view.retain_from(floor);
            }
        }
    }

    fn handle(&self, report: Report) {
        let mut guard = self.0.state.lock();
        let state = &mut *guard;
        match report {
            Report::Deployed { job, .. } => {
                if let Some(entry) = state.jobs.get_mut(&job) {
                    entry.deployed += 1;
                    if entry.deployed == entry.workers {
                        entry.started_at = Some(self.0.clock.now());
                    }
                }
            }
            Report::Epoch(report) => self.handle_epoch(state, *report),
            Report::Stored { job, epoch, outcome } => {
                if let Err(error) = &outcome {
                    tracing::error!(%job, %epoch, %error, "a checkpoint failed");
                }
                if let Some(entry) = state.jobs.get_mut(&job)
                    && let Some(checkpoints) = entry.checkpoints.as_mut()
                {
                    let error = outcome.err().map(|e| e.to_string());
                    let committed = error.is_none();
                    let refused = checkpoints.stored(epoch, self.0.clock.now(), error);
                    if committed {
                        entry.sinks.committed(epoch);
                        self.deliver(DeliveryWork::Committed { job, epoch });
                    }
                    self.after_commit(state, job, refused);
                }
                self.0.removed.notify_all();
            }
            Report::EpochsReserved(reserved) => {
                state.reserving_epochs = false;
                match reserved {
                    Ok(block) => {
                        if block.start != state.epochs_end.0 {
                            // What lies between is not ours.
                            state.epoch = Epoch(state.epoch.0.max(block.start));
                        }
                        state.epochs_end = Epoch(block.end);
                    }
                    Err(error) => tracing::error!(%error, "no epoch numbers could be reserved"),
                }
            }
            Report::Failed { job, worker, error } => {
                tracing::error!(%job, %worker, %error, "job failed");
                self.fail(state, job, &error);
            }
            Report::Delivered { job, epoch } => self.after_delivery(state, job, epoch),
            Report::SinkFailed { job, error } => {
                tracing::error!(%job, %error, "a sink cannot deliver");
                self.fail(state, job, &error);
            }
            Report::Removed { job, .. } => {
                if let Some(entry) = state.jobs.get_mut(&job) {
                    entry.removed += 1;
                    self.0.removed.notify_all();
                }
            }
        }
        drop(guard);
        self.announce();
    }

    fn handle_epoch(&self, state: &mut State, mut report: EpochReport) {
        let job = report.job;
        let Some(entry) = state.jobs.get_mut(&job) else { return };
        if let Some(checkpoints) = &mut entry.checkpoints {
            checkpoints.add(report.epoch, std::mem::take(&mut report.deltas));
        }
        let mut finished = false;
        for (epoch, completion) in entry.progress.report(report) {
            let ended = completion == Completion::Finished;
            if let Some(checkpoints) = &mut entry.checkpoints
                && (completion != Completion::CatchingUp || !entry.sinks.is_empty())
                && let Some(summary) = entry.progress.ended(epoch)
            {
                let image = JobImage::of(summary, entry.workers as u32, ended);
                if let Some(changes) = checkpoints.complete(&image) {
                    self.store(StorageWork::Commit { job, image, changes });
                }
            }
            match completion {
                Completion::CatchingUp => continue,
                Completion::Visible => {
                    entry.restarts.succeeded();
                    entry.tell(JobState::Running, Some(epoch));
                }
                Completion::Finished => {
                    entry.finished_at = Some(self.0.clock.now());
                    entry.tell(JobState::Finished, Some(epoch));
                    finished = true;
                }
            }
        }
        if finished {
            self.remove(state, job).ok();
        }
    }

    /// Whether there is a number for another epoch; reserves more in time.
    fn epochs_left(&self, state: &mut State) -> bool {
        let left = state.epochs_end.0.saturating_sub(state.epoch.0 + 1);
        if left < EPOCHS_LOW && !state.reserving_epochs {
            state.reserving_epochs = true;
            self.store(StorageWork::ReserveEpochs);
        }
        left > 0
    }
}

impl Job {
    /// The clock has ticked: whether the job is to end `epoch` now, and how.
    fn end_epoch(&mut self, epoch: Epoch, now: EventTime) -> Option<EpochEnd> {
        if !self.ticks() {
            return None;
        }
        // Epochs that nobody can see are no state for a view to go on from. A sink is
        // not looked at, and must be able to pass on what it catches up with.
        let sink = !self.sinks.is_empty();
        let level = sink || self.progress.is_level();
        let filling = sink && self.sinks.are_filling();
        let checkpoints = self.checkpoints.as_mut();
        let due = checkpoints.filter(|c| level && c.is_due(now, filling));
        // More rows would find no room before a checkpoint has made some.
        let held_back = due.is_none() && sink && self.sinks.are_full();
        if held_back || !self.progress.tick(epoch) {
            return None;
        }
        let mut end = EpochEnd { epoch, now, checkpoint: due.is_some(), stop: false };
        if let Some(checkpoints) = due {
            checkpoints.begin(epoch);
            end.stop = checkpoints.is_stopping();
        }
        if end.stop {
            self.stopped_after = Some(epoch);
        }
        Some(end)
    }
}
