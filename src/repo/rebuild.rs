//! A lost cache made again from the tables of the newest snapshot's packs, with the vault's key.
//!
//! Owns what a cache must know to be of use for the next night. Every pack is fetched whole and hashed before its table is
//! believed: a false table would have later nights refer to bytes that are not what they name. Knows nothing of why the
//! cache was lost.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::cache::index::{ChunkIndex, Place};
use super::cache::record::PackHead;
use super::cache::{Cache, Head, KnownSegment, Next, SegmentKey, Whose, number, union};
use super::extent::PackRef;
use super::keys;
use super::manifest::Manifest;
use super::pack::Table;
use super::receipt::{Committed, ObjectRef};
use super::repository::Repository;
use super::reuse::Barred;
use super::seal::unseal;
use super::snapshot::{read_manifest, read_packs};
use super::transfer;
use super::vault::VaultKey;
use super::writer::KNOWN_SEGMENT_BYTES;
use crate::error::{Context, Error, Kind, Result};
use crate::monitor::SharedMonitor;

/// How many packs are fetched at the same time.
const FETCHES: usize = 3;

/// What a rebuild needs beside the snapshot.
pub struct RebuildOptions {
    /// Under which keys the next night writes; packs of others are of no use to it.
    pub whose: Whose,
    /// The tenant's cache.
    pub cache_folder: PathBuf,
    /// Where fetched packs wait, as ciphertext.
    pub working_folder: PathBuf,
    /// Who hears of it. Counts `FetchedBytes`.
    pub monitor: SharedMonitor,
}

/// What a rebuild did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// Packs whose tables were read.
    pub packs: usize,
    /// Their size in the store.
    pub fetched_bytes: u64,
    /// Chunks that are known again.
    pub chunks: usize,
    /// Packs of an earlier dedup key, which the next night cannot refer to.
    pub of_other_keys: usize,
}

/// Tells whether a cache knows of no pack at all: it was lost, or never was.
///
/// [`Kind::Locked`] while a backup has it open.
pub fn is_lost(cache_folder: &Path, whose: &Whose) -> Result<bool> {
    let (_cache, contents, _) = Cache::open(cache_folder, whose.clone(), &Barred::default(), false)?;
    Ok(contents.packs.is_empty())
}

/// Makes the cache of a tenant again from a committed snapshot.
///
/// [`Kind::WrongKey`] where the snapshot is sealed to another vault than the next night's; [`Kind::Damaged`] or
/// [`Kind::NotFound`] where a pack is not what was written: then the cache is left as it was.
pub async fn rebuild(
    repo: &Repository,
    committed: &Committed,
    vault: &VaultKey,
    options: RebuildOptions,
) -> Result<Rebuilt> {
    let RebuildOptions { whose, cache_folder, working_folder, monitor } = options;
    if committed.receipt.vault != whose.vault {
        let what = format!("snapshot {} is of another vault", committed.receipt.snapshot);
        return Err(
            Error::new(Kind::WrongKey, what).hint("the next backup writes all of it under its new key")
        );
    }
    let manifest = read_manifest(repo, committed, vault).await?;
    let packs = read_packs(repo, committed).await?;
    let fetching = futures::stream::iter(packs.iter().map(|&pack| {
        let (repo, vault, folder, monitor) =
            (repo.clone(), vault.clone(), working_folder.clone(), Arc::clone(&monitor));
        let tenant = committed.receipt.tenant.clone();
        async move {
            let key = keys::pack(&tenant, &pack.id);
            let right = ObjectRef { hash: pack.id, size: pack.size_bytes };
            let fetched = transfer::fetch(&**repo.store(), &key, right, &folder, &*monitor).await?;
            let read = move || table(fetched.open()?, &vault).map_err(|e| e.in_context(key));
            tokio::task::spawn_blocking(read).await.context(Kind::Bug, "reading a pack's table")?
        }
    }));
    let tables: Vec<Table> = fetching.buffered(FETCHES).try_collect().await?;
    let head = Head { sequence: committed.receipt.sequence, receipt: committed.hash };
    let write = move || {
        let mut memory = Memory::default();
        memory.take_packs(&packs, &tables, &whose);
        memory.take_streams(&manifest)?;
        let (cache, ..) = Cache::open(&cache_folder, whose, &Barred::default(), true)?;
        cache.commit(&memory.next(head))?;
        Ok(memory.rebuilt)
    };
    tokio::task::spawn_blocking(write).await.context(Kind::Bug, "writing a cache")?
}

fn table(pack: impl BufRead, vault: &VaultKey) -> Result<Table> {
    Table::read(&mut unseal(pack, &*vault.to_age())?)
}

/// The cache's content as it comes together.
#[derive(Default)]
struct Memory {
    packs: Vec<PackHead>,
    index: ChunkIndex,
    live: BTreeMap<crate::id::ComponentName, Vec<Place>>,
    segments: HashMap<SegmentKey, KnownSegment>,
    streams: BTreeMap<(crate::id::ComponentName, String), (super::extent::Cutter, u64)>,
    rebuilt: Rebuilt,
}

impl Memory {
    /// Takes the packs in the order of the snapshot's list, which its extents count by.
    fn take_packs(&mut self, packs: &[PackRef], tables: &[Table], whose: &Whose) {
        for (pack, table) in packs.iter().zip(tables) {
            let place = number(self.packs.len());
            let decompressed_bytes = table.decompressed_bytes();
            self.packs.push(PackHead { id: pack.id, size_bytes: pack.size_bytes, decompressed_bytes });
            self.rebuilt.packs += 1;
            self.rebuilt.fetched_bytes += pack.size_bytes;
            if table.epoch != whose.epoch {
                self.rebuilt.of_other_keys += 1;
                continue;
            }
            let mut offset = 0;
            for chunk in &table.chunks {
                self.index.insert(chunk.id, Place { pack: place, offset, length: chunk.length });
                offset += chunk.length;
            }
        }
        self.rebuilt.chunks = self.index.len();
    }

    fn take_streams(&mut self, manifest: &Manifest) -> Result<()> {
        for stream in &manifest.streams {
            let several = stream.segments.len() > 1;
            let live = self.live.entry(stream.component).or_default();
            for segment in &stream.segments {
                let places: Vec<Place> = segment
                    .extents
                    .iter()
                    .map(|e| Place { pack: e.pack, offset: e.offset, length: e.length })
                    .collect();
                if places.iter().any(|p| p.pack as usize >= self.packs.len()) {
                    return Err(Error::new(Kind::Damaged, "the manifest names a pack that its list lacks"));
                }
                live.extend(&places);
                if several && segment.size_bytes >= KNOWN_SEGMENT_BYTES {
                    let key = SegmentKey { size_bytes: segment.size_bytes, sha256: segment.sha256 };
                    self.segments.insert(key, KnownSegment { component: stream.component, places });
                }
            }
            *live = union(live.iter().copied());
            let cut = (stream.cutter.clone(), stream.size_bytes);
            self.streams.insert((stream.component, stream.stream.clone()), cut);
        }
        Ok(())
    }

    fn next(&self, head: Head) -> Next<'_> {
        Next {
            head,
            packs: &self.packs,
            index: &self.index,
            live: &self.live,
            segments: &self.segments,
            streams: &self.streams,
        }
    }
}
