//! The service with the real verbs, real tenants and a real bucket; its clock is set by hand, or its process killed.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use lifeboat::config::Config;
use lifeboat::service::verbs::Verbs;
use lifeboat::service::{Desk, JobKind, Journal, Light, Outcome, Patience, Run, Service, Status};
use support::cli::{docker, wait_until};
use support::clock::{HandClock, ear, soon};
use support::host::TestHost;
use support::seaweed::Seaweed;
use support::tenant::TestTenant;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

const SCHEDULE: &str = "[targets]\nrpo = \"60d\"\n[schedule]\nat = \"02:00\"\ntimezone = \"UTC\"\ncatch_up = \
                        \"always\"\n";
/// For services that are killed: a drill would leave its containers to the next drill.
const NO_DRILLS: &str = "[drill]\nskip = \"the service is killed\"\n";
const DRILLS: &str = "[drill]\nat = \"04:00\"\ndays = [\"sun\"]\n";

/// The days of the test: its Sunday is the last one with three days behind it, since drills label what they make
/// with the time, and a time to come would have them sweep away what is in use.
struct Days(Date);

impl Days {
    fn past() -> Self {
        let latest = jiff::Timestamp::now().to_zoned(TimeZone::UTC).date() - 4.days();
        Days(latest.nth_weekday(1, Weekday::Sunday).unwrap() - 7.days())
    }

    /// A time, so many days after the Sunday.
    fn at(&self, days: i64, time: &str) -> String {
        format!("{}T{time}:00Z", self.0 + days.days())
    }
}

/// One service at a time: the drills of a clock in the past have labels that ran out long ago, and a service that starts
/// by this machine's clock removes what such labels are on.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Running {
    desk: Arc<Desk>,
    verbs: Arc<Verbs<HandClock>>,
    clock: Arc<HandClock>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<lifeboat::error::Result<()>>,
}

impl Running {
    fn start(host: &TestHost, clock: &Arc<HandClock>) -> Running {
        let config = Arc::new(Config::load(&host.path("etc")).unwrap());
        let verbs = Arc::new(Verbs::new(config.clone(), clock.clone()));
        let service = Service::open(config, clock.clone(), verbs.clone(), Patience::default()).unwrap();
        let desk = service.desk();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(service.run(async move {
            stopped.await.ok();
        }));
        Running { desk, verbs, clock: clock.clone(), stop, task }
    }

