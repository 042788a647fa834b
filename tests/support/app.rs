//! The app double: its image, and a bench of it beside MariaDB and two Redis, as frappe_docker lays one out.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use super::cli::{docker, labels, try_docker, unique, wait_until};

/// Where the bench lies in the image, and in the real one.
pub const BENCH: &str = "/home/frappe/frappe-bench";

/// Password of the database's root, and of the administrator of sites made by [`TestApp::new_site`].
pub const ROOT_PASSWORD: &str = "root of the database";
/// Password of the administrator.
pub const ADMIN_PASSWORD: &str = "an administrator's";

/// Builds the app double's image where its folder has changed, and returns its tag.
///
/// `LIFEBOAT_TEST_APP_IMAGE` names another image to run the tests on, such as `frappe/erpnext:v15.99.1`.
pub fn app_image() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| std::env::var("LIFEBOAT_TEST_APP_IMAGE").unwrap_or_else(|_| partner_image("app")))
}

/// Builds the image of a folder of `tests/doubles` and returns its tag.
pub fn partner_image(folder: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doubles/build");
    let built = Command::new(script).arg(folder).stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "tests/doubles/build {folder}: {}", built.status);
    String::from_utf8(built.stdout).unwrap().trim().to_owned()
}

/// How a command of bench ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ended {
    /// Returns what it printed; fails the test when it did not succeed.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }
}

/// A bench: database, two Redis, backend and frontend; the other roles are started by name. All of it goes with it.
#[derive(Debug)]
pub struct TestApp {
    /// Prefix of its containers, and the name of its network.
    pub project: String,
    environment: Vec<String>,
}

impl TestApp {
    /// Starts a bench that has no site yet.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same, with variables of the environment for every role.
    pub fn start_with(name: &str, environment: &[&str]) -> Self {
        let environment = environment.iter().flat_map(|e| ["-e".to_owned(), (*e).to_owned()]).collect();
        let app = TestApp { project: unique(name), environment };
        let labels = labels();
        let create: Vec<&str> = ["network", "create"]
            .into_iter()
            .chain(labels.iter().map(String::as_str))
            .chain([app.project.as_str()])
            .collect();
        docker(&create);
        docker(
            &[&["volume", "create"][..], &create[2..create.len() - 1], &[&app.container("sites")]].concat(),
        );
        let root = format!("MARIADB_ROOT_PASSWORD={ROOT_PASSWORD}");
        app.run(
            "db",
            &["-e", &root, "lifeboat-mariadb:dev", "mariadbd", "--innodb-flush-log-at-trx-commit=0"],
        );
        for redis in ["redis-cache", "redis-queue"] {
            app.run(
                redis,
                &["lifeboat-redis:dev", "redis-server", "--requirepass", "of-redis", "--save", ""],
            );
        }
        app.configure();
        app.role("backend");
        app.role("frontend");
        app.wait_for_database();
        app
    }

    /// Writes the bench's configuration as frappe_docker's configurator does.
    fn configure(&self) {
        let host = |part: &str| self.container(part);
        let redis = |part: &str| format!("redis://:of-redis@{}:6379", host(part));
        let script = format!(
            "ls -1 apps > sites/apps.txt && bench set-config -g db_host {} && bench set-config -gp db_port 3306 \
             && bench set-config -g redis_cache {} && bench set-config -g redis_queue {} \
             && bench set-config -gp socketio_port 9000",
            host("db"),
            redis("redis-cache"),
            redis("redis-queue"),
        );
        let volume = self.sites_volume();
        docker(&["run", "--rm", "-v", &volume, "--entrypoint", "bash", app_image(), "-ec", &script]);
    }

    fn sites_volume(&self) -> String {
        format!("{}:{BENCH}/sites", self.container("sites"))
    }

    /// Returns the name of the container of a part, or of a volume.
    pub fn container(&self, part: &str) -> String {
        format!("{}-{part}", self.project)
    }

    /// Starts `backend`, `frontend`, `websocket`, `queue-short`, `queue-long` or `scheduler`.
    pub fn role(&self, role: &str) {
        let command: &[&str] = match role {
            "backend" => &[],
            "frontend" => &["nginx-entrypoint.sh"],
            "websocket" => &["node", "/home/frappe/frappe-bench/apps/frappe/socketio.js"],
            "queue-short" => &["bench", "worker", "--queue", "short,default"],
            "queue-long" => &["bench", "worker", "--queue", "long,default,short"],
            "scheduler" => &["bench", "schedule"],
            other => panic!("no role {other}"),
        };
        let (backend, socketio) = (self.container("backend"), self.container("websocket"));
        let volume = self.sites_volume();
        let upstream = [format!("BACKEND={backend}:8000"), format!("SOCKETIO={socketio}:9000")];
        let mut options = vec!["-v", &volume];
        if role == "frontend" {
            options.extend(["-p", "127.0.0.1::8080", "-e", &upstream[0], "-e", &upstream[1]]);
        }
        options.extend(self.environment.iter().map(String::as_str));
        options.push(app_image());
        self.run(role, &[&options[..], command].concat());
    }

