//! Disturbing a run of an `.slt` file: the server is killed and started again, jobs
//! are brought to other numbers of workers. The file's answers must not change.
//!
//! Which disturbance comes before which statement follows from a seed, so that a
//! failure can be repeated: `TIDEMILL_SLT_SEED=n`.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Mutex;

use crate::server::{Server, StartError};

/// What is done to a server while a file runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Nothing.
    Straight,
    /// It is killed (SIGKILL) and started again over the same data, at times with
    /// another number of threads.
    Kill,
    /// Jobs are brought to other numbers of workers.
    Rescale,
}

/// What to do before a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disturbance {
    None,
    Kill {
        threads: usize,
    },
    /// Some job, chosen by this number, gets this many workers.
    Rescale {
        choice: usize,
        parallelism: usize,
    },
}

/// A server that one file has for itself, and the disturbances to come.
#[derive(Clone, Debug)]
pub struct Disturber {
    pub server: Arc<Mutex<Server>>,
    mode: Mode,
    chance: Arc<Mutex<SmallRng>>,
}

impl Disturber {
    #[must_use]
    pub fn new(server: Server, mode: Mode, seed: u64) -> Self {
        let chance = SmallRng::seed_from_u64(seed);
        let (server, chance) = (Arc::new(Mutex::new(server)), Arc::new(Mutex::new(chance)));
        Disturber { server, mode, chance }
    }

    /// What is to happen now.
    pub async fn next(&self) -> Disturbance {
        let mut chance = self.chance.lock().await;
        match self.mode {
            Mode::Kill if chance.random_range(0..6) == 0 => {
                Disturbance::Kill { threads: chance.random_range(1..4) }
            }
            Mode::Rescale if chance.random_range(0..3) == 0 => Disturbance::Rescale {
                choice: chance.random_range(0..1000),
                parallelism: chance.random_range(1..4),
            },
            _ => Disturbance::None,
        }
    }

    /// Kills the server and starts it again over its data.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn kill(&self, threads: usize) -> Result<(), StartError> {
        let mut server = self.server.lock().await;
        server.kill();
        server.restart(threads)
    }
}
