//! Objects that somebody wrote over or deleted, although none ever is.
//!
//! Owns how that is seen in a listing of versions, for packs; of receipts and their like [`super::history`] knows. What
//! was overwritten may still be read: see [`super::object`].

use std::collections::HashSet;
use std::fmt;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::error::{Kind, Result};
use crate::id::{PackId, Sha256, TenantName};
use crate::store::{Entry, Kept, Store};

use super::keys;

/// So many overwritten packs are looked into; once that many are found, others with several versions count unseen.
const LOOKED_INTO: usize = 8;

/// What was done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its newest version is another content.
    Overwritten,
    /// It is hidden by a delete marker.
    Deleted,
}

impl How {
    /// Returns the stable word for it.
    pub fn word(self) -> &'static str {
        match self {
            How::Overwritten => "overwritten",
            How::Deleted => "deleted",
        }
    }
}

/// An object that was tampered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tampered {
    /// Its key.
    pub object: String,
    /// What was done to it.
    pub how: How,
    /// How many versions of it are kept.
    pub versions: usize,
}

impl fmt::Display for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tampered { object, how, versions } = self;
        match how {
            How::Overwritten => write!(f, "{object} was overwritten; {versions} versions are kept"),
            How::Deleted => write!(f, "{object} was deleted; {versions} versions are kept behind the marker"),
        }
    }
}

/// Finds packs in a listing of `keys::packs` that were tampered with; those that prune may remove are left out.
///
/// A key of several versions is fetched and hashed: a repeated put of the same bytes is no fault.
pub async fn packs(
    store: &dyn Store,
    tenant: &TenantName,
    kept: &Kept,
    prunable: &HashSet<PackId>,
) -> Result<Vec<Tampered>> {
    let mut found = Vec::new();
    let mut overwritten = 0;
    for versions in kept.versions.chunk_by(|a, b| a.key == b.key) {
        let key = &versions[0].key;
        let Some(pack) = keys::parse_pack(tenant, key) else { continue };
        let how = if kept.is_deleted(key) {
            if prunable.contains(&pack) {
                continue;
            }
            How::Deleted
        } else if versions.len() > 1
            && (overwritten >= LOOKED_INTO || !newest_is(store, versions, &pack).await?)
        {
            overwritten += 1;
            How::Overwritten
        } else {
            continue;
        };
        found.push(Tampered { object: key.to_string(), how, versions: versions.len() });
    }
    Ok(found)
}

async fn newest_is(store: &dyn Store, versions: &[Entry], pack: &PackId) -> Result<bool> {
    let (first, newest) = (&versions[0], &versions[versions.len() - 1]);
    // The first is as long as it was put; what is longer or shorter is another.
    Ok(first.size_bytes == newest.size_bytes && is_right(store, newest, pack).await?)
}

/// Tells whether a version has this SHA-256.
pub(super) async fn is_right(store: &dyn Store, entry: &Entry, hash: &Sha256) -> Result<bool> {
    let download = match store.get(&entry.key, entry.version.as_deref()).await {
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => return Ok(false),
        other => other?,
    };
    let mut body = download.body;
    let mut hasher = sha2::Sha256::new();
    while let Some(piece) = body.try_next().await? {
        hasher.update(&piece);
    }
    Ok(Sha256(hasher.finalize().into()) == *hash)
}

/// Returns what is there now of each pack: none of what is deleted.
pub(super) fn newest<'a>(tenant: &'a TenantName, kept: &'a Kept) -> impl Iterator<Item = (PackId, u64)> + 'a {
    let newest = kept.versions.chunk_by(|a, b| a.key == b.key).filter_map(|v| v.last());
    let there = newest.filter(|e: &&Entry| !kept.is_deleted(&e.key));
    there.filter_map(|e| Some((keys::parse_pack(tenant, &e.key)?, e.size_bytes)))
}

/// Returns the first few as one text each, and how many there are more.
pub fn told(found: &[Tampered]) -> Vec<String> {
    const TOLD: usize = 5;
    let mut lines: Vec<String> = found.iter().take(TOLD).map(ToString::to_string).collect();
    if found.len() > TOLD {
        lines.push(format!("and {} objects more", found.len() - TOLD));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::{Versioned, tenant};
    use crate::store::{Body, PutMode};

    #[tokio::test]
    async fn overwritten_and_deleted_packs_are_named_and_repeated_or_pruned_ones_are_not() {
        let store = Versioned::default();
        let put = async |content: &[u8], bytes: &[u8]| {
            let key = keys::pack(&tenant(), &Sha256::of(content));
            store.put(&key, Body::from(bytes.to_vec()), PutMode::Replace).await.unwrap();
            key
        };
        let mut expected = Vec::new();
        put(b"whole", b"whole").await;
        put(b"twice", b"twice").await;
        put(b"twice", b"twice").await;
        for zeros in [&b"\0\0\0\0"[..], b"\0", b""] {
            let name = [b"over", zeros].concat();
            put(&name, &name).await;
            expected.push((put(&name, zeros).await.to_string(), How::Overwritten, 2));
        }
        let gone = put(b"gone", b"gone").await;
        let pruned = put(b"pruned", b"pruned").await;
        for key in [&gone, &pruned] {
            store.delete(key, None).await.unwrap();
        }
        expected.push((gone.to_string(), How::Deleted, 1));
        expected.sort_by(|a, b| a.0.cmp(&b.0));

        let kept = store.kept(&keys::packs(&tenant())).await.unwrap();
        let prunable = HashSet::from([Sha256::of(b"pruned")]);
        let found = packs(&store, &tenant(), &kept, &prunable).await.unwrap();
        let seen: Vec<_> = found.iter().map(|t| (t.object.clone(), t.how, t.versions)).collect();
        assert_eq!(seen, expected);
        assert_eq!(newest(&tenant(), &kept).count(), 5, "what is deleted is not there");
        assert!(told(&found)[0].contains("tenants/byrne/packs/"), "{:?}", told(&found));
        assert_eq!(told(&[&found[..], &found[..]].concat()).len(), 6);
    }
}
