//! What is found out before a dump, and what the dump is then asked for.

use std::collections::BTreeMap;

use super::preflight::{self, Facts, Inventory};
use super::{Credentials, DatabaseSource, Server, UserRecord, replica, users};
use crate::component::fernet::{self, FernetProof};
use crate::error::{Error, Kind, Result};

const DUMP_VERSION: &str = "\"$(command -v mariadb-dump || command -v mysqldump)\" --version";

/// One snapshot without locks, every kind of object, any row's length, and the same bytes for the same data.
/// No `--databases`: its `CREATE DATABASE` and `USE` would load a copy over the original.
const FLAGS: &[&str] = &[
    "--single-transaction",
    "--quick",
    "--triggers",
    "--hex-blob",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
    "--skip-dump-date",
];

/// How far a replica may be behind before a backup of it says so, and before it is none, in seconds.
const SOME_LAG_S: u64 = 60;
const MOST_LAG_S: u64 = 600;

const UNOPENED: &str = "the server cannot open it: CHECK TABLE says why, REPAIR TABLE may help";

/// What a dump is asked for besides tables, views and triggers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) routines: bool,
    pub(super) events: bool,
    pub(super) binlog: bool,
}

/// What was found out before the dump.
pub(super) struct Plan {
    pub(super) facts: Facts,
    pub(super) inventory: Inventory,
    pub(super) client_version: String,
    /// Why each table or view is left out.
    pub(super) left_out: BTreeMap<String, String>,
    pub(super) shape: Shape,
    pub(super) fernet: FernetProof,
    pub(super) users: Vec<UserRecord>,
    pub(super) warnings: Vec<String>,
}

pub(super) async fn plan(source: &DatabaseSource) -> Result<Plan> {
    let (server, database) = (&source.server, source.database.as_str());
    let facts = preflight::facts(server, database).await?;
    let behind = follows_closely(server).await?;
    let inventory = preflight::inventory(server, database).await?;
    if inventory.tables.is_empty() {
        return Err(Error::new(Kind::Source, format!("{server}: database `{database}` has no tables"))
            .hint("an empty database is not taken for a backup of a site"));
    }
    let mut warnings = warnings(source, &facts, &inventory);
    warnings.extend(behind);
    let left_out = left_out(source, &inventory).await?;
    let shape = shape(server, database, &facts, &inventory, &mut warnings).await;
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
        facts,
        inventory,
        left_out,
        shape,
        fernet,
        users,
        warnings,
    })
}

/// Makes sure that a replica has what the server holds that it follows; returns what is to be said of its lag.
///
/// A dump of one that stands still would be old however young its snapshot is.
async fn follows_closely(server: &Server) -> Result<Option<String>> {
    // Whoever may not ask is no administrator, and then the operator chose an ordinary server's account.
    let Ok(Some(seen)) = replica::replication(server, replica::LOOK_LIMIT).await else { return Ok(None) };
    let refused = |what: String| {
        Err(Error::new(
            Kind::Source,
            format!("{server} is a replica {what}: its data is older than a backup may be"),
        )
        .hint("`lifeboat health` says why; [database] container may name the server that it follows"))
    };
    match (seen.broken(), seen.behind_seconds.unwrap_or_default()) {
        (Some(why), _) => refused(format!("that does not follow {}: {why}", seen.source)),
        (None, behind) if behind > MOST_LAG_S => refused(format!("{behind} s behind {}", seen.source)),
        (None, behind) if behind > SOME_LAG_S => {
            Ok(Some(format!("{server} is {behind} s behind {}, and so is this backup", seen.source)))
        }
        (None, _) => Ok(None),
    }
}

/// Finds what the user may ask for: the client would end at the first routine, event or position it may not see.
async fn shape(
    server: &Server,
    database: &str,
    facts: &Facts,
    inventory: &Inventory,
    warnings: &mut Vec<String>,
) -> Shape {
    let logs = facts.options.get("log_bin").is_some_and(|v| v == "ON" || v == "1");
    let binlog = logs && server.lines("SHOW MASTER STATUS;").await.is_ok();
    if logs && !binlog {
        warnings.push("the user may not read the binlog's position: it is not recorded".to_owned());
    }
    let events = format!("SHOW EVENTS FROM {};", super::connect::identifier(database));
    Shape {
        routines: inventory.routines.values().all(|r| r.readable),
        events: server.lines(&events).await.is_ok(),
        binlog,
    }
}

/// Finds what the dump would fail on: tables that cannot be opened or are damaged, views that refer to nothing.
async fn left_out(source: &DatabaseSource, inventory: &Inventory) -> Result<BTreeMap<String, String>> {
    let mut left_out: BTreeMap<String, String> =
        source.leave_out.iter().map(|name| (name.clone(), "it could not be read".to_owned())).collect();
    for (name, view) in &inventory.views {
        if let Some(fault) = view.fault {
            left_out.insert(name.clone(), fault.to_owned());
        }
    }
    let mut suspects = Vec::new();
    for (name, table) in &inventory.tables {
        match table.engine.as_deref() {
            None => drop(left_out.insert(name.clone(), UNOPENED.to_owned())),
            // InnoDB recovers by itself, and its pages carry checksums.
            Some("InnoDB") => {}
            Some(_) => suspects.push(name.as_str()),
        }
    }
    suspects.retain(|name| !left_out.contains_key(*name));
    let damaged = preflight::damaged(&source.server, &source.database, &suspects).await?;
    left_out.extend(damaged.into_iter().map(|(name, said)| (name, repair(&said))));
    Ok(left_out)
}

fn repair(said: &str) -> String {
    let said: Vec<&str> = said.split_whitespace().collect();
    format!("it is damaged ({}): run REPAIR TABLE on it", said.join(" "))
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
    let mut warnings: Vec<String> = inventory.orphans().iter().map(ToString::to_string).collect();
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
    let names = inventory.names.iter();
    warnings
        .extend(names.map(|o| format!("{o} names its database: under another name it reaches the old one")));
    if let (Credentials::User { user, .. }, false) =
        (&source.server.credentials, facts.lacking_rights.is_empty())
    {
        let rights = facts.lacking_rights.join(", ");
        warnings.push(format!("user {user} lacks {rights}: what it may not see is not in the dump"));
    }
    warnings
}

pub(super) fn flags(shape: Shape) -> impl Iterator<Item = String> {
    let binlog = ["--master-data=2", "--gtid"].iter().filter(move |_| shape.binlog);
    let routines = ["--routines"].iter().filter(move |_| shape.routines);
    let events = ["--events"].iter().filter(move |_| shape.events);
    FLAGS.iter().chain(routines).chain(events).chain(binlog).map(|f| (*f).to_owned())
}

pub(super) fn arguments(database: &str, plan: &Plan) -> Vec<String> {
    let ignored = plan.left_out.keys().map(|name| format!("--ignore-table={database}.{name}"));
    flags(plan.shape).chain(ignored).chain([database.to_owned()]).collect()
}
