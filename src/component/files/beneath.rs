//! Looking into a folder without ever following a link: each step is one name below an open folder.
//!
//! Owns how entries are found and opened. A tenant may change its folder while it is read; whatever it puts there, nothing
//! outside of the root is opened, and no FIFO or device blocks the reading.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::index::Stamp;
use crate::component::archive::{Entry, EntryKind};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// What was found under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::component) enum Found {
    File,
    Folder,
    Link,
    /// A socket, FIFO or device.
    Other,
}

/// What a look at an entry tells.
#[derive(Debug, Clone)]
pub(in crate::component) struct Look {
    pub found: Found,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub stamp: Stamp,
}

impl Look {
    /// Makes the tar entry for it.
    pub fn entry(&self, path: &[u8], kind: EntryKind) -> Entry {
        Entry { path: path.to_vec(), kind, mode: self.mode, uid: self.uid, gid: self.gid, mtime: self.mtime }
    }
}

// The integers of `stat` differ in type by processor.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn look_of(stat: &Stat) -> Look {
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Found::File,
        FileType::Directory => Found::Folder,
        FileType::Symlink => Found::Link,
        _ => Found::Other,
    };
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    let stamp = Stamp {
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        inode: stat.st_ino as u64,
    };
    let (uid, gid) = (stat.st_uid, stat.st_gid);
    Look { found, mode: stat.st_mode & 0o7777, uid, gid, mtime: stat.st_mtime as i64, stamp }
}

/// Opens the root itself; only its last name may not be a link.
pub(super) fn open_root(root: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, root, FOLDER, Mode::empty())
}

pub(super) fn open_folder(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    openat(parent, name, FOLDER, Mode::empty())
}

/// Opens a regular file; anything else under that name by now is [`Errno::STALE`].
pub(super) fn open_file(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<(File, Look)> {
    let fd = openat(parent, name, FILE, Mode::empty())?;
    let look = look_at_open(&fd)?;
    if look.found != Found::File {
        return Err(Errno::STALE);
    }
    Ok((File::from(fd), look))
}

pub(super) fn look_at(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Look> {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|s| look_of(&s))
}

pub(in crate::component) fn look_at_open(fd: impl AsFd) -> rustix::io::Result<Look> {
    fstat(fd).map(|s| look_of(&s))
}

pub(super) fn link_target(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
    readlinkat(parent, name, Vec::new()).map(std::ffi::CString::into_bytes)
}

/// One thing to do in a folder: take an entry, or go into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    /// The entry's name; with a `/` at its end, to go into the folder of that name.
    pub name: Vec<u8>,
}

/// Returns the steps through a folder in the order that makes the whole walk sorted by path bytes.
///
/// `a.txt` sorts between `a` and `a/x`, since `.` is less than `/`: so taking a folder and going into it are two steps.
pub(super) fn steps(folder: impl AsFd) -> rustix::io::Result<Vec<Step>> {
    let mut out = Vec::new();
    for item in Dir::read_from(&folder)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_folder = match item.file_type() {
            FileType::Directory => true,
            // Some file systems do not tell; a name that is gone again is told by the step that takes it.
            FileType::Unknown => look_at(&folder, name).is_ok_and(|l| l.found == Found::Folder),
            _ => false,
        };
        if is_folder {
            out.push(Step { name: [name, b"/"].concat() });
        }
        out.push(Step { name: name.to_vec() });
    }
    out.sort_unstable();
    Ok(out)
}
