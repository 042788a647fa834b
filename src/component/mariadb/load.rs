//! Loading a dump into a new database, never over an old one.

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connect::{identifier, literal};
use super::preflight::Orphan;
use super::scan::{Scan, Scanned};
use super::views::Views;
use super::{DatabaseRecord, Server, Timeouts, fault, preflight, replica};
use crate::component::{PIECE_BYTES, Source};
use crate::error::{Error, Kind, Result};
use crate::host::{Exec, Input, Output};

const LOAD: &str = include_str!("load.sh");
const KNOWS_SANDBOX: &str = "\"$client\" --help | grep -q -e --sandbox && echo yes || echo no";

/// The most that the protocol allows.
const PACKET_BYTES: u64 = 1 << 30;

/// The longest first line that may be the sandbox command.
const FIRST_LINE_BYTES: usize = 256;

/// How to load.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The name that the database had when it was dumped.
    pub dumped_as: String,

    /// The new database's character set, as recorded.
    pub charset: String,
    /// The new database's collation, as recorded.
    pub collation: String,
    /// How long it may take.
    pub timeouts: Timeouts,
}

impl LoadOptions {
    /// Returns how to load a recorded dump.
    pub fn of(record: &DatabaseRecord) -> Self {
        LoadOptions {
            dumped_as: record.database.clone(),
            charset: record.charset.clone(),
            collation: record.collation.clone(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What was loaded.
#[derive(Debug)]
pub struct Loaded {
    /// What the stream held; its digest is to be compared with the recorded one.
    pub scanned: Scanned,
    /// Objects whose definer does not exist here.
    pub orphans: Vec<Orphan>,
    /// Objects that name the database as it was called when it was dumped.
    pub names_dumped: Vec<String>,
    /// Views that no database of another name takes.
    pub stuck: Vec<String>,
}

/// Makes a new database and loads a dump into it, stopping at the first error.
///
/// Under another name than it was dumped as, views are moved to it. Fails with [`Kind::Conflict`] where the database is
/// there already, or the server follows another, and with [`Kind::Unsupported`] where a view cannot be moved. After any failure but the first a
/// half-filled database of that name is left, for the caller to drop.
pub async fn load(server: &Server, database: &str, source: Source, options: &LoadOptions) -> Result<Loaded> {
    let create = format!(
        "CREATE DATABASE {} CHARACTER SET {} COLLATE {};",
        identifier(database),
        literal(&options.charset),
        literal(&options.collation)
    );
    follows_none(server).await?;
    server.lines(&create).await?;
    let (scanned, stuck) = load_into(server, database, source, options).await?;
    let inventory = preflight::inventory_naming(server, database, &options.dumped_as).await?;
    Ok(Loaded { scanned, orphans: inventory.orphans(), names_dumped: inventory.names, stuck })
}

/// Refuses a replica: what is written there is in no site's sight, and parts it from the server that it follows.
async fn follows_none(server: &Server) -> Result<()> {
    // Whoever may not ask may hardly load either; the server says so then.
    match replica::replication(server, replica::LOOK_LIMIT).await {
        Ok(Some(seen)) => Err(Error::new(
            Kind::Conflict,
            format!("{server} follows {}: what is loaded there is not what the site uses", seen.source),
        )
        .hint(
            "name the server that the site uses as [database] container in the tenant's file, then restore",
        )),
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Loads a dump into a database that is there and empty; returns what it held, and the views that take no other name.
async fn load_into(
    server: &Server,
    database: &str,
    source: Source,
    options: &LoadOptions,
) -> Result<(Scanned, Vec<String>)> {
    let packet = widen_packets(server).await;
    let keep_sandbox = server.run::<&str>(KNOWS_SANDBOX, [], "").await?.trim() == "yes";
    let exec = server.exec(LOAD, [database]).await?;
    let on_the_way = OnTheWay {
        first: FirstLine { keep: keep_sandbox, held: Some(Vec::new()) },
        views: Views::new(&options.dumped_as, database),
    };
    let work = feed_and_wait(server, exec, source, on_the_way, options.timeouts);
    let loaded = timeout(options.timeouts.stage, work).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Timeout, format!("{server}: loading `{database}` took longer than it may")))
    });
    if let Some(packet) = packet {
        server.lines(&format!("SET GLOBAL max_allowed_packet = {packet};")).await.ok();
    }
    let (scanned, stuck) = loaded?;
    if !(scanned.header && scanned.trailer) {
        return Err(Error::new(
            Kind::Damaged,
            format!("{server}: what was loaded into `{database}` is no whole dump"),
        ));
    }
    Ok((scanned, stuck))
}

/// Lets the server take rows as long as those it was dumped from did; returns what the setting was.
///
/// The setting counts for new connections only and forgets itself at the next start; without the right to
/// change it, rows up to the present setting load.
async fn widen_packets(server: &Server) -> Option<u64> {
    let rows: Vec<(u64,)> = server.rows("SELECT JSON_ARRAY(@@GLOBAL.max_allowed_packet);").await.ok()?;
    let (present,) = *rows.first()?;
    let widened = present < PACKET_BYTES
        && server.lines(&format!("SET GLOBAL max_allowed_packet = {PACKET_BYTES};")).await.is_ok();
    widened.then_some(present)
}

/// How feeding ended, apart from faults of the source.
enum Fed {
    All(Box<(Scanned, Vec<String>)>),
    /// The client does not read any more.
    Refused(std::io::Error),
}

async fn feed_and_wait(
    server: &Server,
    exec: Exec,
    source: Source,
    on_the_way: OnTheWay,
    timeouts: Timeouts,
) -> Result<(Scanned, Vec<String>)> {
    let Exec { mut input, mut output } = exec;
    let fed = {
        let feed = feed(server, &mut input, source, on_the_way, timeouts);
        let drain = drain(&mut output);
        tokio::pin!(feed, drain);
        tokio::select! {
            fed = &mut feed => {
                let fed = fed?;
                timeout(timeouts.idle, drain)
                    .await
                    .map_err(|_| Error::new(Kind::Timeout, format!("{server}: loading does not end")))??;
                Some(fed)
            }
            ended = &mut drain => { ended?; None }
        }
    };
    let exit = output.exit().await?;
    match fed {
        _ if exit.code != 0 => Err(fault::of(&exit, server)),
        Some(Fed::All(loaded)) => Ok(*loaded),
        Some(Fed::Refused(e)) => Err(Error::new(Kind::Host, server.to_string()).caused_by(e)),
        None => Err(Error::new(Kind::Host, format!("{server}: its client ended before the dump did"))),
    }
}

async fn drain(output: &mut Output) -> Result<()> {
    while output.next().await?.is_some() {}
    Ok(())
}

async fn feed(
    server: &Server,
    input: &mut Input,
    mut source: Source,
    mut on_the_way: OnTheWay,
    timeouts: Timeouts,
) -> Result<Fed> {
    let stuck = || Error::new(Kind::Timeout, format!("{server}: loading makes no progress"));
    let mut scan = Scan::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut out = Vec::with_capacity(PIECE_BYTES);
    let views = loop {
        let read = timeout(timeouts.idle, source.read(&mut buffer)).await.map_err(|_| stuck())?;
        let n = read.map_err(of_source)?;
        scan.push(&buffer[..n]);
        out.clear();
        let bytes = if n == 0 { on_the_way.first.end() } else { on_the_way.first.pass(&buffer[..n]) };
        on_the_way.views.pass(&bytes, &mut out);
        if let Some(e) = on_the_way.views.refusal() {
            return Err(e.in_context(server));
        }
        let ended = (n == 0).then(|| std::mem::replace(&mut on_the_way.views, Views::new("", "")));
        let ended = ended.map(|views| views.end(&mut out));
        match timeout(timeouts.idle, input.write_all(&out)).await.map_err(|_| stuck())? {
            Ok(()) => {}
            Err(e) => return Ok(Fed::Refused(e)),
        }
        if let Some(views) = ended {
            break views;
        }
    };
    match input.shutdown().await {
        Ok(()) => Ok(Fed::All(Box::new((scan.finish(), views)))),
        Err(e) => Ok(Fed::Refused(e)),
    }
}

/// Returns the fault that the repository's reader put into the stream, as it was.
fn of_source(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(io) => Error::new(Kind::Io, "the stream to load").caused_by(io),
    }
}

/// What changes in a dump on its way to the client.
struct OnTheWay {
    first: FirstLine,
    views: Views,
}

/// Drops the sandbox command where the client does not know it.
struct FirstLine {
    keep: bool,
    /// The first line so far; nothing when it has passed.
    held: Option<Vec<u8>>,
}

impl FirstLine {
    fn pass(&mut self, bytes: &[u8]) -> Bytes {
        let Some(mut held) = self.held.take() else { return Bytes::copy_from_slice(bytes) };
        held.extend_from_slice(bytes);
        if held.len() < FIRST_LINE_BYTES && !held.contains(&b'\n') {
            self.held = Some(held);
            return Bytes::new();
        }
        self.judge(held)
    }

