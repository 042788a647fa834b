//! The second half of a stream's way: what was read is hashed and handed on, while the walk reads further.
//!
//! Owns the digests of segments. Knows nothing of packs. Runs on a blocking thread of its own between two bounded queues.

use bytes::Bytes;
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::sync::mpsc;

use super::walk::Message;
use crate::error::Error;
use crate::id::Sha256;

/// How many pieces may wait to be hashed.
pub(super) const QUEUE_PIECES: usize = 4;

/// What a walk has for the judge, in the stream's order.
pub(super) enum Finding {
    /// The next bytes, and whether they count for the hash of a segment.
    Bytes(Bytes, bool),
    /// A segment ends that must have this hash; what is told otherwise.
    Segment(Sha256, Error),
    /// The walk's own verdict, which ends the stream.
    Verdict(Message),
}

/// Hashes and hands on until a verdict; blocks. Ends without one where nobody listens, or the walk has gone.
pub(super) fn judge(mut findings: mpsc::Receiver<Finding>, out: &mpsc::Sender<Message>) {
    let mut hash = Hasher::new();
    while let Some(finding) = findings.blocking_recv() {
        let message = match finding {
            Finding::Bytes(bytes, hashed) => {
                if hashed {
                    hash.update(&bytes);
                }
                Message::Bytes(bytes)
            }
            Finding::Segment(right, fault) => {
                if Sha256(hash.finalize_reset().into()) == right {
                    continue;
                }
                Message::Fault(fault)
            }
            Finding::Verdict(verdict) => verdict,
        };
        let last = !matches!(message, Message::Bytes(_));
        if out.blocking_send(message).is_err() || last {
            return;
        }
    }
}
