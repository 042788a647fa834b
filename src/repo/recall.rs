//! Signed objects that were read before, so that they are not fetched again while the store shows them unchanged.
//!
//! Owns when a listing still shows what was read, and the spelling of the memory as one file. It saves fetches and nothing
//! else: what is there only a listing tells, and signatures, certificates and the row of receipts are judged anew each
//! time, so that a memory that was forged or is out of date can hide nothing that a listing shows. Nothing wrong is ever
//! told from memory: then the store is asked.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keys::Signed;
use super::object::{self, SignedObject};
use super::repository::Repository;
use crate::error::{Context, Kind, Result};
use crate::store::{Entry, Kept, Key};

/// Longer objects are fetched each time, so that the memory stays small; in bytes.
const MOST_BYTES: usize = 1024 * 1024;

/// The most that a memory may hold, in bytes.
const MOST_IN_ALL: u64 = 256 * 1024 * 1024;

const LEVEL: i32 = 3;

/// What was read of some signed objects, by the keys of their JSON objects.
#[derive(Debug, Default)]
pub struct Recall {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    changed: bool,
}

/// A signed object, and how a listing showed it when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Object {
    json: String,
    signature: String,
    /// The versions of both keys, oldest first each.
    listed: [Vec<Version>; 2],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    size: u64,
    modified: Timestamp,
    version: Option<String>,
}

impl Recall {
    /// Reads a memory back; one that is damaged is an error, and costs no more than its loss.
    pub fn parse(bytes: &[u8]) -> Result<Recall> {
        let damaged = "memory of signed objects";
        let mut json = Vec::new();
        let packed = zstd::Decoder::new(bytes).context(Kind::Damaged, damaged)?;
        packed.take(MOST_IN_ALL).read_to_end(&mut json).context(Kind::Damaged, damaged)?;
        let objects = serde_json::from_slice(&json).context(Kind::Damaged, damaged)?;
        Ok(Recall { inner: Mutex::new(Inner { objects, changed: false }) })
    }

    /// Spells the memory: JSON, compressed. Nothing where it is as it was read.
    pub fn spell(&self) -> Result<Option<Vec<u8>>> {
        let inner = self.inner();
        if !inner.changed {
            return Ok(None);
        }
        let what = "spelling a memory of signed objects";
        let json = serde_json::to_vec(&inner.objects).context(Kind::Bug, what)?;
        zstd::encode_all(&json[..], LEVEL).context(Kind::Bug, what).map(Some)
    }

