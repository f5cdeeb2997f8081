//! Chance that is handed in: jitter, faults of the simulated disk, names that
//! must not be drawn twice.
//!
//! Nothing in this crate asks the system for randomness in passing. What needs
//! chance holds a [`Chance`]; a test or a simulation seeds it and sees the same run
//! again. The generator is SplitMix64: small, fast, not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A seeded generator. The same seed gives the same numbers in every version.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The generator that `seed` names.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator seeded by the system, different in every process.
    #[must_use]
    pub fn from_system() -> Self {
        Self::seeded(system_number())
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias is below 2^-32 for every bound that is used here.
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True with probability one half.
    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// True `per_mille` times in a thousand.
    pub fn per_mille(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}

/// 128 bits that no other process draws, for names that must be unique.
#[must_use]
pub(crate) fn unique_number() -> u128 {
    (u128::from(system_number()) << 64) | u128::from(system_number())
}

/// 64 bits from the keys that the standard library draws for its hash maps.
fn system_number() -> u64 {
    let marker: Box<u8> = Box::new(0);
    RandomState::new().hash_one((std::process::id(), std::ptr::from_ref(&*marker) as usize))
}
