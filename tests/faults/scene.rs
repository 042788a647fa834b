//! A tenant with a host, a large table, and a lock that holds a dump up right before its end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::support::cli::{docker, try_docker, wait_until};
use crate::support::host::{Said, TestHost};
use crate::support::tenant::TestTenant;

/// A dump's bytes of [`Scene::grow`] reach the store as a pack and a part of one more.
pub const GROWN_ROWS: u32 = 30_000;

/// A dump that is larger than 10 MB and takes a moment.
pub const SOME_ROWS: u32 = 9_000;

/// A tenant of a host, with one whole snapshot.
pub struct Scene {
    /// The tenant's name on the host.
    pub name: String,
    pub tenant: TestTenant,
    pub host: TestHost,
}

impl Scene {
    /// Starts a tenant, `t` on its host, and makes a first snapshot of it, in a folder.
    pub fn start(name: &str) -> Scene {
        let scene = Scene::prepare(name, "t", TestHost::with_folder());
        scene.enter();
        scene
    }

    /// Starts a tenant with the sample's data, which a host is to know under a name.
    pub fn prepare(project: &str, name: &str, host: TestHost) -> Scene {
        let tenant = TestTenant::start(project);
        tenant.create_sample();
        Scene { name: name.to_owned(), tenant, host }
    }

    /// Adds the tenant to the host, makes the repository and a first snapshot.
    pub fn enter(&self) {
        self.host.add_tenant(&self.name, &self.tenant);
        self.host.init("here");
        self.backup(0);
    }

    /// Runs a backup that must end with this code, and show neither a panic nor a secret.
    #[track_caller]
    pub fn backup(&self, code: i32) -> Said {
        self.host.run(&["backup", &self.name]).expect(code).clean(&self.tenant)
    }

    /// Returns the container of the database.
    pub fn db(&self) -> String {
        self.tenant.container("db")
    }

    /// Returns id and state of each snapshot, the oldest first.
    pub fn snapshots(&self) -> Vec<(String, bool)> {
        let listed = self.host.run(&["snapshots", &self.name, "--json"]).expect(0).json();
        let one = |s: &serde_json::Value| {
            (s["snapshot"].as_str().unwrap().to_owned(), s["whole"].as_bool().unwrap())
        };
        listed[0]["snapshots"].as_array().unwrap().iter().map(one).collect()
    }

    /// Returns the components of the newest snapshot: name, state, number of streams in the manifest.
    pub fn newest(&self) -> Vec<(String, String, usize)> {
        let id = self.snapshots().pop().unwrap().0;
        let shown = self.host.run_unlocked(&["show", &self.name, &id, "--json"]).expect(0).json();
        let one = |c: &serde_json::Value| {
            let streams = c["streams"].as_array().unwrap().len();
            let text = |key: &str| c[key].as_str().unwrap().to_owned();
            (text("component"), text("state"), streams)
        };
        shown[0]["components"].as_array().unwrap().iter().map(one).collect()
    }

    /// Fails the test unless the newest snapshot has no database at all, and everything else whole.
    #[track_caller]
    pub fn only_the_database_lacks(&self) {
        for (component, state, streams) in self.newest() {
            match component.as_str() {
                "database" => assert_eq!((state.as_str(), streams), ("failed", 0)),
                _ => {
                    assert!(state == "whole" && streams > 0, "{component} is {state} with {streams} streams")
                }
            }
        }
    }

    /// Makes the table `aa_bulk`, which a dump writes first and which does not compress, and `zz`, its last.
    pub fn grow(&self, rows: u32) {
        self.tenant.sql(&format!(
            "CREATE TABLE aa_bulk (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB;
             INSERT INTO aa_bulk SELECT seq, TO_BASE64(RANDOM_BYTES(1000)) FROM seq_1_to_{rows};
             CREATE TABLE zz (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO zz VALUES (1)"
        ));
    }

    /// Returns how many dumps run in the database's container.
    pub fn dumps(&self) -> usize {
        let listed = try_docker(&["top", &self.db(), "-eo", "pid,args"]).unwrap_or_default();
        listed.lines().filter(|l| l.contains("bin/mariadb-dump --user")).count()
    }

    /// Waits until no dump runs in the database's container.
    pub fn dumps_end(&self) {
        wait_until("no dump runs in the container", Duration::from_secs(60), || self.dumps() == 0);
    }

    /// Fails the test where a file lies in a folder of the host, such as the store's for temporary files.
    #[track_caller]
    pub fn empty(&self, folder: &str) {
        let there: Vec<_> =
            std::fs::read_dir(self.host.path(folder)).into_iter().flatten().flatten().collect();
        assert!(there.is_empty(), "{folder} holds {there:?}");
    }

    /// Verifies all snapshots: every byte of the store, then every stream.
    #[track_caller]
    pub fn verified(&self) {
        self.host.run(&["check", "--read-data"]).expect(0).clean(&self.tenant);
        self.host.run_unlocked(&["check"]).expect(0).clean(&self.tenant);
    }
}

/// Holds the table `zz` so that nobody reads it, until dropped: a dump stands still before its end.
pub struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Held {
    pub fn table(tenant: &TestTenant) -> Held {
        let auth = format!("MYSQL_PWD={}", tenant.get("db_root_password"));
        let mut child = Command::new("docker")
            .args(["exec", "-i", "-e", &auth, &tenant.container("db")])
            .args(["mariadb", "-uroot", "-NB", "--unbuffered", tenant.db_name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "LOCK TABLES zz WRITE; SELECT 'held';").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "held");
        Held { child, stdin: Some(stdin) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.child.wait().ok();
    }
}

/// Returns the SQL thread of the dump that waits for the table `zz`, if there is one.
pub fn waiting_dump(tenant: &TestTenant) -> Option<String> {
    let found = tenant.sql(
        "SELECT ID FROM information_schema.PROCESSLIST
         WHERE INFO LIKE 'SELECT /*!40001 SQL_NO_CACHE */%`zz`%' AND STATE LIKE 'Waiting%'",
    );
    found.lines().next().map(str::to_owned)
}

/// Starts a container that was killed, and waits until its server answers.
pub fn start_again(tenant: &TestTenant) {
    let (db, auth) = (tenant.container("db"), format!("MYSQL_PWD={}", tenant.get("db_root_password")));
    docker(&["start", &db]);
    wait_until("the database answers", Duration::from_secs(90), || {
        try_docker(&["exec", "-e", &auth, &db, "mariadb", "-uroot", "-e", "SELECT 1"]).is_ok()
    });
}
