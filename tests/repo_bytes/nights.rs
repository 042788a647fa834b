//! Nights that go well: what is stored, what is not, and that all of it comes back.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use lifeboat::id::ComponentName::{Config, Database, Files, RedisQueue};
use lifeboat::monitor::{Counter, Recorder};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::extent::{Digest, StreamRecord};
use lifeboat::repo::writer::BackupWriter;
use proptest::prelude::*;

use super::bench::{Bench, Night, begin, collect, noise, rows, segment, write};
use super::support::shared::{erpnext, unpacked};
use crate::skip;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_several_packs_come_back_and_an_unchanged_night_stores_nothing() {
    let mut bench = Bench::new().await;
    let (sql, tar) = (rows(0..30_000), noise(1, 40 << 20));
    let streams = [
        (Database, Grain::Rows, &sql[..]),
        (Files, Grain::Files, &tar[..]),
        (Config, Grain::Files, &b""[..]),
    ];
    let first = bench.night(&streams).await;
    assert!(first.sealed.packs.len() >= 3, "{:?}", first.sealed.packs);
    assert_eq!(first.monitor.counter(Counter::StoredPacks), first.sealed.packs.len() as u64);
    assert_eq!(first.monitor.counter(Counter::StoredBytes), first.sealed.added_bytes);
    assert_eq!(first.monitor.counter(Counter::SourceBytes), (sql.len() + tar.len()) as u64);
    assert!(matches!(first.records[0].digest, Digest::Whole(_)));
    assert_eq!(first.records[2].segments.len(), 0);

    let second = bench.night(&streams).await;
    assert_eq!(second.sealed.added_bytes, 0);
    assert_eq!(bench.packs().len(), first.sealed.packs.len());
    for night in [&first, &second] {
        let read: Vec<_> = bench.read(night).await.into_iter().map(Result::unwrap).collect();
        assert!(read[0] == sql && read[1] == tar && read[2].is_empty());
    }
    assert!(super::bench::files(&bench.path("spool")).is_empty());
    assert!(std::fs::read_dir(bench.path("restore")).unwrap().all(|e| e.unwrap().file_name() == "lock"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_pack_is_fetched_once_for_all_streams_together() {
    let mut bench = Bench::new().await;
    let (sql, tar) = (rows(0..20_000), noise(2, 20 << 20));
    let night = bench.night(&[(Database, Grain::Rows, &sql), (Files, Grain::Files, &tar)]).await;
    let (reader, monitor) = bench.reader(&night).await;
    let records: Vec<&StreamRecord> = night.records.iter().map(|r| &**r).collect();
    reader.expect(&records);
    let (a, b) = tokio::join!(
        collect(reader.stream(Arc::clone(&night.records[0]))),
        collect(reader.stream(Arc::clone(&night.records[1])))
    );
    assert!(a.unwrap() == sql && b.unwrap() == tar);
    let stored: u64 = night.sealed.packs.iter().map(|p| p.size_bytes).sum();
    assert_eq!(monitor.counter(Counter::FetchedBytes), stored);
    assert_eq!(monitor.counter(Counter::RestoredBytes), (sql.len() + tar.len()) as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_content_is_known_by_its_hash_and_not_read_again() {
    let mut bench = Bench::new().await;
    let (large, small) = (noise(3, 3 << 20), noise(4, 5000));
    let writer = bench.writer().await.unwrap();
    assert!(!writer.knows(&segment(&large)));
    let first = files_night(&mut bench, writer, &large, &small, false).await;

    let writer = bench.writer().await.unwrap();
    assert_eq!(writer.head().map(|h| h.sequence), Some(1));
    assert!(writer.knows(&segment(&large)));
    assert!(!writer.knows(&segment(&small)), "small contents are not remembered one by one");
    let second = files_night(&mut bench, writer, &large, &small, true).await;
    assert_eq!(second.sealed.added_bytes, 0);
    assert_eq!(first.records[0].segments, second.records[0].segments);
    let whole = [&small[..], &large, &small].concat();
    assert!(bench.read(&second).await.remove(0).unwrap() == whole);

    let (reader, _) = bench.reader(&second).await;
    for (offset, length) in
        [(0, 10), (4990, 20), (5000, 3 << 20), (4000 + (3 << 20), 6000), (0, whole.len() as u64)]
    {
        let part =
            collect(reader.range(Arc::clone(&second.records[0]), offset, length).unwrap()).await.unwrap();
        assert!(part == whole[offset as usize..(offset + length) as usize], "{offset} {length}");
    }
    assert!(reader.range(Arc::clone(&second.records[0]), 1, whole.len() as u64).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_among_files_is_cut_as_rows_and_its_next_day_stores_what_changed() {
    let mut bench = Bench::new().await;
    let (before, small) = (rows(0..20_000), noise(5, 5000));
    // One row of each hundred is another.
    let after = rows((0..20_000).map(|n| if n % 100 == 0 { n + 1_000_000 } else { n }));
    let mut added = Vec::new();
    for dump in [&before, &after] {
        let mut writer = bench.writer().await.unwrap();
        let mut stream = begin(&writer, Files, Grain::Files).await.unwrap();
        stream.write(Bytes::copy_from_slice(&small)).await.unwrap();
        stream.open(Grain::Rows, dump.len() as u64).await.unwrap();
        for piece in dump.chunks(200_000) {
            stream.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        let (hashed, hash) = tokio::sync::oneshot::channel();
        stream.close(dump.len() as u64, |key| hashed.send(key).unwrap()).await.unwrap();
        stream.write(Bytes::copy_from_slice(&small)).await.unwrap();
        let record = stream.finish().await.unwrap();
        assert_eq!(hash.await.unwrap(), segment(dump));
        let sealed = writer.finish().await.unwrap();
        writer.committed(bench.commit(Vec::new())).await.unwrap();
        added.push(sealed.added_bytes);
        let night = Night { sealed, records: vec![Arc::new(record)], monitor: Arc::new(Recorder::default()) };
        assert!(bench.read(&night).await.remove(0).unwrap() == [&small[..], dump, &small].concat());
    }
    assert!(added[1] * 5 < added[0], "{added:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_that_does_not_end_as_it_was_written_is_in_no_record() {
    let mut bench = Bench::new().await;
    let large = noise(6, 3 << 20);
    for longer in [false, true] {
        let writer = bench.writer().await.unwrap();
        let mut stream = begin(&writer, Files, Grain::Files).await.unwrap();
        stream.open(Grain::Files, large.len() as u64).await.unwrap();
        stream.write(Bytes::copy_from_slice(&large)).await.unwrap();
        if longer {
            let untold = |_| panic!("a content of another length has no name");
            stream.close(large.len() as u64 + 1, untold).await.ok();
        }
        assert!(stream.finish().await.is_err());
        writer.abandon().await;
    }
    let night = bench.night(&[(Files, Grain::Files, &large)]).await;
    assert!(bench.read(&night).await.remove(0).unwrap() == large);
}

async fn files_night(
    bench: &mut Bench,
    mut writer: BackupWriter,
    large: &[u8],
    small: &[u8],
    known: bool,
) -> Night {
    let mut stream = begin(&writer, Files, Grain::Files).await.unwrap();
    stream.write(Bytes::copy_from_slice(small)).await.unwrap();
    stream.cut().await.unwrap();
    if known {
        stream.known(segment(large)).await.unwrap();
    } else {
        stream.write(Bytes::copy_from_slice(large)).await.unwrap();
    }
    stream.cut().await.unwrap();
    stream.write(Bytes::copy_from_slice(small)).await.unwrap();
    let record = stream.finish().await.unwrap();
    assert_eq!(record.segments.len(), 3);
    let sealed = writer.finish().await.unwrap();
    writer.committed(bench.commit(Vec::new())).await.unwrap();
    Night { sealed, records: vec![Arc::new(record)], monitor: Arc::new(Recorder::default()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_component_is_in_no_record_but_costs_no_second_upload() {
    let mut bench = Bench::new().await;
    let (sql, tar, more) = (rows(0..20_000), noise(5, 4 << 20), noise(6, 3 << 20));
    bench.night(&[(Database, Grain::Rows, &sql), (Files, Grain::Files, &tar)]).await;

    // The files fail in the middle; the database is whole.
    let mut writer = bench.writer().await.unwrap();
    let record = write(&writer, Database, Grain::Rows, &sql).await.unwrap();
    let mut broken = begin(&writer, Files, Grain::Files).await.unwrap();
    broken.write(Bytes::copy_from_slice(&tar)).await.unwrap();
    broken.write(Bytes::copy_from_slice(&more)).await.unwrap();
    broken.abort();
    let sealed = writer.finish().await.unwrap();
    assert_eq!(record.segments[0].extents.iter().map(|e| e.pack).max(), Some(sealed.packs.len() as u32 - 1));
    writer.committed(bench.commit(vec![Files])).await.unwrap();
    let partial = Night { sealed, records: vec![Arc::new(record)], monitor: Arc::default() };
    assert!(bench.read(&partial).await.remove(0).unwrap() == sql);

    let all = [tar, more].concat();
    let third = bench.night(&[(Database, Grain::Rows, &sql), (Files, Grain::Files, &all)]).await;
    let added = third.monitor.counter(Counter::NewBytes);
    assert!(added < 300_000, "{added} bytes were new, a chunk or two at the seam expected");
    assert!(bench.read(&third).await.remove(1).unwrap() == all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_newest_snapshot_does_not_hold_leaves_the_cache() {
    let mut bench = Bench::new().await;
    let (old, new) = (noise(7, 2 << 20), noise(8, 2 << 20));
    bench.night(&[(Files, Grain::Files, &old)]).await;
    bench.night(&[(Files, Grain::Files, &new)]).await;
    let third = bench.night(&[(Files, Grain::Files, &old)]).await;
    assert_eq!(third.monitor.counter(Counter::NewBytes), old.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_streams_that_are_written_at_once_share_what_they_have_in_common() {
    let mut bench = Bench::new().await;
    let common = noise(9, 6 << 20);
    let mut writer = bench.writer().await.unwrap();
    let (a, b) = tokio::join!(
        write(&writer, Files, Grain::Files, &common),
        write(&writer, Config, Grain::Files, &common)
    );
    let records = vec![Arc::new(a.unwrap()), Arc::new(b.unwrap())];
    let sealed = writer.finish().await.unwrap();
    writer.committed(bench.commit(Vec::new())).await.unwrap();
    let night = Night { sealed, records, monitor: Arc::default() };
    assert!(bench.read(&night).await.into_iter().all(|read| read.unwrap() == common));
    // Both may be inside the same frame's worth of chunks at any time, not more.
    assert!(night.sealed.added_bytes < 2 * common.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_or_a_fresh_start_reuses_nothing_and_keeps_the_head() {
    let mut bench = Bench::new().await;
    let content = noise(10, 2 << 20);
    bench.night(&[(Files, Grain::Files, &content)]).await;
    let monitor = Arc::new(Recorder::default());
    let mut options = bench.options(monitor.clone());
    options.fresh = true;
    let writer = BackupWriter::open(options).await.unwrap();
    assert_eq!(writer.head().map(|h| h.sequence), Some(1));
    write(&writer, Files, Grain::Files, &content).await.unwrap();
    assert_eq!(monitor.counter(Counter::NewBytes), content.len() as u64);
    writer.abandon().await;

    bench.night(&[(Files, Grain::Files, &content)]).await;
    let monitor = Arc::new(Recorder::default());
    let mut options = bench.options(monitor.clone());
    options.dedup_key = lifeboat::repo::chunk::DedupKey::new([1; 32]);
    let writer = BackupWriter::open(options).await.unwrap();
    write(&writer, Files, Grain::Files, &content).await.unwrap();
    assert_eq!(monitor.counter(Counter::NewBytes), content.len() as u64);
    writer.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voided_pack_is_written_anew() {
    let mut bench = Bench::new().await;
    let content = noise(11, 2 << 20);
    let first = bench.night(&[(Files, Grain::Files, &content)]).await;
    let mut options = bench.options(Arc::new(Recorder::default()));
    options.barred.void = first.sealed.packs.iter().map(|p| p.id).collect();
    let mut writer = BackupWriter::open(options).await.unwrap();
    write(&writer, Files, Grain::Files, &content).await.unwrap();
    let sealed = writer.finish().await.unwrap();
    assert!(sealed.packs.iter().all(|p| !first.sealed.packs.contains(p)));
    writer.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_sites_second_and_third_day_store_at_most_700_kb_each() {
    const NAME: &str = "the_real_sites_second_and_third_day_store_at_most_700_kb_each";
    if erpnext().is_none() {
        skip!(NAME, "the real site's data is not here");
    }
    let mut bench = Bench::new().await;
    for day in 1..=3 {
        let mut sql = Vec::new();
        unpacked(&format!("day{day}.sql.zst")).unwrap().read_to_end(&mut sql).unwrap();
        let night = bench.night(&[(Database, Grain::Rows, &sql)]).await;
        println!("day {day}: {} bytes of SQL, {} stored", sql.len(), night.sealed.added_bytes);
        assert!(day == 1 || night.sealed.added_bytes <= 700_000, "day {day}: {}", night.sealed.added_bytes);
        assert!(bench.read(&night).await.remove(0).unwrap() == sql);
    }
}

/// A change of one night.
#[derive(Debug, Clone)]
enum Change {
    Insert(usize, u64),
    Remove(usize),
    Replace(usize, u64),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<usize>(), any::<u64>()).prop_map(|(at, n)| Change::Insert(at, n % 1_000_000)),
        any::<usize>().prop_map(Change::Remove),
        (any::<usize>(), any::<u64>()).prop_map(|(at, n)| Change::Replace(at, n % 1_000_000)),
    ];
    proptest::collection::vec(change, 0..40)
}

#[derive(Debug, Clone)]
struct Plan {
    changes: Vec<Change>,
    /// Abandoned before the end instead of committed.
    dies: bool,
    queue: Vec<u8>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_of_any_sequence_of_nights_comes_back_equal(
        start in 0_u64..4000,
        nights in proptest::collection::vec(
            (changes(), proptest::bool::weighted(0.2), proptest::collection::vec(any::<u8>(), 0..3000))
                .prop_map(|(changes, dies, queue)| Plan { changes, dies, queue }),
            1..8,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run_nights(start, nights));
    }
}

async fn run_nights(start: u64, nights: Vec<Plan>) {
    let mut bench = Bench::new().await;
    let mut numbers: Vec<u64> = (0..start).collect();
    let mut model: Vec<(Night, HashMap<usize, Vec<u8>>)> = Vec::new();
    for Plan { changes, dies, queue } in nights {
        for change in changes {
            let length = numbers.len();
            match change {
                Change::Insert(at, n) => numbers.insert(at % (length + 1), n),
                Change::Remove(at) if length > 0 => drop(numbers.remove(at % length)),
                Change::Replace(at, n) if length > 0 => numbers[at % length] = n,
                _ => {}
            }
        }
        let sql = rows(numbers.iter().copied());
        if dies {
            let writer = bench.writer().await.unwrap();
            write(&writer, Database, Grain::Rows, &sql).await.unwrap();
            writer.abandon().await;
            continue;
        }
        let night = bench.night(&[(Database, Grain::Rows, &sql), (RedisQueue, Grain::Files, &queue)]).await;
        model.push((night, HashMap::from([(0, sql), (1, queue)])));
    }
    for (night, contents) in &model {
        for (number, read) in bench.read(night).await.into_iter().enumerate() {
            assert!(read.unwrap() == contents[&number]);
        }
    }
}
