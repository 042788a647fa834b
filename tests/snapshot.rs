//! Snapshots as a whole, on a store in a folder: committed in the right order or not at all, read back equal, checked.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::path::PathBuf;

use lifeboat::error::{Error, Kind};
use lifeboat::id::ComponentName;
use lifeboat::repo::age_file::{Identities, generate_identity};
use lifeboat::repo::certificate::{Role, Trust};
use lifeboat::repo::check::{Depth, Finding, IntactCheck, Wrong, readable};
use lifeboat::repo::history::Fault;
use lifeboat::repo::keys;
use lifeboat::repo::manifest::State;
use lifeboat::repo::receipt::Committed;
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::snapshot::{SnapshotWriter, open_vault};
use support::repository::{Bucket, damage, first_night, host, read_stream, sample, tenant, write_parts};

fn objects(bucket: &Bucket, folder: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = match std::fs::read_dir(bucket.file(&format!("tenants/byrne/{folder}"))) {
        Ok(entries) => entries.map(|e| e.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    all.sort();
    all
}

async fn intact(bucket: &Bucket, committed: &Committed, depth: Depth) -> Vec<Finding> {
    IntactCheck::begin(&bucket.repo, &tenant(), depth).await.unwrap().snapshot(committed).await
}

#[tokio::test]
async fn what_was_written_comes_back_and_the_second_night_adds_little() {
    let mut bucket = Bucket::new().await;
    let first = bucket.backup(&sample(0)).await;
    let second = bucket.backup(&sample(1)).await;
    assert_eq!((second.receipt.sequence, second.receipt.previous), (2, Some(first.hash)));
    assert!(second.receipt.is_whole());
    assert!(second.receipt.added_bytes < first.receipt.added_bytes / 10, "{}", second.receipt.added_bytes);
    for (night, committed) in [&first, &second].into_iter().enumerate() {
        let reader = bucket.reader(committed).await.unwrap();
        for part in sample(night as u64) {
            let read = read_stream(&reader, part.component, part.stream).await.unwrap();
            assert!(read == part.bytes(), "{}/{}", part.component, part.stream);
        }
    }
    let history = bucket.history().await;
    assert_eq!(history.faults, []);
    assert_eq!(history.snapshots, [first, second]);
}

#[tokio::test]
async fn a_night_without_change_costs_a_handful_of_requests() {
    let mut bucket = Bucket::new().await;
    bucket.backup(&sample(0)).await;
    let options = bucket.options().await;
    let before = bucket.record.total();
    let writer = SnapshotWriter::begin(options).await.unwrap();
    write_parts(&writer, &sample(0)).await.unwrap();
    let committed = writer.commit(first_night()).await.unwrap();
    let manifest_and_list = committed.receipt.manifest.size + committed.receipt.packs.size;
    assert_eq!(committed.receipt.added_bytes, manifest_and_list, "no pack is written");
    // The tenant's listing, before and after; four objects.
    assert_eq!(bucket.record.total() - before, 6);
}

#[tokio::test]
async fn a_part_of_a_stream_is_read_without_the_rest() {
    let mut bucket = Bucket::new().await;
    let committed = bucket.backup(&sample(0)).await;
    let reader = bucket.reader(&committed).await.unwrap();
    let tar = sample(0)[2].bytes();
    let mut range = reader.range(ComponentName::Files, "tar", 4000, 2_000_000).unwrap();
    let mut read = Vec::new();
    while let Some(bytes) = range.next().await {
        read.extend_from_slice(&bytes.unwrap());
    }
    assert!(read == tar[4000..2_004_000]);
}

#[tokio::test]
async fn a_failed_component_is_absent_and_named_and_a_lacking_one_says_what_it_lacks() {
    let mut bucket = Bucket::new().await;
    let options = bucket.options().await;
    let writer = SnapshotWriter::begin(options).await.unwrap();
    let parts = sample(0);
    write_parts(&writer, &parts[..1]).await.unwrap();

    let mut queue = writer.component(ComponentName::RedisQueue);
    let mut stream = queue.stream("aof", parts[1].grain, None).unwrap();
    stream.write(parts[1].segments[0].clone()).await.unwrap();
    queue.add(stream.finish().await.unwrap());
    queue.failed(&Error::new(Kind::Host, "container byrne-queue died"));

    let mut files = writer.component(ComponentName::Files);
    let mut stream = files.stream("tar", parts[2].grain, None).unwrap();
    stream.write(parts[2].segments[0].clone()).await.unwrap();
    files.add(stream.finish().await.unwrap());
    files.lacking((0..1500).map(|n| format!("private/{n}")).collect(), serde_json::json!({}));

    drop(writer.component(ComponentName::Certs));
    let committed = writer.commit(first_night()).await.unwrap();
    let receipt = &committed.receipt;
    assert!(!receipt.is_whole());
    let states: Vec<_> =
        receipt.components.iter().map(|c| (c.component, c.state, c.reason.as_deref())).collect();
    assert_eq!(
        states,
        [
            (ComponentName::Database, State::Whole, None),
            (ComponentName::RedisQueue, State::Failed, Some("host")),
            (ComponentName::Files, State::Lacking, None),
            (ComponentName::Certs, State::Failed, Some("interrupted")),
        ]
    );
    let reader = bucket.reader(&committed).await.unwrap();
    let e = reader.stream(ComponentName::RedisQueue, "aof").err().unwrap();
    assert_eq!(e.kind(), Kind::NotFound);
    assert!(e.to_string().contains("container byrne-queue died"), "{e}");
    assert_eq!(reader.stream(ComponentName::RedisCache, "aof").err().unwrap().kind(), Kind::NotFound);
    let lacks = &reader.component(ComponentName::Files).unwrap().lacks;
    assert_eq!((lacks.len(), lacks[1000].as_str()), (1001, "(and 500 more)"));
    let clear =
        std::fs::read_to_string(bucket.file(keys::receipt(&tenant(), &receipt.snapshot).json.as_str()));
    assert!(!clear.unwrap().contains("byrne-queue"), "free text stays in the encrypted manifest");
}

#[tokio::test]
async fn when_every_component_fails_there_is_no_snapshot() {
    let mut bucket = Bucket::new().await;
    let writer = SnapshotWriter::begin(bucket.options().await).await.unwrap();
    for name in [ComponentName::Files, ComponentName::Database] {
        writer.component(name).failed(&Error::new(Kind::Host, format!("{name} is dead")));
    }
    let e = writer.commit(first_night()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Host);
    assert!(e.to_string().contains("database is dead"), "{e}");
    assert!(objects(&bucket, "snapshots").is_empty());
    bucket.backup(&sample(0)).await;
}

#[tokio::test]
async fn an_abandoned_snapshot_leaves_no_trace_but_packs() {
    let mut bucket = Bucket::new().await;
    let writer = SnapshotWriter::begin(bucket.options().await).await.unwrap();
    write_parts(&writer, &sample(0)).await.unwrap();
    writer.abandon().await;
    assert!(objects(&bucket, "snapshots").is_empty());
    let committed = bucket.backup(&sample(0)).await;
    assert_eq!(intact(&bucket, &committed, Depth::Hashes).await, []);
}

#[tokio::test]
async fn a_host_that_may_not_write_does_not_begin() {
    let mut bucket = Bucket::new().await;
    let mut options = bucket.options().await;
    options.signer = SigningKey::generate("another", None).unwrap().0.into();
    let e = SnapshotWriter::begin(options).await.err().unwrap();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(e.hint_text().unwrap().contains("lifeboat keys certify --kit FILE"));
    let mut grant = bucket.grant();
    grant.tenants = vec!["dickinson".parse().unwrap()];
    bucket.certify(grant).await;
    let e = SnapshotWriter::begin(bucket.options().await).await.err().unwrap();
    assert_eq!(e.kind(), Kind::Denied);
}

/// Writes a void mark for packs, as prune does.
async fn void(bucket: &Bucket, number: u32, packs: &[PathBuf]) {
    let names: Vec<_> = packs.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    let mark = serde_json::json!({
        "format": 1, "kind": "void", "repository": bucket.repo.id(), "tenant": tenant(), "host": host(),
        "certificate": 2, "number": number, "time": first_night(), "packs": names, "reason": "prune",
    });
    let keys = keys::void_mark(&tenant(), number);
    let json = format!("{mark}\n");
    std::fs::create_dir_all(bucket.file("tenants/byrne/void")).unwrap();
    let signature = bucket.signer.sign(&keys.json, json.as_bytes()).unwrap();
    std::fs::write(bucket.file(keys.minisig.as_str()), signature).unwrap();
    std::fs::write(bucket.file(keys.json.as_str()), json).unwrap();
}

#[tokio::test]
async fn packs_voided_before_are_written_anew_and_packs_voided_meanwhile_stop_the_commit() {
    let mut bucket = Bucket::new().await;
    let mut grant = bucket.grant();
    grant.roles = vec![Role::Backup, Role::Prune];
    bucket.certify(grant).await;
    let first = bucket.backup(&sample(0)).await;
    let old = objects(&bucket, "packs");
    void(&bucket, 1, &old).await;
    let second = bucket.backup(&sample(0)).await;
    assert_eq!(second.receipt.void_seen, 1);
    assert!(second.receipt.added_bytes > first.receipt.added_bytes / 2, "all is written anew");

    let writer = SnapshotWriter::begin(bucket.options().await).await.unwrap();
    write_parts(&writer, &sample(0)).await.unwrap();
    void(&bucket, 2, &objects(&bucket, "packs")).await;
    let e = writer.commit(first_night()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict, "{e}");
    assert_eq!(bucket.history().await.snapshots.len(), 2);
    assert_eq!(bucket.backup(&sample(0)).await.receipt.void_seen, 2);
}

#[tokio::test]
async fn packs_that_the_store_lost_are_written_anew_the_next_night() {
    let mut bucket = Bucket::new().await;
    bucket.backup(&sample(0)).await;
    for pack in objects(&bucket, "packs") {
        std::fs::remove_file(pack).unwrap();
    }
    let second = bucket.backup(&sample(0)).await;
    assert_eq!(intact(&bucket, &second, Depth::Hashes).await, []);
    assert!(
        bucket.monitor.problems()[0].contains("no longer in the store"),
        "{:?}",
        bucket.monitor.problems()
    );
}

#[tokio::test]
async fn a_pack_lost_while_the_backup_runs_stops_the_commit() {
    let mut bucket = Bucket::new().await;
    bucket.backup(&sample(0)).await;
    let writer = SnapshotWriter::begin(bucket.options().await).await.unwrap();
    write_parts(&writer, &sample(0)).await.unwrap();
    for pack in objects(&bucket, "packs") {
        std::fs::remove_file(pack).unwrap();
    }
    let e = writer.commit(first_night()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Damaged, "{e}");
    let history = bucket.history().await;
    assert_eq!(history.snapshots.len(), 1);
    assert!(matches!(history.faults[..], [Fault::Orphan { .. }]), "{:?}", history.faults);
}

#[tokio::test]
async fn checks_find_what_is_lost_and_what_is_damaged() {
    let mut bucket = Bucket::new().await;
    let committed = bucket.backup(&sample(0)).await;
    let packs = objects(&bucket, "packs");
    for depth in [Depth::Sizes, Depth::Hashes] {
        assert_eq!(intact(&bucket, &committed, depth).await, []);
    }
    let kinds = |found: Vec<Finding>| found.into_iter().map(|f| f.wrong).collect::<Vec<_>>();

    let whole = std::fs::read(&packs[0]).unwrap();
    damage(&packs[0]);
    assert_eq!(intact(&bucket, &committed, Depth::Sizes).await, [], "sizes alone do not show it");
    assert_eq!(kinds(intact(&bucket, &committed, Depth::Hashes).await), [Wrong::Damaged]);
    let reader = bucket.reader(&committed).await.unwrap();
    let found = readable(&reader, &mut |_, _| Ok(())).await;
    assert!(
        !found.is_empty() && found.iter().all(|f| f.wrong == Wrong::Damaged && f.component.is_some()),
        "{found:?}"
    );

    std::fs::write(&packs[0], &whole[..100]).unwrap();
    assert_eq!(kinds(intact(&bucket, &committed, Depth::Sizes).await), [Wrong::Damaged]);
    std::fs::remove_file(&packs[0]).unwrap();
    assert_eq!(kinds(intact(&bucket, &committed, Depth::Hashes).await), [Wrong::Missing]);
    std::fs::write(&packs[0], &whole).unwrap();

    let snapshot = committed.receipt.snapshot.as_str();
    for suffix in ["manifest.age", "packs"] {
        let path = bucket.file(&format!("tenants/byrne/snapshots/{snapshot}.{suffix}"));
        let whole = std::fs::read(&path).unwrap();
        damage(&path);
        assert_eq!(kinds(intact(&bucket, &committed, Depth::Sizes).await), [Wrong::Damaged], "{suffix}");
        assert_eq!(bucket.reader(&committed).await.err().unwrap().kind(), Kind::Damaged, "{suffix}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(kinds(intact(&bucket, &committed, Depth::Sizes).await), [Wrong::Missing], "{suffix}");
        std::fs::write(&path, whole).unwrap();
    }
    std::fs::remove_dir_all(bucket.file("tenants/byrne/keys")).unwrap();
    assert_eq!(kinds(intact(&bucket, &committed, Depth::Sizes).await), [Wrong::Missing]);
}

#[tokio::test]
async fn reading_to_the_end_finds_nothing_wrong_with_what_is_right_and_shows_all_bytes() {
    let mut bucket = Bucket::new().await;
    let committed = bucket.backup(&sample(0)).await;
    let reader = bucket.reader(&committed).await.unwrap();
    let (mut seen, mut ended) = (0, Vec::new());
    let found = readable(&reader, &mut |record, bytes| {
        match bytes {
            Some(bytes) => seen += bytes.len(),
            None => ended.push(record.stream.clone()),
        }
        match bytes {
            None if record.stream == "sql" => Err(Error::new(Kind::Damaged, "no trailer")),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(found.len(), 1, "the verdict of whoever looked is a finding");
    assert_eq!(found[0].what, "no trailer");
    assert_eq!(seen, sample(0).iter().map(|p| p.bytes().len()).sum::<usize>());
    assert_eq!(ended, ["sql", "aof", "tar", "list"]);
}

#[tokio::test]
async fn a_stranger_cannot_open_the_vault_and_is_told_which() {
    let mut bucket = Bucket::new().await;
    let committed = bucket.backup(&sample(0)).await;
    let stranger = Identities::of_secret(&generate_identity().0).unwrap();
    let e = open_vault(&bucket.repo, &committed.receipt, &stranger).await.unwrap_err();
    assert_eq!(e.kind(), Kind::WrongKey);
    assert!(e.to_string().contains(bucket.vault.id().as_str()), "{e}");
}

#[tokio::test]
async fn nothing_on_the_host_opens_what_it_wrote() {
    let mut bucket = Bucket::new().await;
    let committed = bucket.backup(&sample(0)).await;
    let state = serde_json::to_string(&bucket.vault).unwrap();
    assert!(!state.contains("AGE-SECRET-KEY"), "the vault as a host keeps it");
    let trust = Trust::load(&bucket.repo).await.unwrap();
    assert!(trust.in_force(&host()).is_ok());
    let secret_of = |folder: &str| {
        let mut found = false;
        let mut folders = vec![bucket.folder.path().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let bytes = std::fs::read(path).unwrap();
                        found |=
                            bytes.windows(15).any(|w| w == b"AGE-SECRET-KEY-" || w == b"INSERT INTO `ta");
                    }
                }
            }
        }
        found
    };
    assert!(!secret_of("cache") && !secret_of("spool") && !secret_of("bucket"));
    assert!(committed.receipt.is_whole());
}
