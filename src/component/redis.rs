//! The components `redis-cache` and `redis-queue`: the data of a Redis in a container.
//!
//! Promises: bytes and counts of one instant, cut between two commands while writes go on; files that are pinned
//! while they are read, so that a rewrite cannot take them away; success only for a dump that has every byte it
//! announced; nothing left behind in the container, however Lifeboat ends. Does not promise: keys whose time is up
//! between dump and restore; access rules (ACL) and configuration, which belong to the container's description.
//!
//! Where AOF is on, stream `aof` is a tar of the append-only folder of Redis 7 (manifest, base, increments). Where
//! it is off, or older than that, stream `rdb` is one RDB file, as a replica gets it. Everything runs in the server's own
//! container; secrets go there as the first lines of a script's stdin. Source of the formats: redis.io,
//! "Redis persistence", and what Redis 7.0.15 was seen to do.

mod aof;
mod check;
mod commands;
mod connect;
mod dump;
mod hints;
mod layout;
mod look;
mod manifest;
mod place;
mod rdb;
mod record;
mod serve;
mod vitals;

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::host::Docker;

pub use check::check_files;
pub use dump::dump;
pub use manifest::{Manifest as AofManifest, Part as AofPart};
pub use place::{Placed, place, stage, sweep};
pub use record::{Counts, Keys, Persistence, RedisRecord};
pub use serve::{count, flush_site_keys, is_open, wait_ready};
pub use vitals::{Vitals, Worker, vitals, workers};

/// Who talks to the server.
#[derive(Clone)]
pub enum Credentials {
    /// Whoever the container itself says: `--requirepass` of its command or configuration file, or `REDIS_PASSWORD` or
    /// `REDIS_PASSWORD_FILE` of its environment; else nobody in particular.
    Container,
    /// A user with a password.
    User {
        /// The user's name; the default user where there is none.
        user: Option<String>,
        /// The password.
        password: SecretString,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Container => f.write_str("Container"),
            Credentials::User { user, .. } => write!(f, "User({})", user.as_deref().unwrap_or("default")),
        }
    }
}

/// What to dump.
#[derive(Debug, Clone)]
pub struct RedisSource {
    /// The connection to Docker.
    pub docker: Docker,
    /// The container's name.
    pub container: String,
    /// Who talks to the server.
    pub credentials: Credentials,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// How long a dump may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From its start to its end.
    pub stage: Duration,
    /// Without a single byte of progress, or for a rewrite of the append-only files to end.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { stage: Duration::from_secs(6 * 3600), idle: Duration::from_secs(15 * 60) }
    }
}

/// A Redis server in a container, and how to log in to it.
struct Server {
    docker: Docker,
    container: String,
    /// The first lines of every script's stdin.
    login: zeroize::Zeroizing<String>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis in container {}", self.container)
    }
}
