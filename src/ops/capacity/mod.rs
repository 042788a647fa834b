//! `capacity`: what each tenant uses, how many more clients this host carries, and when a disk or the store is full.
//!
//! Owns the recipe and the shape of its answer. Everything is measured at the moment of asking, or taken from receipts; what
//! there is too little history for is unknown, and each estimate says on what it rests. Changes nothing.

mod fit;
mod growth;
mod measure;

use std::path::PathBuf;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Config, StoreAddress, Tenant};
use crate::error::Result;
use crate::host::Docker;
use crate::id::TenantName;
use crate::ops::appliance::{Appliance, Surroundings};
use crate::ops::health::Space;
use crate::ops::snapshots;

pub use fit::{Fit, PROFILES, Profile};
pub use growth::{Point, Trend};
pub use measure::TenantUse;

/// How many tenants are measured together.
const AT_ONCE: usize = 4;

/// What the host has and what is used of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostUse {
    /// Processors.
    pub cpus: f64,
    /// Processors that the tenants used on average since their containers were started.
    pub cpus_used: f64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Memory that all running programs use, in bytes; that of the tenants' containers where the kernel's figure is not known.
    pub memory_used_bytes: u64,
    /// The folder of the disk that the tenants' data lies on.
    pub disk: PathBuf,
    /// What is free on it, in bytes; nothing where it cannot be looked at from here.
    pub disk_free_bytes: Option<u64>,
    /// What it holds in all, in bytes.
    pub disk_bytes: Option<u64>,
}

/// The whole answer.
#[derive(Debug, Clone, Serialize)]
pub struct Capacity {
    /// The version of this shape, 1.
    pub format: u32,
    /// When it was measured.
    pub now: Timestamp,
    /// The host.
    pub host: HostUse,
    /// The tenants, by name.
    pub tenants: Vec<TenantUse>,
    /// How many more clients of each profile fit.
    pub fits: Vec<Fit>,
    /// How the tenants' data grows on the host's disk.
    pub disk: Trend,
    /// How the store grows.
    pub store: Trend,
    /// What could not be found out.
    pub unknown: Vec<String>,
}

/// Measures the named tenants, or all; fails where Docker does not answer.
pub async fn capacity(config: &Config, around: &Surroundings, named: &[TenantName]) -> Result<Capacity> {
    let docker = Docker::connect_to(config.machine.docker_host.as_deref()).await?;
    let machine = docker.machine().await?;
    let now = around.now();
    let mut unknown = Vec::new();
    let mut tenants = Vec::new();
    for name in named {
        config.tenant(name)?;
    }
    // Owned, so that whoever asks may wait for it on another thread.
    let mut all: Vec<Tenant> = config.tenants().cloned().collect();
    all.retain(|t| named.is_empty() || named.contains(&t.name));
    let docker = &docker;
    let measure = |tenant: Tenant| async move { measure::tenant(config, docker, &tenant, now).await };
    let mut measuring = stream::iter(all).map(measure).buffered(AT_ONCE);
    while let Some((tenant, gaps)) = measuring.next().await {
        unknown.extend(gaps.into_iter().map(|gap| format!("tenant {}: {gap}", tenant.tenant)));
        tenants.push(tenant);
    }
    let host = measure::host(&machine, &tenants);
    let histories = histories(config, around, &tenants, &mut unknown).await;
    let (disk, store) = (disk_trend(&host, &tenants, &histories, now), store_trend(config, &histories, now));
    let fits = PROFILES.iter().map(|p| fit::fit(p, &host, &tenants)).collect();
    Ok(Capacity { format: 1, now, host, tenants, fits, disk, store, unknown })
}

/// A tenant's snapshots as points of growth: what it needs, and what was added.
type History = (TenantName, Vec<Point>);

async fn histories(
    config: &Config,
    around: &Surroundings,
    tenants: &[TenantUse],
    unknown: &mut Vec<String>,
) -> Vec<History> {
    let appliance = match Appliance::open(config.clone(), around.clone()).await {
        Ok(appliance) => appliance,
        Err(e) => {
            unknown.push(format!("growth: the repository cannot be opened: {e}"));
            return Vec::new();
        }
    };
    let mut all = Vec::new();
    for tenant in tenants {
        match snapshots::seen(&appliance, &tenant.tenant).await {
            Ok((history, ..)) => {
                let whole = history.snapshots.iter().filter(|c| c.receipt.is_whole());
                let points = whole.map(|c| Point {
                    at: c.receipt.started,
                    needed_bytes: c.receipt.packs_bytes(),
                    added_bytes: c.receipt.added_bytes,
                });
                all.push((tenant.tenant.clone(), points.collect()));
            }
            Err(e) => unknown.push(format!("tenant {}: its snapshots: {e}", tenant.tenant)),
        }
    }
    all
}

/// Estimates the growth of data on the disk: that of what snapshots need, as much larger as the data is than its packs.
fn disk_trend(host: &HostUse, tenants: &[TenantUse], histories: &[History], now: Timestamp) -> Trend {
    let mut parts = Vec::new();
    for (name, points) in histories {
        let data = tenants.iter().find(|t| t.tenant == *name).map_or(0, |t| t.disk_bytes);
        let packed = points.last().map_or(0, |p| p.needed_bytes);
        parts.push(growth::slope(points, now, |p| p.needed_bytes).map(|s| s * growth::ratio(data, packed)));
    }
    growth::trend(
        parts,
        host.disk_free_bytes,
        now,
        "how what snapshots need grew over the last weeks, times how much larger the data is",
    )
}

fn store_trend(config: &Config, histories: &[History], now: Timestamp) -> Trend {
    let free = match &config.machine.store.address {
        StoreAddress::Local { path } => Space::of(path).ok().map(|s| s.free_bytes),
        StoreAddress::S3 { .. } => None,
    };
    let parts = histories.iter().map(|(_, points)| growth::added_a_day(points, now)).collect();
    growth::trend(parts, free, now, "what backups added over the last weeks, nothing pruned")
}
