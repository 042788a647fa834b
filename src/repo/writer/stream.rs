//! One stream on its way: its thread cuts, names and looks up chunks, and gathers new ones into frames.
//!
//! Owns the first half of the pipeline, for one stream. What it cannot finish it leaves behind for the next run.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::cache::SegmentKey;
use super::super::chunk::ByChunk;
use super::super::cutter::{self, Cutting, Grain};
use super::super::extent::{Cutter, Digest, Segment, StreamRecord};
use super::super::frame::RawFrame;
use super::super::twin::Sum;
use super::ahead::Share;
use super::assemble::{Core, Pipes};
use super::ledger::{Finished, Spot, push_spot};
use crate::error::{Context, Error, Kind, Result};
use crate::id::{ChunkId, ComponentName, Sha256};
use crate::monitor::Counter;

/// How much a source may run ahead of the cutter: at 512 KiB a piece, 4 MiB.
const WAITING_PIECES: usize = 8;

/// What a stream's thread is asked to do, in order.
enum Step {
    Bytes(Bytes),
    Cut,
    Open(Cutter, u64),
    Close(u64, Box<dyn FnOnce(SegmentKey) + Send>),
    Known(SegmentKey),
    Finish(oneshot::Sender<StreamRecord>),
}

/// Writes one stream. Dropping it is [`StreamWriter::abort`].
pub struct StreamWriter {
    steps: mpsc::Sender<Step>,
    core: Arc<Core>,
    began: Instant,
    /// Counts the streams that are open.
    _open: Arc<()>,
}

impl StreamWriter {
    pub(super) fn start(
        core: &Arc<Core>,
        pipes: Pipes,
        open: Arc<()>,
        component: ComponentName,
        stream: &str,
        cutter: Cutter,
    ) -> Result<StreamWriter> {
        let (steps, queue) = mpsc::channel(WAITING_PIECES);
        let thread = StreamThread {
            component,
            stream: stream.to_owned(),
            cutting: Cutting::new(&cutter)?,
            own: None,
            ahead: core.ahead.share(),
            cutter,
            gather: Gather {
                core: Arc::clone(core),
                pipes,
                raw: RawFrame::default(),
                fresh: ByChunk::default(),
                number: None,
                spots: Vec::new(),
                content: Sum::default(),
            },
            size_bytes: 0,
            segments: Vec::new(),
        };
        core.threads.spawn_blocking(move || thread.run(queue));
        Ok(StreamWriter { steps, core: Arc::clone(core), began: Instant::now(), _open: open })
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        let core = Arc::clone(&self.core);
        let sent = async { self.steps.send(step).await.map_err(|_| core.fault.error()) };
        self.unless_full(sent).await
    }

    /// Waits for the pipeline, unless the spool is full for too long: [`Kind::Full`], and the pipeline goes on.
    async fn unless_full<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            full = self.core.spool.too_long(self.began) => Err(full),
        }
    }

    /// Appends bytes to the open segment; waits while the pipeline is full, but no longer than the spool's options allow
    /// ([`Kind::Full`]): then this stream is to be dropped, and others may still be written.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.step(Step::Bytes(bytes)).await
    }

    /// Ends the open segment; an empty one leaves no trace.
    pub async fn cut(&mut self) -> Result<()> {
        self.step(Step::Cut).await
    }

    /// Ends the open segment and begins one of `size_bytes` that is cut in its own grain; [`StreamWriter::close`] ends it.
    ///
    /// Its cutter follows from grain and length alone, so that the same content is cut alike in every snapshot.
    pub async fn open(&mut self, grain: Grain, size_bytes: u64) -> Result<()> {
        self.step(Step::Open(cutter::choose(grain, size_bytes, None), size_bytes)).await
    }

    /// Ends the segment that [`StreamWriter::open`] began and `size_bytes` of which were written; `hashed` is told what it
    /// is called once all of it was cut, and is dropped where that does not come about.
    pub async fn close(
        &mut self,
        size_bytes: u64,
        hashed: impl FnOnce(SegmentKey) + Send + 'static,
    ) -> Result<()> {
        self.step(Step::Close(size_bytes, Box::new(hashed))).await
    }

    /// Appends a segment that is known, ending the open one; [`Kind::Bug`] where it is not.
    pub async fn known(&mut self, segment: SegmentKey) -> Result<()> {
        if self.core.ledger.lock().segment(&segment).is_none() {
            let what = format!("segment {} is not known, but was not read", segment.sha256.short());
            return Err(Error::new(Kind::Bug, what));
        }
        self.step(Step::Known(segment)).await
    }

    /// Ends the stream and says where its bytes lie; packs may still be on their way.
    pub async fn finish(mut self) -> Result<StreamRecord> {
        let (reply, answer) = oneshot::channel();
        self.step(Step::Finish(reply)).await?;
        let placed = async { answer.await.map_err(|_| self.core.fault.error()) };
        self.unless_full(placed).await
    }

    /// Gives the stream up: it is in no record, the pipeline goes on.
    pub fn abort(self) {}
}

