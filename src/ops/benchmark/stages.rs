//! The stages that need no store, run again and again for a while: the functions that backups call, on one core and on all.

use std::io::Write;
use std::time::{Duration, Instant};

use super::figures::Stage;
use super::sample;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::repo::chunk::{DedupKey, Namer};
use crate::repo::cutter::{Cutting, Grain, choose};
use crate::repo::extent::PackRef;
use crate::repo::frame::{Effort, FRAME_BYTES, Frame, Press, RawFrame};
use crate::repo::seal::{VaultRecipient, seal};
use crate::repo::spool::Spool;

/// What is written into the spool at a time: a small pack.
pub const PACK_BYTES: u64 = 16 << 20;

/// What the stages work on.
pub struct Material {
    sql: Vec<Vec<u8>>,
    noise: Vec<Vec<u8>>,
    noise_frames: Vec<Frame>,
    namer: Namer,
    recipient: VaultRecipient,
    /// The share of SQL that is left after compression.
    pub ratio: f64,
}

/// One thread's work: each call goes through a sample and returns how many bytes it had.
type Work<'a> = Box<dyn FnMut() -> Result<u64> + 'a>;

impl Material {
    /// Generates it.
    pub fn make() -> Result<Material> {
        let recipient = std::sync::Arc::new(age::x25519::Identity::generate().to_public());
        let namer = Namer::new(&DedupKey::new([7; 32]));
        let (sql, noise) = (cut(Grain::Rows, &sample::sql())?, cut(Grain::Files, &sample::noise())?);
        let sql_frames = press(&namer, &sql, Effort::Quick)?;
        let noise_frames = press(&namer, &noise, Effort::Quick)?;
        let packed: usize = sql_frames.iter().map(|f| f.compressed.len()).sum();
        let ratio = packed as f64 / sample::SAMPLE_BYTES as f64;
        Ok(Material { sql, noise, noise_frames, namer, recipient, ratio })
    }

    /// Returns MB a second on one core and on all; each for `slice`, and at least once. Blocks.
    pub fn measure(&self, stage: Stage, cores: usize, slice: Duration) -> Result<(f64, f64)> {
        let one = self.on(1, stage, slice)?;
        let all = if cores > 1 { self.on(cores, stage, slice)? } else { one };
        Ok((one, all))
    }

    fn on(&self, cores: usize, stage: Stage, slice: Duration) -> Result<f64> {
        std::thread::scope(|threads| {
            let running: Vec<_> =
                (0..cores).map(|_| threads.spawn(|| timed(self.work(stage)?, slice))).collect();
            let joined = |t: std::thread::ScopedJoinHandle<'_, Result<f64>>| {
                t.join().map_err(|_| Error::new(Kind::Bug, "a thread of the benchmark ended early"))?
            };
            running.into_iter().map(joined).sum()
        })
    }

    fn work(&self, stage: Stage) -> Result<Work<'_>> {
        let namer = &self.namer;
        Ok(match stage {
            Stage::ChunkRows => cutting(Grain::Rows, &self.sql)?,
            Stage::ChunkFiles => cutting(Grain::Files, &self.noise)?,
            Stage::KeyedHash => Box::new(|| {
                let named = self.sql.iter().map(|chunk| namer.id(chunk).0[0]).fold(0, u8::wrapping_add);
                std::hint::black_box(named);
                Ok(length(&self.sql))
            }),
            Stage::ZstdFirst => pressing(namer, &self.sql, Effort::Quick)?,
            Stage::ZstdLater => pressing(namer, &self.sql, Effort::Usual)?,
            Stage::ZstdNoise => pressing(namer, &self.noise, Effort::Usual)?,
            Stage::Age => Box::new(|| {
                let sealed = seal([0; 8], &self.noise_frames, &self.recipient, std::io::sink())?;
                Ok(sealed.size_bytes)
            }),
            Stage::Spool | Stage::StorePut | Stage::StoreGet => {
                return Err(Error::new(Kind::Bug, "a disk and a store are not measured by core"));
            }
        })
    }
}

