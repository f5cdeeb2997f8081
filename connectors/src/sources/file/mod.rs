//! The source `file`: files of the server's machine, one split each.
//!
//! The list of files is made once, when the splits are first asked for, and
//! sorted by path; files are taken to stay as they are while a job reads them.
//! A source is bounded: every split ends at its file's end.

pub mod roots;

mod input;
mod reader;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tidemill_types::{
    ColumnFact, Diagnostic, OptionFact, OptionKind, Options, SourceShape, SqlState,
};

use crate::columns::sql_name;
use crate::error::ConnectorError;
use crate::formats::csv::decode;
use crate::formats::csv::split::Dialect;
use crate::options::{Checked, bad_value};
use crate::source::{ReadRequest, Source, Split, SplitReader};
use reader::{Csv, Reader};
use roots::Roots;

/// The connector's name.
pub const NAME: &str = "file";

const OWNER: &str = "connector \"file\"";
const PATH: &str = "path";
const FORMAT: &str = "format";
const HEADER: &str = "header";
const DELIMITER: &str = "delimiter";
const QUOTE: &str = "quote";
const NULL: &str = "null";

/// Formats of the SQL surface that this source does not read yet.
const OTHER_FORMATS: &[&str] = &["json", "parquet", "avro", "protobuf", "bytes"];

/// What the connector understands.
pub const OPTIONS: &[OptionFact] = &[
    OptionFact {
        name: PATH,
        kind: OptionKind::Text,
        required: true,
        default: None,
        doc: "A file or a pattern (`*`, `?`, `[a-z]`, `**`) below one of the configuration's \
              `file_roots`; a relative path is below the first of them",
    },
    OptionFact {
        name: FORMAT,
        kind: OptionKind::OneOf(&["csv"]),
        required: false,
        default: Some("csv"),
        doc: "How the files are written",
    },
    OptionFact {
        name: HEADER,
        kind: OptionKind::Boolean,
        required: false,
        default: Some("true"),
        doc: "Whether the first record of each file names the columns; columns are then found by \
              name (in any case), else by position",
    },
    OptionFact {
        name: DELIMITER,
        kind: OptionKind::Text,
        required: false,
        default: Some(","),
        doc: "The one-byte character between two fields; `\\t` for a tab",
    },
    OptionFact {
        name: QUOTE,
        kind: OptionKind::Text,
        required: false,
        default: Some("\""),
        doc: "The one-byte character around a quoted field; empty: there are no quoted fields",
    },
    OptionFact {
        name: NULL,
        kind: OptionKind::Text,
        required: false,
        default: Some(""),
        doc: "The unquoted text that stands for NULL",
    },
];

/// What a source with these options delivers. The path is checked as it is
/// written; whether there are files is found out when the source is opened.
pub fn shape(
    roots: &Roots,
    options: &Options,
    declared: &[ColumnFact],
) -> Result<SourceShape, Diagnostic> {
    let (checked, _, _) = configure(roots, options)?;
    if declared.is_empty() {
        let message = format!("{OWNER} needs declared columns");
        return Err(Diagnostic::unsupported(message)
            .with_hint("List the columns: CREATE SOURCE s (a int, b text) WITH (...)."));
    }
    for column in declared {
        if !decode::supported(&column.data_type) {
            let of = sql_name(&column.data_type);
            let message = format!("column \"{}\": {of} cannot be read from CSV", column.name);
            return Err(Diagnostic::unsupported(message)
                .with_hint("Declare it as text and convert it in a query."));
        }
    }
    Ok(SourceShape {
        columns: declared.to_vec(),
        physical_names: declared.iter().map(|column| column.name.clone()).collect(),
        loose_names: false,
        bounded: true,
        default_watermark: None,
        options: checked.complete().clone(),
    })
}

/// Opens a source: 42501 for a path that resolves to outside of the roots, 58P01
/// where there is no file.
pub fn open(roots: &Roots, options: &Options) -> Result<Arc<dyn Source>, ConnectorError> {
    let (_, path, csv) = configure(roots, options).map_err(ConnectorError::Options)?;
    let source = Files { roots: roots.clone(), path, csv, files: OnceLock::new() };
    source.files()?;
    Ok(Arc::new(source))
}

fn configure(roots: &Roots, options: &Options) -> Result<(Checked, PathBuf, Csv), Diagnostic> {
    let format = options.get(FORMAT).map(|format| format.trim().to_ascii_lowercase());
    if let Some(format) = format.filter(|format| OTHER_FORMATS.contains(&format.as_str())) {
        return Err(Diagnostic::unsupported(format!("{OWNER} does not read {format} yet"))
            .with_hint("Use format = 'csv'."));
    }
    let checked = Checked::new(OWNER, OPTIONS, options)?;
    let text = |name| checked.text(name).expect("the option is a text, required or with a default");
    let delimiter = match text(DELIMITER) {
        "\\t" => Some(b'\t'),
        other => one_byte(other),
    };
    let delimiter = delimiter
        .ok_or_else(|| bad_value(DELIMITER, text(DELIMITER), "one character of one byte"))?;
    let quote = match text(QUOTE) {
        "" => None,
        other => Some(
            one_byte(other)
                .filter(|quote| *quote != delimiter)
                .ok_or_else(|| bad_value(QUOTE, other, "one byte that is not the delimiter"))?,
        ),
    };
    let csv = Csv {
        dialect: Dialect { delimiter, quote },
        header: checked.boolean(HEADER).expect("the option is a boolean with a default"),
        null: text(NULL).as_bytes().into(),
    };
    let path = roots.check(text(PATH))?;
    Ok((checked, path, csv))
}

/// The only byte of a text, which cannot be one that ends a line.
fn one_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] if !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
        _ => None,
    }
}

/// An opened source.
#[derive(Debug)]
struct Files {
    roots: Roots,
    path: PathBuf,
    csv: Csv,
    files: OnceLock<Vec<PathBuf>>,
}

impl Files {
    /// The files, listed once.
    fn files(&self) -> Result<&[PathBuf], ConnectorError> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = self.roots.list(&self.path)?;
        Ok(self.files.get_or_init(|| files))
    }
}

impl Source for Files {
    fn splits(&self) -> Result<Vec<Split>, ConnectorError> {
        let files = self.files()?.iter();
        Ok(files.map(|file| Split { name: file.display().to_string() }).collect())
    }

    fn open(
        &self,
        split: usize,
        ordinal: u64,
        request: &Arc<ReadRequest>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let files = self.files()?;
        let file = files.get(split).ok_or_else(|| {
            let message = format!("\"{}\" has no file number {split}", self.path.display());
            ConnectorError::Options(Diagnostic::new(SqlState::UNDEFINED_FILE, message))
        })?;
        let real = self.roots.resolve(file)?;
        let reader = Reader::open(&real, file.display().to_string(), &self.csv, request, ordinal)?;
        Ok(Box::new(reader))
    }
}
