//! A store that breaks as told: for tests and for the fault campaign, never for use.
//!
//! Owns the faults that were seen in the field: answers that are lost, connections that hang or break, bytes that flip,
//! objects cut short, requests carried out twice, and stores that say OK and do nothing. In production nothing makes one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Body, Download, Entry, Kept, Key, Lock, Method, PutMode, SharedStore, Store, Tag, Trials, put};
use crate::error::{Context, Error, Kind, Result};

/// One way to break one call. What a method cannot suffer passes it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fails with this kind and does nothing.
    Before(Kind),
    /// Does it, then fails with this kind: the answer was lost.
    After(Kind),
    /// Does nothing for this long, then fails with [`Kind::Timeout`].
    Hang(Duration),
    /// A download breaks with [`Kind::Store`] after this many bytes, as a driver reports it.
    Cut(u64),
    /// The object is this many bytes long and no longer, and the store finds nothing wrong with it: a put stores only
    /// them; a get, head or listing shows no more.
    Short(u64),
    /// The lowest bit of the byte at this offset is turned, modulo the length: in the store by a put, on the way by a get.
    Flip(u64),
    /// The request is carried out twice, and the first answer returned; a listing shows each entry twice.
    Twice,
    /// Says that it is done, or that nothing is there, and does nothing.
    Lie,
}

/// A store that breaks as told.
#[derive(Debug)]
pub struct FaultStore {
    inner: SharedStore,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    calls: BTreeMap<Method, u64>,
    script: BTreeMap<(Method, u64), Fault>,
    lasting: BTreeMap<Method, (u64, Fault)>,
    random: Option<Random>,
    struck: Vec<(Method, u64, Fault)>,
}

#[derive(Debug)]
struct Random {
    dice: StdRng,
    one_in: u32,
    faults: Vec<Fault>,
}

impl FaultStore {
    /// Wraps `inner`; without a script nothing breaks.
    pub fn new(inner: SharedStore) -> Self {
        FaultStore { inner, plan: Mutex::default() }
    }

    /// Breaks the `call`-th call of `method`, counted from 1.
    #[must_use]
    pub fn on(self, method: Method, call: u64, fault: Fault) -> Self {
        self.plan().script.insert((method, call), fault);
        self
    }

    /// Breaks the `call`-th call of `method`, counted from 1, and all after it, as a disk that is full does.
    #[must_use]
    pub fn from(self, method: Method, call: u64, fault: Fault) -> Self {
        self.plan().lasting.insert(method, (call, fault));
        self
    }

    /// Breaks also one in `one_in` calls, chosen by `seed`, by one of `faults`.
    #[must_use]
    pub fn seeded(self, seed: u64, one_in: u32, faults: &[Fault]) -> Self {
        let dice = StdRng::seed_from_u64(seed);
        self.plan().random = Some(Random { dice, one_in: one_in.max(1), faults: faults.to_vec() });
        self
    }

    /// Stops breaking anything.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.script.clear();
        plan.lasting.clear();
        plan.random = None;
    }

    /// Returns how often `method` was called.
    pub fn calls(&self, method: Method) -> u64 {
        self.plan().calls.get(&method).copied().unwrap_or(0)
    }

    /// Returns the faults that struck, in order, with method and number of the call.
    pub fn struck(&self) -> Vec<(Method, u64, Fault)> {
        self.plan().struck.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put_as(&self, key: &Key, body: Body, mode: PutMode, lock: Option<Lock>) -> Result<Entry> {
        let fault = self.enter(Method::Put).await?;
        let (inner, size_bytes) = (&*self.inner, body.size_bytes());
        let claimed = |modified| Entry { key: key.clone(), size_bytes, modified, version: None };
        match fault {
            Some(Fault::Lie) => Ok(claimed(Timestamp::now())),
            Some(harm @ (Fault::Short(_) | Fault::Flip(_))) => {
                let harmed = damage(harm, whole(body).await?);
                let entry = put(inner, key, Body::Bytes(harmed), mode, lock).await?;
                Ok(Entry { version: entry.version, ..claimed(entry.modified) })
            }
            Some(Fault::Twice) => {
                let first = put(inner, key, body.clone(), mode, lock).await;
                // Whatever becomes of the second, nobody hears it.
                drop(put(inner, key, body, mode, lock).await);
                first
            }
            fault => leave(fault, Method::Put, put(inner, key, body, mode, lock).await),
        }
    }

    /// Counts a call and returns what happens to it, after what happens before it has happened.
    async fn enter(&self, method: Method) -> Result<Option<Fault>> {
        let fault = self.plan().next(method);
        match fault {
            Some(Fault::Before(kind)) => {
                Err(Error::new(kind, format!("{}: broken on purpose", method.word())))
            }
            Some(Fault::Hang(time)) => {
                tokio::time::sleep(time).await;
                Err(Error::new(Kind::Timeout, format!("{}: hung on purpose", method.word())))
            }
            fault => Ok(fault),
        }
    }
}

