//! New chunks of a stream, one behind the other, compressed together.
//!
//! Owns frames: zstd (RFC 8878) with content size and checksum. Before a frame may be sealed it is
//! decompressed again and its chunks are hashed again: a fault in memory would otherwise spread to every later
//! snapshot by deduplication. Knows nothing of packs.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use crate::error::{Context, Error, Kind, Result};
use crate::id::ChunkId;
use crate::spare::Spare;

/// A frame is closed before it would grow beyond this many bytes; a longer chunk is a frame of its own.
pub const FRAME_BYTES: usize = 1024 * 1024;

/// The longest frame that a reader opens, in decompressed bytes.
pub const MOST_FRAME_BYTES: u32 = 32 * 1024 * 1024;

/// How hard frames are compressed; docs/decisions/0002-compression-level.md has the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// zstd level 1: for a backup of which nothing is known, and all is compressed.
    Quick,
    /// zstd level 3: for the nights, which store little.
    Usual,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Effort::Quick => 1,
            Effort::Usual => 3,
        }
    }
}

/// A chunk by id and length, as it stands in frames and in the table of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableChunk {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes, never 0.
    pub length: u32,
}

/// Chunks that are to become a frame.
#[derive(Debug, Default)]
pub struct RawFrame {
    /// The chunks' bytes without gaps.
    pub bytes: Vec<u8>,
    /// The chunks in their order.
    pub chunks: Vec<TableChunk>,
    /// XXH3-64 of each chunk, taken when its id was.
    sums: Vec<u64>,
}

impl RawFrame {
    /// Starts an empty frame in memory that is empty.
    pub fn within(bytes: Vec<u8>) -> Self {
        debug_assert!(bytes.is_empty());
        RawFrame { bytes, ..RawFrame::default() }
    }

    /// Tells whether a chunk of this length still fits; into an empty frame any does.
    pub fn takes(&self, length: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + length <= FRAME_BYTES
    }

    /// Appends a chunk whose id was just taken, and returns where in the frame it starts.
    pub fn push(&mut self, id: ChunkId, chunk: &[u8]) -> u32 {
        let offset = length_u32(self.bytes.len());
        self.sums.push(xxh3_64(chunk));
        self.bytes.extend_from_slice(chunk);
        self.chunks.push(TableChunk { id, length: length_u32(chunk.len()) });
        offset
    }
}

/// A compressed frame, proven to give back its chunks.
#[derive(Debug)]
pub struct Frame {
    /// One zstd frame.
    pub compressed: Vec<u8>,
    /// The length of what it holds.
    pub size_bytes: u32,
    /// What it holds.
    pub chunks: Vec<TableChunk>,
}

/// Compresses frames; keeps its tables between them.
pub struct Press {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    /// The last frame, compressed.
    packed: Vec<u8>,
    again: Vec<u8>,
}

impl Press {
    /// Prepares compression.
    pub fn new(effort: Effort) -> Result<Self> {
        let mut compressor = Compressor::new(effort.level()).context(Kind::Bug, "zstd compressor")?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).context(Kind::Bug, "zstd checksum")?;
        compressor
            .set_parameter(CParameter::ContentSizeFlag(true))
            .context(Kind::Bug, "zstd content size")?;
        // All of a frame is in reach from its end; the level alone would see half of it.
        compressor
            .set_parameter(CParameter::WindowLog(FRAME_BYTES.ilog2()))
            .context(Kind::Bug, "zstd window")?;
        let decompressor = Decompressor::new().context(Kind::Bug, "zstd decompressor")?;
        Ok(Press { compressor, decompressor, packed: Vec::new(), again: Vec::new() })
    }

    /// Compresses a frame and proves it: [`Kind::Damaged`] where memory or processor gave other bytes back.
    pub fn press(&mut self, mut raw: RawFrame) -> Result<Frame> {
        self.press_from(&mut raw)
    }

    /// The same, leaving the frame's memory to whoever fills the next one.
    pub fn press_from(&mut self, raw: &mut RawFrame) -> Result<Frame> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(raw.bytes.len()));
        self.compressor.compress_to_buffer(&raw.bytes, &mut self.packed).context(Kind::Bug, "zstd")?;
        // A pack's worth of frames waits: each takes what it holds, and not what it might have become.
        let compressed = self.packed.as_slice().to_vec();
        self.prove(&compressed, raw)?;
        let chunks = std::mem::take(&mut raw.chunks);
        Ok(Frame { compressed, size_bytes: length_u32(raw.bytes.len()), chunks })
    }

    fn prove(&mut self, compressed: &[u8], raw: &RawFrame) -> Result<()> {
        let fault = |what: &str| {
            Error::new(Kind::Damaged, format!("frame {what} before it was sealed"))
                .hint("memory or processor of this host is faulty: test it before the next backup")
        };
        self.again.clear();
        self.again.reserve(raw.bytes.len());
        let back = self.decompressor.decompress_to_buffer(compressed, &mut self.again);
        if back.map_err(|e| fault("did not decompress").caused_by(e))? != raw.bytes.len() {
            return Err(fault("changed its length"));
        }
        let mut rest = self.again.as_slice();
        for (chunk, sum) in raw.chunks.iter().zip(&raw.sums) {
            let (head, tail) = rest.split_at(chunk.length as usize);
            if xxh3_64(head) != *sum {
                return Err(fault("changed a chunk"));
            }
            rest = tail;
        }
        Ok(())
    }
}

