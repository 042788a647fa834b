//! Checks of committed snapshots: is every object there (L1), does every stream come back (L2).
//!
//! Owns what is looked at on each level; L0 is what [`super::history`] calls committed. Knows nothing of what
//! streams mean, of tenants' loads or of who is told.

#![expect(dead_code, reason = "UNFINISHED: the parts below are not called yet")]

pub mod finding;
mod judge;
mod known;
mod signed;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;

use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, PackId, Sha256, TenantName};
use crate::store::{Entry, Key};

use super::extent::{PackRef, StreamRecord};
use super::keys::{self, SnapshotPart};
use super::manifest;
use super::object;
use super::reader::check_pack;
use super::receipt::Committed;
use super::repository::Repository;
use super::snapshot::{SnapshotReader, read_packs};

/// How many packs are fetched at a time.
const PARALLEL: usize = 4;

/// One thing that a check found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// [`Kind::NotFound`] (missing), [`Kind::Damaged`], [`Kind::Forged`], or why it could not be looked at.
    pub kind: Kind,
    /// The object's key, or the stream as `component/stream`.
    pub object: String,
    /// The component, where it concerns one only.
    pub component: Option<ComponentName>,
    /// What is wrong.
    pub what: String,
}

impl Finding {
    fn of(object: impl fmt::Display, error: &Error) -> Finding {
        Finding { kind: error.kind(), object: object.to_string(), component: None, what: error.to_string() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// How closely packs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// That they are there and as long as the receipt says; cheap, and less than L1.
    Sizes,
    /// That their SHA-256 is their name; fetches each once. This is L1.
    Hashes,
}

/// A check of a tenant's snapshots for completeness; packs that several share are looked at once.
pub struct IntactCheck {
    repo: Repository,
    tenant: TenantName,
    depth: Depth,
    /// The sizes of all versions of each pack.
    there: HashMap<PackId, Vec<u64>>,
    looked_at: HashMap<PackId, Option<Finding>>,
}

impl IntactCheck {
    /// Lists the tenant's packs.
    pub async fn begin(repo: &Repository, tenant: &TenantName, depth: Depth) -> Result<IntactCheck> {
        let mut there: HashMap<PackId, Vec<u64>> = HashMap::new();
        for entry in object::versions(&**repo.store(), &keys::packs(tenant)).await? {
            if let Some(id) = keys::parse_pack(tenant, &entry.key) {
                there.entry(id).or_default().push(entry.size_bytes);
            }
        }
        Ok(IntactCheck {
            repo: repo.clone(),
            tenant: tenant.clone(),
            depth,
            there,
            looked_at: HashMap::new(),
        })
    }

    /// Looks at all that a snapshot's receipt names, and returns what is wrong; nothing, where it is intact.
    ///
    /// Manifest and pack list are always fetched and hashed. Wraps lie in the receipt too, so one that is missing under
    /// `keys/` is found, but loses nothing.
    pub async fn snapshot(&mut self, committed: &Committed) -> Vec<Finding> {
        let mut found = Vec::new();
        found.extend(self.manifest(committed).await.err());
        found.extend(self.wraps(committed).await);
        let packs = match read_packs(&self.repo, committed).await {
            Ok(packs) => packs,
            Err(e) => {
                let snapshot = &committed.receipt.snapshot;
                found.push(Finding::of(keys::snapshot(&self.tenant, snapshot, SnapshotPart::PackList), &e));
                return found;
            }
        };
        self.look_at(&packs).await;
        found.extend(packs.iter().filter_map(|p| self.looked_at.get(&p.id)?.clone()));
        found
    }

    async fn manifest(&self, committed: &Committed) -> Result<(), Finding> {
        let object = &committed.receipt.manifest;
        let key = keys::snapshot(&self.tenant, &committed.receipt.snapshot, SnapshotPart::Manifest);
        let limit = object.size.min(manifest::OBJECT_LIMIT);
        let fetched = object::get_hashed(&**self.repo.store(), &key, &object.hash, limit).await;
        fetched.map(drop).map_err(|e| Finding::of(key, &e))
    }

    async fn wraps(&self, committed: &Committed) -> Vec<Finding> {
        let receipt = &committed.receipt;
        let prefix = keys::wraps(&self.tenant, &receipt.vault);
        let listed = match object::versions(&**self.repo.store(), &prefix).await {
            Ok(listed) => listed,
            Err(e) => return vec![Finding::of(prefix, &e)],
        };
        let is_there = |hash: &Sha256| {
            let key: Key = keys::wrap(&self.tenant, &receipt.vault, hash);
            listed.iter().any(|e: &Entry| e.key == key)
        };
        let lost = receipt.wraps.iter().filter(|w| !is_there(w.hash()));
        lost.map(|w| {
            let key = keys::wrap(&self.tenant, &receipt.vault, w.hash());
            let e =
                Error::new(Kind::NotFound, format!("{key} is not in the store; the receipt holds a copy"));
            Finding::of(key, &e)
        })
        .collect()
    }

    async fn look_at(&mut self, packs: &[PackRef]) {
        let mut new: Vec<PackRef> =
            packs.iter().filter(|p| !self.looked_at.contains_key(&p.id)).copied().collect();
        new.sort_unstable_by_key(|p| p.id);
        new.dedup_by_key(|p| p.id);
        let this = &*self;
        let looks = futures::stream::iter(new)
            .map(|pack| async move { (pack.id, this.pack(pack).await) })
            .buffer_unordered(PARALLEL);
        let results: Vec<_> = looks.collect().await;
        self.looked_at.extend(results);
    }

    async fn pack(&self, pack: PackRef) -> Option<Finding> {
        let key = keys::pack(&self.tenant, &pack.id);
        let error = match self.there.get(&pack.id) {
            None => Some(Error::new(Kind::NotFound, format!("{key} is not in the store"))),
            Some(sizes) if !sizes.contains(&pack.size_bytes) => Some(Error::new(
                Kind::Damaged,
                format!("{key} is {} bytes long instead of {}", sizes[0], pack.size_bytes),
            )),
            Some(_) if self.depth == Depth::Sizes => None,
            Some(_) => check_pack(&**self.repo.store(), &keys::packs(&self.tenant), pack).await.err(),
        };
        error.map(|e| Finding::of(key, &e))
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
