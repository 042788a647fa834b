//! The restored folder takes the place of the old one, which is moved aside, never dropped.
//!
//! Owns renames, their undoing and the journal. The restored folder is first renamed to where the old one will lie, so that
//! no moment exists in which what a later cleaning removes holds anything but restored data.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::exclude::OWN_PREFIX;
use super::list::{spell, unspell};
use super::staging::{Staging, Target, remove};
use crate::error::{Context, Error, Kind, Result};

/// The name a new entry goes by for a moment where a file system cannot exchange two.
const PASSING: &str = ".lifeboat-passing-";

/// What an entry-by-entry exchange was about to do, so that it can be undone: inodes by name.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    /// The folder that holds the new entries, and then the old ones.
    aside: PathBuf,
    old: BTreeMap<String, u64>,
    new: BTreeMap<String, u64>,
}

/// A swap that did not happen.
pub(super) struct Failed {
    pub error: Error,
    /// Whether all is as it was, so that what was restored can go.
    undone: bool,
}

fn undone(error: Error) -> Failed {
    Failed { error, undone: true }
}

fn left_so(error: Error) -> Failed {
    Failed { error, undone: false }
}

pub(super) fn swap(mut staging: Staging, stamp: &str) -> Result<Option<PathBuf>> {
    let before = staging.target.before(stamp)?;
    rename(&staging.wrapping, &before)?;
    staging.keep();
    let new = before.join(staging.target.name());
    let done = match &staging.target {
        Target::Folder(path) => whole(path, &new),
        Target::Contents(path) => contents(path, &new),
    };
    match done {
        Ok(true) => Ok(Some(new)),
        Ok(false) => remove(&before).map(|()| None),
        Err(Failed { error, undone: true }) => remove(&before).and(Err(error)),
        Err(Failed { error, undone: false }) => {
            Err(error
                .hint(format!("nothing was dropped: look into {} before anything else", before.display())))
        }
    }
}

/// Exchanges two folders; tells whether there was an old one.
fn whole(path: &Path, new: &Path) -> Result<bool, Failed> {
    let was_there = fs::symlink_metadata(path).is_ok();
    if was_there {
        exchange(path, new)?;
    } else {
        rename(new, path).map_err(undone)?;
    }
    for folder in [path, new] {
        sync(folder.parent().expect("both were renamed, so both have a name in a folder"))
            .map_err(left_so)?;
    }
    Ok(was_there)
}

/// Lets two paths change places, in one step where the file system can.
pub(super) fn exchange(path: &Path, new: &Path) -> Result<(), Failed> {
    match renameat_with(CWD, path, CWD, new, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        Err(e) => {
            return Err(undone(
                Error::new(Kind::Io, format!("cannot exchange {}", path.display())).caused_by(e),
            ));
        }
    }
    exchange_by_three(path, new)
}

/// The same by three renames; for a moment, nothing is at `path`.
fn exchange_by_three(path: &Path, new: &Path) -> Result<(), Failed> {
    let passing = passing(new);
    rename(new, &passing).map_err(undone)?;
    if let Err(e) = rename(path, new) {
        return Err(undone(e));
    }
    rename(&passing, path).map_err(|e| match rename(new, path) {
        Ok(()) => undone(e),
        Err(worse) => left_so(worse),
    })
}

pub(super) fn passing(new: &Path) -> PathBuf {
    let mut name = OsString::from(PASSING);
    name.push(new.file_name().unwrap_or_default());
    new.with_file_name(name)
}

/// Exchanges what lies in `root` with what lies in `new`, entry by entry; tells whether there was anything old.
fn contents(root: &Path, new: &Path) -> Result<bool, Failed> {
    let inodes = || Ok(Journal { aside: new.to_owned(), old: inodes(root)?, new: inodes(new)? });
    let journal: Journal = inodes().map_err(undone)?;
    write_journal(root, &journal).map_err(undone)?;
    if let Err(e) = exchange_all(root, new, &journal).and_then(|()| take_attributes(root, new)) {
        return Err(match undo(root, &journal) {
            Ok(()) => undone(e),
            Err(worse) => left_so(worse),
        });
    }
    let ended = sync(new).and_then(|()| sync(root)).and_then(|()| remove_journal(root));
    ended.map_err(left_so)?;
    Ok(!journal.old.is_empty())
}

fn exchange_all(root: &Path, new: &Path, journal: &Journal) -> Result<()> {
    let names: std::collections::BTreeSet<&String> = journal.old.keys().chain(journal.new.keys()).collect();
    for spelled in names {
        let name = name_of(spelled)?;
        let (here, there) = (root.join(&name), new.join(&name));
        match (journal.old.contains_key(spelled), journal.new.contains_key(spelled)) {
            (true, true) => exchange(&here, &there).map_err(|f| f.error)?,
            (true, false) => rename(&here, &there)?,
            _ => rename(&there, &here)?,
        }
    }
    Ok(())
}

