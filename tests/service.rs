//! The service with a clock driven by hand: nights, kills, failures and whoever must hear of them.

#![expect(clippy::unwrap_used, reason = "a test may end so")]

mod support;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use lifeboat::config::{Config, SourceFile, Surroundings};
use lifeboat::error::{Error, Kind, Result};
use lifeboat::id::{ProofLevel, SnapshotId, TenantName};
use lifeboat::service::{
    Clock, Desk, JobKind, JobReport, Jobs, Journal, Light, Outcome, Patience, Service, Trigger,
};
use support::clock::{HandClock, at, ear, soon};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// A job that the service began and that waits for the test to say how it ends.
struct Call {
    what: String,
    at: Timestamp,
    answer: oneshot::Sender<Result<JobReport>>,
}

impl Call {
    fn good(self) {
        let report = JobReport {
            snapshot: Some(SnapshotId::new(self.at, [1; 4])),
            level: Some(ProofLevel::Loaded),
            added_bytes: Some(42),
            ..JobReport::default()
        };
        assert!(self.answer.send(Ok(report)).is_ok());
    }

    fn fail(self, kind: Kind) {
        assert!(self.answer.send(Err(Error::new(kind, "the dump broke off"))).is_ok());
    }
}

struct Desks {
    clock: Arc<HandClock>,
    calls: mpsc::UnboundedSender<Call>,
    open: AtomicUsize,
    peak: AtomicUsize,
    can_drill: bool,
    held: Option<TenantName>,
}

