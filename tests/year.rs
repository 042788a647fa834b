//! A simulated year of nights, each with a backup and a prune: dead space, packs that a restore reads, and bytes
//! uploaded, as figures and within bounds.
//!
//! A share of six weeks on made-up rows in each run; the whole year, on the real site's rows where they are at hand, in
//! a full one.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use lifeboat::id::{ComponentName, SnapshotId};
use lifeboat::ops::prune::plan::{Orders, Plan};
use lifeboat::ops::prune::{self, Pruned};
use lifeboat::repo::check::{Depth, IntactCheck};
use lifeboat::repo::cutter::Grain;
use lifeboat::repo::receipt::Committed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::pruner;
use support::repository::{Bucket, Part, noise, read_stream, rows, tenant};
use support::shared::{erpnext, unpacked};

/// The retention of the shipped `nightly`, in a zone with summer time.
const POLICY: &str = "[schedule]\ntimezone = \"Europe/Berlin\"\n[drill]\nskip = \"a test\"\n";

/// Of a thousand rows, so many change each night, and so many come.
const CHANGED: u32 = 6;
const NEW: u32 = 1;

/// A site that lives: rows change and come all over its tables, and a file is uploaded now and then.
struct Site {
    rows: Vec<Bytes>,
    files: Vec<Bytes>,
    dice: StdRng,
}

impl Site {
    fn new(full: bool) -> Site {
        let mut text = Vec::new();
        match full && erpnext().is_some() {
            true => drop(unpacked("day1.sql.zst").unwrap().read_to_end(&mut text).unwrap()),
            false => text.extend_from_slice(&rows(25_000, 0)),
        }
        let rows = text.split_inclusive(|b| *b == b'\n').map(Bytes::copy_from_slice).collect();
        Site {
            rows,
            files: vec![noise(1, 2 << 20), noise(2, 300_000)],
            dice: StdRng::seed_from_u64(20_261_123),
        }
    }

    fn live(&mut self, night: u64) {
        let mut next = Vec::with_capacity(self.rows.len() + 1000);
        for row in std::mem::take(&mut self.rows) {
            let roll = self.dice.random_range(0..1000);
            if roll < NEW {
                next.push(self.another(&row));
            }
            next.push(if (NEW..NEW + CHANGED).contains(&roll) { self.another(&row) } else { row });
        }
        self.rows = next;
        if night % 7 == 3 {
            self.files.push(noise(100 + night, 200_000));
        }
    }

    /// The same row with eight other digits in its middle; what is too short stays.
    fn another(&mut self, row: &Bytes) -> Bytes {
        if row.len() < 40 {
            return row.clone();
        }
        let mut row = row.to_vec();
        let at = row.len() / 2;
        for byte in row[at..at + 8].iter_mut().filter(|b| b.is_ascii_alphanumeric()) {
            *byte = b'0' + self.dice.random_range(0..10_u8);
        }
        row.into()
    }

    fn parts(&self) -> Vec<Part> {
        let part = |component, stream, grain, segments| Part { component, stream, grain, segments };
        vec![
            part(ComponentName::Database, "sql", Grain::Rows, vec![self.rows.concat().into()]),
            part(ComponentName::Files, "tar", Grain::Files, self.files.clone()),
        ]
    }
}

/// What the year came to.
#[derive(Debug, Default)]
struct Year {
    uploaded: u64,
    read_most: f64,
    packs_most: usize,
    dead_most: f64,
    marks_most: usize,
    kept: usize,
}

struct Nights {
    bucket: Bucket,
    state: tempfile::TempDir,
    site: Site,
    /// The digest of the SQL of each night.
    expected: BTreeMap<SnapshotId, lifeboat::id::Sha256>,
    year: Year,
}

impl Nights {
    async fn night(&mut self, n: u64) -> Committed {
        if n > 0 {
            self.site.live(n);
        }
        let parts = self.site.parts();
        let committed = self.bucket.night(&parts).await;
        self.expected.insert(committed.receipt.snapshot.clone(), lifeboat::id::Sha256::of(&parts[0].bytes()));
        self.year.uploaded += committed.receipt.added_bytes;
        self.year.packs_most = self.year.packs_most.max(committed.receipt.pack_count());
        committed
    }

