//! What a MariaDB client's exit and stderr mean.
//!
//! An error of the server may quote a row: only the texts of numbers known not to do so are passed on.

use std::fmt;

use crate::error::{Error, Kind};
use crate::host::Exit;

/// What may help after a dump that failed: the cause of its error, found by [`retry_of`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Retry {
    /// Something changed while it was dumped; a new dump may succeed.
    #[error("another try may succeed")]
    Again,
    /// This table cannot be read; a dump without it may succeed, and lacks it.
    #[error("table `{0}` cannot be read; a dump without it may succeed")]
    Without(String),
}

/// Returns what may help after `error`.
pub fn retry_of(error: &Error) -> Option<&Retry> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Errors whose texts name objects and accounts, never rows.
const HARMLESS: &[u32] = &[
    126, 127, 144, 145, 1007, 1016, 1030, 1034, 1044, 1045, 1049, 1050, 1051, 1114, 1142, 1143, 1146, 1153,
    1194, 1195, 1205, 1213, 1227, 1235, 1273, 1290, 1317, 1356, 1370, 1412, 1418, 1419, 1435, 1449, 1450,
    1698, 1712, 1812, 1815, 1932, 1969, 2002, 2003, 2006, 2013, 2020, 2026, 4031,
];

const HIDDEN: &str = "what the client said may quote data and is not shown: run it by hand in the container";

/// Returns the error of a client that ended badly.
pub(super) fn of(exit: &Exit, what: impl fmt::Display) -> Error {
    let said = Said::read(&exit.stderr);
    let killed = exit.code == 137 || exit.code == 143;
    let (text, hides) = match said.number {
        Some(n) if HARMLESS.contains(&n) => (format!("{what}: {}", said.line), false),
        Some(n) => match said.at_line {
            Some(line) => (format!("{what}: error {n} at line {line}"), true),
            None => (format!("{what}: error {n}"), true),
        },
        None if exit.code == 127 => (format!("{what}: {}", said.line), false),
        None if killed => (format!("{what}: its client was killed"), false),
        None if said.line.contains("insufficient privileges") => (format!("{what}: {}", said.line), false),
        None => (format!("{what}: client ended with exit code {}", exit.code), true),
    };
    let error = Error::new(kind(said.number), text);
    match (said.number, said.table) {
        (
            Some(
                126 | 127 | 144 | 145 | 1016 | 1030 | 1034 | 1194 | 1195 | 1356 | 1449 | 1712 | 1812 | 1815
                | 1932,
            ),
            Some(table),
        ) => error
            .caused_by(Retry::Without(table))
            .hint("repair the table; until then a dump can only leave it out"),
        (Some(1051 | 1146 | 1205 | 1213 | 1412 | 2006 | 2013), _) => error.caused_by(Retry::Again),
        // By the kernel for want of memory, or with its whole container, which the next attempt finds out.
        (None, _) if killed => error.caused_by(Retry::Again),
        (Some(1044 | 1045 | 1698), _) => error.hint(
            "correct [database] user and password_file in the tenant's file; without them root's password is the \
             container's own, which may have been changed since it was made",
        ),
        (Some(2002 | 2003), _) => error.hint("is the server up? `docker logs` of the container says"),
        _ if hides => error.hint(HIDDEN),
        _ => error,
    }
}

fn kind(number: Option<u32>) -> Kind {
    match number {
        Some(1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698) => Kind::Denied,
        Some(1007 | 1050 | 1435 | 1450) => Kind::Conflict,
        Some(2002 | 2003) => Kind::Host,
        Some(1114) => Kind::Full,
        Some(1969) => Kind::Timeout,
        _ => Kind::Source,
    }
}

/// The line of stderr that says why.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    line: String,
    number: Option<u32>,
    table: Option<String>,
    at_line: Option<u64>,
}

