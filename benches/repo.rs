//! Speed of the byte pipeline: `cargo bench --bench repo`; LIFEBOAT_BENCH_FILE names a dump to use instead of made-up rows.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "a benchmark may panic, and uses a part of what tests do"
)]

#[path = "../tests/repo_bytes/bench.rs"]
mod bench;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lifeboat::id::ComponentName::Database;
use lifeboat::repo::chunk::{DedupKey, Namer};
use lifeboat::repo::cutter::{Cutting, Grain, choose};
use lifeboat::repo::frame::{Effort, FRAME_BYTES, Press, RawFrame};

use bench::{Bench, rows};

fn content() -> Vec<u8> {
    match std::env::var_os("LIFEBOAT_BENCH_FILE") {
        Some(path) => std::fs::read(path).unwrap(),
        None => rows(0..200_000),
    }
}

fn parts(c: &mut Criterion) {
    let content = content();
    let sample = &content[..content.len().min(16 << 20)];
    let namer = Namer::new(&DedupKey::new([1; 32]));
    let mut group = c.benchmark_group("parts");
    group.sample_size(10).throughput(Throughput::Bytes(sample.len() as u64));
    group.bench_function("cut rows", |b| {
        let mut cutting = Cutting::new(&choose(Grain::Rows, 0, None)).unwrap();
        b.iter(|| {
            let mut chunks = 0_u32;
            let mut count = |_: &[u8]| {
                chunks += 1;
                Ok(())
            };
            sample.chunks(256 * 1024).for_each(|piece| cutting.push(piece, &mut count).unwrap());
            cutting.end(count).unwrap();
            black_box(chunks)
        });
    });
    group.bench_function("name chunks of 2 KiB", |b| {
        b.iter(|| sample.chunks(2048).map(|chunk| namer.id(chunk).0[0]).fold(0, u8::wrapping_add));
    });
    group.bench_function("press and prove frames", |b| {
        let mut press = Press::new(Effort::Usual).unwrap();
        b.iter(|| {
            for bytes in sample.chunks(FRAME_BYTES) {
                let mut raw = RawFrame::default();
                for chunk in bytes.chunks(2048) {
                    raw.push(namer.id(chunk), chunk);
                }
                black_box(press.press(raw).unwrap());
            }
        });
    });
    group.finish();
}

fn whole(c: &mut Criterion) {
    let content = content();
    let streams = [(Database, Grain::Rows, &content[..])];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("whole");
    group.sample_size(10).throughput(Throughput::Bytes(content.len() as u64));
    group.bench_function("first backup", |b| {
        b.iter(|| runtime.block_on(async { Bench::new().await.night(&streams).await.sealed.added_bytes }));
    });
    let mut bench = runtime.block_on(Bench::new());
    let night = runtime.block_on(bench.night(&streams));
    group.bench_function("restore", |b| b.iter(|| runtime.block_on(bench.read(&night)).len()));
    group.bench_function("unchanged night", |b| {
        b.iter(|| runtime.block_on(bench.night(&streams)).sealed.added_bytes);
    });
    group.finish();
}

criterion_group!(benches, parts, whole);
criterion_main!(benches);
