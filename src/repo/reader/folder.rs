//! The reader's own folder for fetched packs, and the removal of those that dead readers left.
//!
//! Owns who is dead: a living reader holds a lock on a file in its folder, and locks end with the process.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::error::{Context, Error, Kind, Result};
use crate::id::PackId;
use crate::repo::seal::disk_error;

/// What the names of readers' folders begin with.
const PREFIX: &str = "packs-";
const LOCK: &str = "lock";

/// How often a folder is made again because a sweep took it for a dead reader's.
const ATTEMPTS: usize = 16;

/// A folder that goes away when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    own: TempDir,
    _lock: File,
}

impl Folder {
    /// Makes a folder of its own below `parent`, which is made too, and removes those of dead readers. Blocks.
    pub fn make(parent: &Path) -> Result<Folder> {
        let what = || format!("folder {} for fetched packs", parent.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|e| disk_error(e, &what()))?;
        sweep(parent).context(Kind::Io, what())?;
        for _ in 0..ATTEMPTS {
            let own = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
            let own = own.map_err(|e| disk_error(e, &what()))?;
            if let Some(lock) = lock(own.path()).map_err(|e| disk_error(e, &what()))? {
                return Ok(Folder { own, _lock: lock });
            }
        }
        Err(Error::new(Kind::Io, what()).hint("something removes what is made in this folder"))
    }

    /// Returns where a pack lies.
    pub fn path(&self, pack: &PackId) -> PathBuf {
        self.own.path().join(pack.to_string())
    }

    /// Begins a file that is removed unless it is kept.
    pub fn begin(&self) -> Result<NamedTempFile> {
        NamedTempFile::new_in(self.own.path()).map_err(|e| disk_error(e, "fetched pack"))
    }

    /// Keeps a file under its pack's name.
    pub fn keep(&self, file: NamedTempFile, pack: &PackId) -> Result<()> {
        file.persist(self.path(pack)).map_err(|e| disk_error(e.error, "fetched pack"))?;
        Ok(())
    }

    /// Removes a pack. That it cannot be removed costs room and is told; the folder is removed in the end.
    pub fn remove(&self, pack: &PackId) {
        if let Err(error) = fs::remove_file(self.path(pack)) {
            tracing::warn!(%error, pack = %pack.short(), "a fetched pack was not removed");
        }
    }
}

/// Locks a new folder; nothing, where a sweep was there first.
fn lock(folder: &Path) -> io::Result<Option<File>> {
    let file = match File::create_new(folder.join(LOCK)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // Where locks are not supported nobody can take one, so that no sweep removes anything.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    // A sweep may have locked, removed and let go between our two steps; since then none can.
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

/// Removes what dead readers left.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if is_ours
            && entry.file_type()?.is_dir()
            && let Err(error) = sweep_one(&entry.path())
        {
            tracing::warn!(%error, folder = %entry.path().display(), "what a dead reader left was not removed");
        }
    }
    Ok(())
}

fn sweep_one(folder: &Path) -> io::Result<()> {
    let lock = folder.join(LOCK);
    let file = match File::open(&lock) {
        Ok(file) => Some(file),
        // It is being made, swept by another, or its maker died at once: gone then if it is empty.
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if let Some(file) = file {
        if file.try_lock().is_err() {
            return Ok(());
        }
        // The lock file last: a sweep that dies leaves what the next one knows how to remove.
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path != lock {
                fs::remove_file(path)?;
            }
        }
        fs::remove_file(&lock)?;
        return fs::remove_dir(folder);
    }
    match fs::remove_dir(folder) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parent: &Path) -> Vec<PathBuf> {
        fs::read_dir(parent).unwrap().map(|e| e.unwrap().path()).collect()
    }

    #[test]
    fn a_dead_readers_folder_is_removed_and_a_living_ones_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let living = Folder::make(parent.path()).unwrap();
        let dead = parent.path().join("packs-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), b"").unwrap();
        fs::write(dead.join("pack"), b"x").unwrap();
        fs::create_dir(parent.path().join("packs-empty")).unwrap();
        fs::create_dir(parent.path().join("others")).unwrap();

        let second = Folder::make(parent.path()).unwrap();
        let left = names(parent.path());
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(living.own.path().exists() && second.own.path().exists());
        drop((living, second));
        assert_eq!(names(parent.path()), [parent.path().join("others")]);
    }

    #[test]
    fn a_file_that_is_not_kept_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::make(parent.path()).unwrap();
        let pack = PackId::of(b"pack");
        drop(folder.begin().unwrap());
        assert_eq!(names(folder.own.path()).len(), 1);
        folder.keep(folder.begin().unwrap(), &pack).unwrap();
        assert!(folder.path(&pack).exists());
        folder.remove(&pack);
        assert!(!folder.path(&pack).exists());
    }

    #[test]
    fn readers_that_start_at_the_same_time_do_not_remove_each_others_folders() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let start = || {
                for _ in 0..30 {
                    let folder = Folder::make(parent.path()).unwrap();
                    folder.keep(folder.begin().unwrap(), &PackId::of(b"x")).unwrap();
                }
            };
            let threads = [scope.spawn(start), scope.spawn(start), scope.spawn(start)];
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
        assert!(names(parent.path()).is_empty());
    }
}
