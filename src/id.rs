//! Names and identifiers; parsing one is validating it.
//!
//! Owns how each identifier is spelled. Every one that becomes part of a store key or a path is
//! limited to `[a-z0-9-]` (hex where it is a hash), so that no key needs escaping anywhere.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Declares a validated string newtype with `Display`, `FromStr` and serde through `String`.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $check:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(s: &str) -> Result<Self> {
                let check: fn(&str) -> bool = $check;
                if check(s) {
                    Ok($name(s.to_owned()))
                } else {
                    Err(Error::new(Kind::Usage, format!(concat!("{:?} is not a ", $noun), s)).hint($rule))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(s: String) -> Result<Self> {
                s.parse()
            }
        }

        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

fn is_label(s: &str) -> bool {
    (1..=40).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !s.starts_with('-')
        && !s.ends_with('-')
}

fn is_hex(s: &str, len: usize) -> bool {
    s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

name_type!(
    /// The name of a tenant, as configured and as it stands in store keys.
    TenantName, "tenant name", is_label,
    "use 1 to 40 of a-z, 0-9 and -, not at the ends"
);
name_type!(
    /// The name of a host that writes to the repository.
    HostName, "host name", is_label,
    "use 1 to 40 of a-z, 0-9 and -, not at the ends"
);
name_type!(
    /// A repository's random identity: 32 hex digits.
    RepositoryId, "repository id", |s| is_hex(s, 32),
    "it is 32 hex digits, as lifeboat.json holds them"
);
name_type!(
    /// A vault key pair's identity: the first 32 hex digits of the SHA-256 of its age recipient text.
    VaultId, "vault id", |s| is_hex(s, 32),
    "it is 32 hex digits"
);
name_type!(
    /// A snapshot: UTC time of its start and 8 random hex digits, `20261123t020000z-1a2b3c4d`; sorts by time.
    SnapshotId, "snapshot id", is_stamped,
    "it looks like 20261123t020000z-1a2b3c4d; `lifeboat snapshots` lists them"
);
name_type!(
    /// A drill, spelled as a snapshot id is.
    DrillId, "drill id", is_stamped,
    "it looks like 20261123t020000z-1a2b3c4d"
);

fn is_stamped(s: &str) -> bool {
    let b = s.as_bytes();
    b.len() == 25
        && b[8] == b't'
        && b[15] == b'z'
        && b[16] == b'-'
        && [&b[..8], &b[9..15]].iter().all(|part| part.iter().all(u8::is_ascii_digit))
        && is_hex(&s[17..], 8)
}

fn stamped(at: Timestamp, random: [u8; 4]) -> String {
    format!("{}-{}", at.strftime("%Y%m%dt%H%M%Sz"), hex::encode(random))
}

impl SnapshotId {
    /// Makes the id of a snapshot that starts `at`.
    pub fn new(at: Timestamp, random: [u8; 4]) -> Self {
        SnapshotId(stamped(at, random))
    }
}

impl DrillId {
    /// Makes the id of a drill that starts `at`.
    pub fn new(at: Timestamp, random: [u8; 4]) -> Self {
        DrillId(stamped(at, random))
    }
}

impl RepositoryId {
    /// Makes an id from 16 random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        RepositoryId(hex::encode(random))
    }
}

/// A SHA-256: of a pack object it is the pack's name, of a stream or file it is its digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

/// The name of a pack: the SHA-256 of the whole object.
pub type PackId = Sha256;

/// A chunk's keyed id: the first 16 bytes of HMAC-SHA256 under the tenant's dedup key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 16]);

impl Sha256 {
    /// Returns the SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Sha256(sha2::Sha256::digest(bytes).into())
    }

    /// Returns the first 12 hex digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({})", self.short())
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({})", hex::encode(self.0))
    }
}

