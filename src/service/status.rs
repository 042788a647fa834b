//! How every tenant stands: made from the runs, the policies and the time, and from nothing else.
//!
//! Owns what is green and what is not. Knows nothing of stores; a level of proof is shown only as a drill of this
//! host reported it.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::journal::{Journal, Runs};
use super::plan::rule_of;
use super::run::{JobKind, Outcome, Run};
use super::schedule::next_run;
use crate::config::{Config, Tenant};
use crate::error::Result;
use crate::id::{HostName, ProofLevel, TenantName};

/// How a tenant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Light {
    /// Its last runs were good, and its newest whole snapshot is as young as promised.
    Good,
    /// Its first backup is still to come.
    Waiting,
    /// It is on hold: never green, and no failure.
    Held,
    /// Something is wrong.
    Bad,
}

/// How this host and its tenants stand.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The version of this shape, 1.
    pub format: u32,
    /// Which host.
    pub host: HostName,
    /// When this was true.
    pub now: Timestamp,
    /// Whether a service runs.
    pub serving: bool,
    /// Its tenants by name.
    pub tenants: Vec<TenantStatus>,
}

/// How one tenant stands.
#[derive(Debug, Clone, Serialize)]
pub struct TenantStatus {
    /// Which tenant.
    pub tenant: TenantName,
    /// Its policy.
    pub policy: String,
    /// The sum of what follows.
    pub light: Light,
    /// What is wrong, one fragment each.
    pub problems: Vec<String>,
    /// Why it is on hold.
    pub held: Option<String>,
    /// What runs now.
    pub running: Vec<JobKind>,
    /// The last backup that ended.
    pub last_backup: Option<Run>,
    /// When the newest whole snapshot was begun.
    pub newest_whole: Option<Timestamp>,
    /// How old it is.
    pub age_seconds: Option<i64>,
    /// How old it may be.
    pub rpo_seconds: u64,
    /// How long the last good backup took.
    pub backup_seconds: Option<i64>,
    /// The last drill that ended.
    pub last_drill: Option<Run>,
    /// The level that the last good drill reached.
    pub proof: Option<ProofLevel>,
    /// When it did.
    pub proven: Option<Timestamp>,
    /// When the next backup is planned.
    pub next_backup: Option<Timestamp>,
    /// When the next drill is planned.
    pub next_drill: Option<Timestamp>,
}

impl Status {
    /// Reads how the host stands at `now`, whether a service runs or not.
    pub fn read(
        config: &Config,
        held: impl Fn(&TenantName) -> Option<String>,
        now: Timestamp,
    ) -> Result<Status> {
        let peek = Journal::peek(&config.machine.state_dir)?;
        Ok(Status::of(config, &peek.runs, held, peek.alive, now))
    }

    /// Makes the status from what is known of runs.
    pub fn of(
        config: &Config,
        runs: &Runs,
        held: impl Fn(&TenantName) -> Option<String>,
        serving: bool,
        now: Timestamp,
    ) -> Status {
        Status {
            format: 1,
            host: config.machine.host.clone(),
            now,
            serving,
            tenants: config.tenants().map(|t| of_tenant(config, t, runs, held(&t.name), now)).collect(),
        }
    }

    /// Tells whether any tenant is bad; `lifeboat status` then exits 4.
    pub fn is_bad(&self) -> bool {
        self.tenants.iter().any(|t| t.light == Light::Bad)
    }
}

fn of_tenant(
    config: &Config,
    tenant: &Tenant,
    runs: &Runs,
    held: Option<String>,
    now: Timestamp,
) -> TenantStatus {
    let name = &tenant.name;
    let good = runs.newest_whole(name, now);
    let drilled = runs.last_good(name, JobKind::Drill);
    let newest_whole = good.and_then(|run| run.started);
    let next = |kind| rule_of(config, tenant, kind).and_then(|rule| next_run(&rule, now));
    let running = |kind: &JobKind| runs.of(name, *kind).next_back().is_some_and(|run| run.outcome.is_none());
    let problems = problems(tenant, runs, now);
    let light = match (&held, problems.is_empty(), good) {
        (Some(_), _, _) => Light::Held,
        (None, false, _) => Light::Bad,
        (None, true, None) => Light::Waiting,
        (None, true, Some(_)) => Light::Good,
    };
    TenantStatus {
        tenant: name.clone(),
        policy: tenant.policy.name.clone(),
        light,
        problems,
        held,
        running: JobKind::ALL.into_iter().filter(running).collect(),
        last_backup: runs.last(name, JobKind::Backup).cloned(),
        newest_whole,
        age_seconds: newest_whole.map(|t| now.duration_since(t).as_secs()),
        rpo_seconds: tenant.policy.rpo.as_secs(),
        backup_seconds: good.and_then(Run::duration).map(|d| d.as_secs()),
        last_drill: runs.last(name, JobKind::Drill).cloned(),
        proof: drilled.and_then(|run| run.report.level),
        proven: drilled.and_then(|run| run.started),
        next_backup: next(JobKind::Backup),
        next_drill: next(JobKind::Drill),
    }
}

fn problems(tenant: &Tenant, runs: &Runs, now: Timestamp) -> Vec<String> {
    let mut all = Vec::new();
    for kind in JobKind::ALL {
        if let Some(run) = runs.last(&tenant.name, kind)
            && let Some(outcome) = run.outcome.filter(|o| o.is_bad())
        {
            let reason = run.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
            all.push(format!("last {kind} {}{reason}", words(outcome)));
        }
    }
    // Before the first backup, the time since the tenant was configured counts: never backed up must not stay silent.
    let whole = runs.newest_whole(&tenant.name, now).and_then(|run| run.started);
    let since = whole.or_else(|| runs.first_seen(&tenant.name, JobKind::Backup));
    let rpo = SignedDuration::try_from(tenant.policy.rpo).unwrap_or(SignedDuration::MAX);
    if since.is_some_and(|since| now.duration_since(since) > rpo) {
        let what = if whole.is_some() {
            "the newest whole snapshot is older"
        } else {
            "no whole snapshot for longer"
        };
        all.push(format!("{what} than the RPO of {rpo:#}"));
    }
    all
}

fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotRun => "not run",
        other => other.as_str(),
    }
}
