//! The table `bid`.

use arrow::array::ArrayRef;

use super::columns::{Column, Kind, Rows, date_time};
use super::live::{FIRST_AUCTION, FIRST_PERSON, Live};
use super::random::{Draw, below, random};
use super::words::{CHANNELS, HOT_CHANNELS, PLACES, pick};

/// One of 2 bids is for any auction, the others for the hot one.
const COLD_AUCTION: u64 = 2 - 1;
/// One of 4 bidders is anyone, the others are the hot one.
const COLD_BIDDER: u64 = 4 - 1;
/// Hot bidders are the neighbours of hot sellers, not the same persons.
const HOT_BIDDER_SHIFT: u64 = 1;

pub const COLUMNS: &[Column] = &[
    Column { name: "auction", kind: Kind::Bigint, generate: auction },
    Column { name: "bidder", kind: Kind::Bigint, generate: bidder },
    Column { name: "price", kind: Kind::Bigint, generate: price },
    Column { name: "channel", kind: Kind::Text, generate: channel },
    Column { name: "url", kind: Kind::Text, generate: url },
    Column { name: "date_time", kind: Kind::Timestamp, generate: date_time },
    Column { name: "extra", kind: Kind::Text, generate: extra },
];

fn auction(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| {
        let live = Live::auctions(run.block);
        run.events()
            .map(move |n| FIRST_AUCTION + live.pick(random(n, Draw::BidAuction), COLD_AUCTION, 0))
    })
}

fn bidder(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| {
        let live = Live::persons(run.block);
        run.events().map(move |n| {
            FIRST_PERSON + live.pick(random(n, Draw::BidBidder), COLD_BIDDER, HOT_BIDDER_SHIFT)
        })
    })
}

fn price(rows: &Rows<'_>) -> ArrayRef {
    rows.bigints(|run| run.events().map(|n| rows.prices.price(random(n, Draw::BidPrice))))
}

/// Half of the bids come through a hot channel, any of which is as likely.
fn channel_places(rows: &Rows<'_>) -> Vec<u32> {
    rows.collect(|run| {
        run.events().map(|n| {
            let number = random(n, Draw::BidChannel);
            let hot = below(number, HOT_CHANNELS);
            let cold = HOT_CHANNELS + below(number, CHANNELS);
            (if number & 1 == 0 { cold } else { hot }) as u32
        })
    })
}

fn channel(rows: &Rows<'_>) -> ArrayRef {
    pick(&rows.words.channels, channel_places(rows))
}

fn url(rows: &Rows<'_>) -> ArrayRef {
    pick(&rows.words.urls, channel_places(rows))
}

fn extra(rows: &Rows<'_>) -> ArrayRef {
    let place = |n| below(random(n, Draw::BidExtra), PLACES) as u32;
    pick(&rows.words.bid_extras, rows.collect(|run| run.events().map(place)))
}
