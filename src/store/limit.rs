//! Keeps a store's traffic within a line's share: bytes a second each way, and calls at once.
//!
//! Bytes are lent: an object goes at once if earlier ones are paid for, and the next waits until this one is. So the rate
//! holds over time, while one upload goes as fast as the line does. What is small never waits, since leases, locks and
//! receipts hang on it, but is paid for by the next. Downloads are paced piece by piece.

use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Body, Download, Entry, Kept, Key, Lock, PutMode, SharedStore, Store, Tag, Trials, put};
use crate::error::{Context, Kind, Result};

/// What may be used of a store; nothing given means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of objects stored a second.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    /// Bytes of objects fetched a second.
    pub download_bytes_per_second: Option<NonZeroU64>,
    /// Calls at once; a download counts until its body is dropped, so who holds bodies must not wait for other calls.
    pub concurrent_calls: Option<NonZeroUsize>,
}

/// Uploads below this many bytes do not wait.
const SMALL_BYTES: u64 = 64 * 1024;

/// A direction of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Up,
    Down,
}

/// Lines by name: all stores that are limited under one name share its rates, as several tenants' runs do.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    buckets: Arc<Mutex<BTreeMap<(String, Way), Bucket>>>,
}

impl Lines {
    /// Wraps `inner` where there is a limit; the rates of a name are those that it was first given.
    pub fn limit(&self, name: &str, inner: SharedStore, limits: Limits) -> SharedStore {
        if limits == Limits::default() {
            return inner;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shared = |way, rate: Option<NonZeroU64>| {
            let rate = rate?;
            Some(buckets.entry((name.to_owned(), way)).or_insert_with(|| Bucket::new(rate)).clone())
        };
        let (upload, download) = (
            shared(Way::Up, limits.upload_bytes_per_second),
            shared(Way::Down, limits.download_bytes_per_second),
        );
        Arc::new(Limit { upload, download, ..Limit::new(inner, limits) })
    }
}

/// A store that waits for its turn.
#[derive(Debug, Clone)]
pub struct Limit {
    inner: SharedStore,
    upload: Option<Bucket>,
    download: Option<Bucket>,
    calls: Option<Arc<Semaphore>>,
}

impl Limit {
    /// Wraps `inner`.
    pub fn new(inner: SharedStore, limits: Limits) -> Self {
        Limit {
            inner,
            upload: limits.upload_bytes_per_second.map(Bucket::new),
            download: limits.download_bytes_per_second.map(Bucket::new),
            calls: limits.concurrent_calls.map(|n| Arc::new(Semaphore::new(n.get()))),
        }
    }

    async fn put_as(&self, key: &Key, body: Body, mode: PutMode, lock: Option<Lock>) -> Result<Entry> {
        if let Some(upload) = &self.upload {
            upload.upload(body.size_bytes()).await;
        }
        let _turn = self.turn().await?;
        put(&*self.inner, key, body, mode, lock).await
    }

    async fn turn(&self) -> Result<Option<OwnedSemaphorePermit>> {
        match &self.calls {
            None => Ok(None),
            Some(calls) => {
                let permit = Arc::clone(calls).acquire_owned().await;
                permit.map(Some).context(Kind::Bug, "turns at the store")
            }
        }
    }
}

/// A bucket of bytes that fills at a rate and may be overdrawn.
#[derive(Debug, Clone)]
struct Bucket {
    rate: NonZeroU64,
    /// When all that was taken is paid for.
    paid_at: Arc<Mutex<Option<Instant>>>,
}

impl Bucket {
    fn new(rate: NonZeroU64) -> Self {
        Bucket { rate, paid_at: Arc::default() }
    }

    /// Takes bytes at `now` and returns how long to wait before they may go.
    fn take(&self, now: Instant, bytes: u64) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let start = paid_at.map_or(now, |at| at.max(now));
        *paid_at = Some(start + cost);
        start - now
    }

    async fn wait(&self, bytes: u64) {
        tokio::time::sleep(self.take(Instant::now(), bytes)).await;
    }

    async fn upload(&self, bytes: u64) {
        let wait = self.take(Instant::now(), bytes);
        if bytes >= SMALL_BYTES {
            tokio::time::sleep(wait).await;
        }
    }
}