    fn run(&self, part: &str, options: &[&str]) {
        let (name, labels) = (self.container(part), labels());
        let mut args = vec!["run", "-d", "--name", &name, "--network", &self.project];
        args.extend(labels.iter().map(String::as_str));
        args.extend(options);
        docker(&args);
    }

    /// Waits until the database lets root in.
    pub fn wait_for_database(&self) {
        let (auth, db) = (format!("MYSQL_PWD={ROOT_PASSWORD}"), self.container("db"));
        let ask = ["exec", "-e", &auth, &db, "mariadb", "-uroot", "-h127.0.0.1", "-e", "SELECT 1"];
        wait_until("the database answers", Duration::from_secs(60), || try_docker(&ask).is_ok());
    }

    /// Runs bench as its user in the backend.
    pub fn bench(&self, args: &[&str]) -> Ended {
        self.bench_reading(args, "")
    }

    /// The same, with text on its standard input.
    pub fn bench_reading(&self, args: &[&str], input: &str) -> Ended {
        self.exec(&[&["bench"][..], args].concat(), input)
    }

    /// Runs a Python program in the bench's environment, in the bench's folder.
    pub fn python(&self, program: &str) -> Ended {
        self.exec(&["env/bin/python", "-"], program)
    }

    /// Runs a command in the backend as the bench's user.
    pub fn exec(&self, command: &[&str], input: &str) -> Ended {
        let mut child = Command::new("docker")
            .args(["exec", "-i", "-w", BENCH, &self.container("backend")])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let done = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
    }

    /// Makes a site with ERPNext, whose account may log in from everywhere.
    pub fn new_site(&self, site: &str) {
        let (root, admin) = ("--db-root-password", "--admin-password");
        let scope = "--mariadb-user-host-login-scope=%";
        self.bench(&[
            "new-site",
            site,
            root,
            ROOT_PASSWORD,
            admin,
            ADMIN_PASSWORD,
            scope,
            "--install-app",
            "erpnext",
        ])
        .good();
    }

    /// Returns a site's configuration.
    pub fn site_config(&self, site: &str) -> BTreeMap<String, Value> {
        let path = format!("sites/{site}/site_config.json");
        serde_json::from_str(&self.exec(&["cat", &path], "").good()).unwrap()
    }

    /// Runs SQL as root and returns its rows, tabs between the columns.
    pub fn sql(&self, database: &str, query: &str) -> String {
        let (auth, db) = (format!("MYSQL_PWD={ROOT_PASSWORD}"), self.container("db"));
        docker(&["exec", "-e", &auth, &db, "mariadb", "-uroot", "-NB", database, "-e", query])
    }

    /// Runs a command of `redis-cache` or `redis-queue`.
    pub fn redis(&self, which: &str, command: &[&str]) -> String {
        let container = self.container(which);
        docker(&[&["exec", "-e", "REDISCLI_AUTH=of-redis", &container, "redis-cli"][..], command].concat())
    }

    /// Returns the frontend's address on this machine.
    pub fn url(&self) -> String {
        format!("http://{}", docker(&["port", &self.container("frontend"), "8080/tcp"]))
    }

    /// Begins a request to a site, by its name, through the frontend.
    pub fn request(&self, method: Method, site: &str, path: &str) -> RequestBuilder {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        client.request(method, format!("{}{path}", self.url())).header("Host", site)
    }

    /// Sends a GET and returns its status and text, waiting for a frontend that just starts.
    pub async fn get(&self, site: &str, path: &str) -> (u16, String) {
        for _ in 0..100 {
            match self.request(Method::GET, site, path).send().await {
                Ok(answer) if answer.status() != 502 => return text(answer).await,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        panic!("the frontend does not answer");
    }

    /// Logs in and returns the status and, when that succeeded, the cookie.
    pub async fn login(&self, site: &str, user: &str, password: &str) -> (u16, Option<String>) {
        let body = serde_json::json!({ "usr": user, "pwd": password });
        let answer = self.request(Method::POST, site, "/api/method/login").json(&body).send().await.unwrap();
        let cookie = answer
            .headers()
            .get("set-cookie")
            .map(|c| c.to_str().unwrap().split(';').next().unwrap().to_owned());
        (answer.status().as_u16(), cookie)
    }
}

/// Returns an answer's status and text.
pub async fn text(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), answer.text().await.unwrap())
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let prefix = format!("name=^{}-", self.project);
        let found = try_docker(&["ps", "-aq", "--filter", &prefix]).unwrap_or_default();
        let mut remove = vec!["rm", "-fv"];
        remove.extend(found.lines());
        try_docker(&remove).ok();
        try_docker(&["volume", "rm", "-f", &self.container("sites")]).ok();
        try_docker(&["network", "rm", &self.project]).ok();
    }
}
