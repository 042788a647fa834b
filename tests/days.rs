//! Three days of a real ERPNext site, backed up each evening and each restored exactly; skipped by name without the data.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

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
    emergency(&host, "database", "sql", snapshot, |bytes| {
        assert!(bytes.trim_ascii_end().ends_with(b"-- Dump completed"), "the script's dump is cut");
    });
}

/// Restores a stream with stock tools from store and kit alone, configuration and state moved away.
fn emergency(host: &TestHost, component: &str, stream: &str, snapshot: &str, look: impl Fn(&[u8])) {
    host.lose();
    let kit = std::fs::read_to_string(host.kit()).unwrap();
    let pin = kit.lines().find_map(|l| l.strip_prefix("# pin: ")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/emergency-restore.py");
    let done = Command::new("python3")
        .arg(script)
        .arg(host.path("store"))
        .args([
            "--identity",
            host.kit().to_str().unwrap(),
            "--pin",
            pin,
            "get",
            "days",
            snapshot,
            component,
            stream,
        ])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    look(&done.stdout);
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
