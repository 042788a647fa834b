//! Docker through its command line, so that the tests do not look at it with the code they test.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The label of everything that tests make; `tests/run` sweeps it.
pub const LABEL: &str = "lifeboat.test=1";

/// Returns the labels of everything this process makes: that of tests, and that of the run it belongs to.
pub fn labels() -> Vec<String> {
    let run = std::env::var("LIFEBOAT_TEST_RUN").ok().map(|run| format!("lifeboat.test.run={run}"));
    [Some(LABEL.to_owned()), run].into_iter().flatten().flat_map(|l| ["--label".to_owned(), l]).collect()
}

/// Returns a name that nothing else in Docker has: `lifeboat-test-<name>-<pid>-<n>`.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("lifeboat-test-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Runs `docker` and returns what it printed, or what it complained of.
pub fn try_docker(args: &[&str]) -> Result<String, String> {
    finish(args, Command::new("docker").args(args).stdin(Stdio::null()))
}

/// Runs `docker`, which must succeed, and returns what it printed without the last line feed.
pub fn docker(args: &[&str]) -> String {
    try_docker(args).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// Runs `docker` with `input` on its standard input.
pub fn docker_reading(args: &[&str], mut input: impl Read + Send) -> Result<String, String> {
    let mut child = Command::new("docker")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|s| {
        // A program that ends early closes the pipe; its exit code then says why.
        s.spawn(move || std::io::copy(&mut input, &mut stdin).ok());
        judge(args, child.wait_with_output().unwrap())
    })
}

fn finish(args: &[&str], command: &mut Command) -> Result<String, String> {
    judge(args, command.output().unwrap())
}

fn judge(args: &[&str], output: std::process::Output) -> Result<String, String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("docker {}: {}: {complaint}", args.join(" "), output.status));
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// Runs `sh -c script` in a container as root and returns what it printed.
pub fn shell(container: &str, script: &str) -> String {
    docker(&["exec", container, "sh", "-c", script])
}

/// Waits until `ready` is true; fails the test after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not so after {limit:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Everything in Docker that carries a label, or whose name contains `project`: what a clean teardown leaves empty.
pub fn left_behind(project: &str) -> Vec<String> {
    let lists: [&[&str]; 3] = [
        &["ps", "-a", "--format", "{{.Names}}"],
        &["volume", "ls", "--format", "{{.Name}}"],
        &["network", "ls", "--format", "{{.Name}}"],
    ];
    let lines = lists.iter().map(|list| docker(list)).collect::<Vec<_>>().join("\n");
    lines.lines().filter(|name| name.contains(project)).map(str::to_owned).collect()
}

/// A container that goes, with its anonymous volumes, when the test does.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub name: String,
}

impl Container {
    /// Starts a container under a unique name; `options` are those of `docker run`, then image and command.
    pub fn run(name: &str, options: &[&str]) -> Self {
        let name = unique(name);
        let labels = labels();
        let mut args = vec!["run", "-d", "--name", &name];
        args.extend(labels.iter().map(String::as_str));
        args.extend(options);
        docker(&args);
        Container { name }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        try_docker(&["rm", "-fv", &self.name]).ok();
    }
}