impl Desks {
    async fn call(&self, what: String) -> Result<JobReport> {
        let (answer, answered) = oneshot::channel();
        self.peak.fetch_max(self.open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        assert!(self.calls.send(Call { what, at: self.clock.now(), answer }).is_ok());
        let result = answered.await.unwrap_or_else(|_| panic!("the test lost the call"));
        self.open.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

#[async_trait]
impl Jobs for Desks {
    async fn backup(&self, tenant: &TenantName, trigger: Trigger) -> Result<JobReport> {
        let trigger = if trigger == Trigger::CatchUp { "catch-up" } else { "backup" };
        self.call(format!("{trigger} {tenant}")).await
    }

    async fn drill(&self, tenant: &TenantName) -> Result<JobReport> {
        self.call(format!("drill {tenant}")).await
    }

    fn can_drill(&self, _tenant: &TenantName) -> bool {
        self.can_drill
    }

    fn held(&self, tenant: &TenantName, _now: Timestamp) -> Option<String> {
        (self.held.as_ref() == Some(tenant)).then(|| "moving house".to_owned())
    }
}

/// A host with two tenants, its state in a folder of its own.
struct Host {
    dir: tempfile::TempDir,
    clock: Arc<HandClock>,
    more: String,
    tenants: Vec<String>,
    can_drill: bool,
    held: Option<TenantName>,
}

struct Running {
    desk: Arc<Desk>,
    jobs: Arc<Desks>,
    calls: mpsc::UnboundedReceiver<Call>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<()>>,
}

impl Host {
    fn new(now: &str) -> Self {
        Host {
            dir: tempfile::tempdir().unwrap(),
            clock: HandClock::new(now),
            more: String::new(),
            tenants: vec!["byrne".into(), "dickinson".into()],
            can_drill: true,
            held: None,
        }
    }

    fn config(&self) -> Arc<Config> {
        let host = format!(
            "host = \"h1\"\nstate_dir = \"{}\"\n[store]\nurl = \"file:///s\"\n[operators]\nrecipients = \
             [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n{}",
            self.dir.path().display(),
            self.more
        );
        let mut files = vec![SourceFile::new("lifeboat.toml", host)];
        for name in &self.tenants {
            let text = format!("site = \"{name}\"\n[files]\npath = \"/sites\"\n");
            files.push(SourceFile::new(format!("tenants/{name}.toml"), text));
        }
        let around = Surroundings { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
        Arc::new(Config::from_files(Path::new("/etc/lifeboat"), &files, &around).unwrap())
    }

    fn serve(&self) -> Running {
        let (sender, calls) = mpsc::unbounded_channel();
        let jobs = Arc::new(Desks {
            clock: self.clock.clone(),
            calls: sender,
            open: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            can_drill: self.can_drill,
            held: self.held.clone(),
        });
        let patience = Patience {
            timeout: Duration::from_secs(20),
            pause: Duration::from_millis(1),
            farewell: Duration::from_secs(30),
        };
        let service = Service::open(self.config(), self.clock.clone(), jobs.clone(), patience).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let desk = service.desk();
        let task = tokio::spawn(service.run(async move {
            stopped.await.ok();
        }));
        Running { desk, jobs, calls, stop: Some(stop), task }
    }

    fn light(&self, running: &Running, tenant: usize) -> Light {
        running.desk.status(self.clock.now()).tenants[tenant].light
    }
}

impl Running {
    /// Returns the next job that the service begins, which must be this one at this time.
    async fn expect(&mut self, what: &str, when: &str) -> Call {
        let call = soon(self.calls.recv()).await.unwrap();
        assert_eq!((call.what.as_str(), call.at), (what, at(when)));
        call
    }

    /// As SIGKILL: nothing is ended, nothing is noted.
    async fn kill(self) {
        let state_dir = self.desk.config().machine.state_dir.clone();
        self.task.abort();
        assert!(soon(self.task).await.unwrap_err().is_cancelled());
        drop((self.desk, self.jobs, self.calls));
        // A process that is killed is gone at once; its tasks in this one end a little later. The lock tells when.
        soon(async {
            while Journal::peek(&state_dir).unwrap().alive {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        soon(self.task).await.unwrap().unwrap();
        assert!(self.calls.recv().now_or_none().flatten().is_none(), "a job that nobody expected");
    }

    /// Waits until the journal says so.
    async fn until(&self, now: Timestamp, settled: impl Fn(&lifeboat::service::Status) -> bool) {
        soon(async {
            while !settled(&self.desk.status(now)) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

trait NowOrNone: Future + Sized {
    fn now_or_none(self) -> Option<Self::Output> {
        futures::FutureExt::now_or_never(self)
    }
}
impl<F: Future> NowOrNone for F {}

fn outcomes(host: &Host, tenant: &str, kind: JobKind) -> Vec<(Outcome, String)> {
    let peek = Journal::peek(host.dir.path()).unwrap();
    let tenant = tenant.parse().unwrap();
    peek.runs.of(&tenant, kind).map(|r| (r.outcome.unwrap(), r.reason.clone().unwrap_or_default())).collect()
}

#[tokio::test]
async fn at_two_o_clock_both_tenants_are_backed_up() {
    let host = Host::new("2026-05-04T01:00:00Z");
    let mut service = host.serve();
    host.clock.set("2026-05-04T01:59:59Z");
    host.clock.set("2026-05-04T02:00:00Z");
    let byrne = service.expect("backup byrne", "2026-05-04T02:00:00Z").await;
    let dickinson = service.expect("backup dickinson", "2026-05-04T02:00:00Z").await;
    assert_eq!(host.light(&service, 0), Light::Waiting);
    host.clock.set("2026-05-04T02:05:00Z");
    dickinson.good();
    byrne.good();
    service.until(host.clock.now(), |s| s.tenants.iter().all(|t| t.light == Light::Good)).await;
    let status = service.desk.status(host.clock.now());
    assert_eq!(status.tenants[0].backup_seconds, Some(300));
    assert_eq!(status.tenants[0].next_backup, Some(at("2026-05-05T02:00:00Z")));
    assert!(!status.is_bad());
    service.stop().await;
}

#[tokio::test]
async fn a_kill_and_nine_hours_of_downtime_give_exactly_one_catch_up() {
    let host = Host::new("2026-05-04T01:00:00Z");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    let lost = service.expect("backup byrne", "2026-05-04T02:00:00Z").await;
    service.expect("backup dickinson", "2026-05-04T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[1].light == Light::Good).await;
    service.kill().await;
    drop(lost);
    host.clock.set("2026-05-04T11:00:00Z");
    let mut service = host.serve();
    // Byrne's run was killed and is made up for; Dickinson's was whole.
    service.expect("catch-up byrne", "2026-05-04T11:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].light == Light::Good).await;
    for hour in 12..24 {
        host.clock.set(&format!("2026-05-04T{hour}:00:00Z"));
        host.clock.settled().await;
    }
    host.clock.set("2026-05-05T02:00:00Z");
    service.expect("backup byrne", "2026-05-05T02:00:00Z").await.good();
    service.expect("backup dickinson", "2026-05-05T02:00:00Z").await.good();
    service.stop().await;
    let words: Vec<Outcome> = outcomes(&host, "byrne", JobKind::Backup).into_iter().map(|(o, _)| o).collect();
    assert_eq!(words[..2], [Outcome::Interrupted, Outcome::Good]);
}

#[tokio::test]
async fn nights_that_nobody_was_there_for_are_rows_and_not_holes() {
    let (address, mut heard) = ear().await;
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.more = format!("[notify]\nwebhook = \"{address}/hook\"\n");
    host.serve().stop().await;
    host.clock.set("2026-05-07T11:00:00Z");
    let mut service = host.serve();
    service.expect("catch-up byrne", "2026-05-07T11:00:00Z").await.good();
    service.expect("catch-up dickinson", "2026-05-07T11:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants.iter().all(|t| t.light == Light::Good)).await;
    service.stop().await;
    let words: Vec<Outcome> = outcomes(&host, "byrne", JobKind::Backup).into_iter().map(|(o, _)| o).collect();
    assert_eq!(words, [Outcome::Missed, Outcome::Missed, Outcome::Missed, Outcome::Good]);
    // One notice a tenant, not one a night.
    for tenant in ["byrne", "dickinson"] {
        let (_, body) = heard.try_recv().unwrap();
        assert!(body.contains(&format!("\"tenant\":\"{tenant}\"")), "{body}");
        assert!(body.contains("nothing ran here at its time, nor at those of 2 earlier runs"), "{body}");
    }
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn a_clock_that_is_set_back_starts_nothing_twice() {
    let host = Host::new("2026-05-04T01:00:00Z");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    service.expect("backup byrne", "2026-05-04T02:00:00Z").await.good();
    service.expect("backup dickinson", "2026-05-04T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants.iter().all(|t| t.light == Light::Good)).await;
    for again in ["2026-05-04T01:30:00Z", "2026-05-04T02:00:00Z", "2026-05-04T02:30:00Z"] {
        host.clock.set(again);
        host.clock.settled().await;
    }
    host.clock.set("2026-05-05T02:00:00Z");
    service.expect("backup byrne", "2026-05-05T02:00:00Z").await.good();
    service.expect("backup dickinson", "2026-05-05T02:00:00Z").await.good();
    service.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_years_behind_costs_no_night() {
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.tenants.truncate(1);
    let mut service = host.serve();
    host.clock.settled().await;
    host.clock.set("2016-05-04T01:00:00Z");
    host.clock.settled().await;
    host.clock.set("2016-05-04T02:00:00Z");
    service.expect("backup byrne", "2016-05-04T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].light == Light::Good).await;
    host.clock.set("2026-05-05T02:00:00Z");
    service.expect("backup byrne", "2026-05-05T02:00:00Z").await.good();
    // By this clock, no Sunday had a drill for ten years.
    service.expect("drill byrne", "2026-05-05T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].light == Light::Good).await;
    service.stop().await;
}

#[tokio::test]
async fn no_more_than_two_tenants_are_worked_on_at_once() {
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.tenants = (0..6).map(|n| format!("t{n}")).collect();
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    host.clock.settled().await;
    let mut waiting = Vec::new();
    for n in 0..6 {
        if waiting.len() == 2 {
            let done: Call = waiting.remove(0);
            done.good();
        }
        waiting.push(service.expect(&format!("backup t{n}"), "2026-05-04T02:00:00Z").await);
    }
    waiting.into_iter().for_each(Call::good);
    service.until(host.clock.now(), |s| s.tenants.iter().all(|t| t.light == Light::Good)).await;
    assert_eq!(service.jobs.peak.load(Ordering::SeqCst), 2);
    service.stop().await;
}

#[tokio::test]
async fn a_night_that_failed_calls_the_webhook_once_and_turns_the_status_bad() {
    let (address, mut heard) = ear().await;
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.tenants.truncate(1);
    host.more = format!("[notify]\nwebhook = \"{address}/hook?token=t\"\n");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    service.expect("backup byrne", "2026-05-04T02:00:00Z").await.fail(Kind::Denied);
    let (line, body) = soon(heard.recv()).await.unwrap();
    assert_eq!(line, "POST /hook?token=t");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body["text"],
        "backup of byrne on h1, planned for 2026-05-04T02:00:00Z: failed: the dump broke off"
    );
    assert_eq!(
        (&body["tenant"], &body["outcome"], &body["error"]),
        (&"byrne".into(), &"failed".into(), &"denied".into())
    );
    assert!(service.desk.status(host.clock.now()).is_bad());
    host.clock.set("2026-05-05T02:00:00Z");
    service.expect("backup byrne", "2026-05-05T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| !s.is_bad()).await;
    service.stop().await;
    assert!(heard.try_recv().is_err(), "the webhook was called again");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_once_more_before_anybody_is_told() {
    let (address, mut heard) = ear().await;
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.tenants.truncate(1);
    host.more = format!("[notify]\nwebhook = \"{address}/hook\"\n");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    service.expect("backup byrne", "2026-05-04T02:00:00Z").await.fail(Kind::Store);
    host.clock.paused().await;
    host.clock.set("2026-05-04T02:01:00Z");
    service.expect("backup byrne", "2026-05-04T02:01:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].light == Light::Good).await;
    host.clock.set("2026-05-05T02:00:00Z");
    service.expect("backup byrne", "2026-05-05T02:00:00Z").await.fail(Kind::Store);
    host.clock.paused().await;
    host.clock.set("2026-05-05T02:01:00Z");
    service.expect("backup byrne", "2026-05-05T02:01:00Z").await.fail(Kind::Store);
    let (_, body) = soon(heard.recv()).await.unwrap();
    assert!(body.contains("\"planned\":\"2026-05-05T02:00:00Z\",\"attempt\":2"), "{body}");
    service.stop().await;
    assert!(heard.try_recv().is_err(), "the webhook was called again");
}

#[tokio::test]
async fn a_webhook_that_never_answers_holds_no_backup_up() {
    // It accepts connections, by the backlog, and never reads or answers.
    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut host = Host::new("2026-05-04T01:00:00Z");
    let address = hole.local_addr().unwrap();
    host.more = format!("[notify]\nwebhook = \"http://{address}/\"\nping = \"http://{address}/p\"\n");
    let mut service = host.serve();
    for day in 4..7 {
        let two = format!("2026-05-0{day}T02:00:00Z");
        host.clock.set(&two);
        service.expect("backup byrne", &two).await.fail(Kind::Denied);
        service.expect("backup dickinson", &two).await.good();
        service.until(host.clock.now(), |s| s.tenants.iter().all(|t| t.running.is_empty())).await;
    }
    service.kill().await;
}

#[tokio::test]
async fn a_dead_mans_switch_hears_start_success_and_failure_of_each_tenant() {
    let (address, mut heard) = ear().await;
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.more = format!("[notify]\nping = \"{address}/ping/{{tenant}}?rid=1\"\n");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    let byrne = service.expect("backup byrne", "2026-05-04T02:00:00Z").await;
    service.expect("backup dickinson", "2026-05-04T02:00:00Z").await.fail(Kind::Damaged);
    service.until(host.clock.now(), |s| s.is_bad()).await;
    byrne.good();
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(soon(heard.recv()).await.unwrap().0);
    }
    assert_eq!(
        lines,
        [
            "GET /ping/byrne/start?rid=1",
            "GET /ping/dickinson/start?rid=1",
            "GET /ping/dickinson/fail?rid=1",
            "GET /ping/byrne?rid=1"
        ]
    );
    service.stop().await;
}

#[tokio::test]
async fn one_switch_for_the_host_hears_success_only_while_all_tenants_are_good() {
    let (address, mut heard) = ear().await;
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.more = format!("[notify]\nping = \"{address}/ping\"\n");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    let byrne = service.expect("backup byrne", "2026-05-04T02:00:00Z").await;
    service.expect("backup dickinson", "2026-05-04T02:00:00Z").await.fail(Kind::Damaged);
    service.until(host.clock.now(), |s| s.is_bad()).await;
    byrne.good();
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(soon(heard.recv()).await.unwrap().0);
    }
    assert_eq!(lines, ["GET /ping/start", "GET /ping/start", "GET /ping/fail", "GET /ping/fail"]);
    service.stop().await;
}

#[tokio::test]
async fn on_sunday_both_tenants_are_drilled_one_job_a_tenant() {
    let host = Host::new("2026-05-10T01:00:00Z");
    let mut service = host.serve();
    host.clock.set("2026-05-10T02:00:00Z");
    let slow = service.expect("backup byrne", "2026-05-10T02:00:00Z").await;
    service.expect("backup dickinson", "2026-05-10T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[1].light == Light::Good).await;
    host.clock.set("2026-05-10T04:00:00Z");
    // Byrne's drill waits for Byrne's backup, Dickinson's does not.
    service.expect("drill dickinson", "2026-05-10T04:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[1].proof == Some(ProofLevel::Loaded)).await;
    host.clock.set("2026-05-10T04:30:00Z");
    slow.good();
    service.expect("drill byrne", "2026-05-10T04:30:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].proof == Some(ProofLevel::Loaded)).await;
    service.stop().await;
}

#[tokio::test]
async fn a_drill_without_an_identity_is_a_red_row() {
    let mut host = Host::new("2026-05-10T03:00:00Z");
    host.can_drill = false;
    let service = host.serve();
    host.clock.set("2026-05-10T04:00:00Z");
    service.until(host.clock.now(), |s| s.is_bad()).await;
    let status = service.desk.status(host.clock.now());
    assert_eq!(status.tenants[0].problems, ["last drill not run: no identity"]);
    service.stop().await;
    assert_eq!(outcomes(&host, "byrne", JobKind::Drill), [(Outcome::NotRun, "no identity".to_owned())]);
}

#[tokio::test]
async fn a_tenant_on_hold_is_not_backed_up_and_not_green() {
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.held = Some("byrne".parse().unwrap());
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    service.expect("backup dickinson", "2026-05-04T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[1].light == Light::Good).await;
    assert_eq!(host.light(&service, 0), Light::Held);
    service.stop().await;
    assert_eq!(outcomes(&host, "byrne", JobKind::Backup), [(Outcome::Held, "moving house".to_owned())]);
}

#[tokio::test]
async fn a_stop_ends_what_runs_and_the_next_start_begins_it_anew() {
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.tenants.truncate(1);
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    let call = service.expect("backup byrne", "2026-05-04T02:00:00Z").await;
    service.stop().await;
    assert!(call.answer.is_closed(), "the job still runs");
    let stopped = (Outcome::Interrupted, "the service was stopped".to_owned());
    assert_eq!(outcomes(&host, "byrne", JobKind::Backup), [stopped]);
    host.clock.set("2026-05-04T02:10:00Z");
    let mut service = host.serve();
    service.expect("backup byrne", "2026-05-04T02:10:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].light == Light::Good).await;
    service.stop().await;
}

#[tokio::test]
async fn a_job_that_hangs_or_panics_does_not_cost_the_next_night() {
    let mut host = Host::new("2026-05-04T01:00:00Z");
    host.tenants.truncate(1);
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    let hung = service.expect("backup byrne", "2026-05-04T02:00:00Z").await;
    // Four stages of six hours: the next night's run is due just then.
    host.clock.set("2026-05-05T02:00:00Z");
    let panics = service.expect("backup byrne", "2026-05-05T02:00:00Z").await;
    assert!(hung.answer.is_closed());
    drop(panics);
    service.until(host.clock.now(), |s| s.tenants[0].running.is_empty()).await;
    host.clock.set("2026-05-06T02:00:00Z");
    service.expect("backup byrne", "2026-05-06T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].light == Light::Good).await;
    service.stop().await;
    let reasons: Vec<String> =
        outcomes(&host, "byrne", JobKind::Backup).into_iter().map(|(_, r)| r).collect();
    assert_eq!(reasons[..2], ["the backup of byrne took longer than 86400s", "the backup of byrne panicked"]);
}

#[tokio::test]
async fn a_second_service_on_the_same_host_is_refused() {
    let host = Host::new("2026-05-04T01:00:00Z");
    let service = host.serve();
    let again = Journal::open(host.dir.path()).unwrap_err();
    assert_eq!(again.kind(), Kind::Locked);
    service.stop().await;
}

#[tokio::test]
async fn health_status_and_metrics_are_answered_on_loopback() {
    let host = Host::new("2026-05-04T01:00:00Z");
    let mut service = host.serve();
    host.clock.set("2026-05-04T02:00:00Z");
    service.expect("backup byrne", "2026-05-04T02:00:00Z").await.good();
    service.expect("backup dickinson", "2026-05-04T02:00:00Z").await.fail(Kind::Damaged);
    service.until(host.clock.now(), |s| s.tenants.iter().all(|t| t.last_backup.is_some())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let router = lifeboat::web::router(service.desk.clone(), host.clock.clone());
    let web = tokio::spawn(lifeboat::web::serve(listener, router, async { stopped.await.unwrap_or(()) }));
    let get = async |path: &str| {
        let answer = soon(reqwest::get(format!("{base}{path}"))).await.unwrap();
        (answer.status().as_u16(), soon(answer.text()).await.unwrap())
    };
    assert_eq!(get("/health").await, (200, "{\"alive\":true}".to_owned()));
    let (code, status) = get("/api/v1/status").await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(code, 200);
    assert_eq!(status["tenants"][0]["light"], "good");
    assert_eq!(status["tenants"][1]["light"], "bad");
    assert_eq!(status["tenants"][1]["problems"][0], "last backup failed: the dump broke off");
    let (_, metrics) = get("/metrics").await;
    let two = at("2026-05-04T02:00:00Z").as_second();
    for line in [
        format!("lifeboat_backup_last_success_timestamp_seconds{{tenant=\"byrne\"}} {two}"),
        "lifeboat_last_run_outcome{tenant=\"dickinson\",kind=\"backup\",outcome=\"failed\"} 1".to_owned(),
        "lifeboat_tenant_good{tenant=\"byrne\"} 1".to_owned(),
        "lifeboat_backup_added_bytes{tenant=\"byrne\"} 42".to_owned(),
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    // What is not known has no line: Dickinson never had a whole snapshot.
    assert!(!metrics.contains("last_success_timestamp_seconds{tenant=\"dickinson\"}"), "{metrics}");
    service.task.abort();
    // The loop turns no more, and the door says so.
    host.clock.set("2026-05-04T02:10:00Z");
    assert_eq!(get("/health").await.0, 503);
    stop.send(()).unwrap();
    soon(web).await.unwrap().unwrap();
}

/// Writes a file of the configuration.
fn write_etc(host: &Host, name: &str, text: &str) {
    let path = host.dir.path().join("etc").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Starts a service that reads its configuration again while it runs.
async fn serve_rereading(host: &Host) -> Running {
    let state = host.dir.path().join("state");
    write_etc(
        host,
        "lifeboat.toml",
        &format!(
            "host = \"h1\"\nstate_dir = {state:?}\n[store]\nurl = \"file:///s\"\n[operators]\nrecipients = \
             [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n"
        ),
    );
    write_etc(host, "policies/nightly.toml", "[schedule]\nat = \"02:00\"\ntimezone = \"UTC\"\n");
    write_etc(host, "tenants/byrne.toml", "site = \"byrne\"\n[files]\npath = \"/sites/byrne\"\n");
    let config = Arc::new(Config::load(&host.dir.path().join("etc")).unwrap());
    let (sender, calls) = mpsc::unbounded_channel();
    let jobs = Arc::new(Desks {
        clock: host.clock.clone(),
        calls: sender,
        open: AtomicUsize::new(0),
        peak: AtomicUsize::new(0),
        can_drill: true,
        held: None,
    });
    let service =
        Service::open(config, host.clock.clone(), jobs.clone(), Patience::default()).unwrap().rereading();
    let (stop, stopped) = oneshot::channel::<()>();
    let desk = service.desk();
    let task = tokio::spawn(service.run(async move {
        stopped.await.ok();
    }));
    host.clock.settled().await;
    Running { desk, jobs, calls, stop: Some(stop), task }
}

#[tokio::test]
async fn a_tenant_whose_file_comes_later_is_planned_without_a_restart_and_its_first_drill_follows_the_next_backup()
 {
    let host = Host::new("2026-05-04T12:00:00Z");
    let mut service = serve_rereading(&host).await;
    let knows = |service: &Running, name: &str| service.desk.config().tenant(&name.parse().unwrap()).is_ok();

    let acme: TenantName = "acme".parse().unwrap();
    let folder = lifeboat::ops::state::State::open(&host.dir.path().join("state")).unwrap();
    let asked = lifeboat::ops::drill::Asked { since: host.clock.now(), by: "provision".into() };
    lifeboat::ops::drill::ask(&folder, &acme, &asked).unwrap();
    write_etc(&host, "tenants/acme.toml", "site = \"acme\"\n[files]\npath = \"/sites/acme\"\n");
    host.clock.set("2026-05-04T12:02:00Z");
    host.clock.settled().await;
    assert!(knows(&service, "acme"));

    // A file with a fault changes nothing for the tenants that are well.
    write_etc(&host, "tenants/typo.toml", "sight = \"x\"\n");
    host.clock.set("2026-05-04T12:04:00Z");
    host.clock.settled().await;
    assert!(knows(&service, "acme") && knows(&service, "byrne") && !knows(&service, "typo"));
    std::fs::remove_file(host.dir.path().join("etc/tenants/typo.toml")).unwrap();

    // Not before the night, and only the drill that was asked for: the policy's own are on Sundays, and this is a Tuesday.
    host.clock.set("2026-05-05T02:00:00Z");
    let acme_backup = service.expect("backup acme", "2026-05-05T02:00:00Z").await;
    service.expect("backup byrne", "2026-05-05T02:00:00Z").await.good();
    acme_backup.good();
    service.expect("drill acme", "2026-05-05T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants[0].proof.is_some()).await;
    host.clock.set("2026-05-05T02:02:00Z");
    host.clock.settled().await;
    assert_eq!(lifeboat::ops::drill::asked(&folder, &acme).unwrap(), None);

    std::fs::remove_file(host.dir.path().join("etc/tenants/acme.toml")).unwrap();
    host.clock.set("2026-05-06T02:00:00Z");
    service.expect("backup byrne", "2026-05-06T02:00:00Z").await.good();
    service.until(host.clock.now(), |s| s.tenants.len() == 1 && s.tenants[0].running.is_empty()).await;
    service.stop().await;
}
