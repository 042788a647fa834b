//! Dumping a database: the stream, its client, and its end.

use bytes::BytesMut;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::fault::{self, Retry};
use super::judge::{compare, record, too_few_rows, whole};
use super::plan::{Plan, Shape, arguments, flags, plan};
use super::preflight;
use super::scan::{Scan, Scanned};
use super::{DatabaseRecord, STREAM, Server, Timeouts};
use crate::component::{Completion, Dump, Grain, PIECE_BYTES, Piece, QUEUE_PIECES};
use crate::error::{Context, Error, Kind, Result};
use crate::host::Exec;

const DUMP: &str = include_str!("dump.sh");

/// What to dump.
#[derive(Debug, Clone)]
pub struct DatabaseSource {
    /// The server.
    pub server: Server,
    /// The database, as the site's `site_config.json` names it.
    pub database: String,
    /// The site's `encryption_key`, where it has one.
    pub encryption_key: Option<SecretString>,
    /// Tables and views to leave out, because a try before found that they cannot be read.
    pub leave_out: Vec<String>,
    /// Whether this is the last try: tables that change under the dump are then lacking, not an error.
    pub last_try: bool,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// Starts a dump: stream `sql`, one segment, record [`DatabaseRecord`].
///
/// Tables that the server cannot read are left out and named in `lacks`; so are routines that the user may not
/// see. Fails before the first piece where the server cannot be used at all. After a failure of the completion,
/// [`super::retry_of`] tells what may help.
pub async fn dump(source: DatabaseSource) -> Result<Dump> {
    let plan = plan(&source).await?;
    let exec = source.server.exec(DUMP, arguments(&source.database, &plan)).await?;
    let (sender, pieces) = mpsc::channel(QUEUE_PIECES);
    let work = AbortOnDropHandle::new(tokio::spawn(run(source, plan, exec, sender)));
    let completion = async move { work.await.context(Kind::Bug, "dump of a database")? };
    Ok(Dump { pieces, completion: Box::pin(completion) })
}

/// Dumps a database once more with the flags of a recorded dump, for its digest and counts only.
pub async fn dump_body_digest(
    server: &Server,
    database: &str,
    record: &DatabaseRecord,
    timeouts: Timeouts,
) -> Result<Scanned> {
    let shape = Shape { routines: record.with_routines, events: record.with_events, binlog: false };
    let arguments = flags(shape).chain([database.to_owned()]);
    let exec = server.exec(DUMP, arguments).await?;
    let scanned = stream(server, exec, timeouts, None).await?;
    whole(server, &scanned)?;
    Ok(scanned)
}

async fn run(
    source: DatabaseSource,
    plan: Plan,
    exec: Exec,
    sender: mpsc::Sender<Piece>,
) -> Result<Completion> {
    let server = &source.server;
    send(&sender, Piece::Begin { stream: STREAM, grain: Grain::Rows }).await?;
    let scanned = stream(server, exec, source.timeouts, Some(&sender)).await?;
    whole(server, &scanned)?;
    send(&sender, Piece::End).await?;
    drop(sender);
    let mut lacks = compare(server, &plan, &scanned)?;
    let after = preflight::inventory(server, &source.database).await?;
    let mut changed = after.changed_since(&plan.inventory);
    changed.retain(|name| !plan.left_out.contains_key(name));
    if !changed.is_empty() && !source.last_try {
        let names = changed.join(", ");
        return Err(Error::new(
            Kind::Source,
            format!("{server}: tables changed while they were dumped: {names}"),
        )
        .caused_by(Retry::Again));
    }
    lacks.extend(changed.into_iter().map(|name| format!("table {name}: it changed while it was dumped")));
    let mut warnings = plan.warnings.clone();
    warnings.extend(too_few_rows(&plan.inventory, &scanned, &plan.left_out, server)?);
    let record = record(source.database, plan, scanned)?;
    Ok(Completion { lacks, record, warnings })
}

/// Reads a dump to its end, passing it on and looking at it; its client's exit code is then known to be good.
async fn stream(
    server: &Server,
    exec: Exec,
    timeouts: Timeouts,
    sender: Option<&mpsc::Sender<Piece>>,
) -> Result<Scanned> {
    let late = |what: &str| Error::new(Kind::Timeout, format!("{server}: the dump {what}"));
    let work = async {
        let Exec { input, mut output } = exec;
        let mut scan = Scan::new();
        let mut gathered = BytesMut::with_capacity(PIECE_BYTES);
        loop {
            let next = tokio::select! {
                next = timeout(timeouts.idle, output.next()) => next.map_err(|_| late("makes no progress"))??,
                () = gone(sender) => return Err(abandoned()),
            };
            let Some(bytes) = next else { break };
            scan.push(&bytes);
            let Some(sender) = sender else { continue };
            for part in bytes.chunks(PIECE_BYTES) {
                if gathered.len() + part.len() > PIECE_BYTES {
                    send(sender, Piece::Bytes(gathered.split().freeze())).await?;
                }
                gathered.extend_from_slice(part);
            }
        }
        let exit = output.exit().await?;
        // The client watched its stdin until here.
        drop(input);
        if exit.code != 0 {
            return Err(fault::of(&exit, server));
        }
        if let (Some(sender), false) = (sender, gathered.is_empty()) {
            send(sender, Piece::Bytes(gathered.freeze())).await?;
        }
        Ok(scan.finish())
    };
    timeout(timeouts.stage, work).await.unwrap_or_else(|_| Err(late("took longer than it may")))
}

async fn gone(sender: Option<&mpsc::Sender<Piece>>) {
    match sender {
        Some(sender) => sender.closed().await,
        None => std::future::pending().await,
    }
}

async fn send(sender: &mpsc::Sender<Piece>, piece: Piece) -> Result<()> {
    sender.send(piece).await.map_err(|_| abandoned())
}

fn abandoned() -> Error {
    Error::new(Kind::Interrupted, "nobody reads the dump any more")
}
