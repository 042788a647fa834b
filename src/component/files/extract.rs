//! Chosen entries out of a backup, into a folder of the operator's.
//!
//! Owns the same safety as a whole restore. Which entries, and where their contents come from, is the caller's: the list gives
//! each content's place in the stream `tar`.

use std::path::Path;

use sha2::{Digest, Sha256 as Hasher};
use std::io::Write;
use tokio::io::AsyncReadExt;

use super::beneath;
use super::list::Line;
use super::load::{differs, write_fault};
use super::tree::{Parents, Tree};
use crate::component::archive::{EntryKind, read_error};
use crate::component::{PIECE_BYTES, Source};
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;

/// A folder that chosen entries are written into; what exists there is never written over.
pub struct Extraction {
    tree: Tree,
}

impl Extraction {
    /// Opens the folder, which is made if it is not there.
    pub fn into(folder: &Path) -> Result<Self> {
        let what = || format!("folder {}", folder.display());
        std::fs::create_dir_all(folder).context(Kind::Io, what())?;
        // The operator's own folder may be reached through a link of the operator's.
        let folder = folder.canonicalize().context(Kind::Io, what())?;
        let root = beneath::open_root(&folder).context(Kind::Io, what())?;
        Ok(Extraction { tree: Tree::new(root, Parents::Made) })
    }

    /// Writes one entry; entries come in the list's order, and `content` is exactly its content, of files only.
    ///
    /// A content that is not the one that was backed up is a [`Kind::Damaged`]; something in its place already, a
    /// [`Kind::Conflict`].
    pub async fn entry(&mut self, line: &Line, content: Option<Source>) -> Result<()> {
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

    async fn file(&mut self, line: &Line, size_bytes: u64, content: Source) -> Result<()> {
        let mut file = self.tree.file(&line.entry)?;
        let mut content = content.take(size_bytes.saturating_add(1));
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let n = content.read(&mut buffer).await.map_err(|e| read_error(e, &line.entry.path_text()))?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            file.write_all(&buffer[..n]).map_err(|e| write_fault(&line.entry, e))?;
        }
        if line.sha256 != Some(Sha256(hasher.finalize().into())) {
            return Err(differs(&line.entry, "the content is not the one that was backed up"));
        }
        self.tree.seal(&file, &line.entry)
    }

    /// Gives folders their attributes and waits until the disk has all of it.
    pub fn finish(self) -> Result<()> {
        self.tree.finish(None)
    }
}
