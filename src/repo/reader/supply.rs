//! Packs and frames for all streams of a reader.
//!
//! Owns the fetching tasks, the files, the open packs and the caches; [`super::shelf`] decides what is fetched and
//! kept. Streams ask from blocking threads; whoever waits here wakes up when the reader or the stream is dropped.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::fetch::fetch;
use super::folder::Folder;
use super::opened::Opened;
use super::shelf::{NeedId, Shelf, Step};
use super::walk::Stop;
use super::{ReaderOptions, WhenDamaged, clone_of};
use crate::error::{Error, Kind, Result};
use crate::monitor::SharedMonitor;
use crate::repo::extent::PackRef;
use crate::repo::frame;
use crate::repo::pack::{FramePlace, Layout};
use crate::repo::seal::VaultIdentity;
use crate::spare::Spare;
use crate::store::{Key, SharedStore};

/// How many packs are kept open: file descriptors, 64 KiB each, and what opening costs, about a millisecond.
const OPEN_PACKS: NonZeroUsize = NonZeroUsize::new(32).expect("it is not 0");

/// The most bytes of frames' places kept in memory; a pack's are a few KiB.
const LAYOUTS_BYTES: usize = 16 * 1024 * 1024;

/// A frame's bytes and the first byte of the pack's decompressed bytes that they hold.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub first: u64,
    pub bytes: Bytes,
}

pub(super) struct Supply {
    store: SharedStore,
    prefix: String,
    packs: Vec<PackRef>,
    /// For each number in the pack list the first that names the same pack.
    first_of: Vec<u32>,
    identity: VaultIdentity,
    monitor: SharedMonitor,
    runtime: Handle,
    folder: Arc<Folder>,
    /// Told of each pack that no version of which is right.
    pub when_damaged: OnceLock<WhenDamaged>,
    cancelled: CancellationToken,
    state: Mutex<State>,
    changed: Condvar,
    caches: Mutex<Caches>,
    /// Memory for frames.
    spare: Spare,
}

struct State {
    shelf: Shelf,
    closed: bool,
    failures: HashMap<u32, Error>,
    open: LruCache<u32, Arc<Mutex<Opened>>>,
}

