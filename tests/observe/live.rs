//! Some nights of two real tenants, and what a real Prometheus makes of them.
//!
//! The nights are the service's own, with the real verbs and a clock set by hand, so that they take seconds; what it
//! told after each is put into Prometheus at that night's time. Then the real binary serves the same state, and Prometheus
//! scrapes it by the shipped configuration.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lifeboat::config::Config;
use lifeboat::service::metrics::{self, Format};
use lifeboat::service::verbs::Verbs;
use lifeboat::service::{Clock, Desk, JobKind, Patience, Service};
use tokio::sync::oneshot;

use super::files::alerts;
use super::support::cli::wait_until;
use super::support::clock::{HandClock, soon};
use super::support::host::TestHost;
use super::support::prometheus::{Prometheus, Setup, free_port, get_with, names, promtool, repository};
use super::support::running::Running;
use super::support::seaweed::Seaweed;
use super::support::tenant::TestTenant;

const NIGHTS: i64 = 4;

/// How far apart Prometheus is told: no more than it looks back, so that a line has no gaps.
const STEP: SignedDuration = SignedDuration::from_mins(5);

/// What is there only while something waits, as nothing does in these nights, or after a week of nights.
const NOT_TODAY: [&str; 2] =
    ["lifeboat_queue_oldest_planned_timestamp_seconds", "lifeboat_capacity_full_timestamp_seconds"];

/// A host with two tenants, of which `broken` names a database that is not there.
struct House {
    host: TestHost,
    tenant: TestTenant,
    /// The last full hour that is an hour away at least: when the last night's backup is planned. Its drill is half an hour later.
    last: Timestamp,
    token: String,
    port: u16,
}

impl House {
    fn build() -> House {
        let seaweed = Seaweed::start();
        let bucket = seaweed.new_locking_bucket();
        let keys = (&seaweed.access_key, &seaweed.secret_key);
        let host = TestHost::with_bucket(&seaweed.endpoint, &bucket, keys.0, keys.1);
        let tenant = TestTenant::start("acme");
        tenant.create_sample();
        let hour = (Timestamp::now().as_second() - 3600) / 3600 * 3600;
        let last = Timestamp::from_second(hour).unwrap();
        let house = House { host, tenant, last, token: "token-of-the-test".into(), port: free_port() };
        house.write(&seaweed.endpoint, &bucket);
        house.host.init("here");
        let kit = house.host.kit();
        let certify = ["keys", "certify", "--kit", kit.to_str().unwrap(), "--role", "backup,drill,prune"];
        house.host.run(&certify).expect(0);
        house.host.run(&["probe"]);
        house
    }

    fn write(&self, endpoint: &str, bucket: &str) {
        let copy = self.host.path("copy");
        fs::create_dir(&copy).unwrap();
        fs::write(self.host.path("token"), &self.token).unwrap();
        let more = format!(
            "[prune]\nafter_backup = true\n[copy]\nurl = \"file://{}\"\n[service]\nlisten = \"127.0.0.1:0\"\n\
             metrics = \"127.0.0.1:{}\"\nmetrics_token_file = \"{}\"\n",
            copy.display(),
            self.port,
            self.host.path("token").display()
        );
        self.host
            .write_host_file(&format!("url = \"s3://{bucket}/lifeboat\"\nendpoint = \"{endpoint}\""), &more);
        let clock = |after: i64| (self.last + SignedDuration::from_mins(after)).strftime("%H:%M").to_string();
        let every = "days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]";
        let policy = format!(
            "[schedule]\nat = \"{}\"\ntimezone = \"UTC\"\nwindow = \"10m\"\n[drill]\nat = \"{}\"\n{every}\n\
             [lock]\nmode = \"compliance\"\nhorizon = \"3d\"\n",
            clock(0),
            clock(30)
        );
        fs::create_dir_all(self.host.path("etc/policies")).unwrap();
        fs::write(self.host.path("etc/policies/nightly.toml"), policy).unwrap();
        self.host.add_tenant("acme", &self.tenant);
        let skipped = ["files", "redis_cache", "redis_queue", "config", "certs"];
        let skipped = skipped.map(|c| format!("[{c}]\nskip = \"none here\"\n")).concat();
        self.host.write_tenant_file(
            "broken",
            &format!("site = \"b.example\"\ndomain = \"b.example\"\n[database]\ncontainer = \"lifeboat-not-there\"\nname = \"_b\"\n{skipped}"),
        );
    }

