//! A repository in a folder with one host, one operator and one tenant, and snapshots of made-up streams.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lifeboat::error::{Error, Result};
use lifeboat::id::{ComponentName, HostName, SnapshotId, TenantName};
use lifeboat::monitor::Recorder;
use lifeboat::repo::age_file::{Identities, generate_identity, identity_file};
use lifeboat::repo::certificate::{Certificate, Grant, Role, Trust, issue};
use lifeboat::repo::chunk::DedupKey;
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::history::{Head, History};
use lifeboat::repo::receipt::{Committed, Trigger};
use lifeboat::repo::repository::Repository;
use lifeboat::repo::sign::SigningKey;
use lifeboat::repo::snapshot::{ReadOptions, SnapshotOptions, SnapshotReader, SnapshotWriter, open_vault};
use lifeboat::repo::vault::Vault;
use lifeboat::repo::writer::SpoolOptions;
use lifeboat::store::{LocalStore, Record, SharedStore, Timeouts};

use super::steps::{ClockStore, StoreClock};

/// A stream of a made-up component.
#[derive(Clone)]
pub struct Part {
    pub component: ComponentName,
    pub stream: &'static str,
    pub grain: Grain,
    pub segments: Vec<Bytes>,
}

impl Part {
    pub fn bytes(&self) -> Vec<u8> {
        self.segments.concat()
    }
}

/// Made-up rows: `night` changes a few of them and adds some.
pub fn rows(count: u64, night: u64) -> Bytes {
    use std::fmt::Write;
    let mut text = String::new();
    for n in 0..count + night * 50 {
        let version = if n % 97 == night { night } else { 0 };
        let noise = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        writeln!(text, "INSERT INTO `tabItem` VALUES ({n},'item {noise:016x}',{version});").unwrap();
    }
    text.into()
}

/// Bytes that do not compress.
pub fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(length).collect::<Vec<u8>>().into()
}

/// The parts of a small tenant on a night.
pub fn sample(night: u64) -> Vec<Part> {
    let part = |component, stream, grain, segments| Part { component, stream, grain, segments };
    vec![
        part(ComponentName::Database, "sql", Grain::Rows, vec![rows(20_000, night)]),
        part(ComponentName::RedisQueue, "aof", Grain::Files, vec![noise(7 + night, 3000)]),
        part(
            ComponentName::Files,
            "tar",
            Grain::Files,
            vec![
                noise(1, 5000),
                noise(2, 3 << 20),
                noise(3 + night, 70_000),
                noise(4, 2 << 20),
                noise(5, 1024),
            ],
        ),
        part(ComponentName::Files, "list", Grain::Rows, vec![rows(500, night)]),
    ]
}

/// What all tests of one repository share.
pub struct Bucket {
    /// Holds `bucket`, `cache`, `spool`, `read` and `operator.txt`.
    pub folder: tempfile::TempDir,
    pub store: SharedStore,
    /// What was asked of the store.
    pub record: Record,
    pub repo: Repository,
    pub root: Arc<SigningKey>,
    pub signer: Arc<SigningKey>,
    pub operator: Identities,
    pub vault: Vault,
    pub head: Option<Head>,
    pub monitor: Arc<Recorder>,
    /// The store's clock: the real one until it is set.
    pub clock: StoreClock,
    /// When the first night begins.
    pub first: Timestamp,
    nights: u32,
}

pub fn tenant() -> TenantName {
    "byrne".parse().unwrap()
}

pub fn host() -> HostName {
    "h1".parse().unwrap()
}

pub fn first_night() -> Timestamp {
    "2026-11-23T02:00:00Z".parse().unwrap()
}

