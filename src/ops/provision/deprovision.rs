//! `deprovision`: a tenant that provisioning made, removed again behind a verified last snapshot.
//!
//! Users are locked out first, so that the snapshot is the last word; then it is taken, read back whole, and only then is
//! anything removed: what the journal says, last first. Snapshots and keys stay.

use std::time::Duration;

use serde::Serialize;

use super::job::Job;
use super::journal::Thing;
use super::secrets::LAST_SNAPSHOT;
use super::services::RUN_LABEL;
use super::step::{Step, StepName};
use crate::config::Role;
use crate::error::{Error, Kind, Result, counted};
use crate::id::{SnapshotId, TenantName};
use crate::ops::appliance::{Appliance, unless_stopped};
use crate::ops::{backup, check};
use crate::repo::age_file::Identities;
use crate::repo::receipt::Trigger;

/// How long a container may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(60);

/// What `deprovision` would do.
#[derive(Debug, Clone, Serialize)]
pub struct Removal {
    /// Whose.
    pub tenant: TenantName,
    /// Where it was reached.
    pub domain: String,
    /// Containers that are stopped before the last snapshot, so that nobody changes anything behind it.
    pub stops: Vec<String>,
    /// What is removed, in this order: what kind of thing and which.
    pub removes: Vec<(String, String)>,
}

/// What `deprovision` did.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// Whose.
    pub tenant: TenantName,
    /// The last snapshot.
    pub snapshot: SnapshotId,
    /// How far it was verified.
    pub proof: String,
    /// How many things were removed.
    pub removed: usize,
}

/// Plans a removal: looks, changes nothing.
///
/// Fails with [`Kind::Conflict`] for a tenant whose journal is not there: what provisioning did not make, it does not
/// remove.
pub async fn plan(steps: &[Box<dyn Step>], job: &Job) -> Result<Removal> {
    let name = &job.order.tenant.name;
    let mut removes = Vec::new();
    for step in steps.iter().rev() {
        let things = job.journal.things(step.name());
        removes.extend(things.into_iter().map(|thing| (thing.kind, thing.name)));
    }
    if removes.is_empty() {
        return Err(Error::new(Kind::Conflict, format!("tenant {name} was not provisioned on this host"))
            .hint("remove it by hand; its snapshots stay until `lifeboat erase`"));
    }
    let mut stops = Vec::new();
    for (role, names) in &job.order.tenant.roles {
        for container in names.iter().filter(|_| *role != Role::Backend) {
            if job.docker.state(container).await?.is_some_and(|s| s.is_running()) {
                stops.push(container.clone());
            }
        }
    }
    Ok(Removal { tenant: name.clone(), domain: job.order.domain.clone(), stops, removes })
}

/// Takes the last snapshot, verifies it, then removes all that the plan says.
///
/// With identities every stream is read back (L2), without any each object is (L1). Until the snapshot is verified nothing
/// is removed, and a failure starts again what was stopped.
pub async fn apply(
    appliance: &Appliance,
    steps: &[Box<dyn Step>],
    job: &Job,
    plan: &Removal,
    identities: Option<&Identities>,
) -> Result<Removed> {
    let verified = async {
        if let Some(known) = verified_before(job).await? {
            return Ok(known);
        }
        for container in &plan.stops {
            job.docker.stop(container, STOP_GRACE).await?;
        }
        let (snapshot, proof) = last_snapshot(appliance, &plan.tenant, identities).await?;
        let thing = Thing::new(LAST_SNAPSHOT, format!("{snapshot} {proof}"));
        job.journal.intend(job.now(), StepName::Secrets, &thing)?;
        Ok((snapshot, proof))
    };
    let (snapshot, proof) = match unless_stopped(&job.around.stop, verified).await {
        Ok(done) => done,
        Err(error) => {
            start_again(job, plan).await;
            return Err(error.in_context("nothing is removed"));
        }
    };
    let mut first: Option<Error> = None;
    for step in steps.iter().rev() {
        job.around.monitor.step(&format!("remove {}", step.name()));
        if let Err(error) = step.undo(job).await {
            job.around.monitor.problem(&error);
            first = first.or(Some(error.in_context(format_args!("step {}", step.name()))));
        }
    }
    let left = job.docker.leftovers(&format!("{RUN_LABEL}={}", job.run)).await?;
    if let (None, false) = (&first, left.is_empty()) {
        let names: Vec<&str> = left.iter().map(|l| l.name.as_str()).collect();
        first = Some(Error::new(Kind::Host, format!("still there: {}", names.join(", "))));
    }
    match first {
        Some(error) => {
            Err(error.hint(format!("snapshot {snapshot} is verified; run it again to remove the rest")))
        }
        None => Ok(Removed { tenant: plan.tenant.clone(), snapshot, proof, removed: plan.removes.len() }),
    }
}

/// Returns the snapshot of a removal that was begun, once the database is gone and no later one can be taken.
async fn verified_before(job: &Job) -> Result<Option<(SnapshotId, String)>> {
    let known = job.journal.things(StepName::Secrets).into_iter().find(|t| t.kind == LAST_SNAPSHOT);
    let database = job.order.names.container("db");
    let Some(known) = known else { return Ok(None) };
    if job.docker.state(&database).await?.is_some() {
        return Ok(None);
    }
    let (snapshot, proof) = known.name.split_once(' ').unwrap_or((&known.name, "L0"));
    Ok(Some((snapshot.parse()?, proof.to_owned())))
}

async fn last_snapshot(
    appliance: &Appliance,
    tenant: &TenantName,
    identities: Option<&Identities>,
) -> Result<(SnapshotId, String)> {
    let request = backup::Request {
        tenant: tenant.clone(),
        trigger: Trigger::Safety,
        label: Some("last, by deprovision".to_owned()),
        pinned_until: None,
    };
    let backed = backup::backup(appliance, &request).await?;
    if !backed.whole {
        return Err(Error::new(Kind::Partial, format!("the last snapshot {} is not whole", backed.snapshot))
            .hint(format!("`lifeboat show {tenant} latest` says what lacks")));
    }
    let extent = check::Extent { read_data: check::ReadData::All, latest_only: true };
    let checked = check::check(appliance, std::slice::from_ref(tenant), extent, identities).await?;
    let found = checked.tenants.into_iter().find(|t| t.tenant == *tenant);
    let level = found.as_ref().filter(|t| !t.is_bad()).and_then(|t| t.level.clone());
    match level {
        Some(level) if level != "L0" => Ok((backed.snapshot, level)),
        _ => {
            let faults = found.map_or(0, |t| t.faults.len());
            Err(Error::new(Kind::CheckFailed, format!("the last snapshot {} is not intact", backed.snapshot))
                .hint(format!(
                    "{}: `lifeboat check {tenant} --read-data` names them",
                    counted(faults, "fault")
                )))
        }
    }
}

async fn start_again(job: &Job, plan: &Removal) {
    for container in &plan.stops {
        if let Err(error) = job.docker.start(container).await {
            job.around.monitor.problem(&error);
        }
    }
}
