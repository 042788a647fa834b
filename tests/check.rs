//! What `check` says of each kind of damage to each kind of object, on a store that keeps no versions.

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
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::void::{self, NewMark};
use support::pruner;
use support::repository::{Bucket, Part, noise, rows, tenant};
use support::second;

fn night(n: u64) -> Vec<Part> {
    let part = |component, stream, segments| Part { component, stream, grain: Grain::Files, segments };
    vec![
        Part { grain: Grain::Rows, ..part(ComponentName::Database, "sql", vec![rows(100, n)]) },
        part(ComponentName::Files, "tar", vec![noise(1, 90_000), noise(1000 + n, 40_000)]),
    ]
}

/// Three nights, two void marks that the third has seen, and a machine that remembers all of it.
struct World {
    bucket: Bucket,
    state: tempfile::TempDir,
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
        let mut bucket = Bucket::new().await;
        let state = pruner::certified(&bucket).await;
        bucket.night(&night(0)).await;
        bucket.night(&night(1)).await;
        let world = World { bucket, state };
        world.void(b"one").await;
        world.void(b"two").await;
        let World { mut bucket, state } = world;
        bucket.night(&night(2)).await;
        // The host's second certificate is in force; receipts were written under its first.
        bucket.certify(bucket.grant()).await;
        let world = World { bucket, state };
        let machine = world.machine().await;
        second::remember(&machine).await;
        assert_eq!(second::words(&second::checked(&machine).await), []);
        world
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
async fn each_harm_to_each_object_is_named_by_its_word() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for place in ["pack", "manifest", "list", "receipt", "signature", "wrap", "certificate", "mark"] {
        for how in HARMS {
            let (object, other) = world.place(place);
            let whole = fs::read(&object).unwrap();
            harm(how, &object, &other);
            let found = second::words(&second::checked(&world.machine().await).await);
            fs::write(&object, whole).unwrap();
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

    let world = World::new().await;
    for suffix in [".json", ".minisig"] {
        fs::remove_file(world.files("void", suffix).pop().unwrap()).unwrap();
        fs::remove_file(world.bucket.file(&format!("hosts/h1.2{suffix}"))).unwrap();
    }
    let found = second::words(&second::checked(&world.machine().await).await);
    let expected = [("rolled-back", "hosts/h1.2.json"), ("rolled-back", "tenants/byrne/void/2.json")];
    assert_eq!(found, expected.map(|(w, o)| (w.to_owned(), o.to_owned())));
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
