//! The server as a process: start-up and shutdown, in order.
//!
//! ```text
//!  start:    data directory ─► store, catalog, states ─► engine, jobs ─► sockets ─► ready
//!  shutdown: no new connections ─► sessions end (57P01) ─► last checkpoints ─► engine
//!            ─► directory
//! ```
//!
//! Sockets are served by the `io` pool, which belongs to the [`Server`]; queries
//! and dataflow have threads of their own behind [`Backend`].
//!
//! Invariant: a server that has been started answers on both addresses until
//! [`Server::shutdown`] begins; dropping it does the same without waiting.

mod backend;
pub mod logging;
mod recover;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DataDirectory, DirectoryError, cores};
use crate::http::metrics::{MetricsSource, ServerMetrics};
use crate::http::{self, HttpState};
use crate::pgwire::{self, DRAIN_DEADLINE, Wire, WireOptions};
use crate::session::api::SessionFactory;

pub use backend::start;

/// What answers the statements.
pub struct Backend {
    pub sessions: Arc<dyn SessionFactory>,
    pub metrics: Arc<dyn MetricsSource>,
    /// Makes durable what can be, with patience; called before `stop` where the
    /// server is shut down and not just dropped.
    pub settle: Box<dyn FnOnce() + Send>,
    /// Stops jobs and queries and waits for their threads; called once, after
    /// the last session has ended.
    pub stop: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("cannot listen on {address} (--{option}): {source}")]
    Listen { option: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot start: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot start: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A running server.
pub struct Server {
    pg_addr: SocketAddr,
    http_addr: SocketAddr,
    shutdown: CancellationToken,
    /// Disconnected when both listeners have ended.
    served: mpsc::Receiver<()>,
    /// `None` only while being dropped.
    io: Option<Runtime>,
    settle: Option<Box<dyn FnOnce() + Send>>,
    stop: Option<Box<dyn FnOnce() + Send>>,
    _directory: DataDirectory,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("pg_addr", &self.pg_addr)
            .field("http_addr", &self.http_addr)
            .finish_non_exhaustive()
    }
}

/// Starts a server whose statements `open` gives an answer to. Returns as soon as
/// clients can connect. Fails without leaving anything behind.
pub fn start_with<E>(
    config: &Config,
    open: impl FnOnce(&Config, &DataDirectory, &Handle) -> Result<Backend, E>,
) -> Result<Server, StartError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let directory = DataDirectory::open(&config.data_dir)?;
    // The addresses are taken before the engine starts, as they are what is most
    // often wrong, and served after it has.
    let pg = listen("pg-addr", config.pg_addr)?;
    let http = listen("http-addr", config.http_addr)?;
    let (pg_addr, http_addr) = (pg.local_addr()?, http.local_addr()?);
    let server_metrics = Arc::new(ServerMetrics::new()?);
    let io = io_runtime()?;
    let backend =
        open(config, &directory, io.handle()).map_err(|e| StartError::Backend(e.into()))?;

    let shutdown = CancellationToken::new();
    let options = WireOptions {
        connections_max: usize::from(config.max_connections),
        message_bytes_max: config.max_message_size,
        ..WireOptions::default()
    };
    let wire = Wire::new(options, backend.sessions, server_metrics.clone(), shutdown.clone());
    let state = HttpState { server: server_metrics, engine: backend.metrics };
    let (serving, served) = mpsc::channel();
    {
        let _context = io.enter();
        let (pg, http) = (TcpListener::from_std(pg)?, TcpListener::from_std(http)?);
        let (pg_serving, http_serving) = (serving.clone(), serving);
        io.spawn(async move {
            pgwire::serve(pg, Arc::new(wire)).await;
            drop(pg_serving);
        });
        let until = shutdown.clone();
        io.spawn(async move {
            http::serve(http, state, until).await;
            drop(http_serving);
        });
    }
    Ok(Server {
        pg_addr,
        http_addr,
        shutdown,
        served,
        io: Some(io),
        settle: Some(backend.settle),
        stop: Some(backend.stop),
        _directory: directory,
    })
}

impl Server {
    /// Where PostgreSQL clients connect, with the port that was taken.
    #[must_use]
    pub fn pg_addr(&self) -> SocketAddr {
        self.pg_addr
    }

    /// Where health and metrics are.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Waits for SIGTERM or SIGINT. Must not be called from asynchronous code.
    pub fn wait_for_signal(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let Some(io) = &self.io else { return Ok(()) };
        io.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(())
        })
    }

    /// Ends all sessions, takes last checkpoints, stops the engine and waits for all.
    pub fn shutdown(mut self) {
        self.shutdown.cancel();
        // The listeners keep their own deadline for connections; a scrape that
        // hangs must not keep the process.
        let patience = DRAIN_DEADLINE + Duration::from_secs(1);
        if self.served.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("a listener did not end in time");
        }
        if let Some(settle) = self.settle.take() {
            settle();
        }
        self.end();
    }

    fn end(&mut self) {
        self.shutdown.cancel();
        // The engine's storage thread needs the io pool to the end.
        if let Some(stop) = self.stop.take() {
            stop();
        }
        if let Some(io) = self.io.take() {
            // Does not wait, so that it is allowed in asynchronous code too.
            io.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(option: &'static str, address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    // The standard library sets SO_REUSEADDR: a server can be restarted at once.
    let bound = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|source| StartError::Listen { option, address, source })
}

/// Two threads at least: a statement that takes long to bind must not keep a
/// cancel request waiting.
fn io_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores() / 4).clamp(2, 4))
        .thread_name("io")
        .thread_stack_size(tidemill_planner::STACK_BYTES_MIN)
        .enable_all()
        .build()
}
