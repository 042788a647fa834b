//! The repository in another store: what verifies here is put there, in an order that never shows a snapshot half.
//!
//! Needs no key: packs are named by their hashes, and what is signed is verified. What does not verify is not copied, so
//! damage and an intruder's writing stay where they are. Owns what is copied and in which order; knows nothing of why.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;

use crate::error::{Error, Kind, Result};
use crate::id::{DrillId, HostName, SnapshotId, TenantName};
use crate::monitor::{Counter, Monitor};
use crate::store::{Kept, Key, SharedStore};

use super::certificate::{self, Trust};
use super::extent::PackRef;
use super::history::History;
use super::keys::{self, Signed, SnapshotPart};
use super::receipt::{self, Committed, ObjectRef, Receipt};
use super::repository::Repository;
use super::snapshot::read_packs;
use super::transfer::{Fetched, fetch};
use super::vault::load_wraps;
use super::{drill, object, repository, void};

/// How many packs are on their way at a time; each waits on disk, so that memory stays small.
const PARALLEL: usize = 4;

/// How many pack lists are fetched at a time.
const LISTS_PARALLEL: usize = 16;

/// Where from, where to.
pub struct Copier<'a> {
    /// The repository that is copied.
    pub from: &'a Repository,
    /// Its certificates.
    pub trust: &'a Trust,
    /// The other store.
    pub to: &'a SharedStore,
    /// A folder for packs on their way, as ciphertext.
    pub folder: &'a Path,
    /// Who hears of it.
    pub monitor: &'a dyn Monitor,
    /// Only count what would be copied; what is not right is then not noticed.
    pub dry: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Objects that were put.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the objects, the packs.
    pub packs: u64,
    /// The snapshots that were not there before.
    pub snapshots: Vec<SnapshotId>,
    /// How many snapshots were there.
    pub there: usize,
    /// Objects or snapshots that were not copied, and why.
    pub left_out: Vec<(String, Error)>,
}

impl Copier<'_> {
    /// Copies `lifeboat.json` and the certificates.
    ///
    /// [`Kind::Forged`] where another repository lies there.
    pub async fn house(&self) -> Result<Done> {
        let kept = object::kept(&**self.from.store(), keys::HOSTS).await?;
        let mut run = Run { copier: self, kept, there: BTreeMap::new(), done: Done::default() };
        let key = keys::repository();
        match Repository::open(Arc::clone(self.to), Some(self.from.hash())).await {
            Ok(_) => {}
            Err(e) if e.kind() == Kind::NoRepository => {
                let (store, limit) = (&**self.from.store(), repository::LIMIT_BYTES);
                let bytes = object::get_hashed(store, &key, &self.from.hash(), limit).await?;
                run.put(&key, &Fetched::of(bytes)).await?;
            }
            Err(e) => return Err(e),
        }
        run.there = listed(self.to, keys::HOSTS).await?;
        let all: BTreeSet<(HostName, u32)> =
            run.kept.versions.iter().filter_map(|e| keys::parse_certificate(&e.key)).collect();
        for (host, n) in all {
            let check =
                |json: &[u8], sig: &[u8]| certificate::verify(self.from, &host, n, json, sig).map(drop);
            run.signed(&keys::certificate(&host, n), certificate::LIMIT_BYTES, check).await?;
        }
        Ok(run.done)
    }

    /// Copies a tenant: wraps, void marks, packs; then of each snapshot manifest, list, signature and, last, receipt;
    /// then the outcomes of drills. What is there already, in its length, is left alone.
    ///
    /// A snapshot of which something cannot be fetched whole is left out, so that no receipt lies there of which
    /// objects lack.
    pub async fn tenant(&self, history: &History) -> Result<Done> {
        let tenant = &history.tenant;
        let kept = object::kept(&**self.from.store(), &keys::tenant(tenant)).await?;
        let there = listed(self.to, &keys::tenant(tenant)).await?;
        let mut run = Run { copier: self, kept, there, done: Done::default() };
        run.wraps(history).await?;
        for n in void::numbers(tenant, &run.kept.versions) {
            let check = |json: &[u8], sig: &[u8]| void::verify(self.trust, tenant, n, json, sig).map(drop);
            run.signed(&keys::void_mark(tenant, n), void::LIMIT_BYTES, check).await?;
        }
        let lists = run.pack_lists(history).await?;
        run.packs(tenant, &lists).await?;
        for committed in &history.snapshots {
            if let Some(list) = lists.get(&committed.receipt.snapshot) {
                run.snapshot(committed, list).await?;
            }
        }
        run.drills(tenant).await?;
        Ok(run.done)
    }
}

async fn listed(store: &SharedStore, prefix: &str) -> Result<BTreeMap<Key, u64>> {
    Ok(store.list(prefix).await?.into_iter().map(|e| (e.key, e.size_bytes)).collect())
}

