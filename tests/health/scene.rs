//! A healthy tenant with a backup that is proven, and looks at it.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use lifeboat::config::Config;
use lifeboat::id::{DrillId, TenantName};
use lifeboat::monitor::Silent;
use lifeboat::ops::appliance::{Appliance, Surroundings, read_identities};
use lifeboat::ops::health::{self, Area, Check, Report, Scope, State};
use lifeboat::repo::drill::{self, NewOutcome};
use lifeboat::repo::snapshot;

use crate::support::cli::{docker, wait_until};
use crate::support::host::TestHost;
use crate::support::tenant::TestTenant;

/// The host, its tenant, and a clock that can be set off.
pub struct Scene {
    pub host: TestHost,
    pub tenant: TestTenant,
}

/// A clock that goes `ahead` of the real one.
pub fn around(ahead: SignedDuration) -> Surroundings {
    Surroundings {
        clock: Arc::new(move || Timestamp::now() + ahead),
        monitor: Arc::new(Silent),
        stop: Default::default(),
        lines: Default::default(),
    }
}

/// Waits until a container's healthcheck is content.
pub fn is_content(container: &str) {
    wait_until("its healthcheck is content", std::time::Duration::from_secs(60), || {
        docker(&["inspect", "-f", "{{.State.Health.Status}}", container]) == "healthy"
    });
}

/// Returns what is not well, a line each, but that nobody can ask the site: the sample's application only sleeps.
pub fn troubles(report: &Report) -> Vec<String> {
    let all = report.host.iter().chain(report.tenants.iter().flat_map(|t| &t.checks));
    let nobody_to_ask =
        |c: &Check| c.area == Area::Application && c.name == "ping" && c.state == State::Unknown;
    // How full the machine that runs the tests is, is not the tenant's.
    let own_disk = |c: &Check| c.name == "disk";
    let bad = all.filter(|c| c.state != State::Ok && !nobody_to_ask(c) && !own_disk(c));
    bad.map(|c| format!("{} {} {}: {}", c.area.as_str(), c.name, c.state.as_str(), c.reason)).collect()
}

impl Scene {
    /// Starts a tenant, backs it up once, and records a drill that passed.
    pub async fn start(name: &str) -> Scene {
        let tenant = TestTenant::start(name);
        tenant.create_sample();
        is_content(&tenant.container("db"));
        let host = TestHost::with_folder();
        host.add_tenant("byrne", &tenant);
        host.init("here");
        let scene = Scene { host, tenant };
        scene.host.run(&["backup", "byrne"]).expect(0);
        scene.drilled(true).await;
        scene
    }

    pub fn config(&self) -> Config {
        Config::load(&self.host.path("etc")).unwrap()
    }

    /// Signs the outcome of a drill of the newest snapshot, as a drill would.
    pub async fn drilled(&self, passed: bool) {
        let appliance = Appliance::open(self.config(), around(SignedDuration::ZERO)).await.unwrap();
        let tenant: TenantName = "byrne".parse().unwrap();
        let history = lifeboat::ops::snapshots::history(&appliance, &tenant).await.unwrap();
        let committed = history.latest_whole().unwrap();
        let identities = read_identities(&self.host.kit()).unwrap();
        let vault = snapshot::open_vault(&appliance.repo, &committed.receipt, &identities).await.unwrap();
        let now = Timestamp::now();
        let new = NewOutcome {
            drill: DrillId::new(now, rand::random()),
            tenant,
            snapshot: (committed.receipt.snapshot.clone(), committed.hash),
            times: (now, now),
            level: "L3".into(),
            double: false,
            rto_seconds: 1.0,
            passed,
            checks: vec![drill::CheckOutcome {
                check: "dump-equal".into(),
                outcome: if passed { "passed" } else { "failed" }.into(),
            }],
            phases: Vec::new(),
            report: b"{}".to_vec(),
        };
        let (host, key) = (&appliance.config.machine.host, appliance.host_key().unwrap());
        drill::record(&appliance.repo, &appliance.trust, host, &key, &vault, new).await.unwrap();
        // A drill's id holds whole seconds, by which the next one must be newer.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }

    /// Looks at everything.
    pub async fn look(&self) -> Report {
        self.look_at(SignedDuration::ZERO).await
    }

    /// Looks at everything with a clock that goes ahead.
    pub async fn look_at(&self, ahead: SignedDuration) -> Report {
        health::look(&self.config(), &around(ahead), &Scope::of(&[])).await.unwrap()
    }

    /// Looks, and expects that nothing is to be said.
    pub async fn expect_well(&self, when: &str) {
        let report = self.look().await;
        let bad = troubles(&report);
        assert!(bad.is_empty(), "{when}: {bad:#?}");
        let tenant = report.tenant(&"byrne".parse().unwrap()).unwrap();
        assert!(tenant.checks.len() >= 20, "{when}: {:#?}", tenant.checks);
    }

    /// Returns the tenant's file.
    pub fn tenant_file(&self) -> PathBuf {
        self.host.path("etc/tenants/byrne.toml")
    }

    /// Changes the tenant's file, and returns what it was.
    pub fn rewrite(&self, from: &str, to: &str) -> String {
        let was = std::fs::read_to_string(self.tenant_file()).unwrap();
        assert!(was.contains(from), "{from:?} is not in {was}");
        std::fs::write(self.tenant_file(), was.replace(from, to)).unwrap();
        was
    }

    /// Writes the tenant's file.
    pub fn write(&self, text: &str) {
        std::fs::write(self.tenant_file(), text).unwrap();
    }

    /// Names one more container of the application.
    pub fn with_container(&self, name: &str) -> String {
        let app = format!("containers = [\"{}\"", self.tenant.container("app-double"));
        self.rewrite(&app, &format!("{app}, \"{name}\""))
    }

    /// Changes the site's configuration in its folder, and returns what it was.
    pub fn site_config(
        &self,
        change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
    ) -> String {
        let (app, file) =
            (self.tenant.container("app-double"), format!("{}/site_config.json", self.tenant.site_path()));
        let was = crate::support::cli::shell(&app, &format!("cat '{file}'"));
        let mut config = serde_json::from_str(&was).unwrap();
        change(&mut config);
        self.put_site_config(&serde_json::to_string(&config).unwrap());
        was
    }

    pub fn put_site_config(&self, text: &str) {
        let (app, file) =
            (self.tenant.container("app-double"), format!("{}/site_config.json", self.tenant.site_path()));
        let args = ["exec", "-i", &app, "sh", "-c", &format!("cat > '{file}'")];
        crate::support::cli::docker_reading(&args, text.as_bytes()).unwrap();
    }
}
