//! Delivers what is committed of sinks' logs.
//!
//! A thread of its own, so that a slow or failing destination holds up neither workers
//! nor checkpoints. Of each sink the slices are delivered in order, one at a time; the
//! sinks take turns. What fails is tried again, after a while that doubles each time; a
//! sink whose log has meanwhile grown beyond its limit fails its job, and is still tried.
//!
//! After a restart the first slice in the log is where delivery goes on: parts that are
//! at their destination already are recognised there by their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use tidemill_connectors::ConnectorError;
use tidemill_connectors::sink::{PartName, PartWriter};
use tidemill_storage::state::{StateBackend, StateError};
use tidemill_types::{Diagnostic, Epoch, EventTime, JobId};

use super::sinks::OpenSink;
use crate::clock::Clock;
use crate::error::JobError;
use crate::sink_log::PartKey;
use crate::worker::Report;

/// After the first failure in a row, and after many, in microseconds.
const RETRY_FIRST: EventTime = 200_000;
const RETRY_MAX: EventTime = 30_000_000;

/// For the delivery thread, in order.
pub(super) enum DeliveryWork {
    /// A job has been started, perhaps again. Up to `committed` its sinks' logs may hold
    /// what has not been delivered.
    Begin {
        job: JobId,
        sinks: Vec<Arc<OpenSink>>,
        committed: Option<Epoch>,
    },
    /// A checkpoint is committed, and the backend has it.
    Committed {
        job: JobId,
        epoch: Epoch,
    },
    Forget {
        job: JobId,
    },
    Stop,
}

/// What the delivery thread needs.
pub(super) struct Delivery {
    backend: Arc<dyn StateBackend>,
    clock: Arc<dyn Clock>,
    reports: Sender<Report>,
    /// Set when the engine stops: no further part is begun.
    stopped: Arc<AtomicBool>,
    jobs: BTreeMap<JobId, JobDelivery>,
}

/// One job's sinks.
#[derive(Debug)]
struct JobDelivery {
    committed: Option<Epoch>,
    sinks: Vec<SinkDelivery>,
    /// Slices have been delivered since it was begun.
    any: bool,
    reported: Option<Epoch>,
}

#[derive(Debug)]
struct SinkDelivery {
    sink: Arc<OpenSink>,
    delivered: Option<Epoch>,
    /// Attempts in a row that have failed.
    failures: u32,
    retry_at: EventTime,
    /// Up to this epoch the log has so many bytes that are not delivered.
    measured: (Option<Epoch>, u64),
    /// The job has been told that it has failed.
    told: bool,
}

/// Why a slice was not delivered.
enum Failure {
    Stopped,
    State(StateError),
    Target(ConnectorError),
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Failure::State(error)
    }
}

impl From<ConnectorError> for Failure {
    fn from(error: ConnectorError) -> Self {
        Failure::Target(error)
    }
}

impl Delivery {
    pub fn new(
        backend: Arc<dyn StateBackend>,
        clock: Arc<dyn Clock>,
        reports: Sender<Report>,
        stopped: Arc<AtomicBool>,
    ) -> Self {
        Delivery { backend, clock, reports, stopped, jobs: BTreeMap::new() }
    }

    /// Does what comes, until told to stop.
    pub fn run(mut self, work: &Receiver<DeliveryWork>) {
        loop {
            let received = match self.wait() {
                Some(wait) => work.recv_timeout(wait),
                None => work.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(DeliveryWork::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                // There may be more of it, which is cheaper than a slice.
                Ok(work) => self.obey(work),
                Err(RecvTimeoutError::Timeout) => self.step(),
            }
        }
    }

    fn obey(&mut self, work: DeliveryWork) {
        match work {
            DeliveryWork::Begin { job, sinks, committed } => {
                let before = self.jobs.remove(&job);
                let begun = sinks.into_iter().map(|sink| {
                    let mut old = before.iter().flat_map(|j| &j.sinks);
                    let old = old.find(|old| old.sink.operator == sink.operator);
                    SinkDelivery::new(sink, old.and_then(|old| old.delivered))
                });
                let any = before.as_ref().is_some_and(|j| j.any);
                let begun = JobDelivery { committed, sinks: begun.collect(), any, reported: None };
                self.jobs.insert(job, begun);
            }
            DeliveryWork::Committed { job, epoch } => {
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.committed = job.committed.max(Some(epoch));
                }
            }
            DeliveryWork::Forget { job } => {
                self.jobs.remove(&job);
            }
            DeliveryWork::Stop => {}
        }
    }

    /// How long there is nothing to do; `None`: until told otherwise.
    fn wait(&self) -> Option<Duration> {
        let now = self.clock.now();
        let pending = self.jobs.values().flat_map(|job| {
            job.sinks.iter().filter(|s| s.delivered < job.committed).map(|s| s.retry_at)
        });
        let at = pending.min()?;
        Some(Duration::from_micros(u64::try_from(at.saturating_sub(now)).unwrap_or(0)))
    }

