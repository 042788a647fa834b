//! Members of an archive back to their places on the host: all staged first, then swapped in.
//!
//! Owns that a file is there whole, old or new, at every moment, and that what it replaces was copied aside. Staged files
//! bear names that no server picks up from a watched folder (CoreDNS takes any name with `db.` in it, Traefik by extension), and
//! what is replaced is copied to another folder for the same reason.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use crate::component::archive::{Archive, Member};
use crate::component::files::OWN_PREFIX;
use crate::error::{Context, Error, Kind, Result};

/// Files that are written and wait beside their places; dropped, they are removed.
#[derive(Debug)]
pub struct Staged {
    files: Vec<StagedFile>,
}

#[derive(Debug)]
struct StagedFile {
    name: String,
    place: PathBuf,
    staged: TempPath,
}

/// Writes members beside the places given for them; folders above a place are made. From a blocking thread.
///
/// A name that the archive does not hold is a [`Kind::NotFound`].
pub fn stage(archive: &Archive, places: &BTreeMap<String, PathBuf>) -> Result<Staged> {
    let mut files = Vec::new();
    for (name, place) in places {
        let member = archive
            .get(name)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("the backup holds no {name:?}")))?;
        let staged = write_beside(place, member)?;
        files.push(StagedFile { name: name.clone(), place: place.clone(), staged });
    }
    Ok(Staged { files })
}

impl Staged {
    /// Lets all files take their places; whatever stood there is gone. From a blocking thread.
    pub(in crate::component) fn persist(self) -> Result<()> {
        self.files.into_iter().try_for_each(|StagedFile { place, staged, .. }| {
            staged.persist(&place).map_err(|e| e.error).context(Kind::Io, place.display())?;
            sync_above(&place)
        })
    }

    /// Lets all files take their places; what they replace is first copied below `aside`, under its member's name.
    ///
    /// Returns the copies. A link in a file's place is replaced, not followed. After a fault, what was replaced is put back from
    /// the copies. From a blocking thread.
    pub fn swap(self, aside: &Path) -> Result<Vec<PathBuf>> {
        let mut copies = Vec::new();
        for StagedFile { name, place, .. } in &self.files {
            let copy = aside.join(name);
            copies.push(copy_aside(place, &copy)?.then_some(copy));
        }
        let mut done: Vec<(PathBuf, Option<PathBuf>)> = Vec::new();
        for (StagedFile { place, staged, .. }, copy) in self.files.into_iter().zip(&copies) {
            if let Err(e) = staged.persist(&place) {
                let e =
                    Error::new(Kind::Io, format!("cannot replace {}", place.display())).caused_by(e.error);
                return Err(put_back(&done, e));
            }
            done.push((place, copy.clone()));
        }
        for (place, _) in &done {
            sync_above(place).map_err(|e| put_back(&done, e))?;
        }
        Ok(copies.into_iter().flatten().collect())
    }
}

/// A member that waits beside its place; its fields are to be written down, since they find it again.
///
/// Each step may be repeated after a kill. All of it is for a blocking thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The member's name.
    pub name: String,
    /// Where it belongs.
    pub place: PathBuf,
    staged: PathBuf,
    /// Where what it replaces is copied.
    copy: PathBuf,
}

impl Waiting {
    /// Names where members will wait and what they replace will be copied, below `aside`; `mark` tells them from others'.
    pub fn all(places: &BTreeMap<String, PathBuf>, aside: &Path, mark: &str) -> Vec<Waiting> {
        let one = |(n, (name, place)): (usize, (&String, &PathBuf))| Waiting {
            name: name.clone(),
            place: place.clone(),
            // Without any part of its own name, by which a server could take it up.
            staged: place.with_file_name(format!("{OWN_PREFIX}{mark}-{n}")),
            copy: aside.join(name),
        };
        places.iter().enumerate().map(one).collect()
    }

