//! The Authentik double as a process of one test: started on a free loopback port, gone when the test is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The token that it asks for.
pub const TOKEN: &str = "token-of-the-double-0123456789";

/// A running Authentik double.
#[derive(Debug)]
pub struct TestAuthentik {
    port: u16,
    child: Child,
    dir: tempfile::TempDir,
}

impl TestAuthentik {
    /// Starts it, with the flows, scope mappings, certificate and group of a fresh Authentik.
    pub fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doubles/authentik/server");
        let mut child = Command::new("python3")
            .arg(script)
            .args(["--while-stdin", "--token", TOKEN])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port =
            line.trim().rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("it said {line:?}"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.path().join("token"), mode).unwrap();
        TestAuthentik { port, child, dir }
    }

    /// Returns its address, as `[platform.sso] url` wants it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns a file that holds the token, which only its owner may read.
    pub fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// Makes a call of the API and returns status and answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.send(method, &format!("/api/v3/{path}"), Some(TOKEN), body)
    }

    /// Returns all rows of a resource such as `core/applications`.
    pub fn rows(&self, resource: &str) -> Vec<Value> {
        let (status, answer) = self.call("GET", &format!("{resource}/?page_size=1000"), None);
        assert_eq!(status, 200, "{answer}");
        answer["results"].as_array().unwrap().clone()
    }

    /// Returns how many calls changed something, or tried to, since it started.
    pub fn writes(&self) -> u64 {
        let (_, calls) = self.send("GET", "/double/calls", None, None);
        ["POST", "PUT", "PATCH", "DELETE"].iter().map(|m| calls["counts"][m].as_u64().unwrap()).sum()
    }

    /// Makes calls fail: see the head of `tests/doubles/authentik/server`. `{"times": 0}` ends all of it.
    pub fn fail(&self, how: &Value) {
        assert_eq!(self.send("POST", "/double/fail", None, Some(how)).0, 200);
    }

    /// Answers everything with 503 until [`TestAuthentik::recover`].
    pub fn break_down(&self) {
        self.fail(&json!({ "status": 503, "times": -1 }));
    }

    /// Ends every fault.
    pub fn recover(&self) {
        self.fail(&json!({ "times": 0 }));
    }

    /// Sends any request to it and returns status and answer.
    pub fn send(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let body = body.map(Value::to_string).unwrap_or_default();
        let auth = token.map(|t| format!("Authorization: Bearer {t}\r\n")).unwrap_or_default();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n", self.port);
        let kind = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{auth}{kind}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("it cut {method} {path}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for TestAuthentik {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
