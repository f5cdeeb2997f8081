//! One CSV file as a split.
//!
//! A record's ordinal is its number among the file's records, the header left
//! out. Opening at an ordinal splits the records before it again, without
//! decoding them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use tidemill_types::{Diagnostic, EventTime, SqlState};

use super::input::{Input, Item, RAW_BYTES_MAX};
use crate::columns::batch;
use crate::error::ConnectorError;
use crate::formats::csv::decode::{Failures, Texts, column};
use crate::formats::csv::split::{Dialect, FieldRef};
use crate::source::{Read, ReadRequest, Records, Rejected, SplitReader};
use tidemill_types::names;

/// A batch takes no further record once its records have so many bytes.
const BATCH_BYTES: usize = 4 << 20;
/// Records that are skipped before the buffer is emptied.
const SKIP_STEP: u64 = 1024;

/// How the file is written.
#[derive(Clone, Debug)]
pub struct Csv {
    pub dialect: Dialect,
    pub header: bool,
    pub null: Box<[u8]>,
}

/// A record that has the right number of fields.
#[derive(Clone, Copy, Debug)]
struct Place {
    ordinal: u64,
    line: u64,
    start: usize,
    end: usize,
}

/// Reads one file.
#[derive(Debug)]
pub struct Reader {
    input: Input,
    null: Box<[u8]>,
    schema: SchemaRef,
    /// Declared columns that are not requested. They are decoded all the same:
    /// whether a record is rejected must not depend on who reads it.
    checked: Vec<Field>,
    /// For each requested, then each checked column its field's number in a record.
    positions: Vec<usize>,
    /// Fields of a record.
    width: usize,
    next: u64,
    /// For each of `positions` its fields in this batch.
    columns: Vec<Vec<FieldRef>>,
    places: Vec<Place>,
}

impl Reader {
    /// Opens `path`, called `name` in messages, before record `ordinal`.
    pub fn open(
        path: &Path,
        name: String,
        csv: &Csv,
        request: &ReadRequest,
        ordinal: u64,
    ) -> Result<Self, ConnectorError> {
        let mut input = Input::open(path, name.clone(), csv.dialect)?;
        let header = if csv.header { read_header(&mut input, &name)? } else { None };
        let names = header
            .unwrap_or_else(|| request.declared.iter().map(|field| field.name().clone()).collect());
        let positions = request.physical_names.iter().map(|n| position(&names, n, &name));
        let mut positions = positions.collect::<Result<Vec<_>, _>>()?;
        let mut checked = Vec::new();
        for field in &request.declared {
            let position = position(&names, field.name(), &name)?;
            if !positions.contains(&position) {
                positions.push(position);
                checked.push(field.clone());
            }
        }
        input.set_one_field(names.len() == 1);
        let mut reader = Reader {
            input,
            null: csv.null.clone(),
            schema: Arc::new(Schema::new(request.columns.clone())),
            checked,
            columns: vec![Vec::new(); positions.len()],
            positions,
            width: names.len(),
            next: 0,
            places: Vec::new(),
        };
        reader.skip(ordinal)?;
        Ok(reader)
    }

    /// Passes the records before `ordinal`.
    fn skip(&mut self, ordinal: u64) -> Result<(), ConnectorError> {
        while self.next < ordinal {
            if self.next.is_multiple_of(SKIP_STEP) {
                self.input.start_batch();
            }
            if matches!(self.input.next()?, Item::End) {
                break;
            }
            self.next += 1;
        }
        Ok(())
    }

    /// Splits records into `places` and `columns`; answers the ones that are none.
    fn collect(&mut self, max_records: usize) -> Result<Vec<Rejected>, ConnectorError> {
        self.input.start_batch();
        self.places.clear();
        self.columns.iter_mut().for_each(Vec::clear);
        let mut rejected = Vec::new();
        let mut count = 0;
        let mut bytes = 0;
        while count < max_records && bytes < BATCH_BYTES {
            let ordinal = self.next;
            match self.input.next()? {
                Item::End => break,
                Item::Bad { line, raw, reason } => {
                    bytes += raw.len();
                    let reason = format!("line {line}: {reason}");
                    rejected.push(Rejected { ordinal, reason, raw });
                }
                Item::Record { line, start, end } => {
                    bytes += end - start;
                    let place = Place { ordinal, line, start, end };
                    self.take(place, &mut rejected);
                }
            }
            self.next += 1;
            count += 1;
        }
        Ok(rejected)
    }