    /// Writes the member beside its place, whole and synced.
    pub fn write(&self, archive: &Archive) -> Result<()> {
        let member = archive
            .get(&self.name)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("the backup holds no {:?}", self.name)))?;
        let what = || format!("cannot write beside {}", self.place.display());
        if let Some(folder) = self.staged.parent() {
            fs::create_dir_all(folder).context(Kind::Io, what())?;
        }
        // Under a name that is known: what a kill leaves half written is found again.
        let half = self.staged.with_added_extension("half");
        remove(&half)?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&half);
        fill(&mut file.context(Kind::Io, what())?, member).context(Kind::Io, what())?;
        fs::rename(&half, &self.staged).context(Kind::Io, what())?;
        sync_above(&self.staged)
    }

    /// Lets it take its place, once what is there has been copied aside.
    pub fn take_place(&self) -> Result<()> {
        if !there(&self.staged) {
            return Ok(());
        }
        if !there(&self.copy) {
            let half = self.copy.with_added_extension("half");
            remove(&half)?;
            if copy_aside(&self.place, &half)? {
                fs::rename(&half, &self.copy).context(Kind::Io, self.copy.display())?;
                sync_above(&self.copy)?;
            }
        }
        fs::rename(&self.staged, &self.place).context(Kind::Io, self.place.display())?;
        sync_above(&self.place)
    }

    /// Puts the copy back, or removes what stands where nothing was.
    pub fn give_back(&self) -> Result<()> {
        if there(&self.copy) {
            let half = self.staged.with_added_extension("half");
            remove(&half)?;
            copy_aside(&self.copy, &half)?;
            fs::rename(&half, &self.place).context(Kind::Io, self.place.display())?;
            return sync_above(&self.place);
        }
        match there(&self.staged) {
            true => Ok(()),
            false => remove(&self.place).and_then(|()| sync_above(&self.place)),
        }
    }

    /// Removes what still waits.
    pub fn remove_staged(&self) -> Result<()> {
        remove(&self.staged.with_added_extension("half"))?;
        remove(&self.staged)
    }

    /// Removes the copy, and the folders that were made for it where nothing else lies in them.
    pub fn remove_copy(&self) -> Result<()> {
        remove(&self.copy)?;
        remove(&self.copy.with_added_extension("half"))?;
        let folders = self.copy.ancestors().skip(1).take(Path::new(&self.name).components().count());
        folders.map_while(|folder| fs::remove_dir(folder).ok()).for_each(drop);
        Ok(())
    }

    /// Tells whether something lies aside.
    pub fn replaced(&self) -> bool {
        there(&self.copy)
    }
}

fn there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context(Kind::Io, path.display()),
        _ => Ok(()),
    }
}

fn put_back(done: &[(PathBuf, Option<PathBuf>)], cause: Error) -> Error {
    for (place, copy) in done.iter().rev() {
        let back = match copy {
            Some(copy) => fs::remove_file(place)
                .context(Kind::Io, "")
                .and_then(|()| copy_aside(copy, place).map(|_| ())),
            None => fs::remove_file(place).context(Kind::Io, ""),
        };
        if back.is_err() {
            let hint = copy.as_ref().map_or_else(
                || format!("remove {}", place.display()),
                |copy| format!("copy {} back to {}", copy.display(), place.display()),
            );
            return cause.hint(hint);
        }
    }
    cause
}

/// Copies a file or link to a name that must be free; tells whether there was one.
fn copy_aside(place: &Path, copy: &Path) -> Result<bool> {
    let what = || format!("cannot copy {} to {}", place.display(), copy.display());
    let meta = match fs::symlink_metadata(place) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::new(Kind::Io, what()).caused_by(e)),
    };
    if let Some(folder) = copy.parent().filter(|f| !f.exists()) {
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700)
            .create(folder)
            .context(Kind::Io, what())?;
    }
    if meta.is_symlink() {
        let target = fs::read_link(place).context(Kind::Io, what())?;
        symlink(target, copy).context(Kind::Io, what())?;
        return sync_above(copy).map(|()| true);
    }
    let content = fs::read(place).context(Kind::Io, what())?;
    let mut file =
        File::options().write(true).create_new(true).mode(0o600).open(copy).context(Kind::Io, what())?;
    file.write_all(&content).context(Kind::Io, what())?;
    let member = Member {
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: meta.mtime(),
        content: content.into(),
    };
    attributes(&file, &member).context(Kind::Io, what())?;
    file.sync_all().context(Kind::Io, what())?;
    sync_above(copy).map(|()| true)
}

fn write_beside(place: &Path, member: &Member) -> Result<TempPath> {
    let what = || format!("cannot write beside {}", place.display());
    let folder = place.parent().ok_or_else(|| Error::new(Kind::Io, what()))?;
    fs::create_dir_all(folder).context(Kind::Io, what())?;
    let mut temp: NamedTempFile = tempfile::Builder::new()
        .prefix(OWN_PREFIX)
        .rand_bytes(8)
        .tempfile_in(folder)
        .context(Kind::Io, what())?;
    fill(temp.as_file_mut(), member).context(Kind::Io, what())?;
    Ok(temp.into_temp_path())
}

fn fill(file: &mut File, member: &Member) -> std::io::Result<()> {
    file.write_all(&member.content)?;
    attributes(file, member)?;
    file.sync_all()
}

fn attributes(file: &File, member: &Member) -> std::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(file, Some(member.uid), Some(member.gid))?;
    }
    file.set_permissions(fs::Permissions::from_mode(member.mode & 0o7777))?;
    // What was generated has no time of its own.
    match u64::try_from(member.mtime) {
        Ok(seconds @ 1..) => file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        _ => Ok(()),
    }
}

