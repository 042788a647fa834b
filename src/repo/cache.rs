//! What a host remembers of a tenant's packs, since it cannot read them: chunks, contents, streams, the head.
//!
//! Owns a folder with a journal and a lock. The journal starts with the state at the last commit; after it stand the
//! packs put since, each durable before its put, so that a run that dies is resumed by the next. A lost or damaged
//! cache costs one full upload and nothing else. Knows nothing of the store.

pub mod index;
pub mod journal;
pub mod record;

use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::index::{ChunkIndex, Place};
use self::journal::{Found, Journal};
use self::record::{PackHead, PlacedChunk, Record};
use super::extent::Cutter;
use super::reuse::{self, Barred, PackUse};
use crate::error::{Context, Error, Kind, Result};
use crate::id::{ComponentName, PackId, Sha256, VaultId};

/// A segment's content by length and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentKey {
    /// Its length.
    pub size_bytes: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
}

/// The last receipt that this host wrote for the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub sequence: u64,
    /// Its hash.
    pub receipt: Sha256,
}

/// Under which keys packs were written; packs of others are never reused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// The vault they are encrypted to.
    pub vault: VaultId,
    /// The epoch of the dedup key.
    pub epoch: [u8; 8],
}

/// A content that needs not be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownSegment {
    /// Whose content it is.
    pub component: ComponentName,
    /// Where it lies.
    pub places: Vec<Place>,
}

/// What the cache knows; packs are numbered by their place in `packs`.
#[derive(Default)]
pub struct Contents {
    /// All packs, known and not to be used ones.
    pub packs: Vec<PackHead>,
    /// The chunks of packs that may be reused.
    pub index: ChunkIndex,
    /// What each component refers to in the newest snapshot.
    pub live: BTreeMap<ComponentName, Vec<Place>>,
    /// Large contents that lie in packs that may be reused.
    pub segments: HashMap<SegmentKey, KnownSegment>,
    /// How each stream was cut last, and its length.
    pub streams: BTreeMap<(ComponentName, String), (Cutter, u64)>,
    /// The last receipt.
    pub head: Option<Head>,
    /// Packs of which it is not known whether their put came through; their chunks are not in the index yet.
    pub in_doubt: BTreeMap<u32, Vec<PlacedChunk>>,
    /// Which packs may be reused, decided once packs and what is live in them are known.
    usable: Option<Vec<bool>>,
    complete: bool,
}

/// An open cache. One at a time: the folder is locked until it is dropped.
pub struct Cache {
    folder: PathBuf,
    whose: Whose,
    journal: Mutex<Journal>,
    _lock: File,
}

/// What is written at a commit; numbers are those of [`Contents::packs`].
pub struct Next<'a> {
    /// The new head.
    pub head: Head,
    /// All packs.
    pub packs: &'a [PackHead],
    /// All chunks.
    pub index: &'a ChunkIndex,
    /// What each component refers to.
    pub live: &'a BTreeMap<ComponentName, Vec<Place>>,
    /// Large contents.
    pub segments: &'a HashMap<SegmentKey, KnownSegment>,
    /// How streams were cut.
    pub streams: &'a BTreeMap<(ComponentName, String), (Cutter, u64)>,
}

impl Cache {
    /// Opens or makes the cache in `folder`.
    ///
    /// [`Kind::Locked`] where it is open already. What cannot be believed is handed back as the third value, and
    /// the cache starts empty. Packs in `barred` are never reused; `fresh` forgets all but the head.
    pub fn open(
        folder: &Path,
        whose: Whose,
        barred: &Barred,
        fresh: bool,
    ) -> Result<(Cache, Contents, Option<Error>)> {
        let lock = lock(folder)?;
        let mut contents = Contents::default();
        let mut ours = !fresh;
        let read = Journal::read(folder, |record| {
            if let Record::Start { vault, epoch } = &record {
                ours &= *vault == whose.vault.as_str() && *epoch == whose.epoch;
            }
            if ours || matches!(record, Record::Head(..)) { contents.take(record, barred) } else { Ok(()) }
        });
        let (whole, problem) = match read {
            Ok(found) => (found == Found::Whole, None),
            Err(e) if e.kind() == Kind::Damaged => {
                contents = Contents::default();
                (false, Some(e.hint("the cache starts empty: this backup uploads everything once")))
            }
            Err(e) => return Err(e),
        };
        let journal = if ours && whole {
            Journal::append_to(folder)?
        } else {
            contents = Contents { head: contents.head, ..Contents::default() };
            start(folder, &whose, contents.head)?
        };
        let folder = folder.to_owned();
        Ok((Cache { folder, whose, journal: Mutex::new(journal), _lock: lock }, contents, problem))
    }

