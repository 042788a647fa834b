//! What a night's component measures: from what passed through its dump, nothing is read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::component::files;
use crate::component::mariadb::{DatabaseRecord, TableRecord};
use crate::id::ComponentName;

/// One component of one night.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The lengths of its streams, in bytes; of `files`, of the contents alone.
    pub bytes: u64,
    /// Bytes of chunks that were not known.
    pub new_bytes: u64,
    /// The same, compressed.
    pub compressed_bytes: u64,
    /// Rows by table, where they were counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, u64>,
}

/// What was new in a night.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes of chunks that were not known.
    pub new_bytes: u64,
    /// The same, compressed.
    pub compressed_bytes: u64,
}

impl Measured {
    /// Takes sizes from the streams, and the rest from what the dump says of itself; nothing of components that change
    /// as a site works.
    pub fn of(component: ComponentName, sizes: Share, record: &serde_json::Value) -> Option<Measured> {
        let Share { bytes, new_bytes, compressed_bytes } = sizes;
        let measured = Measured { bytes, new_bytes, compressed_bytes, tables: BTreeMap::new() };
        match component {
            ComponentName::Database => {
                let record = DatabaseRecord::deserialize(record).ok()?;
                let rows = |(name, t): (String, TableRecord)| Some((name, t.rows?));
                Some(Measured { tables: record.tables.into_iter().filter_map(rows).collect(), ..measured })
            }
            ComponentName::Files => {
                let record = files::Record::parse(record).ok()?;
                Some(Measured { bytes: record.totals.bytes, ..measured })
            }
            _ => None,
        }
    }

    /// Returns what was new.
    pub fn share(&self) -> Share {
        Share { bytes: self.bytes, new_bytes: self.new_bytes, compressed_bytes: self.compressed_bytes }
    }
}
