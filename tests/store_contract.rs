//! One contract, every store: a folder, a plain S3 bucket, a versioned one.
//!
//! The S3 lanes run on SeaweedFS, or on the store that `LIFEBOAT_TEST_S3_URL` names.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

#[path = "store_contract/locks.rs"]
mod locks;
mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use lifeboat::error::Kind;
use lifeboat::id::Sha256;
use lifeboat::store::{
    Body, Credentials, Entry, Key, PutMode, SharedStore, Store, StoreAddress, StoreOptions, open,
};
use support::seaweed::Seaweed;

const MIB: usize = 1024 * 1024;

/// One store to test, empty, with what has to outlive it.
struct Lane {
    store: SharedStore,
    versioned: bool,
    bucket: Option<String>,
    folder: Option<tempfile::TempDir>,
}

impl Lane {
    async fn folder() -> Lane {
        let folder = tempfile::tempdir().unwrap();
        let address = StoreAddress::File { folder: folder.path().to_owned() };
        let store = open(&address, &StoreOptions::default()).await.unwrap();
        Lane { store, versioned: false, bucket: None, folder: Some(folder) }
    }

    async fn bucket(versioned: bool) -> Lane {
        let bucket = Seaweed::start().new_bucket(versioned);
        let address = address(&bucket);
        let store = open(&address, &options()).await.unwrap();
        Lane { store, versioned, bucket: Some(bucket), folder: None }
    }

    /// Ends a test that succeeded; on a store that stays, nothing may.
    fn end(self) {
        if let Some(bucket) = &self.bucket {
            Seaweed::start().remove_bucket(bucket);
        }
        drop(self.folder);
    }

    /// Returns the names of what puts have begun and not ended.
    async fn half_done(&self) -> Vec<String> {
        if let Some(folder) = &self.folder {
            let temporary = std::fs::read_dir(folder.path().join("~tmp")).into_iter().flatten();
            return temporary.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        }
        let client = Seaweed::start().client();
        let request = client.list_multipart_uploads().bucket(self.bucket.as_deref().unwrap());
        let answer = request.send().await.unwrap();
        answer.uploads().iter().map(|u| u.key().unwrap().to_owned()).collect()
    }

    /// Waits until nothing is half-done any more; what is cleaned up in the background may take its time.
    async fn wait_until_nothing_is_half_done(&self) {
        for _ in 0..300 {
            if self.half_done().await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("still half-done: {:?}", self.half_done().await);
    }
}

fn address(bucket: &str) -> StoreAddress {
    format!("s3://{bucket}/some/prefix").parse().unwrap()
}

fn options() -> StoreOptions {
    let seaweed = Seaweed::start();
    StoreOptions {
        endpoint: Some(seaweed.endpoint.clone()),
        region: Some(seaweed.region.clone()),
        credentials: Some(credentials(&seaweed.access_key, &seaweed.secret_key)),
        ..StoreOptions::default()
    }
}

fn credentials(access_key: &str, secret_key: &str) -> Credentials {
    Credentials { access_key: access_key.into(), secret_key: secret_key.into(), session_token: None }
}

/// Makes the contract's tests for every store.
macro_rules! contract {
    ($($test:ident)*) => {
        mod folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Lane::folder().await).await;
            })*
        }
        mod plain_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Lane::bucket(false).await).await;
            })*
        }
        mod versioned_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Lane::bucket(true).await).await;
            })*
        }
    };
}

contract! {
    what_was_put_comes_back_bit_for_bit
    a_large_file_goes_in_parts_and_comes_back
    a_key_that_is_there_is_not_created_again
    of_eight_racing_creators_exactly_one_wins
    replacing_replaces
    what_is_not_there_is_not_found
    a_listing_is_complete_and_sorted_and_keeps_to_its_prefix
    deleting_twice_is_deleting_once
    versions_come_oldest_first_and_survive_deletion
    a_file_of_another_length_is_not_stored
    a_file_that_is_not_what_its_sum_says_is_refused_by_a_bucket
    a_put_that_is_given_up_leaves_nothing_half_done
    what_a_kill_left_half_done_is_swept_once_old
}

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

