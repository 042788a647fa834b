//! What Lifeboat wrote is restored without Lifeboat: by `docs/emergency-restore.py` with the distribution's `age`,
//! `zstd` and `minisign`, byte for byte; and what is wrong is refused.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lifeboat::id::SnapshotId;
use lifeboat::repo::age_file::{Recipient, generate_identity, identity_file};
use lifeboat::repo::certificate::{Ended, LastAccepted};
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::vault::VaultKey;
use support::repository::{Bucket, damage, first_night, sample, tenant};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emergency-restore.py");

/// Runs the script as an operator would, its decompressed packs in a folder of its own.
fn script(bucket: &Bucket, pin: &str, arguments: &[&str]) -> Output {
    let temp = bucket.folder.path().join("temp");
    std::fs::create_dir_all(&temp).unwrap();
    let out = Command::new("python3")
        .arg(SCRIPT)
        .arg(bucket.path())
        .args(["--pin", pin])
        .args(arguments)
        .env("TMPDIR", &temp)
        .output()
        .unwrap();
    assert_eq!(std::fs::read_dir(&temp).unwrap().count(), 0, "something was left in the folder for packs");
    out
}

fn get(bucket: &Bucket, rest: &[&str]) -> Output {
    get_with(bucket, &bucket.folder.path().join("operator.txt"), rest)
}

fn get_with(bucket: &Bucket, identity: &Path, rest: &[&str]) -> Output {
    let all = [&["--identity", identity.to_str().unwrap(), "get", "byrne"], rest].concat();
    script(bucket, &bucket.repo.hash().to_string(), &all)
}

#[track_caller]
fn refused(out: &Output, code: i32, says: &str) {
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{told}");
    assert!(told.contains(says), "{told}");
}

async fn two_nights() -> Bucket {
    let mut bucket = Bucket::new().await;
    for night in 0..2 {
        bucket.backup(&sample(night)).await;
    }
    bucket
}

/// Makes an identity file for somebody.
fn person(bucket: &Bucket, name: &str) -> (PathBuf, Recipient) {
    let (secret, recipient) = generate_identity();
    let file = bucket.folder.path().join(format!("{name}.txt"));
    std::fs::write(&file, &*identity_file(name, &secret)).unwrap();
    (file, recipient)
}

fn receipt_key(snapshot: &SnapshotId, suffix: &str) -> String {
    format!("tenants/byrne/snapshots/{snapshot}.{suffix}")
}

#[test]
fn the_script_has_at_most_200_lines() {
    assert!(std::fs::read_to_string(SCRIPT).unwrap().lines().count() <= 200);
}

