//! Packs become streams again: the byte side of a restore, a check or a drill.
//!
//! Owns fetching, checking, decrypting and ordering. Plaintext is never on disk; ciphertext waits in a bounded folder,
//! decompressed frames in bounded memory. Knows nothing of manifests, receipts or what streams mean.

mod cache;
mod fetch;
mod folder;
mod judge;
mod opened;
mod shelf;
mod supply;
mod walk;

use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use self::folder::Folder;
use self::shelf::NeedId;
use self::supply::Supply;
use self::walk::{Message, QUEUE_PIECES, Walk, runs_of};
use super::extent::{PackRef, StreamRecord};
use super::frame::FRAME_BYTES;
use super::pack::MOST_OBJECT_BYTES;
use super::seal::VaultIdentity;
use crate::error::{Context, Error, Kind, Result};
use crate::id::PackId;
use crate::monitor::{Counter, SharedMonitor, Silent};
use crate::spare::Spare;
use crate::store::{Key, SharedStore, Store};

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
    /// The most bytes of fetched packs; less than two of the snapshot's largest is raised to that.
    pub folder_limit_bytes: u64,
    /// The most decompressed bytes kept in memory; [`MEMORY_LIMIT_BYTES`] unless there is a reason.
    pub memory_limit_bytes: usize,
    /// Where memory for frames comes from; readers one after the other may share it.
    pub frames: Spare,
    /// How many packs are fetched at the same time, 1 to 8.
    pub fetches: usize,
    /// Who hears of it. The reader counts `FetchedBytes` and `RestoredBytes`.
    pub monitor: SharedMonitor,
}

/// Hears of a pack that is damaged, with what is wrong.
pub type WhenDamaged = Box<dyn Fn(&PackId, &Error) + Send + Sync>;

/// Decompressed frames kept in memory, all streams of a reader together.
pub const MEMORY_LIMIT_BYTES: usize = 128 * 1024 * 1024;

/// Makes memory for frames, as much as a reader keeps.
pub fn frame_memory() -> Spare {
    Spare::new(FRAME_BYTES, MEMORY_LIMIT_BYTES / FRAME_BYTES)
}

/// Reads the streams of one snapshot.
///
/// Clones share all they have. When the last of them and of their streams is dropped, all work ends and the folder
/// is removed.
#[derive(Clone)]
pub struct PackReader {
    hold: Arc<Hold>,
}

/// What readers and streams have in common: threads and tasks hold the supply alone, and end with this.
struct Hold {
    supply: Arc<Supply>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.supply.close();
    }
}

impl PackReader {
    /// Prepares a folder, removing what dead readers left beside it; fetches nothing yet.
    ///
    /// Streams run on the runtime of this call.
    pub async fn open(options: ReaderOptions) -> Result<PackReader> {
        let largest = options.packs.iter().map(|p| p.size_bytes.min(MOST_OBJECT_BYTES)).max();
        PackReader::open_with(options, 2 * largest.unwrap_or(0)).await
    }

    /// Opens with another least limit of the folder.
    async fn open_with(mut options: ReaderOptions, least_bytes: u64) -> Result<PackReader> {
        options.folder_limit_bytes = options.folder_limit_bytes.max(least_bytes);
        let parent = options.folder.clone();
        let folder = tokio::task::spawn_blocking(move || Folder::make(&parent)).await;
        let folder = folder.context(Kind::Bug, "preparing a folder")??;
        let supply = Supply::new(options, folder, tokio::runtime::Handle::current());
        Ok(PackReader { hold: Arc::new(Hold { supply: Arc::new(supply) }) })
    }

    /// Has `tell` hear of each pack of which no version is right; the first call counts.
    pub fn when_damaged(&self, tell: WhenDamaged) {
        // A second one is not told.
        self.hold.supply.when_damaged.set(tell).ok();
    }

    /// Announces streams that will be read whole: packs are kept until the last of them has passed, and fetched once.
    ///
    /// Fetching starts at once. Where the folder has not room for all packs, those that are needed last make room and
    /// are fetched again.
    pub fn expect(&self, records: &[&StreamRecord]) {
        let supply = &self.hold.supply;
        let needs: Vec<_> = records
            .iter()
            .map(|r| (name_of(r), runs_of(r, &(0..r.size_bytes), |listed| supply.number(listed))))
            .collect();
        supply.update(|shelf| needs.into_iter().for_each(|(name, runs)| shelf.announce(name, runs)));
    }

