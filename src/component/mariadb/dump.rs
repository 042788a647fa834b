//! Dumping a database, and judging whether the dump is whole.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::fault::{self, Retry};
use super::preflight::{self, Facts, Inventory};
use super::scan::{Scan, Scanned};
use super::{Credentials, DatabaseRecord, STREAM, Server, TableRecord, Timeouts, UserRecord, users};
use crate::component::fernet::{self, FernetProof};
use crate::component::{Completion, Dump, Grain, PIECE_BYTES, Piece, QUEUE_PIECES};
use crate::error::{Context, Error, Kind, Result};
use crate::host::Exec;

const DUMP: &str = include_str!("dump.sh");
const DUMP_VERSION: &str = "\"$(command -v mariadb-dump || command -v mysqldump)\" --version";

/// One snapshot without locks, every kind of object, any row's length, and the same bytes for the same data.
/// No `--databases`: its `CREATE DATABASE` and `USE` would load a copy over the original.
const FLAGS: &[&str] = &[
    "--single-transaction",
    "--quick",
    "--events",
    "--triggers",
    "--hex-blob",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    "--skip-dump-date",
];

/// Fewer estimated rows than this prove nothing.
const ESTIMATE_FLOOR: u64 = 1000;

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

/// What was found out before the dump.
struct Plan {
    facts: Facts,
    inventory: Inventory,
    client_version: String,
    /// Why each table or view is left out.
    left_out: BTreeMap<String, String>,
    with_routines: bool,
    with_binlog: bool,
    fernet: FernetProof,
    users: Vec<UserRecord>,
    warnings: Vec<String>,
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
    let arguments = flags(record.with_routines, false).chain([database.to_owned()]);
    let exec = server.exec(DUMP, arguments).await?;
    let scanned = stream(server, exec, timeouts, None).await?;
    whole(server, &scanned)?;
    Ok(scanned)
}

async fn plan(source: &DatabaseSource) -> Result<Plan> {
    let (server, database) = (&source.server, source.database.as_str());
    let facts = preflight::facts(server, database).await?;
    let inventory = preflight::inventory(server, database).await?;
    if inventory.tables.is_empty() {
        return Err(Error::new(Kind::Source, format!("{server}: database `{database}` has no tables"))
            .hint("an empty database is not taken for a backup of a site"));
    }
    let mut warnings = warnings(source, &facts, &inventory);
    let left_out = left_out(source, &inventory).await?;
    let with_binlog = facts.options.get("log_bin").is_some_and(|v| v == "ON" || v == "1")
        && match server.lines("SHOW MASTER STATUS;").await {
            Ok(_) => true,
            Err(_) => {
                warnings.push("the user may not read the binlog's position: it is not recorded".to_owned());
                false
            }
        };
    let fernet = prove(source, &inventory, &mut warnings).await;
    let users = match users::recorded(server, database).await {
        Ok(users) => users,
        Err(e) => {
            warnings.push(format!("users and grants are not recorded: {e}"));
            Vec::new()
        }
    };
    Ok(Plan {
        client_version: server.run::<&str>(DUMP_VERSION, [], "").await?.trim().to_owned(),
        // The client would end at the first routine whose body it may not see.
        with_routines: inventory.routines.values().all(|r| r.readable),
        facts,
        inventory,
        left_out,
        with_binlog,
        fernet,
        users,
        warnings,
    })
}

/// Finds what the dump would fail on: tables that cannot be opened or are damaged, views that refer to nothing.
async fn left_out(source: &DatabaseSource, inventory: &Inventory) -> Result<BTreeMap<String, String>> {
    let mut left_out: BTreeMap<String, String> =
        source.leave_out.iter().map(|name| (name.clone(), "it could not be read".to_owned())).collect();
    for (name, valid) in &inventory.views {
        if !valid {
            left_out.insert(name.clone(), "the view refers to something that is not there".to_owned());
        }
    }
    let mut suspects = Vec::new();
    for (name, table) in &inventory.tables {
        match table.engine.as_deref() {
            None => drop(left_out.insert(name.clone(), "the server cannot open it".to_owned())),
            // InnoDB recovers by itself, and its pages carry checksums.
            Some("InnoDB") => {}
            Some(_) => suspects.push(name.as_str()),
        }
    }
    suspects.retain(|name| !left_out.contains_key(*name));
    let damaged = preflight::damaged(&source.server, &source.database, &suspects).await?;
    left_out.extend(damaged.into_iter().map(|(name, said)| (name, format!("it is damaged: {said}"))));
    Ok(left_out)
}

