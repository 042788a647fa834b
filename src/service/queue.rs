//! Runs whose time has come, waiting for their tenant and for room.
//!
//! Owns the order and the limits: one run a tenant, so many at once in all and under one policy. Knows nothing of
//! times beyond the planned ones.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::run::{JobKind, Run};
use crate::config::Config;
use crate::id::TenantName;

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub tenant: TenantName,
    /// What.
    pub kind: JobKind,
    /// When it was planned.
    pub planned: Timestamp,
}

/// What waits and who is busy.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// At most one run of each kind of each tenant.
    waiting: BTreeMap<(TenantName, JobKind), Run>,
    /// Tenants that are worked on.
    busy: BTreeSet<TenantName>,
}

impl Queue {
    /// Adds a run; returns an older one of the same kind whose place it takes.
    pub fn put(&mut self, run: Run) -> Option<Run> {
        self.waiting.insert((run.tenant.clone(), run.kind), run)
    }

    /// Returns the planned time of the run of this kind that waits.
    pub fn newest(&self, tenant: &TenantName, kind: JobKind) -> Option<Timestamp> {
        self.waiting.get(&(tenant.clone(), kind)).map(|run| run.planned)
    }

    /// Takes the next run that may begin, and makes its tenant busy.
    ///
    /// Backups go before drills, those that were planned earlier before later ones.
    pub fn take_next(&mut self, config: &Config) -> Option<Run> {
        if self.busy.len() >= config.machine.concurrency {
            return None;
        }
        let fits = |run: &&Run| !self.busy.contains(&run.tenant) && self.policy_has_room(config, &run.tenant);
        let order = |run: &&Run| (run.kind, run.planned, run.tenant.clone());
        let next = self.waiting.values().filter(fits).min_by_key(order)?;
        let key = (next.tenant.clone(), next.kind);
        self.busy.insert(key.0.clone());
        self.waiting.remove(&key)
    }

    fn policy_has_room(&self, config: &Config, tenant: &TenantName) -> bool {
        let policy_of = |name: &TenantName| config.tenant(name).ok().map(|t| &t.policy);
        let Some(policy) = policy_of(tenant) else { return true };
        let Some(limit) = policy.concurrency else { return true };
        let others = self.busy.iter().filter(|b| policy_of(b).is_some_and(|p| p.name == policy.name)).count();
        others < limit
    }

    /// Returns what waits: whose, what, and since when it should have begun.
    pub fn waiting(&self) -> Vec<Waiting> {
        let of = |run: &Run| Waiting { tenant: run.tenant.clone(), kind: run.kind, planned: run.planned };
        self.waiting.values().map(of).collect()
    }

    /// Takes out what waits of a tenant that is no longer configured.
    pub fn forget(&mut self, tenant: &TenantName) {
        self.waiting.retain(|(name, _), _| name != tenant);
    }

    /// Frees a tenant.
    pub fn release(&mut self, tenant: &TenantName) {
        self.busy.remove(tenant);
    }
}
