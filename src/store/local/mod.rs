//! A folder as a store: the embedded default, `file:///folder`.
//!
//! Owns the layout (a key is a path below the root) and that no key, and no link somebody planted, leads out of it.
//! Promises what `fsync` promises and nothing beyond the disk: whoever owns the machine owns this store.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use tokio_util::io::ReaderStream;

use super::body::READ_BYTES;
use super::{Body, Download, Entry, Key, Method, PutMode, Store, Timeouts};
use crate::error::{Context, Error, Kind, Result};

mod walk;
mod write;

/// Where puts build their files. `~` stands in no key, so no listing shows it and no key reaches it.
const TEMP_FOLDER: &str = "~tmp";

/// Temporary files older than this are swept when a store is opened; a put that still writes keeps its file young.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Walking a large tree on a slow disk may take this many times as long as another call.
const WALK_PATIENCE: u32 = 10;

/// A store in a folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: Root,
    timeouts: Timeouts,
}

/// The root folder, and which one it was when it was opened.
#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Set when nobody waits for the work any more; the thread that does it looks from time to time.
#[derive(Debug, Clone, Default)]
struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Interrupted, "the call was given up"));
        }
        Ok(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Whoever waits for the work; dropped, the work ends itself.
struct Waiting(Abandoned);

impl LocalStore {
    /// Opens the store in `folder`, and makes the folder where `create` says so.
    ///
    /// Old temporary files are swept on the way.
    ///
    /// # Errors
    /// [`Kind::NoRepository`] where the folder does not exist.
    pub async fn open(folder: &Path, timeouts: Timeouts, create: bool) -> Result<Self> {
        let path = folder.to_owned();
        let opening = tokio::task::spawn_blocking(move || Root::open(&path, create));
        let root = match tokio::time::timeout(timeouts.operation, opening).await {
            Ok(joined) => joined.context(Kind::Bug, "opening a folder")??,
            Err(_) => return Err(Error::new(Kind::Timeout, format!("opening {}", folder.display()))),
        };
        let store = LocalStore { root, timeouts };
        // A full or read-only disk must still open for a restore.
        if let Err(error) = store.sweep(LEFTOVER_AGE).await {
            tracing::warn!(%error, "temporary files were not swept");
        }
        Ok(store)
    }

    /// Runs `work` off the runtime's threads; gives up, and tells it so, after `limit` or when dropped.
    async fn blocking<T: Send + 'static>(
        &self,
        method: Method,
        object: &str,
        limit: Duration,
        work: impl FnOnce(&Root, &Abandoned) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let what = format!("{} {object} in {}", method.word(), self.root.path.display());
        let root = self.root.clone();
        let waiting = Waiting(Abandoned::default());
        let abandoned = waiting.0.clone();
        let task = tokio::task::spawn_blocking(move || {
            root.check()?;
            work(&root, &abandoned)
        });
        match tokio::time::timeout(limit, task).await {
            Ok(joined) => joined.context(Kind::Bug, &what)?.map_err(|e| e.in_context(what)),
            Err(_) => Err(Error::new(Kind::Timeout, format!("{what}: no end after {} s", limit.as_secs()))),
        }
    }
}

impl Root {
    fn open(folder: &Path, create: bool) -> Result<Self> {
        let missing = |e: io::Error| {
            if e.kind() == io::ErrorKind::NotFound {
                Error::new(Kind::NoRepository, format!("folder {} does not exist", folder.display()))
                    .hint("is its disk mounted? `lifeboat init` makes the folder")
            } else {
                io_error(e, folder.display())
            }
        };
        if create {
            write::make_folders(folder)?;
        }
        let path = folder.canonicalize().map_err(missing)?;
        let meta = path.metadata().map_err(missing)?;
        if !meta.is_dir() {
            return Err(Error::new(Kind::NoRepository, format!("{} is not a folder", folder.display())));
        }
        Ok(Root { path, device: meta.dev(), inode: meta.ino() })
    }

