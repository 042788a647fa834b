//! Something restored that waits beside its place, takes it, and gives it back: as often as asked, also after a kill.
//!
//! Owns the two renames and how they are told apart afterwards: by the inode of what was restored. Nothing is dropped here
//! but on request. Who writes to the place meanwhile is the caller's matter: nobody should.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::staging::{Staging, Target, remove};
use super::swap::{exchange, inode_of, passing, rename, sync};
use crate::error::{Context, Error, Kind, Result};

/// A file or folder that is whole and waits; its fields are to be written down, since they find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Where it belongs.
    pub place: PathBuf,
    /// Where it waits; once it is in its place, what was there before lies here.
    pub waiting: PathBuf,
    /// What goes with `waiting` in the end: itself, or the folder around it.
    pub wrapping: PathBuf,
    /// The restored entry's inode.
    pub inode: u64,
    /// Whether something is in the place.
    pub replaces: bool,
}

impl Parked {
    /// Parks what stands ready at `waiting`, on the place's own file system; all of it is on the disk when this returns.
    pub fn of(place: PathBuf, waiting: PathBuf, wrapping: PathBuf) -> Result<Parked> {
        let what = || format!("what waits at {}", waiting.display());
        let inode = inode_of(&waiting).ok_or_else(|| Error::new(Kind::Io, what()))?;
        let file = File::open(&waiting).context(Kind::Io, what())?;
        rustix::fs::syncfs(&file).context(Kind::Io, what())?;
        let replaces = fs::symlink_metadata(&place).is_ok();
        Ok(Parked { place, waiting, wrapping, inode, replaces })
    }

    /// Lets it take its place; what was there waits instead. Done already, it does nothing.
    pub fn take_place(&self) -> Result<()> {
        self.settle()?;
        if inode_of(&self.place) == Some(self.inode) {
            return self.sync();
        }
        if inode_of(&self.waiting) != Some(self.inode) {
            return Err(Error::new(
                Kind::Conflict,
                format!("{} is not what was left there", self.waiting.display()),
            )
            .hint("somebody moved it: put it back, or take the restore back with --undo"));
        }
        self.change()
    }

    /// Puts back what was there before. Done already, it does nothing.
    ///
    /// `taken` says that it had taken its place for certain: then whatever stands there now gives way.
    pub fn give_back(&self, taken: bool) -> Result<()> {
        self.settle()?;
        if inode_of(&self.waiting) == Some(self.inode) {
            return self.sync();
        }
        let here = inode_of(&self.place);
        if here != Some(self.inode) && !(taken && self.old_waits()) {
            // Nothing of ours stands anywhere: it was given back and removed, or never came.
            return match fs::symlink_metadata(&self.waiting) {
                Err(_) => Ok(()),
                Ok(_) => Err(Error::new(Kind::Conflict, format!("{} is not known", self.place.display()))
                    .hint(format!("what was there before is {}", self.waiting.display()))),
            };
        }
        self.change()
    }

    fn old_waits(&self) -> bool {
        self.replaces && fs::symlink_metadata(&self.waiting).is_ok()
    }

    /// Lets what is in the place and what waits change places, or moves the one that is there.
    fn change(&self) -> Result<()> {
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        match (there(&self.place), there(&self.waiting)) {
            (true, true) => exchange(&self.place, &self.waiting).map_err(|f| f.error)?,
            (true, false) => rename(&self.place, &self.waiting)?,
            (false, _) => rename(&self.waiting, &self.place)?,
        }
        self.sync()
    }

    /// Ends an exchange by three renames that a kill cut off: what passes goes where nothing is.
    fn settle(&self) -> Result<()> {
        let passing = passing(&self.waiting);
        if fs::symlink_metadata(&passing).is_err() {
            return Ok(());
        }
        match fs::symlink_metadata(&self.place) {
            Err(_) => rename(&passing, &self.place),
            Ok(_) => rename(&passing, &self.waiting),
        }
    }

    fn sync(&self) -> Result<()> {
        [&self.place, &self.waiting].into_iter().try_for_each(|path| match path.parent() {
            Some(folder) if folder.exists() => sync(folder),
            _ => Ok(()),
        })
    }