impl Bucket {
    pub async fn new() -> Bucket {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&folder.path().join("bucket"), Timeouts::default(), true).await.unwrap();
        Bucket::make(folder, Arc::new(store)).await
    }

    /// The same in a store of another kind, of which no fork can be made.
    pub async fn on(store: SharedStore) -> Bucket {
        Bucket::make(tempfile::tempdir().unwrap(), store).await
    }

    async fn make(folder: tempfile::TempDir, inner: SharedStore) -> Bucket {
        let clock = StoreClock::default();
        let (store, record) = told_time(inner, &clock);
        let (root, _) = SigningKey::generate("root", None).unwrap();
        let repo = Repository::create(store.clone(), root.public(), first_night(), [1; 16]).await.unwrap();
        let (secret, recipient) = generate_identity();
        let text = identity_file("operator", &secret);
        std::fs::write(folder.path().join("operator.txt"), &*text).unwrap();
        let vault = Vault::create(&repo, &tenant(), &[recipient]).await.unwrap();
        let (signer, _) = SigningKey::generate("h1", None).unwrap();
        let bucket = Bucket {
            operator: Identities::of_secret(&secret).unwrap(),
            signer: Arc::new(signer),
            folder,
            store,
            record,
            repo,
            root: Arc::new(root),
            vault,
            head: None,
            monitor: Arc::default(),
            clock,
            first: first_night(),
            nights: 0,
        };
        bucket.certify(bucket.grant()).await;
        bucket
    }

    pub fn grant(&self) -> Grant {
        Grant {
            host: host(),
            signing_key: self.signer.public().clone(),
            roles: vec![Role::Backup],
            tenants: vec![tenant()],
            ended: None,
            handed_over: Default::default(),
        }
    }

    pub async fn certify(&self, grant: Grant) -> Certificate {
        issue(&self.repo, &self.root, grant, first_night()).await.unwrap()
    }

    /// Copies the bucket and the host's folders as they are, so that one past gets several futures.
    pub async fn fork(&self) -> Bucket {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        let clock = self.clock.copied();
        let inner =
            LocalStore::open(&folder.path().join("bucket"), Timeouts::default(), false).await.unwrap();
        let (store, record) = told_time(Arc::new(inner), &clock);
        Bucket {
            repo: Repository::open(store.clone(), Some(self.repo.hash())).await.unwrap(),
            store,
            record,
            folder,
            clock,
            root: Arc::clone(&self.root),
            signer: Arc::clone(&self.signer),
            operator: self.operator.clone(),
            vault: self.vault.clone(),
            head: self.head.clone(),
            monitor: Arc::default(),
            first: self.first,
            nights: self.nights,
        }
    }

    /// When the next night begins.
    pub fn tonight(&self) -> Timestamp {
        self.first + SignedDuration::from_hours(24 * i64::from(self.nights))
    }

    /// Lets the store's clock come to the next night, and backs up.
    pub async fn night(&mut self, parts: &[Part]) -> Committed {
        self.clock.set(self.tonight() + SignedDuration::from_mins(4));
        self.backup(parts).await
    }

    /// The same on another store, such as one that breaks; what died may be tried again the same night.
    pub async fn try_night(&mut self, store: SharedStore, parts: &[Part]) -> Result<Committed> {
        self.clock.set(self.tonight() + SignedDuration::from_mins(4));
        let mut options = self.options().await;
        options.repo = Repository::open(store, Some(self.repo.hash())).await?;
        let finished = options.started + SignedDuration::from_mins(3);
        let writer = SnapshotWriter::begin(options).await?;
        write_parts(&writer, parts).await?;
        let committed = writer.commit(finished).await?;
        self.head = Some(Head::from(&committed));
        Ok(committed)
    }

    /// The folder that is the store.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    pub fn file(&self, key: &str) -> PathBuf {
        self.path().join(key)
    }

    pub async fn options(&mut self) -> SnapshotOptions {
        let started = self.tonight();
        self.nights += 1;
        SnapshotOptions {
            repo: self.repo.clone(),
            trust: Arc::new(Trust::load(&self.repo).await.unwrap()),
            tenant: tenant(),
            vault: self.vault.clone(),
            host: host(),
            signer: Arc::clone(&self.signer),
            dedup_key: DedupKey::new([5; 32]),
            snapshot: SnapshotId::new(started, self.nights.to_be_bytes()),
            started,
            trigger: Trigger::Scheduled,
            label: None,
            pinned_until: None,
            predecessor: self.head.clone(),
            damaged: Default::default(),
            cache_folder: self.folder.path().join("cache"),
            spool: SpoolOptions {
                folder: self.folder.path().join("spool"),
                limit_bytes: 256 << 20,
                patience: Duration::from_secs(60),
                uploads: 2,
            },
            fresh: false,
            monitor: self.monitor.clone(),
        }
    }

    /// Writes all parts and commits them as a whole snapshot.
    pub async fn backup(&mut self, parts: &[Part]) -> Committed {
        let options = self.options().await;
        let finished = options.started + SignedDuration::from_mins(3);
        let writer = SnapshotWriter::begin(options).await.unwrap();
        write_parts(&writer, parts).await.unwrap();
        let committed = writer.commit(finished).await.unwrap();
        self.head = Some(Head::from(&committed));
        committed
    }

    pub async fn history(&self) -> History {
        let trust = Trust::load(&self.repo).await.unwrap();
        History::load(&self.repo, &trust, &tenant(), self.head.as_ref()).await.unwrap()
    }

    /// Opens a snapshot as an operator does.
    pub async fn reader(&self, committed: &Committed) -> Result<SnapshotReader> {
        let vault = open_vault(&self.repo, &committed.receipt, &self.operator).await?;
        let options = ReadOptions {
            frames: lifeboat::repo::reader::frame_memory(),
            folder: self.folder.path().join("read"),
            folder_limit_bytes: 512 << 20,
            fetches: 2,
            monitor: self.monitor.clone(),
        };
        std::fs::create_dir_all(self.folder.path().join("read")).unwrap();
        SnapshotReader::open(&self.repo, committed, &vault, options).await
    }
}

fn told_time(inner: SharedStore, clock: &StoreClock) -> (SharedStore, Record) {
    let record = Record::new(Arc::new(ClockStore::new(inner, clock.clone())));
    (Arc::new(record.clone()), record)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => std::fs::copy(entry.path(), target).map(drop).unwrap(),
        }
    }
}

/// Writes streams of a component one after the other, and ends each component as whole.
pub async fn write_parts(writer: &SnapshotWriter, parts: &[Part]) -> Result<()> {
    for same in parts.chunk_by(|a, b| a.component == b.component) {
        let mut component = writer.component(same[0].component);
        for part in same {
            let mut stream = component.stream(part.stream, part.grain, None)?;
            for (n, segment) in part.segments.iter().enumerate() {
                if n > 0 {
                    stream.cut().await?;
                }
                for piece in segment.chunks(100_000) {
                    stream.write(Bytes::copy_from_slice(piece)).await?;
                }
            }
            component.add(stream.finish().await?);
        }
        component.whole(serde_json::json!({"made": "up"}));
    }
    Ok(())
}

/// Reads a stream to its end.
pub async fn read_stream(
    reader: &SnapshotReader,
    component: ComponentName,
    stream: &str,
) -> Result<Vec<u8>, Error> {
    let mut stream = reader.stream(component, stream)?;
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

/// Changes one byte in the middle of a file.
pub fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}
