//! `check`: what the store holds, verified as far as the keys at hand go.
//!
//! Without keys: receipts and their chain (L0), and that every object is there (sizes) or is what its name says
//! (`--read-data`, L1). With an identity also that every stream decrypts, decompresses and has its digest (L2).

use bytes::Bytes;
use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::id::{SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::{snapshots, tampered};
use crate::repo::age_file::Identities;
use crate::repo::check::{self, Depth, Finding, IntactCheck};
use crate::repo::extent::StreamRecord;
use crate::repo::receipt::Committed;
use crate::repo::snapshot::{self, ReadOptions, SnapshotReader};
use crate::repo::tampered::Tampered;

/// How far a check goes.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Read every object and compare its hash.
    pub read_data: bool,
    /// Only the newest whole snapshot of each tenant.
    pub latest_only: bool,
}

/// A fault that a check found.
#[derive(Debug, Serialize)]
pub struct Fault {
    /// The snapshot, where it concerns one.
    pub snapshot: Option<SnapshotId>,
    /// The word of its kind: `missing`, `damaged`, `forged`, ….
    pub kind: String,
    /// The object or stream.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// Whether it loses data or trust; else it is worth a look.
    pub alarm: bool,
}

/// What a check of a tenant found.
#[derive(Debug, Serialize)]
pub struct TenantCheck {
    /// Whose.
    pub tenant: TenantName,
    /// The level that all looked-at snapshots reached: `L0`, `L1` or `L2`; none where a fault was found.
    pub level: Option<String>,
    /// How many snapshots were looked at.
    pub snapshots: usize,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl TenantCheck {
    /// Tells whether anything alarming was found.
    pub fn is_bad(&self) -> bool {
        self.faults.iter().any(|f| f.alarm)
    }
}

/// Checks the named tenants, or all in the repository.
pub async fn check(
    appliance: &Appliance,
    named: &[TenantName],
    extent: Extent,
    identities: Option<&Identities>,
) -> Result<Vec<TenantCheck>> {
    let mut all = Vec::new();
    for tenant in snapshots::known_tenants(appliance, named) {
        appliance.around.monitor.step(&format!("check {tenant}"));
        all.push(of_tenant(appliance, tenant, extent, identities).await?);
    }
    Ok(all)
}

async fn of_tenant(
    appliance: &Appliance,
    tenant: TenantName,
    extent: Extent,
    identities: Option<&Identities>,
) -> Result<TenantCheck> {
    let history = snapshots::history(appliance, &tenant).await?;
    let mut faults: Vec<Fault> = history
        .faults
        .iter()
        .map(|f| Fault {
            snapshot: f.snapshot().cloned(),
            kind: f.word().to_owned(),
            object: "receipts".to_owned(),
            what: f.to_string(),
            alarm: f.is_alarm(),
        })
        .collect();
    faults.extend(tampered::look(appliance, &tenant).await?.iter().map(fault_of_tampered));
    let chosen: Vec<&Committed> = match extent.latest_only {
        true => history.latest_whole().into_iter().collect(),
        false => history.snapshots.iter().collect(),
    };
    let depth = if extent.read_data { Depth::Hashes } else { Depth::Sizes };
    let mut intact = IntactCheck::begin(&appliance.repo, &tenant, depth).await?;
    for committed in &chosen {
        let mut found = intact.snapshot(committed).await;
        if let (Some(identities), true) = (identities, found.is_empty()) {
            found = read_all(appliance, committed, identities).await?;
        }
        faults.extend(found.into_iter().map(|f| fault_of(committed, &f)));
    }
    let bad = faults.iter().any(|f| f.alarm);
    let level = match (bad || chosen.is_empty(), identities.is_some(), extent.read_data) {
        (true, ..) => None,
        (false, true, _) => Some("L2"),
        (false, false, true) => Some("L1"),
        (false, false, false) => Some("L0"),
    };
    Ok(TenantCheck { tenant, level: level.map(str::to_owned), snapshots: chosen.len(), faults })
}

/// A fault of no one snapshot: several may need the object, and all still have it where a right version is kept.
fn fault_of_tampered(found: &Tampered) -> Fault {
    Fault {
        snapshot: None,
        kind: found.how.word().to_owned(),
        object: found.object.clone(),
        what: found.to_string(),
        alarm: true,
    }
}

fn fault_of(committed: &Committed, f: &Finding) -> Fault {
    Fault {
        snapshot: Some(committed.receipt.snapshot.clone()),
        kind: f.kind.word().to_owned(),
        object: f.object.clone(),
        what: f.to_string(),
        alarm: true,
    }
}

async fn read_all(
    appliance: &Appliance,
    committed: &Committed,
    identities: &Identities,
) -> Result<Vec<Finding>> {
    let vault = snapshot::open_vault(&appliance.repo, &committed.receipt, identities).await?;
    let reader = match open_reader(appliance, committed, &vault).await {
        Ok(reader) => reader,
        Err(e) => {
            return Ok(vec![Finding {
                kind: e.kind(),
                object: "manifest".to_owned(),
                component: None,
                what: e.to_string(),
            }]);
        }
    };
    let mut ends = Ends::default();
    Ok(check::readable(&reader, &mut |record, bytes| ends.look(record, bytes)).await)
}

/// Watches that each stream ends as its kind must: a dump with its trailer, a tar with its two empty blocks.
#[derive(Debug, Default)]
struct Ends {
    tail: Vec<u8>,
}

impl Ends {
    const TAIL_BYTES: usize = 1024;

    fn look(&mut self, record: &StreamRecord, bytes: Option<&Bytes>) -> Result<()> {
        if let Some(bytes) = bytes {
            self.tail.extend_from_slice(bytes);
            let surplus = self.tail.len().saturating_sub(Self::TAIL_BYTES);
            self.tail.drain(..surplus);
            return Ok(());
        }
        let tail = std::mem::take(&mut self.tail);
        let (good, what) = match record.stream.as_str() {
            "sql" => {
                let last = tail.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap_or_default();
                (last.starts_with(b"-- Dump completed"), "does not end with the trailer of a dump")
            }
            "tar" | "aof" => {
                let empty = tail.len() == Self::TAIL_BYTES && tail.iter().all(|b| *b == 0);
                (empty, "does not end as a tar does")
            }
            _ => (true, ""),
        };
        if good {
            return Ok(());
        }
        Err(Error::new(Kind::Damaged, format!("{}/{} {what}", record.component, record.stream)))
    }
}

/// Opens a snapshot for reading with the host's cache of fetched packs.
pub async fn open_reader(
    appliance: &Appliance,
    committed: &Committed,
    vault: &crate::repo::vault::VaultKey,
) -> Result<SnapshotReader> {
    let options = ReadOptions {
        // One for all snapshots, so that a reader sweeps what any that died has left.
        folder: appliance.config.machine.restore_cache_dir(),
        folder_limit_bytes: appliance.config.machine.restore_cache_size.0,
        fetches: 3,
        monitor: std::sync::Arc::clone(&appliance.around.monitor),
    };
    SnapshotReader::open(&appliance.repo, committed, vault, options).await
}
