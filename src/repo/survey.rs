//! What a tenant's store holds and who needs it: the facts that prune decides upon, and the removal of what it chose.
//!
//! Owns what is looked at and the order of removal. Knows no policy. Nothing here needs a key that reads.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::id::{HostName, PackId, SnapshotId, TenantName};
use crate::store::{Entry, Store};

use super::certificate::{Role, Trust};
use super::extent::PackRef;
use super::history::{Head, History};
use super::keys::{self, SnapshotPart};
use super::receipt::Committed;
use super::repository::Repository;
use super::snapshot::read_packs;
use super::{object, void};

/// How many pack lists are fetched, and how many objects removed, at a time.
const PARALLEL: usize = 16;

/// A pack that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPack {
    /// The length of all its versions.
    pub stored_bytes: u64,
    /// When the newest version was stored, by the store's clock.
    pub stored: Timestamp,
    /// Its versions.
    pub versions: Vec<Entry>,
}

/// A host from which a further receipt of the tenant would be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Which.
    pub host: HostName,
    /// The highest void mark that it says it saw; none where it has no receipt.
    pub seen: Option<u32>,
    /// When the store took its newest receipt.
    pub stored: Option<Timestamp>,
}

/// All that lies below a tenant's prefix and concerns prune.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The receipts.
    pub history: History,
    /// The packs that each snapshot of the history needs; without those of [`Survey::unreadable`].
    pub needs: BTreeMap<SnapshotId, Vec<PackRef>>,
    /// Snapshots whose pack list does not come back as their receipt says.
    pub unreadable: Vec<(SnapshotId, Kind, String)>,
    /// The packs in the store.
    pub packs: BTreeMap<PackId, HeldPack>,
    /// The packs that are void, each with the number of the first mark there is that names it.
    pub void: BTreeMap<PackId, u32>,
    /// The numbers of all right void marks there are, each with that of the last mark it repeats.
    pub marks: BTreeMap<u32, u32>,
    /// Who may write.
    pub writers: Vec<Writer>,
    /// The objects below `snapshots/`, by snapshot.
    pub objects: BTreeMap<SnapshotId, Vec<Entry>>,
}

impl Survey {
    /// Looks at everything: four listings, and two requests and a pack list a snapshot.
    ///
    /// `remembered` is the newest head that this machine has seen.
    pub async fn take(
        repo: &Repository,
        trust: &Trust,
        tenant: &TenantName,
        remembered: Option<&Head>,
    ) -> Result<Survey> {
        let history = History::load(repo, trust, tenant, remembered).await?;
        // After the receipts, whose packs are all there by then.
        let packs = packs(repo, tenant).await?;
        let mut objects: BTreeMap<SnapshotId, Vec<Entry>> = BTreeMap::new();
        for entry in object::versions(&**repo.store(), &keys::snapshots(tenant)).await? {
            if let Some((snapshot, _)) = keys::parse_snapshot(tenant, &entry.key) {
                objects.entry(snapshot).or_default().push(entry);
            }
        }
        let (mut void, mut marks) = (BTreeMap::new(), BTreeMap::new());
        for mark in void::load_all(repo, trust, tenant).await? {
            marks.insert(mark.number, mark.supersedes);
            for pack in mark.packs {
                void.entry(pack).or_insert(mark.number);
            }
        }
        let (needs, unreadable) = pack_lists(repo, &history.snapshots).await;
        let writers = writers(trust, tenant, &history);
        Ok(Survey { history, needs, unreadable, packs, void, marks, writers, objects })
    }

    /// Tells whether all that a snapshot names is in the store, in its length; its content is not looked at.
    pub fn is_intact(&self, committed: &Committed) -> bool {
        let receipt = &committed.receipt;
        let Some(needs) = self.needs.get(&receipt.snapshot) else { return false };
        let key = keys::snapshot(&receipt.tenant, &receipt.snapshot, SnapshotPart::Manifest);
        let manifest = self.objects.get(&receipt.snapshot).into_iter().flatten();
        let mut manifest = manifest.filter(|e| e.key == key);
        manifest.any(|e| e.size_bytes == receipt.manifest.size)
            && needs.iter().all(|p| {
                let held = self.packs.get(&p.id);
                held.is_some_and(|h| h.versions.iter().any(|v| v.size_bytes == p.size_bytes))
            })
    }

    /// Returns the snapshots of which there are objects but no receipt, each with the time of the newest object.
    pub fn begun(&self) -> impl Iterator<Item = (&SnapshotId, Timestamp)> {
        let uncommitted = self.objects.iter().filter(|(snapshot, entries)| {
            let tenant = &self.history.tenant;
            let receipt = keys::receipt(tenant, snapshot).json;
            entries.iter().all(|e| e.key != receipt)
        });
        uncommitted
            .filter_map(|(snapshot, entries)| Some((snapshot, entries.iter().map(|e| e.modified).max()?)))
    }
}

