//! Streams become packs: the byte side of one backup of one tenant.
//!
//! Owns the pipeline cut -> id -> known? extent : frame -> zstd -> pack -> age -> spool -> put, with bounded
//! queues, and the cache behind it. Knows nothing of manifests, receipts or where streams come from.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::chunk::DedupKey;
use super::cutter::Grain;
use super::extent::{PackRef, StreamRecord};
use super::seal::VaultRecipient;
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, PackId, Sha256, VaultId};
use crate::monitor::SharedMonitor;
use crate::store::SharedStore;

/// A segment's content by length and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentKey {
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// Where sealed packs wait for the store.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// A folder for this tenant's packs alone: what a dead run left in it is removed.
    pub folder: PathBuf,
    /// The most bytes in it; less than two packs (40 MiB) is raised to that.
    pub limit_bytes: u64,
    /// How long the writer waits for room at once before it fails with [`Kind::Full`].
    pub patience: Duration,
    /// How many packs are put at the same time, 1 to 8.
    pub uploads: usize,
}

/// What a backup needs to write packs.
pub struct WriterOptions {
    /// Where packs go.
    pub store: SharedStore,
    /// What stands before each pack's hash: `tenants/T/packs/`.
    pub pack_prefix: String,
    /// Which vault packs are encrypted to; packs of another vault are not reused.
    pub vault: VaultId,
    /// The vault's recipient.
    pub recipient: VaultRecipient,
    /// The key of the chunks' ids; packs under another key are not reused.
    pub dedup_key: DedupKey,
    /// A folder for this tenant's cache alone; locked while the writer lives.
    pub cache_folder: PathBuf,
    /// Where sealed packs wait.
    pub spool: SpoolOptions,
    /// Packs that void marks name: never reused.
    pub void: HashSet<PackId>,
    /// Forget all that the cache knows of chunks: everything is written anew.
    pub fresh: bool,
    /// Who hears of it. The writer counts `SourceBytes`, `NewBytes`, `StoredBytes` and `StoredPacks`.
    pub monitor: SharedMonitor,
}

/// The last receipt that this host wrote for the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub sequence: u64,
    /// Its hash.
    pub receipt: Sha256,
}

/// What the writer must know of the receipt that committed its snapshot.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The new head.
    pub head: Head,
    /// Components that the snapshot lacks because they failed: what the snapshot before held of them stays known.
    pub failed: Vec<ComponentName>,
}

/// All packs of a snapshot, durable in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// In the order of their numbers in extents.
    pub packs: Vec<PackRef>,
    /// Bytes of packs that this run put, those included that no stream refers to.
    pub added_bytes: u64,
}

/// Writes the streams of one backup.
pub struct BackupWriter {}

impl BackupWriter {
    /// Opens the cache, resolves what an earlier run left, and starts the pipeline.
    ///
    /// [`Kind::Locked`] where another writer has the cache open. A damaged cache is told to the monitor and starts empty.
    pub async fn open(_options: WriterOptions) -> Result<BackupWriter> {
        Err(unwritten())
    }

    /// Returns the head that the last commit left in the cache.
    pub fn head(&self) -> Option<Head> {
        None
    }

    /// Tells whether this content needs not be read again; then [`StreamWriter::known`] takes it.
    pub fn knows(&self, _segment: &SegmentKey) -> bool {
        false
    }

    /// Begins a stream of a component, named as in the format (`sql`, `tar`, `list`).
    ///
    /// The cutter follows from `grain` and the greater of `expected_bytes` and the stream's length last time.
    /// Several streams may be written at the same time.
    pub fn begin(
        &self,
        _component: ComponentName,
        _stream: &str,
        _grain: Grain,
        _expected_bytes: Option<u64>,
    ) -> Result<StreamWriter> {
        Err(unwritten())
    }

    /// Waits until all packs are durable; no stream can be begun any more.
    ///
    /// Streams still open fail it with [`Kind::Bug`]. Aborted streams are in no record; their packs stay for the next run.
    pub async fn finish(&mut self) -> Result<Sealed> {
        Err(unwritten())
    }

    /// Advances the cache to the snapshot whose receipt was written.
    ///
    /// An error costs the next run more uploads, never this snapshot.
    pub async fn committed(self, _commit: Commit) -> Result<()> {
        Err(unwritten())
    }

    /// Ends the run without a snapshot, waiting for its threads; sealed packs that reached the store are reused by the next.
    pub async fn abandon(self) {}
}

/// Writes one stream. Dropping it is [`StreamWriter::abort`].
pub struct StreamWriter {}

impl StreamWriter {
    /// Appends bytes to the open segment; waits while the pipeline is full.
    pub async fn write(&mut self, _bytes: Bytes) -> Result<()> {
        Err(unwritten())
    }

    /// Ends the open segment; an empty one leaves no trace.
    pub async fn cut(&mut self) -> Result<()> {
        Err(unwritten())
    }

    /// Appends a segment that is known, ending the open one; [`Kind::Bug`] where it is not.
    pub async fn known(&mut self, _segment: SegmentKey) -> Result<()> {
        Err(unwritten())
    }

    /// Ends the stream and says where its bytes lie; packs may still be on their way.
    pub async fn finish(self) -> Result<StreamRecord> {
        Err(unwritten())
    }

    /// Gives the stream up: it is in no record, the pipeline goes on.
    pub fn abort(self) {}
}

fn unwritten() -> Error {
    Error::new(Kind::Bug, "the pack writer is not written yet")
}
