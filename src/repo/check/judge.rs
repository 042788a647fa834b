//! One object whose hash is known: what the store really has under its key.
//!
//! Owns how versions and delete markers are looked through, and the hashing of what is there without keeping it. Knows
//! nothing of what the object is for.

use futures::StreamExt;
use sha2::{Digest, Sha256 as Hasher};

use crate::error::{Kind, Result};
use crate::id::Sha256;
use crate::monitor::{Counter, Monitor};
use crate::repo::object;
use crate::repo::pack::MOST_OBJECT_BYTES;
use crate::repo::receipt::ObjectRef;
use crate::store::{Kept, Key, Store};

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What was written; by its length alone where it was not to be read.
    Right,
    /// An older version of it, behind a wrong one or a delete marker.
    Older {
        /// Whether it is behind a delete marker.
        deleted: bool,
    },
    /// Nothing, or nothing right behind a delete marker.
    Missing,
    /// Other bytes.
    Wrong {
        /// Their hash, where they are not too many to be any object.
        hash: Option<Sha256>,
        /// Their number.
        size_bytes: u64,
    },
}

/// Looks at the object that should be `right`. With `read` its bytes are hashed, else its length counts; where there
/// is more than one version, or the length is wrong, bytes are hashed in any case.
pub async fn judge(
    store: &dyn Store,
    kept: &Kept,
    key: &Key,
    right: ObjectRef,
    read: bool,
    monitor: &dyn Monitor,
) -> Result<Verdict> {
    let versions = kept.versions_of(key);
    let Some(newest) = versions.last() else { return Ok(Verdict::Missing) };
    let deleted = kept.is_deleted(key);
    let mut seen = None;
    if !deleted {
        if newest.size_bytes == right.size && !read && versions.len() == 1 {
            return Ok(Verdict::Right);
        }
        if newest.size_bytes <= MOST_OBJECT_BYTES.max(right.size) {
            seen = hash_of(store, key, newest.version.as_deref(), monitor).await?;
        }
        if seen == Some(right.hash) {
            return Ok(Verdict::Right);
        }
    }
    let older = if deleted { versions } else { &versions[..versions.len() - 1] };
    for entry in older.iter().filter(|e| e.size_bytes == right.size).take(object::VERSIONS_TRIED) {
        if hash_of(store, key, entry.version.as_deref(), monitor).await? == Some(right.hash) {
            return Ok(Verdict::Older { deleted });
        }
    }
    Ok(match deleted {
        true => Verdict::Missing,
        false => Verdict::Wrong { hash: seen, size_bytes: newest.size_bytes },
    })
}

/// Hashes one version; none where it is not there. A transfer that breaks off is begun again once.
async fn hash_of(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    monitor: &dyn Monitor,
) -> Result<Option<Sha256>> {
    object::once_more(|| transfer(store, key, version, monitor)).await
}

async fn transfer(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    monitor: &dyn Monitor,
) -> Result<Option<Sha256>> {
    let mut download = match store.get(key, version).await {
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        other => other?,
    };
    let mut hash = Hasher::new();
    while let Some(piece) = download.body.next().await {
        let piece = piece.map_err(|e| e.in_context(key))?;
        monitor.count(Counter::FetchedBytes, piece.len() as u64);
        hash.update(&piece);
    }
    Ok(Some(Sha256(hash.finalize().into())))
}