/// Does the work until its time is over; returns MB a second.
fn timed(mut work: Work<'_>, slice: Duration) -> Result<f64> {
    let (clock, mut bytes) = (Instant::now(), 0);
    loop {
        bytes += work()?;
        let taken = clock.elapsed();
        if taken >= slice {
            return Ok(mb_a_second(bytes, taken));
        }
    }
}

/// Returns 10^6 bytes a second.
pub fn mb_a_second(bytes: u64, taken: Duration) -> f64 {
    bytes as f64 / 1e6 / taken.as_secs_f64().max(1e-9)
}

fn length(chunks: &[Vec<u8>]) -> u64 {
    chunks.iter().map(|c| c.len() as u64).sum()
}

fn cut(grain: Grain, sample: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (mut chunks, mut cutting) = (Vec::new(), Cutting::new(&choose(grain, 0, None))?);
    let mut keep = |chunk: &[u8]| {
        chunks.push(chunk.to_vec());
        Ok(())
    };
    cutting.push(sample, &mut keep)?;
    cutting.end(keep)?;
    Ok(chunks)
}

fn cutting(grain: Grain, chunks: &[Vec<u8>]) -> Result<Work<'static>> {
    let sample = chunks.concat();
    let mut cutting = Cutting::new(&choose(grain, 0, None))?;
    Ok(Box::new(move || {
        let mut last = 0;
        let mut look = |chunk: &[u8]| {
            last = chunk.len();
            Ok(())
        };
        // As a dump's pieces come.
        sample.chunks(256 * 1024).try_for_each(|piece| cutting.push(piece, &mut look))?;
        cutting.end(look)?;
        std::hint::black_box(last);
        Ok(sample.len() as u64)
    }))
}

/// Returns frames that are full, with names made before so that naming is not measured.
fn raw_frames<'a>(named: &'a [(crate::id::ChunkId, &[u8])]) -> impl Iterator<Item = RawFrame> + 'a {
    let mut rest = named.iter();
    let mut next = rest.next();
    std::iter::from_fn(move || {
        let mut raw = RawFrame::default();
        while let Some((id, chunk)) = next.filter(|(_, chunk)| raw.takes(chunk.len())) {
            raw.push(*id, chunk);
            next = rest.next();
        }
        (!raw.bytes.is_empty()).then_some(raw)
    })
}

fn named<'a>(namer: &Namer, chunks: &'a [Vec<u8>]) -> Vec<(crate::id::ChunkId, &'a [u8])> {
    chunks.iter().map(|chunk| (namer.id(chunk), chunk.as_slice())).collect()
}

fn press(namer: &Namer, chunks: &[Vec<u8>], effort: Effort) -> Result<Vec<Frame>> {
    debug_assert!(chunks.iter().all(|c| c.len() <= FRAME_BYTES));
    let mut press = Press::new(effort)?;
    raw_frames(&named(namer, chunks)).map(|raw| press.press(raw)).collect()
}

fn pressing<'a>(namer: &Namer, chunks: &'a [Vec<u8>], effort: Effort) -> Result<Work<'a>> {
    let mut press = Press::new(effort)?;
    let (named, bytes) = (named(namer, chunks), length(chunks));
    Ok(Box::new(move || {
        for raw in raw_frames(&named) {
            std::hint::black_box(press.press(raw)?);
        }
        Ok(bytes)
    }))
}

/// Writes packs into the spool, each until it is on the disk, for `slice`; returns MB a second. Blocks.
pub fn write_spool(spool: &Spool, runtime: &tokio::runtime::Handle, slice: Duration) -> Result<f64> {
    let noise = sample::noise();
    let pack = PackRef { id: Sha256([0; 32]), size_bytes: PACK_BYTES };
    let work: Work<'_> = Box::new(|| {
        let room = runtime.block_on(spool.room(PACK_BYTES))?;
        let write = |mut file: std::fs::File| {
            let all = (0..PACK_BYTES / noise.len() as u64).try_for_each(|_| file.write_all(&noise));
            all.and_then(|()| file.sync_data()).context(Kind::Io, "pack of the benchmark")?;
            Ok(pack)
        };
        // It is removed at once.
        spool.fill(room, write).map(drop).map_err(|(e, _)| e)?;
        Ok(PACK_BYTES)
    });
    timed(work, slice)
}
