//! The PostgreSQL wire protocol, version 3.0, on our own accept loop.
//!
//! ```text
//!  listener ──► handshake ──► connection ──► simple / extended query ──► rows
//!  (this file)  startup.rs    connection.rs  simple.rs, extended.rs     stream.rs
//!                   │              ▲                                        │
//!                cancel.rs ────────┘ interrupt.rs             encode/ ◄─────┘
//! ```
//!
//! Model: a connection is one task that owns its socket and its session, and
//! does one thing at a time. Whatever it waits for (a statement, the next batch,
//! a socket that takes no more), it also waits for the four interrupts: cancel,
//! statement timeout, the client's hang-up and the server's shutdown. A future
//! that loses that race is dropped, and dropping stops its work.
//!
//! Invariants: no length that a client states is allocated before it has been
//! checked against a limit; result rows are never gathered (memory per
//! connection is one batch and about [`output::FLUSH_BYTES`]); a panic ends the
//! connection that it happened in and no other.
//!
//! Deliberately absent: SQL. What a statement is and does is the session's
//! matter ([`crate::session::api`]). The crate `pgwire` lends its message types
//! and their encoding; incoming messages are decoded by [`message`], because
//! decoding must consume exactly the message and must not panic.

pub mod cancel;
pub mod connection;
pub mod encode;
pub mod extended;
pub mod frame;
pub mod interrupt;
pub mod message;
pub mod output;
pub mod parameters;
pub mod simple;
pub mod startup;
pub mod stream;
pub mod types;

#[cfg(test)]
pub(crate) mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tidemill_types::{Diagnostic, SqlState};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::metrics::ServerMetrics;
use crate::session::api::{Session, SessionFactory};
use cancel::{CancelRegistry, CancelTicket};
use connection::{Connection, End};
use frame::{Reader, WireError};
use output::{Output, Severity};
use startup::{Opening, Startup};

/// How many sockets may be in the middle of their handshake; one more is closed
/// at once. Bounds what clients that never authenticate can hold.
pub const HANDSHAKES_MAX: usize = 256;

/// How long a client may take from connecting to its startup message.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a shutdown waits for connections to take their last message.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// How long a closing connection may take to fetch its last message.
const LINGER: Duration = Duration::from_secs(1);

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct WireOptions {
    /// Sessions at the same time; one more is refused with 53300.
    pub connections_max: usize,
    /// Bytes of one message (a statement, the parameters of a Bind).
    pub message_bytes_max: usize,
    /// Time from connecting to a complete startup message.
    pub handshake_deadline: Duration,
}

impl Default for WireOptions {
    fn default() -> Self {
        WireOptions {
            connections_max: 100,
            message_bytes_max: 16 << 20,
            handshake_deadline: HANDSHAKE_DEADLINE,
        }
    }
}

/// What all connections share.
pub struct Wire {
    pub(crate) options: WireOptions,
    pub(crate) metrics: Arc<ServerMetrics>,
    pub(crate) shutdown: CancellationToken,
    sessions: Arc<dyn SessionFactory>,
    cancels: CancelRegistry,
    slots: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Wire {
    /// `shutdown`, once cancelled, ends every connection with 57P01.
    #[must_use]
    pub fn new(
        options: WireOptions,
        sessions: Arc<dyn SessionFactory>,
        metrics: Arc<ServerMetrics>,
        shutdown: CancellationToken,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(options.connections_max));
        Wire {
            options,
            metrics,
            shutdown,
            sessions,
            cancels: CancelRegistry::default(),
            slots,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        }
    }
}

/// Accepts connections until shutdown; returns when the last one has ended or
/// [`DRAIN_DEADLINE`] has passed.
pub async fn serve(listener: TcpListener, wire: Arc<Wire>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = wire.shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => accept(&wire, socket, &mut connections),
                Err(error) => {
                    // Out of descriptors, most likely: let some connections end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_DEADLINE, drained).await.is_err() {
        tracing::warn!("some connections did not end in time and were dropped");
    }
}

