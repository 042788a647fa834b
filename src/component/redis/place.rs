//! Putting dumped files into the data folder of a Redis that does not run.
//!
//! Owns names and order: everything arrives under a staging name and is synced; what was there is moved aside; the new
//! takes its place last. A crash in between leaves the old data beside the staging name, which the next try removes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::io::SyncIoBridge;

use super::manifest::{MANIFEST_LIMIT_BYTES, Manifest, check_name};
use super::{Persistence, RedisRecord};
use crate::component::archive::{EntryKind, Reader, read_error};
use crate::component::{PIECE_BYTES, Source};
use crate::error::{Context, Error, Kind, Result};

/// The folder that the files arrive in.
const STAGING: &str = ".lifeboat-redis";

/// The most entries that a tar of an append-only folder may have.
const ENTRIES_LIMIT: usize = 1000;

/// Puts a dumped stream into `folder`, the data folder on this host of a Redis that does not run.
///
/// What would be loaded instead is moved aside as `<name>.before-<stamp>`; returns those paths. The files get the folder's
/// owner. An RDB for a server that starts from append-only files becomes the base of such, because it would start
/// empty beside it. Fails with [`Kind::Damaged`] for a tar whose files are not those its manifest names, with
/// [`Kind::Conflict`] where something was moved aside under this stamp already.
pub async fn place(folder: &Path, record: &RedisRecord, source: Source, stamp: &str) -> Result<Vec<PathBuf>> {
    let placed = stage(folder, record, source, stamp).await?;
    let moving = tokio::task::spawn_blocking(move || {
        let aside = placed.take_place();
        if aside.is_err() {
            // The error that led here counts.
            placed.remove_staged().ok();
        }
        aside
    });
    moving.await.context(Kind::Bug, "placing files of a redis")?
}

/// Writes a dumped stream below `folder` under a staging name, whole and synced; the Redis may run meanwhile.
pub async fn stage(folder: &Path, record: &RedisRecord, source: Source, stamp: &str) -> Result<Placed> {
    let (folder, record, stamp) = (folder.to_owned(), record.clone(), stamp.to_owned());
    let stream = SyncIoBridge::new(source);
    let staging = tokio::task::spawn_blocking(move || {
        for name in [&record.appenddirname, &record.appendfilename, &record.dbfilename, &stamp] {
            check_name(name)?;
        }
        let place = Place::open(folder)?;
        match place.fill(&record, stream) {
            Ok(name) => Ok(Placed::new(place.folder, name, &record, stamp)),
            Err(e) => {
                // The error that led here counts.
                remove(&place.staging()).ok();
                Err(e)
            }
        }
    });
    staging.await.context(Kind::Bug, "staging files of a redis")?
}

/// Files that wait below a data folder; its fields are to be written down, since they find them again.
///
/// All but [`Placed::remove_staged`] are for while the Redis does not run; each may be repeated after a kill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    folder: PathBuf,
    /// What is to take its place in the folder.
    name: String,
    /// What would be loaded instead, or stand beside it as another state of the same data.
    olds: Vec<String>,
    stamp: String,
}

impl Placed {
    fn new(folder: PathBuf, name: String, record: &RedisRecord, stamp: String) -> Placed {
        // The RDB goes too: nobody should find two states of the same data and wonder which is which.
        let mut olds =
            vec![record.appenddirname.clone(), record.dbfilename.clone(), record.appendfilename.clone()];
        olds.dedup();
        Placed { folder, name, olds, stamp }
    }

    fn staged(&self) -> PathBuf {
        self.folder.join(STAGING).join(&self.name)
    }

    fn before(&self, old: &str) -> PathBuf {
        self.folder.join(format!("{old}.before-{}", self.stamp))
    }

    /// Moves aside what is there and lets the new take its place; returns what lies aside.
    pub fn take_place(&self) -> Result<Vec<PathBuf>> {
        if there(&self.staged()) {
            for old in &self.olds {
                let (from, to) = (self.folder.join(old), self.before(old));
                if !there(&from) {
                    continue;
                }
                if there(&to) {
                    return Err(Error::new(Kind::Conflict, format!("{} is there already", to.display())));
                }
                fs::rename(&from, &to).context(Kind::Io, from.display())?;
            }
            let target = self.folder.join(&self.name);
            fs::rename(self.staged(), &target).context(Kind::Io, target.display())?;
        }
        self.remove_staged()?;
        sync(&self.folder)?;
        Ok(self.olds.iter().map(|old| self.before(old)).filter(|path| there(path)).collect())
    }

