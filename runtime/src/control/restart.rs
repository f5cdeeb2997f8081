//! When a failed job is started again: a decision about times only.
//!
//! The strategies and their names are Flink's. They are asked only about failures
//! that may pass ([`crate::JobError::is_transient`]): an error that the same rows
//! would give again ends the job at once.

use std::collections::VecDeque;

use tidemill_types::EventTime;

/// When to start a failed job again. Times are in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestartStrategy {
    /// Never.
    None,
    /// After `delay`, at most `attempts` times in a row.
    FixedDelay { attempts: u32, delay: EventTime },
    /// After `initial`, then twice as long each time, up to `max`; for ever. A job
    /// that has run for `reset_after` begins at `initial` again.
    ExponentialDelay { initial: EventTime, max: EventTime, reset_after: EventTime },
    /// After `delay`, unless there were more than `failures` within `interval`.
    FailureRate { failures: u32, interval: EventTime, delay: EventTime },
}

impl Default for RestartStrategy {
    fn default() -> Self {
        const SECOND: EventTime = 1_000_000;
        RestartStrategy::ExponentialDelay {
            initial: SECOND,
            max: 60 * SECOND,
            reset_after: 600 * SECOND,
        }
    }
}

/// The failures of one job.
#[derive(Debug)]
pub struct Restarts {
    strategy: RestartStrategy,
    /// Recent failures, oldest first; as many as the strategy looks at.
    failures: VecDeque<EventTime>,
    attempts: u32,
}

impl Restarts {
    #[must_use]
    pub fn new(strategy: RestartStrategy) -> Self {
        Restarts { strategy, failures: VecDeque::new(), attempts: 0 }
    }

    /// The job has failed at `now`: when it is to be started again. `None`: not.
    pub fn failed(&mut self, now: EventTime) -> Option<EventTime> {
        let last = self.failures.back().copied();
        match self.strategy {
            RestartStrategy::None => None,
            RestartStrategy::FixedDelay { attempts, delay } => {
                self.attempts += 1;
                (self.attempts <= attempts).then(|| now.saturating_add(delay))
            }
            RestartStrategy::ExponentialDelay { initial, max, reset_after } => {
                if last.is_some_and(|last| now.saturating_sub(last) >= reset_after) {
                    self.attempts = 0;
                }
                let doubled = initial.checked_shl(self.attempts.min(40)).unwrap_or(max);
                let delay = if doubled >= initial { doubled.min(max) } else { max };
                self.attempts = self.attempts.saturating_add(1);
                self.failures = VecDeque::from([now]);
                Some(now.saturating_add(delay))
            }
            RestartStrategy::FailureRate { failures, interval, delay } => {
                self.failures.push_back(now);
                while self.failures.front().is_some_and(|at| now.saturating_sub(*at) > interval) {
                    self.failures.pop_front();
                }
                let within = self.failures.len() <= failures as usize;
                within.then(|| now.saturating_add(delay))
            }
        }
    }

    /// The job has shown that it runs: failures are no longer in a row.
    pub fn succeeded(&mut self) {
        if matches!(self.strategy, RestartStrategy::FixedDelay { .. }) {
            self.attempts = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether and how long after each failure the job is started again.
    fn delays(strategy: RestartStrategy, failures: &[EventTime]) -> Vec<Option<EventTime>> {
        let mut restarts = Restarts::new(strategy);
        failures.iter().map(|now| restarts.failed(*now).map(|at| at - now)).collect()
    }

    #[test]
    fn each_strategy_answers_as_it_says() {
        assert_eq!(delays(RestartStrategy::None, &[5]), [None]);
        let fixed = RestartStrategy::FixedDelay { attempts: 2, delay: 7 };
        assert_eq!(delays(fixed, &[1, 2, 3]), [Some(7), Some(7), None]);
        let growing = RestartStrategy::ExponentialDelay { initial: 10, max: 50, reset_after: 100 };
        assert_eq!(
            delays(growing, &[0, 10, 30, 70, 120, 300]),
            [Some(10), Some(20), Some(40), Some(50), Some(50), Some(10)]
        );
        let rate = RestartStrategy::FailureRate { failures: 2, interval: 100, delay: 1 };
        assert_eq!(delays(rate, &[0, 50, 90, 400]), [Some(1), Some(1), None, Some(1)]);
    }

    #[test]
    fn attempts_are_counted_in_a_row() {
        let mut restarts = Restarts::new(RestartStrategy::FixedDelay { attempts: 1, delay: 7 });
        assert_eq!(restarts.failed(0), Some(7));
        restarts.succeeded();
        assert_eq!(restarts.failed(20), Some(27));
        assert_eq!(restarts.failed(21), None);
    }

    #[test]
    fn a_long_row_of_failures_does_not_overflow() {
        let mut restarts = Restarts::new(RestartStrategy::default());
        let last = (0..200).map(|i| restarts.failed(i)).last();
        assert_eq!(last, Some(Some(199 + 60_000_000)));
    }
}
