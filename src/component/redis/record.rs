//! What a manifest keeps of a dumped Redis, and how a loaded one is compared with it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a stream of this component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Persistence {
    /// A tar of the append-only folder of Redis 7.
    Aof,
    /// One RDB file.
    Rdb,
}

/// How many keys a database has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// All keys, those whose time is up but that were not removed yet included.
    pub keys: u64,
    /// Those of them that go away by themselves.
    pub with_ttl: u64,
}

/// A dumped Redis, as the manifest keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisRecord {
    /// The server's version, such as `7.0.15`.
    pub version: String,
    /// What the stream is.
    pub persistence: Persistence,
    /// The folder with the data, inside the container.
    pub dir: String,
    /// The name of the append-only folder in it.
    pub appenddirname: String,
    /// The name that all append-only files begin with.
    pub appendfilename: String,
    /// The name of the RDB file.
    pub dbfilename: String,
    /// Settings that decide what becomes of the data: `maxmemory`, `maxmemory-policy`, `appendonly`, `save`.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Keys by database number; empty databases are left out.
    pub databases: BTreeMap<u32, Keys>,
    /// Jobs by queue: the lengths of the lists `rq:queue:…`, those outside of database 0 as `db<n>:rq:queue:…`.
    pub queues: BTreeMap<String, u64>,
    /// Whether writes went on between counting and the snapshot's instant, so that counts can only be compared roughly.
    #[serde(default)]
    pub moving: bool,
    /// How many keys and list items at most were changed in between; 0 where the counts are exact.
    #[serde(default)]
    pub changes: u64,
}

impl RedisRecord {
    /// Returns the folder inside the container that holds the data.
    pub fn data_folder(&self) -> &str {
        &self.dir
    }

    /// Returns the stream's name in the format.
    pub fn stream(&self) -> &'static str {
        match self.persistence {
            Persistence::Aof => "aof",
            Persistence::Rdb => "rdb",
        }
    }

    /// Tells whether the server loads append-only files when it starts, and so ignores an RDB file.
    pub(super) fn starts_from_aof(&self) -> bool {
        self.persistence == Persistence::Aof || self.config.get("appendonly").is_some_and(|v| v == "yes")
    }

    /// Tells whether the server keeps its append-only files in a folder, with a manifest.
    pub(super) fn has_folder(&self) -> bool {
        has_folder(&self.version)
    }

    /// The name of the append-only files' manifest.
    pub(super) fn manifest_name(&self) -> String {
        format!("{}.manifest", self.appendfilename)
    }
}

/// Tells whether a version has multi-part append-only files, as Redis has since 7.0.
pub(super) fn has_folder(version: &str) -> bool {
    version.split('.').next().and_then(|n| n.parse::<u32>().ok()).is_some_and(|major| major >= 7)
}

/// What a Redis holds now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys by database number; empty databases are left out.
    pub databases: BTreeMap<u32, Keys>,
    /// Jobs by queue, named as in [`RedisRecord::queues`].
    pub queues: BTreeMap<String, u64>,
}

impl Counts {
    /// Returns how a loaded Redis differs from what was dumped, as sentences; empty where it does not.
    ///
    /// Lasting keys and queue lengths must be equal; keys with a time to live may be fewer by now, but not more. Where
    /// writes went on while the dump was counted, each number may differ by as many changes as there were.
    pub fn compare(&self, record: &RedisRecord) -> Vec<String> {
        let mut found = Vec::new();
        for db in union(&self.databases, &record.databases) {
            let now = self.databases.get(&db).copied().unwrap_or_default();
            let then = record.databases.get(&db).copied().unwrap_or_default();
            let (a, b) = (now.keys.saturating_sub(now.with_ttl), then.keys.saturating_sub(then.with_ttl));
            if a.abs_diff(b) > record.changes {
                found.push(format!("database {db} has {a} lasting keys, the dump had {b}"));
            }
            if now.with_ttl > then.with_ttl.saturating_add(record.changes) {
                let (a, b) = (now.with_ttl, then.with_ttl);
                found.push(format!("database {db} has {a} keys with a time to live, the dump had {b}"));
            }
        }
        for queue in union(&self.queues, &record.queues) {
            let a = self.queues.get(&queue).copied().unwrap_or_default();
            let b = record.queues.get(&queue).copied().unwrap_or_default();
            if a.abs_diff(b) > record.changes {
                found.push(format!("{queue} has {a} jobs, the dump had {b}"));
            }
        }
        found
    }

    /// Returns the number of all keys.
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|k| k.keys).sum()
    }

    /// Returns the number of jobs in all queues.
    pub fn jobs(&self) -> u64 {
        self.queues.values().sum()
    }
}

fn union<K: Ord + Clone, A>(a: &BTreeMap<K, A>, b: &BTreeMap<K, A>) -> BTreeSet<K> {
    a.keys().chain(b.keys()).cloned().collect()
}

/// A record with a database of ten keys and a queue of three jobs, for tests.
#[cfg(test)]
pub(super) fn sample(persistence: Persistence, version: &str, appendonly: &str) -> RedisRecord {
    RedisRecord {
        version: version.into(),
        persistence,
        dir: "/data".into(),
        appenddirname: "appendonlydir".into(),
        appendfilename: "appendonly.aof".into(),
        dbfilename: "dump.rdb".into(),
        config: [("appendonly".to_owned(), appendonly.to_owned())].into(),
        databases: [(0, Keys { keys: 10, with_ttl: 4 })].into(),
        queues: [("rq:queue:x:short".to_owned(), 3)].into(),
        moving: false,
        changes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(keys: u64, with_ttl: u64, jobs: u64) -> Counts {
        Counts {
            databases: [(0, Keys { keys, with_ttl })].into(),
            queues: [("rq:queue:x:short".to_owned(), jobs)].into(),
        }
    }

    #[test]
    fn keys_that_expired_since_are_no_difference_but_lost_ones_are() {
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        assert_eq!(counts(10, 4, 3).compare(&record), Vec::<String>::new());
        assert_eq!(counts(6, 0, 3).compare(&record), Vec::<String>::new());
        assert_eq!(counts(5, 0, 3).compare(&record).len(), 1, "a lasting key lacks");
        assert_eq!(counts(11, 5, 3).compare(&record).len(), 1, "one more with a time to live");
        assert!(counts(10, 4, 2).compare(&record)[0].contains("rq:queue:x:short has 2 jobs, the dump had 3"));
    }

    #[test]
    fn an_empty_server_differs_in_every_database_and_queue() {
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        assert_eq!(Counts::default().compare(&record).len(), 2);
    }

    #[test]
    fn where_writes_went_on_counts_may_differ_by_the_changes_and_no_more() {
        let mut record = sample(Persistence::Rdb, "7.0.15", "no");
        (record.moving, record.changes) = (true, 2);
        assert_eq!(counts(12, 4, 1).compare(&record), Vec::<String>::new());
        assert_eq!(counts(13, 4, 6).compare(&record).len(), 2);
    }

    #[test]
    fn the_record_keeps_its_shape_as_json() {
        let record = sample(Persistence::Aof, "7.0.15", "yes");
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["persistence"], "aof");
        assert_eq!(json["databases"]["0"]["with_ttl"], 4);
        assert_eq!(serde_json::from_value::<RedisRecord>(json).unwrap(), record);
        assert!(super::has_folder("7.0.15") && super::has_folder("10.1") && !super::has_folder("6.2.14"));
    }
}
