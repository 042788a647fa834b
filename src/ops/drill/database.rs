//! The database of a drill: loaded into a fresh server, dumped again with the same flags, compared.

use std::time::{Duration, Instant};

use crate::component::mariadb::{self, Credentials, DatabaseRecord, LoadOptions, Server, Timeouts};
use crate::error::Result;
use crate::host::ContainerSpec;
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::record::Envelope;
use crate::ops::restore::Opened;
use crate::repo::manifest::State;

use super::bench::{Bench, random_password, variable};
use super::checks::Findings;

/// How long a fresh server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Finds a component's envelope in a snapshot, unless it failed.
pub(super) fn envelope(opened: &Opened, component: ComponentName) -> Result<Option<Envelope>> {
    let found =
        opened.reader.components().iter().find(|c| c.component == component && c.state != State::Failed);
    found.map(|c| Envelope::parse(&c.record)).transpose()
}

/// Loads the database into a fresh server and proves it equal.
pub(super) async fn drill(
    appliance: &Appliance,
    opened: &Opened,
    bench: &Bench,
    findings: &mut Findings,
) -> Result<()> {
    let Some(envelope) = envelope(opened, ComponentName::Database)? else { return Ok(()) };
    let record: DatabaseRecord = super::own(&envelope)?;
    findings.version("MariaDB", record.server_version.clone());
    let Some(recorded) = &envelope.container else {
        findings.failed("database", "the manifest does not say which container held it");
        return Ok(());
    };
    let monitor = &appliance.around.monitor;
    monitor.step("drill: start MariaDB");
    let clock = Instant::now();
    let started = start(bench, recorded).await;
    findings.phase_since("start MariaDB", clock);
    let Some(server) = findings.step("database", started) else { return Ok(()) };

    monitor.step("drill: load database");
    let clock = Instant::now();
    let loaded = load(opened, &server, &record).await;
    findings.phase_since("load database", clock);
    let Some(loaded) = findings.step("database loaded", loaded) else { return Ok(()) };
    let same = loaded.scanned.body_sha256 == Some(record.body_sha256);
    findings.check(
        "database loaded",
        same,
        format!("{} tables, {} bytes", record.tables.len(), record.size_bytes),
    );
    if !loaded.orphans.is_empty() {
        findings.skipped("definers", format!("do not exist here: {}", loaded.orphans.join(", ")));
    }

    monitor.step("drill: dump database again");
    let clock = Instant::now();
    let second = mariadb::dump_body_digest(&server, &record.database, &record, Timeouts::default()).await;
    findings.phase_since("dump database again", clock);
    if let Some(second) = findings.step("second dump equal", second) {
        let equal = second.body_sha256 == Some(record.body_sha256);
        findings.check(
            "second dump equal",
            equal,
            format!("SHA-256 of the body {}", record.body_sha256.short()),
        );
    }
    super::site::database_checks(opened, &server, &record, findings).await
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
    Ok(server)
}

async fn load(opened: &Opened, server: &Server, record: &DatabaseRecord) -> Result<mariadb::Loaded> {
    let options = LoadOptions {
        charset: record.charset.clone(),
        collation: record.collation.clone(),
        timeouts: Timeouts::default(),
    };
    let source = opened.reader.stream(ComponentName::Database, mariadb::STREAM)?;
    mariadb::load(server, &record.database, Box::pin(source), &options).await
}
