//! What a tenant and its host use now, from Docker's figures, the servers' own, and the last backup's sizes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::HostUse;
use crate::component::mariadb;
use crate::config::{Config, Tenant};
use crate::error::Result;
use crate::host::{Docker, Machine};
use crate::id::TenantName;
use crate::ops::backup;
use crate::ops::health::{Space, containers_of};
use crate::ops::state::{self, State};

/// The longest that one server may take to answer.
const LIMIT: Duration = Duration::from_secs(20);

/// What a tenant uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TenantUse {
    /// Whose.
    pub tenant: TenantName,
    /// The profile that it is nearest to.
    pub profile: &'static str,
    /// Its containers that run.
    pub containers: usize,
    /// Since when the youngest of them runs, in seconds.
    pub uptime_seconds: f64,
    /// Processors that its containers used on average since they were started.
    pub cpus_used: f64,
    /// Processors that its containers may use together; nothing where one of them has no limit.
    pub cpus_limit: Option<f64>,
    /// Memory in use, in bytes.
    pub memory_bytes: u64,
    /// Memory that its containers may use together, in bytes; nothing where one of them has no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Its database, in bytes, by the server's estimate; nothing where that is not known.
    pub database_bytes: Option<u64>,
    /// Its site's files, in bytes, as the last backup read them; nothing where there was none.
    pub files_bytes: Option<u64>,
    /// Both together, as far as they are known.
    pub disk_bytes: u64,
    /// Connections to its database now, the most there ever were, and the most that are allowed.
    pub connections: Option<(u64, u64, u64)>,
}

impl TenantUse {
    /// Nothing is known yet.
    pub(super) fn none(tenant: TenantName) -> TenantUse {
        TenantUse {
            tenant,
            profile: super::fit::PROFILES[0].name,
            containers: 0,
            uptime_seconds: 0.0,
            cpus_used: 0.0,
            cpus_limit: None,
            memory_bytes: 0,
            memory_limit_bytes: None,
            database_bytes: None,
            files_bytes: None,
            disk_bytes: 0,
            connections: None,
        }
    }
}

/// Measures a tenant; also returns what could not be found out.
pub(super) async fn tenant(
    config: &Config,
    docker: &Docker,
    tenant: &Tenant,
    now: Timestamp,
) -> (TenantUse, Vec<String>) {
    let mut used = TenantUse::none(tenant.name.clone());
    let mut gaps = Vec::new();
    let (mut cpus, mut memory, mut youngest) = (Some(0.0), Some(0), f64::INFINITY);
    for name in containers_of(tenant) {
        match one(docker, &name, now).await {
            Ok(Some(seen)) => {
                used.containers += 1;
                used.cpus_used += seen.cpus;
                used.memory_bytes += seen.memory;
                youngest = youngest.min(seen.uptime);
                cpus = cpus.zip(seen.cpu_limit).map(|(a, b)| a + b);
                memory = memory.zip(seen.memory_limit).map(|(a, b)| a + b);
            }
            Ok(None) => gaps.push(format!("container {name} does not run")),
            Err(e) => gaps.push(e.to_string()),
        }
    }
    used.uptime_seconds = if youngest.is_finite() { youngest } else { 0.0 };
    (used.cpus_limit, used.memory_limit_bytes) = (cpus, memory);
    if let Err(e) = database(docker, tenant, &mut used, config).await {
        gaps.push(e.to_string());
    }
    used.files_bytes = files(config, &tenant.name);
    used.disk_bytes = used.database_bytes.unwrap_or(0) + used.files_bytes.unwrap_or(0);
    used.profile = super::fit::class(&used);
    (used, gaps)
}

/// One container.
struct Seen {
    uptime: f64,
    cpus: f64,
    memory: u64,
    cpu_limit: Option<f64>,
    memory_limit: Option<u64>,
}

async fn one(docker: &Docker, name: &str, now: Timestamp) -> Result<Option<Seen>> {
    let Some(condition) = docker.condition(name).await?.filter(|c| c.state.is_running()) else {
        return Ok(None);
    };
    let usage = docker.usage(name).await?;
    let uptime = condition.started.map_or(0.0, |at| now.duration_since(at).as_secs_f64().max(0.0));
    Ok(Some(Seen {
        uptime,
        cpus: if uptime > 0.0 { usage.cpu_seconds / uptime } else { 0.0 },
        memory: usage.memory_bytes,
        cpu_limit: condition.cpu_limit,
        memory_limit: condition.memory_limit_bytes,
    }))
}

async fn database(docker: &Docker, tenant: &Tenant, used: &mut TenantUse, config: &Config) -> Result<()> {
    let Some(part) = tenant.database.on() else { return Ok(()) };
    let credentials = backup::credentials(&part.login)?;
    let server = mariadb::Server { docker: docker.clone(), container: part.container.clone(), credentials };
    let site =
        crate::ops::site::Site::find(tenant, Some(docker)).await.and_then(|s| s.effective_config()).ok();
    let name = part.name.clone().or_else(|| site.and_then(|s| s.db_name().map(str::to_owned)));
    let vitals = mariadb::vitals(&server, name.as_deref(), LIMIT, LIMIT).await?;
    used.database_bytes =
        name.is_some().then_some(vitals.size_bytes).or_else(|| source(config, &tenant.name, "database"));
    let of = |name: &str| vitals.number(name);
    used.connections = of("threads_connected")
        .zip(of("max_used_connections"))
        .zip(of("max_connections"))
        .map(|((a, b), c)| (a, b, c));
    Ok(())
}

fn files(config: &Config, tenant: &TenantName) -> Option<u64> {
    source(config, tenant, "files")
}

/// Returns how many bytes of a component the last backup on this host read.
fn source(config: &Config, tenant: &TenantName, component: &str) -> Option<u64> {
    let folder = State::peek(&config.machine.state_dir).tenant_if_there(tenant);
    let sizes: BTreeMap<String, u64> = state::read_json(&folder.join("sizes.json")).ok()??;
    let of_it = sizes.iter().filter(|(name, _)| name.split(['/', '.']).next() == Some(component));
    let total: u64 = of_it.map(|(_, n)| n).sum();
    (total > 0).then_some(total)
}

/// Says what the host has and what is used of it.
pub(super) fn host(machine: &Machine, tenants: &[TenantUse]) -> HostUse {
    let space = Space::of(Path::new(&machine.root)).ok();
    let of_tenants: u64 = tenants.iter().map(|t| t.memory_bytes).sum();
    HostUse {
        #[expect(clippy::cast_precision_loss, reason = "processors")]
        cpus: machine.cpus as f64,
        cpus_used: tenants.iter().map(|t| t.cpus_used).sum(),
        memory_bytes: machine.memory_bytes,
        memory_used_bytes: in_use(machine.memory_bytes).unwrap_or(of_tenants),
        disk: machine.root.clone().into(),
        disk_free_bytes: space.as_ref().map(|s| s.free_bytes),
        disk_bytes: space.as_ref().map(|s| s.total_bytes),
    }
}

/// Returns the memory in use by the kernel's figures, where this is the daemon's machine: one with as much memory.
fn in_use(total: u64) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|k| k * 1024)
    };
    let (all, available) = (of("MemTotal")?, of("MemAvailable")?);
    (all.abs_diff(total) < total / 100).then(|| all.saturating_sub(available))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_known_only_of_this_machine() {
        assert_eq!(in_use(1), None);
    }
}
