//! One run from its begin to its end: at most two tries, within a time, and no panic beyond it.
//!
//! Owns which failures are worth a second try. Knows nothing of schedules and notices.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::desk::Desk;
use super::jobs::Jobs;
use super::report::JobReport;
use super::run::{JobKind, Outcome, Run};
use crate::error::{Error, Kind, Result};
use futures::FutureExt;

/// How long a second try waits: long enough for a container or store that restarts.
const PAUSE: Duration = Duration::from_secs(60);

/// A run may take as long as this many of its stages; the verbs' own timeouts come first.
pub(super) const STAGES: u32 = 4;

/// The limit of a run whose policy is not known any more.
pub(super) const NO_LIMIT: Duration = Duration::from_secs(86_400);

/// Works on a run that has begun, and returns it ended.
pub(super) async fn run<C: Clock, J: Jobs>(
    desk: Arc<Desk>,
    clock: Arc<C>,
    jobs: Arc<J>,
    mut run: Run,
    limit: Duration,
) -> Run {
    let first = once(&*clock, &*jobs, &run, limit).await;
    let Err(error) = &first else { return run.concluded(clock.now(), first) };
    if !is_worth_a_second_try(error.kind()) {
        return run.concluded(clock.now(), first);
    }
    let (tenant, kind, planned, trigger) = (run.tenant.clone(), run.kind, run.planned, run.trigger);
    tracing::warn!(tenant.name = %tenant, job = %kind, error = %error, "a run failed and is tried once more");
    desk.put(run.concluded(clock.now(), first)).await;
    clock.sleep(PAUSE).await;
    run = Run::new(tenant, kind, planned, trigger);
    run.attempt = desk.next_attempt(&run);
    run.started = Some(clock.now());
    desk.put(run.clone()).await;
    let second = once(&*clock, &*jobs, &run, limit).await;
    run.concluded(clock.now(), second)
}

/// A second try helps where something outside may have come back; it does not where an answer was given.
fn is_worth_a_second_try(kind: Kind) -> bool {
    matches!(kind, Kind::Store | Kind::Host | Kind::Source | Kind::Io | Kind::Locked)
}

async fn once<C: Clock, J: Jobs>(clock: &C, jobs: &J, run: &Run, limit: Duration) -> Result<JobReport> {
    let work = async {
        match run.kind {
            JobKind::Backup => jobs.backup(&run.tenant, run.trigger).await,
            JobKind::Drill => jobs.drill(&run.tenant).await,
        }
    };
    tokio::select! {
        result = AssertUnwindSafe(work).catch_unwind() => result.unwrap_or_else(|_| {
            Err(Error::new(Kind::Bug, format!("the {} of {} panicked", run.kind, run.tenant)))
        }),
        () = clock.sleep(limit) => {
            Err(Error::new(Kind::Timeout, format!("the {} of {} took longer than {limit:?}", run.kind, run.tenant)))
        }
    }
}

impl Desk {
    /// Returns what a host's dead-man's switch is told after `run`.
    pub(super) fn verdict(&self, run: &Run) -> super::Ping {
        let config = self.config();
        if super::notify::switch_per_tenant(&config.machine.notify) {
            return super::notify::verdict([run.outcome]);
        }
        let last = |name| self.last_outcome(name, JobKind::Backup);
        let others: Vec<Option<Outcome>> = config.tenants().map(|t| last(&t.name)).collect();
        super::notify::verdict(others)
    }
}
