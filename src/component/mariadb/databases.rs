//! Databases as wholes: waiting for their server, dropping them, exchanging one for another.

use crate::component::fernet::{self, FernetProof};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::{identifier, literal};
use super::{Server, preflight};
use crate::error::{Error, Kind, Result};

/// What an exchange did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swapped {
    /// The database that holds what was live before.
    pub aside: String,
    /// Tables and sequences moved aside.
    pub moved_aside: usize,
    /// Tables and sequences that are live now.
    pub moved_in: usize,
}

/// Waits until the server answers a query, as it does some seconds after its container started.
pub async fn wait_ready(server: &Server, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let error = match server.lines("SELECT 1;").await {
            Ok(_) => return Ok(()),
            Err(e) => e,
        };
        let running = server.docker.state(&server.container).await?.is_some_and(|s| s.is_running());
        if !running || Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Tells whether the server has a database of this name.
pub async fn database_exists(server: &Server, database: &str) -> Result<bool> {
    let sql = format!(
        "SELECT JSON_ARRAY(COUNT(*)) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {};",
        literal(database)
    );
    Ok(server.rows::<(u64,)>(&sql).await?.first().is_some_and(|(n,)| *n > 0))
}

/// Tells whether a database is there and holds any table.
pub async fn has_tables(server: &Server, database: &str) -> Result<bool> {
    let sql = format!(
        "SELECT JSON_ARRAY(COUNT(*)) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {};",
        literal(database)
    );
    Ok(server.rows::<(u64,)>(&sql).await?.first().is_some_and(|(n,)| *n > 0))
}

/// Compares a database's stored secrets with the site's `encryption_key`; a fault to read them is an error.
pub async fn prove_encryption_key(
    server: &Server,
    database: &str,
    key: Option<&secrecy::SecretString>,
) -> Result<FernetProof> {
    let there = format!(
        "SELECT JSON_ARRAY(COUNT(*)) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = '__Auth';",
        literal(database)
    );
    if server.rows::<(u64,)>(&there).await?.first().is_none_or(|(n,)| *n == 0) {
        return Ok(FernetProof::NothingToProve);
    }
    let sql =
        format!("SELECT JSON_ARRAY(password) FROM {}.`__Auth` WHERE encrypted = 1;", identifier(database));
    let rows = server.rows::<(Option<String>,)>(&sql).await?;
    Ok(fernet::prove(key, rows.iter().map(|(token,)| token.as_deref().unwrap_or_default())))
}

/// Ends all live logins of a site's copy, so that no session of the original opens it.
pub async fn end_sessions(server: &Server, database: &str) -> Result<()> {
    let there = format!(
        "SELECT JSON_ARRAY(COUNT(*)) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = 'tabSessions';",
        literal(database)
    );
    if server.rows::<(u64,)>(&there).await?.first().is_some_and(|(n,)| *n > 0) {
        server.lines(&format!("DELETE FROM {}.`tabSessions`;", identifier(database))).await?;
    }
    Ok(())
}

/// Drops a database and all in it; one that is not there counts as dropped.
pub async fn drop_database(server: &Server, database: &str) -> Result<()> {
    server.lines(&format!("DROP DATABASE IF EXISTS {};", identifier(database))).await?;
    Ok(())
}

/// Drops a database and the connections that work in it; one that is not there counts as dropped.
///
/// A client that outlived the program which fed it would go on loading into the next database of that name.
pub async fn empty_out(server: &Server, database: &str) -> Result<()> {
    let name = literal(database);
    let working = format!("SELECT JSON_ARRAY(ID) FROM information_schema.PROCESSLIST WHERE DB = {name};");
    for (id,) in server.rows::<(u64,)>(&working).await? {
        // It may have ended by itself.
        server.lines(&format!("KILL {id};")).await.ok();
    }
    drop_database(server, database).await
}

/// Drops a database as [`empty_out`] does, and the rights on it.
pub async fn remove_database(server: &Server, database: &str) -> Result<()> {
    empty_out(server, database).await?;
    let name = literal(database);
    let escaped = literal(&database.replace('_', "\\_").replace('%', "\\%"));
    let rights = format!("SELECT JSON_ARRAY(User, Host, Db) FROM mysql.db WHERE Db IN ({name}, {escaped});");
    for (user, host, given) in server.rows::<(String, String, String)>(&rights).await? {
        let sql = format!(
            "REVOKE ALL PRIVILEGES ON {}.* FROM {}@{};",
            identifier(&given),
            literal(&user),
            literal(&host)
        );
        server.lines(&sql).await?;
    }
    Ok(())
}

/// Returns how many bytes the tables of a database take, by the server's estimate.
pub async fn database_bytes(server: &Server, database: &str) -> Result<u64> {
    let sql = format!(
        "SELECT JSON_ARRAY(CAST(COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) AS UNSIGNED)) FROM information_schema.TABLES
         WHERE TABLE_SCHEMA = {};",
        literal(database)
    );
    Ok(server.rows::<(u64,)>(&sql).await?.first().map_or(0, |(n,)| *n))
}

/// Returns the server's version, such as `10.11.19-MariaDB`.
pub async fn server_version(server: &Server) -> Result<String> {
    let rows: Vec<(String,)> = server.rows("SELECT JSON_ARRAY(VERSION());").await?;
    rows.into_iter()
        .next()
        .map(|(v,)| v)
        .ok_or_else(|| Error::new(Kind::Source, format!("{server} tells no version")))
}

/// Fails with [`Kind::Conflict`] where a database holds a view, trigger, routine or event, which [`swap`] cannot move.
pub async fn refuse_immovable(server: &Server, database: &str) -> Result<()> {
    movable(server, database, &preflight::inventory(server, database).await?)
}

fn movable(server: &Server, database: &str, inventory: &preflight::Inventory) -> Result<()> {
    let mut fixed: Vec<String> = inventory.triggers.keys().map(|n| format!("trigger {n}")).collect();
    fixed.extend(inventory.views.keys().map(|n| format!("view {n}")));
    fixed.extend(inventory.routines.keys().map(ToString::to_string));
    fixed.extend(inventory.events.keys().map(|n| format!("event {n}")));
    let Some(first) = fixed.first() else { return Ok(()) };
    let more = match fixed.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let what = format!("{server}: `{database}` holds what cannot be moved: {first}{more}");
    Err(Error::new(Kind::Conflict, what))
}

/// Puts what `staged` holds in the place of what `live` holds, which moves to the new database `aside`, in one
/// `RENAME TABLE`: the site sees all of the old or all of the new. `staged` is dropped.
///
/// MariaDB moves tables and sequences between databases, but no view, trigger, routine or event. Where either
/// database has one, this fails with [`Kind::Conflict`] and has changed nothing: the site is then to be pointed at
/// `staged` by its configuration.
pub async fn swap(server: &Server, live: &str, staged: &str, aside: &str) -> Result<Swapped> {
    let (old, new) = (preflight::inventory(server, live).await?, preflight::inventory(server, staged).await?);
    if new.tables.is_empty() {
        return Err(Error::new(
            Kind::NotFound,
            format!("{server}: `{staged}` holds nothing to put in place"),
        ));
    }
    movable(server, live, &old)?;
    movable(server, staged, &new)?;
    let moves = |inventory: &preflight::Inventory, from: &str, to: &str| -> Vec<String> {
        let names = inventory.tables.keys().chain(&inventory.sequences);
        names
            .map(|n| {
                format!("{}.{} TO {}.{}", identifier(from), identifier(n), identifier(to), identifier(n))
            })
            .collect()
    };
    let (out, into) = (moves(&old, live, aside), moves(&new, staged, live));
    let schema = preflight::facts(server, live).await?;
    let mut sql = format!(
        "CREATE DATABASE {} CHARACTER SET {} COLLATE {};\n",
        identifier(aside),
        literal(&schema.charset),
        literal(&schema.collation)
    );
    let all: Vec<String> = out.iter().chain(&into).cloned().collect();
    if !all.is_empty() {
        sql.push_str(&format!("RENAME TABLE {};\n", all.join(", ")));
    }
    if let Err(e) = server.lines(&sql).await {
        // Only what this call made, and only while nothing was moved there.
        if preflight::inventory(server, aside).await.is_ok_and(|i| i.tables.is_empty())
            && e.kind() != Kind::Conflict
        {
            drop_database(server, aside).await.ok();
        }
        return Err(e);
    }
    drop_database(server, staged).await?;
    Ok(Swapped { aside: aside.to_owned(), moved_aside: out.len(), moved_in: into.len() })
}
