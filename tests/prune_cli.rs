//! `prune` and `pin` with the real binary, on a machine of its own that may do nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use lifeboat::id::ComponentName;
use lifeboat::repo::cutter::Grain;
use support::host::{Said, said};
use support::pruner;
use support::repository::{Bucket, Part, noise};

struct Machine {
    bucket: Bucket,
    state: tempfile::TempDir,
    etc: tempfile::TempDir,
}

fn night(n: u64) -> Vec<Part> {
    let segments = vec![noise(1, 90_000), noise(1000 + n, 40_000)];
    vec![Part { component: ComponentName::Files, stream: "tar", grain: Grain::Files, segments }]
}

impl Machine {
    /// A tenant of 30 nights up to last night, by the real clock, and a policy that keeps little.
    async fn new() -> Machine {
        let mut bucket = Bucket::new().await;
        bucket.first = Timestamp::now() - SignedDuration::from_hours(24 * 30 + 12);
        for n in 0..30 {
            bucket.backup(&night(n)).await;
        }
        let state = pruner::certified(&bucket).await;
        let etc = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = etc.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let (pin, store) = (bucket.repo.hash(), bucket.path());
        write(
            "lifeboat.toml",
            &format!(
                "host = \"p1\"\nstate_dir = {:?}\n[store]\nurl = \"file://{}\"\n[repository]\npin = \"{pin}\"\n",
                state.path(),
                store.display()
            ),
        );
        let few = "keep_last = 2\ndaily = 2\nweekly = 1\nmonthly = 0\nyearly = 0\nwithin = \"0s\"\n";
        write("policies/few.toml", &format!("[retention]\n{few}"));
        write("tenants/byrne.toml", "policy = \"few\"\nsite = \"erp.example.com\"\n");
        Machine { bucket, state, etc }
    }

    fn run(&self, args: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.etc.path()).args(args).stdin(std::process::Stdio::null());
        said(command.output().unwrap())
    }

    fn count(&self, folder: &str) -> usize {
        let path: &Path = &self.bucket.file(&format!("tenants/byrne/{folder}"));
        std::fs::read_dir(path).map_or(0, Iterator::count)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_names_each_snapshot_with_its_reasons_and_nothing_goes_unasked() {
    let mut machine = Machine::new().await;
    let (receipts, packs) = (machine.count("snapshots"), machine.count("packs"));
    let shown = machine.run(&["prune", "--dry-run"]).expect(0);
    println!("{}", shown.out);
    for part in [
        "byrne: 30 snapshots",
        "keep",
        "forget",
        "newest",
        "younger than 14 days",
        "no rule reaches",
        "goes later",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let asked = machine.run(&["prune", "byrne"]).expect(2);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    assert_eq!((machine.count("snapshots"), machine.count("packs")), (receipts, packs));

    // A pin takes one out of what goes.
    let line = shown.out.lines().find(|l| l.trim_start().starts_with("forget")).unwrap();
    let oldest = line.split_whitespace().nth(1).unwrap();
    machine.run(&["pin", "byrne", oldest, "--until", "2031-12-31", "--reason", "the audit"]).expect(0);
    let shown = machine.run(&["prune", "--dry-run", "--json"]).expect(0).json();
    let plan = shown.last().unwrap();
    assert_eq!(plan["dry_run"], true);
    let of = |snapshot: &str| {
        plan["snapshots"].as_array().unwrap().iter().find(|s| s["snapshot"] == snapshot).unwrap().clone()
    };
    assert_eq!(of(oldest)["keep"], true);
    assert_eq!(of(oldest)["reasons"][0]["rule"], "pinned");
    assert_eq!(of(oldest)["reasons"][0]["reason"], "the audit");

    let done = machine.run(&["prune", "--yes"]).expect(0);
    println!("{}", done.out);
    assert!(done.out.contains("8 snapshots forgotten, 0 packs removed"), "{}", done.out);
    assert_eq!((machine.count("snapshots"), machine.count("packs")), (receipts - 8 * 4, packs));
    machine.bucket.backup(&night(30)).await;
    let done = machine.run(&["prune", "--yes"]).expect(0);
    println!("{}", done.out);
    assert!(machine.count("packs") < packs, "{}", done.out);
    let released = machine.run(&["pin", "byrne", oldest, "--release"]).expect(0);
    assert!(released.out.contains("is ended: the audit"), "{}", released.out);
    let released = machine.run(&["pin", "byrne", oldest, "--release"]).expect(0);
    assert!(released.out.contains("was not pinned"), "{}", released.out);
    assert!(machine.bucket.history().await.faults.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_stops_it_with_exit_code_4_and_without_the_role_it_fails() {
    let machine = Machine::new().await;
    let history = machine.bucket.history().await;
    let gone = format!("tenants/byrne/snapshots/{}.json", history.snapshots[5].receipt.snapshot);
    std::fs::remove_file(machine.bucket.file(&gone)).unwrap();
    let packs = machine.count("packs");
    let stopped = machine.run(&["prune", "--yes"]).expect(4);
    assert!(stopped.out.contains("STOP [missing] receipt 6 is missing"), "{}", stopped.out);
    machine.run(&["prune", "--yes", "--accept-missing"]).expect(2);
    machine.run(&["prune", "byrne", "--yes", "--accept-missing"]).expect(0);
    machine.run(&["prune", "--yes"]).expect(0);
    assert_eq!(machine.count("packs"), packs);

    std::fs::remove_file(machine.state.path().join("keys/host.key")).unwrap();
    std::fs::copy(machine.etc.path().join("lifeboat.toml"), machine.etc.path().join("old")).unwrap();
    let text = std::fs::read_to_string(machine.etc.path().join("old")).unwrap();
    std::fs::write(machine.etc.path().join("lifeboat.toml"), text.replace("\"p1\"", "\"h1\"")).unwrap();
    let refused = machine.run(&["prune", "--yes"]).expect(1);
    assert!(refused.err.contains("--role prune"), "{}", refused.err);
    // Before a plan was made, and nothing that `status` would have to show.
    assert_eq!(refused.out, "");
    let last = std::fs::read_to_string(machine.state.path().join("tenants/byrne/last-prune.json")).unwrap();
    assert!(!last.contains("h1"), "{last}");
}