    /// Forgets objects below `prefix` that a listing of it does not show any more.
    fn forget_gone(&self, prefix: &str, listed: &[Entry]) {
        let there: HashSet<&str> = listed.iter().map(|e| e.key.as_str()).collect();
        let mut inner = self.inner();
        let before = inner.objects.len();
        inner.objects.retain(|key, _| !key.starts_with(prefix) || there.contains(key.as_str()));
        inner.changed |= inner.objects.len() < before;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns JSON and signature of an object that the listing shows as it was.
    fn find(&self, keys: &Signed, shown: &[Vec<Version>; 2]) -> Option<(Bytes, Bytes)> {
        let inner = self.inner();
        let object = inner.objects.get(keys.json.as_str()).filter(|o| o.listed == *shown)?;
        Some((object.json.clone().into(), object.signature.clone().into()))
    }

    /// Keeps an object that was fetched.
    ///
    /// Only the oldest versions of both keys: where another one is right, something is wrong, and is looked at each time.
    fn learn<T>(&self, keys: &Signed, listed: &[Entry], shown: [Vec<Version>; 2], read: &SignedObject<T>) {
        let oldest = listed.iter().find(|e| e.key == keys.json);
        if !read.first_signature || oldest != Some(&read.entry) || read.bytes.len() > MOST_BYTES {
            return;
        }
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
        if let (Some(json), Some(signature)) = (text(&read.bytes), text(&read.signature)) {
            let mut inner = self.inner();
            inner.objects.insert(keys.json.to_string(), Object { json, signature, listed: shown });
            inner.changed = true;
        }
    }
}

fn versions_of(key: &Key, listed: &[Entry]) -> Vec<Version> {
    let of_key = listed.iter().filter(|e| e.key == *key);
    of_key.map(|e| Version { size: e.size_bytes, modified: e.modified, version: e.version.clone() }).collect()
}

/// Lists as [`object::versions`] does, and forgets what is not there any more.
pub(super) async fn versions(repo: &Repository, prefix: &str) -> Result<Vec<Entry>> {
    let listed = object::versions(&**repo.store(), prefix).await?;
    if let Some(recall) = repo.recall() {
        recall.forget_gone(prefix, &listed);
    }
    Ok(listed)
}

/// Lists as [`object::kept`] does, and forgets what is not there any more.
pub(super) async fn kept(repo: &Repository, prefix: &str) -> Result<Kept> {
    let kept = object::kept(&**repo.store(), prefix).await?;
    if let Some(recall) = repo.recall() {
        recall.forget_gone(prefix, &kept.versions);
    }
    Ok(kept)
}

/// Reads a signed object as [`object::get_signed`] does, out of the repository's memory where that has it as `listed` shows it.
pub(super) async fn get_signed<T>(
    repo: &Repository,
    keys: &Signed,
    listed: &[Entry],
    limit_bytes: u64,
    check: impl Fn(&[u8], &[u8]) -> Result<T>,
) -> Result<SignedObject<T>> {
    let Some(recall) = repo.recall() else {
        return object::get_signed(&**repo.store(), keys, listed, limit_bytes, check).await;
    };
    let shown = [versions_of(&keys.json, listed), versions_of(&keys.minisig, listed)];
    if let Some((bytes, signature)) = recall.find(keys, &shown)
        && let Ok(value) = check(&bytes, &signature)
        && let Some(entry) = listed.iter().find(|e| e.key == keys.json)
    {
        return Ok(SignedObject { value, bytes, signature, entry: entry.clone(), first_signature: true });
    }
    let read = object::get_signed(&**repo.store(), keys, listed, limit_bytes, check).await?;
    recall.learn(keys, listed, shown, &read);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::repo::history::{Fault, Head, History};
    use crate::repo::receipt::Receipt;
    use crate::repo::testing::{House, tenant};
    use crate::repo::{certificate::Trust, keys};
    use crate::store::{Method, Record, SharedStore, Store};

    /// A house whose requests are counted, as a host with a memory reads it.
    struct Reader {
        house: House,
        record: Record,
        repo: Repository,
    }

    impl Reader {
        async fn of(house: House) -> Reader {
            let record = Record::new(house.store.clone() as SharedStore);
            let store: SharedStore = Arc::new(record.clone());
            let repo = Repository::open(store, Some(house.repo.hash())).await.unwrap();
            let repo = repo.recalling(Arc::default());
            Reader { house, record, repo }
        }

        /// Loads certificates and receipts; returns them with the words of what is wrong and how many objects were fetched.
        async fn load(&self, remembered: Option<&Head>) -> (History, Vec<&'static str>, u64) {
            let before = self.record.calls(Method::Get).calls;
            let trust = Trust::load(&self.repo).await.unwrap();
            let history = History::load(&self.repo, &trust, &tenant(), remembered).await.unwrap();
            let words = history.faults.iter().map(Fault::word).collect();
            (history, words, self.record.calls(Method::Get).calls - before)
        }

        /// Ends the process and begins another.
        fn restart(&mut self) {
            let spelled = self.repo.recall().unwrap().spell().unwrap().unwrap();
            self.repo = self.repo.recalling(Arc::new(Recall::parse(&spelled).unwrap()));
        }
    }

    async fn chain(n: usize) -> (Reader, Vec<Receipt>) {
        let house = House::build().await;
        let chain = house.commit_chain(&house.vault().await, n).await;
        (Reader::of(house).await, chain.into_iter().map(|(receipt, _)| receipt).collect())
    }

    #[tokio::test]
    async fn what_was_read_is_not_fetched_again_and_comes_out_the_same() {
        let (mut reader, _) = chain(5).await;
        let (first, _, fetched) = reader.load(None).await;
        assert_eq!(fetched, 2 + 2 * 5, "a certificate and five receipts, each with its signature");
        reader.restart();
        let (second, words, fetched) = reader.load(None).await;
        assert_eq!((second.snapshots, words, fetched), (first.snapshots, vec![], 0));
        assert!(reader.repo.recall().unwrap().spell().unwrap().is_none(), "nothing changed");
    }

    #[tokio::test]
    async fn a_new_receipt_costs_two_requests_and_a_deleted_one_is_missing() {
        let (reader, receipts) = chain(3).await;
        let head = reader.load(None).await.0.head().unwrap();
        let fourth = reader.house.receipt(&reader.house.vault().await, Some((&receipts[2], head.receipt)));
        reader.house.commit(&fourth, &reader.house.host).await;
        let (history, _, fetched) = reader.load(None).await;
        assert_eq!((history.snapshots.len(), fetched), (4, 2));

        let gone = keys::receipt(&tenant(), &receipts[1].snapshot);
        for key in [&gone.json, &gone.minisig] {
            for entry in reader.house.store.versions(key.as_str()).await.unwrap() {
                reader.house.store.delete(key, entry.version.as_deref()).await.unwrap();
            }
        }
        let (history, words, _) = reader.load(None).await;
        assert_eq!((history.snapshots.len(), words), (3, vec!["missing"]));
    }

    #[tokio::test]
    async fn a_store_that_is_set_back_alarms_whatever_is_remembered() {
        let (reader, receipts) = chain(3).await;
        let head = reader.load(None).await.0.head().unwrap();
        let gone = keys::receipt(&tenant(), &receipts[2].snapshot);
        for key in [&gone.json, &gone.minisig] {
            for entry in reader.house.store.versions(key.as_str()).await.unwrap() {
                reader.house.store.delete(key, entry.version.as_deref()).await.unwrap();
            }
        }
        assert_eq!(reader.load(Some(&head)).await.1, ["rolled-back"]);
    }

    #[tokio::test]
    async fn a_fork_and_an_overwritten_receipt_are_seen_behind_a_warm_memory() {
        let (reader, receipts) = chain(3).await;
        reader.load(None).await;
        let mut rival = receipts[2].clone();
        rival.snapshot = "20261126t020000z-000000ff".parse().unwrap();
        reader.house.commit(&rival, &reader.house.host).await;
        assert_eq!(reader.load(None).await.1, ["fork"]);
        let harmed = keys::receipt(&tenant(), &receipts[0].snapshot);
        reader.house.overwrite(&harmed.json, "{}").await;
        let (history, words, _) = reader.load(None).await;
        assert_eq!(words, ["overwritten", "fork"]);
        assert_eq!(history.snapshots.len(), 4, "the oldest right version is read");
    }

    #[tokio::test]
    async fn a_key_that_was_ended_since_does_not_vouch_from_memory() {
        use crate::repo::certificate::Ended;
        use crate::repo::testing::now;
        let (reader, _) = chain(3).await;
        reader.load(None).await;
        let mut grant = reader.house.grant(reader.house.host.public());
        grant.ended = Some(Ended { at: now(), last: Default::default() });
        reader.house.certify(grant).await;
        let (history, words, _) = reader.load(None).await;
        assert_eq!((history.snapshots.len(), words), (0, vec!["ended"; 3]));
    }

    #[tokio::test]
    async fn a_forged_memory_is_not_believed() {
        let (mut reader, receipts) = chain(2).await;
        let (right, ..) = reader.load(None).await;
        for object in reader.repo.recall().unwrap().inner().objects.values_mut() {
            object.json = object.json.replace("\"added_bytes\":1", "\"added_bytes\":7");
        }
        reader.restart();
        let (history, words, fetched) = reader.load(None).await;
        assert_eq!((history.snapshots, words), (right.snapshots, vec![]));
        assert_eq!(fetched, 2 * receipts.len() as u64, "what does not verify is fetched");
        assert!(Recall::parse(b"rubbish").is_err());
    }
}