    /// Lives through the nights; returns what was told after each, as OpenMetrics with the time at each line.
    async fn nights(&self) -> String {
        let seaweed = Seaweed::start();
        // The verbs read the credential from the environment of the binary; here it stands in the configuration.
        let file = self.host.path("etc/lifeboat.toml");
        let text = fs::read_to_string(&file).unwrap();
        for (name, secret) in [("access", &seaweed.access_key), ("secret", &seaweed.secret_key)] {
            fs::write(self.host.path(name), secret).unwrap();
        }
        let keys = format!(
            "[store]\naccess_key_file = \"{}\"\nsecret_key_file = \"{}\"",
            self.host.path("access").display(),
            self.host.path("secret").display()
        );
        fs::write(&file, text.replace("[store]", &keys)).unwrap();
        let day = SignedDuration::from_hours(24);
        let clock = HandClock::new(
            &(self.last - day * (NIGHTS as i32 - 1) - SignedDuration::from_mins(5)).to_string(),
        );
        let config = Arc::new(Config::load(&self.host.path("etc")).unwrap());
        let verbs = Arc::new(Verbs::new(Arc::clone(&config), Arc::clone(&clock)));
        let service =
            Service::open(config, Arc::clone(&clock), Arc::clone(&verbs), Patience::default()).unwrap();
        let desk = service.desk();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(service.run(async { stopped.await.unwrap_or(()) }));
        let mut told = String::new();
        for night in 0..NIGHTS {
            let planned = self.last - day * (NIGHTS - 1 - night) as i32;
            self.one_night(night, planned, &clock, &desk, &mut told).await;
        }
        stop.send(()).unwrap();
        soon(running).await.unwrap().unwrap();
        verbs.finish().await;
        told
    }

    async fn one_night(
        &self,
        night: i64,
        planned: Timestamp,
        clock: &HandClock,
        desk: &Desk,
        told: &mut String,
    ) {
        clock.set(&planned.to_string());
        settled(clock, desk, JobKind::Backup, planned).await;
        let drill = planned + SignedDuration::from_mins(30);
        clock.set(&drill.to_string());
        settled(clock, desk, JobKind::Drill, drill).await;
        // What the run left in the state folder is read by a task of its own.
        wait_for_facts(desk, clock).await;
        for step in 0..24 * 12 {
            let at = drill + STEP * step;
            if at < Timestamp::now() - STEP {
                append(told, &metrics::text(&desk.sight(at), Format::OpenMetrics).unwrap(), at);
            }
        }
        if night + 1 < NIGHTS {
            let table = "`tabGL Entry`";
            self.tenant.sql(&format!(
                "INSERT INTO {table} (name, creation, modified, owner, docstatus, account, debit, credit, voucher_no) \
                 SELECT CONCAT(name, '-n{night}'), creation, modified, owner, docstatus, account, 0, 0, voucher_no \
                 FROM {table} LIMIT 200"
            ));
        }
    }

    /// Returns where the real binary serves, and the target file that names it.
    fn serve(&self) -> (Running, String) {
        let running = self.host.start(&["serve"]);
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let bearer = format!("Bearer {}", self.token);
        wait_until("the service answers", Duration::from_secs(60), || {
            get_with(&url, &[("Authorization", &bearer)]).is_some_and(|page| {
                ["lifeboat_anomalies", "lifeboat_health_check_state", "lifeboat_capacity_timestamp_seconds"]
                    .iter()
                    .all(|name| page.contains(name))
            })
        });
        (running, format!("- targets: [\"127.0.0.1:{}\"]\n", self.port))
    }

    fn page(&self, accept: &str) -> String {
        let bearer = format!("Bearer {}", self.token);
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        get_with(&url, &[("Authorization", &bearer), ("Accept", accept)]).unwrap()
    }
}

