//! Zone files in the folder that CoreDNS watches: found, changed and removed.
//!
//! Owns that a zone is there whole, old or new, at every moment, that two who change it at once do not lose each
//! other's work, and that no other name ever appears in the folder: the `auto` plugin serves whatever its pattern finds in a name,
//! so `db.x.bak` would be a zone, and looks into folders below too.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::component::files::OWN_PREFIX;
use crate::error::{Context, Error, Kind, Result};
use crate::lock;

/// How long another change of the same folder may take.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// The most that a zone file may hold, in bytes.
const ZONE_BYTES: u64 = 16 * 1024 * 1024;

/// Finds the file of a zone: `db.NAME`, `NAME`, `NAME.zone` or `NAME.db`; none where there is none yet.
///
/// [`Kind::Conflict`] where there are two, since it is not known which of them is served.
pub fn find(folder: &Path, zone: &str) -> Result<Option<PathBuf>> {
    let zone = zone.trim_end_matches('.');
    let names = [format!("db.{zone}"), zone.to_owned(), format!("{zone}.zone"), format!("{zone}.db")];
    let mut found: Vec<PathBuf> =
        names.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect();
    if let [first, second, ..] = &found[..] {
        let what = format!("{} and {} could both be zone {zone}", first.display(), second.display());
        return Err(Error::new(Kind::Conflict, what).hint("keep the one that is served"));
    }
    Ok(found.pop())
}

/// Returns where the file of a new zone goes: the name that CoreDNS's `auto` plugin takes without a pattern of one's own.
pub fn place_of_new(folder: &Path, zone: &str) -> PathBuf {
    folder.join(format!("db.{}", zone.trim_end_matches('.')))
}

/// Reads a zone file.
pub fn read(path: &Path) -> Result<String> {
    let what = || format!("zone file {}", path.display());
    let size = fs::metadata(path).context(Kind::Io, what())?.len();
    if size > ZONE_BYTES {
        return Err(Error::new(Kind::Source, format!("{} is longer than a zone file is", what())));
    }
    fs::read_to_string(path).context(Kind::Io, what())
}

/// Changes a zone file, or makes it where `change` is given none; tells whether anything was written. From a blocking thread.
///
/// `change` gets the text that is there and returns the new one, or none to leave it. It is called again where somebody else
/// wrote the file meanwhile.
pub fn change(path: &Path, mut change: impl FnMut(Option<&str>) -> Result<Option<String>>) -> Result<bool> {
    // A link is followed: the operator may keep the zones elsewhere.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let _held = hold(folder_of(&path)?)?;
    loop {
        let there = if path.exists() { Some(read(&path)?) } else { None };
        let Some(new) = change(there.as_deref())? else { return Ok(false) };
        if there.as_deref() == Some(&new) {
            return Ok(false);
        }
        let staged = stage(&path, &new)?;
        let now = if path.exists() { Some(read(&path)?) } else { None };
        if now == there {
            return put(&path, staged).map(|()| true);
        }
    }
}

/// Removes a zone file where `is_ours` says so of its text; tells whether it did. From a blocking thread.
pub fn remove(path: &Path, is_ours: impl FnOnce(&str) -> bool) -> Result<bool> {
    let _held = hold(folder_of(path)?)?;
    if !path.exists() || !is_ours(&read(path)?) {
        return Ok(false);
    }
    fs::remove_file(path).context(Kind::Io, format!("zone file {}", path.display()))?;
    sync(folder_of(path)?).map(|()| true)
}

fn folder_of(path: &Path) -> Result<&Path> {
    path.parent().ok_or_else(|| Error::new(Kind::Io, format!("{} is no file", path.display())))
}

/// Keeps others from changing the folder's zones; the lock is on the folder itself, so that no file is made for it.
fn hold(folder: &Path) -> Result<File> {
    let what = || format!("folder {} of zones", folder.display());
    let file = File::open(folder).context(Kind::Io, what())?;
    let since = Instant::now();
    while !lock::exclusive(&file).context(Kind::Io, what())? {
        if since.elapsed() > LOCK_LIMIT {
            return Err(Error::new(Kind::Locked, format!("{} is being changed by somebody else", what())));
        }
    }
    Ok(file)
}

/// Writes the new text to a file in another folder of the same file system, with the owner and mode of the old one.
fn stage(path: &Path, text: &str) -> Result<NamedTempFile> {
    let what = || format!("cannot write beside zone file {}", path.display());
    let folder = folder_of(path)?;
    let mut temp = temp_outside(folder).context(Kind::Io, what())?;
    temp.write_all(text.as_bytes()).context(Kind::Io, what())?;
    let there = fs::metadata(path).ok();
    let mode = there.as_ref().map_or(0o644, |m| m.mode() & 0o7777);
    if rustix::process::geteuid().is_root() {
        let of = there.unwrap_or(fs::metadata(folder).context(Kind::Io, what())?);
        std::os::unix::fs::fchown(temp.as_file(), Some(of.uid()), Some(of.gid()))
            .context(Kind::Io, what())?;
    }
    temp.as_file().set_permissions(fs::Permissions::from_mode(mode)).context(Kind::Io, what())?;
    temp.as_file().sync_all().context(Kind::Io, what())?;
    Ok(temp)
}

