//! A table of state: rows of one keyed collection of one operator.
//!
//! A [`StateTable`] turns columns into keys and values of a [`Delta`] and back. It
//! holds no rows itself: those that are in use are the operator's, those of the
//! last checkpoint are the backend's.

use std::ops::Range;

use arrow::array::ArrayRef;
use tidemill_types::{TableId, VNODE_COUNT};

use super::backend::StateBackend;
use super::codec::{EncodedRows, KeyCodec, ValueCodec};
use super::key::KeyLayout;
use super::{Delta, Family, KeyRange, StateError};

/// The most rows that [`StateTable::read`] gives at once.
pub const READ_ROWS: usize = 4096;

/// Encoded bytes after which [`StateTable::read`] gives rows before there are
/// [`READ_ROWS`].
pub const READ_BYTES: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub struct StateTable {
    layout: KeyLayout,
    family: Family,
    key: KeyCodec,
    value: ValueCodec,
    /// Scratch space.
    keys: EncodedRows,
    values: EncodedRows,
}

/// Rows as they were stored.
#[derive(Clone, Debug)]
pub struct StateRows {
    /// The slice of all these rows; `None` in unsliced tables.
    pub slice: Option<i64>,
    /// Of a hashed table, each row's hash. Of other tables nothing: the hash of
    /// the distribution key is not stored there, and who needs it computes it from
    /// the columns.
    pub hashes: Vec<u64>,
    pub keys: Vec<ArrayRef>,
    pub values: Vec<ArrayRef>,
    /// Number of rows, at least 1.
    pub rows: usize,
}

impl StateTable {
    /// `sliced` tables give every row a slice of time, by which rows expire;
    /// `hashed` ones are read by single keys.
    ///
    /// # Errors
    /// [`StateError::Columns`] for the reserved table number.
    pub fn new(
        table: TableId,
        family: Family,
        sliced: bool,
        hashed: bool,
        key: KeyCodec,
        value: ValueCodec,
    ) -> Result<Self, StateError> {
        let layout = KeyLayout::new(table, sliced, hashed)?;
        let (keys, values) = (EncodedRows::default(), EncodedRows::default());
        Ok(StateTable { layout, family, key, value, keys, values })
    }

    /// Where the table's keys are.
    #[must_use]
    pub fn layout(&self) -> &KeyLayout {
        &self.layout
    }

    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Sets rows: a row replaces the row of its key. `hashes` has, for every row,
    /// the hash of its distribution key, in tables that are not hashed too: it
    /// gives the row its vnode. `slice` is given for sliced tables and only there.
    ///
    /// # Errors
    /// [`StateError::Columns`] when columns, hashes or the slice are not the
    /// table's; [`StateError::TooLong`]. The delta then may have some of the rows.
    pub fn write(
        &mut self,
        delta: &mut Delta,
        slice: Option<i64>,
        hashes: &[u64],
        keys: &[ArrayRef],
        values: &[ArrayRef],
    ) -> Result<(), StateError> {
        self.value.encode(values, hashes.len(), &mut self.values)?;
        self.encode_keys(slice, hashes, keys)?;
        delta.extend(self.family, &self.keys, Some(&self.values))
    }

    /// Deletes the rows of keys, which need not exist; see [`StateTable::write`].
    ///
    /// # Errors
    /// Those of [`StateTable::write`].
    pub fn delete(
        &mut self,
        delta: &mut Delta,
        slice: Option<i64>,
        hashes: &[u64],
        keys: &[ArrayRef],
    ) -> Result<(), StateError> {
        self.encode_keys(slice, hashes, keys)?;
        delta.extend(self.family, &self.keys, None)
    }

    /// Deletes a slice as it was before the delta; rows of the delta stay. In an
    /// unsliced table that is everything.
    pub fn expire_slice(&self, delta: &mut Delta, slice: i64) {
        delta.delete_range(self.family, self.layout.slice_range(slice));
    }

    /// As [`StateTable::expire_slice`], for `last` and all slices before it.
    pub fn expire_slices_through(&self, delta: &mut Delta, last: i64) {
        delta.delete_range(self.family, self.layout.slices_through(last));
    }

    /// Deletes the table as it was before the delta; rows of the delta stay.
    pub fn expire_table(&self, delta: &mut Delta) {
        delta.delete_range(self.family, self.layout.table_range());
    }

