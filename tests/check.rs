//! What `check` says of each kind of damage to each kind of object, and what becomes of it by a repair.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat::id::{ComponentName, PackId, Sha256};
use lifeboat::ops::appliance::Appliance;
use lifeboat::ops::check::{Extent, ReadData, check};
use lifeboat::ops::state::State;
use lifeboat::repo::certificate::{Grant, Role};
use lifeboat::repo::check::Share;
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::receipt::Committed;
use lifeboat::repo::repository::Repository;
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::void::{self, NewMark};
use lifeboat::store::{Body, Credentials, Key, PutMode, StoreOptions, open};
use support::pruner;
use support::repository::{Bucket, Part, noise, read_stream, rows, tenant};
use support::seaweed::Seaweed;
use support::second;

fn night(n: u64) -> Vec<Part> {
    let part = |component, stream, segments| Part { component, stream, grain: Grain::Files, segments };
    vec![
        Part { grain: Grain::Rows, ..part(ComponentName::Database, "sql", vec![rows(100, n)]) },
        part(ComponentName::Files, "tar", vec![noise(1, 90_000), noise(1000 + n, 40_000)]),
    ]
}

/// Three nights, two void marks that the third has seen, a machine that remembers all of it, and a copy.
struct World {
    bucket: Bucket,
    state: tempfile::TempDir,
    second: tempfile::TempDir,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Truncate,
    Flip,
    Zeros,
    Delete,
    /// The bytes of another object of its kind.
    Swap,
}

const HARMS: [Harm; 5] = [Harm::Truncate, Harm::Flip, Harm::Zeros, Harm::Delete, Harm::Swap];

impl World {
    async fn new() -> World {
        World::of(Bucket::new().await).await
    }

    async fn of(bucket: Bucket) -> World {
        let state = pruner::certified(&bucket).await;
        let mut world = World { bucket, state, second: tempfile::tempdir().unwrap() };
        world.bucket.night(&night(0)).await;
        world.bucket.night(&night(1)).await;
        world.void(b"one").await;
        world.void(b"two").await;
        world.bucket.night(&night(2)).await;
        // The host's second certificate is in force; receipts were written under its first.
        world.bucket.certify(world.bucket.grant()).await;
        let machine = world.machine().await;
        second::remember(&machine).await;
        assert_eq!(second::words(&second::checked(&machine).await), []);
        second::copy(&machine, second::folder(world.second.path()).await).await.unwrap();
        world
    }

    /// The repository in the second store.
    async fn other(&self) -> Repository {
        let store = second::folder(self.second.path()).await;
        Repository::open(store, Some(self.bucket.repo.hash())).await.unwrap()
    }

    /// Every snapshot comes back bit for bit.
    async fn all_comes_back(&self) {
        let history = self.bucket.history().await;
        assert_eq!(history.faults, []);
        for (n, committed) in history.snapshots.iter().enumerate() {
            self.comes_back(committed, n as u64).await;
        }
    }

    async fn comes_back(&self, committed: &Committed, n: u64) {
        let reader = self.bucket.reader(committed).await.unwrap();
        for part in night(n) {
            let read = read_stream(&reader, part.component, part.stream).await.unwrap();
            assert!(read == part.bytes(), "{n} {}", part.stream);
        }
    }

    async fn machine(&self) -> Appliance {
        second::machine(self.bucket.store.clone(), self.state.path(), &self.bucket).await
    }

    async fn void(&self, pack: &[u8]) {
        let machine = self.machine().await;
        let new = NewMark {
            tenant: tenant(),
            time: self.bucket.tonight(),
            packs: vec![Sha256::of(pack)],
            forgotten: Vec::new(),
            gone: Default::default(),
            reason: "prune",
        };
        let key = machine.host_key().unwrap();
        void::write(&machine.repo, &machine.trust, &pruner::pruner(), &key, new).await.unwrap();
    }

    /// The files of a folder of the tenant that end so, sorted.
    fn files(&self, folder: &str, suffix: &str) -> Vec<PathBuf> {
        files(&self.bucket.file(&format!("tenants/byrne/{folder}")), suffix)
    }