/// Makes a file in the folder above where that is of the same file system and can be written, else in one below.
fn temp_outside(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(OWN_PREFIX).rand_bytes(12);
    let device = fs::metadata(folder)?.dev();
    let above = folder.parent().filter(|f| fs::metadata(f).is_ok_and(|m| m.dev() == device));
    if let Some(temp) = above.and_then(|f| builder.tempfile_in(f).ok()) {
        return Ok(temp);
    }
    let below = folder.join(format!("{OWN_PREFIX}staging"));
    fs::create_dir_all(&below)?;
    builder.tempfile_in(below)
}

fn put(path: &Path, staged: NamedTempFile) -> Result<()> {
    let from = staged.path().parent().map(Path::to_path_buf);
    staged
        .persist(path)
        .map_err(|e| e.error)
        .context(Kind::Io, format!("cannot replace zone file {}", path.display()))?;
    let folder = folder_of(path)?;
    if let Some(from) = from.filter(|f| f.starts_with(folder) && f != folder) {
        // Left behind, it holds nothing.
        fs::remove_dir(from).ok();
    }
    sync(folder)
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).context(Kind::Io, format!("folder {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn zones() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("zones");
        fs::create_dir(&folder).unwrap();
        (root, folder)
    }

    #[test]
    fn a_zone_is_found_under_the_names_that_operators_give_and_two_are_a_conflict() {
        let (_root, folder) = zones();
        assert_eq!(find(&folder, "x.org").unwrap(), None);
        fs::write(folder.join("x.org.zone"), "").unwrap();
        assert_eq!(find(&folder, "x.org.").unwrap(), Some(folder.join("x.org.zone")));
        fs::write(folder.join("db.x.org"), "").unwrap();
        assert_eq!(find(&folder, "x.org").unwrap_err().kind(), Kind::Conflict);
    }

    #[test]
    fn a_change_keeps_the_mode_and_no_other_name_is_ever_seen_in_the_folder() {
        let (_root, folder) = zones();
        let path = folder.join("db.x.org");
        fs::write(&path, "0").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let watching = std::thread::spawn({
            let (over, folder) = (Arc::clone(&over), folder.clone());
            move || {
                let mut seen = std::collections::BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    seen.extend(fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()));
                }
                seen
            }
        });
        for n in 1..200 {
            assert!(change(&path, |_| Ok(Some(n.to_string()))).unwrap());
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(watching.join().unwrap().into_iter().collect::<Vec<_>>(), ["db.x.org"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "199");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert!(!change(&path, |_| Ok(Some("199".to_owned()))).unwrap(), "the same again is not written");
        assert!(!change(&path, |_| Ok(None)).unwrap());
    }

    #[test]
    fn many_who_change_one_zone_at_once_lose_nothing() {
        let (_root, folder) = zones();
        let path = folder.join("db.x.org");
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let path = path.clone();
                std::thread::spawn(move || {
                    change(&path, |there| Ok(Some(format!("{}{n}\n", there.unwrap_or_default())))).unwrap()
                })
            })
            .collect();
        assert!(threads.into_iter().all(|t| t.join().unwrap()));
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    }

    #[test]
    fn what_an_editor_writes_meanwhile_is_seen() {
        let (_root, folder) = zones();
        let path = folder.join("db.x.org");
        fs::write(&path, "a").unwrap();
        let mut calls = 0;
        change(&path, |there| {
            calls += 1;
            if calls == 1 {
                fs::write(&path, "edited").unwrap();
            }
            Ok(Some(format!("{}+", there.unwrap())))
        })
        .unwrap();
        assert_eq!((calls, fs::read_to_string(&path).unwrap().as_str()), (2, "edited+"));
    }

    #[test]
    fn a_link_is_followed_and_only_what_is_ours_is_removed() {
        let (root, folder) = zones();
        let real = root.path().join("kept");
        fs::write(&real, "a").unwrap();
        std::os::unix::fs::symlink(&real, folder.join("db.x.org")).unwrap();
        change(&folder.join("db.x.org"), |_| Ok(Some("b".to_owned()))).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "b");
        assert!(fs::symlink_metadata(folder.join("db.x.org")).unwrap().is_symlink());
        assert!(!remove(&folder.join("db.x.org"), |text| text == "a").unwrap());
        assert!(remove(&folder.join("db.x.org"), |text| text == "b").unwrap());
        assert!(!remove(&folder.join("db.x.org"), |_| true).unwrap());
    }
}