    /// Takes the requested fields of the record just read.
    fn take(&mut self, place: Place, rejected: &mut Vec<Rejected>) {
        let fields = self.input.fields();
        if fields.len() != self.width {
            let (found, width) = (fields.len(), self.width);
            let reason =
                format!("line {}: the number of fields is {found}, not {width}", place.line);
            rejected.push(self.rejected(place, reason));
            return;
        }
        for (column, position) in self.columns.iter_mut().zip(&self.positions) {
            column.push(fields[*position]);
        }
        self.places.push(place);
    }

    fn rejected(&self, place: Place, reason: String) -> Rejected {
        let raw = &self.input.buffers().0[place.start..place.end];
        let raw = raw[..raw.len().min(RAW_BYTES_MAX)].to_vec();
        Rejected { ordinal: place.ordinal, reason, raw }
    }

    /// Decodes what has been collected; adds the records that cannot be decoded to
    /// `rejected`.
    fn decode(&self, rejected: &mut Vec<Rejected>) -> Result<RecordBatch, ArrowError> {
        let (buffer, side) = self.input.buffers();
        let mut failures = Failures::default();
        let requested = self.schema.fields().iter().map(AsRef::as_ref);
        let mut arrays: Vec<ArrayRef> = requested
            .chain(&self.checked)
            .zip(&self.columns)
            .map(|(field, fields)| {
                let texts = Texts { fields, buffer, side, null: &self.null };
                column(field, texts, &mut failures)
            })
            .collect();
        arrays.truncate(self.schema.fields().len());
        let count = self.places.len();
        let keep = (!failures.is_empty())
            .then(|| (0..count).map(|row| Some(!failures.contains(row))).collect::<BooleanArray>());
        let rows = batch(&self.schema, arrays, count, keep)?;
        rejected.extend(failures.into_rows().map(|(row, reason)| {
            let place = self.places[row];
            self.rejected(place, format!("line {}: {reason}", place.line))
        }));
        rejected.sort_by_key(|r| r.ordinal);
        Ok(rows)
    }
}

impl SplitReader for Reader {
    fn read(&mut self, max_records: usize, _now: EventTime) -> Result<Read, ConnectorError> {
        let start = self.next;
        let mut rejected = self.collect(max_records.max(1))?;
        if self.next == start {
            return Ok(Read::End);
        }
        let rows = self.decode(&mut rejected).map_err(|error| {
            let message = format!("connector \"file\" cannot build its rows: {error}");
            ConnectorError::Options(Diagnostic::internal(message))
        })?;
        Ok(Read::Records(Records { rows, start, end: self.next, rejected }))
    }
}

/// The names in the first record; `None`: the file is empty.
fn read_header(input: &mut Input, file: &str) -> Result<Option<Vec<String>>, ConnectorError> {
    match input.next()? {
        Item::End => Ok(None),
        Item::Bad { reason, .. } => Err(ConnectorError::Options(Diagnostic::new(
            SqlState::BAD_COPY_FILE_FORMAT,
            format!("file \"{file}\": the header cannot be read: {reason}"),
        ))),
        Item::Record { .. } => {
            let (buffer, side) = input.buffers();
            let names = input
                .fields()
                .iter()
                .map(|field| String::from_utf8_lossy(field.text(buffer, side)).trim().to_string());
            Ok(Some(names.collect()))
        }
    }
}

/// Where the column `wanted` is among `names`: exactly so spelt, else in any case.
fn position(names: &[String], wanted: &str, file: &str) -> Result<usize, ConnectorError> {
    if let Some(position) = names.iter().position(|name| name == wanted) {
        return Ok(position);
    }
    let mut matching =
        names.iter().enumerate().filter(|(_, name)| name.to_lowercase() == wanted.to_lowercase());
    let refused = |state, problem: &str| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let message = format!("file \"{file}\" {problem} column \"{wanted}\"");
        let hint = names::hint(wanted, "columns", &names);
        ConnectorError::Options(Diagnostic::new(state, message).with_hint(hint))
    };
    match (matching.next(), matching.next()) {
        (Some((position, _)), None) => Ok(position),
        (None, _) => Err(refused(SqlState::UNDEFINED_COLUMN, "has no")),
        (Some(_), Some(_)) => Err(refused(SqlState::AMBIGUOUS_COLUMN, "has more than one")),
    }
}
