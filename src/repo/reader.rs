// LEAD NOTE: helper `reader` in /work/wt/reader implements this file now; you do the writer only.
//! Packs become streams again: the byte side of a restore, a check or a drill.
//!
//! Owns fetching, checking, decrypting and ordering. Plaintext is never on disk; ciphertext waits in a bounded folder,
//! decompressed frames in bounded memory. Knows nothing of manifests, receipts or what streams mean.

mod download;
mod follow;
mod frames;
mod plan;
mod shelf;

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};

use bytes::{Buf, Bytes};
use tempfile::TempDir;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::task::AbortOnDropHandle;

use self::follow::{Answers, Follow};
use self::frames::Frames;
use self::plan::Plan;
use self::shelf::Shelf;
use super::extent::{PackRef, StreamRecord};
use super::seal::VaultIdentity;
use crate::error::{Context, Error, Kind, Result};
use crate::id::ComponentName;
use crate::monitor::SharedMonitor;
use crate::store::{SharedStore, Store};

/// What reading a snapshot needs.
pub struct ReaderOptions {
    /// Where packs lie.
    pub store: SharedStore,
    /// What stands before each pack's hash: `tenants/T/packs/`.
    pub pack_prefix: String,
    /// The snapshot's packs in the order of their numbers.
    pub packs: Vec<PackRef>,
    /// The vault's identity.
    pub identity: VaultIdentity,
    /// A folder for fetched packs; the reader makes its own below it and removes it when dropped.
    pub folder: PathBuf,
    /// The most bytes of fetched packs; less than two of the snapshot's largest is raised to that.
    pub folder_limit_bytes: u64,
    /// The most decompressed bytes kept in memory; [`MEMORY_LIMIT_BYTES`] unless there is a reason.
    pub memory_limit_bytes: usize,
    /// How many packs are fetched at the same time, 1 to 8.
    pub fetches: usize,
    /// Who hears of it. The reader counts `FetchedBytes` and `RestoredBytes`.
    pub monitor: SharedMonitor,
}

/// Decompressed frames kept in memory, all streams of a reader together.
pub const MEMORY_LIMIT_BYTES: usize = 128 * 1024 * 1024;

/// Reads the streams of one snapshot; clones share packs and frames.
#[derive(Clone)]
pub struct PackReader {
    inner: Arc<Inner>,
}

/// What streams share.
struct Inner {
    shelf: Shelf,
    frames: Frames,
    fetches: usize,
    /// How many times each stream was announced and not yet begun.
    expected: Mutex<HashMap<(ComponentName, String), u32>>,
    /// After the shelf: packs go first.
    _folder: Folder,
}

impl PackReader {
    /// Prepares a folder; fetches nothing yet.
    pub async fn open(options: ReaderOptions) -> Result<PackReader> {
        let below = options.folder.clone();
        let making = tokio::task::spawn_blocking(move || Folder::make(&below));
        let folder = making.await.context(Kind::Bug, "making a pack folder")??;
        let inner = Inner {
            frames: Frames::new(options.memory_limit_bytes),
            fetches: options.fetches.clamp(1, 8),
            shelf: Shelf::new(options, folder.folder.path().to_owned()),
            expected: Mutex::default(),
            _folder: folder,
        };
        Ok(PackReader { inner: Arc::new(inner) })
    }

    /// Announces streams that will be read whole: packs are kept until the last of them has passed, and fetched once.
    pub fn expect(&self, records: &[&StreamRecord]) {
        for record in records {
            // A record that makes no sense is reported when it is read.
            if let Ok(plan) = self.plan(record, 0, record.size_bytes) {
                self.inner.shelf.need(&plan.packs);
                *self.expected().entry((record.component, record.stream.clone())).or_default() += 1;
            }
        }
    }

    /// Reads a whole stream; its segments' and its own digest are verified.
    ///
    /// What is wrong ends it with an error instead of an end: [`Kind::Damaged`] naming the pack or digest,
    /// [`Kind::WrongKey`] where the identity does not open a pack. Bytes handed out before may be wrong then.
    pub fn stream(&self, record: Arc<StreamRecord>) -> StreamReader {
        let plan = match self.plan(&record, 0, record.size_bytes) {
            Ok(plan) => plan,
            Err(e) => return StreamReader::failed(e),
        };
        let mut expected = self.expected();
        match expected.get_mut(&(record.component, record.stream.clone())).filter(|n| **n > 0) {
            Some(announced) => *announced -= 1,
            None => self.inner.shelf.need(&plan.packs),
        }
        drop(expected);
        self.follow(record, plan)
    }

