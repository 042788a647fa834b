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
use crate::repo::sign::{self, PublicKey, SIGNATURE_LIMIT};
use crate::store::{Entry, Kept, Key, Store};

/// What accepts the bytes and the signature of a right object.
type Verify<'a> = Box<dyn Fn(&[u8], &[u8]) -> Result<()> + Send + Sync + 'a>;

/// A signed object to look at.
pub(super) struct Subject<'a> {
    pub keys: Signed,
    pub limit_bytes: u64,
    pub verify: Verify<'a>,
}

/// A version's bytes, or why there are none.
type Read = Result<Bytes>;

/// What is under the two keys.
pub(super) enum Look {
    /// No JSON object: what a run that died leaves, or a loss that others see.
    Nothing,
    /// The newest versions are right; the hash of the JSON object.
    Right(Sha256),
    /// A right version is behind a wrong one; its hash.
    Behind(Finding, Sha256),
    /// No version is right.
    Wrong(Versions),
}

/// The versions of an object of which none is right.
pub(super) struct Versions {
    json: Vec<Read>,
    minisig: Vec<Read>,
    deleted: bool,
}

impl Versions {
    /// Returns the newest JSON bytes that could be read.
    pub fn newest(&self) -> Option<&Bytes> {
        self.json.last()?.as_ref().ok()
    }
}

/// Looks at the versions of a signed object.
pub(super) async fn look(store: &dyn Store, kept: &Kept, subject: &Subject<'_>) -> Result<Look> {
    let keys = &subject.keys;
    if kept.versions_of(&keys.json).is_empty() {
        return Ok(Look::Nothing);
    }
    let json = read_all(store, kept, &keys.json, subject.limit_bytes).await?;
    let minisig = read_all(store, kept, &keys.minisig, SIGNATURE_LIMIT).await?;
    let (json_gone, minisig_gone) = (kept.is_deleted(&keys.json), kept.is_deleted(&keys.minisig));
    let newest = (json.last().filter(|_| !json_gone), minisig.last().filter(|_| !minisig_gone));
    if let (Some(Ok(j)), Some(Ok(s))) = newest
        && (subject.verify)(j, s).is_ok()
    {
        return Ok(Look::Right(Sha256::of(j)));
    }
    let signatures = || minisig.iter().flatten();
    let right = json.iter().flatten().find(|j| signatures().any(|s| (subject.verify)(j, s).is_ok()));
    if let Some(right) = right {
        let json_is_newest = matches!(newest.0, Some(Ok(j)) if j == right);
        let deleted = if json_is_newest { minisig_gone } else { json_gone };
        return Ok(Look::Behind(behind(keys, json_is_newest, deleted), Sha256::of(right)));
    }
    Ok(Look::Wrong(Versions { json, minisig, deleted: json_gone }))
}

async fn read_all(store: &dyn Store, kept: &Kept, key: &Key, limit_bytes: u64) -> Result<Vec<Read>> {
    let versions: &[Entry] = kept.versions_of(key);
    let mut all = Vec::new();
    // The oldest, for one of them was written first, and the newest, which is what others see.
    let last = versions.len().saturating_sub(1);
    let chosen = versions.iter().enumerate().filter(|(n, _)| *n < object::VERSIONS_TRIED || *n == last);
    for (_, entry) in chosen {
        all.push(match object::get(store, key, entry.version.as_deref(), limit_bytes).await {
            Err(e) if Wrong::of(&e) == Wrong::Unread => return Err(e),
            other => other,
        });
    }
    Ok(all)
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

/// Says why no version is right; `signers` are the keys that could have made the signature.
pub(super) fn diagnose(
    subject: &Subject<'_>,
    versions: &Versions,
    known: &Known,
    kept: &Kept,
    signers: &[&PublicKey],
) -> Finding {
    let keys = &subject.keys;
    if versions.deleted {
        return Finding::new(Wrong::Missing, &keys.json, format!("{} is deleted", keys.json));
    }
    let newest = match versions.json.last() {
        Some(Ok(newest)) => newest,
        other => {
            let why = other.and_then(|r| r.as_ref().err()).map_or_else(String::new, Error::to_string);
            return Finding::new(Wrong::Damaged, &keys.json, format!("{} is not readable: {why}", keys.json));
        }
    };
    if let Some(other) = known.other(&Sha256::of(newest), &keys.json) {
        let wrong = if other.is_signed() { Wrong::Replayed } else { Wrong::Swapped };
        return Finding::new(wrong, &keys.json, format!("{} holds the bytes of {}", keys.json, other.key()));
    }
    match versions.minisig.last() {
        None => {
            let what = format!("{} is not in the store, so nothing vouches for {}", keys.minisig, keys.json);
            Finding::new(Wrong::Missing, &keys.minisig, what)
        }
        Some(Err(e)) => Finding::new(Wrong::Damaged, &keys.minisig, e.to_string()),
        Some(Ok(signature)) => of_signature(subject, newest, signature, kept, signers),
    }
}

fn of_signature(
    subject: &Subject<'_>,
    json: &[u8],
    signature: &[u8],
    kept: &Kept,
    signers: &[&PublicKey],
) -> Finding {
    let keys = &subject.keys;
    let own = || signers.iter().any(|key| key.number() == sign::signer_number(signature));
    let Some(comment) = sign::comment(signature) else {
        let what = format!("{} is no signature any more", keys.minisig);
        return Finding::new(Wrong::Damaged, &keys.minisig, what);
    };
    let error = match (subject.verify)(json, signature) {
        Err(e) => e,
        // Between two looks it was put right.
        Ok(()) => return Finding::new(Wrong::Unread, &keys.json, format!("{} is changing", keys.json)),
    };
    if comment != sign::trusted_comment(&keys.json) {
        let of = comment.strip_prefix("lifeboat/1 ").unwrap_or("something else");
        let place = of.parse::<Key>();
        if let Ok(place) = &place
            && signers.iter().any(|key| key.verify(place, json, signature).is_ok())
        {
            return Finding::new(Wrong::Replayed, &keys.json, format!("{} was signed as {of}", keys.json));
        }
        let wrong = match place {
            Ok(place) if own() && !kept.versions_of(&place).is_empty() => Wrong::Swapped,
            _ if own() => Wrong::Damaged,
            _ => Wrong::Forged,
        };
        return Finding::new(wrong, &keys.minisig, format!("{} is the signature of {of}", keys.minisig));
    }
    if error.kind() == Kind::Forged
        && own()
        && signers.iter().all(|key| key.verify(&keys.json, json, signature).is_err())
    {
        let what = format!("{} or its signature was altered after it was signed", keys.json);
        return Finding::new(Wrong::Damaged, &keys.json, what);
    }
    Finding::of(&keys.json, &error)
}