async fn prove(source: &DatabaseSource, inventory: &Inventory, warnings: &mut Vec<String>) -> FernetProof {
    if !inventory.tables.contains_key("__Auth") {
        return FernetProof::NothingToProve;
    }
    let table = format!("{}.`__Auth`", super::connect::identifier(&source.database));
    let sql = format!("SELECT JSON_ARRAY(password) FROM {table} WHERE encrypted = 1;");
    match source.server.rows::<(Option<String>,)>(&sql).await {
        Ok(rows) => {
            let tokens = rows.iter().map(|(token,)| token.as_deref().unwrap_or_default());
            let proof = fernet::prove(source.encryption_key.as_ref(), tokens);
            match proof {
                FernetProof::Mismatch { failed, rows } => warnings.push(format!(
                    "the site's encryption_key does not open {failed} of its {rows} stored secrets"
                )),
                FernetProof::KeyMissing { rows } => warnings.push(format!(
                    "the site has {rows} stored secrets and no encryption_key that opens them"
                )),
                FernetProof::Proven { .. } | FernetProof::NothingToProve => {}
            }
            proof
        }
        Err(e) => {
            warnings.push(format!("the stored secrets could not be checked: {e}"));
            FernetProof::NothingToProve
        }
    }
}

fn warnings(source: &DatabaseSource, facts: &Facts, inventory: &Inventory) -> Vec<String> {
    let mut warnings = inventory.orphans();
    let live: Vec<&str> = inventory
        .tables
        .iter()
        .filter(|(_, t)| t.engine.as_deref().is_some_and(|e| e != "InnoDB"))
        .map(|(name, _)| name.as_str())
        .collect();
    if !live.is_empty() {
        let names = live.join(", ");
        warnings.push(format!("not InnoDB, so not of the same instant as the rest: {names}"));
    }
    for (routine, facts) in &inventory.routines {
        if facts.names_schema {
            warnings.push(format!("{routine} names its database: under another name it reaches the old one"));
        }
    }
    if let (Credentials::User { user, .. }, false) =
        (&source.server.credentials, facts.lacking_rights.is_empty())
    {
        let rights = facts.lacking_rights.join(", ");
        warnings.push(format!("user {user} lacks {rights}: what it may not see is not in the dump"));
    }
    warnings
}

fn flags(with_routines: bool, with_binlog: bool) -> impl Iterator<Item = String> {
    let binlog = ["--master-data=2", "--gtid"].iter().filter(move |_| with_binlog);
    let routines = ["--routines"].iter().filter(move |_| with_routines);
    FLAGS.iter().chain(routines).chain(binlog).map(|f| (*f).to_owned())
}

