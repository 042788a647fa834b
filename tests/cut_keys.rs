//! Verbs of keys cut off at each call of the store, one after the other: the next run completes them, and every snapshot is
//! read with the recovery kit as before.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use lifeboat::config::Config;
use lifeboat::error::{Error, Kind, Result};
use lifeboat::id::ComponentName;
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings, read_identities};
use lifeboat::ops::keys::{epoch, hand_over, host, operators};
use lifeboat::ops::kit::Kit;
use lifeboat::ops::state::State;
use lifeboat::ops::{erase, init, place, restore};
use lifeboat::repo::certificate::Trust;
use lifeboat::repo::repository::Repository;
use lifeboat::store::{Body, Download, Entry, Kept, Key, Lines, PutMode, SharedStore, Store, Tag};
use support::host::{TestHost, said};
use tokio::io::AsyncReadExt;

/// A store whose user dies at a call: before it, or after it and before the answer.
#[derive(Debug)]
struct Mortal {
    inner: SharedStore,
    calls: AtomicU64,
    dies_at: u64,
    after: bool,
    /// Whether that call would change the store.
    at_change: AtomicBool,
}

impl Mortal {
    /// Counts a call; tells whether it is still carried out, and whether its answer arrives.
    fn enter(&self) -> (bool, bool) {
        let n = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        (n < self.dies_at || (self.after && n == self.dies_at), n < self.dies_at)
    }

    async fn change<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if self.calls.load(Ordering::Relaxed) + 1 == self.dies_at {
            self.at_change.store(true, Ordering::Relaxed);
        }
        self.call(work).await
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let dead = || Error::new(Kind::Interrupted, "killed");
        let (done, answered) = self.enter();
        let result = if done { work.await } else { return Err(dead()) };
        if answered { result } else { Err(dead()) }
    }
}

