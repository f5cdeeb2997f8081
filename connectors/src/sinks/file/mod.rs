//! The sink `file`: rows as files in a directory, each row in exactly one of them.
//!
//! ```text
//! <prefix>-<incarnation>-<lane>-<epoch>-<writer>-<part>.<json|csv>
//! part-1700000000000000-0000-00000000000000000042-0000-000000.json
//! ```
//!
//! A file is written under another name that begins with a dot, made durable, and then
//! linked to its own: a reader that looks for `*.json` or `*.csv` sees whole files only.
//! A name that exists is a file that was delivered before. Within a lane and writer the
//! names sort in the order of the rows.
//!
//! Whoever reads the files may take them away, but not at once: until the checkpoint
//! after the one that a file belongs to, a restart may write it once more.

mod options;
mod part;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_types::{Diagnostic, Options, SqlState};

use crate::columns::sql_name;
use crate::error::ConnectorError;
use crate::formats::{json, text};
use crate::sink::{LoggedSink, PartName, PartWriter, RowShape};
use crate::sources::file::roots::Roots;
use options::{Format, Settings};
pub use options::{OPTIONS, check, log};
use part::PartFile;

/// The connector's name.
pub const NAME: &str = "file";

/// For the reference page.
pub const DOC: &str = "Writes files below the directories of the configuration's `file_roots`, each row to exactly \
     one of them. Files appear whole, after each checkpoint of the sink (10 seconds), as \
     `<prefix>-<incarnation>-<lane>-<epoch>-<writer>-<part>` with `.json` or `.csv` behind; names \
     that begin with a dot are files in the making. Rows of a query whose rows can change have a \
     first column `tm_op`: `insert` and `delete`, or, where a row replaces the one of its key, \
     `upsert` and `delete`. Files that have been read may be taken away after two checkpoints; \
     before, a restart may write them again. `DROP` leaves the files where they are and forgets \
     rows that have not been written yet.";

/// Opens a sink. Nothing is looked for or made yet.
pub fn open(roots: &Roots, options: &Options) -> Result<Arc<dyn LoggedSink>, ConnectorError> {
    let settings = Settings::new(roots, options).map_err(ConnectorError::Options)?;
    Ok(Arc::new(Files { roots: roots.clone(), settings }))
}

/// An opened sink.
#[derive(Debug)]
struct Files {
    roots: Roots,
    settings: Settings,
}

impl Files {
    /// The directory as it is now; made where it is missing.
    fn directory(&self) -> Result<PathBuf, ConnectorError> {
        self.roots.directory(&self.settings.directory)
    }

    fn beginning(&self, incarnation: u64) -> String {
        format!("{}-{incarnation}-", self.settings.prefix)
    }

    fn name(&self, part: &PartName) -> String {
        format!(
            "{}{:04}-{:020}-{:04}-{:06}.{}",
            self.beginning(part.incarnation),
            part.lane,
            part.epoch.0,
            part.writer,
            part.number,
            self.settings.extension()
        )
    }

    fn begin_in(&self, directory: &Path, incarnation: u64) -> io::Result<Option<String>> {
        let beginning = self.beginning(incarnation);
        for entry in fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&beginning) {
                return Ok(Some(name));
            }
        }
        // Better now than after the first checkpoint.
        let probe = directory.join(format!(".{beginning}probe"));
        File::create(&probe)?;
        fs::remove_file(&probe)?;
        Ok(None)
    }
}

impl LoggedSink for Files {
    fn check(&self, shape: &RowShape) -> Result<(), ConnectorError> {
        let (supported, format): (fn(&_) -> bool, _) = match self.settings.format {
            Format::Json => (json::encode::supported, "JSON"),
            Format::Csv { .. } => (text::output::supported, "CSV"),
        };
        for field in shape.columns.fields() {
            if !supported(field.data_type()) {
                let of = sql_name(field.data_type());
                let message =
                    format!("column \"{}\": {of} cannot be written as {format}", field.name());
                return Err(ConnectorError::Options(Diagnostic::unsupported(message).with_hint(
                    "Use format = 'json' for arrays and composite values, or cast it to text.",
                )));
            }
        }
        Ok(())
    }

    fn begin(&self, incarnation: u64) -> Result<(), ConnectorError> {
        let shown = self.settings.directory.display();
        let directory = self.directory()?;
        match self.begin_in(&directory, incarnation) {
            Ok(None) => Ok(()),
            Ok(Some(name)) => {
                let message =
                    format!("directory \"{shown}\" has files of another sink: \"{name}\"");
                Err(ConnectorError::Options(
                    Diagnostic::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                        .with_hint("Use an empty directory, or another prefix."),
                ))
            }
            Err(error) => {
                let message = format!("cannot write to directory \"{shown}\": {error}");
                Err(ConnectorError::Options(
                    Diagnostic::new(SqlState::IO_ERROR, message).with_hint(
                        "The directory is on the server's machine, and must be writable for the \
                         user that the server runs as.",
                    ),
                ))
            }
        }
    }

    fn part(
        &self,
        name: &PartName,
        shape: &RowShape,
    ) -> Result<Option<Box<dyn PartWriter>>, ConnectorError> {
        let directory = self.directory()?;
        let part = PartFile::create(&directory, &self.name(name), self.settings.format, shape)?;
        Ok(part.map(|part| Box::new(part) as Box<dyn PartWriter>))
    }

    fn sync(&self) -> Result<(), ConnectorError> {
        let directory = self.directory()?;
        let parent = directory.parent().unwrap_or(&directory);
        // The directory itself may have been made.
        for directory in [&*directory, parent] {
            let synced = File::open(directory).and_then(|opened| opened.sync_all());
            synced.map_err(|error| ConnectorError::Outside {
                what: format!("cannot make directory \"{}\" durable", directory.display()),
                cause: error.to_string(),
            })?;
        }
        Ok(())
    }
}
