//! Stores that tell a made-up time, and stores that stop, die or let somebody in between at a chosen call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use lifeboat::error::{Error, Kind, Result};
use lifeboat::store::{Body, Download, Entry, Key, Method, PutMode, SharedStore, Store};

/// A store whose clock is set by hand; until then it tells the real time.
#[derive(Debug, Clone)]
pub struct ClockStore {
    inner: SharedStore,
    clock: StoreClock,
}

/// The clock of a [`ClockStore`], and what it said when each object was put.
#[derive(Debug, Clone, Default)]
pub struct StoreClock(Arc<Mutex<Times>>);

#[derive(Debug, Clone, Default)]
struct Times {
    now: Option<Timestamp>,
    put: HashMap<Key, Timestamp>,
}

impl StoreClock {
    /// Sets the time.
    pub fn set(&self, now: Timestamp) {
        self.0.lock().unwrap().now = Some(now);
    }

    /// A clock of its own that says the same.
    pub fn copied(&self) -> StoreClock {
        StoreClock(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }

    fn stamp(&self, key: &Key) {
        let mut times = self.0.lock().unwrap();
        if let Some(now) = times.now {
            times.put.insert(key.clone(), now);
        }
    }

    fn told(&self, mut entry: Entry) -> Entry {
        if let Some(t) = self.0.lock().unwrap().put.get(&entry.key) {
            entry.modified = *t;
        }
        entry
    }
}

impl ClockStore {
    /// Wraps `inner`.
    pub fn new(inner: SharedStore, clock: StoreClock) -> Self {
        ClockStore { inner, clock }
    }
}

#[async_trait]
impl Store for ClockStore {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        let entry = self.inner.put(key, body, mode).await?;
        self.clock.stamp(key);
        Ok(self.clock.told(entry))
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.inner.get(key, version).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(self.inner.head(key).await?.map(|e| self.clock.told(e)))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.inner.list(prefix).await?.into_iter().map(|e| self.clock.told(e)).collect())
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.inner.versions(prefix).await?.into_iter().map(|e| self.clock.told(e)).collect())
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.inner.delete(key, version).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.inner.sweep(older_than).await
    }
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It is made.
    Go,
    /// It fails, and nothing happens.
    Fail(Kind),
    /// It is made, and fails: the program died before it heard.
    Die,
}

type Before = Box<dyn Fn(u64, Method) -> BoxFuture<'static, Then> + Send + Sync>;

/// A store that asks before each call, counted from 1 over all methods.
pub struct Steps {
    inner: SharedStore,
    calls: AtomicU64,
    before: Before,
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Steps")
    }
}

impl Steps {
    /// Asks `before` with the call's number and method.
    pub fn new(
        inner: SharedStore,
        before: impl Fn(u64, Method) -> BoxFuture<'static, Then> + Send + Sync + 'static,
    ) -> Arc<Steps> {
        Arc::new(Steps { inner, calls: AtomicU64::new(0), before: Box::new(before) })
    }

    /// Dies at call `at` and makes none after it; `heard` says whether that last one was still made.
    pub fn dying(inner: SharedStore, at: u64, made: bool) -> Arc<Steps> {
        Steps::new(inner, move |n, _| {
            let then = match n.cmp(&at) {
                std::cmp::Ordering::Less => Then::Go,
                std::cmp::Ordering::Equal if made => Then::Die,
                _ => Then::Fail(Kind::Interrupted),
            };
            Box::pin(async move { then })
        })
    }

    /// Refuses one method.
    pub fn denying(inner: SharedStore, denied: Method) -> Arc<Steps> {
        Steps::new(inner, move |_, method| {
            let then = if method == denied { Then::Fail(Kind::Denied) } else { Then::Go };
            Box::pin(async move { then })
        })
    }

    /// Runs `between` once, before call `at`.
    pub fn interrupted_by(inner: SharedStore, at: u64, between: BoxFuture<'static, ()>) -> Arc<Steps> {
        let between = Mutex::new(Some(between));
        Steps::new(inner, move |n, _| {
            let now = if n == at { between.lock().unwrap().take() } else { None };
            Box::pin(async move {
                if let Some(work) = now {
                    work.await;
                }
                Then::Go
            })
        })
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn ask<T>(&self, method: Method, call: impl Future<Output = Result<T>>) -> Result<T> {
        let n = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let dead = |kind| Err(Error::new(kind, format!("{}: call {n} ends here", method.word())));
        match (self.before)(n, method).await {
            Then::Go => call.await,
            Then::Fail(kind) => dead(kind),
            Then::Die => {
                drop(call.await);
                dead(Kind::Interrupted)
            }
        }
    }
}

#[async_trait]
impl Store for Steps {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.ask(Method::Put, self.inner.put(key, body, mode)).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.ask(Method::Get, self.inner.get(key, version)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.ask(Method::Head, self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.ask(Method::List, self.inner.list(prefix)).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.ask(Method::Versions, self.inner.versions(prefix)).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.ask(Method::Delete, self.inner.delete(key, version)).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.ask(Method::Sweep, self.inner.sweep(older_than)).await
    }
}
