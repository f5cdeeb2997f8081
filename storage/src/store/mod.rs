//! Where durable things are kept: a store of immutable objects.
//!
//! ```text
//!   sequences of records, checkpoints, their files
//!        │  Store: a prefix, create-once, retries
//!   dyn ObjectStore ── LocalStore ── dyn Disk ── OsDisk | LossyDisk
//! ```
//!
//! Everything is built on one operation: **create an object that does not exist**.
//! Of any number of writers that try, one wins and all are told. No object is ever
//! changed.
//!
//! The rule for unknown outcomes: after a timeout or an error the object may be there,
//! or come into being later. The same bytes are put again, under the same condition.
//! Where the answer is then "exists", the object is read and compared: with our bytes
//! it is ours. Reading alone would not do, since what can be read need not be durable
//! yet; a store's answer to a put is. Writers whose objects must be told apart put
//! something unique into the bytes.
//!
//! Waits, chance and threads are handed in: [`Sleep`], [`Chance`], [`FileWork`].

mod chance;
mod create;
pub mod disk;
mod error;
mod local;
mod lock;
mod open;
mod pace;
mod probe;
mod work;

#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};

pub use chance::Chance;
pub(crate) use chance::unique_number;
pub use create::Create;
pub(crate) use create::PutOnce;
pub use disk::{Disk, DiskFaults, LossyDisk, OsDisk};
pub use error::StoreError;
pub use local::LocalStore;
pub use lock::DataDirLock;
pub(crate) use pace::Pace;
pub use pace::{NoWait, RetryPolicy, Sleep, SystemPace};
pub use probe::probe;
pub use work::FileWork;
pub(crate) use work::blocking;

/// A place in an object store: everything below one prefix. Cheap to clone.
///
/// Paths are relative to the prefix, with `/` between their parts. Reads and removals
/// are repeated by the [`RetryPolicy`]; see the module for creations.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    pace: Pace,
}

/// What the store knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Relative to the store's prefix.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// Microseconds since 1970, by the store's clock.
    pub modified_us: i64,
}

impl Store {
    /// Everything below `prefix` in `objects`, with the system's clock and chance.
    /// The store is not probed: see [`probe`] and [`Store::open`].
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        let pace = Pace::new(RetryPolicy::default(), Arc::new(SystemPace), Chance::from_system());
        Self { objects, prefix, pace }
    }

    /// With other waits between attempts.
    #[must_use]
    pub fn with_pace(self, policy: RetryPolicy, clock: Arc<dyn Sleep>, jitter: Chance) -> Self {
        Self { pace: Pace::new(policy, clock, jitter), ..self }
    }

    /// A whole object, or None where there is none.
    ///
    /// # Errors
    /// [`StoreError::Object`] after the last attempt.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let location = self.location(path)?;
        let objects = &self.objects;
        let location = &location;
        let read = || async move { objects.get(location).await?.bytes().await };
        self.repeat("read", path, read).await
    }

    /// An object in pieces, or None where there is none. Opening is repeated; an error
    /// in the middle is the caller's to handle.
    ///
    /// # Errors
    /// [`StoreError::Object`] after the last attempt.
    pub async fn get_pieces(
        &self,
        path: &str,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, StoreError>>>, StoreError> {
        let location = self.location(path)?;
        let objects = &self.objects;
        let location = &location;
        let open = || async move { objects.get(location).await };
        let Some(opened) = self.repeat("read", path, open).await? else { return Ok(None) };
        let path = path.to_owned();
        let failed = move |source| object_error("read", &path, source);
        Ok(Some(opened.into_stream().map_err(failed).boxed()))
    }

    /// What is below `prefix`, whole parts, in order of paths.
    ///
    /// # Errors
    /// [`StoreError::Object`] after the last attempt.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectFacts>, StoreError> {
        let location = self.location(prefix)?;
        let objects = &self.objects;
        let location = &location;
        let list = || async move { objects.list(Some(location)).try_collect::<Vec<_>>().await };
        let listed = self.repeat("list", prefix, list).await?.unwrap_or_default();
        let skip = self.prefix.as_ref().len() + usize::from(!self.prefix.as_ref().is_empty());
        let mut facts: Vec<ObjectFacts> = listed
            .into_iter()
            .map(|meta| ObjectFacts {
                path: meta.location.as_ref().get(skip..).unwrap_or_default().to_owned(),
                length: meta.size,
                modified_us: meta.last_modified.timestamp_micros(),
            })
            .collect();
        facts.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(facts)
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`StoreError::Object`] after the last attempt.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let location = self.location(path)?;
        let objects = &self.objects;
        let location = &location;
        self.repeat("remove", path, || async move { objects.delete(location).await }).await?;
        Ok(())
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(crate) fn location(&self, path: &str) -> Result<Path, StoreError> {
        Path::parse(format!("{}/{path}", self.prefix))
            .map_err(|error| object_error("name", path, error.into()))
    }

    /// Runs an operation that may be run twice; None where the object is not there.
    async fn repeat<T, F, Fut>(
        &self,
        action: &'static str,
        path: &str,
        operation: F,
    ) -> Result<Option<T>, StoreError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = object_store::Result<T>>,
    {
        let mut attempts = self.pace.attempts();
        loop {
            match operation().await {
                Ok(done) => return Ok(Some(done)),
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(source) if is_final(&source) || !attempts.again().await => {
                    return Err(object_error(action, path, source));
                }
                Err(source) => tracing::debug!(action, path, %source, "the store failed; again"),
            }
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.objects)?;
        if self.prefix.is_root() { Ok(()) } else { write!(f, ", prefix {}", self.prefix) }
    }
}

/// Asking again would give the same answer, and nothing was done.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

fn object_error(action: &'static str, path: &str, source: Error) -> StoreError {
    StoreError::Object { action, path: path.to_owned(), source }
}
