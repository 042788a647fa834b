//! A pack is fetched whole, and believed only if its hash is its name.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::mpsc;

use super::super::extent::PackRef;
use super::super::spool::key_of;
use crate::error::{Context, Error, Kind, Result};
use crate::id::Sha256;
use crate::store::{Key, Store};

/// A transfer that breaks off is begun again so often, after these pauses.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// Pieces between the network and the thread that hashes and writes.
const WAITING_PIECES: usize = 8;

/// Takes the bytes of a pack; told to start over before each attempt but the first.
pub trait Sink: Send + 'static {
    /// Forgets what came so far.
    fn restart(&mut self) -> Result<()>;
    /// Takes the next bytes; blocks.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Fetches some version of a pack that is right: the newest if it is, else the oldest that is.
///
/// [`Kind::Damaged`] naming the pack where none is there or none is right.
pub async fn fetch<S: Sink>(store: &dyn Store, prefix: &str, pack: PackRef, mut sink: S) -> Result<S> {
    let key = key_of(prefix, pack)?;
    let mut wrong = match attempt(store, &key, None, pack, sink).await? {
        (sink, None) => return Ok(sink),
        (back, Some(wrong)) => {
            sink = back;
            wrong
        }
    };
    // Somebody may have put another object over it, or deleted it: older versions are still there.
    for version in store.versions(key.as_str()).await? {
        let fits = version.key == key && version.size_bytes == pack.size_bytes;
        let Some(name) = version.version.filter(|_| fits) else { continue };
        sink.restart()?;
        match attempt(store, &key, Some(&name), pack, sink).await? {
            (sink, None) => return Ok(sink),
            (back, Some(also)) => {
                sink = back;
                wrong = also;
            }
        }
    }
    Err(Error::new(Kind::Damaged, format!("pack {key} {wrong}")))
}

/// Fetches one version; tells what is wrong with it, if something is. Transfers that break off are repeated.
async fn attempt<S: Sink>(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    pack: PackRef,
    mut sink: S,
) -> Result<(S, Option<String>)> {
    let mut pauses = PAUSES.iter();
    loop {
        let (back, outcome) = transfer(store, key, version, pack, sink).await?;
        sink = back;
        match outcome {
            Ok(id) if id == pack.id => return Ok((sink, None)),
            Ok(_) => return Ok((sink, Some("has another hash than its name".to_owned()))),
            Err(e) if e.kind() == Kind::NotFound => return Ok((sink, Some("is missing".to_owned()))),
            Err(e) if e.kind() == Kind::Damaged => return Ok((sink, Some(format!("is damaged: {e}")))),
            Err(e) if matches!(e.kind(), Kind::Store | Kind::Timeout) => match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(e.in_context(format!("pack {key}"))),
            },
            Err(e) => return Err(e.in_context(format!("pack {key}"))),
        }
        sink.restart()?;
    }
}

/// Runs one transfer; the outer error is the sink's, the inner one the store's.
async fn transfer<S: Sink>(
    store: &dyn Store,
    key: &Key,
    version: Option<&str>,
    pack: PackRef,
    sink: S,
) -> Result<(S, Result<Sha256>)> {
    let mut download = match store.get(key, version).await {
        Ok(download) => download,
        Err(e) => return Ok((sink, Err(e))),
    };
    if download.size_bytes != pack.size_bytes {
        let what = format!("{} bytes instead of {}", download.size_bytes, pack.size_bytes);
        return Ok((sink, Err(Error::new(Kind::Damaged, what))));
    }
    let (pieces, queue) = mpsc::channel(WAITING_PIECES);
    let writing = tokio::task::spawn_blocking(move || write(sink, queue));
    let mut failed = None;
    while let Some(piece) = download.body.next().await {
        match piece {
            Ok(bytes) => {
                // A closed queue means that the sink failed; its error comes below.
                if pieces.send(bytes).await.is_err() {
                    break;
                }
            }
            Err(e) => {
                failed = Some(e);
                break;
            }
        }
    }
    drop(pieces);
    let (sink, id) = writing.await.context(Kind::Bug, "writing a pack")??;
    Ok((sink, failed.map_or(Ok(id), Err)))
}

fn write<S: Sink>(mut sink: S, mut queue: mpsc::Receiver<Bytes>) -> Result<(S, Sha256)> {
    let mut hash = Hasher::new();
    while let Some(bytes) = queue.blocking_recv() {
        hash.update(&bytes);
        sink.write(&bytes)?;
    }
    Ok((sink, Sha256(hash.finalize().into())))
}

/// Keeps nothing.
pub struct Nowhere;

impl Sink for Nowhere {
    fn restart(&mut self) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A counter of fetched bytes around another sink.
pub struct Counted<S> {
    /// Where the bytes go.
    pub sink: S,
    /// Who hears of them.
    pub monitor: crate::monitor::SharedMonitor,
}

impl<S: Sink> Sink for Counted<S> {
    fn restart(&mut self) -> Result<()> {
        self.sink.restart()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.monitor.count(crate::monitor::Counter::FetchedBytes, bytes.len() as u64);
        self.sink.write(bytes)
    }
}
