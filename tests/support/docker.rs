//! Containers of one test, removed when it ends, also by a panic.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use lifeboat::host::{ContainerSpec, Docker, Mount, MountKind, RunLabels, VolumeSpec};

/// Built by `deploy/images/build`.
pub const MARIADB_IMAGE: &str = "lifeboat-mariadb:dev";
/// Built by `deploy/images/build`.
pub const REDIS_IMAGE: &str = "lifeboat-redis:dev";

/// All that one test makes in Docker; dropped, it removes it.
pub struct Scope {
    pub docker: Docker,
    name: String,
}

impl Scope {
    pub async fn new(name: &str) -> Scope {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let docker = Docker::connect().await.expect("tests in this file need docker and deploy/images/build");
        Scope { docker, name: format!("host-{name}-{}-{number}", std::process::id()) }
    }

    /// The name of this test's `part`.
    pub fn name(&self, part: &str) -> String {
        if part.starts_with(&self.name) { part.to_owned() } else { format!("{}-{part}", self.name) }
    }

    /// The label on all of this test's things.
    pub fn label(&self) -> String {
        format!("lifeboat.test.scope={}", self.name)
    }

    pub fn run_labels(&self) -> RunLabels {
        let expires = "2999-01-01T00:00:00Z".parse().unwrap();
        RunLabels { run: self.name.clone(), kind: "test".into(), owner: None, expires }
    }

    /// Runs the docker command line, which must succeed, and returns what it says.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let out = Command::new("docker").args(arguments).output().unwrap();
        assert!(out.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let run = std::env::var("LIFEBOAT_TEST_RUN").unwrap_or_default();
        let labels = [
            ("lifeboat.test.scope", self.name.as_str()),
            ("lifeboat.test", "1"),
            ("lifeboat.test.run", &run),
        ];
        labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn names(&self, what: &[&str]) -> Vec<String> {
        let out = Command::new("docker").args(what).output();
        let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().filter(|n| n.contains(&self.name)).map(str::to_owned).collect()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let removals: [(&[&str], &[&str]); 3] = [
            (&["ps", "-a", "--format", "{{.Names}}"], &["rm", "-f", "-v"]),
            (&["network", "ls", "--format", "{{.Name}}"], &["network", "rm"]),
            (&["volume", "ls", "--format", "{{.Name}}"], &["volume", "rm", "-f"]),
        ];
        for (list, remove) in removals {
            for name in self.names(list) {
                Command::new("docker").args(remove).arg(name).output().ok();
            }
        }
    }
}

/// A container with one named volume at `target`.
pub fn spec(scope: &Scope, name: &str, image: &str, target: &str) -> ContainerSpec {
    let volume = VolumeSpec {
        name: scope.name(&format!("{name}-data")),
        driver: "local".into(),
        labels: scope.labels(),
        ..VolumeSpec::default()
    };
    ContainerSpec {
        name: scope.name(name),
        image: image.into(),
        labels: scope.labels(),
        mounts: vec![Mount {
            kind: MountKind::Volume,
            source: volume.name.clone(),
            target: target.into(),
            volume: Some(volume),
            ..Mount::default()
        }],
        ..ContainerSpec::default()
    }
}

/// A Redis that is not there yet.
pub fn redis_spec(scope: &Scope, name: &str) -> ContainerSpec {
    spec(scope, name, REDIS_IMAGE, "/data")
}