/// Decompresses one frame that must hold exactly `size_bytes`; anything else is [`Kind::Damaged`].
pub fn open(compressed: &[u8], size_bytes: u32, spare: &Spare) -> Result<Bytes> {
    if size_bytes > MOST_FRAME_BYTES {
        return Err(Error::new(Kind::Damaged, format!("frame of {size_bytes} bytes")));
    }
    // `decompress` reads one frame or several; the sizes below make sure that it was what the table says.
    let size = size_bytes as usize;
    // Most frames are full; the others would hold far more than they need.
    let is_full = (FRAME_BYTES / 2..=FRAME_BYTES).contains(&size);
    let mut bytes = if is_full { spare.take() } else { Vec::with_capacity(size) };
    let mut decompressor = Decompressor::new().context(Kind::Bug, "zstd decompressor")?;
    decompressor.decompress_to_buffer(compressed, &mut bytes).context(Kind::Damaged, "frame")?;
    if bytes.len() != size_bytes as usize {
        return Err(Error::new(
            Kind::Damaged,
            format!("frame of {} bytes, {size_bytes} expected", bytes.len()),
        ));
    }
    Ok(if is_full { spare.lend(bytes) } else { bytes.into() })
}

/// Lengths here are bounded by [`MOST_FRAME_BYTES`] and pack limits, far below 4 GiB.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("frames are shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::chunk::{DedupKey, Namer};

    fn opened(compressed: &[u8], size_bytes: u32) -> Result<Bytes> {
        open(compressed, size_bytes, &Spare::new(FRAME_BYTES, 1))
    }

    fn press() -> (Press, Namer) {
        let namer = Namer::new(&DedupKey::new([3; 32]));
        (Press::new(Effort::Usual).unwrap(), namer)
    }

    fn raw(namer: &Namer, chunks: &[&[u8]]) -> RawFrame {
        let mut raw = RawFrame::default();
        for chunk in chunks {
            raw.push(namer.id(chunk), chunk);
        }
        raw
    }

    #[test]
    fn a_frame_comes_back_as_it_was_with_size_and_checksum_in_its_header() {
        let (mut press, namer) = press();
        let frame = press.press(raw(&namer, &[b"one ", b"two "])).unwrap();
        assert_eq!(opened(&frame.compressed, 8).unwrap(), &b"one two "[..]);
        let size = zstd::zstd_safe::get_frame_content_size(&frame.compressed).unwrap();
        assert_eq!(size, Some(8));
        // RFC 8878, 3.1.1.1.1: bit 2 of the descriptor is the checksum flag.
        assert_eq!(frame.compressed[4] & 0b100, 0b100);
    }

    #[test]
    fn a_chunk_that_memory_changed_is_not_sealed() {
        let (mut press, namer) = press();
        let mut bad = raw(&namer, &[b"one ", b"two "]);
        bad.bytes[5] ^= 1;
        assert_eq!(press.press(bad).unwrap_err().kind(), Kind::Damaged);
    }

    #[test]
    fn a_frame_of_another_length_or_with_a_flipped_bit_does_not_open() {
        let (mut press, namer) = press();
        let frame = press.press(raw(&namer, &[b"one two three four"])).unwrap().compressed;
        for wrong in [17, 19, MOST_FRAME_BYTES + 1, u32::MAX] {
            assert_eq!(opened(&frame, wrong).unwrap_err().kind(), Kind::Damaged);
        }
        for at in 0..frame.len() {
            let mut flipped = frame.clone();
            flipped[at] ^= 0x10;
            assert!(opened(&flipped, 18).map_or(true, |b| b[..] == *b"one two three four"), "byte {at}");
        }
        assert!(opened(&frame[..frame.len() - 1], 18).is_err());
    }

    #[test]
    fn a_frame_takes_chunks_up_to_its_limit_and_a_longer_one_alone() {
        let mut frame = RawFrame::default();
        assert!(frame.takes(2 * FRAME_BYTES));
        frame.push(ChunkId([0; 16]), b"x");
        assert!(frame.takes(FRAME_BYTES - 1));
        assert!(!frame.takes(FRAME_BYTES));
    }
}
