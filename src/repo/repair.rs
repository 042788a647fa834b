//! Putting right what a check found wrong: from an older version, from what receipts embed, or from another store.
//!
//! Owns where a right object is found and that nothing is put that does not verify. What cannot be found is told; whether it
//! is given up the caller decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::id::{PackId, SnapshotId, TenantName};
use crate::monitor::Monitor;
use crate::store::{Kept, Key, Store};

use super::certificate::{self, Trust};
use super::check::{Finding, Wrong};
use super::copy::{Copier, Done};
use super::history::History;
use super::keys::{self, Signed, SnapshotPart};
use super::receipt::{self, Committed, ObjectRef};
use super::repository::Repository;
use super::snapshot::read_packs;
use super::transfer::{Fetched, fetch};
use super::{drill, object, void};

/// Where a right object comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An older version in the same store.
    OlderVersion,
    /// A receipt that embeds it.
    Receipt,
    /// The other store.
    Other,
}

/// How long each pack is, and which snapshots need it.
pub type Needs = BTreeMap<PackId, (u64, Vec<SnapshotId>)>;

/// A repository as one store shows it, for one tenant.
pub struct Side {
    /// The repository in that store.
    pub repo: Repository,
    /// The tenant's history there.
    pub history: History,
    /// What is kept of the tenant there.
    pub kept: Arc<Kept>,
    /// What is kept of the certificates there.
    pub hosts: Kept,
}

/// What a repair works with.
pub struct Mender<'a> {
    /// The store that is put right.
    pub own: &'a Side,
    /// The other store, where there is one.
    pub other: Option<&'a Side>,
    /// The certificates of the store that is put right.
    pub trust: &'a Trust,
    /// A folder for packs on their way, as ciphertext.
    pub folder: &'a Path,
    /// Who hears of it.
    pub monitor: &'a dyn Monitor,
}

/// An object that can be put right.
#[derive(Debug, Clone)]
pub struct Mend {
    /// Where it comes from.
    pub origin: Origin,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    /// An object of a known hash, and the bytes where a receipt embeds them.
    Hashed(Key, ObjectRef),
    /// A wrap that a receipt embeds.
    Wrap(Key, bytes::Bytes),
    /// A signed object.
    Signed(Signed, bytes::Bytes, bytes::Bytes),
}

impl Side {
    /// Looks at a store: its receipts, and one listing each of the tenant and of the certificates.
    pub async fn look(repo: &Repository, tenant: &TenantName) -> Result<Side> {
        let trust = Trust::load(repo).await?;
        let history = History::load(repo, &trust, tenant, None).await?;
        let kept = Arc::new(object::kept(&**repo.store(), &keys::tenant(tenant)).await?);
        let hosts = object::kept(&**repo.store(), keys::HOSTS).await?;
        Ok(Side { repo: repo.clone(), history, kept, hosts })
    }

    fn store(&self) -> &dyn Store {
        &**self.repo.store()
    }

    fn kept_of(&self, key: &Key) -> &Kept {
        if key.as_str().starts_with(keys::HOSTS) { &self.hosts } else { &self.kept }
    }

    /// Finds the receipt of a snapshot that still counts, or that is forgotten.
    fn receipt(&self, snapshot: &SnapshotId) -> Option<&Committed> {
        let all = self.history.snapshots.iter().chain(&self.history.forgotten);
        all.into_iter().find(|c| c.receipt.snapshot == *snapshot)
    }

    /// Returns who needs each pack and how long it is, as far as pack lists can be read.
    pub async fn needs(&self, other: Option<&Side>) -> Needs {
        let mut needs = Needs::new();
        for committed in &self.history.snapshots {
            let mut list = read_packs(&self.repo, committed).await;
            if let (Err(_), Some(other)) = (&list, other) {
                list = read_packs(&other.repo, committed).await;
            }
            for pack in list.unwrap_or_default() {
                let (_, by) = needs.entry(pack.id).or_insert((pack.size_bytes, Vec::new()));
                by.push(committed.receipt.snapshot.clone());
            }
        }
        needs
    }
}

