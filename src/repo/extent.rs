//! Where the bytes of a stream lie: the shapes that the writer makes, the manifest keeps and the reader follows.

use serde::{Deserialize, Serialize};

use crate::id::{ComponentName, PackId, Sha256};

/// A run of bytes in a pack's decompressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The pack's number in the snapshot's pack list.
    pub pack: u32,
    /// Where the run starts, in bytes.
    pub offset: u32,
    /// Its length in bytes, never 0.
    pub length: u32,
}

/// A part of a stream that is cut on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its length.
    pub size_bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Where its bytes lie, in order; neighbours are merged.
    pub extents: Vec<Extent>,
}

/// How a stream was cut; reading does not need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutter {
    /// `fastcdc-2020` or `fastcdc-2020-rows`.
    pub name: String,
    /// Least chunk length in bytes.
    pub min: u32,
    /// Wanted chunk length in bytes.
    pub average: u32,
    /// Greatest chunk length in bytes.
    pub max: u32,
}

/// The digest of a stream, as the format defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256 of the bytes of the only segment: `sha256:<hex>`.
    Whole(Sha256),
    /// SHA-256 over the segments' lengths and hashes: `segments:<hex>`.
    Segments(Sha256),
}

impl Digest {
    /// Computes the digest of a stream from its segments.
    ///
    /// SHA-256 of one segment is its own; of several or none, it is that over each one's length (u64,
    /// little-endian) and SHA-256.
    pub fn of(segments: &[Segment]) -> Self {
        use sha2::Digest as _;
        if let [only] = segments {
            return Digest::Whole(only.sha256);
        }
        let mut hash = sha2::Sha256::new();
        for segment in segments {
            hash.update(segment.size_bytes.to_le_bytes());
            hash.update(segment.sha256.0);
        }
        Digest::Segments(Sha256(hash.finalize().into()))
    }
}

/// One stream of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// Whose it is.
    pub component: ComponentName,
    /// Its name, such as `sql`, `tar` or `list`.
    pub stream: String,
    /// How it was cut.
    pub cutter: Cutter,
    /// Its length.
    pub size_bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Its segments in order.
    pub segments: Vec<Segment>,
}

/// A pack as a snapshot names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRef {
    /// Its name.
    pub id: PackId,
    /// The size of the object.
    pub size_bytes: u64,
}
