//! All events as one table: a kind, one struct of the three, and the time.
//!
//! A struct's children are generated for the events of its table only and then
//! spread over the rows, null elsewhere.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StructArray, UInt32Array};
use arrow::compute::take;

use super::columns::{Column, Kind, Rows, columns, date_time, fields};
use super::sequence::{BLOCK, Run, Table};

pub const COLUMNS: &[Column] = &[
    Column { name: "event_type", kind: Kind::Int, generate: event_type },
    Column { name: "person", kind: Kind::Struct(Table::Person), generate: person },
    Column { name: "auction", kind: Kind::Struct(Table::Auction), generate: auction },
    Column { name: "bid", kind: Kind::Struct(Table::Bid), generate: bid },
    Column { name: "date_time", kind: Kind::Timestamp, generate: date_time },
];

/// The table of the event at `offset` of its block.
fn kind_at(offset: u64) -> i32 {
    [Table::Person, Table::Auction, Table::Bid]
        .iter()
        .position(|table| table.offsets().contains(&offset))
        .map_or(0, |position| position as i32)
}

fn event_type(rows: &Rows<'_>) -> ArrayRef {
    let kinds: [i32; BLOCK as usize] = std::array::from_fn(|offset| kind_at(offset as u64));
    let values = rows.collect(|run| run.events().map(|n| kinds[(n % BLOCK) as usize]));
    Arc::new(Int32Array::from(values))
}

fn person(rows: &Rows<'_>) -> ArrayRef {
    spread(rows, Table::Person)
}

fn auction(rows: &Rows<'_>) -> ArrayRef {
    spread(rows, Table::Auction)
}

fn bid(rows: &Rows<'_>) -> ArrayRef {
    spread(rows, Table::Bid)
}

/// The struct of `table`, null in rows of other tables.
fn spread(rows: &Rows<'_>, table: Table) -> ArrayRef {
    let runs: Vec<Run> = rows.runs.iter().filter_map(|run| within(*run, table)).collect();
    let own = Rows::new(&runs, rows.sequence, rows.prices);
    let children = columns(table).iter().map(|column| (column.generate)(&own)).collect();
    let structs = StructArray::try_new_with_length(fields(table), children, None, own.count)
        .expect("every column has one value per event");
    let offsets = table.offsets();
    let mut next = 0;
    let places: UInt32Array = rows
        .runs
        .iter()
        .flat_map(|run| run.events())
        .map(|n| {
            let owned = offsets.contains(&(n % BLOCK));
            let place = owned.then_some(next);
            next += u32::from(owned);
            place
        })
        .collect();
    take(&structs, &places, None).expect("places are below the number of structs")
}

/// The part of a run that belongs to `table`.
fn within(run: Run, table: Table) -> Option<Run> {
    let offsets = table.offsets();
    let start = run.block * BLOCK;
    let first = run.first.max(start + offsets.start);
    let end = (run.first + run.len).min(start + offsets.end);
    (first < end).then(|| Run { block: run.block, first, len: end - first })
}