impl Said {
    fn read(stderr: &str) -> Said {
        let lines = || stderr.lines().map(str::trim).filter(|l| !l.is_empty());
        let line = lines().find(|l| number(l).is_some()).or_else(|| lines().next_back()).unwrap_or_default();
        Said {
            line: line.to_owned(),
            number: number(line),
            table: table(line),
            at_line: line.split_once(" at line ").and_then(|(_, rest)| digits(rest).parse().ok()),
        }
    }
}

/// `ERROR 1045 (28000)`, `Error 1412:`, `Got error: 1045:`, or `… (144)` at the end.
fn number(line: &str) -> Option<u32> {
    let after = ["ERROR ", "Error: ", "Error ", "error: "].iter().find_map(|word| {
        let rest = line.split_once(word)?.1.trim_start_matches('"');
        digits(rest).parse().ok()
    });
    after.or_else(|| line.strip_suffix(')')?.rsplit_once('(')?.1.parse().ok())
}

/// ``when dumping table `t` ``, ``show create table `t` ``, ``SHOW FIELDS FROM `t` ``.
fn table(line: &str) -> Option<String> {
    let marks = ["dumping table `", "show create table `", "SHOW FIELDS FROM `", "SHOW CREATE VIEW `"];
    let rest = marks.iter().find_map(|mark| Some(line.split_once(mark)?.1))?;
    // A doubled backquote belongs to the name.
    let mut end = 0;
    while let Some(at) = rest[end..].find('`') {
        end += at;
        if !rest[end + 1..].starts_with('`') {
            return Some(rest[..end].replace("``", "`"));
        }
        end += 2;
    }
    None
}

fn digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(stderr: &str) -> Error {
        of(&Exit { code: 2, stderr: stderr.to_owned() }, "mariadb in container c")
    }

    #[test]
    fn a_table_that_changed_is_worth_another_try() {
        let e = error(
            "mariadb-dump: Error 1412: Table definition has changed, please retry transaction when dumping table `tabX` at row: 0\n",
        );
        assert_eq!(retry_of(&e), Some(&Retry::Again));
        assert_eq!(e.kind(), Kind::Source);
        let gone =
            error("mariadb-dump: Couldn't execute 'show create table `t`': Table 'd.t' doesn't exist (1146)");
        assert_eq!(retry_of(&gone), Some(&Retry::Again));
    }

    #[test]
    fn a_crashed_table_is_named() {
        let crashed = "mariadb-dump: Couldn't execute 'show create table `tab``E x`': Table './cr/m1' is marked as crashed (144)";
        assert_eq!(retry_of(&error(crashed)), Some(&Retry::Without("tab`E x".into())));
        let view = "mariadb-dump: Couldn't execute 'SHOW FIELDS FROM `v2`': View 'vw.v2' references invalid table(s) (1356)";
        assert_eq!(retry_of(&error(view)), Some(&Retry::Without("v2".into())));
    }

    #[test]
    fn a_wrong_password_is_denied() {
        let dump = "mariadb-dump: Got error: 1045: \"Access denied for user 'x'@'localhost' (using password: YES)\" when trying to connect";
        assert_eq!(error(dump).kind(), Kind::Denied);
        let client = "ERROR 1045 (28000): Access denied for user 'x'@'localhost' (using password: YES)";
        assert_eq!(error(client).kind(), Kind::Denied);
        assert!(error(client).to_string().contains("Access denied"));
    }

    #[test]
    fn rows_quoted_by_the_server_stay_out_of_the_message() {
        let duplicate =
            "ERROR 1062 (23000) at line 77: Duplicate entry 'jane@client.example' for key 'PRIMARY'";
        assert_eq!(error(duplicate).to_string(), "mariadb in container c: error 1062 at line 77");
        let syntax = "ERROR 1064 (42000) at line 5: You have an error near 'INSERT INTO `t` VALUES (1,'jane')' at line 1";
        assert_eq!(error(syntax).to_string(), "mariadb in container c: error 1064 at line 5");
        let unknown = "--------------\nINSERT INTO t VALUES ('jane')\n--------------\n";
        assert!(!error(unknown).to_string().contains("jane"));
    }
}
