//! A host that runs Lifeboat: configuration, state, store and recovery kit in folders of its own, and the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::tenant::TestTenant;

/// A host with its folders; all are removed with it.
pub struct TestHost {
    root: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What a run of the binary said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Fails the test unless the exit code is this.
    #[track_caller]
    pub fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Returns the JSON lines of the standard output.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    }
}

impl TestHost {
    /// Makes a host whose store is a folder, not initialised.
    pub fn with_folder() -> TestHost {
        let host = TestHost { root: tempfile::tempdir().unwrap(), environment: Vec::new() };
        let url = format!("url = \"file://{}\"", host.path("store").display());
        host.write_host_file(&url, "");
        host
    }

    /// Makes a host whose store is a bucket, not initialised.
    pub fn with_bucket(endpoint: &str, bucket: &str, access_key: &str, secret_key: &str) -> TestHost {
        let mut host = TestHost { root: tempfile::tempdir().unwrap(), environment: Vec::new() };
        host.environment.push(("AWS_ACCESS_KEY_ID".into(), access_key.into()));
        host.environment.push(("AWS_SECRET_ACCESS_KEY".into(), secret_key.into()));
        host.write_host_file(&format!("url = \"s3://{bucket}/lifeboat\"\nendpoint = \"{endpoint}\""), "");
        host
    }

    /// Writes lifeboat.toml anew; `store` stands in its section, `more` behind it.
    pub fn write_host_file(&self, store: &str, more: &str) {
        fs::create_dir_all(self.path("etc/tenants")).unwrap();
        let state = self.path("state");
        let text =
            format!("host = \"h1\"\nstate_dir = \"{}\"\n\n[store]\n{store}\n\n{more}\n", state.display());
        fs::write(self.path("etc/lifeboat.toml"), text).unwrap();
    }

    /// Returns a path within the host's root: `etc`, `state`, `store`, `kit.txt`.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    /// Returns the recovery kit's path.
    pub fn kit(&self) -> PathBuf {
        self.path("kit.txt")
    }

    /// Writes the file of a tenant with all six components.
    pub fn add_tenant(&self, name: &str, tenant: &TestTenant) {
        self.write_tenant_file(name, &tenant_file(tenant));
    }

    /// Writes a tenant's file.
    pub fn write_tenant_file(&self, name: &str, text: &str) {
        fs::write(self.path("etc/tenants").join(format!("{name}.toml")), text).unwrap();
    }

    /// Runs `init`, then confirms the kit; `drills` is `here`, `elsewhere` or `unlocked`.
    #[track_caller]
    pub fn init(&self, drills: &str) {
        let kit = self.kit();
        self.run(&["init", "--non-interactive", "--kit", kit.to_str().unwrap(), "--drills", drills])
            .expect(0);
        self.run(&["keys", "confirm", "--kit", kit.to_str().unwrap()]).expect(0);
    }

    /// Returns the binary with this host's configuration and environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.path("etc")).args(args);
        command.envs(self.environment.iter().map(|(k, v)| (k, v))).env_remove("LIFEBOAT_LOG");
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Runs the binary with the recovery kit as identity.
    pub fn run_unlocked(&self, args: &[&str]) -> Said {
        let kit = self.kit();
        let mut all = args.to_vec();
        all.extend(["--identity", kit.to_str().unwrap()]);
        self.run(&all)
    }

    /// Moves configuration and state away, as if the host were lost; bucket and kit remain.
    pub fn lose(&self) {
        fs::rename(self.path("etc"), self.path("lost-etc")).unwrap();
        fs::rename(self.path("state"), self.path("lost-state")).unwrap();
    }

    /// Returns the bytes of all files below a folder of the host.
    pub fn bytes_below(&self, below: &str) -> u64 {
        fn sum(path: &Path) -> u64 {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries
                .map(|e| if e.path().is_dir() { sum(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) })
                .sum()
        }
        sum(&self.path(below))
    }
}

/// Returns what a finished run said.
pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Returns a tenant's file with all six components.
pub fn tenant_file(tenant: &TestTenant) -> String {
    let host = tenant.host_dir();
    let c = |part: &str| tenant.container(part);
    format!(
        "site = \"{site}\"\n\n[database]\ncontainer = \"{db}\"\n\n[redis_cache]\ncontainer = \"{cache}\"\n\n\
         [redis_queue]\ncontainer = \"{queue}\"\n\n[files]\ncontainer = \"{app}\"\npath = \"{sites}\"\n\n\
         [config]\ncompose = [\"{host}/compose.yaml\"]\n\n[certs]\npaths = [\"{host}/certs\"]\n\n[app]\n\
         containers = [\"{app}\"]\n",
        site = tenant.site(),
        db = c("db"),
        cache = c("redis-cache"),
        queue = c("redis-queue"),
        app = c("app-double"),
        sites = tenant.sites_path(),
        host = host.display(),
    )
}
