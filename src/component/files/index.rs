//! Which large files were read in full, and when: what lets an unchanged file go unread.
//!
//! Owns the state file of a tenant. Losing it costs one full read, never a wrong backup: the repository is asked whether
//! it still knows a content before a file is passed over. Paths stand in it as hashes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::component::SegmentId;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::monitor::Monitor;

/// For how long a reading is believed, in days: 30, less up to 7 by the path, so that not all files come due in one night.
const BELIEVED_DAYS: i64 = 30;

/// How old a change must be when a backup starts to be told apart from a later one within a clock tick, in seconds.
const SETTLED_SECONDS: i64 = 2;

/// What tells that a file was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Its length.
    pub size_bytes: u64,
    /// Its modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Its change time in nanoseconds since 1970; nobody can set it at will.
    pub ctime_ns: i64,
    /// Its inode.
    pub inode: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reading {
    #[serde(flatten)]
    stamp: Stamp,
    sha256: Sha256,
    /// When it was last read in full, in seconds since 1970.
    read: i64,
}

/// The readings of a tenant's large files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIndex {
    files: BTreeMap<String, Reading>,
}

/// The first 16 bytes of the path's SHA-256, as hex.
fn key_of(path: &[u8]) -> String {
    hex::encode(&Sha256::of(path).0[..16])
}

impl FileIndex {
    /// Reads the state file; one that is missing or unreadable is empty, the latter reported as a problem.
    pub fn load(file: &Path, monitor: &dyn Monitor) -> FileIndex {
        let unreadable = |e: Error| {
            monitor.problem(&e.hint("the next backup reads all files again and writes a new one"));
            FileIndex::default()
        };
        match std::fs::read(file) {
            Ok(json) => serde_json::from_slice(&json)
                .context(Kind::Io, format!("file index {}", file.display()))
                .unwrap_or_else(unreadable),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => FileIndex::default(),
            Err(e) => unreadable(Error::new(Kind::Io, format!("file index {}", file.display())).caused_by(e)),
        }
    }

    /// Writes the state file, whole or not at all; to be called once the snapshot is committed.
    pub fn save(&self, file: &Path) -> Result<()> {
        let what = || format!("file index {}", file.display());
        let json = serde_json::to_vec(self).context(Kind::Bug, what())?;
        save_whole(file, &json).context(Kind::Io, what())
    }

    /// Returns the content of a file that was read in full lately and not changed since.
    pub fn unchanged(&self, path: &[u8], stamp: &Stamp, now: Timestamp) -> Option<SegmentId> {
        let key = key_of(path);
        let reading = self.files.get(&key).filter(|r| r.stamp == *stamp)?;
        let spread = i64::from(key.as_bytes()[0] & 7);
        let age = now.as_second() - reading.read;
        let believed = (0..(BELIEVED_DAYS - spread) * 86_400).contains(&age);
        believed.then_some(SegmentId { size_bytes: stamp.size_bytes, sha256: reading.sha256 })
    }

    /// Remembers a file that was read in full `now`, unless it was changed too lately to be sure.
    pub fn read_in_full(&mut self, path: &[u8], stamp: Stamp, sha256: Sha256, now: Timestamp) {
        let settled = (now.as_second() - SETTLED_SECONDS).saturating_mul(1_000_000_000);
        if stamp.ctime_ns < settled && stamp.mtime_ns < settled {
            self.files.insert(key_of(path), Reading { stamp, sha256, read: now.as_second() });
        }
    }

    /// Takes over a reading from an earlier index, with its date.
    pub fn carry(&mut self, path: &[u8], from: &FileIndex) {
        let key = key_of(path);
        if let Some(reading) = from.files.get(&key) {
            self.files.insert(key, reading.clone());
        }
    }

    /// Returns the number of files it knows.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Tells whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

/// Puts a state file in place in one step that outlives a crash.
pub(super) fn save_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut temp = tempfile::NamedTempFile::new_in(folder)?;
    temp.write_all(bytes)?;
    temp.as_file().sync_all()?;
    temp.persist(file)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Recorder;

    const STAMP: Stamp = Stamp { size_bytes: 7, mtime_ns: 5, ctime_ns: 6, inode: 8 };

    fn day(n: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + n * 86_400).unwrap()
    }

    #[test]
    fn a_reading_counts_until_the_file_changes_or_a_month_has_passed() {
        let mut index = FileIndex::default();
        index.read_in_full(b"a", STAMP, Sha256::of(b"x"), day(0));
        assert!(index.unchanged(b"a", &STAMP, day(22)).is_some());
        assert!(index.unchanged(b"a", &STAMP, day(30)).is_none());
        assert!(index.unchanged(b"a", &STAMP, day(-1)).is_none(), "a clock that went back is not believed");
        assert!(index.unchanged(b"b", &STAMP, day(1)).is_none());
        for other in [
            Stamp { size_bytes: 8, ..STAMP },
            Stamp { mtime_ns: 6, ..STAMP },
            Stamp { ctime_ns: 7, ..STAMP },
            Stamp { inode: 9, ..STAMP },
        ] {
            assert!(index.unchanged(b"a", &other, day(1)).is_none(), "{other:?}");
        }
    }

    #[test]
    fn passing_a_file_over_does_not_renew_its_date() {
        let mut index = FileIndex::default();
        index.read_in_full(b"a", STAMP, Sha256::of(b"x"), day(0));
        let mut next = FileIndex::default();
        next.carry(b"a", &index);
        assert_eq!(next, index);
        assert!(next.unchanged(b"a", &STAMP, day(30)).is_none());
    }

    #[test]
    fn a_file_changed_just_now_is_not_believed_tomorrow() {
        let mut index = FileIndex::default();
        let ctime_ns = day(0).as_second() * 1_000_000_000 - 1;
        index.read_in_full(b"a", Stamp { ctime_ns, ..STAMP }, Sha256::of(b"x"), day(0));
        assert!(index.is_empty());
    }

    #[test]
    fn a_saved_index_is_loaded_equal_and_a_broken_one_is_a_problem_not_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("byrne.files.json");
        let monitor = Recorder::default();
        assert!(FileIndex::load(&file, &monitor).is_empty());
        let mut index = FileIndex::default();
        index.read_in_full(b"secret name", STAMP, Sha256::of(b"x"), day(0));
        index.save(&file).unwrap();
        assert_eq!(FileIndex::load(&file, &monitor), index);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("secret"));
        assert!(monitor.problems().is_empty());
        std::fs::write(&file, "{\"files\":").unwrap();
        assert!(FileIndex::load(&file, &monitor).is_empty());
        assert_eq!(monitor.problems().len(), 1);
    }
}
