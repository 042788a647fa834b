//! One stream's way through the packs: extents to frames to pieces.
//!
//! Owns order and the whole stream's digest; that of each segment is [`super::judge`]'s. Runs on a blocking thread of its own; what it hands on is bounded by the queue. The
//! record may come from a host that lies: no sum overflows, nothing is read that is not in a pack.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256 as Hasher};
use tokio::sync::mpsc;

use super::judge::{Finding, judge};
use super::shelf::NeedId;
use super::supply::{Held, Supply};
use crate::error::{Error, Kind};
use crate::id::Sha256;
use crate::repo::extent::{Digest, Segment, StreamRecord};

/// The longest piece handed on.
const PIECE_BYTES: usize = 1024 * 1024;

/// How many pieces wait for whoever reads the stream.
pub(super) const QUEUE_PIECES: usize = 4;

/// Shorter runs of bytes are copied together; longer ones are handed on as slices of their frame.
const GATHER_BYTES: usize = 64 * 1024;

/// Slices of longer frames are copied too: a slice keeps its whole frame in memory.
const SHARED_FRAME_BYTES: usize = 2 * 1024 * 1024;

/// What a walk tells whoever reads the stream.
pub(super) enum Message {
    Bytes(Bytes),
    /// All bytes came and were right. A queue that ends without it is broken.
    End,
    Fault(Error),
}

/// Why a walk ends early.
pub(super) enum Stop {
    /// Nobody wants it any more.
    Gone,
    Fault(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Stop::Fault(e)
    }
}

/// A run of bytes in a pack that a stream, or a part of it, consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub pack: u32,
    pub offset: u64,
    pub length: u64,
}

/// Returns the parts of a segment that begins at `start` of its stream, as far as they lie within `wanted`.
fn parts_of(segment: &Segment, start: u64, wanted: Range<u64>) -> impl Iterator<Item = Part> {
    let end = start.saturating_add(segment.size_bytes);
    let apart = end <= wanted.start || start >= wanted.end;
    let extents = if apart { &[][..] } else { &segment.extents };
    let mut at = start;
    extents.iter().filter_map(move |e| {
        let begin = at;
        at = at.saturating_add(u64::from(e.length));
        let (from, to) = (begin.max(wanted.start), at.min(wanted.end));
        // Two u32 added as u64.
        let offset = u64::from(e.offset) + from.saturating_sub(begin);
        (from < to).then(|| Part { pack: e.pack, offset, length: to - from })
    })
}

/// Returns which packs a stream needs within `wanted`, in order, neighbours merged; `number` as [`Supply::number`].
pub(super) fn runs_of(
    record: &StreamRecord,
    wanted: &Range<u64>,
    number: impl Fn(u32) -> Option<u32>,
) -> Vec<u32> {
    let mut at = 0_u64;
    let mut runs = Vec::new();
    for segment in &record.segments {
        let start = at;
        at = at.saturating_add(segment.size_bytes);
        for part in parts_of(segment, start, wanted.clone()) {
            // One that is not in the list ends the walk there.
            let Some(pack) = number(part.pack) else { return runs };
            if runs.last() != Some(&pack) {
                runs.push(pack);
            }
        }
    }
    runs
}

/// A walk over a stream or a part of it.
pub(super) struct Walk {
    supply: Arc<Supply>,
    need: NeedId,
    record: Arc<StreamRecord>,
    wanted: Range<u64>,
    out: mpsc::Sender<Finding>,
    gathered: BytesMut,
    /// Whether what is read now counts for the hash of a segment.
    hashed: bool,
    /// The frame that was used last, of which pack.
    frame: Option<(u32, Held)>,
    /// The run of the need that is being read.
    run: usize,
    run_pack: Option<u32>,
}

impl Walk {
    pub fn new(
        supply: Arc<Supply>,
        need: NeedId,
        record: Arc<StreamRecord>,
        wanted: Range<u64>,
        out: mpsc::Sender<Message>,
    ) -> Self {
        let (findings, found) = mpsc::channel(super::judge::QUEUE_PIECES);
        supply.runtime().spawn_blocking(move || judge(found, &out));
        Walk {
            supply,
            need,
            record,
            wanted,
            out: findings,
            gathered: BytesMut::new(),
            hashed: false,
            frame: None,
            run: 0,
            run_pack: None,
        }
    }

    /// Walks to the end; blocks.
    pub fn run(mut self) {
        let outcome = self.stream().and_then(|()| self.flush());
        self.frame = None;
        self.supply.update(|shelf| shelf.retire(self.need));
        let verdict = match outcome {
            Ok(()) => Message::End,
            Err(Stop::Fault(e)) => Message::Fault(e),
            Err(Stop::Gone) => return,
        };
        // Whoever does not listen any more needs no verdict.
        self.out.blocking_send(Finding::Verdict(verdict)).ok();
    }

    fn damaged(&self, what: &str) -> Error {
        let record = &self.record;
        Error::new(Kind::Damaged, format!("{}/{}: {what}", record.component, record.stream))
    }

