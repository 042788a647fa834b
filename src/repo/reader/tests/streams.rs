//! Streams and ranges come whole, in order, and within their bounds.

use proptest::prelude::*;

use super::*;

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
