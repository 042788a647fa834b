//! Counts calls, failures and bytes of a store, for metrics and for tests of how much is asked of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;

use super::{Body, Download, Entry, Kept, Key, Lock, Method, PutMode, SharedStore, Store, Tag, Trials, put};
use crate::error::Result;

/// What was asked through one method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Calls made.
    pub calls: u64,
    /// Calls, and bodies of downloads, that ended in an error.
    pub failures: u64,
    /// Bytes stored by puts that succeeded, and bytes that came through downloads.
    pub bytes: u64,
}

/// A store that counts.
#[derive(Debug, Clone)]
pub struct Record {
    inner: SharedStore,
    counts: Counts,
}

#[derive(Debug, Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<Method, Calls>>>);

impl Counts {
    fn change(&self, method: Method, change: impl FnOnce(&mut Calls)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(method).or_default());
    }
}

impl Record {
    /// Wraps `inner`.
    pub fn new(inner: SharedStore) -> Self {
        Record { inner, counts: Counts::default() }
    }

    /// Returns what was asked through `method` so far.
    pub fn calls(&self, method: Method) -> Calls {
        self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).get(&method).copied().unwrap_or_default()
    }

    /// Returns how many calls were made in all.
    pub fn total(&self) -> u64 {
        Method::ALL.iter().map(|m| self.calls(*m).calls).sum()
    }

    async fn put_as(&self, key: &Key, body: Body, mode: PutMode, lock: Option<Lock>) -> Result<Entry> {
        let size_bytes = body.size_bytes();
        let entry = self.note(Method::Put, put(&*self.inner, key, body, mode, lock).await)?;
        self.counts.change(Method::Put, |c| c.bytes += size_bytes);
        Ok(entry)
    }

    fn note<T>(&self, method: Method, outcome: Result<T>) -> Result<T> {
        self.counts.change(method, |c| {
            c.calls += 1;
            c.failures += u64::from(outcome.is_err());
        });
        outcome
    }
}

#[async_trait]
impl Store for Record {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.put_as(key, body, mode, None).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        let download = self.note(Method::Get, self.inner.get(key, version).await)?;
        let counts = self.counts.clone();
        let body = download.body.inspect(move |piece| {
            counts.change(Method::Get, |c| match piece {
                Ok(bytes) => c.bytes += bytes.len() as u64,
                Err(_) => c.failures += 1,
            });
        });
        Ok(Download { size_bytes: download.size_bytes, body: body.boxed() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.note(Method::Head, self.inner.head(key).await)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.note(Method::List, self.inner.list(prefix).await)
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.note(Method::Versions, self.inner.versions(prefix).await)
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.note(Method::Delete, self.inner.delete(key, version).await)
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.note(Method::Sweep, self.inner.sweep(older_than).await)
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.put_as(key, body, mode, Some(lock)).await
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        self.note(Method::Lock, self.inner.lock_until(key, version, lock).await)
    }

    async fn lock_of(&self, key: &Key, version: &str) -> Result<Option<Lock>> {
        self.note(Method::LockOf, self.inner.lock_of(key, version).await)
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        self.note(Method::Versions, self.inner.kept(prefix).await)
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.note(Method::Tag, self.inner.tag(key).await)
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        self.note(Method::Swap, self.inner.swap(key, body, tag).await)
    }

    fn trials(&self) -> Option<&dyn Trials> {
        self.inner.trials()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{body, key, local};

    #[tokio::test]
    async fn calls_failures_and_bytes_are_counted_by_method() {
        let (_folder, inner) = local().await;
        let store = Record::new(inner);
        store.put(&key("a"), body(b"12345"), PutMode::Create).await.unwrap();
        store.put(&key("a"), body(b"12345"), PutMode::Create).await.unwrap_err();
        store.get(&key("a"), None).await.unwrap().bytes(9).await.unwrap();
        store.get(&key("b"), None).await.unwrap_err();
        store.list("").await.unwrap();
        assert_eq!(store.calls(Method::Put), Calls { calls: 2, failures: 1, bytes: 5 });
        assert_eq!(store.calls(Method::Get), Calls { calls: 2, failures: 1, bytes: 5 });
        assert_eq!(store.calls(Method::Delete), Calls::default());
        assert_eq!(store.total(), 5);
    }
}
