//! The step `verify`: the tenant is well, its first backup is taken, its first drill is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::job::{Job, Order};
use super::journal::Thing;
use super::step::{Standing, Step, StepName};
use crate::config::{DrillPlace, DrillPolicy};
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::{Appliance, drill_place};
use crate::ops::health::{self, Area, Check, Scope, State as Found};
use crate::ops::state::State;
use crate::ops::{backup, drill, snapshots};
use crate::repo::receipt::Trigger;

/// How long a fresh tenant may take until it is well: workers register, servers warm up.
const WELL_LIMIT: Duration = Duration::from_secs(180);

/// How long it is waited between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// What the journal calls a drill that was asked for.
const FIRST_DRILL: &str = "first drill";

/// The step.
#[derive(Debug)]
pub struct Verify;

#[async_trait]
impl Step for Verify {
    fn name(&self) -> StepName {
        StepName::Verify
    }

    fn sentence(&self, order: &Order) -> String {
        let policy = &order.tenant.policy;
        let drill = match &policy.drill {
            DrillPolicy::Runs { level, .. } => {
                format!(
                    "a first drill is due with the next backup, later ones to {level} as policy {} says",
                    policy.name
                )
            }
            DrillPolicy::Skipped { .. } => format!("no drills: policy {} skips them", policy.name),
        };
        format!("{} is well by `lifeboat health`, a first backup is whole, {drill}", order.domain)
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let appliance = appliance(job).await?;
        if !has_snapshot(&appliance, job).await? {
            return Ok(Standing::missing("a first backup"));
        }
        if lacks_drill(&appliance, job).await? {
            return Ok(Standing::missing("a first drill in the plan"));
        }
        let mut areas = of_itself();
        areas.insert(Area::Backups);
        Ok(match look(job, &areas).await? {
            Some(wrong) => Standing::differs(wrong),
            None => Standing::Done,
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let deadline = tokio::time::Instant::now() + WELL_LIMIT;
        while let Some(wrong) = look(job, &of_itself()).await? {
            if tokio::time::Instant::now() > deadline {
                return Err(Error::new(Kind::CheckFailed, wrong)
                    .hint(format!("`lifeboat health {}` says what to do", job.order.tenant.name)));
            }
            tokio::time::sleep(PAUSE).await;
        }
        let appliance = appliance(job).await?;
        if !has_snapshot(&appliance, job).await? {
            first_backup(&appliance, job).await?;
        }
        if !lacks_drill(&appliance, job).await? {
            return Ok(());
        }
        let tenant = &job.order.tenant.name;
        let asked = drill::Asked { since: job.now(), by: "provision".to_owned() };
        let thing = Thing::new(FIRST_DRILL, tenant.as_str());
        job.make(StepName::Verify, thing, async { drill::ask(&appliance.state, tenant, &asked) }).await
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        let state = State::peek(&job.config.machine.state_dir);
        // A snapshot that is committed stays: nothing but prune and erase removes one.
        job.unmake(StepName::Verify, |thing| {
            let (state, tenant) = (state.clone(), job.order.tenant.name.clone());
            async move { if thing.kind == FIRST_DRILL { drill::forget(&state, &tenant) } else { Ok(()) } }
        })
        .await
    }
}

async fn first_backup(appliance: &Appliance, job: &Job) -> Result<()> {
    let request = backup::Request {
        tenant: job.order.tenant.name.clone(),
        trigger: Trigger::Manual,
        label: Some("first, by provision".to_owned()),
        pinned_until: None,
    };
    let work = backup::backup(appliance, &request);
    let backed = job.make(StepName::Verify, Thing::new("snapshot", "first"), work).await?;
    match backed.whole {
        true => Ok(()),
        false => Err(Error::new(Kind::Partial, "the first backup is not whole")
            .hint(format!("`lifeboat show {} latest` says what lacks", job.order.tenant.name))),
    }
}

/// Looks ahead whether a backup of the tenant is possible at all, so that this is said before minutes of work.
pub async fn foresee(job: &Job) -> Result<()> {
    let appliance = appliance(job).await?;
    let (host, tenant) = (&appliance.config.machine.host, &job.order.tenant.name);
    appliance.trust.may_write(host, crate::repo::certificate::Role::Backup, tenant).map(drop)
}

async fn appliance(job: &Job) -> Result<Appliance> {
    Appliance::open(job.config.clone(), job.around.clone()).await
}

async fn has_snapshot(appliance: &Appliance, job: &Job) -> Result<bool> {
    let (history, _, _) = snapshots::seen(appliance, &job.order.tenant.name).await?;
    Ok(history.snapshots.iter().any(|c| c.receipt.is_whole()))
}

/// Tells whether a drill is still to be asked for: none was ever made, and this host makes them.
async fn lacks_drill(appliance: &Appliance, job: &Job) -> Result<bool> {
    let tenant = &job.order.tenant;
    let elsewhere = drill_place(&job.config.machine, &appliance.state)? == DrillPlace::Elsewhere;
    if elsewhere || matches!(tenant.policy.drill, DrillPolicy::Skipped { .. }) {
        return Ok(false);
    }
    let (_, drills, _) = snapshots::seen(appliance, &tenant.name).await?;
    Ok(drills.is_empty() && drill::asked(&appliance.state, &tenant.name)?.is_none())
}

/// What is looked at before there is a backup.
fn of_itself() -> BTreeSet<Area> {
    let mut areas: BTreeSet<Area> = Area::ALL.into();
    // What all tenants share is no fault of this one.
    areas.remove(&Area::Host);
    areas.remove(&Area::Backups);
    areas
}

/// Returns what health finds wrong with the tenant; what only the host or time can mend is told and no more.
async fn look(job: &Job, areas: &BTreeSet<Area>) -> Result<Option<String>> {
    let tenant = &job.order.tenant.name;
    let scope = Scope { areas: areas.clone(), ..Scope::of(std::slice::from_ref(tenant)) };
    let report = health::look(&job.config, &job.around, &scope).await?;
    let troubles: Vec<&Check> = report.tenants.iter().flat_map(|t| t.troubles()).collect();
    let (borne, wrong): (Vec<&Check>, Vec<&Check>) = troubles.into_iter().partition(|c| is_borne(c));
    let say = |c: &&Check| format!("{} {} is {}: {}", c.area.as_str(), c.name, c.state.as_str(), c.reason);
    if wrong.is_empty() {
        borne.iter().for_each(|c| job.around.monitor.note(&say(c)));
        return Ok(None);
    }
    Ok(Some(wrong.iter().map(say).collect::<Vec<String>>().join("; ")))
}

/// A disk that fills is the host's, and a copy or a prune of a first backup is still to come.
fn is_borne(check: &Check) -> bool {
    check.state == Found::Warning && (check.area == Area::Backups || check.name == "disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_or_the_host_must_mend_does_not_stop_a_tenant_and_all_else_does() {
        let check = |area, name, state| Check::new(area, name, state, "x");
        assert!(is_borne(&check(Area::Backups, "copy", Found::Warning)));
        assert!(is_borne(&check(Area::Containers, "disk", Found::Warning)));
        assert!(!is_borne(&check(Area::Containers, "disk", Found::Failed)));
        assert!(!is_borne(&check(Area::Backups, "age", Found::Unknown)));
        assert!(!is_borne(&check(Area::Database, "connections", Found::Warning)));
        assert!(!of_itself().contains(&Area::Host) && of_itself().contains(&Area::Outside));
    }
}
