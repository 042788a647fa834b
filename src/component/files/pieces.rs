//! The pieces of a dump, gathered on a blocking thread and handed over through the bounded queue.

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use crate::component::{Grain, PIECE_BYTES, Piece, QUEUE_PIECES, SegmentId};
use crate::error::{Error, Kind, Result};
use crate::id::Sha256;
use crate::spare::Spare;

/// As many as may be on their way at once: in this queue, in the repository's, and in three hands.
const MOST_SPARE: usize = 2 * QUEUE_PIECES + 3;

/// Gathers small writes into pieces; every call may wait for the repository.
pub(super) struct Pieces {
    sender: mpsc::Sender<Piece>,
    gathered: BytesMut,
    /// For pieces that are read as such; they come back once the repository has done with them.
    pub spare: Spare,
}

impl Pieces {
    pub fn channel() -> (Self, mpsc::Receiver<Piece>) {
        let (sender, receiver) = mpsc::channel(QUEUE_PIECES);
        (Pieces { sender, gathered: BytesMut::new(), spare: Spare::new(PIECE_BYTES, MOST_SPARE) }, receiver)
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
