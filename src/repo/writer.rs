//! Streams become packs: the byte side of one backup of one tenant.
//!
//! Owns the pipeline cut -> id -> known? extent : frame -> zstd -> pack -> age -> spool -> put, with bounded
//! queues, and the cache behind it. Knows nothing of manifests, receipts or where streams come from.

mod ahead;
mod assemble;
mod ledger;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::ahead::Ahead;
use self::assemble::{Core, Pipes};
use self::ledger::{Fault, Ledger, SharedLedger};
use super::cache::index::Place;
use super::cache::{Cache, Contents, Next, Whose, union};
use super::chunk::{DedupKey, Namer};
use super::cutter::{self, Grain};
use super::extent::PackRef;
use super::reuse::Barred;
use super::seal::VaultRecipient;
use super::spool::Spool;
use crate::error::{Context, Error, Kind, Result};
use crate::id::{ComponentName, VaultId};
use crate::monitor::SharedMonitor;
use crate::store::SharedStore;

pub use self::ledger::KNOWN_SEGMENT_BYTES;
pub use self::stream::StreamWriter;
pub use super::cache::{Head, SegmentKey};
pub use super::spool::SpoolOptions;

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
    /// Packs that are never reused, whatever the cache knows of them.
    pub barred: Barred,
    /// Forget all that the cache knows of chunks: everything is written anew.
    pub fresh: bool,
    /// Who hears of it. The writer counts `SourceBytes`, `NewBytes`, `CompressedBytes`, `StoredBytes` and `StoredPacks`.
    pub monitor: SharedMonitor,
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
pub struct BackupWriter {
    core: Arc<Core>,
    remembered: Vec<PackRef>,
    /// The way into the pipeline and its last part; none once [`BackupWriter::finish`] was called.
    pipes: Option<Pipes>,
    assembler: Option<AbortOnDropHandle<Result<()>>>,
    /// Held by each open stream too.
    open: Arc<()>,
}

impl BackupWriter {
    /// Opens the cache, resolves what an earlier run left, and starts the pipeline.
    ///
    /// [`Kind::Locked`] where another writer has the cache open. A damaged cache is told to the monitor and starts empty.
    pub async fn open(options: WriterOptions) -> Result<BackupWriter> {
        let WriterOptions { store, pack_prefix, recipient, dedup_key, monitor, barred, .. } = options;
        let whose = Whose { vault: options.vault, epoch: dedup_key.epoch() };
        let (folder, fresh) = (options.cache_folder, options.fresh);
        let opening = tokio::task::spawn_blocking(move || Cache::open(&folder, whose, &barred, fresh));
        let (cache, mut contents, problem) = opening.await.context(Kind::Bug, "opening the cache")??;
        if let Some(problem) = problem {
            monitor.problem(&problem);
        }
        // Under the cache's lock: nobody else's packs are in the spool.
        let spool = Spool::open(&options.spool, store, &pack_prefix)?;
        let remembered =
            contents.packs.iter().map(|p| PackRef { id: p.id, size_bytes: p.size_bytes }).collect();
        resolve(&cache, &mut contents, &spool).await?;
        let core = Arc::new(Core {
            namer: Namer::new(&dedup_key),
            epoch: dedup_key.epoch(),
            recipient,
            monitor,
            cache,
            spool,
            ledger: SharedLedger::new(Ledger::new(contents)),
            fault: Fault::default(),
            added_bytes: AtomicU64::new(0),
            ahead: Ahead::default(),
            threads: TaskTracker::new(),
        });
        let (pipes, tickets) = Pipes::start(&core);
        let assembler = tokio::spawn(assemble::run(Arc::clone(&core), tickets));
        Ok(BackupWriter {
            core,
            remembered,
            pipes: Some(pipes),
            assembler: Some(AbortOnDropHandle::new(assembler)),
            open: Arc::new(()),
        })
    }

    /// Returns the head that the last commit left in the cache.
    pub fn head(&self) -> Option<Head> {
        self.core.ledger.lock().contents.head
    }

    /// Returns the packs that the cache knew of when it was opened, those that may not be reused too.
    pub fn remembered(&self) -> &[PackRef] {
        &self.remembered
    }

    /// Tells whether this content needs not be read again; then [`StreamWriter::known`] takes it.
    pub fn knows(&self, segment: &SegmentKey) -> bool {
        self.core.ledger.lock().segment(segment).is_some()
    }

    /// Tells whether the pipeline has failed, so that no stream can be written any more.
    pub fn is_broken(&self) -> bool {
        self.core.fault.is_set()
    }

