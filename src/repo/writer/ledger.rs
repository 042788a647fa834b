//! What is known of chunks and packs while a backup runs, shared by all of its streams.
//!
//! Owns the way from a chunk to an extent: a chunk lies in a pack that is known, or in a frame of this run whose
//! place in a pack turns up later. Packs get their numbers in the snapshot when a stream that was finished first refers to them,
//! so that what a failed stream wrote is in no pack list.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::super::cache::index::Place;
use super::super::cache::record::PackHead;
use super::super::cache::{Contents, KnownSegment, SegmentKey, number};
use super::super::chunk::ByChunk;
use super::super::extent::{Cutter, Extent, PackRef};
use super::super::frame::{Frame, TableChunk};
use crate::error::{Error, Kind, Result};
use crate::id::{ChunkId, ComponentName, Sha256};

/// Where a chunk lies, as far as it is known when it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// In a pack.
    Pack(Place),
    /// In a frame of this run.
    Frame {
        /// The frame's number in this run.
        frame: u32,
        /// Where in the frame the chunk starts.
        offset: u32,
        /// The chunk's length.
        length: u32,
    },
}

/// Appends a spot, or lengthens the last one where it ends where this begins.
pub fn push_spot(spots: &mut Vec<Spot>, spot: Spot) {
    match (spots.last_mut(), spot) {
        (Some(Spot::Pack(last)), Spot::Pack(next))
            if last.pack == next.pack && last.end() == u64::from(next.offset) =>
        {
            last.length += next.length;
        }
        (
            Some(Spot::Frame { frame, offset, length }),
            Spot::Frame { frame: next, offset: start, length: more },
        ) if *frame == next && *offset + *length == start => *length += more,
        _ => spots.push(spot),
    }
}

/// A stream that ended well, in the cache's numbers.
pub struct Finished {
    /// Whose it is.
    pub component: ComponentName,
    /// Its name.
    pub stream: String,
    /// How it was cut.
    pub cutter: Cutter,
    /// Its segments: length, hash and places.
    pub segments: Vec<(SegmentKey, Vec<Place>)>,
}

/// All of it; behind one lock, held for moments.
pub struct Ledger {
    /// Whether nothing was known at the start.
    blank: bool,
    /// What the cache knew, and what this run added to packs and index.
    pub contents: Contents,
    /// Chunks in frames that are not in a pack yet.
    pending: ByChunk<Spot>,
    /// Where each frame of this run came to lie: pack and first byte.
    frames: Vec<Option<(u32, u32)>>,
    /// Packs in the order of their numbers in the snapshot, and those numbers.
    list: Vec<u32>,
    numbers: HashMap<u32, u32>,
    /// What this snapshot refers to.
    pub live: BTreeMap<ComponentName, Vec<Place>>,
    /// Its large contents.
    pub segments: HashMap<SegmentKey, KnownSegment>,
    /// What streams wrote that were given up.
    pub given_up: Vec<(ComponentName, Vec<Spot>)>,
}

/// The shortest content worth remembering: what `files` makes a segment of its own.
pub const KNOWN_SEGMENT_BYTES: u64 = 1024 * 1024;

impl Ledger {
    /// Starts with what the cache knows.
    pub fn new(contents: Contents) -> Self {
        Ledger {
            blank: contents.index.is_empty(),
            contents,
            pending: ByChunk::default(),
            frames: Vec::new(),
            list: Vec::new(),
            numbers: HashMap::new(),
            live: BTreeMap::new(),
            segments: HashMap::new(),
            given_up: Vec::new(),
        }
    }

    /// Tells whether the backup began without knowing any chunk.
    pub fn knows_nothing(&self) -> bool {
        self.blank
    }

    /// Returns where a chunk lies, if it is known.
    pub fn find(&self, id: &ChunkId) -> Option<Spot> {
        self.contents.index.get(id).map(Spot::Pack).or_else(|| self.pending.get(id).copied())
    }

    /// Returns a large content that is known.
    pub fn segment(&self, key: &SegmentKey) -> Option<&KnownSegment> {
        self.contents.segments.get(key).or_else(|| self.segments.get(key))
    }

    /// Numbers a new frame.
    pub fn new_frame(&mut self) -> u32 {
        self.frames.push(None);
        number(self.frames.len() - 1)
    }

    /// Makes a frame's chunks known to all streams; called once the frame is certain to be placed after it was cut.
    pub fn announce(&mut self, frame: u32, chunks: &[TableChunk]) {
        if self.frames[frame as usize].is_some() {
            return;
        }
        let mut offset = 0;
        for chunk in chunks {
            self.pending.insert(chunk.id, Spot::Frame { frame, offset, length: chunk.length });
            offset += chunk.length;
        }
    }