struct StreamThread {
    component: ComponentName,
    stream: String,
    cutter: Cutter,
    cutting: Cutting,
    /// The cutter of the open segment, where it has one of its own.
    own: Option<Cutting>,
    /// What is left of that segment, where packs are to be closed with its end in view.
    ahead: Share,
    gather: Gather,
    /// The length of the open segment.
    size_bytes: u64,
    /// Those before it.
    segments: Vec<(SegmentKey, Vec<Spot>)>,
}

/// Takes chunks: finds those that are known, gathers the others into frames.
struct Gather {
    core: Arc<Core>,
    pipes: Pipes,
    /// The frame being gathered, and its chunks by id; other streams learn of them when it is sent.
    raw: RawFrame,
    fresh: ByChunk<Spot>,
    number: Option<u32>,
    /// Where the chunks of the open segment lie, and the sum of them.
    spots: Vec<Spot>,
    content: Sum,
}

impl StreamThread {
    fn run(mut self, mut queue: mpsc::Receiver<Step>) {
        while let Some(step) = queue.blocking_recv() {
            let done = match step {
                Step::Bytes(bytes) => self.bytes(&bytes),
                Step::Cut => self.end_segment(),
                Step::Open(cutter, size_bytes) => self.open(&cutter, size_bytes),
                Step::Close(size_bytes, hashed) => self.close(size_bytes, hashed),
                Step::Known(segment) => self.known(segment),
                Step::Finish(reply) => {
                    if let Err(e) = self.place() {
                        return self.fail(&e);
                    }
                    // Whoever no longer waits has given the stream up: no pack is named for its sake.
                    if reply.is_closed() {
                        return self.give_up();
                    }
                    match self.record() {
                        Ok(record) => drop(reply.send(record)),
                        Err(e) => self.fail(&e),
                    }
                    return;
                }
            };
            if let Err(e) = done {
                return self.fail(&e);
            }
        }
        self.give_up();
    }

