//! Prune on a store in a folder: what goes and when, what stops it, and that nothing a snapshot needs ever goes,
//! wherever a backup or a prune is interrupted or comes in between.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lifeboat::error::Kind;
use lifeboat::id::{ComponentName, HostName, PackId, SnapshotId};
use lifeboat::ops::appliance::Appliance;
use lifeboat::ops::prune::plan::{Orders, Plan};
use lifeboat::ops::prune::{self, Pruned};
use lifeboat::repo::certificate::{Grant, Trust};
use lifeboat::repo::check::{Depth, IntactCheck};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::history::History;
use lifeboat::repo::keys;
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::void::{self, NewMark, VoidMarks};
use lifeboat::store::{Body, Credentials, Method, PutMode, SharedStore, StoreOptions, open};
use secrecy::ExposeSecret;
use support::pruner;
use support::repository::{Bucket, Part, first_night, noise, read_stream, rows, tenant};
use support::seaweed::Seaweed;
use support::steps::Steps;

/// Keeps two runs and three days beyond what is young.
const POLICY: &str = "[schedule]\ntimezone = \"UTC\"\n[retention]\nkeep_last = 2\nhourly = 0\ndaily = 3\nweekly = 0\n\
                      monthly = 0\nyearly = 0\nwithin = \"0s\"\n[drill]\nskip = \"a test\"\n";

/// A repository, and beside it the state folder of a machine that prunes.
struct World {
    bucket: Bucket,
    state: tempfile::TempDir,
}

/// A night's parts: most stays, and what was new goes again the next night.
fn night(n: u64) -> Vec<Part> {
    let part = |component, stream, segments| Part { component, stream, grain: Grain::Files, segments };
    vec![
        Part { grain: Grain::Rows, ..part(ComponentName::Database, "sql", vec![rows(200, n % 90)]) },
        part(ComponentName::Files, "tar", vec![noise(1, 150_000), noise(1000 + n, 40_000)]),
    ]
}

/// Which night a snapshot is of, counted from 0: it stands in its id.
fn number(snapshot: &SnapshotId) -> u64 {
    u64::from_str_radix(snapshot.as_str().rsplit('-').next().unwrap(), 16).unwrap() - 1
}

impl World {
    /// A tenant after some nights, and a machine certified to prune it.
    async fn after(nights: u64) -> World {
        World::of(Bucket::new().await, nights).await
    }

    async fn of(mut bucket: Bucket, nights: u64) -> World {
        let state = pruner::certified(&bucket).await;
        for n in 0..nights {
            bucket.night(&night(n)).await;
        }
        World { bucket, state }
    }