#[async_trait]
impl Store for Limit {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.put_as(key, body, mode, None).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        let turn = self.turn().await?;
        let download = self.inner.get(key, version).await?;
        let bucket = self.download.clone();
        let state = (download.body, bucket, turn);
        let body = futures::stream::unfold(state, |(mut body, bucket, turn)| async move {
            let piece = body.next().await?;
            if let (Some(bucket), Ok(bytes)) = (&bucket, &piece) {
                bucket.wait(bytes.len() as u64).await;
            }
            Some((piece, (body, bucket, turn)))
        });
        Ok(Download { size_bytes: download.size_bytes, body: body.boxed() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let _turn = self.turn().await?;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let _turn = self.turn().await?;
        self.inner.list(prefix).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        let _turn = self.turn().await?;
        self.inner.versions(prefix).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        let _turn = self.turn().await?;
        self.inner.delete(key, version).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        let _turn = self.turn().await?;
        self.inner.sweep(older_than).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.put_as(key, body, mode, Some(lock)).await
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        let _turn = self.turn().await?;
        self.inner.lock_until(key, version, lock).await
    }

    async fn lock_of(&self, key: &Key, version: &str) -> Result<Option<Lock>> {
        let _turn = self.turn().await?;
        self.inner.lock_of(key, version).await
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        let _turn = self.turn().await?;
        self.inner.kept(prefix).await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        let _turn = self.turn().await?;
        self.inner.tag(key).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        let _turn = self.turn().await?;
        self.inner.swap(key, body, tag).await
    }

    fn trials(&self) -> Option<&dyn Trials> {
        self.inner.trials()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::store::testing::{body, key, local};

    #[test]
    fn the_rate_holds_over_time_and_idleness_is_not_saved_up() {
        let bucket = Bucket::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let waits = [(0, 500), (0, 500), (200, 1000), (5000, 100), (5000, 1)];
        let waits = waits.map(|(ms, bytes)| bucket.take(at(ms), bytes).as_millis());
        assert_eq!(waits, [0, 500, 800, 0, 100]);
    }

    /// So slow that nobody lives to see the second object through.
    const CRAWL: u64 = 1;
    const FAST: u64 = 1 << 40;

    fn up(rate: u64) -> Limits {
        Limits { upload_bytes_per_second: NonZeroU64::new(rate), ..Limits::default() }
    }

    async fn put_large(store: &SharedStore, name: &str) {
        store.put(&key(name), vec![7; 1 << 20].into(), PutMode::Replace).await.unwrap();
    }

    /// Tells whether `work` still waits when the store below has taken ten objects.
    async fn waits(below: &SharedStore, work: impl Future) -> bool {
        let others = async {
            for _ in 0..10 {
                put_large(below, "other").await;
            }
        };
        tokio::select! {
            biased;
            _ = work => false,
            () = others => true,
        }
    }

    #[tokio::test]
    async fn the_tighter_of_two_limits_counts() {
        let (_folder, inner) = local().await;
        for (of_store, of_policy, tight) in [(CRAWL, FAST, true), (FAST, CRAWL, true), (FAST, FAST, false)] {
            let lines = Lines::default();
            let store = lines.limit("store", Arc::clone(&inner), up(of_store));
            let store = lines.limit("policy", store, up(of_policy));
            put_large(&store, "a").await;
            if tight {
                assert!(waits(&inner, put_large(&store, "b")).await, "{of_store} {of_policy}");
            } else {
                put_large(&store, "b").await;
            }
        }
    }

    #[tokio::test]
    async fn stores_under_one_name_share_a_line_and_others_have_their_own() {
        let (_folder, inner) = local().await;
        let lines = Lines::default();
        let open = |name: &str| lines.limit(name, Arc::clone(&inner), up(CRAWL));
        put_large(&open("one"), "a").await;
        put_large(&open("other"), "b").await;
        assert!(waits(&inner, put_large(&open("one"), "c")).await);
        let free = lines.limit("one", Arc::clone(&inner), Limits::default());
        put_large(&free, "d").await;
    }

    #[tokio::test]
    async fn what_is_small_goes_at_once_and_the_next_pays_for_it() {
        let (_folder, inner) = local().await;
        let store = Lines::default().limit("store", Arc::clone(&inner), up(CRAWL));
        for n in 0..10 {
            store.put(&key(&format!("receipt-{n}")), body(&[1; 32 * 1024]), PutMode::Create).await.unwrap();
        }
        assert!(waits(&inner, put_large(&store, "pack")).await);
    }

    #[tokio::test]
    async fn downloads_side_by_side_share_the_rate() {
        let (_folder, inner) = local().await;
        put_large(&inner, "a").await;
        let lines = Lines::default();
        let down = Limits { download_bytes_per_second: NonZeroU64::new(CRAWL), ..Limits::default() };
        let get = async || {
            let store = lines.limit("store", Arc::clone(&inner), down);
            store.get(&key("a"), None).await.unwrap().body.next().await.unwrap().unwrap().len()
        };
        assert!(get().await > 0, "the first piece passes");
        assert!(waits(&inner, get()).await);
    }

    #[tokio::test]
    async fn a_download_holds_its_turn_until_it_is_dropped() {
        let (_folder, inner) = local().await;
        let limits = Limits { concurrent_calls: NonZeroUsize::new(1), ..Limits::default() };
        let store = Limit::new(inner, limits);
        store.put(&key("a"), body(b"1"), PutMode::Create).await.unwrap();
        let download = store.get(&key("a"), None).await.unwrap();
        assert!(store.turn().now_or_never().is_none());
        assert_eq!(download.bytes(9).await.unwrap(), b"1"[..]);
        assert!(store.head(&key("a")).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn limited_traffic_arrives_whole() {
        let (_folder, inner) = local().await;
        let rate = NonZeroU64::new(100_000_000);
        let limits =
            Limits { upload_bytes_per_second: rate, download_bytes_per_second: rate, concurrent_calls: None };
        let store = Limit::new(inner, limits);
        store.put(&key("a"), body(&[7; 1_000_000]), PutMode::Create).await.unwrap();
        let got = store.get(&key("a"), None).await.unwrap().bytes(1_000_000).await.unwrap();
        assert!(got == vec![7; 1_000_000]);
    }
}
