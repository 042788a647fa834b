//! `check`: what the store holds, verified as far as the keys at hand go.
//!
//! Without keys: receipts and their chain (L0), and that every object is there (sizes) or is what its name says
//! (`--read-data`, L1). With an identity also that every stream decrypts, decompresses and has its digest (L2).

pub mod loss;
pub mod repair;
mod streams;
pub mod verified;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::error::Result;
use crate::id::{PackId, SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::{damaged, prune, snapshots, tampered};
use crate::repo::age_file::Identities;
use crate::repo::check::{self, Certificates, Depth, Finding, IntactCheck, Share, Wrong};
use crate::repo::history::History;
use crate::repo::reader::frame_memory;
use crate::repo::receipt::Committed;
use crate::repo::snapshot::{ReadOptions, SnapshotReader};
use crate::repo::tampered::{How, Tampered};
use crate::repo::{keys, object};
use crate::spare::Spare;
use crate::store::Kept;

use verified::Verified;

/// Which packs are read and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadData {
    /// None: their lengths are compared.
    None,
    /// Part `n` of `of`.
    Part(Share),
    /// Of so many parts the one after the last that was read.
    Next(u32),
    /// All.
    All,
}

/// How far a check goes.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Which packs are read and hashed.
    pub read_data: ReadData,
    /// Only the newest whole snapshot of each tenant.
    pub latest_only: bool,
}

/// A fault that a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    /// The snapshot, where it concerns one.
    pub snapshot: Option<SnapshotId>,
    /// The snapshots it concerns.
    pub snapshots: Vec<SnapshotId>,
    /// The stable word for what is wrong: `missing`, `damaged`, `overwritten`, `swapped`, `replayed`, `forged`, ….
    pub kind: String,
    /// The object or stream, or a prefix where it is not one object.
    pub object: String,
    /// What is wrong, what it means and what to do.
    pub what: String,
    /// Whether it loses data or trust; else it is worth a look.
    pub alarm: bool,
}

impl Fault {
    fn of(finding: &Finding) -> Fault {
        let one = match &finding.snapshots[..] {
            [one] => Some(one.clone()),
            _ => None,
        };
        Fault {
            snapshot: one,
            snapshots: finding.snapshots.clone(),
            kind: finding.wrong.word().to_owned(),
            object: finding.object.clone(),
            what: finding.to_string(),
            alarm: finding.wrong.is_alarm(),
        }
    }
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
    /// How many of them need a pack that was given up.
    pub given_up: usize,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// When the packs were last read and right.
    pub verified: Verified,
}

impl TenantCheck {
    /// Tells whether anything alarming was found.
    pub fn is_bad(&self) -> bool {
        self.faults.iter().any(|f| f.alarm)
    }
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// What is wrong with the certificates, which concerns all tenants.
    pub repository: Vec<Fault>,
    /// The tenants.
    pub tenants: Vec<TenantCheck>,
}

impl Checked {
    /// Tells whether anything alarming was found.
    pub fn is_bad(&self) -> bool {
        self.repository.iter().any(|f| f.alarm) || self.tenants.iter().any(TenantCheck::is_bad)
    }
}

/// Checks the certificates, and the named tenants or all in the repository.
pub async fn check(
    appliance: &Appliance,
    named: &[TenantName],
    extent: Extent,
    identities: Option<&Identities>,
) -> Result<Checked> {
    let (found, certificates) = of_certificates(appliance).await?;
    let mut tenants = Vec::new();
    for tenant in snapshots::known_tenants(appliance, named)? {
        appliance.around.monitor.step(&format!("check {tenant}"));
        tenants.push(of_tenant(appliance, tenant, extent, &certificates, identities).await?);
    }
    Ok(Checked { repository: found.iter().map(Fault::of).collect(), tenants })
}