impl Mender<'_> {
    /// Finds what puts the object of a finding right; none where nothing does.
    ///
    /// Objects of the other store are fetched and hashed here, so that a plan promises what can be kept.
    pub async fn find(&self, finding: &Finding, needs: &Needs) -> Result<Option<Mend>> {
        let Ok(key) = finding.object.parse::<Key>() else { return Ok(None) };
        let tenant = &self.own.history.tenant;
        if let Some(id) = keys::parse_pack(tenant, &key) {
            let Some((size, _)) = needs.get(&id) else { return Ok(None) };
            return self.find_hashed(key, ObjectRef { hash: id, size: *size }, finding.wrong).await;
        }
        if let Some(hash) = keys::parse_any_wrap(tenant, &key) {
            let embedded = self.own.history.snapshots.iter().flat_map(|c| &c.receipt.wraps);
            let found = embedded.into_iter().find(|w| *w.hash() == hash);
            return Ok(
                found.map(|w| Mend { origin: Origin::Receipt, what: What::Wrap(key, w.bytes().clone()) })
            );
        }
        if let Some((snapshot, part)) = keys::parse_snapshot(tenant, &key)
            && let Some(committed) = self.own.receipt(&snapshot)
        {
            let r = &committed.receipt;
            let list = ObjectRef { hash: r.packs.hash, size: r.packs.size };
            match part {
                SnapshotPart::Manifest => return self.find_hashed(key, r.manifest, finding.wrong).await,
                SnapshotPart::PackList => return self.find_hashed(key, list, finding.wrong).await,
                SnapshotPart::Receipt | SnapshotPart::Signature => {}
            }
        }
        self.find_signed(&key).await
    }

    async fn find_hashed(&self, key: Key, right: ObjectRef, wrong: Wrong) -> Result<Option<Mend>> {
        let origin = if matches!(wrong, Wrong::Overwritten | Wrong::Deleted) {
            Origin::OlderVersion
        } else {
            Origin::Other
        };
        let mend = Mend { origin, what: What::Hashed(key, right) };
        match self.fetch(&mend).await {
            Ok(_) => Ok(Some(mend)),
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn fetch(&self, mend: &Mend) -> Result<Fetched> {
        match &mend.what {
            What::Hashed(key, right) => {
                let from = match mend.origin {
                    Origin::Other => self.other,
                    Origin::OlderVersion | Origin::Receipt => Some(self.own),
                };
                let none =
                    || Error::new(Kind::NotFound, format!("there is no second store to bring {key} from"));
                fetch(from.ok_or_else(none)?.store(), key, *right, self.folder, self.monitor).await
            }
            What::Wrap(_, bytes) | What::Signed(_, bytes, _) => Ok(Fetched::of(bytes.clone())),
        }
    }

    /// Finds a signed object that is right: in the own store's older versions, or in the other store.
    async fn find_signed(&self, key: &Key) -> Result<Option<Mend>> {
        for (side, origin) in [(Some(self.own), Origin::OlderVersion), (self.other, Origin::Other)] {
            let Some(side) = side else { continue };
            let Some((keys, found)) = self.right_pair(side, key).await else { continue };
            match found {
                Ok((json, signature)) => {
                    return Ok(Some(Mend { origin, what: What::Signed(keys, json, signature) }));
                }
                Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged | Kind::Forged) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Reads a signed object of a side and verifies it by the certificates of the own; none where `key` is of no such.
    async fn right_pair(
        &self,
        side: &Side,
        key: &Key,
    ) -> Option<(Signed, Result<(bytes::Bytes, bytes::Bytes)>)> {
        let (tenant, trust) = (&self.own.history.tenant, self.trust);
        let store = side.store();
        let listed = &side.kept_of(key).versions;
        let pair = |o: object::SignedObject<()>| (o.bytes, o.signature);
        if let Some((host, n)) =
            keys::parse_certificate(key).or_else(|| keys::parse_certificate_signature(key))
        {
            let keys = keys::certificate(&host, n);
            let check =
                |json: &[u8], sig: &[u8]| certificate::verify(&self.own.repo, &host, n, json, sig).map(drop);
            let found = object::get_signed(store, &keys, listed, certificate::LIMIT_BYTES, check).await;
            return Some((keys, found.map(pair)));
        }
        if let Some(n) =
            keys::parse_void_mark(tenant, key).or_else(|| keys::parse_void_mark_signature(tenant, key))
        {
            let keys = keys::void_mark(tenant, n);
            let check = |json: &[u8], sig: &[u8]| void::verify(trust, tenant, n, json, sig).map(drop);
            let found = object::get_signed(store, &keys, listed, void::LIMIT_BYTES, check).await;
            return Some((keys, found.map(pair)));
        }
        if let Some(id) = keys::parse_drill(tenant, key).or_else(|| keys::parse_drill_signature(tenant, key))
        {
            let keys = keys::drill(tenant, &id);
            let check = |json: &[u8], sig: &[u8]| drill::verify(trust, tenant, &id, json, sig).map(drop);
            let found = object::get_signed(store, &keys, listed, drill::LIMIT_BYTES, check).await;
            return Some((keys, found.map(pair)));
        }
        let (snapshot, _) = keys::parse_snapshot(tenant, key)?;
        let keys = keys::receipt(tenant, &snapshot);
        let check = |json: &[u8], sig: &[u8]| receipt::verify(trust, tenant, &snapshot, json, sig).map(drop);
        let found = object::get_signed(store, &keys, listed, receipt::LIMIT_BYTES, check).await;
        Some((keys, found.map(pair)))
    }

    /// Puts an object right, over whatever is there.
    pub async fn mend(&self, mend: &Mend) -> Result<()> {
        let store = self.own.store();
        match &mend.what {
            What::Hashed(key, _) | What::Wrap(key, _) => {
                self.fetch(mend).await?.put(store, key, true).await.map(drop)
            }
            What::Signed(keys, json, signature) => {
                for (key, bytes) in [(&keys.minisig, signature), (&keys.json, json)] {
                    if !self.is_newest(key, bytes).await? {
                        Fetched::of(bytes.clone()).put(store, key, true).await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn is_newest(&self, key: &Key, bytes: &[u8]) -> Result<bool> {
        match object::get(self.own.store(), key, None, bytes.len() as u64).await {
            Ok(there) => Ok(there == bytes),
            Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Finds the snapshots that only the other store has, of those that lack in the own row of receipts.
    pub fn only_there(&self) -> Vec<&Committed> {
        let Some(other) = self.other else { return Vec::new() };
        let own: BTreeSet<&SnapshotId> = self
            .own
            .history
            .snapshots
            .iter()
            .chain(&self.own.history.forgotten)
            .map(|c| &c.receipt.snapshot)
            .collect();
        let numbers: BTreeSet<u64> = self.own.history.snapshots.iter().map(|c| c.receipt.sequence).collect();
        let lacks = |c: &&Committed| {
            let r = &c.receipt;
            !own.contains(&r.snapshot)
                && !numbers.contains(&r.sequence)
                && !self.own.history.marks.forgot(r.sequence)
                && other_is_trusted(self.trust, c)
        };
        other.history.snapshots.iter().filter(lacks).collect()
    }

    /// Brings snapshots back that only the other store has, with all they need.
    pub async fn bring_back(&self, some: &[SnapshotId]) -> Result<Done> {
        let Some(other) = self.other else { return Ok(Done::default()) };
        let mut history = other.history.clone();
        history.snapshots.retain(|c| some.contains(&c.receipt.snapshot));
        let copier = Copier {
            from: &other.repo,
            trust: self.trust,
            to: self.own.repo.store(),
            folder: self.folder,
            monitor: self.monitor,
            dry: false,
        };
        copier.tenant(&history).await
    }
}

/// Tells whether the certificates of the own store let a receipt of the other count.
fn other_is_trusted(trust: &Trust, committed: &Committed) -> bool {
    let r = &committed.receipt;
    let signer = trust.named(&r.host, r.certificate, certificate::Role::Backup, &r.tenant);
    signer.is_ok_and(|signer| trust.accepts(signer, &r.tenant, r.sequence, &committed.hash).is_ok())
}
