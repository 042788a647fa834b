//! Chunk ids in memory: where each known chunk lies, at no more than 48 bytes a chunk.
//!
//! Entries of 28 bytes lie in blocks that never move; a hash table of their numbers finds them. At 5 bytes a
//! slot and a load between 7/16 and 7/8 that is 34 to 40 bytes a chunk, and 45 while the table grows.

use hashbrown::HashTable;

use crate::id::ChunkId;

/// Where a chunk lies; `pack` counts in whatever list the owner of the index keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The pack's number.
    pub pack: u32,
    /// Where the chunk starts in the pack's decompressed bytes.
    pub offset: u32,
    /// Its length.
    pub length: u32,
}

impl Place {
    /// Returns where it ends.
    pub fn end(self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }
}

#[derive(Clone, Copy)]
struct Entry {
    id: ChunkId,
    place: Place,
}

/// A block is 0.4 MiB; only the last one has room left.
const BLOCK_ENTRIES: usize = 1 << 14;

/// All known chunks, in the order in which they came to be known.
#[derive(Default)]
pub struct ChunkIndex {
    numbers: HashTable<u32>,
    blocks: Vec<Vec<Entry>>,
    count: u32,
}

impl ChunkIndex {
    /// Returns where the chunk lies.
    pub fn get(&self, id: &ChunkId) -> Option<Place> {
        let number = self.numbers.find(hash(id), |&n| entry(&self.blocks, n).id == *id)?;
        Some(entry(&self.blocks, *number).place)
    }

    /// Adds a chunk unless its id is known, and tells whether it did.
    pub fn insert(&mut self, id: ChunkId, place: Place) -> bool {
        // The count stays far below u32: 4 billion chunks would need 150 GB of memory.
        let ChunkIndex { numbers, blocks, count } = self;
        if *count == u32::MAX || numbers.find(hash(&id), |&n| entry(blocks, n).id == id).is_some() {
            return false;
        }
        match blocks.last_mut().filter(|block| block.len() < BLOCK_ENTRIES) {
            Some(block) => block.push(Entry { id, place }),
            None => blocks.push(new_block(blocks.is_empty(), Entry { id, place })),
        }
        numbers.insert_unique(hash(&id), *count, |&n| hash(&entry(blocks, n).id));
        *count += 1;
        true
    }

    /// Returns how many chunks are known.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Tells whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks the chunks in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (ChunkId, Place)> + '_ {
        self.blocks.iter().flatten().map(|e| (e.id, e.place))
    }

    /// Returns the bytes of memory that the index takes.
    pub fn memory_bytes(&self) -> usize {
        let entries: usize = self.blocks.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry>() + self.numbers.allocation_size()
    }
}

/// The first block grows as a small tenant needs it; the others are made whole.
fn new_block(first: bool, entry: Entry) -> Vec<Entry> {
    let mut block = if first { Vec::new() } else { Vec::with_capacity(BLOCK_ENTRIES) };
    block.push(entry);
    block
}

fn entry(blocks: &[Vec<Entry>], number: u32) -> &Entry {
    &blocks[number as usize / BLOCK_ENTRIES][number as usize % BLOCK_ENTRIES]
}

/// Ids are keyed hashes, uniform already.
fn hash(id: &ChunkId) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&id.0[..8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::chunk::{DedupKey, Namer};

    fn place(n: u32) -> Place {
        Place { pack: n / 1000, offset: n, length: 7 }
    }

    #[test]
    fn what_was_put_in_is_found_and_the_first_place_stays() {
        let namer = Namer::new(&DedupKey::new([1; 32]));
        let mut index = ChunkIndex::default();
        for n in 0..200_000_u32 {
            assert!(index.insert(namer.id(&n.to_le_bytes()), place(n)));
        }
        assert!(!index.insert(namer.id(&5_u32.to_le_bytes()), place(9)));
        for n in (0..200_000_u32).step_by(17) {
            assert_eq!(index.get(&namer.id(&n.to_le_bytes())), Some(place(n)));
        }
        assert_eq!(index.get(&namer.id(b"other")), None);
        assert_eq!(index.len(), 200_000);
        assert!(index.iter().map(|(_, p)| p.offset).eq(0..200_000));
    }

    #[test]
    fn a_chunk_takes_at_most_48_bytes_of_memory_once_there_are_many() {
        let mut index = ChunkIndex::default();
        for n in 0..500_000_u32 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_le_bytes());
            index.insert(ChunkId(id), place(n));
            if n > 130_000 && n % 1009 == 0 {
                assert!(index.memory_bytes() <= 48 * index.len(), "{} at {n}", index.memory_bytes());
            }
        }
    }
}
