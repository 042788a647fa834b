//! Checks of committed snapshots: is every object there (L1), does every stream come back (L2).
//!
//! Owns what is looked at on each level; L0 is what [`super::history`] calls committed. Knows nothing of what
//! streams mean, of tenants' loads or of who is told.

mod clear;
mod finding;
mod judge;
mod known;
mod signed;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;

use crate::error::{Error, Kind, Result};
use crate::id::{PackId, TenantName};
use crate::monitor::{SharedMonitor, Silent};
use crate::store::{Kept, Key};

use super::extent::StreamRecord;
use super::history::History;
use super::keys::{self, SnapshotPart};
use super::object;
use super::receipt::{Committed, ObjectRef};
use super::repository::Repository;
use super::snapshot::{SnapshotReader, read_packs};

pub use clear::{Certificates, certificates, tenant as clear_objects};
pub use finding::{Finding, Wrong, merged};
pub use judge::{Verdict, judge};
use known::Known;

/// How many objects are looked at at a time.
const PARALLEL: usize = 4;

/// A part of all packs: those whose names, divided by `of`, leave `n` - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which part, from 1.
    pub n: u32,
    /// Of how many.
    pub of: u32,
}

impl Share {
    /// Tells whether a pack is of this part.
    pub fn holds(self, pack: &PackId) -> bool {
        let number = u64::from_be_bytes(*pack.0.first_chunk().expect("a hash has 32 bytes"));
        number % u64::from(self.of.max(1)) == u64::from(self.n.saturating_sub(1))
    }
}

/// How closely packs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// That they are there and as long as the receipt says; cheap, and less than L1.
    Sizes,
    /// That the SHA-256 of a part of them is their name; the others as [`Depth::Sizes`].
    Part(Share),
    /// That their SHA-256 is their name; fetches each once. This is L1.
    Hashes,
}

impl Depth {
    fn reads(self, pack: &PackId) -> bool {
        match self {
            Depth::Sizes => false,
            Depth::Part(share) => share.holds(pack),
            Depth::Hashes => true,
        }
    }
}

/// A check of a tenant's snapshots for completeness; objects that several share are looked at once.
pub struct IntactCheck {
    repo: Repository,
    tenant: TenantName,
    depth: Depth,
    kept: Arc<Kept>,
    known: Known,
    given_up: HashSet<PackId>,
    monitor: SharedMonitor,
    looked_at: HashMap<Key, Option<Finding>>,
    read: Vec<PackId>,
}

impl IntactCheck {
    /// Lists the tenant's objects.
    pub async fn begin(repo: &Repository, tenant: &TenantName, depth: Depth) -> Result<IntactCheck> {
        let kept = Arc::new(object::kept(&**repo.store(), &keys::tenant(tenant)).await?);
        Ok(IntactCheck {
            repo: repo.clone(),
            tenant: tenant.clone(),
            depth,
            known: Known::of_names(tenant, &kept),
            kept,
            given_up: HashSet::new(),
            monitor: Arc::new(Silent),
            looked_at: HashMap::new(),
            read: Vec::new(),
        })
    }

    /// Checks snapshots of a history that is loaded, with the listing of the tenant that was made after it.
    pub fn of(
        repo: &Repository,
        history: &History,
        kept: Arc<Kept>,
        depth: Depth,
        monitor: SharedMonitor,
    ) -> IntactCheck {
        IntactCheck {
            repo: repo.clone(),
            tenant: history.tenant.clone(),
            depth,
            known: Known::of(&history.tenant, &kept, history),
            kept,
            given_up: history.marks.packs.clone(),
            monitor,
            looked_at: HashMap::new(),
            read: Vec::new(),
        }
    }

    /// Looks at all that a snapshot's receipt names, and returns what is wrong; nothing, where it is intact.
    ///
    /// Manifest, pack list and wraps are always fetched and hashed. Wraps lie in the receipt too, so one that is missing
    /// under `keys/` is found, but loses nothing.
    pub async fn snapshot(&mut self, committed: &Committed) -> Vec<Finding> {
        let receipt = &committed.receipt;
        let tenant = self.tenant.clone();
        let part = |part| keys::snapshot(&tenant, &receipt.snapshot, part);
        let list = ObjectRef { hash: receipt.packs.hash, size: receipt.packs.size };
        let mut found: Vec<Finding> = Vec::new();
        for (key, right) in
            [(part(SnapshotPart::Manifest), receipt.manifest), (part(SnapshotPart::PackList), list)]
        {
            let finding = self.look(&key, right, true).await;
            found.extend(finding.map(|f| f.needed_by([receipt.snapshot.clone()])));
        }
        let wraps = receipt.wraps.iter().map(|w| {
            let right = ObjectRef { hash: *w.hash(), size: w.bytes().len() as u64 };
            (keys::wrap(&tenant, &receipt.vault, w.hash()), right, true)
        });
        found.extend(self.look_at(wraps.collect()).await.into_iter().map(|f| {
            f.advice(
                "no snapshot lost anything, for receipts hold it too; `lifeboat check --repair` puts it back",
            )
        }));
        if found.iter().any(|f| f.object == part(SnapshotPart::PackList).as_str() && f.loses()) {
            return found;
        }
        let packs = match read_packs(&self.repo, committed).await {
            Ok(packs) => packs,
            Err(e) => {
                found.push(
                    Finding::of(part(SnapshotPart::PackList), &e).needed_by([receipt.snapshot.clone()]),
                );
                return found;
            }
        };
        let packs = packs.iter().map(|p| {
            let right = ObjectRef { hash: p.id, size: p.size_bytes };
            (keys::pack(&tenant, &p.id), right, self.depth.reads(&p.id))
        });
        let of_packs = self.look_at(packs.collect()).await;
        found.extend(of_packs.into_iter().map(|f| f.needed_by([receipt.snapshot.clone()])));
        found
    }