/// The root stays, so it takes over owner, mode and time of the folder that was restored for it.
fn take_attributes(root: &Path, new: &Path) -> Result<()> {
    let what = || format!("attributes of {}", root.display());
    let meta = fs::symlink_metadata(new).context(Kind::Io, what())?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root, Some(meta.uid()), Some(meta.gid())).context(Kind::Io, what())?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(meta.mode() & 0o7777)).context(Kind::Io, what())
}

/// Undoes an exchange that a crash cut off; nothing to do is the usual case.
///
/// What was moved aside then holds restored data only, and is removed.
pub(super) fn undo_unfinished(target: &Target) -> Result<()> {
    let Target::Contents(root) = target else { return Ok(()) };
    if let Some(journal) = read_journal(root)? {
        undo(root, &journal)?;
        remove(journal.aside.parent().unwrap_or(&journal.aside))?;
    }
    Ok(())
}

/// Tells whether an exchange was cut off in this folder, so that it is neither the old nor the new one.
pub(super) fn is_unfinished(root: &Path) -> bool {
    fs::symlink_metadata(journal_of(root)).is_ok()
}

/// Brings each old entry back to its place, found by its inode wherever it is; may be repeated after a crash of its own.
fn undo(root: &Path, journal: &Journal) -> Result<()> {
    let aside = &journal.aside;
    for (spelled, inode) in &journal.new {
        let here = root.join(name_of(spelled)?);
        if inode_of(&here) == Some(*inode) {
            rename(&here, &aside.join(format!("{PASSING}undone-{inode}")))?;
        }
    }
    for (spelled, inode) in &journal.old {
        let name = name_of(spelled)?;
        let (here, there) = (root.join(&name), aside.join(&name));
        if inode_of(&here) == Some(*inode) {
            continue;
        }
        if inode_of(&there) != Some(*inode) {
            let what = format!("{} is neither in its place nor in {}", here.display(), aside.display());
            return Err(Error::new(Kind::Io, what));
        }
        rename(&there, &here)?;
    }
    sync(root)?;
    remove_journal(root)
}

fn inodes(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let what = || format!("folder {}", folder.display());
    let mut out = BTreeMap::new();
    for item in fs::read_dir(folder).context(Kind::Io, what())? {
        let item = item.context(Kind::Io, what())?;
        let name = item.file_name();
        let name = std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str());
        if !name.starts_with(OWN_PREFIX.as_bytes()) {
            out.insert(spell(name), item.metadata().context(Kind::Io, what())?.ino());
        }
    }
    Ok(out)
}

pub(super) fn inode_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|m| m.ino())
}

fn name_of(spelled: &str) -> Result<OsString> {
    let bytes = unspell(spelled).filter(|b| !b.contains(&b'/'));
    let bytes =
        bytes.ok_or_else(|| Error::new(Kind::Damaged, format!("{spelled:?} in a journal is no name")))?;
    Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

/// The journal lies above the target: a tenant cannot write there, so cannot make us rename or remove anything.
fn journal_of(root: &Path) -> PathBuf {
    let mut name = OsString::from(format!("{OWN_PREFIX}swap-"));
    name.push(root.file_name().unwrap_or_default());
    name.push(".json");
    root.with_file_name(name)
}

fn write_journal(root: &Path, journal: &Journal) -> Result<()> {
    let (file, folder) = (journal_of(root), root.parent().unwrap_or(root));
    let what = || format!("journal {}", file.display());
    let json = serde_json::to_vec(journal).context(Kind::Bug, what())?;
    let mut temp =
        tempfile::Builder::new().prefix(OWN_PREFIX).tempfile_in(folder).context(Kind::Io, what())?;
    std::io::Write::write_all(&mut temp, &json).context(Kind::Io, what())?;
    temp.as_file().sync_all().context(Kind::Io, what())?;
    temp.persist(&file).context(Kind::Io, what())?;
    sync(folder)
}

fn read_journal(root: &Path) -> Result<Option<Journal>> {
    let file = journal_of(root);
    let what = || format!("journal {}", file.display());
    match fs::read(&file) {
        Ok(json) => serde_json::from_slice(&json).context(Kind::Damaged, what()).map(Some),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::new(Kind::Io, what()).caused_by(e)),
    }
}

fn remove_journal(root: &Path) -> Result<()> {
    let file = journal_of(root);
    fs::remove_file(&file).context(Kind::Io, format!("journal {}", file.display()))?;
    sync(root.parent().unwrap_or(root))
}

/// Renames to a name that must be free: nothing is ever written over.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot rename {} to {}", from.display(), to.display());
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(Error::new(Kind::Conflict, what()));
            }
            fs::rename(from, to).context(Kind::Io, what())
        }
        other => other.context(Kind::Io, what()),
    }
}

