//! `drill`: a tenant restored into a fresh isolated one, proven equal, brought to life, timed and torn down.
//!
//! L3: loaded into fresh MariaDB and Redis, the second dump equal to the first, every file's hash equal, Redis keys
//! counted. L4: made harmless, booted from the tenant's own image in a network whose isolation is proven, an administrator
//! logged in. What it makes bears its label; what it leaves behind is a failure of the drill.

mod alive;
mod app;
mod asked;
mod bench;
mod checks;
mod data;
mod database;
pub mod evidence;
pub mod history;
mod isolation;
mod own;
mod pick;
mod queues;
pub mod report;
mod site;

use std::time::Instant;

use jiff::SignedDuration;

use crate::config::{Drilling, Pick};
use crate::error::{Error, Result};
use crate::id::{DrillId, ProofLevel, TenantName};
use crate::ops::appliance::{Appliance, unless_stopped};
use crate::ops::restore::{self, Opened};
use crate::ops::snapshots::{self, Which};
use crate::repo::age_file::Identities;
use crate::repo::drill::{self as stored, CheckOutcome, NewOutcome, PhaseTime};
use crate::repo::snapshot;

pub use asked::{Asked, ask, asked, forget};
use bench::{Bench, TornDown};
use checks::Findings;
use evidence::Drilled;
use pick::Kept;
use report::Outcome;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose backup.
    pub tenant: TenantName,
    /// Which snapshot.
    pub choice: Choice,
    /// How far; none for what the policy says.
    pub level: Option<ProofLevel>,
    /// The image to boot the application from; none for what the tenant's file says.
    pub app_image: Option<String>,
    /// What picks a snapshot where one is picked by chance.
    pub chance: u64,
}

/// How a drill comes by its snapshot.
#[derive(Debug, Clone)]
pub enum Choice {
    /// It is named.
    Named(Which),
    /// It is picked.
    Picked(Pick, SignedDuration),
    /// It is picked as the policy says.
    AsPolicySays,
}

/// Restores a tenant into a fresh isolated one, checks it, times it, tears it down and stores the signed report.
///
/// A fault that the drill finds is no error: the report says it. An error means that the drill could not be carried
/// out, such as a wrong key; what was made is removed then too.
pub async fn drill(appliance: &Appliance, request: &Request, identities: &Identities) -> Result<Drilled> {
    let started = appliance.around.now();
    let id = DrillId::new(started, rand::random());
    let certificate = appliance
        .trust
        .may_write(&appliance.config.machine.host, crate::repo::certificate::Role::Drill, &request.tenant)?
        .number;
    appliance.around.monitor.step(&format!("drill {}: open the snapshot", request.tenant));
    let clock = Instant::now();
    let opening = async {
        let (which, picked) = which(appliance, request).await?;
        Ok((restore::open(appliance, &request.tenant, &which, identities).await?, picked))
    };
    let (opened, picked) = unless_stopped(&appliance.around.stop, opening).await?;
    let mut findings = Findings::begin(clock.elapsed());

    let mut bench = Bench::new(appliance.docker().await?, owner(appliance), &request.tenant, &id, started);
    let work = carry_out(appliance, request, &opened, &mut bench, &mut findings);
    let carried_out = unless_stopped(&appliance.around.stop, work).await;
    let torn_down = bench.tear_down().await;
    if let Err(e) = carried_out {
        return Err(after(e, request, torn_down));
    }
    findings.teardown(torn_down);

    let report = findings.report(appliance, request, &opened, &picked, (id, started), certificate);
    let drilled = Drilled::sign(report, &appliance.host_key()?)?;
    store(appliance, &opened, identities, &drilled).await?;
    // Whoever asked for one has it.
    forget(&appliance.state, &request.tenant)?;
    Ok(drilled)
}

