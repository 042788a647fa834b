//! The snapshots of a tenant as a whole: which are committed, and what is wrong with the row of receipts.
//!
//! Owns listing, verification and the rules of sequence. Knows nothing of packs and of what to do about faults.

mod chain;
mod fault;

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{Sha256, SnapshotId, TenantName};
use crate::store::{Entry, Kept, Marker};

use super::certificate::Trust;
use super::keys::{self, SnapshotPart};
use super::object;
use super::recall;
use super::receipt::{self, Committed};
use super::repository::Repository;
use super::void::VoidMarks;

pub use fault::Fault;

/// How many receipts are fetched at a time.
const PARALLEL: usize = 16;

/// Versions of one key are compared by content up to this length in bytes; longer ones by length alone.
const COMPARE_LIMIT: u64 = 64 * 1024 * 1024;

/// The newest receipt of a tenant, as it goes out with reports and as a host remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its sequence number.
    pub sequence: u64,
    /// Its hash.
    pub receipt: Sha256,
    /// Its snapshot.
    pub snapshot: SnapshotId,
    /// When the snapshot was complete, by its host's clock.
    pub finished: Timestamp,
}

impl From<&Committed> for Head {
    fn from(c: &Committed) -> Head {
        Head {
            sequence: c.receipt.sequence,
            receipt: c.hash,
            snapshot: c.receipt.snapshot.clone(),
            finished: c.receipt.finished,
        }
    }
}

/// The snapshots of a tenant.
#[derive(Debug, Clone)]
pub struct History {
    /// Whose they are.
    pub tenant: TenantName,
    /// The committed ones, by sequence number, without those that are forgotten.
    pub snapshots: Vec<Committed>,
    /// Those that prune has forgotten and not yet removed: nothing may rely on them.
    pub forgotten: Vec<Committed>,
    /// What the void marks say.
    pub marks: VoidMarks,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl History {
    /// Loads and verifies all receipts of a tenant.
    ///
    /// `remembered` is the head that this host saw last. Fails only where the store cannot be listed.
    pub async fn load(
        repo: &Repository,
        trust: &Trust,
        tenant: &TenantName,
        remembered: Option<&Head>,
    ) -> Result<History> {
        let listing = Listing::of(repo, tenant).await?;
        let all: Vec<SnapshotId> = listing.receipts().cloned().collect();
        let (mut read, mut faults) = listing.read(repo, trust, all).await;
        read.sort_by_key(|c| chain::order(&c.into()));
        // After the receipts: whatever prune took from under this hand is in these marks.
        let marks = VoidMarks::load(repo, trust, tenant).await?;
        if faults.iter().any(Fault::is_gone) {
            let again = Listing::of(repo, tenant).await?;
            faults.retain(|f| !f.is_gone() || f.snapshot().is_some_and(|s| again.parts.contains_key(s)));
        }
        let (forgotten, snapshots): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|c| marks.forgot(c.receipt.sequence));
        faults.extend(listing.orphans());
        faults.extend(listing.overwritten(repo).await);
        faults.extend(listing.deleted());
        let links: Vec<chain::Link> = snapshots.iter().map(Into::into).collect();
        faults.extend(chain::faults(None, &links, &marks.forgotten));
        faults.extend(remembered.and_then(|head| chain::rolled_back(head, &links)));
        Ok(History { tenant: tenant.clone(), snapshots, forgotten, marks, faults })
    }

    /// Returns the newest receipt.
    pub fn head(&self) -> Option<Head> {
        self.snapshots.last().map(Head::from)
    }

    /// Finds a committed snapshot.
    pub fn find(&self, snapshot: &SnapshotId) -> Option<&Committed> {
        self.snapshots.iter().find(|c| c.receipt.snapshot == *snapshot)
    }

    /// Returns the newest whole snapshot: what `restore` takes unless told otherwise.
    pub fn latest_whole(&self) -> Option<&Committed> {
        self.snapshots.iter().rev().find(|c| c.receipt.is_whole())
    }
}

/// What a host remembers of a tenant's receipts, so that a night reads only those it does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The newest receipt.
    pub head: Option<Head>,
    /// The snapshots whose receipts were read and verified.
    pub snapshots: BTreeSet<SnapshotId>,
}

