//! `backup`: one snapshot of one tenant, component by component, committed by its receipt.
//!
//! Owns the order of steps and what becomes of a component that fails. How a component is dumped is its own matter,
//! how bytes are stored the repository's.

mod begin;
mod carry;
mod containers;
mod lease;
mod locks;
mod outcome;
mod sources;
pub mod sso;

use std::time::Instant;

use jiff::Timestamp;

use crate::config::Tenant;
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, TenantName};
use crate::ops::appliance::{Appliance, unless_stopped};
use crate::ops::restore;
use crate::repo::certificate::Role;
use crate::repo::receipt::Trigger;

use begin::Night;
pub use containers::{credentials, redis_credentials};
pub use outcome::{Attempt, Backed, ComponentOutcome, ComponentState, last_attempt};

pub use locks::locked_until;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose backup.
    pub tenant: TenantName,
    /// Who asks.
    pub trigger: Trigger,
    /// A text kept, encrypted, with the snapshot.
    pub label: Option<String>,
    /// Until when it is kept whatever the policy says.
    pub pinned_until: Option<Timestamp>,
}

/// Takes one snapshot of one tenant.
///
/// A component that fails is absent and named; the others are kept, and the outcome is partial. An error means that
/// no snapshot was committed: [`Kind::Locked`], [`Kind::Denied`], a store that fails, or all components did.
/// What was tried last stands in the state folder either way.
pub async fn backup(appliance: &Appliance, request: &Request) -> Result<Backed> {
    let started = appliance.around.now();
    let result = alone(appliance, request, started).await;
    let result = result.map_err(|e| {
        let e = e.in_context(format!("backup of {}", request.tenant));
        match e.kind() {
            Kind::Interrupted => e.hint(
                "no snapshot was made, older ones are untouched; the next backup reuses what was uploaded",
            ),
            _ => e,
        }
    });
    // A backup that is not due, or runs elsewhere, did not fail.
    let on_hold = appliance.state.hold(&request.tenant, started).is_ok_and(|h| h.is_some());
    if !on_hold && !matches!(&result, Err(e) if e.kind() == Kind::Locked) {
        outcome::remember_attempt(appliance, request, started, &result)?;
    }
    result
}

/// Sees to it that nobody else backs the tenant up meanwhile: no process of this host, and where leases work, no other host.
async fn alone(appliance: &Appliance, request: &Request, started: Timestamp) -> Result<Backed> {
    let tenant = appliance.config.tenant(&request.tenant)?;
    refuse_hold(appliance, &request.tenant)?;
    // Before anything that a host without a certificate lacks too: this is what is to be mended.
    appliance.trust.may_write(&appliance.config.machine.host, Role::Backup, &request.tenant)?;
    let _lock = appliance.state.lock(&request.tenant)?;
    // What is neither the old tenant nor the new one is not worth a snapshot.
    restore::refuse_half(&appliance.state, &request.tenant)?;
    let stop = &appliance.around.stop;
    let mut lease = unless_stopped(stop, lease::take(appliance, &request.tenant)).await?;
    let work = unless_stopped(stop, run(appliance, tenant, request, started));
    let mut result = lease.during(work).await;
    let trouble = lease.release().await;
    if let Ok(backed) = &mut result {
        backed.warnings.extend(trouble);
    }
    result
}

async fn run(
    appliance: &Appliance,
    tenant: &Tenant,
    request: &Request,
    started: Timestamp,
) -> Result<Backed> {
    let clock = Instant::now();
    let mut night = Night::begin(appliance, tenant, request, started).await?;

    let mut components = Vec::new();
    for (name, part) in tenant.components() {
        appliance.around.monitor.step(&format!("{} {name}", request.tenant));
        let mut outcome = night.component(name, &part).await;
        if let Some(error) = outcome.store_failure.take() {
            night.abandon().await;
            return Err(error);
        }
        components.push(outcome);
    }
    appliance.around.monitor.step(&format!("{} commit", request.tenant));
    let committed = night.commit().await?;
    Ok(Backed::new(committed, components, clock.elapsed()))
}

fn refuse_hold(appliance: &Appliance, tenant: &TenantName) -> Result<()> {
    match appliance.state.hold(tenant, appliance.around.now())? {
        None => Ok(()),
        Some(hold) => {
            Err(Error::new(Kind::Conflict, format!("on hold until {}: {}", hold.until, hold.reason))
                .hint(format!("`lifeboat hold {tenant} --release` ends the hold")))
        }
    }
}

/// Returns the components of a tenant that are backed up, for `--dry-run`.
pub fn plan(appliance: &Appliance, tenant: &TenantName) -> Result<Vec<(ComponentName, String)>> {
    use crate::config::Part;
    let tenant = appliance.config.tenant(tenant)?;
    Ok(tenant
        .components()
        .into_iter()
        .map(|(name, part)| {
            let what = match part {
                Part::On(()) => "will be backed up".to_owned(),
                Part::Skipped { reason } => format!("skipped: {reason}"),
                Part::NotConfigured => "not configured".to_owned(),
            };
            (name, what)
        })
        .collect())
}