impl Plan {
    fn next(&mut self, method: Method) -> Option<Fault> {
        let call = self.calls.entry(method).or_default();
        *call += 1;
        let call = *call;
        let scripted = self.script.get(&(method, call)).copied();
        let lasting = self.lasting.get(&method).filter(|(first, _)| call >= *first).map(|(_, fault)| *fault);
        let fault = scripted.or(lasting).or_else(|| self.random.as_mut()?.roll())?;
        self.struck.push((method, call, fault));
        Some(fault)
    }
}

impl Random {
    fn roll(&mut self) -> Option<Fault> {
        if self.dice.random_ratio(1, self.one_in) {
            self.faults.choose(&mut self.dice).copied()
        } else {
            None
        }
    }
}

/// Loses the answer to what was done.
fn leave<T>(fault: Option<Fault>, method: Method, done: Result<T>) -> Result<T> {
    match fault {
        Some(Fault::After(kind)) => {
            done?;
            Err(Error::new(kind, format!("{}: the answer was lost on purpose", method.word())))
        }
        _ => done,
    }
}

fn damage(fault: Fault, bytes: Bytes) -> Bytes {
    match fault {
        Fault::Short(length) => bytes.slice(..usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len())),
        Fault::Flip(offset) if !bytes.is_empty() => {
            let mut turned = bytes.to_vec();
            // The remainder is below a length in memory, so it fits.
            let at = usize::try_from(offset % turned.len() as u64).unwrap_or(0);
            turned[at] ^= 1;
            turned.into()
        }
        _ => bytes,
    }
}

async fn whole(body: Body) -> Result<Bytes> {
    match body {
        Body::Bytes(bytes) => Ok(bytes),
        Body::File { path, .. } => Ok(tokio::fs::read(&path).await.context(Kind::Io, path.display())?.into()),
    }
}

fn tamper(fault: Option<Fault>, mut entries: Vec<Entry>) -> Vec<Entry> {
    match fault {
        Some(Fault::Lie) => Vec::new(),
        Some(Fault::Twice) => entries.iter().flat_map(|e| [e.clone(), e.clone()]).collect(),
        Some(Fault::Short(length)) => {
            entries.iter_mut().for_each(|e| e.size_bytes = e.size_bytes.min(length));
            entries
        }
        _ => entries,
    }
}

