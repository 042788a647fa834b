//! The cache's file: appended to while packs are written, replaced as a whole after a commit.
//!
//! Owns durability and the question whether the file is whole. A torn end is what a crash leaves and is cut off;
//! anything else that is wrong means that the cache cannot be believed.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::super::seal::disk_error;
use super::record::{HEAD_BYTES, Record, head};
use crate::error::{Context, Error, Kind, Result};

const NAME: &str = "journal";
const NEW: &str = "journal.new";

/// An open journal, for appending.
pub struct Journal {
    file: File,
    path: PathBuf,
    /// How long it is; nothing where a failed append could not be undone, and then none is tried any more.
    size_bytes: Option<u64>,
}

/// What reading the journal came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// There was none.
    Absent,
    /// All of it was read, up to a torn end at most.
    Whole,
}

impl Journal {
    /// Hands each record of the journal in `folder` to `record`, in order.
    ///
    /// [`Kind::Damaged`] where it is neither whole nor merely torn at its end.
    pub fn read(folder: &Path, mut record: impl FnMut(Record) -> Result<()>) -> Result<Found> {
        let path = folder.join(NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Absent),
            Err(e) => return Err(Error::new(Kind::Io, format!("cache {}", path.display())).caused_by(e)),
        };
        let size_bytes = file.metadata().context(Kind::Io, "cache journal")?.len();
        let mut input = BufReader::with_capacity(256 * 1024, file);
        let mut at = 0;
        let mut complete = false;
        while at < size_bytes {
            match next(&mut input, size_bytes - at)? {
                Some((read, length)) => {
                    complete |= read == Record::Complete;
                    record(read)?;
                    at += length;
                }
                // Only appending can be torn: the state at the last commit was renamed into place whole.
                None if complete => {
                    truncate(&path, at)?;
                    break;
                }
                None => return Err(damaged("is incomplete")),
            }
        }
        if complete { Ok(Found::Whole) } else { Err(damaged("is incomplete")) }
    }

    /// Replaces the journal: writes what `records` hands out, makes it durable, then renames it into place.
    pub fn replace(
        folder: &Path,
        records: impl FnOnce(&mut dyn FnMut(&Record) -> Result<()>) -> Result<()>,
    ) -> Result<Journal> {
        let (new, path) = (folder.join(NEW), folder.join(NAME));
        let context = || format!("cache {}", new.display());
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .context(Kind::Io, context())?;
        let mut out = BufWriter::with_capacity(256 * 1024, file);
        let mut bytes = Vec::new();
        records(&mut |record| {
            bytes.clear();
            record.write(&mut bytes);
            out.write_all(&bytes).context(Kind::Io, context())
        })?;
        let file =
            out.into_inner().map_err(std::io::IntoInnerError::into_error).context(Kind::Io, context())?;
        file.sync_all().context(Kind::Io, context())?;
        std::fs::rename(&new, &path).context(Kind::Io, context())?;
        File::open(folder).and_then(|f| f.sync_all()).context(Kind::Io, context())?;
        let size_bytes = Some(file.metadata().context(Kind::Io, context())?.len());
        Ok(Journal { file, path, size_bytes })
    }

    /// Opens the journal for appending, after it was read.
    pub fn append_to(folder: &Path) -> Result<Journal> {
        let path = folder.join(NAME);
        let mut file = OpenOptions::new()
            .write(true)
            .open(&path)
            .context(Kind::Io, format!("cache {}", path.display()))?;
        let end = file.seek(SeekFrom::End(0)).context(Kind::Io, format!("cache {}", path.display()))?;
        Ok(Journal { file, path, size_bytes: Some(end) })
    }

    /// Appends a record; durable before it returns if `durable`.
    ///
    /// What a full disk leaves of a record is cut off again: half a record may only ever stand at the end.
    pub fn append(&mut self, record: &Record, durable: bool) -> Result<()> {
        let context = format!("cache {}", self.path.display());
        let before =
            self.size_bytes.ok_or_else(|| Error::new(Kind::Io, format!("{context} failed before")))?;
        let mut bytes = Vec::new();
        record.write(&mut bytes);
        let written = self.file.write_all(&bytes);
        let synced = if durable { written.and_then(|()| self.file.sync_data()) } else { written };
        if let Err(e) = synced {
            let undone = self.file.set_len(before).and_then(|()| self.file.seek(SeekFrom::Start(before)));
            self.size_bytes = undone.ok();
            return Err(disk_error(e, &context));
        }
        self.size_bytes = Some(before + bytes.len() as u64);
        Ok(())
    }
}

/// Reads one record and its whole length; nothing where the file ends within it.
fn next(input: &mut impl Read, left: u64) -> Result<Option<(Record, u64)>> {
    let mut bytes = [0; HEAD_BYTES];
    if left < HEAD_BYTES as u64 {
        return Ok(None);
    }
    input.read_exact(&mut bytes).context(Kind::Io, "cache journal")?;
    let Some((length, crc)) = head(bytes) else {
        return rest_is_zero(input, &bytes);
    };
    let whole = (HEAD_BYTES + length) as u64;
    if whole > left {
        return Ok(None);
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).context(Kind::Io, "cache journal")?;
    if crc32fast::hash(&body) == crc {
        return Ok(Some((Record::read(&body)?, whole)));
    }
    // The last record may have been half on its way; one before it may not.
    if whole == left { Ok(None) } else { Err(damaged("has a record that changed")) }
}

/// Some filesystems lengthen a file before its bytes are there: zeros to the end are a torn end too.
fn rest_is_zero(input: &mut impl Read, first: &[u8]) -> Result<Option<(Record, u64)>> {
    let mut rest = first.to_vec();
    loop {
        if rest.iter().any(|b| *b != 0) {
            return Err(damaged("has a record of impossible length"));
        }
        rest.clear();
        let n = input.by_ref().take(64 * 1024).read_to_end(&mut rest).context(Kind::Io, "cache journal")?;
        if n == 0 {
            return Ok(None);
        }
    }
}

fn truncate(path: &Path, size_bytes: u64) -> Result<()> {
    let cut = OpenOptions::new().write(true).open(path).and_then(|f| f.set_len(size_bytes));
    cut.context(Kind::Io, format!("cache {}", path.display()))
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Damaged, format!("cache journal {what}"))
}
