//! What goes wrong is said clearly, with the right exit code, and leaves older snapshots and Docker as they were.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::cli::docker;
use support::host::TestHost;
use support::tenant::TestTenant;

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()))
        } else {
            found.push(entry.path())
        }
    }
    found
}

fn packs(host: &TestHost, tenant: &str) -> Vec<PathBuf> {
    files_below(&host.path("store").join("tenants").join(tenant).join("packs"))
}

#[test]
fn each_fault_of_a_tenant_is_named_and_older_snapshots_stay() {
    let tenant = TestTenant::start("refusals");
    tenant.create_sample();
    let host = TestHost::with_folder();
    host.add_tenant("t", &tenant);
    host.init("elsewhere");
    host.run(&["backup", "t"]).expect(0);

    // No identity, then a wrong one: 12, and nothing is made in Docker.
    let said = host.run(&["drill", "t"]).expect(12);
    assert!(said.err.contains("--identity"), "{}", said.err);
    let wrong = host.path("wrong.txt");
    let key = std::process::Command::new("age-keygen").output().unwrap().stdout;
    fs::write(&wrong, key).unwrap();
    host.run(&["restore", "t", "--identity", wrong.to_str().unwrap(), "--dry-run"]).expect(12);

    // What is there is not overwritten without the typed name.
    let said = host.run_unlocked(&["restore", "t"]).expect(1);
    assert!(said.err.contains("--yes-overwrite t"), "{}", said.err);

    // A dead database: partial, named, the others whole; the whole one stays the one to restore.
    docker(&["stop", "-t", "1", &tenant.container("db")]);
    let said = host.run(&["backup", "t"]).expect(3);
    assert!(said.out.contains("PARTIAL") && said.out.contains("database"), "{}", said.out);
    docker(&["start", &tenant.container("db")]);
    let listed = host.run(&["snapshots", "t", "--json"]).expect(0).json();
    let states: Vec<bool> =
        listed[0]["snapshots"].as_array().unwrap().iter().map(|s| s["whole"].as_bool().unwrap()).collect();
    assert_eq!(states, [true, false]);

    // A missing container is named.
    let text = fs::read_to_string(host.path("etc/tenants/t.toml")).unwrap();
    host.write_tenant_file("t", &text.replace(&tenant.container("redis-cache"), "no-such-container"));
    let said = host.run(&["backup", "t"]).expect(3);
    assert!(said.out.contains("no-such-container"), "{}", said.out);

    // An unknown key: 2, with file, line and what was meant.
    host.write_tenant_file("t", &text.replace("container =", "contaner ="));
    let said = host.run(&["backup", "t"]).expect(2);
    assert!(
        said.err.contains("tenants/t.toml:") && said.err.contains("did you mean container"),
        "{}",
        said.err
    );
    host.write_tenant_file("t", &text);

    // Without an identity nothing in the host's own folders opens what was backed up.
    let mut secrets = files_below(&host.path("etc"));
    secrets.extend(files_below(&host.path("state")));
    for secret in secrets {
        for pack in packs(&host, "t") {
            let opened = std::process::Command::new("age")
                .arg("-d")
                .arg("-i")
                .arg(&secret)
                .arg(&pack)
                .output()
                .unwrap();
            assert!(!opened.status.success(), "{} opens a pack", secret.display());
        }
        let content = fs::read(&secret).unwrap();
        assert!(
            !content.windows(15).any(|w| w == b"AGE-SECRET-KEY-"),
            "{} holds an identity",
            secret.display()
        );
    }

    // A hold is shown and nothing runs.
    host.run(&["hold", "t", "--until", "2099-01-01", "--reason", "moving"]).expect(0);
    let said = host.run(&["backup", "t"]).expect(1);
    assert!(said.err.contains("moving"), "{}", said.err);
    host.run(&["hold", "t", "--release"]).expect(0);
}

