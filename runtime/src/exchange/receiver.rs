//! The consuming side of an exchange: merges rings and aligns barriers.

use tidemill_types::{ChangeBatch, EventTime, WATERMARK_END};

use super::ring::{Message, RingReceiver};
use crate::operators::Barrier;

/// What an exchange has for its consumer.
#[derive(Debug)]
pub enum Received {
    Batch(ChangeBatch),
    /// Every ring has reached this barrier.
    Barrier(Barrier),
    /// Nothing at the moment.
    Idle,
}

/// Two rings of one exchange delivered barriers of different epochs.
#[derive(Debug, thiserror::Error)]
#[error("barriers of epochs {0} and {1} met in one exchange")]
pub struct MisalignedBarriers(u64, u64);

/// Reads the rings of one exchange that end at this instance.
#[derive(Debug)]
pub struct ExchangeReceiver {
    rings: Vec<RingReceiver>,
    held: Vec<Option<Barrier>>,
    next: usize,
}

impl ExchangeReceiver {
    #[must_use]
    pub fn new(rings: Vec<RingReceiver>) -> Self {
        let held = rings.iter().map(|_| None).collect();
        ExchangeReceiver { rings, held, next: 0 }
    }

    /// The next batch or the aligned barrier. A ring that has delivered the
    /// barrier is not read again until all have.
    pub fn poll(&mut self) -> Result<Received, MisalignedBarriers> {
        for _ in 0..self.rings.len() {
            let i = self.next;
            self.next = (self.next + 1) % self.rings.len();
            if self.held[i].is_some() {
                continue;
            }
            match self.rings[i].try_receive() {
                Some(Message::Batch(batch)) => return Ok(Received::Batch(batch)),
                Some(Message::Barrier(barrier)) => {
                    self.held[i] = Some(barrier);
                    if self.held.iter().all(Option::is_some) {
                        return self.release().map(Received::Barrier);
                    }
                }
                None => {}
            }
        }
        Ok(Received::Idle)
    }

    fn release(&mut self) -> Result<Barrier, MisalignedBarriers> {
        merge(self.held.iter_mut().filter_map(Option::take))
    }
}

/// One barrier for several inputs: the minimum of their watermarks, and the end
/// only when all have ended.
pub fn merge(barriers: impl IntoIterator<Item = Barrier>) -> Result<Barrier, MisalignedBarriers> {
    let mut merged: Option<Barrier> = None;
    for barrier in barriers {
        merged = Some(match merged {
            None => barrier,
            Some(seen) if seen.epoch != barrier.epoch => {
                return Err(MisalignedBarriers(seen.epoch.0, barrier.epoch.0));
            }
            Some(seen) => Barrier {
                epoch: seen.epoch,
                now: seen.now.max(barrier.now),
                watermarks: minimum(&seen.watermarks, &barrier.watermarks).into(),
                end: seen.end && barrier.end,
                checkpoint: seen.checkpoint,
            },
        });
    }
    Ok(merged.expect("an exchange has at least one ring"))
}

/// A slot that only one side knows is taken from that side: the other input does
/// not descend from that source.
fn minimum(a: &[EventTime], b: &[EventTime]) -> Vec<EventTime> {
    (0..a.len().max(b.len()))
        .map(|i| {
            let at = |w: &[EventTime]| w.get(i).copied().unwrap_or(WATERMARK_END);
            at(a).min(at(b))
        })
        .collect()
}
