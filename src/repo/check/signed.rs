//! One signed object: why its newest version is not the right one.
//!
//! Owns telling apart what was overwritten, replayed, swapped, forged and damaged. What makes an object right the
//! caller says.

use bytes::Bytes;

use super::finding::{Finding, Wrong};
use super::known::Known;
use crate::error::{Error, Kind, Result};
use crate::id::Sha256;
use crate::repo::keys::Signed;
use crate::repo::object;
use crate::repo::sign::{self, SIGNATURE_LIMIT};
use crate::store::{Entry, Kept, Key, Store};

/// How many versions of each of the two keys are tried.
const VERSIONS_TRIED: usize = 32;

/// A version's bytes, or why there are none.
type Read = Result<Bytes>;

/// Looks at a signed object that `check(json, signature)` accepts when it is right; nothing where the newest is.
///
/// A `.minisig` alone is what a run that died leaves: nothing either.
pub(super) async fn look(
    store: &dyn Store,
    kept: &Kept,
    known: &Known,
    keys: &Signed,
    limit_bytes: u64,
    check: impl Fn(&[u8], &[u8]) -> Result<()>,
) -> Result<Option<Finding>> {
    if kept.versions_of(&keys.json).is_empty() {
        return Ok(None);
    }
    let json = read_all(store, kept, &keys.json, limit_bytes).await?;
    let minisig = read_all(store, kept, &keys.minisig, SIGNATURE_LIMIT).await?;
    let (json_gone, minisig_gone) = (kept.is_deleted(&keys.json), kept.is_deleted(&keys.minisig));
    let newest = (json.last().filter(|_| !json_gone), minisig.last().filter(|_| !minisig_gone));
    if let (Some(Ok(j)), Some(Ok(s))) = newest
        && check(j, s).is_ok()
    {
        return Ok(None);
    }
    let right = pair(&json, &minisig, &check);
    if let Some((right_json, _)) = right {
        let json_is_newest = matches!(newest.0, Some(Ok(j)) if j == right_json);
        return Ok(Some(behind(keys, json_is_newest, if json_is_newest { minisig_gone } else { json_gone })));
    }
    if newest.0.is_none() {
        return Ok(Some(Finding::new(Wrong::Missing, &keys.json, format!("{} is deleted", keys.json))));
    }
    Ok(Some(diagnose(keys, known, &json, &minisig, &check)))
}

async fn read_all(store: &dyn Store, kept: &Kept, key: &Key, limit_bytes: u64) -> Result<Vec<Read>> {
    let versions: &[Entry] = kept.versions_of(key);
    let mut all = Vec::new();
    // The oldest, for one of them was written first, and the newest, which is what others see.
    let last = versions.len().saturating_sub(1);
    let chosen = versions.iter().enumerate().filter(|(n, _)| *n < VERSIONS_TRIED || *n == last);
    for (_, entry) in chosen {
        all.push(match object::get(store, key, entry.version.as_deref(), limit_bytes).await {
            Err(e) if Wrong::of(&e) == Wrong::Unread => return Err(e),
            other => other,
        });
    }
    Ok(all)
}

fn pair<'a>(
    json: &'a [Read],
    minisig: &'a [Read],
    check: &impl Fn(&[u8], &[u8]) -> Result<()>,
) -> Option<(&'a Bytes, &'a Bytes)> {
    let signatures = || minisig.iter().flatten();
    json.iter().flatten().find_map(|j| signatures().find(|s| check(j, s).is_ok()).map(|s| (j, s)))
}

/// What is said of an object whose right version is behind a newer one or a marker.
fn behind(keys: &Signed, json_is_newest: bool, deleted: bool) -> Finding {
    let key = if json_is_newest { &keys.minisig } else { &keys.json };
    match deleted {
        true => Finding::new(Wrong::Deleted, key, format!("{key} was deleted, its right version is kept")),
        false => {
            Finding::new(Wrong::Overwritten, key, format!("{key} was overwritten, its right version is kept"))
        }
    }
}

fn diagnose(
    keys: &Signed,
    known: &Known,
    json: &[Read],
    minisig: &[Read],
    check: &impl Fn(&[u8], &[u8]) -> Result<()>,
) -> Finding {
    let Some(Ok(newest)) = json.last() else {
        let why = json.last().and_then(|r| r.as_ref().err()).map_or_else(String::new, Error::to_string);
        return Finding::new(Wrong::Damaged, &keys.json, format!("{} is not readable: {why}", keys.json));
    };
    if let Some(other) = known.other(&Sha256::of(newest), &keys.json) {
        let wrong = if other.is_signed() { Wrong::Replayed } else { Wrong::Swapped };
        return Finding::new(wrong, &keys.json, format!("{} holds the bytes of {}", keys.json, other.key()));
    }
    let signature = match minisig.last() {
        None => {
            let what = format!("{} is not in the store, so nothing vouches for {}", keys.minisig, keys.json);
            return Finding::new(Wrong::Missing, &keys.minisig, what);
        }
        Some(Err(e)) => return Finding::new(Wrong::Damaged, &keys.minisig, e.to_string()),
        Some(Ok(bytes)) => bytes,
    };
    if let Some(other) = known.other(&Sha256::of(signature), &keys.minisig) {
        let what = format!("{} holds the bytes of {}", keys.minisig, other.key());
        return Finding::new(Wrong::Swapped, &keys.minisig, what);
    }
    let Some(comment) = sign::comment(signature) else {
        let what = format!("{} is no signature any more", keys.minisig);
        return Finding::new(Wrong::Damaged, &keys.minisig, what);
    };
    let error = match check(newest, signature) {
        Err(e) => e,
        // Between two looks it was put right.
        Ok(()) => return Finding::new(Wrong::Unread, &keys.json, format!("{} is changing", keys.json)),
    };
    if error.kind() == Kind::Forged && comment != sign::trusted_comment(&keys.json) {
        let of = comment.strip_prefix("lifeboat/1 ").unwrap_or("something else");
        let what = format!("{} was signed as {of}", keys.json);
        return Finding::new(Wrong::Replayed, &keys.json, what);
    }
    Finding::of(&keys.json, &error)
}
