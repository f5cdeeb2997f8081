//! Where blocking file work runs.

use object_store::Result;
use tokio::runtime::Handle;

/// Where the local store does its file work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileWork {
    /// On the runtime's threads for blocking work; on the calling thread where there
    /// is no runtime.
    #[default]
    Pool,
    /// On the calling thread, always: a simulation steps the store on one thread and
    /// sees the same order of operations every time.
    Inline,
}

impl FileWork {
    pub(crate) async fn run<T, F>(self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        match (self, Handle::try_current()) {
            (FileWork::Pool, Ok(runtime)) => runtime.spawn_blocking(work).await?,
            _ => work(),
        }
    }
}

/// Runs file work that is not the store's own: on the threads for blocking work, or on
/// the calling thread where there is no runtime.
pub(crate) async fn blocking<T, F>(work: F) -> std::io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> std::io::Result<T> + Send + 'static,
{
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.map_err(std::io::Error::other)?,
        Err(_) => work(),
    }
}