    async fn fork(&self) -> World {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("keys")).unwrap();
        std::fs::copy(self.state.path().join("keys/host.key"), state.path().join("keys/host.key")).unwrap();
        World { bucket: self.bucket.fork().await, state }
    }

    async fn next_night(&mut self) {
        let n = number(&self.bucket.head.as_ref().unwrap().snapshot) + 1;
        self.bucket.night(&night(n)).await;
    }

    async fn appliance(&self, store: SharedStore, now: Timestamp) -> Appliance {
        appliance(store, self.state.path(), now).await
    }

    async fn plan(&self) -> Plan {
        let now = self.bucket.tonight();
        prune::plan(&self.appliance(self.bucket.store.clone(), now).await, &tenant(), &Orders::default())
            .await
            .unwrap()
    }

    async fn prune(&self) -> (Plan, Pruned) {
        let appliance = self.appliance(self.bucket.store.clone(), self.bucket.tonight()).await;
        let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap();
        assert_eq!(plan.stops, []);
        let done = prune::apply(&appliance, &plan).await.unwrap();
        assert_eq!(done.failures, [""; 0]);
        (plan, done)
    }

    /// Prunes again and again, with nights between, until nothing is left to do; time stands still for the rules.
    async fn prune_out(&mut self) {
        let now = self.bucket.tonight();
        for _ in 0..40 {
            let appliance = self.appliance(self.bucket.store.clone(), now).await;
            let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap();
            assert_eq!(plan.stops, []);
            if plan.is_idle() && plan.void_before.packs == 0 {
                return;
            }
            prune::apply(&appliance, &plan).await.unwrap();
            drop(appliance);
            self.next_night().await;
        }
        panic!("it goes on for ever: {:?}", self.plan().await);
    }

    /// Every snapshot that is not forgotten has all its packs, each right, and the chain has no fault.
    async fn all_is_intact(&self) -> BTreeSet<u64> {
        let history = self.bucket.history().await;
        let alarms: Vec<_> = history.faults.iter().filter(|f| f.is_alarm()).collect();
        assert!(alarms.is_empty(), "{alarms:?}");
        let mut check = IntactCheck::begin(&self.bucket.repo, &tenant(), Depth::Hashes).await.unwrap();
        let mut there = BTreeSet::new();
        for committed in &history.snapshots {
            assert_eq!(check.snapshot(committed).await, [], "{}", committed.receipt.snapshot);
            there.insert(number(&committed.receipt.snapshot));
        }
        there
    }

    /// The same, and each stream comes back equal.
    async fn all_comes_back(&self) -> BTreeSet<u64> {
        let there = self.all_is_intact().await;
        for committed in &self.bucket.history().await.snapshots {
            let reader = self.bucket.reader(committed).await.unwrap();
            for part in night(number(&committed.receipt.snapshot)) {
                let read = read_stream(&reader, part.component, part.stream).await.unwrap();
                assert!(read == part.bytes(), "{} {}", committed.receipt.snapshot, part.stream);
            }
        }
        there
    }

    fn packs(&self) -> usize {
        std::fs::read_dir(self.bucket.file("tenants/byrne/packs")).unwrap().count()
    }
}

async fn appliance(store: SharedStore, state: &Path, now: Timestamp) -> Appliance {
    pruner::appliance(store, state, POLICY, now).await
}

