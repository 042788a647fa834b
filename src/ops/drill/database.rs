//! The database of a drill: loaded into a fresh server, dumped again with the same flags, compared.

use std::time::{Duration, Instant};

use crate::component::mariadb::{self, Credentials, DatabaseRecord, LoadOptions, Scanned, Server, Timeouts};
use crate::error::{Result, counted};
use crate::host::ContainerSpec;
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;

use super::bench::{Bench, random_password, variable};
use super::checks::Findings;

/// How long a fresh server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// A database that was loaded.
#[derive(Debug)]
pub(super) struct LoadedDatabase {
    pub server: Server,
    pub record: DatabaseRecord,
}

/// Loads the database into a fresh server and proves it equal; returns it where it is loaded.
pub(super) async fn drill(
    appliance: &Appliance,
    opened: &Opened,
    bench: &Bench,
    findings: &mut Findings,
) -> Result<Option<LoadedDatabase>> {
    let Some(envelope) = opened.envelope(ComponentName::Database)? else { return Ok(None) };
    let record: DatabaseRecord = envelope.own()?;
    findings.version("MariaDB", record.server_version.clone());
    let Some(recorded) = &envelope.container else {
        findings.failed("database", "the manifest does not say which container held it");
        return Ok(None);
    };
    let monitor = &appliance.around.monitor;
    monitor.step("drill: start MariaDB");
    let clock = Instant::now();
    let started = start(bench, recorded).await;
    findings.phase_since("start MariaDB", clock);
    let Some(server) = findings.step("database", started) else { return Ok(None) };

    monitor.step("drill: load database");
    let clock = Instant::now();
    let mut lent = mariadb::lend(&server, &record.database, &record.definers).await;
    let loaded = load(opened, &server, &record).await;
    lent.take_back_unable(&server, &record.definers).await;
    findings.phase_since("load database", clock);
    let Some(loaded) = findings.step("database loaded", loaded) else { return Ok(None) };
    judge(&record, &loaded, findings);

    monitor.step("drill: dump database again");
    let clock = Instant::now();
    let second = mariadb::dump_body_digest(&server, &record.database, &record, Timeouts::default()).await;
    findings.proof_since("dump database again", clock);
    if let Some(second) = findings.step("second dump equal", second) {
        compare(&record, &second, findings);
    }
    super::site::database_checks(opened, &server, &record, findings).await?;
    Ok(Some(LoadedDatabase { server, record }))
}

/// Compares the second dump with the first; where they differ, says in which tables, as far as rows tell.
fn compare(record: &DatabaseRecord, second: &Scanned, findings: &mut Findings) {
    let name = "second dump equal";
    if second.body_sha256 == Some(record.body_sha256) {
        return findings.passed(name, format!("SHA-256 of the body {}", record.body_sha256.short()));
    }
    let differing = record.tables.iter().filter_map(|(table, there)| {
        let now = second.tables.get(table).copied().flatten();
        let was = there.rows?;
        (now != Some(was)).then(|| match now {
            Some(now) => format!("table {table} has {}, {was} were backed up", counted(now, "row")),
            None => format!("table {table} is not there, {} were backed up", counted(was, "row")),
        })
    });
    let differing: Vec<String> = differing.collect();
    let seen = match differing.split_first() {
        None => "as many rows in each table, but not the same".to_owned(),
        Some((first, [])) => first.clone(),
        Some((first, rest)) => format!("{first}; {} more differ", counted(rest.len(), "table")),
    };
    findings.failed(name, seen);
}

/// Judges what was loaded, as far as a restore beside the living database depends on it too.
fn judge(record: &DatabaseRecord, loaded: &mariadb::Loaded, findings: &mut Findings) {
    let same = loaded.scanned.body_sha256 == Some(record.body_sha256);
    let seen = format!("{}, {} bytes", counted(record.tables.len(), "table"), record.size_bytes);
    findings.check("database loaded", same, seen);
    // Whoever was there when it was dumped is lacking in this fresh server only.
    let gone = |o: &&mariadb::Orphan| !record.definers.iter().any(|d| d.able && d.account == o.definer);
    let orphans: Vec<String> = loaded.orphans.iter().filter(gone).map(ToString::to_string).collect();
    if !orphans.is_empty() {
        findings.skipped("definers", format!("do not exist here: {}", orphans.join(", ")));
    }
    if !record.views.is_empty() {
        let stuck = loaded.stuck.join(", ");
        let seen = match stuck.is_empty() {
            true => "each is loaded under any database's name".to_owned(),
            false => format!(
                "a restore beside the living database would fail: {stuck} calls a table or an alias {} as the database",
                record.database
            ),
        };
        findings.check("views under another name", stuck.is_empty(), seen);
    }
    if !loaded.names_dumped.is_empty() {
        let names = loaded.names_dumped.join(", ");
        let why = format!(
            "database {} is named by {names}: under another name they reach the old one",
            record.database
        );
        findings.skipped("bodies under another name", why);
    }
}

/// Starts a fresh server of the recorded image with the recorded settings and a random password.
async fn start(bench: &Bench, recorded: &ContainerSpec) -> Result<Server> {
    let mut spec = bench.fresh("db", recorded);
    let password = random_password();
    spec.environment =
        vec![variable("MARIADB_ROOT_PASSWORD", &password), variable("MYSQL_ROOT_PASSWORD", &password)];
    bench.docker.create(&spec).await?;
    bench.docker.start(&spec.name).await?;
    let server =
        Server { docker: bench.docker.clone(), container: spec.name, credentials: Credentials::Container };
    mariadb::wait_ready(&server, READY_LIMIT).await?;
    mariadb::take_writes(&server).await?;
    Ok(server)
}

async fn load(opened: &Opened, server: &Server, record: &DatabaseRecord) -> Result<mariadb::Loaded> {
    let source = opened.reader.stream(ComponentName::Database, mariadb::STREAM)?;
    mariadb::load(server, &record.database, Box::pin(source), &LoadOptions::of(record)).await
}
