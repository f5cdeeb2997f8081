//! Who and what can be referred to at a point of the sequence.
//!
//! Sellers and bidders are among the 1,000 latest persons, bids are for one of the
//! 100 latest auctions; a few ids run ahead of those that exist, as in the
//! reference generator. Every hundredth person or auction is **hot** while it is
//! among the latest hundred, and most references go to the hot one.

use super::random::below;
use super::sequence::AUCTIONS;

pub const FIRST_PERSON: i64 = 1000;
pub const FIRST_AUCTION: i64 = 1000;

const ACTIVE_PERSONS: u64 = 1000;
const IN_FLIGHT_AUCTIONS: u64 = 100;
/// How far references run ahead of the latest person or auction.
const LEAD: u64 = 10;
/// One of so many persons and auctions is hot.
const HOT_SPACING: u64 = 100;

/// Ids, counted from 0, that an event of block `block` may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    first: u64,
    span: u64,
    hot: u64,
}

impl Live {
    /// Persons; there is one per block, the first event.
    #[inline]
    #[must_use]
    pub fn persons(block: u64) -> Self {
        let count = block + 1;
        let active = count.min(ACTIVE_PERSONS);
        Live { first: count - active, span: active + LEAD, hot: block / HOT_SPACING * HOT_SPACING }
    }

    /// Auctions, after the last one of the block.
    #[inline]
    #[must_use]
    pub fn auctions(block: u64) -> Self {
        let last = block * AUCTIONS + AUCTIONS - 1;
        let first = last.saturating_sub(IN_FLIGHT_AUCTIONS);
        Live { first, span: last - first + 1 + LEAD, hot: last / HOT_SPACING * HOT_SPACING }
    }

    /// The hot one, moved by `shift`, unless the low bits of `random` under
    /// `cold_mask` are all zero; any one then.
    #[inline]
    #[must_use]
    pub fn pick(self, random: u64, cold_mask: u64, shift: u64) -> i64 {
        let any = self.first + below(random, self.span);
        let chosen = if random & cold_mask == 0 { any } else { self.hot + shift };
        chosen as i64
    }
}
