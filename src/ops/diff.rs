//! `diff` and `files diff`: what two snapshots of a tenant differ in, without restoring either.
//!
//! Owns the comparison. Tables are compared by the rows that were counted as they were dumped, files by the hashes in the
//! lists; both lists are read side by side, in the order of their paths, and neither is held in memory.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::Serialize;

use crate::component::files::{Listing, Placed, spell_shown};
use crate::component::mariadb::{DatabaseRecord, TableRecord};
use crate::error::{Error, Result};
use crate::id::{ComponentName, SnapshotId, TenantName};
use crate::ops::files;
use crate::ops::restore::Opened;

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Only the later snapshot has it.
    Added,
    /// Only the earlier snapshot has it.
    Removed,
    /// Its content differs, or what it is.
    Changed,
    /// Only its owner, mode or time differ.
    Attributes,
}

impl How {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            How::Added => "added",
            How::Removed => "removed",
            How::Changed => "changed",
            How::Attributes => "attributes",
        }
    }
}

/// One file, folder or link that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// How.
    pub how: How,
    /// Its path within the site folder; what is not UTF-8, control characters and `%` are written `%XX`.
    pub path: String,
    /// Its length in bytes before; none where it was not there.
    pub before_bytes: Option<u64>,
    /// Its length in bytes after; none where it is not there.
    pub after_bytes: Option<u64>,
}

/// A table whose rows differ in number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// Its name.
    pub table: String,
    /// Its rows before; none where it was not there or they were not counted.
    pub before_rows: Option<u64>,
    /// Its rows after.
    pub after_rows: Option<u64>,
    /// Whether it was there before, and is after.
    pub there: (bool, bool),
}

/// Numbers of files that differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FileCounts {
    /// Only the later snapshot has them.
    pub added: u64,
    /// Only the earlier snapshot has them.
    pub removed: u64,
    /// Their content differs.
    pub changed: u64,
    /// Only owner, mode or time differ.
    pub attributes: u64,
    /// Equal in all.
    pub equal: u64,
}

/// What two snapshots differ in.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// Whose.
    pub tenant: TenantName,
    /// The earlier one.
    pub from: SnapshotId,
    /// The later one.
    pub to: SnapshotId,
    /// Tables whose rows differ in number; none where either snapshot has no database.
    pub tables: Option<Vec<TableChange>>,
    /// How many tables have as many rows as before.
    pub equal_tables: usize,
    /// Numbers of files; none where either snapshot has no files.
    pub files: Option<FileCounts>,
}

/// Compares two opened snapshots of a tenant.
pub async fn diff(from: &Opened, to: &Opened) -> Result<Compared> {
    let mut compared = Compared {
        tenant: to.committed.receipt.tenant.clone(),
        from: from.committed.receipt.snapshot.clone(),
        to: to.committed.receipt.snapshot.clone(),
        tables: None,
        equal_tables: 0,
        files: None,
    };
    if let (Some(before), Some(after)) = (database(from)?, database(to)?) {
        let (changes, equal) = tables(&before, &after);
        (compared.tables, compared.equal_tables) = (Some(changes), equal);
    }
    let has_files = |o: &Opened| Ok::<_, Error>(o.envelope(ComponentName::Files)?.is_some());
    if has_files(from)? && has_files(to)? {
        compared.files = Some(walk(from, to, "", |_| {}).await?);
    }
    Ok(compared)
}

/// Calls `each` for every file at or below `below` that differs; returns how many there were of each kind.
pub async fn walk(
    from: &Opened,
    to: &Opened,
    below: &str,
    mut each: impl FnMut(FileChange),
) -> Result<FileCounts> {
    let wanted = files::meant(below);
    let mut counts = FileCounts::default();
    let mut before = Side::open(from).await?;
    let mut after = Side::open(to).await?;
    loop {
        let order = match (&before.at, &after.at) {
            (None, None) => return Ok(counts),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(b), Some(a)) => b.line.entry.path.cmp(&a.line.entry.path),
        };
        let b = if order.is_le() { before.take().await? } else { None };
        let a = if order.is_ge() { after.take().await? } else { None };
        let Some(path) = a.as_ref().or(b.as_ref()).map(|p| p.line.entry.path.clone()) else { continue };
        if !files::is_below(&path, &wanted) {
            continue;
        }
        let Some(how) = compare(b.as_ref(), a.as_ref()) else {
            counts.equal += 1;
            continue;
        };
        match how {
            How::Added => counts.added += 1,
            How::Removed => counts.removed += 1,
            How::Changed => counts.changed += 1,
            How::Attributes => counts.attributes += 1,
        }
        let bytes = |p: Option<&Placed>| p.map(|p| p.line.entry.size_bytes());
        each(FileChange {
            how,
            path: spell_shown(&path),
            before_bytes: bytes(b.as_ref()),
            after_bytes: bytes(a.as_ref()),
        });
    }
}

fn compare(before: Option<&Placed>, after: Option<&Placed>) -> Option<How> {
    match (before.map(|p| &p.line), after.map(|p| &p.line)) {
        (None, None) => None,
        (None, Some(_)) => Some(How::Added),
        (Some(_), None) => Some(How::Removed),
        (Some(b), Some(a)) if b.sha256 != a.sha256 || b.entry.kind != a.entry.kind => Some(How::Changed),
        (Some(b), Some(a)) => (b.entry != a.entry).then_some(How::Attributes),
    }
}

/// One of the two lists, with the line that comes next.
struct Side {
    listing: Listing,
    at: Option<Placed>,
}

impl Side {
    async fn open(opened: &Opened) -> Result<Side> {
        let mut listing = files::listing(opened)?;
        let at = listing.next().await?;
        Ok(Side { listing, at })
    }

    /// Returns the line in hand and reads the next, which lies behind it: a list that is out of order is an error.
    async fn take(&mut self) -> Result<Option<Placed>> {
        let next = self.listing.next().await?;
        Ok(std::mem::replace(&mut self.at, next))
    }
}

fn database(opened: &Opened) -> Result<Option<DatabaseRecord>> {
    opened.envelope(ComponentName::Database)?.map(|e| e.own()).transpose()
}

fn tables(before: &DatabaseRecord, after: &DatabaseRecord) -> (Vec<TableChange>, usize) {
    let names: BTreeSet<&String> = before.tables.keys().chain(after.tables.keys()).collect();
    let all = names.len();
    let changes: Vec<TableChange> = names
        .into_iter()
        .filter_map(|name| {
            let (b, a) = (before.tables.get(name), after.tables.get(name));
            let rows = |t: Option<&TableRecord>| t.and_then(|t| t.rows);
            let there = (b.is_some(), a.is_some());
            let change =
                TableChange { table: name.clone(), before_rows: rows(b), after_rows: rows(a), there };
            (there != (true, true) || change.before_rows != change.after_rows).then_some(change)
        })
        .collect();
    let equal = all - changes.len();
    (changes, equal)
}
