//! The steps one after the other: looked at, done, looked at again; or taken back.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::job::{Job, Order};
use super::step::{Standing, Step, StepName};
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::unless_stopped;

/// Which steps are wanted.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Only these, where any are named.
    pub only: BTreeSet<StepName>,
    /// None of these.
    pub skip: BTreeSet<StepName>,
}

impl Chosen {
    /// Returns why a step is not wanted, where it is not.
    pub fn refuses(&self, name: StepName) -> Option<String> {
        if self.skip.contains(&name) {
            return Some(format!("--skip {name}"));
        }
        let named = self.only.is_empty() || self.only.contains(&name);
        (!named).then(|| "not named by --only".to_owned())
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// It was done before.
    Nothing,
    /// It is done now; what lacked or differed.
    Made(Standing),
    /// It was not done, for a reason.
    Skipped(String),
}

/// A step, what became of it and how long it took.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Which step.
    pub name: StepName,
    /// What became of it.
    pub did: Did,
    /// How long it took, looks included.
    pub took: Duration,
}

/// What became of all steps.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The steps, in their order.
    pub steps: Vec<StepReport>,
}

impl Report {
    /// Tells whether a step changed anything.
    pub fn changed(&self) -> bool {
        self.steps.iter().any(|s| matches!(s.did, Did::Made(_)))
    }
}

/// Returns why a step is not done, where it is not: not wanted, or nothing configured for it.
pub fn skipped(step: &dyn Step, order: &Order, chosen: &Chosen) -> Option<String> {
    chosen.refuses(step.name()).or_else(|| step.skipped(order))
}

/// Does the chosen steps in their order; stops at the first that fails.
///
/// Fails with the step's name before the cause; what was done stays, and the next call goes on from there.
pub async fn apply(steps: &[Box<dyn Step>], job: &Job, chosen: &Chosen) -> Result<Report> {
    let mut report = Report::default();
    for step in steps {
        let (name, started) = (step.name(), Instant::now());
        let did = match skipped(&**step, &job.order, chosen) {
            Some(reason) => Did::Skipped(reason),
            None => {
                job.around.monitor.step(name.as_str());
                let done = unless_stopped(&job.around.stop, one(&**step, job)).await;
                done.map_err(|e| e.in_context(format_args!("step {name}")))?
            }
        };
        job.around.monitor.note(&sentence(name, &did, started.elapsed()));
        report.steps.push(StepReport { name, did, took: started.elapsed() });
    }
    Ok(report)
}

async fn one(step: &dyn Step, job: &Job) -> Result<Did> {
    let before = step.check(job).await?;
    if before == Standing::Done {
        return Ok(Did::Nothing);
    }
    step.apply(job).await?;
    match step.check(job).await? {
        Standing::Done => Ok(Did::Made(before)),
        left => Err(Error::new(Kind::CheckFailed, format!("done, and still {left}"))),
    }
}

fn sentence(name: StepName, did: &Did, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match did {
        Did::Nothing => format!("{name}: as it should be ({seconds:.1} s)"),
        Did::Made(before) => format!("{name}: done ({seconds:.1} s); {before} before"),
        Did::Skipped(reason) => format!("{name}: skipped: {reason}"),
    }
}

/// Removes what this run made, the last step first.
///
/// Goes on after a failure, so that one stuck thing keeps nothing else alive, then fails with the first. A tenant that
/// was whole once is not taken back: [`Kind::Conflict`].
pub async fn roll_back(steps: &[Box<dyn Step>], job: &Job) -> Result<()> {
    if job.journal.is_ended() {
        let what = format!("tenant {} is provisioned, and may hold work of its users", job.order.tenant.name);
        return Err(Error::new(Kind::Conflict, what)
            .hint("`lifeboat deprovision` removes it, behind a last snapshot"));
    }
    job.docker.settle().await;
    let mut first: Option<Error> = None;
    for step in steps.iter().rev() {
        job.around.monitor.step(&format!("undo {}", step.name()));
        if let Err(error) = step.undo(job).await {
            let error = error.in_context(format_args!("step {}", step.name()));
            job.around.monitor.problem(&error);
            first = first.or(Some(error));
        }
    }
    first.map_or(Ok(()), Err)
}