#[async_trait]
impl Store for Mortal {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.change(self.inner.put(key, body, mode)).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.call(self.inner.get(key, version)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.call(self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.call(self.inner.list(prefix)).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.call(self.inner.versions(prefix)).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.change(self.inner.delete(key, version)).await
    }

    async fn sweep(&self, older_than: std::time::Duration) -> Result<u64> {
        self.call(self.inner.sweep(older_than)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.call(self.inner.now()).await
    }

    async fn kept(&self, prefix: &str) -> Result<Kept> {
        self.call(self.inner.kept(prefix)).await
    }

    async fn tag(&self, key: &Key) -> Result<Option<Tag>> {
        self.call(self.inner.tag(key)).await
    }

    async fn swap(&self, key: &Key, body: Body, tag: &Tag) -> Result<Tag> {
        self.change(self.inner.swap(key, body, tag)).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    RotateHost,
    EndHost,
    HandOver,
    NewEpoch,
    AddOperator,
    RemoveOperator,
    Erase,
}

/// A host with two tenants, a second host, and a second operator; all in one folder.
struct House {
    root: tempfile::TempDir,
}

impl House {
    fn template(with_bob: bool) -> House {
        let host = TestHost::with_folder();
        for tenant in ["ada", "bob"] {
            let file = host.path(&format!("{tenant}.yaml"));
            fs::write(&file, format!("# of {tenant}\n")).unwrap();
            let text = format!("site = \"{tenant}.example.com\"\n[config]\ncompose = [{file:?}]\n");
            host.write_tenant_file(tenant, &text);
        }
        host.init("elsewhere");
        for name in ["second.txt", "third.txt"] {
            assert!(
                Command::new("age-keygen").arg("-o").arg(host.path(name)).output().unwrap().status.success()
            );
        }
        let second = recipient(&host.path("second.txt"));
        let kit = host.kit();
        host.run(&["keys", "add-operator", &second, "--identity", kit.to_str().unwrap()]).expect(0);
        for _ in 0..2 {
            for tenant in ["ada", "bob"] {
                host.run(&["backup", tenant]).expect(0);
            }
        }
        let etc = host.path("etc2");
        fs::create_dir_all(etc.join("tenants")).unwrap();
        let toml = fs::read_to_string(host.path("etc/lifeboat.toml")).unwrap();
        let toml = toml.replace("\"h1\"", "\"h2\"").replace("/state\"", "/state2\"");
        fs::write(etc.join("lifeboat.toml"), toml).unwrap();
        let mut certify = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        certify.arg("--config").arg(&etc).args(["keys", "certify", "--kit"]).arg(&kit);
        said(certify.output().unwrap()).expect(0);
        if !with_bob {
            fs::remove_file(host.path("etc/tenants/bob.toml")).unwrap();
        }
        let house = House { root: tempfile::tempdir().unwrap() };
        copy(&host.path(""), house.root.path(), host.path("").to_str().unwrap(), house.root.path());
        house
    }

    fn another(&self) -> House {
        let house = House { root: tempfile::tempdir().unwrap() };
        let here = format!("{}/", self.root.path().display());
        copy(self.root.path(), house.root.path(), &here, house.root.path());
        house
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.root.path().join(below)
    }

    /// The appliance of the first host, whose program dies at a call; and the calls that were made.
    async fn appliance(&self, dies_at: u64, after: bool) -> Result<(Appliance, Arc<Mortal>)> {
        let config = Config::load(&self.path("etc")).unwrap();
        let state = State::open(&config.machine.state_dir)?;
        let inner = place::open(&config.machine, &Lines::default()).await?;
        let mortal = Arc::new(Mortal {
            inner,
            calls: AtomicU64::new(0),
            dies_at,
            after,
            at_change: AtomicBool::new(false),
        });
        let pin = state.membership()?.map(|m| m.pin);
        let repo = Repository::open(Arc::clone(&mortal) as SharedStore, pin).await?;
        let trust = Trust::load(&repo).await?;
        let around = Surroundings {
            clock: Arc::new(Timestamp::now),
            monitor: Arc::new(Silent),
            stop: Default::default(),
            lines: Default::default(),
        };
        Ok((Appliance { config, state, repo, trust, around }, mortal))
    }

    async fn run(&self, verb: Verb, appliance: &Appliance) -> Result<()> {
        let root = init::root_of(&Kit::read(&self.path("kit.txt"))?)?;
        let kit = read_identities(&self.path("kit.txt"))?;
        let (bob, h2) = ("bob".parse()?, "h2".parse()?);
        match verb {
            Verb::RotateHost => host::rotate(appliance, &root, None, false).await.map(drop),
            Verb::EndHost => host::end(appliance, &root, &h2, None, false).await.map(drop),
            Verb::HandOver => hand_over::hand_over(appliance, &root, &bob, &h2, false).await.map(drop),
            Verb::NewEpoch => epoch::begin(appliance, &root, None, false).await.map(drop),
            Verb::AddOperator => {
                let third = recipient(&self.path("third.txt")).parse()?;
                operators::add(appliance, &third, &kit, operators::Mode::Apply).await.map(drop)
            }
            Verb::RemoveOperator => {
                let second = recipient(&self.path("second.txt")).parse()?;
                operators::remove(appliance, &second, &kit, operators::Mode::Apply).await.map(drop)
            }
            Verb::Erase => {
                let plan = erase::plan(appliance, &bob).await?;
                erase::apply(appliance, &root, &plan).await.map(drop)
            }
        }
    }

    /// Reads every snapshot of a tenant to its end with the recovery kit; returns how many there are.
    async fn read(&self, tenant: &str) -> usize {
        let (appliance, _) = self.appliance(u64::MAX, false).await.unwrap();
        let identities = read_identities(&self.path("kit.txt")).unwrap();
        let folder = self.path("store/tenants").join(tenant).join("snapshots");
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let ids: Vec<String> = names.filter_map(|n| Some(n.strip_suffix(".json")?.to_owned())).collect();
        for id in &ids {
            let which = id.parse().unwrap();
            let opened =
                restore::open(&appliance, &tenant.parse().unwrap(), &which, &identities).await.unwrap();
            let mut stream = opened.reader.stream(ComponentName::Config, "tar").unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            assert!(bytes.windows(5).any(|w| w == b"# of "));
        }
        ids.len()
    }

    /// Runs the binary as one of the hosts.
    fn binary(&self, etc: &str, args: &[&str]) -> support::host::Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        said(command.arg("--config").arg(self.path(etc)).args(args).output().unwrap())
    }
}

fn recipient(file: &Path) -> String {
    let said = Command::new("age-keygen").arg("-y").arg(file).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// Copies a folder; files that are text name its new place.
fn copy(from: &Path, to: &Path, old: &str, new: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, old, new);
        } else if entry.path().extension().is_some_and(|x| x == "toml") {
            let text = fs::read_to_string(entry.path()).unwrap();
            fs::write(target, text.replace(old, &format!("{}/", new.display()))).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Cuts a verb off at every call there is, and returns how many there were.
async fn cut(template: &House, verb: Verb) -> u64 {
    for n in 1.. {
        let (mut reached, mut at_change) = (true, true);
        // To die after a call that changes nothing is to die before the next one.
        for after in [false, true] {
            if after && !at_change {
                break;
            }
            let at = format!("{verb:?}, {} call {n}", if after { "after" } else { "before" });
            let house = template.another();
            let first = match house.appliance(n, after).await {
                Ok((appliance, mortal)) => {
                    let first = house.run(verb, &appliance).await;
                    reached = mortal.calls.load(Ordering::Relaxed) >= n;
                    at_change = mortal.at_change.load(Ordering::Relaxed);
                    first
                }
                Err(e) => {
                    at_change = false;
                    Err(e)
                }
            };
            assert!(first.is_err() || !reached, "{at}: it went on as if nothing were");
            let (appliance, _) = house.appliance(u64::MAX, false).await.unwrap();
            if let Err(e) = house.run(verb, &appliance).await {
                // What was done is said to be done.
                let done = match verb {
                    Verb::EndHost => e.kind() == Kind::Conflict && e.to_string().contains("was ended on"),
                    Verb::Erase => e.kind() == Kind::NotFound,
                    _ => false,
                };
                assert!(done, "{at}: the next run fails: {e}");
            }
            drop(appliance);
            assert_eq!(house.read("ada").await, 2, "{at}");
            if at_change || !reached {
                after_it(&house, verb, &at).await;
            }
        }
        if !reached {
            return n - 1;
        }
    }
    unreachable!("a verb ends")
}

/// What must be so once a verb was carried out.
async fn after_it(house: &House, verb: Verb, at: &str) {
    let said = house.binary("etc", &["backup", "ada"]);
    assert_eq!(said.code, 0, "{at}: {}{}", said.out, said.err);
    assert_eq!(house.read("ada").await, 3, "{at}");
    if verb == Verb::Erase {
        let left = house.path("store/tenants/bob");
        assert!(fs::read_dir(&left).map_or(0, Iterator::count) == 0, "{at}: {left:?}");
        assert!(!house.path("state/keys/dedup-bob.key").exists());
    } else {
        assert_eq!(house.read("bob").await, 2, "{at}");
    }
    if verb == Verb::HandOver {
        assert_ne!(house.binary("etc", &["backup", "bob"]).code, 0, "{at}: the giver writes on");
    }
    let said = house.binary("etc", &["check"]);
    assert_eq!(said.code, 0, "{at}: {}{}", said.out, said.err);
}

macro_rules! cut_off {
    ($($name:ident: $verb:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let verb = $verb;
            let calls = cut(&House::template(verb != Verb::Erase), verb).await;
            assert!(calls > 3, "{calls} calls");
        }
    )*};
}

cut_off! {
    a_host_key_that_is_replaced: Verb::RotateHost;
    a_host_that_is_ended: Verb::EndHost;
    a_tenant_that_is_handed_over: Verb::HandOver;
    an_epoch_that_is_begun: Verb::NewEpoch;
    an_operator_who_is_added: Verb::AddOperator;
    an_operator_who_is_removed: Verb::RemoveOperator;
    a_tenant_that_is_erased: Verb::Erase;
}