    /// Reads a whole stream; its segments' and its own digest are verified.
    ///
    /// What is wrong ends it with an error instead of an end: [`Kind::Damaged`] naming the pack or digest,
    /// [`Kind::NotFound`] where the store has no version of a pack, [`Kind::WrongKey`] where the identity does not
    /// open a pack. Bytes handed out before may be wrong then.
    pub fn stream(&self, record: Arc<StreamRecord>) -> StreamReader {
        let wanted = 0..record.size_bytes;
        self.walk(record, wanted, true)
    }

    /// Reads a part of a stream; every pack's hash and every frame's checksum is verified, and the
    /// hash of each segment that lies wholly within.
    ///
    /// No digest covers what lies at the edges: there, what the manifest says of places in packs is believed. Only the
    /// frames that are needed are decrypted. The packs are kept for the next part while there is room.
    /// [`Kind::Usage`] where the stream is not that long.
    pub fn range(&self, record: Arc<StreamRecord>, offset: u64, length: u64) -> Result<StreamReader> {
        match offset.checked_add(length) {
            Some(end) if end <= record.size_bytes => Ok(self.walk(record, offset..end, false)),
            _ => {
                let name = name_of(&record);
                let what = format!("{length} bytes from {offset} of {name}, which has {}", record.size_bytes);
                Err(Error::new(Kind::Usage, what))
            }
        }
    }

    fn walk(&self, record: Arc<StreamRecord>, wanted: Range<u64>, whole: bool) -> StreamReader {
        let supply = &self.hold.supply;
        let runs = runs_of(&record, &wanted, |listed| supply.number(listed));
        let need = supply.update(|shelf| shelf.begin(name_of(&record), runs, whole));
        let (out, pieces) = mpsc::channel(QUEUE_PIECES);
        let walk = Walk::new(Arc::clone(supply), need, record, wanted, out);
        supply.runtime().spawn_blocking(move || walk.run());
        StreamReader { hold: Arc::clone(&self.hold), need, pieces, rest: Bytes::new(), state: State::Open }
    }
}

fn name_of(record: &StreamRecord) -> String {
    format!("{}/{}", record.component, record.stream)
}

/// The bytes of a stream, in order, through a bounded queue.
///
/// Dropping it ends the work for it.
pub struct StreamReader {
    hold: Arc<Hold>,
    need: NeedId,
    pieces: mpsc::Receiver<Message>,
    /// What [`AsyncRead`] did not take of the last piece.
    rest: Bytes,
    state: State,
}

enum State {
    Open,
    /// The verified end was seen.
    Ended,
    /// Something is wrong: told again to whoever asks again, so that it is never taken for an end.
    Failed(Error),
}

impl StreamReader {
    /// Returns the next bytes, nothing at the verified end, or what is wrong.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|task| self.poll_next(task)).await
    }

    fn poll_next(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        match &self.state {
            State::Open => {}
            State::Ended => return Poll::Ready(None),
            State::Failed(e) => return Poll::Ready(Some(Err(clone_of(e)))),
        }
        let fault = match ready!(self.pieces.poll_recv(task)) {
            Some(Message::Bytes(bytes)) => {
                self.hold.supply.monitor().count(Counter::RestoredBytes, bytes.len() as u64);
                return Poll::Ready(Some(Ok(bytes)));
            }
            Some(Message::End) => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
            Some(Message::Fault(e)) => e,
            None => Error::new(Kind::Interrupted, "reading a stream ended before its end"),
        };
        self.state = State::Failed(clone_of(&fault));
        Poll::Ready(Some(Err(fault)))
    }
}

impl AsyncRead for StreamReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match ready!(self.poll_next(task)) {
            None => Poll::Ready(Ok(())),
            Some(Err(e)) => Poll::Ready(Err(std::io::Error::other(e))),
            Some(Ok(mut bytes)) => {
                let n = bytes.len().min(to.remaining());
                to.put_slice(&bytes[..n]);
                bytes.advance(n);
                self.rest = bytes;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.pieces.close();
        let need = self.need;
        self.hold.supply.update(|shelf| shelf.retire(need));
    }
}

/// Says the same again; causes become part of the message.
fn clone_of(e: &Error) -> Error {
    let again = Error::new(e.kind(), e.to_string());
    match e.hint_text() {
        Some(hint) => again.hint(hint),
        None => again,
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
///
/// [`Kind::NotFound`] where the store has no version of it, [`Kind::Damaged`] where none is right; others where it
/// could not be looked at.
pub async fn check_pack(store: &dyn Store, pack_prefix: &str, pack: PackRef) -> Result<()> {
    let key: Key = format!("{pack_prefix}{}", pack.id).parse()?;
    fetch::fetch(store, &key, pack, None, &Silent).await
}

#[cfg(test)]
mod tests;