    /// Makes room for a pack of this run; its name is not known before it is sealed.
    pub fn new_pack(&mut self) -> u32 {
        let unnamed = PackHead { id: Sha256([0; 32]), size_bytes: 0, decompressed_bytes: 0 };
        self.contents.packs.push(unnamed);
        number(self.contents.packs.len() - 1)
    }

    /// Notes that a frame starts at `base` of a pack.
    pub fn place(&mut self, frame_number: u32, frame: &Frame, pack: u32, base: u32) {
        self.frames[frame_number as usize] = Some((pack, base));
        let mut offset = base;
        for chunk in &frame.chunks {
            self.pending.remove(&chunk.id);
            self.contents.index.insert(chunk.id, Place { pack, offset, length: chunk.length });
            offset += chunk.length;
        }
    }

    /// Says which pack it was.
    pub fn name_pack(&mut self, pack: u32, head: PackHead) {
        self.contents.packs[pack as usize] = head;
    }

    /// Turns spots into places; all frames must have been placed.
    pub fn resolve(&self, spots: &[Spot]) -> Result<Vec<Place>> {
        let mut places: Vec<Place> = Vec::with_capacity(spots.len());
        for spot in spots {
            let place = match *spot {
                Spot::Pack(place) => place,
                Spot::Frame { frame, offset, length } => {
                    let (pack, base) = self.frames[frame as usize]
                        .ok_or_else(|| Error::new(Kind::Bug, "a stream ends before its frames are placed"))?;
                    Place { pack, offset: base + offset, length }
                }
            };
            match places.last_mut() {
                Some(last) if last.pack == place.pack && last.end() == u64::from(place.offset) => {
                    last.length += place.length;
                }
                _ => places.push(place),
            }
        }
        Ok(places)
    }

    /// Takes a stream into the snapshot and returns its extents, segment by segment.
    pub fn adopt(&mut self, finished: Finished) -> Vec<Vec<Extent>> {
        let Finished { component, stream, cutter, segments } = finished;
        let size_bytes = segments.iter().map(|(key, _)| key.size_bytes).sum();
        self.contents.streams.insert((component, stream), (cutter, size_bytes));
        let several = segments.len() > 1;
        let mut extents = Vec::with_capacity(segments.len());
        for (key, places) in segments {
            extents.push(places.iter().map(|p| self.extent(*p)).collect());
            self.live.entry(component).or_default().extend(&places);
            if several && key.size_bytes >= KNOWN_SEGMENT_BYTES {
                self.segments.insert(key, KnownSegment { component, places });
            }
        }
        extents
    }

    fn extent(&mut self, place: Place) -> Extent {
        let Ledger { numbers, list, .. } = self;
        let pack = *numbers.entry(place.pack).or_insert_with(|| {
            list.push(place.pack);
            number(list.len() - 1)
        });
        Extent { pack, offset: place.offset, length: place.length }
    }

    /// Returns the snapshot's packs in the order of their numbers; all must be sealed.
    pub fn pack_list(&self) -> Vec<PackRef> {
        let head = |pack: &u32| self.contents.packs[*pack as usize];
        self.list.iter().map(head).map(|h| PackRef { id: h.id, size_bytes: h.size_bytes }).collect()
    }
}

/// The ledger behind its lock.
pub struct SharedLedger {
    ledger: Mutex<Ledger>,
}

impl SharedLedger {
    /// Shares a ledger.
    pub fn new(ledger: Ledger) -> Self {
        SharedLedger { ledger: Mutex::new(ledger) }
    }

    /// Locks it; never across an await or a wait for a queue.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first thing that went wrong in the pipeline; everyone whose queue is closed asks here why.
#[derive(Default)]
pub struct Fault {
    first: OnceLock<(Kind, String, Option<String>)>,
}

impl Fault {
    /// Remembers an error unless there was one before.
    pub fn set(&self, error: &Error) {
        let hint = error.hint_text().map(str::to_owned);
        // Only the first counts: what follows it are its consequences.
        self.first.get_or_init(|| (error.kind(), error.to_string(), hint));
    }

    /// Tells whether there was one.
    pub fn is_set(&self) -> bool {
        self.first.get().is_some()
    }

    /// Returns the error, or that the pipeline was closed.
    pub fn error(&self) -> Error {
        match self.first.get() {
            Some((kind, what, Some(hint))) => Error::new(*kind, what.clone()).hint(hint.clone()),
            Some((kind, what, None)) => Error::new(*kind, what.clone()),
            None => Error::new(Kind::Interrupted, "the backup writer was closed"),
        }
    }
}
