//! The table at the head of a pack, and its limits.
//!
//! Owns the table's bytes (docs/format.md, Packs): written here, and read from bytes nobody vouches for. Reading
//! never panics and never allocates more than a small multiple of the bytes that are really there.

use std::io::Read;

use super::frame::{Frame, MOST_FRAME_BYTES, TableChunk};
use crate::error::{Context, Error, Kind, Result};
use crate::id::ChunkId;

/// A writer closes a pack at this many bytes of compressed frames.
pub const CLOSE_COMPRESSED_BYTES: u64 = 16 * 1024 * 1024;
/// A writer closes a pack at this many decompressed bytes.
pub const CLOSE_DECOMPRESSED_BYTES: u64 = 128 * 1024 * 1024;
/// The largest pack object that a reader accepts.
pub const MOST_OBJECT_BYTES: u64 = 64 * 1024 * 1024;
/// The most decompressed bytes of a pack that a reader accepts.
pub const MOST_DECOMPRESSED_BYTES: u64 = 1024 * 1024 * 1024;

/// Magic of the skippable frame, and the table's own.
const SKIPPABLE: [u8; 4] = [0x50, 0x2A, 0x4D, 0x18];
const TABLE: [u8; 4] = *b"LBPT";
const VERSION: u32 = 1;
/// The skippable frame's header, and the table's fixed part.
const OUTER_BYTES: usize = 8;
const FIXED_BYTES: usize = 24;
const FRAME_ENTRY_BYTES: usize = 8;
const CHUNK_ENTRY_BYTES: usize = 20;

/// Where one frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFrame {
    /// Its length in the pack's plaintext.
    pub compressed: u32,
    /// The length of what it holds.
    pub decompressed: u32,
}

/// What a pack holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Of which dedup key the ids are.
    pub epoch: [u8; 8],
    /// The frames in order.
    pub frames: Vec<TableFrame>,
    /// The chunks in order of the decompressed bytes.
    pub chunks: Vec<TableChunk>,
}

impl Table {
    /// Describes these frames.
    pub fn of(epoch: [u8; 8], frames: &[Frame]) -> Self {
        let entry = |f: &Frame| TableFrame {
            compressed: u32::try_from(f.compressed.len()).expect("frames are shorter than 4 GiB"),
            decompressed: f.size_bytes,
        };
        Table {
            epoch,
            frames: frames.iter().map(entry).collect(),
            chunks: frames.iter().flat_map(|f| f.chunks.iter().copied()).collect(),
        }
    }

    /// Returns the length of the whole skippable frame of a table with so many entries.
    pub fn size_bytes(frames: usize, chunks: usize) -> usize {
        OUTER_BYTES + FIXED_BYTES + FRAME_ENTRY_BYTES * frames + CHUNK_ENTRY_BYTES * chunks
    }

