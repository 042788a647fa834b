//! Faults that users and jobs see: on a bench with a site, its workers, its name and its certificate.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lifeboat::ops::health::{Area, State, TenantHealth};

use crate::named;
use crate::scene::around;
use crate::support::app::{BENCH, TestApp};
use crate::support::cli::{docker, wait_until};
use crate::support::dns::TestDns;
use crate::support::host::TestHost;

const SITE: &str = "erp.acme.example";
const ADDRESS: &str = "203.0.113.7";

/// A bench with a site that is well, and the host that looks at it.
struct Bench {
    app: TestApp,
    dns: TestDns,
    host: TestHost,
}

/// Injects one fault after the other.
pub async fn all() {
    let bench = Bench::start();
    bench.expect_well("at first").await;
    bench.worker_dead().await;
    bench.scheduler_paused().await;
    bench.maintenance().await;
    bench.certificate_expiring().await;
    bench.wrong_address().await;
    bench.expect_well("at last").await;
}

/// Makes a certificate for the site that counts for ninety days.
fn certificate(folder: &Path) {
    let (key, crt) = (folder.join("erp.key"), folder.join("erp.crt"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "90",
        ])
        .args(["-subj", &format!("/CN={SITE}"), "-addext", &format!("subjectAltName=DNS:{SITE}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&crt)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

impl Bench {
    fn start() -> Bench {
        let app = TestApp::start("healthapp");
        app.new_site(SITE);
        app.bench(&["--site", SITE, "enable-scheduler"]).good();
        for role in ["queue-short", "queue-long", "scheduler"] {
            app.role(role);
        }
        let dns = TestDns::start();
        dns.write_zone("acme.example", 2026112301, "erp", ADDRESS);
        dns.wait_for(SITE, ADDRESS);
        let host = TestHost::with_folder();
        let certs = host.path("certs");
        std::fs::create_dir_all(&certs).unwrap();
        certificate(&certs);
        host.write_host_file(
            &format!("url = \"file://{}\"", host.path("store").display()),
            &platform(&host, &dns),
        );
        host.write_tenant_file("acme", &tenant(&app, &certs));
        let bench = Bench { app, dns, host };
        bench.workers_are_there();
        bench
    }

    fn workers_are_there(&self) {
        wait_until("two workers are registered", Duration::from_secs(60), || {
            let found = self.app.redis("redis-queue", &["SMEMBERS", "rq:workers"]);
            found.lines().filter(|l| l.contains("rq:worker:")).count() >= 2
        });
    }

    async fn look(&self) -> TenantHealth {
        self.look_at(jiff::SignedDuration::ZERO).await
    }

    async fn look_at(&self, ahead: jiff::SignedDuration) -> TenantHealth {
        let config = lifeboat::config::Config::load(&self.host.path("etc")).unwrap();
        let scope = lifeboat::ops::health::Scope::of(&[]).without(Area::Backups).without(Area::Host);
        let report = lifeboat::ops::health::look(&config, &around(ahead), &scope).await.unwrap();
        report.tenants.into_iter().next().unwrap()
    }

    async fn expect_well(&self, when: &str) {
        let health = self.look().await;
        assert!(health.troubles().is_empty(), "{when}: {:#?}", health.troubles());
        for name in ["ping", "doctor", "workers", "scheduler", "maintenance", "dns", "certificate"] {
            assert!(
                health.checks.iter().any(|c| c.name == name),
                "{when}: {name} was not looked at: {:#?}",
                health.checks
            );
        }
    }

    async fn worker_dead(&self) {
        let worker = self.app.container("queue-long");
        docker(&["kill", &worker]);
        let health = self.look().await;
        docker(&["start", &worker]);
        named(Area::Application, "workers", State::Failed, &["a worker is dead", &worker])
            .in_checks("worker dead", &health.checks);
        named(Area::Containers, "state", State::Failed, &[&worker]).in_checks("worker dead", &health.checks);
    }

    async fn scheduler_paused(&self) {
        self.app.bench(&["--site", SITE, "scheduler", "pause"]).good();
        let paused = self.look().await;
        self.app.bench(&["--site", SITE, "scheduler", "resume"]).good();
        named(Area::Application, "scheduler", State::Failed, &[SITE, "is paused"])
            .in_checks("scheduler paused", &paused.checks);
        // Disabled stands in the database, which only `bench doctor` tells.
        self.app.bench(&["--site", SITE, "scheduler", "disable"]).good();
        let disabled = self.look().await;
        self.app.bench(&["--site", SITE, "scheduler", "enable"]).good();
        named(Area::Application, "scheduler", State::Failed, &[SITE, "is disabled"])
            .in_checks("scheduler disabled", &disabled.checks);
    }

    async fn maintenance(&self) {
        self.app.bench(&["--site", SITE, "set-maintenance-mode", "on"]).good();
        let health = self.look().await;
        self.app.bench(&["--site", SITE, "set-maintenance-mode", "off"]).good();
        named(Area::Application, "maintenance", State::Failed, &[SITE, "503"])
            .in_checks("maintenance", &health.checks);
        named(Area::Application, "ping", State::Failed, &["503"]).in_checks("maintenance", &health.checks);
    }

    async fn certificate_expiring(&self) {
        // Of its 90 days three are left when the clock says so; what else that clock alarms about does not matter here.
        let health = self.look_at(jiff::SignedDuration::from_hours(87 * 24)).await;
        named(Area::Outside, "certificate", State::Failed, &[SITE, "not renewed"])
            .in_checks("certificate", &health.checks);
    }

    async fn wrong_address(&self) {
        self.dns.write_zone("acme.example", 2026112302, "erp", "203.0.113.99");
        self.dns.wait_for(SITE, "203.0.113.99");
        let health = self.look().await;
        self.dns.write_zone("acme.example", 2026112303, "erp", ADDRESS);
        self.dns.wait_for(SITE, ADDRESS);
        named(Area::Outside, "dns", State::Failed, &["203.0.113.99", ADDRESS])
            .in_checks("DNS wrong", &health.checks);
    }
}

fn platform(host: &TestHost, dns: &TestDns) -> String {
    format!(
        "[platform]\nprojects_dir = {:?}\n[platform.images]\napp = \"lifeboat-app-double:dev\"\nmariadb = \"lifeboat-mariadb:dev\"\n\
         redis = \"lifeboat-redis:dev\"\n[platform.dns]\nzones_dir = {:?}\nzone = \"acme.example\"\nserver = \"{}\"\naddress = \"{ADDRESS}\"\n",
        host.path("erp"),
        dns.zones(),
        dns.server
    )
}

fn tenant(app: &TestApp, certs: &Path) -> String {
    let c = |part: &str| app.container(part);
    format!(
        "domain = \"{SITE}\"\n[database]\ncontainer = \"{}\"\n[redis_cache]\ncontainer = \"{}\"\n[redis_queue]\ncontainer = \"{}\"\n\
         [files]\ncontainer = \"{}\"\npath = \"{BENCH}/sites\"\n[certs]\npaths = [{certs:?}]\n[app]\nbackend = \"{}\"\nfrontend = \"{}\"\n\
         queue_short = \"{}\"\nqueue_long = \"{}\"\nscheduler = \"{}\"\n",
        c("db"),
        c("redis-cache"),
        c("redis-queue"),
        c("backend"),
        c("backend"),
        c("frontend"),
        c("queue-short"),
        c("queue-long"),
        c("scheduler")
    )
}
