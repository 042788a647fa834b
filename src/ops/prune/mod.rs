//! `prune`: forgets what the policy does not keep, and removes what nothing needs any more.
//!
//! Two runs, no clock: the first signs a void mark that names the receipts it forgets and the packs that nobody may
//! reuse; a later one removes these packs once every host that may write has committed a receipt that saw the mark.
//! Owns the order of these steps. What is kept is decided in [`retention`], what may go in [`plan`](mod@plan).

pub mod plan;
pub mod retention;
mod slots;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result, counted};
use crate::id::{ProofLevel, SnapshotId, TenantName};
use crate::ops::anomaly;
use crate::ops::appliance::Appliance;
use crate::ops::state::State;
use crate::ops::{pin, snapshots, state};
use crate::repo::certificate::Role;
use crate::repo::drill::{self, DrillOutcome};
use crate::repo::history::{Head, History};
use crate::repo::receipt::Committed;
use crate::repo::survey::{self, Removed, Survey};
use crate::repo::void::{self, NewMark};

use plan::{Orders, Plan};
use retention::{Candidate, Pin, Rules, decide, doubted};

/// What puts that were killed left half-done is removed after this time, by the store's clock.
const HALF_DONE: Duration = Duration::from_secs(2 * 86_400);

/// How many reasons of removals that failed are told one by one.
const FAILURES_TOLD: usize = 5;

/// What a prune did.
#[derive(Debug, Serialize)]
pub struct Pruned {
    /// Whose.
    pub tenant: TenantName,
    /// How many snapshots were forgotten.
    pub forgotten: usize,
    /// The number of the void mark that was written, if one was.
    pub mark: Option<u32>,
    /// How many packs are gone.
    pub packs: usize,
    /// Bytes of all objects that are gone.
    pub bytes: u64,
    /// How many objects could not be removed.
    pub not_removed: u64,
    /// Why, the first few.
    pub failures: Vec<String>,
}

/// Looks at a tenant and returns what a prune would do; changes nothing.
pub async fn plan(appliance: &Appliance, tenant: &TenantName, orders: &Orders) -> Result<Plan> {
    let policy = &appliance.config.tenant(tenant)?.policy;
    let remembered = remembered(appliance, tenant)?;
    let survey = Survey::take(&appliance.repo, &appliance.trust, tenant, remembered.as_ref()).await?;
    let (drills, _) = drill::load(&appliance.repo, &appliance.trust, tenant).await?;
    let pins = pin::pins(appliance, tenant)?;
    let candidates = candidates(&survey, &drills, &pins);
    let newest = candidates.last().map(|c| c.stored);
    // The earlier of two clocks: one alone that jumps ahead makes nothing old.
    let now = newest.map_or(appliance.around.now(), |stored| stored.min(appliance.around.now()));
    let decisions = decide(&candidates, Rules::from(&**policy), now);
    let certificates: Vec<String> =
        appliance.trust.faults().iter().map(|(host, n, _, what)| format!("{host}.{n}: {what}")).collect();
    let mut plan = Plan::new(&survey, &certificates, &candidates, decisions, orders, now);
    let newest = survey.history.snapshots.last().map(|c| &c.receipt);
    if let Some(what) = anomaly::of_newest(&appliance.state, tenant, newest)? {
        plan.stop("suspicious", what);
    }
    if let Some(hold) = appliance.state.hold(tenant, appliance.around.now())? {
        plan.hold(format!("on hold until {}: {}", hold.until, hold.reason));
    }
    if !plan.is_stopped()
        && let Some(head) = survey.history.head()
    {
        state::write_json(&head_file(appliance, tenant)?, &head)?;
    }
    Ok(plan)
}

/// Fails with [`Kind::Denied`] where this host may not prune all of these tenants, before work is done for nothing.
pub fn refuse_without_role(appliance: &Appliance, tenants: &[TenantName]) -> Result<()> {
    let host = &appliance.config.machine.host;
    for tenant in tenants {
        appliance.trust.may_write(host, Role::Prune, tenant).map_err(|e| {
            e.hint(
                "allow it: `lifeboat keys certify --kit KIT --role backup,drill,prune`, or on a machine of its own \
                 with `--role prune`; `lifeboat prune --dry-run` needs no role",
            )
        })?;
    }
    Ok(())
}

/// Finds the receipts whose time does not fit the store's or the order of receipts, and says why each stops a prune.
pub fn odd_times(history: &History) -> Vec<(SnapshotId, plan::Stop)> {
    let candidate = |c: &Committed| candidate(c, false, None, Vec::new());
    let odd = doubted(&history.snapshots.iter().map(candidate).collect::<Vec<_>>());
    odd.iter().map(|d| d.snapshot.clone()).zip(plan::odd_times(&odd)).collect()
}

