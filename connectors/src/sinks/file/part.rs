//! One file, from its first row to its name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tidemill_types::{CHANGE_COLUMN, ChangeBatch, Diagnostic, Ops};

use super::options::Format;
use crate::error::ConnectorError;
use crate::formats::json;
use crate::sink::{PartWriter, RowShape};

/// A file that does not have its name yet.
#[derive(Debug)]
pub(super) struct PartFile {
    file: File,
    /// Where it is until it is whole; `None`: it is not there any more.
    unfinished: Option<PathBuf>,
    path: PathBuf,
    format: Format,
    shape: RowShape,
    /// Rows as text, before they are written.
    text: Vec<u8>,
}

impl PartFile {
    /// `None`: there is a file of this name.
    pub fn create(
        directory: &Path,
        name: &str,
        format: Format,
        shape: &RowShape,
    ) -> Result<Option<Self>, ConnectorError> {
        let path = directory.join(name);
        let exists = path.try_exists().map_err(|error| failed(&path, &error))?;
        if exists {
            return Ok(None);
        }
        // What an earlier attempt left is overwritten: nobody else has this name.
        let unfinished = directory.join(format!(".{name}.tmp"));
        let file = File::create(&unfinished).map_err(|error| failed(&path, &error))?;
        let mut part = PartFile {
            file,
            unfinished: Some(unfinished),
            path,
            format,
            shape: shape.clone(),
            text: Vec::new(),
        };
        part.write_header()?;
        Ok(Some(part))
    }

    fn write_header(&mut self) -> Result<(), ConnectorError> {
        if let Format::Csv { style, header: true } = self.format {
            let change = self.shape.change_name(false).map(|_| CHANGE_COLUMN);
            let columns = self.shape.columns.fields().iter().map(|f| f.name().as_str());
            style.header(change.into_iter().chain(columns), &mut self.text);
            self.write_text()?;
        }
        Ok(())
    }

    fn write_text(&mut self) -> Result<(), ConnectorError> {
        let written = self.file.write_all(&self.text);
        self.text.clear();
        written.map_err(|error| failed(&self.path, &error))
    }

    /// Gives the file its name, unless there is one of that name by now.
    fn link(&self, unfinished: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        match fs::hard_link(unfinished, &self.path) {
            Ok(()) => fs::remove_file(unfinished),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(unfinished)
            }
            // Some file systems have no links. Only this server writes such names.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                fs::rename(unfinished, &self.path)
            }
            Err(error) => Err(error),
        }
    }
}

impl PartWriter for PartFile {
    fn write(&mut self, batch: &ChangeBatch) -> Result<(), ConnectorError> {
        let shape = &self.shape;
        let change = |row: usize| {
            let taken_back = match &batch.ops {
                Ops::Insert => false,
                Ops::Signs { neg } => neg.value(row),
            };
            shape.change_name(taken_back).unwrap_or_default()
        };
        let change: Option<&dyn Fn(usize) -> &'static str> =
            if shape.change_name(false).is_some() { Some(&change) } else { None };
        let written = match self.format {
            Format::Json => {
                let lead = change.map(|change| (CHANGE_COLUMN, change));
                json::encode::rows(&batch.rows, lead, &mut self.text)
            }
            Format::Csv { style, .. } => style.rows(&batch.rows, change, &mut self.text),
        };
        if !written {
            let message = format!("a column of {} cannot be written", self.path.display());
            return Err(ConnectorError::Options(Diagnostic::internal(message)));
        }
        self.write_text()
    }

    fn publish(mut self: Box<Self>) -> Result<(), ConnectorError> {
        let Some(unfinished) = self.unfinished.clone() else { return Ok(()) };
        self.link(&unfinished).map_err(|error| failed(&self.path, &error))?;
        self.unfinished = None;
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // The next attempt overwrites what cannot be removed now.
            fs::remove_file(unfinished).ok();
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError::Outside {
        what: format!("cannot write file \"{}\"", path.display()),
        cause: error.to_string(),
    }
}
