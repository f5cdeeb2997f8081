//! The state of one connection and its main loop.
//!
//! ```text
//!   idle ──Query──────────────► run its statements ──► ReadyForQuery ─► idle
//!   idle ──Parse/Bind/...─────► batch ──Sync─────────► ReadyForQuery ─► idle
//!                                 └──error──► skip everything up to Sync
//! ```
//!
//! Invariant: after an error in the extended protocol nothing but Sync and
//! Terminate has an effect, and the error has been sent before the next message
//! is read.

use std::collections::HashMap;
use std::time::{Duration, Instant as Clock};

use pgwire::messages::startup::{BackendKeyData, ParameterStatus, SecretKey};
use tidemill_types::{Diagnostic, SqlState};
use tokio::time::Instant;

use super::Wire;
use super::cancel::CancelTicket;
use super::encode::Style;
use super::extended::{Portal, Prepared};
use super::frame::{Frame, Reader, WireError};
use super::interrupt::Signals;
use super::message::{self, Frontend};
use super::output::{Output, Severity};
use crate::http::metrics::Outcome;
use crate::session::api::{Session, TransactionStatus};

/// How a connection ends.
#[derive(Debug)]
pub enum End {
    Terminated,
    Disconnected,
    ShuttingDown,
    /// Told to the client before the socket is closed.
    Fatal(Diagnostic),
}

/// Why a statement or a message did not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// The client is told and the connection goes on.
    Statement(Diagnostic),
    Connection(End),
}

impl From<Diagnostic> for Stop {
    fn from(diagnostic: Diagnostic) -> Stop {
        Stop::Statement(diagnostic)
    }
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Stop {
        Stop::Connection(End::Disconnected)
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> End {
        match error {
            WireError::Closed => End::Disconnected,
            WireError::Fatal(diagnostic) => End::Fatal(diagnostic),
        }
    }
}

/// A connection whose handshake is over.
pub struct Connection<'a> {
    pub(super) wire: &'a Wire,
    pub(super) session: Box<dyn Session>,
    pub(super) reader: &'a mut Reader,
    pub(super) output: &'a mut Output,
    pub(super) signals: Signals,
    /// By name; the empty name is the unnamed one.
    pub(super) statements: HashMap<String, Prepared>,
    pub(super) portals: HashMap<String, Portal>,
    pub(super) style: Style,
    /// Between the first message of the extended protocol and its Sync.
    pub(super) in_batch: bool,
    /// After an error in the extended protocol, until Sync.
    skipping: bool,
    key: (i32, i32),
}

impl std::fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("pid", &self.key.0).finish_non_exhaustive()
    }
}

impl<'a> Connection<'a> {
    #[must_use]
    pub fn new(
        wire: &'a Wire,
        session: Box<dyn Session>,
        ticket: &CancelTicket,
        reader: &'a mut Reader,
        output: &'a mut Output,
    ) -> Self {
        Connection {
            wire,
            session,
            reader,
            output,
            signals: Signals::new(ticket.requests(), wire.shutdown.clone()),
            statements: HashMap::new(),
            portals: HashMap::new(),
            style: Style::default(),
            in_batch: false,
            skipping: false,
            key: (ticket.pid(), ticket.secret()),
        }
    }

    /// Serves the client until one side ends the connection.
    pub async fn run(mut self) -> End {
        self.greet();
        loop {
            // Nothing that the client may be waiting for stays behind while
            // this side waits for the client.
            if !self.reader.has_buffered()
                && let Err(end) = self.flush_idle().await
            {
                return end;
            }
            let frame = match self.next_frame().await {
                Ok(frame) => frame,
                Err(end) => return end,
            };
            if let Err(end) = self.handle(frame).await {
                return end;
            }
        }
    }

    fn greet(&mut self) {
        self.report_parameters();
        self.output.put(&BackendKeyData::new(self.key.0, SecretKey::I32(self.key.1)));
        self.report_notices();
        self.output.ready(self.session.transaction_status());
    }

