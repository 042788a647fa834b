//! What is wrong in the store is told, and read past where an older version is right.

use std::sync::atomic::Ordering;

use super::*;

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
