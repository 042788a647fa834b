//! A tenant is brought to the size that its file states, and back; a backup from its replica is equal.

use std::fs;

use super::{Scene, assert_whole};
use crate::support::cli::docker;

impl Scene {
    /// Replaces the size in the tenant's file.
    fn state_size(&self, size: &str) {
        let path = self.host.path("etc/tenants").join(format!("{}.toml", self.tenant));
        let text = fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once("[size]\n").unwrap();
        let tail = rest.find("\n[").map_or("", |at| &rest[at..]);
        fs::write(path, format!("{head}[size]\n{size}\n{tail}")).unwrap();
    }

    /// Returns the state and the reason of a check of the tenant's health.
    fn check(&self, area: &str, name: &str) -> (String, String) {
        let said = self.host.run(&["health", &self.tenant, "--json"]);
        let report = &said.json()[0];
        let checks = report["tenants"][0]["checks"].as_array().unwrap();
        let found = checks.iter().find(|c| c["area"] == area && c["name"] == name);
        let found = found.unwrap_or_else(|| panic!("{area} {name} is not among {checks:#?}"));
        let text = |key: &str| found[key].as_str().unwrap().to_owned();
        (text("state"), text("reason"))
    }

    #[track_caller]
    fn expect_replica(&self, state: &str, says: &str) {
        let (found, reason) = self.check("database", "replica");
        assert!(found == state && reason.contains(says), "{found}: {reason}");
    }

    /// Says from which server backups are taken.
    fn take_from(&self, server: &str) {
        let path = self.host.path("etc/tenants").join(format!("{}.toml", self.tenant));
        let text = fs::read_to_string(&path).unwrap();
        let (head, rest) = text.split_once("[database]\ncontainer = ").unwrap();
        let tail = &rest[rest.find('\n').unwrap()..];
        let container = self.container(server);
        fs::write(path, format!("{head}[database]\ncontainer = \"{container}\"{tail}")).unwrap();
    }

    /// Returns the digest of all that a server holds of the site.
    fn digest(&self, server: &str) -> String {
        let database = self.sql("SELECT DATABASE()")[0][0].clone();
        let script = "MYSQL_PWD=$(cat /run/secrets/db-root-password) mariadb-dump --user=root --single-transaction --hex-blob \
                      --skip-comments --order-by-primary \"$1\" >/tmp/d && sha256sum </tmp/d && rm /tmp/d";
        docker(&["exec", "-u", "0", &self.container(server), "sh", "-ec", script, "sh", &database])
    }

    /// Runs SQL on a server as its administrator.
    fn administer(&self, server: &str, sql: &str) -> String {
        let script =
            "MYSQL_PWD=$(cat /run/secrets/db-root-password) mariadb --user=root --batch -N --execute=\"$1\"";
        docker(&["exec", "-u", "0", &self.container(server), "sh", "-ec", script, "sh", sql])
    }

    /// Backs up from the replica: what it holds is what the first server holds, and a restore of it is equal.
    fn back_up_from_replica(&self) {
        self.take_from("db-replica");
        // Nobody writes while both are compared.
        let writers: Vec<String> =
            ["scheduler", "queue-short", "queue-long", "queue-short-2", "queue-long-2"]
                .map(|part| self.container(part))
                .into();
        for writer in &writers {
            docker(&["stop", writer]);
        }
        let position = self.administer("db", "SELECT @@global.gtid_binlog_pos");
        let waited = self.administer("db-replica", &format!("SELECT MASTER_GTID_WAIT('{position}', 120)"));
        assert_eq!(waited, "0", "the replica does not reach {position}");
        assert_eq!(self.digest("db-replica"), self.digest("db"));
        self.host.run(&["backup", &self.tenant]).expect(0);
        for writer in &writers {
            docker(&["start", writer]);
        }
        // Loaded into a fresh server and dumped again: equal.
        let drilled = self.host.run(&["drill", &self.tenant]).expect(0);
        assert!(drilled.out.contains("L3") || drilled.out.contains("L4"), "{}", drilled.out);
        // That it takes no writes is what a replica is for.
        assert_eq!(self.check("database", "innodb").0, "ok");
        assert_eq!(self.check("backups", "age").0, "ok");
    }

