//! The source `nexmark` through the door that the engine uses.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use common::{connectors, options, read_from, request, shape};
use tidemill_connectors::source::Read;
use tidemill_types::{ColumnFact, ConnectorFacts, Options, SqlState};

const TABLES: [&str; 3] = ["person", "auction", "bid"];
/// 2015-07-15 00:00:00 UTC.
const BASE: i64 = 1_436_918_400_000_000;

fn table(table: &str, events: u64, splits: u64) -> Options {
    options(&[
        ("nexmark.table.type", table),
        ("nexmark.event.num", &events.to_string()),
        ("nexmark.split.num", &splits.to_string()),
    ])
}

/// All rows of one split from `ordinal` on, `columns` of them (none: all).
fn split(
    options: &Options,
    columns: &[&str],
    split: usize,
    ordinal: u64,
    batch: usize,
) -> RecordBatch {
    let shape = shape("nexmark", options, &[]);
    let request = request(&shape, columns);
    let (batches, rejected) = read_from("nexmark", &shape.options, &request, split, ordinal, batch);
    assert!(rejected.is_empty());
    let schema = Schema::new(request.columns.clone());
    concat_batches(&schema.into(), &batches).unwrap()
}

fn bigints<'a>(batch: &'a RecordBatch, column: &str) -> &'a [i64] {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values()
}

fn times<'a>(batch: &'a RecordBatch, column: &str) -> &'a [i64] {
    batch.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values()
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> Vec<&'a str> {
    batch.column_by_name(column).unwrap().as_string_view().iter().map(Option::unwrap).collect()
}

#[test]
fn the_same_whatever_columns_batches_and_positions() {
    for name in TABLES {
        let options = table(name, 20_000, 3);
        let all = split(&options, &[], 1, 0, 8192);
        let names: Vec<String> =
            all.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut state = 7u64;
        for _ in 0..40 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let draw = state >> 33;
            let columns: Vec<&str> = names
                .iter()
                .enumerate()
                .filter(|(i, _)| draw >> i & 1 == 1)
                .map(|(_, name)| name.as_str())
                .collect();
            if columns.is_empty() {
                continue;
            }
            let from = (draw >> 8) % all.num_rows() as u64;
            let batch = [1, 7, 50, 1000, 8192][(draw >> 20) as usize % 5];
            let part = split(&options, &columns, 1, from, batch);
            let from = from as usize;
            let expected = all.slice(from, all.num_rows() - from);
            for column in columns {
                assert_eq!(
                    part.column_by_name(column),
                    expected.column_by_name(column),
                    "{name}.{column} from {from} by {batch}"
                );
            }
        }
    }
}

#[test]
fn splits_together_are_the_sequence_once() {
    for (events, splits) in [(1, 1), (49, 2), (50, 2), (51, 4), (1234, 3), (5000, 7)] {
        let mut seen = BTreeMap::new();
        for (kind, name) in TABLES.iter().enumerate() {
            let options = table(name, events, splits);
            for number in 0..splits as usize {
                let rows = split(&options, &["date_time"], number, 0, 100);
                let times = times(&rows, "date_time");
                assert!(times.is_sorted());
                for time in times {
                    assert_eq!(seen.insert((time - BASE) / 100, kind), None);
                }
            }
        }
        let expected = (0..events as i64).map(|n| match n % 50 {
            0 => (n, 0),
            1..=3 => (n, 1),
            _ => (n, 2),
        });
        assert!(seen.into_iter().eq(expected), "{events} events, {splits} splits");
    }
}

#[test]
fn fifty_events_are_one_three_and_fortysix() {
    for (name, expected) in [("person", 1), ("auction", 3), ("bid", 46)] {
        let rows = split(&table(name, 50, 1), &[], 0, 0, 1000);
        assert_eq!(rows.num_rows(), expected, "{name}");
    }
}

