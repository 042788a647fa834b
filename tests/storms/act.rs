//! One verb at work: in this process, with what its store does to it and where it dies, or as the real binary.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat::error::{Error, Kind};
use lifeboat::id::SnapshotId;
use lifeboat::ops::backup;
use lifeboat::ops::check::{self, Extent, ReadData};
use lifeboat::ops::prune::{self, plan::Orders};
use lifeboat::store::{FaultStore, Retry, RetryPolicy};
use tokio_util::sync::CancellationToken;

use super::plan::{Act, Step, Strike, Verb};
use super::shelf::Death;
use super::tally::Tally;
use super::world::{HOSTS, PRUNER, World, request, tenant};

/// Three tries, with hardly a pause.
const RETRIES: RetryPolicy = RetryPolicy {
    attempts: 3,
    first_delay: Duration::from_micros(100),
    longest_delay: Duration::from_micros(100),
    total: Duration::from_secs(60),
};

/// How a verb ended.
#[derive(Debug)]
pub enum Outcome {
    /// A backup committed this.
    Committed(SnapshotId),
    /// A prune did this.
    Pruned {
        packs: usize,
        stopped: bool,
    },
    Checked,
    Failed(Error),
    Died,
}

impl World {
    /// Carries a step out, and takes what was committed into the model.
    pub fn step(&mut self, step: &Step, tally: &mut Tally) {
        match step {
            Step::Act(act) => {
                self.before(&[act]);
                let outcome = self.act(act);
                self.after(&outcome, tally);
            }
            Step::Race(a, b) => {
                self.before(&[a, b]);
                let this = &*self;
                let (first, second) = std::thread::scope(|scope| {
                    let second = scope.spawn(|| this.act(b));
                    (this.act(a), second.join())
                });
                let second = second.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                self.after(&first, tally);
                self.after(&second, tally);
                tally.races += 1;
            }
            Step::Binary { verb, killed_after } => self.binary(*verb, *killed_after, tally),
            Step::Days { host, store } => self.days(*host, *store),
            Step::Lose { host, what } => self.lose(*host, *what),
        }
        let receipts = self.receipts();
        self.model.look(&receipts, &self.site);
    }

    /// Days pass, and the site changes where it is backed up.
    fn before(&mut self, acts: &[&Act]) {
        if acts.iter().any(|a| matches!(a.verb, Verb::Backup(_))) {
            self.days(2, 2);
            self.change();
        }
        if acts.iter().any(|a| matches!(a.verb, Verb::Prune)) {
            self.prunes();
        }
    }

    fn prunes(&mut self) {
        self.model.prunes(self.clock.now().min(self.store_clock.now()));
    }

    fn after(&mut self, outcome: &Outcome, tally: &mut Tally) {
        if let Outcome::Committed(snapshot) = outcome {
            self.model.claim(snapshot, &self.site);
        }
        tally.ended(outcome);
    }

    /// Runs a verb as a process of its own: a runtime that ends with it, wherever it is.
    pub fn act(&self, act: &Act) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            let mut shelf = self.shelf().await;
            let came = CancellationToken::new();
            shelf.death = act.dies.map(|(at, made)| Death { at, made, came: came.clone() });
            let store = act.faults.iter().fold(FaultStore::new(Arc::new(shelf)), struck);
            let store = Arc::new(Retry::seeded(Arc::new(store), RETRIES, 1));
            tokio::select! {
                biased;
                outcome = self.verb(act.verb, store) => outcome.unwrap_or_else(Outcome::Failed),
                () = came.cancelled() => Outcome::Died,
            }
        });
        // Waits for the threads that a call still has.
        drop(runtime);
        outcome
    }

    async fn verb(&self, verb: Verb, store: lifeboat::store::SharedStore) -> Result<Outcome, Error> {
        match verb {
            Verb::Backup(host) => {
                let appliance = self.appliance(host, store).await?;
                let backed = backup::backup(&appliance, &request()).await?;
                Ok(Outcome::Committed(backed.snapshot))
            }
            Verb::Prune => {
                let appliance = self.appliance(PRUNER, store).await?;
                let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await?;
                if plan.is_stopped() {
                    return Ok(Outcome::Pruned { packs: 0, stopped: true });
                }
                let done = prune::apply(&appliance, &plan).await?;
                Ok(Outcome::Pruned { packs: done.packs, stopped: false })
            }
            Verb::Check => {
                let appliance = self.appliance(0, store).await?;
                let extent = Extent { read_data: ReadData::All, latest_only: false };
                check::check(&appliance, &[tenant()], extent, None).await?;
                Ok(Outcome::Checked)
            }
        }
    }

    /// Runs the real binary, by the real clock.
    fn binary(&mut self, verb: Verb, killed_after: Option<u64>, tally: &mut Tally) {
        // Whatever is made up from now on comes after it.
        let now = jiff::Timestamp::now();
        self.clock.at_least(now);
        self.store_clock.at_least(now);
        let (host, args): (usize, &[&str]) = match verb {
            Verb::Backup(host) => (host, &["backup", "t"]),
            _ => (PRUNER, &["prune", "t", "--yes"]),
        };
        match verb {
            Verb::Backup(_) => self.change(),
            _ => self.prunes(),
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.path("etc").join(HOSTS[host])).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).env_remove("LIFEBOAT_LOG");
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        if let Some(share) = killed_after {
            std::thread::sleep(tally.usual(verb).mul_f64(share as f64 / 1000.0));
            // An error says that it has ended.
            child.kill().ok();
        }
        let status = child.wait().unwrap();
        tally.binary(verb, status, began.elapsed());
        assert_ne!(status.code(), Some(101), "the binary panicked");
        self.clock.pass(jiff::SignedDuration::from_secs(60));
        self.store_clock.pass(jiff::SignedDuration::from_secs(60));
    }

    /// Backs up on a store that does what it should; a second try is for what a store that broke has left, a third for
    /// what another host did in between.
    pub fn mend(&mut self) -> Result<(), String> {
        let act = Act { verb: Verb::Backup(0), faults: Vec::new(), dies: None };
        let mut said = Vec::new();
        for _ in 0..3 {
            self.before(&[&act]);
            match self.act(&act) {
                Outcome::Committed(snapshot) => {
                    self.model.claim(&snapshot, &self.site);
                    let receipts = self.receipts();
                    self.model.look(&receipts, &self.site);
                    return Ok(());
                }
                Outcome::Failed(e) if e.kind() == Kind::Bug => return Err(format!("a bug: {e}")),
                // The lease of a host that died while the store's clock was ahead.
                Outcome::Failed(e) if e.kind() == Kind::Locked && self.storm.leases => self.days(450, 450),
                other => said.push(format!("{other:?}")),
            }
        }
        Err(format!("backups go on failing on a store that is whole again: {}", said.join("; ")))
    }
}

fn struck(store: FaultStore, strike: &Strike) -> FaultStore {
    match strike.lasts {
        true => store.from(strike.method, strike.call, strike.fault),
        false => store.on(strike.method, strike.call, strike.fault),
    }
}
