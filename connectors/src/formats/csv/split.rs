//! Records and fields in a buffer of bytes.

use memchr::{memchr, memchr_iter, memchr2};

/// What separates fields and what encloses them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dialect {
    pub delimiter: u8,
    /// `None`: quotes are letters like any other.
    pub quote: Option<u8>,
}

/// Where a field's text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldRef {
    start: u32,
    len: u32,
    quoted: bool,
    /// The text had to be put together and is in the side buffer.
    aside: bool,
}

impl FieldRef {
    /// The text, given the buffers that the field was split from and into.
    #[inline]
    #[must_use]
    pub fn text<'a>(self, buffer: &'a [u8], side: &'a [u8]) -> &'a [u8] {
        let from = if self.aside { side } else { buffer };
        let start = self.start as usize;
        &from[start..start + self.len as usize]
    }

    /// Whether the text stood in quotes.
    #[inline]
    #[must_use]
    pub fn quoted(self) -> bool {
        self.quoted
    }

    /// Whether it is an empty line's only field.
    #[must_use]
    pub fn is_blank(self) -> bool {
        self.len == 0 && !self.quoted
    }
}

/// What stands at a place of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A record whose text ends at `end` and whose successor begins at `next`;
    /// `lines` newlines are in between.
    Record { end: usize, next: usize, lines: u64 },
    /// The buffer ends within the record and there is more to read.
    Incomplete,
    /// The input ends within a quoted field.
    Unclosed,
    /// The input ends here.
    End,
}

/// Finds the record at `at` and puts its fields into `fields` (cleared before),
/// texts with doubled quotes into `side` (appended; unchanged where no record is
/// found). `last`: nothing follows the buffer. Offsets must fit 32 bits: callers
/// keep buffers below 4 GiB.
pub fn record(
    buffer: &[u8],
    at: usize,
    last: bool,
    dialect: Dialect,
    fields: &mut Vec<FieldRef>,
    side: &mut Vec<u8>,
) -> Found {
    fields.clear();
    if at == buffer.len() {
        return if last { Found::End } else { Found::Incomplete };
    }
    let side_len = side.len();
    let mut lines = 0;
    let mut start = at;
    loop {
        let quoted = dialect.quote.is_some_and(|quote| buffer.get(start) == Some(&quote));
        let field = if quoted {
            quoted_field(buffer, start, last, dialect, side, &mut lines)
        } else {
            plain_field(buffer, start, last, dialect.delimiter)
        };
        let (field, stop) = match field {
            Ok(field) => field,
            Err(found) => {
                side.truncate(side_len);
                return found;
            }
        };
        fields.push(field);
        match buffer.get(stop) {
            Some(byte) if *byte == dialect.delimiter => start = stop + 1,
            terminator => {
                let next = stop + usize::from(terminator.is_some());
                let end = stop - usize::from(ends_in_return(buffer, at, stop));
                return Found::Record { end, next, lines: lines + 1 };
            }
        }
    }
}

/// Whether a carriage return stands before `stop`.
fn ends_in_return(buffer: &[u8], start: usize, stop: usize) -> bool {
    stop > start && buffer[stop - 1] == b'\r'
}

/// Where the field's last part that begins at `start` stops: at a delimiter, a
/// newline or the end of the input.
#[inline]
fn stop(buffer: &[u8], start: usize, last: bool, delimiter: u8) -> Result<usize, Found> {
    match memchr2(delimiter, b'\n', &buffer[start..]) {
        Some(offset) => Ok(start + offset),
        None if last => Ok(buffer.len()),
        None => Err(Found::Incomplete),
    }
}

/// The end of the text that stops at `stop`: a carriage return before a newline
/// (or the end of the input) is not part of it.
#[inline]
fn text_end(buffer: &[u8], start: usize, stop: usize, delimiter: u8) -> usize {
    let at_delimiter = buffer.get(stop) == Some(&delimiter);
    stop - usize::from(!at_delimiter && ends_in_return(buffer, start, stop))
}

#[inline]
fn plain_field(
    buffer: &[u8],
    start: usize,
    last: bool,
    delimiter: u8,
) -> Result<(FieldRef, usize), Found> {
    let stop = stop(buffer, start, last, delimiter)?;
    let end = text_end(buffer, start, stop, delimiter);
    Ok((field(start, end, false, false), stop))
}

fn field(start: usize, end: usize, quoted: bool, aside: bool) -> FieldRef {
    FieldRef { start: start as u32, len: (end - start) as u32, quoted, aside }
}

