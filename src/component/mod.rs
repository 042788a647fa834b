//! The recoverable parts of a tenant: how each is dumped and loaded.
//!
//! Owns the shape of a dump on its way and of what a restore needs to know. Knows nothing of packs, stores or
//! snapshots: `ops` carries pieces to the repository and back.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::error::Result;
use crate::id::Sha256;

pub mod acme;
pub mod archive;
pub mod bench;
pub mod branding;
pub mod certs;
pub mod config;
pub mod dns;
pub mod fernet;
pub mod files;
pub mod frappe;
pub mod mariadb;
pub mod redis;
pub mod site;
pub mod sso;
pub mod tls;

/// How much a dump may run ahead of the repository: pieces of at most [`PIECE_BYTES`].
pub const QUEUE_PIECES: usize = 8;

/// The longest piece, in bytes.
pub const PIECE_BYTES: usize = 512 * 1024;

/// How a stream is best cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Rows of text, one a line: small chunks.
    Rows,
    /// File contents and archives.
    Files,
}

/// A segment's content by length and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentId {
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// One step of a dump, in order: `Begin (Bytes | Cut | Open Bytes* Close | Known)* End`, once for each stream.
#[derive(Debug)]
pub enum Piece {
    /// A stream of this name begins; so does its first segment.
    Begin {
        /// The stream's name in the format, such as `sql` or `tar`.
        stream: &'static str,
        /// How to cut it.
        grain: Grain,
    },
    /// The next bytes, at most [`PIECE_BYTES`].
    Bytes(Bytes),
    /// The segment ends, the next begins.
    Cut,
    /// The segment ends, and a content begins that is a segment of its own.
    Open {
        /// How to cut it.
        grain: Grain,
        /// How long it will be.
        size_bytes: u64,
    },
    /// The content begun by [`Piece::Open`] ends, and the next segment begins.
    Close {
        /// How long it became.
        size_bytes: u64,
        /// Told its SHA-256 by whoever cuts it and so has each byte in hand; dropped where the dump is given up.
        hashed: oneshot::Sender<Sha256>,
    },
    /// A whole segment that was not read again, because the repository said it knows it; stands between cuts.
    Known(SegmentId),
    /// The stream ends.
    End,
}

/// A dump on its way.
///
/// The pieces end when the dump does; only then `completion` says whether they are worth anything. Dropping
/// it ends what runs inside containers.
pub struct Dump {
    /// The pieces, through a bounded queue.
    pub pieces: mpsc::Receiver<Piece>,
    /// What the dump says of itself, once its pieces have ended.
    pub completion: BoxFuture<'static, Result<Completion>>,
}

/// What a component that ended well says of itself.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    /// What could not be read, by name; the rest is whole.
    pub lacks: Vec<String>,
    /// What a restore needs to run it again, as JSON for the manifest; encrypted there, so it may hold secrets.
    pub record: serde_json::Value,
    /// What an operator should know (a MyISAM table, a routine that names its schema).
    pub warnings: Vec<String>,
}

/// The bytes of a stream coming back; ends in an error when its digest is not the recorded one.
pub type Source = std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>;
