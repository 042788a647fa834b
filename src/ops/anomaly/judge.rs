//! Whether a night looks wrong beside the tenant's own nights before: a pure function, with nothing to tune.
//!
//! Each bound is far from what a working site does in a day: on three consecutive days of a real one no table that lasts
//! lost a row in fifty. Where a site shrinks on purpose, an operator says so once.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::measure::{Measured, Share};
use crate::component::files::Drift;
use crate::id::ComponentName;

/// Fewer rows than this in a table, or files in a folder, say nothing.
const FEW_ROWS: u64 = 50;
const FEW_FILES: u64 = 8;

/// A dump or folder that is smaller may halve in a day.
const SMALL_BYTES: u64 = 1 << 20;

/// Less that is new says nothing of how it compresses.
const FEW_NEW_BYTES: u64 = 256 << 10;

/// Words in the names of tables that Frappe and its apps empty by themselves: logs, queues and what is made again.
const PASSING: [&str; 14] = [
    "log",
    "queue",
    "session",
    "error",
    "version",
    "deleted document",
    "notification",
    "draft",
    "cache",
    "search",
    "prepared report",
    "route history",
    "token",
    "repost",
];

/// What looks wrong, by the word that stands in the receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Tables that last lost rows.
    Rows,
    /// Tables that last are gone.
    Tables,
    /// The whole is less than half of what it was.
    Size,
    /// Files are gone.
    FilesGone,
    /// Files hold something else than before.
    FilesChanged,
    /// Most of it is new, and does not compress as it used to.
    Incompressible,
}

impl Check {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Check::Rows => "rows",
            Check::Tables => "tables",
            Check::Size => "size",
            Check::FilesGone => "files-gone",
            Check::FilesChanged => "files-changed",
            Check::Incompressible => "incompressible",
        }
    }
}

/// Something that looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// What.
    pub check: Check,
    /// The figures, as a fragment of a sentence.
    pub said: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// Holds a night's component against the newest one that looked as usual.
///
/// `usual` are what was new in the nights before; `drift` is what became of the files of that newest one.
pub fn judge(
    component: ComponentName,
    before: &Measured,
    usual: &[Share],
    now: &Measured,
    drift: Option<Drift>,
) -> Vec<Anomaly> {
    let mut found = Vec::new();
    found.extend(lost_rows(before, now));
    found.extend(lost_tables(before, now));
    if before.bytes >= SMALL_BYTES && now.bytes < before.bytes / 2 {
        found.push(anomaly(
            Check::Size,
            format!("{component} has {} bytes where it had {}", now.bytes, before.bytes),
        ));
    }
    found.extend(drift.into_iter().flat_map(lost_files));
    found.extend(noise(component, usual, now));
    found
}

fn anomaly(check: Check, said: String) -> Anomaly {
    Anomaly { check, said }
}

/// Tells whether a table keeps its rows until somebody deletes them.
fn lasts(table: &str) -> bool {
    let name = table.to_lowercase();
    // What begins so is Frappe's own, made again at need; but for the secrets.
    (!name.starts_with("__") || name == "__auth") && !PASSING.iter().any(|word| name.contains(word))
}

fn lost_rows(before: &Measured, now: &Measured) -> Option<Anomaly> {
    let there = |(name, rows): &(&String, &u64)| lasts(name) && **rows > 0 && now.tables.contains_key(*name);
    let lasting: Vec<(&String, u64, u64)> =
        before.tables.iter().filter(there).map(|(n, rows)| (n, *rows, now.tables[n])).collect();
    let (had, has) = lasting.iter().fold((0, 0), |(had, has), (_, b, n)| (had + b, has + n));
    let mut halved: Vec<_> =
        lasting.iter().filter(|(_, b, n)| *b >= FEW_ROWS && *n * 20 <= *b * 11).collect();
    if halved.is_empty() && (had < 4 * FEW_ROWS || has * 4 > had * 3) {
        return None;
    }
    halved.sort_by_key(|(_, b, n)| std::cmp::Reverse(b - n));
    let named: Vec<String> =
        halved.iter().take(3).map(|(name, b, n)| format!("{name} has {n} rows where it had {b}")).collect();
    Some(anomaly(
        Check::Rows,
        match (named.is_empty(), halved.len().saturating_sub(named.len())) {
            (true, _) => format!("its tables have {has} rows where they had {had}"),
            (false, 0) => named.join(", "),
            (false, more) => format!("{}, and {more} more tables", named.join(", ")),
        },
    ))
}

fn lost_tables(before: &Measured, now: &Measured) -> Option<Anomaly> {
    let gone = |(name, rows): &(&String, &u64)| lasts(name) && **rows > 0 && !now.tables.contains_key(*name);
    let gone: Vec<String> =
        before.tables.iter().filter(gone).map(|(n, rows)| format!("{n} ({rows} rows)")).collect();
    if gone.is_empty() {
        return None;
    }
    let more = gone.len().saturating_sub(3);
    let named = gone[..gone.len() - more].join(", ");
    let said = if more == 0 { named } else { format!("{named} and {more} more") };
    Some(anomaly(Check::Tables, format!("tables are gone: {said}")))
}

