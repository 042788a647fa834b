//! Two SHA-256 sums of the same bytes, for little more than the time of one.
//!
//! Owns the walk over blocks (FIPS 180-4) and HMAC's two states (RFC 2104). Instructions for SHA-256 wait for each
//! other within one sum; blocks of two sums in turns fill each other's pauses. docs/decisions/0005 has the measurements.
//! Knows nothing of what the sums are of.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use crate::id::Sha256;

const BLOCK_BYTES: usize = 64;

/// FIPS 180-4, 5.3.3.
const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// One sum on its way.
#[derive(Clone)]
pub struct Sum {
    state: [u32; 8],
    /// The first `filled` bytes of a block that is not full yet.
    block: [u8; BLOCK_BYTES],
    filled: usize,
    length_bytes: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Sum { state: START, block: [0; BLOCK_BYTES], filled: 0, length_bytes: 0 }
    }
}

impl Sum {
    fn compress(&mut self, block: &[u8; BLOCK_BYTES]) {
        compress256(&mut self.state, std::slice::from_ref(GenericArray::from_slice(block)));
    }

    /// Takes what the open block still lacks from the head of `bytes`, and returns the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.filled == 0 {
            return bytes;
        }
        let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.filled));
        self.block[self.filled..self.filled + head.len()].copy_from_slice(head);
        self.filled += head.len();
        if self.filled == BLOCK_BYTES {
            let block = self.block;
            self.compress(&block);
            self.filled = 0;
        }
        rest
    }

    /// Keeps less than a block behind the last whole one.
    fn keep(&mut self, tail: &[u8]) {
        if !tail.is_empty() {
            self.block[..tail.len()].copy_from_slice(tail);
            self.filled = tail.len();
        }
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length_bytes += bytes.len() as u64;
        let (blocks, tail) = self.fill(bytes).as_chunks();
        blocks.iter().for_each(|block| self.compress(block));
        self.keep(tail);
    }

    /// Returns how many bytes were appended.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Returns the sum.
    pub fn finish(mut self) -> Sha256 {
        let length_bits = self.length_bytes * 8;
        let mut block = [0; BLOCK_BYTES];
        block[..self.filled].copy_from_slice(&self.block[..self.filled]);
        block[self.filled] = 0x80;
        if self.filled >= BLOCK_BYTES - 8 {
            self.compress(&block);
            block = [0; BLOCK_BYTES];
        }
        block[BLOCK_BYTES - 8..].copy_from_slice(&length_bits.to_be_bytes());
        self.compress(&block);
        let mut sum = [0; 32];
        for (four, word) in sum.chunks_exact_mut(4).zip(self.state) {
            four.copy_from_slice(&word.to_be_bytes());
        }
        Sha256(sum)
    }
}

/// Appends the same bytes to two sums.
fn update_both(a: &mut Sum, b: &mut Sum, bytes: &[u8]) {
    a.length_bytes += bytes.len() as u64;
    b.length_bytes += bytes.len() as u64;
    let (a_blocks, a_tail) = a.fill(bytes).as_chunks();
    let (b_blocks, b_tail) = b.fill(bytes).as_chunks();
    let both = a_blocks.len().min(b_blocks.len());
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        a.compress(x);
        b.compress(y);
    }
    a_blocks[both..].iter().for_each(|block| a.compress(block));
    b_blocks[both..].iter().for_each(|block| b.compress(block));
    a.keep(a_tail);
    b.keep(b_tail);
}

/// HMAC-SHA256 under one key, its two states ready, since most messages are short.
#[derive(Clone)]
pub struct Keyed {
    inner: Sum,
    outer: Sum,
}

impl Keyed {
    /// Prepares a key of 32 bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        let padded = |with: u8| {
            let mut block = [with; BLOCK_BYTES];
            block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
            let mut sum = Sum::default();
            sum.update(&block);
            sum
        };
        Keyed { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// Returns the HMAC of a message.
    pub fn of(&self, message: &[u8]) -> Sha256 {
        let mut inner = self.inner.clone();
        inner.update(message);
        self.wrap(inner)
    }

    /// Returns the HMAC of a message that is the next part of a content, and appends it to the content's sum.
    pub fn of_part(&self, message: &[u8], content: &mut Sum) -> Sha256 {
        let mut inner = self.inner.clone();
        update_both(&mut inner, content, message);
        self.wrap(inner)
    }

    fn wrap(&self, inner: Sum) -> Sha256 {
        let mut outer = self.outer.clone();
        outer.update(&inner.finish().0);
        outer.finish()
    }
}

#[cfg(test)]
mod tests {
    use hmac::Mac;
    use proptest::prelude::*;

    use super::*;

    fn by_the_crate(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
        let mut mac = <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    #[test]
    fn every_length_around_a_block_gives_the_sum_that_the_crate_gives() {
        let bytes: Vec<u8> = (0..300_u32).map(|n| (n * 7) as u8).collect();
        let keyed = Keyed::new(&[9; 32]);
        for length in 0..bytes.len() {
            let part = &bytes[..length];
            let mut sum = Sum::default();
            sum.update(part);
            assert_eq!(sum.finish(), Sha256::of(part), "{length} bytes");
            assert_eq!(keyed.of(part).0, by_the_crate(&[9; 32], part), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_content_in_parts_has_its_own_sum_and_each_part_its_hmac(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..12),
            key in any::<[u8; 32]>(),
        ) {
            let keyed = Keyed::new(&key);
            let mut content = Sum::default();
            for part in &parts {
                prop_assert_eq!(keyed.of_part(part, &mut content).0, by_the_crate(&key, part));
            }
            prop_assert_eq!(content.finish(), Sha256::of(&parts.concat()));
        }
    }
}
