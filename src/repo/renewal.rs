//! Keeps what a snapshot reuses locked: before its receipt, what is locked for less than half the horizon is locked anew.
//!
//! Owns which objects a snapshot needs besides those it writes, and which version of them counts. A lock that cannot
//! be renewed costs protection and is told; it never costs the snapshot.

use futures::StreamExt;

use crate::error::{Error, Kind, Result};
use crate::id::{PackId, Sha256};
use crate::monitor::Counter;
use crate::store::{Due, Kept, Key, Lock, LockedStore, Store};

use super::snapshot::SnapshotOptions;
use super::{keys, object, tampered};

/// How many locks are renewed at a time.
const PARALLEL: usize = 8;

/// An object that is needed, and its hash where it has one that is known.
struct Needed {
    key: Key,
    hash: Option<Sha256>,
}

/// Renews the locks of all that a snapshot needs and that was there before it.
///
/// `kept` is a listing of the tenant.
pub(super) async fn renew(options: &SnapshotOptions, certificate: u32, packs: &[PackId], kept: &Kept) {
    let Some(locks) = options.repo.locks() else { return };
    let needed = needed(options, certificate, packs);
    if let Err(e) = renew_all(locks, needed, kept).await {
        options.monitor.problem(&Error::new(e.kind(), format!("locks were not renewed: {e}")));
        locks.complain(e);
    }
    options.monitor.count(Counter::RenewedLocks, locks.renewed());
}

fn needed(options: &SnapshotOptions, certificate: u32, packs: &[PackId]) -> Vec<Needed> {
    let SnapshotOptions { repo, tenant, vault, host, .. } = options;
    let certificate = keys::certificate(host, certificate);
    let mut needed = vec![
        Needed { key: keys::repository(), hash: Some(repo.hash()) },
        Needed { key: certificate.json, hash: None },
        Needed { key: certificate.minisig, hash: None },
    ];
    needed.extend(
        vault
            .wraps()
            .iter()
            .map(|w| Needed { key: keys::wrap(tenant, vault.id(), w.hash()), hash: Some(*w.hash()) }),
    );
    needed.extend(packs.iter().map(|id| Needed { key: keys::pack(tenant, id), hash: Some(*id) }));
    needed
}

async fn renew_all(locks: &LockedStore, needed: Vec<Needed>, kept: &Kept) -> Result<()> {
    let Some(lock) = locks.lock_now().await? else { return Ok(()) };
    let renewals = futures::stream::iter(needed)
        .map(|object| async move { renew_one(locks, &object, kept, lock).await })
        .buffer_unordered(PARALLEL);
    let outcomes: Vec<Result<()>> = renewals.collect().await;
    // All are tried, whatever becomes of one.
    outcomes.into_iter().collect()
}

async fn renew_one(locks: &LockedStore, object: &Needed, kept: &Kept, lock: Lock) -> Result<()> {
    let version = match locks.due(&object.key, &lock) {
        Due::No => return Ok(()),
        Due::Version(version) => version,
        Due::Unknown => right_version(locks, object, kept).await?,
    };
    locks.renew(&object.key, &version, lock).await
}