/// A field whose quote stands at `start`. What follows the closing quote up to the
/// delimiter belongs to the text, as PostgreSQL has it.
fn quoted_field(
    buffer: &[u8],
    start: usize,
    last: bool,
    dialect: Dialect,
    side: &mut Vec<u8>,
    lines: &mut u64,
) -> Result<(FieldRef, usize), Found> {
    let quote = buffer[start];
    let side_start = side.len();
    let mut copied = start + 1;
    let mut from = start + 1;
    let close = loop {
        let Some(offset) = memchr(quote, &buffer[from..]) else {
            return Err(if last { Found::Unclosed } else { Found::Incomplete });
        };
        let at = from + offset;
        match buffer.get(at + 1) {
            Some(next) if *next == quote => {
                side.extend_from_slice(&buffer[copied..=at]);
                from = at + 2;
                copied = from;
            }
            None if !last => return Err(Found::Incomplete),
            _ => break at,
        }
    };
    let stop = stop(buffer, close + 1, last, dialect.delimiter)?;
    let tail_end = text_end(buffer, close + 1, stop, dialect.delimiter);
    *lines += memchr_iter(b'\n', &buffer[start..close]).count() as u64;
    if copied == start + 1 && tail_end == close + 1 {
        return Ok((field(start + 1, close, true, false), stop));
    }
    side.extend_from_slice(&buffer[copied..close]);
    side.extend_from_slice(&buffer[close + 1..tail_end]);
    Ok((field(side_start, side.len(), true, true), stop))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect { delimiter: b',', quote: Some(b'"') };

    /// All records, or what stopped the reading.
    fn all(text: &str) -> (Vec<Vec<String>>, Found) {
        let (mut fields, mut side, mut at) = (Vec::new(), Vec::new(), 0);
        let mut records = Vec::new();
        loop {
            match record(text.as_bytes(), at, true, DIALECT, &mut fields, &mut side) {
                Found::Record { next, .. } => {
                    let texts = fields.iter().map(|f| f.text(text.as_bytes(), &side));
                    let texts = texts.map(|t| String::from_utf8(t.to_vec()).unwrap());
                    records.push(texts.collect());
                    at = next;
                }
                found => return (records, found),
            }
        }
    }

    #[test]
    fn records_and_fields() {
        let cases: &[(&str, &[&[&str]])] = &[
            ("", &[]),
            ("a,b\n", &[&["a", "b"]]),
            ("a,b", &[&["a", "b"]]),
            ("a,b\r\nc,d\r\n", &[&["a", "b"], &["c", "d"]]),
            ("a,\n,b", &[&["a", ""], &["", "b"]]),
            ("a,", &[&["a", ""]]),
            ("\n\n", &[&[""], &[""]]),
            ("\"a,\nb\",c\n", &[&["a,\nb", "c"]]),
            ("\"a\"\"b\",\"\"\r\n", &[&["a\"b", ""]]),
            ("\"a\"x,y\r\n", &[&["ax", "y"]]),
            ("\"\"\"\"", &[&["\""]]),
            ("5\" pipe,b\n", &[&["5\" pipe", "b"]]),
            ("a\rb,c\n", &[&["a\rb", "c"]]),
            ("\"a\r\n\",b\r\n", &[&["a\r\n", "b"]]),
        ];
        for (text, expected) in cases {
            let (records, found) = all(text);
            assert_eq!(records, *expected, "{text:?}");
            assert_eq!(found, Found::End, "{text:?}");
        }
        assert_eq!(all("a,b\n\"c,d\n").1, Found::Unclosed);
    }

    #[test]
    fn a_cut_anywhere_is_incomplete_or_the_same() {
        let text = b"\"a\"\"b\",c d,\"x\ny\"z\r\nnext,one\n";
        let (mut whole, mut fields, mut side) = (Vec::new(), Vec::new(), Vec::new());
        let full = record(text, 0, true, DIALECT, &mut whole, &mut side);
        assert!(matches!(full, Found::Record { lines: 2, .. }));
        for cut in 0..text.len() {
            let mut side = Vec::new();
            let found = record(&text[..cut], 0, false, DIALECT, &mut fields, &mut side);
            if found == Found::Incomplete {
                assert!(side.is_empty());
            } else {
                assert_eq!((found, &fields), (full, &whole), "cut at {cut}");
            }
        }
    }

    #[test]
    fn without_a_quote_quotes_are_letters() {
        let dialect = Dialect { delimiter: b'\t', quote: None };
        let (mut fields, mut side) = (Vec::new(), Vec::new());
        let text = b"\"a\tb\"\n";
        record(text, 0, true, dialect, &mut fields, &mut side);
        let texts: Vec<_> = fields.iter().map(|f| f.text(text, &side)).collect();
        assert_eq!(texts, [b"\"a", b"b\""]);
    }
}