    /// The object that is harmed, another one of its kind that is older, and how it is called.
    fn place(&self, name: &str) -> (PathBuf, PathBuf) {
        let two = |mut all: Vec<PathBuf>| (all.pop().unwrap(), all.remove(0));
        match name {
            "pack" => two(self.files("packs", "")),
            "manifest" => two(self.files("snapshots", ".manifest.age")),
            "list" => two(self.files("snapshots", ".packs")),
            "receipt" => two(self.files("snapshots", ".json")),
            "signature" => two(self.files("snapshots", ".minisig")),
            "wrap" => {
                let vault = fs::read_dir(self.bucket.file("tenants/byrne/keys")).unwrap().next().unwrap();
                (files(&vault.unwrap().path(), ".age").remove(0), self.files("packs", "").remove(0))
            }
            "certificate" => (self.bucket.file("hosts/h1.1.json"), self.bucket.file("hosts/h1.2.json")),
            "mark" => two(self.files("void", ".json")),
            _ => panic!("{name}"),
        }
    }

    fn key(&self, path: &Path) -> String {
        path.strip_prefix(self.bucket.path()).unwrap().to_str().unwrap().to_owned()
    }
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = all.filter(|p| p.to_str().unwrap().ends_with(suffix)).collect();
    all.sort();
    all
}

fn harm(harm: Harm, object: &Path, other: &Path) {
    let bytes = fs::read(object).unwrap();
    let harmed = match harm {
        Harm::Truncate => bytes[..bytes.len() - 7].to_vec(),
        Harm::Flip => {
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 1;
            flipped
        }
        Harm::Zeros => vec![0; bytes.len()],
        Harm::Delete => return fs::remove_file(object).unwrap(),
        Harm::Swap => fs::read(other).unwrap(),
    };
    fs::write(object, harmed).unwrap();
}

/// The right word for each harm to each kind of object.
fn right_word(place: &str, harm: Harm) -> &'static str {
    match (place, harm) {
        // Nothing newer is left, and this machine has seen it.
        ("receipt", Harm::Delete) => "rolled-back",
        (_, Harm::Delete) => "missing",
        // What is signed was right under its own name.
        ("receipt" | "certificate" | "mark", Harm::Swap) => "replayed",
        (_, Harm::Swap) => "swapped",
        (_, Harm::Truncate | Harm::Flip | Harm::Zeros) => "damaged",
    }
}

