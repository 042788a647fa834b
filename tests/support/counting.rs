//! What is asked of a store, request by request; and a store in memory that a fleet fits into.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use lifeboat::error::{Error, Kind, Result};
use lifeboat::store::{Body, Download, Entry, Kept, Key, PutMode, SharedStore, Store, Tag};

/// How many objects a page of a listing shows.
const PAGE: usize = 1000;

/// Spells the kind of an object: `tenants/byrne/snapshots/20261123t020000z-00000001.json` is `T/snapshots/*.json`.
pub fn kind(key: &str) -> String {
    let (start, rest) = match key.strip_prefix("tenants/").and_then(|k| k.split_once('/')) {
        Some((_, rest)) => ("T/", rest),
        None => ("", key),
    };
    let Some((folder, name)) = rest.split_once('/').filter(|(_, name)| !name.is_empty()) else {
        return format!("{start}{rest}");
    };
    let suffix = name.rsplit_once('.').map_or(String::new(), |(_, suffix)| format!(".{suffix}"));
    format!("{start}{folder}/*{suffix}")
}

/// Requests by method and kind of object.
pub type Tally = BTreeMap<String, usize>;

/// A store that notes each request; a listing is as many as it has pages.
#[derive(Debug)]
pub struct Counting {
    inner: SharedStore,
    heard: Mutex<Tally>,
}

impl Counting {
    pub fn new(inner: SharedStore) -> Arc<Counting> {
        Arc::new(Counting { inner, heard: Mutex::default() })
    }

    /// Returns what was asked since the last call of this.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn note(&self, method: &str, key: &str, requests: usize) {
        *self.heard.lock().unwrap().entry(format!("{method} {}", kind(key))).or_default() += requests;
    }

    fn note_pages(&self, prefix: &str, entries: usize) {
        self.note("list", prefix, entries.div_ceil(PAGE).max(1));
    }
}

#[async_trait]
impl Store for Counting {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.note("put", key.as_str(), 1);
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.note("get", key.as_str(), 1);
        self.inner.get(key, version).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.note("head", key.as_str(), 1);
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let listed = self.inner.list(prefix).await?;
        self.note_pages(prefix, listed.len());
        Ok(listed)
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        Ok(self.kept(prefix).await?.versions)
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        let kept = self.inner.kept(prefix).await?;
        self.note_pages(prefix, kept.versions.len() + kept.markers.len());
        Ok(kept)
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.note("delete", key.as_str(), 1);
        self.inner.delete(key, version).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.note("sweep", "", 1);
        self.inner.sweep(older_than).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.note("head", key.as_str(), 1);
        self.inner.tag(key).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        self.note("put", key.as_str(), 1);
        self.inner.swap(key, body, tag).await
    }
}

/// A store in memory, at a standing time.
#[derive(Debug)]
pub struct InMemory {
    pub now: Timestamp,
    objects: Mutex<BTreeMap<Key, bytes::Bytes>>,
}

impl InMemory {
    pub fn new(now: Timestamp) -> Arc<InMemory> {
        Arc::new(InMemory { now, objects: Mutex::default() })
    }

    pub fn insert(&self, key: &Key, bytes: impl Into<bytes::Bytes>) {
        self.objects.lock().unwrap().insert(key.clone(), bytes.into());
    }

    fn entry(&self, key: &Key, size: usize) -> Entry {
        Entry { key: key.clone(), size_bytes: size as u64, modified: self.now, version: None }
    }
}

#[async_trait]
impl Store for InMemory {
    fn address(&self) -> String {
        "memory".to_owned()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        let Body::Bytes(bytes) = body else { panic!("nothing long is put here") };
        let mut objects = self.objects.lock().unwrap();
        if mode == PutMode::Create && objects.contains_key(key) {
            return Err(Error::new(Kind::Conflict, key.to_string()));
        }
        let entry = self.entry(key, bytes.len());
        objects.insert(key.clone(), bytes);
        Ok(entry)
    }

    async fn get(&self, key: &Key, _version: Option<&str>) -> Result<Download> {
        let found = self.objects.lock().unwrap().get(key).cloned();
        let bytes = found.ok_or_else(|| Error::new(Kind::NotFound, key.to_string()))?;
        let size_bytes = bytes.len() as u64;
        Ok(Download { size_bytes, body: futures::stream::iter([Ok(bytes)]).boxed() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(self.objects.lock().unwrap().get(key).map(|b| self.entry(key, b.len())))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let objects = self.objects.lock().unwrap();
        // A prefix that ends in a slash is no key; without it, it is one that comes before all that begin so.
        let from: Key = prefix.trim_end_matches('/').parse()?;
        let near = objects.range(from..).skip_while(|(key, _)| key.as_str() < prefix);
        let below = near.take_while(|(key, _)| key.as_str().starts_with(prefix));
        Ok(below.map(|(key, bytes)| self.entry(key, bytes.len())).collect())
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.list(prefix).await
    }

    async fn delete(&self, key: &Key, _version: Option<&str>) -> Result<()> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }

    async fn sweep(&self, _older_than: Duration) -> Result<u64> {
        Ok(0)
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.now)
    }
}
