//! The fault campaign: random nights, prunes, races, kills and clock jumps on a store that breaks, and after each run a
//! proof that every committed snapshot which prune has not signed for comes back byte for byte.
//!
//! `tests/campaign` runs any number of seeds. Faults, kills and changes follow from the seed; what two processes do at
//! the same moment, and where a SIGKILL strikes, does not, so that a seed that failed may have to be run a few times.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

#[path = "storms/act.rs"]
mod act;
#[path = "storms/crew.rs"]
mod crew;
#[path = "storms/model.rs"]
mod model;
#[path = "storms/plan.rs"]
mod plan;
#[path = "storms/shelf.rs"]
mod shelf;
#[path = "storms/tally.rs"]
mod tally;
#[path = "storms/world.rs"]
mod world;

use crew::{Ended, sail};
use plan::Storm;
use world::{History, World};

/// How many runs an ordinary test run makes, and a full one.
const SHARE: u64 = 300;
const FULL: u64 = 10_000;

#[test]
fn no_committed_snapshot_is_lost_whatever_breaks() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let full = std::env::var_os("LIFEBOAT_FULL").is_some();
    let runs = number("LIFEBOAT_RUNS").unwrap_or(if full { FULL } else { SHARE });
    let seed = number("LIFEBOAT_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let jobs = number("LIFEBOAT_JOBS").unwrap_or(2);
    println!("{runs} runs, seeds {seed} to {}", seed.wrapping_add(runs.saturating_sub(1)));
    let tally = sail(seed, runs, jobs);
    println!("{tally}");
    println!("{}, seed {seed}", tally.verdict());
    assert!(tally.failures.is_empty(), "{} runs failed", tally.failures.len());
    if runs >= SHARE {
        tally.must_have_seen_it_all();
    }
}

#[test]
fn a_run_that_loses_a_pack_fails() {
    let storm = Storm { template: 1, locks: false, leases: false, lies: false, steps: Vec::new() };
    let history = History::of(1);
    let mut world = World::of(&history, &storm, 1);
    let mut tally = tally::Tally::default();
    world.finish(&mut tally).unwrap();
    let packs = world.path("store/tenants/t/packs");
    std::fs::remove_file(std::fs::read_dir(packs).unwrap().next().unwrap().unwrap().path()).unwrap();
    assert!(world.judge(&mut tally).is_err());
    let receipts = World::of(&history, &storm, 2);
    let newest = receipts.receipts().pop_last().unwrap();
    std::fs::remove_file(receipts.path(&format!("store/tenants/t/snapshots/{newest}.json"))).unwrap();
    assert!(receipts.judge(&mut tally).is_err());
}

#[test]
fn a_run_says_how_it_is_run_again() {
    let said = Ended::failed(77, &Storm::of(77), "snapshot x is lost").to_string();
    assert!(said.contains("tests/campaign 1 --seed 77") && said.contains("snapshot x is lost"), "{said}");
}
