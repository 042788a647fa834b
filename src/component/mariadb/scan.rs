//! Reading a dump as it passes: is it whole, what is in it, and what is its digest?
//!
//! Source of the format: `mariadb-dump` 10.6 to 11.8. Every statement starts a line; strings escape line feeds, so
//! each row of an extended INSERT is one line; bodies of routines, triggers and events stand between `DELIMITER ;;` and
//! `DELIMITER ;`. Memory is bounded: of a longer line only the first [`HEAD_BYTES`] are looked at.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::id::Sha256;

const HEAD_BYTES: usize = 4096;

/// What a dump turned out to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Its length, in bytes.
    pub size_bytes: u64,
    /// Whether it begins as a dump does.
    pub header: bool,
    /// Whether it ends in `-- Dump completed`.
    pub trailer: bool,
    /// SHA-256 of the bytes between header block and trailer, without binlog positions and without the database's
    /// name in the two comments that tell it.
    pub body_sha256: Option<Sha256>,
    /// Where the binlog stood.
    pub binlog: Option<BinlogPosition>,
    /// Rows by table; nothing for a table whose rows do not stand one a line.
    pub tables: BTreeMap<String, Option<u64>>,
    /// Sequences.
    pub sequences: BTreeSet<String>,
    /// Views, with their final definition.
    pub views: BTreeSet<String>,
    /// How many triggers.
    pub triggers: usize,
    /// Routines: `procedure p`, `function f`, `package p`, `package body p`.
    pub routines: BTreeSet<String>,
    /// Events.
    pub events: BTreeSet<String>,
}

/// A position in the server's binary log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinlogPosition {
    /// The log file.
    pub file: String,
    /// The offset in it.
    pub position: u64,
    /// The global transaction ids, where the dump tells them.
    pub gtid: Option<String>,
}

/// Reads a dump piece by piece.
#[derive(Debug)]
pub struct Scan {
    found: Scanned,
    body: sha2::Sha256,
    place: Place,
    /// The beginning of a line whose end has not come yet.
    carry: Vec<u8>,
    /// Whether the rest of the line in hand follows without being looked at.
    long: bool,
    /// The last bytes of that long line.
    last: [u8; 2],
    /// What counts only if something follows: an empty line, or the trailer.
    held: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Header,
    Preamble,
    Statements,
    Rows(String),
    /// Between delimiters; `true` in its first line.
    Body(bool),
    Position,
}

impl Default for Scan {
    fn default() -> Self {
        Scan::new()
    }
}

impl Scan {
    /// Begins.
    pub fn new() -> Self {
        Scan {
            found: Scanned::default(),
            body: sha2::Sha256::new(),
            place: Place::Header,
            carry: Vec::new(),
            long: false,
            last: [0; 2],
            held: Vec::new(),
        }
    }

