//! One tenant's packs on a store in a folder: what the tests of the byte pipeline start from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeboat::error::Result;
use lifeboat::id::{ComponentName, Sha256, VaultId};
use lifeboat::monitor::{Recorder, SharedMonitor};
use lifeboat::repo::chunk::DedupKey;
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::extent::StreamRecord;
use lifeboat::repo::reader::{MEMORY_LIMIT_BYTES, PackReader, ReaderOptions, frame_memory};
use lifeboat::repo::writer::{
    BackupWriter, Commit, Head, Sealed, SegmentKey, SpoolOptions, StreamWriter, WriterOptions,
};
use lifeboat::store::{LocalStore, SharedStore, Timeouts};

/// A tenant, its store, cache, spool and keys.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub store: SharedStore,
    pub identity: Arc<age::x25519::Identity>,
    pub spool_bytes: u64,
    pub patience: Duration,
    pub folder_limit_bytes: u64,
    pub sequence: u64,
}

/// A committed snapshot.
pub struct Night {
    pub sealed: Sealed,
    pub records: Vec<Arc<StreamRecord>>,
    pub monitor: Arc<Recorder>,
}

impl Bench {
    pub async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("store"), Timeouts::default(), true).await.unwrap();
        Bench {
            store: Arc::new(store),
            folder,
            identity: Arc::new(age::x25519::Identity::generate()),
            spool_bytes: 1 << 30,
            patience: Duration::from_secs(60),
            folder_limit_bytes: 1 << 30,
            sequence: 0,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn options(&self, monitor: SharedMonitor) -> WriterOptions {
        WriterOptions {
            store: Arc::clone(&self.store),
            pack_prefix: "tenants/t/packs/".to_owned(),
            vault: "0".repeat(32).parse::<VaultId>().unwrap(),
            recipient: Arc::new(self.identity.to_public()),
            dedup_key: DedupKey::new([9; 32]),
            cache_folder: self.path("cache"),
            spool: SpoolOptions {
                folder: self.path("spool"),
                limit_bytes: self.spool_bytes,
                patience: self.patience,
                uploads: 3,
            },
            barred: Default::default(),
            fresh: false,
            monitor,
        }
    }

    pub async fn writer(&self) -> Result<BackupWriter> {
        BackupWriter::open(self.options(Arc::new(Recorder::default()))).await
    }

    pub fn commit(&mut self, failed: Vec<ComponentName>) -> Commit {
        self.sequence += 1;
        let head = Head { sequence: self.sequence, receipt: Sha256::of(&self.sequence.to_le_bytes()) };
        Commit { head, failed }
    }

    /// Backs up one stream a component and commits.
    pub async fn night(&mut self, streams: &[(ComponentName, Grain, &[u8])]) -> Night {
        let monitor = Arc::new(Recorder::default());
        let mut writer = BackupWriter::open(self.options(monitor.clone())).await.unwrap();
        let mut records = Vec::new();
        for (component, grain, content) in streams {
            records.push(Arc::new(write(&writer, *component, *grain, content).await.unwrap()));
        }
        let sealed = writer.finish().await.unwrap();
        writer.committed(self.commit(Vec::new())).await.unwrap();
        Night { sealed, records, monitor }
    }

    pub async fn reader(&self, night: &Night) -> (PackReader, Arc<Recorder>) {
        let monitor = Arc::new(Recorder::default());
        let reader = PackReader::open(ReaderOptions {
            store: Arc::clone(&self.store),
            pack_prefix: "tenants/t/packs/".to_owned(),
            packs: night.sealed.packs.clone(),
            identity: self.identity.clone(),
            folder: self.path("restore"),
            folder_limit_bytes: self.folder_limit_bytes,
            memory_limit_bytes: MEMORY_LIMIT_BYTES,
            frames: frame_memory(),
            fetches: 3,
            monitor: monitor.clone(),
        });
        (reader.await.unwrap(), monitor)
    }

    /// Reads all streams back.
    pub async fn read(&self, night: &Night) -> Vec<Result<Vec<u8>>> {
        let (reader, _) = self.reader(night).await;
        reader.expect(&night.records.iter().map(|r| &**r).collect::<Vec<_>>());
        let mut contents = Vec::new();
        for record in &night.records {
            contents.push(collect(reader.stream(Arc::clone(record))).await);
        }
        contents
    }

    /// Returns the pack objects in the store.
    pub fn packs(&self) -> Vec<PathBuf> {
        files(&self.path("store/tenants/t/packs"))
    }
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    files.sort();
    files
}

pub async fn begin(writer: &BackupWriter, component: ComponentName, grain: Grain) -> Result<StreamWriter> {
    writer.begin(component, "stream", grain, None)
}

pub async fn write(
    writer: &BackupWriter,
    component: ComponentName,
    grain: Grain,
    content: &[u8],
) -> Result<StreamRecord> {
    let mut stream = begin(writer, component, grain).await?;
    for piece in content.chunks(200_000) {
        stream.write(Bytes::copy_from_slice(piece)).await?;
    }
    stream.finish().await
}

pub async fn collect(mut stream: lifeboat::repo::reader::StreamReader) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

pub fn segment(content: &[u8]) -> SegmentKey {
    SegmentKey { size_bytes: content.len() as u64, sha256: Sha256::of(content) }
}

/// Bytes that do not compress and do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    use rand::{RngCore, SeedableRng};
    let mut bytes = vec![0; length];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// Rows as a dump has them.
pub fn rows(numbers: impl Iterator<Item = u64>) -> Vec<u8> {
    let row = |n: u64| {
        let hash = Sha256::of(&n.to_le_bytes());
        format!("({n},'SINV-{n:06}','2026-11-{:02}',{}.00,'{hash}',NULL,'Draft'),\n", n % 28 + 1, n * 37)
    };
    numbers.flat_map(|n| row(n).into_bytes()).collect()
}