fn full() -> bool {
    std::env::var_os("LIFEBOAT_FULL").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_go_first_and_packs_in_a_later_run_once_the_host_has_seen_the_mark() {
    let mut world = World::after(24).await;
    let packs = world.packs();
    let plan = world.plan().await;
    // 24 nights, 14 of them young; a quarter goes in one run.
    assert_eq!((plan.forget.len(), plan.postponed), (6, 4));
    assert_eq!(plan.forget.iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(plan.now_go.packs, 0);
    assert!(plan.become_void.packs >= 4, "{:?}", plan.become_void);
    assert_eq!(world.packs(), packs, "a plan changes nothing");

    let (_, done) = world.prune().await;
    assert_eq!((done.forgotten, done.mark, done.packs), (6, Some(1), 0));
    assert_eq!(world.packs(), packs, "no pack has gone");
    assert_eq!(world.all_comes_back().await, (6..24).collect());

    // Without a backup in between nothing of it may go.
    let (plan, done) = world.prune().await;
    assert_eq!((plan.now_go.packs, done.packs), (0, 0));
    assert_eq!(plan.waits.len(), 1);
    assert_eq!((plan.waits[0].host.as_str(), plan.waits[0].seen), ("h1", Some(0)));
    world.next_night().await;
    let before = world.packs();
    let (_, done) = world.prune().await;
    assert!(done.packs >= 4 && world.packs() == before - done.packs, "{done:?}");
    world.prune_out().await;
    let plan = world.plan().await;
    assert_eq!(world.all_comes_back().await.len(), plan.snapshots.len());
    assert_eq!(plan.stored.packs, plan.needed.packs + plan.become_void.packs, "nothing dead is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_clock_alone_makes_anything_go() {
    let world = World::after(20).await;
    let expected = world.plan().await.forget;
    // The pruning machine's clock is ten years ahead.
    let late = world.bucket.tonight() + SignedDuration::from_hours(24 * 3650);
    let appliance = world.appliance(world.bucket.store.clone(), late).await;
    let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap();
    assert_eq!(plan.forget, expected);
    // Or behind: less goes.
    let early = first_night() + SignedDuration::from_hours(24 * 10);
    let appliance = world.appliance(world.bucket.store.clone(), early).await;
    assert_eq!(prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap().forget, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stops_where_the_history_is_not_what_it_should_be() {
    let world = World::after(24).await;
    let history = world.bucket.history().await;
    let receipt = |n: usize| keys::receipt(&tenant(), &history.snapshots[n].receipt.snapshot).json;
    let stopped = async |w: &World, word: &str| {
        let plan = w.plan().await;
        assert!(plan.stops.iter().any(|s| s.fault == word), "{word}: {:?}", plan.stops);
        assert!(plan.is_stopped() && plan.is_idle() && plan.forget.is_empty());
        let appliance = w.appliance(w.bucket.store.clone(), w.bucket.tonight()).await;
        assert_eq!(prune::apply(&appliance, &plan).await.unwrap_err().kind(), Kind::CheckFailed);
    };

    let missing = world.fork().await;
    missing.bucket.store.delete(&receipt(7), None).await.unwrap();
    stopped(&missing, "missing").await;
    // An operator who knows that it is lost says so once.
    let appliance = missing.appliance(missing.bucket.store.clone(), missing.bucket.tonight()).await;
    let orders = Orders { accept_missing: true, ..Orders::default() };
    let plan = prune::plan(&appliance, &tenant(), &orders).await.unwrap();
    prune::apply(&appliance, &plan).await.unwrap();
    assert_eq!(missing.plan().await.stops, []);

    let rolled_back = world.fork().await;
    rolled_back.plan().await;
    for n in [22, 23] {
        rolled_back.bucket.store.delete(&receipt(n), None).await.unwrap();
    }
    stopped(&rolled_back, "rolled-back").await;

    let forged = world.fork().await;
    let bytes = b"{\"format\":1,\"kind\":\"receipt\",\"host\":\"h1\",\"certificate\":1}\n".to_vec();
    forged.bucket.store.put(&receipt(3), bytes.into(), PutMode::Replace).await.unwrap();
    stopped(&forged, "unverifiable").await;
    let newer = b"{\"format\":2,\"kind\":\"receipt\"}\n".to_vec();
    forged.bucket.store.put(&receipt(3), newer.into(), PutMode::Replace).await.unwrap();
    stopped(&forged, "too-new").await;

    let listless = world.fork().await;
    let list =
        keys::snapshot(&tenant(), &history.snapshots[20].receipt.snapshot, keys::SnapshotPart::PackList);
    listless.bucket.store.delete(&list, None).await.unwrap();
    stopped(&listless, "missing-object").await;

    let mut forked = world.fork().await;
    forked.bucket.head = Some((&history.snapshots[22]).into());
    let rival = forked.bucket.try_night(forked.bucket.store.clone(), &night(40)).await.unwrap();
    assert_eq!(rival.receipt.sequence, 24);
    stopped(&forked, "fork").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_from_the_future_stops_it_until_an_operator_names_it() {
    let mut world = World::after(20).await;
    // The store's clock stays behind while the host's runs ahead by some nights.
    let store_time = world.bucket.tonight();
    world.bucket.clock.set(store_time);
    world.bucket.backup(&night(20)).await;
    let ahead = world.bucket.backup(&night(21)).await.receipt.snapshot;
    world.next_night().await;
    let plan = world.plan().await;
    assert_eq!(plan.stops.iter().map(|s| s.fault).collect::<Vec<_>>(), ["future-dated"]);
    assert!(plan.forget.is_empty());
    let orders = Orders { forget: vec![ahead.clone()], ..Orders::default() };
    let appliance = world.appliance(world.bucket.store.clone(), world.bucket.tonight()).await;
    let plan = prune::plan(&appliance, &tenant(), &orders).await.unwrap();
    assert_eq!(plan.stops, []);
    assert!(plan.forget.contains(&ahead));
    prune::apply(&appliance, &plan).await.unwrap();
    assert!(!world.all_comes_back().await.contains(&number(&ahead)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_host_that_may_write_is_waited_for() {
    let mut world = World::after(20).await;
    let (second, _) = SigningKey::generate("h2", None).unwrap();
    let h2: HostName = "h2".parse().unwrap();
    let grant = Grant { host: h2.clone(), signing_key: second.public().clone(), ..world.bucket.grant() };
    world.bucket.certify(grant.clone()).await;
    world.prune().await;
    world.next_night().await;
    let (plan, done) = world.prune().await;
    assert!(plan.waits.iter().any(|w| w.host == h2 && w.seen.is_none()), "{:?}", plan.waits);
    assert_eq!(done.packs, 0);
    // The operators end its key: nothing that it could still write would count.
    let ended = Some(lifeboat::repo::certificate::Ended { at: first_night(), last: Default::default() });
    world.bucket.certify(Grant { ended, ..grant }).await;
    let (plan, done) = world.prune().await;
    assert!(plan.waits.iter().all(|w| w.host != h2), "{:?}", plan.waits);
    assert!(done.packs > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_machine_with_the_role_prunes_and_one_at_a_time() {
    let world = World::after(18).await;
    let plan = world.plan().await;
    let appliance = world.appliance(world.bucket.store.clone(), world.bucket.tonight()).await;
    let held = appliance.state.prune_lock(&tenant()).unwrap();
    assert_eq!(prune::apply(&appliance, &plan).await.unwrap_err().kind(), Kind::Locked);
    drop(held);
    let (_, text) = SigningKey::generate("p1", None).unwrap();
    std::fs::write(world.state.path().join("keys/host.key"), text.expose_secret()).unwrap();
    assert_eq!(prune::apply(&appliance, &plan).await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(world.all_is_intact().await.len(), 18);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_never_needs_to_delete_and_a_prune_that_may_not_says_so() {
    let mut world = World::after(18).await;
    let store = Steps::denying(world.bucket.store.clone(), Method::Delete);
    world.bucket.try_night(store, &night(18)).await.unwrap();
    let store = Steps::denying(world.bucket.store.clone(), Method::Delete);
    let appliance = world.appliance(store, world.bucket.tonight()).await;
    let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap();
    let done = prune::apply(&appliance, &plan).await.unwrap();
    assert!(done.not_removed >= plan.forget.len() as u64 && done.bytes == 0, "{done:?}");
    assert!(!done.failures.is_empty() && done.failures.len() <= 5);
    // What is signed as forgotten counts no more, although it is there, and a run that may delete finishes it.
    let there = world.all_comes_back().await;
    assert_eq!(there.len(), 19 - plan.forget.len());
    let (again, _) = world.prune().await;
    assert_eq!(again.leftovers, plan.forget);
    assert_eq!(world.plan().await.leftovers, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_that_died_left_goes_once_all_who_write_are_long_past_it() {
    let mut world = World::after(2).await;
    let died = Steps::dying(world.bucket.store.clone(), 7, true);
    world.bucket.try_night(died, &night(70)).await.unwrap_err();
    let orphans = async |w: &World| -> BTreeSet<PackId> {
        let history = w.bucket.history().await;
        let mut named = BTreeSet::new();
        for c in &history.snapshots {
            named.extend(
                lifeboat::repo::snapshot::read_packs(&w.bucket.repo, c).await.unwrap().iter().map(|p| p.id),
            );
        }
        let all = w.bucket.store.list(&keys::packs(&tenant())).await.unwrap();
        all.iter()
            .filter_map(|e| keys::parse_pack(&tenant(), &e.key))
            .filter(|id| !named.contains(id))
            .collect()
    };
    // Something of another night was stored and never committed; the cache is told to forget it too.
    std::fs::remove_dir_all(world.bucket.folder.path().join("cache")).unwrap();
    world.next_night().await;
    assert!(!orphans(&world).await.is_empty());
    for _ in 0..10 {
        world.next_night().await;
        assert_eq!(world.plan().await.become_void.packs, 0, "too young to be sure of");
    }
    for _ in 0..6 {
        world.next_night().await;
    }
    world.prune_out().await;
    assert!(orphans(&world).await.is_empty());
    world.all_comes_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_real_bucket_every_version_goes() {
    let seaweed = Seaweed::start();
    for versioned in [false, true] {
        let name = seaweed.new_bucket(versioned);
        let options = StoreOptions {
            endpoint: Some(seaweed.endpoint.clone()),
            region: Some(seaweed.region.clone()),
            credentials: Some(Credentials {
                access_key: seaweed.access_key.clone().into(),
                secret_key: seaweed.secret_key.clone().into(),
                session_token: None,
            }),
            ..StoreOptions::default()
        };
        let store = open(&format!("s3://{name}/lifeboat").parse().unwrap(), &options).await.unwrap();
        let mut world = World::of(Bucket::on(store).await, 17).await;
        let all = world.bucket.store.versions(&keys::packs(&tenant())).await.unwrap();
        // An intruder wrote over a pack, and put a delete marker on another: both go with all that is under their names.
        // Where no versions are kept they would be lost, and with them too many snapshots to prune any.
        if versioned {
            let again: Body = b"x".to_vec().into();
            world.bucket.store.put(&all[1].key, again, PutMode::Replace).await.unwrap();
            world.bucket.store.delete(&all[2].key, None).await.unwrap();
        }
        let mut gone = 0;
        for _ in 0..3 {
            let (plan, done) = world.prune().await;
            gone += done.packs;
            assert!(plan.stops.is_empty());
            world.next_night().await;
        }
        assert!(gone > 0, "versioned: {versioned}");
        let left = world.bucket.store.versions(&keys::packs(&tenant())).await.unwrap();
        let plan = world.plan().await;
        let keys: BTreeSet<_> = left.iter().map(|e| &e.key).collect();
        assert_eq!(keys.len(), plan.stored.packs);
        assert_eq!(left.iter().map(|e| e.size_bytes).sum::<u64>(), plan.stored.bytes);
        let snapshots = world.bucket.store.versions(&keys::snapshots(&tenant())).await.unwrap();
        assert_eq!(snapshots.len(), plan.snapshots.len() * 4, "nothing of a forgotten one is left");
        seaweed.remove_bucket(&name);
    }
}

/// A moment at which one run has all there is to do: forget, void, remove what was void, remove old marks.
async fn busy() -> World {
    let mut world = World::after(20).await;
    for _ in 0..2 {
        world.prune().await;
        world.next_night().await;
    }
    world.next_night().await;
    let plan = world.plan().await;
    assert_eq!(plan.postponed, 0);
    assert!(!plan.forget.is_empty() && plan.now_go.packs > 0 && plan.become_void.packs > 0);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_killed_at_any_call_is_finished_by_the_next() {
    let world = busy().await;
    let counting = world.fork().await;
    let before = counting.bucket.record.total();
    let plan = counting.plan().await;
    let reads = counting.bucket.record.total() - before;
    counting.prune().await;
    let all = counting.bucket.record.total() - before - reads;
    let expected = counting.all_comes_back().await;
    let (mut kills, mut finished) = (0, 0);
    // Opening the repository is the test's own business; a plan only reads, so a few of its calls will do.
    for at in (7..=all).filter(|at| *at > reads || at % 29 == 0 || full()) {
        for made in [false, true] {
            let world = world.fork().await;
            let dying = Steps::dying(world.bucket.store.clone(), at, made);
            let first = async {
                let appliance = world.appliance(dying, world.bucket.tonight()).await;
                let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await?;
                prune::apply(&appliance, &plan).await
            };
            kills += 1;
            finished += u64::from(first.await.is_ok_and(|done| done.failures.is_empty()));
            let there = world.all_is_intact().await;
            assert!(expected.is_subset(&there), "killed at {at}: {there:?}");
            let (again, _) = world.prune().await;
            assert!(again.forget.len() <= plan.forget.len());
            assert_eq!(world.all_is_intact().await, expected, "killed at {at}");
            assert!(world.plan().await.leftovers.is_empty());
        }
    }
    println!(
        "{kills} kills over {all} calls ({reads} of them reads), {finished} of them after the last step"
    );
    assert!(kills > 30, "{kills}");
    let mut last = world.fork().await;
    last.prune_out().await;
    last.all_comes_back().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_comes_in_between_at_any_call_of_a_prune_is_whole() {
    let world = busy().await;
    let counting = world.fork().await;
    let before = counting.bucket.record.total();
    counting.prune().await;
    let all = counting.bucket.record.total() - before;
    let stride = if full() { 1 } else { 5 };
    let mut between = 0;
    for at in (7..=all).filter(|at| at % stride == 0) {
        let fork = world.fork().await;
        let store = fork.bucket.store.clone();
        let shared = Arc::new(tokio::sync::Mutex::new(fork));
        let inside = Arc::clone(&shared);
        let backup = Box::pin(async move { inside.lock().await.next_night().await });
        let (state, now) = {
            let world = shared.lock().await;
            (world.state.path().to_owned(), world.bucket.tonight())
        };
        let steps = Steps::interrupted_by(store, at, backup);
        let appliance = appliance(steps, &state, now).await;
        let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap();
        prune::apply(&appliance, &plan).await.unwrap();
        drop(appliance);
        let mut world = Arc::try_unwrap(shared).ok().unwrap().into_inner();
        between += u64::from(number(&world.bucket.head.as_ref().unwrap().snapshot) == 23);
        assert!(world.all_comes_back().await.contains(&23), "at {at}");
        world.next_night().await;
        world.prune().await;
        world.all_is_intact().await;
    }
    println!("{between} backups between {all} calls of a prune");
    assert!(between > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_voided_during_a_backup_it_commits_nothing_that_goes() {
    let world = World::after(20).await;
    let counting = world.fork().await;
    let before = counting.bucket.record.total();
    let mut counting = counting;
    counting.next_night().await;
    let all = counting.bucket.record.total() - before;
    let (mut conflicts, mut raced) = (0, 0);
    for at in 1..=all + 1 {
        let mut fork = world.fork().await;
        let voided = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let inner = fork.bucket.store.clone();
        let void_all = {
            let (inner, voided, state) = (inner.clone(), Arc::clone(&voided), fork.state.path().to_owned());
            Box::pin(async move {
                // The hardest case: all that the newest snapshot holds becomes void under the writer's hands.
                let a = appliance(inner, &state, first_night()).await;
                let history = History::load(&a.repo, &a.trust, &tenant(), None).await.unwrap();
                let newest = history.snapshots.last().unwrap();
                let packs = lifeboat::repo::snapshot::read_packs(&a.repo, newest).await.unwrap();
                let packs: Vec<PackId> = packs.iter().map(|p| p.id).collect();
                voided.lock().unwrap().extend(packs.iter().copied());
                let new = NewMark {
                    tenant: tenant(),
                    time: first_night(),
                    packs,
                    forgotten: vec![],
                    gone: Default::default(),
                    reason: "damaged",
                };
                void::write(&a.repo, &a.trust, &pruner::pruner(), &a.host_key().unwrap(), new).await.unwrap();
            })
        };
        let steps = Steps::interrupted_by(inner.clone(), at, void_all);
        match fork.bucket.try_night(steps, &night(20)).await {
            Ok(committed) => {
                let named =
                    lifeboat::repo::snapshot::read_packs(&fork.bucket.repo, &committed).await.unwrap();
                let void = voided.lock().unwrap().clone();
                if named.iter().any(|p| void.contains(&p.id)) {
                    // Committed between the last look at the marks and the receipt: it says that it saw none.
                    assert_eq!(committed.receipt.void_seen, 0, "at {at}");
                    raced += 1;
                }
            }
            Err(e) => {
                assert_eq!(e.kind(), Kind::Conflict, "at {at}: {e}");
                conflicts += 1;
            }
        }
        // Nights and prunes go on: what was committed stays whole for as long as it is kept.
        for n in 0..3 {
            let committed = fork.bucket.try_night(inner.clone(), &night(21 + n)).await.unwrap();
            let trust = Trust::load(&fork.bucket.repo).await.unwrap();
            let marks = VoidMarks::load(&fork.bucket.repo, &trust, &tenant()).await.unwrap();
            assert_eq!(committed.receipt.void_seen, marks.highest);
            fork.prune().await;
            fork.all_is_intact().await;
        }
    }
    println!(
        "{all} calls: {conflicts} backups refused to commit, {raced} committed what had just become void"
    );
    assert!(conflicts > 2 && raced > 0);
}
