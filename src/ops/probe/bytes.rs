//! Storing and reading: bytes, parts, listings, checksums, time.

use crate::error::{Kind, Result};
use crate::store::{Body, PutMode};

use super::bench::{Bench, Seen, harms, holds, lacks, not_tried};
use super::finding::Trial;

const LARGE_BYTES: usize = 1024 * 1024;
const LISTED: usize = 5;

/// A difference above this is told: leases and locks are judged by the store's clock, reports by the host's.
const SKEW_LIMIT_SECONDS: i64 = 180;

/// Tries how bytes are kept; an error means that nothing can be stored here at all.
pub(super) async fn try_all(bench: &mut Bench) -> Result<()> {
    let content: Vec<u8> = (0..LARGE_BYTES).map(|_| rand::random()).collect();
    let context = format!("store {}", bench.store.address());
    let seen = whole(bench, &content).await.map_err(|e| e.in_context(context))?;
    bench.note(Trial::Bytes, seen);
    let seen = listing(bench).await;
    bench.take(Trial::Listing, seen);
    let seen = ranges(bench, &content).await;
    bench.take(Trial::Ranges, seen);
    let seen = checksums(bench).await;
    bench.take(Trial::Checksums, seen);
    let seen = parts(bench).await;
    bench.take(Trial::Parts, seen);
    let seen = clock(bench).await;
    bench.take(Trial::Clock, seen);
    Ok(())
}

async fn whole(bench: &Bench, content: &[u8]) -> Result<Seen> {
    for (name, bytes) in [("large", content), ("empty", &[])] {
        let key = bench.key(name)?;
        bench.store.put(&key, Body::from(bytes.to_vec()), PutMode::Create).await?;
        let size = bench.store.head(&key).await?.map(|e| e.size_bytes);
        if size != Some(bytes.len() as u64) {
            return Ok(harms(format!("{} bytes were stored; the store says {size:?}", bytes.len())));
        }
        match bench.get(name, None).await {
            Ok(back) if back == bytes => {}
            Ok(back) => {
                return Ok(harms(format!("of {} bytes {} came back, or others", bytes.len(), back.len())));
            }
            Err(e) if e.kind() == Kind::NotFound => {
                return Ok(harms("what was stored is not there when it is read at once"));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(holds("what is stored is read back bit for bit and of its length"))
}

async fn listing(bench: &Bench) -> Result<Seen> {
    for n in 0..LISTED {
        bench.put(&format!("listed/{n}"), b"listed").await?;
    }
    bench.put("listed-not", b"beside").await?;
    let listed = bench.store.list(&bench.below("listed/")).await?;
    Ok(match listed.len() {
        LISTED => holds("what was just stored is listed, and nothing else"),
        n => harms(format!(
            "{n} objects are listed where {LISTED} were just stored: snapshots could be missed"
        )),
    })
}

async fn ranges(bench: &Bench, content: &[u8]) -> Result<Seen> {
    let Some(trials) = bench.trials() else { return Ok(not_tried("a folder is read as a whole")) };
    let part = trials.range(&bench.key("large")?, 1000, 5000).await?;
    Ok(if part == content[1000..6000] {
        holds("a part of an object is the part that was asked for")
    } else {
        lacks(format!(
            "of 5000 bytes from the middle {} came, or others; Lifeboat reads objects whole",
            part.len()
        ))
    })
}

async fn checksums(bench: &Bench) -> Result<Seen> {
    let Some(trials) = bench.trials() else {
        return Ok(not_tried("a folder takes no checksums; each pack is checked when it is read"));
    };
    let key = bench.key("checksum")?;
    match trials.put_with_wrong_checksum(&key).await {
        Ok(()) => Ok(lacks(
            "an object is taken under a wrong checksum: damage on the way is noticed only by `check`",
        )),
        Err(e) if matches!(e.kind(), Kind::Store | Kind::Denied | Kind::Conflict) => {
            match bench.store.head(&key).await? {
                None => Ok(holds("an object under a wrong checksum is refused")),
                Some(_) => {
                    Ok(lacks("an object under a wrong checksum is refused, and is there nevertheless"))
                }
            }
        }
        Err(e) => Err(e),
    }
}

async fn parts(bench: &Bench) -> Result<Seen> {
    let Some(trials) = bench.trials() else { return Ok(not_tried("a folder takes objects whole")) };
    Ok(match trials.abandon_upload(&bench.key("in-parts")?).await? {
        0 => holds("an upload in parts that is ended early leaves nothing"),
        n => lacks(format!(
            "{n} unfinished uploads stay after they were ended: they cost room until somebody removes them"
        )),
    })
}

async fn clock(bench: &mut Bench) -> Result<Seen> {
    let theirs = bench.store.now().await?;
    let skew = theirs.duration_since(bench.around.now()).as_secs();
    bench.clock_skew_seconds = Some(skew);
    let side = if skew < 0 { "behind" } else { "ahead of" };
    let said = format!("the store's clock is {} s {side} this host's", skew.abs());
    Ok(if skew.abs() <= SKEW_LIMIT_SECONDS {
        holds(said)
    } else {
        lacks(format!("{said}: set the one that is wrong; locks follow the store's"))
    })
}
