//! What can stop a connection in whatever it is doing.

use std::future::Future;

use tidemill_types::{Diagnostic, SqlState};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{End, Stop};
use super::frame::Reader;

/// Why work was stopped before its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interrupt {
    Canceled,
    TimedOut,
    Disconnected,
    ShuttingDown,
}

impl From<Interrupt> for Stop {
    fn from(interrupt: Interrupt) -> Stop {
        let canceled = |why| Stop::Statement(Diagnostic::new(SqlState::QUERY_CANCELED, why));
        match interrupt {
            Interrupt::Canceled => canceled("canceling statement due to user request"),
            Interrupt::TimedOut => canceled("canceling statement due to statement timeout"),
            Interrupt::Disconnected => Stop::Connection(End::Disconnected),
            Interrupt::ShuttingDown => Stop::Connection(End::ShuttingDown),
        }
    }
}

/// The signals that a connection listens to.
#[derive(Debug)]
pub struct Signals {
    requests: watch::Receiver<u64>,
    shutdown: CancellationToken,
}

impl Signals {
    #[must_use]
    pub fn new(requests: watch::Receiver<u64>, shutdown: CancellationToken) -> Self {
        Signals { requests, shutdown }
    }

    /// Forgets cancel requests that came while the connection was idle.
    pub fn forget_cancel(&mut self) {
        self.requests.mark_unchanged();
    }

    /// Completes at the server's shutdown.
    pub async fn shutdown(&self) {
        self.shutdown.cancelled().await;
    }

    async fn cancel(&mut self) {
        if self.requests.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Runs `work` unless an interrupt comes first. Interrupts have priority, so
/// work that is always ready cannot outrun them. Dropped work has stopped.
pub async fn guard<F: Future>(
    reader: &mut Reader,
    signals: &mut Signals,
    deadline: Option<Instant>,
    work: F,
) -> Result<F::Output, Interrupt> {
    let shutdown = signals.shutdown.clone();
    tokio::select! {
        biased;
        () = signals.cancel() => Err(Interrupt::Canceled),
        () = sleep_until(deadline) => Err(Interrupt::TimedOut),
        () = shutdown.cancelled() => Err(Interrupt::ShuttingDown),
        () = reader.hang_up() => Err(Interrupt::Disconnected),
        done = work => Ok(done),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
