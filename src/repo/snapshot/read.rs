//! Reading a snapshot: vault, manifest, pack list, streams.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Context, Error, Kind, Result};
use crate::id::ComponentName;
use crate::monitor::SharedMonitor;
use crate::repo::age_file::Identities;
use crate::repo::extent::{PackRef, StreamRecord};
use crate::repo::keys::{self, SnapshotPart};
use crate::repo::manifest::{self, ComponentRecord, Header, Manifest, State};
use crate::repo::object;
use crate::repo::reader::{MEMORY_LIMIT_BYTES, PackReader, ReaderOptions, StreamReader, WhenDamaged};
use crate::repo::receipt::{self, Committed, ObjectRef, Receipt};
use crate::repo::repository::Repository;
use crate::repo::vault::{VaultKey, load_wraps};
use crate::spare::Spare;

/// Where and how a snapshot is read.
pub struct ReadOptions {
    /// A folder for fetched packs, as ciphertext.
    pub folder: PathBuf,
    /// The most bytes in it.
    pub folder_limit_bytes: u64,
    /// Where memory for frames comes from; readers one after the other may share it.
    pub frames: Spare,
    /// How many packs are fetched at the same time, 1 to 8.
    pub fetches: usize,
    /// Who hears of it.
    pub monitor: SharedMonitor,
}

/// Opens the vault of a snapshot with an operator's identities: from the wraps in its receipt, or else from those in
/// the store, which may be for operators who came later.
pub async fn open_vault(repo: &Repository, receipt: &Receipt, identities: &Identities) -> Result<VaultKey> {
    let first = match VaultKey::open(&receipt.vault, &receipt.wraps, identities) {
        Err(e) if e.kind() == Kind::WrongKey => e,
        other => return other,
    };
    let mut stored = load_wraps(repo, &receipt.tenant, &receipt.vault).await?;
    stored.retain(|w| !receipt.wraps.iter().any(|embedded| embedded.hash() == w.hash()));
    if stored.is_empty() {
        return Err(first);
    }
    stored.extend(receipt.wraps.iter().cloned());
    VaultKey::open(&receipt.vault, &stored, identities)
}

/// Fetches and decodes a snapshot's manifest, and checks that it is the receipt's.
pub async fn read_manifest(repo: &Repository, committed: &Committed, vault: &VaultKey) -> Result<Manifest> {
    let receipt = &committed.receipt;
    if *vault.id() != receipt.vault {
        let what =
            format!("snapshot {} is sealed to vault {}, not {}", receipt.snapshot, receipt.vault, vault.id());
        return Err(Error::new(Kind::WrongKey, what));
    }
    let bytes = fetch(repo, receipt, SnapshotPart::Manifest, &receipt.manifest).await?;
    let identities = vault.identities().clone();
    let decoded = tokio::task::spawn_blocking(move || manifest::decode(&bytes, &identities));
    let decoded = decoded.await.context(Kind::Bug, "decoding the manifest")?;
    let manifest = decoded.map_err(|e| e.in_context(format!("snapshot {}", receipt.snapshot)))?;
    check_agreement(&manifest, receipt)?;
    Ok(manifest)
}

/// Fetches a snapshot's pack list, with the sizes that its receipt gives.
pub async fn read_packs(repo: &Repository, committed: &Committed) -> Result<Vec<PackRef>> {
    let receipt = &committed.receipt;
    let object = ObjectRef { hash: receipt.packs.hash, size: receipt.packs.size };
    let bytes = fetch(repo, receipt, SnapshotPart::PackList, &object).await?;
    let ids = receipt::parse_pack_list(&bytes)?;
    let packs = ids.into_iter().zip(&receipt.packs.sizes);
    Ok(packs.map(|(id, size)| PackRef { id, size_bytes: *size }).collect())
}

async fn fetch(
    repo: &Repository,
    receipt: &Receipt,
    part: SnapshotPart,
    object: &ObjectRef,
) -> Result<bytes::Bytes> {
    let key = keys::snapshot(&receipt.tenant, &receipt.snapshot, part);
    if object.size > manifest::OBJECT_LIMIT {
        return Err(Error::new(Kind::Damaged, format!("{key} of {} bytes is above the limit", object.size)));
    }
    object::get_hashed(&**repo.store(), &key, &object.hash, object.size).await
}