/// Looks at the certificates; returns what is wrong, and the highest number that was ever seen of each host.
pub(super) async fn of_certificates(appliance: &Appliance) -> Result<(Vec<Finding>, Certificates)> {
    let mut seen = appliance.state.certificates()?;
    let kept = object::kept(appliance.store(), keys::HOSTS).await?;
    let (found, there) = check::certificates(&appliance.repo, &kept, &seen).await?;
    for (host, n) in there {
        seen.entry(host).and_modify(|highest| *highest = n.max(*highest)).or_insert(n);
    }
    appliance.state.remember_certificates(&seen)?;
    Ok((found, seen))
}

/// What was found of a tenant, and what it was found in.
pub(super) struct Looked {
    pub history: History,
    pub kept: Arc<Kept>,
    pub findings: Vec<Finding>,
    pub read: Vec<PackId>,
    pub snapshots: usize,
}

/// Looks at a tenant without any key: one listing, its receipts and what they name.
pub(super) async fn look(
    appliance: &Appliance,
    tenant: &TenantName,
    depth: Depth,
    latest_only: bool,
    certificates: &Certificates,
) -> Result<Looked> {
    let history = snapshots::history(appliance, tenant).await?;
    // After the receipts, whose objects are all there by then.
    let kept = Arc::new(object::kept(appliance.store(), &keys::tenant(tenant)).await?);
    let (repo, trust) = (&appliance.repo, &appliance.trust);
    let mut findings = check::clear_objects(repo, trust, &history, &kept, certificates).await?;
    let monitor = Arc::clone(&appliance.around.monitor);
    let mut intact = IntactCheck::of(repo, &history, Arc::clone(&kept), depth, monitor);
    let chosen = chosen(&history, latest_only);
    let snapshots = chosen.len();
    for committed in chosen {
        findings.extend(intact.snapshot(committed).await);
    }
    let read = intact.read().to_vec();
    findings.extend(unneeded(appliance, &history, &kept, &findings).await?);
    Ok(Looked { findings: check::merged(findings), history, kept, read, snapshots })
}

fn chosen(history: &History, latest_only: bool) -> Vec<&Committed> {
    match latest_only {
        true => history.latest_whole().into_iter().collect(),
        false => history.snapshots.iter().collect(),
    }
}

/// Finds packs that somebody wrote over or deleted and that no snapshot looked at needs; remembers all for `status`.
async fn unneeded(
    appliance: &Appliance,
    history: &History,
    kept: &Kept,
    findings: &[Finding],
) -> Result<Vec<Finding>> {
    let found =
        crate::repo::tampered::packs(appliance.store(), &history.tenant, kept, &history.marks.packs).await?;
    tampered::remember(&appliance.state, &history.tenant, &found)?;
    let named: HashSet<&str> = findings.iter().map(|f| f.object.as_str()).collect();
    let finding = |t: &Tampered| {
        let wrong = match t.how {
            How::Overwritten => Wrong::Overwritten,
            How::Deleted => Wrong::Deleted,
        };
        Finding::new(wrong, &t.object, t.to_string())
    };
    Ok(found.iter().filter(|t| !named.contains(t.object.as_str())).map(finding).collect())
}

