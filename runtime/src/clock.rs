//! The engine's clock, passed in wherever time matters, so that a test or a
//! simulation decides what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use tidemill_types::EventTime;

/// Tells the time in microseconds since 1970-01-01 00:00 UTC.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now(&self) -> EventTime;
}

/// The machine's clock. The only place in the engine that asks for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> EventTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