#[test]
fn bids_have_the_benchmarks_distributions() {
    let rows = split(&table("bid", 500_000, 1), &[], 0, 0, 8192);
    let count = rows.num_rows() as f64;
    let share = |holds: &dyn Fn(usize) -> bool| {
        (0..rows.num_rows()).filter(|row| holds(*row)).count() as f64 / count
    };
    let near = |share: f64, expected: f64| (share - expected).abs() < 0.02;

    let block = |row: usize| row as i64 / 46;
    let (auction, bidder) = (bigints(&rows, "auction"), bigints(&rows, "bidder"));
    let last = |row: usize| block(row) * 3 + 2;
    // The hot one is in flight too, so a few of the others are for it as well.
    assert!(near(share(&|r| auction[r] - 1000 == last(r) / 100 * 100), 0.51));
    assert!(near(share(&|r| bidder[r] - 1000 == block(r) / 100 * 100 + 1), 0.75));
    for row in 0..rows.num_rows() {
        let (auction, bidder) = (auction[row] - 1000, bidder[row] - 1000);
        assert!((0..=last(row) + 10).contains(&auction) && auction >= last(row) - 200);
        assert!((0..=block(row) + 10).contains(&bidder) && bidder >= block(row) - 1000);
    }

    let price = bigints(&rows, "price");
    assert!(price.iter().all(|p| (100..=100_000_000).contains(p)));
    for power in 1..6 {
        let below = 100.0 * 10f64.powi(power);
        assert!(near(share(&|r| (price[r] as f64) < below), f64::from(power) / 6.0), "{power}");
    }

    let (channel, url) = (texts(&rows, "channel"), texts(&rows, "url"));
    for hot in ["Google", "Facebook", "Baidu", "Apple"] {
        assert!(near(share(&|r| channel[r] == hot), 0.125), "{hot}");
    }
    assert!(near(share(&|r| channel[r].starts_with("channel-")), 0.5));
    assert!(near(share(&|r| url[r].contains("&channel_id=")), 0.45));
    for row in 0..rows.num_rows() {
        let parts: Vec<_> = url[row].split('/').collect();
        assert_eq!(parts.len(), 7, "{}", url[row]);
        assert!(url[row].starts_with("https://www.nexmark.com/"));
        let id = url[row].split_once("&channel_id=").map(|(_, id)| id.parse::<u32>().unwrap());
        if let (Some(id), Some(number)) = (id, channel[row].strip_prefix("channel-")) {
            let number: u32 = number.parse().unwrap();
            assert_eq!(id, (number.reverse_bits() as i32).unsigned_abs());
        } else {
            assert_eq!(id, None);
        }
    }
    let extra = texts(&rows, "extra");
    let mean = extra.iter().map(|text| text.len()).sum::<usize>() as f64 / count;
    assert!((66.0..69.0).contains(&mean), "{mean}");
    assert!(extra.iter().all(|text| text.bytes().all(|b| b.is_ascii_lowercase())));
}

#[test]
fn auctions_have_the_benchmarks_distributions() {
    let rows = split(&table("auction", 1_000_000, 1), &[], 0, 0, 8192);
    let ids: Vec<i64> = (1000..1000 + rows.num_rows() as i64).collect();
    assert_eq!(bigints(&rows, "id"), ids);
    let (initial, reserve) = (bigints(&rows, "initial_bid"), bigints(&rows, "reserve"));
    let (start, expires) = (times(&rows, "date_time"), times(&rows, "expires"));
    let (seller, category) = (bigints(&rows, "seller"), bigints(&rows, "category"));
    let (item, description) = (texts(&rows, "item_name"), texts(&rows, "description"));
    let extra = texts(&rows, "extra");
    let (mut hot, mut size) = (0, 0);
    for row in 0..rows.num_rows() {
        assert!(reserve[row] >= initial[row] + 100);
        let open = expires[row] - start[row];
        // 1,666 events of 100 microseconds are 166 whole milliseconds.
        assert!((1_000..=332_000).contains(&open) && open % 1000 == 0, "{open}");
        assert!((10..15).contains(&category[row]));
        let block = row as i64 / 3;
        hot += u32::from(seller[row] == 1000 + block / 100 * 100);
        assert!((1000..=1010 + block).contains(&seller[row]));
        assert!((1..20).contains(&item[row].len()) && item[row].trim() == item[row]);
        assert!((1..100).contains(&description[row].len()));
        size += 48 + item[row].len() + description[row].len() + extra[row].len();
    }
    let count = rows.num_rows() as f64;
    assert!((0.74..0.77).contains(&(f64::from(hot) / count)));
    assert!((490.0..510.0).contains(&(size as f64 / count)));
}

