//! The copy in a second store: a repository itself, whole at every point of its making, that takes over no damage.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat::error::Kind;
use lifeboat::id::ComponentName;
use lifeboat::ops::appliance::Appliance;
use lifeboat::repo::check::{Depth, IntactCheck};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::history::Fault;
use lifeboat::repo::repository::Repository;
use lifeboat::store::{Method, Record, SharedStore};
use support::pruner;
use support::repository::{Bucket, Part, damage, noise, read_stream, rows, tenant};
use support::second;
use support::steps::Steps;

/// A night's parts: most stays, some is new.
fn night(n: u64) -> Vec<Part> {
    let part = |component, stream, segments| Part { component, stream, grain: Grain::Files, segments };
    vec![
        Part { grain: Grain::Rows, ..part(ComponentName::Database, "sql", vec![rows(200, n)]) },
        part(ComponentName::Files, "tar", vec![noise(1, 1_200_000), noise(1000 + n, 40_000)]),
    ]
}

struct World {
    bucket: Bucket,
    state: tempfile::TempDir,
    second: tempfile::TempDir,
}

impl World {
    async fn after(nights: u64) -> World {
        let mut bucket = Bucket::new().await;
        let state = pruner::certified(&bucket).await;
        for n in 0..nights {
            bucket.night(&night(n)).await;
        }
        World { bucket, state, second: tempfile::tempdir().unwrap() }
    }

    async fn machine(&self) -> Appliance {
        second::machine(self.bucket.store.clone(), self.state.path(), &self.bucket).await
    }

    async fn to(&self) -> SharedStore {
        second::folder(self.second.path()).await
    }

