//! Packs that are not what they were: a stream never ends as if it were whole, and the pack is named.

use std::sync::Arc;

use lifeboat::error::Kind;
use lifeboat::id::ComponentName::{Database, Files};
use lifeboat::id::Sha256;
use lifeboat::monitor::Counter;
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::extent::{Digest, Extent, Segment, StreamRecord};
use lifeboat::repo::reader::{check_pack, error_of};
use lifeboat::store::{Fault, FaultStore, Method};
use tokio::io::AsyncReadExt;

use super::bench::{Bench, collect, noise, rows};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_a_cut_and_a_missing_pack_end_the_stream_with_the_packs_name() {
    let mut bench = Bench::new().await;
    let content = noise(1, 36 << 20);
    let night = bench.night(&[(Files, Grain::Files, &content)]).await;
    let pack = night.sealed.packs[1];
    let path = bench.path(&format!("store/tenants/t/packs/{}", pack.id));
    let good = std::fs::read(&path).unwrap();
    let damages: [fn(&mut Vec<u8>); 4] =
        [|b| b[1000] ^= 1, |b| b.truncate(5000), |b| b.push(0), |b| b.clear()];
    for (number, damage) in damages.iter().enumerate() {
        let mut bad = good.clone();
        damage(&mut bad);
        std::fs::write(&path, bad).unwrap();
        let error = bench.read(&night).await.remove(0).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "damage {number}: {error}");
        assert!(error.to_string().contains(&pack.id.to_string()), "{error}");
        let checked = check_pack(&*bench.store, "tenants/t/packs/", pack).await;
        assert_eq!(checked.unwrap_err().kind(), Kind::Damaged);
    }
    std::fs::remove_file(&path).unwrap();
    let error = bench.read(&night).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains(&pack.id.to_string()), "{error}");

    std::fs::write(&path, good).unwrap();
    check_pack(&*bench.store, "tenants/t/packs/", pack).await.unwrap();
    assert!(bench.read(&night).await.remove(0).unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_what_was_written_is_noticed_at_the_end() {
    let mut bench = Bench::new().await;
    let content = rows(0..5000);
    let night = bench.night(&[(Database, Grain::Rows, &content)]).await;
    let (reader, _) = bench.reader(&night).await;
    let broken: [fn(&mut StreamRecord); 4] = [
        |r| r.segments[0].sha256.0[0] ^= 1,
        |r| r.segments[0].extents[0].offset += 1,
        |r| r.size_bytes += 1,
        |r| r.segments[0].extents[0].pack = 7,
    ];
    for (number, breakage) in broken.iter().enumerate() {
        let mut record = (*night.records[0]).clone();
        breakage(&mut record);
        let error = collect(reader.stream(Arc::new(record))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "breakage {number}: {error}");
    }
    let mut through_io =
        reader.stream(Arc::new(StreamRecord { size_bytes: 1, ..(*night.records[0]).clone() }));
    let error = error_of(through_io.read_to_end(&mut Vec::new()).await.unwrap_err());
    assert_eq!(error.kind(), Kind::Damaged);
    let mut whole = Vec::new();
    reader.stream(Arc::clone(&night.records[0])).read_to_end(&mut whole).await.unwrap();
    assert!(whole == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_identity_is_told_from_damage() {
    let mut bench = Bench::new().await;
    let night = bench.night(&[(Database, Grain::Rows, &rows(0..100))]).await;
    bench.identity = Arc::new(age::x25519::Identity::generate());
    assert_eq!(bench.read(&night).await.remove(0).unwrap_err().kind(), Kind::WrongKey);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_breaks_off_is_begun_again() {
    let mut bench = Bench::new().await;
    let content = noise(2, 2 << 20);
    let night = bench.night(&[(Files, Grain::Files, &content)]).await;
    let inner = Arc::clone(&bench.store);
    bench.store = Arc::new(FaultStore::new(inner).on(Method::Get, 1, Fault::Cut(100_000)));
    assert!(bench.read(&night).await.remove(0).unwrap() == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_too_small_for_what_is_needed_again_costs_fetches_and_never_more_room() {
    let mut bench = Bench::new().await;
    let content = noise(4, 68 << 20);
    let night = bench.night(&[(Files, Grain::Files, &content)]).await;
    assert!(night.sealed.packs.len() >= 4);
    let largest = night.sealed.packs.iter().map(|p| p.size_bytes).max().unwrap();
    // The same packs again and again, in another order each time.
    let extents = &night.records[0].segments[0].extents;
    let piece = |extent: &Extent| {
        let before = extents.iter().take_while(|e| *e != extent).map(|e| u64::from(e.length)).sum::<u64>();
        content[before as usize..][..extent.length as usize].to_vec()
    };
    let order = [0, 2, 1, 3, 0, 1, 2, 3, 3, 0];
    let wanted: Vec<u8> = order.iter().flat_map(|n| piece(&extents[*n])).collect();
    let segments = vec![Segment {
        size_bytes: wanted.len() as u64,
        sha256: Sha256::of(&wanted),
        extents: order.iter().map(|n| extents[*n]).collect(),
    }];
    let record = StreamRecord {
        size_bytes: wanted.len() as u64,
        digest: Digest::of(&segments),
        segments,
        ..(*night.records[0]).clone()
    };
    bench.folder_limit_bytes = 0;
    let (reader, monitor) = bench.reader(&night).await;
    let mut stream = reader.stream(Arc::new(record));
    let (mut at, mut most) = (0, 0);
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.unwrap();
        assert!(wanted[at..].starts_with(&bytes));
        at += bytes.len();
        let here = std::fs::read_dir(bench.path("restore")).unwrap().map(|e| e.unwrap().path());
        let here: u64 = here.filter(|p| p.is_dir()).map(|p| size_of_files(&p)).sum();
        most = most.max(here);
    }
    assert_eq!(at, wanted.len());
    assert!(most <= 2 * largest + 8192, "{most} bytes lay in the folder, a pack has {largest}");
    let once: u64 = night.sealed.packs.iter().take(4).map(|p| p.size_bytes).sum();
    assert!(monitor.counter(Counter::FetchedBytes) > once, "nothing was fetched again");
}

fn size_of_files(folder: &std::path::Path) -> u64 {
    super::bench::files(folder).iter().filter_map(|f| Some(f.metadata().ok()?.len())).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_early_leaves_nothing_behind_and_others_go_on() {
    let mut bench = Bench::new().await;
    let content = noise(3, 40 << 20);
    let night = bench.night(&[(Files, Grain::Files, &content)]).await;
    let (reader, _) = bench.reader(&night).await;
    let mut first = reader.stream(Arc::clone(&night.records[0]));
    assert!(first.next().await.unwrap().is_ok());
    drop(first);
    assert!(collect(reader.stream(Arc::clone(&night.records[0]))).await.unwrap() == content);
}