    /// Reads on.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.found.size_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.long {
                self.go_on(piece, end.is_some());
            } else if end.is_some() && self.carry.is_empty() {
                self.line(piece);
            } else {
                self.carry.extend_from_slice(piece);
                if end.is_some() || self.carry.len() > HEAD_BYTES {
                    let line = std::mem::take(&mut self.carry);
                    self.line(&line);
                    self.long = end.is_none();
                }
            }
            bytes = rest;
        }
    }

    /// Ends, and says what was there.
    pub fn finish(mut self) -> Scanned {
        if !self.carry.is_empty() {
            let line = std::mem::take(&mut self.carry);
            self.line(&line);
        }
        self.found.trailer = self.held.starts_with(b"-- Dump completed") && self.held.ends_with(b"\n");
        if !self.found.trailer {
            self.body.update(&self.held);
        }
        self.found.body_sha256 = self.found.header.then(|| Sha256(self.body.finalize().into()));
        self.found
    }

    fn go_on(&mut self, piece: &[u8], ends: bool) {
        if self.place != Place::Header {
            self.body.update(piece);
        }
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        for byte in text.iter().skip(text.len().saturating_sub(2)) {
            self.last = [self.last[1], *byte];
        }
        if ends {
            self.long = false;
            if matches!(self.place, Place::Rows(_)) && self.last == *b");" {
                self.place = Place::Statements;
            }
        }
    }

    /// Takes a line with its line feed, or the head of a long one.
    fn line(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        self.last = text.last_chunk().copied().unwrap_or_default();
        let whole = line.ends_with(b"\n");
        match &mut self.place {
            Place::Header => self.header_line(text),
            Place::Preamble => self.preamble_line(line, text),
            Place::Position if text.is_empty() || text.starts_with(b"--") => self.position_line(text),
            Place::Position | Place::Statements => {
                self.place = Place::Statements;
                self.statement_line(line, text);
            }
            Place::Rows(table) => {
                self.body.update(line);
                let rows = self.found.tables.entry(table.clone()).or_default();
                *rows = rows.filter(|_| text.starts_with(b"(")).map(|n| n + 1);
                if whole && text.ends_with(b");") {
                    self.place = Place::Statements;
                }
            }
            Place::Body(first) => {
                self.body.update(line);
                if std::mem::take(first) && text.starts_with(b"/*!50003 CREATE") {
                    self.found.triggers += 1;
                }
                if text == b"DELIMITER ;" {
                    self.place = Place::Statements;
                }
            }
        }
    }

    fn header_line(&mut self, text: &[u8]) {
        if text.starts_with(b"-- Server version") {
            self.found.header = true;
            self.place = Place::Preamble;
        }
    }

    /// Comments before the first object only tell binlog positions.
    fn preamble_line(&mut self, line: &[u8], text: &[u8]) {
        let begins = [&b"-- Table "[..], b"-- Sequence ", b"-- Temporary ", b"-- Dumping ", b"-- Final "];
        if begins.iter().any(|b| text.starts_with(b)) {
            self.place = Place::Statements;
            self.statement_line(line, text);
        } else if text.starts_with(b"-- CHANGE MASTER TO MASTER_LOG_FILE=") {
            self.found.binlog = position(text).or(self.found.binlog.take());
        } else if !text.is_empty() && !text.starts_with(b"--") {
            self.body.update(line);
        }
    }

    fn position_line(&mut self, text: &[u8]) {
        let gtid = text.strip_prefix(b"-- SET GLOBAL gtid_slave_pos=").and_then(between_quotes);
        if let (Some(gtid), Some(binlog)) = (gtid, &mut self.found.binlog) {
            binlog.gtid = Some(gtid);
        }
    }

    fn statement_line(&mut self, line: &[u8], text: &[u8]) {
        if text.starts_with(b"-- The deferred gtid setting") {
            self.held.clear();
            self.place = Place::Position;
            return;
        }
        let held = std::mem::take(&mut self.held);
        self.body.update(&held);
        if text.is_empty() || text.starts_with(b"-- Dump completed") {
            self.held = line.to_vec();
            return;
        }
        if let Some(known) = without_name(text) {
            self.body.update(known);
            self.body.update(b"\n");
            return;
        }
        self.body.update(line);
        self.note(text);
    }

    /// Notes what a line of a statement defines.
    fn note(&mut self, text: &[u8]) {
        let found = &mut self.found;
        if text == b"DELIMITER ;;" {
            self.place = Place::Body(true);
        } else if let Some(table) = named(text, b"INSERT INTO ") {
            if text.ends_with(b" VALUES") {
                self.place = Place::Rows(table);
            } else {
                found.tables.insert(table, None);
            }
        } else if let Some(table) = named(text, b"-- Dumping data for table ") {
            found.tables.insert(table, Some(0));
        } else if let Some(table) = named(text, b"CREATE TABLE ") {
            found.tables.entry(table).or_insert(None);
        } else if let Some(sequence) = named(text, b"CREATE SEQUENCE ") {
            found.sequences.insert(sequence);
        } else if let Some(view) = named(text, b"/*!50001 VIEW ") {
            found.views.insert(view);
        } else if let Some(event) = named(text, b"/*!50106 DROP EVENT IF EXISTS ") {
            found.events.insert(event);
        } else {
            let kinds = ["PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY"];
            found.routines.extend(kinds.iter().find_map(|kind| {
                let name = named(text, format!("/*!50003 DROP {kind} IF EXISTS ").as_bytes())?;
                Some(format!("{} {name}", kind.to_lowercase()))
            }));
        }
    }
}

/// Returns the comment without the database's name where it is one of the two that hold it.
fn without_name(text: &[u8]) -> Option<&'static [u8]> {
    let known: [&'static [u8]; 2] = [b"-- Dumping events for database", b"-- Dumping routines for database"];
    known.into_iter().find(|k| text.starts_with(k))
}

/// Returns the quoted identifier that follows `prefix`.
fn named(text: &[u8], prefix: &[u8]) -> Option<String> {
    let mut rest = text.strip_prefix(prefix)?.strip_prefix(b"`")?.iter().copied().peekable();
    let mut name = Vec::new();
    while let Some(byte) = rest.next() {
        if byte == b'`' && rest.next_if_eq(&b'`').is_none() {
            return String::from_utf8(name).ok();
        }
        name.push(byte);
    }
    None
}

fn position(text: &[u8]) -> Option<BinlogPosition> {
    let text = std::str::from_utf8(text).ok()?;
    let (file, rest) = text.split_once("MASTER_LOG_FILE='")?.1.split_once('\'')?;
    let digits: String =
        rest.split_once("MASTER_LOG_POS=")?.1.chars().take_while(char::is_ascii_digit).collect();
    Some(BinlogPosition { file: file.to_owned(), position: digits.parse().ok()?, gtid: None })
}

fn between_quotes(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    Some(text.split_once('\'')?.1.split_once('\'')?.0.to_owned())
}

#[cfg(test)]
mod tests;
