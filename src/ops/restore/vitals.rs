//! A tenant's health around a restore: what fails after it and did not before.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::TenantName;
use crate::ops::appliance::Appliance;
use crate::ops::health::{self, Area, Scope, State};

/// Looks after a start; an application takes a moment to come up.
const LOOKS: usize = 10;
const PAUSE: Duration = Duration::from_secs(2);

/// Returns the checks that fail, each with its reason; nothing of a tenant that is not configured here.
pub(super) async fn failing(appliance: &Appliance, target: &TenantName) -> Vec<(String, String)> {
    if appliance.config.tenant(target).is_err() {
        return Vec::new();
    }
    let areas = [Area::Containers, Area::Database, Area::RedisCache, Area::RedisQueue, Area::Application];
    let scope = Scope { areas: BTreeSet::from(areas), ..Scope::of(std::slice::from_ref(target)) };
    let Ok(report) = health::look(&appliance.config, &appliance.around, &scope).await else {
        return Vec::new();
    };
    let checks = report.tenants.into_iter().flat_map(|t| t.checks);
    let failed = checks.filter(|c| c.state == State::Failed);
    failed.map(|c| (format!("{} {}", c.area.as_str(), c.name), c.reason)).collect()
}

/// Returns what fails and did not before, once it has had time to come up.
pub(super) async fn worse(
    appliance: &Appliance,
    target: &TenantName,
    before: &[(String, String)],
) -> Vec<String> {
    let mut now = Vec::new();
    for look in 0..LOOKS {
        now = failing(appliance, target).await;
        now.retain(|(check, _)| before.iter().all(|(known, _)| known != check));
        if now.is_empty() || appliance.around.stop.is_cancelled() {
            break;
        }
        if look + 1 < LOOKS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    now.into_iter().map(|(check, reason)| format!("{check}: {reason}")).collect()
}
