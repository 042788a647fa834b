//! A large database passes through backup and restore with a bounded resident set.
//!
//! The real site, its documents copied 35 times over as a whole campaign (533 MB), twice as a share of it; skipped
//! by name without the data.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use support::host::{Said, TestHost, said};
use support::shared;
use support::tenant::TestTenant;

/// What the process may hold at its highest, in bytes.
const RESIDENT_LIMIT: u64 = 256 << 20;

/// Runs the binary to its end; returns what it said and the most it held resident, in bytes.
fn watched(host: &TestHost, args: &[&str]) -> (Said, u64) {
    let mut command = host.command(args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let output = std::thread::spawn(move || child.wait_with_output().unwrap());
    let mut peak = 0;
    while !output.is_finished() {
        // The kernel keeps the highest itself; what the last look misses is the process's way out.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()) {
            peak = peak.max(kib << 10);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (said(output.join().unwrap()), peak)
}

fn grow(tenant: &TestTenant, copies: u32) {
    let script = shared::erpnext().unwrap().parent().unwrap().join("grow.py");
    let mut command = Command::new("python3");
    command.arg(script).args(["copies", &copies.to_string()]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    tenant.load_sql(child.stdout.take().unwrap());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_large_database_is_backed_up_and_restored_within_256_mib() {
    let Some(tenant) = TestTenant::real_site("memory", 1) else {
        skip!("a_large_database_is_backed_up_and_restored_within_256_mib", "no real site here")
    };
    grow(&tenant, if std::env::var_os("LIFEBOAT_FULL").is_some() { 35 } else { 2 });
    let host = TestHost::with_folder();
    host.add_tenant("memory", &tenant);
    host.init("elsewhere");
    let (backed, backup) = watched(&host, &["backup", "memory", "--json"]);
    let backed = backed.expect(0).json();
    let database = backed[0]["components"].as_array().unwrap().iter().find(|c| c["component"] == "database");
    let read = database.unwrap()["read_bytes"].as_u64().unwrap();
    let before = tenant.dump();
    tenant.wreck();
    let kit = host.kit();
    let (restored, restore) = watched(&host, &["restore", "memory", "--identity", kit.to_str().unwrap()]);
    restored.expect(0);
    assert!(tenant.dump() == before, "it came back otherwise");
    let mib = |bytes: u64| bytes >> 20;
    println!("{} MB of SQL: backup {} MiB, restore {} MiB", read / 1_000_000, mib(backup), mib(restore));
    assert!(backup > 0 && backup < RESIDENT_LIMIT, "backup: {} MiB", mib(backup));
    assert!(restore > 0 && restore < RESIDENT_LIMIT, "restore: {} MiB", mib(restore));
}
