//! What a store and a credential really do, tried one by one: for `probe` alone.
//!
//! Owns the calls that no backup or restore makes. They pass the wrappers by: a repeated or counted call
//! would hide what is being tried.

use async_trait::async_trait;
use bytes::Bytes;

use super::Key;
use crate::error::Result;

/// What a store says of itself; nothing where it does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether it keeps versions.
    pub versioning: Option<bool>,
    /// Whether versions can be locked.
    pub locks: Option<bool>,
    /// The lock that every object gets of itself.
    pub default_lock: Option<String>,
    /// Rules that would remove our objects or their versions by themselves, by their names.
    pub expiring: Option<Vec<String>>,
}

/// A setting of the store that guards versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Whether versions are kept.
    Versioning,
    /// Which objects are removed by themselves.
    Lifecycle,
}

/// Calls that only try.
#[async_trait]
pub trait Trials: Send + Sync {
    /// Asks the store about itself.
    async fn settings(&self) -> Result<Settings>;

    /// Fetches `length` bytes of an object from `offset` on.
    async fn range(&self, key: &Key, offset: u64, length: u64) -> Result<Bytes>;

    /// Stores an object under a checksum that is not its own; a store that checks refuses it.
    async fn put_with_wrong_checksum(&self, key: &Key) -> Result<()>;

    /// Begins an object in parts, sends one, ends it early, and returns how many unfinished uploads are listed for the key.
    async fn abandon_upload(&self, key: &Key) -> Result<u64>;

    /// Sets a setting to what it is; success means that this credential could set it to something else.
    ///
    /// [`Kind::Unsupported`](crate::error::Kind::Unsupported) where that cannot be tried without changing something.
    async fn set_as_it_is(&self, setting: Setting) -> Result<()>;

    /// Deletes a version that is locked in governance mode, claiming the right to.
    async fn delete_past_governance(&self, key: &Key, version: &str) -> Result<()>;
}
