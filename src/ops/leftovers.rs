//! Removing what trials put into the store: their own, and what earlier ones had to leave.

use jiff::{SignedDuration, Timestamp};

use crate::error::{Kind, Result};
use crate::store::{Key, SharedStore};

/// What an earlier trial left is removed when it is older than this: that one may still run, or its locks hold.
const LEFTOVER_AGE: SignedDuration = SignedDuration::from_mins(15);

/// Removes every version and marker below `own`, and what is old below `folder`.
///
/// Returns how many were removed, and how many could not be.
pub async fn remove(store: &SharedStore, folder: &str, own: &str) -> Result<(usize, usize)> {
    let now = store.now().await?;
    let mine = |key: &Key| key.as_str().starts_with(own);
    let due = |key: &Key, at: Timestamp| mine(key) || now.duration_since(at) > LEFTOVER_AGE;
    let mut all: Vec<(Key, Option<String>)> = Vec::new();
    match store.kept(folder).await {
        Ok(kept) => {
            let versions = kept.versions.into_iter().map(|e| (e.key, e.version, e.modified));
            let markers = kept.markers.into_iter().map(|m| (m.key, m.version, m.made));
            let some = versions.chain(markers).filter(|(key, _, at)| due(key, *at));
            all.extend(some.map(|(key, version, _)| (key, version)));
        }
        // Without the right to see versions at least what is seen goes.
        Err(e) if e.kind() == Kind::Denied => {
            let listed = store.list(folder).await?;
            all.extend(listed.into_iter().filter(|e| due(&e.key, e.modified)).map(|e| (e.key, None)));
        }
        Err(e) => return Err(e),
    }
    let (mut removed, mut left) = (0, 0);
    for (key, version) in all {
        match store.delete(&key, version.as_deref()).await {
            Ok(()) => removed += 1,
            Err(_) => left += 1,
        }
    }
    Ok((removed, left))
}
