//! Bytes by key: the contract that every store keeps, and what callers may rely on.
//!
//! Owns keys, bodies, listings and versions. Knows nothing of what the bytes mean. Drivers are `local` and
//! `s3`; wrappers add retries, limits, records and faults behind the same trait.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::error::{Error, Kind, Result};

/// The name of an object below a store's root: parts of `[A-Za-z0-9._-]`, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let part_is_good = |p: &str| {
            !p.is_empty()
                && p != "."
                && p != ".."
                && p.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if s.len() <= 512 && s.split('/').all(part_is_good) {
            Ok(Key(s.to_owned()))
        } else {
            Err(Error::new(Kind::Store, format!("{s:?} is not a store key")))
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is to be stored; its length is always known beforehand.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A local file of exactly this size.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its length; a file of another length fails the put.
        size_bytes: u64,
    },
}

impl Body {
    /// Returns the length.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Body::Bytes(b) => b.len() as u64,
            Body::File { size_bytes, .. } => *size_bytes,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(v: Vec<u8>) -> Self {
        Body::Bytes(v.into())
    }
}

/// Whether a put may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Fails with [`Kind::Conflict`] where the key exists, as far as the store can tell (see `probe`).
    Create,
    /// Replaces.
    Replace,
}

/// One stored object, or one version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Key,
    /// Its length.
    pub size_bytes: u64,
    /// When it was stored, by the store's clock.
    pub modified: Timestamp,
    /// The store's name of this version, where it keeps versions.
    pub version: Option<String>,
}

/// An object on its way here.
pub struct Download {
    /// The length the store announced.
    pub size_bytes: u64,
    /// The bytes; ends in an error, never early, when fewer or more come than were announced.
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl Download {
    /// Collects the whole object, which must be at most `limit_bytes` long.
    pub async fn bytes(mut self, limit_bytes: u64) -> Result<Bytes> {
        use futures::StreamExt;
        if self.size_bytes > limit_bytes {
            return Err(Error::new(
                Kind::Damaged,
                format!("object of {} bytes, at most {limit_bytes} expected", self.size_bytes),
            ));
        }
        let mut all = bytes::BytesMut::with_capacity(usize::try_from(self.size_bytes).unwrap_or(0));
        while let Some(piece) = self.body.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.freeze())
    }
}

/// A place that keeps bytes by key.
///
/// Every call ends within a bounded time. Errors name the key and never hold a credential:
/// [`Kind::NotFound`] only where the store said that the key is not there; [`Kind::Denied`] where it refused;
/// [`Kind::Conflict`] from a create-only put; [`Kind::Full`] where it has no room; [`Kind::Store`] otherwise, which a
/// caller may try again.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Returns the address for people and logs, without credentials.
    fn address(&self) -> String;

    /// Stores an object; when it returns, the object is durable and whole, or absent.
    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry>;

    /// Opens an object, or the named version of it.
    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download>;

    /// Tells whether an object is there, and its size.
    async fn head(&self, key: &Key) -> Result<Option<Entry>>;

    /// Lists the objects whose key starts with `prefix`, sorted by key; the newest version of each, without
    /// those that were deleted.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Lists all versions under `prefix`: by key, oldest first; deleted objects' versions too, delete markers not.
    ///
    /// A store without versions answers as [`Store::list`] does.
    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Deletes an object, or one version of it; deleting what is not there succeeds.
    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()>;
}

/// A store that several parts use.
pub type SharedStore = Arc<dyn Store>;
