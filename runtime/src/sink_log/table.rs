//! The log's state table: rows in, and parts out.

use std::sync::Arc;

use arrow::array::RecordBatchOptions;
use arrow::array::{Array, ArrayRef, AsArray, Int16Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int16Type, Int64Type, Schema, SchemaRef};
use tidemill_storage::state::{
    Delta, EncodedRows, Family, KeyCodec, KeyLayout, KeyRange, StateBackend, StateError, ValueCodec,
};
use tidemill_types::plan::ChangelogKind;
use tidemill_types::vnode::hash_of_vnode;
use tidemill_types::{ChangeBatch, Epoch, Ops, TableId};

use super::collect::Lane;

/// Where the log's rows lie: slices of time that are dropped whole.
const FAMILY: Family = Family::Window;

/// Rows and encoded bytes that are read at once, at most (and one row at least).
const READ_ROWS: usize = 4096;
const READ_BYTES: usize = 4 << 20;

/// Which part of a slice a row belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PartKey {
    pub writer: u16,
    pub part: u64,
}

/// The log of one sink, as it is stored.
#[derive(Debug)]
pub(crate) struct LogTable {
    layout: KeyLayout,
    /// Writer, part, ordinal.
    key: KeyCodec,
    value: ValueCodec,
    /// The columns that the user sees.
    columns: SchemaRef,
    /// Values begin with whether the row is taken back.
    signed: bool,
}

impl LogTable {
    /// For rows of `columns`.
    pub fn new(
        table: TableId,
        columns: &SchemaRef,
        changelog: ChangelogKind,
    ) -> Result<Self, StateError> {
        let signed = changelog != ChangelogKind::AppendOnly;
        let types = columns.fields().iter().map(|f| f.data_type().clone());
        let types: Vec<_> = signed.then_some(DataType::Boolean).into_iter().chain(types).collect();
        // A row that is taken back may lack what is not its key.
        let fields = columns.fields().iter().map(|f| Field::clone(f).with_nullable(true));
        let nullable: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(LogTable {
            layout: KeyLayout::new(table, true, false)?,
            key: KeyCodec::new(&[DataType::Int16, DataType::Int64, DataType::Int64])?,
            value: ValueCodec::new(&types)?,
            columns: if signed { nullable } else { Arc::clone(columns) },
            signed,
        })
    }

    /// How a row's columns are encoded: with a leading boolean where it is signed.
    pub fn values(&self) -> &ValueCodec {
        &self.value
    }

    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Appends a worker's rows to a slice.
    pub fn write(&self, delta: &mut Delta, epoch: Epoch, lane: &Lane) -> Result<(), StateError> {
        let mut keys = EncodedRows::default();
        let mut key = Vec::new();
        let mut prefix = vec![0; self.layout.prefix_len()];
        self.layout.write_prefix(slice(epoch), hash_of_vnode(lane.writer), &mut prefix);
        for (part, first) in lane.parts.iter().enumerate() {
            let end = lane.parts.get(part + 1).copied().unwrap_or(lane.values.len());
            for from in (*first..end).step_by(READ_ROWS) {
                let rows = (end - from).min(READ_ROWS);
                let ordinals = Int64Array::from_iter_values((from..from + rows).map(|i| i as i64));
                let columns: [ArrayRef; 3] = [
                    Arc::new(Int16Array::from_value(lane.writer as i16, rows)),
                    Arc::new(Int64Array::from_value(part as i64, rows)),
                    Arc::new(ordinals),
                ];
                self.key.encode(&columns, rows, &mut keys)?;
                for (i, columns) in keys.iter().enumerate() {
                    key.clear();
                    key.extend_from_slice(&prefix);
                    key.extend_from_slice(columns);
                    delta.put(FAMILY, &key, lane.values.row(from + i))?;
                }
            }
        }
        Ok(())
    }

    /// Deletes the slices up to `last`, as they were before the delta.
    pub fn expire(&self, delta: &mut Delta, last: Epoch) {
        delta.delete_range(FAMILY, self.layout.slices_through(slice(last)));
    }

