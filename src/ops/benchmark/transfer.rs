//! Packs to the store and back, below a prefix of their own, and nothing of them left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::try_join_all;

use super::sample;
use super::stages::{PACK_BYTES, mb_a_second};
use crate::error::{Error, Kind, Result, counted};
use crate::ops::leftovers;
use crate::store::{Body, Key, PutMode, SharedStore};

/// Below this lie the folders of all benchmarks.
const FOLDER: &str = "benchmark/";

/// The first object; where the line is slow, all of them.
const SMALL_BYTES: u64 = 1 << 20;

/// As many as a backup has on their way at a time.
const AT_ONCE: usize = 3;

/// Objects of one benchmark.
pub struct Transfer {
    store: SharedStore,
    prefix: String,
    next: AtomicU64,
    body: bytes::Bytes,
}

/// MB a second of one transfer at a time, and of several.
pub type Speeds = (f64, f64);

impl Transfer {
    /// Chooses a prefix that nobody else has.
    pub fn begin(store: SharedStore) -> Transfer {
        let prefix = format!("{FOLDER}{}/", hex::encode(rand::random::<[u8; 8]>()));
        // As little to be compressed on the way as a pack.
        let noise = sample::noise();
        let body = noise.iter().copied().cycle().take(PACK_BYTES as usize).collect();
        Transfer { store, prefix, next: AtomicU64::new(0), body }
    }

    /// Measures puts, then gets, each for `slice` alone and for `slice` several at a time.
    pub async fn measure(&self, slice: Duration) -> Result<(Speeds, Speeds)> {
        let clock = Instant::now();
        self.put(SMALL_BYTES).await?;
        let quick = clock.elapsed() < slice / 16;
        let size_bytes = if quick { PACK_BYTES } else { SMALL_BYTES };
        let put = || self.put(size_bytes);
        let puts = (repeated(1, slice, put).await?, repeated(AT_ONCE, slice, put).await?);
        let last = self.next.load(Ordering::Relaxed) - 1;
        let get = || self.get(last, size_bytes);
        let gets = (repeated(1, slice, get).await?, repeated(AT_ONCE, slice, get).await?);
        Ok((puts, gets))
    }

    fn key(&self, number: u64) -> Result<Key> {
        format!("{}{number}", self.prefix).parse()
    }

    async fn put(&self, size_bytes: u64) -> Result<u64> {
        let key = self.key(self.next.fetch_add(1, Ordering::Relaxed))?;
        // At most a pack, which is in memory.
        let body = self.body.slice(..size_bytes as usize);
        self.store.put(&key, Body::Bytes(body), PutMode::Create).await?;
        Ok(size_bytes)
    }

    async fn get(&self, number: u64, size_bytes: u64) -> Result<u64> {
        let mut body = self.store.get(&self.key(number)?, None).await?.body;
        let mut came = 0;
        while let Some(piece) = body.next().await {
            came += piece?.len() as u64;
        }
        if came != size_bytes {
            let what = format!("{} came back with {came} of {size_bytes} bytes", self.key(number)?);
            return Err(Error::new(Kind::Damaged, what));
        }
        Ok(came)
    }

    /// Removes what this benchmark put and what dead ones left; says what could not be removed.
    pub async fn clean_up(&self) -> Option<String> {
        match leftovers::remove(&self.store, FOLDER, &self.prefix).await {
            Ok((_, 0)) => None,
            Ok((_, left)) => Some(format!(
                "{} of benchmarks stay below {FOLDER} in the store: deleting is denied, or they are locked",
                counted(left, "object")
            )),
            Err(e) => Some(format!("objects stay below {} in the store: {e}", self.prefix)),
        }
    }
}

/// Makes transfers for `slice`, so many at a time and at least once each; returns MB a second.
async fn repeated<F: Future<Output = Result<u64>>>(
    at_once: usize,
    slice: Duration,
    transfer: impl Fn() -> F,
) -> Result<f64> {
    let clock = Instant::now();
    let line = || async {
        let mut bytes = 0;
        loop {
            bytes += transfer().await?;
            if clock.elapsed() >= slice {
                return Ok::<u64, Error>(bytes);
            }
        }
    };
    let all = try_join_all((0..at_once).map(|_| line())).await?;
    Ok(mb_a_second(all.iter().sum(), clock.elapsed()))
}
