//! How much of large contents is still to come: what the last packs of a first backup are closed by.
//!
//! Owns the sum over all streams. While the last pack is put there is nothing else to do, so the packs at a large content's
//! end become smaller and smaller. Knows nothing of packs but their size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::pack::CLOSE_DECOMPRESSED_BYTES;

/// No pack is closed early with less, in decompressed bytes: a small tenant's objects stay few.
const LEAST_TAPERED_BYTES: u64 = 24 * 1024 * 1024;

/// What is left of all large contents that are being read while nothing is known, in bytes.
#[derive(Debug, Clone, Default)]
pub struct Ahead(Arc<AtomicU64>);

impl Ahead {
    /// Says at how many decompressed bytes a pack is closed.
    pub fn close_at(&self) -> u64 {
        match self.0.load(Ordering::Relaxed) {
            0 => CLOSE_DECOMPRESSED_BYTES,
            ahead => (ahead / 2).clamp(LEAST_TAPERED_BYTES, CLOSE_DECOMPRESSED_BYTES),
        }
    }

    /// Returns a stream's share, of nothing so far.
    pub fn share(&self) -> Share {
        Share { of: self.clone(), bytes: 0 }
    }
}

/// One stream's share, given back when its content ends in whatever way.
pub struct Share {
    of: Ahead,
    bytes: u64,
}

impl Share {
    /// A content of this length begins.
    pub fn begin(&mut self, size_bytes: u64) {
        self.end();
        if size_bytes > CLOSE_DECOMPRESSED_BYTES {
            self.bytes = size_bytes;
            self.of.0.fetch_add(size_bytes, Ordering::Relaxed);
        }
    }

    /// So much of it was cut.
    pub fn less(&mut self, bytes: u64) {
        let less = bytes.min(self.bytes);
        if less > 0 {
            self.bytes -= less;
            self.of.0.fetch_sub(less, Ordering::Relaxed);
        }
    }

    /// It ends.
    pub fn end(&mut self) {
        self.less(self.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Cuts a content of this length and returns the sizes of its packs.
    fn packs(length: u64) -> Vec<u64> {
        let ahead = Ahead::default();
        let mut share = ahead.share();
        share.begin(length);
        let (mut packs, mut open) = (Vec::new(), 0);
        for _ in 0..length / MIB {
            share.less(MIB);
            open += MIB;
            if open >= ahead.close_at() {
                packs.push(open / MIB);
                open = 0;
            }
        }
        packs.extend((open > 0).then_some(open / MIB));
        packs
    }

    #[test]
    fn packs_become_smaller_towards_the_end_of_a_large_content_and_not_before() {
        assert_eq!(packs(100 * MIB), [100]);
        assert_eq!(packs(460 * MIB), [128, 111, 74, 49, 33, 24, 24, 17]);
        assert_eq!(packs(2048 * MIB)[..14], [128; 14]);
    }

    #[test]
    fn a_content_that_is_given_up_leaves_no_share_behind() {
        let ahead = Ahead::default();
        let (mut one, mut other) = (ahead.share(), ahead.share());
        one.begin(200 * MIB);
        other.begin(200 * MIB);
        one.less(190 * MIB);
        other.less(190 * MIB);
        assert_eq!(ahead.close_at(), LEAST_TAPERED_BYTES);
        drop(one);
        other.less(20 * MIB);
        assert_eq!(ahead.close_at(), CLOSE_DECOMPRESSED_BYTES);
        other.begin(300 * MIB);
        other.end();
        assert_eq!(ahead.close_at(), CLOSE_DECOMPRESSED_BYTES);
    }
}