fn accept(wire: &Arc<Wire>, socket: TcpStream, connections: &mut JoinSet<()>) {
    let Ok(handshaking) = wire.handshakes.clone().try_acquire_owned() else {
        wire.metrics.connections_refused.inc();
        return;
    };
    connections.spawn(handle(wire.clone(), socket, handshaking));
}

/// One connection from its first byte to its last.
async fn handle(wire: Arc<Wire>, socket: TcpStream, handshaking: OwnedSemaphorePermit) {
    // Small answers must not wait for the acknowledgement of earlier ones.
    let _ = socket.set_nodelay(true);
    let (read, write) = socket.into_split();
    let mut reader = Reader::new(read);
    let mut output = Output::new(write);

    let opening = tokio::select! {
        biased;
        () = wire.shutdown.cancelled() => Err(WireError::Fatal(shutting_down())),
        opening = tokio::time::timeout(
            wire.options.handshake_deadline,
            startup::handshake(&mut reader, &mut output),
        ) => opening.unwrap_or(Err(WireError::Closed)),
    };
    drop(handshaking);
    match opening {
        Ok(Opening::Cancel { pid, secret }) => wire.cancels.cancel(pid, secret),
        Ok(Opening::Start(startup)) => {
            if let Err(fatal) = converse(&wire, startup, &mut reader, &mut output).await {
                output.diagnostic(Severity::Fatal, &fatal);
            }
            linger(&mut reader, &mut output).await;
        }
        Err(WireError::Fatal(fatal)) => {
            output.diagnostic(Severity::Fatal, &fatal);
            linger(&mut reader, &mut output).await;
        }
        Err(WireError::Closed) => {}
    }
}

/// Opens the session and serves it. `Err`: the last words of the connection.
async fn converse(
    wire: &Arc<Wire>,
    startup: Startup,
    reader: &mut Reader,
    output: &mut Output,
) -> Result<(), Diagnostic> {
    let Ok(_slot) = wire.slots.try_acquire() else {
        wire.metrics.connections_refused.inc();
        return Err(Diagnostic::new(
            SqlState::TOO_MANY_CONNECTIONS,
            "sorry, too many clients already",
        )
        .with_hint(format!(
            "The server allows {} connections; see --max-connections.",
            wire.options.connections_max
        )));
    };
    let _open = wire.metrics.connection_opened();
    let ticket = wire.cancels.register();
    let session = catch(|| wire.sessions.open(startup.session(ticket.pid())))??;
    startup.answer(output);
    let end = talk(wire, session, &ticket, reader, output).await?;
    match end {
        End::Terminated | End::Disconnected => Ok(()),
        End::ShuttingDown => Err(shutting_down()),
        End::Fatal(diagnostic) => Err(diagnostic),
    }
}

/// Runs the connection's state machine; a panic in it becomes XX000.
async fn talk(
    wire: &Arc<Wire>,
    session: Box<dyn Session>,
    ticket: &CancelTicket,
    reader: &mut Reader,
    output: &mut Output,
) -> Result<End, Diagnostic> {
    let connection = Connection::new(wire, session, ticket, reader, output);
    AssertUnwindSafe(connection.run()).catch_unwind().await.map_err(|_| panicked())
}

fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Diagnostic> {
    std::panic::catch_unwind(AssertUnwindSafe(f)).map_err(|_| panicked())
}

fn panicked() -> Diagnostic {
    Diagnostic::internal("the session failed unexpectedly; the connection is closed")
        .with_hint("The server's log says where. Other connections and all jobs go on.")
}

fn shutting_down() -> Diagnostic {
    Diagnostic::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// Lets the client fetch the last message: closing a socket with unread input
/// would reset the connection and destroy what is on its way.
async fn linger(reader: &mut Reader, output: &mut Output) {
    let _ = tokio::time::timeout(LINGER, async {
        if output.flush().await.is_ok() && output.close().await.is_ok() {
            reader.discard().await;
        }
    })
    .await;
}
