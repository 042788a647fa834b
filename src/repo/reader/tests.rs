//! The reader against packs made for it: what all of its tests share.

use std::path::Path;

use futures::StreamExt;
use tokio::io::AsyncReadExt;

use super::*;
use crate::id::{ComponentName, Sha256};
use crate::monitor::Recorder;
use crate::repo::chunk::{DedupKey, Namer};
use crate::repo::extent::{Cutter, Digest, Extent, Segment};
use crate::repo::frame::{Effort, Press, RawFrame};
use crate::repo::seal::{VaultRecipient, seal};
use crate::repo::testing::Versioned;
use crate::store::{LocalStore, PutMode, Timeouts};

mod ahead;
mod damage;
mod streams;

const PREFIX: &str = "tenants/byrne/packs/";

/// A vault, packs in a store, and what they hold.
struct Fixture {
    store: SharedStore,
    identity: age::x25519::Identity,
    packs: Vec<PackRef>,
    contents: Vec<Vec<u8>>,
    folder: tempfile::TempDir,
    monitor: Arc<Recorder>,
}

/// Bytes that compress badly and differ from each other.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    use rand::{RngCore, SeedableRng};
    let mut out = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut out);
    out
}

fn seal_pack(recipient: &VaultRecipient, frames: &[&[u8]]) -> (PackRef, Vec<u8>) {
    let namer = Namer::new(&DedupKey::new([3; 32]));
    let mut press = Press::new(Effort::Usual).unwrap();
    let mut press = |content: &&[u8]| {
        let mut raw = RawFrame::default();
        raw.push(namer.id(content), content);
        press.press(raw).unwrap()
    };
    let frames: Vec<_> = frames.iter().map(&mut press).collect();
    let mut object = Vec::new();
    let pack = seal([0; 8], &frames, recipient, &mut object).unwrap();
    (pack, object)
}

impl Fixture {
    fn new(store: SharedStore) -> Self {
        Fixture {
            store,
            identity: age::x25519::Identity::generate(),
            packs: vec![],
            contents: vec![],
            folder: tempfile::tempdir().unwrap(),
            monitor: Arc::default(),
        }
    }

    fn versioned() -> (Self, Arc<Versioned>) {
        let store = Arc::new(Versioned::default());
        (Fixture::new(store.clone()), store)
    }

    /// Puts packs of 4 frames of `frame` bytes each.
    async fn with_packs(mut self, count: u64, frame: usize) -> Self {
        for n in 0..count {
            let frames: Vec<_> = (0..4).map(|f| noise(n * 4 + f, frame)).collect();
            self.put(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
        }
        self
    }

    async fn put(&mut self, frames: &[&[u8]]) {
        let recipient: VaultRecipient = Arc::new(self.identity.to_public());
        let (pack, object) = seal_pack(&recipient, frames);
        self.store.put(&key(pack), object.into(), PutMode::Create).await.unwrap();
        self.packs.push(pack);
        self.contents.push(frames.concat());
    }

    fn options(&self) -> ReaderOptions {
        ReaderOptions {
            store: self.store.clone(),
            pack_prefix: PREFIX.into(),
            packs: self.packs.clone(),
            identity: Arc::new(self.identity.clone()),
            folder: self.folder.path().to_owned(),
            folder_limit_bytes: 1 << 30,
            memory_limit_bytes: MEMORY_LIMIT_BYTES,
            frames: frame_memory(),
            fetches: 3,
            monitor: self.monitor.clone(),
        }
    }

    async fn reader(&self) -> PackReader {
        PackReader::open(self.options()).await.unwrap()
    }

    fn content(&self, e: &Extent) -> &[u8] {
        &self.contents[e.pack as usize][e.offset as usize..][..e.length as usize]
    }

    /// Describes a stream that consists of these extents, and returns its bytes too.
    fn record(&self, segments: &[Vec<Extent>]) -> (Arc<StreamRecord>, Vec<u8>) {
        let mut all = Vec::new();
        let segment = |extents: &Vec<Extent>| {
            let bytes: Vec<u8> = extents.iter().flat_map(|e| self.content(e)).copied().collect();
            all.extend_from_slice(&bytes);
            Segment { size_bytes: bytes.len() as u64, sha256: Sha256::of(&bytes), extents: extents.clone() }
        };
        let segments: Vec<Segment> = segments.iter().map(segment).collect();
        (Arc::new(record(segments)), all)
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let folders = std::fs::read_dir(self.folder.path()).unwrap();
        let files = folders.flat_map(|f| std::fs::read_dir(f.unwrap().path()).unwrap());
        let packs = files.map(|f| f.unwrap().path()).filter(|p| !p.ends_with("lock"));
        packs.collect()
    }
}

fn record(segments: Vec<Segment>) -> StreamRecord {
    let mut of_segments = Vec::new();
    for s in &segments {
        of_segments.extend_from_slice(&s.size_bytes.to_le_bytes());
        of_segments.extend_from_slice(&s.sha256.0);
    }
    StreamRecord {
        component: ComponentName::Database,
        stream: "sql".into(),
        cutter: Cutter { name: "fastcdc-2020".into(), min: 1, average: 2, max: 3 },
        size_bytes: segments.iter().map(|s| s.size_bytes).sum(),
        digest: match &segments[..] {
            [only] => Digest::Whole(only.sha256),
            _ => Digest::Segments(Sha256::of(&of_segments)),
        },
        segments,
    }
}

fn key(pack: PackRef) -> Key {
    format!("{PREFIX}{}", pack.id).parse().unwrap()
}

fn extent(pack: u32, offset: u32, length: u32) -> Extent {
    Extent { pack, offset, length }
}

async fn read(mut stream: StreamReader) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        assert!(!bytes.is_empty() && bytes.len() <= 1024 * 1024);
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

async fn local(folder: &Path) -> SharedStore {
    Arc::new(LocalStore::open(folder, Timeouts::default(), true).await.unwrap())
}

/// Extents that hop between all packs, over their whole length.
fn interleaved(packs: u32, length: u32, step: u32) -> Vec<Extent> {
    let offsets = (0..length).step_by(step as usize);
    offsets.flat_map(|o| (0..packs).map(move |p| extent(p, o, step.min(length - o)))).collect()
}