fn sync_above(place: &Path) -> Result<()> {
    let folder = place.parent().unwrap_or(place);
    File::open(folder).and_then(|f| f.sync_all()).context(Kind::Io, format!("folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive
            .insert("a", Member { mode: 0o640, mtime: 1_600_000_000, ..Member::generated("new a") })
            .unwrap();
        archive.insert("x/b", Member::generated("new b")).unwrap();
        archive
    }

    fn places(root: &Path) -> BTreeMap<String, PathBuf> {
        [("a".into(), root.join("etc/a")), ("x/b".into(), root.join("etc/deep/b"))].into()
    }

    #[test]
    fn files_take_their_places_and_what_they_replace_is_copied_aside() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/a"), "old a").unwrap();
        let staged = stage(&archive(), &places(root.path())).unwrap();
        assert_eq!(fs::read(root.path().join("etc/a")).unwrap(), b"old a", "nothing changes before the swap");
        let copies = staged.swap(&root.path().join("aside")).unwrap();
        assert_eq!(copies, [root.path().join("aside/a")]);
        assert_eq!(fs::read(&copies[0]).unwrap(), b"old a");
        let meta = fs::metadata(root.path().join("etc/a")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0o640, 1_600_000_000));
        assert_eq!(fs::read(root.path().join("etc/deep/b")).unwrap(), b"new b");
        assert_eq!(fs::metadata(root.path().join("etc/deep/b")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(root.path().join("etc")).unwrap().count(), 2);
    }

    #[test]
    fn a_link_in_the_place_is_replaced_and_what_it_led_to_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("victim"), "untouched").unwrap();
        symlink("../victim", root.path().join("etc/a")).unwrap();
        let copies =
            stage(&archive(), &places(root.path())).unwrap().swap(&root.path().join("aside")).unwrap();
        assert_eq!(fs::read(root.path().join("victim")).unwrap(), b"untouched");
        assert!(!fs::symlink_metadata(root.path().join("etc/a")).unwrap().is_symlink());
        assert_eq!(fs::read_link(&copies[0]).unwrap(), Path::new("../victim"));
    }

    #[test]
    fn given_up_or_failed_halfway_all_is_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/deep/b")).unwrap();
        fs::write(root.path().join("etc/a"), "old a").unwrap();
        drop(stage(&archive(), &places(root.path())).unwrap());
        assert_eq!(fs::read_dir(root.path().join("etc")).unwrap().count(), 2);
        // A folder stands in the place of the second file.
        assert!(stage(&archive(), &places(root.path())).unwrap().swap(&root.path().join("aside")).is_err());
        assert_eq!(fs::read(root.path().join("etc/a")).unwrap(), b"old a");
        assert_eq!(fs::read_dir(root.path().join("etc/deep")).unwrap().count(), 1);
    }

    #[test]
    fn members_that_wait_take_their_places_and_give_them_back_as_often_as_asked() {
        let root = tempfile::tempdir().unwrap();
        let (old, none) = (root.path().join("etc/a"), root.path().join("etc/deep/b"));
        fs::create_dir_all(root.path().join("etc/deep")).unwrap();
        fs::write(&old, "old a").unwrap();
        let all = Waiting::all(&places(root.path()), &root.path().join("aside"), "s-c");
        for _ in 0..2 {
            all.iter().for_each(|w| w.write(&archive()).unwrap());
            assert_eq!(fs::read(&old).unwrap(), b"old a");
            for _ in 0..2 {
                all.iter().for_each(|w| w.take_place().unwrap());
                assert_eq!(
                    (fs::read(&old).unwrap(), fs::read(&none).unwrap()),
                    (b"new a".into(), b"new b".into())
                );
            }
            assert_eq!(all.iter().filter(|w| w.replaced()).count(), 1);
            for _ in 0..2 {
                all.iter().for_each(|w| w.give_back().unwrap());
                assert_eq!(fs::read(&old).unwrap(), b"old a");
                assert!(!none.exists());
            }
            all.iter().for_each(|w| w.remove_copy().and_then(|()| w.remove_staged()).unwrap());
        }
        assert_eq!(fs::read_dir(root.path().join("etc")).unwrap().count(), 2);
    }

    #[test]
    fn a_member_that_has_not_taken_its_place_gives_nothing_back() {
        let root = tempfile::tempdir().unwrap();
        let all = Waiting::all(&places(root.path()), &root.path().join("aside"), "s-c");
        all.iter().for_each(|w| w.write(&archive()).unwrap());
        all[0].take_place().unwrap();
        all.iter().for_each(|w| w.give_back().unwrap());
        assert!(all.iter().all(|w| !w.place.exists()));
    }

    #[test]
    fn a_member_that_is_not_there_fails_before_anything_is_written() {
        let root = tempfile::tempdir().unwrap();
        let error = stage(&archive(), &[("c".into(), root.path().join("c"))].into()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