#[tokio::test]
async fn all_streams_of_all_snapshots_come_back_byte_for_byte() {
    let bucket = two_nights().await;
    let history = bucket.history().await;
    let out = script(&bucket, &bucket.repo.hash().to_string(), &["list"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(String::from_utf8(out.stdout).unwrap().matches(" WHOLE ").count(), 2);
    for (night, committed) in history.snapshots.iter().enumerate() {
        let snapshot = committed.receipt.snapshot.as_str();
        for part in sample(night as u64) {
            let out = get(&bucket, &[snapshot, part.component.as_str(), part.stream]);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            assert!(out.stdout == part.bytes(), "{snapshot} {}/{}", part.component, part.stream);
        }
    }
    let newest = get(&bucket, &["latest", "files"]);
    assert!(newest.stdout == sample(1)[2].bytes(), "the tar is a component's stream where none is named");
}

#[tokio::test]
async fn the_receipt_is_enough_when_the_wraps_are_gone() {
    let bucket = two_nights().await;
    std::fs::remove_dir_all(bucket.file("tenants/byrne/keys")).unwrap();
    assert!(get(&bucket, &["latest", "database"]).stdout == sample(1)[0].bytes());
}

#[tokio::test]
async fn the_wraps_in_the_store_serve_operators_who_came_later() {
    let bucket = two_nights().await;
    let key = VaultKey::open(bucket.vault.id(), bucket.vault.wraps(), &bucket.operator).unwrap();
    let (file, recipient) = person(&bucket, "later");
    bucket.vault.clone().rewrap(&bucket.repo, &tenant(), &key, &[recipient]).await.unwrap();
    assert!(get_with(&bucket, &file, &["latest", "database"]).stdout == sample(1)[0].bytes());
}

#[tokio::test]
async fn another_repository_a_wrong_pin_and_a_wrong_folder_are_told_apart() {
    let bucket = two_nights().await;
    refused(&script(&bucket, &"0".repeat(64), &["list"]), 4, "not the one that the recovery kit pins");
    std::fs::remove_file(bucket.file("lifeboat.json")).unwrap();
    refused(&script(&bucket, &bucket.repo.hash().to_string(), &["list"]), 10, "no lifeboat.json");
}

#[tokio::test]
async fn an_identity_of_somebody_else_opens_nothing() {
    let bucket = two_nights().await;
    let (file, _) = person(&bucket, "stranger");
    let out = get_with(&bucket, &file, &["latest", "database"]);
    refused(&out, 12, "opens none of the");
    assert!(out.stdout.is_empty());
}

#[tokio::test]
async fn a_damaged_or_lost_object_is_refused() {
    let bucket = two_nights().await;
    let snapshot = bucket.head.clone().unwrap().snapshot;
    let packs: Vec<_> =
        std::fs::read_dir(bucket.file("tenants/byrne/packs")).unwrap().map(|e| e.unwrap().path()).collect();
    let manifest = bucket.file(&receipt_key(&snapshot, "manifest.age"));
    let list = bucket.file(&receipt_key(&snapshot, "packs"));
    for path in [&packs[..], &[manifest, list]].concat() {
        let whole = std::fs::read(&path).unwrap();
        damage(&path);
        let results: Vec<_> = ["database", "files"].map(|c| get(&bucket, &["latest", c])).into();
        assert!(results.iter().any(|out| out.status.code() == Some(4)), "{}", path.display());
        std::fs::remove_file(&path).unwrap();
        let results: Vec<_> = ["database", "files"].map(|c| get(&bucket, &["latest", c])).into();
        assert!(results.iter().any(|out| out.status.code() == Some(4)), "{} gone", path.display());
        std::fs::write(&path, whole).unwrap();
    }
    assert!(get(&bucket, &["latest", "database"]).status.success());
}

#[tokio::test]
async fn forged_receipts_are_refused_and_latest_is_the_newest_good_one() {
    let bucket = two_nights().await;
    let snapshots: Vec<SnapshotId> =
        bucket.history().await.snapshots.iter().map(|c| c.receipt.snapshot.clone()).collect();
    let newest = snapshots[1].as_str();
    let json = bucket.file(&receipt_key(&snapshots[1], "json"));
    let minisig = bucket.file(&receipt_key(&snapshots[1], "minisig"));
    let right = (std::fs::read(&json).unwrap(), std::fs::read(&minisig).unwrap());

    std::fs::write(&json, String::from_utf8_lossy(&right.0).replace("\"sequence\":2", "\"sequence\":9"))
        .unwrap();
    refused(&get(&bucket, &[newest, "database"]), 4, "does not verify");
    let out = get(&bucket, &["latest", "database"]);
    assert!(
        out.status.success() && out.stdout == sample(0)[0].bytes(),
        "the one before is the newest good one"
    );
    refused(&out, 0, "REFUSED");

    let (stranger, _) = SigningKey::generate("stranger", None).unwrap();
    std::fs::write(&json, &right.0).unwrap();
    let key = receipt_key(&snapshots[1], "json").parse().unwrap();
    std::fs::write(&minisig, stranger.sign(&key, &right.0).unwrap()).unwrap();
    refused(&get(&bucket, &[newest, "database"]), 4, "does not verify");

    for suffix in ["json", "minisig"] {
        let from = bucket.file(&receipt_key(&snapshots[0], suffix));
        std::fs::copy(from, bucket.file(&receipt_key(&snapshots[1], suffix))).unwrap();
    }
    refused(&get(&bucket, &[newest, "database"]), 4, "belongs elsewhere");
    refused(&script(&bucket, &bucket.repo.hash().to_string(), &["list"]), 4, "REFUSED");
}

#[tokio::test]
async fn a_host_without_certificate_or_with_an_ended_key_is_refused() {
    let bucket = two_nights().await;
    let history = bucket.history().await;
    let (first, second) = (&history.snapshots[0], &history.snapshots[1]);
    let mut grant = bucket.grant();
    let last = [(tenant(), LastAccepted { sequence: 1, receipt: first.hash })].into();
    grant.ended = Some(Ended { at: first_night(), last });
    bucket.certify(grant).await;
    refused(
        &get(&bucket, &[second.receipt.snapshot.as_str(), "database"]),
        4,
        "after the end of its host's key",
    );
    assert!(get(&bucket, &["latest", "database"]).stdout == sample(0)[0].bytes());
    damage(&bucket.file("hosts/h1.1.json"));
    refused(&get(&bucket, &["latest", "database"]), 4, "its host had no certificate");
}