    fn end(&mut self) -> Bytes {
        let held = self.held.take().unwrap_or_default();
        self.judge(held)
    }

    fn judge(&self, held: Vec<u8>) -> Bytes {
        let sandbox = held.starts_with(b"/*!999999\\-") || held.starts_with(b"/*M!999999\\-");
        let line = held.iter().position(|b| *b == b'\n').map_or(held.len(), |at| at + 1);
        let mut bytes = Bytes::from(held);
        if sandbox && !self.keep { bytes.split_off(line) } else { bytes.split_off(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(keep: bool, text: &str, step: usize) -> String {
        let mut first = FirstLine { keep, held: Some(Vec::new()) };
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(step) {
            out.extend_from_slice(&first.pass(piece));
        }
        out.extend_from_slice(&first.end());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_sandbox_line_goes_only_to_clients_that_know_it() {
        for mark in
            ["/*!999999\\- enable the sandbox mode */ \n", "/*M!999999\\- enable the sandbox mode */\n"]
        {
            let text = format!("{mark}-- MariaDB dump\n{}", "x".repeat(1000));
            for step in [1, 5, 4096] {
                assert_eq!(passed(true, &text, step), text);
                assert_eq!(passed(false, &text, step), text.strip_prefix(mark).unwrap());
            }
        }
        let other = format!("-- MariaDB dump {}", "y".repeat(500));
        assert_eq!(passed(false, &other, 7), other);
        assert_eq!(passed(false, "", 7), "");
    }
}
