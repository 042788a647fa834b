//! Bytes by key: the contract that every store keeps, and what callers may rely on.
//!
//! Owns keys, bodies, listings and versions. Knows nothing of what the bytes mean. Drivers are `local` and
//! `s3`; wrappers add retries, limits, records and faults behind the same trait.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::error::{Error, Kind, Result};

mod address;
mod body;
mod clock;
mod fault;
mod limit;
mod local;
mod lock;
mod locked;
mod open;
mod options;
mod record;
mod retry;
mod s3;
mod trial;

pub use address::StoreAddress;
pub use body::{Body, Download};
pub use clock::time_at;
pub use fault::{Fault, FaultStore};
pub use limit::{Limit, Limits, Lines};
pub use local::LocalStore;
pub use lock::{Kept, Lock, LockMode, Marker, Tag, put};
pub use locked::{Book, Due, Held, LockedStore, Terms};
pub use open::open;
pub use options::{Credentials, RetryPolicy, StoreOptions, Timeouts};
pub use record::{Calls, Record};
pub use retry::Retry;
pub use s3::S3Store;
pub use trial::{Setting, Settings, Trials};

/// The name of an object below a store's root: parts of `[A-Za-z0-9._-]`, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tells whether `part` may stand between the slashes of a key.
fn is_key_part(part: &str) -> bool {
    !part.is_empty()
        && part != "."
        && part != ".."
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl FromStr for Key {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if s.len() <= 512 && s.split('/').all(is_key_part) {
            Ok(Key(s.to_owned()))
        } else {
            Err(Error::new(Kind::Bug, format!("{s:?} is not a store key")))
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

/// The calls of a [`Store`], by which wrappers count, limit and break them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// [`Store::put`] and [`Store::put_locked`].
    Put,
    /// [`Store::get`].
    Get,
    /// [`Store::head`].
    Head,
    /// [`Store::list`].
    List,
    /// [`Store::versions`] and [`Store::kept`].
    Versions,
    /// [`Store::delete`].
    Delete,
    /// [`Store::sweep`].
    Sweep,
    /// [`Store::lock_until`].
    Lock,
    /// [`Store::lock_of`].
    LockOf,
    /// [`Store::tag`].
    Tag,
    /// [`Store::swap`].
    Swap,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 11] = [
        Method::Put,
        Method::Get,
        Method::Head,
        Method::List,
        Method::Versions,
        Method::Delete,
        Method::Sweep,
        Method::Lock,
        Method::LockOf,
        Method::Tag,
        Method::Swap,
    ];

    /// Returns the method's name, for logs and metric labels.
    pub fn word(self) -> &'static str {
        match self {
            Method::Put => "put",
            Method::Get => "get",
            Method::Head => "head",
            Method::List => "list",
            Method::Versions => "versions",
            Method::Delete => "delete",
            Method::Sweep => "sweep",
            Method::Lock => "lock",
            Method::LockOf => "lock-of",
            Method::Tag => "tag",
            Method::Swap => "swap",
        }
    }
}

