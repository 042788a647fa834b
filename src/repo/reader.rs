//! Packs become streams again: the byte side of a restore, a check or a drill.
//!
//! Owns fetching, checking, decrypting and ordering. Plaintext is never on disk; ciphertext waits in a bounded folder,
//! decompressed frames in bounded memory. Knows nothing of manifests, receipts or what streams mean.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use super::extent::{PackRef, StreamRecord};
use super::seal::VaultIdentity;
use crate::error::{Error, Kind, Result};
use crate::monitor::SharedMonitor;
use crate::store::{SharedStore, Store};

/// What reading a snapshot needs.
pub struct ReaderOptions {
    /// Where packs lie.
    pub store: SharedStore,
    /// What stands before each pack's hash: `tenants/T/packs/`.
    pub pack_prefix: String,
    /// The snapshot's packs in the order of their numbers.
    pub packs: Vec<PackRef>,
    /// The vault's identity.
    pub identity: VaultIdentity,
    /// A folder for fetched packs; the reader makes its own below it and removes it when dropped.
    pub folder: PathBuf,
    /// The most bytes of fetched packs; less than two packs (128 MiB) is raised to that.
    pub folder_limit_bytes: u64,
    /// The most decompressed bytes kept in memory; [`MEMORY_LIMIT_BYTES`] unless there is a reason.
    pub memory_limit_bytes: usize,
    /// How many packs are fetched at the same time, 1 to 8.
    pub fetches: usize,
    /// Who hears of it. The reader counts `FetchedBytes` and `RestoredBytes`.
    pub monitor: SharedMonitor,
}

/// Decompressed frames kept in memory, all streams of a reader together.
pub const MEMORY_LIMIT_BYTES: usize = 128 * 1024 * 1024;

/// Reads the streams of one snapshot.
#[derive(Clone)]
pub struct PackReader {}

impl PackReader {
    /// Prepares a folder; fetches nothing yet.
    pub async fn open(_options: ReaderOptions) -> Result<PackReader> {
        Err(unwritten())
    }

    /// Announces streams that will be read whole: packs are kept until the last of them has passed, and fetched once.
    pub fn expect(&self, _records: &[&StreamRecord]) {}

    /// Reads a whole stream; its segments' and its own digest are verified.
    ///
    /// What is wrong ends it with an error instead of an end: [`Kind::Damaged`] naming the pack or digest,
    /// [`Kind::WrongKey`] where the identity does not open a pack. Bytes handed out before may be wrong then.
    pub fn stream(&self, _record: Arc<StreamRecord>) -> StreamReader {
        StreamReader {}
    }

    /// Reads a part of a stream; every pack's hash and every frame's checksum is verified, and the
    /// hash of each segment that lies wholly within.
    ///
    /// [`Kind::Usage`] where the stream is not that long.
    pub fn range(&self, _record: Arc<StreamRecord>, _offset: u64, _length: u64) -> Result<StreamReader> {
        Err(unwritten())
    }
}

/// The bytes of a stream, in order, through a bounded queue.
pub struct StreamReader {}

impl StreamReader {
    /// Returns the next bytes, nothing at the verified end, or what is wrong.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        Some(Err(unwritten()))
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(self: Pin<&mut Self>, _: &mut Task<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other(unwritten())))
    }
}

/// Gives back the error that a [`StreamReader`] put into an I/O error; other I/O errors become [`Kind::Io`].
pub fn error_of(e: std::io::Error) -> Error {
    match e.downcast::<Error>() {
        Ok(error) => error,
        Err(e) => Error::new(Kind::Io, "stream").caused_by(e),
    }
}

/// Fetches a pack and checks that some version of it has the hash that names it (proof level L1), keeping nothing.
pub async fn check_pack(_store: &dyn Store, _pack_prefix: &str, _pack: PackRef) -> Result<()> {
    Err(unwritten())
}

fn unwritten() -> Error {
    Error::new(Kind::Bug, "the pack reader is not written yet")
}
