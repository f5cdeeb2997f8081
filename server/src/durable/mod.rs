//! What outlives the process: the catalog's log, jobs' checkpoints, epoch numbers.
//!
//! ```text
//!  <store>/catalog/…      the catalog's log
//!  <store>/epochs/…       epoch numbers that were reserved
//!  <store>/groups/<job>/… a job's checkpoints
//!  <data directory>/state/<incarnation>/…   this process' files on their way
//! ```
//!
//! The store is the truth. A server that starts takes its sequences over, which
//! fences a server that had them before, and builds its backend of state anew, in
//! memory, from the committed files; nothing of an earlier process is trusted.
//!
//! Invariant: whatever was acknowledged is in the store.

mod base;
mod checkpoints;
mod group;
mod image;
pub mod journal;
pub mod ledger;
mod restore;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::clock::Clock;
use tidemill_storage::checkpoint::GroupSettings;
use tidemill_storage::records::{EpochBlocks, EpochError, RecordSequence, SequenceError, WriterId};
use tidemill_storage::state::{ModelBackend, StateBackend};
use tidemill_storage::store::{Store, StoreError};
use tidemill_types::JobId;
use tokio::runtime::Handle;

use crate::catalog::{Contents, FoldError};
pub use checkpoints::Checkpoints;
use journal::{CATALOG, StoreJournal};
use ledger::Ledger;
pub use restore::Restored;

/// The sequence of epoch numbers.
const EPOCHS: &str = "epochs";

/// The folder of jobs' checkpoints.
const GROUPS: &str = "groups";

/// Epoch numbers that are reserved at a time: almost two hours of 100 ms.
const EPOCH_BLOCK: u64 = 65_536;

/// Where a process has its own files, in the data directory.
const STATE: &str = "state";

/// Objects of a checkpoint that nobody needs stay at least this long: longer than
/// any upload of a server that has been fenced takes.
const AGE_FLOOR: Duration = Duration::from_secs(300);

/// Why what is durable cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the catalog's log: {0}")]
    Catalog(#[from] SequenceError),
    #[error("the catalog's log: {0}")]
    Fold(#[from] FoldError),
    #[error("epoch numbers: {0}")]
    Epochs(#[from] EpochError),
    #[error("epoch numbers: {0}")]
    Reserve(tidemill_runtime::StorageFailure),
    #[error("{path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
}

/// What is to be opened, and how.
#[derive(Clone, Debug)]
pub struct DurableConfig<'a> {
    /// `None`: in the data directory.
    pub store: Option<&'a str>,
    pub data_dir: &'a Path,
    /// Checkpoints of a job that are kept.
    pub retain: usize,
    /// Where the store's input and output is done.
    pub io: Handle,
    pub clock: Arc<dyn Clock>,
}

/// Everything durable, taken over by this process.
#[derive(Debug)]
pub struct Durable {
    /// What the catalog's log says.
    pub contents: Contents,
    pub journal: StoreJournal,
    pub checkpoints: Checkpoints,
    pub backend: Arc<dyn StateBackend>,
    /// Epoch numbers that nobody has used.
    pub epochs: Range<u64>,
    pub ledger: Ledger,
}

impl Durable {
    /// Opens the store, makes sure that it is fit, and takes everything in it over.
    /// Blocks; the data directory must be locked.
    ///
    /// # Errors
    /// [`DurableError`]: then the server cannot start.
    pub fn open(config: &DurableConfig<'_>) -> Result<Self, DurableError> {
        let io = config.io.clone();
        let writer = WriterId::draw();
        let store = io.block_on(Store::open(config.store, config.data_dir))?;
        let (sequence, loaded) = io.block_on(RecordSequence::take_over(&store, CATALOG, writer))?;
        let mut contents = Contents::fold(loaded.records.iter().map(|r| r.payload.as_ref()))?;
        let blocks = EpochBlocks::take_over(&store, EPOCHS, writer, EPOCH_BLOCK);
        let mut epochs = io.block_on(blocks)?;
        let reserved = checkpoints::reserve(&io, &mut epochs).map_err(DurableError::Reserve)?;
        let scratch = fresh_directory(config.data_dir, writer)?;
        let backend: Arc<dyn StateBackend> = Arc::new(ModelBackend::new());
        let ledger = Ledger::default();
        io.block_on(clean_up(&store, &mut contents));
        let settings =
            GroupSettings { retain: config.retain, age_floor: AGE_FLOOR, ..Default::default() };
        let checkpoints = Checkpoints {
            store,
            io: io.clone(),
            backend: Arc::clone(&backend),
            scratch,
            writer,
            settings,
            clock: Arc::clone(&config.clock),
            ledger: ledger.clone(),
            epochs,
            groups: HashMap::new(),
            files: 0,
        };
        let journal = StoreJournal::new(sequence, io);
        Ok(Durable { contents, journal, checkpoints, backend, epochs: reserved, ledger })
    }
}

/// A new directory for this process' files; those of earlier ones are removed.
fn fresh_directory(data_dir: &Path, writer: WriterId) -> Result<std::path::PathBuf, DurableError> {
    let all = data_dir.join(STATE);
    match std::fs::remove_dir_all(&all) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(DurableError::File { path: all, source });
        }
        _ => {}
    }
    let fresh = all.join(format!("{:032x}", writer.0));
    match std::fs::create_dir_all(&fresh) {
        Ok(()) => Ok(fresh),
        Err(source) => Err(DurableError::File { path: fresh, source }),
    }
}

/// Removes the checkpoints of jobs that the catalog does not know: of creations that
/// were not written down, and of jobs that were dropped. Where that fails their
/// numbers are not used again, and the next start tries anew.
async fn clean_up(store: &Store, contents: &mut Contents) {
    let listed = match store.list(GROUPS).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "what dropped jobs left in the store was not looked for");
            return;
        }
    };
    let job = |path: &str| path.split('/').nth(1)?.parse::<u32>().ok();
    let found: BTreeSet<u32> = listed.iter().filter_map(|object| job(&object.path)).collect();
    for job in found {
        contents.next.job = contents.next.job.max(job.saturating_add(1));
        if contents.jobs.contains_key(&JobId(job)) {
            continue;
        }
        match remove_group(store, u64::from(job)).await {
            Ok(()) => tracing::info!(job, "removed what a job that is gone had left"),
            Err(error) => tracing::warn!(job, %error, "what a job left was not removed"),
        }
    }
}

/// Removes everything that is kept of a job, the numbers of which are never used
/// again.
async fn remove_group(store: &Store, group: u64) -> Result<(), StoreError> {
    for object in store.list(&format!("{GROUPS}/{group}")).await? {
        store.delete(&object.path).await?;
    }
    Ok(())
}