    fn fail(&self, error: &Error) {
        if error.kind() != Kind::Interrupted {
            self.gather.core.fault.set(error);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.gather.core.monitor.count(Counter::SourceBytes, bytes.len() as u64);
        self.size_bytes += bytes.len() as u64;
        self.ahead.less(bytes.len() as u64);
        let cutting = self.own.as_mut().unwrap_or(&mut self.cutting);
        cutting.push(bytes, |chunk| self.gather.chunk(chunk))
    }

    fn end_segment(&mut self) -> Result<()> {
        if self.own.is_some() {
            return Err(Error::new(Kind::Bug, "a segment of its own ends that was not closed"));
        }
        self.cutting.end(|chunk| self.gather.chunk(chunk))?;
        self.keep().map(drop)
    }

    /// Keeps the segment whose last chunk was taken, and returns what it is called.
    fn keep(&mut self) -> Result<SegmentKey> {
        let size_bytes = std::mem::take(&mut self.size_bytes);
        let content = std::mem::take(&mut self.gather.content);
        // The sum is of what was cut: of something else than was written, it would prove nothing.
        if content.length_bytes() != size_bytes {
            let what = format!("{} of a segment's {size_bytes} bytes were cut", content.length_bytes());
            return Err(Error::new(Kind::Bug, what));
        }
        let key = SegmentKey { size_bytes, sha256: content.finish() };
        if size_bytes > 0 {
            self.segments.push((key, std::mem::take(&mut self.gather.spots)));
        }
        Ok(key)
    }

    fn open(&mut self, cutter: &Cutter, size_bytes: u64) -> Result<()> {
        self.end_segment()?;
        // Where chunks are known, the content's length says nothing of how much becomes packs.
        if self.gather.core.ledger.lock().knows_nothing() {
            self.ahead.begin(size_bytes);
        }
        self.own = Some(Cutting::new(cutter)?);
        Ok(())
    }

    fn close(&mut self, size_bytes: u64, hashed: impl FnOnce(SegmentKey)) -> Result<()> {
        let Some(mut own) = self.own.take() else {
            return Err(Error::new(Kind::Bug, "a segment is closed that was not opened"));
        };
        self.ahead.end();
        own.end(|chunk| self.gather.chunk(chunk))?;
        if size_bytes != self.size_bytes {
            let what = format!("a segment of {} bytes was closed as one of {size_bytes}", self.size_bytes);
            return Err(Error::new(Kind::Bug, what));
        }
        hashed(self.keep()?);
        Ok(())
    }

    fn known(&mut self, key: SegmentKey) -> Result<()> {
        self.end_segment()?;
        let ledger = self.gather.core.ledger.lock();
        let segment = ledger.segment(&key).ok_or_else(|| Error::new(Kind::Bug, "segment is not known"))?;
        let spots = segment.places.iter().map(|p| Spot::Pack(*p)).collect();
        drop(ledger);
        self.segments.push((key, spots));
        // Its source read no more than its attributes; it is in the stream all the same, whose length this counts up to.
        self.gather.core.monitor.count(Counter::SourceBytes, key.size_bytes);
        Ok(())
    }

    /// Ends the last segment and waits until all frames have their places.
    fn place(&mut self) -> Result<()> {
        self.end_segment()?;
        self.gather.send_frame()?;
        if self.gather.pipes.barrier() { Ok(()) } else { Err(closed()) }
    }

    fn record(&mut self) -> Result<StreamRecord> {
        let mut ledger = self.gather.core.ledger.lock();
        let mut segments = Vec::with_capacity(self.segments.len());
        for (key, spots) in self.segments.drain(..) {
            segments.push((key, ledger.resolve(&spots)?));
        }
        let keys: Vec<SegmentKey> = segments.iter().map(|(key, _)| *key).collect();
        let extents = ledger.adopt(Finished {
            component: self.component,
            stream: self.stream.clone(),
            cutter: self.cutter.clone(),
            segments,
        });
        drop(ledger);
        let segment = |(key, extents): (&SegmentKey, _)| Segment {
            size_bytes: key.size_bytes,
            sha256: key.sha256,
            extents,
        };
        let segments: Vec<Segment> = keys.iter().zip(extents).map(segment).collect();
        Ok(StreamRecord {
            component: self.component,
            stream: self.stream.clone(),
            cutter: self.cutter.clone(),
            size_bytes: keys.iter().map(|key| key.size_bytes).sum(),
            digest: Digest::of(&segments),
            segments,
        })
    }

    /// Forgets the open segment's own end, since it does not come; what was cut of it lies where it lies.
    fn leave_own(&mut self) {
        if self.own.take().is_some() {
            self.size_bytes = 0;
            self.gather.content = Sum::default();
            let cut = std::mem::take(&mut self.gather.spots);
            let nowhere = SegmentKey { size_bytes: 0, sha256: Sha256([0; 32]) };
            self.segments.push((nowhere, cut));
        }
    }

    /// Leaves what was cut so far to the next run: it may find it again.
    fn give_up(&mut self) {
        self.leave_own();
        if self.end_segment().is_ok() && self.gather.send_frame().is_ok() {
            let spots = self.segments.drain(..).flat_map(|(_, spots)| spots).collect();
            self.gather.core.ledger.lock().given_up.push((self.component, spots));
        }
    }
}

impl Gather {
    fn chunk(&mut self, chunk: &[u8]) -> Result<()> {
        let id = self.core.namer.id_within(chunk, &mut self.content);
        let known = self.fresh.get(&id).copied().or_else(|| self.core.ledger.lock().find(&id));
        let spot = match known {
            Some(spot) => spot,
            None => self.new_chunk(id, chunk)?,
        };
        push_spot(&mut self.spots, spot);
        Ok(())
    }

    fn new_chunk(&mut self, id: ChunkId, chunk: &[u8]) -> Result<Spot> {
        if !self.raw.takes(chunk.len()) {
            self.send_frame()?;
        }
        let core = &self.core;
        let frame = *self.number.get_or_insert_with(|| core.ledger.lock().new_frame());
        let offset = self.raw.push(id, chunk);
        let length = u32::try_from(chunk.len()).context(Kind::Bug, "chunk longer than 4 GiB")?;
        let spot = Spot::Frame { frame, offset, length };
        self.fresh.insert(id, spot);
        Ok(spot)
    }

    fn send_frame(&mut self) -> Result<()> {
        let Some(number) = self.number.take() else { return Ok(()) };
        let raw = std::mem::replace(&mut self.raw, self.pipes.frame());
        self.fresh.clear();
        self.core.monitor.count(Counter::NewBytes, raw.bytes.len() as u64);
        let chunks = raw.chunks.clone();
        if !self.pipes.send(number, raw) {
            return Err(closed());
        }
        // Only now: a stream that refers to this frame is resolved behind a barrier that must come after it.
        self.core.ledger.lock().announce(number, &chunks);
        Ok(())
    }
}

fn closed() -> Error {
    Error::new(Kind::Interrupted, "the pipeline has ended")
}