    /// Returns the whole skippable frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let whole = Table::size_bytes(self.frames.len(), self.chunks.len());
        let mut out = Vec::with_capacity(whole);
        let u32_le = |out: &mut Vec<u8>, n: usize| {
            let n = u32::try_from(n).expect("a pack's limits keep its table below 4 GiB");
            out.extend_from_slice(&n.to_le_bytes());
        };
        out.extend_from_slice(&SKIPPABLE);
        u32_le(&mut out, whole - OUTER_BYTES);
        out.extend_from_slice(&TABLE);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.epoch);
        u32_le(&mut out, self.frames.len());
        u32_le(&mut out, self.chunks.len());
        for frame in &self.frames {
            out.extend_from_slice(&frame.compressed.to_le_bytes());
            out.extend_from_slice(&frame.decompressed.to_le_bytes());
        }
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.id.0);
            out.extend_from_slice(&chunk.length.to_le_bytes());
        }
        out
    }

    /// Reads the table from the start of a pack's plaintext, leaving `plaintext` at the first frame.
    ///
    /// Anything but a table that adds up is [`Kind::Damaged`]; a later version of it is [`Kind::TooNew`].
    pub fn read(plaintext: &mut impl Read) -> Result<Self> {
        let mut outer = [0; OUTER_BYTES];
        plaintext.read_exact(&mut outer).context(Kind::Damaged, "pack without a table")?;
        let (magic, length) = outer.split_at(4);
        if magic != SKIPPABLE {
            return Err(damaged("does not start with a skippable frame"));
        }
        let length = u64::from(u32_at(length, 0)?);
        if length > MOST_OBJECT_BYTES {
            return Err(damaged("is longer than a pack"));
        }
        // Grows with the bytes that come, not with the length that is claimed.
        let mut content = Vec::new();
        plaintext.take(length).read_to_end(&mut content).context(Kind::Damaged, "pack table")?;
        if content.len() as u64 != length {
            return Err(damaged("is cut short"));
        }
        Table::parse(&content)
    }

    /// Reads the content of the skippable frame.
    pub fn parse(content: &[u8]) -> Result<Self> {
        if content.get(..4) != Some(&TABLE) {
            return Err(damaged("is not one of Lifeboat"));
        }
        let version = u32_at(content, 4)?;
        if version != VERSION {
            return Err(Error::new(Kind::TooNew, format!("pack table of version {version}")));
        }
        let epoch =
            content.get(8..16).and_then(|b| b.try_into().ok()).ok_or_else(|| damaged("is too short"))?;
        let (frames, chunks) = (u32_at(content, 16)? as usize, u32_at(content, 20)? as usize);
        let body = &content[FIXED_BYTES..];
        // Two u32 by small factors: far from overflowing u64.
        let split = frames as u64 * FRAME_ENTRY_BYTES as u64;
        if split + chunks as u64 * CHUNK_ENTRY_BYTES as u64 != body.len() as u64 {
            return Err(damaged("has not the length that its counts ask for"));
        }
        let (frame_bytes, chunk_bytes) = body.split_at(frames * FRAME_ENTRY_BYTES);
        let table = Table {
            epoch,
            frames: frame_bytes.chunks_exact(FRAME_ENTRY_BYTES).map(frame_entry).collect::<Result<_>>()?,
            chunks: chunk_bytes.chunks_exact(CHUNK_ENTRY_BYTES).map(chunk_entry).collect::<Result<_>>()?,
        };
        table.adds_up()?;
        Ok(table)
    }

    /// Checks that chunks fill frames without gap, none crosses a frame's end, and all stays within limits.
    fn adds_up(&self) -> Result<()> {
        let compressed: u64 = self.frames.iter().map(|f| u64::from(f.compressed)).sum();
        let decompressed: u64 = self.frames.iter().map(|f| u64::from(f.decompressed)).sum();
        if self.frames.is_empty() || compressed > MOST_OBJECT_BYTES || decompressed > MOST_DECOMPRESSED_BYTES
        {
            return Err(damaged("names frames beyond the limits of a pack"));
        }
        let mut chunks = self.chunks.iter();
        for frame in &self.frames {
            if frame.compressed == 0 || frame.decompressed == 0 || frame.decompressed > MOST_FRAME_BYTES {
                return Err(damaged("names a frame of impossible length"));
            }
            let mut left = frame.decompressed;
            while left > 0 {
                let next = chunks.next().filter(|c| c.length > 0).and_then(|c| left.checked_sub(c.length));
                left = next.ok_or_else(|| damaged("has chunks that do not fill its frames"))?;
            }
        }
        if chunks.next().is_some() {
            return Err(damaged("has chunks beyond its frames"));
        }
        Ok(())
    }

    /// Returns the sum of what the frames hold, in bytes.
    pub fn decompressed_bytes(&self) -> u64 {
        self.frames.iter().map(|f| u64::from(f.decompressed)).sum()
    }

    /// Returns where each frame lies.
    pub fn layout(&self) -> Layout {
        let mut at = Table::size_bytes(self.frames.len(), self.chunks.len()) as u64;
        let mut holds = 0;
        let place = |f: &TableFrame| {
            let here = FramePlace { at, compressed: f.compressed, holds, decompressed: f.decompressed };
            at += u64::from(f.compressed);
            holds += u64::from(f.decompressed);
            here
        };
        Layout { frames: self.frames.iter().map(place).collect() }
    }
}

/// One frame's place in the plaintext and in the decompressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// Where it starts in the pack's plaintext.
    pub at: u64,
    /// How long it is there.
    pub compressed: u32,
    /// The first decompressed byte that it holds.
    pub holds: u64,
    /// How many it holds.
    pub decompressed: u32,
}

/// Where the frames of a pack lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    frames: Vec<FramePlace>,
}

impl Layout {
    /// Returns the number of frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Returns where the last frame ends: the length of the pack's whole plaintext.
    pub fn plaintext_bytes(&self) -> u64 {
        self.frames.last().map_or(0, |f| f.at + u64::from(f.compressed))
    }

    /// Returns the number and place of the frame that holds this decompressed byte.
    pub fn frame_of(&self, byte: u64) -> Option<(usize, FramePlace)> {
        let number = self.frames.partition_point(|f| f.holds <= byte).checked_sub(1)?;
        let frame = self.frames[number];
        (byte < frame.holds + u64::from(frame.decompressed)).then_some((number, frame))
    }
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Damaged, format!("pack table {what}"))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let four = at.checked_add(4).and_then(|end| bytes.get(at..end)).and_then(|b| b.try_into().ok());
    four.map(u32::from_le_bytes).ok_or_else(|| damaged("is too short"))
}