    /// A replica that stands still is named with its cause, and no backup is made of it.
    fn break_replica(&self) {
        self.administer("db-replica", "STOP SLAVE SQL_THREAD");
        self.expect_replica("failed", "applying No");
        let refused = self.host.run(&["backup", &self.tenant]);
        assert!(refused.code != 0 && format!("{refused:?}").contains("does not follow"), "{refused:?}");
        self.administer("db-replica", "START SLAVE");
        self.take_from("db");
        self.host.run(&["backup", &self.tenant]).expect(0);
    }

    /// Returns the groups that are bound to the tenant's application.
    fn bound(&self) -> Vec<String> {
        let groups = self.authentik.rows("core/groups");
        let name = |pk: &serde_json::Value| {
            let found = groups.iter().find(|g| g["pk"] == *pk);
            found.unwrap_or_else(|| panic!("{pk} is no group"))["name"].as_str().unwrap().to_owned()
        };
        let mut all: Vec<String> =
            self.authentik.rows("policies/bindings").iter().map(|b| name(&b["group"])).collect();
        all.sort();
        all
    }

    /// A group that is no longer listed is unbound where Lifeboat bound it, and nowhere else.
    fn groups_come_and_go(&self) {
        for group in ["staff", "former", "guests"] {
            let body = serde_json::json!({ "name": group });
            assert_eq!(self.authentik.call("POST", "core/groups/", Some(&body)).0, 201);
        }
        let path = self.host.path("etc/tenants").join(format!("{}.toml", self.tenant));
        let text = fs::read_to_string(&path).unwrap();
        let list = |groups: &str| fs::write(&path, format!("{text}\n[sso]\ngroups = [{groups}]\n")).unwrap();
        list("\"staff\", \"former\"");
        self.run(&["--apply"]).expect(0);
        assert_eq!(self.bound(), ["former", "staff"]);
        let of = |rows: Vec<serde_json::Value>, key: &str, is: &str| {
            rows.into_iter().find(|r| r[key] == is).unwrap()["pk"].clone()
        };
        let body = serde_json::json!({
            "target": self.authentik.rows("core/applications")[0]["pk"],
            "group": of(self.authentik.rows("core/groups"), "name", "guests"),
            "order": 1,
            "enabled": true,
        });
        assert_eq!(self.authentik.call("POST", "policies/bindings/", Some(&body)).0, 201);
        list("\"staff\"");
        let said = self.run(&["--apply"]).expect(0);
        assert_eq!(self.bound(), ["guests", "staff"], "{said:?}");
        let writes = self.authentik.writes();
        self.run(&["--apply"]).expect(0);
        assert_eq!(self.authentik.writes(), writes, "twice changes nothing");
        fs::write(&path, text).unwrap();
        self.run(&["--apply"]).expect(0);
        assert_eq!(self.bound(), ["guests"]);
    }

    fn limit(&self, part: &str, field: &str) -> String {
        docker(&["inspect", "-f", &format!("{{{{.HostConfig.{field}}}}}"), &self.container(part)])
    }
}

#[test]
fn a_tenant_grows_to_two_workers_and_a_replica_and_back() {
    let scene = Scene::new("sizes");
    scene.run(&[]).expect(0);
    let small = scene.running();
    scene.state_size(
        "workers = 2\nqueue_workers = 2\napp_memory = \"512MiB\"\ndb_memory = \"768MiB\"\nreplica = true",
    );
    scene.run(&["--apply"]).expect(0);
    for part in ["backend-2", "frontend-2", "queue-short-2", "queue-long-2", "db-replica"] {
        assert!(scene.running().contains(&part.to_owned()), "{part}: {:?}", scene.running());
    }
    assert_eq!(scene.limit("backend", "Memory"), (512_u64 << 20).to_string());
    assert_eq!(scene.limit("db", "Memory"), (768_u64 << 20).to_string());
    let grown = scene.picture();
    scene.run(&["--apply"]).expect(0);
    assert_eq!(scene.picture(), grown, "twice changes nothing");
    scene.expect_replica("ok", "follows");
    scene.back_up_from_replica();
    scene.break_replica();

    scene.groups_come_and_go();

    scene.state_size("app_memory = \"256MiB\"\ndb_memory = \"512MiB\"");
    scene.run(&["--apply"]).expect(0);
    assert_eq!(scene.running(), small);
    assert_whole(&scene);
}
