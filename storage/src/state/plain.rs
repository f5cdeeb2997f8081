//! Run files of the model: as plain as can be.
//!
//! ```text
//! "TMRUN" version:u8
//! range deletions: tag 3, from, to
//! entries: tag 1, key, value, or tag 2, key of a deletion
//! end: tag 0, XXH3-64 of everything before it, u64
//! ```
//!
//! Strings are a length, u32, and the bytes; numbers are little-endian.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::file::{RunFormat, RunSource};
use super::run::{Arena, SortedRun};
use super::{KeyRange, StateError};

const MAGIC: &[u8; 6] = b"TMRUN\x01";
const END: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const RANGE: u8 = 3;
const CHECKSUM_BYTES: usize = 8;

/// See the module.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PlainFormat;

impl RunFormat for PlainFormat {
    fn write(
        &self,
        path: &Path,
        ranges: &[KeyRange],
        entries: &mut dyn RunSource,
    ) -> Result<(), StateError> {
        let io = |error| StateError::io(path, &error);
        let mut out = Output::create(path).map_err(io)?;
        for range in ranges {
            out.record(RANGE, &[&range.from, &range.to]).map_err(io)?;
        }
        while let Some((key, value)) = entries.next_entry()? {
            match value {
                Some(value) => out.record(PUT, &[key, value]).map_err(io)?,
                None => out.record(DELETE, &[key]).map_err(io)?,
            }
        }
        out.finish().map_err(io)
    }

    fn extension(&self) -> &'static str {
        "run"
    }
}

struct Output {
    file: BufWriter<File>,
    checksum: Xxh3,
}

impl Output {
    fn create(path: &Path) -> std::io::Result<Self> {
        let file = BufWriter::new(File::create_new(path)?);
        let mut output = Output { file, checksum: Xxh3::new() };
        output.put(MAGIC)?;
        Ok(output)
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)
    }

    /// Strings of runs are shorter than 4 GiB.
    fn record(&mut self, tag: u8, strings: &[&[u8]]) -> std::io::Result<()> {
        self.put(&[tag])?;
        for string in strings {
            self.put(&(string.len() as u32).to_le_bytes())?;
            self.put(string)?;
        }
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.put(&[END])?;
        let checksum = self.checksum.digest().to_le_bytes();
        self.file.write_all(&checksum)?;
        self.file.into_inner().map_err(|e| e.into_error())?.sync_all()
    }
}

/// The run in a file.
///
/// # Errors
/// [`StateError::Io`]; [`StateError::Damaged`] for a file that is not whole.
pub fn read_plain(path: &Path) -> Result<SortedRun, StateError> {
    let bytes = std::fs::read(path).map_err(|error| StateError::io(path, &error))?;
    parse(&bytes).ok_or_else(|| StateError::damaged(format!("{} is not whole", path.display())))?
}

fn parse(bytes: &[u8]) -> Option<Result<SortedRun, StateError>> {
    let (body, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if xxh3_64(body) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let (mut arena, mut ranges) = (Arena::default(), Vec::new());
    loop {
        let (tag, after) = rest.split_first()?;
        rest = after;
        let pushed = match *tag {
            END => return rest.is_empty().then(|| Ok(SortedRun::new(arena, ranges))),
            RANGE => {
                let (from, to) = (string(&mut rest)?.to_vec(), string(&mut rest)?.to_vec());
                ranges.push(KeyRange { from, to });
                Ok(())
            }
            PUT => arena.push(string(&mut rest)?, Some(string(&mut rest)?)),
            DELETE => arena.push(string(&mut rest)?, None),
            _ => return None,
        };
        if let Err(error) = pushed {
            return Some(Err(error));
        }
    }
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}