async fn packs(repo: &Repository, tenant: &TenantName) -> Result<BTreeMap<PackId, HeldPack>> {
    let mut packs: BTreeMap<PackId, HeldPack> = BTreeMap::new();
    for entry in object::versions(&**repo.store(), &keys::packs(tenant)).await? {
        let Some(id) = keys::parse_pack(tenant, &entry.key) else { continue };
        let held = packs.entry(id).or_insert_with(|| HeldPack {
            stored_bytes: 0,
            stored: entry.modified,
            versions: Vec::new(),
        });
        held.stored_bytes += entry.size_bytes;
        held.stored = held.stored.max(entry.modified);
        held.versions.push(entry);
    }
    Ok(packs)
}

pub(super) type PackLists = (BTreeMap<SnapshotId, Vec<PackRef>>, Vec<(SnapshotId, Kind, String)>);

/// Fetches the pack lists of snapshots; those that do not come back as their receipts say are told apart.
pub(super) async fn pack_lists(repo: &Repository, snapshots: &[Committed]) -> PackLists {
    let reads = futures::stream::iter(0..snapshots.len()).map(|n| async move {
        let committed = &snapshots[n];
        (committed.receipt.snapshot.clone(), read_packs(repo, committed).await)
    });
    let (mut lists, mut unreadable) = (BTreeMap::new(), Vec::new());
    let mut reads = reads.buffer_unordered(PARALLEL);
    while let Some((snapshot, read)) = reads.next().await {
        match read {
            Ok(packs) => drop(lists.insert(snapshot, packs)),
            Err(e) => unreadable.push((snapshot, e.kind(), e.to_string())),
        }
    }
    drop(reads);
    unreadable.sort_by(|a, b| a.0.cmp(&b.0));
    (lists, unreadable)
}

/// Finds who may write: hosts whose certificate in force says so, and those that wrote under one that still counts.
fn writers(trust: &Trust, tenant: &TenantName, history: &History) -> Vec<Writer> {
    let of = |host: &HostName| {
        let all = history.forgotten.iter().chain(&history.snapshots);
        let own: Vec<&Committed> = all.filter(|c| c.receipt.host == *host).collect();
        Writer {
            host: host.clone(),
            seen: own.iter().map(|c| c.receipt.void_seen).max(),
            stored: own.iter().map(|c| c.stored).max(),
        }
    };
    let all = trust.writers(tenant).into_iter().map(of);
    all.filter(|w| w.seen.is_some() || trust.may_write(&w.host, Role::Backup, tenant).is_ok()).collect()
}

/// What became of objects that were to be removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// How many are gone.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that are not, with the reason.
    pub failed: Vec<Error>,
}

impl Removed {
    /// Adds what became of others.
    pub fn add(&mut self, other: Removed) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.failed.extend(other.failed);
    }
}

/// Removes objects, every version of each that is listed, a bounded number at a time.
pub async fn remove(store: &dyn Store, entries: Vec<Entry>) -> Removed {
    let deletes = futures::stream::iter(entries)
        .map(|e| async move { (store.delete(&e.key, e.version.as_deref()).await, e.size_bytes) });
    let mut removed = Removed::default();
    let mut deletes = deletes.buffer_unordered(PARALLEL);
    while let Some((deleted, bytes)) = deletes.next().await {
        match deleted {
            Ok(()) => {
                removed.objects += 1;
                removed.bytes += bytes;
            }
            Err(e) => removed.failed.push(e),
        }
    }
    removed
}

/// Removes a snapshot: its receipt first, so that what dies half-way leaves one that was never committed.
pub async fn remove_snapshot(store: &dyn Store, entries: &[Entry]) -> Removed {
    let is_receipt = |e: &&Entry| e.key.as_str().ends_with(".json");
    let mut removed = remove(store, entries.iter().filter(is_receipt).cloned().collect()).await;
    if removed.failed.is_empty() {
        let rest = entries.iter().filter(|e| !is_receipt(e)).cloned().collect();
        removed.add(remove(store, rest).await);
    }
    removed
}

/// Removes the void marks with these numbers.
pub async fn remove_marks(
    store: &dyn Store,
    tenant: &TenantName,
    numbers: &BTreeSet<u32>,
) -> Result<Removed> {
    let listed = object::versions(store, &keys::void_marks(tenant)).await?;
    let number = |e: &Entry| {
        keys::parse_void_mark(tenant, &e.key).or_else(|| keys::parse_void_mark_signature(tenant, &e.key))
    };
    let old = listed.into_iter().filter(|e| number(e).is_some_and(|n| numbers.contains(&n)));
    Ok(remove(store, old.collect()).await)
}
