//! Tries failed calls again, with growing random pauses.
//!
//! Owns what is safe to repeat: only calls that failed with [`Kind::Store`] or [`Kind::Timeout`]; a create-only put whose
//! first answer was lost is told from a real conflict by reading back; a download that breaks goes on where it broke.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::Digest;
use tokio::time::Instant;

use super::{
    Body, Download, Entry, Kept, Key, Lock, Method, PutMode, RetryPolicy, SharedStore, Store, Tag, Trials,
    put,
};
use crate::error::{Error, Kind, Result};
use crate::id::Sha256;

/// A broken download starts counting its attempts anew after this much progress, in bytes.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// A store that tries again.
#[derive(Debug, Clone)]
pub struct Retry {
    inner: SharedStore,
    policy: RetryPolicy,
    random: Arc<Mutex<StdRng>>,
}

impl Retry {
    /// Wraps `inner`.
    pub fn new(inner: SharedStore, policy: RetryPolicy) -> Self {
        Retry::seeded(inner, policy, rand::random())
    }

    /// Wraps `inner`; the pauses follow from `seed`.
    pub fn seeded(inner: SharedStore, policy: RetryPolicy, seed: u64) -> Self {
        Retry { inner, policy, random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }

    fn attempts(&self, method: Method, object: &str) -> Attempts {
        Attempts { retry: self.clone(), method, object: object.to_owned(), began: Instant::now(), made: 1 }
    }

    /// Makes a call until it succeeds, fails for good or was tried often enough.
    async fn repeat<'a, T>(
        &self,
        method: Method,
        object: &str,
        call: impl Fn() -> BoxFuture<'a, Result<T>>,
    ) -> Result<T> {
        let mut attempts = self.attempts(method, object);
        loop {
            match call().await {
                Err(error) => attempts.again(error).await?,
                done => return done,
            }
        }
    }

    async fn put_as(&self, key: &Key, body: Body, mode: PutMode, lock: Option<Lock>) -> Result<Entry> {
        let mut attempts = self.attempts(Method::Put, key.as_str());
        loop {
            match put(&*self.inner, key, body.clone(), mode, lock).await {
                Err(error) if error.kind() == Kind::Conflict && attempts.made > 1 => {
                    return self.resolve(key, &body, error).await;
                }
                Err(error) => attempts.again(error).await?,
                done => return done,
            }
        }
    }

    /// Decides a conflict that may be with our own earlier attempt: if what is there is what we sent, we stored it.
    async fn resolve(&self, key: &Key, body: &Body, conflict: Error) -> Result<Entry> {
        let entry = match self.head(key).await? {
            Some(entry) if entry.size_bytes == body.size_bytes() => entry,
            _ => return Err(conflict),
        };
        let mut hash = sha2::Sha256::new();
        let mut there = self.get(key, None).await?.body;
        while let Some(piece) = there.try_next().await? {
            hash.update(&piece);
        }
        if Sha256(hash.finalize().into()) == body.sha256().await? { Ok(entry) } else { Err(conflict) }
    }
}

/// The attempts of one call so far.
struct Attempts {
    retry: Retry,
    method: Method,
    object: String,
    began: Instant,
    made: u32,
}

impl Attempts {
    /// Pauses before the next attempt, or returns `error` where there is none.
    async fn again(&mut self, error: Error) -> Result<()> {
        let policy = &self.retry.policy;
        if !may_pass(&error) || self.made >= policy.attempts {
            return Err(error);
        }
        let share: f64 = self.retry.random.lock().unwrap_or_else(PoisonError::into_inner).random();
        let pause = pause(policy, self.made, share);
        if self.began.elapsed() + pause >= policy.total {
            return Err(error);
        }
        let (method, object, attempt) = (self.method.word(), &self.object, self.made);
        tracing::warn!(%error, method, object, attempt, pause_ms = pause.as_millis(), "trying again");
        tokio::time::sleep(pause).await;
        self.made += 1;
        Ok(())
    }
}

