//! The source `nexmark`: the auction benchmark's events, generated.
//!
//! One deterministic sequence of persons, auctions and bids with the reference
//! generator's proportions, hot keys, prices and texts. A source of bids and a
//! source of auctions over the same options are two views of the same sequence,
//! so they can be joined. Events are pure functions of their numbers
//! ([`random`]), so splits, columns and positions are independent of each other,
//! and columns that no query reads are not generated.
//!
//! What differs from the reference generator: event times have microseconds, and
//! random texts are drawn from long lists ([`words`]). Individual values are
//! therefore not the reference's; their distributions are.

mod auction;
mod bid;
mod columns;
mod combined;
mod live;
mod person;
mod random;
mod reader;
mod sequence;
mod words;

use std::sync::Arc;

use arrow::datatypes::DataType;
use tidemill_types::{
    ColumnFact, Diagnostic, OptionFact, OptionKind, Options, SourceShape, SqlState, WatermarkFact,
};

use crate::columns::{convertible, sql_name};
use crate::error::ConnectorError;
use crate::options::{Checked, bad_value};
use crate::source::{ReadRequest, Source, Split, SplitReader};
use columns::{Column, columns as columns_of};
use random::Prices;
use reader::{Output, Reader, Throttle};
use sequence::{Layout, Sequence, Table};
use tidemill_types::names;

/// The connector's name.
pub const NAME: &str = "nexmark";

const OWNER: &str = "connector \"nexmark\"";
const TABLE_TYPE: &str = "nexmark.table.type";
const EVENT_NUM: &str = "nexmark.event.num";
const EVENT_GAP: &str = "nexmark.event.gap.ns";
const EVENT_RATE: &str = "nexmark.event.rate";
const BASE_TIME: &str = "nexmark.base.time";
const SPLIT_NUM: &str = "nexmark.split.num";

/// How far the default watermark stays behind, in microseconds.
const WATERMARK_DELAY: i64 = 4_000_000;

/// What the connector understands.
pub const OPTIONS: &[OptionFact] = &[
    OptionFact {
        name: TABLE_TYPE,
        kind: OptionKind::OneOf(&["person", "auction", "bid"]),
        required: false,
        default: None,
        doc: "Which events to read. Without it all of them, one row each, with the columns \
              event_type (0 person, 1 auction, 2 bid), person, auction, bid (composite, the two \
              others NULL) and date_time",
    },
    OptionFact {
        name: EVENT_NUM,
        kind: OptionKind::Integer { min: 0, max: i64::MAX },
        required: false,
        default: Some("0"),
        doc: "Number of events of the whole sequence, of all kinds; 0: it does not end",
    },
    OptionFact {
        name: EVENT_GAP,
        kind: OptionKind::Integer { min: 1, max: 1_000_000_000 },
        required: false,
        default: Some("100000"),
        doc: "Nanoseconds of event time between two events of the sequence",
    },
    OptionFact {
        name: BASE_TIME,
        kind: OptionKind::Timestamp,
        required: false,
        default: Some("2015-07-15 00:00:00"),
        doc: "Event time of the first event",
    },
    OptionFact {
        name: EVENT_RATE,
        kind: OptionKind::Integer { min: 0, max: 1_000_000_000 },
        required: false,
        default: Some("0"),
        doc: "Events per second of the whole sequence by the clock; 0: as fast as they are read",
    },
    OptionFact {
        name: SPLIT_NUM,
        kind: OptionKind::Integer { min: 1, max: 1024 },
        required: false,
        default: Some("4"),
        doc: "Number of splits that the events are dealt to, in blocks of 50",
    },
];

/// What a source with these options delivers.
pub fn shape(options: &Options, declared: &[ColumnFact]) -> Result<SourceShape, Diagnostic> {
    let (checked, config) = configure(options)?;
    let offered = columns_of(config.table);
    let native: Vec<ColumnFact> = offered.iter().map(native).collect();
    let chosen: Vec<(ColumnFact, ColumnFact)> = match declared {
        [] => native.iter().map(|fact| (fact.clone(), fact.clone())).collect(),
        _ => declared
            .iter()
            .map(|fact| Ok((fact.clone(), resolve(fact, &native)?)))
            .collect::<Result<_, Diagnostic>>()?,
    };
    let time = chosen.iter().find(|(user, own)| {
        own.name == "date_time" && matches!(user.data_type, DataType::Timestamp(..))
    });
    Ok(SourceShape {
        default_watermark: time
            .map(|(user, _)| WatermarkFact { column: user.name.clone(), delay: WATERMARK_DELAY }),
        physical_names: chosen.iter().map(|(_, own)| own.name.clone()).collect(),
        columns: chosen.into_iter().map(|(user, _)| user).collect(),
        loose_names: true,
        bounded: config.bounded,
        options: checked.complete().clone(),
    })
}