/// Carries a plan out: void mark, then receipts, then packs.
///
/// What is removed twice is no fault, so that a run after one that died finishes its work. Objects that cannot be
/// removed are counted and tried again by the next run. [`Kind::Denied`] where this host may not prune,
/// [`Kind::Locked`] where another prune of the tenant runs here, [`Kind::CheckFailed`] where the plan is stopped.
pub async fn apply(appliance: &Appliance, plan: &Plan) -> Result<Pruned> {
    if let Some(stop) = plan.stops.first() {
        return Err(Error::new(Kind::CheckFailed, format!("prune of {} stops: {}", plan.tenant, stop.what)));
    }
    let _lock = appliance.state.prune_lock(&plan.tenant)?;
    refuse_without_role(appliance, std::slice::from_ref(&plan.tenant))?;
    let store = appliance.store();
    let mark = write_mark(appliance, plan).await?;
    let mut removed = Removed::default();
    for entries in &plan.work.snapshots {
        interruptible(appliance)?;
        removed.add(survey::remove_snapshot(store, entries).await);
    }
    interruptible(appliance)?;
    let packs = survey::remove(store, plan.work.packs.clone()).await;
    let packs_kept = packs.failed.len();
    removed.add(packs);
    if !plan.work.marks.is_empty() {
        removed.add(survey::remove_marks(store, &plan.tenant, &plan.work.marks).await?);
    }
    let failures = removed.failed.iter().take(FAILURES_TOLD).map(ToString::to_string).collect();
    Ok(Pruned {
        tenant: plan.tenant.clone(),
        forgotten: plan.forget.len(),
        mark,
        packs: plan.now_go.packs.saturating_sub(packs_kept),
        bytes: removed.bytes,
        not_removed: removed.failed.len() as u64,
        failures,
    })
}

/// Removes what puts that were killed left half-done in the store, all tenants together; returns how much that was.
pub async fn sweep(appliance: &Appliance) -> Result<u64> {
    appliance.store().sweep(HALF_DONE).await
}

async fn write_mark(appliance: &Appliance, plan: &Plan) -> Result<Option<u32>> {
    let work = &plan.work;
    if work.void.is_empty() && work.forgotten.is_empty() {
        return Ok(None);
    }
    let new = NewMark {
        tenant: plan.tenant.clone(),
        time: appliance.around.now(),
        packs: work.void.clone(),
        forgotten: work.forgotten.clone(),
        gone: work.gone.iter().copied().collect(),
        reason: "prune",
    };
    let signer = appliance.host_key()?;
    let host = &appliance.config.machine.host;
    let mark = void::write(&appliance.repo, &appliance.trust, host, &signer, new).await?;
    Ok(Some(mark.number))
}

fn interruptible(appliance: &Appliance) -> Result<()> {
    match appliance.around.stop.is_cancelled() {
        true => Err(Error::new(Kind::Interrupted, "prune was interrupted; the next run finishes its work")),
        false => Ok(()),
    }
}

fn candidates(survey: &Survey, drills: &[DrillOutcome], pins: &BTreeMap<SnapshotId, Pin>) -> Vec<Candidate> {
    let of = |c: &Committed| {
        let r = &c.receipt;
        let passed = drills.iter().filter(|d| d.passed() && d.receipt == c.hash);
        let at_backup = r.pinned_until.map(|until| Pin { until, reason: "since its backup".to_owned() });
        let proof = passed.filter_map(|d| d.level.parse().ok()).max();
        let pins = at_backup.into_iter().chain(pins.get(&r.snapshot).cloned()).collect();
        candidate(c, survey.is_intact(c), proof, pins)
    };
    survey.history.snapshots.iter().map(of).collect()
}

fn candidate(c: &Committed, intact: bool, proof: Option<ProofLevel>, pins: Vec<Pin>) -> Candidate {
    let r = &c.receipt;
    Candidate {
        snapshot: r.snapshot.clone(),
        sequence: r.sequence,
        started: r.started,
        finished: r.finished,
        stored: c.stored,
        whole: r.is_whole(),
        intact,
        suspicious: r.is_suspicious(),
        proof,
        pins,
    }
}

/// Returns the newest head that this machine has seen, by backups or by prunes.
fn remembered(appliance: &Appliance, tenant: &TenantName) -> Result<Option<Head>> {
    let by_prune: Option<Head> = state::read_json(&head_file(appliance, tenant)?)?;
    let by_backup = snapshots::remembered_head(appliance, tenant)?;
    Ok(by_prune.into_iter().chain(by_backup).max_by_key(|h| h.sequence))
}

fn head_file(appliance: &Appliance, tenant: &TenantName) -> Result<PathBuf> {
    Ok(appliance.state.tenant(tenant)?.join("prune-head.json"))
}

/// The file of how the last prune ended, in the tenant's folder.
const LAST: &str = "last-prune.json";

/// How the last prune of a tenant on this machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// What hindered it, if anything did.
    pub problem: Option<String>,
}

/// Plans and applies without asking, as the service does, and remembers how it ended.
pub async fn unattended(appliance: &Appliance, tenant: &TenantName) -> Result<Pruned> {
    let done = async {
        let plan = plan(appliance, tenant, &Orders::default()).await?;
        apply(appliance, &plan).await
    };
    let done = done.await;
    remember(appliance, tenant, &done)?;
    done
}

/// Remembers how a prune ended, for `status`.
pub fn remember(appliance: &Appliance, tenant: &TenantName, done: &Result<Pruned>) -> Result<()> {
    let problem = match done {
        Ok(done) if done.not_removed > 0 => {
            Some(format!("{} could not be removed", counted(done.not_removed, "object")))
        }
        Ok(_) => None,
        Err(e) => Some(e.to_string()),
    };
    state::write_json(
        &appliance.state.tenant(tenant)?.join(LAST),
        &Last { at: appliance.around.now(), problem },
    )
}

/// Returns how the last prune of a tenant on this machine ended.
pub fn last(state: &State, tenant: &TenantName) -> Result<Option<Last>> {
    state::read_json(&state.tenant_if_there(tenant).join(LAST))
}
