//! Writing entries below a folder, never outside of it: the mirror of `beneath`.
//!
//! Owns safety, owners, modes and times of what is written. Each step is one name below an open folder and follows no
//! link, so a link that was unpacked, or put there meanwhile, leads nowhere. Nothing that exists is written over.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, futimens,
    mkdirat, openat, symlinkat, syncfs, utimensat,
};
use rustix::io::Errno;

use super::beneath;
use crate::component::archive::{Entry, EntryKind, check_path};
use crate::error::{Context, Error, Kind, Result};

const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What becomes of a folder above an entry that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parents {
    /// It must have been an entry itself.
    Required,
    /// It is made, for chosen paths out of a whole.
    Made,
}

/// A folder that is being filled.
pub(super) struct Tree {
    root: OwnedFd,
    parents: Parents,
    /// Whether owners can be given away: only root may.
    owners: bool,
    /// The folders above the latest entry, outermost first.
    open: Vec<(Vec<u8>, OwnedFd)>,
    /// Folders get their attributes last: writing into one changes its time, and may need its mode.
    folders: Vec<Entry>,
}

impl Tree {
    pub fn new(root: OwnedFd, parents: Parents) -> Self {
        let owners = rustix::process::geteuid().is_root();
        Tree { root, parents, owners, open: Vec::new(), folders: Vec::new() }
    }

    /// Tells whether owners are restored.
    pub fn keeps_owners(&self) -> bool {
        self.owners
    }

    /// Makes a folder; its attributes follow in [`Tree::finish`].
    pub fn folder(&mut self, entry: &Entry) -> Result<()> {
        let (parent, name) = self.parent(&entry.path)?;
        mkdirat(parent, name, Mode::RWXU).map_err(|e| fault(&entry.path, e))?;
        self.folders.push(entry.clone());
        Ok(())
    }

    /// Makes a symbolic link with this text.
    pub fn link(&mut self, entry: &Entry, target: &[u8]) -> Result<()> {
        let owners = self.owners;
        let (parent, name) = self.parent(&entry.path)?;
        let made = symlinkat(target, parent, name).and_then(|()| {
            if owners {
                let (uid, gid) = owner(entry);
                chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        });
        made.map_err(|e| fault(&entry.path, e))
    }

    /// Makes an empty file that only we can read, to be filled and given to [`Tree::seal`].
    pub fn file(&mut self, entry: &Entry) -> Result<File> {
        let (parent, name) = self.parent(&entry.path)?;
        let fd =
            openat(parent, name, NEW_FILE, Mode::RUSR | Mode::WUSR).map_err(|e| fault(&entry.path, e))?;
        Ok(File::from(fd))
    }

    /// Gives a written file its attributes.
    pub fn seal(&self, file: &File, entry: &Entry) -> Result<()> {
        self.attributes(file, entry).map_err(|e| fault(&entry.path, e))
    }

    /// Gives the folders their attributes, the root last, and waits until the disk has all of it.
    pub fn finish(self, root: Option<&Entry>) -> Result<()> {
        let root_fd = self.root.try_clone().context(Kind::Io, "folder that is restored into")?;
        self.finish_unsynced(root)?;
        // One call for the whole file system: a hundred thousand single ones would take minutes.
        syncfs(&root_fd).context(Kind::Io, "folder that is restored into")
    }

    /// Gives the folders their attributes, the root last.
    pub fn finish_unsynced(mut self, root: Option<&Entry>) -> Result<()> {
        self.open.clear();
        while let Some(entry) = self.folders.pop() {
            let (parent, name) = self.parent(&entry.path)?;
            let done = beneath::open_folder(parent, name).and_then(|folder| self.attributes(&folder, &entry));
            done.map_err(|e| fault(&entry.path, e))?;
        }
        let done = root.map_or(Ok(()), |entry| self.attributes(&self.root, entry));
        done.context(Kind::Io, "folder that is restored into")
    }

    fn attributes(&self, fd: impl AsFd, entry: &Entry) -> rustix::io::Result<()> {
        let fd = fd.as_fd();
        if self.owners {
            let (uid, gid) = owner(entry);
            fchown(fd, uid, gid)?;
        }
        // After the owner: giving a file away takes its set-user bit.
        fchmod(fd, Mode::from_raw_mode(entry.mode))?;
        futimens(fd, &times(entry))
    }

    /// Returns the open folder above `path`, and the last name.
    fn parent<'a>(&mut self, path: &'a [u8]) -> Result<(BorrowedFd<'_>, &'a [u8])> {
        check_path(path)?;
        let mut names: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let name = names.pop().expect("a split gives one part at least");
        let shared = self.open.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(shared);
        for name in &names[shared..] {
            let above = self.open.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
            if self.parents == Parents::Made {
                match mkdirat(above, *name, Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(fault(path, e)),
                }
            }
            let folder = beneath::open_folder(above, name).map_err(|e| match e {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Error::new(
                    Kind::Damaged,
                    format!("{:?} does not lie in a folder", String::from_utf8_lossy(path)),
                )
                .caused_by(e),
                e => fault(path, e),
            })?;
            self.open.push((name.to_vec(), folder));
        }
        Ok((self.open.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()), name))
    }
}

/// Makes the entry of a root, for its attributes alone.
pub(super) fn root_entry(mode: u32, uid: u32, gid: u32, mtime: i64) -> Entry {
    Entry { path: Vec::new(), kind: EntryKind::Folder, mode, uid, gid, mtime }
}

fn fault(path: &[u8], e: Errno) -> Error {
    let kind = match e {
        Errno::NOSPC | Errno::DQUOT => Kind::Full,
        Errno::EXIST => Kind::Conflict,
        _ => Kind::Io,
    };
    Error::new(kind, format!("cannot write {:?}", String::from_utf8_lossy(path))).caused_by(e)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    // The value -1 means "leave it" to the kernel and is never an owner.
    let known = |id: u32| (id != u32::MAX).then_some(id);
    (known(entry.uid).map(Uid::from_raw), known(entry.gid).map(Gid::from_raw))
}

fn times(entry: &Entry) -> Timestamps {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access, last_modification: Timespec { tv_sec: entry.mtime, tv_nsec: 0 } }
}
