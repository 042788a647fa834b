//! The pieces of a dump, gathered on a blocking thread and handed over through the bounded queue.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use crate::component::{Grain, PIECE_BYTES, Piece, QUEUE_PIECES, SegmentId};
use crate::error::{Error, Kind, Result};
use crate::id::Sha256;

/// Buffers that come back once the repository has done with them; the kernel clears fresh memory page by page.
#[derive(Clone, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

/// As many as may be on their way at once: in this queue, in the repository's, and in three hands.
const MOST_SPARE: usize = 2 * QUEUE_PIECES + 3;

impl Spare {
    /// Returns an empty buffer with room for a piece.
    pub fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES))
    }

    /// Makes a piece of a buffer that comes back.
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
        let mut spare = self.to.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MOST_SPARE {
            self.bytes.clear();
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Gathers small writes into pieces; every call may wait for the repository.
pub(super) struct Pieces {
    sender: mpsc::Sender<Piece>,
    gathered: BytesMut,
    /// For pieces that are read as such.
    pub spare: Spare,
}

impl Pieces {
    pub fn channel() -> (Self, mpsc::Receiver<Piece>) {
        let (sender, receiver) = mpsc::channel(QUEUE_PIECES);
        (Pieces { sender, gathered: BytesMut::new(), spare: Spare::default() }, receiver)
    }

    pub fn begin(&mut self, stream: &'static str, grain: Grain) -> Result<()> {
        self.send(Piece::Begin { stream, grain })
    }

    pub fn bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let n = bytes.len().min(PIECE_BYTES - self.gathered.len());
            self.gathered.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.gathered.len() == PIECE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Hands over what is already a piece, uncopied.
    pub fn piece(&mut self, bytes: Bytes) -> Result<()> {
        self.flush()?;
        self.send(Piece::Bytes(bytes))
    }

    pub fn cut(&mut self) -> Result<()> {
        self.flush()?;
        self.send(Piece::Cut)
    }

    pub fn open(&mut self, grain: Grain, size_bytes: u64) -> Result<()> {
        self.flush()?;
        self.send(Piece::Open { grain, size_bytes })
    }

    /// Ends a content; what comes back is told its hash, once it was cut.
    pub fn close(&mut self, size_bytes: u64) -> Result<oneshot::Receiver<Sha256>> {
        self.flush()?;
        let (hashed, hash) = oneshot::channel();
        self.send(Piece::Close { size_bytes, hashed })?;
        Ok(hash)
    }

    pub fn known(&mut self, segment: SegmentId) -> Result<()> {
        self.flush()?;
        self.send(Piece::Known(segment))
    }

    pub fn end(&mut self) -> Result<()> {
        self.flush()?;
        self.send(Piece::End)
    }

    fn flush(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.gathered, BytesMut::with_capacity(PIECE_BYTES));
        self.send(Piece::Bytes(full.freeze()))
    }

    fn send(&self, piece: Piece) -> Result<()> {
        self.sender.blocking_send(piece).map_err(|_| gone())
    }
}

pub(super) fn gone() -> Error {
    Error::new(Kind::Interrupted, "nobody takes the files any more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_once_its_last_piece_is_gone() {
        let spare = Spare::default();
        let mut buffer = spare.take();
        buffer.extend_from_slice(b"abc");
        let at = buffer.as_ptr();
        let piece = spare.lend(buffer);
        let part = piece.slice(1..);
        drop(piece);
        assert_eq!(&part[..], b"bc");
        assert!(spare.0.lock().unwrap().is_empty());
        drop(part);
        let again = spare.take();
        assert!(again.is_empty() && again.as_ptr() == at && again.capacity() >= PIECE_BYTES);
    }

    #[test]
    fn no_more_buffers_are_kept_than_are_on_their_way_at_once() {
        let spare = Spare::default();
        let lent: Vec<Bytes> = (0..2 * MOST_SPARE).map(|_| spare.lend(spare.take())).collect();
        drop(lent);
        assert_eq!(spare.0.lock().unwrap().len(), MOST_SPARE);
    }
}
