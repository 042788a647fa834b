//! `drill`: a tenant restored into a fresh isolated one, proven equal, timed and torn down.
//!
//! Reaches L3: loaded into fresh MariaDB and Redis, the second dump equal to the first, every file's hash equal, Redis
//! keys counted. What it makes bears its label; what it leaves behind is a failure of the drill.

mod asked;
mod bench;
mod checks;
mod database;
mod queues;
pub mod report;
mod site;

use std::time::Instant;

use crate::error::{Context, Error, Kind, Result};
use crate::id::{DrillId, TenantName};
use crate::ops::appliance::{Appliance, unless_stopped};
use crate::ops::restore::{self, Opened};
use crate::ops::snapshots::Which;
use crate::repo::age_file::Identities;
use crate::repo::drill::{self as stored, CheckOutcome, NewOutcome, PhaseTime};
use crate::repo::snapshot;

pub use asked::{Asked, ask, asked, forget};
use bench::Bench;
use checks::Findings;
use report::{Outcome, Report};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose backup.
    pub tenant: TenantName,
    /// Which snapshot.
    pub which: Which,
}

/// Restores a tenant into a fresh isolated one, checks it, times it, tears it down and stores the signed report.
///
/// A fault that the drill finds is no error: the report says it. An error means that the drill could not be carried
/// out, such as [`Kind::WrongKey`]; what was made is removed then too.
pub async fn drill(appliance: &Appliance, request: &Request, identities: &Identities) -> Result<Report> {
    let started = appliance.around.now();
    let id = DrillId::new(started, rand::random());
    appliance.trust.may_write(
        &appliance.config.machine.host,
        crate::repo::certificate::Role::Drill,
        &request.tenant,
    )?;
    appliance.around.monitor.step(&format!("drill {}: open the snapshot", request.tenant));
    let clock = Instant::now();
    let opening = restore::open(appliance, &request.tenant, &request.which, identities);
    let opened = unless_stopped(&appliance.around.stop, opening).await?;
    let mut findings = Findings::begin(clock.elapsed());

    let mut bench = Bench::new(appliance.docker().await?, &request.tenant, &id, started);
    let work = carry_out(appliance, &opened, &mut bench, &mut findings);
    let carried_out = unless_stopped(&appliance.around.stop, work).await;
    let torn_down = bench.tear_down().await;
    if let Err(e) = carried_out {
        return Err(after(e, request, torn_down));
    }
    findings.teardown(torn_down);

    let report = findings.report(appliance, request, &opened, id, started);
    store(appliance, &opened, identities, &report).await?;
    // Whoever asked for one has it.
    forget(&appliance.state, &request.tenant)?;
    Ok(report)
}

/// Says of the error that ended a drill what has become of what it had made.
fn after(error: Error, request: &Request, torn_down: Result<Vec<String>>) -> Error {
    let made = match torn_down {
        Ok(left) if left.is_empty() => "all that it had made is removed".to_owned(),
        Ok(left) => format!("to be removed by hand: {}", left.join(", ")),
        Err(e) => format!("what it had made is left, labelled lifeboat.kind=drill: {e}"),
    };
    let hint = error.hint_text().map_or_else(|| made.clone(), |hint| format!("{hint}; {made}"));
    error.in_context(format!("drill of {}", request.tenant)).hint(hint)
}

async fn carry_out(
    appliance: &Appliance,
    opened: &Opened,
    bench: &mut Bench,
    findings: &mut Findings,
) -> Result<()> {
    let records: Vec<_> = opened.reader.streams().to_vec();
    appliance.around.monitor.expect_bytes(records.iter().map(|r| r.size_bytes).sum());
    opened.reader.expect(&records);
    bench.isolate().await?;
    findings.missing_components(opened);
    database::drill(appliance, opened, bench, findings).await?;
    queues::drill(appliance, opened, bench, findings).await?;
    site::drill(appliance, opened, bench, findings).await
}

/// Signs the outcome, seals the report to the vault and stores both.
async fn store(
    appliance: &Appliance,
    opened: &Opened,
    identities: &Identities,
    report: &Report,
) -> Result<()> {
    let vault = snapshot::open_vault(&appliance.repo, &opened.committed.receipt, identities).await?;
    let json = serde_json::to_vec(report).context(Kind::Bug, "report of a drill")?;
    let new = NewOutcome {
        drill: report.drill.clone(),
        tenant: report.tenant.clone(),
        snapshot: (report.snapshot.clone(), report.receipt),
        times: (report.started, report.finished),
        level: report.level.clone(),
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
        report: json,
    };
    let host = &appliance.config.machine.host;
    stored::record(&appliance.repo, &appliance.trust, host, &appliance.host_key()?, &vault, new).await?;
    Ok(())
}

/// Removes what drills that died have left behind; returns the names.
pub async fn sweep(appliance: &Appliance) -> Result<Vec<String>> {
    let gone = appliance.docker().await?.sweep_expired(appliance.around.now()).await?;
    Ok(gone.into_iter().map(|l| l.name).collect())
}
