//! Whether a dump is whole: held against what the server named before, and what it estimated.

use std::collections::{BTreeMap, BTreeSet};

use super::fault::Retry;
use super::plan::Plan;
use super::preflight::Inventory;
use super::scan::Scanned;
use super::{DatabaseRecord, Server, TableRecord};
use crate::error::{Context, Error, Kind, Result};

/// Fewer estimated rows than this prove nothing.
const ESTIMATE_FLOOR: u64 = 1000;

pub(super) fn whole(server: &Server, scanned: &Scanned) -> Result<()> {
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
pub(super) fn compare(server: &Server, plan: &Plan, scanned: &Scanned) -> Result<Vec<String>> {
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
    let kind = |name: &String| if inventory.views.contains_key(name) { "view" } else { "table" };
    let mut lacks: Vec<String> =
        left_out.iter().map(|(name, why)| format!("{} {name}: {why}", kind(name))).collect();
    let versioned = inventory.tables.iter().filter(|(_, t)| t.versioned);
    lacks.extend(versioned.map(|(name, _)| format!("history of table {name}: its client does not dump it")));
    let routines = inventory.routines.keys().filter(|r| !scanned.routines.contains(&r.to_string()));
    lacks.extend(routines.map(|r| format!("{r}: the user may not read it")));
    let events = inventory.events.keys().filter(|e| !scanned.events.contains(*e));
    lacks.extend(events.map(|e| format!("event {e}: it is not in the dump")));
    if !plan.shape.events {
        lacks.push("events: the user may not see them".to_owned());
    }
    let expected = inventory.triggers.values().filter(|t| !left_out.contains_key(&t.table)).count();
    if scanned.triggers < expected {
        lacks.push(format!("triggers: {} of {expected} are in the dump", scanned.triggers));
    }
    Ok(lacks)
}

/// Holds the counted rows against the server's own estimates, which may be half or twice the truth.
pub(super) fn too_few_rows(
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

pub(super) fn record(database: String, plan: Plan, scanned: Scanned) -> Result<serde_json::Value> {
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
        names_schema: inventory.names.clone(),
        definers: inventory.definers(),
        binlog: scanned.binlog,
        body_sha256,
        with_routines: plan.shape.routines,
        with_events: plan.shape.events,
        size_bytes: scanned.size_bytes,
        users: plan.users,
        fernet: plan.fernet,
    };
    serde_json::to_value(record).context(Kind::Bug, "record of a database")
}
