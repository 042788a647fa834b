//! A whole tenant in Docker: MariaDB, two Redis with passwords and AOF, an app double with the bench's folder `sites`.
//!
//! Made by the scripts in `deploy/sample`, as the demo's tenants are.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cli::{docker, docker_reading, labels, shell, try_docker, unique, wait_until};
use super::shared;

/// A tenant that is removed, whatever was made again under its names too, when the test ends.
#[derive(Debug)]
pub struct TestTenant {
    /// Every name and password, by the keys of `tenant.json`.
    names: BTreeMap<String, String>,
    /// What `deploy/sample/generate` wrote; `host/` in it is what lies on the Docker host.
    dir: tempfile::TempDir,
}

impl TestTenant {
    /// Starts a tenant whose database is there and empty, and whose site folder is filled.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[], &[])
    }

    /// The same; `generate` are options of `deploy/sample/generate`, `server` options of MariaDB.
    pub fn start_with(name: &str, generate: &[&str], server: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-test-").tempdir().unwrap();
        let project = unique(name);
        run(sample("generate")
            .arg(dir.path())
            .args(["--tenant", name, "--project", &project])
            .args(generate));
        let json = std::fs::read(dir.path().join("tenant.json")).unwrap();
        let names: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&json).unwrap();
        let text = |v: serde_json::Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let names = names.into_iter().map(|(k, v)| (k, text(v))).collect();
        // Before `up`, so that a half-made tenant goes too.
        let tenant = TestTenant { names, dir };
        run(sample("up").arg(tenant.dir.path()).args(labels()).arg("--").args(server));
        tenant
    }

    /// Starts the real site as it was at the end of `day` (1 to 3), queue included; none where its data is not there.
    pub fn real_site(name: &str, day: u8) -> Option<Self> {
        shared::erpnext()?;
        let options = ["--site", "erp.example.com", "--db-name", "_16c8d89b1150a4c8"];
        let tenant = Self::start_with(name, &options, &[]);
        tenant.load_day(day);
        tenant.load_queue(shared::unpacked("redis-queue-aof.tar.zst")?);
        Some(tenant)
    }

    /// Replaces database and files of the real site by those of another day.
    pub fn load_day(&self, day: u8) {
        let (db, there) = (self.db_name(), "`real_site` found the folder");
        self.sql(&format!("DROP DATABASE `{db}`; CREATE DATABASE `{db}`"));
        self.load_sql(shared::unpacked(&format!("day{day}.sql.zst")).expect(there));
        self.load_files(shared::unpacked(&format!("day{day}.files.tar.zst")).expect(there));
        // As where the site comes from, its account has the password that the site's configuration names.
        let config =
            shell(&self.container("app-double"), &format!("cat '{}/site_config.json'", self.site_path()));
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        let password = config["db_password"].as_str().unwrap();
        self.sql(&format!("ALTER USER '{db}'@'%' IDENTIFIED BY '{password}'"));
    }

    /// Loads the generated database, queue and cache.
    pub fn create_sample(&self) {
        self.load_sql(std::fs::File::open(self.dir.path().join("database.sql")).unwrap());
        for redis in ["redis-cache", "redis-queue"] {
            let commands = std::fs::File::open(self.dir.path().join(format!("{redis}.resp"))).unwrap();
            let auth = format!("REDISCLI_AUTH={}", self.redis_password(redis));
            let container = self.container(redis);
            docker_reading(&["exec", "-i", "-e", &auth, &container, "redis-cli", "--pipe"], commands)
                .unwrap();
        }
    }

    /// Returns one of the names of `tenant.json`: `project`, `site`, `db_name`, `db_password`, `encryption_key` ...
    pub fn get(&self, key: &str) -> &str {
        self.names.get(key).unwrap_or_else(|| panic!("tenant.json has no {key}"))
    }

    /// Returns the prefix of all its names in Docker.
    pub fn project(&self) -> &str {
        self.get("project")
    }

    /// Returns the container of `db`, `redis-cache`, `redis-queue` or `app-double`.
    pub fn container(&self, part: &str) -> String {
        format!("{}-{part}", self.project())
    }

    /// Returns the name of the site, which is that of its folder.
    pub fn site(&self) -> &str {
        self.get("site")
    }

    /// Returns the name of the database.
    pub fn db_name(&self) -> &str {
        self.get("db_name")
    }

    /// Returns the bench's folder `sites` in the app double.
    pub fn sites_path(&self) -> String {
        format!("{}/sites", self.get("bench"))
    }

    /// Returns the site's folder in the app double.
    pub fn site_path(&self) -> String {
        format!("{}/{}", self.sites_path(), self.site())
    }

    /// Returns the folder on the Docker host with compose file, `.env`, Traefik, DNS zone and certificates.
    pub fn host_dir(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    /// Returns the folder that the tenant was generated into.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Loads SQL into the tenant's database as root; fails the test on the first error.
    pub fn load_sql(&self, sql: impl Read + Send) {
        self.try_load_sql(sql).unwrap();
    }

    /// The same, for SQL that may fail.
    pub fn try_load_sql(&self, sql: impl Read + Send) -> Result<String, String> {
        let (auth, db) = (self.root_auth(), self.container("db"));
        docker_reading(&["exec", "-i", "-e", &auth, &db, "mariadb", "-uroot", self.db_name()], sql)
    }

    /// Runs a query in the tenant's database as root and returns its rows, tabs between the columns.
    pub fn sql(&self, query: &str) -> String {
        let (auth, db) = (self.root_auth(), self.container("db"));
        docker(&["exec", "-e", &auth, &db, "mariadb", "-uroot", "-NB", self.db_name(), "-e", query])
    }

    /// Dumps the database to text that is the same whenever the data is.
    pub fn dump(&self) -> String {
        let (auth, db) = (self.root_auth(), self.container("db"));
        let flags =
            ["--single-transaction", "--order-by-primary", "--skip-dump-date", "--hex-blob", "--routines"];
        let command = ["exec", "-e", &auth, &db, "mariadb-dump", "-uroot"];
        docker(&[&command[..], &flags[..], &[self.db_name()]].concat())
    }

    /// Runs a command on `redis-cache` or `redis-queue` and returns what `redis-cli` prints.
    pub fn redis(&self, which: &str, command: &[&str]) -> String {
        self.try_redis(which, command).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// The same, for a command that may fail.
    pub fn try_redis(&self, which: &str, command: &[&str]) -> Result<String, String> {
        let auth = format!("REDISCLI_AUTH={}", self.redis_password(which));
        let container = self.container(which);
        try_docker(&[&["exec", "-e", &auth, &container, "redis-cli"][..], command].concat())
    }

    /// Returns the password of `redis-cache` or `redis-queue`.
    pub fn redis_password(&self, which: &str) -> &str {
        self.get(&format!("{}_password", which.replace('-', "_")))
    }

    /// Replaces the site's folder by that in a tar, whose entries lie below the site's name.
    pub fn load_files(&self, tar: impl Read + Send) {
        let (app, sites) = (self.container("app-double"), self.sites_path());
        shell(&app, &format!("rm -rf '{}'", self.site_path()));
        docker_reading(&["exec", "-i", &app, "tar", "-C", &sites, "-x"], tar).unwrap();
        assert_eq!(shell(&app, &format!("ls '{}/site_config.json'", self.site_path())).lines().count(), 1);
    }

    /// Replaces what `redis-queue` holds by a tar of an `appendonlydir`.
    pub fn load_queue(&self, tar: impl Read + Send) {
        let queue = self.container("redis-queue");
        docker(&["stop", &queue]);
        let volume = format!("{queue}:/data");
        let script = "rm -rf /data/* && tar -C /data -x && chown -R redis:redis /data";
        let command =
            ["run", "--rm", "-i", "-v", &volume, "--entrypoint", "sh", "lifeboat-redis:dev", "-c", script];
        docker_reading(&command, tar).unwrap();
        docker(&["start", &queue]);
        let limit = std::time::Duration::from_secs(30);
        wait_until("the queue answers", limit, || {
            self.try_redis("redis-queue", &["PING"]).is_ok_and(|a| a == "PONG")
        });
    }

    /// Returns every file below the site's folder with its SHA-256, sorted.
    pub fn files(&self) -> BTreeMap<String, String> {
        let script =
            format!("cd '{}' && find . -type f -exec sha256sum -z {{}} + | tr '\\0' '\\n'", self.site_path());
        let listing = shell(&self.container("app-double"), &script);
        listing.lines().map(|l| (l[66..].to_owned(), l[..64].to_owned())).collect()
    }

    /// Removes containers, volumes and networks as a disaster would, leaving `dir` alone.
    pub fn wreck(&self) {
        run(sample("down").arg(self.project()));
    }

    /// Waits until the database, just started, answers.
    pub fn wait_for_database(&self) {
        let (auth, db) = (self.root_auth(), self.container("db"));
        let ask = ["exec", "-e", &auth, &db, "mariadb", "-uroot", "-e", "SELECT 1", self.db_name()];
        wait_until("the database answers", std::time::Duration::from_secs(60), || try_docker(&ask).is_ok());
    }

    fn root_auth(&self) -> String {
        format!("MYSQL_PWD={}", self.get("db_root_password"))
    }
}

impl Drop for TestTenant {
    fn drop(&mut self) {
        // A panic here would hide the test's own; `tests/run` sweeps the label anyway.
        sample("down").arg(self.project()).output().ok();
    }
}

fn sample(script: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sample").join(script))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}
