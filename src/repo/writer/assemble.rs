//! Frames become packs: compressed by two threads, assembled in order, sealed into the spool, put.
//!
//! Owns the second half of the pipeline. Bounded: two frames wait for compression, four for assembly, one pack is
//! open or being sealed; sealed packs are bounded by the spool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::super::cache::Cache;
use super::super::cache::record::{PackHead, PlacedChunk};
use super::super::chunk::Namer;
use super::super::extent::PackRef;
use super::super::frame::{Effort, FRAME_BYTES, Frame, Press, RawFrame};
use super::super::pack::CLOSE_COMPRESSED_BYTES;
use super::super::seal::{VaultRecipient, seal, sealed_at_most};
use super::super::spool::{Spool, Waiting};
use super::ahead::Ahead;
use super::ledger::{Fault, SharedLedger};
use crate::error::{Context, Kind, Result};
use crate::monitor::{Counter, SharedMonitor};
use crate::spare::Spare;

/// What all parts of the pipeline share.
pub struct Core {
    /// Names chunks.
    pub namer: Namer,
    /// The dedup key's epoch.
    pub epoch: [u8; 8],
    /// To whom packs are encrypted.
    pub recipient: VaultRecipient,
    /// Who hears of it.
    pub monitor: SharedMonitor,
    /// What is remembered.
    pub cache: Cache,
    /// Where sealed packs wait.
    pub spool: Spool,
    /// What is known.
    pub ledger: SharedLedger,
    /// What went wrong.
    pub fault: Fault,
    /// Bytes put by this run.
    pub added_bytes: AtomicU64,
    /// What is still to come.
    pub ahead: Ahead,
    /// All that runs off the runtime.
    pub threads: TaskTracker,
}

const PRESSES: usize = 2;
const WAITING_FRAMES: usize = 2;
const WAITING_TICKETS: usize = 4;

/// A frame to be compressed, and where it goes then.
pub struct Job {
    raw: RawFrame,
    done: oneshot::Sender<Result<Frame>>,
}

/// What the assembler takes, in this order.
pub enum Ticket {
    /// A frame on its way through compression.
    Frame {
        /// Its number in this run.
        number: u32,
        /// The frame, once it is compressed.
        frame: oneshot::Receiver<Result<Frame>>,
    },
    /// Answered when all before it is placed.
    Barrier(oneshot::Sender<()>),
}

/// The way into the second half, for each stream.
#[derive(Clone)]
pub struct Pipes {
    jobs: mpsc::Sender<Job>,
    /// Memory of frames that were compressed, for those to come.
    spare: Spare,
    tickets: mpsc::Sender<Ticket>,
}

impl Pipes {
    /// Starts compression and hands back what the assembler is to follow.
    pub fn start(core: &Arc<Core>) -> (Pipes, mpsc::Receiver<Ticket>) {
        let (jobs, queue) = mpsc::channel(WAITING_FRAMES);
        let (tickets, order) = mpsc::channel(WAITING_TICKETS);
        let (queue, spare) = (Arc::new(Mutex::new(queue)), Spare::new(FRAME_BYTES, WAITING_FRAMES + PRESSES));
        let effort = if core.ledger.lock().knows_nothing() { Effort::Quick } else { Effort::Usual };
        for _ in 0..PRESSES {
            let (queue, spare) = (Arc::clone(&queue), spare.clone());
            core.threads.spawn_blocking(move || press(&queue, &spare, effort));
        }
        (Pipes { jobs, spare, tickets }, order)
    }

    /// Returns an empty frame.
    pub fn frame(&self) -> RawFrame {
        RawFrame::within(self.spare.take())
    }

    /// Sends a frame on its way and tells whether the pipeline took it; blocks while it is full.
    pub fn send(&self, number: u32, raw: RawFrame) -> bool {
        let (done, frame) = oneshot::channel();
        // Presses never wait for the assembler, so taking the two queues one after the other cannot lock up.
        self.jobs.blocking_send(Job { raw, done }).is_ok()
            && self.tickets.blocking_send(Ticket::Frame { number, frame }).is_ok()
    }

    /// Blocks until all frames sent before are placed, and tells whether they are.
    pub fn barrier(&self) -> bool {
        let (done, placed) = oneshot::channel();
        self.tickets.blocking_send(Ticket::Barrier(done)).is_ok() && placed.blocking_recv().is_ok()
    }
}

fn press(queue: &Mutex<mpsc::Receiver<Job>>, spare: &Spare, effort: Effort) {
    let mut press = Press::new(effort);
    loop {
        // The other press waits for the lock while this one waits for a frame.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(Job { mut raw, done }) = next else { return };
        let frame = match &mut press {
            Ok(press) => press.press_from(&mut raw),
            Err(e) => Err(crate::error::Error::new(e.kind(), e.to_string())),
        };
        spare.give(raw.bytes);
        // Nobody waits any more where the run has ended.
        drop(done.send(frame));
    }
}

/// A pack that takes frames.
struct OpenPack {
    number: u32,
    frames: Vec<Frame>,
    compressed_bytes: u64,
    decompressed_bytes: u64,
}

