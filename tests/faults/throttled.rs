//! A store that takes packs slowly, or not at all: the source is let go, and a full spool waits only so long.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifeboat::config::{Config, Size};
use lifeboat::error::{Kind, Result};
use lifeboat::id::ComponentName;
use lifeboat::monitor::Recorder;
use lifeboat::ops::appliance::{Appliance, Surroundings};
use lifeboat::ops::backup::{Backed, ComponentState, Request, backup};
use lifeboat::ops::state::State;
use lifeboat::repo::certificate::Trust;
use lifeboat::repo::receipt::Trigger;
use lifeboat::repo::repository::Repository;
use lifeboat::store::{LocalStore, Timeouts};
use tokio::task::JoinHandle;

use crate::scene::Scene;
use crate::support::cli::wait_until;
use crate::support::gate::Gate;
use crate::support::host::TestHost;

/// A dump of this many rows of [`Scene::grow`] is some 100 MB of ciphertext.
const MANY_ROWS: u32 = 100_000;

/// A tenant whose store has a gate, and the runtime that its backups run on.
struct Dam {
    scene: Scene,
    gate: Gate,
    runtime: tokio::runtime::Runtime,
}

/// A backup that runs.
struct Running {
    monitor: Arc<Recorder>,
    result: JoinHandle<Result<Backed>>,
}

impl Dam {
    /// Starts a tenant with one whole snapshot, whose spool lets a component wait as long as `wait` says.
    fn build(name: &str, wait: &str, rows: u32) -> Dam {
        let scene = Scene::prepare(name, "t", TestHost::with_folder());
        let url = format!("url = \"file://{}\"", scene.host.path("store").display());
        scene.host.write_host_file(&url, &format!("[spool]\nwait = \"{wait}\""));
        scene.enter();
        scene.grow(rows);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let folder = scene.host.path("store");
        let store = runtime.block_on(LocalStore::open(&folder, Timeouts::default(), false)).unwrap();
        Dam { scene, gate: Gate::before(Arc::new(store)), runtime }
    }

    /// Begins a backup through the gate; a spool is at least 40 MiB large.
    fn backup(&self, spool: Size) -> Running {
        let monitor = Arc::new(Recorder::default());
        let around = Surroundings {
            clock: Arc::new(Timestamp::now),
            monitor: monitor.clone(),
            stop: Default::default(),
            lines: Default::default(),
        };
        let mut config = Config::load(&self.scene.host.path("etc")).unwrap_or_else(|e| panic!("{e:?}"));
        config.machine.spool_size = spool;
        let store = Arc::new(self.gate.clone());
        let result = self.runtime.spawn(async move {
            let state = State::open(&config.machine.state_dir)?;
            let repo = Repository::open(store, None).await?;
            let trust = Trust::load(&repo).await?;
            let appliance = Appliance { config, state, repo, trust, around };
            let tenant = "t".parse()?;
            let request = Request { tenant, trigger: Trigger::Manual, label: None, pinned_until: None };
            backup(&appliance, &request).await
        });
        Running { monitor, result }
    }

    fn end(&self, running: Running) -> Result<Backed> {
        self.runtime.block_on(running.result).unwrap()
    }

    fn spool_empties(&self) {
        let spool = self.scene.host.path("state/tenants/t/spool");
        wait_until("the spool is empty", Duration::from_secs(30), || spool.read_dir().unwrap().count() == 0);
    }
}

fn wait_for(what: &str, ready: impl FnMut() -> bool) {
    wait_until(what, Duration::from_secs(300), ready);
}

#[test]
fn a_throttled_store_holds_neither_the_dump_nor_an_alter_of_its_tables() {
    let dam = Dam::build("throttled", "1h", MANY_ROWS);
    let running = dam.backup(Size(4 << 30));
    dam.gate.let_through(1);
    wait_for("the backup has left the database behind", || {
        running.monitor.steps().last().is_some_and(|step| step != "t database" && dam.gate.came() > 1)
    });
    assert_eq!(dam.scene.dumps(), 0, "the dump has not ended");
    dam.scene.tenant.sql("SET lock_wait_timeout = 60; ALTER TABLE aa_bulk ADD COLUMN w INT");
    let up = dam.gate.up();
    assert!(!running.result.is_finished(), "there is a snapshot before its packs are up");

    dam.gate.open();
    let backed = dam.end(running).unwrap();
    assert!(backed.whole);
    let all = dam.gate.up();
    assert!(all >= 4 && 2 * up < all, "{up} of {all} packs were up when the table was altered");
    dam.scene.verified();
    dam.spool_empties();
}

#[test]
fn a_spool_that_stays_full_ends_the_backup_and_leaves_nothing_in_its_folder() {
    let dam = Dam::build("full", "2s", MANY_ROWS);
    let error = dam.end(dam.backup(Size(0))).unwrap_err();
    assert_eq!(error.kind(), Kind::Full, "{error}");
    let spool = dam.scene.host.path("state/tenants/t/spool");
    for part in ["backup of t", "database: spool", spool.to_str().unwrap(), "full (40.0 MiB)", "for 2 s"] {
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    }
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("`size`") && hint.contains("`wait`"), "{hint}");
    assert_eq!(dam.gate.up(), 0);
    dam.scene.dumps_end();
    dam.spool_empties();
    assert_eq!(dam.scene.snapshots().len(), 1);
    dam.scene.verified();

    dam.gate.open();
    assert!(dam.end(dam.backup(Size(0))).unwrap().whole);
    dam.scene.verified();
}

#[test]
fn a_component_that_waited_too_long_for_the_spool_fails_alone() {
    let dam = Dam::build("alone", "10s", MANY_ROWS);
    let running = dam.backup(Size(0));
    wait_for("the database has failed", || !running.monitor.problems().is_empty());
    dam.scene.dumps_end();
    // The others wait for ten seconds of their own.
    dam.gate.open();
    let backed = dam.end(running).unwrap();
    assert!(!backed.whole);
    for c in &backed.components {
        let reason = c.reason.as_deref().unwrap_or_default();
        match c.component {
            ComponentName::Database => {
                assert_eq!(c.state, ComponentState::Failed);
                assert!(reason.contains("spool") && reason.contains("`wait`"), "{reason}");
            }
            _ => assert_eq!(c.state, ComponentState::Whole, "{}: {reason}", c.component),
        }
    }
    dam.spool_empties();
    dam.scene.only_the_database_lacks();

    let packs = dam.gate.up();
    let added = dam.end(dam.backup(Size(4 << 30))).unwrap();
    assert!(added.whole);
    assert!(packs > 1 && dam.gate.up() - packs < packs + 4, "what was stored of the first was not reused");
    dam.scene.verified();
}
