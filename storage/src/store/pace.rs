//! Waiting between attempts: how long, how often, and by whose clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;

use super::chance::Chance;

/// How an operation on the store is repeated.
///
/// The wait before attempt `n` is drawn from half of `first_wait * 2^(n-1)` to
/// all of it, at most `longest_wait`. At the limit of `attempts` the last error is
/// returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all; at least 1 is made.
    pub attempts: u32,
    pub first_wait: Duration,
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    /// 6 attempts over about 3 seconds.
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(2),
        }
    }
}

/// Sleeps. The process has [`SystemPace`]; a simulation brings its own clock.
pub trait Sleep: fmt::Debug + Send + Sync + 'static {
    /// Done once `wait` has passed.
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()>;
}

/// Sleeps on the runtime's timer, or blocks the thread where there is no runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemPace;

impl Sleep for SystemPace {
    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        if tokio::runtime::Handle::try_current().is_ok() {
            async move { tokio::time::sleep(wait).await }.boxed()
        } else {
            std::thread::sleep(wait);
            futures::future::ready(()).boxed()
        }
    }
}

/// Does not wait at all: for tests and simulations that count attempts, not time.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWait;

impl Sleep for NoWait {
    fn sleep(&self, _wait: Duration) -> BoxFuture<'static, ()> {
        futures::future::ready(()).boxed()
    }
}

/// A policy, a clock and a source of jitter, shared by all that one store does.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    policy: RetryPolicy,
    clock: Arc<dyn Sleep>,
    jitter: Arc<Mutex<Chance>>,
}

impl Pace {
    pub(crate) fn new(policy: RetryPolicy, clock: Arc<dyn Sleep>, jitter: Chance) -> Self {
        Self { policy, clock, jitter: Arc::new(Mutex::new(jitter)) }
    }

    /// Counts the attempts of one operation.
    pub(crate) fn attempts(&self) -> Attempts<'_> {
        Attempts { pace: self, made: 1 }
    }

    fn wait_after(&self, made: u32) -> Duration {
        let doublings = made.saturating_sub(1).min(16);
        let full = self.policy.first_wait.saturating_mul(1 << doublings);
        let full = full.min(self.policy.longest_wait);
        let full_us = u64::try_from(full.as_micros()).unwrap_or(u64::MAX);
        let half = full_us / 2;
        Duration::from_micros(half + self.jitter.lock().below(full_us - half + 1))
    }
}

/// The attempts made so far.
#[derive(Debug)]
pub(crate) struct Attempts<'a> {
    pace: &'a Pace,
    made: u32,
}

impl Attempts<'_> {
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// Waits and returns true where another attempt is allowed.
    pub(crate) async fn again(&mut self) -> bool {
        if self.made >= self.pace.policy.attempts {
            return false;
        }
        let wait = self.pace.wait_after(self.made);
        self.made += 1;
        self.pace.clock.sleep(wait).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_vary() {
        let policy = RetryPolicy::default();
        let pace = Pace::new(policy, Arc::new(NoWait), Chance::seeded(1));
        for made in 1..40 {
            let full = policy.first_wait.saturating_mul(1 << (made - 1).min(16));
            let full = full.min(policy.longest_wait);
            let waits: Vec<Duration> = (0..50).map(|_| pace.wait_after(made)).collect();
            assert!(waits.iter().all(|w| *w >= full / 2 && *w <= full), "{made}: {waits:?}");
            assert!(waits.iter().any(|w| *w != waits[0]), "{made}: no jitter");
        }
    }

    #[tokio::test]
    async fn attempts_are_bounded() {
        let policy = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
        let pace = Pace::new(policy, Arc::new(NoWait), Chance::seeded(1));
        let mut attempts = pace.attempts();
        assert!(attempts.again().await && attempts.again().await);
        assert!(!attempts.again().await);
        assert_eq!(attempts.made(), 3);
    }
}
