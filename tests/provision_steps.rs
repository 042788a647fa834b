//! `provision` on real containers with the app double: whole, twice, scaled, taken back, removed.

#![expect(clippy::unwrap_used, reason = "a test may end so")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use support::app::app_image;
use support::cli::{docker, left_behind, try_docker};
use support::host::TestHost;

/// A host that provisions, and all that it made of one tenant; gone with the test.
struct Bed {
    host: TestHost,
    tenant: String,
}

impl Bed {
    fn new(name: &str) -> Bed {
        let host = TestHost::with_folder();
        let projects = host.path("projects");
        let store = format!("url = \"file://{}\"", host.path("store").display());
        let platform = format!(
            "[platform]\nprojects_dir = \"{}\"\ncountry = \"Ireland\"\nlanguage = \"English\"\ntimezone = \"Europe/Dublin\"\n\
             currency = \"EUR\"\n[platform.images]\napp = \"{}\"\nmariadb = \"lifeboat-mariadb:dev\"\n\
             redis = \"lifeboat-redis:dev\"\n",
            projects.display(),
            app_image()
        );
        host.write_host_file(&store, &platform);
        host.init("unlocked");
        Bed { host, tenant: format!("{name}-{}", std::process::id()) }
    }

    fn domain(&self) -> String {
        format!("{}.example", self.tenant)
    }

    /// Writes what an operator says of the tenant before it is provisioned.
    fn write_wishes(&self, size: &str) {
        let text = format!(
            "domain = \"{}\"\n\n[size]\n{size}\napp_memory = \"256MiB\"\ndb_memory = \"512MiB\"\n\n[setup]\n\
             company = \"Acme Tools\"\nemail = \"ann@acme.example\"\nfull_name = \"Ann Acme\"\n",
            self.domain()
        );
        self.host.write_tenant_file(&self.tenant, &text);
        // Which tenants a host may back up is the operators' to say, by the recovery kit.
        self.host.run(&["keys", "certify", "--kit", self.host.kit().to_str().unwrap()]).expect(0);
    }

    /// Changes the size in the tenant's file, as an operator would.
    fn resize(&self, from: &str, to: &str) {
        let path = self.tenant_file();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }

    fn tenant_file(&self) -> PathBuf {
        self.host.path("etc/tenants").join(format!("{}.toml", self.tenant))
    }

    fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.tenant)
    }

    fn sql(&self, service: &str, query: &str) -> String {
        let script = "MYSQL_PWD=$(cat /run/secrets/db-root-password) exec mariadb -uroot -NB -e \"$0\"";
        docker(&["exec", &self.container(service), "sh", "-c", script, query])
    }

    /// Returns how often each container was made and started: what any change would change.
    fn fingerprint(&self) -> String {
        let names = left_behind(&self.tenant);
        let mut all = Vec::new();
        for name in names {
            let format = "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.HostConfig.Memory}}";
            all.push(try_docker(&["container", "inspect", "--format", format, &name]).unwrap_or(name));
        }
        all.join("\n")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let filter = format!("name=^{}[-_]", self.tenant);
        let found = try_docker(&["ps", "-aq", "--filter", &filter]).unwrap_or_default();
        let mut remove = vec!["rm", "-fv"];
        remove.extend(found.lines());
        try_docker(&remove).ok();
        for name in left_behind(&self.tenant) {
            try_docker(&["volume", "rm", "-f", &name]).ok();
            try_docker(&["network", "rm", &name]).ok();
        }
    }
}

