//! A tenant with a view, a trigger and a procedure, backed up and then changed in every component.

use std::collections::BTreeMap;
use std::fs;

use crate::support::cli::{docker, shell, try_docker};
use crate::support::host::{Said, TestHost};
use crate::support::tenant::TestTenant;

/// Every job and queue with the hash of what it holds, in an order that does not depend on the server's hashing.
const JOBS: &str = "local names = redis.call('KEYS', 'rq:*') table.sort(names) local said = ''
    for _, name in ipairs(names) do
      local kind, held = redis.call('TYPE', name).ok, {}
      if kind == 'hash' then
        local all = redis.call('HGETALL', name)
        for i = 1, #all, 2 do held[#held + 1] = all[i] .. '=' .. all[i + 1] end
        table.sort(held)
      elseif kind == 'list' then held = redis.call('LRANGE', name, 0, -1)
      elseif kind == 'zset' then held = redis.call('ZRANGE', name, 0, -1, 'WITHSCORES')
      elseif kind == 'set' then held = redis.call('SMEMBERS', name) table.sort(held)
      else held = { redis.call('GET', name) } end
      said = said .. name .. ' ' .. kind .. ' ' .. redis.sha1hex(table.concat(held, '|')) .. '\\n'
    end
    return said";

/// What of a tenant a restore changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    /// The database that the site uses, as text that is the same whenever the data is, its name apart.
    pub dump: String,
    /// The name of that database.
    pub database: String,
    /// The site's files with their hashes, without the logs, which no backup keeps.
    pub files: BTreeMap<String, String>,
    /// Jobs with their hashes.
    pub queue: String,
    /// Files on the host.
    pub env: String,
    /// Names of accounts, and what they may do.
    pub accounts: String,
}

impl Picture {
    /// Fails the test where another differs in anything.
    #[track_caller]
    pub fn compare(&self, other: &Picture, when: &str) {
        // One after the other: two whole dumps would fill the screen.
        same(&self.dump, &other.dump, when);
        assert_eq!(self.database, other.database, "{when}");
        assert_eq!(self.files, other.files, "{when}");
        assert_eq!(self.queue, other.queue, "{when}");
        assert_eq!(self.env, other.env, "{when}");
        assert_eq!(self.accounts, other.accounts, "{when}");
    }
}

/// A tenant, a host, a snapshot, and what it held.
pub struct Scene {
    pub tenant: TestTenant,
    pub host: TestHost,
    /// The snapshot that is restored.
    pub snapshot: String,
    pub backed_up: Picture,
}

impl Scene {
    pub fn new(name: &str) -> Scene {
        let tenant = TestTenant::start(name);
        tenant.create_sample();
        let db = tenant.db_name().to_owned();
        tenant.sql(&format!(
            "CREATE TABLE trg (a INT PRIMARY KEY AUTO_INCREMENT, b INT);
             CREATE TABLE log (a INT);
             CREATE TRIGGER t BEFORE INSERT ON trg FOR EACH ROW SET NEW.b = 1;
             INSERT INTO trg VALUES (7, 0);
             CREATE DEFINER='{db}'@'%' VIEW v AS SELECT a FROM trg;
             CREATE TRIGGER t_named AFTER DELETE ON trg FOR EACH ROW INSERT INTO `{db}`.log VALUES (OLD.a);
             CREATE PROCEDURE p() DELETE FROM log"
        ));
        let host = TestHost::with_folder();
        host.add_tenant("t", &tenant);
        host.init("here");
        host.run(&["backup", "t"]).expect(0);
        let listed = host.run(&["snapshots", "t", "--json"]).expect(0).json();
        let snapshot = listed[0]["snapshots"][0]["snapshot"].as_str().unwrap().to_owned();
        let backed_up = picture(&tenant);
        let scene = Scene { tenant, host, snapshot, backed_up };
        scene.change("first");
        scene
    }

