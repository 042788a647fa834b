//! Writing and removing files so that a crash at any point leaves either the whole object or none.
//!
//! Owns the order: write a temporary file, fsync it, rename it, fsync its folder. Knows nothing of the runtime; all of it
//! blocks.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use tempfile::{NamedTempFile, PersistError};

use super::{Abandoned, READ_BYTES, Root, TEMP_FOLDER, entry, io_error, is_absent};
use crate::error::{Context, Error, Kind, Result};
use crate::store::body::wrong_length;
use crate::store::{Body, Entry, Key, PutMode};

/// How often a put makes its folder anew when a delete removes the empty folder in between.
const FOLDER_RACES: usize = 8;

/// Stores an object.
pub(super) fn write(
    root: &Root,
    key: &Key,
    body: &Body,
    mode: PutMode,
    abandoned: &Abandoned,
) -> Result<Entry> {
    let target = root.path_of(key);
    // Spares the writing; the exclusive rename below decides.
    if mode == PutMode::Create && target.symlink_metadata().is_ok() {
        return Err(conflict());
    }
    let mut temp = new_temp(root)?;
    fill(&mut temp, body, abandoned)?;
    temp.as_file().sync_all().map_err(|e| io_error(e, "fsync"))?;
    let meta = temp.as_file().metadata().map_err(|e| io_error(e, "stat"))?;
    let stored = entry(key.clone(), &meta)?;
    abandoned.check()?;
    place(root, temp, &target, mode)?;
    Ok(stored)
}

fn conflict() -> Error {
    Error::new(Kind::Conflict, "already there")
}

/// Makes a temporary file, readable by its owner only, that removes itself unless it is renamed.
fn new_temp(root: &Root) -> Result<NamedTempFile> {
    let folder = root.path.join(TEMP_FOLDER);
    make_folders(&folder)?;
    NamedTempFile::new_in(&folder).map_err(|e| io_error(e, "temporary file"))
}

fn fill(temp: &mut NamedTempFile, body: &Body, abandoned: &Abandoned) -> Result<()> {
    let file = temp.as_file_mut();
    match body {
        Body::Bytes(bytes) => {
            for piece in bytes.chunks(READ_BYTES) {
                abandoned.check()?;
                file.write_all(piece).map_err(|e| io_error(e, "writing"))?;
            }
            Ok(())
        }
        Body::File { path, size_bytes, .. } => {
            let mut source = File::open(path).context(Kind::Io, path.display())?;
            let mut buffer = vec![0; READ_BYTES];
            let mut seen_bytes = 0_u64;
            loop {
                abandoned.check()?;
                let n = source.read(&mut buffer).context(Kind::Io, path.display())?;
                if n == 0 {
                    break;
                }
                seen_bytes += n as u64;
                if seen_bytes > *size_bytes {
                    break;
                }
                file.write_all(&buffer[..n]).map_err(|e| io_error(e, "writing"))?;
            }
            if seen_bytes == *size_bytes { Ok(()) } else { Err(wrong_length(path, *size_bytes)) }
        }
    }
}

/// Renames the finished file to its place and makes that durable.
fn place(root: &Root, mut temp: NamedTempFile, target: &Path, mode: PutMode) -> Result<()> {
    let folder = target.parent().unwrap_or(&root.path);
    for _ in 0..FOLDER_RACES {
        make_folders(folder)?;
        root.contains(folder)?;
        let renamed = match mode {
            // renameat2(RENAME_NOREPLACE), or link and unlink where the file system lacks it: exclusive either way.
            PutMode::Create => temp.persist_noclobber(target),
            PutMode::Replace => temp.persist(target),
        };
        match renamed {
            Ok(_) => return sync_folder(folder),
            Err(PersistError { error, file }) if error.kind() == io::ErrorKind::NotFound => temp = file,
            Err(PersistError { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(conflict());
            }
            Err(PersistError { error, .. }) if error.kind() == io::ErrorKind::IsADirectory => {
                return Err(Error::new(Kind::Conflict, "a folder of that name is there"));
            }
            Err(PersistError { error, .. }) => return Err(io_error(error, "renaming")),
        }
    }
    Err(Error::new(Kind::Store, "its folder vanishes again and again"))
}

/// Makes `folder` and what lacks above it, durably.
pub(super) fn make_folders(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(above) = folder.parent() else { return Ok(()) };
    make_folders(above)?;
    match std::fs::create_dir(folder) {
        Ok(()) => sync_folder(above),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists || e.kind() == io::ErrorKind::NotADirectory => {
            Err(Error::new(Kind::Conflict, format!("{} is not a folder", folder.display())))
        }
        Err(e) => Err(io_error(e, folder.display())),
    }
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io_error(e, folder.display()))
}

/// Removes an object, and the folders that are empty without it.
///
/// Not made durable: what a crash brings back is deleted again by whoever wanted it gone.
pub(super) fn remove(root: &Root, key: &Key) -> Result<()> {
    let Some((path, _)) = root.locate(key)? else { return Ok(()) };
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(e) if is_absent(&e) => {}
        Err(e) => return Err(io_error(e, path.display())),
    }
    let mut folder = path.parent();
    while let Some(here) = folder.filter(|f| *f != root.path) {
        // Refused where something is left, which is where to stop.
        if std::fs::remove_dir(here).is_err() {
            break;
        }
        folder = here.parent();
    }
    Ok(())
}

/// Removes temporary files that nobody has written to for `older_than`.
pub(super) fn sweep(root: &Root, older_than: Duration, abandoned: &Abandoned) -> Result<u64> {
    let folder = root.path.join(TEMP_FOLDER);
    if !folder.is_dir() {
        return Ok(0);
    }
    // The age is measured by the clock that stamps the files, which on a network disk is not ours.
    let probe = new_temp(root)?;
    let now = probe.as_file().metadata().and_then(|m| m.modified()).map_err(|e| io_error(e, "clock"))?;
    let mut removed = 0;
    for item in std::fs::read_dir(&folder).map_err(|e| io_error(e, folder.display()))? {
        abandoned.check()?;
        let item = item.map_err(|e| io_error(e, folder.display()))?;
        if item.path() == probe.path() {
            continue;
        }
        let written = match item.metadata().and_then(|m| m.modified()) {
            Ok(written) => written,
            // Its put has just ended.
            Err(e) if is_absent(&e) => continue,
            Err(e) => return Err(io_error(e, item.path().display())),
        };
        if now.duration_since(written).is_ok_and(|age| age >= older_than) {
            std::fs::remove_file(item.path()).map_err(|e| io_error(e, item.path().display()))?;
            removed += 1;
        }
    }
    Ok(removed)
}