#[test]
fn a_tenant_is_made_whole_a_second_call_changes_nothing_and_it_is_removed_behind_a_snapshot() {
    let bed = Bed::new("whole");
    bed.write_wishes("workers = 1");
    let planned = bed.host.run(&["provision", &bed.tenant, "--dry-run"]).expect(0);
    assert!(planned.out.contains("secrets") && planned.out.contains("[database]"), "{}", planned.out);
    assert!(left_behind(&bed.tenant).is_empty(), "a plan made something");
    assert_eq!(bed.host.path("state/provision").read_dir().unwrap().count(), 0, "a plan left a journal");

    let made = bed.host.run(&["provision", &bed.tenant, &bed.domain(), "--json"]).expect(0);
    assert!(made.out.contains("\"verified\":true"), "{}", made.out);
    let file = std::fs::read_to_string(bed.tenant_file()).unwrap();
    assert!(file.starts_with("domain = ") && file.contains("[redis_queue]"), "{file}");
    no_secret_is_seen(&bed);

    let before = bed.fingerprint();
    let again = bed.host.run(&["provision", &bed.tenant]).expect(0);
    assert!(again.out.contains("Nothing was to be done."), "{}", again.out);
    assert_eq!(bed.fingerprint(), before);
    bed.host.run(&["provision", &bed.tenant, "--rollback"]).expect(1);

    the_compose_file_says_what_runs(&bed);

    let refused = bed.host.run(&["deprovision", &bed.tenant]).expect(2);
    assert!(refused.err.contains("--yes-remove"), "{}", refused.err);
    let removed = bed.host.run(&["deprovision", &bed.tenant, "--yes-remove", &bed.tenant]).expect(0);
    assert!(removed.out.contains("verified to L1"), "{}", removed.out);
    assert_eq!(left_behind(&bed.tenant), Vec::<String>::new());
    assert!(!bed.host.path("projects").join(&bed.tenant).exists());
    let snapshots = bed.host.run(&["snapshots", "--json"]).expect(0);
    assert_eq!(snapshots.out.matches("\"whole\":true").count(), 2, "{}", snapshots.out);

    let from = ["provision", &bed.tenant, &bed.domain(), "--from", "latest"];
    bed.host.run_unlocked(&from).expect(0);
    let companies =
        bed.sql("db", "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'tabCompany'");
    assert_eq!(companies, "1", "the site is not back");
}

/// No password stands where `docker inspect` or the project's other files show it, and none is readable by others.
fn no_secret_is_seen(bed: &Bed) {
    let folder = bed.host.path("projects").join(&bed.tenant);
    let secrets = folder.join("secrets");
    assert_eq!(secrets.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let mut shown = std::fs::read_to_string(folder.join("compose.yaml")).unwrap();
    shown += &std::fs::read_to_string(folder.join(".env")).unwrap();
    shown += &std::fs::read_to_string(bed.host.path("state/provision").join(format!("{}.jsonl", bed.tenant)))
        .unwrap();
    for service in ["db", "redis-cache", "redis-queue", "backend", "frontend", "queue-short", "scheduler"] {
        shown += &docker(&["inspect", &bed.container(service)]);
    }
    for entry in secrets.read_dir().unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        let secret = std::fs::read_to_string(entry.path()).unwrap();
        assert!(secret.len() >= 32 && !shown.contains(&secret), "{:?} is shown", entry.path());
    }
}

/// The compose file parses, and says of each container what `docker inspect` says.
fn the_compose_file_says_what_runs(bed: &Bed) {
    let path = bed.host.path("projects").join(&bed.tenant).join("compose.yaml");
    let script = "import json,sys,yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let read = Command::new("python3").args(["-c", script]).arg(&path).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let text = String::from_utf8(read.stdout).unwrap().replace("$$", "$");
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let services = file["services"].as_object().unwrap();
    assert_eq!(services.len(), 9, "{:?}", services.keys());
    for service in services.values() {
        let name = service["container_name"].as_str().unwrap();
        let inspected: serde_json::Value = serde_json::from_str(&docker(&["inspect", name])).unwrap();
        let runs = &inspected[0];
        assert_eq!(runs["HostConfig"]["Memory"], service["mem_limit"], "{name}");
        assert_eq!(runs["Config"]["Image"], service["image"], "{name}");
        assert_eq!(runs["HostConfig"]["RestartPolicy"]["Name"], service["restart"], "{name}");
        if !service["command"].is_null() {
            assert_eq!(runs["Config"]["Cmd"], service["command"], "{name}");
        }
        for (key, value) in service["labels"].as_object().unwrap() {
            assert_eq!(runs["Config"]["Labels"][key], *value, "{name}: {key}");
        }
        let mounts: Vec<&serde_json::Value> = runs["Mounts"].as_array().unwrap().iter().collect();
        for mount in service["volumes"].as_array().unwrap() {
            assert!(mounts.iter().any(|m| m["Destination"] == mount["target"]), "{name}: {mount}");
        }
    }
}

