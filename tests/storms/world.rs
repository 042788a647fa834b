//! The folders of a run: a store, a site, two hosts that back it up and one that prunes; copied from a history that is
//! made once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lifeboat::config::Config;
use lifeboat::id::{SnapshotId, TenantName};
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings};
use lifeboat::ops::backup::{self, Request};
use lifeboat::ops::probe::{self, Finding, Outcome, Probed, Trial};
use lifeboat::ops::state::{Membership, State};
use lifeboat::repo::age_file::{Identities, generate_identity};
use lifeboat::repo::certificate::{Grant, Role, Trust, issue};
use lifeboat::repo::receipt::Trigger;
use lifeboat::repo::repository::Repository;
use lifeboat::repo::sign::SigningKey;
use lifeboat::store::{LocalStore, SharedStore, Timeouts};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use secrecy::ExposeSecret;

use super::model::Model;
use super::plan::{Loss, Storm, TEMPLATES};
use super::shelf::{Hand, Locks, Shelf};
use super::support::repository::noise;

/// The hosts that back up, then the one that prunes.
pub const HOSTS: [&str; 3] = ["h0", "h1", "p"];
pub const PRUNER: usize = 2;

const POLICY: &str = "[schedule]\ntimezone = \"UTC\"\n[retention]\nkeep_last = 2\nhourly = 0\ndaily = 2\nweekly = \
                      0\nmonthly = 0\nyearly = 0\nwithin = \"0s\"\n[drill]\nskip = \"a campaign\"\n";
const LOCKS: &str = "[lock]\nmode = \"compliance\"\nhorizon = \"30d\"\n";

/// Nights of each history, and whether one host alone may write.
const HISTORIES: [(u64, bool); TEMPLATES] = [(0, false), (3, true), (9, true), (9, false)];

pub fn tenant() -> TenantName {
    "t".parse().unwrap()
}

/// When histories begin: long before any real clock, so that the binary's comes after them.
fn beginning() -> Timestamp {
    "2025-01-01T02:00:00Z".parse().unwrap()
}

/// The site's files by their paths below its folder.
pub type Site = BTreeMap<String, Vec<u8>>;

/// A run's world.
pub struct World {
    root: tempfile::TempDir,
    history: Arc<History>,
    pub storm: Storm,
    pub dice: StdRng,
    pub clock: Hand,
    pub store_clock: Hand,
    pub locks: Option<Locks>,
    /// One swap at a time.
    pub swaps: Arc<tokio::sync::Mutex<()>>,
    pub operator: Identities,
    pub site: Site,
    pub model: Model,
}

/// A history that runs begin with.
pub struct History {
    root: tempfile::TempDir,
    operator: Identities,
    site: Site,
    model: Model,
    now: Timestamp,
}

/// A new folder, in memory where that can be: nothing here outlives a run.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match std::env::var_os("TMPDIR") {
        None if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}

impl History {
    /// Makes one with the hosts and some nights.
    pub fn of(number: usize) -> Arc<History> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let root = folder();
        for host in HOSTS {
            write_configuration(root.path(), host, false);
        }
        let (nights, alone) = HISTORIES[number];
        let operator = runtime.block_on(found(root.path(), alone));
        let now = beginning() + SignedDuration::from_mins(5);
        let empty = History { root, operator, site: Site::new(), model: Model::default(), now };
        let storm = Storm { template: 0, locks: false, leases: false, lies: false, steps: Vec::new() };
        let mut world = World::of(&Arc::new(empty), &storm, number as u64);
        world.write("site_config.json", br#"{"db_name":"_1"}"#.to_vec());
        for n in 0..nights {
            world.change();
            world.days(4, 4);
            // Both hosts know the tenant.
            let host = usize::from(!alone && n % 3 == 1);
            runtime.block_on(async {
                let appliance = world.appliance(host, Arc::new(world.shelf().await)).await.unwrap();
                backup::backup(&appliance, &request()).await.unwrap();
            });
            world.model.look(&world.receipts(), &world.site);
        }
        let World { root, operator, site, model, clock, .. } = world;
        Arc::new(History { root, operator, site, model, now: clock.now() })
    }
}