fn check_agreement(manifest: &Manifest, receipt: &Receipt) -> Result<()> {
    let Header { repository, tenant, snapshot, host, packs, .. } = &manifest.header;
    let same_place = *repository == receipt.repository
        && *tenant == receipt.tenant
        && *snapshot == receipt.snapshot
        && *host == receipt.host
        && *packs as usize == receipt.pack_count();
    let same_states = manifest.components.len() == receipt.components.len()
        && manifest.components.iter().all(|c| receipt.state(c.component) == Some(c.state));
    if same_place && same_states {
        return Ok(());
    }
    Err(Error::new(
        Kind::Damaged,
        format!("manifest and receipt of snapshot {} do not agree", receipt.snapshot),
    ))
}

/// Reads the components of one snapshot.
pub struct SnapshotReader {
    manifest: Manifest,
    records: Vec<Arc<StreamRecord>>,
    packs: PackReader,
}

impl SnapshotReader {
    /// Opens a committed snapshot with its vault's key; no pack is fetched yet.
    pub async fn open(
        repo: &Repository,
        committed: &Committed,
        vault: &VaultKey,
        options: ReadOptions,
    ) -> Result<SnapshotReader> {
        let mut manifest = read_manifest(repo, committed, vault).await?;
        let packs = PackReader::open(ReaderOptions {
            store: Arc::clone(repo.store()),
            pack_prefix: keys::packs(&committed.receipt.tenant),
            packs: read_packs(repo, committed).await?,
            identity: vault.to_age(),
            folder: options.folder,
            folder_limit_bytes: options.folder_limit_bytes,
            memory_limit_bytes: MEMORY_LIMIT_BYTES,
            frames: options.frames,
            fetches: options.fetches,
            monitor: options.monitor,
        })
        .await?;
        let records = std::mem::take(&mut manifest.streams).into_iter().map(Arc::new).collect();
        Ok(SnapshotReader { manifest, records, packs })
    }

    /// Returns which snapshot this is.
    pub fn header(&self) -> &Header {
        &self.manifest.header
    }

    /// Returns the components, failed ones too.
    pub fn components(&self) -> &[ComponentRecord] {
        &self.manifest.components
    }

    /// Returns the record of a component; [`Kind::NotFound`] where the snapshot has nothing of it.
    pub fn component(&self, name: ComponentName) -> Result<&ComponentRecord> {
        let missing = |why: String| {
            Error::new(
                Kind::NotFound,
                format!("snapshot {} has no {name}: {why}", self.manifest.header.snapshot),
            )
        };
        let record =
            self.manifest.component(name).ok_or_else(|| missing("it was not backed up".to_owned()))?;
        if record.state == State::Failed {
            let reason = record.detail.as_deref().or(record.reason.as_deref()).unwrap_or("no reason given");
            return Err(missing(format!("it failed ({reason})")));
        }
        Ok(record)
    }

    /// Returns the streams' records.
    pub fn streams(&self) -> &[Arc<StreamRecord>] {
        &self.records
    }

    /// Finds a stream's record; [`Kind::NotFound`] where the snapshot has none.
    pub fn record(&self, component: ComponentName, stream: &str) -> Result<&Arc<StreamRecord>> {
        self.component(component)?;
        let found = self.records.iter().find(|r| r.component == component && r.stream == stream);
        found.ok_or_else(|| {
            let what =
                format!("{component} of snapshot {} has no stream {stream:?}", self.manifest.header.snapshot);
            Error::new(Kind::NotFound, what)
        })
    }

    /// Has `tell` hear of each pack that turns out damaged; see [`PackReader::when_damaged`].
    pub fn when_damaged(&self, tell: WhenDamaged) {
        self.packs.when_damaged(tell);
    }

    /// Announces which streams will be read whole, so that each pack is fetched once.
    pub fn expect(&self, records: &[Arc<StreamRecord>]) {
        let records: Vec<&StreamRecord> = records.iter().map(|r| &**r).collect();
        self.packs.expect(&records);
    }

    /// Opens a stream from its start; it ends in an error where its digest is not the recorded one.
    pub fn stream(&self, component: ComponentName, stream: &str) -> Result<StreamReader> {
        Ok(self.packs.stream(Arc::clone(self.record(component, stream)?)))
    }

    /// Opens a part of a stream, such as one file of a tar; see [`PackReader::range`].
    pub fn range(
        &self,
        component: ComponentName,
        stream: &str,
        offset: u64,
        length: u64,
    ) -> Result<StreamReader> {
        self.packs.range(Arc::clone(self.record(component, stream)?), offset, length)
    }
}