async fn of_tenant(
    appliance: &Appliance,
    tenant: TenantName,
    extent: Extent,
    certificates: &Certificates,
    identities: Option<&Identities>,
) -> Result<TenantCheck> {
    let depth = depth_of(appliance, &tenant, extent.read_data)?;
    let looked = look(appliance, &tenant, depth, extent.latest_only, certificates).await?;
    let Looked { history, kept, mut findings, read, snapshots } = looked;
    // A copy takes a receipt long after its night: its store's times say nothing.
    if !appliance.state.is_of_copy() {
        findings.extend(odd_times(&history));
    }
    let unwell: BTreeSet<&SnapshotId> = findings.iter().flat_map(|f| &f.snapshots).collect();
    let given_up = |f: &&Finding| f.wrong == Wrong::GivenUp;
    let lost: BTreeSet<SnapshotId> =
        findings.iter().filter(given_up).flat_map(|f| f.snapshots.clone()).collect();
    if let Some(identities) = identities {
        let mut of_streams = Vec::new();
        let frames = frame_memory();
        for committed in chosen(&history, extent.latest_only) {
            if !unwell.contains(&committed.receipt.snapshot) {
                of_streams.extend(streams::read_all(appliance, committed, identities, &frames).await?);
            }
        }
        findings.extend(of_streams);
    }
    let memory = remember(appliance, &tenant, (&kept, &read), &findings, depth)?;
    let bad = findings.iter().any(|f| f.wrong.is_alarm());
    let level = match (bad || snapshots == 0, identities.is_some(), extent.read_data) {
        (true, ..) => None,
        (false, true, _) => Some("L2"),
        (false, false, ReadData::All) => Some("L1"),
        (false, false, _) => Some("L0"),
    };
    Ok(TenantCheck {
        tenant,
        level: level.map(str::to_owned),
        snapshots,
        given_up: lost.len(),
        faults: findings.iter().map(Fault::of).collect(),
        verified: memory.told(),
    })
}

/// Says which packs are read and hashed; of parts in turn the one that is due.
pub fn depth_of(appliance: &Appliance, tenant: &TenantName, read_data: ReadData) -> Result<Depth> {
    Ok(match read_data {
        ReadData::None => Depth::Sizes,
        ReadData::Part(share) => Depth::Part(share),
        ReadData::Next(of) => Depth::Part(verified::Memory::load(&appliance.state, tenant)?.next(of)),
        ReadData::All => Depth::Hashes,
    })
}

/// Keeps what was read of the packs that are there, and found right or wrong.
fn remember(
    appliance: &Appliance,
    tenant: &TenantName,
    (kept, read): (&Kept, &[PackId]),
    findings: &[Finding],
    depth: Depth,
) -> Result<verified::Memory> {
    let now = appliance.around.now();
    damaged::checked(&appliance.state, tenant, kept, read, findings, now)?;
    let mut memory = verified::Memory::load(&appliance.state, tenant)?;
    memory.update(tenant, kept, read, findings, depth, now);
    memory.save(&appliance.state, tenant)?;
    Ok(memory)
}

/// Finds receipts whose time is not to be believed: prune stops at them.
fn odd_times(history: &History) -> Vec<Finding> {
    let finding = |(snapshot, stop): (SnapshotId, prune::plan::Stop)| {
        let wrong = if stop.fault == "future-dated" { Wrong::FutureDated } else { Wrong::BackDated };
        let key = keys::receipt(&history.tenant, &snapshot).json;
        Finding::new(wrong, key, stop.what).needed_by([snapshot])
    };
    prune::odd_times(history).into_iter().map(finding).collect()
}

/// Opens a snapshot for reading with the host's cache of fetched packs.
pub async fn open_reader(
    appliance: &Appliance,
    committed: &Committed,
    vault: &crate::repo::vault::VaultKey,
) -> Result<SnapshotReader> {
    open_reader_within(appliance, committed, vault, frame_memory()).await
}

/// The same, with memory for frames that the reader before it had.
async fn open_reader_within(
    appliance: &Appliance,
    committed: &Committed,
    vault: &crate::repo::vault::VaultKey,
    frames: Spare,
) -> Result<SnapshotReader> {
    let options = ReadOptions {
        // One for all snapshots, so that a reader sweeps what any that died has left.
        folder: appliance.config.machine.restore_cache_dir(),
        folder_limit_bytes: appliance.config.machine.restore_cache_size.0,
        frames,
        fetches: 3,
        monitor: std::sync::Arc::clone(&appliance.around.monitor),
    };
    let reader = SnapshotReader::open(&appliance.repo, committed, vault, options).await?;
    damaged::watch(appliance, &committed.receipt.tenant, &reader);
    Ok(reader)
}
