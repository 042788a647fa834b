//! Carries the pieces of a dump into the repository: here a component meets the format.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::component::{Completion, Dump, Grain, Piece, SegmentId};
use crate::error::{Error, Kind, Result};
use crate::repo::cutter;
use crate::repo::extent::StreamRecord;
use crate::repo::snapshot::ComponentWriter;
use crate::repo::writer::{SegmentKey, StreamWriter};

/// How long a component may take, in all and without a sign of life.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In all.
    pub stage: Duration,
    /// Between two pieces.
    pub no_progress: Duration,
}

/// Why a component did not arrive.
#[derive(Debug)]
pub enum Failure {
    /// Its source failed: the others may still be whole.
    Source(Error),
    /// Storing failed: no other component would fare better.
    Store(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Source(e)
    }
}

/// The lengths of a tenant's streams in the snapshot before, by `component/stream`.
pub type Sizes = BTreeMap<String, u64>;

/// Stores a whole dump and returns its streams with what it says of itself.
///
/// Nothing of a dump that fails is kept: its streams are aborted, whatever was stored of them.
pub async fn carry(
    dump: Dump,
    to: &ComponentWriter,
    before: &Sizes,
    patience: Patience,
) -> Result<(Vec<StreamRecord>, Completion), Failure> {
    let all = carry_all(dump, to, before, patience.no_progress);
    match tokio::time::timeout(patience.stage, all).await {
        Ok(result) => result,
        Err(_) => Err(late(to, "did not end within", patience.stage).into()),
    }
}

async fn carry_all(
    mut dump: Dump,
    to: &ComponentWriter,
    before: &Sizes,
    no_progress: Duration,
) -> Result<(Vec<StreamRecord>, Completion), Failure> {
    // A spool that is full for too long ends this component; the next may fare better, once packs have left it.
    let failed = |e: Error| match e.kind() {
        Kind::Full if !to.is_broken() => Failure::Source(e),
        _ => Failure::Store(e),
    };
    let mut done = Vec::new();
    let mut open: Option<StreamWriter> = None;
    loop {
        let next = tokio::time::timeout(no_progress, dump.pieces.recv()).await;
        let Some(piece) = next.map_err(|_| late(to, "sent nothing for", no_progress))? else { break };
        match (piece, &mut open) {
            (Piece::Begin { stream, grain }, None) => {
                let expected = before.get(&format!("{}/{stream}", to.name())).copied();
                open = Some(to.stream(stream, repo_grain(grain), expected).map_err(failed)?);
            }
            (Piece::Bytes(bytes), Some(stream)) => {
                stream.write(bytes).await.map_err(failed)?;
            }
            (Piece::Cut, Some(stream)) => stream.cut().await.map_err(failed)?,
            (Piece::Open { grain, size_bytes }, Some(stream)) => {
                stream.open(repo_grain(grain), size_bytes).await.map_err(failed)?;
            }
            (Piece::Close { size_bytes, hashed }, Some(stream)) => {
                // A dump that does not wait for it any more has failed, and says so itself.
                let tell = |key: SegmentKey| {
                    hashed.send(key.sha256).ok();
                };
                stream.close(size_bytes, tell).await.map_err(failed)?;
            }
            (Piece::Known(id), Some(stream)) => {
                stream.known(repo_key(id)).await.map_err(failed)?;
            }
            (Piece::End, slot @ Some(_)) => {
                if let Some(stream) = slot.take() {
                    done.push(stream.finish().await.map_err(failed)?);
                }
            }
            _ => {
                let what = format!("dump of {} has its pieces out of order", to.name());
                return Err(Error::new(Kind::Bug, what).into());
            }
        }
    }
    // What the dump says of itself comes first: an open stream is the consequence of its failure.
    let completion = tokio::time::timeout(no_progress, dump.completion).await;
    let completion = completion.map_err(|_| late(to, "did not say how it ended within", no_progress))??;
    if let Some(stream) = open {
        stream.abort();
        return Err(Error::new(Kind::Source, format!("dump of {} ended within a stream", to.name())).into());
    }
    Ok((done, completion))
}

fn late(to: &ComponentWriter, what: &str, limit: Duration) -> Error {
    Error::new(Kind::Timeout, format!("dump of {} {what} {} s", to.name(), limit.as_secs()))
        .hint("the policy's [timeouts] say how long a stage may take")
}

fn repo_key(id: SegmentId) -> SegmentKey {
    SegmentKey { size_bytes: id.size_bytes, sha256: id.sha256 }
}

fn repo_grain(grain: Grain) -> cutter::Grain {
    match grain {
        Grain::Rows => cutter::Grain::Rows,
        Grain::Files => cutter::Grain::Files,
    }
}
