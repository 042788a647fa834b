//! Drills to L4: a tenant booted from its backup in a network of its own, and what each fault in it is called.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::sync::Arc;

use jiff::Timestamp;
use lifeboat::config::Config;
use lifeboat::error::Error;
use lifeboat::monitor::Monitor;
use lifeboat::ops::appliance::{Appliance, Surroundings, read_identities};
use lifeboat::ops::drill::report::{Outcome, Report};
use lifeboat::ops::drill::{self, Choice, Request};
use lifeboat::ops::snapshots::Which;
use serde_json::Value;
use support::app::{ADMIN_PASSWORD, BENCH, TestApp, app_image};
use support::cli::{docker, left_behind};
use support::forgetful;
use support::host::{Said, TestHost};
use support::tenant::TestTenant;

const SITE: &str = "shop.example";

/// What stands in the database, in the files and in the configuration of a site that is well.
const FILL: &str = r#"
import frappe, os
from frappe.utils.password import set_encrypted_password
os.chdir("sites")
frappe.init("shop.example", sites_path=".")
frappe.connect()
set_encrypted_password("User", "Administrator", "a secret", "api_secret")
frappe.get_doc({"doctype": "File", "file_name": "offer.pdf", "content": b"an offer", "is_private": 1}).insert()
frappe.db.commit()
"#;

/// The operator's own checks, one of each kind.
const OWN: &str = r#"
[[drill.sql]]
name = "entries"
query = "SELECT COUNT(*), 'x' FROM `tabGL Entry`;"
expect = "2\tx"

[[drill.http]]
name = "users"
path = "/api/resource/User/Administrator"
login = true
expect = "Administrator"

[[drill.http]]
name = "guests stay out"
path = "/api/resource/User/Administrator"
status = 403

[[drill.command]]
name = "apps"
run = ["bench", "--site", "{site}", "list-apps"]
expect = "erpnext"
"#;

struct Scene {
    app: TestApp,
    host: TestHost,
    name: String,
}

impl Scene {
    /// Starts a bench with a site that is well, and backs it up once.
    fn start(name: &str) -> Scene {
        let app = TestApp::start(name);
        app.new_site(SITE);
        app.python(FILL).good();
        let db = app.site_config(SITE)["db_name"].as_str().unwrap().to_owned();
        for (entry, debit, credit) in [("A", "119.00", "0"), ("B", "0", "119.00")] {
            app.sql(
                &db,
                &format!(
                    "INSERT INTO `tabGL Entry` (name, creation, debit, credit, voucher_type, voucher_no)
                     VALUES ('{entry}', '2026-01-05 08:00:00', {debit}, {credit}, 'Sales Invoice', 'SINV-1')"
                ),
            );
        }
        app.sql(&db, "INSERT INTO tabSessions (user, sid) VALUES ('Administrator', 'stolen')");
        let host = TestHost::with_folder();
        let c = |part: &str| app.container(part);
        host.write_tenant_file(
            name,
            &format!(
                "site = \"{SITE}\"\npolicy = \"own\"\n[database]\ncontainer = \"{}\"\n[redis_cache]\ncontainer = \"{}\"\n\
                 [redis_queue]\ncontainer = \"{}\"\n[files]\ncontainer = \"{}\"\npath = \"{BENCH}/sites\"\n[config]\n\
                 [certs]\nskip = \"none\"\n[app]\nbackend = \"{}\"\nfrontend = \"{}\"\n",
                c("db"),
                c("redis-cache"),
                c("redis-queue"),
                c("backend"),
                c("backend"),
                c("frontend"),
            ),
        );
        std::fs::create_dir_all(host.path("etc/policies")).unwrap();
        std::fs::write(host.path("etc/policies/own.toml"), OWN).unwrap();
        host.init("here");
        let scene = Scene { app, host, name: name.to_owned() };
        scene.backup();
        scene
    }

    fn backup(&self) {
        self.host.run(&["backup", &self.name]).expect(0);
    }

    fn sql(&self, query: &str) -> String {
        let db = self.app.site_config(SITE)["db_name"].as_str().unwrap().to_owned();
        self.app.sql(&db, query)
    }

    fn drill(&self, options: &[&str]) -> Said {
        let said = self.host.run(&[&["drill", &self.name][..], options].concat());
        self.nothing_is_left();
        said
    }