    /// Notes a pack that is about to be put; durable when it returns.
    pub fn put(&self, pack: PackHead, chunks: Vec<PlacedChunk>) -> Result<()> {
        self.journal().append(&Record::Put(pack, chunks), true)
    }

    /// Notes that a pack is in the store; if this gets lost, the store is asked.
    pub fn stored(&self, pack: PackId) -> Result<()> {
        self.journal().append(&Record::Stored(pack), false)
    }

    /// Replaces the cache's state by that of a committed snapshot: what it does not refer to is forgotten.
    pub fn commit(&self, next: &Next<'_>) -> Result<()> {
        let mut journal = self.journal();
        *journal = Journal::replace(&self.folder, |write| next.records(&self.whose, write))?;
        Ok(())
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(folder: &Path) -> Result<File> {
    let context = || format!("cache {}", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(folder).context(Kind::Io, context())?;
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.context(Kind::Io, context())?;
    if crate::lock::exclusive(&file).context(Kind::Io, context())? {
        return Ok(file);
    }
    Err(Error::new(Kind::Locked, format!("{} is in use", context()))
        .hint("another backup of this tenant runs on this host"))
}

fn start(folder: &Path, whose: &Whose, head: Option<Head>) -> Result<Journal> {
    Journal::replace(folder, |write| {
        write(&Record::Start { vault: whose.vault.to_string(), epoch: whose.epoch })?;
        if let Some(head) = head {
            write(&Record::Head(head.sequence, head.receipt))?;
        }
        write(&Record::Complete)
    })
}

impl Contents {
    fn take(&mut self, record: Record, barred: &Barred) -> Result<()> {
        match record {
            Record::Start { .. } => {}
            Record::Pack(pack) => self.packs.push(pack),
            Record::Live(component, places) => {
                self.check(&places)?;
                self.live.insert(component, places);
            }
            Record::Stream(component, stream, cutter, size_bytes) => {
                self.streams.insert((component, stream), (cutter, size_bytes));
            }
            Record::Head(sequence, receipt) => self.head = Some(Head { sequence, receipt }),
            Record::Chunks(pack, chunks) => {
                if self.is_usable(pack, barred)? {
                    self.insert(pack, &chunks);
                }
            }
            Record::Segment(component, size_bytes, sha256, places) => {
                self.check(&places)?;
                let mut usable = true;
                for place in &places {
                    usable &= self.is_usable(place.pack, barred)?;
                }
                if usable {
                    self.segments
                        .insert(SegmentKey { size_bytes, sha256 }, KnownSegment { component, places });
                }
            }
            Record::Complete => self.complete = true,
            Record::Put(pack, chunks) => {
                self.packs.push(pack);
                if !barred.void.contains(&pack.id) {
                    self.in_doubt.insert(number(self.packs.len() - 1), chunks);
                }
            }
            Record::Stored(id) => {
                let doubtful = self.in_doubt.keys().find(|&&n| self.packs[n as usize].id == id).copied();
                let there = |n: &u32| {
                    let pack = &self.packs[*n as usize];
                    !barred.lacks(&pack.id, pack.size_bytes)
                };
                // Stored once and not listed now: it stays in doubt, and the store is asked for it alone.
                if let Some(pack) = doubtful.filter(there) {
                    self.resolve(pack, true);
                }
            }
        }
        Ok(())
    }

    /// Settles whether a pack in doubt is there; if so its chunks are known from now on.
    pub fn resolve(&mut self, pack: u32, is_there: bool) {
        if let Some(chunks) = self.in_doubt.remove(&pack).filter(|_| is_there) {
            self.insert(pack, &chunks);
        }
    }

    fn insert(&mut self, pack: u32, chunks: &[PlacedChunk]) {
        for chunk in chunks {
            self.index.insert(chunk.id, Place { pack, offset: chunk.offset, length: chunk.length });
        }
    }

    fn check(&self, places: &[Place]) -> Result<()> {
        match places.iter().find(|p| p.pack as usize >= self.packs.len()) {
            Some(_) => Err(Error::new(Kind::Damaged, "cache journal names a pack that it does not have")),
            None => Ok(()),
        }
    }

    /// Decides by [`reuse::reusable`] at the first question: all packs and live bytes stand before.
    fn is_usable(&mut self, pack: u32, barred: &Barred) -> Result<bool> {
        if self.usable.is_none() {
            let live = live_bytes(self.packs.len(), &self.live);
            let describe = |(pack, live_bytes): (&PackHead, u64)| PackUse {
                decompressed_bytes: pack.decompressed_bytes,
                live_bytes,
            };
            let uses: Vec<_> = self.packs.iter().zip(live).map(describe).collect();
            let mut usable = reuse::reusable(&uses);
            for (usable, pack) in usable.iter_mut().zip(&self.packs) {
                *usable &= !barred.bars(&pack.id, pack.size_bytes);
            }
            self.usable = Some(usable);
        }
        let known = self.usable.as_ref().and_then(|u| u.get(pack as usize)).copied();
        known.ok_or_else(|| Error::new(Kind::Damaged, "cache journal names a pack that it does not have"))
    }
}

impl Next<'_> {
    fn records(&self, whose: &Whose, write: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
        let live = union(self.live.values().flatten().copied());
        let in_pack = live_bytes(self.packs.len(), self.live);
        let mut numbers = vec![None; self.packs.len()];
        write(&Record::Start { vault: whose.vault.to_string(), epoch: whose.epoch })?;
        let mut count = 0;
        for (pack, head) in self.packs.iter().enumerate() {
            if in_pack[pack] > 0 {
                numbers[pack] = Some(count);
                count += 1;
                write(&Record::Pack(*head))?;
            }
        }
        let renumber = |places: &[Place]| -> Vec<Place> {
            let new = |p: &Place| numbers[p.pack as usize].map(|pack| Place { pack, ..*p });
            places.iter().filter_map(new).collect()
        };
        for (component, places) in self.live {
            write(&Record::Live(*component, renumber(&union(places.iter().copied()))))?;
        }
        for ((component, stream), (cutter, size_bytes)) in self.streams {
            write(&Record::Stream(*component, stream.clone(), cutter.clone(), *size_bytes))?;
        }
        write(&Record::Head(self.head.sequence, self.head.receipt))?;
        self.chunks(&live, &numbers, write)?;
        for (key, known) in self.segments {
            // What is not live is not remembered; a segment lies in live bytes or not at all.
            if known.places.iter().all(|p| covers(&live, *p)) {
                let places = renumber(&known.places);
                write(&Record::Segment(known.component, key.size_bytes, key.sha256, places))?;
            }
        }
        write(&Record::Complete)
    }

    fn chunks(
        &self,
        live: &[Place],
        numbers: &[Option<u32>],
        write: &mut dyn FnMut(&Record) -> Result<()>,
    ) -> Result<()> {
        const MOST: usize = 64 * 1024;
        let mut run: (u32, Vec<PlacedChunk>) = (0, Vec::new());
        for (id, place) in self.index.iter() {
            let Some(pack) = numbers[place.pack as usize].filter(|_| covers(live, place)) else { continue };
            if run.0 != pack || run.1.len() == MOST {
                flush(&mut run, write)?;
                run.0 = pack;
            }
            run.1.push(PlacedChunk { id, offset: place.offset, length: place.length });
        }
        flush(&mut run, write)
    }
}

fn flush(run: &mut (u32, Vec<PlacedChunk>), write: &mut dyn FnMut(&Record) -> Result<()>) -> Result<()> {
    let chunks = std::mem::take(&mut run.1);
    if chunks.is_empty() { Ok(()) } else { write(&Record::Chunks(run.0, chunks)) }
}

/// Sums up what is live in each pack; bytes that two components share count once.
fn live_bytes(packs: usize, live: &BTreeMap<ComponentName, Vec<Place>>) -> Vec<u64> {
    let mut bytes = vec![0; packs];
    for place in union(live.values().flatten().copied()) {
        bytes[place.pack as usize] += u64::from(place.length);
    }
    bytes
}

/// Sorts places and merges those that touch or overlap.
pub fn union(places: impl Iterator<Item = Place>) -> Vec<Place> {
    let mut sorted: Vec<Place> = places.collect();
    sorted.sort_unstable_by_key(|p| (p.pack, p.offset));
    let mut merged: Vec<Place> = Vec::new();
    for place in sorted {
        match merged.last_mut() {
            Some(last) if last.pack == place.pack && u64::from(place.offset) <= last.end() => {
                let end = last.end().max(place.end());
                last.length = u32::try_from(end - u64::from(last.offset)).unwrap_or(u32::MAX);
            }
            _ => merged.push(place),
        }
    }
    merged
}

/// Tells whether one of the merged places holds all of `place`.
fn covers(merged: &[Place], place: Place) -> bool {
    let after = merged.partition_point(|p| (p.pack, p.offset) <= (place.pack, place.offset));
    let around = after.checked_sub(1).map(|at| merged[at]);
    around.is_some_and(|p| p.pack == place.pack && place.end() <= p.end())
}

/// Packs are numbered by u32; a cache of more would need more memory than there is.
pub fn number(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 4 billion packs")
}