    /// Puts back what lies aside; what had taken its place is staged again.
    pub fn give_back(&self) -> Result<()> {
        let staging = self.folder.join(STAGING);
        let was_aside = self.olds.iter().any(|old| there(&self.before(old)));
        if !there(&self.staged()) && (was_aside || there(&self.folder.join(&self.name))) {
            fs::create_dir_all(&staging).context(Kind::Io, staging.display())?;
            let new = self.folder.join(&self.name);
            if there(&new) {
                fs::rename(&new, self.staged()).context(Kind::Io, new.display())?;
            }
        }
        for old in &self.olds {
            let (place, before) = (self.folder.join(old), self.before(old));
            if !there(&before) {
                continue;
            }
            // What the new one has written since it started goes with it.
            remove(&place)?;
            fs::rename(&before, &place).context(Kind::Io, place.display())?;
        }
        sync(&self.folder)
    }

    /// Removes what lies aside.
    pub fn remove_old(&self) -> Result<()> {
        self.olds.iter().try_for_each(|old| remove(&self.before(old)))
    }

    /// Removes what is staged.
    pub fn remove_staged(&self) -> Result<()> {
        remove(&self.folder.join(STAGING))
    }

    /// Tells whether something lies aside.
    pub fn replaced(&self) -> bool {
        self.olds.iter().any(|old| there(&self.before(old)))
    }
}

/// Removes what a staging that was cut off left in a data folder.
pub fn sweep(folder: &Path) -> Result<()> {
    remove(&folder.join(STAGING))
}

fn there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A data folder and its owner.
struct Place {
    folder: PathBuf,
    owner: (u32, u32),
}

impl Place {
    /// Opens the folder and makes its staging folder, empty.
    fn open(folder: PathBuf) -> Result<Place> {
        let about = format!("data folder {}", folder.display());
        let meta = fs::metadata(&folder).context(Kind::Io, &about)?;
        let place = Place { folder, owner: (meta.uid(), meta.gid()) };
        remove(&place.staging())?;
        place.make(&place.staging())?;
        Ok(place)
    }

    fn staging(&self) -> PathBuf {
        self.folder.join(STAGING)
    }

    fn make(&self, path: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(path).context(Kind::Io, path.display())?;
        self.own(path)
    }

    fn own(&self, path: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(path).context(Kind::Io, path.display())?;
        if (meta.uid(), meta.gid()) == self.owner {
            return Ok(());
        }
        chown(path, Some(self.owner.0), Some(self.owner.1))
            .context(Kind::Denied, format_args!("owner of {}", path.display()))
    }

    /// Writes what comes into the staging folder and returns the name that takes its place in the data folder.
    fn fill(&self, record: &RedisRecord, mut stream: impl Read) -> Result<String> {
        let base = format!("{}.1.base.rdb", record.appendfilename);
        let folder = self.staging().join(&record.appenddirname);
        match record.persistence {
            Persistence::Aof => self.unpack(record, &folder, stream)?,
            Persistence::Rdb if record.starts_from_aof() && record.has_folder() => {
                self.make(&folder)?;
                self.write(&folder.join(&base), &mut stream)?;
                let text = Manifest::of_base(&base);
                self.write(&folder.join(record.manifest_name()), &mut text.as_bytes())?;
                sync(&folder)?;
            }
            Persistence::Rdb => {
                // Before version 7 the append-only file itself may begin with an RDB.
                let name = if record.starts_from_aof() { &record.appendfilename } else { &record.dbfilename };
                self.write(&self.staging().join(name), &mut stream)?;
                sync(&self.staging())?;
                return Ok(name.clone());
            }
        }
        sync(&self.staging())?;
        Ok(record.appenddirname.clone())
    }

