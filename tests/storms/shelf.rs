//! The store below the faults: a folder whose times are those of a clock set by hand, which keeps locks, and whose
//! process dies at a chosen call.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use lifeboat::error::{Error, Kind, Result};
use lifeboat::id::Sha256;
use lifeboat::store::{Body, Download, Entry, Key, Lock, PutMode, SharedStore, Store, Tag};
use tokio_util::sync::CancellationToken;

/// A time that several hold and anybody sets, in seconds.
#[derive(Debug, Clone)]
pub struct Hand(Arc<AtomicI64>);

impl Hand {
    pub fn new(at: Timestamp) -> Hand {
        Hand(Arc::new(AtomicI64::new(at.as_second())))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub fn pass(&self, time: SignedDuration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    pub fn at_least(&self, at: Timestamp) {
        self.0.fetch_max(at.as_second(), Ordering::SeqCst);
    }
}

/// The end of a process: at call `at`, made nevertheless where `made` says so; later ones are never answered.
#[derive(Debug)]
pub struct Death {
    pub at: u64,
    pub made: bool,
    pub came: CancellationToken,
}

/// Locks by key, for all who use the store.
pub type Locks = Arc<Mutex<BTreeMap<Key, Lock>>>;

/// The store as one process sees it.
#[derive(Debug)]
pub struct Shelf {
    pub inner: SharedStore,
    /// The folder of `inner`.
    pub root: PathBuf,
    pub clock: Hand,
    pub locks: Option<Locks>,
    /// One swap at a time, whoever asks.
    pub swaps: Arc<tokio::sync::Mutex<()>>,
    pub death: Option<Death>,
    pub calls: AtomicU64,
}

impl Shelf {
    async fn live<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let Some(death) = self.death.as_ref().filter(|d| n >= d.at) else { return call.await };
        if n == death.at {
            if death.made {
                drop(call.await);
            }
            death.came.cancel();
        }
        pending().await
    }

    /// Gives an object the time of the store's clock, where every process sees it.
    fn stamp(&self, mut entry: Entry) -> Result<Entry> {
        let now = self.clock.now();
        let file = std::fs::File::options().write(true).open(self.root.join(entry.key.as_str()));
        // Whoever removes it meanwhile need not know its time.
        if let Ok(file) = file {
            file.set_modified(SystemTime::from(now)).unwrap();
        }
        entry.modified = now;
        Ok(self.named(entry))
    }

    /// Locks are of versions; each key has one here.
    fn named(&self, mut entry: Entry) -> Entry {
        entry.version = self.locks.is_some().then(|| "only".to_owned());
        entry
    }

    fn set(&self, key: &Key, lock: Lock) -> Result<()> {
        let unsupported = || Error::new(Kind::Unsupported, "no locks here");
        let mut locks = self.locks.as_ref().ok_or_else(unsupported)?.lock().unwrap();
        if locks.get(key).is_some_and(|held| held.until > lock.until) {
            return Err(Error::new(Kind::Denied, format!("{key} is locked for longer")));
        }
        locks.insert(key.clone(), lock);
        Ok(())
    }

    /// The tag of what is there now: the hash of its content.
    async fn tag_now(&self, key: &Key) -> Result<Option<Tag>> {
        let bytes = match self.inner.get(key, None).await {
            Ok(download) => download.bytes(1 << 20).await?,
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let hash = serde_json::Value::String(Sha256::of(&bytes).to_string());
        Ok(Some(serde_json::from_value(hash).unwrap()))
    }

    fn refuse_locked(&self, key: &Key) -> Result<()> {
        let Some(locks) = &self.locks else { return Ok(()) };
        match locks.lock().unwrap().get(key) {
            Some(lock) if lock.until > self.clock.now() => {
                Err(Error::new(Kind::Denied, format!("{key} is locked until {}", lock.until)))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Shelf {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.live(async { self.stamp(self.inner.put(key, body, mode).await?) }).await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.live(async {
            let entry = self.stamp(self.inner.put(key, body, mode).await?)?;
            self.set(key, lock)?;
            Ok(entry)
        })
        .await
    }

    async fn get(&self, key: &Key, _version: Option<&str>) -> Result<Download> {
        self.live(self.inner.get(key, None)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.live(async { Ok(self.inner.head(key).await?.map(|e| self.named(e))) }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let named = async { Ok(self.inner.list(prefix).await?.into_iter().map(|e| self.named(e)).collect()) };
        self.live(named).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.list(prefix).await
    }

    async fn delete(&self, key: &Key, _version: Option<&str>) -> Result<()> {
        self.live(async {
            self.refuse_locked(key)?;
            self.inner.delete(key, None).await
        })
        .await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.live(self.inner.sweep(older_than)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.clock.now())
    }

    async fn lock_until(&self, key: &Key, _version: &str, lock: Lock) -> Result<()> {
        self.live(async { self.set(key, lock) }).await
    }

    async fn lock_of(&self, key: &Key, _version: &str) -> Result<Option<Lock>> {
        let held = self.locks.as_ref().and_then(|locks| locks.lock().unwrap().get(key).copied());
        self.live(async { Ok(held) }).await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.live(self.tag_now(key)).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        self.live(async {
            let _alone = self.swaps.lock().await;
            if self.tag_now(key).await?.as_ref() != Some(tag) {
                return Err(Error::new(Kind::Conflict, format!("{key} is another by now")));
            }
            self.stamp(self.inner.put(key, body, PutMode::Replace).await?)?;
            let gone = || Error::new(Kind::Store, format!("{key} is gone"));
            self.tag_now(key).await?.ok_or_else(gone)
        })
        .await
    }
}
