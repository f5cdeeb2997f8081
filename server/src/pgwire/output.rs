//! The writing half of a connection: messages are collected and sent in
//! portions, and a slow client makes the sender wait.
//!
//! Invariant: the buffer holds whole messages behind at most one that has been
//! sent in part, so that an error can be appended at any moment, also after a
//! flush that was interrupted.

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse, ReadyForQuery};
use tidemill_types::Diagnostic;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

/// The size of a portion: what is collected before it is sent.
pub const FLUSH_BYTES: usize = 64 << 10;

/// A buffer that a huge row has grown is given back beyond this size.
const KEEP_BYTES_MAX: usize = 1 << 20;

/// How grave a diagnostic is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The statement has failed.
    Error,
    /// The connection ends.
    Fatal,
    /// Nothing failed; 01xxx is shown as a warning.
    Notice,
}

/// Collects messages and sends them.
#[derive(Debug)]
pub struct Output {
    io: OwnedWriteHalf,
    buffer: BytesMut,
    /// Where the last whole message ends.
    complete: usize,
}

impl Output {
    #[must_use]
    pub fn new(io: OwnedWriteHalf) -> Self {
        Output { io, buffer: BytesMut::new(), complete: 0 }
    }

    /// Appends a message.
    pub fn put<M: Message>(&mut self, message: &M) {
        // What can fail is a bound on the message's length that belongs to the
        // encoding crate; half a message must not stay.
        match message.encode(&mut self.buffer) {
            Ok(()) => self.complete = self.buffer.len(),
            Err(error) => {
                self.buffer.truncate(self.complete);
                tracing::warn!(%error, "a message for a client could not be encoded");
            }
        }
    }

    /// Appends whole messages that `write` encodes itself.
    pub fn put_raw<T>(&mut self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        let result = write(&mut self.buffer);
        self.complete = self.buffer.len();
        result
    }

    /// Appends an error or a notice.
    pub fn diagnostic(&mut self, severity: Severity, diagnostic: &Diagnostic) {
        // A message that a panic left unfinished would garble this one.
        self.buffer.truncate(self.complete);
        let fields = fields(severity, diagnostic);
        match severity {
            Severity::Notice => self.put(&NoticeResponse::new(fields)),
            Severity::Error | Severity::Fatal => self.put(&ErrorResponse::new(fields)),
        }
    }

    /// Appends ReadyForQuery.
    pub fn ready(&mut self, status: crate::session::api::TransactionStatus) {
        use crate::session::api::TransactionStatus as Ours;
        use pgwire::messages::response::TransactionStatus as Theirs;
        let status = match status {
            Ours::Idle => Theirs::Idle,
            Ours::InTransaction => Theirs::Transaction,
            Ours::Failed => Theirs::Error,
        };
        self.put(&ReadyForQuery::new(status));
    }

    /// Whether a portion has been collected.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= FLUSH_BYTES
    }

    /// Whether everything has been sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Sends what has been collected. May be dropped: what has not been sent
    /// stays. `Err`: the client has gone.
    pub async fn flush(&mut self) -> std::io::Result<()> {
        while !self.buffer.is_empty() {
            let sent = self.io.write_buf(&mut self.buffer).await?;
            if sent == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.complete = self.complete.saturating_sub(sent);
        }
        if self.buffer.capacity() > KEEP_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(FLUSH_BYTES);
        Ok(())
    }

    /// Says that nothing more will come.
    pub async fn close(&mut self) -> std::io::Result<()> {
        self.io.shutdown().await
    }
}

/// The fields of an ErrorResponse or NoticeResponse.
fn fields(severity: Severity, diagnostic: &Diagnostic) -> Vec<(u8, String)> {
    // Warnings are those of class 01 and those about the transaction's state.
    let class = &diagnostic.state.code()[..2];
    let word = match severity {
        Severity::Error => "ERROR",
        Severity::Fatal => "FATAL",
        Severity::Notice if ["01", "25"].contains(&class) => "WARNING",
        Severity::Notice => "NOTICE",
    };
    let mut fields = vec![
        (b'S', word.to_owned()),
        (b'V', word.to_owned()),
        (b'C', diagnostic.state.code().to_owned()),
        (b'M', without_nul(&diagnostic.message)),
    ];
    let detail = diagnostic.detail.as_deref().map(|d| (b'D', without_nul(d)));
    let hint = diagnostic.hint.as_deref().map(|h| (b'H', without_nul(h)));
    let position = diagnostic.position.map(|p| (b'P', p.to_string()));
    fields.extend([detail, hint, position].into_iter().flatten());
    fields
}

/// Text on the wire ends at its first NUL, so it must not have one.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}
