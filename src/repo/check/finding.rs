//! What a check can find wrong, told apart by a word each, and the sentence that says so.
//!
//! Owns the words and what each means for whoever reads them. Knows nothing of how anything is found.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::error::{Error, Kind};
use crate::id::{ComponentName, SnapshotId};

/// In what way an object, or the row of receipts, is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// It is not there, or no more.
    Missing,
    /// It is there, with other bytes than were written.
    Damaged,
    /// Its newest version is wrong; an older, right one is kept and read.
    Overwritten,
    /// It is behind a delete marker; a right version is kept and read.
    Deleted,
    /// It holds the bytes of another object.
    Swapped,
    /// It is a signed object that was right under another name.
    Replayed,
    /// Its signature is not that of who may sign it.
    Forged,
    /// The store shows less than this host has seen.
    RolledBack,
    /// Two receipts have the same number.
    Fork,
    /// A receipt follows another one than the one before it.
    Unlinked,
    /// It was signed under a certificate that lacks or is not right.
    Unverifiable,
    /// A receipt that came after the end which the operators signed for its host's key.
    Ended,
    /// A receipt gives a time after that at which the store took it.
    FutureDated,
    /// A receipt gives a time before that of the one before it.
    BackDated,
    /// It is of a later format.
    TooNew,
    /// A pack that was given up by a void mark, and older snapshots still need.
    GivenUp,
    /// It belongs to a snapshot that was begun and never committed.
    Unfinished,
    /// The store did not let it be looked at.
    Unread,
}

impl Wrong {
    /// Returns the stable word for it in JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Wrong::Missing => "missing",
            Wrong::Damaged => "damaged",
            Wrong::Overwritten => "overwritten",
            Wrong::Deleted => "deleted",
            Wrong::Swapped => "swapped",
            Wrong::Replayed => "replayed",
            Wrong::Forged => "forged",
            Wrong::RolledBack => "rolled-back",
            Wrong::Fork => "fork",
            Wrong::Unlinked => "unlinked",
            Wrong::Unverifiable => "unverifiable",
            Wrong::Ended => "ended",
            Wrong::FutureDated => "future-dated",
            Wrong::BackDated => "back-dated",
            Wrong::TooNew => "too-new",
            Wrong::GivenUp => "given-up",
            Wrong::Unfinished => "unfinished",
            Wrong::Unread => "unread",
        }
    }

    /// Tells whether somebody must look. A run that died, and what was signed for, is known.
    pub fn is_alarm(self) -> bool {
        !matches!(self, Wrong::Unfinished | Wrong::GivenUp | Wrong::Ended)
    }

    /// Returns what an error of reading an object means.
    pub fn of(error: &Error) -> Wrong {
        match error.kind() {
            Kind::NotFound => Wrong::Missing,
            Kind::Forged => Wrong::Forged,
            Kind::Ended => Wrong::Ended,
            Kind::TooNew => Wrong::TooNew,
            Kind::Store | Kind::Timeout | Kind::Denied | Kind::Io | Kind::Full => Wrong::Unread,
            _ => Wrong::Damaged,
        }
    }
}

/// One thing that a check found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In what way.
    pub wrong: Wrong,
    /// The object's key, a prefix where it is not one object, or a stream as `component/stream`.
    pub object: String,
    /// The snapshots that cannot be restored whole by it, or that it concerns.
    pub snapshots: Vec<SnapshotId>,
    /// The component, where it concerns one only.
    pub component: Option<ComponentName>,
    /// What is wrong: a fragment that names the object.
    pub what: String,
    /// What it means and what to do, where the word alone does not say it.
    pub advice: Option<String>,
}

impl Finding {
    /// Makes a finding about an object.
    pub fn new(wrong: Wrong, object: impl fmt::Display, what: impl Into<String>) -> Finding {
        Finding {
            wrong,
            object: object.to_string(),
            snapshots: Vec::new(),
            component: None,
            what: what.into(),
            advice: None,
        }
    }

    /// Makes one of an error of reading it.
    pub fn of(object: impl fmt::Display, error: &Error) -> Finding {
        Finding::new(Wrong::of(error), object, error.to_string())
    }

