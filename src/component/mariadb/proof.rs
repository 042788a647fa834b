//! What a loaded database says of itself: sequences, File rows, the ledger, and answers to an operator's own questions.
//!
//! Owns the questions and the tables they ask. Reads only; what is good or bad is not known here. Tables and columns as in
//! Frappe 15 and 16, ERPNext 15 and 16; what a database does not have is nothing, no fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::connect::{identifier, literal};
use super::{DatabaseRecord, Server};
use crate::component::frappe::FileRow;
use crate::error::Result;

/// A difference below this is one of rounding: ERPNext itself books what is more.
const ROUNDING: &str = "0.01";

/// How many vouchers that do not balance are named.
const NAMED: u32 = 5;

/// A sequence and what uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceUse {
    /// The sequence.
    pub sequence: String,
    /// The table whose names it gives.
    pub table: String,
    /// What it gives next.
    pub next: i64,
    /// The highest name in the table; none where that is empty.
    pub used: Option<i64>,
}

/// A row of `tabFile` with the MD5 that Frappe noted of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// The row.
    pub row: FileRow,
    /// `content_hash`, in lowercase hex; empty where none was noted.
    pub md5: String,
}

/// The ledger of ERPNext, all companies together; amounts as the database writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Entries.
    pub entries: u64,
    /// The sum of what they debit.
    pub debit: String,
    /// The sum of what they credit.
    pub credit: String,
    /// Vouchers whose entries do not balance, some of them: `Sales Invoice ACC-SINV-2026-00001` and debit less credit.
    pub unbalanced: Vec<(String, String)>,
    /// How many there are.
    pub unbalanced_count: u64,
    /// When the newest entry was made, by the site's wall clock: `2026-11-23 08:25:42`.
    pub newest: Option<String>,
    /// The site's time zone, as an IANA name.
    pub time_zone: Option<String>,
}

/// Asks an operator's own question of a database, without letting it change anything; returns the lines of the answer.
pub async fn ask(server: &Server, database: &str, query: &str, limit: Duration) -> Result<Vec<String>> {
    let query = query.trim().trim_end_matches(';');
    let sql = format!("USE {};\nSTART TRANSACTION READ ONLY;\n{query};", identifier(database));
    server.lines_within(&sql, limit).await
}

/// Returns each sequence that gives names to a table, with the highest name in use.
///
/// Frappe calls the sequence of a DocType without names of its own `<doctype>_id_seq`.
pub async fn sequences(server: &Server, record: &DatabaseRecord) -> Result<Vec<SequenceUse>> {
    if record.sequences.is_empty() {
        return Ok(Vec::new());
    }
    let db = &record.database;
    let tables = format!(
        "SELECT JSON_ARRAY(TABLE_NAME) FROM information_schema.COLUMNS
           WHERE TABLE_SCHEMA = {} AND COLUMN_NAME = 'name' AND DATA_TYPE = 'bigint';",
        literal(db)
    );
    let tables: BTreeMap<String, String> =
        server.rows::<(String,)>(&tables).await?.into_iter().map(|(t,)| (sequence_of(&t), t)).collect();
    let wanted: Vec<(&String, &String)> =
        record.sequences.iter().filter_map(|s| Some((s, tables.get(s)?))).collect();
    let sql: String = wanted
        .iter()
        .map(|(sequence, table)| {
            format!(
                "SELECT JSON_ARRAY((SELECT next_not_cached_value FROM {db}.{}), (SELECT MAX(name) FROM {db}.{}));\n",
                identifier(sequence),
                identifier(table),
                db = identifier(db),
            )
        })
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let rows = server.rows::<(i64, Option<i64>)>(&sql).await?;
    let both = wanted.into_iter().zip(rows);
    Ok(both
        .map(|((sequence, table), (next, used))| SequenceUse {
            sequence: sequence.clone(),
            table: table.clone(),
            next,
            used,
        })
        .collect())
}

fn sequence_of(table: &str) -> String {
    let doctype = table.strip_prefix("tab").unwrap_or(table);
    format!("{}_id_seq", doctype.to_lowercase().replace([' ', '-'], "_"))
}

