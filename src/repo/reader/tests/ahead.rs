//! Packs are fetched ahead, as many as may be, and nothing outlives who asked for them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::store::{Body, Download, Entry};

/// A store whose downloads stop after their first piece until the gate opens.
#[derive(Debug)]
struct Gated {
    inner: SharedStore,
    gate: tokio::sync::watch::Sender<bool>,
    begun: AtomicUsize,
    failing: Mutex<Vec<Kind>>,
}

impl Gated {
    fn around(inner: SharedStore) -> Arc<Self> {
        let gate = tokio::sync::watch::Sender::new(false);
        Arc::new(Gated { inner, gate, begun: AtomicUsize::new(0), failing: Mutex::default() })
    }
}

#[async_trait]
impl Store for Gated {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(kind) = self.failing.lock().unwrap().pop() {
            return Err(Error::new(kind, "as the test asked"));
        }
        let download = self.inner.get(key, version).await?;
        let (size_bytes, mut gate) = (download.size_bytes, self.gate.subscribe());
        let bytes = download.bytes(size_bytes).await?;
        let (head, tail) = (bytes.slice(..100), bytes.slice(100..));
        let tail = futures::stream::once(async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(tail)
        });
        let body = futures::stream::iter([Ok(head)]).chain(tail).boxed();
        Ok(Download { size_bytes, body })
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

    async fn sweep(&self, older_than: std::time::Duration) -> Result<u64> {
        self.inner.sweep(older_than).await
    }
}

/// Waits for what other threads are about to do; a test that fails does not hang.
async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), waiting).await.expect("what was awaited");
}

async fn gated(packs: u64) -> (Fixture, Arc<Gated>) {
    let (fixture, _) = Fixture::versioned();
    let mut fixture = fixture.with_packs(packs, 1_000).await;
    let gated = Gated::around(fixture.store.clone());
    fixture.store = gated.clone();
    (fixture, gated)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_packs_are_fetched_ahead_at_a_time_as_may_be() {
    let (fixture, store) = gated(8).await;
    let (record, bytes) = fixture.record(&[(0..8).map(|p| extent(p, 0, 4_000)).collect()]);
    let reader = fixture.reader().await;
    reader.expect(&[&record]);
    until(|| store.begun.load(Ordering::Relaxed) == 3).await;
    // Nothing is read yet, and no fourth begins.
    until(|| fixture.files().len() == 3).await;
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);
    store.gate.send_replace(true);
    assert_eq!(read(reader.stream(record)).await.unwrap(), bytes);
    assert_eq!(store.begun.load(Ordering::Relaxed), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_stream_and_reader_early_leaves_no_files() {
    let (fixture, store) = gated(8).await;
    let (record, _) = fixture.record(&[(0..8).map(|p| extent(p, 0, 4_000)).collect()]);
    let reader = fixture.reader().await;
    let stream = reader.stream(record.clone());
    until(|| fixture.files().len() == 3).await;
    drop(stream);
    store.gate.send_replace(true);
    until(|| fixture.files().is_empty()).await;
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);

    store.gate.send_replace(false);
    let stream = reader.stream(record);
    until(|| fixture.files().len() == 3).await;
    drop(reader);
    drop(stream);
    until(|| std::fs::read_dir(fixture.folder.path()).unwrap().next().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_its_reader() {
    let (fixture, store) = gated(2).await;
    let (record, bytes) = fixture.record(&[interleaved(2, 4_000, 1_000)]);
    let reader = fixture.reader().await;
    let stream = reader.stream(record);
    drop(reader);
    store.gate.send_replace(true);
    assert_eq!(read(stream).await.unwrap(), bytes);
    until(|| std::fs::read_dir(fixture.folder.path()).unwrap().next().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_failed_is_asked_again_when_the_pack_is_needed() {
    let (fixture, store) = gated(1).await;
    store.gate.send_replace(true);
    *store.failing.lock().unwrap() = vec![Kind::Timeout, Kind::Store];
    let (record, bytes) = fixture.record(&[vec![extent(0, 0, 4_000)]]);
    let reader = fixture.reader().await;
    // Fetching ahead fails, without harm to whoever comes later.
    reader.expect(&[&record]);
    until(|| reader.hold.supply.failures() == 1).await;
    assert_eq!(store.begun.load(Ordering::Relaxed), 2);
    assert_eq!(read(reader.stream(record)).await.unwrap(), bytes);
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_larger_than_the_format_allows_is_not_fetched() {
    let (mut fixture, store) = gated(1).await;
    fixture.packs[0].size_bytes = crate::repo::pack::MOST_OBJECT_BYTES + 1;
    let (record, _) = fixture.record(&[vec![extent(0, 0, 4_000)]]);
    let error = read(fixture.reader().await.stream(record)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert_eq!(store.begun.load(Ordering::Relaxed), 0);
    assert!(check_pack(&*fixture.store, PREFIX, fixture.packs[0]).await.is_err());
}

#[test]
fn a_runtime_that_shuts_down_does_not_wait_for_a_reader() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (fixture, stream) = runtime.block_on(async {
        let (fixture, store) = gated(3).await;
        let (record, _) = fixture.record(&[(0..3).map(|p| extent(p, 0, 4_000)).collect()]);
        let stream = fixture.reader().await.stream(record);
        until(|| store.begun.load(Ordering::Relaxed) == 3).await;
        (fixture, stream)
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(read(stream)).unwrap_err().kind(), Kind::Interrupted);
    assert!(std::fs::read_dir(fixture.folder.path()).unwrap().next().is_none());
}