fn lost_files(drift: Drift) -> Vec<Anomaly> {
    let Drift { before, gone, changed } = drift;
    let many = |n: u64| n >= FEW_FILES && n * 4 >= before;
    let mut found = Vec::new();
    if many(gone) {
        found.push(anomaly(Check::FilesGone, format!("{gone} of {before} files are gone")));
    }
    // Frappe never writes into a file that was attached.
    if many(changed) {
        let said = format!("{changed} of {before} files hold something else than before");
        found.push(anomaly(Check::FilesChanged, said));
    }
    found
}

/// Finds what somebody encrypted: most of it is new, and new bytes compress no more though they used to.
fn noise(component: ComponentName, usual: &[Share], now: &Measured) -> Option<Anomaly> {
    let (new, compressed) =
        usual.iter().fold((0, 0), |(n, c), share| (n + share.new_bytes, c + share.compressed_bytes));
    let compressed_well = new >= FEW_NEW_BYTES && compressed * 10 <= new * 8;
    let mostly_new = now.new_bytes >= FEW_NEW_BYTES && now.new_bytes * 2 >= now.bytes;
    let incompressible = now.compressed_bytes * 100 >= now.new_bytes * 95;
    (compressed_well && mostly_new && incompressible).then(|| {
        let said = format!(
            "{} of {} bytes of {component} are new and do not compress, as they did before",
            now.new_bytes, now.bytes
        );
        anomaly(Check::Incompressible, said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(tables: &[(&str, u64)]) -> Measured {
        let tables = tables.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect();
        Measured { bytes: 10 << 20, new_bytes: 1000, compressed_bytes: 300, tables }
    }

    fn words(before: &Measured, now: &Measured) -> Vec<&'static str> {
        let found = judge(ComponentName::Database, before, &[], now, None);
        found.iter().map(|a| a.check.word()).collect()
    }

    #[test]
    fn a_day_s_work_is_no_anomaly() {
        let before =
            database(&[("tabGL Entry", 1000), ("tabBin", 60), ("tabError Log", 900), ("tabToDo", 40)]);
        let now = database(&[("tabGL Entry", 1040), ("tabBin", 58), ("tabError Log", 0), ("tabToDo", 3)]);
        assert_eq!(words(&before, &now), [""; 0]);
    }

    #[test]
    fn a_table_that_halves_is_named_with_its_figures() {
        let before = database(&[("tabGL Entry", 1000), ("tabItem", 400), ("tabBin", 5000)]);
        let now = database(&[("tabGL Entry", 500), ("tabItem", 400), ("tabBin", 5000)]);
        let found = judge(ComponentName::Database, &before, &[], &now, None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "tabGL Entry has 500 rows where it had 1000");
    }

    #[test]
    fn many_tables_that_lose_a_third_each_are_an_anomaly_together() {
        let names: Vec<String> = (0..20).map(|n| format!("tabDoc {n}")).collect();
        let all = |rows| database(&names.iter().map(|n| (n.as_str(), rows)).collect::<Vec<_>>());
        assert_eq!(words(&all(100), &all(65)), ["rows"]);
        assert_eq!(words(&all(100), &all(80)), [""; 0]);
    }

    #[test]
    fn a_lasting_table_that_is_gone_is_named_and_a_log_is_not() {
        let before = database(&[("tabGL Entry", 10), ("tabActivity Log", 900), ("tabEmpty", 0)]);
        assert_eq!(words(&before, &database(&[])), ["tables"]);
        assert_eq!(words(&before, &database(&[("tabGL Entry", 10)])), [""; 0]);
    }

    #[test]
    fn secrets_count_though_other_tables_of_their_kind_do_not() {
        let before = database(&[("__Auth", 100), ("__global_search", 4000)]);
        assert_eq!(words(&before, &database(&[("__Auth", 3), ("__global_search", 0)])), ["rows"]);
    }

    #[test]
    fn a_dump_of_less_than_half_its_size_is_an_anomaly() {
        let before = database(&[]);
        let now = Measured { bytes: before.bytes / 2 - 1, ..before.clone() };
        assert_eq!(words(&before, &now), ["size"]);
        assert_eq!(
            words(&Measured { bytes: 1000, ..before.clone() }, &Measured { bytes: 1, ..before }),
            [""; 0]
        );
    }

    #[test]
    fn files_that_go_or_change_by_the_quarter_are_counted() {
        let empty = Measured::default();
        let of = |gone, changed| {
            let drift = Drift { before: 100, gone, changed };
            let found = judge(ComponentName::Files, &empty, &[], &empty, Some(drift));
            found.iter().map(|a| a.check.word()).collect::<Vec<_>>()
        };
        assert_eq!(of(24, 24), [""; 0]);
        assert_eq!(of(25, 0), ["files-gone"]);
        assert_eq!(of(0, 25), ["files-changed"]);
    }

    #[test]
    fn what_turns_to_noise_is_found_only_where_it_was_none_before() {
        let mib = 1 << 20;
        let noise = Measured {
            bytes: 10 * mib,
            new_bytes: 9 * mib,
            compressed_bytes: 9 * mib,
            ..Measured::default()
        };
        let word = |usual: &[Share]| {
            let found = judge(ComponentName::Files, &noise, usual, &noise, None);
            found.iter().map(|a| a.check.word()).collect::<Vec<_>>()
        };
        let share = |compressed_bytes| Share { bytes: 10 * mib, new_bytes: 10 * mib, compressed_bytes };
        assert_eq!(word(&[share(3 * mib)]), ["incompressible"]);
        assert_eq!(word(&[share(10 * mib)]), [""; 0], "pictures never compressed");
        assert_eq!(word(&[]), [""; 0]);
    }
}
