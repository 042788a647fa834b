//! Conditional puts: one after the other, and racing, since a store may look and then write.

use std::sync::Arc;

use futures::future::join_all;

use crate::error::{Error, Kind, Result};
use crate::store::{Body, Key, PutMode};

use super::bench::{Bench, Seen, harms, holds, lacks, not_tried};
use super::finding::Trial;

const RACERS: u8 = 16;
const ROUNDS: usize = 2;
const RACED_BYTES: usize = 4096;

/// Tries create-only and replace-only puts.
pub(super) async fn try_all(bench: &mut Bench) {
    let seen = create_only(bench).await;
    bench.take(Trial::CreateOnly, seen);
    let seen = race(bench).await;
    bench.take(Trial::Race, seen);
    let seen = swap(bench).await;
    bench.take(Trial::Swap, seen);
}

async fn create_only(bench: &Bench) -> Result<Seen> {
    let key = bench.key("created")?;
    bench.put("created", b"first").await?;
    match bench.store.put(&key, Body::from(b"second".to_vec()), PutMode::Create).await {
        Err(e) if e.kind() == Kind::Conflict => {}
        Ok(_) => {
            return Ok(lacks(
                "the condition \"only if there is none\" is ignored: a put replaces what is there. Nothing rests on it",
            ));
        }
        Err(e) => return Err(e),
    }
    Ok(match bench.get("created", None).await? {
        there if there == b"first"[..] => holds("a create-only put of what is there is refused"),
        _ => harms("a create-only put was refused and replaced the object nevertheless"),
    })
}

fn body_of(racer: u8) -> Vec<u8> {
    vec![racer; RACED_BYTES]
}

async fn race(bench: &Bench) -> Result<Seen> {
    for round in 0..ROUNDS {
        let name = format!("raced/{round}");
        let key = bench.key(&name)?;
        let winners = winners(bench, &key).await?;
        let there = bench.get(&name, None).await?;
        let whole = there.len() == RACED_BYTES && there.iter().all(|b| *b == there[0]);
        if !whole {
            return Ok(harms("racing puts of one key left an object mixed of several"));
        }
        match winners.as_slice() {
            [one] if *one == there[0] => {}
            [_] => {
                return Ok(lacks(
                    "of racing create-only puts one was told that it won, and another's bytes are there",
                ));
            }
            many => {
                return Ok(lacks(format!(
                    "of {RACERS} racing create-only puts {} were told that they won; correctness does not rest on it",
                    many.len()
                )));
            }
        }
    }
    Ok(holds(format!("of {RACERS} racing create-only puts exactly one won, {ROUNDS} times")))
}

async fn winners(bench: &Bench, key: &Key) -> Result<Vec<u8>> {
    let puts = (0..RACERS).map(|racer| {
        let (store, key) = (Arc::clone(&bench.store), key.clone());
        async move { (racer, store.put(&key, Body::from(body_of(racer)), PutMode::Create).await) }
    });
    winners_of(join_all(puts).await)
}

/// Sorts out who won; a conflict is a loss, anything else spoils the race.
fn winners_of<T>(outcomes: Vec<(u8, Result<T>)>) -> Result<Vec<u8>> {
    let mut winners = Vec::new();
    for (racer, outcome) in outcomes {
        match outcome {
            Ok(_) => winners.push(racer),
            Err(e) if e.kind() == Kind::Conflict => {}
            Err(e) => return Err(e),
        }
    }
    Ok(winners)
}

async fn swap(bench: &Bench) -> Result<Seen> {
    let key = bench.key("swapped")?;
    bench.put("swapped", b"first").await?;
    let first = match bench.store.tag(&key).await {
        Ok(tag) => tag.ok_or_else(|| Error::new(Kind::Store, "what was just stored has no tag"))?,
        Err(e) if e.kind() == Kind::Unsupported => {
            return Ok(not_tried("a folder has no conditional replacing; a lock of this host stands in"));
        }
        Err(e) => return Err(e),
    };
    let second = match bench.store.swap(&key, Body::from(b"second".to_vec()), &first).await {
        Ok(tag) => tag,
        Err(e) if matches!(e.kind(), Kind::Unsupported | Kind::Conflict) => {
            return Ok(lacks("replacing only what was read before does not work: leases bind to one host"));
        }
        Err(e) => return Err(e),
    };
    match bench.store.swap(&key, Body::from(b"stale".to_vec()), &first).await {
        Err(e) if e.kind() == Kind::Conflict => {}
        Ok(_) => {
            return Ok(lacks(
                "the condition \"only what was read before\" is ignored: leases bind to one host",
            ));
        }
        Err(e) => return Err(e),
    }
    let puts = (0..RACERS).map(|racer| {
        let (store, key, tag) = (Arc::clone(&bench.store), key.clone(), second.clone());
        async move { (racer, store.swap(&key, Body::from(body_of(racer)), &tag).await) }
    });
    let winners = winners_of(join_all(puts).await)?;
    let there = bench.get("swapped", None).await?;
    Ok(match winners.as_slice() {
        [one] if there == body_of(*one) => {
            holds(format!("of {RACERS} racing replacements of the same content exactly one won"))
        }
        many => lacks(format!(
            "of {RACERS} racing replacements of the same content {} were told that they won: leases bind to one host",
            many.len()
        )),
    })
}
