//! Locks, delete markers, conditional replacing and the store's clock: kept where a store has them, refused by name
//! where it has not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat::error::Kind;
use lifeboat::store::{Lock, LockMode, PutMode, Setting, SharedStore, Store, open};

use super::support::seaweed::Seaweed;
use super::{Lane, MIB, address, content, create, key, names, noise, options};

async fn locking() -> SharedStore {
    let bucket = Seaweed::start().new_locking_bucket();
    open(&address(&bucket), &options()).await.unwrap()
}

fn compliance(store_now: Timestamp, minutes: i64) -> Lock {
    let until = store_now + SignedDuration::from_mins(minutes);
    Lock { mode: LockMode::Compliance, until: Timestamp::from_second(until.as_second()).unwrap() }
}

async fn of(store: &dyn Store, name: &str) -> Vec<String> {
    let versions = store.versions(name).await.unwrap();
    versions.into_iter().filter(|e| e.key == key(name)).map(|e| e.version.unwrap()).collect()
}

#[tokio::test]
async fn a_locked_version_cannot_be_deleted_nor_its_lock_shortened() {
    let store = locking().await;
    let lock = compliance(store.now().await.unwrap(), 10);
    for (name, length) in [("small", 1000), ("in-parts", 65 * MIB)] {
        let bytes = noise(1, length);
        let entry = store.put_locked(&key(name), bytes.clone().into(), PutMode::Create, lock).await.unwrap();
        let version = entry.version.expect("a locking bucket keeps versions");
        assert_eq!(store.lock_of(&key(name), &version).await.unwrap(), Some(lock), "{name}");
        let error = store.delete(&key(name), Some(&version)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        let sooner = compliance(lock.until, -5);
        let error = store.lock_until(&key(name), &version, sooner).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        let later = compliance(lock.until, 5);
        store.lock_until(&key(name), &version, later).await.unwrap();
        assert_eq!(store.lock_of(&key(name), &version).await.unwrap(), Some(later));

        store.put(&key(name), vec![0; 7].into(), PutMode::Replace).await.unwrap();
        store.delete(&key(name), None).await.unwrap();
        assert_eq!(of(&*store, name).await.len(), 2);
        let kept = store.get(&key(name), Some(&version)).await.unwrap();
        assert!(kept.bytes(length as u64).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn an_object_without_a_lock_has_none_and_can_be_given_one() {
    let store = locking().await;
    let version = create(&*store, "x", b"1").await.version.unwrap();
    assert_eq!(store.lock_of(&key("x"), &version).await.unwrap(), None);
    let lock = compliance(store.now().await.unwrap(), 10);
    store.lock_until(&key("x"), &version, lock).await.unwrap();
    assert_eq!(store.lock_of(&key("x"), &version).await.unwrap(), Some(lock));
    assert_eq!(store.delete(&key("x"), Some(&version)).await.unwrap_err().kind(), Kind::Denied);
}

#[tokio::test]
async fn a_store_without_locks_says_so() {
    for lane in [Lane::folder().await, Lane::bucket(false).await, Lane::bucket(true).await] {
        let (store, place) = (&lane.store, lane.store.address());
        let lock = compliance(Timestamp::now(), 10);
        let error = store.put_locked(&key("x"), vec![1].into(), PutMode::Create, lock).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{place}: {error}");
        assert!(store.versions("").await.unwrap().is_empty(), "{place}");
        lane.end();
    }
}

#[tokio::test]
async fn markers_are_seen_with_the_versions_they_hide() {
    for lane in [Lane::bucket(false).await, Lane::bucket(true).await] {
        let store = &*lane.store;
        for name in ["m/gone", "m/back", "m/there"] {
            create(store, name, b"1").await;
        }
        store.delete(&key("m/gone"), None).await.unwrap();
        store.delete(&key("m/back"), None).await.unwrap();
        create(store, "m/back", b"2").await;
        let kept = store.kept("m/").await.unwrap();
        assert_eq!(kept.versions, store.versions("m/").await.unwrap());
        let deleted: Vec<_> = kept.markers.iter().filter(|m| m.latest).map(|m| m.key.as_str()).collect();
        assert_eq!(deleted, if lane.versioned { vec!["m/gone"] } else { vec![] });
        assert_eq!(kept.is_deleted(&key("m/gone")), lane.versioned);
        assert_eq!(kept.markers.len(), if lane.versioned { 2 } else { 0 });
        assert_eq!(kept.versions_of(&key("m/back")).len(), if lane.versioned { 2 } else { 1 });
        if let Some(marker) = kept.markers.iter().find(|m| m.latest) {
            store.delete(&marker.key, marker.version.as_deref()).await.unwrap();
            assert_eq!(content(store, "m/gone").await, b"1", "without its marker it is there again");
        }
        lane.end();
    }
}

#[tokio::test]
async fn replacing_what_another_has_replaced_is_a_conflict() {
    for lane in [Lane::bucket(false).await, Lane::bucket(true).await] {
        let store = &*lane.store;
        assert_eq!(store.tag(&key("lease.json")).await.unwrap(), None);
        create(store, "lease.json", b"mine").await;
        let mine = store.tag(&key("lease.json")).await.unwrap().unwrap();
        let next = store.swap(&key("lease.json"), b"mine too".to_vec().into(), &mine).await.unwrap();
        let error = store.swap(&key("lease.json"), b"late".to_vec().into(), &mine).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
        assert_eq!(content(store, "lease.json").await, b"mine too");
        assert_eq!(store.tag(&key("lease.json")).await.unwrap(), Some(next.clone()));
        store.delete(&key("lease.json"), None).await.unwrap();
        let error = store.swap(&key("lease.json"), b"gone".to_vec().into(), &next).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
        assert!(names(store, "").await.is_empty());
        lane.end();
    }
    let folder = Lane::folder().await;
    assert_eq!(folder.store.tag(&key("x")).await.unwrap_err().kind(), Kind::Unsupported);
}

#[tokio::test]
async fn the_stores_time_is_told_before_and_after_the_first_request() {
    for lane in [Lane::folder().await, Lane::bucket(false).await] {
        let first = lane.store.now().await.unwrap();
        create(&*lane.store, "x", b"1").await;
        let second = lane.store.now().await.unwrap();
        for time in [first, second] {
            // The store may be another machine.
            assert!(time.duration_since(Timestamp::now()).abs() < SignedDuration::from_mins(15));
        }
        lane.end();
    }
}

#[tokio::test]
async fn trials_see_what_the_bucket_is_and_what_the_credential_may() {
    let bucket = Seaweed::start().new_locking_bucket();
    let store = open(&address(&bucket), &options()).await.unwrap();
    let trials = store.trials().expect("a bucket has something to try");
    let settings = trials.settings().await.unwrap();
    assert_eq!((settings.versioning, settings.locks), (Some(true), Some(true)), "{settings:?}");
    assert_eq!(settings.default_lock, None);
    assert_eq!(settings.expiring, Some(vec![]));
    create(&*store, "x", b"0123456789").await;
    assert_eq!(trials.range(&key("x"), 3, 4).await.unwrap(), "3456");
    trials.put_with_wrong_checksum(&key("y")).await.unwrap_err();
    assert_eq!(store.head(&key("y")).await.unwrap(), None);
    assert_eq!(trials.abandon_upload(&key("z")).await.unwrap(), 0);
    // The key of the tests may do everything.
    trials.set_as_it_is(Setting::Versioning).await.unwrap();
    trials.set_as_it_is(Setting::Lifecycle).await.unwrap();

    let plain = Lane::bucket(false).await;
    let settings = plain.store.trials().unwrap().settings().await.unwrap();
    assert_eq!((settings.versioning, settings.locks), (Some(false), Some(false)), "{settings:?}");
    plain.end();
    assert!(Lane::folder().await.store.trials().is_none());
}

#[tokio::test]
async fn governance_yields_to_whoever_may_bypass_it_and_to_nobody_else() {
    let store = locking().await;
    let lock = Lock { mode: LockMode::Governance, ..compliance(store.now().await.unwrap(), 10) };
    let entry = store.put_locked(&key("g"), vec![1].into(), PutMode::Create, lock).await.unwrap();
    let version = entry.version.unwrap();
    assert_eq!(store.lock_of(&key("g"), &version).await.unwrap(), Some(lock));
    let error = store.delete(&key("g"), Some(&version)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    store.trials().unwrap().delete_past_governance(&key("g"), &version).await.unwrap();
    assert!(of(&*store, "g").await.is_empty());
    // Nothing is left half-done by the trials.
    assert_eq!(store.sweep(Duration::ZERO).await.unwrap(), 0);
}
