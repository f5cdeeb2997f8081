//! Chance as a pure function.
//!
//! A generator with a state would tie a value to the values drawn before it. Here
//! a random number is a hash of (event number, field), so any event, any column
//! and any order of reading give the same sequence, and a whole column is one
//! loop without dependencies between rows.

/// What a random number is for: numbers of different purposes are independent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Draw {
    PersonName,
    PersonEmail,
    PersonEmailLetters,
    PersonCard,
    PersonCity,
    PersonState,
    PersonExtra,
    AuctionItem,
    AuctionDescription,
    AuctionInitialBid,
    AuctionReserve,
    AuctionLength,
    AuctionSeller,
    AuctionCategory,
    AuctionExtra,
    BidAuction,
    BidBidder,
    BidPrice,
    BidChannel,
    BidExtra,
    Letters,
    Phrases,
    Urls,
    ExtraPlaces,
    PhrasePlaces,
}

/// A uniform 64-bit number for `draw` of event (or item) `number`: the finalizer
/// of splitmix64 over a counter. `number` is below 2^56.
#[inline]
#[must_use]
pub fn random(number: u64, draw: Draw) -> u64 {
    let counter = number | (draw as u64) << 56;
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in `0 .. bound` from the upper half of `random`, so that the lower
/// half stays free for a decision; `bound` is at most 2^32.
#[inline]
#[must_use]
pub fn below(random: u64, bound: u64) -> u64 {
    ((random >> 32) * bound) >> 32
}

/// Steps of the table of prices.
const PRICE_STEPS: usize = 1 << PRICE_STEP_BITS;
const PRICE_STEP_BITS: u32 = 10;

/// Prices: `100 * 10^(6 u)` for uniform `u`, by linear interpolation between 1,024
/// exact points (off by at most 2.3e-5 of the value). Only additions and
/// multiplications of IEEE doubles, so the same on every machine.
#[derive(Debug)]
pub struct Prices {
    points: [f64; PRICE_STEPS + 1],
}

impl Prices {
    #[must_use]
    pub fn new() -> Self {
        let step = exp_small(6.0 * std::f64::consts::LN_10 / PRICE_STEPS as f64);
        let mut points = [0.0; PRICE_STEPS + 1];
        let mut value = 100.0;
        for point in &mut points {
            *point = value;
            value *= step;
        }
        Prices { points }
    }

    /// The price, in cents, that a random number stands for.
    #[inline]
    #[must_use]
    pub fn price(&self, random: u64) -> i64 {
        const FRACTION_BITS: u32 = 32;
        let step = (random >> (64 - PRICE_STEP_BITS)) as usize;
        let fraction = (random >> (64 - PRICE_STEP_BITS - FRACTION_BITS)) as u32;
        let fraction = f64::from(fraction) * (1.0 / (1u64 << FRACTION_BITS) as f64);
        let (low, high) = (self.points[step], self.points[step + 1]);
        (low + (high - low) * fraction + 0.5) as i64
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self::new()
    }
}

/// `e^x` for small `x`, by its series.
fn exp_small(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..16 {
        term *= x / f64::from(n);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_follow_the_formula() {
        let prices = Prices::new();
        for i in 0..10_000u64 {
            let random = random(i, Draw::BidPrice);
            let u = (random >> 11) as f64 / (1u64 << 53) as f64;
            let exact = 100.0 * 10f64.powf(6.0 * u);
            let error = (prices.price(random) as f64 - exact).abs();
            assert!(error <= 1.0 + 3e-5 * exact, "{u}: {exact}");
        }
        assert_eq!(prices.price(0), 100);
        assert_eq!(prices.price(u64::MAX), 100_000_000);
    }

    #[test]
    fn draws_are_uniform_and_independent() {
        let mut counts = [0u32; 16];
        let mut agree = 0;
        for i in 0..160_000 {
            let (a, b) = (random(i, Draw::BidAuction), random(i, Draw::BidBidder));
            counts[below(a, 16) as usize] += 1;
            agree += u32::from(a & 1 == b & 1);
        }
        assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
        assert!((79_000..81_000).contains(&agree), "{agree}");
    }
}
