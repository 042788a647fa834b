//! A store that lets packs through only when the test says so; all else passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use lifeboat::error::Result;
use lifeboat::store::{Body, Download, Entry, Kept, Key, PutMode, SharedStore, Store};
use tokio::sync::Semaphore;

/// The store, and whoever stands at its gate.
#[derive(Debug, Clone)]
pub struct Gate {
    inner: SharedStore,
    passes: Arc<Semaphore>,
    came: Arc<AtomicUsize>,
    up: Arc<AtomicUsize>,
}

impl Gate {
    /// Stands before `inner`, closed.
    pub fn before(inner: SharedStore) -> Gate {
        Gate { inner, passes: Arc::new(Semaphore::new(0)), came: Arc::default(), up: Arc::default() }
    }

    /// Lets so many packs through.
    pub fn let_through(&self, packs: usize) {
        self.passes.add_permits(packs);
    }

    /// Lets all packs through from now on.
    pub fn open(&self) {
        self.let_through(Semaphore::MAX_PERMITS / 2);
    }

    /// Returns how many packs have come to the gate, those that passed too.
    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Returns how many packs are in the store.
    pub fn up(&self) -> usize {
        self.up.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Store for Gate {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        if !key.as_str().contains("/packs/") {
            return self.inner.put(key, body, mode).await;
        }
        self.came.fetch_add(1, Ordering::SeqCst);
        self.passes.acquire().await.unwrap().forget();
        let entry = self.inner.put(key, body, mode).await?;
        self.up.fetch_add(1, Ordering::SeqCst);
        Ok(entry)
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.inner.get(key, version).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.list(prefix).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.versions(prefix).await
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        self.inner.kept(prefix).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.inner.delete(key, version).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.inner.sweep(older_than).await
    }
}
