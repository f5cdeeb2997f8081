//! A promise that an epoch stays readable.

use tidemill_types::Epoch;

use super::engine::Engine;

/// Keeps the contents of all views at one epoch until it is dropped.
#[derive(Debug)]
pub struct EpochPin {
    engine: Engine,
    epoch: Epoch,
}

impl EpochPin {
    pub(super) fn new(engine: Engine, epoch: Epoch) -> Self {
        EpochPin { engine, epoch }
    }

    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Drop for EpochPin {
    fn drop(&mut self) {
        self.engine.unpin(self.epoch);
    }
}
