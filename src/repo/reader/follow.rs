//! One stream on its way back: frames opened ahead, put in order, hashed, handed out.
//!
//! Owns the promise that a stream whose bytes are not those that were written ends in an error, not in an end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::sync::mpsc;

use super::super::extent::{Digest, StreamRecord};
use super::Inner;
use super::plan::{Plan, Step};
use crate::error::{Error, Kind, Result};
use crate::id::Sha256;
use crate::monitor::Counter;

/// How far frames are opened ahead of their turn.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;
const AHEAD_STEPS: usize = 16;

/// Bytes between opening, hashing and the reader: pieces of at most 1 MiB.
const WAITING_PIECES: usize = 4;

/// Shorter pieces are gathered, so that they do not hold on to a whole frame each while they wait.
const GATHER_BYTES: usize = 256 * 1024;
const SHORT_BYTES: usize = 64 * 1024;

/// The stream's bytes; `None` is the verified end.
pub type Answers = mpsc::Receiver<Result<Option<Bytes>>>;

/// A stream that is being read.
pub struct Follow {
    /// The reader.
    pub inner: Arc<Inner>,
    /// What is read.
    pub record: Arc<StreamRecord>,
    /// How.
    pub plan: Arc<Plan>,
}

/// A piece in order, and the segment that ends with it.
struct Piece {
    bytes: Vec<Bytes>,
    ends: Option<usize>,
}

/// Lets go of packs as they are passed, and of all others when the stream is dropped early.
struct Needs {
    inner: Arc<Inner>,
    left: VecDeque<u32>,
}

impl Needs {
    fn passed(&mut self, pack: u32) {
        self.left.retain(|p| *p != pack);
        self.inner.shelf.done(pack);
    }
}

impl Drop for Needs {
    fn drop(&mut self) {
        for pack in &self.left {
            self.inner.shelf.done(*pack);
        }
    }
}

impl Follow {
    /// Starts reading; the packs must have been announced. Dropping the second value stops it.
    pub fn start(self) -> (Answers, tokio::task::JoinHandle<()>) {
        let (answers, out) = mpsc::channel(WAITING_PIECES);
        let (pieces, queue) = mpsc::channel(WAITING_PIECES);
        let check = Check {
            record: Arc::clone(&self.record),
            whole: self.plan.first_whole,
            inner: Arc::clone(&self.inner),
            answers,
            hash: Hasher::new(),
            size_bytes: 0,
            gathered: BytesMut::new(),
        };
        tokio::task::spawn_blocking(move || check.run(queue));
        let task = tokio::spawn(async move {
            if let Err(e) = self.run(&pieces).await {
                // Closed where the reader was dropped.
                drop(pieces.send(Err(e)).await);
            }
        });
        (out, task)
    }

    async fn run(self, pieces: &mpsc::Sender<Result<Option<Piece>>>) -> Result<()> {
        let left = self.plan.packs.iter().copied().collect();
        let mut needs = Needs { inner: Arc::clone(&self.inner), left };
        let ahead = tokio::spawn(fetch_ahead(Arc::clone(&self.inner), Arc::clone(&self.plan)));
        let _ahead = tokio_util::task::AbortOnDropHandle::new(ahead);
        let position = Arc::new(AtomicU32::new(0));
        let mut opening: FuturesOrdered<BoxFuture<'static, Result<Vec<Bytes>>>> = FuturesOrdered::new();
        let (mut next, mut passed, mut ahead_bytes) = (0, 0, 0);
        while passed < self.plan.steps.len() {
            while next < self.plan.steps.len() && opening.len() < AHEAD_STEPS && ahead_bytes < AHEAD_BYTES {
                ahead_bytes += u64::from(self.plan.steps[next].run.length);
                opening.push_back(self.open(next, &position));
                next += 1;
            }
            let Some(bytes) = opening.next().await.transpose()? else { break };
            let Step { run, ends } = self.plan.steps[passed];
            // Plans are bounded to u32 steps.
            let number = u32::try_from(passed).unwrap_or(u32::MAX);
            ahead_bytes -= u64::from(run.length);
            passed += 1;
            position.store(number, Ordering::Relaxed);
            if self.plan.is_last_use(number) {
                needs.passed(run.pack);
            }
            if pieces.send(Ok(Some(Piece { bytes, ends }))).await.is_err() {
                return Ok(());
            }
        }
        // Closed where the reader was dropped.
        drop(pieces.send(Ok(None)).await);
        Ok(())
    }

