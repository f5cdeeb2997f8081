//! What a table's columns are and how one is generated.
//!
//! A column is a name, a type and a function from event numbers to an array. The
//! functions never see each other's results: a column that another depends on
//! (an auction's `expires` on its `date_time`) is computed again from the event
//! number, so any subset of columns gives the same values.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::random::Prices;
use super::sequence::{Run, Sequence, Table};
use super::words::{Words, words};
use super::{auction, bid, combined, person};

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub generate: fn(&Rows<'_>) -> ArrayRef,
}

/// A column's type.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Int,
    Bigint,
    Timestamp,
    Text,
    /// The columns of a table, null in rows of other tables.
    Struct(Table),
}

impl Kind {
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Int => DataType::Int32,
            Kind::Bigint => DataType::Int64,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Text => DataType::Utf8View,
            Kind::Struct(table) => DataType::Struct(fields(table)),
        }
    }

    #[must_use]
    pub fn nullable(self) -> bool {
        matches!(self, Kind::Struct(_))
    }
}

/// The columns of a table, in the benchmark's order.
#[must_use]
pub fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Person => person::COLUMNS,
        Table::Auction => auction::COLUMNS,
        Table::Bid => bid::COLUMNS,
        Table::All => combined::COLUMNS,
    }
}

/// The fields of a table's struct; nullable as SQL's composite types are.
#[must_use]
pub fn fields(table: Table) -> Fields {
    columns(table).iter().map(|c| Field::new(c.name, c.kind.data_type(), true)).collect()
}

/// The events that arrays are to be generated for.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub runs: &'a [Run],
    /// Sum of the runs' lengths.
    pub count: usize,
    pub sequence: &'a Sequence,
    pub prices: &'a Prices,
    pub words: &'static Words,
}

impl<'a> Rows<'a> {
    #[must_use]
    pub fn new(runs: &'a [Run], sequence: &'a Sequence, prices: &'a Prices) -> Self {
        let count = runs.iter().map(|r| r.len as usize).sum();
        Rows { runs, count, sequence, prices, words: words() }
    }

    /// One value per event; `values` is asked once per run, so that whatever is
    /// constant within a block is computed once for it.
    #[inline]
    pub fn collect<T, I: Iterator<Item = T>>(&self, values: impl Fn(Run) -> I) -> Vec<T> {
        let mut out = Vec::with_capacity(self.count);
        for run in self.runs {
            out.extend(values(*run));
        }
        out
    }

    /// A `bigint` column.
    #[inline]
    pub fn bigints<I: Iterator<Item = i64>>(&self, values: impl Fn(Run) -> I) -> ArrayRef {
        Arc::new(Int64Array::from(self.collect(values)))
    }

    /// A `timestamp` column.
    #[inline]
    pub fn timestamps<I: Iterator<Item = i64>>(&self, values: impl Fn(Run) -> I) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(self.collect(values)))
    }
}

/// The column `date_time` of every table: the event's own time.
pub fn date_time(rows: &Rows<'_>) -> ArrayRef {
    rows.timestamps(|run| run.events().map(|n| rows.sequence.time(n)))
}