impl Seen {
    /// Brings the memory up to the store with one listing and the receipts that are new; returns what is wrong.
    ///
    /// Unverifiable receipts are read again each time. Only faults that concern new receipts or the head are
    /// found; [`History::load`] finds all. Fails where a new receipt cannot be fetched at all: a snapshot made without
    /// knowing it might take its number.
    pub async fn advance(
        &mut self,
        repo: &Repository,
        trust: &Trust,
        tenant: &TenantName,
    ) -> Result<Vec<Fault>> {
        let listing = Listing::of(repo, tenant).await?;
        let gone = self.head.as_ref().filter(|head| !listing.is_committed(&head.snapshot));
        // Where the head is gone, what is shown in its stead is told by all receipts.
        let wanted = |s: &&SnapshotId| gone.is_some() || !self.snapshots.contains(*s);
        let new = listing.receipts().filter(wanted).cloned().collect();
        let (read, mut faults) = listing.read_to_follow(repo, trust, new).await?;
        let mut links: Vec<chain::Link> = read.iter().map(Into::into).collect();
        links.sort_by_key(chain::order);
        let rolled_back = gone.and_then(|head| chain::rolled_back(head, &links));
        let after = self.head.as_ref().filter(|_| rolled_back.is_none());
        faults.extend(rolled_back);
        let mut of_chain = chain::faults(after, &links, &[]);
        if !of_chain.is_empty() {
            // Prune may have signed for what lacks.
            let marks = VoidMarks::load(repo, trust, tenant).await?;
            links.retain(|l| !marks.forgot(l.sequence));
            of_chain = chain::faults(after, &links, &marks.forgotten);
        }
        faults.extend(of_chain);
        faults.extend(listing.overwritten(repo).await);
        faults.extend(listing.deleted());
        let newest = read.iter().max_by_key(|c| chain::order(&(*c).into()));
        // A store that shows less than it did does not move the memory back.
        if let Some(newest) = newest
            && self.head.as_ref().is_none_or(|h| newest.receipt.sequence > h.sequence)
        {
            self.head = Some(newest.into());
        }
        self.snapshots.retain(|s| listing.is_committed(s));
        self.snapshots.extend(read.into_iter().map(|c| c.receipt.snapshot));
        Ok(faults)
    }

    /// Takes up a receipt that this host has just written.
    pub fn committed(&mut self, committed: &Committed) {
        self.head = Some(committed.into());
        self.snapshots.insert(committed.receipt.snapshot.clone());
    }
}

/// What lies below a tenant's `snapshots/`.
struct Listing {
    tenant: TenantName,
    entries: Vec<Entry>,
    markers: Vec<Marker>,
    parts: BTreeMap<SnapshotId, BTreeSet<SnapshotPart>>,
}

impl Listing {
    async fn of(repo: &Repository, tenant: &TenantName) -> Result<Listing> {
        let Kept { versions: entries, markers } = recall::kept(repo, &keys::snapshots(tenant)).await?;
        let mut parts: BTreeMap<SnapshotId, BTreeSet<SnapshotPart>> = BTreeMap::new();
        for (snapshot, part) in entries.iter().filter_map(|e| keys::parse_snapshot(tenant, &e.key)) {
            parts.entry(snapshot).or_default().insert(part);
        }
        Ok(Listing { tenant: tenant.clone(), entries, markers, parts })
    }

    fn receipts(&self) -> impl Iterator<Item = &SnapshotId> {
        self.parts.iter().filter(|(_, p)| p.contains(&SnapshotPart::Receipt)).map(|(s, _)| s)
    }

    /// Tells whether a snapshot has both receipt and signature.
    fn is_committed(&self, snapshot: &SnapshotId) -> bool {
        let both =
            |p: &BTreeSet<_>| p.contains(&SnapshotPart::Receipt) && p.contains(&SnapshotPart::Signature);
        self.parts.get(snapshot).is_some_and(both)
    }

    /// Reads and verifies some receipts, a bounded number at a time; what is not right becomes a fault.
    async fn read(
        &self,
        repo: &Repository,
        trust: &Trust,
        some: Vec<SnapshotId>,
    ) -> (Vec<Committed>, Vec<Fault>) {
        let mut reads = futures::stream::iter(some)
            .map(|snapshot| async move { (self.read_one(repo, trust, &snapshot).await, snapshot) })
            .buffer_unordered(PARALLEL);
        let (mut right, mut faults) = (Vec::new(), Vec::new());
        while let Some((read, snapshot)) = reads.next().await {
            match read {
                Ok(committed) => right.push(committed),
                Err(e) if e.kind() == Kind::TooNew => {
                    faults.push(Fault::TooNew { snapshot, what: e.to_string() })
                }
                Err(e) if e.kind() == Kind::Ended => {
                    faults.push(Fault::Ended { snapshot, what: e.to_string() })
                }
                Err(e) => {
                    faults.push(Fault::Unverifiable { snapshot, kind: e.kind(), what: e.to_string() });
                }
            }
        }
        faults.sort_by(|a, b| a.snapshot().cmp(&b.snapshot()));
        (right, faults)
    }

