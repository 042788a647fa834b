//! What the restored data says of itself, before anything has written to it: sequences, uploads, the ledger.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};

use crate::component::frappe::Place;
use crate::component::mariadb::{self, Ledger, SequenceUse, StoredFile};
use crate::config::{Ask, OwnCheck};
use crate::error::{Context, Kind, Result, counted};
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;

use super::checks::Findings;
use super::database::LoadedDatabase;
use super::site::SiteFolder;

/// The longest an operator's own query may take.
const QUERY_LIMIT: Duration = Duration::from_secs(300);

/// How much is read of a file at once.
const READ_BYTES: usize = 256 * 1024;

/// How many faults are named.
const NAMED: usize = 3;

/// Checks the loaded database, and the files that it names.
pub(super) async fn drill(
    appliance: &Appliance,
    opened: &Opened,
    database: &LoadedDatabase,
    site: Option<&SiteFolder>,
    findings: &mut Findings,
) -> Result<()> {
    appliance.around.monitor.step("drill: check data");
    let clock = Instant::now();
    let (server, name) = (&database.server, &database.record.database);
    let found = mariadb::sequences(server, &database.record).await;
    if let Some(found) = findings.step("sequences", found) {
        judge_sequences(&found, findings);
    }
    let rows = mariadb::stored_files(server, name).await;
    match (findings.step("File rows", rows).flatten(), site) {
        (Some(rows), Some(site)) => {
            let host = super::site::site_config(opened).await.ok();
            let host = host.and_then(|c| c.host_name().map(str::to_owned));
            let folder = site.folder();
            let compared = tokio::task::spawn_blocking(move || compare(&rows, host.as_deref(), &folder));
            let compared = compared.await.context(Kind::Bug, "comparison of files")?;
            if let Some(compared) = findings.step("File rows", compared) {
                judge_files(&compared, findings);
            }
        }
        (Some(_), None) => findings.skipped("File rows", "the site's files are not there"),
        (None, _) => {}
    }
    let ledger = mariadb::ledger(server, name).await;
    match findings.step("ledger", ledger) {
        Some(Some(ledger)) => {
            judge_ledger(&ledger, findings);
            let within = appliance
                .config
                .tenant(&opened.committed.receipt.tenant)
                .ok()
                .and_then(|t| t.policy.drilling.ledger_within);
            judge_newest(&ledger, opened.committed.receipt.finished, within, findings);
        }
        Some(None) => findings.skipped("ledger", "the database has no `tabGL Entry`"),
        None => {}
    }
    findings.proof_since("check data", clock);
    Ok(())
}

fn judge_sequences(found: &[SequenceUse], findings: &mut Findings) {
    let behind: Vec<String> = found
        .iter()
        .filter_map(|s| {
            let used = s.used.filter(|used| *used >= s.next)?;
            Some(format!("{} goes on with {}, and `{}` holds {used} already", s.sequence, s.next, s.table))
        })
        .collect();
    match behind.is_empty() {
        true if found.is_empty() => findings.skipped("sequences", "none gives names to a table"),
        true => {
            findings.passed("sequences", format!("{} above what is used", counted(found.len(), "sequence")))
        }
        false => findings.failed("sequences", behind.join("; ")),
    }
}

/// What became of the File rows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    rows: usize,
    hashed: usize,
    elsewhere: usize,
    missing: Vec<String>,
    other: Vec<String>,
}

fn compare(rows: &[StoredFile], host: Option<&str>, folder: &Path) -> Result<Compared> {
    let folder = folder.canonicalize().context(Kind::Io, "site folder of the copy")?;
    let mut all = Compared::default();
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for file in rows {
        let path = match file.row.place(host) {
            Place::Here(path) => path,
            Place::Elsewhere => {
                all.elsewhere += 1;
                continue;
            }
            Place::Nowhere => continue,
        };
        all.rows += 1;
        if !known.contains_key(&path) {
            known.insert(path.clone(), md5_of(&folder, &path)?);
        }
        let named = || format!("{path} (File {})", file.row.name);
        match known.get(&path).and_then(Option::as_ref) {
            None => all.missing.push(named()),
            Some(_) if file.md5.is_empty() => {}
            Some(md5) if *md5 == file.md5 => all.hashed += 1,
            Some(_) => all.other.push(named()),
        }
    }
    Ok(all)
}

/// Returns the MD5 of a regular file below a folder; none where there is none, or where its path leads out of the folder.
fn md5_of(folder: &Path, path: &str) -> Result<Option<String>> {
    let Ok(path) = folder.join(path).canonicalize() else { return Ok(None) };
    if !path.starts_with(folder) || !path.is_file() {
        return Ok(None);
    }
    let mut file = std::fs::File::open(&path).context(Kind::Io, path.display())?;
    let (mut hasher, mut buffer) = (Md5::new(), vec![0; READ_BYTES]);
    loop {
        let n = file.read(&mut buffer).context(Kind::Io, path.display())?;
        if n == 0 {
            return Ok(Some(hex::encode(hasher.finalize())));
        }
        hasher.update(&buffer[..n]);
    }
}

