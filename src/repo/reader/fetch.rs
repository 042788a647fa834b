//! One pack from the store: the version whose SHA-256 is its name.
//!
//! Owns which version is taken and what is said when none is right. Knows nothing of who needs the pack.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::mpsc;

use super::folder::Folder;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::monitor::{Counter, Monitor};
use crate::repo::extent::PackRef;
use crate::repo::object;
use crate::repo::pack::MOST_OBJECT_BYTES;
use crate::repo::seal::disk_error;
use crate::store::{Download, Key, Store};

/// How many pieces of a download wait for the disk.
const QUEUE_PIECES: usize = 4;

/// Before a broken transfer is begun again.
const PAUSE: Duration = Duration::from_millis(200);

/// Fetches a pack: into `folder` under its name, or nowhere.
///
/// The newest version is taken where it is right, else the oldest that is; then the monitor hears of a problem.
/// [`Kind::NotFound`] where the store has none, [`Kind::Damaged`] where none is right.
pub(super) async fn fetch(
    store: &dyn Store,
    key: &Key,
    pack: PackRef,
    folder: Option<&Arc<Folder>>,
    monitor: &dyn Monitor,
) -> Result<()> {
    if pack.size_bytes > MOST_OBJECT_BYTES {
        let what = format!("{key} of {} bytes is longer than a pack can be", pack.size_bytes);
        return Err(Error::new(Kind::Damaged, what));
    }
    let newest = match attempt(store, key, None, pack, folder, monitor).await? {
        Outcome::Right => return Ok(()),
        Outcome::Wrong(why) => Some(why),
        Outcome::Missing => None,
    };
    let versions = object::versions_of(store, key).await?;
    // Without versions it is the object that was just looked at.
    let older = versions.iter().filter(|v| v.version.is_some() && v.size_bytes == pack.size_bytes);
    for entry in older.take(object::VERSIONS_TRIED) {
        let version = entry.version.as_deref();
        if let Outcome::Right = attempt(store, key, version, pack, folder, monitor).await? {
            let what = newest.map_or("is deleted".to_owned(), |why| format!("is another: {why}"));
            let error =
                Error::new(Kind::Damaged, format!("{key}: the newest version {what}; an older one is right"))
                    .hint("somebody wrote or deleted an object that is never rewritten");
            monitor.problem(&error);
            return Ok(());
        }
    }
    Err(match newest {
        Some(why) => Error::new(Kind::Damaged, format!("{key}: {why}")),
        None if versions.is_empty() => Error::new(Kind::NotFound, format!("{key} is not in the store")),
        None => Error::new(Kind::Damaged, format!("{key} is deleted, and no version of it is right")),
    })
}

enum Outcome {
    Right,
    Wrong(String),
    Missing,
}

/// Fetches one version; a transfer that breaks off is begun again once, whatever the store itself tries.
async fn attempt(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    pack: PackRef,
    folder: Option<&Arc<Folder>>,
    monitor: &dyn Monitor,
) -> Result<Outcome> {
    match transfer(store, key, version, pack, folder, monitor).await {
        Err(e) if matches!(e.kind(), Kind::Store | Kind::Timeout) => {
            tracing::warn!(error = %e, "fetching a pack again");
            tokio::time::sleep(PAUSE).await;
            transfer(store, key, version, pack, folder, monitor).await
        }
        outcome => outcome,
    }
}

async fn transfer(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    pack: PackRef,
    folder: Option<&Arc<Folder>>,
    monitor: &dyn Monitor,
) -> Result<Outcome> {
    let download = match store.get(key, version).await {
        Err(e) if e.kind() == Kind::NotFound => return Ok(Outcome::Missing),
        download => download?,
    };
    if download.size_bytes != pack.size_bytes {
        let why = format!("{} bytes instead of {}", download.size_bytes, pack.size_bytes);
        return Ok(Outcome::Wrong(why));
    }
    let (pieces, taken) = mpsc::channel(QUEUE_PIECES);
    let folder = folder.cloned();
    let taking = tokio::task::spawn_blocking(move || take(taken, pack, folder.as_deref()));
    // Both ends are waited for, so that no two threads ever write for the same pack.
    let given = give(download, pieces, monitor).await;
    let took = taking.await.context(Kind::Bug, format!("fetching {key}"))?;
    given.map_err(|e| e.in_context(key))?;
    Ok(match took.map_err(|e| e.in_context(key))? {
        true => Outcome::Right,
        false => Outcome::Wrong("its SHA-256 is not the one that names it".to_owned()),
    })
}

/// Hands a download on; the end is announced, since a channel also ends when its sender dies.
async fn give(
    mut download: Download,
    pieces: mpsc::Sender<Option<Bytes>>,
    monitor: &dyn Monitor,
) -> Result<()> {
    while let Some(piece) = download.body.next().await {
        let piece = piece?;
        monitor.count(Counter::FetchedBytes, piece.len() as u64);
        if pieces.send(Some(piece)).await.is_err() {
            // The taker failed, and says why.
            return Ok(());
        }
    }
    // As above.
    pieces.send(None).await.ok();
    Ok(())
}

/// Hashes and writes pieces until their end; keeps the file only if they are the pack, and tells whether they are.
fn take(mut pieces: mpsc::Receiver<Option<Bytes>>, pack: PackRef, folder: Option<&Folder>) -> Result<bool> {
    let mut file = folder.map(Folder::begin).transpose()?;
    let mut hash = Hasher::new();
    loop {
        match pieces.blocking_recv() {
            Some(Some(bytes)) => {
                hash.update(&bytes);
                if let Some(file) = &mut file {
                    file.write_all(&bytes).map_err(|e| disk_error(e, "fetched pack"))?;
                }
            }
            Some(None) => break,
            None => return Err(Error::new(Kind::Interrupted, "fetching was given up")),
        }
    }
    let right = Sha256(hash.finalize().into()) == pack.id;
    if let (Some(folder), Some(file), true) = (folder, file, right) {
        folder.keep(file, &pack.id)?;
    }
    Ok(right)
}