/// Returns the File rows; none where the database is no site's.
pub async fn stored_files(server: &Server, database: &str) -> Result<Option<Vec<StoredFile>>> {
    let has = columns(server, database, "tabFile").await?;
    if !has.contains("file_url") {
        return Ok(None);
    }
    let md5 = if has.contains("content_hash") { "IFNULL(content_hash, '')" } else { "''" };
    let sql = format!(
        "SELECT JSON_ARRAY(name, IFNULL(file_url, ''), IFNULL(file_name, ''), is_private, is_folder, {md5})
           FROM {}.`tabFile`;",
        identifier(database)
    );
    let rows = server.rows::<(String, String, String, u8, u8, String)>(&sql).await?;
    let file = |(name, file_url, file_name, is_private, is_folder, md5): (_, _, _, u8, u8, String)| {
        let row =
            FileRow { name, file_url, file_name, is_private: is_private != 0, is_folder: is_folder != 0 };
        StoredFile { row, md5: md5.to_lowercase() }
    };
    Ok(Some(rows.into_iter().map(file).collect()))
}

/// Looks at the ledger; none where the database has none.
pub async fn ledger(server: &Server, database: &str) -> Result<Option<Ledger>> {
    let has = columns(server, database, "tabGL Entry").await?;
    if !["debit", "credit", "voucher_type", "voucher_no", "creation"].iter().all(|c| has.contains(*c)) {
        return Ok(None);
    }
    let entries = format!("{}.`tabGL Entry`", identifier(database));
    let unequal = format!(
        "SELECT IFNULL(voucher_type, '') AS t, IFNULL(voucher_no, '') AS n, SUM(debit) - SUM(credit) AS d FROM {entries}
           GROUP BY voucher_type, voucher_no HAVING ABS(d) > {ROUNDING}"
    );
    let sums = format!(
        "SELECT JSON_ARRAY(COUNT(*), CAST(ROUND(IFNULL(SUM(debit), 0), 2) AS CHAR),
             CAST(ROUND(IFNULL(SUM(credit), 0), 2) AS CHAR),
             DATE_FORMAT(MAX(creation), '%Y-%m-%d %H:%i:%s')) FROM {entries};"
    );
    let Some((entries, debit, credit, newest)) =
        server.rows::<(u64, String, String, Option<String>)>(&sums).await?.into_iter().next()
    else {
        return Ok(None);
    };
    let count = format!("SELECT JSON_ARRAY(COUNT(*)) FROM ({unequal}) AS u;");
    let unbalanced_count = server.rows::<(u64,)>(&count).await?.first().map_or(0, |(n,)| *n);
    let mut unbalanced = Vec::new();
    if unbalanced_count > 0 {
        let named = format!(
            "SELECT JSON_ARRAY(CONCAT(t, ' ', n), CAST(ROUND(d, 2) AS CHAR)) FROM ({unequal}) AS u
               ORDER BY t, n LIMIT {NAMED};"
        );
        unbalanced = server.rows::<(String, String)>(&named).await?;
    }
    let time_zone = time_zone(server, database).await?;
    Ok(Some(Ledger { entries, debit, credit, unbalanced, unbalanced_count, newest, time_zone }))
}

async fn time_zone(server: &Server, database: &str) -> Result<Option<String>> {
    if !columns(server, database, "tabSingles").await?.contains("field") {
        return Ok(None);
    }
    let sql = format!(
        "SELECT JSON_ARRAY(value) FROM {}.`tabSingles` WHERE doctype = 'System Settings' AND field = 'time_zone';",
        identifier(database)
    );
    let found = server.rows::<(Option<String>,)>(&sql).await?.into_iter().next();
    Ok(found.and_then(|(zone,)| zone).filter(|zone| !zone.is_empty()))
}

async fn columns(server: &Server, database: &str, table: &str) -> Result<BTreeSet<String>> {
    let sql = format!(
        "SELECT JSON_ARRAY(LOWER(COLUMN_NAME)) FROM information_schema.COLUMNS
           WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {};",
        literal(database),
        literal(table)
    );
    Ok(server.rows::<(String,)>(&sql).await?.into_iter().map(|(name,)| name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doctypes_sequence_is_called_as_frappe_calls_it() {
        assert_eq!(sequence_of("tabWeb Form List Column"), "web_form_list_column_id_seq");
        assert_eq!(sequence_of("tabCRM Note"), "crm_note_id_seq");
        assert_eq!(sequence_of("tabA-B"), "a_b_id_seq");
    }
}