    /// Fails when the root is another folder than the one that was opened: a disk was unmounted beneath us, and what
    /// would now be written fills the disk below.
    fn check(&self) -> Result<()> {
        match self.path.metadata() {
            Ok(meta) if meta.dev() == self.device && meta.ino() == self.inode => Ok(()),
            Ok(_) => Err(Error::new(Kind::NoRepository, "the folder is another one than before")
                .hint("was its disk unmounted?")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(Kind::NoRepository, "the folder is gone").hint("was its disk unmounted?"))
            }
            Err(error) => Err(io_error(error, self.path.display())),
        }
    }

    /// Returns where a key lies, whether or not something is there.
    fn path_of(&self, key: &Key) -> PathBuf {
        self.path.join(key.as_str())
    }

    /// Fails when `folder` is not below the root once links are followed.
    fn contains(&self, folder: &Path) -> Result<()> {
        let real = folder.canonicalize().map_err(|e| io_error(e, folder.display()))?;
        if real.starts_with(&self.path) {
            Ok(())
        } else {
            Err(Error::new(Kind::Denied, format!("{} leads out of the store", folder.display())))
        }
    }

    /// Finds the regular file of a key; a folder or a link under that name is no object.
    fn locate(&self, key: &Key) -> Result<Option<(PathBuf, Metadata)>> {
        let path = self.path_of(key);
        let meta = match path.symlink_metadata() {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Ok(None),
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(io_error(e, path.display())),
        };
        self.contains(path.parent().unwrap_or(&path))?;
        Ok(Some((path, meta)))
    }
}

/// Tells whether an error says that nothing is there: no such name, or a file where a folder would have to be.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

const FULL: &str =
    "make room on the store's disk or enlarge it, then run again: what is stored already is reused";

/// Gives a disk's error its kind.
fn io_error(error: io::Error, what: impl std::fmt::Display) -> Error {
    use io::ErrorKind as E;
    let kind = match error.kind() {
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => Kind::Full,
        E::PermissionDenied | E::ReadOnlyFilesystem => Kind::Denied,
        E::NotFound => Kind::NotFound,
        _ => Kind::Store,
    };
    let full = matches!(kind, Kind::Full);
    let error = Error::new(kind, what.to_string()).caused_by(error);
    if full { error.hint(FULL) } else { error }
}

fn entry(key: Key, meta: &Metadata) -> Result<Entry> {
    let stored: SystemTime = meta.modified().map_err(|e| io_error(e, &key))?;
    let modified = Timestamp::try_from(stored).context(Kind::Store, &key)?;
    Ok(Entry { key, size_bytes: meta.len(), modified, version: None })
}

#[async_trait]
impl Store for LocalStore {
    fn address(&self) -> String {
        format!("file://{}", self.root.path.display())
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        let limit = self.timeouts.for_bytes(body.size_bytes());
        let name = key.clone();
        let work =
            move |root: &Root, abandoned: &Abandoned| write::write(root, &name, &body, mode, abandoned);
        self.blocking(Method::Put, key.as_str(), limit, work).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        let name = key.clone();
        let versioned = version.is_some();
        let open = move |root: &Root, _: &Abandoned| {
            let found = if versioned { None } else { root.locate(&name)? };
            let (path, _) = found.ok_or_else(|| Error::new(Kind::NotFound, "not there"))?;
            let mut options = std::fs::OpenOptions::new();
            // The file may have become a link since it was found.
            options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
            let file = options.open(&path).map_err(|e| io_error(e, path.display()))?;
            let size_bytes = file.metadata().map_err(|e| io_error(e, path.display()))?.len();
            Ok((file, size_bytes))
        };
        let (file, size_bytes) =
            self.blocking(Method::Get, key.as_str(), self.timeouts.operation, open).await?;
        let what = format!("{key} in {}", self.root.path.display());
        let named = what.clone();
        let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_BYTES)
            .map(move |piece| piece.map_err(|e| io_error(e, &named)));
        Ok(Download::checked(what, size_bytes, self.timeouts.silence, pieces.boxed()))
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        let name = key.clone();
        let look = move |root: &Root, _: &Abandoned| {
            root.locate(&name)?.map(|(_, meta)| entry(name, &meta)).transpose()
        };
        self.blocking(Method::Head, key.as_str(), self.timeouts.operation, look).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let wanted = prefix.to_owned();
        let work = move |root: &Root, abandoned: &Abandoned| walk::list(root, &wanted, abandoned);
        self.blocking(Method::List, prefix, self.timeouts.operation * WALK_PATIENCE, work).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.list(prefix).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        if version.is_some() {
            // No version of that name can be there.
            return Ok(());
        }
        let name = key.clone();
        let work = move |root: &Root, _: &Abandoned| write::remove(root, &name);
        self.blocking(Method::Delete, key.as_str(), self.timeouts.operation, work).await
    }

    async fn sweep(&self, older_than: Duration) -> Result<u64> {
        let work = move |root: &Root, abandoned: &Abandoned| write::sweep(root, older_than, abandoned);
        self.blocking(Method::Sweep, TEMP_FOLDER, self.timeouts.operation, work).await
    }

    async fn now(&self) -> Result<Timestamp> {
        // The times of files are those of this machine's clock.
        Ok(Timestamp::now())
    }
}

#[cfg(test)]
mod tests;
