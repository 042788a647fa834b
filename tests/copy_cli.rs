//! `copy`, `check --repair` and `--from-copy` with the real binary.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::path::PathBuf;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use lifeboat::id::ComponentName;
use lifeboat::repo::check::Share;
use lifeboat::repo::cutter::Grain;
use support::host::{Said, said};
use support::pruner;
use support::repository::{Bucket, Part, damage, noise};

/// A machine that may prune, with a store, a second one in another folder, and three nights.
struct Machine {
    bucket: Bucket,
    _state: tempfile::TempDir,
    etc: tempfile::TempDir,
    second: tempfile::TempDir,
}

fn night(n: u64) -> Vec<Part> {
    let segments = vec![noise(1, 90_000), noise(1000 + n, 40_000)];
    vec![Part { component: ComponentName::Files, stream: "tar", grain: Grain::Files, segments }]
}

impl Machine {
    async fn new() -> Machine {
        let mut bucket = Bucket::new().await;
        bucket.first = Timestamp::now() - SignedDuration::from_hours(24 * 3 + 12);
        for n in 0..3 {
            bucket.backup(&night(n)).await;
        }
        let state = pruner::certified(&bucket).await;
        let (etc, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let text = format!(
            "host = \"p1\"\nstate_dir = {:?}\n[store]\nurl = \"file://{}\"\n[repository]\npin = \"{}\"\n[copy]\nurl = \
             \"file://{}/copy\"\n",
            state.path(),
            bucket.path().display(),
            bucket.repo.hash(),
            second.path().display()
        );
        std::fs::write(etc.path().join("lifeboat.toml"), text).unwrap();
        std::fs::create_dir(etc.path().join("tenants")).unwrap();
        std::fs::write(etc.path().join("tenants/byrne.toml"), "site = \"erp.example.com\"\n").unwrap();
        Machine { bucket, _state: state, etc, second }
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.etc.path()).args(args).stdin(std::process::Stdio::null());
        said(command.output().unwrap())
    }

    fn pack(&self) -> PathBuf {
        let packs = std::fs::read_dir(self.bucket.file("tenants/byrne/packs")).unwrap();
        packs.map(|e| e.unwrap().path()).max_by_key(|p| p.metadata().unwrap().len()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_pack_is_named_repaired_from_the_copy_and_quiet_afterwards() {
    let machine = Machine::new().await;
    let refused = machine.run(&["check", "--from-copy"]).expect(10);
    assert!(refused.err.contains("copy"), "{}", refused.err);
    let planned = machine.run(&["copy", "--dry-run"]).expect(0);
    assert!(planned.out.contains("would copy 3 snapshots"), "{}", planned.out);
    let copied = machine.run(&["copy"]).expect(0);
    println!("{}", copied.out);
    assert!(copied.out.contains("copied 3 snapshots (there before: 0)"), "{}", copied.out);
    assert!(
        copied.out.contains("3-2-1: 3 copies") && copied.out.contains("0 off this host"),
        "{}",
        copied.out
    );
    assert!(machine.run(&["copy"]).expect(0).out.contains("copied 0 snapshots (there before: 3)"));
    machine.run(&["check", "--read-data"]).expect(0);
    machine.run(&["check", "--from-copy", "--read-data", "1/1"]).expect(0);
    let listed = machine.run(&["snapshots", "--from-copy"]).expect(0);
    assert!(listed.out.contains("byrne: 3 snapshots"), "{}", listed.out);

    let pack = machine.pack();
    let whole = std::fs::read(&pack).unwrap();
    damage(&pack);
    machine.run(&["check"]).expect(0);
    let found = machine.run(&["check", "--read-data", "--json", "--quiet"]).expect(4).json();
    assert_eq!(found[0]["faults"][0]["kind"], "damaged");
    assert_eq!(found[0]["faults"][0]["snapshots"].as_array().unwrap().len(), 3);
    let kit = machine.bucket.folder.path().join("operator.txt");
    let kit = kit.to_str().unwrap();
    // A repair reads the part that it is told to read, and what was read is remembered.
    let id = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let halves = [1, 2].map(|n| Share { n, of: 2 });
    let of_it = halves.iter().position(|half| half.holds(&id(&pack))).unwrap();
    let part = |n: usize| format!("{n}/2");
    let (other, its) = (part(2 - of_it), part(of_it + 1));
    let idle = machine.run(&["check", "--read-data", &other, "--repair", "--dry-run"]).expect(0);
    assert!(idle.out.contains("nothing is to be repaired"), "{}", idle.out);
    machine.run(&["check", "--read-data", &its, "--repair", "--dry-run"]).expect(4);
    let told = machine.run(&["check", "--json", "--quiet"]).expect(0).json();
    assert_eq!(told[0]["verified"]["part"], its.as_str());
    machine.run(&["check", "--read-data", "next/2", "--repair", "--dry-run"]).expect(0);
    let told = machine.run(&["check", "--json", "--quiet"]).expect(0).json();
    assert_eq!(told[0]["verified"]["part"], other.as_str());

    let repair = ["check", "--read-data", "all", "--repair", "--identity", kit];
    let asked = machine.run(&repair).expect(2);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    let planned = machine.run(&[&repair[..], &["--dry-run"]].concat()).expect(4);
    println!("{}", planned.out);
    assert!(planned.out.contains("put right from the other store"), "{}", planned.out);
    assert_ne!(std::fs::read(&pack).unwrap(), whole);
    let done = machine.run(&[&repair[..], &["--yes"]].concat()).expect(0);
    assert!(done.out.contains("1 object put right"), "{}", done.out);
    assert_eq!(std::fs::read(&pack).unwrap(), whole);
    machine.run(&["check", "--read-data"]).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_copy_the_pack_is_given_up_and_each_snapshot_s_loss_is_said() {
    let machine = Machine::new().await;
    machine.run(&["copy"]).expect(0);
    // A disk that is not mounted is not written to.
    let (there, away) = (machine.second.path().join("copy"), machine.second.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    std::fs::create_dir(&there).unwrap();
    let gone = machine.run(&["copy"]).expect(10);
    assert!(gone.err.contains("mounted"), "{}", gone.err);
    std::fs::remove_file(machine.pack()).unwrap();
    let kit = machine.bucket.folder.path().join("operator.txt");
    let repair = ["check", "--repair", "--yes", "--identity", kit.to_str().unwrap()];
    let done = machine.run(&repair);
    println!("{}", done.out);
    for part in ["give up: pack", "LOSES 1 pack,", "files/tar", "void mark 1"] {
        assert!(done.out.contains(part), "{part}: {}", done.out);
    }
    let checked = machine.run(&["check", "--read-data"]).expect(0);
    assert!(checked.out.contains("3 of them are not whole any more"), "{}", checked.out);
}
