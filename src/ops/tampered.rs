//! What was overwritten or deleted in the store, as this host last saw it.
//!
//! Owns where that is remembered between verbs: a backup or a check sees it, `status` tells it.

use crate::error::Result;
use crate::id::TenantName;
use crate::ops::appliance::Appliance;
use crate::ops::state::{self, State};
use crate::repo::tampered::{self, Tampered};
use crate::repo::void::VoidMarks;
use crate::repo::{keys, object};

/// So many are remembered; more say nothing new.
const REMEMBERED: usize = 1000;

/// Looks for a tenant's packs that were tampered with, and remembers them.
pub async fn look(appliance: &Appliance, tenant: &TenantName) -> Result<Vec<Tampered>> {
    let marks = VoidMarks::load(&appliance.repo, &appliance.trust, tenant).await?;
    let kept = object::kept(appliance.store(), &keys::packs(tenant)).await?;
    let found = tampered::packs(appliance.store(), tenant, &kept, &marks.packs).await?;
    remember(&appliance.state, tenant, &found)?;
    Ok(found)
}

/// Remembers what was found, or that nothing was.
pub fn remember(state: &State, tenant: &TenantName, found: &[Tampered]) -> Result<()> {
    let found = &found[..found.len().min(REMEMBERED)];
    state::write_json(&state.tenant(tenant)?.join("tampered.json"), &found)
}

/// Returns what was found last.
pub fn remembered(state: &State, tenant: &TenantName) -> Result<Vec<Tampered>> {
    Ok(state::read_json(&state.tenant(tenant)?.join("tampered.json"))?.unwrap_or_default())
}