/// Assembles packs until all pipes are closed, and returns when all of them are in the store.
pub async fn run(core: Arc<Core>, mut tickets: mpsc::Receiver<Ticket>) -> Result<()> {
    let done = assemble(&core, &mut tickets).await;
    if let Err(e) = &done {
        // Before the queue is closed: whoever finds it closed asks here why.
        core.fault.set(e);
    }
    done
}

async fn assemble(core: &Arc<Core>, tickets: &mut mpsc::Receiver<Ticket>) -> Result<()> {
    let mut uploads: JoinSet<Result<()>> = JoinSet::new();
    let mut open: Option<OpenPack> = None;
    loop {
        let ticket = tokio::select! {
            biased;
            Some(done) = uploads.join_next() => {
                done.context(Kind::Bug, "upload of a pack")??;
                continue;
            }
            ticket = tickets.recv() => ticket,
        };
        match ticket {
            Some(Ticket::Frame { number, frame }) => {
                let frame = frame.await.context(Kind::Bug, "compression of a frame")??;
                let pack = open.get_or_insert_with(|| OpenPack::new(core.ledger.lock().new_pack()));
                pack.take(core, number, frame);
                if pack.is_full(core.ahead.close_at()) {
                    close(core, open.take(), &mut uploads).await?;
                }
            }
            // A stream that does not wait any more was given up.
            Some(Ticket::Barrier(done)) => drop(done.send(())),
            None => break,
        }
    }
    close(core, open.take(), &mut uploads).await?;
    while let Some(done) = uploads.join_next().await {
        done.context(Kind::Bug, "upload of a pack")??;
    }
    Ok(())
}

impl OpenPack {
    fn new(number: u32) -> Self {
        OpenPack { number, frames: Vec::new(), compressed_bytes: 0, decompressed_bytes: 0 }
    }

    fn take(&mut self, core: &Core, number: u32, frame: Frame) {
        // A pack is closed at 128 MiB and a frame has at most 32: far below u32.
        let base = u32::try_from(self.decompressed_bytes).expect("packs hold less than 4 GiB");
        core.ledger.lock().place(number, &frame, self.number, base);
        core.monitor.count(Counter::CompressedBytes, frame.compressed.len() as u64);
        self.compressed_bytes += frame.compressed.len() as u64;
        self.decompressed_bytes += u64::from(frame.size_bytes);
        self.frames.push(frame);
    }

    fn is_full(&self, close_at: u64) -> bool {
        self.compressed_bytes >= CLOSE_COMPRESSED_BYTES || self.decompressed_bytes >= close_at
    }

    fn chunks(&self) -> Vec<PlacedChunk> {
        let mut offset = 0;
        let mut placed = Vec::with_capacity(self.frames.iter().map(|f| f.chunks.len()).sum());
        for chunk in self.frames.iter().flat_map(|f| &f.chunks) {
            placed.push(PlacedChunk { id: chunk.id, offset, length: chunk.length });
            offset += chunk.length;
        }
        placed
    }
}

/// Seals a pack into the spool and starts its put.
async fn close(core: &Arc<Core>, open: Option<OpenPack>, uploads: &mut JoinSet<Result<()>>) -> Result<()> {
    let Some(pack) = open.map(Arc::new) else { return Ok(()) };
    let waiting = loop {
        let room = core.spool.room(sealed_at_most(&pack.frames)).await?;
        let (again, filling) = (Arc::clone(core), Arc::clone(&pack));
        let sealed = core.threads.spawn_blocking(move || {
            again.spool.fill(room, |file| {
                let sealed = seal(again.epoch, &filling.frames, &again.recipient, file)?;
                note(&again, &filling, sealed)?;
                Ok(sealed)
            })
        });
        match sealed.await.context(Kind::Bug, "sealing of a pack")? {
            Ok(waiting) => break waiting,
            // The frames are still in memory: once a put has made space, the pack is sealed again under another key.
            Err((e, room)) if e.kind() == Kind::Full => {
                drop(room);
                if !core.spool.wait_for_space().await? {
                    return Err(e);
                }
            }
            Err((e, _)) => return Err(e),
        }
    };
    uploads.spawn(upload(Arc::clone(core), waiting));
    Ok(())
}

/// Makes the pack durable in the cache before its put, and known by its name.
fn note(core: &Core, open: &OpenPack, sealed: PackRef) -> Result<()> {
    let head = PackHead {
        id: sealed.id,
        size_bytes: sealed.size_bytes,
        decompressed_bytes: open.decompressed_bytes,
    };
    core.cache.put(head, open.chunks())?;
    core.ledger.lock().name_pack(open.number, head);
    Ok(())
}

async fn upload(core: Arc<Core>, mut waiting: Waiting) -> Result<()> {
    waiting.shrink();
    let pack = core.spool.put(waiting).await?;
    core.added_bytes.fetch_add(pack.size_bytes, Ordering::Relaxed);
    core.monitor.count(Counter::StoredBytes, pack.size_bytes);
    core.monitor.count(Counter::StoredPacks, 1);
    core.cache.stored(pack.id)
}
