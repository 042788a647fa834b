//! Which snapshots a policy keeps, with every reason: a pure function.
//!
//! Whoever can write snapshots can only add to what is kept, never take from it: times must agree with the store's and
//! with the order of receipts, a run of the schedule counts once, and within a period the earliest wins unless a drill
//! proved another. The ages are measured against a time that the caller vouches for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::slots::{Period, run_of};
use crate::config::{Calendar, Policy, Retention};
use crate::id::{ProofLevel, SnapshotId};

/// Nothing younger goes, whatever a policy says.
pub const LEAST_AGE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// So many of the newest whole and intact snapshots stay, whatever a policy says.
pub const LEAST_INTACT: usize = 3;

/// For so long the last snapshot before a suspicious one stays: who notices late still finds it.
pub const CLEAN_AGE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How far a host's clock may be before the store's: S3 refuses requests of clocks that are further off.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// What the rules need to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub snapshot: SnapshotId,
    /// Its place among the tenant's receipts.
    pub sequence: u64,
    /// When it was begun, as its receipt signs: its time.
    pub started: Timestamp,
    /// When it was complete, as its receipt signs.
    pub finished: Timestamp,
    /// When the store took its receipt, by the store's clock.
    pub stored: Timestamp,
    /// Whether all its components are whole.
    pub whole: bool,
    /// Whether all that it names is in the store.
    pub intact: bool,
    /// Whether something in it looked wrong beside the nights before.
    pub suspicious: bool,
    /// The highest level that a drill of it passed.
    pub proof: Option<ProofLevel>,
    /// The pins on it.
    pub pins: Vec<Pin>,
}

/// An order to keep a snapshot, whatever the policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
}

/// The rules: numbers of periods, and the calendar of runs whose zone counts.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What is kept.
    pub retention: &'a Retention,
    /// When snapshots are planned.
    pub calendar: &'a Calendar,
}

impl<'a> From<&'a Policy> for Rules<'a> {
    fn from(policy: &'a Policy) -> Rules<'a> {
        Rules { retention: &policy.retention, calendar: &policy.backups }
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Which.
    pub snapshot: SnapshotId,
    /// Its place among the receipts.
    pub sequence: u64,
    /// Whether it stays.
    pub keep: bool,
    /// Every reason for that; never empty.
    pub reasons: Vec<Reason>,
}

/// Why a snapshot is kept, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Reason {
    /// It is the newest receipt, which all later ones build upon.
    Newest,
    /// It is younger than 14 days.
    Young,
    /// It is younger than the policy's `within`.
    Within,
    /// It stands for a scheduled run among the newest ones.
    Last {
        /// When the run was planned.
        run: Timestamp,
    },
    /// It stands for its hour, day, week, month or year.
    Stands {
        /// `hourly`, `daily`, `weekly`, `monthly` or `yearly`.
        period: &'static str,
        /// Which hour, day, week, month or year.
        name: String,
    },
    /// It is pinned.
    Pinned(Pin),
    /// It is one of the newest whole and intact ones.
    Least,
    /// It is the last before one in which something looked wrong.
    LastClean {
        /// The suspicious one.
        before: SnapshotId,
    },
    /// It is the newest that a drill proved to the highest level that any has.
    Proven {
        /// The level.
        level: ProofLevel,
    },
    /// Its receipt gives a time after the store's: kept, never counted.
    FutureDated,
    /// Its receipt gives a time before that of the receipt before it: kept, never counted.
    BackDated,
    /// Kept because there are fewer than three whole and intact ones.
    TooFew,
    /// Not kept: an operator says so by name.
    Ordered,
    /// Not kept: another stands for its period.
    Displaced {
        /// The finest period of which both are.
        period: &'static str,
        /// The one that stands for it.
        by: SnapshotId,
    },
    /// Not kept: no rule reaches back to it.
    OutOfReach,
}

