//! What a probe finds out: each trial with its outcome and one sentence, and what follows from all of them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing that is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trial {
    /// What is stored comes back bit for bit, of its length, an empty object too.
    Bytes,
    /// A part of an object is the part that was asked for.
    Ranges,
    /// What was just stored is listed.
    Listing,
    /// A body under a wrong checksum is refused.
    Checksums,
    /// An upload in parts that is ended early leaves nothing.
    Parts,
    /// The store's clock and this host's agree.
    Clock,
    /// A create-only put of a key that is there is refused.
    CreateOnly,
    /// Of several racing create-only puts exactly one wins, and its bytes are there, whole.
    Race,
    /// Replacing only what was read before works, and of several racing ones exactly one wins.
    Swap,
    /// An overwritten object's old version can still be read.
    Versions,
    /// A deleted object's version can still be read.
    Markers,
    /// A version in compliance lock can neither be deleted nor unlocked sooner.
    Compliance,
    /// A version in governance lock cannot be deleted, not even by claiming the right to.
    Governance,
    /// Whether this credential may delete.
    Delete,
    /// Whether this credential may delete versions.
    DeleteVersions,
    /// Whether this credential may switch versions off.
    SetVersioning,
    /// Whether this credential may have objects removed by rules.
    SetLifecycle,
    /// No rule of the store removes our objects by itself.
    Expiry,
    /// The store locks nothing of its own accord.
    DefaultLock,
    /// What the probe made is gone again.
    CleanUp,
}

impl Trial {
    /// All trials, in their order.
    pub const ALL: [Trial; 20] = [
        Trial::Bytes,
        Trial::Listing,
        Trial::Ranges,
        Trial::Checksums,
        Trial::Parts,
        Trial::Clock,
        Trial::CreateOnly,
        Trial::Race,
        Trial::Swap,
        Trial::Versions,
        Trial::Markers,
        Trial::Delete,
        Trial::DeleteVersions,
        Trial::Compliance,
        Trial::Governance,
        Trial::SetVersioning,
        Trial::SetLifecycle,
        Trial::Expiry,
        Trial::DefaultLock,
        Trial::CleanUp,
    ];

    /// Returns the trial's name.
    pub fn word(self) -> &'static str {
        match self {
            Trial::Bytes => "bytes",
            Trial::Ranges => "ranges",
            Trial::Listing => "listing",
            Trial::Checksums => "checksums",
            Trial::Parts => "parts",
            Trial::Clock => "clock",
            Trial::CreateOnly => "create-only",
            Trial::Race => "race",
            Trial::Swap => "swap",
            Trial::Versions => "versions",
            Trial::Markers => "markers",
            Trial::Compliance => "compliance",
            Trial::Governance => "governance",
            Trial::Delete => "delete",
            Trial::DeleteVersions => "delete-versions",
            Trial::SetVersioning => "set-versioning",
            Trial::SetLifecycle => "set-lifecycle",
            Trial::Expiry => "expiry",
            Trial::DefaultLock => "default-lock",
            Trial::CleanUp => "clean-up",
        }
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is as Lifeboat would have it.
    Holds,
    /// It is not; Lifeboat works without, and protects less.
    Lacks,
    /// It is not, and backups here could be lost.
    Harms,
    /// Nobody knows.
    NotTried,
}

impl Outcome {
    /// Returns the outcome's name.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Holds => "holds",
            Outcome::Lacks => "lacks",
            Outcome::Harms => "HARMS",
            Outcome::NotTried => "not tried",
        }
    }
}

/// A trial, its outcome and a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was tried.
    pub trial: Trial,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen.
    pub said: String,
}

/// What keeps an intruder with this host's credential from destroying what was written before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Compliance locks hold, for objects that a policy has locked.
    Locks,
    /// Versions are kept, and this credential can neither delete them nor have them deleted.
    Versions,
    /// Nothing that was seen.
    None,
}

/// All that a probe found out about a store and a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// The store's address.
    pub store: String,
    /// When, by this host's clock.
    pub at: Timestamp,
    /// What was tried, in order.
    pub findings: Vec<Finding>,
    /// The store's clock less this host's, in seconds.
    pub clock_skew_seconds: Option<i64>,
}

impl Probed {
    /// Returns what came of a trial.
    pub fn outcome(&self, trial: Trial) -> Outcome {
        self.findings.iter().find(|f| f.trial == trial).map_or(Outcome::NotTried, |f| f.outcome)
    }

    /// Tells whether a trial showed that the store does as needed.
    pub fn holds(&self, trial: Trial) -> bool {
        self.outcome(trial) == Outcome::Holds
    }

    /// Tells whether create-only puts can be believed.
    pub fn creates_only(&self) -> bool {
        self.holds(Trial::CreateOnly) && self.holds(Trial::Race)
    }

    /// Tells whether something was seen that would lose backups.
    pub fn harms(&self) -> bool {
        self.findings.iter().any(|f| f.outcome == Outcome::Harms)
    }

    /// Returns what keeps an intruder on this host from destroying backups.
    pub fn protection(&self) -> Protection {
        let versions = [Trial::Versions, Trial::Markers, Trial::DeleteVersions, Trial::SetVersioning];
        let beyond_reach = versions.iter().all(|t| self.holds(*t)) && self.holds(Trial::SetLifecycle);
        match (self.holds(Trial::Compliance), beyond_reach) {
            (true, _) => Protection::Locks,
            (false, true) => Protection::Versions,
            (false, false) => Protection::None,
        }
    }

    /// Returns the sentence that sums it up.
    pub fn sentence(&self) -> &'static str {
        if self.harms() {
            return "Do not store backups here: what is stored can be lost.";
        }
        match self.protection() {
            Protection::Locks => {
                "Locks hold: what a policy with [lock] mode = \"compliance\" writes is beyond this host's reach."
            }
            Protection::Versions => {
                "Versions are kept and this credential can remove none: what was written is beyond this host's reach."
            }
            Protection::None => {
                "Not protected: whoever has this host's credential can destroy what was written before."
            }
        }
    }

    /// Returns what an operator should know, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let told = self.findings.iter().filter(|f| matches!(f.outcome, Outcome::Lacks | Outcome::Harms));
        told.map(|f| format!("{}: {}", f.trial, f.said)).collect()
    }
}