    /// Returns the packs that were read and are right.
    pub fn read(&self) -> &[PackId] {
        &self.read
    }

    /// Looks at objects that were not looked at yet, a few at a time; returns what is wrong with any of all.
    async fn look_at(&mut self, objects: Vec<(Key, ObjectRef, bool)>) -> Vec<Finding> {
        let mut new: Vec<&(Key, ObjectRef, bool)> =
            objects.iter().filter(|(key, ..)| !self.looked_at.contains_key(key)).collect();
        new.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        new.dedup_by(|a, b| a.0 == b.0);
        let this = &*self;
        let looks = futures::stream::iter(new)
            .map(|(key, right, read)| async move { (key, right, *read, this.look(key, *right, *read).await) })
            .buffer_unordered(PARALLEL);
        let results: Vec<_> = looks.collect().await;
        let mut seen = Vec::new();
        let mut read_right = Vec::new();
        for (key, right, read, finding) in results {
            if read && finding.is_none() && keys::parse_pack(&self.tenant, key).is_some() {
                read_right.push(right.hash);
            }
            seen.push((key.clone(), finding));
        }
        self.read.extend(read_right);
        self.looked_at.extend(seen);
        objects.iter().filter_map(|(key, ..)| self.looked_at.get(key)?.clone()).collect()
    }

    /// Looks at one object of a known hash; nothing where its newest version is right.
    async fn look(&self, key: &Key, right: ObjectRef, read: bool) -> Option<Finding> {
        let store = &**self.repo.store();
        let verdict = match judge(store, &self.kept, key, right, read, &*self.monitor).await {
            Ok(verdict) => verdict,
            Err(e) => return Some(Finding::of(key, &e)),
        };
        let found = match verdict {
            Verdict::Right => return None,
            Verdict::Older { deleted: true } => {
                Finding::new(Wrong::Deleted, key, format!("{key} was deleted, its right version is kept"))
            }
            Verdict::Older { deleted: false } => Finding::new(
                Wrong::Overwritten,
                key,
                format!("{key} was overwritten, its right version is kept"),
            ),
            Verdict::Missing => Finding::new(Wrong::Missing, key, format!("{key} is not in the store")),
            Verdict::Wrong { hash, size_bytes } => self.wrong(key, right, hash, size_bytes),
        };
        let given_up = keys::parse_pack(&self.tenant, key).is_some_and(|id| self.given_up.contains(&id));
        if given_up && found.loses() {
            return Some(Finding { wrong: Wrong::GivenUp, ..found });
        }
        Some(found)
    }

    fn wrong(&self, key: &Key, right: ObjectRef, hash: Option<PackId>, size_bytes: u64) -> Finding {
        if let Some(other) = hash.and_then(|hash| self.known.other(&hash, key)) {
            return Finding::new(Wrong::Swapped, key, format!("{key} holds the bytes of {}", other.key()));
        }
        let what = match size_bytes == right.size {
            true => format!("{key} does not have the SHA-256 {}", right.hash.short()),
            false => format!("{key} is {size_bytes} bytes long instead of {}", right.size),
        };
        Finding::new(Wrong::Damaged, key, what)
    }
}

/// Reads every stream of a snapshot to its end (L2), and returns what is wrong.
///
/// `look` sees all bytes in order, stream by stream, for whoever wants to see a dump's trailer or a tar's end; its
/// verdict on a stream, asked for with `None`, is one more finding.
pub async fn readable(
    reader: &SnapshotReader,
    look: &mut (dyn FnMut(&StreamRecord, Option<&Bytes>) -> Result<()> + Send),
) -> Vec<Finding> {
    let records = reader.streams().to_vec();
    reader.expect(&records);
    let mut found = Vec::new();
    for record in &records {
        if let Err(e) = read_to_end(reader, record, look).await {
            let mut finding = Finding::of(format!("{}/{}", record.component, record.stream), &e);
            finding.component = Some(record.component);
            found.push(finding);
        }
    }
    found
}

async fn read_to_end(
    reader: &SnapshotReader,
    record: &Arc<StreamRecord>,
    look: &mut (dyn FnMut(&StreamRecord, Option<&Bytes>) -> Result<()> + Send),
) -> Result<()> {
    let mut stream = reader.stream(record.component, &record.stream)?;
    let mut size = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        size += bytes.len() as u64;
        look(record, Some(&bytes))?;
    }
    if size != record.size_bytes {
        let what = format!(
            "{}/{} has {size} bytes instead of {}",
            record.component, record.stream, record.size_bytes
        );
        return Err(Error::new(Kind::Damaged, what));
    }
    look(record, None)
}
