//! A store that answers wrongly, late or not at all, for tests.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::{Chance, NoWait, RetryPolicy, Store};

/// What goes wrong, each in a thousand operations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StoreFaults {
    /// A put or read fails without effect.
    pub(crate) fail_before: u32,
    /// A put takes effect and fails.
    pub(crate) apply_then_fail: u32,
    /// A put fails and takes effect later, before some other operation.
    pub(crate) land_late: u32,
    /// The condition of a put is ignored.
    pub(crate) ignore_condition: u32,
}

#[derive(Debug)]
struct Late {
    location: Path,
    payload: PutPayload,
    options: PutOptions,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    faults: StoreFaults,
    late: Vec<Late>,
}

#[derive(Clone, Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, seed: u64, faults: StoreFaults) -> Self {
        let state = State { chance: Chance::seeded(seed), faults, late: Vec::new() };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// A store over this one that does not wait between attempts.
    pub(crate) fn store(&self, attempts: u32) -> Store {
        let policy = RetryPolicy { attempts, ..RetryPolicy::default() };
        Store::new(Arc::new(self.clone()), Path::default()).with_pace(
            policy,
            Arc::new(NoWait),
            Chance::seeded(0),
        )
    }

    pub(crate) fn set_faults(&self, faults: StoreFaults) {
        self.state.lock().faults = faults;
    }

    /// Lets everything that is late land.
    pub(crate) async fn land_all(&self) {
        let late = std::mem::take(&mut self.state.lock().late);
        for put in late {
            let _ = self.inner.put_opts(&put.location, put.payload, put.options).await;
        }
    }

    fn draw(&self, rate: impl Fn(&StoreFaults) -> u32) -> bool {
        let mut state = self.state.lock();
        let rate = rate(&state.faults);
        state.chance.per_mille(rate)
    }

    /// Fails by chance; first, what is late may land.
    async fn enter(&self) -> Result<()> {
        let lands = {
            let mut state = self.state.lock();
            !state.late.is_empty() && state.chance.coin()
        };
        if lands {
            self.land_all().await;
        }
        if self.draw(|f| f.fail_before) { Err(broken("failed before")) } else { Ok(()) }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        self.enter().await?;
        if self.draw(|f| f.ignore_condition) {
            options = PutOptions::default();
        }
        if self.draw(|f| f.land_late) {
            self.state.lock().late.push(Late { location: location.clone(), payload, options });
            return Err(broken("timed out"));
        }
        let put = self.inner.put_opts(location, payload, options).await?;
        if self.draw(|f| f.apply_then_fail) { Err(broken("failed after")) } else { Ok(put) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.enter().await?;
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.enter().await?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a faulty store over {}", self.inner)
    }
}

fn broken(how: &str) -> Error {
    Error::Generic { store: "faulty", source: how.into() }
}
