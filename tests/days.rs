//! Three days of a real ERPNext site, backed up each evening and each restored exactly; skipped by name without the data.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use support::cli::{docker_reading, shell};
use support::host::TestHost;
use support::seaweed::Seaweed;
use support::tenant::TestTenant;

/// Bytes that the database may add on the second and third day.
const SQL_LIMIT: u64 = 700_000;

fn kept(tenant: &TestTenant) -> BTreeMap<String, String> {
    let mut files = tenant.files();
    files.retain(|path, _| !path.starts_with("./logs/") && !path.starts_with("./locks/"));
    files
}

#[test]
fn each_of_three_real_days_is_added_cheaply_and_comes_back_exactly() {
    let Some(tenant) = TestTenant::real_site("days", 1) else { return };
    let host = TestHost::with_folder();
    host.add_tenant("days", &tenant);
    host.init("here");
    let mut nights = Vec::new();
    for day in 1..=3 {
        if day > 1 {
            tenant.load_day(day);
        }
        let before = host.bytes_below("store");
        let only_sql = host.run(&["backup", "days", "--json"]).expect(0).json();
        let added = host.bytes_below("store") - before;
        println!("day {day}: {added} bytes added to the store, files and list included");
        let snapshot = only_sql[0]["snapshot"].as_str().unwrap().to_owned();
        nights.push((snapshot, tenant.dump(), kept(&tenant), added));
    }
    // The site's files of a day are 0.4 MB of new PDFs; what is above the limit for both would be the database's.
    for (day, night) in nights.iter().enumerate().skip(1) {
        assert!(night.3 < SQL_LIMIT + 500_000, "day {}: {} bytes", day + 1, night.3);
    }
    for (snapshot, ..) in &nights {
        host.run(&["drill", "days", "--snapshot", snapshot]).expect(0);
    }
    let (snapshot, dump, files, _) = &nights[1];
    tenant.wreck();
    let restored = host.run_unlocked(&["restore", "days", "--snapshot", snapshot, "--with-queue"]).expect(0);
    assert!(restored.out.contains("41 jobs"), "{}", restored.out);
    assert!(tenant.dump() == *dump, "day 2 came back otherwise");
    assert_eq!(kept(&tenant), *files);
    // The same once more without Lifeboat: from store and kit alone, configuration and state moved away.
    host.lose();
    for (snapshot, dump, files, _) in &nights {
        without_lifeboat(&host, &tenant, snapshot, dump, files);
    }
}

/// Puts a night back with stock tools only, into the tenant's containers, and compares.
fn without_lifeboat(
    host: &TestHost,
    tenant: &TestTenant,
    snapshot: &str,
    dump: &str,
    files: &BTreeMap<String, String>,
) {
    let db = tenant.db_name();
    tenant.sql(&format!("DROP DATABASE `{db}`; CREATE DATABASE `{db}`"));
    tenant.load_sql(&*emergency(host, snapshot, "database"));
    assert!(tenant.dump() == *dump, "{snapshot}: the script's dump loads otherwise");

    let (app, site) = (tenant.container("app-double"), tenant.site_path());
    shell(&app, &format!("rm -rf '{site}' && mkdir '{site}'"));
    docker_reading(
        &["exec", "-i", &app, "tar", "-xpf", "-", "-C", &site],
        &*emergency(host, snapshot, "files"),
    )
    .unwrap();
    assert_eq!(kept(tenant), *files, "{snapshot}");

    tenant.load_queue(&*emergency(host, snapshot, "redis-queue"));
    let jobs = tenant.redis("redis-queue", &["--scan", "--pattern", "rq:job:*"]);
    assert_eq!(jobs.lines().count(), 41, "{jobs}");

    for (component, holds) in [("config", "compose.yaml"), ("certs", ".crt")] {
        let mut archive = tar::Archive::new(std::io::Cursor::new(emergency(host, snapshot, component)));
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert!(names.iter().any(|name| name.ends_with(holds)), "{snapshot} {component}: {names:?}");
    }
}

/// Returns a component's main stream as the script gives it.
fn emergency(host: &TestHost, snapshot: &str, component: &str) -> Vec<u8> {
    let kit = std::fs::read_to_string(host.kit()).unwrap();
    let pin = kit.lines().find_map(|l| l.strip_prefix("# pin: ")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emergency-restore.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(host.path("store")).arg("--identity").arg(host.kit());
    let done = command.args(["--pin", pin, "get", "days", snapshot, component]).output().unwrap();
    assert!(done.status.success(), "{component}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

#[test]
fn the_third_real_day_is_drilled_from_a_bucket() {
    let Some(tenant) = TestTenant::real_site("bucket", 3) else { return };
    let store = Seaweed::start();
    let bucket = store.new_bucket(true);
    let host = TestHost::with_bucket(&store.endpoint, &bucket, &store.access_key, &store.secret_key);
    host.add_tenant("bucket", &tenant);
    host.init("here");
    host.run(&["backup", "bucket"]).expect(0);
    let drilled = host.run(&["drill", "bucket"]).expect(0);
    assert!(drilled.out.contains("proven to L3"), "{}", drilled.out);
}
