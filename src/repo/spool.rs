//! Sealed packs wait here for the store, as ciphertext, in a folder of bounded size.
//!
//! Owns the folder, the room in it and the puts. The source of a backup is slowed only when the folder is full, and given up
//! when that lasts. Knows nothing of what is in a pack.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::extent::PackRef;
use crate::error::{Context, Error, Kind, Result};
use crate::store::{Body, Key, PutMode, SharedStore};

/// Where sealed packs wait for the store.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// A folder for this tenant's packs alone: what a dead run left in it is removed.
    pub folder: PathBuf,
    /// The most bytes in it; less than [`LEAST_BYTES`] is raised to that.
    pub limit_bytes: u64,
    /// How long a stream waits for room at once before it fails with [`Kind::Full`].
    pub patience: Duration,
    /// How many packs are put at the same time, 1 to 8.
    pub uploads: usize,
}

/// Room for two packs, one on its way and one being sealed.
pub const LEAST_BYTES: u64 = 40 * 1024 * 1024;

const PACK_SUFFIX: &str = ".pack";
const UNIT_BYTES: u64 = 4096;

/// The folder and the room in it.
#[derive(Clone)]
pub struct Spool {
    folder: Arc<Path>,
    room: Arc<Semaphore>,
    limit_units: u32,
    patience: Duration,
    /// Since when the writer waits for room, while it does.
    waiting: watch::Sender<Option<Instant>>,
    uploads: Arc<Semaphore>,
    store: SharedStore,
    prefix: Arc<str>,
}

/// Room taken; given back when dropped.
pub struct Room {
    permit: OwnedSemaphorePermit,
}

/// A sealed pack in the folder; its file is removed when dropped.
pub struct Waiting {
    pack: PackRef,
    file: Unlink,
    room: Room,
}

impl Spool {
    /// Opens the folder and removes what a dead run left.
    pub fn open(options: &SpoolOptions, store: SharedStore, prefix: &str) -> Result<Spool> {
        let folder: Arc<Path> = options.folder.as_path().into();
        let context = || format!("spool {}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).context(Kind::Io, context())?;
        for entry in std::fs::read_dir(&folder).context(Kind::Io, context())? {
            let path = entry.context(Kind::Io, context())?.path();
            if path.to_string_lossy().ends_with(PACK_SUFFIX) {
                std::fs::remove_file(&path).context(Kind::Io, context())?;
            }
        }
        let limit_units = units(options.limit_bytes.max(LEAST_BYTES));
        Ok(Spool {
            room: Arc::new(Semaphore::new(limit_units as usize)),
            limit_units,
            patience: options.patience,
            waiting: watch::Sender::new(None),
            uploads: Arc::new(Semaphore::new(options.uploads.clamp(1, 8))),
            store,
            prefix: prefix.into(),
            folder,
        })
    }

    /// Waits for room for a pack of this size, as long as the store takes to put what is in the folder; one waits at a time.
    ///
    /// The streams behind the writer do not wait that long: see [`Spool::too_long`].
    pub async fn room(&self, size_bytes: u64) -> Result<Room> {
        // A pack larger than the whole folder waits until it is empty.
        let wanted = units(size_bytes).min(self.limit_units);
        let _waits = Waits::begin(&self.waiting);
        let taken = self.room.clone().acquire_many_owned(wanted).await;
        let permit = taken.context(Kind::Bug, "spool closed while a pack waits for room")?;
        Ok(Room { permit })
    }

    /// Waits until a pack has left the folder, for when its disk is full; tells whether there was one to leave.
    ///
    /// The caller must not hold room itself.
    pub async fn wait_for_space(&self) -> Result<bool> {
        let before = self.room.available_permits();
        if before >= self.limit_units as usize {
            return Ok(false);
        }
        // Asking for one more than is free wakes this when something is given back.
        self.room((before as u64 + 1) * UNIT_BYTES).await.map(|_| true)
    }

    /// Ends when a stream that began at `began` has waited for room longer than it may, with what is to be said then.
    ///
    /// The wait counts from the last time that there was room: while packs leave in time, no stream fails.
    pub async fn too_long(&self, began: Instant) -> Error {
        let mut waiting = self.waiting.subscribe();
        loop {
            let since = *waiting.borrow_and_update();
            // It changes or the time is over; the sender is our own, so that it is there.
            let changed = waiting.changed();
            let Some(since) = since else {
                drop(changed.await);
                continue;
            };
            if tokio::time::timeout_at(since.max(began) + self.patience, changed).await.is_err() {
                return self.full();
            }
        }
    }

    fn full(&self) -> Error {
        let size = ByteSize(u64::from(self.limit_units) * UNIT_BYTES);
        let waited = self.patience.as_secs_f64();
        let what = format!("spool {} is full ({size}) and got no room for {waited} s", self.folder.display());
        Error::new(Kind::Full, what).hint(
            "the store takes packs too slowly, and a dump that waits holds its tables: give [spool] a larger `size`, \
             or a longer `wait`, or the store a faster line or a higher `upload_limit`",
        )
    }

    /// Runs `write` on a new file in the folder; the file is gone again unless it succeeds.
    ///
    /// Blocks: call it off the runtime.
    pub fn fill(
        &self,
        room: Room,
        write: impl FnOnce(File) -> Result<PackRef>,
    ) -> Result<Waiting, (Error, Room)> {
        let name: [u8; 8] = rand::random();
        let file = Unlink { path: self.folder.join(format!("{}{PACK_SUFFIX}", hex::encode(name))) };
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.path);
        let opened = created.map_err(|e| super::seal::disk_error(e, "spool file"));
        match opened.and_then(write) {
            Ok(pack) => Ok(Waiting { pack, file, room }),
            Err(e) => Err((e.in_context(format!("spool {}", self.folder.display())), room)),
        }
    }