/// Bytes of which no two blocks are equal; another `seed`, other bytes.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; length];
    for (i, block) in bytes.chunks_mut(4096).enumerate() {
        let mark = [seed.to_le_bytes(), (i as u64).to_le_bytes()].concat();
        let marked = mark.len().min(block.len());
        block[..marked].copy_from_slice(&mark[..marked]);
    }
    bytes
}

fn file(content: &[u8]) -> (tempfile::NamedTempFile, PathBuf) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let path = file.path().to_owned();
    (file, path)
}

async fn create(store: &dyn Store, name: &str, content: &[u8]) -> Entry {
    store.put(&key(name), content.to_vec().into(), PutMode::Create).await.unwrap()
}

async fn content(store: &dyn Store, name: &str) -> Vec<u8> {
    store.get(&key(name), None).await.unwrap().bytes(u64::MAX).await.unwrap().to_vec()
}

async fn names(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.unwrap().into_iter().map(|e| e.key.to_string()).collect()
}

async fn what_was_put_comes_back_bit_for_bit(lane: Lane) {
    let store = &*lane.store;
    let before = jiff::Timestamp::now();
    for (i, length) in [0, 1, MIB, 40 * MIB].into_iter().enumerate() {
        let bytes = noise(i as u64, length);
        let (_kept, path) = file(&bytes);
        let from_file = Body::File { path, size_bytes: length as u64, sha256: None };
        for (name, body) in
            [(format!("a/bytes-{i}"), bytes.clone().into()), (format!("a/file-{i}"), from_file)]
        {
            let entry = store.put(&key(&name), body, PutMode::Create).await.unwrap();
            assert_eq!((entry.key, entry.size_bytes), (key(&name), length as u64));
            // The store's clock may be another machine's.
            assert!(entry.modified.duration_since(before).abs() < jiff::SignedDuration::from_mins(15));
            let seen = store.head(&key(&name)).await.unwrap().unwrap();
            assert_eq!((seen.key, seen.size_bytes), (key(&name), length as u64));
            let download = store.get(&key(&name), None).await.unwrap();
            assert_eq!(download.size_bytes, length as u64);
            assert!(download.bytes(length as u64).await.unwrap() == bytes, "{name} came back otherwise");
        }
    }
    lane.end();
}

async fn a_large_file_goes_in_parts_and_comes_back(lane: Lane) {
    let bytes = noise(70, 70 * MIB + 3);
    let (_kept, path) = file(&bytes);
    let body = Body::File { path, size_bytes: bytes.len() as u64, sha256: None };
    let entry = lane.store.put(&key("large"), body.clone(), PutMode::Create).await.unwrap();
    assert_eq!(entry.size_bytes, bytes.len() as u64);
    assert!(content(&*lane.store, "large").await == bytes);
    let again = lane.store.put(&key("large"), body, PutMode::Create).await.unwrap_err();
    assert_eq!(again.kind(), Kind::Conflict);
    assert_eq!(lane.half_done().await, [""; 0]);
    let replaced = Body::from(noise(71, 65 * MIB));
    lane.store.put(&key("large"), replaced, PutMode::Replace).await.unwrap();
    assert!(content(&*lane.store, "large").await == noise(71, 65 * MIB));
    lane.end();
}

