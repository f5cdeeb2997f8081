//! The table `auction`.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::columns::{Column, Kind, Rows, date_time};
use super::live::{FIRST_AUCTION, FIRST_PERSON, Live};
use super::random::{Draw, below, random};
use super::sequence::{AUCTIONS, BLOCK, PERSONS};
use super::words::{PLACES, extra_len, pick, text_len};

const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: u64 = 5;
/// One of 4 sellers is anyone, the others are the hot one.
const COLD_SELLER: u64 = 4 - 1;
/// An auction stays open for about as long as it takes for so many events to
/// happen: the auctions in flight, times the events per auction.
const OPEN_EVENTS: u64 = 100 * BLOCK / AUCTIONS;
const MICROS_PER_MILLI: i64 = 1000;
/// Average bytes of an auction, and those of its columns that are not texts.
const SIZE: u64 = 500;
const FIXED_SIZE: u64 = 48;

pub const COLUMNS: &[Column] = &[
    Column { name: "id", kind: Kind::Bigint, generate: id },
    Column { name: "item_name", kind: Kind::Text, generate: item_name },
    Column { name: "description", kind: Kind::Text, generate: description },
    Column { name: "initial_bid", kind: Kind::Bigint, generate: initial_bid },
    Column { name: "reserve", kind: Kind::Bigint, generate: reserve },
    Column { name: "date_time", kind: Kind::Timestamp, generate: date_time },
    Column { name: "expires", kind: Kind::Timestamp, generate: expires },
    Column { name: "seller", kind: Kind::Bigint, generate: seller },
    Column { name: "category", kind: Kind::Bigint, generate: category },
    Column { name: "extra", kind: Kind::Text, generate: extra },
];

fn id(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| {
        let first = (run.block * AUCTIONS) as i64 + FIRST_AUCTION;
        let block_start = run.block * BLOCK + PERSONS;
        run.events().map(move |n| first + (n - block_start) as i64)
    })
}

fn place(n: u64, draw: Draw) -> u32 {
    below(random(n, draw), PLACES) as u32
}

fn item_name(rows: &Rows<'_>) -> ArrayRef {
    let places = rows.collect(|run| run.events().map(|n| place(n, Draw::AuctionItem)));
    pick(&rows.words.item_names, places)
}

fn description(rows: &Rows<'_>) -> ArrayRef {
    let places = rows.collect(|run| run.events().map(|n| place(n, Draw::AuctionDescription)));
    pick(&rows.words.descriptions, places)
}

fn initial_bid_of(rows: &Rows<'_>, n: u64) -> i64 {
    rows.prices.price(random(n, Draw::AuctionInitialBid))
}

fn initial_bid(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| run.events().map(|n| initial_bid_of(rows, n)))
}

fn reserve(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| {
        run.events()
            .map(|n| initial_bid_of(rows, n) + rows.prices.price(random(n, Draw::AuctionReserve)))
    })
}

/// A whole number of milliseconds after the start, up to twice the usual length.
fn expires(rows: &Rows<'_>) -> ArrayRef {
    rows.timestamps(|run| {
        run.events().map(|n| {
            let start = rows.sequence.time(n);
            let usual = (rows.sequence.time(n + OPEN_EVENTS) - start) / MICROS_PER_MILLI;
            let most = (2 * usual).clamp(1, i64::from(u32::MAX)) as u64;
            let millis = 1 + below(random(n, Draw::AuctionLength), most) as i64;
            start + millis * MICROS_PER_MILLI
        })
    })
}

fn seller(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| {
        let live = Live::persons(run.block);
        run.events()
            .map(move |n| FIRST_PERSON + live.pick(random(n, Draw::AuctionSeller), COLD_SELLER, 0))
    })
}

fn category(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| {
        run.events()
            .map(|n| FIRST_CATEGORY + below(random(n, Draw::AuctionCategory), CATEGORIES) as i64)
    })
}

fn extra(rows: &Rows<'_>) -> ArrayRef {
    let len = |list, n, draw| text_len(list, place(n, draw));
    let mut texts = rows.words.letter_texts(rows.count);
    for n in rows.runs.iter().flat_map(|run| run.events()) {
        let taken = FIXED_SIZE
            + len(&rows.words.item_names, n, Draw::AuctionItem)
            + len(&rows.words.descriptions, n, Draw::AuctionDescription);
        let number = random(n, Draw::AuctionExtra);
        texts.push(number.rotate_left(32), extra_len(number, SIZE - taken));
    }
    Arc::new(texts.finish())
}