    fn unpack(&self, record: &RedisRecord, folder: &Path, stream: impl Read) -> Result<()> {
        let mut tar = Reader::new(std::io::BufReader::with_capacity(PIECE_BYTES, stream));
        let mut names = Vec::new();
        while let Some((entry, _)) = tar.next_entry()? {
            let path = entry.path_text();
            match (&entry.kind, path.split_once('/')) {
                (EntryKind::Folder, None) if path == record.appenddirname => self.make(folder)?,
                (EntryKind::File { .. }, Some((parent, name))) if parent == record.appenddirname => {
                    check_name(name)?;
                    self.write(&folder.join(name), &mut Content(&mut tar))?;
                    names.push(name.to_owned());
                }
                _ => return Err(damaged(format!("{path:?} does not belong into an append-only folder"))),
            }
            if names.len() > ENTRIES_LIMIT {
                return Err(damaged("it has too many files".to_owned()));
            }
        }
        let manifest_name = record.manifest_name();
        let Some(at) = names.iter().position(|n| *n == manifest_name) else {
            return Err(damaged(format!("{manifest_name} is not in it")));
        };
        names.remove(at);
        let path = folder.join(&manifest_name);
        let mut text = String::new();
        File::open(&path)
            .and_then(|f| f.take(MANIFEST_LIMIT_BYTES as u64).read_to_string(&mut text))
            .context(Kind::Damaged, &manifest_name)?;
        let mut named: Vec<String> =
            Manifest::parse(&text, &manifest_name)?.files.into_iter().map(|(name, _)| name).collect();
        named.sort();
        names.sort();
        if named != names {
            return Err(damaged(format!("{manifest_name} names other files than are in it")));
        }
        sync(folder)
    }

    fn write(&self, path: &Path, content: &mut impl Read) -> Result<()> {
        let about = || path.display().to_string();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .context(Kind::Io, about())?;
        self.own(path)?;
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(read_error(e, "stream of a redis")),
            };
            file.write_all(&buffer[..n]).map_err(|e| {
                let kind = if e.kind() == std::io::ErrorKind::StorageFull { Kind::Full } else { Kind::Io };
                Error::new(kind, about()).caused_by(e)
            })?;
        }
        file.sync_all().context(Kind::Io, about())
    }
}

/// The content of a tar's current entry.
struct Content<'a, R>(&'a mut Reader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.content(buffer).map_err(std::io::Error::other)
    }
}

fn damaged(why: String) -> Error {
    Error::new(Kind::Damaged, format!("tar of an append-only folder: {why}"))
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).context(Kind::Io, folder.display())
}

