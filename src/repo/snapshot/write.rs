//! Writing a snapshot: packs, manifest and pack list, signature, receipt.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, HostName, PackId, SnapshotId, TenantName};
use crate::monitor::SharedMonitor;
use crate::repo::certificate::{Role, Trust};
use crate::repo::chunk::DedupKey;
use crate::repo::cutter::Grain;
use crate::repo::extent::StreamRecord;
use crate::repo::history::Head;
use crate::repo::keys;
use crate::repo::manifest::{ComponentRecord, State};
use crate::repo::recall;
use crate::repo::receipt::{Committed, Trigger};
use crate::repo::repository::{Repository, whole_seconds};
use crate::repo::reuse::Barred;
use crate::repo::sign::SigningKey;
use crate::repo::tampered::Tampered;
use crate::repo::vault::Vault;
use crate::repo::void::VoidMarks;
use crate::repo::writer::{self, BackupWriter, SegmentKey, SpoolOptions, StreamWriter, WriterOptions};

use super::commit::Committing;
use super::harm::{self, Holdings};

/// How many names of what a component lacks stand in the manifest; the rest is counted.
const LACKS_NAMED: usize = 1000;

/// What a snapshot is to be, and what writing it needs.
pub struct SnapshotOptions {
    /// The repository.
    pub repo: Repository,
    /// Its certificates.
    pub trust: Arc<Trust>,
    /// The tenant.
    pub tenant: TenantName,
    /// The tenant's vault.
    pub vault: Vault,
    /// This host.
    pub host: HostName,
    /// This host's signing key; its certificate in force must be for it.
    pub signer: Arc<SigningKey>,
    /// The key of the chunks' ids.
    pub dedup_key: DedupKey,
    /// The snapshot's id.
    pub snapshot: SnapshotId,
    /// When it was begun.
    pub started: Timestamp,
    /// What it is made for.
    pub trigger: Trigger,
    /// What the operator calls it.
    pub label: Option<String>,
    /// Until when it is kept whatever the policy says.
    pub pinned_until: Option<Timestamp>,
    /// The receipt before it.
    pub predecessor: Option<Head>,
    /// Packs that were found damaged since: nothing new relies on them.
    pub damaged: HashSet<PackId>,
    /// A folder for this tenant's cache alone.
    pub cache_folder: PathBuf,
    /// Where sealed packs wait.
    pub spool: SpoolOptions,
    /// Write everything anew, whatever the cache knows.
    pub fresh: bool,
    /// Who hears of it.
    pub monitor: SharedMonitor,
}

/// Writes one snapshot; nothing of it counts until [`SnapshotWriter::commit`] returns.
pub struct SnapshotWriter {
    options: SnapshotOptions,
    certificate: u32,
    marks: VoidMarks,
    tampered: Vec<Tampered>,
    warnings: Vec<String>,
    packs: Arc<BackupWriter>,
    parts: Arc<Mutex<Vec<Part>>>,
}

/// What became of a component.
pub(super) struct Part {
    pub record: ComponentRecord,
    pub streams: Vec<StreamRecord>,
    /// The kind of its failure and what can be done.
    pub failure: Option<(Kind, Option<String>)>,
    /// What makes it look wrong beside the nights before, each a word.
    pub anomalies: Vec<String>,
}

impl SnapshotWriter {
    /// Checks that this host may write, reads the void marks and opens the pack writer.
    ///
    /// [`Kind::Denied`] where no certificate in force allows it; [`Kind::Locked`] where another writer works.
    pub async fn begin(options: SnapshotOptions) -> Result<SnapshotWriter> {
        let SnapshotOptions { repo, trust, tenant, .. } = &options;
        let certificate = trust.may_write(&options.host, Role::Backup, tenant)?;
        if certificate.signing_key != *options.signer.public() {
            return Err(Error::new(
                Kind::Denied,
                format!("certificate {} of host {} is for another key", certificate.number, options.host),
            )
            .hint("certify this host's key with the recovery kit: `lifeboat keys certify --kit FILE`"));
        }
        if options.vault.wraps().is_empty() {
            return Err(Error::new(
                Kind::Config,
                format!("vault {} of tenant {tenant} has no wrap", options.vault.id()),
            )
            .hint("without one nobody could read the snapshot; `lifeboat keys` shows the operators"));
        }
        let certificate = certificate.number;
        // Void marks, packs and wraps in one: a tenant is small to list, and each request counts, every night.
        let kept = recall::kept(repo, &keys::tenant(tenant)).await?;
        let marks = VoidMarks::default().newer_of(repo, trust, tenant, &kept.versions).await?;
        let holdings = Holdings::of(&options, &kept, &marks).await?;
        let packs = BackupWriter::open(WriterOptions {
            store: Arc::clone(repo.store()),
            pack_prefix: keys::packs(tenant),
            vault: options.vault.id().clone(),
            recipient: options.vault.recipient().to_age()?,
            dedup_key: options.dedup_key.clone(),
            cache_folder: options.cache_folder.clone(),
            spool: options.spool.clone(),
            barred: Barred { void: holdings.unusable(&options, &marks), held: Some(holdings.held.clone()) },
            fresh: options.fresh,
            monitor: Arc::clone(&options.monitor),
        })
        .await?;
        let mut warnings = holdings.lost(&options, &marks, packs.head(), packs.remembered()).await?;
        warnings.extend(harm::put_back_wraps(&options, &kept).await);
        Ok(SnapshotWriter {
            options,
            certificate,
            marks,
            tampered: holdings.tampered,
            warnings,
            packs: Arc::new(packs),
            parts: Arc::default(),
        })
    }