    /// Reads a part of a stream; every pack's hash and every frame's checksum is verified, and the
    /// hash of each segment that lies wholly within.
    ///
    /// [`Kind::Usage`] where the stream is not that long.
    pub fn range(&self, record: Arc<StreamRecord>, offset: u64, length: u64) -> Result<StreamReader> {
        let plan = self.plan(&record, offset, length)?;
        self.inner.shelf.need(&plan.packs);
        Ok(self.follow(record, plan))
    }

    fn expected(&self) -> std::sync::MutexGuard<'_, HashMap<(ComponentName, String), u32>> {
        self.inner.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, record: &StreamRecord, offset: u64, length: u64) -> Result<Plan> {
        let named = |e: Error| e.in_context(format!("{}/{}", record.component, record.stream));
        let sum: u64 = record.segments.iter().map(|s| s.size_bytes).sum();
        if sum != record.size_bytes {
            return Err(named(Error::new(Kind::Damaged, "the stream has not the length of its segments")));
        }
        Plan::new(&record.segments, offset, length, self.inner.shelf.packs.len()).map_err(named)
    }

    fn follow(&self, record: Arc<StreamRecord>, plan: Plan) -> StreamReader {
        let follow = Follow { inner: Arc::clone(&self.inner), record, plan: Arc::new(plan) };
        let (answers, task) = follow.start();
        StreamReader {
            answers: Some(answers),
            current: Bytes::new(),
            failed: None,
            _task: Some(AbortOnDropHandle::new(task)),
        }
    }
}

/// The bytes of a stream, in order, through a bounded queue.
pub struct StreamReader {
    /// None after the end.
    answers: Option<Answers>,
    current: Bytes,
    /// An error found before anything was begun.
    failed: Option<Error>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl StreamReader {
    fn failed(error: Error) -> Self {
        StreamReader { answers: None, current: Bytes::new(), failed: Some(error), _task: None }
    }

    /// Returns the next bytes, nothing at the verified end, or what is wrong.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        if !self.current.is_empty() {
            return Some(Ok(std::mem::take(&mut self.current)));
        }
        std::future::poll_fn(|cx| self.poll_next(cx)).await.transpose()
    }

    fn poll_next(&mut self, cx: &mut Task<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let Some(answers) = &mut self.answers else { return Poll::Ready(Ok(None)) };
        let answer = match ready!(answers.poll_recv(cx)) {
            Some(Ok(Some(bytes))) => return Poll::Ready(Ok(Some(bytes))),
            Some(end) => end,
            None => Err(Error::new(Kind::Bug, "a stream stopped without saying why")),
        };
        self.answers = None;
        Poll::Ready(answer)
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.current.is_empty() {
            match ready!(self.poll_next(cx)) {
                Ok(Some(bytes)) => self.current = bytes,
                Ok(None) => return Poll::Ready(Ok(())),
                Err(e) => return Poll::Ready(Err(std::io::Error::other(e))),
            }
        }
        let n = buffer.remaining().min(self.current.len());
        buffer.put_slice(&self.current[..n]);
        self.current.advance(n);
        Poll::Ready(Ok(()))
    }
}

/// Gives back the error that a [`StreamReader`] put into an I/O error; other I/O errors become [`Kind::Io`].
pub fn error_of(e: std::io::Error) -> Error {
    match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::new(Kind::Io, "stream").caused_by(e),
    }
}

/// Fetches a pack and checks that some version of it has the hash that names it (proof level L1), keeping nothing.
pub async fn check_pack(store: &dyn Store, pack_prefix: &str, pack: PackRef) -> Result<()> {
    download::fetch(store, pack_prefix, pack, download::Nowhere).await.map(drop)
}

/// A folder of this reader alone, locked while it lives, so that others can tell what a dead one left.
struct Folder {
    folder: TempDir,
    _lock: File,
}

const FOLDER_PREFIX: &str = "packs-";
const LOCK: &str = "lock";

impl Folder {
    /// Makes a folder below `below`, and removes those that dead readers left there.
    fn make(below: &Path) -> Result<Folder> {
        let context = || format!("pack folder {}", below.display());
        DirBuilder::new().recursive(true).mode(0o700).create(below).context(Kind::Io, context())?;
        // Held until this folder has its own lock, so that nobody takes it for a dead one.
        let making = File::create(below.join(LOCK)).context(Kind::Io, context())?;
        making.lock().context(Kind::Io, context())?;
        sweep(below).context(Kind::Io, context())?;
        let folder = tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir_in(below);
        let folder = folder.context(Kind::Io, context())?;
        let lock = File::create(folder.path().join(LOCK)).context(Kind::Io, context())?;
        lock.lock().context(Kind::Io, context())?;
        Ok(Folder { folder, _lock: lock })
    }
}

fn sweep(below: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(below)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(FOLDER_PREFIX) {
            continue;
        }
        if let Ok(lock) = File::open(entry.path().join(LOCK))
            && lock.try_lock().is_ok()
        {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