fn judge_files(found: &Compared, findings: &mut Findings) {
    let name = "File rows";
    let some = |all: &[String]| {
        let more = all.len().saturating_sub(NAMED);
        let first = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if more == 0 { first } else { format!("{first} and {more} more") }
    };
    let mut wrong = Vec::new();
    if !found.missing.is_empty() {
        wrong.push(format!(
            "{} of {} without its file: {}",
            found.missing.len(),
            counted(found.rows, "File row"),
            some(&found.missing)
        ));
    }
    if !found.other.is_empty() {
        wrong.push(format!(
            "{} with another content than Frappe noted: {}",
            counted(found.other.len(), "file"),
            some(&found.other)
        ));
    }
    if !wrong.is_empty() {
        return findings.failed(name, wrong.join("; "));
    }
    let elsewhere = match found.elsewhere {
        0 => String::new(),
        n => format!("; {n} lie elsewhere and are not checked"),
    };
    findings.passed(
        name,
        format!(
            "{}, each with its file, {} with the MD5 that Frappe noted{elsewhere}",
            counted(found.rows, "row"),
            found.hashed
        ),
    );
}

fn judge_ledger(ledger: &Ledger, findings: &mut Findings) {
    let seen = format!(
        "{}, debit {}, credit {}",
        counted(ledger.entries, "entry").replace("entrys", "entries"),
        ledger.debit,
        ledger.credit
    );
    match ledger.unbalanced.first() {
        None => findings.passed("ledger", format!("each voucher balances: {seen}")),
        Some((voucher, by)) => findings.failed(
            "ledger",
            format!(
                "{} not balance, the first {voucher} by {by}; {seen}",
                match ledger.unbalanced_count {
                    1 => "1 voucher does".to_owned(),
                    n => format!("{n} vouchers do"),
                }
            ),
        ),
    }
}

/// Compares the newest entry with the snapshot's time; only a policy says how old it may be.
fn judge_newest(ledger: &Ledger, taken: Timestamp, within: Option<Duration>, findings: &mut Findings) {
    let name = "newest ledger entry";
    let Some(text) = &ledger.newest else { return findings.skipped(name, "the ledger is empty") };
    let zone = ledger.time_zone.as_deref().and_then(|z| TimeZone::get(z).ok());
    let (zone, known) = zone.map_or((TimeZone::UTC, false), |zone| (zone, true));
    let at = text.parse::<DateTime>().ok().and_then(|t| t.to_zoned(zone).ok());
    let Some(at) = at else { return findings.skipped(name, format!("{text} is no time")) };
    let age = taken.duration_since(at.timestamp());
    let zone = if known { "the site's time" } else { "a time zone that the site does not say" };
    if age < SignedDuration::ZERO {
        let seen = format!("of {text} in {zone}, which is after the snapshot: two clocks differ");
        return findings.skipped(name, seen);
    }
    let seen = format!("of {text} in {zone}, {} before the snapshot", span(age));
    let limit = within.and_then(|w| SignedDuration::try_from(w).ok());
    match limit.filter(|limit| age > *limit) {
        Some(limit) => findings.failed(name, format!("{seen}; ledger_within allows {}", span(limit))),
        None => findings.passed(name, seen),
    }
}

fn span(age: SignedDuration) -> String {
    match (age.as_hours(), age.as_mins()) {
        (hours, _) if hours >= 48 => counted(hours / 24, "day"),
        (hours, _) if hours >= 2 => counted(hours, "hour"),
        (_, minutes) => counted(minutes, "minute"),
    }
}

/// Asks the operator's own queries.
pub(super) async fn ask(database: &LoadedDatabase, own: &[OwnCheck], findings: &mut Findings) {
    for check in own {
        let Ask::Sql { query, expect } = &check.ask else { continue };
        let name = format!("own: {}", check.name);
        let asked = mariadb::ask(&database.server, &database.record.database, query, QUERY_LIMIT).await;
        if let Some(lines) = findings.step(&name, asked) {
            let answer = lines.join("\n");
            let good = answer.trim_end() == expect.trim_end();
            let seen = if good {
                format!("answers {answer:?}")
            } else {
                format!("answers {answer:?}, not {expect:?}")
            };
            findings.check(&name, good, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::frappe::FileRow;

    #[test]
    fn rows_without_their_file_with_another_one_or_with_one_outside_are_found() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("site");
        std::fs::create_dir_all(site.join("public/files")).unwrap();
        std::fs::write(site.join("public/files/a"), "a").unwrap();
        std::fs::write(root.path().join("b"), "b").unwrap();
        std::os::unix::fs::symlink(root.path().join("b"), site.join("public/files/link")).unwrap();
        let row = |name: &str, url: &str, content: &[u8]| StoredFile {
            row: FileRow {
                name: name.into(),
                file_url: url.into(),
                file_name: String::new(),
                is_private: false,
                is_folder: false,
            },
            md5: hex::encode(Md5::digest(content)),
        };
        let rows = [
            row("good", "/files/a", b"a"),
            row("other", "/files/a", b"x"),
            row("gone", "/files/c", b"c"),
            row("out", "/files/../../../b", b"b"),
            row("link", "/files/link", b"b"),
            row("far", "https://elsewhere.example/x", b""),
        ];
        let found = compare(&rows, None, &site).unwrap();
        assert_eq!((found.rows, found.hashed, found.elsewhere), (5, 1, 1));
        assert_eq!(found.other, ["public/files/a (File other)"]);
        let missing: Vec<&str> = found.missing.iter().map(|m| m.rsplit_once(' ').unwrap().1).collect();
        assert_eq!(missing, ["gone)", "out)", "link)"]);
    }
}
