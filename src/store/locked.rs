//! Locks what is stored once: every create-only put becomes a locked one.
//!
//! Owns until when, by the store's clock, and the book of what is locked until when, by version. Where the store or the
//! credential turns out to have no locks, or the clocks disagree, it stores without and says so: a backup
//! without a lock is better than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Body, Download, Entry, Kept, Key, Lock, LockMode, PutMode, SharedStore, Store, Tag, Trials};
use crate::error::{Context, Kind, Result};

/// The store's clock is not believed when it is further than this from the host's: nobody unlocks what is locked for years.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_hours(24);

/// How objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How firmly.
    pub mode: LockMode,
    /// For how long.
    pub horizon: Duration,
}

/// A locked version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which version.
    pub version: String,
    /// Until when.
    pub until: Timestamp,
}

/// What is locked until when, by key: what a host remembers, so that it need not ask.
pub type Book = BTreeMap<String, Held>;

/// What is to be done about an object's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// At least half of the horizon is left.
    No,
    /// This version is to be locked again.
    Version(String),
    /// Nothing is known of it.
    Unknown,
}

/// A store that locks.
pub struct LockedStore {
    inner: SharedStore,
    terms: Terms,
    host_now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
    renewed: AtomicU64,
}

#[derive(Default)]
struct State {
    book: Book,
    /// The keys that this run stored or needed.
    used: BTreeSet<String>,
    /// What went wrong first.
    trouble: Option<String>,
    /// Whether nothing is locked any more.
    off: bool,
}

impl fmt::Debug for LockedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedStore").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl LockedStore {
    /// Wraps `inner`; `book` is what an earlier run left, `host_now` this host's clock.
    pub fn new(
        inner: SharedStore,
        terms: Terms,
        book: Book,
        host_now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Self {
        let state = Mutex::new(State { book, ..State::default() });
        LockedStore { inner, terms, host_now, state, renewed: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why nothing, or not all, is locked.
    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// Notes why something that should be locked is not.
    pub fn complain(&self, why: impl fmt::Display) {
        self.state().trouble.get_or_insert_with(|| format!("not everything is locked: {why}"));
    }

    /// Stops locking, for a reason.
    fn give_up(&self, why: impl fmt::Display) {
        self.complain(why);
        self.state().off = true;
    }

    /// Returns how many locks were renewed.
    pub fn renewed(&self) -> u64 {
        self.renewed.load(Ordering::Relaxed)
    }

    /// Returns what is known of the locks of all that was stored or needed in this run; the rest is forgotten.
    pub fn book(&self) -> Book {
        let state = self.state();
        let used = state.used.iter();
        used.filter_map(|key| Some((key.clone(), state.book.get(key)?.clone()))).collect()
    }

    /// Returns the lock for what is stored now; none once locking was given up.
    pub async fn lock_now(&self) -> Result<Option<Lock>> {
        if self.state().off {
            return Ok(None);
        }
        let (store, host) = (self.inner.now().await?, (self.host_now)());
        if store.duration_since(host).abs() > CLOCKS_AGREE {
            self.give_up(format!("the store's clock says {store}, this host's {host}"));
            return Ok(None);
        }
        let horizon = SignedDuration::try_from(self.terms.horizon).context(Kind::Bug, "lock horizon")?;
        let until = store.checked_add(horizon).context(Kind::Bug, "lock horizon")?;
        let until = Timestamp::from_second(until.as_second()).context(Kind::Bug, "lock horizon")?;
        Ok(Some(Lock { mode: self.terms.mode, until }))
    }

    /// Tells what is to be done about an object that is needed, if it would now be locked like this.
    pub fn due(&self, key: &Key, lock: &Lock) -> Due {
        let half = SignedDuration::try_from(self.terms.horizon / 2).unwrap_or(SignedDuration::MAX);
        let mut state = self.state();
        state.used.insert(key.to_string());
        match state.book.get(key.as_str()) {
            None => Due::Unknown,
            Some(held) if lock.until.duration_since(held.until) <= half => Due::No,
            Some(held) => Due::Version(held.version.clone()),
        }
    }

    /// Locks a version again and notes it.
    ///
    /// A refusal is none where the version is locked for longer already, as by a policy with a wider horizon.
    pub async fn renew(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        let mut until = lock.until;
        match self.inner.lock_until(key, version, lock).await {
            Ok(()) => {
                self.renewed.fetch_add(1, Ordering::Relaxed);
            }
            Err(e) if e.kind() == Kind::Denied => match self.inner.lock_of(key, version).await {
                Ok(Some(held)) if held.until >= until && held.mode >= lock.mode => until = held.until,
                _ => return Err(e),
            },
            Err(e) => return Err(e),
        }
        self.note(key, version, until);
        Ok(())
    }

    fn note(&self, key: &Key, version: &str, until: Timestamp) {
        let mut state = self.state();
        state.used.insert(key.to_string());
        state.book.insert(key.to_string(), Held { version: version.to_owned(), until });
    }
}

#[async_trait]
impl Store for LockedStore {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        let lock = if mode == PutMode::Create { self.lock_now().await? } else { None };
        let Some(lock) = lock else { return self.inner.put(key, body, mode).await };
        match self.inner.put_locked(key, body.clone(), mode, lock).await {
            Ok(entry) => {
                if let Some(version) = &entry.version {
                    self.note(key, version, lock.until);
                }
                Ok(entry)
            }
            Err(refused) if matches!(refused.kind(), Kind::Unsupported | Kind::Denied) => {
                // Where it is the store as such that refuses, this refuses, too.
                let entry = self.inner.put(key, body, mode).await?;
                self.give_up(refused);
                Ok(entry)
            }
            Err(e) => Err(e),
        }
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

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.inner.delete(key, version).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.inner.sweep(older_than).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.inner.put_locked(key, body, mode, lock).await
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        self.inner.lock_until(key, version, lock).await
    }

    async fn lock_of(&self, key: &Key, version: &str) -> Result<Option<Lock>> {
        self.inner.lock_of(key, version).await
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        self.inner.kept(prefix).await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.inner.tag(key).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        self.inner.swap(key, body, tag).await
    }

    fn trials(&self) -> Option<&dyn Trials> {
        self.inner.trials()
    }
}