/// Tells whether an error may be gone when the call is repeated.
fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), Kind::Store | Kind::Timeout)
}

/// Returns the pause after the `made`-th attempt; `share` of 0 to 1 is the dice.
fn pause(policy: &RetryPolicy, made: u32, share: f64) -> Duration {
    let doubled = policy.first_delay.saturating_mul(2_u32.saturating_pow(made.saturating_sub(1)));
    doubled.min(policy.longest_delay).mul_f64(share.clamp(0.0, 1.0))
}

#[async_trait]
impl Store for Retry {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.put_as(key, body, mode, None).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        let opened = self.repeat(Method::Get, key.as_str(), || self.inner.get(key, version)).await?;
        let whole = Whole {
            retry: self.clone(),
            key: key.clone(),
            version: version.map(str::to_owned),
            size_bytes: opened.size_bytes,
            given_bytes: 0,
            given_crc: crc32fast::Hasher::new(),
            broke_at_bytes: 0,
            attempts: self.attempts(Method::Get, key.as_str()),
            stream: Some(opened.body),
        };
        let body = futures::stream::unfold(whole, |mut whole| async move {
            let piece = whole.next().await?;
            Some((piece, whole))
        });
        Ok(Download { size_bytes: opened.size_bytes, body: body.boxed() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.repeat(Method::Head, key.as_str(), || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.repeat(Method::List, prefix, || self.inner.list(prefix)).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.repeat(Method::Versions, prefix, || self.inner.versions(prefix)).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.repeat(Method::Delete, key.as_str(), || self.inner.delete(key, version)).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        self.repeat(Method::Sweep, "", || self.inner.sweep(older_than)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.repeat(Method::Head, "", || self.inner.now()).await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.put_as(key, body, mode, Some(lock)).await
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        self.repeat(Method::Lock, key.as_str(), || self.inner.lock_until(key, version, lock)).await
    }

    async fn lock_of(&self, key: &Key, version: &str) -> Result<Option<Lock>> {
        self.repeat(Method::LockOf, key.as_str(), || self.inner.lock_of(key, version)).await
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        self.repeat(Method::Versions, prefix, || self.inner.kept(prefix)).await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.repeat(Method::Tag, key.as_str(), || self.inner.tag(key)).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        let mut attempts = self.attempts(Method::Swap, key.as_str());
        loop {
            match self.inner.swap(key, body.clone(), tag).await {
                Err(error) if error.kind() == Kind::Conflict && attempts.made > 1 => {
                    // Before the content, so that whoever replaces it in between makes the tag stale.
                    let now = self.tag(key).await?;
                    self.resolve(key, &body, error).await?;
                    let gone = || Error::new(Kind::Conflict, format!("{key} was deleted meanwhile"));
                    return now.ok_or_else(gone);
                }
                Err(error) => attempts.again(error).await?,
                done => return done,
            }
        }
    }

    fn trials(&self) -> Option<&dyn Trials> {
        self.inner.trials()
    }
}

/// A download that is opened anew when it breaks.
struct Whole {
    retry: Retry,
    key: Key,
    version: Option<String>,
    size_bytes: u64,
    /// What was handed on, and its checksum: an object that was replaced in between must not be pieced together of two.
    given_bytes: u64,
    given_crc: crc32fast::Hasher,
    /// How far it was when it last broke.
    broke_at_bytes: u64,
    attempts: Attempts,
    /// None after the end or an error.
    stream: Option<BoxStream<'static, Result<Bytes>>>,
}

impl Whole {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            let failed = match self.stream.as_mut()?.next().await {
                None => {
                    self.stream = None;
                    return None;
                }
                Some(Ok(piece)) => {
                    self.given_bytes += piece.len() as u64;
                    self.given_crc.update(&piece);
                    return Some(Ok(piece));
                }
                Some(Err(error)) => error,
            };
            self.stream = None;
            match self.reopen(failed).await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn reopen(&mut self, mut failed: Error) -> Result<BoxStream<'static, Result<Bytes>>> {
        if self.given_bytes >= self.broke_at_bytes + PROGRESS_BYTES {
            self.attempts = self.retry.attempts(Method::Get, self.key.as_str());
        }
        self.broke_at_bytes = self.given_bytes;
        loop {
            self.attempts.again(failed).await?;
            match self.go_on().await {
                Err(error) => failed = error,
                stream => return stream,
            }
        }
    }

    /// Opens the object again and skips what was handed on already.
    async fn go_on(&mut self) -> Result<BoxStream<'static, Result<Bytes>>> {
        let mut download = self.retry.inner.get(&self.key, self.version.as_deref()).await?;
        let changed = || Error::new(Kind::Conflict, format!("{} was replaced while it was read", self.key));
        if download.size_bytes != self.size_bytes {
            return Err(changed());
        }
        let (mut left_bytes, mut crc) = (self.given_bytes, crc32fast::Hasher::new());
        let mut rest = Bytes::new();
        while left_bytes > 0 {
            let early = || Error::new(Kind::Store, format!("{}: the answer ended too early", self.key));
            let mut piece = download.body.try_next().await?.ok_or_else(early)?;
            let skipped = piece.split_to(usize::try_from(left_bytes).unwrap_or(usize::MAX).min(piece.len()));
            crc.update(&skipped);
            left_bytes -= skipped.len() as u64;
            rest = piece;
        }
        if crc.finalize() != self.given_crc.clone().finalize() {
            return Err(changed());
        }
        let first = if rest.is_empty() { None } else { Some(Ok(rest)) };
        Ok(futures::stream::iter(first).chain(download.body).boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{body, key, local};
    use crate::store::{Fault, FaultStore, Record};

    const QUICK: RetryPolicy = RetryPolicy {
        attempts: 4,
        first_delay: Duration::from_micros(10),
        longest_delay: Duration::from_micros(50),
        total: Duration::from_secs(600),
    };

    /// A retrying store over a recording one over one that breaks as scripted.
    async fn store(script: &[(Method, u64, Fault)]) -> (tempfile::TempDir, Arc<Record>, Retry) {
        let (folder, inner) = local().await;
        let mut faulty = FaultStore::new(inner);
        for (method, call, fault) in script {
            faulty = faulty.on(*method, *call, *fault);
        }
        let record = Arc::new(Record::new(Arc::new(faulty)));
        let retry = Retry::seeded(record.clone(), QUICK, 1);
        (folder, record, retry)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_random_below() {
        let policy = RetryPolicy {
            attempts: 9,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_millis(350),
            total: Duration::from_secs(60),
        };
        let ms = |made, share| pause(&policy, made, share).as_millis();
        assert_eq!([ms(1, 1.0), ms(2, 1.0), ms(3, 1.0), ms(40, 1.0)], [100, 200, 350, 350]);
        assert_eq!([ms(2, 0.5), ms(2, 0.0)], [100, 0]);
    }

    #[tokio::test]
    async fn passing_faults_are_tried_again_and_lasting_ones_are_not() {
        let (_f, record, store) = store(&[
            (Method::Head, 1, Fault::Before(Kind::Store)),
            (Method::Head, 2, Fault::Before(Kind::Timeout)),
            (Method::List, 1, Fault::Before(Kind::Denied)),
        ])
        .await;
        assert_eq!(store.head(&key("x")).await.unwrap(), None);
        assert_eq!(record.calls(Method::Head).calls, 3);
        assert_eq!(store.list("").await.unwrap_err().kind(), Kind::Denied);
        assert_eq!(record.calls(Method::List).calls, 1);
    }

    #[tokio::test]
    async fn attempts_and_total_time_are_bounded() {
        let script = (1..=9).map(|n| (Method::Head, n, Fault::Before(Kind::Store))).collect::<Vec<_>>();
        let (_f, record, store) = store(&script).await;
        assert_eq!(store.head(&key("x")).await.unwrap_err().kind(), Kind::Store);
        assert_eq!(record.calls(Method::Head).calls, 4);
        let hasty = Retry::seeded(record.clone(), RetryPolicy { total: Duration::ZERO, ..QUICK }, 1);
        assert_eq!(hasty.head(&key("x")).await.unwrap_err().kind(), Kind::Store);
        assert_eq!(record.calls(Method::Head).calls, 5);
    }

    #[tokio::test]
    async fn a_create_whose_answer_was_lost_is_a_success_when_ours_is_there() {
        let (_f, record, store) = store(&[(Method::Put, 1, Fault::After(Kind::Store))]).await;
        let entry = store.put(&key("x"), body(b"ours"), PutMode::Create).await.unwrap();
        assert_eq!((entry.size_bytes, record.calls(Method::Put).calls), (4, 2));
    }

    #[tokio::test]
    async fn a_create_that_met_another_is_a_conflict_even_after_a_fault() {
        for other in [&b"them"[..], b"longer"] {
            let (_f, _, store) = store(&[(Method::Put, 2, Fault::Before(Kind::Store))]).await;
            store.put(&key("x"), body(other), PutMode::Create).await.unwrap();
            let error = store.put(&key("x"), body(b"ours"), PutMode::Create).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
        }
    }

    #[tokio::test]
    async fn a_conflict_at_the_first_attempt_is_one_though_the_bytes_are_equal() {
        let (_f, record, store) = store(&[]).await;
        store.put(&key("x"), body(b"same"), PutMode::Create).await.unwrap();
        let error = store.put(&key("x"), body(b"same"), PutMode::Create).await.unwrap_err();
        assert_eq!((error.kind(), record.calls(Method::Get).calls), (Kind::Conflict, 0));
    }

    #[tokio::test]
    async fn a_download_that_breaks_goes_on_where_it_broke() {
        let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        for cut in [0, 1, 300_000, 3_999_999] {
            let script = [(Method::Get, 1, Fault::Cut(cut)), (Method::Get, 2, Fault::Cut(cut / 2))];
            let (_f, record, store) = store(&script).await;
            store.put(&key("x"), body(&content), PutMode::Create).await.unwrap();
            let got = store.get(&key("x"), None).await.unwrap().bytes(u64::MAX).await.unwrap();
            assert!(got == content, "cut at {cut}");
            assert_eq!(record.calls(Method::Get).calls, 3);
        }
    }

    #[tokio::test]
    async fn two_objects_are_never_pieced_together() {
        for other in [vec![2; 600_000], vec![1; 600_001]] {
            let (_f, _, store) = store(&[(Method::Get, 1, Fault::Cut(500_000))]).await;
            store.put(&key("x"), body(&[1; 600_000]), PutMode::Create).await.unwrap();
            let mut download = store.get(&key("x"), None).await.unwrap();
            download.body.try_next().await.unwrap().unwrap();
            store.put(&key("x"), body(&other), PutMode::Replace).await.unwrap();
            let error = download.bytes(u64::MAX).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
        }
    }

    #[tokio::test]
    async fn a_download_that_breaks_again_and_again_fails() {
        let script = (1..=9).map(|n| (Method::Get, n, Fault::Cut(10))).collect::<Vec<_>>();
        let (_f, record, store) = store(&script).await;
        store.put(&key("x"), body(&[1; 100]), PutMode::Create).await.unwrap();
        let error = store.get(&key("x"), None).await.unwrap().bytes(u64::MAX).await.unwrap_err();
        assert_eq!((error.kind(), record.calls(Method::Get).calls), (Kind::Store, 4));
    }
}