/// Decides on each snapshot; `now` is only what ages are measured against.
///
/// The result has the order of sequence numbers. Snapshots whose time is not to be believed are kept and counted by no rule.
/// A snapshot that is partial, suspicious or not intact stands for a period only while no other can, and uses up none of a rule's number.
pub fn decide(snapshots: &[Candidate], rules: Rules<'_>, now: Timestamp) -> Vec<Decision> {
    let mut all: Vec<&Candidate> = snapshots.iter().collect();
    all.sort_by_key(|c| (c.sequence, c.snapshot.clone()));
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); all.len()];
    if let Some(newest) = reasons.last_mut() {
        newest.push(Reason::Newest);
    }
    let counted = believed(&all, &mut reasons);
    keep_by_age(&all, &counted, rules.retention.within, now, &mut reasons);
    let mut displaced = vec![None; all.len()];
    keep_by_count(&all, &counted, rules, &mut reasons, &mut displaced);
    keep_verified(&all, &counted, &mut reasons);
    keep_last_clean(&all, &counted, now, &mut reasons);
    let too_few = counted.iter().filter(|p| is_good(all[**p])).count() < LEAST_INTACT;
    for (c, why) in all.iter().zip(&mut reasons) {
        why.extend(c.pins.iter().filter(|p| p.until > now).cloned().map(Reason::Pinned));
        if why.is_empty() && too_few {
            why.push(Reason::TooFew);
        }
    }
    let decisions = all.iter().zip(reasons).zip(displaced).map(|((c, mut reasons), displaced)| {
        let keep = !reasons.is_empty();
        if !keep {
            reasons.push(displaced.unwrap_or(Reason::OutOfReach));
        }
        Decision { snapshot: c.snapshot.clone(), sequence: c.sequence, keep, reasons }
    });
    decisions.collect()
}

/// Returns a decision to keep for each snapshot whose time is not to be believed, with that reason alone.
pub fn doubted(snapshots: &[Candidate]) -> Vec<Decision> {
    let mut all: Vec<&Candidate> = snapshots.iter().collect();
    all.sort_by_key(|c| (c.sequence, c.snapshot.clone()));
    let mut reasons = vec![Vec::new(); all.len()];
    believed(&all, &mut reasons);
    let decision = |(c, reasons): (&Candidate, Vec<Reason>)| Decision {
        snapshot: c.snapshot.clone(),
        sequence: c.sequence,
        keep: true,
        reasons,
    };
    all.into_iter().zip(reasons).filter(|(_, why)| !why.is_empty()).map(decision).collect()
}

/// Returns the places of those whose time is believed, oldest first.
fn believed(all: &[&Candidate], reasons: &mut [Vec<Reason>]) -> Vec<usize> {
    let mut counted = Vec::new();
    let mut before: Option<Timestamp> = None;
    for (place, c) in all.iter().enumerate() {
        let latest = c.stored.saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        if c.started.max(c.finished) > latest {
            reasons[place].push(Reason::FutureDated);
        } else if before.is_some_and(|t| c.started < t) {
            reasons[place].push(Reason::BackDated);
        } else {
            before = Some(c.started);
            counted.push(place);
        }
    }
    counted
}

fn keep_by_age(
    all: &[&Candidate],
    counted: &[usize],
    within: Duration,
    now: Timestamp,
    reasons: &mut [Vec<Reason>],
) {
    let within = SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX);
    for &place in counted {
        let age = now.duration_since(all[place].started);
        if age < LEAST_AGE {
            reasons[place].push(Reason::Young);
        }
        if age < within {
            reasons[place].push(Reason::Within);
        }
    }
}

fn keep_by_count(
    all: &[&Candidate],
    counted: &[usize],
    rules: Rules<'_>,
    reasons: &mut [Vec<Reason>],
    displaced: &mut [Option<Reason>],
) {
    let r = rules.retention;
    let mut runs: BTreeMap<Timestamp, Vec<usize>> = BTreeMap::new();
    for &place in counted {
        runs.entry(run_of(rules.calendar, all[place].started)).or_default().push(place);
    }
    for (run, best) in newest_periods(all, &runs, r.keep_last) {
        reasons[best].push(Reason::Last { run: *run });
    }
    let periods = [
        ("hourly", Period::Hour, r.hourly),
        ("daily", Period::Day, r.daily),
        ("weekly", Period::Week, r.weekly),
        ("monthly", Period::Month, r.monthly),
        ("yearly", Period::Year, r.yearly),
    ];
    for (word, period, number) in periods {
        let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for &place in counted {
            groups.entry(period.of(all[place].started, &rules.calendar.zone)).or_default().push(place);
        }
        for (name, best) in newest_periods(all, &groups, number) {
            reasons[best].push(Reason::Stands { period: word, name: name.clone() });
            for &other in groups[name].iter().filter(|p| **p != best) {
                let by = all[best].snapshot.clone();
                displaced[other].get_or_insert(Reason::Displaced { period: word, by });
            }
        }
    }
}

