//! `keys new-epoch`: after a suspected compromise nothing that this host held is used any more.
//!
//! Owns the list of what is still to be replaced, kept on disk, so that a run that dies is finished by the next.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{host, vaults};
use crate::error::Result;
use crate::id::{SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::state;
use crate::repo::age_file;
use crate::repo::certificate::Trust;
use crate::repo::history::{Fault, Seen};
use crate::repo::sign::SigningKey;

/// What a new epoch replaced.
#[derive(Debug, Serialize)]
pub struct Renewed {
    /// The host's key; none where an earlier run had replaced it.
    pub host: Option<host::Rotated>,
    /// The tenants with a new vault and a new dedup key; their next backup stores everything once more.
    pub tenants: BTreeSet<TenantName>,
    /// Whether the drill identity was replaced.
    pub drill_identity: bool,
    /// Whether nothing was changed.
    pub planned: bool,
}

/// What is still to be replaced.
#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    /// Since when receipts are distrusted.
    distrust_since: Option<Timestamp>,
    drill_identity: bool,
    host_key: bool,
    tenants: BTreeSet<TenantName>,
}

/// Replaces the host's key, the drill identity, and for each tenant of this host the vault and the dedup key.
///
/// Receipts stored after `distrust_since` are not accepted any more. A run that died is finished, as it was begun.
pub async fn begin(
    appliance: &Appliance,
    root: &SigningKey,
    distrust_since: Option<Timestamp>,
    dry_run: bool,
) -> Result<Renewed> {
    let path = appliance.state.pending_epoch();
    let members = appliance.state.membership()?;
    let all: BTreeSet<TenantName> = appliance.config.tenants().map(|t| t.name.clone()).collect();
    let fresh = Pending {
        distrust_since,
        drill_identity: members.as_ref().is_some_and(|m| m.drill.is_some()),
        host_key: true,
        tenants: all.clone(),
    };
    let mut pending = state::read_json(&path)?.unwrap_or(fresh);
    let drill_identity = pending.drill_identity;
    if dry_run {
        let host = host::rotate(appliance, root, pending.distrust_since, true).await?;
        return Ok(Renewed { host: Some(host), tenants: all, drill_identity, planned: true });
    }
    state::write_json(&path, &pending)?;
    // Signing ends first: what an intruder does meanwhile is not accepted.
    let host = match pending.host_key {
        true => Some(host::rotate(appliance, root, pending.distrust_since, false).await?),
        false => None,
    };
    pending.host_key = false;
    state::write_json(&path, &pending)?;
    if pending.drill_identity {
        renew_drill_identity(appliance)?;
        pending.drill_identity = false;
        state::write_json(&path, &pending)?;
    }
    for tenant in pending.tenants.clone() {
        renew_tenant(appliance, &tenant).await?;
        pending.tenants.remove(&tenant);
        state::write_json(&path, &pending)?;
    }
    state::remove(&path)?;
    Ok(Renewed { host, tenants: all, drill_identity, planned: false })
}

fn renew_drill_identity(appliance: &Appliance) -> Result<()> {
    let Some(mut members) = appliance.state.membership()? else { return Ok(()) };
    let (secret, recipient) = age_file::generate_identity();
    let text =
        age_file::identity_file("lifeboat drill identity: reads the backups of this host's tenants", &secret);
    if let Some(old) = members.drill.replace(recipient.to_string()) {
        members.removed.push(old);
    }
    // The recipient first: a vault sealed to a key that is not kept yet is opened by the operators all the same.
    appliance.state.join(&members)?;
    state::write_private(&appliance.state.drill_identity(), text.as_bytes())
}

async fn renew_tenant(appliance: &Appliance, tenant: &TenantName) -> Result<()> {
    let _lock = appliance.state.lock(tenant)?;
    state::remove(&appliance.state.dedup_key(tenant))?;
    appliance.dedup_key(tenant)?;
    forget_distrusted(appliance, tenant).await?;
    vaults::renew(appliance, &appliance.repo, tenant, None).await?;
    Ok(())
}

/// Takes a distrusted receipt out of what this host remembers as the newest; else the next one would follow it.
async fn forget_distrusted(appliance: &Appliance, tenant: &TenantName) -> Result<()> {
    let path = appliance.state.tenant(tenant)?.join("seen.json");
    let Some(seen) = state::read_json::<Seen>(&path)? else { return Ok(()) };
    let trust = Trust::load(&appliance.repo).await?;
    let history = vaults::history(&appliance.repo, &trust, tenant).await?;
    let ended = |s: &SnapshotId| {
        history.faults.iter().any(|f| matches!(f, Fault::Ended { snapshot, .. } if snapshot == s))
    };
    if !seen.head.as_ref().is_some_and(|head| ended(&head.snapshot)) {
        return Ok(());
    }
    let accepted = history.snapshots.iter().map(|c| c.receipt.snapshot.clone()).collect();
    state::write_json(&path, &Seen { head: history.head(), snapshots: accepted })
}
