//! What each of a site's files held when it was last taken, in twelve bytes a file: enough to count those that are gone
//! or hold something else since.
//!
//! Owns the marks and their state file, which names no path and holds no content. Only what users put there counts:
//! logs, locks and configuration change as a site works. Whether a count is too high is not known here.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::index::save_whole;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;

/// Where Frappe keeps what users attach.
const USERS_FILES: [&[u8]; 2] = [b"private/files/", b"public/files/"];

/// What the state file begins with.
const MAGIC: &[u8; 8] = b"LBCENS01";
const MARK_BYTES: usize = 12;

/// The marks of a folder's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Of the path's SHA-256 eight bytes, of the content's four.
    marks: BTreeMap<u64, u32>,
}

/// How a folder differs from what it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// How many files there were.
    pub before: u64,
    /// How many of these are gone.
    pub gone: u64,
    /// How many of these hold something else.
    pub changed: u64,
}

impl Census {
    /// Takes a file down, if users put it there.
    pub fn saw(&mut self, path: &[u8], content: &Sha256) {
        if USERS_FILES.iter().any(|folder| path.starts_with(folder)) {
            let name = u64::from_le_bytes(first(&Sha256::of(path).0));
            self.marks.insert(name, u32::from_le_bytes(first(&content.0)));
        }
    }

    /// Counts what became of the files of an earlier census.
    pub fn since(&self, before: &Census) -> Drift {
        let mut drift = Drift { before: before.marks.len() as u64, ..Drift::default() };
        for (name, content) in &before.marks {
            match self.marks.get(name) {
                None => drift.gone += 1,
                Some(now) if now != content => drift.changed += 1,
                Some(_) => {}
            }
        }
        drift
    }

    /// Reads the state file; nothing where there is none.
    pub fn load(file: &Path) -> Result<Option<Census>> {
        let what = || format!("census of files {}", file.display());
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::new(Kind::Io, what()).caused_by(e)),
        };
        match bytes.strip_prefix(MAGIC) {
            Some(marks) if marks.len() % MARK_BYTES == 0 => {
                let mark = |m: &[u8]| (u64::from_le_bytes(first(m)), u32::from_le_bytes(first(&m[8..])));
                Ok(Some(Census { marks: marks.chunks_exact(MARK_BYTES).map(mark).collect() }))
            }
            _ => Err(Error::new(Kind::Damaged, what()).hint("the next backup writes a new one")),
        }
    }

    /// Writes the state file, whole or not at all.
    pub fn save(&self, file: &Path) -> Result<()> {
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.marks.len() * MARK_BYTES);
        bytes.extend_from_slice(MAGIC);
        for (name, content) in &self.marks {
            bytes.extend_from_slice(&name.to_le_bytes());
            bytes.extend_from_slice(&content.to_le_bytes());
        }
        save_whole(file, &bytes).context(Kind::Io, format!("census of files {}", file.display()))
    }
}

/// The first bytes of what is longer.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(files: &[(&str, &str)]) -> Census {
        let mut census = Census::default();
        files.iter().for_each(|(path, content)| census.saw(path.as_bytes(), &Sha256::of(content.as_bytes())));
        census
    }

    #[test]
    fn what_is_gone_and_what_changed_is_counted_and_what_is_new_is_not() {
        let before = census(&[("private/files/a", "1"), ("public/files/b", "2"), ("private/files/c", "3")]);
        let now = census(&[("private/files/a", "1"), ("public/files/b", "x"), ("private/files/d", "4")]);
        assert_eq!(now.since(&before), Drift { before: 3, gone: 1, changed: 1 });
        assert_eq!(before.since(&before), Drift { before: 3, gone: 0, changed: 0 });
    }

    #[test]
    fn what_a_site_writes_as_it_works_is_not_in_it() {
        let all = [("logs/web.log", "1"), ("site_config.json", "2"), ("private/backups/x.sql.gz", "3")];
        assert_eq!(census(&all), Census::default());
    }

    #[test]
    fn it_is_read_back_equal_and_a_damaged_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("files.census");
        assert_eq!(Census::load(&file).unwrap(), None);
        let census = census(&[("private/files/a", "1"), ("public/files/b", "2")]);
        census.save(&file).unwrap();
        assert_eq!(Census::load(&file).unwrap(), Some(census));
        let mut bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes.len(), 8 + 2 * 12);
        bytes.pop();
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(Census::load(&file).unwrap_err().kind(), Kind::Damaged);
    }
}
