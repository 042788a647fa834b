//! What the state folder tells besides the runs: locks, anomalies, the second store, the kit, room on disks.
//!
//! Owns when it is read: by a task of its own, after each run and every few minutes, so that whoever asks the service
//! never waits for a disk. What cannot be read is not known, and shows by the age of what is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::clock::Clock;
use super::desk::Desk;
use crate::config::{Config, StoreAddress};
use crate::error::Result;
use crate::id::TenantName;
use crate::ops::anomaly::Nights;
use crate::ops::backup::locked_until;
use crate::ops::state::State;
use crate::ops::{copy, damaged, prune, tampered};

/// How old they may become without a run: `check`, `prune` and others change the state folder too.
const PERIOD: Duration = Duration::from_secs(300);

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// When; none before the first time.
    pub read: Option<Timestamp>,
    /// When the recovery kit was last shown to open what is sealed.
    pub kit_confirmed: Option<Timestamp>,
    /// The disks that matter.
    pub disks: Vec<Disk>,
    /// Each tenant.
    pub tenants: BTreeMap<TenantName, TenantFacts>,
}

/// Room on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What lies there: `state`, or `store` where that is a folder.
    pub place: &'static str,
    /// What Lifeboat could still write, in bytes.
    pub free_bytes: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// What is known of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantFacts {
    /// When the first lock ends of what the newest snapshot needs.
    pub locked_until: Option<Timestamp>,
    /// How many packs were found tampered with or damaged, by word; a word without any is not there.
    pub anomalies: BTreeMap<&'static str, u64>,
    /// When the last copy to the second store ended, and whether it was good.
    pub copied: Option<(Timestamp, bool)>,
    /// When the last prune ended, and whether it did its work.
    pub pruned: Option<(Timestamp, bool)>,
}

impl Facts {
    /// Reads them; waits for the disk.
    pub fn read(config: &Config, now: Timestamp) -> Result<Facts> {
        let machine = &config.machine;
        let state = State::open(&machine.state_dir)?;
        let mut disks: Vec<Disk> = disk("state", &machine.state_dir).into_iter().collect();
        if let StoreAddress::Local { path } = &machine.store.address {
            disks.extend(disk("store", path));
        }
        let tenants = config.tenants().map(|t| Ok((t.name.clone(), of_tenant(&state, &t.name)?)));
        Ok(Facts {
            read: Some(now),
            kit_confirmed: state.membership()?.and_then(|m| m.kit_confirmed),
            disks,
            tenants: tenants.collect::<Result<_>>()?,
        })
    }
}

fn of_tenant(state: &State, tenant: &TenantName) -> Result<TenantFacts> {
    let mut anomalies = BTreeMap::new();
    for found in tampered::remembered(state, tenant)? {
        *anomalies.entry(found.how.word()).or_default() += 1;
    }
    let damaged = damaged::remembered(state, tenant)?.len() as u64;
    if damaged > 0 {
        anomalies.insert("damaged", damaged);
    }
    let suspicious = Nights::load(state, tenant)?.suspects().len() as u64;
    if suspicious > 0 {
        anomalies.insert("suspicious", suspicious);
    }
    Ok(TenantFacts {
        locked_until: locked_until(state, tenant)?,
        anomalies,
        copied: copy::last(state, tenant)?.map(|last| (last.at, last.problem.is_none())),
        pruned: prune::last(state, tenant)?.map(|last| (last.at, last.problem.is_none())),
    })
}

fn disk(place: &'static str, path: &Path) -> Option<Disk> {
    let room = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
    Some(Disk { place, free_bytes: bytes(room.f_bavail), size_bytes: bytes(room.f_blocks) })
}

/// Keeps the desk's facts fresh, for as long as it is not dropped.
pub(super) async fn keep<C: Clock>(desk: Arc<Desk>, clock: Arc<C>, changed: Arc<Notify>) {
    loop {
        let (config, now) = (desk.config(), clock.now());
        match tokio::task::spawn_blocking(move || Facts::read(&config, now)).await {
            Ok(Ok(facts)) => desk.learn(facts),
            Ok(Err(e)) => tracing::warn!(error = %e, "the state folder was not read"),
            Err(e) => tracing::error!(error = %e, "the state folder was not read"),
        }
        // Real time: a clock that is set wrong must not stop it.
        tokio::time::timeout(PERIOD, changed.notified()).await.ok();
    }
}