#[async_trait]
impl Store for FaultStore {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.put_as(key, body, mode, None).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        let fault = self.enter(Method::Get).await?;
        if fault == Some(Fault::Lie) {
            return Err(Error::new(Kind::NotFound, format!("{key}: hidden on purpose")));
        }
        let download = leave(fault, Method::Get, self.inner.get(key, version).await)?;
        match fault {
            Some(Fault::Cut(after)) => Ok(cut(download, after)),
            Some(harm @ (Fault::Short(_) | Fault::Flip(_))) => {
                Ok(Download::of(damage(harm, download.bytes(u64::MAX).await?)))
            }
            _ => Ok(download),
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let fault = self.enter(Method::Head).await?;
        let entry = leave(fault, Method::Head, self.inner.head(key).await)?;
        Ok(tamper(fault, entry.into_iter().collect()).pop())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let fault = self.enter(Method::List).await?;
        Ok(tamper(fault, leave(fault, Method::List, self.inner.list(prefix).await)?))
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        let fault = self.enter(Method::Versions).await?;
        Ok(tamper(fault, leave(fault, Method::Versions, self.inner.versions(prefix).await)?))
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        let fault = self.enter(Method::Delete).await?;
        match fault {
            Some(Fault::Lie) => return Ok(()),
            Some(Fault::Twice) => self.inner.delete(key, version).await?,
            _ => {}
        }
        leave(fault, Method::Delete, self.inner.delete(key, version).await)
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        let fault = self.enter(Method::Sweep).await?;
        if fault == Some(Fault::Lie) {
            return Ok(0);
        }
        leave(fault, Method::Sweep, self.inner.sweep(older_than).await)
    }

    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }

    async fn put_locked(&self, key: &Key, body: Body, mode: PutMode, lock: Lock) -> Result<Entry> {
        self.put_as(key, body, mode, Some(lock)).await
    }

    async fn lock_until(&self, key: &Key, version: &str, lock: Lock) -> Result<()> {
        let fault = self.enter(Method::Lock).await?;
        if fault == Some(Fault::Lie) {
            return Ok(());
        }
        leave(fault, Method::Lock, self.inner.lock_until(key, version, lock).await)
    }

    async fn lock_of(&self, key: &Key, version: &str) -> Result<Option<Lock>> {
        let fault = self.enter(Method::LockOf).await?;
        if fault == Some(Fault::Lie) {
            return Ok(None);
        }
        leave(fault, Method::LockOf, self.inner.lock_of(key, version).await)
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        let fault = self.enter(Method::Versions).await?;
        let kept = leave(fault, Method::Versions, self.inner.kept(prefix).await)?;
        let markers = if fault == Some(Fault::Lie) { Vec::new() } else { kept.markers };
        Ok(Kept { versions: tamper(fault, kept.versions), markers })
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        let fault = self.enter(Method::Tag).await?;
        if fault == Some(Fault::Lie) {
            return Ok(None);
        }
        leave(fault, Method::Tag, self.inner.tag(key).await)
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        let fault = self.enter(Method::Swap).await?;
        if fault == Some(Fault::Lie) {
            return Ok(tag.clone());
        }
        leave(fault, Method::Swap, self.inner.swap(key, body, tag).await)
    }

    fn trials(&self) -> Option<&dyn Trials> {
        self.inner.trials()
    }
}

