//! A run of the binary that a test watches, signals or kills, and what every run must keep to.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::host::{Said, TestHost};
use super::tenant::TestTenant;

/// A run that goes on; killed when dropped.
pub struct Running {
    child: Child,
    /// Its output lies in files, so that no full pipe holds it up.
    folder: tempfile::TempDir,
}

impl TestHost {
    /// Starts the binary.
    pub fn start(&self, args: &[&str]) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Running { child: command.spawn().unwrap(), folder }
    }

    /// Starts the binary with the recovery kit as identity.
    pub fn start_unlocked(&self, args: &[&str]) -> Running {
        let kit = self.kit();
        self.start(&[args, &["--identity", kit.to_str().unwrap()]].concat())
    }
}

impl Running {
    /// Tells whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Returns what it has printed until now.
    pub fn out(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default()
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            kill_process(Pid::from_child(&self.child), signal).unwrap();
        }
    }

    /// Waits for its end; a signal that ended it counts as 128 + n, as in a shell.
    pub fn wait(mut self) -> Said {
        let status = self.child.wait().unwrap();
        let text = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        let code = status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap();
        Said { code, out: text("out"), err: text("err") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Said {
    /// Fails the test where the run panicked or showed a secret of the tenant.
    #[track_caller]
    pub fn clean(self, tenant: &TestTenant) -> Said {
        let said = format!("{}\n{}", self.out, self.err);
        assert!(!said.contains("panicked at"), "{said}");
        let secrets = [
            "db_password",
            "db_root_password",
            "redis_cache_password",
            "redis_queue_password",
            "encryption_key",
        ];
        for secret in secrets {
            assert!(!said.contains(tenant.get(secret)), "{secret} is shown:\n{said}");
        }
        assert!(!said.contains("AGE-SECRET-KEY-"), "an identity is shown:\n{said}");
        self
    }

    /// Fails the test unless standard output and error together contain all of these.
    #[track_caller]
    pub fn says(self, wanted: &[&str]) -> Said {
        for text in wanted {
            let found = self.out.contains(text) || self.err.contains(text);
            assert!(found, "{text:?} lacks\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }
}
