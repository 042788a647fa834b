//! From the streams `list` and `tar` to a folder, streaming, under a staging name.
//!
//! Owns the comparison: every entry of the tar must be the list's next line, and every content must have its hash. So
//! nothing comes in that the list does not name, nothing twice, and nothing is left out.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256 as Hasher};
use tokio_util::io::SyncIoBridge;

use super::beneath;
use super::list::{Keeping, Kept, Line};
use super::parked::{self, Parked};
use super::staging::{Staging, Target};
use super::swap;
use super::tree::{Parents, Tree, root_entry};
use super::{Record, Totals};
use crate::component::archive::{Entry, EntryKind, Reader};
use crate::component::{PIECE_BYTES, Source};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::monitor::{Counter, SharedMonitor};

/// A restored folder, whole and compared, that has not taken its place yet; dropping it removes it.
#[derive(Debug)]
pub struct Loaded {
    /// What it holds.
    pub totals: Totals,
    /// What an operator should know.
    pub warnings: Vec<String>,
    staging: Staging,
}

impl Loaded {
    /// Returns where the restored folder lies until it is swapped in.
    pub fn folder(&self) -> std::path::PathBuf {
        self.staging.folder()
    }

    /// Lets the restored folder take its place; returns where what was there before now lies.
    ///
    /// `stamp` names that place, as `<name>.before-<stamp>/<name>`. A [`Target::Folder`] is exchanged in one step where the
    /// file system can (ext4, xfs, btrfs, overlayfs), so that the target is always there; after a crash it is the old
    /// folder or the new one. A [`Target::Contents`] is exchanged entry by entry under a journal; after a fault it is undone at
    /// once, after a crash by the next restore, and until then a backup of it is refused. To be called from a
    /// blocking thread, while nothing that writes to the folder runs.
    pub fn swap(self, stamp: &str) -> Result<Option<std::path::PathBuf>> {
        swap::swap(self.staging, stamp)
    }

    /// Lets the restored folder of a [`Target::Folder`] wait where the old one will lie, as `<name>.before-<stamp>/<name>`.
    ///
    /// To be called from a blocking thread. What is parked is dropped on request only.
    pub fn park(self, stamp: &str) -> Result<Parked> {
        parked::park(self.staging, stamp)
    }
}

/// Tells the blocking thread that nobody waits for it any more.
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Restores a folder beside its target, or inside it where it may not be renamed; the target itself is not touched.
///
/// `record` is what the dump's completion said. Refused as [`Kind::Damaged`], with nothing left behind: a tar that differs
/// from its list, is cut, names a path twice, outside the root or through a link, or holds a device or hard link.
/// To be called within a Tokio runtime; when the future is dropped, the work stops and is removed.
pub async fn load(
    target: Target,
    record: Record,
    list: Source,
    tar: Source,
    monitor: SharedMonitor,
) -> Result<Loaded> {
    let wanted = Arc::new(AtomicBool::new(true));
    let _alive = Alive(wanted.clone());
    let (list, tar) = (SyncIoBridge::new(list), SyncIoBridge::new(tar));
    let loading = tokio::task::spawn_blocking(move || {
        swap::undo_unfinished(&target)?;
        let list = Keeping::read(list)?;
        if !wanted.load(Ordering::Relaxed) {
            return Err(nobody_waits());
        }
        let staging = Staging::make(target)?;
        let root = beneath::open_root(&staging.folder()).context(Kind::Io, "staging folder")?;
        let tar = std::io::BufReader::with_capacity(PIECE_BYTES, tar);
        let mut unpack = Unpack {
            tar: Reader::new(tar),
            tree: Tree::new(root, Parents::Required),
            totals: Totals::default(),
            buffer: vec![0; PIECE_BYTES],
            wanted,
            monitor,
        };
        unpack.all(&list)?;
        let Unpack { tree, totals, .. } = unpack;
        record.compare(&totals)?;
        let warnings = if tree.keeps_owners() {
            Vec::new()
        } else {
            vec!["owners are not restored: that needs root".into()]
        };
        let r = record.root;
        tree.finish(Some(&root_entry(r.mode, r.uid, r.gid, r.mtime)))?;
        Ok(Loaded { totals, warnings, staging })
    });
    loading.await.context(Kind::Bug, "files task")?
}

struct Unpack<R> {
    tar: Reader<R>,
    tree: Tree,
    totals: Totals,
    buffer: Vec<u8>,
    wanted: Arc<AtomicBool>,
    monitor: SharedMonitor,
}

impl<R: Read> Unpack<R> {
    fn all(&mut self, list: &Kept) -> Result<()> {
        let mut lines = list.lines()?;
        while let Some((entry, head_bytes)) = self.tar.next_entry()? {
            let line = lines.next_line()?;
            match line {
                Some(line) if line.entry == entry && line.head_bytes == head_bytes => self.take(&line)?,
                _ => return Err(differs(&entry, "tar and list of files differ")),
            }
        }
        match lines.next_line()? {
            Some(line) => Err(differs(&line.entry, "the tar ends before an entry of the list")),
            None => Ok(()),
        }
    }

    fn take(&mut self, line: &Line) -> Result<()> {
        match &line.entry.kind {
            EntryKind::Folder => {
                self.totals.folders += 1;
                self.tree.folder(&line.entry)
            }
            EntryKind::Link { target } => {
                self.totals.links += 1;
                self.tree.link(&line.entry, target)
            }
            EntryKind::File { size_bytes } => {
                self.totals.files += 1;
                self.totals.bytes += size_bytes;
                self.monitor.count(Counter::Files, 1);
                self.file(line)
            }
        }
    }

    fn file(&mut self, line: &Line) -> Result<()> {
        let mut file = self.tree.file(&line.entry)?;
        let mut hasher = Hasher::new();
        loop {
            if !self.wanted.load(Ordering::Relaxed) {
                return Err(nobody_waits());
            }
            let n = self.tar.content(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            hasher.update(&self.buffer[..n]);
            file.write_all(&self.buffer[..n]).map_err(|e| write_fault(&line.entry, e))?;
        }
        if line.sha256 != Some(Sha256(hasher.finalize().into())) {
            return Err(differs(&line.entry, "the content is not the one that was backed up"));
        }
        self.tree.seal(&file, &line.entry)
    }
}

fn nobody_waits() -> Error {
    Error::new(Kind::Interrupted, "nobody waits for the files any more")
}

pub(super) fn differs(entry: &Entry, what: &str) -> Error {
    Error::new(Kind::Damaged, format!("{:?}: {what}", entry.path_text()))
}

pub(super) fn write_fault(entry: &Entry, e: std::io::Error) -> Error {
    let kind = match e.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Io,
    };
    Error::new(kind, format!("cannot write {:?}", entry.path_text())).caused_by(e)
}
