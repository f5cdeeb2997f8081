//! Cuts the byte stream of a client into messages.
//!
//! Invariants: a stated length is checked before anything is allocated for it,
//! and the buffer grows only as bytes arrive; what is handed on is exactly one
//! message. Every method may be dropped between two bytes without losing one.

use bytes::{Buf, Bytes, BytesMut};
use tidemill_types::{Diagnostic, SqlState};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// The shortest and longest startup packet, as PostgreSQL has them.
pub const STARTUP_BYTES: std::ops::RangeInclusive<usize> = 8..=10_000;

/// The longest message of the kinds that carry a name at most.
pub const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// How far the buffer grows beyond what has arrived.
const READ_BYTES: usize = 16 << 10;

/// How much is read ahead while a statement runs, to notice a hang-up.
const READ_AHEAD_BYTES_MAX: usize = 64 << 10;

/// How much input a closing connection reads and forgets.
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// Why no message came.
#[derive(Debug)]
pub enum WireError {
    /// The client has gone, or never spoke.
    Closed,
    /// The client cannot be understood any more; it is told and disconnected.
    Fatal(Diagnostic),
}

/// A typed message: its type byte and its body.
#[derive(Debug)]
pub struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// The reading half of a connection.
#[derive(Debug)]
pub struct Reader {
    io: OwnedReadHalf,
    buffer: BytesMut,
}

impl Reader {
    #[must_use]
    pub fn new(io: OwnedReadHalf) -> Self {
        Reader { io, buffer: BytesMut::new() }
    }

    /// Whether bytes have arrived that nobody has asked for yet.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// A startup packet without its length word.
    pub async fn startup_packet(&mut self) -> Result<Bytes, WireError> {
        self.fill(4).await?;
        let length = (&self.buffer[..4]).get_i32();
        let length = usize::try_from(length).ok().filter(|l| STARTUP_BYTES.contains(l));
        let length = length.ok_or_else(|| fatal("invalid length of startup packet"))?;
        self.fill(length).await?;
        let mut packet = self.buffer.split_to(length);
        packet.advance(4);
        Ok(packet.freeze())
    }

    /// The next typed message, of at most `bytes_max` bytes.
    pub async fn message(&mut self, bytes_max: usize) -> Result<Frame, WireError> {
        self.fill(5).await?;
        let tag = self.buffer[0];
        let length = message_length(tag, (&self.buffer[1..5]).get_i32(), bytes_max)?;
        self.fill(1 + length).await?;
        let mut message = self.buffer.split_to(1 + length);
        message.advance(5);
        Ok(Frame { tag, body: message.freeze() })
    }

    /// Completes when the client hangs up. Messages that it sends meanwhile are
    /// kept, up to a bound beyond which they wait in the socket.
    pub async fn hang_up(&mut self) {
        while self.buffer.len() < READ_AHEAD_BYTES_MAX {
            if self.read_more().await.is_err() {
                return;
            }
        }
        std::future::pending().await
    }

    /// Reads and forgets until the client hangs up.
    pub async fn discard(&mut self) {
        let mut discarded = 0;
        while discarded < DISCARD_BYTES_MAX {
            discarded += self.buffer.len();
            self.buffer.clear();
            if self.read_more().await.is_err() {
                return;
            }
        }
    }

    async fn fill(&mut self, bytes: usize) -> Result<(), WireError> {
        while self.buffer.len() < bytes {
            self.read_more().await?;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> Result<(), WireError> {
        self.buffer.reserve(READ_BYTES);
        match self.io.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(WireError::Closed),
            Ok(_) => Ok(()),
        }
    }
}

/// Checks a stated length, which counts itself but not the type byte.
fn message_length(tag: u8, stated: i32, bytes_max: usize) -> Result<usize, WireError> {
    let Some(long) = allows_long(tag) else {
        return Err(fatal(format!("invalid frontend message type {tag}")));
    };
    let length = usize::try_from(stated).ok().filter(|l| *l >= 4);
    let length = length.ok_or_else(|| fatal("invalid message length"))?;
    if long && length > bytes_max {
        return Err(WireError::Fatal(
            Diagnostic::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "the message is too long")
                .with_detail(format!("It has {length} bytes; the limit is {bytes_max}."))
                .with_hint("See --max-message-size."),
        ));
    }
    if !long && length > SMALL_MESSAGE_BYTES_MAX {
        return Err(fatal("invalid message length"));
    }
    Ok(length)
}

/// Whether messages of this type carry a client's text or data; `None`: there
/// is no such type.
fn allows_long(tag: u8) -> Option<bool> {
    match tag {
        b'Q' | b'P' | b'B' | b'F' | b'd' => Some(true),
        b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => Some(false),
        _ => None,
    }
}

fn fatal(message: impl Into<String>) -> WireError {
    WireError::Fatal(Diagnostic::new(SqlState::PROTOCOL_VIOLATION, message))
}
