//! Many runs, a few at the same time, and what a failed one says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::plan::{Storm, TEMPLATES};
use super::tally::Tally;
use super::world::{History, World};

/// After so many failures nothing new is learnt.
const ENOUGH: usize = 5;

/// A run that failed.
#[derive(Debug)]
pub struct Ended {
    seed: u64,
    storm: Storm,
    why: String,
}

impl Ended {
    pub fn failed(seed: u64, storm: &Storm, why: &str) -> Ended {
        Ended { seed, storm: storm.clone(), why: why.to_owned() }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { seed, storm, why } = self;
        write!(f, "seed {seed} FAILED: {why}\n{storm}  again: tests/campaign 1 --seed {seed}")
    }
}

/// Makes the runs of `runs` seeds from `seed` on.
pub fn sail(seed: u64, runs: u64, jobs: u64) -> Tally {
    let histories: Vec<_> = (0..TEMPLATES).map(History::of).collect();
    let (next, all) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                let mut tally = Tally::default();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= runs || tally.failures.len() >= ENOUGH {
                        break;
                    }
                    run(seed.wrapping_add(n), &histories, &mut tally);
                }
                all.lock().unwrap().add(tally);
            });
        }
    });
    all.into_inner().unwrap()
}

fn run(seed: u64, histories: &[std::sync::Arc<History>], tally: &mut Tally) {
    let storm = Storm::of(seed);
    tally.runs += 1;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::of(&histories[storm.template], &storm, seed);
        for step in &storm.steps {
            world.step(step, tally);
        }
        world.finish(tally)
    }));
    let why = match ended {
        Ok(Ok(())) => return,
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
        }
    };
    tally.failures.push(Ended::failed(seed, &storm, &why));
}