/// Makes the repository and certifies the hosts; returns the operator.
async fn found(root: &Path, alone: bool) -> Identities {
    let store = Arc::new(LocalStore::open(&root.join("store"), Timeouts::default(), true).await.unwrap());
    let (key, _) = SigningKey::generate("root", None).unwrap();
    let repo = Repository::create(store, key.public(), beginning(), [7; 16]).await.unwrap();
    let (secret, recipient) = generate_identity();
    for host in HOSTS.into_iter().filter(|h| !alone || *h != HOSTS[1]) {
        let state = State::open(&root.join("state").join(host)).unwrap();
        let (signer, text) = SigningKey::generate(host, None).unwrap();
        fs::write(state.host_key(), text.expose_secret()).unwrap();
        // Lifeboat itself would certify one host alone; two are what operators who do it by hand may bring about.
        let role = if host == HOSTS[PRUNER] { Role::Prune } else { Role::Backup };
        let grant = Grant {
            host: host.parse().unwrap(),
            signing_key: signer.public().clone(),
            roles: vec![role],
            tenants: vec![tenant()],
            ended: None,
            handed_over: BTreeMap::new(),
        };
        issue(&repo, &key, grant, beginning()).await.unwrap();
        let operators = [String::from(recipient.clone())];
        let membership = serde_json::json!({"repository": repo.id(), "pin": repo.hash(), "operators": operators, "drill": null});
        let membership: Membership = serde_json::from_value(membership).unwrap();
        state.join(&membership).unwrap();
    }
    Identities::of_secret(&secret).unwrap()
}

fn write_configuration(root: &Path, host: &str, locks: bool) {
    let etc = root.join("etc").join(host);
    for folder in ["policies", "tenants"] {
        fs::create_dir_all(etc.join(folder)).unwrap();
    }
    let state = root.join("state").join(host);
    let store = root.join("store");
    let machine =
        format!("host = \"{host}\"\nstate_dir = {state:?}\n[store]\nurl = \"file://{}\"\n", store.display());
    fs::write(etc.join("lifeboat.toml"), machine).unwrap();
    let policy = if locks { format!("{POLICY}{LOCKS}") } else { POLICY.to_owned() };
    fs::write(etc.join("policies/storm.toml"), policy).unwrap();
    let sites = root.join("sites");
    let tenant = format!("policy = \"storm\"\nsite = \"erp.example.com\"\n[files]\npath = {sites:?}\n");
    fs::write(etc.join("tenants/t.toml"), tenant).unwrap();
}

/// Writes what a probe would find out of a store like this one.
fn write_probe(root: &Path, host: &str) {
    let trials = [Trial::CreateOnly, Trial::Race, Trial::Swap, Trial::Compliance];
    let finding = |trial| Finding { trial, outcome: Outcome::Holds, said: "it does".to_owned() };
    let store = format!("file://{}", root.canonicalize().unwrap().join("store").display());
    let findings = trials.map(finding).to_vec();
    let probed = Probed { store, at: beginning(), findings, clock_skew_seconds: Some(0) };
    probe::remember(&State::open(&root.join("state").join(host)).unwrap(), &probed).unwrap();
}

pub fn request() -> Request {
    Request { tenant: tenant(), trigger: Trigger::Scheduled, label: None, pinned_until: None }
}