    /// Drills a backup that is not well: this check fails, for this reason, in the first line, and nothing is left.
    #[track_caller]
    fn finds(&self, options: &[&str], check: &str, reason: &str) {
        let said = self.drill(options).expect(4);
        let line = said.out.lines().next().unwrap();
        assert!(
            line.contains("is NOT proven") && line.contains(check) && line.contains(reason),
            "{}",
            said.out
        );
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        assert_eq!(left_behind(&format!("lifeboat-drill-{}-", self.name)), [""; 0]);
    }

    /// The same, and nothing is left.
    async fn drill_with(&self, monitor: Arc<dyn Monitor>) -> Report {
        let report = self.drill_leaving(monitor).await;
        self.nothing_is_left();
        report
    }

    /// Drills in this process, with a monitor that meddles.
    async fn drill_leaving(&self, monitor: Arc<dyn Monitor>) -> Report {
        let around = Surroundings {
            clock: Arc::new(Timestamp::now),
            monitor,
            stop: Default::default(),
            lines: Default::default(),
        };
        let config = Config::load(&self.host.path("etc")).unwrap();
        let appliance = Appliance::open(config, around).await.unwrap();
        let request = Request {
            tenant: self.name.parse().unwrap(),
            choice: Choice::Named(Which::Latest),
            level: None,
            app_image: None,
            chance: 0,
        };
        let identities = read_identities(&self.host.kit()).unwrap();
        drill::drill(&appliance, &request, &identities).await.unwrap().report
    }
}

fn outcome<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str) {
    let found = report["checks"].as_array().unwrap().iter().find(|c| c["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no check {check} in {report:#}"));
    (found["outcome"].as_str().unwrap(), found["seen"].as_str().unwrap())
}