#[test]
fn persons_have_the_benchmarks_distributions() {
    let rows = split(&table("person", 500_000, 1), &[], 0, 0, 8192);
    let ids: Vec<i64> = (1000..1000 + rows.num_rows() as i64).collect();
    assert_eq!(bigints(&rows, "id"), ids);
    let columns = ["name", "email_address", "credit_card", "city", "state", "extra"];
    let texts: Vec<_> = columns.iter().map(|name| texts(&rows, name)).collect();
    let distinct =
        |column: usize| texts[column].iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((distinct(0), distinct(3), distinct(4)), (99, 10, 6));
    for card in &texts[2] {
        let groups: Vec<_> = card.split(' ').collect();
        assert!(groups.len() == 4 && groups.iter().all(|g| g.len() == 4), "{card}");
    }
    assert!(texts[1].iter().all(|email| email.contains('@') && email.ends_with(".com")));
    let size: usize = texts.iter().flatten().map(|text| text.len()).sum();
    let mean = 8.0 + size as f64 / rows.num_rows() as f64;
    assert!((195.0..205.0).contains(&mean), "{mean}");
}

#[test]
fn the_combined_table_is_the_three() {
    let combined = options(&[("nexmark.event.num", "2345"), ("nexmark.split.num", "2")]);
    for number in 0..2 {
        let rows = split(&combined, &[], number, 0, 333);
        let kinds = rows.column(0).as_primitive::<Int32Type>().values().to_vec();
        for (kind, name) in TABLES.iter().enumerate() {
            let structs: &StructArray = rows.column_by_name(name).unwrap().as_struct();
            for (row, of) in kinds.iter().enumerate() {
                assert_eq!(structs.is_valid(row), *of == kind as i32);
            }
            let keep: arrow::array::BooleanArray =
                kinds.iter().map(|of| Some(*of == kind as i32)).collect();
            let own = arrow::compute::filter(structs, &keep).unwrap();
            let single = split(&table(name, 2345, 2), &[], number, 0, 8192);
            assert_eq!(own.as_struct().columns(), single.columns(), "{name}");
        }
        assert!(times(&rows, "date_time").is_sorted());
    }
    // A batch of a block's person alone, whose other structs have no rows at all.
    assert_eq!(split(&combined, &[], 0, 0, 1), split(&combined, &[], 0, 0, 1000));
}

fn column(name: &str, data_type: DataType) -> ColumnFact {
    ColumnFact { name: name.to_string(), data_type, nullable: true }
}

#[test]
fn declared_columns_are_found_by_either_spelling() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let declared = [column("dateTime", micros), column("PRICE", DataType::Int32)];
    let shape = shape("nexmark", &table("bid", 50, 1), &declared);
    assert_eq!(shape.physical_names, ["date_time", "price"]);
    let watermark = shape.default_watermark.as_ref().unwrap();
    assert_eq!((watermark.column.as_str(), watermark.delay), ("dateTime", 4_000_000));
    assert!(shape.bounded);
    let request = request(&shape, &[]);
    let (batches, rejected) = read_from("nexmark", &shape.options, &request, 0, 0, 100);
    assert_eq!(batches[0].schema().field(1).data_type(), &DataType::Int32);
    assert!(rejected.is_empty() && batches[0].num_rows() == 46);
}