/// Waits until both tenants' runs of this time have ended; one that pauses before its second try is given its minute.
async fn settled(clock: &HandClock, desk: &Desk, kind: JobKind, planned: Timestamp) {
    soon(async {
        loop {
            let status = desk.status(clock.now());
            let ended = |run: &Option<lifeboat::service::Run>| {
                run.as_ref().is_some_and(|r| r.planned == planned && r.outcome.is_some())
            };
            let idle = status.tenants.iter().all(|t| {
                let last = if kind == JobKind::Backup { &t.last_backup } else { &t.last_drill };
                t.running.is_empty() && ended(last)
            });
            let tried_twice = status.tenants.iter().all(|t| {
                let last = if kind == JobKind::Backup { &t.last_backup } else { &t.last_drill };
                last.as_ref().is_none_or(|r| {
                    r.error.is_none() || r.attempt > 1 || r.error.as_deref() == Some("not-found")
                })
            });
            if idle && tried_twice {
                return;
            }
            if idle {
                clock.set(&(clock.now() + SignedDuration::from_secs(61)).to_string());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

async fn wait_for_facts(desk: &Desk, clock: &HandClock) {
    let read = |desk: &Desk| desk.sight(clock.now()).facts.read;
    soon(async {
        while read(desk).is_none_or(|at| clock.now().duration_since(at) > SignedDuration::from_mins(5)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Appends the lines of a page, each with a time, as `promtool tsdb create-blocks-from openmetrics` reads them.
fn append(to: &mut String, page: &str, at: Timestamp) {
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = "job=\"lifeboat\",instance=\"h1\"";
        let line = match line.split_once('{') {
            Some((_, rest)) => format!("{name}{{{labels},{rest}"),
            None => format!("{name}{{{labels}}}{}", &line[name.len()..]),
        };
        to.push_str(&format!("{line} {}\n", at.as_second()));
    }
}

/// Returns every name that begins like a metric in these expressions.
fn named(expressions: &[String]) -> BTreeSet<String> {
    let all = expressions.iter().flat_map(|e| e.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let begins = ["lifeboat_", "process_"];
    all.filter(|w| begins.iter().any(|b| w.starts_with(b))).map(str::to_owned).collect()
}

fn dashboard() -> serde_json::Value {
    let file = repository().join("deploy/grafana/dashboards/lifeboat.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Returns the expressions of all panels.
pub fn panel_expressions() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|p| p["targets"].as_array().cloned().unwrap_or_default());
    targets.map(|t| t["expr"].as_str().unwrap().to_owned()).collect()
}

/// Returns the expressions of all alerts.
pub fn alert_expressions() -> Vec<String> {
    alerts().iter().map(|a| a["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn prometheus_scrapes_the_service_and_every_rule_and_panel_finds_what_it_names() {
    let house = House::build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let told = runtime.block_on(house.nights());
    drop(runtime);
    let until = Timestamp::now() - STEP - STEP;
    let (running, target) = house.serve();

    let plain = house.page("text/plain");
    promtool(repository(), &["check", "metrics"], &plain);
    let there = names(&plain);
    assert!(house.page("application/openmetrics-text").ends_with("# EOF\n"));
    for secret in ["db_password", "db_root_password", "redis_queue_password", "encryption_key"] {
        assert!(!plain.contains(house.tenant.get(secret)), "{secret} is a metric");
    }
    let wanted = named(&[panel_expressions(), alert_expressions()].concat());
    let lacking: Vec<_> =
        wanted.iter().filter(|n| !there.contains(*n) && !NOT_TODAY.contains(&n.as_str())).collect();
    assert!(lacking.is_empty(), "rules or panels name what the service does not tell: {lacking:?}\n{plain}");

    let setup =
        Setup::new(&house.token, &[("lifeboat", target)]).told_by(&format!("127.0.0.1:{}", house.port));
    fs::write(setup.path().join("nights.om"), sorted(&told)).unwrap();
    promtool(setup.path(), &["tsdb", "create-blocks-from", "openmetrics", "nights.om", "data"], "");
    let prometheus = Prometheus::start(setup);
    wait_until("Prometheus has scraped the service", Duration::from_secs(120), || {
        prometheus.query("up{job=\"lifeboat\",instance!=\"h1\"}").iter().any(|(_, up)| *up == 1.0)
    });
    let value = |expression: &str| {
        let samples = prometheus.query(expression);
        assert_eq!(samples.len(), 1, "{expression}: {samples:?}");
        samples[0].1
    };
    let live = format!("instance=\"127.0.0.1:{}\"", house.port);
    let acme = format!("{live},tenant=\"acme\"");
    assert_eq!(value(&format!("lifeboat_proof_level{{{acme}}}")), 3.0);
    assert_eq!(
        value(&format!("lifeboat_backup_last_success_timestamp_seconds{{{acme}}}")),
        house.last.as_second() as f64
    );
    assert_eq!(
        value(&format!("lifeboat_component_state{{{acme},component=\"files\",state=\"whole\"}}")),
        1.0
    );
    assert!(value(&format!("lifeboat_component_read_bytes{{{acme},component=\"database\"}}")) > 1e4);
    assert_eq!(
        value(&format!(
            "lifeboat_last_run_outcome{{{live},tenant=\"broken\",kind=\"backup\",outcome=\"failed\"}}"
        )),
        1.0
    );
    assert!(value(&format!("lifeboat_lock_end_timestamp_seconds{{{acme}}} - time()")) > 86_400.0);
    assert!(value(&format!("sum(lifeboat_drill_phase_duration_seconds{{{acme}}})")) > 0.1);
    assert_eq!(value(&format!("lifeboat_copy_good{{{acme}}}")), 1.0);
    // The nights before, as they were told.
    assert!(
        value("count(count_over_time(lifeboat_backup_age_seconds{instance=\"h1\",tenant=\"acme\"}[10d]))")
            == 1.0
    );

    knows_the_site(&prometheus);
    judge_rules(&prometheus);
    draw(&prometheus, until);
    drop(running);
}

/// A site is asked from outside because its tenant has a domain, without a line by anybody.
fn knows_the_site(prometheus: &Prometheus) {
    wait_until("Prometheus was told of the site", Duration::from_secs(120), || {
        let targets = prometheus.api("targets")["activeTargets"].as_array().unwrap().clone();
        let site = |t: &&serde_json::Value| t["labels"]["instance"] == "https://b.example/api/method/ping";
        targets.iter().find(site).is_some_and(|t| {
            let asked = t["scrapeUrl"].as_str().unwrap();
            t["labels"]["tenant"] == "broken" && asked.starts_with("http://blackbox-exporter:9115/probe?")
        })
    });
}

/// Every rule was evaluated without a fault; what fires renders, and is what these nights call for.
fn judge_rules(prometheus: &Prometheus) {
    let evaluated = || {
        let groups = prometheus.api("rules")["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|g| g["rules"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let of_broken = || {
        let alerts = prometheus.api("alerts")["alerts"].as_array().unwrap().clone();
        let of_broken = alerts.iter().filter(|a| a["labels"]["tenant"] == "broken");
        of_broken.map(|a| a["labels"]["alertname"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let expected = ["LifeboatBackupFailed", "LifeboatNeverBackedUp", "LifeboatBackupLate"];
    // The first evaluation may come before the first scrape.
    wait_until("every rule was evaluated on what was scraped", Duration::from_secs(120), || {
        evaluated().iter().all(|r| r["health"] != "unknown")
            && expected.iter().all(|name| of_broken().contains(*name))
    });
    for rule in evaluated() {
        assert_eq!(rule["health"], "ok", "{}: {}", rule["name"], rule["lastError"]);
    }
    let alerts = prometheus.api("alerts")["alerts"].as_array().unwrap().clone();
    for alert in &alerts {
        let text = alert["annotations"].to_string();
        assert!(!text.contains("<no value>") && !text.contains("error expanding"), "{text}");
    }
    let acme: Vec<_> = alerts
        .iter()
        .filter(|a| a["labels"]["tenant"] == "acme" && a["labels"]["instance"] != "h1")
        // Its application only sleeps, and its health says so; how full the machine that runs the tests is, is not its own.
        .filter(|a| a["labels"]["area"] != "application" && a["labels"]["check"] != "disk")
        .collect();
    assert!(acme.is_empty(), "a false alarm: {acme:?}");
}

/// Draws the panels; `LIFEBOAT_DASHBOARD_SVG` keeps the picture, as it stands in docs.
fn draw(prometheus: &Prometheus, until: Timestamp) {
    let dir = tempfile::tempdir().unwrap();
    let out = std::env::var("LIFEBOAT_DASHBOARD_SVG").map_or_else(|_| dir.path().join("d.svg"), Into::into);
    let drawn = Command::new(repository().join("deploy/grafana/draw"))
        .args(["--prometheus", &prometheus.url, "--days", &NIGHTS.to_string()])
        .args(["--end", &until.as_second().to_string(), "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let svg = fs::read_to_string(out).unwrap();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(svg.contains(&format!(">{title}<")), "{title} is not drawn");
    }
}

/// Sorts lines by name, as a page of OpenMetrics is: all lines of a family together, older ones first.
fn sorted(told: &str) -> String {
    let mut lines: Vec<&str> = told.lines().collect();
    let key = |l: &&str| {
        let (series, at) = l.rsplit_once(' ').unwrap();
        (series.rsplit_once(' ').unwrap().0.to_owned(), at.parse::<i64>().unwrap())
    };
    lines.sort_by_cached_key(key);
    format!("{}\n# EOF\n", lines.join("\n"))
}

#[test]
fn the_dashboard_has_a_fixed_name_and_each_panel_asks_the_provisioned_source() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "lifeboat");
    assert!(dashboard.get("id").is_none(), "an id is Grafana's own to give");
    let folder = repository().join("deploy/grafana/provisioning");
    let sources = super::files::yaml(&folder.join("datasources/prometheus.yaml"));
    let source = sources["datasources"][0]["uid"].as_str().unwrap().to_owned();
    let providers = super::files::yaml(&folder.join("dashboards/lifeboat.yaml"));
    let path = providers["providers"][0]["options"]["path"].as_str().unwrap();
    let compose = fs::read_to_string(repository().join("deploy/compose.yaml")).unwrap();
    assert!(compose.contains(&format!("./grafana/dashboards:{path}:ro")), "{path} is not mounted");
    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<&str> =
        panels.iter().filter(|p| p["type"] == "row").map(|p| p["title"].as_str().unwrap()).collect();
    assert_eq!(rows, ["Who is recoverable", "Nights", "Drills, and RTO by phase", "Health", "Capacity"]);
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{} has the number of another", panel["title"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], source.as_str(), "{}", panel["title"]);
        }
    }
}
