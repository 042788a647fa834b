//! Format 1 stays readable: `tests/data/format1` was written once, by the first version of the writer, and is never
//! written again. Its keys are for this test alone.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lifeboat::error::{Error, Kind};
use lifeboat::id::{ComponentName, Sha256, TenantName};
use lifeboat::monitor::Silent;
use lifeboat::repo::age_file::Identities;
use lifeboat::repo::certificate::Trust;
use lifeboat::repo::check::{Depth, IntactCheck};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::history::History;
use lifeboat::repo::manifest::State;
use lifeboat::repo::repository::Repository;
use lifeboat::repo::snapshot::{ReadOptions, SnapshotReader, SnapshotWriter, open_vault};
use lifeboat::store::{LocalStore, Timeouts};
use serde::{Deserialize, Serialize};
use support::repository::{Bucket, Part, noise, read_stream, rows, tenant, write_parts};

/// What `expected.json` says of the sample.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Expected {
    pin: Sha256,
    /// By snapshot, the SHA-256 of each `component/stream`.
    snapshots: BTreeMap<String, BTreeMap<String, Sha256>>,
}

fn sample_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format1")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::copy(entry.path(), target).map(drop).unwrap(),
        }
    }
}

/// Reads a sample as an operator with the recovery kit would.
async fn read_sample(folder: &Path) {
    let expected: Expected =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let work = tempfile::tempdir().unwrap();
    copy(&folder.join("bucket"), &work.path().join("bucket"));
    let store = LocalStore::open(&work.path().join("bucket"), Timeouts::default(), false).await.unwrap();
    let repo = Repository::open(Arc::new(store), Some(expected.pin)).await.unwrap();
    let trust = Trust::load(&repo).await.unwrap();
    let tenant: TenantName = tenant();
    let history = History::load(&repo, &trust, &tenant, None).await.unwrap();
    assert_eq!(history.faults, []);
    let identities =
        Identities::parse("operator.txt", &std::fs::read_to_string(folder.join("operator.txt")).unwrap())
            .unwrap();
    let mut intact = IntactCheck::begin(&repo, &tenant, Depth::Hashes).await.unwrap();
    let mut read = BTreeMap::new();
    for committed in &history.snapshots {
        assert_eq!(intact.snapshot(committed).await, []);
        let vault = open_vault(&repo, &committed.receipt, &identities).await.unwrap();
        let options = ReadOptions {
            frames: lifeboat::repo::reader::frame_memory(),
            folder: work.path().to_owned(),
            folder_limit_bytes: 256 << 20,
            fetches: 1,
            monitor: Arc::new(Silent),
        };
        let reader = SnapshotReader::open(&repo, committed, &vault, options).await.unwrap();
        let mut streams = BTreeMap::new();
        for record in reader.streams() {
            let bytes = read_stream(&reader, record.component, &record.stream).await.unwrap();
            streams.insert(format!("{}/{}", record.component, record.stream), Sha256::of(&bytes));
        }
        read.insert(committed.receipt.snapshot.to_string(), streams);
    }
    assert_eq!(read, expected.snapshots);
    let [first, second] = &history.snapshots[..] else { panic!("two snapshots") };
    assert!(first.receipt.is_whole());
    assert_eq!(second.receipt.state(ComponentName::RedisQueue), Some(State::Failed));
    assert_eq!(second.receipt.previous, Some(first.hash));
}

#[tokio::test]
async fn the_sample_of_format_1_is_readable() {
    read_sample(&sample_folder()).await;
}

#[test]
fn the_sample_of_format_1_is_readable_with_stock_tools() {
    let folder = sample_folder();
    let expected: Expected =
        serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    for (snapshot, streams) in &expected.snapshots {
        for (name, hash) in streams {
            let (component, stream) = name.split_once('/').unwrap();
            let out = Command::new("python3")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emergency-restore.py"))
                .arg(folder.join("bucket"))
                .args(["--pin", &expected.pin.to_string(), "--identity"])
                .arg(folder.join("operator.txt"))
                .args(["get", "byrne", snapshot, component, stream])
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            assert_eq!(Sha256::of(&out.stdout), *hash, "{snapshot} {name}");
        }
    }
}

/// The parts of the sample: small, with several segments, an empty stream and a second night that reuses packs.
fn parts(night: u64) -> Vec<Part> {
    let part = |component, stream, grain, segments| Part { component, stream, grain, segments };
    vec![
        part(ComponentName::Database, "sql", Grain::Rows, vec![rows(400, night)]),
        part(
            ComponentName::Files,
            "tar",
            Grain::Files,
            vec![noise(1, 3000), noise(2, 9000), noise(3 + night, 500)],
        ),
        part(ComponentName::Files, "list", Grain::Rows, vec![]),
    ]
}

/// Writes a sample as `tests/data/format1` was written. What the writer makes today must be readable in the same way;
/// `LIFEBOAT_SAMPLE=folder` keeps it, for the sample of a later format.
#[tokio::test]
async fn a_sample_written_now_is_readable_in_the_same_way() {
    let mut bucket = Bucket::new().await;
    let mut snapshots = BTreeMap::new();
    for night in 0..2 {
        let options = bucket.options().await;
        let finished = options.started + jiff::SignedDuration::from_mins(3);
        let writer = SnapshotWriter::begin(options).await.unwrap();
        write_parts(&writer, &parts(night)).await.unwrap();
        if night == 1 {
            writer.component(ComponentName::RedisQueue).failed(&Error::new(Kind::Host, "container is dead"));
        }
        let committed = writer.commit(finished).await.unwrap();
        bucket.head = Some((&committed).into());
        let hashes = parts(night)
            .into_iter()
            .map(|p| (format!("{}/{}", p.component, p.stream), Sha256::of(&p.bytes())));
        snapshots.insert(committed.receipt.snapshot.to_string(), hashes.collect());
    }
    let expected = Expected { pin: bucket.repo.hash(), snapshots };
    let json = serde_json::to_string_pretty(&expected).unwrap() + "\n";
    std::fs::write(bucket.folder.path().join("expected.json"), json).unwrap();
    read_sample(bucket.folder.path()).await;
    if let Some(keep) = std::env::var_os("LIFEBOAT_SAMPLE").map(PathBuf::from) {
        for name in ["bucket", "expected.json", "operator.txt"] {
            let (from, to) = (bucket.folder.path().join(name), keep.join(name));
            match from.is_dir() {
                true => copy(&from, &to),
                false => std::fs::copy(from, to).map(drop).unwrap(),
            }
        }
    }
}
