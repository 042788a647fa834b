//! One object of a known hash on its way from one store to another.
//!
//! Owns that what is put was verified before: the object is hashed as it comes, in memory or, where it is long, in a file.
//! Holds ciphertext only. Knows nothing of what the object is for.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use sha2::{Digest, Sha256 as Hasher};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::monitor::{Counter, Monitor};
use crate::store::{Body, Entry, Key, PutMode, Store};

use super::object;
use super::receipt::ObjectRef;

/// Up to this length an object is kept in memory, in bytes.
const IN_MEMORY: u64 = 1024 * 1024;

/// An object that was fetched and is what it should be.
#[derive(Debug)]
pub struct Fetched {
    body: Body,
    /// Removes the file of the body when dropped.
    _file: Option<TempPath>,
}

impl Fetched {
    /// Takes bytes that were verified.
    pub fn of(bytes: Bytes) -> Fetched {
        Fetched { body: Body::Bytes(bytes), _file: None }
    }

    /// Returns its length.
    pub fn size_bytes(&self) -> u64 {
        self.body.size_bytes()
    }

    /// Opens it for reading from its start.
    pub fn open(&self) -> Result<Box<dyn std::io::BufRead + Send>> {
        use std::io::BufReader;
        match &self.body {
            Body::Bytes(bytes) => Ok(Box::new(std::io::Cursor::new(bytes.clone()))),
            Body::File { path, .. } => {
                let file = std::fs::File::open(path).context(Kind::Io, path.display())?;
                Ok(Box::new(BufReader::new(file)))
            }
        }
    }

    /// Stores it: create-only, or, where something wrong is to be covered, over what is there.
    ///
    /// That somebody else created the same object meanwhile is success.
    pub async fn put(&self, store: &dyn Store, key: &Key, covers: bool) -> Result<Entry> {
        let mode = if covers { PutMode::Replace } else { PutMode::Create };
        match store.put(key, self.body.clone(), mode).await {
            Err(refused) if refused.kind() == Kind::Conflict => match store.head(key).await? {
                Some(entry) if entry.size_bytes == self.size_bytes() => Ok(entry),
                _ => Err(refused),
            },
            other => other,
        }
    }
}

/// Fetches the object that should be `right`: the newest version, or else the oldest that is; long ones into `folder`.
///
/// [`Kind::NotFound`] where the key has no version, [`Kind::Damaged`] where none is right.
pub async fn fetch(
    store: &dyn Store,
    key: &Key,
    right: ObjectRef,
    folder: &Path,
    monitor: &dyn Monitor,
) -> Result<Fetched> {
    if let Some(found) = attempt(store, key, None, right, folder, monitor).await? {
        return Ok(found);
    }
    let versions = object::versions_of(store, key).await?;
    if versions.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("{key} is not in {}", store.address())));
    }
    for entry in versions.iter().filter(|e| e.size_bytes == right.size).take(object::VERSIONS_TRIED) {
        if let Some(found) = attempt(store, key, entry.version.as_deref(), right, folder, monitor).await? {
            return Ok(found);
        }
    }
    let what = format!("{key} in {} does not have the SHA-256 {}", store.address(), right.hash.short());
    Err(Error::new(Kind::Damaged, what))
}

/// Fetches one version; none where it is not there or not right. A transfer that breaks off is begun again once.
async fn attempt(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    right: ObjectRef,
    folder: &Path,
    monitor: &dyn Monitor,
) -> Result<Option<Fetched>> {
    match object::once_more(|| transfer(store, key, version, right, folder, monitor)).await {
        Err(e) if matches!(e.kind(), Kind::NotFound | Kind::Damaged) => Ok(None),
        other => other.map(Some),
    }
}

async fn transfer(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    right: ObjectRef,
    folder: &Path,
    monitor: &dyn Monitor,
) -> Result<Fetched> {
    let mut download = store.get(key, version).await?;
    let wrong = || Error::new(Kind::Damaged, format!("{key} is not what was written"));
    if download.size_bytes != right.size {
        return Err(wrong());
    }
    let mut sink = Sink::new(right.size, folder)?;
    let mut hash = Hasher::new();
    let mut left = right.size;
    while let Some(piece) = download.body.next().await {
        let piece = piece.map_err(|e| e.in_context(key))?;
        // A store may send more than it announced; no driver passes it on, and no memory is spent on it here.
        left = left.checked_sub(piece.len() as u64).ok_or_else(wrong)?;
        monitor.count(Counter::FetchedBytes, piece.len() as u64);
        hash.update(&piece);
        sink.write(&piece).await?;
    }
    if left > 0 || Sha256(hash.finalize().into()) != right.hash {
        return Err(wrong());
    }
    sink.finish(right.size).await
}