/// Returns the snapshot that is asked for, and how it was picked, in words.
async fn which(appliance: &Appliance, request: &Request) -> Result<(Which, String)> {
    let (pick, within) = match &request.choice {
        Choice::Named(which @ Which::Id(_)) => return Ok((which.clone(), "named".to_owned())),
        Choice::Named(Which::Latest) => (Pick::Latest, SignedDuration::MAX),
        Choice::Picked(pick, within) => (*pick, *within),
        Choice::AsPolicySays => {
            let default = Drilling::default();
            let how = appliance.config.tenant(&request.tenant).ok().map_or(&default, |t| &t.policy.drilling);
            (how.pick, SignedDuration::try_from(how.within).unwrap_or(SignedDuration::MAX))
        }
    };
    if pick == Pick::Latest {
        return Ok((Which::Latest, pick.word().to_owned()));
    }
    let (history, drills, _) = snapshots::seen(appliance, &request.tenant).await?;
    let now = appliance.around.now();
    let found = Kept::of(&history, &drills).choose(pick, within, now, request.chance);
    // Without any, the look for the newest says what is wrong.
    Ok(found.map_or((Which::Latest, pick.word().to_owned()), |(id, how)| (Which::Id(id), how)))
}

/// Says of the error that ended a drill what has become of what it had made.
fn after(error: Error, request: &Request, torn_down: Result<TornDown>) -> Error {
    let made = match torn_down {
        Ok(TornDown { left, .. }) if left.is_empty() => "all that it had made is removed".to_owned(),
        Ok(TornDown { left, .. }) => format!("to be removed by hand: {}", left.join(", ")),
        Err(e) => format!("what it had made is left, labelled lifeboat.kind=drill: {e}"),
    };
    let hint = error.hint_text().map_or_else(|| made.clone(), |hint| format!("{hint}; {made}"));
    error.in_context(format!("drill of {}", request.tenant)).hint(hint)
}

async fn carry_out(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
    bench: &mut Bench,
    findings: &mut Findings,
) -> Result<()> {
    let records: Vec<_> = opened.reader.streams().to_vec();
    appliance.around.monitor.expect_bytes(records.iter().map(|r| r.size_bytes).sum());
    opened.reader.expect(&records);
    bench.isolate().await?;
    findings.missing_components(opened);
    let copy = alive::Copy {
        database: database::drill(appliance, opened, bench, findings).await?,
        queues: queues::drill(appliance, opened, bench, findings).await?,
        site: site::drill(appliance, opened, bench, findings).await?,
    };
    alive::drill(appliance, request, opened, bench, &copy, findings).await?;
    match alive::used(bench).await {
        Ok(used) => findings.used = used,
        Err(e) => appliance.around.monitor.note(&alive::unknown_use(&e)),
    }
    Ok(())
}

/// Signs the outcome, seals the report to the vault and stores both.
async fn store(
    appliance: &Appliance,
    opened: &Opened,
    identities: &Identities,
    drilled: &Drilled,
) -> Result<()> {
    let report = &drilled.report;
    let vault = snapshot::open_vault(&appliance.repo, &opened.committed.receipt, identities).await?;
    let new = NewOutcome {
        drill: report.drill.clone(),
        tenant: report.tenant.clone(),
        snapshot: (report.snapshot.clone(), report.receipt),
        times: (report.started, report.finished),
        level: report.proof().unwrap_or(ProofLevel::Listed).to_string(),
        double: report.has_double(),
        rto_seconds: report.rto_seconds,
        passed: report.outcome == Outcome::Passed,
        checks: report
            .checks
            .iter()
            .map(|c| CheckOutcome { check: c.check.clone(), outcome: c.outcome.word().to_owned() })
            .collect(),
        phases: report
            .phases
            .iter()
            .map(|p| PhaseTime { phase: p.phase.clone(), seconds: p.seconds })
            .collect(),
        report: drilled.json.clone(),
    };
    let host = &appliance.config.machine.host;
    stored::record(&appliance.repo, &appliance.trust, host, &appliance.host_key()?, &vault, new).await?;
    Ok(())
}

/// Removes what drills that died have left behind; returns the names.
pub async fn sweep(appliance: &Appliance) -> Result<Vec<String>> {
    let docker = appliance.docker().await?;
    let gone = docker.sweep_expired(&owner(appliance), appliance.around.now()).await?;
    Ok(gone.into_iter().map(|l| l.name).collect())
}

/// Tells this Lifeboat from others on the same host.
fn owner(appliance: &Appliance) -> String {
    appliance.config.machine.state_dir.display().to_string()
}
