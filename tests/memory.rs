//! A large database passes through backup and restore with a bounded resident set.
//!
//! The real site, its documents copied 35 times over as a whole campaign (533 MB), twice as a share of it; skipped
//! by name without the data. A whole campaign has a site of four times that size too.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use lifeboat::repo::cache::journal::Journal;
use lifeboat::repo::cache::record::Record;
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

/// What a chunk may cost in memory, in bytes.
const CHUNK_BYTES: u64 = 48;

/// What is not counted: the threads' arenas keep freed buffers, as their turns fell, and a longer run touches more of them.
/// Runs over the same data differed by up to 12 MiB; of what is live, only the index of chunks grows with a site.
const NOISE_BYTES: u64 = 20 << 20;

/// What the large site takes on the disk: its database three times over, and its packs.
const ROOM_BYTES: u64 = 10_000_000_000;

/// Two nights of a site.
struct Nights {
    sql_bytes: u64,
    chunks: u64,
    /// The most that the first backup and the next one held.
    peaks: [u64; 2],
}

fn nights(name: &str, copies: u32) -> Option<Nights> {
    let tenant = TestTenant::real_site(name, 1)?;
    grow(&tenant, copies);
    let host = TestHost::with_folder();
    host.add_tenant(name, &tenant);
    host.init("elsewhere");
    let (backed, first) = watched(&host, &["backup", name, "--json"]);
    let backed = backed.expect(0).json();
    let chunks = chunks(&host, name);
    let (again, next) = watched(&host, &["backup", name, "--json"]);
    again.expect(0);
    let database = backed[0]["components"].as_array().unwrap().iter().find(|c| c["component"] == "database");
    Some(Nights {
        sql_bytes: database.unwrap()["read_bytes"].as_u64().unwrap(),
        chunks,
        peaks: [first, next],
    })
}

/// Counts the chunks that the host's cache knows of a tenant.
fn chunks(host: &TestHost, tenant: &str) -> u64 {
    let mut chunks = 0;
    Journal::read(&host.path(&format!("state/tenants/{tenant}/cache")), |record| {
        if let Record::Chunks(_, of_pack) | Record::Put(_, of_pack) = record {
            chunks += of_pack.len() as u64;
        }
        Ok(())
    })
    .unwrap();
    chunks
}

#[test]
fn a_site_four_times_as_large_costs_48_bytes_a_chunk_more_at_most() {
    let name = "a_site_four_times_as_large_costs_48_bytes_a_chunk_more_at_most";
    if std::env::var_os("LIFEBOAT_FULL").is_none() {
        skip!(name, "1.9 GB of SQL, in a full campaign only");
    }
    let free = rustix::fs::statvfs(std::env::temp_dir()).map(|s| s.f_bavail * s.f_frsize).unwrap();
    if free < ROOM_BYTES {
        skip!(name, "less than 10 GB are free on the disk of temporary files");
    }
    let Some(small) = nights("memory-35", 35) else { skip!(name, "no real site here") };
    let large = nights("memory-140", 140).unwrap();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for n in [&small, &large] {
        println!(
            "{} MB of SQL, {} chunks: backup {:.1} MiB, next backup {:.1} MiB",
            n.sql_bytes / 1_000_000,
            n.chunks,
            mib(n.peaks[0]),
            mib(n.peaks[1])
        );
    }
    assert!(large.sql_bytes > 3 * small.sql_bytes, "it did not grow");
    let more = CHUNK_BYTES * (large.chunks - small.chunks) + NOISE_BYTES;
    for (what, (small, large)) in
        ["backup", "next backup"].into_iter().zip(small.peaks.into_iter().zip(large.peaks))
    {
        assert!(small > 0 && large < RESIDENT_LIMIT, "{what}: {:.1} MiB", mib(large));
        assert!(large <= small + more, "{what}: {:.1} MiB, {:.1} MiB allowed", mib(large), mib(small + more));
    }
}