impl World {
    /// Copies the history that a storm begins with.
    pub fn of(history: &Arc<History>, storm: &Storm, seed: u64) -> World {
        let root = folder();
        copy(history.root.path(), root.path());
        for host in HOSTS {
            write_configuration(root.path(), host, storm.locks);
            if storm.leases {
                write_probe(root.path(), host);
            }
        }
        fs::create_dir_all(root.path().join("sites/erp.example.com/public/files")).unwrap();
        World {
            root,
            history: Arc::clone(history),
            storm: storm.clone(),
            dice: StdRng::seed_from_u64(seed ^ 0x5170_3141),
            clock: Hand::new(history.now),
            store_clock: Hand::new(history.now),
            locks: storm.locks.then(Locks::default),
            swaps: Arc::default(),
            operator: history.operator.clone(),
            site: history.site.clone(),
            model: history.model.clone(),
        }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// The store as a process sees it that nothing happens to.
    pub async fn shelf(&self) -> Shelf {
        let root = self.path("store");
        let inner = Arc::new(LocalStore::open(&root, Timeouts::default(), false).await.unwrap());
        Shelf {
            inner,
            root,
            clock: self.store_clock.clone(),
            locks: self.locks.clone(),
            swaps: Arc::clone(&self.swaps),
            death: None,
            calls: Default::default(),
        }
    }

    /// A host's program, on a store.
    pub async fn appliance(&self, host: usize, store: SharedStore) -> lifeboat::error::Result<Appliance> {
        let config = Config::load(&self.path("etc").join(HOSTS[host])).unwrap();
        let state = State::open(&config.machine.state_dir)?;
        let pin = state.membership()?.map(|m| m.pin);
        let repo = Repository::open(store, pin).await?;
        let trust = Trust::load(&repo).await?;
        let clock = self.clock.clone();
        let around = Surroundings {
            clock: Arc::new(move || clock.now()),
            monitor: Arc::new(Silent),
            stop: Default::default(),
            lines: Default::default(),
        };
        Ok(Appliance { config, state, repo, trust, around })
    }

    /// Lets time pass.
    pub fn days(&self, host: i64, store: i64) {
        self.clock.pass(SignedDuration::from_hours(24 * host));
        self.store_clock.pass(SignedDuration::from_hours(24 * store));
    }

    /// Changes the site as a day does.
    pub fn change(&mut self) {
        for _ in 0..self.dice.random_range(1..4) {
            let name = format!("public/files/{}", (b'a' + self.dice.random_range(0..6)) as char);
            let length = match self.dice.random_range(0..30) {
                0 => (1 << 20) + self.dice.random_range(0..1000),
                1..4 => 0,
                _ => self.dice.random_range(1..30_000),
            };
            let mut bytes = self.site.get(&name).cloned().unwrap_or_default();
            if length == 0 && self.site.remove(&name).is_some() {
                fs::remove_file(self.path("sites/erp.example.com").join(&name)).unwrap();
                continue;
            }
            // Some of it stays, as in a file that grows or is edited.
            bytes.truncate(self.dice.random_range(0..=bytes.len()));
            let kept = bytes.len();
            bytes.resize(kept.max(length), 0);
            let length = bytes.len() - kept;
            bytes[kept..].copy_from_slice(&noise(self.dice.random(), length));
            self.write(&name, bytes);
        }
    }

    fn write(&mut self, name: &str, bytes: Vec<u8>) {
        fs::write(self.path("sites/erp.example.com").join(name), &bytes).unwrap();
        self.site.insert(name.to_owned(), bytes);
    }

    /// Takes something of a host's state away.
    pub fn lose(&self, host: usize, what: Loss) {
        let folder = self.path("state").join(HOSTS[host]).join("tenants/t");
        let journal = folder.join("cache/journal");
        match what {
            Loss::Cache => drop(fs::remove_dir_all(folder.join("cache"))),
            Loss::CacheBit(at) => {
                if let Ok(mut bytes) = fs::read(&journal) {
                    let at = bytes.len() * usize::try_from(at).unwrap() / 1000;
                    bytes[at] ^= 4;
                    fs::write(&journal, bytes).unwrap();
                }
            }
            Loss::CacheEnd(at) => {
                if let Ok(mut bytes) = fs::read(&journal) {
                    bytes.truncate(bytes.len() * usize::try_from(at).unwrap() / 1000);
                    fs::write(&journal, bytes).unwrap();
                }
            }
            Loss::Seen => drop(fs::remove_file(folder.join("seen.json"))),
            Loss::Everything => drop(fs::remove_dir_all(folder)),
            Loss::Rewound => {
                drop(fs::remove_dir_all(&folder));
                let before = self.history.root.path().join("state").join(HOSTS[host]).join("tenants/t");
                if before.exists() {
                    copy(&before, &folder);
                }
            }
        }
    }

    /// The snapshots whose receipts lie in the store.
    pub fn receipts(&self) -> BTreeSet<SnapshotId> {
        let entries = fs::read_dir(self.path("store/tenants/t/snapshots")).into_iter().flatten();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect()
    }
}

/// Copies a folder with the times of its files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        fs::copy(entry.path(), &target).unwrap();
        let time = entry.metadata().unwrap().modified().unwrap();
        fs::File::options().write(true).open(&target).unwrap().set_modified(time).unwrap();
    }
}