fn arguments(database: &str, plan: &Plan) -> Vec<String> {
    let ignored = plan.left_out.keys().map(|name| format!("--ignore-table={database}.{name}"));
    flags(plan.with_routines, plan.with_binlog).chain(ignored).chain([database.to_owned()]).collect()
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

fn whole(server: &Server, scanned: &Scanned) -> Result<()> {
    let end = match (scanned.header, scanned.trailer) {
        (true, true) => return Ok(()),
        (false, _) => "does not begin as a dump",
        (true, false) => "ends without its trailer",
    };
    let bytes = scanned.size_bytes;
    Err(Error::new(Kind::Source, format!("{server}: the dump of {bytes} bytes {end}"))
        .caused_by(Retry::Again))
}

/// Compares what the stream holds with what the server named before; returns what it lacks.
fn compare(server: &Server, plan: &Plan, scanned: &Scanned) -> Result<Vec<String>> {
    let Plan { inventory, left_out, .. } = plan;
    let mut missing: Vec<String> = Vec::new();
    let tables = inventory.tables.keys().filter(|n| !scanned.tables.contains_key(*n));
    let views = inventory.views.keys().filter(|n| !scanned.views.contains(*n));
    missing.extend(tables.chain(views).filter(|n| !left_out.contains_key(*n)).cloned());
    missing.extend(inventory.sequences.difference(&scanned.sequences).cloned());
    if !missing.is_empty() {
        let names = missing.join(", ");
        return Err(
            Error::new(Kind::Source, format!("{server}: the dump lacks {names}")).caused_by(Retry::Again)
        );
    }
    let mut lacks: Vec<String> = left_out.iter().map(|(name, why)| format!("table {name}: {why}")).collect();
    let versioned = inventory.tables.iter().filter(|(_, t)| t.versioned);
    lacks.extend(versioned.map(|(name, _)| format!("history of table {name}: its client does not dump it")));
    let routines = inventory.routines.keys().filter(|r| !scanned.routines.contains(&r.to_string()));
    lacks.extend(routines.map(|r| format!("{r}: the user may not read it")));
    let events = inventory.events.keys().filter(|e| !scanned.events.contains(*e));
    lacks.extend(events.map(|e| format!("event {e}: it is not in the dump")));
    let expected = inventory.triggers.values().filter(|t| !left_out.contains_key(&t.table)).count();
    if scanned.triggers < expected {
        lacks.push(format!("triggers: {} of {expected} are in the dump", scanned.triggers));
    }
    Ok(lacks)
}

/// Holds the counted rows against the server's own estimates, which may be half or twice the truth.
fn too_few_rows(
    inventory: &Inventory,
    scanned: &Scanned,
    left_out: &BTreeMap<String, String>,
    server: &Server,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let (mut estimated, mut counted) = (0, 0);
    for (name, table) in inventory.tables.iter().filter(|(n, _)| !left_out.contains_key(*n)) {
        let Some(Some(rows)) = scanned.tables.get(name) else { continue };
        estimated += table.rows_estimate;
        counted += rows;
        if *rows == 0 && table.rows_estimate >= ESTIMATE_FLOOR {
            warnings.push(format!("table {name} is empty; the server expected {} rows", table.rows_estimate));
        }
    }
    if estimated >= ESTIMATE_FLOOR && counted < estimated / 10 {
        return Err(Error::new(
            Kind::Source,
            format!("{server}: the dump holds {counted} rows, the server expected about {estimated}"),
        )
        .caused_by(Retry::Again));
    }
    Ok(warnings)
}

fn record(database: String, plan: Plan, scanned: Scanned) -> Result<serde_json::Value> {
    let body_sha256 =
        scanned.body_sha256.ok_or_else(|| Error::new(Kind::Bug, "a whole dump without a digest"))?;
    let Plan { facts, inventory, left_out, .. } = plan;
    let table = |name: &String| TableRecord {
        engine: inventory.tables.get(name).and_then(|t| t.engine.clone()).unwrap_or_default(),
        rows: scanned.tables.get(name).copied().flatten(),
    };
    let kept = |names: BTreeSet<String>| names.into_iter().collect();
    let record = DatabaseRecord {
        database,
        server_version: facts.version,
        client_version: plan.client_version,
        charset: facts.charset,
        collation: facts.collation,
        options: facts.options,
        tables: scanned.tables.keys().map(|name| (name.clone(), table(name))).collect(),
        sequences: kept(scanned.sequences),
        views: kept(scanned.views),
        triggers: inventory
            .triggers
            .iter()
            .filter(|(_, t)| !left_out.contains_key(&t.table))
            .map(|(name, _)| name.clone())
            .collect(),
        routines: inventory
            .routines
            .keys()
            .filter(|r| scanned.routines.contains(&r.to_string()))
            .cloned()
            .collect(),
        events: kept(scanned.events),
        binlog: scanned.binlog,
        body_sha256,
        with_routines: plan.with_routines,
        size_bytes: scanned.size_bytes,
        users: plan.users,
        fernet: plan.fernet,
    };
    serde_json::to_value(record).context(Kind::Bug, "record of a database")
}