    /// Removes what waits, whatever it is by now.
    pub fn remove(&self) -> Result<()> {
        match fs::symlink_metadata(&self.wrapping) {
            Err(_) => Ok(()),
            Ok(meta) if meta.is_dir() => remove(&self.wrapping),
            Ok(_) => fs::remove_file(&self.wrapping)
                .context(Kind::Io, format_args!("cannot remove {}", self.wrapping.display())),
        }
    }

    /// Returns how many bytes the files hold that wait.
    pub fn waiting_bytes(&self) -> u64 {
        fn below(path: &Path) -> u64 {
            let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
            if !meta.is_dir() {
                return meta.len();
            }
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| below(&entry.path())).sum()
        }
        below(&self.waiting)
    }
}

/// Parks a restored folder under the name that the old one will have.
pub(super) fn park(mut staging: Staging, stamp: &str) -> Result<Parked> {
    let before = staging.target.before(stamp)?;
    rename(&staging.wrapping, &before)?;
    staging.keep();
    let (place, waiting) = (staging.target.path().to_owned(), before.join(staging.target.name()));
    Parked::of(place, waiting, before)
}

/// Removes what a restore of this folder under this stamp left that was cut off before it was parked, or right after.
pub fn sweep(folder: &Path, stamp: &str) -> Result<()> {
    let target = Target::Folder(folder.to_owned());
    remove(&target.staging()?)?;
    remove(&target.before(stamp)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(old: bool) -> (tempfile::TempDir, Parked) {
        let around = tempfile::tempdir().unwrap();
        let site = around.path().join("site");
        if old {
            fs::create_dir(&site).unwrap();
            fs::write(site.join("a"), "old").unwrap();
        }
        let staging = Staging::make(Target::Folder(site)).unwrap();
        fs::write(staging.folder().join("a"), "new").unwrap();
        (around, park(staging, "s").unwrap())
    }

    fn content(folder: &Path) -> Option<String> {
        fs::read_to_string(folder.join("a")).ok()
    }

    #[test]
    fn it_takes_its_place_and_gives_it_back_as_often_as_asked() {
        let (around, parked) = scene(true);
        for _ in 0..2 {
            for _ in 0..2 {
                parked.take_place().unwrap();
                assert_eq!(content(&parked.place).unwrap(), "new");
                assert_eq!(content(&parked.waiting).unwrap(), "old");
            }
            for _ in 0..2 {
                parked.give_back(false).unwrap();
                assert_eq!(content(&parked.place).unwrap(), "old");
            }
        }
        parked.remove().unwrap();
        parked.give_back(true).unwrap();
        assert_eq!(content(&parked.place).unwrap(), "old", "given back and removed, there is nothing to do");
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_nothing_was_nothing_is_left_after_it_was_given_back() {
        let (around, parked) = scene(false);
        parked.take_place().unwrap();
        assert_eq!(content(&parked.place).unwrap(), "new");
        parked.give_back(true).unwrap();
        assert!(!parked.place.exists());
        parked.remove().unwrap();
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_exchange_cut_off_at_any_of_its_three_renames_goes_either_way() {
        for steps in 0..=3 {
            for forward in [true, false] {
                let (_around, parked) = scene(true);
                let passing = passing(&parked.waiting);
                let three = [
                    (&parked.waiting, &passing),
                    (&parked.place, &parked.waiting),
                    (&passing, &parked.place),
                ];
                three.iter().take(steps).for_each(|(from, to)| rename(from, to).unwrap());
                let wanted = if forward {
                    parked.take_place().unwrap();
                    "new"
                } else {
                    parked.give_back(false).unwrap();
                    "old"
                };
                assert_eq!(content(&parked.place).unwrap(), wanted, "after {steps} renames");
                assert!(!passing.exists());
            }
        }
    }

    #[test]
    fn a_file_that_an_editor_replaced_gives_way_to_the_old_one_that_waits() {
        let (_around, parked) = scene(true);
        parked.take_place().unwrap();
        fs::rename(&parked.place, parked.place.with_file_name("elsewhere")).unwrap();
        fs::create_dir(&parked.place).unwrap();
        assert!(parked.give_back(false).is_err());
        parked.give_back(true).unwrap();
        assert_eq!(content(&parked.place).unwrap(), "old");
    }
}
