//! Records of a file, one after another, with their lines.
//!
//! The buffer only grows while a batch is being collected, so field references
//! into it stay good; [`Input::start_batch`] drops what has been used.
//!
//! A record that is too long ([`RECORD_BYTES_MAX`]) or whose quoted field never
//! closes is reported as bad, and only its first line is: reading goes on with
//! the next one, so that a stray quote costs one line and not the rest of the file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use memchr::memchr;

use crate::error::ConnectorError;
use crate::formats::csv::split::{Dialect, FieldRef, Found, record};

/// Longest record, quoted newlines included.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Bytes asked of the file at a time, at least.
const CHUNK: usize = 256 << 10;
/// Longest beginning of a bad record that is kept.
pub const RAW_BYTES_MAX: usize = 4 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What [`Input::next`] came upon; `line` counts from 1.
#[derive(Debug)]
pub enum Item {
    /// A record whose fields are in [`Input::fields`] and whose text is at
    /// `start .. end` of the buffer.
    Record {
        line: u64,
        start: usize,
        end: usize,
    },
    /// A line that is no record, and why.
    Bad {
        line: u64,
        raw: Vec<u8>,
        reason: String,
    },
    End,
}

/// Reads records of a file.
#[derive(Debug)]
pub struct Input {
    file: File,
    name: String,
    dialect: Dialect,
    buffer: Vec<u8>,
    side: Vec<u8>,
    fields: Vec<FieldRef>,
    /// Where the next record begins.
    position: usize,
    line: u64,
    /// The file has been read to its end.
    last: bool,
    /// Empty lines are records.
    one_field: bool,
}

impl Input {
    pub fn open(path: &Path, name: String, dialect: Dialect) -> Result<Self, ConnectorError> {
        let file = File::open(path).map_err(|error| ConnectorError::Outside {
            what: format!("cannot open file \"{name}\""),
            cause: error.to_string(),
        })?;
        let mut input = Input {
            file,
            name,
            dialect,
            buffer: Vec::new(),
            side: Vec::new(),
            fields: Vec::new(),
            position: 0,
            line: 1,
            last: false,
            one_field: false,
        };
        while input.buffer.len() < BYTE_ORDER_MARK.len() && !input.last {
            input.fill()?;
        }
        if input.buffer.starts_with(BYTE_ORDER_MARK) {
            input.position = BYTE_ORDER_MARK.len();
        }
        Ok(input)
    }

    /// Whether records have one field, so that an empty line is one.
    pub fn set_one_field(&mut self, one_field: bool) {
        self.one_field = one_field;
    }

    /// The fields of the last record.
    pub fn fields(&self) -> &[FieldRef] {
        &self.fields
    }

    /// What field references of this batch point into.
    pub fn buffers(&self) -> (&[u8], &[u8]) {
        (&self.buffer, &self.side)
    }

    /// Forgets the bytes of records that have been read.
    pub fn start_batch(&mut self) {
        self.buffer.drain(..self.position);
        self.position = 0;
        self.side.clear();
    }

    /// The next record.
    pub fn next(&mut self) -> Result<Item, ConnectorError> {
        loop {
            let found = record(
                &self.buffer,
                self.position,
                self.last,
                self.dialect,
                &mut self.fields,
                &mut self.side,
            );
            match found {
                Found::Record { end, next, lines } => {
                    if next - self.position > RECORD_BYTES_MAX {
                        return self.bad("the record is too long");
                    }
                    let item = Item::Record { line: self.line, start: self.position, end };
                    self.position = next;
                    self.line += lines;
                    if self.one_field || !matches!(self.fields[..], [field] if field.is_blank()) {
                        return Ok(item);
                    }
                }
                Found::Unclosed => return self.bad("a quoted field does not end"),
                Found::Incomplete if self.buffer.len() - self.position > RECORD_BYTES_MAX => {
                    return self.bad("the record is too long");
                }
                Found::Incomplete => self.fill()?,
                Found::End => return Ok(Item::End),
            }
        }
    }

    /// Passes the line at the position as one that is no record.
    fn bad(&mut self, reason: &str) -> Result<Item, ConnectorError> {
        let line = self.line;
        let shown = &self.buffer[self.position..];
        let shown = &shown[..memchr(b'\n', shown).unwrap_or(shown.len()).min(RAW_BYTES_MAX)];
        let raw = shown.to_vec();
        loop {
            if let Some(offset) = memchr(b'\n', &self.buffer[self.position..]) {
                self.position += offset + 1;
                break;
            }
            if self.last {
                self.position = self.buffer.len();
                break;
            }
            // Of a line without an end nothing is kept but its beginning.
            self.buffer.truncate(self.position);
            self.fill()?;
        }
        self.line += 1;
        Ok(Item::Bad { line, raw, reason: reason.to_string() })
    }

    /// Reads more of the file behind what the buffer has; as much again as is
    /// waiting there, so that a long record is looked at few times.
    fn fill(&mut self) -> Result<(), ConnectorError> {
        let waiting = self.buffer.len() - self.position;
        let chunk = CHUNK.max(waiting) as u64;
        let read = self.file.by_ref().take(chunk).read_to_end(&mut self.buffer);
        let count = read.map_err(|error| ConnectorError::Outside {
            what: format!("cannot read file \"{}\"", self.name),
            cause: error.to_string(),
        })?;
        self.last = count == 0;
        Ok(())
    }
}