/// Breaks a download after `left_bytes`.
fn cut(download: Download, left_bytes: u64) -> Download {
    let state = (download.body, Some(left_bytes));
    let body = futures::stream::unfold(state, |(mut body, left)| async move {
        let left = left?;
        let broken = || Err(Error::new(Kind::Store, "the download was cut on purpose"));
        if left == 0 {
            return Some((broken(), (body, None)));
        }
        match body.next().await? {
            Ok(mut piece) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - piece.len() as u64;
                Some((Ok(piece), (body, Some(left))))
            }
            error => Some((error, (body, None))),
        }
    });
    Download { size_bytes: download.size_bytes, body: body.boxed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{body, key, local};

    async fn broken(method: Method, fault: Fault) -> (tempfile::TempDir, FaultStore) {
        let (folder, inner) = local().await;
        inner.put(&key("old"), body(b"old"), PutMode::Create).await.unwrap();
        (folder, FaultStore::new(inner).on(method, 1, fault))
    }

    async fn content(store: &FaultStore, name: &str) -> Result<Bytes> {
        store.get(&key(name), None).await?.bytes(100).await
    }

    #[tokio::test]
    async fn a_fault_strikes_its_call_and_no_other() {
        let (_f, store) = broken(Method::Head, Fault::Before(Kind::Denied)).await;
        assert_eq!(store.head(&key("old")).await.unwrap_err().kind(), Kind::Denied);
        assert!(store.head(&key("old")).await.unwrap().is_some());
        assert_eq!(store.calls(Method::Head), 2);
        assert_eq!(store.struck(), [(Method::Head, 1, Fault::Before(Kind::Denied))]);
    }

    #[tokio::test]
    async fn a_lasting_fault_strikes_until_the_store_is_healed() {
        let (_f, inner) = local().await;
        let store = FaultStore::new(inner).from(Method::Put, 2, Fault::Before(Kind::Full));
        let put = async |name| store.put(&key(name), body(b"x"), PutMode::Create).await.map_err(|e| e.kind());
        assert!(put("a").await.is_ok());
        assert_eq!([put("b").await.unwrap_err(), put("c").await.unwrap_err()], [Kind::Full; 2]);
        store.heal();
        assert!(put("c").await.is_ok());
    }

    #[tokio::test]
    async fn a_put_fails_before_or_after_its_effect() {
        for (fault, there) in [(Fault::Before(Kind::Store), false), (Fault::After(Kind::Store), true)] {
            let (_f, store) = broken(Method::Put, fault).await;
            let error = store.put(&key("new"), body(b"new"), PutMode::Create).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Store);
            assert_eq!(store.head(&key("new")).await.unwrap().is_some(), there);
        }
    }

    #[tokio::test]
    async fn a_put_says_that_it_stored_what_it_did_not() {
        let table: [(Fault, Option<&[u8]>); 4] = [
            (Fault::Lie, None),
            (Fault::Short(2), Some(b"ne")),
            (Fault::Flip(4), Some(b"ndw")),
            (Fault::Twice, Some(b"new")),
        ];
        for (fault, stored) in table {
            let (_f, store) = broken(Method::Put, fault).await;
            let entry = store.put(&key("new"), body(b"new"), PutMode::Create).await.unwrap();
            assert_eq!(entry.size_bytes, 3);
            assert_eq!(content(&store, "new").await.ok().as_deref(), stored, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_get_brings_what_is_not_there_or_less() {
        for (fault, bytes) in [(Fault::Short(2), &b"ol"[..]), (Fault::Flip(0), b"nld"), (Fault::Cut(3), b"")]
        {
            let (_f, store) = broken(Method::Get, fault).await;
            assert_eq!(content(&store, "old").await.unwrap_or_default(), bytes, "{fault:?}");
        }
        let (_f, store) = broken(Method::Get, Fault::Lie).await;
        assert_eq!(content(&store, "old").await.unwrap_err().kind(), Kind::NotFound);
        let (_f, store) = broken(Method::Get, Fault::Hang(Duration::from_millis(1))).await;
        assert_eq!(content(&store, "old").await.unwrap_err().kind(), Kind::Timeout);
    }

    #[tokio::test]
    async fn listings_lie_and_repeat_themselves() {
        for (fault, count) in [(Fault::Lie, 0), (Fault::Twice, 2)] {
            let (_f, store) = broken(Method::List, fault).await;
            assert_eq!(store.list("").await.unwrap().len(), count);
        }
        let (_f, store) = broken(Method::Delete, Fault::Lie).await;
        store.delete(&key("old"), None).await.unwrap();
        assert!(store.head(&key("old")).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_same_seed_strikes_the_same_calls() {
        let mut histories = Vec::new();
        for seed in [7, 7, 8] {
            let (_f, inner) = local().await;
            let store = FaultStore::new(inner).seeded(seed, 4, &[Fault::Before(Kind::Store), Fault::Lie]);
            for _ in 0..200 {
                drop(store.head(&key("x")).await);
            }
            let struck = store.struck();
            assert!((20..80).contains(&struck.len()), "{}", struck.len());
            histories.push(struck);
        }
        assert_eq!(histories[0], histories[1]);
        assert_ne!(histories[0], histories[2]);
    }
}
