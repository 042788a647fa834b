//! A drill that somebody asks for besides those that the policy plans: the first of a new tenant.
//!
//! Owns the note in the tenant's state that says so. When it is due is the service's to say.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::TenantName;
use crate::ops::state::{self, State};

const FILE: &str = "drill-asked.json";

/// Whoever waits longer waits in vain: no backup is planned for days, or no service runs.
const PATIENCE: SignedDuration = SignedDuration::from_hours(48);

/// Who asked, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Since when.
    pub since: Timestamp,
    /// What asked: `provision`.
    pub by: String,
}

impl Asked {
    /// Tells whether it may still be waited for at `now`.
    pub fn is_due_yet(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) < PATIENCE
    }
}

fn file(state: &State, tenant: &TenantName) -> PathBuf {
    state.tenant_if_there(tenant).join(FILE)
}

/// Asks for a drill of a tenant; the first who asked counts.
pub fn ask(state: &State, tenant: &TenantName, asked: &Asked) -> Result<()> {
    if self::asked(state, tenant)?.is_some() {
        return Ok(());
    }
    state::write_json(&state.tenant(tenant)?.join(FILE), asked)
}

/// Returns whether a drill of a tenant is asked for.
pub fn asked(state: &State, tenant: &TenantName) -> Result<Option<Asked>> {
    state::read_json(&file(state, tenant))
}

/// Forgets that one was asked for.
pub fn forget(state: &State, tenant: &TenantName) -> Result<()> {
    state::remove(&file(state, tenant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_first_stands_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (state, tenant) = (State::open(dir.path()).unwrap(), "acme".parse().unwrap());
        assert_eq!(asked(&state, &tenant).unwrap(), None);
        let at = |text: &str| Asked { since: text.parse().unwrap(), by: "provision".into() };
        let first = at("2026-05-04T12:00:00Z");
        ask(&state, &tenant, &first).unwrap();
        ask(&state, &tenant, &at("2026-05-09T12:00:00Z")).unwrap();
        assert_eq!(asked(&state, &tenant).unwrap(), Some(first.clone()));
        assert!(first.is_due_yet("2026-05-06T11:00:00Z".parse().unwrap()));
        assert!(!first.is_due_yet("2026-05-06T13:00:00Z".parse().unwrap()));
        forget(&state, &tenant).unwrap();
        forget(&state, &tenant).unwrap();
        assert_eq!(asked(&state, &tenant).unwrap(), None);
    }
}