#[tokio::test]
async fn a_tenant_is_booted_from_its_backup_muted_and_isolated_and_an_administrator_logs_in() {
    let scene = Scene::start("alive");
    let said = scene.drill(&["--json"]);
    let report = &said.json()[0];
    assert_eq!(said.code, 0, "{report:#}");
    assert_eq!(report["level"], "L4 (double)");
    let expected = [
        ("second dump equal", "SHA-256"),
        ("sequences", ""),
        ("File rows", "1 with the MD5"),
        ("ledger", "debit 119.00, credit 119.00"),
        ("newest ledger entry", "before the snapshot"),
        ("encryption_key", "opens all 1"),
        ("isolation: host", "from an ordinary one"),
        ("isolation: live tenant", "frontend does not answer"),
        ("muted", "sessions ended"),
        ("application", "a double"),
        ("ping", SITE),
        ("login", "Administrator"),
        ("doctor", "scheduler"),
        ("own: entries", "2\\tx"),
        ("own: users", "200"),
        ("own: guests stay out", "403"),
        ("own: apps", "erpnext"),
        ("teardown", "nothing is left"),
    ];
    for (check, seen) in expected {
        let (outcome, said) = outcome(report, check);
        assert!(said.contains(seen), "{check}: {said}");
        assert!(outcome == "passed" || check == "sequences", "{check} {outcome}: {said}");
    }
    let attempts = report["isolation"].as_array().unwrap();
    let reached: Vec<bool> = attempts.iter().map(|a| a["reached"].as_bool().unwrap()).collect();
    assert_eq!(reached, [true, false, false, true, false], "{attempts:#?}");
    assert!(report["used"]["disk_bytes"].as_u64().unwrap() > 1_000_000);
    assert_eq!(report["used"]["containers"].as_array().unwrap().len(), 5, "{}", report["used"]);
    assert!(report["removed"].as_array().unwrap().len() >= 8, "{}", report["removed"]);
    // The living tenant is as it was.
    assert_eq!(scene.app.login(SITE, "Administrator", ADMIN_PASSWORD).await.0, 200);
    assert_eq!(scene.sql("SELECT COUNT(*) FROM tabSessions WHERE sid = 'stolen'"), "1");
    let status = scene.host.run(&["status", "--json"]);
    assert!(status.out.contains("L4 (double)"), "{}", status.out);
    assert_genuine(&scene);

    // Without an image, it stays at L3 and says why.
    let file = scene.host.path("etc/tenants/alive.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.split("[app]").next().unwrap()).unwrap();
    let said = scene.drill(&["--json"]).expect(0);
    let report = &said.json()[0];
    assert_eq!(report["level"], "L3");
    let (skipped, why) = outcome(report, "application");
    assert!(skipped == "skipped" && why.contains("write [app] image"), "{why}");
}

/// The report of a drill is found genuine with the store or the kit alone, and no longer once a byte of it was changed.
fn assert_genuine(scene: &Scene) {
    let dir = scene.host.path("reports");
    let said = scene.drill(&["--level", "L3", "--report-dir", dir.to_str().unwrap()]).expect(0);
    assert!(said.out.contains("proven to L3"), "{}", said.out);
    let report = files_in(&dir).into_iter().find(|p| p.extension().is_some_and(|e| e == "json")).unwrap();
    for extension in ["html", "md"] {
        let text = std::fs::read_to_string(report.with_extension(extension)).unwrap();
        assert!(text.contains("proven to L3"), "{text}");
    }
    let (path, kit) = (report.to_str().unwrap().to_owned(), scene.host.kit());
    let said = scene.host.run(&["drill", "verify", &path]).expect(0);
    assert!(said.out.contains("is genuine") && said.out.contains("says the same"), "{}", said.out);
    scene.host.run(&["drill", "verify", &path, "--kit", kit.to_str().unwrap()]).expect(0);
    let text = std::fs::read_to_string(&report).unwrap();
    std::fs::write(&report, text.replacen("\"L3\"", "\"L4\"", 1)).unwrap();
    let said = scene.host.run(&["drill", "verify", &path]);
    assert!(said.code != 0 && said.err.contains("does not verify"), "{said:?}");

    let said = scene.host.run(&["drill", "history", &scene.name, "--json"]).expect(0);
    let history = &said.json()[0]["tenants"][0];
    assert_eq!(history["drills"].as_array().unwrap().len(), 2, "{history:#}");
    assert_eq!(history["drills"][0]["level"], "L4 (double)");
    assert!(history["forecast"]["seconds"].as_f64().unwrap() > 0.0, "{history:#}");
    let said = scene.host.run(&["drill", "history"]).expect(0);
    assert!(said.out.contains("a restore is likely to take"), "{}", said.out);
    let said = scene.drill(&["--pick", "oldest", "--level", "L3", "--json"]).expect(0);
    assert_eq!(said.json()[0]["picked"], "oldest of 1");
}

fn files_in(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn each_fault_of_a_backup_fails_its_drill_by_its_name_and_nothing_is_left() {
    let scene = Scene::start("faulty");
    scene.finds(&["--app-image", "lifeboat-mariadb:dev"], "application", "ended with exit code 1");

    let key = scene.app.site_config(SITE)["encryption_key"].as_str().unwrap().to_owned();
    let other = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    let set =
        |key: &str| scene.app.bench(&["--site", SITE, "set-config", "--", "encryption_key", key]).good();
    set(other);
    scene.backup();
    scene.finds(&[], "encryption_key", "does not open 1 of 1 stored secrets");
    set(&key);

    let path = format!("sites/{SITE}/private/files/offer.pdf");
    scene.app.exec(&["mv", &path, "/tmp/offer.pdf"], "").good();
    scene.backup();
    scene.finds(&[], "File rows", "private/files/offer.pdf");
    scene.app.exec(&["sh", "-c", &format!("echo other > {path}")], "").good();
    scene.backup();
    scene.finds(&[], "File rows", "with another content than Frappe noted");
    scene.app.exec(&["mv", "/tmp/offer.pdf", &path], "").good();

    scene.sql("DELETE FROM `tabGL Entry` WHERE name = 'B'");
    scene.backup();
    scene.finds(&[], "ledger", "Sales Invoice SINV-1 by 119.00");
    let said = scene.drill(&[]).expect(4);
    assert!(said.out.contains("own: entries") && said.out.contains("not \"2\\tx\""), "{}", said.out);
}

/// Deletes a row of the copy before it is dumped again.
struct LosesARow;

impl Monitor for LosesARow {
    fn step(&self, name: &str) {
        if name == "drill: dump database again" {
            let found = docker(&["ps", "--format", "{{.Names}}", "--filter", "name=lifeboat-drill-lossy-"]);
            let db = found.lines().find(|name| name.ends_with("-db")).unwrap();
            let script = "exec mariadb -uroot -p\"$MARIADB_ROOT_PASSWORD\" -e \"$1\"";
            let all = "SELECT CONCAT('DELETE FROM `', table_schema, '`.`tabGL Entry` LIMIT 1')
                       FROM information_schema.tables WHERE table_name = 'tabGL Entry'";
            let run = |sql: &str| docker(&["exec", db, "sh", "-c", &format!("{script} -N"), "sh", sql]);
            let delete = run(all);
            run(&delete);
        }
    }

    fn problem(&self, _error: &Error) {}
}

const CLINGING: &str = "lifeboat-test-clinging";

/// Mounts a volume of the drill elsewhere, so that it cannot be removed.
struct Clings;

impl Monitor for Clings {
    fn step(&self, name: &str) {
        if name == "drill: ask the application" {
            let volumes =
                docker(&["volume", "ls", "--format", "{{.Name}}", "--filter", "name=lifeboat-drill-lossy-"]);
            let sites = volumes.lines().find(|name| name.ends_with("-sites")).unwrap();
            let mount = format!("{sites}:/mnt");
            docker(&["create", "--name", CLINGING, "-v", &mount, "lifeboat-redis:dev"]);
        }
    }

    fn problem(&self, _error: &Error) {}
}

#[tokio::test]
async fn a_copy_with_a_row_too_few_and_one_that_is_not_isolated_fail_for_that() {
    let scene = Scene::start("lossy");
    let report = scene.drill_with(Arc::new(LosesARow)).await;
    assert_eq!(report.outcome, Outcome::Failed);
    let headline = report.headline_with_reason();
    assert!(headline.contains("second dump equal"), "{headline}");
    assert!(headline.contains("table tabGL Entry has 1 row, 2 were backed up"), "{headline}");

    let report = scene.drill_leaving(Arc::new(Clings)).await;
    let headline = report.headline_with_reason();
    assert!(headline.contains("teardown failed") && headline.contains("-sites"), "{headline}");
    assert_eq!(report.level, "L4 (double)", "what was proven is proven");
    docker(&["rm", "-f", CLINGING]);
    docker(&["volume", "rm", &left_behind("lifeboat-drill-lossy-").concat()]);

    // A daemon that does not know the option leaves the bridge its address, at which this host answers.
    let daemon = forgetful::daemon("com.docker.network.bridge.inhibit_ipv4");
    let store = format!("url = \"file://{}\"", scene.host.path("store").display());
    scene.host.write_host_file(&store, &format!("[docker]\nhost = \"{daemon}\""));
    scene.finds(&[], "isolation: host", "the drill's network is not isolated");
    let said = scene.drill(&["--json"]).expect(4);
    let report = &said.json()[0];
    assert_eq!(report["level"], "L3");
    assert_eq!(outcome(report, "application").0, "skipped", "nothing is booted in it");
}

#[test]
fn the_third_day_of_the_real_site_is_booted_from_its_backup() {
    let name = "the_third_day_of_the_real_site_is_booted_from_its_backup";
    let Some(tenant) = TestTenant::real_site("day", 3) else {
        skip!(name, "the real site's data is not there")
    };
    let host = TestHost::with_folder();
    host.add_tenant("day", &tenant);
    let file = host.path("etc/tenants/day.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("[app]\n", &format!("[app]\nimage = \"{}\"\n", app_image()))).unwrap();
    host.init("here");
    host.run(&["backup", "day"]).expect(0);
    let said = host.run(&["drill", "day", "--json"]);
    let report = &said.json()[0];
    assert_eq!(said.code, 0, "{report:#}");
    assert_eq!(report["level"], "L4 (double)");
    println!("{report:#}");
    for check in ["File rows", "ledger", "encryption_key", "login", "doctor", "isolation: host"] {
        assert_eq!(outcome(report, check).0, "passed", "{report:#}");
    }
    assert!(outcome(report, "redis-queue").1.contains("41 jobs"), "{report:#}");
    assert_eq!(left_behind("lifeboat-drill-day-"), [""; 0]);
}