    /// Delivers a slice of every sink that has one and is not waiting.
    fn step(&mut self) {
        for (id, job) in &mut self.jobs {
            let Some(committed) = job.committed else { continue };
            let now = self.clock.now();
            for sink in &mut job.sinks {
                if sink.delivered >= job.committed || now < sink.retry_at {
                    continue;
                }
                match sink.deliver(&*self.backend, committed, &self.stopped) {
                    Ok(rows) => job.any |= rows,
                    Err(Failure::Stopped) => return,
                    Err(failure) => {
                        let now = self.clock.now();
                        let error = sink.failed(failure, &*self.backend, committed, now);
                        if let Some(error) = error {
                            self.reports.send(Report::SinkFailed { job: *id, error }).ok();
                        }
                    }
                }
            }
            let delivered = job.sinks.iter().map(|s| s.delivered).min().flatten();
            if job.any && delivered == job.committed && job.reported != delivered {
                job.reported = delivered;
                self.reports.send(Report::Delivered { job: *id, epoch: committed }).ok();
            }
        }
    }
}

impl SinkDelivery {
    fn new(sink: Arc<OpenSink>, delivered: Option<Epoch>) -> Self {
        if let Some(epoch) = delivered {
            sink.progress.set_delivered(epoch);
        }
        let measured = (delivered, 0);
        SinkDelivery { sink, delivered, failures: 0, retry_at: 0, measured, told: false }
    }

    /// Delivers the next slice, or finds that there is none up to `committed`. Answers
    /// whether there was one.
    fn deliver(
        &mut self,
        backend: &dyn StateBackend,
        committed: Epoch,
        stopped: &AtomicBool,
    ) -> Result<bool, Failure> {
        let slice = self.sink.table.first_slice(backend, self.delivered, committed)?;
        if let Some(epoch) = slice {
            self.deliver_slice(backend, epoch, stopped)?;
        }
        let delivered = slice.unwrap_or(committed);
        self.delivered = Some(delivered);
        self.measured = (self.delivered, 0);
        (self.failures, self.retry_at) = (0, 0);
        self.sink.progress.set_delivered(delivered);
        Ok(slice.is_some())
    }

    fn deliver_slice(
        &self,
        backend: &dyn StateBackend,
        epoch: Epoch,
        stopped: &AtomicBool,
    ) -> Result<(), Failure> {
        let OpenSink { log, table, shape, target, .. } = &*self.sink;
        let mut open: Option<(PartKey, Option<Box<dyn PartWriter>>)> = None;
        table.read(backend, epoch, |key, rows| {
            if open.as_ref().is_none_or(|(part, _)| *part != key) {
                publish(open.take())?;
                if stopped.load(Ordering::Relaxed) {
                    return Err(Failure::Stopped);
                }
                let name = PartName {
                    incarnation: log.incarnation,
                    lane: log.lane_of(key.writer),
                    epoch,
                    writer: key.writer,
                    number: key.part,
                };
                open = Some((key, target.part(&name, shape)?));
            }
            if let Some((_, Some(writer))) = &mut open {
                writer.write(&rows)?;
            }
            Ok(())
        })?;
        publish(open)?;
        Ok(target.sync()?)
    }

    /// Notes a failure and when to try again. An error is for the job: it ends.
    fn failed(
        &mut self,
        failure: Failure,
        backend: &dyn StateBackend,
        committed: Epoch,
        now: EventTime,
    ) -> Option<JobError> {
        let name = &self.sink.name;
        let (diagnostic, lost) = match &failure {
            Failure::Stopped => return None,
            Failure::State(error @ (StateError::Io { .. } | StateError::Database(_))) => {
                (error.diagnostic(), false)
            }
            Failure::State(error) => (error.diagnostic(), true),
            Failure::Target(error) => (error.diagnostic(), false),
        };
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(20)).min(RETRY_MAX);
        self.failures += 1;
        self.retry_at = now.saturating_add(wait);
        tracing::warn!(sink = %name, error = %diagnostic, milliseconds = wait / 1_000,
            "rows could not be delivered and are tried again");
        self.sink.progress.set_failure(diagnostic.clone());
        if self.told {
            return None;
        }
        let sink = name.clone();
        if lost {
            self.told = true;
            return Some(JobError::Delivery { sink, diagnostic });
        }
        self.too_much_waits(backend, committed, &diagnostic)
    }

    fn too_much_waits(
        &mut self,
        backend: &dyn StateBackend,
        committed: Epoch,
        cause: &Diagnostic,
    ) -> Option<JobError> {
        // Only what is new since the last time is looked at.
        let (through, bytes) = self.measured;
        match self.sink.table.bytes(backend, through, committed) {
            Ok(more) => self.measured = (Some(committed), bytes + more),
            Err(error) => tracing::warn!(%error, "a sink's log could not be measured"),
        }
        let (bytes, limit) = (self.measured.1, self.sink.log.max_bytes);
        if bytes <= limit {
            return None;
        }
        self.told = true;
        let (sink, cause) = (self.sink.name.clone(), cause.message.clone());
        Some(JobError::SinkLogFull { sink, bytes, limit, cause })
    }
}

fn publish(part: Option<(PartKey, Option<Box<dyn PartWriter>>)>) -> Result<(), ConnectorError> {
    match part {
        Some((_, Some(writer))) => writer.publish(),
        _ => Ok(()),
    }
}
