//! A fetched pack opened with the vault's identity: its frames one by one, decrypted from disk into memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use age::Identity;
use age::stream::StreamReader;

use crate::error::{Context, Error, Kind, Result};
use crate::repo::pack::{FramePlace, Layout, Table};
use crate::repo::seal::unseal;

/// The plaintext of a pack, decrypted where it is read.
pub(super) struct Opened {
    plaintext: StreamReader<BufReader<File>>,
}

impl Opened {
    /// Opens a pack and reads its table, which must describe exactly what is there.
    ///
    /// [`Kind::WrongKey`] where the identity does not open it, else [`Kind::Damaged`] or [`Kind::TooNew`].
    pub fn open(path: &Path, identity: &dyn Identity) -> Result<(Opened, Layout)> {
        let file = File::open(path).context(Kind::Io, "fetched pack")?;
        let mut plaintext = unseal(BufReader::new(file), identity)?;
        let layout = Table::read(&mut plaintext)?.layout();
        // Seeking to the end authenticates it. Frames are read only where there is something: see below.
        let length = plaintext.seek(SeekFrom::End(0)).context(Kind::Damaged, "does not decrypt")?;
        if length != layout.plaintext_bytes() {
            let what = format!("holds {length} bytes where its table tells {}", layout.plaintext_bytes());
            return Err(Error::new(Kind::Damaged, what));
        }
        Ok((Opened { plaintext }, layout))
    }

    /// Reads a frame as it is compressed; `place` is of this pack's layout, so within its plaintext.
    pub fn read(&mut self, place: FramePlace) -> Result<Vec<u8>> {
        let mut compressed = vec![0; place.compressed as usize];
        let from = self.plaintext.seek(SeekFrom::Start(place.at));
        from.and_then(|_| self.plaintext.read_exact(&mut compressed))
            .context(Kind::Damaged, "does not decrypt")?;
        Ok(compressed)
    }
}