/// Opens a source.
pub fn open(options: &Options) -> Result<Arc<dyn Source>, ConnectorError> {
    let (_, config) = configure(options).map_err(ConnectorError::Options)?;
    Ok(Arc::new(Nexmark { config, prices: Arc::new(Prices::new()) }))
}

/// The options, typed.
#[derive(Clone, Debug)]
struct Config {
    table: Table,
    sequence: Sequence,
    splits: u64,
    /// Events per second, 0 for no limit.
    rate: u64,
    bounded: bool,
}

fn configure(options: &Options) -> Result<(Checked, Config), Diagnostic> {
    let checked = Checked::new(OWNER, OPTIONS, options)?;
    let count = |name| checked.count(name).expect("the option is a count with a default");
    let base = checked.micros(BASE_TIME).expect("the option is a timestamp with a default");
    let events = count(EVENT_NUM);
    let sequence = Sequence::new(base, count(EVENT_GAP), events).ok_or_else(|| {
        let text = &checked.complete()[BASE_TIME];
        bad_value(BASE_TIME, text, "a time of the years up to 9999")
    })?;
    let table = match checked.text(TABLE_TYPE) {
        Some("person") => Table::Person,
        Some("auction") => Table::Auction,
        Some("bid") => Table::Bid,
        _ => Table::All,
    };
    let config = Config {
        table,
        sequence,
        splits: count(SPLIT_NUM),
        rate: count(EVENT_RATE),
        bounded: events > 0,
    };
    Ok((checked, config))
}

fn native(column: &Column) -> ColumnFact {
    ColumnFact {
        name: column.name.to_string(),
        data_type: column.kind.data_type(),
        nullable: column.kind.nullable(),
    }
}

/// The connector's column that a declared one means.
fn resolve(declared: &ColumnFact, native: &[ColumnFact]) -> Result<ColumnFact, Diagnostic> {
    let Some(own) = native.iter().find(|own| names::same(&own.name, &declared.name)) else {
        let offered: Vec<&str> = native.iter().map(|own| own.name.as_str()).collect();
        let message = format!("{OWNER} has no column \"{}\"", declared.name);
        return Err(Diagnostic::new(SqlState::UNDEFINED_COLUMN, message).with_hint(names::hint(
            &declared.name,
            "columns",
            &offered,
        )));
    };
    if !convertible(&own.data_type, &declared.data_type) {
        let wanted = sql_name(&own.data_type);
        let given = sql_name(&declared.data_type);
        let message = format!("column \"{}\" of {OWNER} is {wanted}, not {given}", declared.name);
        return Err(Diagnostic::new(SqlState::DATATYPE_MISMATCH, message)
            .with_hint(format!("Declare it as {wanted}, or leave out all columns.")));
    }
    if own.nullable && !declared.nullable {
        let message = format!("column \"{}\" of {OWNER} can be NULL", declared.name);
        return Err(Diagnostic::new(SqlState::INVALID_COLUMN_DEFINITION, message)
            .with_hint("Leave out NOT NULL."));
    }
    Ok(own.clone())
}

/// An opened source.
#[derive(Debug)]
struct Nexmark {
    config: Config,
    prices: Arc<Prices>,
}

impl Source for Nexmark {
    fn splits(&self) -> Result<Vec<Split>, ConnectorError> {
        Ok((0..self.config.splits).map(|i| Split { name: i.to_string() }).collect())
    }

    fn open(
        &self,
        split: usize,
        ordinal: u64,
        request: &Arc<ReadRequest>,
    ) -> Result<Box<dyn SplitReader>, ConnectorError> {
        let config = &self.config;
        let layout = Layout { table: config.table, split: split as u64, splits: config.splits };
        if layout.split >= layout.splits {
            let message = format!("{OWNER} has {} splits, no number {split}", layout.splits);
            return Err(ConnectorError::Options(Diagnostic::internal(message)));
        }
        let output = Output::new(columns_of(config.table), request)?;
        let throttle = (config.rate > 0).then(|| Throttle::new(config.rate));
        let sequence = config.sequence.clone();
        Ok(Box::new(Reader::new(layout, sequence, self.prices.clone(), output, throttle, ordinal)))
    }
}