    /// Puts a pack; when it returns, the pack is durable in the store and gone from the folder.
    ///
    /// An object of the same name and size is the same pack: put before by a run that did not hear of it.
    pub async fn put(&self, waiting: Waiting) -> Result<PackRef> {
        let permit = self.uploads.acquire().await;
        let _permit = permit.context(Kind::Bug, "spool closed while a pack waits for its put")?;
        let pack = waiting.pack;
        let key = key_of(&self.prefix, pack)?;
        let body = Body::File {
            path: waiting.file.path.clone(),
            size_bytes: pack.size_bytes,
            sha256: Some(pack.id),
        };
        match self.store.put(&key, body, PutMode::Create).await {
            Ok(_) => Ok(pack),
            Err(e) if e.kind() == Kind::Conflict && self.is_there(pack).await? => Ok(pack),
            Err(e) => Err(e),
        }
    }

    /// Tells whether the store has the pack, by name and size.
    pub async fn is_there(&self, pack: PackRef) -> Result<bool> {
        let entry = self.store.head(&key_of(&self.prefix, pack)?).await?;
        Ok(entry.is_some_and(|entry| entry.size_bytes == pack.size_bytes))
    }
}

/// Marks that the writer waits, until dropped.
struct Waits<'a>(&'a watch::Sender<Option<Instant>>);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a watch::Sender<Option<Instant>>) -> Self {
        waiting.send_replace(Some(Instant::now()));
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_replace(None);
    }
}

impl Waiting {
    /// Gives back the room that the pack turned out not to need.
    pub fn shrink(&mut self) {
        let surplus = self.room.permit.num_permits().saturating_sub(units(self.pack.size_bytes) as usize);
        drop(self.room.permit.split(surplus));
    }
}

/// Returns a pack's key.
pub fn key_of(prefix: &str, pack: PackRef) -> Result<Key> {
    format!("{prefix}{}", pack.id).parse()
}

fn units(size_bytes: u64) -> u32 {
    u32::try_from(size_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

/// A file that is removed when dropped.
struct Unlink {
    path: PathBuf,
}

impl Drop for Unlink {
    fn drop(&mut self) {
        // What stays is swept when the spool is opened next.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "spool file not removed");
        }
    }
}
