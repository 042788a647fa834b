use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::id::{ComponentName, Sha256};
use crate::monitor::Recorder;
use crate::repo::chunk::{DedupKey, Namer};
use crate::repo::extent::{Cutter, Digest, Extent, Segment};
use crate::repo::frame::{Effort, Press, RawFrame};
use crate::repo::seal::{VaultRecipient, seal};
use crate::repo::testing::Versioned;
use crate::store::{Body, Download, Entry, LocalStore, PutMode, Timeouts};

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

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_extents_of_many_packs_come_in_order_and_each_pack_once() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(local(folder.path()).await).with_packs(9, 50_000).await;
    let (one, bytes) = fixture.record(&[interleaved(9, 200_000, 7_001), vec![], vec![extent(3, 5, 100_000)]]);
    let (two, more) = fixture.record(&[vec![extent(8, 199_999, 1), extent(0, 0, 200_000)]]);
    let reader = fixture.reader().await;
    reader.expect(&[&one, &two]);
    assert_eq!(read(reader.stream(one)).await.unwrap(), bytes);
    assert_eq!(read(reader.stream(two)).await.unwrap(), more);
    let fetched: u64 = fixture.packs.iter().map(|p| p.size_bytes).sum();
    assert_eq!(fixture.monitor.counter(Counter::FetchedBytes), fetched);
    assert_eq!(fixture.monitor.counter(Counter::RestoredBytes), (bytes.len() + more.len()) as u64);
    assert!(fixture.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_read_at_the_same_time_and_through_async_read() {
    let (fixture, _) = Fixture::versioned();
    let fixture = fixture.with_packs(4, 300_000).await;
    let (one, bytes) = fixture.record(&[interleaved(4, 1_200_000, 100_000)]);
    let (two, more) = fixture.record(&[(0..4).rev().map(|p| extent(p, 0, 1_200_000)).collect()]);
    let reader = fixture.reader().await;
    let mut stream = reader.stream(two);
    let mut all = Vec::new();
    let (first, second) = tokio::join!(read(reader.stream(one)), stream.read_to_end(&mut all));
    assert_eq!(first.unwrap(), bytes);
    assert_eq!(second.unwrap(), all.len());
    assert_eq!(all, more);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_bytes_end_at_once() {
    let (fixture, _) = Fixture::versioned();
    let reader = fixture.reader().await;
    for segments in [vec![], vec![vec![]], vec![vec![], vec![]]] {
        let (record, _) = fixture.record(&segments);
        assert_eq!(read(reader.stream(record.clone())).await.unwrap(), b"");
        assert_eq!(read(reader.range(record, 0, 0).unwrap()).await.unwrap(), b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decompressed_frames_in_memory_stay_below_the_limit() {
    let (fixture, _) = Fixture::versioned();
    let fixture = fixture.with_packs(3, 100_000).await;
    let (record, bytes) = fixture.record(&[interleaved(3, 400_000, 1_000)]);
    for limit in [0, 99_999, 250_000] {
        let mut options = fixture.options();
        options.memory_limit_bytes = limit;
        let reader = PackReader::open(options).await.unwrap();
        let mut stream = reader.stream(record.clone());
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece.unwrap());
            assert!(reader.hold.supply.held_bytes() <= limit);
        }
        assert_eq!(all, bytes);
    }
}

/// Damages what is stored of a pack.
async fn damage(fixture: &Fixture, pack: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let key = key(fixture.packs[pack]);
    let mut object = fixture.store.get(&key, None).await.unwrap().bytes(1 << 30).await.unwrap().to_vec();
    change(&mut object);
    fixture.store.put(&key, object.into(), PutMode::Replace).await.unwrap();
}

fn flip(object: &mut Vec<u8>) {
    let byte = object.pop().unwrap();
    object.push(byte ^ 1);
}

fn truncate(object: &mut Vec<u8>) {
    object.truncate(object.len() - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_that_is_right_is_taken_and_the_wrong_one_told() {
    for change in [flip as fn(&mut Vec<u8>), truncate] {
        let (fixture, _) = Fixture::versioned();
        let fixture = fixture.with_packs(2, 1_000).await;
        damage(&fixture, 1, change).await;
        damage(&fixture, 1, truncate).await;
        let (record, bytes) = fixture.record(&[vec![extent(0, 0, 4_000), extent(1, 0, 4_000)]]);
        assert_eq!(read(fixture.reader().await.stream(record)).await.unwrap(), bytes);
        let problems = fixture.monitor.problems();
        assert!(
            matches!(&problems[..], [one] if one.contains(key(fixture.packs[1]).as_str())),
            "{problems:?}"
        );
        check_pack(&*fixture.store, PREFIX, fixture.packs[1]).await.unwrap();
    }
}

/// Versions of an object, oldest first; nothing stands for a deletion.
type History<'a> = &'a [Option<&'a [u8]>];

#[tokio::test]
async fn the_right_one_of_any_history_of_versions_is_found() {
    let (pack, good) = seal_pack(&(Arc::new(age::x25519::Identity::generate().to_public()) as _), &[b"row"]);
    let mut wrong = good.clone();
    flip(&mut wrong);
    let histories: [(Option<Kind>, History); 8] = [
        (None, &[Some(&good)]),
        (None, &[Some(&good), Some(&wrong)]),
        (None, &[Some(&good), Some(b"short")]),
        (None, &[Some(&good), None]),
        (None, &[Some(&wrong), Some(&good), Some(&wrong), None]),
        (Some(Kind::Damaged), &[Some(&wrong), Some(b"short")]),
        (Some(Kind::Damaged), &[Some(&wrong), None]),
        (Some(Kind::NotFound), &[]),
    ];
    for (number, (fault, history)) in histories.iter().enumerate() {
        let store = Versioned::default();
        for version in *history {
            match version {
                Some(b) => drop(store.put(&key(pack), b.to_vec().into(), PutMode::Replace).await.unwrap()),
                None => store.delete(&key(pack), None).await.unwrap(),
            }
        }
        let checked = check_pack(&store, PREFIX, pack).await;
        assert_eq!(checked.as_ref().err().map(Error::kind), *fault, "history {number}");
        if let Err(e) = checked {
            assert!(e.to_string().contains(key(pack).as_str()), "{e}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pack_is_read_past_its_delete_marker() {
    let (fixture, _) = Fixture::versioned();
    let fixture = fixture.with_packs(1, 1_000).await;
    fixture.store.delete(&key(fixture.packs[0]), None).await.unwrap();
    let (record, bytes) = fixture.record(&[vec![extent(0, 0, 4_000)]]);
    assert_eq!(read(fixture.reader().await.stream(record)).await.unwrap(), bytes);
    assert_eq!(fixture.monitor.problems().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_and_a_cut_object_without_older_version_are_damage_that_names_the_pack() {
    for change in [flip as fn(&mut Vec<u8>), truncate] {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::new(local(folder.path()).await).with_packs(2, 1_000).await;
        damage(&fixture, 1, change).await;
        let (record, _) = fixture.record(&[vec![extent(0, 0, 4_000), extent(1, 0, 4_000)]]);
        let reader = fixture.reader().await;
        for _ in 0..2 {
            let error = read(reader.stream(record.clone())).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged);
            assert!(error.to_string().contains(key(fixture.packs[1]).as_str()), "{error}");
        }
        let error = check_pack(&*fixture.store, PREFIX, fixture.packs[1]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        check_pack(&*fixture.store, PREFIX, fixture.packs[0]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_nowhere_is_not_found_and_asked_for_once() {
    let (mut fixture, store) = Fixture::versioned();
    fixture.packs.push(PackRef { id: Sha256::of(b"nowhere"), size_bytes: 10 });
    fixture.contents.push(vec![0; 10]);
    let (record, _) = fixture.record(&[vec![extent(0, 0, 10)]]);
    let reader = fixture.reader().await;
    for _ in 0..2 {
        let error = read(reader.stream(record.clone())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains(key(fixture.packs[0]).as_str()), "{error}");
    }
    assert_eq!(store.requests.load(Ordering::Relaxed), 2);
    let error = check_pack(&*fixture.store, PREFIX, fixture.packs[0]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_told_again_and_never_taken_for_an_end() {
    let (mut fixture, _) = Fixture::versioned();
    fixture.packs.push(PackRef { id: Sha256::of(b"nowhere"), size_bytes: 10 });
    fixture.contents.push(vec![0; 10]);
    let (record, _) = fixture.record(&[vec![extent(0, 0, 10)]]);
    let mut stream = fixture.reader().await.stream(record);
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), Kind::NotFound);
    }
    let error = error_of(stream.read(&mut [0; 10]).await.unwrap_err());
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_is_a_wrong_key() {
    let (mut fixture, _) = Fixture::versioned();
    fixture = fixture.with_packs(1, 1_000).await;
    fixture.identity = age::x25519::Identity::generate();
    let (record, _) = fixture.record(&[vec![extent(0, 0, 4_000)]]);
    let error = read(fixture.reader().await.stream(record)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_record_is_damage_and_never_a_panic() {
    let (fixture, _) = Fixture::versioned();
    let fixture = fixture.with_packs(1, 1_000).await;
    let max = u32::MAX;
    let whole = Sha256::of(&fixture.contents[0]);
    let one =
        |size_bytes, extents: &[Extent]| Segment { size_bytes, sha256: whole, extents: extents.to_vec() };
    let endless = Segment { size_bytes: u64::MAX, sha256: whole, extents: vec![] };
    let lies = [
        vec![one(4_001, &[extent(0, 0, 4_001)])],
        vec![one(1, &[extent(0, 4_000, 1)])],
        vec![one(u64::from(max), &[extent(0, max, max)])],
        vec![one(4_000, &[extent(1, 0, 4_000)])],
        vec![one(4_000, &[extent(max, 0, 4_000)])],
        vec![one(4_001, &[extent(0, 0, 4_000)])],
        vec![one(3_999, &[extent(0, 0, 4_000)])],
        vec![one(4_000, &[extent(0, 1, 3_999), extent(0, 0, 1)])],
        vec![endless.clone(), endless.clone()],
        vec![one(4_000, &[extent(0, 0, 4_000)]), endless],
    ];
    let reader = fixture.reader().await;
    for segments in lies {
        let size_bytes = segments.iter().fold(0_u64, |sum, s| sum.saturating_add(s.size_bytes));
        let good = StreamRecord { size_bytes, ..record(vec![]) };
        let lie = Arc::new(StreamRecord { digest: Digest::Whole(whole), segments, ..good });
        reader.expect(&[&lie]);
        let error = read(reader.stream(lie.clone())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "{lie:?}");
        assert!(error.to_string().contains("database/sql"), "{error}");
        let parts = reader.range(lie.clone(), size_bytes / 2, size_bytes / 2).unwrap();
        // The edges of a range have no digest: that the bytes are others is then not seen, all else is.
        read(parts).await.map(|bytes| assert!(bytes.len() as u64 <= size_bytes)).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_digests_of_segment_and_stream_end_the_stream_in_damage() {
    let (fixture, _) = Fixture::versioned();
    let fixture = fixture.with_packs(1, 1_000).await;
    let (good, _) = fixture.record(&[vec![extent(0, 0, 10)], vec![extent(0, 10, 10)]]);
    let reader = fixture.reader().await;
    let mut of_segment = StreamRecord::clone(&good);
    of_segment.segments[1].sha256 = Sha256::of(b"other");
    let mut of_stream = StreamRecord::clone(&good);
    of_stream.digest = Digest::Segments(Sha256::of(b"other"));
    let mut of_another_kind = StreamRecord::clone(&good);
    of_another_kind.digest = Digest::Whole(good.segments[0].sha256);
    let mut longer = StreamRecord::clone(&good);
    longer.size_bytes += 1;
    let mut shorter = StreamRecord::clone(&good);
    shorter.size_bytes -= 1;
    let names = ["segment 1", "digest", "digest", "21", "19"];
    for (wrong, name) in [of_segment, of_stream, of_another_kind, longer, shorter].into_iter().zip(names) {
        let error = read(reader.stream(Arc::new(wrong))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_verifies_the_segments_within_and_reads_only_the_packs_it_needs() {
    let (fixture, _) = Fixture::versioned();
    let fixture = fixture.with_packs(3, 1_000).await;
    let (good, bytes) = fixture.record(&[0, 1, 2].map(|p| vec![extent(p, 0, 4_000)]));
    let mut wrong = StreamRecord::clone(&good);
    wrong.segments[1].sha256 = Sha256::of(b"other");
    let wrong = Arc::new(wrong);
    let reader = fixture.reader().await;
    assert_eq!(read(reader.range(wrong.clone(), 4_001, 3_999).unwrap()).await.unwrap(), bytes[4_001..8_000]);
    assert_eq!(fixture.monitor.counter(Counter::FetchedBytes), fixture.packs[1].size_bytes);
    let error = read(reader.range(wrong.clone(), 4_000, 4_000).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert_eq!(fixture.monitor.counter(Counter::FetchedBytes), fixture.packs[1].size_bytes);
    for (offset, length) in [(12_000, 1), (12_001, 0), (u64::MAX, 1), (0, u64::MAX)] {
        let error = reader.range(wrong.clone(), offset, length).err().unwrap();
        assert_eq!(error.kind(), Kind::Usage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_list_that_names_a_pack_twice_is_read() {
    let (mut fixture, _) = Fixture::versioned();
    fixture = fixture.with_packs(2, 1_000).await;
    fixture.packs.push(fixture.packs[0]);
    fixture.contents.push(fixture.contents[0].clone());
    let (record, bytes) = fixture.record(&[interleaved(3, 4_000, 500)]);
    assert_eq!(read(fixture.reader().await.stream(record)).await.unwrap(), bytes);
}

/// A store whose downloads stop after their first piece until the gate opens.
#[derive(Debug)]
struct Gated {
    inner: SharedStore,
    gate: tokio::sync::watch::Sender<bool>,
    begun: AtomicUsize,
    failing: Mutex<Vec<Kind>>,
}

impl Gated {
    fn around(inner: SharedStore) -> Arc<Self> {
        let gate = tokio::sync::watch::Sender::new(false);
        Arc::new(Gated { inner, gate, begun: AtomicUsize::new(0), failing: Mutex::default() })
    }
}

#[async_trait]
impl Store for Gated {
    fn address(&self) -> String {
        self.inner.address()
    }

    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry> {
        self.inner.put(key, body, mode).await
    }

    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if let Some(kind) = self.failing.lock().unwrap().pop() {
            return Err(Error::new(kind, "as the test asked"));
        }
        let download = self.inner.get(key, version).await?;
        let (size_bytes, mut gate) = (download.size_bytes, self.gate.subscribe());
        let bytes = download.bytes(size_bytes).await?;
        let (head, tail) = (bytes.slice(..100), bytes.slice(100..));
        let tail = futures::stream::once(async move {
            gate.wait_for(|open| *open).await.unwrap();
            Ok(tail)
        });
        let body = futures::stream::iter([Ok(head)]).chain(tail).boxed();
        Ok(Download { size_bytes, body })
    }

    async fn head(&self, key: &Key) -> Result<Option<Entry>> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.list(prefix).await
    }

    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>> {
        self.inner.versions(prefix).await
    }

    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()> {
        self.inner.delete(key, version).await
    }

    async fn sweep(&self, older_than: std::time::Duration) -> Result<u64> {
        self.inner.sweep(older_than).await
    }
}

/// Waits for what other threads are about to do; a test that fails does not hang.
async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(120), waiting).await.expect("what was awaited");
}

async fn gated(packs: u64) -> (Fixture, Arc<Gated>) {
    let (fixture, _) = Fixture::versioned();
    let mut fixture = fixture.with_packs(packs, 1_000).await;
    let gated = Gated::around(fixture.store.clone());
    fixture.store = gated.clone();
    (fixture, gated)
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_packs_are_fetched_ahead_at_a_time_as_may_be() {
    let (fixture, store) = gated(8).await;
    let (record, bytes) = fixture.record(&[(0..8).map(|p| extent(p, 0, 4_000)).collect()]);
    let reader = fixture.reader().await;
    reader.expect(&[&record]);
    until(|| store.begun.load(Ordering::Relaxed) == 3).await;
    // Nothing is read yet, and no fourth begins.
    until(|| fixture.files().len() == 3).await;
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);
    store.gate.send_replace(true);
    assert_eq!(read(reader.stream(record)).await.unwrap(), bytes);
    assert_eq!(store.begun.load(Ordering::Relaxed), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_stream_and_reader_early_leaves_no_files() {
    let (fixture, store) = gated(8).await;
    let (record, _) = fixture.record(&[(0..8).map(|p| extent(p, 0, 4_000)).collect()]);
    let reader = fixture.reader().await;
    let stream = reader.stream(record.clone());
    until(|| fixture.files().len() == 3).await;
    drop(stream);
    store.gate.send_replace(true);
    until(|| fixture.files().is_empty()).await;
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);

    store.gate.send_replace(false);
    let stream = reader.stream(record);
    until(|| fixture.files().len() == 3).await;
    drop(reader);
    drop(stream);
    until(|| std::fs::read_dir(fixture.folder.path()).unwrap().next().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_its_reader() {
    let (fixture, store) = gated(2).await;
    let (record, bytes) = fixture.record(&[interleaved(2, 4_000, 1_000)]);
    let reader = fixture.reader().await;
    let stream = reader.stream(record);
    drop(reader);
    store.gate.send_replace(true);
    assert_eq!(read(stream).await.unwrap(), bytes);
    until(|| std::fs::read_dir(fixture.folder.path()).unwrap().next().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_failed_is_asked_again_when_the_pack_is_needed() {
    let (fixture, store) = gated(1).await;
    store.gate.send_replace(true);
    *store.failing.lock().unwrap() = vec![Kind::Timeout, Kind::Store];
    let (record, bytes) = fixture.record(&[vec![extent(0, 0, 4_000)]]);
    let reader = fixture.reader().await;
    // Fetching ahead fails, without harm to whoever comes later.
    reader.expect(&[&record]);
    until(|| reader.hold.supply.failures() == 1).await;
    assert_eq!(store.begun.load(Ordering::Relaxed), 2);
    assert_eq!(read(reader.stream(record)).await.unwrap(), bytes);
    assert_eq!(store.begun.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_larger_than_the_format_allows_is_not_fetched() {
    let (mut fixture, store) = gated(1).await;
    fixture.packs[0].size_bytes = crate::repo::pack::MOST_OBJECT_BYTES + 1;
    let (record, _) = fixture.record(&[vec![extent(0, 0, 4_000)]]);
    let error = read(fixture.reader().await.stream(record)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
    assert_eq!(store.begun.load(Ordering::Relaxed), 0);
    assert!(check_pack(&*fixture.store, PREFIX, fixture.packs[0]).await.is_err());
}

#[test]
fn a_runtime_that_shuts_down_does_not_wait_for_a_reader() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (fixture, stream) = runtime.block_on(async {
        let (fixture, store) = gated(3).await;
        let (record, _) = fixture.record(&[(0..3).map(|p| extent(p, 0, 4_000)).collect()]);
        let stream = fixture.reader().await.stream(record);
        until(|| store.begun.load(Ordering::Relaxed) == 3).await;
        (fixture, stream)
    });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(read(stream)).unwrap_err().kind(), Kind::Interrupted);
    assert!(std::fs::read_dir(fixture.folder.path()).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_room_for_one_pack_serves_streams_that_need_others_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::new(local(folder.path()).await).with_packs(4, 50_000).await;
    let largest = fixture.packs.iter().map(|p| p.size_bytes).max().unwrap();
    let mut options = fixture.options();
    options.memory_limit_bytes = 0;
    options.folder_limit_bytes = largest;
    let reader = PackReader::open_with(options, 0).await.unwrap();
    let hops = |packs: [u32; 3]| packs.map(|p| extent(p, 7, 150_000)).to_vec();
    let orders = [[0, 1, 2], [3, 2, 1], [2, 0, 3], [1, 3, 0]];
    let streams = orders.map(|o| fixture.record(&[[hops(o), hops(o)].concat()]));
    let reads = futures::future::join_all(streams.iter().map(|(record, _)| {
        let stream = reader.stream(record.clone());
        async { tokio::spawn(read(stream)).await.unwrap() }
    }));
    let most = async {
        loop {
            let sizes =
                fixture.files().iter().filter_map(|p| p.metadata().ok()).map(|m| m.len()).sum::<u64>();
            assert!(sizes <= largest, "{sizes} bytes where one pack is {largest}");
            tokio::task::yield_now().await;
        }
    };
    let reads = tokio::select! { reads = reads => reads, () = most => unreachable!() };
    for (read, (_, bytes)) in reads.into_iter().zip(&streams) {
        assert!(read.unwrap() == *bytes);
    }
}

fn any_extents() -> impl Strategy<Value = Vec<Vec<Extent>>> {
    let extent = (0_u32..5, 0_u32..4_000, 1_u32..3_000)
        .prop_map(|(pack, offset, length)| extent(pack, offset, length.min(4_000 - offset)));
    prop::collection::vec(prop::collection::vec(extent, 0..12), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_range_is_the_slice_of_the_whole(segments in any_extents(), from in 0.0..1.0, to in 0.0..1.0) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (fixture, _) = Fixture::versioned();
            let fixture = fixture.with_packs(5, 1_000).await;
            let (record, bytes) = fixture.record(&segments);
            let reader = fixture.reader().await;
            reader.expect(&[&record]);
            let whole = read(reader.stream(record.clone())).await.unwrap();
            prop_assert!(whole == bytes);
            let at = |share: f64| (share * (bytes.len() + 1) as f64) as usize;
            let (from, to) = (at(from).min(at(to)), at(from).max(at(to)));
            let part = reader.range(record, from as u64, (to - from) as u64).unwrap();
            prop_assert!(read(part).await.unwrap() == bytes[from..to]);
            Ok(())
        })?;
    }
}
