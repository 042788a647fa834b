//! Memory that is used again: buffers of one size, bounded in number.
//!
//! Fresh memory costs the kernel clearing page by page, and what threads free the C library keeps for each of them: buffers
//! that pass between threads are better kept here. Knows nothing of what they hold.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that wait to be used again; clones share them.
#[derive(Debug, Clone)]
pub struct Spare {
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    buffer_bytes: usize,
    most: usize,
    waiting: Mutex<Vec<Vec<u8>>>,
}

impl Spare {
    /// Keeps at most so many buffers, each with room for so many bytes.
    pub fn new(buffer_bytes: usize, most: usize) -> Self {
        Spare { shelf: Arc::new(Shelf { buffer_bytes, most, waiting: Mutex::default() }) }
    }

    /// Returns an empty buffer with room for at least the number of bytes that was stated.
    pub fn take(&self) -> Vec<u8> {
        let waiting = self.shelf.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        waiting.unwrap_or_else(|| Vec::with_capacity(self.shelf.buffer_bytes))
    }

    /// Takes a buffer back; one of another size, or one too many, is freed.
    pub fn give(&self, mut bytes: Vec<u8>) {
        if bytes.capacity() != self.shelf.buffer_bytes {
            return;
        }
        bytes.clear();
        let mut waiting = self.shelf.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < self.shelf.most {
            waiting.push(bytes);
        }
    }

    /// Makes bytes of a buffer that comes back once nobody holds any of them.
    pub fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { bytes, to: self.clone() })
    }
}

struct Lent {
    bytes: Vec<u8>,
    to: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.to.give(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(spare: &Spare) -> usize {
        spare.shelf.waiting.lock().unwrap().len()
    }

    #[test]
    fn a_buffer_comes_back_empty_once_nobody_holds_any_of_its_bytes() {
        let spare = Spare::new(4096, 2);
        let mut buffer = spare.take();
        buffer.extend_from_slice(b"abc");
        let at = buffer.as_ptr();
        let bytes = spare.lend(buffer);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!(&part[..], b"bc");
        assert_eq!(waiting(&spare), 0);
        drop(part);
        let again = spare.take();
        assert!(again.is_empty() && again.as_ptr() == at);
    }

    #[test]
    fn no_more_are_kept_than_was_said_and_none_of_another_size() {
        let spare = Spare::new(4096, 3);
        let lent: Vec<Bytes> = (0..7).map(|_| spare.lend(spare.take())).collect();
        drop(lent);
        assert_eq!(waiting(&spare), 3);
        let spare = Spare::new(4096, 3);
        spare.give(Vec::with_capacity(4095));
        spare.give(Vec::with_capacity(1 << 20));
        assert_eq!(waiting(&spare), 0);
    }
}
