//! One record as a file, and the proof that it is the record it should be.
//!
//! ```text
//!  magic  version kind 0  name length, name  number  term  payload length, payload  checksum
//!  8      2       1    1  2            n     8       8     8               m        16   bytes
//! ```
//!
//! Numbers are little-endian; the checksum is XXH3-128 of all bytes before it. The
//! name and the number say which record of which sequence this is, so that a file that
//! was moved, or restored to the wrong place, is told from the right one.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: &[u8; 8] = b"TIDEMREC";
const VERSION: u16 = 1;
const CHECKSUM: usize = 16;
/// Everything but the name, the payload.
const OVERHEAD: usize = 8 + 2 + 1 + 1 + 2 + 8 + 8 + 8 + CHECKSUM;
/// The longest payload, in bytes: 256 MiB.
pub const PAYLOAD_MAX: usize = 256 << 20;

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// The first record of an owner: from here on it alone appends.
    Term,
    /// Something that the owner appended.
    Data,
    /// The fold of all records up to its number; kept beside the records.
    Snapshot,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub number: u64,
    pub term: u64,
    pub kind: RecordKind,
    pub payload: Bytes,
}

/// A file is not the record that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct FrameError {
    /// The path in the store.
    pub file: String,
    pub fault: FrameFault,
}

/// What is wrong with a record's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    #[error("it ends after {0} bytes and is not a whole record")]
    Truncated(usize),
    #[error("it is not a record")]
    NotARecord,
    #[error("its format is version {0}; this build reads version {VERSION}")]
    Version(u16),
    #[error("its bytes do not match its checksum")]
    Checksum,
    #[error("it belongs to the sequence \"{0}\"")]
    Sequence(String),
    #[error("it is record {0}")]
    Number(u64),
    #[error("it is a record of unknown kind {0}")]
    Kind(u8),
    #[error("a {0:?} record is in the place of another kind")]
    Misplaced(RecordKind),
    #[error("a record of {0} bytes is longer than {PAYLOAD_MAX} bytes")]
    TooLong(usize),
}

impl RecordKind {
    fn code(self) -> u8 {
        match self {
            RecordKind::Term => 1,
            RecordKind::Data => 2,
            RecordKind::Snapshot => 3,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [RecordKind::Term, RecordKind::Data, RecordKind::Snapshot]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

impl Frame {
    /// The bytes of the record in the sequence `name`.
    ///
    /// # Errors
    /// [`FrameFault::TooLong`]; nothing else.
    pub fn encode(&self, name: &str) -> Result<Bytes, FrameFault> {
        if self.payload.len() > PAYLOAD_MAX {
            return Err(FrameFault::TooLong(self.payload.len()));
        }
        let name_length =
            u16::try_from(name.len()).map_err(|_| FrameFault::Sequence(name.to_owned()))?;
        let mut bytes = BytesMut::with_capacity(OVERHEAD + name.len() + self.payload.len());
        bytes.put_slice(MAGIC);
        bytes.put_u16_le(VERSION);
        bytes.put_u8(self.kind.code());
        bytes.put_u8(0);
        bytes.put_u16_le(name_length);
        bytes.put_slice(name.as_bytes());
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.term);
        bytes.put_u64_le(self.payload.len() as u64);
        bytes.put_slice(&self.payload);
        let checksum = xxh3_128(&bytes);
        bytes.put_u128_le(checksum);
        Ok(bytes.freeze())
    }

    /// Reads record `number` of the sequence `name` from the contents of `file`.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn decode(file: &str, name: &str, number: u64, bytes: &Bytes) -> Result<Self, FrameError> {
        parse(name, number, bytes).map_err(|fault| FrameError { file: file.to_owned(), fault })
    }
}

fn parse(name: &str, number: u64, bytes: &Bytes) -> Result<Frame, FrameFault> {
    let truncated = FrameFault::Truncated(bytes.len());
    if bytes.len() < OVERHEAD {
        return Err(truncated);
    }
    if !bytes.starts_with(MAGIC) {
        return Err(FrameFault::NotARecord);
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    let mut fields = Fields { rest: &body[MAGIC.len()..] };
    let version = u16::from_le_bytes(fields.take().ok_or(truncated.clone())?);
    if version != VERSION {
        return Err(FrameFault::Version(version));
    }
    if xxh3_128(body).to_le_bytes() != checksum {
        return Err(FrameFault::Checksum);
    }
    let [code, _] = fields.take().ok_or(truncated.clone())?;
    let name_length = usize::from(u16::from_le_bytes(fields.take().ok_or(truncated.clone())?));
    let found_name = fields.slice(name_length).ok_or(truncated.clone())?;
    if found_name != name.as_bytes() {
        return Err(FrameFault::Sequence(String::from_utf8_lossy(found_name).into_owned()));
    }
    let found_number = u64::from_le_bytes(fields.take().ok_or(truncated.clone())?);
    if found_number != number {
        return Err(FrameFault::Number(found_number));
    }
    let term = u64::from_le_bytes(fields.take().ok_or(truncated.clone())?);
    let length = u64::from_le_bytes(fields.take().ok_or(truncated.clone())?);
    if usize::try_from(length).ok() != Some(fields.rest.len()) {
        return Err(truncated);
    }
    let kind = RecordKind::of(code).ok_or(FrameFault::Kind(code))?;
    Ok(Frame { number, term, kind, payload: bytes.slice_ref(fields.rest) })
}

/// What is left to read.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "groups/7/records/00000000000000000003";

    fn frame() -> Frame {
        let payload = Bytes::from_static(b"some payload");
        Frame { number: 3, term: 2, kind: RecordKind::Data, payload }
    }

    fn fault(name: &str, number: u64, bytes: &[u8]) -> FrameFault {
        let bytes = Bytes::copy_from_slice(bytes);
        let error = Frame::decode(FILE, name, number, &bytes).unwrap_err();
        assert!(error.to_string().starts_with(FILE), "{error}");
        error.fault
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for kind in [RecordKind::Term, RecordKind::Data, RecordKind::Snapshot] {
            for payload in [Bytes::new(), Bytes::from_static(b"x")] {
                let written = Frame { kind, payload, ..frame() };
                let bytes = written.encode("groups/7").unwrap();
                assert_eq!(Frame::decode(FILE, "groups/7", 3, &bytes).unwrap(), written);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = frame().encode("groups/7").unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fault("groups/7", 3, &flipped);
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let bytes = frame().encode("groups/7").unwrap();
        for length in 0..bytes.len() {
            fault("groups/7", 3, &bytes[..length]);
        }
        fault("groups/7", 3, &[&bytes[..], b"x"].concat());
    }

    #[test]
    fn another_record_is_refused() {
        let bytes = frame().encode("groups/7").unwrap();
        assert_eq!(fault("groups/8", 3, &bytes), FrameFault::Sequence("groups/7".into()));
        assert_eq!(fault("groups/7", 4, &bytes), FrameFault::Number(3));
        assert_eq!(fault("groups/7", 3, &[b'x'; 100]), FrameFault::NotARecord);
        let long = Frame { payload: vec![0; PAYLOAD_MAX + 1].into(), ..frame() };
        assert_eq!(long.encode("x"), Err(FrameFault::TooLong(PAYLOAD_MAX + 1)));
    }
}