    /// Changes every component, so that old and new differ in each.
    pub fn change(&self, what: &str) {
        let db = database(&self.tenant);
        ask(
            &self.tenant,
            &format!(
                "INSERT INTO `{db}`.trg (b) VALUES (8); DROP TABLE IF EXISTS `{db}`.`only_{what}`;
             CREATE TABLE `{db}`.`only_{what}` (a INT); INSERT INTO `{db}`.`only_{what}` VALUES (1)"
            ),
        );
        let app = self.tenant.container("app-double");
        let site = self.tenant.site_path();
        shell(
            &app,
            &format!(
                "echo {what} > '{site}/public/files/{what}.txt' && chown 1000:1000 '{site}/public/files/{what}.txt'"
            ),
        );
        self.tenant.redis("redis-queue", &["RPUSH", &format!("rq:queue:{what}"), "job"]);
        let env = self.env();
        let text = fs::read_to_string(&env).unwrap();
        fs::write(&env, format!("{text}# {what}\n")).unwrap();
    }

    fn env(&self) -> std::path::PathBuf {
        self.tenant.host_dir().join("compose.yaml")
    }

    /// Takes a snapshot, which must be whole; that tables went with the restore may be found suspicious.
    #[track_caller]
    pub fn backup(&self) {
        let said = self.host.run(&["backup", "t", "--json"]);
        assert!(said.code == 0 || said.code == 4, "{}: {}{}", said.code, said.out, said.err);
        assert!(said.json().iter().any(|line| line["whole"] == true), "{}", said.out);
    }

    /// Restores the snapshot in place, all of it, the queue too.
    pub fn restore(&self, more: &[&str]) -> Said {
        self.host.run_unlocked(&[&self.arguments()[..], more].concat())
    }

    pub fn arguments(&self) -> [&str; 7] {
        ["restore", "t", "--snapshot", &self.snapshot, "--with-queue", "--yes-overwrite", "t"]
    }

    pub fn picture(&self) -> Picture {
        picture(&self.tenant)
    }

    /// Fails the test unless the tenant is the one of the snapshot, under whatever database name, and its site can log in.
    #[track_caller]
    pub fn is_as_backed_up(&self) {
        let (mut now, mut then) = (self.picture(), picture_again(&self.backed_up));
        same(&then.dump, &now.dump, "as backed up");
        // A restore writes the site's configuration anew.
        assert!(
            now.files.remove("./site_config.json").is_some()
                && then.files.remove("./site_config.json").is_some()
        );
        assert_eq!(now.files, then.files);
        assert_eq!((now.queue, now.env), (then.queue, then.env));
        assert_eq!(self.sites_rows(), "7\t1");
        assert!(self.runs(), "its application does not run");
    }

    /// Fails the test unless the site's database is that of the snapshot, and the site can log in.
    #[track_caller]
    pub fn has_the_rows_backed_up(&self) {
        same(&self.backed_up.dump, &self.picture().dump, "as backed up");
        assert_eq!(self.sites_rows(), "7\t1");
    }

    /// Asks the database as the site does, with its own account.
    pub fn sites_rows(&self) -> String {
        let config = config(&self.tenant);
        let get = |key: &str| config[key].as_str().map(str::to_owned);
        let database = get("db_name").unwrap();
        let user = get("db_user").unwrap_or_else(|| database.clone());
        let auth = format!("MYSQL_PWD={}", get("db_password").unwrap());
        let db = self.tenant.container("db");
        let ask = ["exec", "-e", &auth, &db, "mariadb", "-u", &user, "-NB", &database, "-e"];
        try_docker(&[&ask[..], &["SELECT a, b FROM trg"]].concat()).unwrap().trim().to_owned()
    }

    pub fn runs(&self) -> bool {
        docker(&["inspect", "-f", "{{.State.Running}}", &self.tenant.container("app-double")]) == "true"
    }

    /// Returns the databases on the server that are the tenant's.
    pub fn databases(&self) -> Vec<String> {
        let all = ask(&self.tenant, "SHOW DATABASES");
        all.lines().filter(|d| d.starts_with(self.tenant.db_name())).map(str::to_owned).collect()
    }