    /// Returns the packs that were found overwritten or deleted when the snapshot was begun.
    pub fn tampered(&self) -> &[Tampered] {
        &self.tampered
    }

    /// Returns what was lost before the snapshot was begun, each a sentence: packs that older snapshots need, and wraps.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Tells whether this content needs not be read again; see [`BackupWriter::knows`].
    pub fn knows(&self, segment: &SegmentKey) -> bool {
        self.packs.knows(segment)
    }

    /// Returns [`SnapshotWriter::knows`] as a function of its own; once the snapshot has ended it knows nothing.
    pub fn knowing(&self) -> impl Fn(&SegmentKey) -> bool + Send + 'static {
        let packs = Arc::downgrade(&self.packs);
        move |segment| packs.upgrade().is_some_and(|p| p.knows(segment))
    }

    /// Begins a component; several may be written at the same time, each once.
    pub fn component(&self, name: ComponentName) -> ComponentWriter {
        ComponentWriter {
            name,
            packs: Arc::clone(&self.packs),
            parts: Arc::clone(&self.parts),
            streams: Vec::new(),
            anomalies: Vec::new(),
            ended: false,
        }
    }

    /// Commits the snapshot and returns its receipt as it lies in the store.
    ///
    /// Order: packs; manifest and pack list; signature; receipt. Fails, and commits nothing, where all
    /// components failed (with the first one's kind), where a pack is not in the store, or where a pack that was
    /// reused has been voided meanwhile ([`Kind::Conflict`]: run again).
    pub async fn commit(self, finished: Timestamp) -> Result<Committed> {
        let parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        let still_open = || Error::new(Kind::Bug, "a component of the snapshot is still being written");
        let mut packs = Arc::try_unwrap(self.packs).map_err(|_| still_open())?;
        let context =
            Committing { options: &self.options, certificate: self.certificate, marks: &self.marks };
        match context.run(&mut packs, parts, whole_seconds(finished)).await {
            Ok(committed) => {
                let head = writer::Head { sequence: committed.receipt.sequence, receipt: committed.hash };
                let states = &committed.receipt.components;
                let failed =
                    states.iter().filter(|c| c.state == State::Failed).map(|c| c.component).collect();
                if let Err(e) = packs.committed(writer::Commit { head, failed }).await {
                    self.options
                        .monitor
                        .problem(&e.in_context("snapshot is committed, but the cache is not"));
                }
                Ok(committed)
            }
            Err(e) => {
                packs.abandon().await;
                Err(e)
            }
        }
    }

    /// Gives the snapshot up; packs that reached the store are reused by the next.
    pub async fn abandon(self) {
        if let Ok(packs) = Arc::try_unwrap(self.packs) {
            packs.abandon().await;
        }
    }
}

/// Takes the streams of one component and says at the end what became of it. Dropped before, it has failed.
pub struct ComponentWriter {
    name: ComponentName,
    packs: Arc<BackupWriter>,
    parts: Arc<Mutex<Vec<Part>>>,
    streams: Vec<StreamRecord>,
    anomalies: Vec<String>,
    ended: bool,
}

impl ComponentWriter {
    /// Returns the component's name.
    pub fn name(&self) -> ComponentName {
        self.name
    }

    /// Begins a stream; see [`BackupWriter::begin`]. Its record is to be given to [`ComponentWriter::add`].
    pub fn stream(&self, stream: &str, grain: Grain, expected_bytes: Option<u64>) -> Result<StreamWriter> {
        self.packs.begin(self.name, stream, grain, expected_bytes)
    }

    /// Tells whether storing has failed, so that no other component would fare better; see [`BackupWriter::is_broken`].
    pub fn is_broken(&self) -> bool {
        self.packs.is_broken()
    }

    /// Takes up a stream that was finished.
    pub fn add(&mut self, record: StreamRecord) {
        self.streams.push(record);
    }

    /// Marks the component in the receipt, for all to see: each word says what looks wrong beside the nights before.
    pub fn mark(&mut self, anomalies: Vec<String>) {
        self.anomalies = anomalies;
    }

    /// Ends the component: all of it was read. `record` is what a restore needs to run it again.
    pub fn whole(mut self, record: serde_json::Value) {
        self.end(State::Whole, Vec::new(), None, record);
    }

    /// Ends the component: what `lacks` names could not be read, the rest is whole.
    pub fn lacking(mut self, mut lacks: Vec<String>, record: serde_json::Value) {
        if lacks.len() > LACKS_NAMED {
            let more = lacks.len() - LACKS_NAMED;
            lacks.truncate(LACKS_NAMED);
            lacks.push(format!("(and {more} more)"));
        }
        self.end(State::Lacking, lacks, None, record);
    }

    /// Ends the component: nothing of it is kept.
    pub fn failed(mut self, error: &Error) {
        self.streams.clear();
        self.end(State::Failed, Vec::new(), Some(error), serde_json::Value::Null);
    }

    fn end(&mut self, state: State, lacks: Vec<String>, error: Option<&Error>, record: serde_json::Value) {
        self.ended = true;
        let record = ComponentRecord {
            component: self.name,
            state,
            lacks,
            reason: error.map(|e| e.kind().word().to_owned()),
            detail: error.map(ToString::to_string),
            record,
        };
        let failure = error.map(|e| (e.kind(), e.hint_text().map(str::to_owned)));
        let (streams, anomalies) = (std::mem::take(&mut self.streams), std::mem::take(&mut self.anomalies));
        let part = Part { record, streams, failure, anomalies };
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }
}

impl Drop for ComponentWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.streams.clear();
            let error = Error::new(Kind::Interrupted, format!("{} was not read to its end", self.name));
            self.end(State::Failed, Vec::new(), Some(&error), serde_json::Value::Null);
        }
    }
}