/// Removes a file, a link itself or a folder with all in it; nothing there is fine.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
    removed.context(Kind::Io, path.display())
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;
    use crate::component::archive::{END_BYTES, Entry, padding};

    fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let entry = |path: &str, kind| {
            Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0 }.head().unwrap()
        };
        let mut out = entry("appendonlydir", EntryKind::Folder);
        for (path, text) in files {
            out.extend(entry(path, EntryKind::File { size_bytes: text.len() as u64 }));
            out.extend(text.as_bytes());
            out.resize(out.len() + padding(text.len() as u64), 0);
        }
        out.resize(out.len() + END_BYTES, 0);
        out
    }

    const MANIFEST: &str =
        "file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";

    fn good() -> Vec<u8> {
        tar(&[
            ("appendonlydir/appendonly.aof.1.base.rdb", "REDIS"),
            ("appendonlydir/appendonly.aof.1.incr.aof", ""),
            ("appendonlydir/appendonly.aof.manifest", MANIFEST),
        ])
    }

    async fn put(folder: &Path, record: &RedisRecord, bytes: Vec<u8>) -> Result<Vec<PathBuf>> {
        place(folder, record, Box::pin(std::io::Cursor::new(bytes)), "s").await
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn what_was_there_is_moved_aside_and_the_new_takes_its_place() {
        let at = tempfile::tempdir().unwrap();
        fs::create_dir(at.path().join("appendonlydir")).unwrap();
        fs::write(at.path().join("appendonlydir/old"), "old").unwrap();
        fs::write(at.path().join("dump.rdb"), "old").unwrap();
        // A crash before left this.
        fs::create_dir(at.path().join(STAGING)).unwrap();
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        let aside = put(at.path(), &record, good()).await.unwrap();
        assert_eq!(aside, ["appendonlydir.before-s", "dump.rdb.before-s"].map(|n| at.path().join(n)));
        assert_eq!(names(at.path()), ["appendonlydir", "appendonlydir.before-s", "dump.rdb.before-s"]);
        assert_eq!(names(&at.path().join("appendonlydir")).len(), 3);
        assert_eq!(fs::read_to_string(at.path().join("appendonlydir.before-s/old")).unwrap(), "old");
        assert_eq!(put(at.path(), &record, good()).await.unwrap_err().kind(), Kind::Conflict);
    }

    #[tokio::test]
    async fn staged_files_take_their_place_and_give_it_back_after_a_kill_at_any_rename() {
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        for renames in 0..=3 {
            let at = tempfile::tempdir().unwrap();
            fs::create_dir(at.path().join("appendonlydir")).unwrap();
            fs::write(at.path().join("appendonlydir/old"), "old").unwrap();
            fs::write(at.path().join("dump.rdb"), "old").unwrap();
            let placed =
                stage(at.path(), &record, Box::pin(std::io::Cursor::new(good())), "s").await.unwrap();
            assert!(!placed.replaced());
            let three = [
                (at.path().join("appendonlydir"), placed.before("appendonlydir")),
                (at.path().join("dump.rdb"), placed.before("dump.rdb")),
                (placed.staged(), at.path().join("appendonlydir")),
            ];
            three.iter().take(renames).for_each(|(from, to)| fs::rename(from, to).unwrap());
            for _ in 0..2 {
                placed.take_place().unwrap();
                assert!(at.path().join("appendonlydir/appendonly.aof.manifest").exists());
            }
            // The new one has written on.
            fs::write(at.path().join("dump.rdb"), "new").unwrap();
            for _ in 0..2 {
                placed.give_back().unwrap();
                assert_eq!(fs::read_to_string(at.path().join("appendonlydir/old")).unwrap(), "old");
                assert_eq!(fs::read_to_string(at.path().join("dump.rdb")).unwrap(), "old");
            }
            placed.remove_staged().unwrap();
            assert_eq!(names(at.path()), ["appendonlydir", "dump.rdb"], "after {renames} renames");
        }
    }

    #[tokio::test]
    async fn files_that_replaced_nothing_go_when_they_give_their_place_back() {
        let at = tempfile::tempdir().unwrap();
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        let placed = stage(at.path(), &record, Box::pin(std::io::Cursor::new(good())), "s").await.unwrap();
        placed.take_place().unwrap();
        placed.give_back().unwrap();
        placed.give_back().unwrap();
        placed.remove_staged().unwrap();
        assert_eq!(names(at.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_tar_that_is_cut_or_has_other_files_than_its_manifest_changes_nothing() {
        let at = tempfile::tempdir().unwrap();
        fs::write(at.path().join("dump.rdb"), "old").unwrap();
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        let manifest = ("appendonlydir/appendonly.aof.manifest", MANIFEST);
        let bad = [
            good()[..good().len() - 512].to_vec(),
            tar(&[("appendonlydir/appendonly.aof.1.base.rdb", "x"), manifest]),
            tar(&[("appendonlydir/a", ""), ("appendonlydir/appendonly.aof.1.base.rdb", "x"), manifest]),
            tar(&[("appendonlydir/appendonly.aof.1.base.rdb", "x")]),
            tar(&[("appendonlydir/sub/x", "x"), manifest]),
            tar(&[manifest, ("elsewhere", "x")]),
        ];
        for bytes in bad {
            assert_eq!(put(at.path(), &record, bytes).await.unwrap_err().kind(), Kind::Damaged);
            assert_eq!(names(at.path()), ["dump.rdb"]);
        }
    }

    #[tokio::test]
    async fn an_rdb_becomes_what_the_server_will_look_for() {
        let cases = [
            ("7.0.15", "no", "dump.rdb"),
            ("7.0.15", "yes", "appendonlydir/appendonly.aof.1.base.rdb"),
            ("6.2.14", "yes", "appendonly.aof"),
        ];
        for (version, appendonly, path) in cases {
            let at = tempfile::tempdir().unwrap();
            put(at.path(), &sample(Persistence::Rdb, version, appendonly), b"REDIS".to_vec()).await.unwrap();
            assert_eq!(fs::read_to_string(at.path().join(path)).unwrap(), "REDIS");
            assert_eq!(names(at.path()).len(), 1);
            if path.contains('/') {
                let text =
                    fs::read_to_string(at.path().join("appendonlydir/appendonly.aof.manifest")).unwrap();
                assert_eq!(text, "file appendonly.aof.1.base.rdb seq 1 type b\n");
            }
        }
    }
}