    /// Begins a stream of a component, named as in the format (`sql`, `tar`, `list`).
    ///
    /// The cutter follows from `grain` and the greater of `expected_bytes` and the stream's length last time.
    /// Several streams may be written at the same time.
    pub fn begin(
        &self,
        component: ComponentName,
        stream: &str,
        grain: Grain,
        expected_bytes: Option<u64>,
    ) -> Result<StreamWriter> {
        let Some(pipes) = self.pipes.clone() else {
            return Err(Error::new(Kind::Bug, "a stream begins after the last pack was closed"));
        };
        let before = self.core.ledger.lock().contents.streams.get(&(component, stream.to_owned())).cloned();
        let (cutter, size_bytes) = before.map_or((None, 0), |(cutter, size)| (Some(cutter), size));
        let expected_bytes = expected_bytes.unwrap_or(0).max(size_bytes);
        let chosen = cutter::choose(grain, expected_bytes, cutter.as_ref());
        if cutter.is_some_and(|before| before != chosen) {
            let note = format!(
                "{component}/{stream} is cut anew at {} bytes: it is written whole once",
                chosen.average
            );
            self.core.monitor.note(&note);
        }
        StreamWriter::start(&self.core, pipes, Arc::clone(&self.open), component, stream, chosen)
    }

    /// Waits until all packs are durable; no stream can be begun any more.
    ///
    /// Streams still open fail it with [`Kind::Bug`]. Aborted streams are in no record; their packs stay for the next run.
    pub async fn finish(&mut self) -> Result<Sealed> {
        if Arc::strong_count(&self.open) > 1 {
            return Err(Error::new(Kind::Bug, "a stream is still open when the last pack is to be closed"));
        }
        self.pipes.take();
        let Some(assembler) = self.assembler.take() else {
            return Err(Error::new(Kind::Bug, "the pack writer was finished before"));
        };
        assembler.await.context(Kind::Bug, "assembling packs")??;
        Ok(Sealed {
            packs: self.core.ledger.lock().pack_list(),
            added_bytes: self.core.added_bytes.load(Ordering::Relaxed),
        })
    }

    /// Advances the cache to the snapshot whose receipt was written.
    ///
    /// An error costs the next run more uploads, never this snapshot.
    pub async fn committed(self, commit: Commit) -> Result<()> {
        let core = Arc::clone(&self.core);
        let advancing = tokio::task::spawn_blocking(move || advance(&core, &commit));
        let advanced = advancing.await.context(Kind::Bug, "writing the cache")?;
        self.abandon().await;
        advanced
    }

    /// Ends the run without a snapshot, waiting for its threads; sealed packs that reached the store are reused by the next.
    ///
    /// Where a stream has not been dropped yet, its thread is not waited for, and the cache stays locked until it is.
    pub async fn abandon(self) {
        let BackupWriter { core, pipes, assembler, open, .. } = self;
        drop(pipes);
        if let Some(assembler) = assembler {
            assembler.abort();
            // Cancelled or failed: the run is given up either way.
            drop(assembler.await);
        }
        core.threads.close();
        if Arc::strong_count(&open) == 1 {
            core.threads.wait().await;
        }
    }
}

/// Asks the store for packs of which an earlier run did not hear.
async fn resolve(cache: &Cache, contents: &mut Contents, spool: &Spool) -> Result<()> {
    const AT_ONCE: usize = 4;
    let doubtful: Vec<u32> = contents.in_doubt.keys().copied().collect();
    let heads: Vec<_> = doubtful.iter().map(|&n| (n, contents.packs[n as usize])).collect();
    let asked = futures::stream::iter(heads).map(|(number, head)| async move {
        let pack = PackRef { id: head.id, size_bytes: head.size_bytes };
        Ok::<_, Error>((number, head.id, spool.is_there(pack).await?))
    });
    let mut answers = asked.buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        let (number, id, is_there) = answer?;
        contents.resolve(number, is_there);
        if is_there {
            cache.stored(id)?;
        }
    }
    Ok(())
}

/// Writes the cache as it is after a commit.
fn advance(core: &Core, commit: &Commit) -> Result<()> {
    let ledger = core.ledger.lock();
    let mut live: BTreeMap<ComponentName, Vec<Place>> = ledger.live.clone();
    let mut segments: HashMap<_, _> = ledger.segments.clone();
    for component in &commit.failed {
        let places = live.entry(*component).or_default();
        places.extend(ledger.contents.live.get(component).into_iter().flatten());
        for (_, spots) in ledger.given_up.iter().filter(|(whose, _)| whose == component) {
            places.extend(ledger.resolve(spots)?);
        }
        *places = union(places.iter().copied());
        for (key, known) in ledger.contents.segments.iter().filter(|(_, k)| k.component == *component) {
            segments.entry(*key).or_insert_with(|| known.clone());
        }
    }
    core.cache.commit(&Next {
        head: commit.head,
        packs: &ledger.contents.packs,
        index: &ledger.contents.index,
        live: &live,
        segments: &segments,
        streams: &ledger.contents.streams,
    })
}
