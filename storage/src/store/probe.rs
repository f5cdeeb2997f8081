//! Does the store refuse to create an object twice?
//!
//! All commits rest on it: of two writers that create the same record, one must be
//! told that it lost. There are stores that accept the condition and ignore it, so
//! every store is tried before it is used.

use bytes::Bytes;

use super::chance::unique_number;
use super::error::StoreError;
use super::{PutOnce, Store};

/// Creates an object twice, below `probe/` in the store's prefix, and removes it.
///
/// # Errors
/// [`StoreError::Unfit`] where the second creation was let through or changed the
/// object; otherwise what the store answered. After an error the object may be left.
pub async fn probe(store: &Store) -> Result<(), StoreError> {
    let path = format!("probe/{:032x}", unique_number());
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    if !store.create(&path, first.clone()).await?.is_created() {
        return Err(unfit(store, format!("it says that {path}, a new name, exists")));
    }
    let answer = put_until_known(store, &path, second).await;
    let found = store.get(&path).await;
    let removed = store.delete(&path).await;
    match answer? {
        PutOnce::Exists => {}
        _ => {
            return Err(unfit(
                store,
                "it creates an object that exists already; conditional puts \
                 (If-None-Match) are needed"
                    .to_owned(),
            ));
        }
    }
    if found?.as_ref() != Some(&first) {
        return Err(unfit(store, "a refused put changed the object".to_owned()));
    }
    removed
}

/// Here "unknown" is no answer: only what the store itself says counts.
async fn put_until_known(store: &Store, path: &str, bytes: Bytes) -> Result<PutOnce, StoreError> {
    let mut attempts = store.pace().attempts();
    loop {
        match store.put_once(path, bytes.clone()).await? {
            PutOnce::Unknown(source) => {
                if !attempts.again().await {
                    let attempts = attempts.made();
                    return Err(StoreError::Unknown { path: path.to_owned(), attempts, source });
                }
            }
            known => return Ok(known),
        }
    }
}

fn unfit(store: &Store, reason: String) -> StoreError {
    StoreError::Unfit { store: store.to_string(), reason }
}
