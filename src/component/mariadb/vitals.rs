//! A server's own figures, for whoever watches it: one look that takes no lock and changes nothing.
//!
//! Owns the questions and how their answers are read; what is good or bad is not known here. Sources: MariaDB's
//! `information_schema`, status variables and system variables (mariadb.com/kb).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::connect::literal;
use super::{Server, preflight};
use crate::error::{Error, Kind, Result};

/// Figures of the server's that are asked for.
const STATUS: &[&str] =
    &["threads_connected", "max_used_connections", "uptime", "slow_queries", "innodb_row_lock_current_waits"];

/// Settings of the server's that are asked for.
const SETTINGS: &[&str] = &["max_connections", "innodb_force_recovery", "innodb_read_only", "read_only"];

/// A larger MyISAM table is not checked every few minutes: it is read, and locked against writes, meanwhile.
const CHECKED_BYTES: u64 = 256 * 1024 * 1024;

/// What a server says of itself and of one of its databases.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// The version, such as `10.11.19-MariaDB`.
    pub version: String,
    /// The time by its clock, in seconds since 1970.
    pub now: f64,
    /// `YES`, `DEFAULT`, `NO` or `DISABLED`: whether InnoDB runs.
    pub innodb: String,
    /// Status variables and settings by name, switches as 0 and 1; what the account may not see is absent.
    pub numbers: BTreeMap<String, u64>,
    /// Statements that run for longer than was asked for, longest first.
    pub long_queries: Vec<LongQuery>,
    /// The database's MyISAM tables, but for those that take too long to be checked while people work: a backup checks them.
    pub myisam: Vec<String>,
    /// Tables of the database that the server cannot open, with what it says of each.
    pub unreadable: BTreeMap<String, String>,
    /// Data and indexes of the database, in bytes, by the server's estimate.
    pub size_bytes: u64,
}

/// A statement that runs for long; its text may hold data and is not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongQuery {
    /// Whose.
    pub user: String,
    /// What it does, by the server's word.
    pub doing: String,
    /// For how long, in seconds.
    pub seconds: u64,
}

impl Vitals {
    /// Returns a status variable or a setting; switches are 0 and 1.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }
}

/// Looks at a server and one of its databases; statements that run for `long` or longer are named.
///
/// Statements of `mariadb-dump` do not count as long. Fails with [`Kind::Denied`] where the login is refused, with
/// [`Kind::Host`] where nothing answers, with [`Kind::Timeout`] after `limit`, at which the client ends too.
pub async fn vitals(
    server: &Server,
    database: Option<&str>,
    long: Duration,
    limit: Duration,
) -> Result<Vitals> {
    let mut vitals = Vitals::default();
    for row in server.rows_within::<Vec<Value>>(&questions(database, long), limit).await? {
        vitals.take(&row);
    }
    if vitals.version.is_empty() {
        return Err(Error::new(Kind::Source, format!("{server} did not say its version")));
    }
    Ok(vitals)
}

/// Returns those of the MyISAM tables that the server finds damaged, each with what it says. It repairs none.
pub async fn crashed(
    server: &Server,
    database: &str,
    tables: &[String],
    limit: Duration,
) -> Result<BTreeMap<String, String>> {
    let names: Vec<&str> = tables.iter().map(String::as_str).collect();
    preflight::damaged_within(server, database, &names, limit).await
}