#[test]
fn what_is_asked_wrongly_is_refused_before_anything_is_made() {
    let tenant = TestTenant::start("asked");
    tenant.create_sample();
    let host = TestHost::with_folder();
    host.add_tenant("t", &tenant);
    host.init("here");
    host.run(&["backup", "t", "--pin", "2099-01-01"]).expect(0);

    // A drill whose report has no place to go is not made.
    let before = files_below(&host.path("store")).len();
    let said = host.run(&["drill", "t", "--report-dir", "/proc/nope"]).expect(1);
    assert!(said.err.contains("report folder /proc/nope"), "{}", said.err);
    assert_eq!(files_below(&host.path("store")).len(), before);

    // A path that the snapshot lacks leaves no folder; what is there is not written over.
    let out = host.path("out");
    let extract = |path: &str| {
        host.run_unlocked(&["files", "extract", "t", "latest", path, "--to", out.to_str().unwrap()])
    };
    extract("nope").expect(1);
    assert!(!out.exists());
    extract("site_config.json").expect(0);
    let said = extract("site_config.json").expect(1);
    assert!(said.err.contains("name a new folder"), "{}", said.err);

    // The pin that a backup was made with has no release.
    let said = host.run(&["pin", "t", "latest", "--release"]).expect(0);
    assert!(said.out.contains("was not pinned on this machine"), "{}", said.out);
    assert!(said.out.contains("kept until 2099-01-02T00:00:00Z all the same"), "{}", said.out);

    // A restore that would do nothing is none.
    let only_queue = ["restore", "t", "--only", "redis-queue", "--yes-overwrite", "t"];
    let said = host.run_unlocked(&only_queue).expect(2);
    assert!(said.err.contains("--with-queue"), "{}", said.err);
    host.run_unlocked(&["restore", "t", "--only", "redis-queue,files", "--with-queue", "--dry-run"])
        .expect(0);

    // The plan names only the containers that would be made.
    tenant.wreck();
    let plan =
        host.run_unlocked(&["restore", "t", "--only", "files", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan[0]["makes"], serde_json::json!([tenant.container("app-double")]));
}

#[test]
fn damage_in_the_store_is_found_and_never_restored() {
    let tenant = TestTenant::start("damage");
    tenant.create_sample();
    let host = TestHost::with_folder();
    host.add_tenant("damaged", &tenant);
    host.init("here");
    host.run(&["backup", "damaged"]).expect(0);
    host.run(&["check", "--read-data"]).expect(0);

    let pack = packs(&host, "damaged").into_iter().max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let whole = fs::read(&pack).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&pack, &flipped).unwrap();
    let said = host.run(&["check", "--read-data"]).expect(4);
    assert!(said.out.contains("damaged"), "{}", said.out);
    let said = host.run(&["drill", "damaged"]);
    assert_ne!(said.code, 0, "{}", said.out);
    assert_eq!(
        docker(&["ps", "-aq", "--filter", "name=lifeboat-drill-damaged-"]),
        "",
        "the drill left containers"
    );

    fs::remove_file(&pack).unwrap();
    let said = host.run(&["check"]).expect(4);
    assert!(said.out.contains("[missing]"), "{}", said.out);
    fs::write(&pack, &whole).unwrap();
    host.run(&["check", "--read-data"]).expect(0);

    let receipts = host.path("store/tenants/damaged/snapshots");
    let receipt =
        files_below(&receipts).into_iter().find(|p| p.extension().is_some_and(|e| e == "json")).unwrap();
    let text = fs::read_to_string(&receipt).unwrap();
    fs::write(&receipt, text.replace("\"sequence\":1", "\"sequence\":2")).unwrap();
    let said = host.run(&["check"]).expect(4);
    assert!(
        said.out.contains("[damaged]") && said.out.contains("altered after it was signed"),
        "{}",
        said.out
    );
    host.run_unlocked(&["restore", "damaged", "--dry-run"]).expect(4);
}