struct Caches {
    layouts: Cache<u32, Arc<Layout>>,
    frames: Cache<(u32, usize), Bytes>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supply {
    pub fn new(options: ReaderOptions, folder: Folder, runtime: Handle) -> Self {
        let sizes = options.packs.iter().map(|p| p.size_bytes).collect();
        let mut seen = HashMap::new();
        let number = |(n, pack): (usize, &PackRef)| {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            *seen.entry(pack.id).or_insert(n)
        };
        Supply {
            first_of: options.packs.iter().enumerate().map(number).collect(),
            store: options.store,
            prefix: options.pack_prefix,
            packs: options.packs,
            identity: options.identity,
            monitor: options.monitor,
            runtime,
            folder: Arc::new(folder),
            when_damaged: OnceLock::new(),
            cancelled: CancellationToken::new(),
            state: Mutex::new(State {
                shelf: Shelf::new(sizes, options.folder_limit_bytes, options.fetches.clamp(1, 8)),
                closed: false,
                failures: HashMap::new(),
                open: LruCache::new(OPEN_PACKS),
            }),
            changed: Condvar::new(),
            caches: Mutex::new(Caches {
                layouts: Cache::new(LAYOUTS_BYTES),
                frames: Cache::new(options.memory_limit_bytes),
            }),
            spare: options.frames,
        }
    }

    /// Returns one number for a pack, however often the list names it; none for a number beyond the list.
    pub fn number(&self, listed: u32) -> Option<u32> {
        self.first_of.get(listed as usize).copied()
    }

    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub fn monitor(&self) -> &SharedMonitor {
        &self.monitor
    }

    /// Returns how an error names a pack: its key.
    pub fn name(&self, pack: u32) -> String {
        match self.packs.get(pack as usize) {
            Some(pack) => format!("{}{}", self.prefix, pack.id),
            None => format!("pack number {pack}"),
        }
    }

    /// Changes what is needed, and does what follows.
    pub fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut Shelf) -> T) -> T {
        let mut state = lock(&self.state);
        let value = change(&mut state.shelf);
        self.settle(state);
        value
    }

    /// Stops all work and removes what was fetched; the folder itself goes with the last thread that uses it.
    pub fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.open.clear();
        let here = state.shelf.here();
        drop(state);
        self.cancelled.cancel();
        self.changed.notify_all();
        // Whoever reads next may have the memory at once.
        lock(&self.caches).frames.clear();
        for pack in here {
            self.remove(pack);
        }
    }

    fn remove(&self, pack: u32) {
        if let Some(pack) = self.packs.get(pack as usize) {
            self.folder.remove(&pack.id);
        }
    }

    /// Takes the steps that the shelf asks for, and wakes whoever waits.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !state.shelf.has_changed() {
            return;
        }
        let mut fetches = Vec::new();
        if !state.closed {
            for step in state.shelf.next_steps() {
                match step {
                    Step::Fetch(pack) => fetches.push(pack),
                    // Under the lock, so that no later fetch of the same pack loses its file.
                    Step::Remove(pack) => {
                        state.open.pop(&pack);
                        self.remove(pack);
                    }
                }
            }
        }
        drop(state);
        self.changed.notify_all();
        for pack in fetches {
            self.start(pack);
        }
    }

    fn start(self: &Arc<Self>, pack: u32) {
        // Made before the task: a runtime that is shutting down drops it without ever running it.
        let mut outcome = Outcome { supply: Arc::clone(self), pack, result: None };
        self.runtime.spawn(async move {
            let supply = Arc::clone(&outcome.supply);
            tokio::select! {
                () = supply.cancelled.cancelled() => {}
                result = supply.fetch(pack) => outcome.is(result),
            }
        });
    }

    async fn fetch(&self, pack: u32) -> Result<()> {
        let key: Key = self.name(pack).parse()?;
        let pack = self.packs[pack as usize];
        let fetched = fetch(&*self.store, &key, pack, Some(&self.folder), &*self.monitor).await;
        if let (Err(e), Some(tell)) = (&fetched, self.when_damaged.get())
            && e.kind() == Kind::Damaged
        {
            tell(&pack.id, e);
        }
        fetched
    }

    fn ended(self: &Arc<Self>, pack: u32, result: Option<Result<()>>) {
        let mut state = lock(&self.state);
        match result {
            Some(Ok(())) => state.shelf.fetched(pack),
            Some(Err(e)) => {
                if !state.shelf.not_fetched(pack, e.kind() == Kind::Full) {
                    state.failures.insert(pack, e);
                }
            }
            // Nobody fetches any more: the reader was dropped, the runtime shuts down, or a task panicked.
            None => {
                state.closed = true;
                self.changed.notify_all();
            }
        }
        self.settle(state);
    }

    /// Waits until a pack is here, and holds it fast.
    fn acquire(self: &Arc<Self>, need: NeedId, pack: u32) -> Result<Pin, Stop> {
        let mut state = lock(&self.state);
        match state.failures.get(&pack) {
            Some(e) if may_pass(e) => drop(state.failures.remove(&pack)),
            Some(e) => return Err(Stop::Fault(clone_of(e))),
            None => {}
        }
        state.shelf.want(pack);
        let mut asked = false;
        let outcome = loop {
            if state.closed || !state.shelf.has(need) {
                break Err(Stop::Gone);
            }
            if let Some(e) = state.failures.get(&pack) {
                break Err(Stop::Fault(clone_of(e)));
            }
            if state.shelf.pin(pack) {
                break Ok(Pin { supply: Arc::clone(self), pack });
            }
            if !asked {
                // What happens while nobody holds the lock is seen in the next round.
                asked = true;
                self.settle(state);
                state = lock(&self.state);
                continue;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.shelf.unwant(pack);
        drop(state);
        outcome
    }

    /// Returns the frame of a pack that holds this byte; waits for the pack where the frame is not in memory.
    pub fn frame(self: &Arc<Self>, need: NeedId, pack: u32, byte: u64) -> Result<Held, Stop> {
        let known = lock(&self.caches).layouts.get(&pack);
        if let Some(layout) = known {
            let (number, place) = self.place(&layout, pack, byte)?;
            if let Some(bytes) = lock(&self.caches).frames.get(&(pack, number)) {
                return Ok(Held { first: place.holds, bytes });
            }
        }
        let pin = self.acquire(need, pack)?;
        let (opened, layout) = self.opened(&pin)?;
        let (number, place) = self.place(&layout, pack, byte)?;
        if let Some(bytes) = lock(&self.caches).frames.get(&(pack, number)) {
            return Ok(Held { first: place.holds, bytes });
        }
        let compressed = lock(&opened).read(place);
        drop(opened);
        drop(pin);
        let bytes = compressed.and_then(|c| frame::open(&c, place.decompressed, &self.spare));
        let bytes = bytes.map_err(|e| e.in_context(format!("{} frame {number}", self.name(pack))))?;
        lock(&self.caches).frames.put((pack, number), bytes.clone(), bytes.len());
        Ok(Held { first: place.holds, bytes })
    }

    fn place(&self, layout: &Layout, pack: u32, byte: u64) -> Result<(usize, FramePlace)> {
        layout.frame_of(byte).ok_or_else(|| {
            let what = format!("{} has no byte {byte}, but an extent there", self.name(pack));
            Error::new(Kind::Damaged, what)
        })
    }

    /// Opens a pack that is held fast, or finds it open.
    fn opened(&self, pin: &Pin) -> Result<(Arc<Mutex<Opened>>, Arc<Layout>)> {
        let pack = pin.pack;
        let open = lock(&self.state).open.get(&pack).cloned();
        let layout = lock(&self.caches).layouts.get(&pack);
        if let (Some(open), Some(layout)) = (open, layout) {
            return Ok((open, layout));
        }
        let path = self.folder.path(&self.packs[pack as usize].id);
        let opened = Opened::open(&path, &*self.identity);
        let (opened, layout) = opened.map_err(|e| e.in_context(self.name(pack)))?;
        let (opened, layout) = (Arc::new(Mutex::new(opened)), Arc::new(layout));
        let weight = layout.frames() * size_of::<FramePlace>();
        lock(&self.caches).layouts.put(pack, Arc::clone(&layout), weight);
        lock(&self.state).open.put(pack, Arc::clone(&opened));
        Ok((opened, layout))
    }

    /// Returns how many packs could not be fetched.
    #[cfg(test)]
    pub fn failures(&self) -> usize {
        lock(&self.state).failures.len()
    }

    /// Returns how many bytes of frames are in memory.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        lock(&self.caches).frames.held_bytes()
    }
}

/// Tells whether an error may be gone when it is tried again.
fn may_pass(e: &Error) -> bool {
    !matches!(e.kind(), Kind::Damaged | Kind::NotFound | Kind::WrongKey | Kind::TooNew)
}

/// What became of a fetch: told when dropped, so that it is told even of one that never ran.
struct Outcome {
    supply: Arc<Supply>,
    pack: u32,
    result: Option<Result<()>>,
}

impl Outcome {
    fn is(&mut self, result: Result<()>) {
        self.result = Some(result);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let result = self.result.take();
        self.supply.ended(self.pack, result);
    }
}

/// Holds a pack's file fast. Whoever has one must not wait for anything.
struct Pin {
    supply: Arc<Supply>,
    pack: u32,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.supply.update(|shelf| shelf.unpin(self.pack));
    }
}