async fn a_key_that_is_there_is_not_created_again(lane: Lane) {
    create(&*lane.store, "x", b"first").await;
    for body in [b"first".to_vec(), b"other".to_vec(), Vec::new()] {
        let error = lane.store.put(&key("x"), body.into(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
        assert!(error.to_string().contains('x'), "{error}");
    }
    assert_eq!(content(&*lane.store, "x").await, b"first");
    assert_eq!(lane.store.versions("").await.unwrap().len(), 1);
    lane.end();
}

async fn of_eight_racing_creators_exactly_one_wins(lane: Lane) {
    // SeaweedFS takes two seconds over a race in a bucket with versions.
    for round in 0..if lane.versioned { 3 } else { 10 } {
        let name = key(&format!("race/{round}"));
        let puts = (0..8_u8).map(|i| {
            let (store, name) = (lane.store.clone(), name.clone());
            tokio::spawn(async move { store.put(&name, noise(i.into(), 1000).into(), PutMode::Create).await })
        });
        let outcomes = join_all(puts).await;
        let mut winners = Vec::new();
        for (i, outcome) in outcomes.into_iter().enumerate() {
            match outcome.unwrap() {
                Ok(_) => winners.push(i as u64),
                Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(content(&*lane.store, name.as_str()).await == noise(winners[0], 1000));
    }
    lane.end();
}

async fn replacing_replaces(lane: Lane) {
    for bytes in [&b"one"[..], b"longer than one", b""] {
        lane.store.put(&key("lease.json"), bytes.to_vec().into(), PutMode::Replace).await.unwrap();
        assert_eq!(content(&*lane.store, "lease.json").await, bytes);
    }
    assert_eq!(names(&*lane.store, "").await, ["lease.json"]);
    lane.end();
}

async fn what_is_not_there_is_not_found(lane: Lane) {
    create(&*lane.store, "t/x", b"1").await;
    for absent in ["y", "t", "t/x/y", "t/x1"] {
        let error = lane.store.get(&key(absent), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound, "{absent}: {error}");
        assert_eq!(lane.store.head(&key(absent)).await.unwrap(), None, "{absent}");
    }
    assert!(lane.store.list("u/").await.unwrap().is_empty());
    assert!(lane.store.versions("u/").await.unwrap().is_empty());
    lane.end();
}

async fn a_listing_is_complete_and_sorted_and_keeps_to_its_prefix(lane: Lane) {
    let store = &lane.store;
    // By folder, `a/` would come before `a-b`; by key it comes behind.
    let few = ["a-b", "a.b", "a/1", "a/b/c", "a0", "b/1"];
    let many: BTreeSet<String> = (0..1100).map(|i| format!("many/{:03x}/{i}", i % 7)).collect();
    let all = few.iter().map(|s| (*s).to_owned()).chain(many.iter().cloned());
    let puts = all.map(|name| async move { create(&**store, &name, name.as_bytes()).await });
    let made: Vec<Entry> = stream::iter(puts).buffer_unordered(50).collect().await;
    assert_eq!(made.len(), few.len() + 1100);

    let listed = store.list("many/").await.unwrap();
    assert!(listed.iter().map(|e| e.key.as_str()).eq(many.iter().map(String::as_str)));
    assert!(listed.iter().all(|e| e.size_bytes == e.key.as_str().len() as u64));
    let versions = store.versions("many/").await.unwrap();
    assert!(versions.iter().map(|e| e.key.as_str()).eq(many.iter().map(String::as_str)));

    assert_eq!(names(&**store, "a").await, ["a-b", "a.b", "a/1", "a/b/c", "a0"]);
    assert_eq!(names(&**store, "a/").await, ["a/1", "a/b/c"]);
    assert_eq!(names(&**store, "a/b").await, ["a/b/c"]);
    assert_eq!(names(&**store, "").await.len(), few.len() + 1100);
    let whole = many.iter().filter(|n| n.starts_with("many/003/1")).count();
    assert_eq!(names(&**store, "many/003/1").await.len(), whole);
    lane.end();
}

async fn deleting_twice_is_deleting_once(lane: Lane) {
    create(&*lane.store, "t/x", b"1").await;
    create(&*lane.store, "t/y", b"1").await;
    for _ in 0..2 {
        lane.store.delete(&key("t/x"), None).await.unwrap();
        assert_eq!(names(&*lane.store, "").await, ["t/y"]);
        assert_eq!(lane.store.head(&key("t/x")).await.unwrap(), None);
        let error = lane.store.get(&key("t/x"), None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }
    create(&*lane.store, "t/x", b"again").await;
    assert_eq!(content(&*lane.store, "t/x").await, b"again");
    lane.end();
}

async fn versions_come_oldest_first_and_survive_deletion(lane: Lane) {
    let store = &*lane.store;
    for bytes in [b"1", b"2", b"3"] {
        for name in ["v/b", "v/a"] {
            store.put(&key(name), bytes.to_vec().into(), PutMode::Replace).await.unwrap();
        }
    }
    store.delete(&key("v/a"), None).await.unwrap();
    let mut found = Vec::new();
    for entry in store.versions("v/").await.unwrap() {
        let download = store.get(&entry.key, entry.version.as_deref()).await.unwrap();
        let bytes = download.bytes(10).await.unwrap();
        found.push(format!("{} {}", entry.key, String::from_utf8_lossy(&bytes)));
    }
    if lane.versioned {
        assert_eq!(found, ["v/a 1", "v/a 2", "v/a 3", "v/b 1", "v/b 2", "v/b 3"]);
    } else {
        assert_eq!(found, ["v/b 3"]);
    }
    assert_eq!(names(store, "v/").await, ["v/b"]);
    let oldest = store.versions("v/b").await.unwrap().remove(0);
    for _ in 0..2 {
        store.delete(&key("v/b"), oldest.version.as_deref()).await.unwrap();
    }
    assert_eq!(store.versions("v/b").await.unwrap().len(), if lane.versioned { 2 } else { 0 });
    lane.end();
}

async fn a_file_of_another_length_is_not_stored(lane: Lane) {
    let (_kept, short) = file(b"0123456789");
    let (_kept_too, large) = file(&noise(1, 66 * MIB));
    for (path, is) in [(short, 10), (large, 66 * MIB as u64)] {
        for size_bytes in [is - 1, is + 1] {
            let body = Body::File { path: path.clone(), size_bytes, sha256: None };
            let error = lane.store.put(&key("x"), body, PutMode::Create).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Io, "{error}");
        }
    }
    assert!(lane.store.versions("").await.unwrap().is_empty());
    assert_eq!(lane.half_done().await, [""; 0]);
    lane.end();
}

async fn a_file_that_is_not_what_its_sum_says_is_refused_by_a_bucket(lane: Lane) {
    let content = noise(3, MIB);
    let (_kept, path) = file(&content);
    let put = async |name: &str, sum| {
        let body = Body::File { path: path.clone(), size_bytes: MIB as u64, sha256: Some(sum) };
        lane.store.put(&key(name), body, PutMode::Create).await
    };
    put("right", Sha256::of(&content)).await.unwrap();
    // A folder copies the file without looking.
    if lane.bucket.is_some() {
        put("wrong", Sha256::of(b"other bytes")).await.unwrap_err();
        assert_eq!(lane.store.versions("").await.unwrap().len(), 1);
    }
    lane.end();
}

async fn a_put_that_is_given_up_leaves_nothing_half_done(lane: Lane) {
    let bytes = bytes::Bytes::from(noise(2, 80 * MIB));
    // Early, when not even the upload's id is known; later, between parts; with luck, near the end.
    for (i, ms) in [0, 1, 3, 10, 30, 100, 200, 400].into_iter().enumerate() {
        let name = key(&format!("g/{i}"));
        let put = lane.store.put(&name, Body::Bytes(bytes.clone()), PutMode::Create);
        drop(tokio::time::timeout(Duration::from_millis(ms), put).await);
    }
    lane.wait_until_nothing_is_half_done().await;
    for entry in lane.store.list("").await.unwrap() {
        assert!(content(&*lane.store, entry.key.as_str()).await == bytes, "{} is not whole", entry.key);
    }
    lane.end();
}

async fn what_a_kill_left_half_done_is_swept_once_old(lane: Lane) {
    create(&*lane.store, "x", b"1").await;
    let foreign = match (&lane.folder, &lane.bucket) {
        (Some(folder), _) => {
            std::fs::write(folder.path().join("~tmp/left"), b"half").unwrap();
            None
        }
        (_, Some(bucket)) => {
            let client = Seaweed::start().client();
            for name in ["some/prefix/left", "elsewhere"] {
                client.create_multipart_upload().bucket(bucket).key(name).send().await.unwrap();
            }
            Some("elsewhere".to_owned())
        }
        _ => unreachable!("a lane has a place"),
    };
    assert_eq!(lane.store.sweep(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(lane.half_done().await.len(), 1 + usize::from(foreign.is_some()));
    assert_eq!(lane.store.sweep(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(lane.half_done().await, Vec::from_iter(foreign));
    assert_eq!(content(&*lane.store, "x").await, b"1");
    lane.end();
}

#[tokio::test]
async fn a_wrong_secret_is_denied_and_shown_nowhere() {
    let bucket = Seaweed::start().new_bucket(false);
    let wrong = credentials(&Seaweed::start().access_key, "not-the-secret-at-all");
    let unknown = credentials("nobody", "not-the-secret-at-all");
    for credentials in [wrong, unknown] {
        let options = StoreOptions { credentials: Some(credentials), ..options() };
        let store = open(&address(&bucket), &options).await.unwrap();
        let errors = [
            store.put(&key("x"), vec![1].into(), PutMode::Create).await.unwrap_err(),
            store.get(&key("x"), None).await.unwrap_err(),
            store.head(&key("x")).await.unwrap_err(),
            store.list("").await.unwrap_err(),
            store.versions("").await.unwrap_err(),
            store.delete(&key("x"), None).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), Kind::Denied, "{error}");
            assert!(error.hint_text().is_some());
            assert!(!format!("{error} {error:?}").contains("not-the-secret"), "{error:?}");
        }
        assert!(!format!("{store:?}").contains("not-the-secret"));
    }
    Seaweed::start().remove_bucket(&bucket);
}

#[tokio::test]
async fn a_missing_bucket_is_no_repository() {
    let store = open(&address("lifeboat-test-nobody-made-it"), &options()).await.unwrap();
    let errors = [
        store.put(&key("x"), vec![1].into(), PutMode::Create).await.unwrap_err(),
        store.get(&key("x"), None).await.unwrap_err(),
        store.head(&key("x")).await.unwrap_err(),
        store.list("").await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Kind::NoRepository, "{error}");
        assert!(error.hint_text().is_some());
    }
}

/// On a disk of four MiB, in a mount namespace of its own: this test runs itself in there.
#[tokio::test]
async fn a_full_disk_refuses_an_object_and_keeps_the_others() {
    const HERE: &str = "LIFEBOAT_TEST_SMALL_DISK";
    if let Some(disk) = std::env::var_os(HERE) {
        return on_a_disk_of_four_mib(disk.into()).await;
    }
    let mount_point = tempfile::tempdir().unwrap();
    let mount = r#"mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@""#;
    let output = tokio::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", mount])
        .arg(mount_point.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_full_disk_refuses_an_object_and_keeps_the_others"])
        .env(HERE, mount_point.path())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
}

async fn on_a_disk_of_four_mib(disk: PathBuf) {
    let address = StoreAddress::File { folder: disk.clone() };
    let store = open(&address, &StoreOptions::default()).await.unwrap();
    create(&*store, "t/small", &noise(1, MIB)).await;
    let (_kept, path) = file(&noise(2, 5 * MIB));
    let large = Body::File { path, size_bytes: 5 * MIB as u64, sha256: None };
    for body in [large, noise(2, 5 * MIB).into()] {
        for mode in [PutMode::Create, PutMode::Replace] {
            let error = store.put(&key("t/large"), body.clone(), mode).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Full, "{error}");
        }
    }
    let error = store.put(&key("t/small"), noise(3, 4 * MIB).into(), PutMode::Replace).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    assert_eq!(std::fs::read_dir(disk.join("~tmp")).unwrap().count(), 0);
    assert_eq!(names(&*store, "").await, ["t/small"]);
    assert!(content(&*store, "t/small").await == noise(1, MIB));
    create(&*store, "t/other", &noise(4, 2 * MIB)).await;
    open(&address, &StoreOptions::default()).await.unwrap();
}