    fn stream(&mut self) -> Result<(), Stop> {
        let record = Arc::clone(&self.record);
        let mut all = Hasher::new();
        let mut at = 0_u64;
        for (number, segment) in record.segments.iter().enumerate() {
            let end = at.checked_add(segment.size_bytes);
            let end = end.ok_or_else(|| self.damaged("its segments are longer than any stream"))?;
            let extents: u64 = segment.extents.iter().map(|e| u64::from(e.length)).sum();
            if extents != segment.size_bytes {
                let what = format!(
                    "the extents of segment {number} have {extents} bytes, it has {}",
                    segment.size_bytes
                );
                return Err(self.damaged(&what).into());
            }
            if self.wanted.start <= at && end <= self.wanted.end {
                self.whole_segment(number, segment, at)?;
            } else {
                self.segment(segment, at)?;
            }
            all.update(segment.size_bytes.to_le_bytes());
            all.update(segment.sha256.0);
            at = end;
        }
        if self.wanted == (0..record.size_bytes) {
            self.check_stream(at, Sha256(all.finalize().into()))?;
        }
        Ok(())
    }

    /// Compares a whole stream, whose segments were right, with its record.
    fn check_stream(&self, length: u64, of_segments: Sha256) -> Result<(), Error> {
        let record = &self.record;
        if length != record.size_bytes {
            return Err(self.damaged(&format!("it has {length} bytes instead of {}", record.size_bytes)));
        }
        let right = match record.digest {
            Digest::Whole(hash) => matches!(&record.segments[..], [only] if only.sha256 == hash),
            Digest::Segments(hash) => of_segments == hash,
        };
        if right { Ok(()) } else { Err(self.damaged("its digest is not the recorded one")) }
    }

    fn whole_segment(&mut self, number: usize, segment: &Segment, at: u64) -> Result<(), Stop> {
        self.flush()?;
        self.hashed = true;
        self.segment(segment, at)?;
        self.flush()?;
        self.hashed = false;
        let fault = self.damaged(&format!("segment {number} has not the recorded SHA-256"));
        self.find(Finding::Segment(segment.sha256, fault))
    }

    fn segment(&mut self, segment: &Segment, at: u64) -> Result<(), Stop> {
        for part in parts_of(segment, at, self.wanted.clone()) {
            let pack = self.supply.number(part.pack);
            let pack = pack.ok_or_else(|| self.damaged("an extent lies in no pack of the snapshot"))?;
            self.come_to(pack);
            let (mut offset, mut left) = (part.offset, part.length);
            while left > 0 {
                let held = self.held(pack, offset)?;
                // Lengths and offsets within a frame are below 4 GiB.
                let from = (offset - held.first) as usize;
                let to = held.bytes.len().min(from + usize::try_from(left).unwrap_or(usize::MAX - from));
                self.hand_on(&held.bytes, from..to)?;
                offset += (to - from) as u64;
                left -= (to - from) as u64;
            }
        }
        Ok(())
    }

    /// Tells the supply when the walk leaves a pack for another.
    fn come_to(&mut self, pack: u32) {
        match self.run_pack.replace(pack) {
            Some(before) if before != pack => {
                self.run += 1;
                let (need, run) = (self.need, self.run);
                self.supply.update(|shelf| shelf.advance(need, run));
            }
            _ => {}
        }
    }

    fn held(&mut self, pack: u32, byte: u64) -> Result<Held, Stop> {
        if let Some((of, held)) = &self.frame
            && *of == pack
            && held.first <= byte
            && byte < held.first + held.bytes.len() as u64
        {
            return Ok(held.clone());
        }
        let held = self.supply.frame(self.need, pack, byte).map_err(|stop| match stop {
            Stop::Fault(e) => {
                Stop::Fault(e.in_context(format!("{}/{}", self.record.component, self.record.stream)))
            }
            gone => gone,
        })?;
        self.frame = Some((pack, held.clone()));
        Ok(held)
    }

    fn hand_on(&mut self, frame: &Bytes, range: Range<usize>) -> Result<(), Stop> {
        if range.len() >= GATHER_BYTES && frame.len() <= SHARED_FRAME_BYTES {
            self.flush()?;
            let mut from = range.start;
            while from < range.end {
                let to = range.end.min(from + PIECE_BYTES);
                self.send(frame.slice(from..to))?;
                from = to;
            }
            return Ok(());
        }
        for piece in frame[range].chunks(GATHER_BYTES) {
            if self.gathered.len() + piece.len() > PIECE_BYTES / 4 {
                self.flush()?;
            }
            if self.gathered.capacity() == 0 {
                self.gathered.reserve(PIECE_BYTES / 4);
            }
            self.gathered.extend_from_slice(piece);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.gathered).freeze();
        self.send(piece)
    }

    fn send(&self, bytes: Bytes) -> Result<(), Stop> {
        self.find(Finding::Bytes(bytes, self.hashed))
    }

    fn find(&self, finding: Finding) -> Result<(), Stop> {
        self.out.blocking_send(finding).map_err(|_| Stop::Gone)
    }
}