fn questions(database: Option<&str>, long: Duration) -> String {
    let list = |names: &[&str]| names.iter().map(|n| literal(n)).collect::<Vec<_>>().join(",");
    let of_database = database.map(|name| {
        let db = literal(name);
        format!(
            "SELECT JSON_ARRAY('myisam', TABLE_NAME) FROM information_schema.TABLES
               WHERE TABLE_SCHEMA = {db} AND ENGINE = 'MyISAM' AND DATA_LENGTH + INDEX_LENGTH < {CHECKED_BYTES};
             SELECT JSON_ARRAY('unreadable', TABLE_NAME, TABLE_COMMENT) FROM information_schema.TABLES
               WHERE TABLE_SCHEMA = {db} AND ENGINE IS NULL AND TABLE_TYPE = 'BASE TABLE';
             SELECT JSON_ARRAY('size', IFNULL(SUM(DATA_LENGTH + INDEX_LENGTH), 0)) FROM information_schema.TABLES
               WHERE TABLE_SCHEMA = {db};"
        )
    });
    format!(
        "SELECT JSON_ARRAY('version', VERSION());
         SELECT JSON_ARRAY('now', UNIX_TIMESTAMP(SYSDATE(3)));
         SELECT JSON_ARRAY('innodb', SUPPORT) FROM information_schema.ENGINES WHERE ENGINE = 'InnoDB';
         SELECT JSON_ARRAY('number', LOWER(VARIABLE_NAME), VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS
           WHERE LOWER(VARIABLE_NAME) IN ({});
         SELECT JSON_ARRAY('number', LOWER(VARIABLE_NAME), VARIABLE_VALUE) FROM information_schema.GLOBAL_VARIABLES
           WHERE LOWER(VARIABLE_NAME) IN ({});
         SELECT JSON_ARRAY('query', USER, IFNULL(STATE, ''), FLOOR(TIME_MS / 1000))
           FROM information_schema.PROCESSLIST
           WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID() AND TIME_MS >= {}
             AND IFNULL(INFO, '') NOT LIKE 'SELECT /*!40001 SQL_NO_CACHE */%'
           ORDER BY TIME_MS DESC LIMIT 5;
         {}",
        list(STATUS),
        list(SETTINGS),
        long.as_millis(),
        of_database.unwrap_or_default()
    )
}

impl Vitals {
    fn take(&mut self, row: &[Value]) {
        let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |at: usize| row.get(at).and_then(Value::as_f64).unwrap_or(0.0);
        match text(0).as_str() {
            "version" => self.version = text(1),
            "now" => self.now = number(1),
            "innodb" => self.innodb = text(1),
            "number" => {
                let value = match text(2).as_str() {
                    "ON" => Some(1),
                    "OFF" => Some(0),
                    digits => digits.parse().ok(),
                };
                self.numbers.extend(value.map(|n| (text(1), n)));
            }
            "query" => {
                self.long_queries.push(LongQuery {
                    user: text(1),
                    doing: text(2),
                    seconds: whole(number(3)),
                });
            }
            "myisam" => self.myisam.push(text(1)),
            "unreadable" => drop(self.unreadable.insert(text(1), text(2))),
            "size" => self.size_bytes = whole(number(1)),
            _ => {}
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the server's figures are not negative"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_read_and_what_is_not_known_is_left_out() {
        let rows = [
            json!(["version", "10.11.19-MariaDB"]),
            json!(["now", 1_795_000_000.5]),
            json!(["innodb", "DEFAULT"]),
            json!(["number", "threads_connected", "7"]),
            json!(["number", "read_only", "OFF"]),
            json!(["number", "odd", "many"]),
            json!(["query", "_1", "Sending data", 75]),
            json!(["myisam", "__global_search"]),
            json!(["unreadable", "tabX", "Table 'tabX' is marked as crashed"]),
            json!(["size", 1234]),
            json!(["what is new", 1]),
        ];
        let mut vitals = Vitals::default();
        for row in &rows {
            vitals.take(row.as_array().unwrap());
        }
        assert_eq!(vitals.number("threads_connected"), Some(7));
        assert_eq!((vitals.number("read_only"), vitals.number("odd")), (Some(0), None));
        assert_eq!(vitals.long_queries[0].seconds, 75);
        assert_eq!((vitals.myisam.len(), vitals.unreadable.len(), vitals.size_bytes), (1, 1, 1234));
        assert!(vitals.now > 1.79e9 && vitals.innodb == "DEFAULT");
    }

    #[test]
    fn no_database_asks_only_of_the_server() {
        assert!(!questions(None, Duration::from_secs(60)).contains("TABLE_SCHEMA"));
        assert!(questions(Some("a'b"), Duration::from_secs(60)).contains(r"'a\'b'"));
    }
}