    async fn prune(&mut self) -> (Plan, Pruned) {
        let now = self.bucket.tonight();
        let appliance = pruner::appliance(self.bucket.store.clone(), self.state.path(), POLICY, now).await;
        let plan = prune::plan(&appliance, &tenant(), &Orders::default()).await.unwrap();
        assert_eq!(plan.stops, []);
        let done = prune::apply(&appliance, &plan).await.unwrap();
        assert_eq!(done.failures, [""; 0]);
        let left = plan.stored.bytes - plan.now_go.bytes;
        // What is there after this run and needed by none that is kept.
        let dead = (left - plan.needed.bytes.min(left)) as f64 / left as f64;
        self.year.dead_most = self.year.dead_most.max(dead);
        let marks = std::fs::read_dir(self.bucket.file("tenants/byrne/void")).map_or(0, Iterator::count) / 2;
        self.year.marks_most = self.year.marks_most.max(marks);
        self.year.kept = plan.snapshots.len() - plan.forget.len();
        (plan, done)
    }

    /// Bytes that a restore of this snapshot reads, over those of the same night written anew.
    async fn read_share(&mut self, committed: &Committed) -> f64 {
        let fork = self.bucket.fork().await;
        std::fs::remove_dir_all(fork.folder.path().join("cache")).unwrap();
        let mut fork = fork;
        let anew = fork.backup(&self.site.parts()).await;
        let share = committed.receipt.packs_bytes() as f64 / anew.receipt.packs_bytes() as f64;
        self.year.read_most = self.year.read_most.max(share);
        share
    }

    /// Everything that is kept is intact, and the newest and the oldest come back equal.
    async fn check(&self) {
        let history = self.bucket.history().await;
        assert!(history.faults.is_empty(), "{:?}", history.faults);
        let mut intact = IntactCheck::begin(&self.bucket.repo, &tenant(), Depth::Hashes).await.unwrap();
        for committed in &history.snapshots {
            assert_eq!(intact.snapshot(committed).await, []);
        }
        for committed in [history.snapshots.first().unwrap(), history.snapshots.last().unwrap()] {
            let reader = self.bucket.reader(committed).await.unwrap();
            let sql = read_stream(&reader, ComponentName::Database, "sql").await.unwrap();
            assert_eq!(lifeboat::id::Sha256::of(&sql), self.expected[&committed.receipt.snapshot]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nights_and_prunes_leave_little_dead_space_and_few_packs_to_read() {
    let full = std::env::var_os("LIFEBOAT_FULL").is_some();
    let nights: u64 = if full { 365 } else { 42 };
    let bucket = Bucket::new().await;
    let state = pruner::certified(&bucket).await;
    let site = Site::new(full);
    let mut it = Nights { bucket, state, site, expected: BTreeMap::new(), year: Year::default() };
    println!("night  site MB  uploaded MB  stored MB  dead %  kept  packs of a restore  read / needed");
    let mut first = 0;
    for n in 0..nights {
        let committed = it.night(n).await;
        let (plan, _) = it.prune().await;
        if n == 0 {
            first = committed.receipt.added_bytes;
        }
        if n % 28 == 27 || n + 1 == nights {
            let share = it.read_share(&committed).await;
            let mb = |bytes: u64| bytes as f64 / 1e6;
            let site: u64 = it.site.parts().iter().map(|p| p.bytes().len() as u64).sum();
            println!(
                "{:5}  {:7.1}  {:11.2}  {:9.2}  {:6.1}  {:4}  {:18}  {share:.2}",
                n + 1,
                mb(site),
                mb(it.year.uploaded),
                mb(plan.stored.bytes - plan.now_go.bytes),
                100.0 * (1.0 - plan.needed.bytes as f64 / (plan.stored.bytes - plan.now_go.bytes) as f64),
                it.year.kept,
                committed.receipt.pack_count()
            );
            it.check().await;
        }
    }
    let year = it.year;
    println!(
        "{year:?}, first backup {first} bytes, a night {} bytes",
        (year.uploaded - first) / (nights - 1)
    );
    // One night's forgotten packs wait for the next backup, and half of the bytes may go in a run.
    assert!(year.dead_most < 0.25, "{year:?}");
    assert!(year.read_most < 2.0 && year.packs_most <= 24, "{year:?}");
    assert!(year.marks_most <= 3, "{year:?}");
    assert!(year.kept <= 30 + 8 + 12 + 3 + 1, "{year:?}");
}
