//! Chosen entries out of a backup, into a folder of the operator's.
//!
//! Owns the same safety as a whole restore. Which entries, and where their contents come from, is the caller's: the list gives
//! each content's place in the stream `tar`.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256 as Hasher};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::beneath;
use super::list::Line;
use super::load::{differs, write_fault};
use super::tree::{Parents, Tree};
use crate::component::PIECE_BYTES;
use crate::component::archive::{EntryKind, read_error};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;

/// The name of what is extracted within the folder it is built in, which only we may enter.
const CONTENT: &str = "content";

/// A folder that chosen entries are written into; what exists there is never written over.
///
/// A folder that is not there yet appears whole, at [`Extraction::finish`]; until then, and where it never comes so far,
/// nothing bears its name.
pub struct Extraction {
    tree: Tree,
    buffer: Vec<u8>,
    place: Place,
}

/// What becomes of the folder when the extraction ends early.
enum Place {
    /// It is built beside its place and then renamed; dropped, it is removed.
    New { building: TempDir, folder: PathBuf },
    /// It was there, and what was written into it stays.
    Old,
}

/// A file's content on its way out of a backup.
pub enum Content<'a> {
    /// Its source fails unless the bytes have this hash.
    Proven(&'a mut (dyn AsyncRead + Unpin + Send), Sha256),
    /// Nobody has hashed it.
    Unproven(&'a mut (dyn AsyncRead + Unpin + Send)),
}

impl Extraction {
    /// Opens the folder, which is made if it is not there.
    pub fn into(folder: &Path) -> Result<Self> {
        let what = || format!("folder {}", folder.display());
        let place = match folder.symlink_metadata() {
            Ok(_) => Place::Old,
            Err(_) => Place::beside(folder).map_err(|e| fault(e, what()))?,
        };
        // The operator's own folder may be reached through a link of the operator's.
        let root = place.root(folder).canonicalize().context(Kind::Io, what())?;
        let root = beneath::open_root(&root).context(Kind::Io, what())?;
        Ok(Extraction { tree: Tree::new(root, Parents::Made), buffer: vec![0; PIECE_BYTES], place })
    }

    /// Tells whether what was written stays when the extraction ends early.
    pub fn leaves_parts(&self) -> bool {
        matches!(self.place, Place::Old)
    }

    /// Writes one entry; entries come in the list's order, and `content` is exactly its content, of files only.
    ///
    /// A content that its source verifies, `Proven`, is not hashed again: its source's end must be waited for.
    /// A content that is not the one that was backed up is a [`Kind::Damaged`]; something in its place already, a
    /// [`Kind::Conflict`].
    pub async fn entry(&mut self, line: &Line, content: Option<Content<'_>>) -> Result<()> {
        match (&line.entry.kind, content) {
            (EntryKind::Folder, None) => match self.tree.folder(&line.entry) {
                // A folder that is there already keeps its attributes.
                Err(e) if e.kind() == Kind::Conflict => Ok(()),
                other => other,
            },
            (EntryKind::Link { target }, None) => self.tree.link(&line.entry, target),
            (EntryKind::File { size_bytes }, Some(content)) => self.file(line, *size_bytes, content).await,
            _ => Err(Error::new(Kind::Bug, "a content belongs to a file, and to nothing else")),
        }
    }

    async fn file(&mut self, line: &Line, size_bytes: u64, content: Content<'_>) -> Result<()> {
        let mut file = self.tree.file(&line.entry)?;
        let (source, proven) = match content {
            Content::Proven(source, hash) => (source, Some(hash)),
            Content::Unproven(source) => (source, None),
        };
        let mut source = source.take(size_bytes);
        let mut hasher = Hasher::new();
        let mut left = size_bytes;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let n = source.read(&mut self.buffer[..most]).await;
            let n = n.map_err(|e| read_error(e, &line.entry.path_text()))?;
            if n == 0 {
                return Err(differs(&line.entry, "its content is cut short"));
            }
            if proven.is_none() {
                hasher.update(&self.buffer[..n]);
            }
            file.write_all(&self.buffer[..n]).map_err(|e| write_fault(&line.entry, e))?;
            left -= n as u64;
        }
        if line.sha256 != Some(proven.unwrap_or_else(|| Sha256(hasher.finalize().into()))) {
            return Err(differs(&line.entry, "the content is not the one that was backed up"));
        }
        self.tree.seal(&file, &line.entry)
    }

    /// Gives folders their attributes and the whole its name. Does not wait for the disk: what is extracted is a copy, and the
    /// snapshot stays.
    pub fn finish(self) -> Result<()> {
        self.tree.finish_unsynced(None)?;
        let Place::New { building, folder } = self.place else { return Ok(()) };
        match std::fs::rename(building.path().join(CONTENT), &folder) {
            Ok(()) => Ok(()),
            Err(e) if folder.symlink_metadata().is_ok() => {
                Err(Error::new(Kind::Conflict, format!("folder {} came meanwhile", folder.display()))
                    .caused_by(e))
            }
            Err(e) => Err(fault(e, format!("folder {}", folder.display()))),
        }
    }
}

impl Place {
    /// Makes a folder of our own beside the one that is to be, for only within one file system a rename is whole.
    fn beside(folder: &Path) -> std::io::Result<Self> {
        let above = match folder.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(above)?;
        let building = tempfile::Builder::new().prefix(".lifeboat-extract-").tempdir_in(above)?;
        std::fs::create_dir(building.path().join(CONTENT))?;
        Ok(Place::New { building, folder: folder.to_owned() })
    }

    fn root(&self, folder: &Path) -> PathBuf {
        match self {
            Place::New { building, .. } => building.path().join(CONTENT),
            Place::Old => folder.to_owned(),
        }
    }
}

fn fault(e: std::io::Error, what: String) -> Error {
    let kind = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Kind::Full,
        _ => Kind::Io,
    };
    Error::new(kind, what).caused_by(e)
}
