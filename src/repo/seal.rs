//! Frames become a pack: table, frames, age, and the hash that names it, in one pass.
//!
//! Owns encryption of packs to the vault, and the opening of one. What is sealed here leaves as ciphertext only.

use std::io::{BufRead, Write};
use std::sync::Arc;

use sha2::{Digest, Sha256 as Hasher};

use super::extent::PackRef;
use super::frame::Frame;
use super::pack::Table;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;

/// To whom packs are encrypted: the tenant's vault, any age recipient.
pub type VaultRecipient = Arc<dyn age::Recipient + Send + Sync>;

/// Who can read packs: the tenant's vault, any age identity.
pub type VaultIdentity = Arc<dyn age::Identity + Send + Sync>;

/// Opens a pack: its plaintext, decrypted and verified piece by piece as it is read.
///
/// [`Kind::WrongKey`] where the identity does not open it, [`Kind::Damaged`] where it is no pack.
pub fn unseal<R: BufRead>(pack: R, identity: &dyn age::Identity) -> Result<age::stream::StreamReader<R>> {
    use age::DecryptError;
    let decryptor = age::Decryptor::new_buffered(pack).context(Kind::Damaged, "is not an age file")?;
    decryptor.decrypt(std::iter::once(identity)).map_err(|e| match e {
        DecryptError::NoMatchingKeys | DecryptError::DecryptionFailed => {
            Error::new(Kind::WrongKey, "is not sealed to the identity given")
        }
        e => Error::new(Kind::Damaged, "does not open").caused_by(e),
    })
}

/// Writes the pack that these frames make to `out`, and says what it is called.
///
/// I/O errors keep their cause as [`Kind::Io`], or [`Kind::Full`] where the disk is.
pub fn seal(
    epoch: [u8; 8],
    frames: &[Frame],
    recipient: &VaultRecipient,
    out: impl Write,
) -> Result<PackRef> {
    let table = Table::of(epoch, frames).to_bytes();
    let recipients = std::iter::once(recipient.as_ref() as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).context(Kind::Config, "vault recipient")?;
    let write = || -> std::io::Result<Counting<_>> {
        let mut sealed = encryptor.wrap_output(Counting { out, hash: Hasher::new(), size_bytes: 0 })?;
        sealed.write_all(&table)?;
        for frame in frames {
            sealed.write_all(&frame.compressed)?;
        }
        let mut counted = sealed.finish()?;
        counted.flush()?;
        Ok(counted)
    };
    let counted = write().map_err(|e| disk_error(e, "sealed pack"))?;
    Ok(PackRef { id: Sha256(counted.hash.finalize().into()), size_bytes: counted.size_bytes })
}

/// Bounds the size of the object that these frames make: age adds its header and 16 bytes to each 64 KiB.
pub fn sealed_at_most(frames: &[Frame]) -> u64 {
    const HEADER_BYTES: u64 = 8 * 1024;
    let chunks: usize = frames.iter().map(|f| f.chunks.len()).sum();
    let compressed: usize = frames.iter().map(|f| f.compressed.len()).sum();
    let plaintext = (Table::size_bytes(frames.len(), chunks) + compressed) as u64;
    HEADER_BYTES + plaintext + 16 * (plaintext / (64 * 1024) + 1)
}

/// Tells a full disk, which may have room later, from one that fails.
pub fn disk_error(e: std::io::Error, what: &str) -> Error {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let kind = match e.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => Kind::Full,
        _ => Kind::Io,
    };
    Error::new(kind, what).caused_by(e)
}

/// Hashes and counts what passes.
struct Counting<W> {
    out: W,
    hash: Hasher,
    size_bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;
    use crate::repo::chunk::{DedupKey, Namer};
    use crate::repo::frame::{Effort, Press, RawFrame, open};
    use crate::spare::Spare;

    fn frames(contents: &[&[u8]]) -> Vec<Frame> {
        let namer = Namer::new(&DedupKey::new([3; 32]));
        let mut press = Press::new(Effort::Usual).unwrap();
        let mut press = |content: &&[u8]| {
            let mut raw = RawFrame::default();
            raw.push(namer.id(content), content);
            press.press(raw).unwrap()
        };
        contents.iter().map(&mut press).collect()
    }

    fn unlock(pack: &[u8], identity: &age::x25519::Identity) -> Result<impl Read + Seek> {
        unseal(std::io::Cursor::new(pack.to_vec()), identity)
    }

    #[test]
    fn a_pack_is_named_by_its_hash_and_read_by_age_and_zstd_alone() {
        let identity = age::x25519::Identity::generate();
        let recipient: VaultRecipient = Arc::new(identity.to_public());
        let mut pack = Vec::new();
        let named = seal([0; 8], &frames(&[b"row 1\n", b"row 2\n"]), &recipient, &mut pack).unwrap();
        assert_eq!(named, PackRef { id: Sha256::of(&pack), size_bytes: pack.len() as u64 });
        assert!(sealed_at_most(&frames(&[b"row 1\n", b"row 2\n"])) >= named.size_bytes);

        let content = zstd::decode_all(unlock(&pack, &identity).unwrap()).unwrap();
        assert_eq!(content, b"row 1\nrow 2\n");
        assert!(unlock(&pack, &age::x25519::Identity::generate()).is_err());
    }

    #[test]
    fn a_single_frame_can_be_read_where_the_table_says() {
        let identity = age::x25519::Identity::generate();
        let recipient: VaultRecipient = Arc::new(identity.to_public());
        let long = vec![7; 200_000];
        let mut pack = Vec::new();
        seal([0; 8], &frames(&[&long, b"row 2\n"]), &recipient, &mut pack).unwrap();

        let mut plaintext = unlock(&pack, &identity).unwrap();
        let layout = Table::read(&mut plaintext).unwrap().layout();
        let (_, place) = layout.frame_of(200_003).unwrap();
        plaintext.seek(SeekFrom::Start(place.at)).unwrap();
        let mut compressed = vec![0; place.compressed as usize];
        plaintext.read_exact(&mut compressed).unwrap();
        assert_eq!(open(&compressed, place.decompressed, &Spare::new(1, 0)).unwrap(), &b"row 2\n"[..]);
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(disk_error(full, "spool").kind(), Kind::Full);
        assert_eq!(disk_error(std::io::Error::other("x"), "spool").kind(), Kind::Io);
    }
}
