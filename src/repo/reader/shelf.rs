//! Fetched packs, as ciphertext in a folder of bounded size, each until nobody needs it any more.
//!
//! Owns which packs are here. A pack is fetched once where the folder has room for all that is needed again; else
//! the one that is needed last makes room, and is fetched again.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit, Semaphore};

use super::super::extent::PackRef;
use super::super::frame;
use super::super::pack::{FramePlace, Layout, MOST_OBJECT_BYTES, Table};
use super::super::seal::{VaultIdentity, disk_error};
use super::download::{Counted, Sink, fetch};
use crate::error::{Context, Error, Kind, Result};
use crate::monitor::SharedMonitor;
use crate::store::SharedStore;

/// Room is counted in this unit.
const UNIT_BYTES: u64 = 4096;

/// The folder, and who needs what of it.
pub struct Shelf {
    /// Where packs lie.
    pub store: SharedStore,
    /// What stands before their hashes.
    pub prefix: String,
    /// The packs by number.
    pub packs: Vec<PackRef>,
    /// The vault's identity.
    pub identity: VaultIdentity,
    /// Who hears of it.
    pub monitor: SharedMonitor,
    /// This reader's folder.
    pub folder: PathBuf,
    room: Arc<Semaphore>,
    limit_units: u32,
    fetches: Semaphore,
    here: Mutex<Here>,
    /// Told whenever there may be room.
    freed: Arc<Notify>,
}

#[derive(Default)]
struct Here {
    slots: HashMap<u32, Arc<Slot>>,
    /// How many streams still need each pack.
    needs: HashMap<u32, u32>,
}

/// A pack that is here or on its way.
#[derive(Default)]
struct Slot {
    open: OnceCell<Arc<OpenPack>>,
    /// Room for it, taken before its fetch began.
    room: Mutex<Option<Room>>,
}

impl Slot {
    fn room(&self) -> MutexGuard<'_, Option<Room>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetched pack, open for reading.
pub struct OpenPack {
    /// Where its frames lie.
    pub layout: Layout,
    plaintext: Mutex<age::stream::StreamReader<BufReader<File>>>,
    name: String,
    _room: Room,
    _file: PackFile,
}

/// Room taken in the folder; gives it back and says so.
struct Room {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.permit.take();
        self.freed.notify_waiters();
    }
}

impl Shelf {
    /// Prepares the shelf; its limit is raised to two of the snapshot's largest packs.
    pub fn new(options: super::ReaderOptions, folder: PathBuf) -> Shelf {
        let largest = options.packs.iter().map(|p| units(p.size_bytes.min(MOST_OBJECT_BYTES))).max();
        let limit_units = units(options.folder_limit_bytes).max(2 * largest.unwrap_or(0));
        Shelf {
            store: options.store,
            prefix: options.pack_prefix,
            packs: options.packs,
            identity: options.identity,
            monitor: options.monitor,
            folder,
            room: Arc::new(Semaphore::new(limit_units as usize)),
            limit_units,
            fetches: Semaphore::new(options.fetches.clamp(1, 8)),
            here: Mutex::default(),
            freed: Arc::new(Notify::new()),
        }
    }

    fn here(&self) -> MutexGuard<'_, Here> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one more stream needs these packs.
    pub fn need(&self, packs: &[u32]) {
        let mut here = self.here();
        for pack in packs {
            *here.needs.entry(*pack).or_default() += 1;
        }
    }

    /// Notes that a stream is done with a pack; the last one has it removed.
    pub fn done(&self, pack: u32) {
        let mut here = self.here();
        let left = here.needs.get(&pack).map_or(0, |n| n.saturating_sub(1));
        if left > 0 {
            here.needs.insert(pack, left);
            return;
        }
        here.needs.remove(&pack);
        let removed = here.slots.remove(&pack);
        drop(here);
        drop(removed);
    }

    /// Returns a pack that is needed now, fetching it unless it is here or on its way.
    ///
    /// Where there is no room, packs go for which `next_use` is furthest, or nothing at all.
    pub async fn get(&self, pack: u32, next_use: impl Fn(u32) -> Option<u32>) -> Result<Arc<OpenPack>> {
        let slot = self.slot(pack);
        self.fill(pack, &slot, |keep| self.evict(keep, &next_use)).await
    }

    /// Fetches a pack that will be needed, waiting for room without taking any from what is here.
    pub async fn prefetch(&self, pack: u32) -> Result<()> {
        let room = loop {
            // Registered before looking, so that no notice is missed.
            let freed = self.freed.notified();
            match self.try_room(pack)? {
                Some(room) => break room,
                None => freed.await,
            }
        };
        if !self.here().needs.contains_key(&pack) {
            return Ok(());
        }
        let slot = self.slot(pack);
        // Offered, not kept: somebody may be waiting for room for the very same pack.
        *slot.room() = Some(room);
        self.freed.notify_waiters();
        let filled = self.fill(pack, &slot, |_| false).await;
        slot.room().take();
        filled.map(drop)
    }

    async fn fill(&self, pack: u32, slot: &Slot, evict: impl Fn(u32) -> bool) -> Result<Arc<OpenPack>> {
        let open = slot.open.get_or_try_init(|| self.fetch(pack, slot, evict)).await.cloned();
        // Only now can this pack be evicted: whoever waits for room looks again.
        self.freed.notify_waiters();
        open
    }

    fn slot(&self, pack: u32) -> Arc<Slot> {
        Arc::clone(self.here().slots.entry(pack).or_default())
    }

