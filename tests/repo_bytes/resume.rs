//! Nights that die: what the next one finds again, and what it must not believe.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lifeboat::error::Kind;
use lifeboat::id::ComponentName::{Database, Files};
use lifeboat::monitor::{Counter, Recorder};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::writer::BackupWriter;
use lifeboat::store::{Fault, FaultStore, Method, SharedStore};

use super::bench::{Bench, begin, files, noise, rows, write};

fn stored_bytes(bench: &Bench) -> u64 {
    bench.packs().iter().map(|p| p.metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_dies_is_resumed_from_the_packs_that_reached_the_store() {
    let mut bench = Bench::new().await;
    let content = noise(1, 60 << 20);
    let writer = bench.writer().await.unwrap();
    let mut stream = begin(&writer, Files, Grain::Files).await.unwrap();
    for piece in content[..50 << 20].chunks(256 * 1024) {
        stream.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    // Packs travel beside the stream: the run dies once the first stands in the store, however slow that is.
    for _ in 0..600 {
        if stored_bytes(&bench) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(stream);
    writer.abandon().await;
    let there = stored_bytes(&bench);
    assert!(there > 8 << 20, "{there} bytes reached the store");

    let night = bench.night(&[(Files, Grain::Files, &content)]).await;
    assert!(night.sealed.added_bytes + there < (62 << 20), "{} after {there}", night.sealed.added_bytes);
    assert!(bench.read(&night).await.remove(0).unwrap() == content);
    assert!(files(&bench.path("spool")).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_answer_was_lost_is_found_by_asking_and_one_that_failed_is_forgotten() {
    for (fault, reused) in [(Fault::After(Kind::Store), true), (Fault::Before(Kind::Store), false)] {
        let mut bench = Bench::new().await;
        let content = noise(2, 3 << 20);
        let inner = Arc::clone(&bench.store);
        bench.store = Arc::new(FaultStore::new(inner.clone()).on(Method::Put, 1, fault));
        let mut writer = bench.writer().await.unwrap();
        write(&writer, Files, Grain::Files, &content).await.unwrap();
        assert_eq!(writer.finish().await.unwrap_err().kind(), Kind::Store);
        writer.abandon().await;

        bench.store = inner;
        let night = bench.night(&[(Files, Grain::Files, &content)]).await;
        assert_eq!(night.monitor.counter(Counter::StoredPacks) == 0, reused, "{fault:?}");
        assert!(bench.read(&night).await.remove(0).unwrap() == content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_was_carried_out_twice_is_no_conflict() {
    let mut bench = Bench::new().await;
    let content = noise(3, 1 << 20);
    let inner = Arc::clone(&bench.store);
    // The first answer is lost, and the driver's second try finds the object there.
    let retried: SharedStore = Arc::new(Retried(inner));
    bench.store = retried;
    let night = bench.night(&[(Files, Grain::Files, &content)]).await;
    assert_eq!(night.monitor.counter(Counter::StoredPacks), 1);
    assert!(bench.read(&night).await.remove(0).unwrap() == content);
}

/// Puts everything twice and returns the second answer.
#[derive(Debug)]
struct Retried(SharedStore);

#[async_trait::async_trait]
impl lifeboat::store::Store for Retried {
    fn address(&self) -> String {
        self.0.address()
    }
    async fn put(
        &self,
        key: &lifeboat::store::Key,
        body: lifeboat::store::Body,
        mode: lifeboat::store::PutMode,
    ) -> lifeboat::error::Result<lifeboat::store::Entry> {
        self.0.put(key, body.clone(), mode).await?;
        self.0.put(key, body, mode).await
    }
    async fn get(
        &self,
        key: &lifeboat::store::Key,
        version: Option<&str>,
    ) -> lifeboat::error::Result<lifeboat::store::Download> {
        self.0.get(key, version).await
    }
    async fn head(
        &self,
        key: &lifeboat::store::Key,
    ) -> lifeboat::error::Result<Option<lifeboat::store::Entry>> {
        self.0.head(key).await
    }
    async fn list(&self, prefix: &str) -> lifeboat::error::Result<Vec<lifeboat::store::Entry>> {
        self.0.list(prefix).await
    }
    async fn versions(&self, prefix: &str) -> lifeboat::error::Result<Vec<lifeboat::store::Entry>> {
        self.0.versions(prefix).await
    }
    async fn delete(&self, key: &lifeboat::store::Key, version: Option<&str>) -> lifeboat::error::Result<()> {
        self.0.delete(key, version).await
    }
    async fn sweep(&self, older_than: Duration) -> lifeboat::error::Result<u64> {
        self.0.sweep(older_than).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_in_use_is_locked_and_free_again_afterwards() {
    let bench = Bench::new().await;
    let writer = bench.writer().await.unwrap();
    assert_eq!(bench.writer().await.err().map(|e| e.kind()), Some(Kind::Locked));
    writer.abandon().await;
    let writer = bench.writer().await.unwrap();
    let forgotten = begin(&writer, Files, Grain::Files).await.unwrap();
    // Must return although somebody still holds a stream.
    writer.abandon().await;
    assert_eq!(forgotten.finish().await.unwrap_err().kind(), Kind::Interrupted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cache_is_told_and_costs_one_full_upload_only() {
    let content = rows(0..20_000);
    let whole = std::fs::read({
        let mut bench = Bench::new().await;
        bench.night(&[(Database, Grain::Rows, &content)]).await;
        bench.folder.keep().join("cache/journal")
    });
    let length = whole.unwrap().len();
    for at in [0, 9, length / 2, length - 1] {
        let mut bench = Bench::new().await;
        bench.night(&[(Database, Grain::Rows, &content)]).await;
        let journal = bench.path("cache/journal");
        let mut bytes = std::fs::read(&journal).unwrap();
        bytes[at] ^= 0x40;
        std::fs::write(&journal, bytes).unwrap();

        let second = bench.night(&[(Database, Grain::Rows, &content)]).await;
        assert_eq!(second.monitor.problems().len(), 1, "byte {at}");
        assert_eq!(second.monitor.counter(Counter::NewBytes), content.len() as u64);
        let third = bench.night(&[(Database, Grain::Rows, &content)]).await;
        assert!(third.monitor.problems().is_empty());
        assert_eq!(third.sealed.added_bytes, 0);
        assert!(bench.read(&third).await.remove(0).unwrap() == content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_end_of_the_cache_costs_no_more_than_what_it_held() {
    let mut bench = Bench::new().await;
    let (old, new) = (noise(4, 3 << 20), noise(5, 2 << 20));
    bench.night(&[(Files, Grain::Files, &old)]).await;
    let whole = std::fs::read(bench.path("cache/journal")).unwrap().len();
    let both = [&old[..], &new].concat();
    let mut writer = bench.writer().await.unwrap();
    write(&writer, Files, Grain::Files, &both).await.unwrap();
    writer.finish().await.unwrap();
    writer.abandon().await;

    let journal = std::fs::read(bench.path("cache/journal")).unwrap();
    assert!(journal.len() > whole);
    for length in [whole + 1, whole + 8, whole + 50, journal.len() - 1] {
        for zeros in [0, 100] {
            let mut torn = journal[..length].to_vec();
            torn.extend(vec![0; zeros]);
            if zeros > 0 {
                torn.truncate(whole);
                torn.extend(vec![0; zeros]);
            }
            std::fs::write(bench.path("cache/journal"), &torn).unwrap();
            let monitor = Arc::new(Recorder::default());
            let writer = BackupWriter::open(bench.options(monitor.clone())).await.unwrap();
            assert!(monitor.problems().is_empty(), "torn at {length}");
            write(&writer, Files, Grain::Files, &old).await.unwrap();
            // The last chunk of the first night ended with its content.
            assert!(monitor.counter(Counter::NewBytes) < 200_000, "torn at {length}");
            writer.abandon().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_takes_nothing_fills_the_spool_and_no_more() {
    let mut bench = Bench::new().await;
    bench.patience = Duration::from_millis(300);
    bench.spool_bytes = 0;
    let inner = Arc::clone(&bench.store);
    let hang = Fault::Hang(Duration::from_secs(3600));
    bench.store = Arc::new((1..20).fold(FaultStore::new(inner), |store, n| store.on(Method::Put, n, hang)));
    let monitor = Arc::new(Recorder::default());
    let writer = BackupWriter::open(bench.options(monitor.clone())).await.unwrap();
    let mut stream = begin(&writer, Files, Grain::Files).await.unwrap();
    let mut written = 0_u64;
    let error = loop {
        let piece = noise(written, 256 * 1024);
        match stream.write(piece.into()).await {
            Ok(()) => written += 256 * 1024,
            Err(e) => break e,
        }
        assert!(written < 1 << 30, "the source was never stopped");
        let waiting: u64 =
            files(&bench.path("spool")).iter().filter_map(|f| Some(f.metadata().ok()?.len())).sum();
        assert!(waiting <= 40 << 20, "{waiting} bytes wait in the spool");
    };
    assert_eq!(error.kind(), Kind::Full, "{error}");
    // The spool's 40 MiB, an open pack, one being sealed, and the queues before them.
    assert!(written < 120 << 20, "{written} bytes were taken");
    drop(stream);
    writer.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_left_open_and_segments_not_known_are_refused() {
    let bench = Bench::new().await;
    let mut writer = bench.writer().await.unwrap();
    let mut stream = begin(&writer, Files, Grain::Files).await.unwrap();
    let unknown = super::bench::segment(b"never seen");
    assert_eq!(stream.known(unknown).await.unwrap_err().kind(), Kind::Bug);
    assert_eq!(writer.finish().await.unwrap_err().kind(), Kind::Bug);
    stream.finish().await.unwrap();
    assert!(writer.finish().await.unwrap().packs.is_empty());
    assert!(writer.begin(Files, "late", Grain::Files, None).is_err());
    writer.abandon().await;
}