/// A place that keeps bytes by key.
///
/// Every call ends within a bounded time. Errors name the key and never hold a credential:
/// [`Kind::NotFound`] only where the store said that the key is not there; [`Kind::Denied`] where it refused;
/// [`Kind::Conflict`] from a create-only put; [`Kind::Full`] where it has no room; [`Kind::NoRepository`] where the
/// bucket or folder itself is missing; [`Kind::Io`] where a [`Body::File`] cannot be read; [`Kind::Store`] and
/// [`Kind::Timeout`] otherwise, which a caller may try again; [`Kind::Unsupported`] where the store does not do this at
/// all, as the bodies given here answer. Dropping a call's future leaves nothing half-done behind.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Returns the address for people and logs, without credentials.
    fn address(&self) -> String;

    /// Stores an object; when it returns, the object is durable and whole, or absent.
    ///
    /// After [`Kind::Store`] and [`Kind::Timeout`] it may be either, never partly there.
    async fn put(&self, key: &Key, body: Body, mode: PutMode) -> Result<Entry>;

    /// Opens an object, or the named version of it.
    async fn get(&self, key: &Key, version: Option<&str>) -> Result<Download>;

    /// Tells whether an object is there, and its size.
    async fn head(&self, key: &Key) -> Result<Option<Entry>>;

    /// Lists the objects whose key starts with `prefix`, sorted by key; the newest version of each, without
    /// those that were deleted.
    ///
    /// What others put there under names that are no [`Key`] is left out.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Lists all versions under `prefix`: by key, oldest first; deleted objects' versions too, delete markers not.
    ///
    /// A store without versions answers as [`Store::list`] does.
    async fn versions(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Deletes an object, or one version of it; deleting what is not there succeeds.
    async fn delete(&self, key: &Key, version: Option<&str>) -> Result<()>;

    /// Removes what puts that were killed more than `older_than` ago, by the store's clock, left half-done (temporary
    /// files, multipart uploads), and returns how many it removed.
    async fn sweep(&self, older_than: Duration) -> Result<u64>;

    /// Returns the time by the store's clock, to about a second; asks the store only where nothing was heard of it yet.
    async fn now(&self) -> Result<Timestamp> {
        Err(lock::unsupported(self, "clock"))
    }

    /// Stores an object as [`Store::put`] does, locked from its first moment on.
    ///
    /// The entry names the version that is locked. After [`Kind::Unsupported`] nothing was stored.
    async fn put_locked(&self, _key: &Key, _body: Body, _mode: PutMode, _lock: Lock) -> Result<Entry> {
        Err(lock::unsupported(self, "locks"))
    }

    /// Locks one version, or locks it for longer. Nothing shortens a compliance lock: [`Kind::Denied`].
    async fn lock_until(&self, _key: &Key, _version: &str, _lock: Lock) -> Result<()> {
        Err(lock::unsupported(self, "locks"))
    }

    /// Returns the lock of one version, if it has one.
    async fn lock_of(&self, _key: &Key, _version: &str) -> Result<Option<Lock>> {
        Err(lock::unsupported(self, "locks"))
    }

    /// Lists all versions under `prefix` as [`Store::versions`] does, and the delete markers, in as many requests.
    async fn kept(&self, prefix: &str) -> Result<Kept> {
        Ok(Kept { versions: self.versions(prefix).await?, markers: Vec::new() })
    }

    /// Returns the tag of what is under a key now, for [`Store::swap`]; nothing where nothing is there.
    async fn tag(&self, _key: &Key) -> Result<Option<Tag>> {
        Err(lock::unsupported(self, "conditional puts"))
    }

    /// Replaces an object only while its content is still the one with this tag; else [`Kind::Conflict`], as far
    /// as the store can tell (see `probe`). Read the tag first and the content after it.
    async fn swap(&self, _key: &Key, _body: Body, _tag: &Tag) -> Result<Tag> {
        Err(lock::unsupported(self, "conditional puts"))
    }

    /// Returns what only `probe` asks for, where there is anything to try; wrappers are passed by.
    fn trials(&self) -> Option<&dyn Trials> {
        None
    }
}

/// A store that several parts use.
pub type SharedStore = Arc<dyn Store>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_leave_the_root_or_need_escaping_are_refused() {
        let long = "x".repeat(513);
        for bad in
            ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a b", "a~", "ä", "a\0b", "a\\b", &long]
        {
            assert!(bad.parse::<Key>().is_err(), "{bad:?}");
        }
        for good in ["a", "lifeboat.json", "tenants/t-1/packs/00ff", ".hidden", "a/..b", "A_b"] {
            assert_eq!(good.parse::<Key>().unwrap().as_str(), good);
        }
    }
}

/// What the tests of several wrappers share.
#[cfg(test)]
mod testing {
    use super::{Arc, Body, Key, LocalStore, SharedStore, Timeouts};

    pub(super) async fn local() -> (tempfile::TempDir, SharedStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path(), Timeouts::default(), false).await.unwrap();
        (folder, Arc::new(store))
    }

    pub(super) fn key(s: &str) -> Key {
        s.parse().unwrap()
    }

    pub(super) fn body(bytes: &[u8]) -> Body {
        bytes.to_vec().into()
    }
}
