//! A real Prometheus on a free loopback port, with the configuration of `deploy/prometheus`, and promtool.
//!
//! The programs are found in PATH, or where `deploy/lib/prepare prometheus` unpacked them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cli::wait_until;

/// Returns the folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns a program of the Prometheus packages.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap();
    let unpacked = cache.join("lifeboat/prometheus/usr/bin");
    let all = std::env::split_paths(&path).chain([unpacked]).map(|dir| dir.join(name));
    all.into_iter()
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("no {name}: run deploy/lib/prepare prometheus"))
}

/// Runs promtool with this input, which must succeed, and returns what it printed.
#[track_caller]
pub fn promtool(dir: &Path, args: &[&str], input: &str) -> String {
    let mut child = Command::new(program("promtool"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read it closes the pipe; its exit code then says why.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
    assert!(output.status.success(), "promtool {}: {}\n{said}", args.join(" "), output.status);
    said
}

/// Returns the names of all lines of an exposition.
pub fn names(exposition: &str) -> std::collections::BTreeSet<String> {
    let name = |line: &str| line.split(['{', ' ']).next().unwrap().to_owned();
    exposition.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(name).collect()
}

/// Returns a port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The shipped configuration in a folder of its own; only its targets are the test's.
pub struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    /// Copies it; `targets` are files of `targets/` and what they hold.
    pub fn new(token: &str, targets: &[(&str, String)]) -> Setup {
        let setup = Setup { dir: tempfile::tempdir().unwrap() };
        let shipped = repository().join("deploy/prometheus");
        for name in ["prometheus.yml", "lifeboat.rules.yml", "lifeboat.rules.test.yml"] {
            fs::copy(shipped.join(name), setup.path().join(name)).unwrap();
        }
        for folder in ["targets", "secrets", "data"] {
            fs::create_dir(setup.path().join(folder)).unwrap();
        }
        fs::write(setup.path().join("secrets/metrics-token"), token).unwrap();
        for name in ["lifeboat", "platform", "databases", "redis", "sites"] {
            let ours = targets.iter().find(|(n, _)| *n == name).map_or("[]\n", |(_, text)| text);
            fs::write(setup.path().join(format!("targets/{name}.yml")), ours).unwrap();
        }
        setup
    }

    /// Has it asked which sites there are at another address than that of the platform.
    pub fn told_by(self, address: &str) -> Setup {
        let file = self.path().join("prometheus.yml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("http://lifeboat:9470/targets"), "{text}");
        fs::write(&file, text.replace("lifeboat:9470", address)).unwrap();
        self
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    child: Child,
    /// Where it answers.
    pub url: String,
    _setup: Setup,
}

/// One line of an answer: its labels and its value.
pub type Sample = (BTreeMap<String, String>, f64);

impl Prometheus {
    /// Starts it and waits until it is ready.
    pub fn start(setup: Setup) -> Prometheus {
        let port = free_port();
        let at = |name: &str| setup.path().join(name);
        let child = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--storage.tsdb.retention.time=400d", "--log.level=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Prometheus { child, url: format!("http://127.0.0.1:{port}"), _setup: setup };
        wait_until("Prometheus is ready", Duration::from_secs(120), || {
            reqwest_get(&format!("{}/-/ready", prometheus.url)).is_some()
        });
        prometheus
    }

    /// Asks its API.
    pub fn api(&self, path: &str) -> serde_json::Value {
        let body = reqwest_get(&format!("{}/api/v1/{path}", self.url)).expect("Prometheus answers");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// Asks for the value of an expression now.
    pub fn query(&self, expression: &str) -> Vec<Sample> {
        let form: String = expression.bytes().map(|b| format!("%{b:02X}")).collect();
        let data = self.api(&format!("query?query={form}"));
        let sample = |r: &serde_json::Value| {
            let labels = r["metric"].as_object().unwrap().iter();
            let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect();
            (labels, r["value"][1].as_str().unwrap().parse().unwrap())
        };
        data["result"].as_array().unwrap().iter().map(sample).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the body of a good answer; none for any other.
pub fn reqwest_get(url: &str) -> Option<String> {
    get_with(url, &[])
}

/// The same with headers.
pub fn get_with(url: &str, headers: &[(&str, &str)]) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = reqwest::Client::new().get(url).timeout(Duration::from_secs(20));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.ok()?.error_for_status().ok()?.text().await.ok()
    })
}
