//! The records of the cache's journal, byte by byte.
//!
//! Owns their encoding: length, CRC-32 and kind, then fields in little-endian. Knows nothing of files.

use super::index::Place;
use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, ComponentName, PackId, Sha256};
use crate::repo::extent::Cutter;

/// Length and CRC-32 before each record.
pub const HEAD_BYTES: usize = 8;
/// No record is longer: a pack has at most some 4 million chunks.
const MOST_BYTES: usize = 256 * 1024 * 1024;

/// A chunk and where it lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedChunk {
    /// Its id.
    pub id: ChunkId,
    /// Where it starts in the pack's decompressed bytes.
    pub offset: u32,
    /// Its length.
    pub length: u32,
}

/// A pack without its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHead {
    /// Its name.
    pub id: PackId,
    /// The size of the object.
    pub size_bytes: u64,
    /// The sum of its chunks as they were written.
    pub decompressed_bytes: u64,
}

/// One step of the journal. Packs are numbered from 0 in the order in which the journal names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The first record: whose cache this is.
    Start {
        /// The vault's id.
        vault: String,
        /// The dedup key's epoch.
        epoch: [u8; 8],
    },
    /// A pack that the newest snapshot refers to; its chunks follow later.
    Pack(PackHead),
    /// What a component refers to in the newest snapshot.
    Live(ComponentName, Vec<Place>),
    /// How a stream was cut last, and its length.
    Stream(ComponentName, String, Cutter, u64),
    /// The last receipt.
    Head(u64, Sha256),
    /// Chunks of a pack named before.
    Chunks(u32, Vec<PlacedChunk>),
    /// A large content of a component: its length, hash, and where it lies.
    Segment(ComponentName, u64, Sha256, Vec<Place>),
    /// The state at the last commit is complete; what follows happened since.
    Complete,
    /// A pack that is about to be put, with all its chunks.
    Put(PackHead, Vec<PlacedChunk>),
    /// This pack is in the store.
    Stored(PackId),
}

impl Record {
    /// Appends the record with its length and CRC.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        self.fields(out);
        let body = &out[start + HEAD_BYTES..];
        let length = u32::try_from(body.len()).expect("records are shorter than 4 GiB");
        let crc = crc32fast::hash(body);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        out[start + 4..start + HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    fn fields(&self, out: &mut Vec<u8>) {
        match self {
            Record::Start { vault, epoch } => {
                out.push(1);
                text(out, vault);
                out.extend_from_slice(epoch);
            }
            Record::Pack(pack) => {
                out.push(2);
                pack_head(out, pack);
            }
            Record::Live(component, places) => {
                out.push(3);
                text(out, component.as_str());
                put_places(out, places);
            }
            Record::Stream(component, name, cutter, size_bytes) => {
                out.push(4);
                text(out, component.as_str());
                text(out, name);
                text(out, &cutter.name);
                for n in [cutter.min, cutter.average, cutter.max] {
                    out.extend_from_slice(&n.to_le_bytes());
                }
                out.extend_from_slice(&size_bytes.to_le_bytes());
            }
            Record::Head(sequence, receipt) => {
                out.push(5);
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&receipt.0);
            }
            Record::Chunks(pack, chunks) => {
                out.push(6);
                out.extend_from_slice(&pack.to_le_bytes());
                put_chunks(out, chunks);
            }
            Record::Segment(component, size_bytes, sha256, places) => {
                out.push(7);
                text(out, component.as_str());
                out.extend_from_slice(&size_bytes.to_le_bytes());
                out.extend_from_slice(&sha256.0);
                put_places(out, places);
            }
            Record::Complete => out.push(8),
            Record::Put(pack, chunks) => {
                out.push(9);
                pack_head(out, pack);
                put_chunks(out, chunks);
            }
            Record::Stored(id) => {
                out.push(10);
                out.extend_from_slice(&id.0);
            }
        }
    }

    /// Reads the fields of a record whose CRC was right; [`Kind::Damaged`] where they make no sense.
    pub fn read(body: &[u8]) -> Result<Record> {
        let mut fields = Fields { rest: body };
        let [kind] = fields.array()?;
        let record = match kind {
            1 => Record::Start { vault: fields.text()?, epoch: fields.array()? },
            2 => Record::Pack(fields.pack_head()?),
            3 => Record::Live(fields.component()?, fields.places()?),
            4 => {
                let (component, stream) = (fields.component()?, fields.text()?);
                let (name, min, average, max) = (fields.text()?, fields.u32()?, fields.u32()?, fields.u32()?);
                Record::Stream(component, stream, Cutter { name, min, average, max }, fields.u64()?)
            }
            5 => Record::Head(fields.u64()?, Sha256(fields.array()?)),
            6 => Record::Chunks(fields.u32()?, fields.chunks()?),
            7 => {
                Record::Segment(fields.component()?, fields.u64()?, Sha256(fields.array()?), fields.places()?)
            }
            8 => Record::Complete,
            9 => Record::Put(fields.pack_head()?, fields.chunks()?),
            10 => Record::Stored(Sha256(fields.array()?)),
            _ => return Err(nonsense()),
        };
        if fields.rest.is_empty() { Ok(record) } else { Err(nonsense()) }
    }
}

