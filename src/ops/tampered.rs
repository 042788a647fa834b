//! What was overwritten or deleted in the store, as this host last saw it.
//!
//! Owns where that is remembered between verbs: a backup or a check sees it, `status` tells it.

use crate::error::Result;
use crate::id::TenantName;
use crate::ops::state::{self, State};
use crate::repo::tampered::Tampered;

/// So many are remembered; more say nothing new.
const REMEMBERED: usize = 1000;

/// Remembers what was found, or that nothing was.
pub fn remember(state: &State, tenant: &TenantName, found: &[Tampered]) -> Result<()> {
    let found = &found[..found.len().min(REMEMBERED)];
    state::write_json(&state.tenant(tenant)?.join("tampered.json"), &found)
}

/// Returns what was found last.
pub fn remembered(state: &State, tenant: &TenantName) -> Result<Vec<Tampered>> {
    Ok(state::read_json(&state.tenant_if_there(tenant).join("tampered.json"))?.unwrap_or_default())
}