#[tokio::test]
async fn each_harm_to_each_object_is_named_by_its_word_and_put_right_from_the_copy() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for place in ["pack", "manifest", "list", "receipt", "signature", "wrap", "certificate", "mark"] {
        for how in HARMS {
            let (object, other) = world.place(place);
            let whole = fs::read(&object).unwrap();
            harm(how, &object, &other);
            let found = second::words(&second::checked(&world.machine().await).await);
            let repair = second::repair(&mut world.machine().await, Some(&world.other().await), None).await;
            if !repair.left().is_empty() || fs::read(&object).ok() != Some(whole) {
                wrong.push(format!("{place} {how:?}: not put right: {repair:?}"));
            }
            let (word, key) = (right_word(place, how), world.key(&object));
            let named = found.iter().any(|(w, o)| w == word && (*o == key || o.ends_with('/')));
            // Besides, receipts under a certificate that is not right cannot be verified.
            let only =
                found.iter().all(|(w, _)| w == word || (place == "certificate" && w == "unverifiable"));
            if !named || !only {
                wrong.push(format!("{place} {how:?}: {word} expected, found {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(second::words(&second::checked(&world.machine().await).await), [], "all is as it was");
    world.all_comes_back().await;
}

#[tokio::test]
async fn a_bucket_that_is_set_back_is_rolled_back() {
    let world = World::new().await;
    let newest = |folder: &str, suffix: &str| world.files(folder, suffix).pop().unwrap();
    let receipt = newest("snapshots", ".json");
    for object in [&receipt, &newest("snapshots", ".minisig")] {
        fs::remove_file(object).unwrap();
    }
    let found = second::words(&second::checked(&world.machine().await).await);
    assert_eq!(found, [("rolled-back".to_owned(), "tenants/byrne/snapshots/".to_owned())]);
    let repair = second::repair(&mut world.machine().await, Some(&world.other().await), None).await;
    assert_eq!((repair.plans[0].bring_back.len(), repair.left()), (1, vec![]));
    assert_eq!(second::words(&second::checked(&world.machine().await).await), []);
    world.all_comes_back().await;

    let world = World::new().await;
    for suffix in [".json", ".minisig"] {
        fs::remove_file(world.files("void", suffix).pop().unwrap()).unwrap();
        fs::remove_file(world.bucket.file(&format!("hosts/h1.2{suffix}"))).unwrap();
    }
    let found = second::words(&second::checked(&world.machine().await).await);
    let expected = [("rolled-back", "hosts/h1.2.json"), ("rolled-back", "tenants/byrne/void/2.json")];
    assert_eq!(found, expected.map(|(w, o)| (w.to_owned(), o.to_owned())));
    let repair = second::repair(&mut world.machine().await, Some(&world.other().await), None).await;
    assert_eq!(repair.left(), [""; 0]);
    assert_eq!(second::words(&second::checked(&world.machine().await).await), []);
}

#[tokio::test]
async fn receipts_that_lack_in_the_row_come_back_with_all_they_need() {
    let world = World::new().await;
    let second_snapshot = world.files("snapshots", ".json")[1].clone();
    let stem = second_snapshot.file_stem().unwrap().to_str().unwrap();
    for object in world.files("snapshots", "").iter().filter(|p| p.to_str().unwrap().contains(stem)) {
        fs::remove_file(object).unwrap();
    }
    world.files("packs", "").iter().for_each(|pack| fs::remove_file(pack).unwrap());
    let found = second::words(&second::checked(&world.machine().await).await);
    assert!(found.iter().all(|(word, _)| word == "missing"), "{found:?}");
    assert!(found.iter().any(|(_, object)| object.ends_with('/')), "{found:?}");
    let repair = second::repair(&mut world.machine().await, Some(&world.other().await), None).await;
    assert_eq!(repair.left(), [""; 0]);
    assert_eq!(second::words(&second::checked(&world.machine().await).await), []);
    world.all_comes_back().await;
}

#[tokio::test]
async fn a_pack_that_nobody_has_whole_is_given_up_and_the_next_night_is_whole() {
    let mut world = World::new().await;
    // The pack of the first night, which all snapshots need; the copy's is damaged too.
    let sizes = |p: &PathBuf| fs::metadata(p).unwrap().len();
    let pack = world.files("packs", "").into_iter().max_by_key(sizes).unwrap();
    harm(Harm::Flip, &pack, &pack);
    let there = world.second.path().join(world.key(&pack));
    harm(Harm::Truncate, &there, &there);
    let operator = world.bucket.operator.clone();
    let repair =
        second::repair(&mut world.machine().await, Some(&world.other().await), Some(&operator)).await;
    let plan = &repair.plans[0];
    assert_eq!((plan.steps.len(), plan.give_up.len(), repair.left()), (0, 1, vec![]));
    assert_eq!(plan.losses.len(), 3);
    for loss in &plan.losses {
        let streams = loss.streams.as_ref().unwrap();
        assert!(loss.packs == 1 && !loss.all && !streams.is_empty(), "{loss:?}");
        assert!(streams.iter().all(|s| s.lost_bytes > 0 && s.lost_bytes <= s.size_bytes), "{loss:?}");
    }
    assert_eq!(repair.done[0].mark, Some(3));
    let checked = second::checked(&world.machine().await).await;
    assert_eq!(second::words(&checked), [], "it was signed for");
    assert_eq!(checked.tenants[0].given_up, 3);
    assert!(checked.tenants[0].faults.iter().any(|f| f.kind == "given-up"));

    let next = world.bucket.night(&night(3)).await;
    world.comes_back(&next, 3).await;
    let checked = second::checked(&world.machine().await).await;
    assert_eq!((second::words(&checked), checked.tenants[0].given_up), (vec![], 3));

    // Somebody finds an older disk: what was given up comes back, and older snapshots with it.
    harm(Harm::Delete, &there, &there);
    let whole = fs::read(&pack).unwrap();
    let mut right = whole.clone();
    right[whole.len() / 2] ^= 1;
    fs::write(&there, right).unwrap();
    let repair = second::repair(&mut world.machine().await, Some(&world.other().await), None).await;
    assert_eq!(repair.origins(), ["other-store"]);
    assert_eq!(second::checked(&world.machine().await).await.tenants[0].given_up, 0);
    world.all_comes_back().await;
}

#[tokio::test]
async fn without_a_second_store_wraps_come_from_receipts_and_what_is_lost_is_said() {
    let world = World::new().await;
    let (wrap, _) = world.place("wrap");
    let (manifest, _) = world.place("manifest");
    for object in [&wrap, &manifest] {
        fs::remove_file(object).unwrap();
    }
    let repair = second::repair(&mut world.machine().await, None, None).await;
    assert_eq!(repair.origins(), ["receipt"]);
    assert!(wrap.exists());
    let plan = repair.plans.last().unwrap();
    assert!(plan.losses.len() == 1 && plan.losses[0].all, "{plan:?}");
    assert_eq!((plan.left.len(), plan.left[0].kind), (1, "missing"));
    let words = second::words(&second::checked(&world.machine().await).await);
    assert_eq!(words, [("missing".to_owned(), world.key(&manifest))]);
}

#[tokio::test]
async fn a_machine_that_may_not_prune_gives_nothing_up_and_says_how_it_could() {
    let world = World::new().await;
    let (pack, _) = world.place("pack");
    fs::remove_file(&pack).unwrap();
    let grant = Grant { host: pruner::pruner(), roles: vec![Role::Drill], ..world.bucket.grant() };
    world.bucket.certify(grant).await;
    let repair = second::repair(&mut world.machine().await, None, None).await;
    assert!(repair.done.is_empty());
    let left = repair.left();
    assert!(left[0].starts_with("[denied]") && left[0].contains("--role backup,drill,prune"), "{left:?}");
    assert!(!repair.plans[0].losses.is_empty(), "what would be lost is said all the same");
}

#[tokio::test]
async fn a_copy_is_repaired_from_the_store_in_the_same_way() {
    let world = World::new().await;
    let (pack, other) = world.place("pack");
    let there = world.second.path().join(world.key(&pack));
    harm(Harm::Swap, &there, &other);
    let state = tempfile::tempdir().unwrap();
    let store = second::folder(world.second.path()).await;
    let mut machine = second::machine(store, state.path(), &world.bucket).await;
    machine.state = machine.state.of_copy();
    let found = second::words(&second::checked(&machine).await);
    assert_eq!(found, [("swapped".to_owned(), world.key(&pack))]);
    let repair = second::repair(&mut machine, Some(&world.bucket.repo), None).await;
    assert_eq!((repair.origins(), repair.left()), (vec!["other-store"], vec![]));
    assert_eq!(second::words(&second::checked(&machine).await), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_bucket_that_keeps_versions_what_was_overwritten_or_deleted_is_named_and_put_right_for_good() {
    let seaweed = Seaweed::start();
    let name = seaweed.new_bucket(true);
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
    let store = open(&format!("s3://{name}/x").parse().unwrap(), &options).await.unwrap();
    let world = World::of(Bucket::on(store.clone()).await).await;
    let all: Vec<Key> = store.list("").await.unwrap().into_iter().map(|e| e.key).collect();
    // An intruder with the host's credential: every second object overwritten, the others deleted.
    let harmed = all.iter().filter(|k| k.as_str() != "lifeboat.json" && !k.as_str().contains("/drills/"));
    let mut done = [0, 0];
    for (n, key) in harmed.enumerate() {
        match n % 2 {
            0 => drop(store.put(key, Body::from(vec![0; 100]), PutMode::Replace).await.unwrap()),
            _ => store.delete(key, None).await.unwrap(),
        }
        done[n % 2] += 1;
    }
    println!("{} overwritten, {} deleted", done[0], done[1]);
    let found = second::words(&second::checked(&world.machine().await).await);
    assert!(found.iter().all(|(word, _)| word == "overwritten" || word == "deleted"), "{found:?}");
    // A copy takes the right versions.
    let copy = tempfile::tempdir().unwrap();
    let copied = second::copy(&world.machine().await, second::folder(copy.path()).await).await.unwrap();
    assert_eq!((copied.snapshots, copied.left_out), (3, vec![]));
    // What no snapshot needs any more stays as it is: nobody can say what it was.
    let repair = second::repair(&mut world.machine().await, None, None).await;
    assert!(repair.origins().iter().all(|from| ["older-version", "receipt"].contains(from)), "{repair:?}");
    assert_eq!(repair.left(), [""; 0]);
    assert_eq!(second::words(&second::checked(&world.machine().await).await), []);
    world.all_comes_back().await;
    seaweed.remove_bucket(&name);
}

#[tokio::test]
async fn what_a_stranger_signed_is_forged() {
    let world = World::new().await;
    let (stranger, _) = SigningKey::generate("x", None).unwrap();
    for object in [world.place("receipt").0, world.place("mark").0, world.place("certificate").0] {
        let key = world.key(&object).parse().unwrap();
        let minisig = object.with_extension("minisig");
        let whole = fs::read(&minisig).unwrap();
        fs::write(&minisig, stranger.sign(&key, &fs::read(&object).unwrap()).unwrap()).unwrap();
        let found = second::words(&second::checked(&world.machine().await).await);
        fs::write(&minisig, whole).unwrap();
        assert!(found.contains(&("forged".to_owned(), key.to_string())), "{found:?}");
    }
    // A host that was never certified for it.
    let (object, _) = world.place("receipt");
    let text = fs::read_to_string(&object).unwrap().replace("\"h1\"", "\"h7\"");
    let key = world.key(&object).parse().unwrap();
    fs::write(object.with_extension("minisig"), stranger.sign(&key, text.as_bytes()).unwrap()).unwrap();
    fs::write(&object, text).unwrap();
    let found = second::words(&second::checked(&world.machine().await).await);
    assert!(found.contains(&("forged".to_owned(), key.to_string())), "{found:?}");
}

#[tokio::test]
async fn an_older_snapshot_s_receipt_and_signature_in_the_place_of_the_newest_are_replayed() {
    let world = World::new().await;
    for place in ["receipt", "mark"] {
        let (newest, older) = world.place(place);
        for suffix in ["json", "minisig"] {
            fs::copy(older.with_extension(suffix), newest.with_extension(suffix)).unwrap();
        }
        let found = second::words(&second::checked(&world.machine().await).await);
        assert!(found.contains(&("replayed".to_owned(), world.key(&newest))), "{found:?}");
    }
}

#[tokio::test]
async fn parts_of_the_packs_are_read_in_turn_and_what_was_read_when_is_kept() {
    let world = World::new().await;
    let packs = world.files("packs", "");
    let id = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse::<PackId>().unwrap();
    let mut bytes = fs::read(&packs[0]).unwrap();
    bytes[100] ^= 1;
    fs::write(&packs[0], bytes).unwrap();
    let mut found_in = Vec::new();
    for n in 1..=3 {
        let machine = world.machine().await;
        let extent = Extent { read_data: ReadData::Next(3), latest_only: false };
        let checked = check(&machine, &[tenant()], extent, None).await.unwrap();
        let verified = &checked.tenants[0].verified;
        assert_eq!(verified.part, Some(format!("{n}/3")));
        if checked.is_bad() {
            found_in.push(n);
        }
    }
    let share = (1..=3).find(|n| Share { n: *n, of: 3 }.holds(&id(&packs[0]))).unwrap();
    assert_eq!(found_in, [share], "sizes show nothing");
    let memory =
        lifeboat::ops::check::verified::Memory::load(&State::open(world.state.path()).unwrap(), &tenant());
    let told = memory.unwrap().told();
    assert_eq!((told.packs, told.never), (packs.len(), 1), "all but the one that is damaged");
}

#[tokio::test]
async fn a_certificate_that_allows_less_makes_its_receipts_forged() {
    let world = World::new().await;
    // A third certificate of a host that may only prune, and a receipt that claims it.
    let grant = Grant { roles: vec![Role::Prune], ..world.bucket.grant() };
    let third = world.bucket.certify(grant).await;
    let (object, _) = world.place("receipt");
    let key = world.key(&object).parse().unwrap();
    let text = fs::read_to_string(&object).unwrap();
    let text = text.replace("\"certificate\":1", &format!("\"certificate\":{}", third.number));
    fs::write(object.with_extension("minisig"), world.bucket.signer.sign(&key, text.as_bytes()).unwrap())
        .unwrap();
    fs::write(&object, text).unwrap();
    let found = second::words(&second::checked(&world.machine().await).await);
    assert!(found.contains(&("forged".to_owned(), key.to_string())), "{found:?}");
}
