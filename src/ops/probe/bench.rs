//! Where trials are made: a prefix of their own, what was found so far, and the way to leave nothing.

use super::finding::{Finding, Outcome, Probed, Trial};
use crate::error::{Result, counted};
use crate::ops::appliance::Surroundings;
use crate::ops::leftovers;
use crate::store::{Body, Entry, Key, PutMode, SharedStore, Trials};

/// Below this lie the folders of all probes.
const FOLDER: &str = "probe/";

/// The most that is read of an object, in bytes: more than any trial stores.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// The store, the prefix and the findings.
pub(super) struct Bench {
    pub store: SharedStore,
    pub around: Surroundings,
    prefix: String,
    found: Vec<Finding>,
    pub clock_skew_seconds: Option<i64>,
}

/// What came of a trial, with its sentence.
pub(super) type Seen = (Outcome, String);

/// It is as it should be.
pub(super) fn holds(said: impl Into<String>) -> Seen {
    (Outcome::Holds, said.into())
}

/// It is not, and Lifeboat works without.
pub(super) fn lacks(said: impl Into<String>) -> Seen {
    (Outcome::Lacks, said.into())
}

/// It is not, and backups could be lost.
pub(super) fn harms(said: impl Into<String>) -> Seen {
    (Outcome::Harms, said.into())
}

/// It could not be found out.
pub(super) fn not_tried(said: impl Into<String>) -> Seen {
    (Outcome::NotTried, said.into())
}

impl Bench {
    /// Chooses a prefix that nobody else has.
    pub fn begin(store: SharedStore, around: &Surroundings) -> Bench {
        let prefix = format!("{FOLDER}{}/", hex::encode(rand::random::<[u8; 8]>()));
        Bench { store, around: around.clone(), prefix, found: Vec::new(), clock_skew_seconds: None }
    }

    /// Returns the key of an object of this probe.
    pub fn key(&self, name: &str) -> Result<Key> {
        format!("{}{name}", self.prefix).parse()
    }

    /// Returns the prefix of some objects of this probe.
    pub fn below(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the calls that only trials make; a folder has none.
    pub fn trials(&self) -> Option<&dyn Trials> {
        self.store.trials()
    }

    /// Notes what came of a trial; one that failed otherwise than it could was not tried.
    pub fn take(&mut self, trial: Trial, seen: Result<Seen>) {
        self.note(trial, seen.unwrap_or_else(|e| not_tried(format!("could not be tried: {e}"))));
    }

    /// Notes what came of a trial.
    pub fn note(&mut self, trial: Trial, (outcome, said): Seen) {
        self.around.monitor.step(&format!("probe {trial}"));
        self.found.push(Finding { trial, outcome, said });
    }

    /// Tells whether a trial showed that the store does as needed.
    pub fn holds(&self, trial: Trial) -> bool {
        self.found.iter().any(|f| f.trial == trial && f.outcome == Outcome::Holds)
    }

    /// Stores an object over whatever is there.
    pub async fn put(&self, name: &str, bytes: &[u8]) -> Result<Entry> {
        self.store.put(&self.key(name)?, Body::from(bytes.to_vec()), PutMode::Replace).await
    }

    /// Reads an object or a version of it.
    pub async fn get(&self, name: &str, version: Option<&str>) -> Result<bytes::Bytes> {
        self.store.get(&self.key(name)?, version).await?.bytes(MOST_BYTES).await
    }

    /// Removes what this probe made and what earlier ones had to leave, and notes what stays.
    pub async fn clean_up(&mut self) {
        let seen = leftovers::remove(&self.store, FOLDER, &self.prefix).await;
        let said = match seen {
            Ok((removed, 0)) => holds(format!("gone: {} of this probe", counted(removed, "object"))),
            Ok((_, left)) => lacks(format!(
                "left below {FOLDER}: {}, locked for some minutes or not to be deleted; the next probe tries again",
                counted(left, "object")
            )),
            Err(e) => lacks(format!("objects stay below {}: {e}", self.prefix)),
        };
        self.note(Trial::CleanUp, said);
    }

    /// Returns all that was found.
    pub fn end(self) -> Probed {
        Probed {
            store: self.store.address(),
            at: self.around.now(),
            findings: self.found,
            clock_skew_seconds: self.clock_skew_seconds,
        }
    }
}