/// Where an object's bytes go until all were seen.
enum Sink {
    Memory(BytesMut),
    File { file: tokio::fs::File, path: TempPath },
}

impl Sink {
    fn new(size_bytes: u64, folder: &Path) -> Result<Sink> {
        if size_bytes <= IN_MEMORY {
            return Ok(Sink::Memory(BytesMut::with_capacity(usize::try_from(size_bytes).unwrap_or(0))));
        }
        let made = tempfile::Builder::new().prefix("object-").tempfile_in(folder);
        let (file, path) = made.context(Kind::Io, folder.display())?.into_parts();
        Ok(Sink::File { file: tokio::fs::File::from_std(file), path })
    }

    async fn write(&mut self, piece: &[u8]) -> Result<()> {
        match self {
            Sink::Memory(bytes) => bytes.extend_from_slice(piece),
            Sink::File { file, path } => file.write_all(piece).await.map_err(|e| io_error(e, path))?,
        }
        Ok(())
    }

    async fn finish(self, size_bytes: u64) -> Result<Fetched> {
        match self {
            Sink::Memory(bytes) => Ok(Fetched::of(bytes.freeze())),
            Sink::File { mut file, path } => {
                file.flush().await.map_err(|e| io_error(e, &path))?;
                let body = Body::File { path: path.to_path_buf(), size_bytes, sha256: None };
                Ok(Fetched { body, _file: Some(path) })
            }
        }
    }
}

fn io_error(e: std::io::Error, path: &Path) -> Error {
    let kind = if e.kind() == std::io::ErrorKind::StorageFull { Kind::Full } else { Kind::Io };
    Error::new(kind, path.display().to_string()).caused_by(e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::repo::testing::Versioned;

    async fn put(store: &Versioned, key: &Key, bytes: &[u8]) {
        store.put(key, Body::from(bytes.to_vec()), PutMode::Replace).await.unwrap();
    }

    fn reference(bytes: &[u8]) -> ObjectRef {
        ObjectRef { hash: Sha256::of(bytes), size: bytes.len() as u64 }
    }

    #[tokio::test]
    async fn short_and_long_objects_arrive_as_they_were_and_leave_no_file() {
        let (from, to) = (Versioned::default(), Versioned::default());
        let folder = tempfile::tempdir().unwrap();
        let key: Key = "x".parse().unwrap();
        for length in [0, 1, IN_MEMORY as usize, IN_MEMORY as usize + 1, 3 << 20] {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            put(&from, &key, &bytes).await;
            let fetched = fetch(&from, &key, reference(&bytes), folder.path(), &Silent).await.unwrap();
            fetched.put(&to, &key, true).await.unwrap();
            drop(fetched);
            let there = object::get_hashed(&to, &key, &Sha256::of(&bytes), 4 << 20).await.unwrap();
            assert!(there == bytes);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn what_is_not_right_does_not_pass_and_a_right_version_behind_it_does() {
        let store = Versioned::default();
        let folder = tempfile::tempdir().unwrap();
        let key: Key = "x".parse().unwrap();
        let get =
            async |right| fetch(&store, &key, right, folder.path(), &Silent).await.map_err(|e| e.kind());
        let right = vec![7; 2 << 20];
        assert_eq!(get(reference(&right)).await.unwrap_err(), Kind::NotFound);
        put(&store, &key, &right).await;
        put(&store, &key, &vec![8; 2 << 20]).await;
        assert_eq!(get(reference(&right)).await.unwrap().size_bytes(), 2 << 20);
        store.delete(&key, None).await.unwrap();
        assert_eq!(get(reference(&right)).await.unwrap().size_bytes(), 2 << 20);
        assert_eq!(get(reference(&[9; 2 << 20])).await.unwrap_err(), Kind::Damaged);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