    /// The first slice after `after` and not after `through` that has rows.
    pub fn first_slice(
        &self,
        backend: &dyn StateBackend,
        after: Option<Epoch>,
        through: Epoch,
    ) -> Result<Option<Epoch>, StateError> {
        let mut cursor = backend.scan(FAMILY, &self.between(after, through))?;
        let Some((key, _)) = cursor.next_entry()? else { return Ok(None) };
        let found = self.layout.split(key)?.slice.and_then(|slice| u64::try_from(slice).ok());
        let damaged = || StateError::Damaged("a sink's log has a slice before the first".into());
        found.map(|epoch| Some(Epoch(epoch))).ok_or_else(damaged)
    }

    /// Bytes of the rows after `after` and up to `through`.
    pub fn bytes(
        &self,
        backend: &dyn StateBackend,
        after: Option<Epoch>,
        through: Epoch,
    ) -> Result<u64, StateError> {
        let mut cursor = backend.scan(FAMILY, &self.between(after, through))?;
        let mut bytes = 0;
        while let Some((key, value)) = cursor.next_entry()? {
            bytes += (key.len() + value.len()) as u64;
        }
        Ok(bytes)
    }

    fn between(&self, after: Option<Epoch>, through: Epoch) -> KeyRange {
        let first = after.map_or(0, |epoch| slice(epoch).saturating_add(1));
        KeyRange {
            from: self.layout.slices_from(first).from,
            to: self.layout.slices_through(slice(through)).to,
        }
    }

    /// Gives `each` the rows of a slice in order, each batch within one part, until it
    /// fails.
    pub fn read<E: From<StateError>>(
        &self,
        backend: &dyn StateBackend,
        epoch: Epoch,
        mut each: impl FnMut(PartKey, ChangeBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = backend.scan(FAMILY, &self.layout.slice_range(slice(epoch)))?;
        let (mut keys, mut values) = (EncodedRows::default(), EncodedRows::default());
        while let Some((key, value)) = cursor.next_entry()? {
            keys.push(self.layout.split(key)?.columns);
            values.push(value);
            if keys.len() == READ_ROWS || keys.byte_len() + values.byte_len() >= READ_BYTES {
                self.give(&keys, &values, &mut each)?;
                keys.clear();
                values.clear();
            }
        }
        if keys.is_empty() { Ok(()) } else { self.give(&keys, &values, &mut each) }
    }

    /// Decodes rows and cuts them where parts end.
    fn give<E: From<StateError>>(
        &self,
        keys: &EncodedRows,
        values: &EncodedRows,
        each: &mut impl FnMut(PartKey, ChangeBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let encoded: Vec<_> = keys.iter().collect();
        let decoded = self.key.decode(&encoded)?;
        let writers = decoded[0].as_primitive::<Int16Type>();
        let parts = decoded[1].as_primitive::<Int64Type>();
        if writers.null_count() + parts.null_count() > 0 {
            return Err(StateError::Damaged("a sink's log has a row without a part".into()).into());
        }
        let part = |row: usize| PartKey {
            writer: writers.value(row) as u16,
            part: parts.value(row) as u64,
        };
        let encoded: Vec<_> = values.iter().collect();
        let rows = self.rows(self.value.decode(&encoded)?, keys.len())?;
        let mut from = 0;
        for row in 1..=keys.len() {
            if row == keys.len() || part(row) != part(from) {
                each(part(from), rows.slice(from, row - from))?;
                from = row;
            }
        }
        Ok(())
    }

    fn rows(&self, mut columns: Vec<ArrayRef>, rows: usize) -> Result<ChangeBatch, StateError> {
        let mut ops = Ops::Insert;
        if self.signed {
            let taken_back = columns.remove(0);
            ops = Ops::Signs { neg: taken_back.as_boolean().values().clone() };
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.columns), columns, &options)?;
        Ok(ChangeBatch { rows, ops, hash: None })
    }
}

/// Epochs are numbered from a clock's start and never reach the sign.
fn slice(epoch: Epoch) -> i64 {
    i64::try_from(epoch.0).unwrap_or(i64::MAX)
}