fn frame_entry(bytes: &[u8]) -> Result<TableFrame> {
    Ok(TableFrame { compressed: u32_at(bytes, 0)?, decompressed: u32_at(bytes, 4)? })
}

fn chunk_entry(bytes: &[u8]) -> Result<TableChunk> {
    let id = bytes.get(..16).and_then(|b| b.try_into().ok()).ok_or_else(|| damaged("is too short"))?;
    Ok(TableChunk { id: ChunkId(id), length: u32_at(bytes, 16)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chunk(n: u8, length: u32) -> TableChunk {
        TableChunk { id: ChunkId([n; 16]), length }
    }

    fn table() -> Table {
        Table {
            epoch: *b"epoch  1",
            frames: vec![
                TableFrame { compressed: 100, decompressed: 30 },
                TableFrame { compressed: 50, decompressed: 12 },
            ],
            chunks: vec![chunk(1, 10), chunk(2, 20), chunk(3, 12)],
        }
    }

    #[test]
    fn a_table_has_the_bytes_of_the_format() {
        let bytes = table().to_bytes();
        assert_eq!(bytes.len(), 8 + 24 + 2 * 8 + 3 * 20);
        let head = "502a4d18 64000000 4c425054 01000000 65706f6368202031 02000000 03000000 64000000 1e000000";
        assert_eq!(hex::encode(&bytes[..40]), head.replace(' ', ""));
        assert_eq!(Table::read(&mut bytes.as_slice()).unwrap(), table());
    }

    #[test]
    fn stock_zstd_passes_over_the_table() {
        let mut pack = table().to_bytes();
        pack.extend(zstd::encode_all(&b"content"[..], 3).unwrap());
        assert_eq!(zstd::decode_all(pack.as_slice()).unwrap(), b"content");
    }

    #[test]
    fn the_layout_finds_the_frame_of_each_byte() {
        let layout = table().layout();
        let first = FramePlace { at: 108, compressed: 100, holds: 0, decompressed: 30 };
        let second = FramePlace { at: 208, compressed: 50, holds: 30, decompressed: 12 };
        assert_eq!(layout.frame_of(0), Some((0, first)));
        assert_eq!(layout.frame_of(29), Some((0, first)));
        assert_eq!(layout.frame_of(30), Some((1, second)));
        assert_eq!(layout.frame_of(41), Some((1, second)));
        assert_eq!(layout.frame_of(42), None);
    }

    #[test]
    fn tables_that_do_not_add_up_are_damaged() {
        let broken: [fn(&mut Table); 7] = [
            |t| t.frames.clear(),
            |t| t.chunks.truncate(2),
            |t| t.chunks.push(chunk(4, 1)),
            |t| t.chunks[0].length = 0,
            |t| t.chunks[1].length = 21,
            |t| t.frames[0].decompressed = MOST_FRAME_BYTES + 1,
            |t| t.frames[0].compressed = u32::MAX,
        ];
        for (number, breakage) in broken.iter().enumerate() {
            let mut broken = table();
            breakage(&mut broken);
            let error = Table::read(&mut broken.to_bytes().as_slice()).unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged, "breakage {number}");
        }
    }

    #[test]
    fn a_lying_count_or_length_is_refused_before_anything_is_allocated_for_it() {
        let good = table().to_bytes();
        for at in [4, 24, 28] {
            let mut lying = good.clone();
            lying[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert_eq!(Table::read(&mut lying.as_slice()).unwrap_err().kind(), Kind::Damaged);
        }
        for length in 0..good.len() {
            assert!(Table::read(&mut &good[..length]).is_err());
        }
    }

    #[test]
    fn a_later_version_is_named_as_such() {
        let mut later = table().to_bytes();
        later[12] = 2;
        assert_eq!(Table::read(&mut later.as_slice()).unwrap_err().kind(), Kind::TooNew);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..108) {
            let mut mutated = table().to_bytes();
            for (offset, byte) in bytes.iter().enumerate() {
                if let Some(b) = mutated.get_mut(at + offset) {
                    *b ^= byte;
                }
            }
            if let Ok(read) = Table::read(&mut mutated.as_slice()) {
                prop_assert!(read.decompressed_bytes() <= MOST_DECOMPRESSED_BYTES);
            }
            if let Ok(read) = Table::parse(&bytes) {
                prop_assert!(read.decompressed_bytes() <= MOST_DECOMPRESSED_BYTES);
            }
        }
    }
}
