//! Locks, tried by breaking them: an answer that a lock is set proves nothing.

use jiff::{SignedDuration, Timestamp};

use crate::error::{Kind, Result};
use crate::store::{Body, Entry, Lock, LockMode, PutMode};

use super::bench::{Bench, Seen, holds, lacks, not_tried};
use super::finding::Trial;

/// How long the objects of a trial are locked: as short as the trial allows on a slow line.
const LOCKED: SignedDuration = SignedDuration::from_mins(2);

/// Tries both kinds of lock.
pub(super) async fn try_all(bench: &mut Bench) {
    let seen = compliance(bench).await;
    bench.take(Trial::Compliance, seen);
    let seen = governance(bench).await;
    bench.take(Trial::Governance, seen);
}

/// Stores a locked object; nothing where the store has no locks.
async fn locked(bench: &Bench, name: &str, mode: LockMode) -> Result<Option<(Entry, String, Lock)>> {
    let until = bench.store.now().await? + LOCKED;
    let lock = Lock { mode, until: Timestamp::from_second(until.as_second()).unwrap_or(until) };
    match bench
        .store
        .put_locked(&bench.key(name)?, Body::from(b"locked".to_vec()), PutMode::Create, lock)
        .await
    {
        Ok(entry) => Ok(entry.version.clone().map(|version| (entry, version, lock))),
        Err(e) if e.kind() == Kind::Unsupported => Ok(None),
        Err(e) => Err(e),
    }
}

const NO_LOCKS: &str = "the store does not lock objects";

/// Tells whether a version is still what it was.
async fn is_there(bench: &Bench, name: &str, version: &str) -> Result<bool> {
    match bench.get(name, Some(version)).await {
        Ok(bytes) => Ok(bytes == b"locked"[..]),
        Err(e) if e.kind() == Kind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

async fn compliance(bench: &Bench) -> Result<Seen> {
    let name = "compliance";
    let (entry, version, lock) = match locked(bench, name, LockMode::Compliance).await {
        Ok(Some(locked)) => locked,
        Ok(None) => return Ok(lacks(NO_LOCKS)),
        Err(e) if e.kind() == Kind::Denied => {
            return Ok(lacks(format!("this credential may not lock what it stores: {e}")));
        }
        Err(e) => return Err(e),
    };
    // Whatever the store answers, what counts is what is there afterwards.
    let refused = bench.store.delete(&entry.key, Some(&version)).await.is_err();
    if !is_there(bench, name, &version).await? {
        return Ok(lacks(
            "a lock is accepted, and the locked version can be deleted: locks are not enforced",
        ));
    }
    let longer = Lock { until: lock.until + LOCKED, ..lock };
    if let Err(e) = bench.store.lock_until(&entry.key, &version, longer).await {
        return Ok(lacks(format!("a lock cannot be extended, so what is reused would lose it: {e}")));
    }
    let sooner = Lock { until: lock.until - LOCKED / 2, ..lock };
    let shortened = bench.store.lock_until(&entry.key, &version, sooner).await;
    let left = match bench.store.lock_of(&entry.key, &version).await {
        Ok(left) => left,
        Err(e) if e.kind() == Kind::Denied && shortened.is_err() => Some(longer),
        Err(e) => return Err(e),
    };
    if left.is_none_or(|l| l.until.as_second() < longer.until.as_second() || l.mode != LockMode::Compliance) {
        return Ok(lacks(format!("a lock until {} can be shortened: locks are not enforced", longer.until)));
    }
    bench.put(name, b"over it").await?;
    if !is_there(bench, name, &version).await? {
        return Ok(lacks("a locked version is gone once it is overwritten: locks are not enforced"));
    }
    Ok(match (refused, bench.holds(Trial::DeleteVersions)) {
        (false, _) => lacks("deleting a locked version is answered with success, although it stays"),
        (true, false) => holds("a locked version can neither be deleted nor overwritten nor unlocked sooner"),
        (true, true) => holds(
            "a lock cannot be shortened; this credential may not delete versions at all, so that was not told apart",
        ),
    })
}

async fn governance(bench: &Bench) -> Result<Seen> {
    let name = "governance";
    let (entry, version, _) = match locked(bench, name, LockMode::Governance).await {
        Ok(Some(locked)) => locked,
        Ok(None) => return Ok(lacks(NO_LOCKS)),
        Err(e) if e.kind() == Kind::Denied => {
            return Ok(lacks(format!("this credential may not lock what it stores: {e}")));
        }
        Err(e) => return Err(e),
    };
    let Some(trials) = bench.trials() else {
        return Ok(not_tried("nobody can claim the right to unlock here"));
    };
    drop(bench.store.delete(&entry.key, Some(&version)).await);
    if !is_there(bench, name, &version).await? {
        return Ok(lacks(
            "a lock is accepted, and the locked version can be deleted: locks are not enforced",
        ));
    }
    drop(trials.delete_past_governance(&entry.key, &version).await);
    Ok(if is_there(bench, name, &version).await? {
        holds("a version in governance lock can not be deleted by this credential")
    } else {
        lacks("this credential may delete past governance locks: use mode = \"compliance\"")
    })
}
