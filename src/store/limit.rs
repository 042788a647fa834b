//! Keeps a store's traffic within a line's share: bytes a second each way, and calls at once.
//!
//! Bytes are lent: an object goes at once if earlier ones are paid for, and the next waits until this one is. So the rate
//! holds over time, while one upload goes as fast as the line does. Downloads are paced piece by piece.

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
            upload.wait(body.size_bytes()).await;
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
