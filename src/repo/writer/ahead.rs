//! How much of large contents is still to come: what the assembler closes the last packs of a first backup by.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::pack::CLOSE_DECOMPRESSED_BYTES;
use super::assemble::Core;

/// A large content's share in [`Core::ahead_bytes`], given back when it ends in whatever way.
pub struct Ahead {
    core: Arc<Core>,
    bytes: u64,
}

impl Ahead {
    /// Has no share yet.
    pub fn of(core: &Arc<Core>) -> Self {
        Ahead { core: Arc::clone(core), bytes: 0 }
    }

    /// A content of this length begins.
    pub fn begin(&mut self, size_bytes: u64) {
        self.end();
        // Where chunks are known, the content's length says nothing of how much becomes packs.
        if size_bytes > CLOSE_DECOMPRESSED_BYTES && self.core.ledger.lock().knows_nothing() {
            self.bytes = size_bytes;
            self.core.ahead_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        }
    }

    /// So much of it was cut.
    pub fn less(&mut self, bytes: u64) {
        let less = bytes.min(self.bytes);
        if less > 0 {
            self.bytes -= less;
            self.core.ahead_bytes.fetch_sub(less, Ordering::Relaxed);
        }
    }

    /// It ends.
    pub fn end(&mut self) {
        self.less(self.bytes);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.end();
    }
}