    /// Finds the rows of keys: for each that exists its position in `keys`, rising,
    /// and the values of all of these.
    ///
    /// # Errors
    /// Those of [`StateTable::write`] and of [`StateBackend::get_many`], and
    /// [`StateError::Damaged`].
    pub fn find(
        &mut self,
        backend: &dyn StateBackend,
        slice: Option<i64>,
        hashes: &[u64],
        keys: &[ArrayRef],
    ) -> Result<(Vec<usize>, Vec<ArrayRef>), StateError> {
        self.encode_keys(slice, hashes, keys)?;
        let keys: Vec<_> = self.keys.iter().collect();
        let values = &mut self.values;
        values.clear();
        let mut found = Vec::new();
        backend.get_many(self.family, &keys, &mut |position, value| {
            if let Some(value) = value {
                found.push(position);
                values.push(value);
            }
            Ok(())
        })?;
        let values: Vec<_> = self.values.iter().collect();
        Ok((found, self.value.decode(&values)?))
    }

    /// Gives `each` all rows of `vnodes`, a part of `0..VNODE_COUNT`, in key order,
    /// at most [`READ_ROWS`] at a time and only of one slice.
    ///
    /// # Errors
    /// Those of the backend, [`StateError::Damaged`], and those of `each`, which
    /// end the reading.
    pub fn read<E: From<StateError>>(
        &self,
        backend: &dyn StateBackend,
        vnodes: Range<u16>,
        mut each: impl FnMut(StateRows) -> Result<(), E>,
    ) -> Result<(), E> {
        if vnodes.is_empty() {
            return Ok(());
        }
        if !self.layout.sliced() {
            return self.read_range(backend, &self.layout.vnode_range(0, &vnodes), &mut each);
        }
        let everything = u32::from(vnodes.end - vnodes.start) >= VNODE_COUNT;
        let mut rest = self.layout.table_range();
        if everything {
            return self.read_range(backend, &rest, &mut each);
        }
        // The vnodes of a slice are one range; the next slice is looked for.
        while let Some(slice) = self.first_slice(backend, &rest)? {
            self.read_range(backend, &self.layout.vnode_range(slice, &vnodes), &mut each)?;
            rest.from = self.layout.slice_range(slice).to;
        }
        Ok(())
    }

    fn first_slice(
        &self,
        backend: &dyn StateBackend,
        range: &KeyRange,
    ) -> Result<Option<i64>, StateError> {
        let mut cursor = backend.scan(self.family, range)?;
        match cursor.next_entry()? {
            Some((key, _)) => Ok(self.layout.split(key)?.slice),
            None => Ok(None),
        }
    }

    fn read_range<E: From<StateError>>(
        &self,
        backend: &dyn StateBackend,
        range: &KeyRange,
        each: &mut impl FnMut(StateRows) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cursor = backend.scan(self.family, range)?;
        let mut batch = ReadBatch::default();
        while let Some((key, value)) = cursor.next_entry()? {
            let parts = self.layout.split(key)?;
            if batch.ends_before(parts.slice) {
                each(self.decode(&mut batch)?)?;
            }
            batch.slice = parts.slice;
            batch.hashes.extend(parts.hash);
            batch.keys.push(parts.columns);
            batch.values.push(value);
        }
        if batch.keys.is_empty() { Ok(()) } else { each(self.decode(&mut batch)?) }
    }

    /// The rows of a batch, which is empty afterwards.
    fn decode(&self, batch: &mut ReadBatch) -> Result<StateRows, StateError> {
        let slices: Vec<_> = batch.keys.iter().collect();
        let keys = self.key.decode(&slices)?;
        let slices: Vec<_> = batch.values.iter().collect();
        let values = self.value.decode(&slices)?;
        let rows = batch.keys.len();
        batch.keys.clear();
        batch.values.clear();
        let hashes = std::mem::take(&mut batch.hashes);
        Ok(StateRows { slice: batch.slice, hashes, keys, values, rows })
    }

    fn encode_keys(
        &mut self,
        slice: Option<i64>,
        hashes: &[u64],
        keys: &[ArrayRef],
    ) -> Result<(), StateError> {
        if slice.is_some() != self.layout.sliced() {
            return Err(StateError::Columns {
                expected: format!("a slice: {}", self.layout.sliced()),
                found: format!("a slice: {}", slice.is_some()),
            });
        }
        let lead = self.layout.prefix_len();
        self.key.encode_after(lead, keys, hashes.len(), &mut self.keys)?;
        for (row, hash) in hashes.iter().enumerate() {
            self.layout.write_prefix(slice.unwrap_or_default(), *hash, self.keys.row_mut(row));
        }
        Ok(())
    }
}

/// Rows on their way from the backend.
#[derive(Default, Debug)]
struct ReadBatch {
    /// Of all its rows.
    slice: Option<i64>,
    hashes: Vec<u64>,
    keys: EncodedRows,
    values: EncodedRows,
}

impl ReadBatch {
    /// A row of `slice` has no place any more.
    fn ends_before(&self, slice: Option<i64>) -> bool {
        let full = self.keys.len() == READ_ROWS
            || self.keys.byte_len() + self.values.byte_len() >= READ_BYTES;
        !self.keys.is_empty() && (full || slice != self.slice)
    }
}
