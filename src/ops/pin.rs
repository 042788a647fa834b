//! `pin`: a snapshot is kept until a date, with a reason, whatever the policy says.
//!
//! A pin lies in the state folder of the machine that prunes, since only there it has a meaning; the one that a backup
//! was made with stands in its receipt, for all machines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::id::{SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::hold::parse_time;
use crate::ops::prune::retention::Pin;
use crate::ops::snapshots::{self, Which};
use crate::ops::state;

/// A snapshot's pin after the verb.
#[derive(Debug, Serialize)]
pub struct Pinned {
    /// Whose.
    pub tenant: TenantName,
    /// Which.
    pub snapshot: SnapshotId,
    /// The pin, or none after a release.
    pub pin: Option<Pin>,
    /// The pin that a release ended, if there was one on this machine.
    pub ended: Option<Pin>,
    /// Until when the snapshot is kept by the pin that it was made with, which stands in its receipt and has no release.
    pub since_backup: Option<Timestamp>,
}

/// Pins a snapshot until a time that must lie ahead.
pub async fn pin(
    appliance: &Appliance,
    tenant: &TenantName,
    which: &Which,
    until: &str,
    reason: &str,
) -> Result<Pinned> {
    let until = parse_time(until, appliance.around.now())?;
    if reason.trim().is_empty() {
        return Err(Error::new(Kind::Usage, "a pin needs a reason")
            .hint("whoever wonders what it is kept for reads it"));
    }
    let receipt = snapshots::find(appliance, tenant, which).await?.receipt;
    let (snapshot, since_backup) = (receipt.snapshot, receipt.pinned_until);
    let pin = Pin { until, reason: reason.trim().to_owned() };
    let mut all = pins(appliance, tenant)?;
    all.insert(snapshot.clone(), pin.clone());
    keep(appliance, tenant, &all)?;
    Ok(Pinned { tenant: tenant.clone(), snapshot, pin: Some(pin), ended: None, since_backup })
}

/// Ends a snapshot's pin; one in its receipt stays.
pub async fn release(appliance: &Appliance, tenant: &TenantName, which: &Which) -> Result<Pinned> {
    let receipt = snapshots::find(appliance, tenant, which).await?.receipt;
    let now = appliance.around.now();
    let (snapshot, since_backup) = (receipt.snapshot, receipt.pinned_until.filter(|until| *until > now));
    let mut all = pins(appliance, tenant)?;
    let ended = all.remove(&snapshot);
    keep(appliance, tenant, &all)?;
    Ok(Pinned { tenant: tenant.clone(), snapshot, pin: None, ended, since_backup })
}

/// Returns the pins that were set on this machine.
pub fn pins(appliance: &Appliance, tenant: &TenantName) -> Result<BTreeMap<SnapshotId, Pin>> {
    Ok(state::read_json(&appliance.state.tenant_if_there(tenant).join("pins.json"))?.unwrap_or_default())
}

fn keep(appliance: &Appliance, tenant: &TenantName, all: &BTreeMap<SnapshotId, Pin>) -> Result<()> {
    state::write_json(&appliance.state.tenant(tenant)?.join("pins.json"), all)
}