    /// Returns what a restore leaves beside the tenant: folders, files, the journal.
    pub fn leftovers(&self) -> Vec<String> {
        let sites = self.tenant.sites_path();
        let find = format!(
            "find {sites} \\( -name '.lifeboat-*' -o -name '*.before-*' \\); ls -A {sites} | grep before- || true"
        );
        let mut all: Vec<String> =
            shell(&self.tenant.container("app-double"), &find).lines().map(str::to_owned).collect();
        let queue = shell(&self.tenant.container("redis-queue"), "ls -A /data");
        all.extend(
            queue.lines().filter(|n| n.contains("before-") || n.contains("lifeboat")).map(str::to_owned),
        );
        let host = fs::read_dir(self.tenant.host_dir()).unwrap().flatten();
        all.extend(
            host.map(|e| e.file_name().into_string().unwrap()).filter(|n| n.starts_with(".lifeboat-")),
        );
        if self.journal().exists() {
            all.push("the journal".to_owned());
        }
        all
    }

    #[track_caller]
    pub fn nothing_is_left(&self, old: &Picture) {
        assert_eq!(self.databases(), std::slice::from_ref(&old.database));
        assert_eq!(self.leftovers(), Vec::<String>::new());
        assert!(self.runs());
    }

    pub fn journal(&self) -> std::path::PathBuf {
        self.host.path("state/tenants/t/restore.jsonl")
    }

    /// Returns the journal's lines; none where there is no journal.
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.journal()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Asks as root, in no database: the tenant's first one may be gone.
fn ask(tenant: &TestTenant, query: &str) -> String {
    let auth = format!("MYSQL_PWD={}", tenant.get("db_root_password"));
    docker(&["exec", "-e", &auth, &tenant.container("db"), "mariadb", "-uroot", "-NB", "-e", query])
}

/// Fails the test with the first lines that differ: two whole dumps would fill the screen.
#[track_caller]
fn same(one: &str, other: &str, when: &str) {
    if one == other {
        return;
    }
    let differ = one.lines().zip(other.lines()).filter(|(a, b)| a != b).take(3);
    let differ: Vec<String> = differ.map(|(a, b)| format!("{a:.300}\n{b:.300}")).collect();
    panic!(
        "{when}: the databases differ, {} lines and {}:\n{}",
        one.lines().count(),
        other.lines().count(),
        differ.join("\n")
    );
}

fn picture_again(p: &Picture) -> Picture {
    let Picture { dump, database, files, queue, env, accounts } = p;
    Picture {
        dump: dump.clone(),
        database: database.clone(),
        files: files.clone(),
        queue: queue.clone(),
        env: env.clone(),
        accounts: accounts.clone(),
    }
}

fn config(tenant: &TestTenant) -> serde_json::Value {
    // Without its container, which a restore may have stopped.
    let volume =
        docker(&["inspect", "-f", "{{range .Mounts}}{{.Source}}{{end}}", &tenant.container("app-double")]);
    let path = format!("{}/{}/site_config.json", volume.trim(), tenant.site());
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn database(tenant: &TestTenant) -> String {
    config(tenant)["db_name"].as_str().unwrap().to_owned()
}

fn picture(tenant: &TestTenant) -> Picture {
    let database = database(tenant);
    let auth = format!("MYSQL_PWD={}", tenant.get("db_root_password"));
    let flags = [
        "--single-transaction",
        "--order-by-primary",
        "--skip-dump-date",
        "--hex-blob",
        "--routines",
        "--triggers",
    ];
    let db = tenant.container("db");
    let dumping = ["exec", "-e", &auth, &db, "mariadb-dump", "-uroot"];
    let dump = docker(&[&dumping[..], &flags[..], &[&database]].concat());
    let dump = dump.lines().filter(|l| !l.starts_with("-- Host:")).collect::<Vec<_>>().join("\n");
    let dump = dump.replace(&database, tenant.db_name());
    let mut files = tenant.files();
    files.retain(|path, _| !path.starts_with("./logs/"));
    let queue = tenant.redis("redis-queue", &["EVAL", JOBS, "0"]);
    let accounts = ask(
        tenant,
        "SELECT User, Host, Password FROM mysql.user WHERE User LIKE '\\\\_%' ORDER BY 1, 2;
         SELECT User, Host, Db FROM mysql.db WHERE User LIKE '\\\\_%' ORDER BY 1, 2, 3",
    );
    let env = fs::read_to_string(tenant.host_dir().join("compose.yaml")).unwrap();
    Picture { dump, database, files, queue, env, accounts }
}
