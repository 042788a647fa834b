//! How every tenant stands: made from the runs, the policies and the time, and from nothing else.
//!
//! Owns what is green and what is not. Knows nothing of stores; a level of proof is shown only as a drill of this
//! host reported it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::journal::{Journal, Runs, is_believed};
use super::plan::rule_of;
use super::run::{JobKind, Outcome, Run};
use super::schedule::next_run;
use super::timeliness::Timeliness;
use crate::config::{Config, LockMode, Tenant};
use crate::error::Result;
use crate::id::{ComponentName, HostName, ProofLevel, TenantName};
use crate::ops::backup::ComponentState;

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
    /// How far apart drills are planned.
    pub drill_interval_seconds: Option<i64>,
    /// How long a restore may take.
    pub rto_seconds: u64,
    /// For how long objects are locked; none where the policy locks nothing.
    pub lock_seconds: Option<u64>,
    /// Whether the backup that was planned last is there.
    pub timeliness: Timeliness,
    /// The last backup that was committed, whole or not.
    pub committed: Option<Run>,
    /// The last drill that was carried out, good or not.
    pub drilled: Option<Run>,
    /// The last good drill.
    pub drilled_well: Option<Run>,
    /// When the newest backup was begun in which each component was whole.
    pub component_whole: BTreeMap<ComponentName, Timestamp>,
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
    let next_after = |kind, after| rule_of(config, tenant, kind).and_then(|rule| next_run(&rule, after));
    let next = |kind| next_after(kind, now);
    let next_drill = next(JobKind::Drill);
    let interval = next_drill.and_then(|at| Some(next_after(JobKind::Drill, at)?.duration_since(at)));
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
        next_drill,
        drill_interval_seconds: interval.map(|d| d.as_secs()),
        rto_seconds: tenant.policy.rto.as_secs(),
        lock_seconds: (tenant.policy.lock.mode != LockMode::Off)
            .then(|| tenant.policy.lock.horizon.as_secs()),
        timeliness: timeliness(config, tenant, runs, now),
        committed: newest(runs, name, JobKind::Backup, |run| run.report.snapshot.is_some()),
        drilled: newest(runs, name, JobKind::Drill, |run| run.report.drill.is_some()),
        drilled_well: drilled.cloned(),
        component_whole: component_whole(runs, name, now),
    }
}

fn newest(runs: &Runs, tenant: &TenantName, kind: JobKind, is: impl Fn(&&Run) -> bool) -> Option<Run> {
    runs.of(tenant, kind).rev().find(is).cloned()
}

fn timeliness(config: &Config, tenant: &Tenant, runs: &Runs, now: Timestamp) -> Timeliness {
    let Some(rule) = rule_of(config, tenant, JobKind::Backup) else { return Timeliness::OnTime };
    let seen = runs.first_seen(&tenant.name, JobKind::Backup);
    Timeliness::of(&rule, &runs.past(&tenant.name, JobKind::Backup, now), seen, now)
}

fn component_whole(runs: &Runs, tenant: &TenantName, now: Timestamp) -> BTreeMap<ComponentName, Timestamp> {
    let mut newest = BTreeMap::new();
    for run in runs.of(tenant, JobKind::Backup) {
        let Some(started) = run.started.filter(|at| is_believed(*at, now)) else { continue };
        let whole = run.report.components.iter().filter(|c| c.state == ComponentState::Whole);
        newest.extend(whole.map(|c| (c.component, started)));
    }
    newest
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