/// Finds the version that readers take: the oldest whose hash is right.
async fn right_version(store: &dyn Store, object: &Needed, kept: &Kept) -> Result<String> {
    let none = || Error::new(Kind::NotFound, format!("{} has no version that could be locked", object.key));
    let asked;
    let mut versions = kept.versions_of(&object.key);
    if versions.is_empty() {
        asked = object::kept(store, object.key.as_str()).await?;
        versions = asked.versions_of(&object.key);
    }
    match (versions, &object.hash) {
        ([], _) => Err(none()),
        // Where versions are hidden from this credential, the newest is the one it wrote.
        ([only], _) if only.version.is_none() => {
            store.head(&object.key).await?.and_then(|e| e.version).ok_or_else(none)
        }
        ([oldest], _) | ([oldest, ..], None) => oldest.version.clone().ok_or_else(none),
        (several, Some(hash)) => {
            for entry in several {
                if tampered::is_right(store, entry, hash).await? {
                    return entry.version.clone().ok_or_else(none);
                }
            }
            Err(none())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::repo::testing::{Versioned, now};
    use crate::store::{Body, Book, Held, LocalStore, LockMode, PutMode, SharedStore, Terms, Timeouts};

    const HORIZON: Duration = Duration::from_secs(30 * 86_400);

    fn days(n: i64) -> SignedDuration {
        SignedDuration::from_hours(24 * n)
    }

    fn locked(inner: SharedStore, book: Book, host_now: Timestamp) -> LockedStore {
        let terms = Terms { mode: LockMode::Compliance, horizon: HORIZON };
        LockedStore::new(inner, terms, book, Arc::new(move || host_now))
    }

    fn key(s: &str) -> Key {
        s.parse().unwrap()
    }

    fn held(version: &str, until: Timestamp) -> Held {
        Held { version: version.into(), until }
    }

    #[tokio::test]
    async fn what_is_put_once_is_locked_for_the_horizon_by_the_stores_clock() {
        let store = Arc::new(Versioned::default());
        let locks = locked(store.clone(), Book::new(), now() + SignedDuration::from_hours(5));
        locks.put(&key("pack"), Body::from(b"1".to_vec()), PutMode::Create).await.unwrap();
        locks.put(&key("lease.json"), Body::from(b"1".to_vec()), PutMode::Replace).await.unwrap();
        let all = store.locks.lock().unwrap().clone();
        let lock = Lock { mode: LockMode::Compliance, until: now() + days(30) };
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [((key("pack"), "v0".to_owned()), lock)]);
        assert_eq!(locks.book(), Book::from([("pack".to_owned(), held("v0", now() + days(30)))]));
        assert_eq!(locks.trouble(), None);
    }

    #[tokio::test]
    async fn a_store_without_locks_stores_without_and_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let inner = Arc::new(LocalStore::open(folder.path(), Timeouts::default(), false).await.unwrap());
        let locks = locked(inner.clone(), Book::new(), inner.now().await.unwrap());
        for name in ["a", "b"] {
            locks.put(&key(name), Body::from(b"1".to_vec()), PutMode::Create).await.unwrap();
        }
        assert_eq!(inner.list("").await.unwrap().len(), 2);
        assert!(locks.trouble().unwrap().contains("has no locks"), "{:?}", locks.trouble());
        assert_eq!(locks.book(), Book::new());
    }

    #[tokio::test]
    async fn clocks_that_disagree_by_more_than_a_day_lock_nothing() {
        for host in [now() - days(2), now() + days(400)] {
            let store = Arc::new(Versioned::default());
            let locks = locked(store.clone(), Book::new(), host);
            locks.put(&key("pack"), Body::from(b"1".to_vec()), PutMode::Create).await.unwrap();
            assert!(store.locks.lock().unwrap().is_empty());
            assert!(locks.trouble().unwrap().contains("clock"), "{:?}", locks.trouble());
        }
    }

    #[tokio::test]
    async fn only_what_is_locked_for_less_than_half_the_horizon_is_renewed_and_the_right_version_of_it() {
        let store = Arc::new(Versioned::default());
        let put = async |name: &str, bytes: &[u8]| {
            store.put(&key(name), Body::from(bytes.to_vec()), PutMode::Replace).await.unwrap();
        };
        for name in ["fresh", "old", "unknown"] {
            put(name, name.as_bytes()).await;
        }
        // An intruder's first and last version of what the host knows nothing of.
        put("attacked", b"wrong").await;
        put("attacked", b"attacked").await;
        put("attacked", b"zeros").await;
        let book = Book::from([
            ("fresh".to_owned(), held("v0", now() + days(16))),
            ("old".to_owned(), held("v0", now() + days(14))),
            ("not-needed".to_owned(), held("v0", now() + days(1))),
        ]);
        let locks = locked(store.clone(), book, now());
        let needed = ["fresh", "old", "unknown", "attacked"]
            .map(|n| Needed { key: key(n), hash: Some(Sha256::of(n.as_bytes())) });
        let kept = store.kept("").await.unwrap();
        renew_all(&locks, needed.into(), &kept).await.unwrap();
        let renewed: Vec<(String, String)> =
            store.locks.lock().unwrap().keys().map(|(k, v)| (k.to_string(), v.clone())).collect();
        let expected = [("attacked", "v1"), ("old", "v0"), ("unknown", "v0")];
        assert_eq!(renewed, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(locks.renewed(), 3);
        let known: Vec<String> = locks.book().into_keys().collect();
        assert_eq!(known, ["attacked", "fresh", "old", "unknown"], "what is not needed is forgotten");
    }

    #[tokio::test]
    async fn one_object_that_cannot_be_locked_does_not_keep_the_others_from_it() {
        let store = Arc::new(Versioned::default());
        store.put(&key("there"), Body::from(b"1".to_vec()), PutMode::Create).await.unwrap();
        let locks = locked(store.clone(), Book::new(), now());
        let needed = ["gone", "there"].map(|n| Needed { key: key(n), hash: None });
        let error = renew_all(&locks, needed.into(), &Kept::default()).await.unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        assert_eq!(locks.renewed(), 1);
    }
}