/// Splits length and CRC off the head of a record; nothing where the length cannot be.
pub fn head(bytes: [u8; HEAD_BYTES]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h] = bytes;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    (1..=MOST_BYTES).contains(&length).then(|| (length, u32::from_le_bytes([e, f, g, h])))
}

fn nonsense() -> Error {
    Error::new(Kind::Damaged, "cache journal: record that makes no sense")
}

fn text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).expect("names in the cache are shorter than 256 bytes");
    out.push(length);
    out.extend_from_slice(text.as_bytes());
}

fn pack_head(out: &mut Vec<u8>, pack: &PackHead) {
    out.extend_from_slice(&pack.id.0);
    out.extend_from_slice(&pack.size_bytes.to_le_bytes());
    out.extend_from_slice(&pack.decompressed_bytes.to_le_bytes());
}

fn put_places(out: &mut Vec<u8>, places: &[Place]) {
    for n in places.iter().flat_map(|p| [p.pack, p.offset, p.length]) {
        out.extend_from_slice(&n.to_le_bytes());
    }
}

fn put_chunks(out: &mut Vec<u8>, chunks: &[PlacedChunk]) {
    for chunk in chunks {
        out.extend_from_slice(&chunk.id.0);
        out.extend_from_slice(&chunk.offset.to_le_bytes());
        out.extend_from_slice(&chunk.length.to_le_bytes());
    }
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(nonsense)?;
        self.rest = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let [length] = self.array()?;
        let (head, rest) = self.rest.split_at_checked(length.into()).ok_or_else(nonsense)?;
        self.rest = rest;
        String::from_utf8(head.to_vec()).map_err(|_| nonsense())
    }

    fn component(&mut self) -> Result<ComponentName> {
        self.text()?.parse().map_err(|_| nonsense())
    }

    fn pack_head(&mut self) -> Result<PackHead> {
        Ok(PackHead { id: Sha256(self.array()?), size_bytes: self.u64()?, decompressed_bytes: self.u64()? })
    }

    /// All that is left, in entries of 12 bytes.
    fn places(&mut self) -> Result<Vec<Place>> {
        let mut places = Vec::with_capacity(self.rest.len() / 12);
        while !self.rest.is_empty() {
            places.push(Place { pack: self.u32()?, offset: self.u32()?, length: self.u32()? });
        }
        Ok(places)
    }

    /// All that is left, in entries of 24 bytes.
    fn chunks(&mut self) -> Result<Vec<PlacedChunk>> {
        let mut chunks = Vec::with_capacity(self.rest.len() / 24);
        while !self.rest.is_empty() {
            let id = ChunkId(self.array()?);
            chunks.push(PlacedChunk { id, offset: self.u32()?, length: self.u32()? });
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Record> {
        let place = Place { pack: 1, offset: 2, length: 3 };
        let chunk = PlacedChunk { id: ChunkId([7; 16]), offset: 8, length: 9 };
        let pack = PackHead { id: Sha256::of(b"p"), size_bytes: 10, decompressed_bytes: 11 };
        let cutter = Cutter { name: "fastcdc-2020".to_owned(), min: 1, average: 2, max: 3 };
        vec![
            Record::Start { vault: "ab".repeat(16), epoch: [1; 8] },
            Record::Pack(pack),
            Record::Live(ComponentName::Database, vec![place, place]),
            Record::Stream(ComponentName::Files, "tar".to_owned(), cutter, 12),
            Record::Head(13, Sha256::of(b"r")),
            Record::Chunks(14, vec![chunk]),
            Record::Segment(ComponentName::Files, 15, Sha256::of(b"s"), vec![place]),
            Record::Complete,
            Record::Put(pack, vec![chunk, chunk]),
            Record::Stored(pack.id),
        ]
    }

    #[test]
    fn every_record_comes_back_as_it_was() {
        for record in one_of_each() {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            let (length, crc) = head(bytes[..8].try_into().unwrap()).unwrap();
            assert_eq!((length, crc), (bytes.len() - 8, crc32fast::hash(&bytes[8..])));
            assert_eq!(Record::read(&bytes[8..]).unwrap(), record);
        }
    }

    #[test]
    fn records_that_are_cut_short_or_too_long_are_refused_without_panic() {
        for record in one_of_each() {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            for length in 0..bytes.len() - 8 {
                if let Ok(shorter) = Record::read(&bytes[8..8 + length]) {
                    assert_ne!(shorter, record);
                }
            }
            bytes.push(0);
            assert!(Record::read(&bytes[8..]).is_err(), "{record:?}");
        }
        assert!(Record::read(&[99]).is_err());
        assert!(head([0; 8]).is_none());
        assert!(head([0xFF; 8]).is_none());
    }
}
