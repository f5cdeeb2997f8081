//! What the sink `file` understands, and its settings.

use std::path::PathBuf;

use tidemill_types::plan::SinkLog;
use tidemill_types::{Diagnostic, OptionFact, OptionKind, Options};

use super::NAME;
use crate::formats::csv;
use crate::options::{Checked, bad_value};
use crate::sources::file::roots::Roots;

const OWNER: &str = "connector \"file\"";
const PATH: &str = "path";
const FORMAT: &str = "format";
const COMPRESSION: &str = "compression";
const PREFIX: &str = "prefix";
const HEADER: &str = "header";
const DELIMITER: &str = "delimiter";
const ROLLING_ROWS: &str = "rolling.rows";
const ROLLING_BYTES: &str = "rolling.bytes";
const LANES: &str = "lanes";
const MEMORY_BYTES: &str = "log.memory_bytes";
const MAX_BYTES: &str = "log.max_bytes";

/// Of the SQL surface, and not written yet.
const OTHER_FORMATS: &[&str] = &["parquet", "avro", "protobuf", "bytes"];
const OTHER_COMPRESSIONS: &[&str] = &["gzip", "zstd", "snappy", "lz4", "bzip2", "xz"];

/// The longest beginning of a file's name, in bytes.
const PREFIX_MAX: usize = 100;

/// What the connector understands.
pub const OPTIONS: &[OptionFact] = &[
    OptionFact {
        name: PATH,
        kind: OptionKind::Text,
        required: true,
        default: None,
        doc: "A directory below one of the configuration's `file_roots`, made where it is missing; \
              a relative path is below the first of them",
    },
    OptionFact {
        name: FORMAT,
        kind: OptionKind::OneOf(&["json", "csv"]),
        required: false,
        default: Some("json"),
        doc: "How the files are written: an object per line, or comma-separated values",
    },
    OptionFact {
        name: COMPRESSION,
        kind: OptionKind::OneOf(&["none"]),
        required: false,
        default: Some("none"),
        doc: "How the files are compressed",
    },
    OptionFact {
        name: PREFIX,
        kind: OptionKind::Text,
        required: false,
        default: Some("part"),
        doc: "What the files' names begin with: letters, digits, `_` and `-`",
    },
    OptionFact {
        name: HEADER,
        kind: OptionKind::Boolean,
        required: false,
        default: Some("true"),
        doc: "CSV: whether the first record of each file names the columns",
    },
    OptionFact {
        name: DELIMITER,
        kind: OptionKind::Text,
        required: false,
        default: Some(","),
        doc: "CSV: the one-byte character between two fields; `\\t` for a tab",
    },
    OptionFact {
        name: ROLLING_ROWS,
        kind: OptionKind::Integer { min: 1, max: i64::MAX },
        required: false,
        default: Some("1000000"),
        doc: "A file has at most so many rows",
    },
    OptionFact {
        name: ROLLING_BYTES,
        kind: OptionKind::Integer { min: 1, max: i64::MAX },
        required: false,
        default: Some("134217728"),
        doc: "A file takes no further row once its rows have so many bytes in the sink's log, \
              where they are somewhat smaller than as text",
    },
    OptionFact {
        name: LANES,
        kind: OptionKind::Integer { min: 1, max: 1024 },
        required: false,
        default: Some("1"),
        doc: "Into how many ordered streams of files the rows are dealt, by the key that they are \
              distributed by; changes of one row stay in one lane",
    },
    OptionFact {
        name: MEMORY_BYTES,
        kind: OptionKind::Integer { min: 65_536, max: i64::MAX },
        required: false,
        default: Some("268435456"),
        doc: "Bytes of rows that may wait in memory for a checkpoint; at half of it one is taken \
              early, and at all of it the query reads no more until one is committed",
    },
    OptionFact {
        name: MAX_BYTES,
        kind: OptionKind::Integer { min: 1, max: i64::MAX },
        required: false,
        default: Some("1073741824"),
        doc: "Bytes of rows that may wait in the log while files cannot be written; when there are \
              more, the sink fails",
    },
];

/// How files are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Json,
    Csv { style: csv::encode::Style, header: bool },
}

/// Options, checked and typed.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub checked: Checked,
    pub directory: PathBuf,
    pub prefix: String,
    pub format: Format,
}

impl Settings {
    pub fn new(roots: &Roots, options: &Options) -> Result<Self, Diagnostic> {
        for (name, unsupported) in [(FORMAT, OTHER_FORMATS), (COMPRESSION, OTHER_COMPRESSIONS)] {
            let given = options.get(name).map(|given| given.trim().to_ascii_lowercase());
            if let Some(given) = given.filter(|given| unsupported.contains(&given.as_str())) {
                let what = format!("{} {}", name.to_uppercase(), given.to_uppercase());
                let valid = if name == FORMAT { "'json' or 'csv'" } else { "'none'" };
                return Err(Diagnostic::unsupported(format!("{what} is not supported yet"))
                    .with_hint(format!("Use {name} = {valid}.")));
            }
        }
        let checked = Checked::new(OWNER, OPTIONS, options)?;
        let text = |name| checked.text(name).expect("a text, required or with a default");
        let prefix = text(PREFIX);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if prefix.is_empty() || prefix.len() > PREFIX_MAX || !prefix.bytes().all(allowed) {
            let wanted = format!("1 to {PREFIX_MAX} letters, digits, `_` and `-`");
            return Err(bad_value(PREFIX, prefix, &wanted));
        }
        let format = match text(FORMAT) {
            "csv" => {
                let header = checked.boolean(HEADER).expect("a boolean with a default");
                let delimiter = delimiter(text(DELIMITER))?;
                Format::Csv { style: csv::encode::Style { delimiter, quote: b'"' }, header }
            }
            _ => Format::Json,
        };
        let directory = roots.check(text(PATH))?;
        let prefix = prefix.to_owned();
        Ok(Settings { directory, prefix, format, checked })
    }

    pub fn log(&self, incarnation: u64) -> SinkLog {
        let count = |name| self.checked.count(name).expect("a count with a default");
        SinkLog {
            lanes: count(LANES) as u32,
            incarnation,
            rolling_rows: count(ROLLING_ROWS),
            rolling_bytes: count(ROLLING_BYTES),
            memory_bytes: count(MEMORY_BYTES),
            max_bytes: count(MAX_BYTES),
        }
    }

    pub fn extension(&self) -> &'static str {
        match self.format {
            Format::Json => "json",
            Format::Csv { .. } => "csv",
        }
    }
}

fn delimiter(text: &str) -> Result<u8, Diagnostic> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if !matches!(byte, b'\n' | b'\r' | b'"' | 0) => Ok(*byte),
        _ => Err(bad_value(DELIMITER, text, "one character of one byte that is not the quote")),
    }
}

/// The options with defaults filled in.
pub fn check(roots: &Roots, options: &Options) -> Result<Options, Diagnostic> {
    debug_assert!(OWNER.contains(NAME));
    Ok(Settings::new(roots, options)?.checked.complete().clone())
}

/// How rows are logged before they are delivered.
pub fn log(roots: &Roots, options: &Options, incarnation: u64) -> Result<SinkLog, Diagnostic> {
    Ok(Settings::new(roots, options)?.log(incarnation))
}