/// Returns the newest `number` periods that have a good snapshot, each with the one that stands for it; between and
/// before them also those that have none but a partial or damaged one.
fn newest_periods<'a, K: Ord>(
    all: &[&Candidate],
    groups: &'a BTreeMap<K, Vec<usize>>,
    number: u32,
) -> Vec<(&'a K, usize)> {
    let mut left = number;
    let mut found = Vec::new();
    for (name, places) in groups.iter().rev() {
        if left == 0 {
            break;
        }
        let best = places.iter().copied().min_by_key(|p| {
            let c = all[*p];
            (Reverse(is_good(c)), Reverse(c.proof), c.started, c.sequence)
        });
        let Some(best) = best else { continue };
        left -= u32::from(is_good(all[best]));
        found.push((name, best));
    }
    found
}

fn is_good(c: &Candidate) -> bool {
    c.whole && c.intact && !c.suspicious
}

/// Keeps the good one before each run of suspicious ones, while the first of the run is young enough to be looked into.
fn keep_last_clean(all: &[&Candidate], counted: &[usize], now: Timestamp, reasons: &mut [Vec<Reason>]) {
    let mut clean: Option<usize> = None;
    for &place in counted {
        let c = all[place];
        if is_good(c) {
            clean = Some(place);
        } else if c.suspicious
            && let Some(before) = clean.take()
            && now.duration_since(c.started) < CLEAN_AGE
        {
            reasons[before].push(Reason::LastClean { before: c.snapshot.clone() });
        }
    }
}

fn keep_verified(all: &[&Candidate], counted: &[usize], reasons: &mut [Vec<Reason>]) {
    for &place in counted.iter().rev().filter(|p| is_good(all[**p])).take(LEAST_INTACT) {
        reasons[place].push(Reason::Least);
    }
    let proven = counted.iter().copied().filter(|p| is_good(all[*p]) && all[*p].proof.is_some());
    if let Some(best) = proven.max_by_key(|p| (all[*p].proof, all[*p].sequence))
        && let Some(level) = all[best].proof
    {
        reasons[best].push(Reason::Proven { level });
    }
}

impl Reason {
    /// Tells whether it says that a receipt's time is not to be believed, which somebody must look at.
    pub fn is_alarm(&self) -> bool {
        matches!(self, Reason::FutureDated | Reason::BackDated)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Newest => f.write_str("newest"),
            Reason::Young => f.write_str("younger than 14 days"),
            Reason::Within => f.write_str("within the policy's time"),
            Reason::Last { run } => write!(f, "last: run of {}", run.strftime("%Y-%m-%d %H:%MZ")),
            Reason::Stands { period, name } => write!(f, "{period} {name}"),
            Reason::Pinned(pin) => {
                write!(f, "pinned until {}: {}", pin.until.strftime("%Y-%m-%d %H:%MZ"), pin.reason)
            }
            Reason::Least => write!(f, "one of the {LEAST_INTACT} newest intact"),
            Reason::LastClean { before } => write!(f, "last before {before}, which looks wrong"),
            Reason::Proven { level } => write!(f, "proven to {level}"),
            Reason::FutureDated => f.write_str("DATED AFTER THE STORE'S TIME, kept and not counted"),
            Reason::BackDated => f.write_str("DATED BEFORE ITS PREDECESSOR, kept and not counted"),
            Reason::TooFew => write!(f, "fewer than {LEAST_INTACT} intact ones, so none goes"),
            Reason::Ordered => f.write_str("to be forgotten by order"),
            Reason::Displaced { period, by } => write!(f, "{period}: {by} stands for it"),
            Reason::OutOfReach => f.write_str("no rule reaches back to it"),
        }
    }
}

#[cfg(test)]
mod tests;