    async fn until(&self, settled: impl Fn(&Status) -> bool) {
        use lifeboat::service::Clock;
        soon(async {
            while !settled(&self.desk.status(self.clock.now())) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    async fn all(&self, light: Light) {
        self.until(|s| s.tenants.iter().all(|t| t.light == light)).await;
    }

    /// As a kill: nothing is noted. Waits until what ran inside has gone, as it has with a process.
    async fn kill(self, host: &TestHost) {
        self.task.abort();
        assert!(soon(self.task).await.unwrap_err().is_cancelled());
        self.verbs.finish().await;
        drop((self.desk, self.verbs));
        soon(async {
            while Journal::peek(&host.path("state")).unwrap().alive {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap().unwrap();
        self.verbs.finish().await;
    }
}

fn runs(host: &TestHost, tenant: &str, kind: JobKind) -> Vec<Run> {
    let peek = Journal::peek(&host.path("state")).unwrap();
    peek.runs.of(&tenant.parse().unwrap(), kind).cloned().collect()
}

fn outcomes(host: &TestHost, tenant: &str, kind: JobKind) -> Vec<Outcome> {
    runs(host, tenant, kind).into_iter().filter_map(|r| r.outcome).collect()
}

/// Two sample tenants and a host whose store is a bucket.
fn two_tenants(policy: &str, more: &str) -> (TestHost, [TestTenant; 2]) {
    let store = Seaweed::start();
    let bucket = store.new_bucket(true);
    let host = TestHost::with_bucket(&store.endpoint, &bucket, &store.access_key, &store.secret_key);
    let secret = |name: &str, text: &str| {
        let path = host.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (access, key) = (secret("access", &store.access_key), secret("secret", &store.secret_key));
    let section = format!(
        "url = \"s3://{bucket}/lifeboat\"\nendpoint = \"{}\"\naccess_key_file = \"{access}\"\nsecret_key_file = \
         \"{key}\"",
        store.endpoint
    );
    host.write_host_file(&section, more);
    std::fs::create_dir_all(host.path("etc/policies")).unwrap();
    std::fs::write(host.path("etc/policies/nightly.toml"), policy).unwrap();
    let tenants = ["byrne", "dickinson"].map(|name| {
        let tenant = TestTenant::start(name);
        tenant.create_sample();
        host.add_tenant(name, &tenant);
        tenant
    });
    host.init("here");
    (host, tenants)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_of_the_service_backs_up_drills_catches_up_and_tells_of_a_failed_night() {
    let _alone = ALONE.lock().await;
    let (address, mut heard) = ear().await;
    let (host, [byrne, _dickinson]) =
        two_tenants(&format!("{SCHEDULE}{DRILLS}"), &format!("[notify]\nwebhook = \"{address}/hook\"\n"));
    let days = Days::past();
    let clock = HandClock::new(&days.at(-1, "01:00"));

    // Saturday at 2:00: both, to the bucket.
    let service = Running::start(&host, &clock);
    clock.set(&days.at(-1, "02:00"));
    service.all(Light::Good).await;
    // Sunday: both at 2:00, both drilled from the bucket at 4:00.
    clock.set(&days.at(0, "02:00"));
    service.until(|_| outcomes(&host, "dickinson", JobKind::Backup).len() == 2).await;
    service.all(Light::Good).await;
    clock.set(&days.at(0, "04:00"));
    for name in ["byrne", "dickinson"] {
        service.until(|_| outcomes(&host, name, JobKind::Drill).len() == 1).await;
        let drill = &runs(&host, name, JobKind::Drill)[0];
        assert_eq!(drill.outcome, Some(Outcome::Good), "{drill:?}");
        assert_eq!(drill.report.level.map(|l| l.to_string()).as_deref(), Some("L3"));
    }
    // Monday at 2:00: killed while Byrne's backup runs; nine hours later each lost night is made up for, once.
    clock.set(&days.at(1, "02:00"));
    let begun = |name: &str| runs(&host, name, JobKind::Backup).last().is_some_and(|r| r.finished.is_none());
    service.until(|_| begun("byrne") && begun("dickinson")).await;
    service.kill(&host).await;
    clock.set(&days.at(1, "11:00"));
    let service = Running::start(&host, &clock);
    service.all(Light::Good).await;
    for hour in 12..24 {
        clock.set(&days.at(1, &format!("{hour}:00")));
        clock.settled().await;
    }
    for name in ["byrne", "dickinson"] {
        use Outcome::{Good, Interrupted};
        assert_eq!(outcomes(&host, name, JobKind::Backup), [Good, Good, Interrupted, Good], "{name}");
    }
    host.run(&["status"]).expect(0);
    while heard.try_recv().is_ok() {}

    // Tuesday: Byrne's database is down.
    docker(&["stop", "-t", "1", &byrne.container("db")]);
    clock.set(&days.at(2, "02:00"));
    let (request, body) = soon(heard.recv()).await.unwrap();
    assert_eq!(request, "POST /hook");
    assert!(body.contains("\"tenant\":\"byrne\"") && body.contains("database"), "{body}");
    service.until(|_| outcomes(&host, "dickinson", JobKind::Backup).len() == 5).await;
    let said = host.run(&["status"]).expect(4);
    assert!(said.out.contains("byrne: the last backup"), "{}", said.out);
    assert!(!said.out.contains("dickinson: the last backup"), "{}", said.out);
    docker(&["start", &byrne.container("db")]);
    byrne.wait_for_database();
    clock.set(&days.at(3, "02:00"));
    service.until(|_| outcomes(&host, "byrne", JobKind::Backup).len() == 6).await;
    host.run(&["status"]).expect(0);
    service.end().await;
    assert!(heard.try_recv().is_err(), "Byrne's Tuesday was the only bad night");
}

/// The real binary as a service, which ends with it.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(host: &TestHost) -> Serving {
        let mut command = host.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Serving { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_process_is_killed_makes_up_for_the_night_exactly_once() {
    let _alone = ALONE.lock().await;
    let (host, tenants) = two_tenants(&format!("{SCHEDULE}{NO_DRILLS}"), "");
    // A service saw the tenants days ago and went: the real one, by this machine's clock, has nights to make up for.
    let days = Days::past();
    let clock = HandClock::new(&days.at(-1, "01:00"));
    Running::start(&host, &clock).end().await;

    let killed = Serving::start(&host);
    let running =
        |name: &str| runs(&host, name, JobKind::Backup).last().is_some_and(|r| r.finished.is_none());
    wait_until("a run is under way", Duration::from_secs(60), || running("byrne") || running("dickinson"));
    drop(killed);
    let serving = Serving::start(&host);
    let good = |name: &str| outcomes(&host, name, JobKind::Backup).last() == Some(&Outcome::Good);
    wait_until("both are whole", Duration::from_secs(300), || good("byrne") && good("dickinson"));
    assert!(serving.get("/health").starts_with("HTTP/1.1 200"), "{}", serving.get("/health"));
    let metrics = serving.get("/metrics");
    assert!(metrics.contains("lifeboat_") && metrics.contains("tenant=\"byrne\""), "{metrics}");
    for name in ["byrne", "dickinson"] {
        let made = outcomes(&host, name, JobKind::Backup);
        assert_eq!(made.iter().filter(|o| **o == Outcome::Good).count(), 1, "{name}: {made:?}");
        let interrupted = made.iter().filter(|o| **o == Outcome::Interrupted).count();
        assert!(interrupted <= 1, "{name}: {made:?}");
    }
    drop(serving);
    host.run(&["check", "--read-data"]).expect(0);
    for tenant in &tenants {
        let processes = docker(&["top", &tenant.container("db")]);
        assert!(!processes.contains("mariadb-dump"), "{processes}");
    }
}