    /// The same, for a writer whose receipt is to follow them: one that does not come is an error, and one that does not
    /// verify is read again with certificates of now. A host may have been certified since, or bytes turned on the way.
    async fn read_to_follow(
        &self,
        repo: &Repository,
        trust: &Trust,
        some: Vec<SnapshotId>,
    ) -> Result<(Vec<Committed>, Vec<Fault>)> {
        let (mut right, faults) = self.read(repo, trust, some).await;
        let (doubtful, mut faults): (Vec<_>, Vec<_>) = faults.into_iter().partition(Fault::is_doubtful);
        if !doubtful.is_empty() {
            let fresh = Trust::load(repo).await?;
            let doubtful = doubtful.iter().filter_map(Fault::snapshot).cloned().collect();
            let (more, still) = self.read(repo, &fresh, doubtful).await;
            right.extend(more);
            faults.extend(still);
        }
        if let Some((kind, what)) = faults.iter().find_map(Fault::not_fetched) {
            return Err(Error::new(kind, format!("receipts of {} are not all known: {what}", self.tenant))
                .hint("run it again; `lifeboat check` names what the store does not give"));
        }
        Ok((right, faults))
    }

    async fn read_one(&self, repo: &Repository, trust: &Trust, snapshot: &SnapshotId) -> Result<Committed> {
        let keys = keys::receipt(&self.tenant, snapshot);
        let check = |json: &[u8], sig: &[u8]| receipt::verify(trust, &self.tenant, snapshot, json, sig);
        // Entries are sorted by key: only this snapshot's few are looked through.
        let from = self.entries.partition_point(|e| e.key < keys.json);
        let to = self.entries.partition_point(|e| e.key <= keys.minisig);
        let listed = self.entries.get(from..to).unwrap_or(&[]);
        let found = recall::get_signed(repo, &keys, listed, receipt::LIMIT_BYTES, check).await?;
        let (receipt, hash) = found.value;
        Ok(Committed { receipt, hash, stored: found.entry.modified })
    }

    /// Finds snapshots that were begun and never committed.
    fn orphans(&self) -> impl Iterator<Item = Fault> {
        let without = self.parts.iter().filter(|(_, p)| !p.contains(&SnapshotPart::Receipt));
        without.map(|(s, _)| Fault::Orphan { snapshot: s.clone() })
    }

    /// Finds keys of committed snapshots that are hidden by a delete marker.
    fn deleted(&self) -> impl Iterator<Item = Fault> {
        self.markers.iter().filter(|m| m.latest).filter_map(|m| {
            let (snapshot, _) = keys::parse_snapshot(&self.tenant, &m.key)?;
            let committed = self.parts.get(&snapshot)?.contains(&SnapshotPart::Receipt);
            committed.then(|| Fault::Deleted { snapshot, key: m.key.clone() })
        })
    }

    /// Finds keys whose newest version is not the content of their oldest; a put repeated with the same bytes is none,
    /// and neither is what was overwritten and then put right again.
    async fn overwritten(&self, repo: &Repository) -> Vec<Fault> {
        let mut faults = Vec::new();
        for versions in self.entries.chunk_by(|a, b| a.key == b.key).filter(|v| v.len() > 1) {
            let key = &versions[0].key;
            let Some((snapshot, _)) = keys::parse_snapshot(&self.tenant, key) else { continue };
            if !ends_as_it_began(repo, versions).await {
                faults.push(Fault::Overwritten { snapshot, key: key.clone(), versions: versions.len() });
            }
        }
        faults
    }
}

async fn ends_as_it_began(repo: &Repository, versions: &[Entry]) -> bool {
    let (oldest, newest) = (&versions[0], &versions[versions.len() - 1]);
    let size = oldest.size_bytes;
    if size > COMPARE_LIMIT || newest.size_bytes != size {
        return false;
    }
    let mut first = None;
    for v in [oldest, newest] {
        let hash = match object::get(&**repo.store(), &v.key, v.version.as_deref(), size).await {
            Ok(bytes) => Sha256::of(&bytes),
            Err(_) => return false,
        };
        if *first.get_or_insert(hash) != hash {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
