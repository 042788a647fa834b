//! Dumping a server: which stream, and its way out.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::aof::{self, Cut};
use super::layout::Layout;
use super::look::{Look, Queue};
use super::rdb;
use super::record::has_folder;
use super::{Persistence, RedisRecord, RedisSource, Server};
use crate::component::{Completion, Dump, Grain, PIECE_BYTES, Piece, QUEUE_PIECES};
use crate::error::{Context, Error, Kind, Result};

/// Pieces on their way, gathered to their full size.
pub(super) struct Sending {
    sender: mpsc::Sender<Piece>,
    gathered: BytesMut,
    idle: Duration,
    what: String,
}

/// Starts a dump: stream `aof` or `rdb`, one segment, record [`RedisRecord`].
///
/// Fails before the first piece where the server cannot be used at all: [`Kind::Denied`] where it refuses the
/// login, [`Kind::Host`] where there is no container or no server.
pub async fn dump(source: RedisSource) -> Result<Dump> {
    let RedisSource { docker, container, credentials, timeouts } = source;
    let server = Server::of(&docker, &container, &credentials).await?;
    let layout = server.layout().await?;
    let (look, queues) = server.look_for_queues().await?;
    let (taken, warnings) = take(&server, &layout, &look, &queues, timeouts.idle).await?;
    let (sender, pieces) = mpsc::channel(QUEUE_PIECES);
    let what = format!("{server}: the dump");
    let mut to =
        Sending { sender, gathered: BytesMut::with_capacity(PIECE_BYTES), idle: timeouts.idle, what };
    let work = AbortOnDropHandle::new(tokio::spawn(async move {
        let late = Error::new(Kind::Timeout, format!("{} took longer than it may", to.what));
        let work = async {
            let record = match taken {
                Some(cut) => whole_aof(&server, layout, cut, &mut to).await?,
                None => whole_rdb(&server, layout, &queues, &mut to).await?,
            };
            to.piece(Piece::End).await?;
            let record = serde_json::to_value(record).context(Kind::Bug, "record of a redis")?;
            Ok(Completion { lacks: Vec::new(), record, warnings })
        };
        timeout(timeouts.stage, work).await.unwrap_or(Err(late))
    }));
    let completion = async move { work.await.context(Kind::Bug, "dump of a redis")? };
    Ok(Dump { pieces, completion: Box::pin(completion) })
}

/// Takes hold of the append-only files where there are any that can be copied; says why not where there are not.
async fn take(
    server: &Server,
    layout: &Layout,
    look: &Look,
    queues: &[Queue],
    limit: Duration,
) -> Result<(Option<Cut>, Vec<String>)> {
    if !look.is("aof_enabled") {
        return Ok((None, Vec::new()));
    }
    if !has_folder(look.text("redis_version").unwrap_or_default()) {
        return Ok((
            None,
            vec![format!("{server} is older than Redis 7: an RDB was taken of its append-only file")],
        ));
    }
    match aof::cut(server, layout, queues, limit).await {
        Ok(cut) => Ok((Some(cut), Vec::new())),
        Err(e) if matches!(e.kind(), Kind::Denied | Kind::Host) => Err(e),
        Err(e) => Ok((None, vec![format!("{e}: an RDB was taken instead of the append-only files")])),
    }
}

async fn whole_aof(server: &Server, layout: Layout, cut: Cut, to: &mut Sending) -> Result<RedisRecord> {
    let record = record(layout, &cut.look, Persistence::Aof, 0);
    to.piece(Piece::Begin { stream: "aof", grain: Grain::Files }).await?;
    cut.send(server, to).await?;
    Ok(record)
}

async fn whole_rdb(
    server: &Server,
    layout: Layout,
    queues: &[Queue],
    to: &mut Sending,
) -> Result<RedisRecord> {
    to.piece(Piece::Begin { stream: "rdb", grain: Grain::Files }).await?;
    let transfer = rdb::start(server, queues, to).await?;
    let record = record(layout, &transfer.before, Persistence::Rdb, transfer.changes());
    transfer.send(server, to).await?;
    Ok(record)
}

fn record(layout: Layout, look: &Look, persistence: Persistence, changes: u64) -> RedisRecord {
    RedisRecord {
        version: look.text("redis_version").unwrap_or_default().to_owned(),
        persistence,
        dir: layout.dir,
        appenddirname: layout.appenddirname,
        appendfilename: layout.appendfilename,
        dbfilename: layout.dbfilename,
        config: layout.config,
        databases: look.counts.databases.clone(),
        queues: look.counts.queues.clone(),
        moving: changes > 0,
        changes,
    }
}

impl Sending {
    /// Sends bytes, gathered to pieces of their full size.
    pub(super) async fn bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = PIECE_BYTES - self.gathered.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.gathered.extend_from_slice(now);
            bytes = later;
            if self.gathered.len() == PIECE_BYTES {
                let piece = self.gathered.split().freeze();
                self.piece_now(Piece::Bytes(piece)).await?;
            }
        }
        Ok(())
    }

    /// Waits for the next bytes of a source, as long as somebody wants them and not forever.
    pub(super) async fn watch(
        &self,
        next: impl Future<Output = Result<Option<Bytes>>>,
    ) -> Result<Option<Bytes>> {
        tokio::select! {
            next = timeout(self.idle, next) => next.unwrap_or_else(|_| {
                Err(Error::new(Kind::Timeout, format!("{} makes no progress", self.what)))
            }),
            () = self.sender.closed() => Err(abandoned()),
        }
    }

    async fn piece(&mut self, piece: Piece) -> Result<()> {
        if !self.gathered.is_empty() {
            let rest = self.gathered.split().freeze();
            self.piece_now(Piece::Bytes(rest)).await?;
        }
        self.piece_now(piece).await
    }

    async fn piece_now(&self, piece: Piece) -> Result<()> {
        self.sender.send(piece).await.map_err(|_| abandoned())
    }
}

fn abandoned() -> Error {
    Error::new(Kind::Interrupted, "nobody reads the dump any more")
}
