//! What the manifest keeps of a database besides its stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scan::BinlogPosition;
use crate::component::fernet::FernetProof;
use crate::id::Sha256;

/// What a restore and a drill need to know of a dumped database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRecord {
    /// Its name.
    pub database: String,
    /// The server's version, such as `10.11.19-MariaDB`.
    pub server_version: String,
    /// What the dump program says of itself.
    pub client_version: String,
    /// The database's default character set.
    pub charset: String,
    /// The database's default collation.
    pub collation: String,
    /// Settings of the server that data or statements may depend on.
    pub options: BTreeMap<String, String>,
    /// Where the binlog stood at the dump's instant, where there is one.
    pub binlog: Option<BinlogPosition>,
    /// Its tables, by name.
    pub tables: BTreeMap<String, TableRecord>,
    /// Its sequences.
    pub sequences: Vec<String>,
    /// Its views.
    pub views: Vec<String>,
    /// Its triggers.
    pub triggers: Vec<String>,
    /// Its routines.
    pub routines: Vec<Routine>,
    /// Its events.
    pub events: Vec<String>,
    /// Triggers, routines, events and defaults that name the database: under another name they reach the old one.
    #[serde(default)]
    pub names_schema: Vec<String>,
    /// The accounts that views belong to.
    #[serde(default)]
    pub definers: Vec<DefinerRecord>,
    /// The digest of the dump's body, by which two dumps are equal.
    pub body_sha256: Sha256,
    /// Whether the dump was taken with `--routines`; a second dump that shall be equal needs the same.
    pub with_routines: bool,
    /// Whether the dump was taken with `--events`.
    pub with_events: bool,
    /// The dump's length, in bytes.
    pub size_bytes: u64,
    /// Who may use the database.
    pub users: Vec<UserRecord>,
    /// What the stored secrets say of the site's `encryption_key`.
    pub fernet: FernetProof,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Its storage engine.
    pub engine: String,
    /// Its rows, counted in the stream; nothing where the client writes several a line.
    pub rows: Option<u64>,
}

/// An account that views belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinerRecord {
    /// The account, as `user@host`.
    pub account: String,
    /// Whether it was there and could read the database when that was dumped.
    pub able: bool,
}

/// A routine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Routine {
    /// `procedure`, `function`, `package` or `package body`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// An account that may use the database; its statements hold password hashes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The account's name.
    pub user: String,
    /// From where it may come.
    pub host: String,
    /// The statement that makes it.
    pub create: String,
    /// The statements that give it its rights.
    pub grants: Vec<String>,
}

impl std::fmt::Debug for UserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserRecord({}@{})", self.user, self.host)
    }
}

impl std::fmt::Display for Routine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