impl FromStr for Sha256 {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        let mut out = [0; 32];
        if s.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(s, &mut out).is_err() {
            return Err(Error::new(Kind::Usage, format!("{s:?} is not a SHA-256 (64 lowercase hex digits)")));
        }
        Ok(Sha256(out))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<Sha256> for String {
    fn from(h: Sha256) -> String {
        h.to_string()
    }
}

/// One recoverable part of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentName {
    /// The site's MariaDB database.
    Database,
    /// The Redis that caches.
    RedisCache,
    /// The Redis that holds jobs.
    RedisQueue,
    /// The site directory.
    Files,
    /// site_config.json, common configuration, compose files, container specifications.
    Config,
    /// TLS certificates and keys.
    Certs,
}

impl ComponentName {
    /// All components in the order in which a backup takes them.
    pub const ALL: [ComponentName; 6] = [
        ComponentName::Database,
        ComponentName::RedisQueue,
        ComponentName::RedisCache,
        ComponentName::Files,
        ComponentName::Config,
        ComponentName::Certs,
    ];

    /// Returns the name as it stands in manifests, receipts and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ComponentName::Database => "database",
            ComponentName::RedisCache => "redis-cache",
            ComponentName::RedisQueue => "redis-queue",
            ComponentName::Files => "files",
            ComponentName::Config => "config",
            ComponentName::Certs => "certs",
        }
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ComponentName {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        ComponentName::ALL.into_iter().find(|c| c.as_str() == s).ok_or_else(|| {
            Error::new(Kind::Usage, format!("{s:?} is not a component"))
                .hint("components are database, redis-cache, redis-queue, files, config, certs")
        })
    }
}

/// How far a snapshot was proven; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProofLevel {
    /// Receipt present, signature good.
    #[serde(rename = "L0")]
    Listed,
    /// Every object there, its hash equal to its name.
    #[serde(rename = "L1")]
    Intact,
    /// Every stream decrypted, decompressed and equal to its digest.
    #[serde(rename = "L2")]
    Readable,
    /// Loaded into fresh servers and dumped again, equal.
    #[serde(rename = "L3")]
    Loaded,
    /// A fresh tenant booted from it and answered.
    #[serde(rename = "L4")]
    Alive,
    /// The same on an empty host, from recovery kit and bucket only.
    #[serde(rename = "L5")]
    FromNothing,
}

impl ProofLevel {
    /// All levels, lowest first.
    pub const ALL: [ProofLevel; 6] = [
        ProofLevel::Listed,
        ProofLevel::Intact,
        ProofLevel::Readable,
        ProofLevel::Loaded,
        ProofLevel::Alive,
        ProofLevel::FromNothing,
    ];

    /// Returns the level as it is written, `L0` to `L5`.
    pub fn as_str(self) -> &'static str {
        ["L0", "L1", "L2", "L3", "L4", "L5"][self as usize]
    }
}

impl fmt::Display for ProofLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ProofLevel {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        ProofLevel::ALL.into_iter().find(|l| l.as_str() == s).ok_or_else(|| {
            Error::new(Kind::Usage, format!("{s:?} is not a proof level")).hint("levels are L0 to L5")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "A", "-a", "a-", "ä", "a b", &"x".repeat(41)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad:?}");
        }
        assert_eq!("byrne-2".parse::<TenantName>().unwrap().as_str(), "byrne-2");
    }

    #[test]
    fn snapshot_ids_sort_by_time_and_round_trip() {
        let a = SnapshotId::new("2026-11-23T02:00:00Z".parse().unwrap(), [1, 2, 3, 4]);
        let b = SnapshotId::new("2026-11-23T02:00:01Z".parse().unwrap(), [0, 0, 0, 0]);
        assert_eq!(a.as_str(), "20261123t020000z-01020304");
        assert!(a < b);
        assert_eq!(a.as_str().parse::<SnapshotId>().unwrap(), a);
        assert!("20261123t020000z-0102030g".parse::<SnapshotId>().is_err());
    }

    #[test]
    fn uppercase_hex_is_not_a_second_spelling_of_a_hash() {
        let h = Sha256::of(b"x");
        assert_eq!(h.to_string().parse::<Sha256>().unwrap(), h);
        assert!(h.to_string().to_uppercase().parse::<Sha256>().is_err());
    }
}