    fn objects(&self, folder: &str) -> Vec<PathBuf> {
        files(&self.bucket.file(&format!("tenants/byrne/{folder}")))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Every snapshot that a store shows is there with all it needs, hashed, and its row has no fault but a run that died.
/// Returns how many there are; none where there is no repository yet.
async fn whole_snapshots(store: &SharedStore) -> usize {
    let (repo, history) = match second::history(store).await {
        Err(e) if e.kind() == Kind::NoRepository => return 0,
        other => other.unwrap(),
    };
    let bad: Vec<_> = history.faults.iter().filter(|f| !matches!(f, Fault::Orphan { .. })).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let mut check = IntactCheck::begin(&repo, &tenant(), Depth::Hashes).await.unwrap();
    for committed in &history.snapshots {
        assert_eq!(check.snapshot(committed).await, [], "{}", committed.receipt.snapshot);
    }
    history.snapshots.len()
}

#[tokio::test]
async fn a_copy_is_a_repository_from_which_every_snapshot_comes_back() {
    let world = World::after(3).await;
    let copied = second::copy(&world.machine().await, world.to().await).await.unwrap();
    assert_eq!((copied.snapshots, copied.there, copied.left_out.len()), (3, 0, 0));
    // The first store is gone; only the kit's pin is left of it.
    std::fs::remove_dir_all(world.bucket.path()).unwrap();
    let to = world.to().await;
    assert_eq!(whole_snapshots(&to).await, 3);
    let (_, history) = second::history(&to).await.unwrap();
    let pinned = Repository::open(to, Some(world.bucket.repo.hash())).await.unwrap();
    let mut bucket = world.bucket;
    bucket.repo = pinned;
    for (n, committed) in history.snapshots.iter().enumerate() {
        let reader = bucket.reader(committed).await.unwrap();
        for part in night(n as u64) {
            let read = read_stream(&reader, part.component, part.stream).await.unwrap();
            assert!(read == part.bytes(), "{n} {}", part.stream);
        }
    }
}

#[tokio::test]
async fn a_second_copy_puts_nothing_and_the_next_night_only_what_is_new() {
    let mut world = World::after(2).await;
    let first = second::copy(&world.machine().await, world.to().await).await.unwrap();
    let record = Record::new(world.to().await);
    let again = second::copy(&world.machine().await, Arc::new(record.clone())).await.unwrap();
    assert_eq!((again.objects, again.bytes, again.snapshots, again.there), (0, 0, 0, 2));
    assert_eq!(record.calls(Method::Put).calls, 0);
    assert_eq!(record.calls(Method::List).calls, 2, "one for certificates, one for the tenant");
    world.bucket.night(&night(2)).await;
    let next = second::copy(&world.machine().await, world.to().await).await.unwrap();
    assert_eq!((next.snapshots, next.there, next.objects), (1, 2, next.packs + 4));
    assert!(next.bytes < first.bytes / 5, "{} of {}", next.bytes, first.bytes);
    assert_eq!(whole_snapshots(&world.to().await).await, 3);
}

#[tokio::test]
async fn killed_at_any_call_a_copy_shows_no_receipt_whose_objects_lack_and_the_next_one_ends_it() {
    let world = World::after(2).await;
    let machine = world.machine().await;
    let counting = Steps::dying(world.to().await, u64::MAX, false);
    second::copy(&machine, counting.clone()).await.unwrap();
    let (calls, mut killed, mut begun) = (counting.calls(), 0, 0);
    for at in 1..=calls {
        for made in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let store = second::folder(folder.path()).await;
            let dying = Steps::dying(store.clone(), at, made);
            let e = second::copy(&machine, dying).await.unwrap_err();
            assert_eq!(e.kind(), Kind::Interrupted, "call {at}: {e}");
            killed += 1;
            begun += usize::from(whole_snapshots(&store).await == 1);
            let ended = second::copy(&machine, store.clone()).await.unwrap();
            assert_eq!(ended.left_out, []);
            assert_eq!(whole_snapshots(&store).await, 2);
        }
    }
    println!("{killed} kills, {begun} between two receipts");
    assert!(begun > 0);
    assert!(files(&machine.state.copy_folder().unwrap().join("on-the-way")).is_empty());
}

#[tokio::test]
async fn what_is_damaged_here_is_left_out_there_with_the_snapshots_that_need_it() {
    let mut world = World::after(1).await;
    second::copy(&world.machine().await, world.to().await).await.unwrap();
    let packs = world.objects("packs");
    world.bucket.night(&night(1)).await;
    let new: Vec<PathBuf> = world.objects("packs").into_iter().filter(|p| !packs.contains(p)).collect();
    // The copy has the old ones already, and needs the new ones.
    packs.iter().chain(&new).for_each(|pack| damage(pack));
    let copied = second::copy(&world.machine().await, world.to().await).await.unwrap();
    assert_eq!((copied.snapshots, copied.there, copied.packs), (0, 1, 0));
    assert_eq!(copied.left_out.len(), new.len() + 1, "{:?}", copied.left_out);
    assert!(copied.left_out.iter().all(|l| l.kind == "damaged"), "{:?}", copied.left_out);
    assert_eq!(whole_snapshots(&world.to().await).await, 1);
}

#[tokio::test]
async fn a_receipt_that_somebody_forged_here_does_not_arrive_there() {
    let world = World::after(2).await;
    let receipts: Vec<PathBuf> = world
        .objects("snapshots")
        .into_iter()
        .filter(|p| p.extension().is_some_and(|x| x == "json"))
        .collect();
    damage(&receipts[1]);
    let copied = second::copy(&world.machine().await, world.to().await).await.unwrap();
    assert_eq!(copied.snapshots, 1);
    assert_eq!(whole_snapshots(&world.to().await).await, 1);
}

#[tokio::test]
async fn another_repository_or_a_copy_that_has_vanished_is_not_written_to() {
    let world = World::after(1).await;
    let other = Bucket::new().await;
    let e = second::copy(&world.machine().await, other.store.clone()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Forged, "{e}");
    let machine = world.machine().await;
    let e = lifeboat::ops::copy::Copying::into(&machine, world.to().await, true, false).await.err().unwrap();
    assert_eq!(e.kind(), Kind::NoRepository);
    assert!(e.hint_text().unwrap().contains("mounted"), "{e}");
    assert!(files(world.second.path()).is_empty());
}

#[tokio::test]
async fn a_dry_run_counts_what_a_copy_does_and_does_nothing() {
    let world = World::after(2).await;
    let machine = world.machine().await;
    let copying = lifeboat::ops::copy::Copying::into(&machine, world.to().await, false, true).await.unwrap();
    let planned = copying.tenant(&tenant()).await.unwrap();
    assert!(files(world.second.path()).is_empty());
    let done = second::copy(&machine, world.to().await).await.unwrap();
    assert_eq!((planned.objects, planned.bytes, planned.packs), (done.objects, done.bytes, done.packs));
    assert_eq!(planned.snapshots, done.snapshots);
}
