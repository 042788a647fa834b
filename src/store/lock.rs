//! What stores promise of versions: locks, the delete markers before them, and an object's tag.
//!
//! Owns the shapes that [`super::Store`] speaks of here. Whether a store keeps such a promise is found out by `probe`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Body, Entry, Key, PutMode, Store};
use crate::error::{Error, Kind, Result};

/// How firmly a version is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// Whoever has a special right may unlock.
    Governance,
    /// Nobody may unlock or shorten.
    Compliance,
}

impl LockMode {
    /// Returns the mode's name.
    pub fn word(self) -> &'static str {
        match self {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        }
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Until when a version cannot be deleted, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// How firmly.
    pub mode: LockMode,
    /// Until when; stores keep whole seconds.
    pub until: Timestamp,
}

/// A mark that hides the versions of a key before it, as a delete without a version leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The key.
    pub key: Key,
    /// The store's name of the mark itself; deleting that brings back what it hides.
    pub version: Option<String>,
    /// When it was made, by the store's clock.
    pub made: Timestamp,
    /// Whether it is the newest of its key, so that the key counts as deleted.
    pub latest: bool,
}

/// All that a store keeps below a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// All versions: by key, oldest first.
    pub versions: Vec<Entry>,
    /// All delete markers, by key.
    pub markers: Vec<Marker>,
}

impl Kept {
    /// Tells whether a key is hidden by a delete marker.
    pub fn is_deleted(&self, key: &Key) -> bool {
        let from = self.markers.partition_point(|m| m.key < *key);
        self.markers[from..].iter().take_while(|m| m.key == *key).any(|m| m.latest)
    }

    /// Returns the versions of one key, oldest first.
    pub fn versions_of(&self, key: &Key) -> &[Entry] {
        let from = self.versions.partition_point(|e| e.key < *key);
        let to = self.versions.partition_point(|e| e.key <= *key);
        &self.versions[from..to]
    }
}

/// The store's name for an object's present content; equal content may have another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(pub(super) String);

#[cfg(test)]
impl Tag {
    /// For stores of tests.
    pub(crate) fn named(name: &str) -> Tag {
        Tag(name.to_owned())
    }
}

/// Stores an object, with a lock where one is given; see [`Store::put`] and [`Store::put_locked`].
pub async fn put(
    store: &dyn Store,
    key: &Key,
    body: Body,
    mode: PutMode,
    lock: Option<Lock>,
) -> Result<Entry> {
    match lock {
        None => store.put(key, body, mode).await,
        Some(lock) => store.put_locked(key, body, mode, lock).await,
    }
}

/// The error of a store that does not do this at all.
pub(super) fn unsupported(store: &(impl Store + ?Sized), what: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{} has no {what}", store.address()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_deleted_while_a_marker_is_its_newest() {
        let key = |s: &str| s.parse::<Key>().unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let entry = |s: &str| Entry { key: key(s), size_bytes: 1, modified: at, version: None };
        let marker = |s: &str, latest| Marker { key: key(s), version: None, made: at, latest };
        let kept = Kept {
            versions: vec![entry("a"), entry("b"), entry("b"), entry("c")],
            markers: vec![marker("a", true), marker("b", false), marker("b", false), marker("d", true)],
        };
        assert_eq!(["a", "b", "c", "d"].map(|k| kept.is_deleted(&key(k))), [true, false, false, true]);
        assert_eq!(["a", "b", "c", "d"].map(|k| kept.versions_of(&key(k)).len()), [1, 2, 1, 0]);
    }
}
