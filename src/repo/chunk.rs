//! What a chunk is called: a keyed id, so that only the writing host can test whether it knows some bytes.
//!
//! Owns the dedup key and the ids made with it. Knows nothing of where chunks come from or lie.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::twin::{Keyed, Sum};
use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, Sha256};

/// A tenant's secret for naming chunks: 32 random bytes that stay on the writing host.
///
/// Two keys give unrelated ids; nothing of the key or of a chunk can be told from ids.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DedupKey {
    bytes: [u8; 32],
}

impl DedupKey {
    /// Takes the key's bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        DedupKey { bytes }
    }

    /// Takes the key from a slice that must be 32 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into().map_err(|_| {
            Error::new(Kind::Config, format!("dedup key of {} bytes, 32 expected", bytes.len()))
        })?;
        Ok(DedupKey { bytes })
    }

    /// Returns the bytes, for whoever writes the key file.
    pub fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Tells keys apart without telling anything else: the first 8 bytes of HMAC-SHA256(key, `lifeboat epoch`).
    pub fn epoch(&self) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&Namer::new(self).id(b"lifeboat epoch").0[..8]);
        out
    }
}

impl std::fmt::Debug for DedupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DedupKey(..)")
    }
}

/// Names chunks under one key.
#[derive(Clone)]
pub struct Namer {
    keyed: Keyed,
}

impl Namer {
    /// Prepares the key.
    pub fn new(key: &DedupKey) -> Self {
        Namer { keyed: Keyed::new(&key.bytes) }
    }

    /// Returns the chunk's id: the first 16 bytes of HMAC-SHA256(key, chunk).
    pub fn id(&self, chunk: &[u8]) -> ChunkId {
        first_half(self.keyed.of(chunk))
    }

    /// Returns the id of a content's next chunk, and appends it to the content's SHA-256: faster than one after the other.
    pub fn id_within(&self, chunk: &[u8], content: &mut Sum) -> ChunkId {
        first_half(self.keyed.of_part(chunk, content))
    }
}

fn first_half(full: Sha256) -> ChunkId {
    let mut out = [0; 16];
    out.copy_from_slice(&full.0[..16]);
    ChunkId(out)
}

/// A map by chunk id; ids are uniform already and secret to this host, so that they are their own hash.
pub type ByChunk<T> = HashMap<ChunkId, T, BuildHasherDefault<OwnHash>>;

/// Takes eight bytes of an id for its hash.
#[derive(Debug, Default)]
pub struct OwnHash(u64);

impl Hasher for OwnHash {
    fn write(&mut self, id: &[u8]) {
        if let Some(eight) = id.first_chunk() {
            self.0 = u64::from_le_bytes(*eight);
        }
    }

    /// Lengths, which are all the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_first_half_of_hmac_sha256() {
        // RFC 4231, test case 2, with its key padded by the zeros that HMAC adds itself.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let id = Namer::new(&DedupKey::new(key)).id(b"what do ya want for nothing?");
        assert_eq!(hex::encode(id.0), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn another_key_gives_other_ids_and_another_epoch() {
        let (a, b) = (DedupKey::new([1; 32]), DedupKey::new([2; 32]));
        assert_ne!(Namer::new(&a).id(b"x"), Namer::new(&b).id(b"x"));
        assert_ne!(a.epoch(), b.epoch());
        assert_eq!(a.epoch(), a.clone().epoch());
    }

    #[test]
    fn a_key_is_never_printed_and_must_be_32_bytes() {
        assert_eq!(format!("{:?}", DedupKey::new([7; 32])), "DedupKey(..)");
        assert!(DedupKey::from_slice(&[0; 31]).is_err());
    }
}