    /// Says which snapshots it concerns.
    #[must_use]
    pub fn needed_by(mut self, snapshots: impl IntoIterator<Item = SnapshotId>) -> Finding {
        self.snapshots.extend(snapshots);
        self
    }

    /// Says what it means and what to do.
    #[must_use]
    pub fn advice(mut self, text: impl Into<String>) -> Finding {
        self.advice = Some(text.into());
        self
    }

    /// Tells whether a snapshot that needs the object has lost it.
    pub fn loses(&self) -> bool {
        !matches!(
            self.wrong,
            Wrong::Overwritten
                | Wrong::Deleted
                | Wrong::Unverifiable
                | Wrong::Ended
                | Wrong::FutureDated
                | Wrong::BackDated
                | Wrong::Unfinished
                | Wrong::Unread
        )
    }

    fn means(&self) -> String {
        let which = match &self.snapshots[..] {
            [] => return String::new(),
            [one] => format!("snapshot {one}"),
            [first, .., last] => format!("{} snapshots, {first} to {last},", self.snapshots.len()),
        };
        match self.wrong {
            Wrong::Overwritten | Wrong::Deleted => format!("; {which} can still be read"),
            Wrong::Unread | Wrong::Unverifiable => format!("; nothing can be said of {which}"),
            Wrong::Unfinished | Wrong::Ended | Wrong::FutureDated | Wrong::BackDated => String::new(),
            _ => format!("; {which} cannot be restored whole"),
        }
    }

    fn remedy(&self) -> &str {
        if let Some(advice) = &self.advice {
            return advice;
        }
        match self.wrong {
            Wrong::Missing | Wrong::Damaged | Wrong::Swapped => {
                "`lifeboat check --repair` brings back what can be brought back, and says what is lost"
            }
            Wrong::Overwritten | Wrong::Deleted => {
                "somebody wrote or deleted what is never rewritten: take that right away, then `lifeboat check --repair`"
            }
            Wrong::Replayed | Wrong::Forged => {
                "somebody else wrote it, or it was altered: do not trust it, and see who can write to the store"
            }
            Wrong::RolledBack => {
                "an older state may have been put in its place: compare the head with the last report, and do not prune"
            }
            Wrong::Fork | Wrong::Unlinked => {
                "two hosts may have written for this tenant: `lifeboat keys list`"
            }
            Wrong::Unverifiable => "see what is said of that certificate; prune stops until it is back",
            Wrong::Ended => "it counts for nothing, as the operators said",
            Wrong::FutureDated | Wrong::BackDated => {
                "a wrong clock, or an intruder: prune stops until it is gone, with `lifeboat prune --forget`"
            }
            Wrong::TooNew => "use a newer lifeboat",
            Wrong::GivenUp => "newer snapshots do not need it, and pruning the older ones ends this",
            Wrong::Unfinished => "the next backup reuses what it left",
            Wrong::Unread => "check again when the store answers",
        }
    }
}

/// Joins findings about the same object into one each, which concerns all their snapshots; sorted, worst words first.
pub fn merged(all: Vec<Finding>) -> Vec<Finding> {
    let mut joined: Vec<Finding> = Vec::with_capacity(all.len());
    let mut at: HashMap<(Wrong, String), usize> = HashMap::new();
    for finding in all {
        let n = *at.entry((finding.wrong, finding.object.clone())).or_insert(joined.len());
        match joined.get_mut(n) {
            // What is said of a prefix is said of each place in it.
            Some(first) if !finding.object.ends_with('/') => {
                let new = finding.snapshots.into_iter().filter(|s| !first.snapshots.contains(s));
                let new: Vec<SnapshotId> = new.collect();
                first.snapshots.extend(new);
            }
            _ => joined.push(finding),
        }
    }
    for finding in &mut joined {
        finding.snapshots.sort_unstable();
    }
    joined.sort_by(|a, b| (!a.wrong.is_alarm(), &a.object).cmp(&(!b.wrong.is_alarm(), &b.object)));
    joined
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}; {}", self.what, self.means(), self.remedy())
    }
}
