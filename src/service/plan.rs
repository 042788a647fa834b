//! Which rule of a policy counts for which runs of a tenant.
//!
//! Owns the way from configuration to schedule. Knows nothing of what ran.

use super::run::JobKind;
use super::schedule::{Rule, share_of};
use crate::config::{Config, DrillPlace, DrillPolicy, Tenant};

/// Returns the rule of a tenant's runs of one kind; none where this host plans none.
pub fn rule_of<'a>(config: &'a Config, tenant: &'a Tenant, kind: JobKind) -> Option<Rule<'a>> {
    let policy = &tenant.policy;
    let rule = Rule {
        calendar: &policy.backups,
        shift: share_of(policy.jitter, &tenant.name),
        window: policy.window,
        catch_up: policy.catch_up,
        rpo: policy.rpo,
    };
    match (kind, &policy.drill) {
        (JobKind::Backup, _) => Some(rule),
        // Another machine drills, by its own plan.
        (JobKind::Drill, _) if config.machine.drills == DrillPlace::Elsewhere => None,
        (JobKind::Drill, DrillPolicy::Skipped { .. }) => None,
        // The RPO says nothing of drills: one that was missed is made up for unless the policy never does.
        (JobKind::Drill, DrillPolicy::Runs { calendar, .. }) => {
            let catch_up = match policy.catch_up {
                crate::config::CatchUp::Never => crate::config::CatchUp::Never,
                _ => crate::config::CatchUp::Always,
            };
            Some(Rule { calendar, catch_up, ..rule })
        }
    }
}