#[test]
fn a_tenant_grows_to_two_workers_and_a_replica_and_back() {
    let bed = Bed::new("grow");
    bed.write_wishes("workers = 1\nreplica = false");
    bed.host.run(&["provision", &bed.tenant, &bed.domain()]).expect(0);
    bed.resize("workers = 1\nreplica = false", "workers = 2\nreplica = true\napp_cpus = 0.5");
    bed.host.run(&["provision", &bed.tenant, "--apply"]).expect(0);
    for service in ["backend-2", "frontend-2", "db-replica"] {
        docker(&["inspect", &bed.container(service)]);
    }
    let cpus = docker(&["inspect", "--format", "{{.HostConfig.NanoCpus}}", &bed.container("backend")]);
    assert_eq!(cpus, "500000000");
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE '\\_%'";
    assert_eq!(bed.sql("db", tables), bed.sql("db-replica", tables));
    assert_eq!(bed.sql("db-replica", "SELECT @@read_only"), "1");
    let again = bed.host.run(&["provision", &bed.tenant, "--apply"]).expect(0);
    assert!(again.out.contains("Nothing was to be done."), "{}", again.out);

    let (first, replica) =
        (format!("\"{}\"", bed.container("db")), format!("\"{}\"", bed.container("db-replica")));
    bed.resize(&first, &replica);
    bed.host.run(&["backup", &bed.tenant]).expect(0);
    bed.host.run_unlocked(&["drill", &bed.tenant]).expect(0);
    bed.resize(&replica, &first);

    bed.resize("workers = 2\nreplica = true", "workers = 1\nreplica = false");
    bed.host.run(&["provision", &bed.tenant, "--apply"]).expect(0);
    let left = left_behind(&bed.tenant).join(" ");
    assert!(!left.contains("end-2") && !left.contains("replica"), "{left}");
    let again = bed.host.run(&["provision", &bed.tenant]).expect(0);
    assert!(again.out.contains("Nothing was to be done."), "{}", again.out);
}

#[test]
fn what_an_unfinished_run_made_is_taken_back_and_what_was_there_before_stays() {
    let bed = Bed::new("back");
    bed.write_wishes("workers = 1");
    let own = std::fs::read_to_string(bed.tenant_file()).unwrap();
    bed.host.run(&["provision", &bed.tenant, "--only", "secrets", "--only", "services"]).expect(0);
    assert!(!left_behind(&bed.tenant).is_empty());
    bed.host.run(&["provision", &bed.tenant, "--rollback"]).expect(0);
    assert_eq!(left_behind(&bed.tenant), Vec::<String>::new());
    assert!(!bed.host.path("projects").join(&bed.tenant).exists());
    assert_eq!(std::fs::read_to_string(bed.tenant_file()).unwrap(), own, "the operator's own file is back");
}

#[test]
fn a_volume_that_somebody_else_made_is_neither_used_nor_removed() {
    let bed = Bed::new("taken");
    bed.write_wishes("workers = 1");
    let volume = format!("{}_db-data", bed.tenant);
    docker(&["volume", "create", &volume]);
    let refused = bed.host.run(&["provision", &bed.tenant]).expect(1);
    assert!(refused.err.contains("provisioning did not make it"), "{}", refused.err);
    bed.host.run(&["provision", &bed.tenant, "--rollback"]).expect(0);
    assert_eq!(left_behind(&bed.tenant), [volume]);
}
