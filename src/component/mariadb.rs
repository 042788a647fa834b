//! The component `database`: a site's MariaDB database, as SQL.
//!
//! Promises: one consistent snapshot of all InnoDB tables without a lock that users feel; bytes that repeat from
//! night to night where rows do; success only for a dump that is whole, with every object the server named before it.
//! Does not promise: that MyISAM and Aria tables fit the others' instant; users and grants inside the stream (they stand in
//! the record); objects that the dumping user may not see.
//!
//! Everything runs in the database's own container, so that client and server match. Secrets go there as the first
//! lines of a script's stdin, or are never taken out of the container at all.

mod account;
mod connect;
mod databases;
mod definers;
mod dump;
mod fault;
mod judge;
mod load;
mod plan;
mod preflight;
mod proof;
mod record;
mod replica;
mod scan;
mod users;
mod views;
mod vitals;

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

pub use account::{SiteAccount, prove_readable, proves_password};
pub use databases::{
    Swapped, database_bytes, database_exists, drop_database, empty_out, end_sessions, has_tables,
    prove_encryption_key, refuse_immovable, remove_database, server_version, swap, wait_ready,
};
pub use definers::{Lent, lend};
pub use dump::{DatabaseSource, dump, dump_body_digest};
pub use fault::{Retry, retry_of};
pub use load::{LoadOptions, Loaded, load};
pub use preflight::Orphan;
pub use proof::{Ledger, SequenceUse, StoredFile, ask, ledger, sequences, stored_files};
pub use record::{DatabaseRecord, DefinerRecord, Routine, TableRecord, UserRecord};
pub use replica::{
    Following, Replication, allow_replica, follow, following, refuse_replica, replication, resume,
    take_writes,
};
pub use scan::{BinlogPosition, Scan, Scanned};
pub use users::{
    Account, NewUser, Rights, admit, create_user, drop_accounts, let_in, missing, recreate_users, rights_of,
};
pub use vitals::{LongQuery, Vitals, crashed, vitals};

/// The name of the component's only stream.
pub const STREAM: &str = "sql";

/// Who talks to the server.
#[derive(Clone)]
pub enum Credentials {
    /// `root`, with the password in the container's own environment or secret file, which does not leave it; else
    /// by the server's socket.
    Container,
    /// A user with a password.
    User {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A site's own account, which is believed by its password alone and by no socket that knows the caller.
    Site {
        /// The account's name.
        user: String,
        /// The password.
        password: SecretString,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Container => f.write_str("Container"),
            Credentials::User { user, .. } => write!(f, "User({user})"),
            Credentials::Site { user, .. } => write!(f, "Site({user})"),
        }
    }
}

/// A MariaDB server in a container, and who talks to it.
#[derive(Debug, Clone)]
pub struct Server {
    /// The connection to Docker.
    pub docker: crate::host::Docker,
    /// The container's name.
    pub container: String,
    /// Who talks to it.
    pub credentials: Credentials,
}

/// How long a dump or load may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From its start to its end.
    pub stage: Duration,
    /// Without a single byte of progress.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { stage: Duration::from_secs(6 * 3600), idle: Duration::from_secs(15 * 60) }
    }
}