/// One copy as it goes.
struct Run<'a> {
    copier: &'a Copier<'a>,
    /// What is kept where it comes from.
    kept: Kept,
    /// What there is where it goes: the length of each object.
    there: BTreeMap<Key, u64>,
    done: Done,
}

impl Run<'_> {
    fn has(&self, key: &Key, size_bytes: u64) -> bool {
        self.there.get(key) == Some(&size_bytes)
    }

    async fn put(&mut self, key: &Key, object: &Fetched) -> Result<()> {
        if self.copier.dry {
            self.count(key, object.size_bytes());
            return Ok(());
        }
        object.put(&**self.copier.to, key, self.there.contains_key(key)).await?;
        self.count(key, object.size_bytes());
        Ok(())
    }

    fn count(&mut self, key: &Key, size_bytes: u64) {
        self.there.insert(key.clone(), size_bytes);
        self.done.objects += 1;
        self.done.bytes += size_bytes;
        self.copier.monitor.count(Counter::StoredBytes, size_bytes);
    }

    /// Notes what is not copied because it is not right; any other error ends the copy.
    fn leave_out(&mut self, what: impl ToString, error: Error) -> Result<()> {
        if !matches!(error.kind(), Kind::Damaged | Kind::NotFound | Kind::Forged | Kind::TooNew) {
            return Err(error);
        }
        self.copier.monitor.problem(&Error::new(error.kind(), format!("not copied: {error}")));
        self.done.left_out.push((what.to_string(), error));
        Ok(())
    }

    /// Copies the oldest right version of a signed object, signature first.
    async fn signed(
        &mut self,
        keys: &Signed,
        limit_bytes: u64,
        check: impl Fn(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        // The newest version is the right one almost always; where it is not, lengths differ almost always.
        let newest = |key: &Key| self.kept.versions_of(key).last().map(|e| e.size_bytes);
        let same = |key: &Key| newest(key).is_some_and(|size| self.has(key, size));
        if same(&keys.json) && same(&keys.minisig) {
            return Ok(());
        }
        let store = &**self.copier.from.store();
        match object::get_signed(store, keys, &self.kept.versions, limit_bytes, check).await {
            Ok(right) => self.put_signed(keys, right.bytes, right.signature).await,
            Err(e) => self.leave_out(&keys.json, e),
        }
    }

    async fn put_signed(&mut self, keys: &Signed, json: Bytes, signature: Bytes) -> Result<()> {
        for (key, bytes) in [(&keys.minisig, signature), (&keys.json, json)] {
            if !self.has(key, bytes.len() as u64) {
                self.put(key, &Fetched::of(bytes)).await?;
            }
        }
        Ok(())
    }

    /// Copies an object of a known hash; false where there is none that is right.
    async fn hashed(&mut self, key: &Key, right: ObjectRef) -> Result<bool> {
        if self.has(key, right.size) {
            return Ok(true);
        }
        if self.copier.dry {
            self.count(key, right.size);
            return Ok(true);
        }
        let Copier { from, folder, monitor, .. } = self.copier;
        match fetch(&**from.store(), key, right, folder, *monitor).await {
            Ok(object) => self.put(key, &object).await.map(|()| true),
            Err(e) => self.leave_out(key, e).map(|()| false),
        }
    }

    /// Copies the wraps that receipts embed, and those of operators who came later, which only the store has.
    async fn wraps(&mut self, history: &History) -> Result<()> {
        let tenant = &history.tenant;
        let mut vaults = BTreeSet::new();
        for committed in &history.snapshots {
            let Receipt { vault, wraps, .. } = &committed.receipt;
            let mut wraps = wraps.clone();
            if vaults.insert(vault.clone()) {
                wraps.extend(load_wraps(self.copier.from, tenant, vault).await?);
            }
            for wrap in wraps {
                let key = keys::wrap(tenant, vault, wrap.hash());
                if !self.has(&key, wrap.bytes().len() as u64) {
                    self.put(&key, &Fetched::of(wrap.bytes().clone())).await?;
                }
            }
        }
        Ok(())
    }

    /// Reads the pack lists of all snapshots; those that do not come back are left out with their snapshots.
    async fn pack_lists(&mut self, history: &History) -> Result<BTreeMap<SnapshotId, Vec<PackRef>>> {
        let from = self.copier.from;
        let reads = futures::stream::iter(0..history.snapshots.len()).map(|n| async move {
            let committed = &history.snapshots[n];
            (committed.receipt.snapshot.clone(), read_packs(from, committed).await)
        });
        let mut reads = std::pin::pin!(reads.buffer_unordered(LISTS_PARALLEL));
        let mut lists = BTreeMap::new();
        while let Some((snapshot, read)) = reads.next().await {
            match read {
                Ok(packs) => drop(lists.insert(snapshot, packs)),
                Err(e) => self.leave_out(&snapshot, e)?,
            }
        }
        Ok(lists)
    }

    /// Copies the packs that lack, a few at a time, and then looks what the store says of them: one that lost a pack it
    /// had taken gets no receipt that names it.
    async fn packs(&mut self, tenant: &TenantName, lists: &BTreeMap<SnapshotId, Vec<PackRef>>) -> Result<()> {
        let mut seen = HashSet::new();
        let lack: Vec<(Key, PackRef, bool)> = lists
            .values()
            .flatten()
            .filter(|p| seen.insert(p.id))
            .map(|p| (keys::pack(tenant, &p.id), *p))
            .filter(|(key, p)| !self.has(key, p.size_bytes))
            .map(|(key, p)| (key.clone(), p, self.there.contains_key(&key)))
            .collect();
        if lack.is_empty() {
            return Ok(());
        }
        if self.copier.dry {
            self.done.packs = lack.len() as u64;
            lack.iter().for_each(|(key, p, _)| self.count(key, p.size_bytes));
            return Ok(());
        }
        self.copier.monitor.expect_bytes(lack.iter().map(|(_, p, _)| p.size_bytes).sum());
        let Copier { from, to, folder, monitor, .. } = self.copier;
        let copies = futures::stream::iter(lack).map(|(key, pack, covers)| async move {
            let right = ObjectRef { hash: pack.id, size: pack.size_bytes };
            let copied = match fetch(&**from.store(), &key, right, folder, *monitor).await {
                Ok(object) => Ok(object.put(&***to, &key, covers).await),
                Err(e) => Err(e),
            };
            (key, pack.size_bytes, copied)
        });
        let mut copies = std::pin::pin!(copies.buffer_unordered(PARALLEL));
        while let Some((key, size_bytes, copied)) = copies.next().await {
            match copied {
                Ok(put) => {
                    put?;
                    self.count(&key, size_bytes);
                    self.done.packs += 1;
                    monitor.count(Counter::StoredPacks, 1);
                }
                Err(e) => self.leave_out(&key, e)?,
            }
        }
        let prefix = keys::packs(tenant);
        self.there.retain(|key, _| !key.as_str().starts_with(&prefix));
        self.there.append(&mut listed(to, &prefix).await?);
        Ok(())
    }

    async fn snapshot(&mut self, committed: &Committed, packs: &[PackRef]) -> Result<()> {
        let Receipt { tenant, snapshot, manifest, packs: list, .. } = &committed.receipt;
        let lacks = packs.iter().find(|p| !self.has(&keys::pack(tenant, &p.id), p.size_bytes));
        if let Some(pack) = lacks {
            let what =
                format!("snapshot {snapshot} needs pack {}, which is not in the copy", pack.id.short());
            return self.leave_out(snapshot, Error::new(Kind::Damaged, what));
        }
        let part = |part| keys::snapshot(tenant, snapshot, part);
        let list = ObjectRef { hash: list.hash, size: list.size };
        if !self.hashed(&part(SnapshotPart::Manifest), *manifest).await?
            || !self.hashed(&part(SnapshotPart::PackList), list).await?
        {
            return Ok(());
        }
        let before = self.done.objects;
        let check = |json: &[u8], sig: &[u8]| {
            receipt::verify(self.copier.trust, tenant, snapshot, json, sig).map(drop)
        };
        let keys = keys::receipt(tenant, snapshot);
        self.signed(&keys, receipt::LIMIT_BYTES, check).await?;
        match self.done.objects == before {
            true => self.done.there += 1,
            false => self.done.snapshots.push(snapshot.clone()),
        }
        Ok(())
    }

    async fn drills(&mut self, tenant: &TenantName) -> Result<()> {
        let all: BTreeSet<DrillId> =
            self.kept.versions.iter().filter_map(|e| keys::parse_drill(tenant, &e.key)).collect();
        for id in all {
            let (keys, store) = (keys::drill(tenant, &id), &**self.copier.from.store());
            if self.there.contains_key(&keys.json) {
                continue;
            }
            let check = |json: &[u8], sig: &[u8]| drill::verify(self.copier.trust, tenant, &id, json, sig);
            let listed = &self.kept.versions;
            match object::get_signed(store, &keys, listed, drill::LIMIT_BYTES, check).await {
                Ok(right) => {
                    if self.hashed(&keys::drill_report(tenant, &id), right.value.report).await? {
                        self.put_signed(&keys, right.bytes, right.signature).await?;
                    }
                }
                Err(e) => self.leave_out(&keys.json, e)?,
            }
        }
        Ok(())
    }
}