#[test]
fn values_that_do_not_fit_the_declared_type_are_rejected() {
    let declared = [ColumnFact { nullable: false, ..column("price", DataType::Int16) }];
    let shape = shape("nexmark", &table("bid", 5_000, 1), &declared);
    let request = request(&shape, &[]);
    let (batches, rejected) = read_from("nexmark", &shape.options, &request, 0, 0, 1000);
    let decoded: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(decoded + rejected.len(), 4_600);
    let all = split(&table("bid", 5_000, 1), &["price"], 0, 0, 1000);
    let misfits = bigints(&all, "price").iter().filter(|p| i16::try_from(**p).is_err()).count();
    assert_eq!(rejected.len(), misfits);
    assert_eq!(rejected[0].reason, "column price: out of range of smallint");
}

#[test]
fn wrong_declarations_are_refused() {
    let connectors = connectors(&[]);
    let refused = |declared: ColumnFact| {
        connectors.source_shape("nexmark", &table("bid", 50, 1), &[declared]).unwrap_err()
    };
    let error = refused(column("auktion", DataType::Int64));
    assert_eq!(error.state, SqlState::UNDEFINED_COLUMN);
    assert!(error.hint.unwrap().contains("\"auction\""));
    let error = refused(column("price", DataType::Utf8View));
    assert_eq!(error.state, SqlState::DATATYPE_MISMATCH);
    assert!(error.message.contains("is bigint, not text"), "{error}");
    for (name, value) in [
        ("nexmark.table.type", "bids"),
        ("nexmark.split.num", "0"),
        ("nexmark.event.num", "-1"),
        ("nexmark.base.time", "yesterday"),
        ("nexmark.base.time", "20000-01-01"),
        ("nexmark.event.nun", "1"),
    ] {
        let error =
            connectors.source_shape("nexmark", &options(&[(name, value)]), &[]).unwrap_err();
        assert_eq!(error.state, SqlState::INVALID_PARAMETER_VALUE, "{name} = {value}");
        assert!(error.hint.is_some());
    }
}

#[test]
fn a_rate_releases_events_by_the_clock() {
    let options = options(&[
        ("nexmark.table.type", "bid"),
        ("nexmark.event.rate", "1000"),
        ("nexmark.split.num", "1"),
    ]);
    let shape = shape("nexmark", &options, &[]);
    assert!(!shape.bounded);
    let request = request(&shape, &["price"]);
    let source = connectors(&[]).open_source("nexmark", &shape.options).unwrap();
    // Opened in the middle and at any time of the clock: counted from there.
    for (from, start) in [(0, 0), (46_000, 1_700_000_000_000_000)] {
        let mut reader = source.open(0, from, &request).unwrap();
        let mut read = |now: i64| match reader.read(100_000, start + now).unwrap() {
            Read::Records(records) => Ok(records.end - from),
            Read::Pending { ready_at } => Err(ready_at.map(|at| at - start)),
            Read::End => panic!("the sequence does not end"),
        };
        assert_eq!(read(0), Ok(1));
        assert_eq!(read(0), Err(Some(5_000)));
        assert_eq!(read(999), Err(Some(5_999)));
        // A thousand events are 20 blocks of 46 bids.
        assert_eq!(read(1_000_000), Ok(20 * 46 + 1));
        assert_eq!(read(500_000), Err(Some(1_001_000)));
        assert_eq!(read(10_000_000), Ok(200 * 46 + 1));
    }
}

#[test]
fn what_others_have_read_is_not_held_back() {
    let options = options(&[
        ("nexmark.table.type", "bid"),
        ("nexmark.event.rate", "1000"),
        ("nexmark.split.num", "1"),
    ]);
    let shape = shape("nexmark", &options, &[]);
    let request = request(&shape, &["price"]);
    let source = connectors(&[]).open_source("nexmark", &shape.options).unwrap();
    let mut reader = source.open(0, 0, &request).unwrap();
    reader.released_before(5_000);
    let mut read = |now: i64| match reader.read(3_000, now).unwrap() {
        Read::Records(records) => Some(records.end),
        _ => None,
    };
    assert_eq!([read(0), read(0)], [Some(3_000), Some(5_000)]);
    // From there on by the clock, which starts now.
    assert_eq!([read(0), read(0)], [Some(5_001), None]);
    assert_eq!(read(1_000_000), Some(5_000 + 20 * 46 + 1));
}