    async fn next_frame(&mut self) -> Result<Frame, End> {
        tokio::select! {
            biased;
            () = self.signals.shutdown() => Err(End::ShuttingDown),
            frame = self.reader.message(self.wire.options.message_bytes_max) => Ok(frame?),
        }
    }

    async fn flush_idle(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.signals.shutdown() => Err(End::ShuttingDown),
            flushed = self.output.flush() => flushed.map_err(|_| End::Disconnected),
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<(), End> {
        let tag = frame.tag;
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return Ok(());
        }
        match message::decode(frame) {
            Ok(Frontend::Terminate) => Err(End::Terminated),
            Ok(Frontend::Sync) => {
                self.sync();
                Ok(())
            }
            Ok(Frontend::Query(query)) => self.query(query).await,
            Ok(Frontend::CopyLeftover) => Ok(()),
            Ok(Frontend::FunctionCall) => {
                self.fail(&Diagnostic::new(
                    SqlState::PROTOCOL_VIOLATION,
                    "the function call message is not supported",
                ));
                self.ready();
                Ok(())
            }
            Ok(message) => {
                self.begin_batch();
                let done = self.extended(message).await;
                self.settle_extended(done).await
            }
            // A Query without an answer would leave its client waiting.
            Err(diagnostic) if tag == b'Q' => {
                self.fail(&diagnostic);
                self.ready();
                Ok(())
            }
            Err(diagnostic) => self.settle_extended(Err(diagnostic.into())).await,
        }
    }

    async fn settle_extended(&mut self, done: Result<(), Stop>) -> Result<(), End> {
        match done {
            Ok(()) => Ok(()),
            Err(Stop::Connection(end)) => Err(end),
            Err(Stop::Statement(diagnostic)) => {
                self.fail(&diagnostic);
                self.skipping = true;
                self.flush_idle().await
            }
        }
    }

    fn begin_batch(&mut self) {
        if !self.in_batch {
            self.in_batch = true;
            self.signals.forget_cancel();
            self.session.begin_implicit();
        }
    }

    /// Ends the implicit transaction of the messages up to here.
    pub(super) fn end_batch(&mut self) {
        if std::mem::take(&mut self.in_batch) {
            self.session.end_implicit();
        }
    }

    fn sync(&mut self) {
        self.skipping = false;
        self.end_batch();
        self.ready();
    }

    /// Reports what changed and says that the next query may come. Outside a
    /// transaction portals have ended.
    pub(super) fn ready(&mut self) {
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.portals.clear();
        }
        self.report_notices();
        self.report_parameters();
        self.output.ready(self.session.transaction_status());
    }

    /// Reports an error; it fails an open transaction and ends its portals.
    pub(super) fn fail(&mut self, diagnostic: &Diagnostic) {
        self.portals.clear();
        self.session.fail_transaction();
        self.report_notices();
        self.output.diagnostic(Severity::Error, diagnostic);
    }

    /// Sends the session's notices.
    pub(super) fn report_notices(&mut self) {
        for notice in self.session.take_notices() {
            self.output.diagnostic(Severity::Notice, &notice);
        }
    }

    fn report_parameters(&mut self) {
        for (name, value) in self.session.take_parameter_changes() {
            if name.eq_ignore_ascii_case("TimeZone") {
                self.style = Style::in_zone(&value);
            }
            self.output.put(&ParameterStatus::new(name.to_owned(), value));
        }
    }

    /// When the statement that begins now must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        // A timeout beyond what the clock can count is none.
        let timeout = self.session.statement_timeout().filter(|t| *t > Duration::ZERO)?;
        Instant::now().checked_add(timeout)
    }

    /// Counts a statement that began at `started`.
    pub(super) fn observe(&self, started: Clock, done: &Result<(), Stop>) {
        let outcome = match done {
            Ok(()) => Outcome::Completed,
            Err(Stop::Statement(d)) if d.state == SqlState::QUERY_CANCELED => Outcome::Canceled,
            Err(Stop::Statement(_)) => Outcome::Failed,
            Err(Stop::Connection(_)) => Outcome::Abandoned,
        };
        self.wire.metrics.statement(outcome, started.elapsed());
    }
}
