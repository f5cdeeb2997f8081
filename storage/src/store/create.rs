//! Creating an object once, and knowing whether one did.

use bytes::Bytes;
use object_store::{Error, PutMode, PutOptions};

use super::error::StoreError;
use super::{Store, is_final, object_error};

/// How a creation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Create {
    /// The object is there with the bytes that were given.
    Created,
    /// The name is taken by other bytes.
    AlreadyExists,
}

impl Create {
    /// The object is there with the bytes that were given.
    pub fn is_created(self) -> bool {
        self == Create::Created
    }
}

/// What the store answered to one put.
#[derive(Debug)]
pub(crate) enum PutOnce {
    Created,
    Exists,
    /// The object may be there, now or later.
    Unknown(Error),
}

impl Store {
    /// Makes an object of `bytes` where there is none. The module says how errors and
    /// timeouts are resolved; to have created the object means that it is durable.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] where the outcome is still unknown after the last
    /// attempt: then the object may be there, now or later. [`StoreError::Object`]
    /// where the store refuses the operation: nothing was done.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Create, StoreError> {
        let mut attempts = self.pace().attempts();
        loop {
            let source = match self.put_once(path, bytes.clone()).await? {
                PutOnce::Created => return Ok(Create::Created),
                // Whose it is, is unknown until it has been read.
                PutOnce::Exists => match self.get(path).await {
                    Ok(Some(found)) if found == bytes => return Ok(Create::Created),
                    Ok(Some(_)) => return Ok(Create::AlreadyExists),
                    Ok(None) => vanished(path),
                    Err(StoreError::Object { source, .. }) => source,
                    Err(error) => return Err(error),
                },
                PutOnce::Unknown(source) => source,
            };
            if !attempts.again().await {
                let attempts = attempts.made();
                return Err(StoreError::Unknown { path: path.to_owned(), attempts, source });
            }
            tracing::debug!(path, %source, "whether the object was created is unknown; again");
        }
    }

    /// One put, with the condition that there is no such object.
    ///
    /// # Errors
    /// The store refuses; nothing was done.
    pub(crate) async fn put_once(&self, path: &str, bytes: Bytes) -> Result<PutOnce, StoreError> {
        let location = self.location(path)?;
        let options = PutOptions::from(PutMode::Create);
        match self.objects().put_opts(&location, bytes.into(), options).await {
            Ok(_) => Ok(PutOnce::Created),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(PutOnce::Exists),
            Err(source) if is_final(&source) => Err(object_error("create", path, source)),
            Err(source) => Ok(PutOnce::Unknown(source)),
        }
    }
}

/// It was removed between the put and the read.
fn vanished(path: &str) -> Error {
    Error::NotFound { path: path.to_owned(), source: "it was removed meanwhile".into() }
}