pub(super) fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).context(Kind::Io, format!("folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with old entries and a staging folder with new ones; `both` is in both.
    fn scene(whole: bool) -> (tempfile::TempDir, PathBuf, Staging) {
        let around = tempfile::tempdir().unwrap();
        let site = around.path().join("site");
        fs::create_dir(&site).unwrap();
        for name in ["both", "old"] {
            fs::write(site.join(name), "old").unwrap();
        }
        let target = if whole { Target::Folder(site.clone()) } else { Target::Contents(site.clone()) };
        let staging = Staging::make(target).unwrap();
        for name in ["both", "new"] {
            fs::write(staging.folder().join(name), "new").unwrap();
        }
        (around, site, staging)
    }

    fn read(folder: &Path) -> BTreeMap<String, String> {
        let entry = |e: std::io::Result<fs::DirEntry>| {
            let e = e.unwrap();
            (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap())
        };
        fs::read_dir(folder).unwrap().map(entry).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn all(names: [&str; 2], content: &str) -> BTreeMap<String, String> {
        names.map(|n| (n.to_owned(), content.to_owned())).into()
    }

    #[test]
    fn the_new_takes_the_place_and_the_old_lies_aside_one_folder_deeper() {
        for whole in [true, false] {
            let (around, site, staging) = scene(whole);
            let inode = inode_of(&site);
            let aside = swap(staging, "20261123t020000z").unwrap().unwrap();
            assert_eq!(aside, around.path().join("site.before-20261123t020000z/site"));
            assert_eq!(read(&site), all(["both", "new"], "new"));
            assert_eq!(read(&aside), all(["both", "old"], "old"));
            assert_eq!(names(around.path()), ["site", "site.before-20261123t020000z"]);
            assert_eq!(inode_of(&site) == inode, !whole, "a volume's root stays the same folder");
        }
    }

    #[test]
    fn where_nothing_was_nothing_is_left_aside() {
        for whole in [true, false] {
            let (around, site, staging) = scene(whole);
            if whole {
                fs::remove_dir_all(&site).unwrap();
            } else {
                fs::remove_file(site.join("both")).unwrap();
                fs::remove_file(site.join("old")).unwrap();
            }
            assert_eq!(swap(staging, "x").unwrap(), None);
            assert_eq!(read(&site), all(["both", "new"], "new"));
            assert_eq!(names(around.path()), ["site"]);
        }
    }

    #[test]
    fn a_place_that_is_taken_fails_the_swap_and_changes_nothing() {
        for whole in [true, false] {
            let (around, site, staging) = scene(whole);
            fs::create_dir(around.path().join("site.before-x")).unwrap();
            assert!(swap(staging, "x").is_err());
            assert_eq!(read(&site), all(["both", "old"], "old"));
            assert_eq!(names(around.path()), ["site", "site.before-x"]);
        }
    }

    #[test]
    fn a_restore_that_is_given_up_leaves_nothing_behind() {
        let (around, _, staging) = scene(true);
        drop(staging);
        assert_eq!(names(around.path()), ["site"]);
    }

    /// Does the first `steps` renames of an exchange and then nothing more, as a kill would.
    fn killed_after(steps: usize) -> (tempfile::TempDir, Target, PathBuf) {
        let (around, site, mut staging) = scene(false);
        let before = staging.target.before("x").unwrap();
        rename(&staging.wrapping, &before).unwrap();
        staging.keep();
        let new = before.join("site");
        let journal = Journal { aside: new.clone(), old: inodes(&site).unwrap(), new: inodes(&new).unwrap() };
        write_journal(&site, &journal).unwrap();
        let (here, there) = (site.join("both"), new.join("both"));
        let three = [
            (there.clone(), passing(&there)),
            (here.clone(), there.clone()),
            (passing(&there), here),
            (new.join("new"), site.join("new")),
            (site.join("old"), new.join("old")),
        ];
        three.iter().take(steps).for_each(|(from, to)| rename(from, to).unwrap());
        (around, staging.target.clone(), site)
    }

    #[test]
    fn a_kill_at_any_rename_is_undone_by_the_next_restore() {
        for steps in 0..=5 {
            let (around, target, site) = killed_after(steps);
            assert!(is_unfinished(&site));
            undo_unfinished(&target).unwrap();
            assert_eq!(read(&site), all(["both", "old"], "old"), "after {steps} renames");
            assert_eq!(names(around.path()), ["site"]);
            assert!(!is_unfinished(&site));
        }
    }

    #[test]
    fn without_a_journal_nothing_is_exchanged() {
        let (around, site, staging) = scene(false);
        let journal = journal_of(&site);
        fs::create_dir(&journal).unwrap();
        assert!(swap(staging, "x").is_err());
        assert_eq!(read(&site), all(["both", "old"], "old"));
        fs::remove_dir(journal).unwrap();
        assert_eq!(names(around.path()), ["site"]);
    }

    #[test]
    fn three_renames_do_what_one_exchange_does() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "a").unwrap();
        fs::write(&b, "b").unwrap();
        exchange_by_three(&a, &b).map_err(|f| f.error).unwrap();
        assert_eq!(
            (fs::read_to_string(&a).unwrap(), fs::read_to_string(&b).unwrap()),
            ("b".into(), "a".into())
        );
        assert_eq!(names(folder.path()), ["a", "b"]);
    }
}