    fn try_room(&self, pack: u32) -> Result<Option<Room>> {
        let size_bytes = self.packs[pack as usize].size_bytes;
        if size_bytes > MOST_OBJECT_BYTES {
            let what =
                format!("pack {}{} is of {size_bytes} bytes", self.prefix, self.packs[pack as usize].id);
            return Err(Error::new(Kind::Damaged, what));
        }
        let wanted = units(size_bytes).min(self.limit_units);
        let taken = Arc::clone(&self.room).try_acquire_many_owned(wanted).ok();
        Ok(taken.map(|permit| Room { permit: Some(permit), freed: Arc::clone(&self.freed) }))
    }

    /// Removes the pack that is needed last, not `keep`; tells whether there was one.
    fn evict(&self, keep: u32, next_use: &impl Fn(u32) -> Option<u32>) -> bool {
        let mut here = self.here();
        // One that is still being fetched has its room already and is about to be used.
        let candidates = here.slots.iter().filter(|(pack, slot)| **pack != keep && slot.open.initialized());
        let furthest = candidates.map(|(pack, _)| *pack).max_by_key(|p| next_use(*p).unwrap_or(u32::MAX));
        let removed = furthest.and_then(|pack| here.slots.remove(&pack));
        drop(here);
        removed.is_some()
    }

    async fn fetch(&self, pack: u32, slot: &Slot, evict: impl Fn(u32) -> bool) -> Result<Arc<OpenPack>> {
        let room = loop {
            let freed = self.freed.notified();
            let offered = slot.room().take();
            match offered.map_or_else(|| self.try_room(pack), |room| Ok(Some(room)))? {
                Some(room) => break room,
                None if evict(pack) => {}
                None => freed.await,
            }
        };
        let _permit = self.fetches.acquire().await.context(Kind::Bug, "the pack reader was closed")?;
        let wanted = self.packs[pack as usize];
        let sink = Counted { sink: PackFile::create(&self.folder)?, monitor: Arc::clone(&self.monitor) };
        let file = fetch(&*self.store, &self.prefix, wanted, sink).await?.sink;
        let (name, identity) = (format!("{}{}", self.prefix, wanted.id), Arc::clone(&self.identity));
        let opening = tokio::task::spawn_blocking(move || OpenPack::open(name, file, room, &identity));
        Ok(Arc::new(opening.await.context(Kind::Bug, "opening a pack")??))
    }
}

impl OpenPack {
    fn open(name: String, file: PackFile, room: Room, identity: &VaultIdentity) -> Result<OpenPack> {
        let open = || -> Result<_> {
            let mut again = file.file.try_clone().context(Kind::Io, "fetched pack")?;
            again.seek(SeekFrom::Start(0)).context(Kind::Io, "fetched pack")?;
            let decryptor = age::Decryptor::new_buffered(BufReader::with_capacity(128 * 1024, again));
            let decryptor = decryptor.context(Kind::Damaged, "not an age file")?;
            let identities = std::iter::once(identity.as_ref() as &dyn age::Identity);
            let mut plaintext = decryptor.decrypt(identities).map_err(decrypt_error)?;
            let layout = Table::read(&mut plaintext)?.layout();
            Ok((plaintext, layout))
        };
        let (plaintext, layout) = open().map_err(|e| e.in_context(format!("pack {name}")))?;
        Ok(OpenPack { layout, plaintext: Mutex::new(plaintext), name, _room: room, _file: file })
    }

    /// Decrypts and decompresses one frame; blocks.
    pub fn frame(&self, place: FramePlace) -> Result<bytes::Bytes> {
        let mut compressed = Vec::new();
        let mut plaintext = self.plaintext.lock().unwrap_or_else(PoisonError::into_inner);
        let read = plaintext
            .seek(SeekFrom::Start(place.at))
            .and_then(|_| plaintext.by_ref().take(place.compressed.into()).read_to_end(&mut compressed));
        drop(plaintext);
        let named = || format!("pack {}, frame at {}", self.name, place.holds);
        read.context(Kind::Damaged, named())?;
        frame::open(&compressed, place.decompressed).map_err(|e| e.in_context(named()))
    }

    /// Says that an extent lies beyond the pack's end.
    pub fn too_short(&self) -> Error {
        Error::new(Kind::Damaged, format!("pack {} is shorter than the snapshot needs", self.name))
    }
}

fn decrypt_error(e: age::DecryptError) -> Error {
    match e {
        age::DecryptError::NoMatchingKeys => Error::new(Kind::WrongKey, "the identity does not open it"),
        other => Error::new(Kind::Damaged, "age header").caused_by(other),
    }
}

fn units(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// A file of the folder; removed when dropped.
struct PackFile {
    path: PathBuf,
    file: File,
}

impl PackFile {
    fn create(folder: &std::path::Path) -> Result<PackFile> {
        let name: [u8; 8] = rand::random();
        let path = folder.join(format!("{}.pack", hex::encode(name)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| disk_error(e, &format!("pack folder {}", folder.display())))?;
        Ok(PackFile { path, file })
    }
}

impl Sink for PackFile {
    fn restart(&mut self) -> Result<()> {
        let again = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        again.map(drop).map_err(|e| disk_error(e, "fetched pack"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| disk_error(e, &format!("pack folder: {}", self.path.display())))
    }
}

impl Drop for PackFile {
    fn drop(&mut self) {
        // The whole folder goes when the reader does.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "fetched pack not removed");
        }
    }
}