    fn open(&self, step: usize, position: &Arc<AtomicU32>) -> BoxFuture<'static, Result<Vec<Bytes>>> {
        let run = self.plan.steps[step].run;
        let (inner, plan, position) = (Arc::clone(&self.inner), Arc::clone(&self.plan), Arc::clone(position));
        Box::pin(async move {
            if run.length == 0 {
                return Ok(Vec::new());
            }
            let pack = inner
                .shelf
                .get(run.pack, |other| plan.next_use(other, position.load(Ordering::Relaxed)))
                .await?;
            inner.frames.read(&pack, run).await
        })
    }
}

/// Fetches packs in the order in which they are needed first, as far as there is room.
async fn fetch_ahead(inner: Arc<Inner>, plan: Arc<Plan>) {
    let shelf = &inner.shelf;
    let fetches = plan.packs.iter().copied().map(|pack| async move { shelf.prefetch(pack).await });
    let mut fetches = futures::stream::iter(fetches).buffered(inner.fetches);
    while let Some(fetched) = fetches.next().await {
        // Whoever needs the pack meets the same fault and reports it.
        if fetched.is_err() {
            return;
        }
    }
}

/// Hashes pieces in order and hands them out; blocks.
struct Check {
    record: Arc<StreamRecord>,
    /// The first segment that is read whole.
    whole: usize,
    inner: Arc<Inner>,
    answers: mpsc::Sender<Result<Option<Bytes>>>,
    hash: Hasher,
    size_bytes: u64,
    gathered: BytesMut,
}

impl Check {
    fn run(mut self, mut queue: mpsc::Receiver<Result<Option<Piece>>>) {
        let error = loop {
            match queue.blocking_recv() {
                Some(Ok(Some(piece))) => match self.piece(piece) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(e) => break e,
                },
                Some(Ok(None)) => match self.end() {
                    Ok(()) => return,
                    Err(e) => break e,
                },
                Some(Err(e)) => break e,
                None => break Error::new(Kind::Interrupted, "reading was stopped"),
            }
        };
        let named = error.in_context(format!("{}/{}", self.record.component, self.record.stream));
        // Closed where the reader was dropped.
        drop(self.answers.blocking_send(Err(named)));
    }

    /// Takes a piece; false where nobody reads any more.
    fn piece(&mut self, piece: Piece) -> Result<bool> {
        for bytes in piece.bytes {
            self.hash.update(&bytes);
            self.size_bytes += bytes.len() as u64;
            if !self.hand_out(bytes) {
                return Ok(false);
            }
        }
        if let Some(segment) = piece.ends {
            self.end_segment(segment)?;
        }
        Ok(true)
    }

    fn end_segment(&mut self, number: usize) -> Result<()> {
        let hash = Sha256(std::mem::take(&mut self.hash).finalize().into());
        let size_bytes = std::mem::take(&mut self.size_bytes);
        let wanted = &self.record.segments[number];
        if number >= self.whole && (hash, size_bytes) != (wanted.sha256, wanted.size_bytes) {
            return Err(Error::new(
                Kind::Damaged,
                format!("segment {number} of {size_bytes} bytes has not the hash that the manifest gives"),
            ));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        // Segments were compared one by one; this compares the record with itself.
        if Digest::of(&self.record.segments) != self.record.digest {
            return Err(Error::new(Kind::Damaged, "the stream's digest is not that of its segments"));
        }
        if self.flush() {
            // Closed where the reader was dropped.
            drop(self.answers.blocking_send(Ok(None)));
        }
        Ok(())
    }

    fn hand_out(&mut self, bytes: Bytes) -> bool {
        if bytes.len() < SHORT_BYTES {
            self.gathered.extend_from_slice(&bytes);
            return self.gathered.len() < GATHER_BYTES || self.flush();
        }
        self.flush() && self.send(bytes)
    }

    fn flush(&mut self) -> bool {
        let gathered = self.gathered.split().freeze();
        gathered.is_empty() || self.send(gathered)
    }

    fn send(&self, bytes: Bytes) -> bool {
        self.inner.shelf.monitor.count(Counter::RestoredBytes, bytes.len() as u64);
        self.answers.blocking_send(Ok(Some(bytes))).is_ok()
    }
}
