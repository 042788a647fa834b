//! What a campaign came to.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use lifeboat::error::Kind;

use super::act::Outcome;
use super::crew::Ended;
use super::plan::Verb;

/// Counts over runs.
#[derive(Debug, Default)]
pub struct Tally {
    pub runs: u64,
    pub failures: Vec<Ended>,
    /// Committed snapshots that did not come back, were gone, or were lost by a store that lied without anybody's notice.
    pub lost: u64,
    /// Deaths in this process, at a call of the store.
    pub deaths: u64,
    /// Processes of the real binary that SIGKILL ended.
    pub killed: u64,
    /// Processes of the real binary that ended by themselves.
    pub whole: u64,
    pub backups: u64,
    pub prunes: u64,
    pub stopped: u64,
    pub packs_removed: u64,
    pub failed: u64,
    pub refused: u64,
    pub races: u64,
    /// Snapshots that came back, and those that prune had signed for.
    pub restored: u64,
    pub forgotten: u64,
    /// Runs with a fork, which two hosts without a lease make.
    pub forks: u64,
    /// Runs whose store lied, and the snapshots that it lost and a check named.
    pub lying: u64,
    pub noticed: u64,
    /// How long the binary takes for a backup and for a prune.
    usual: [Option<Duration>; 2],
}

impl Tally {
    /// Counts how a verb ended.
    pub fn ended(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Committed(_) => self.backups += 1,
            Outcome::Pruned { packs, stopped } => {
                self.prunes += 1;
                self.packs_removed += *packs as u64;
                self.stopped += u64::from(*stopped);
            }
            Outcome::Checked => {}
            Outcome::Failed(e) => {
                assert!(e.kind() != Kind::Bug, "a bug: {e}");
                self.failed += 1;
                self.refused += u64::from(matches!(e.kind(), Kind::Conflict | Kind::Locked | Kind::Damaged));
            }
            Outcome::Died => self.deaths += 1,
        }
    }

    /// How long the binary usually takes.
    pub fn usual(&self, verb: Verb) -> Duration {
        self.usual[usize::from(verb == Verb::Prune)].unwrap_or(Duration::from_millis(60))
    }

    /// Counts a run of the real binary.
    pub fn binary(&mut self, verb: Verb, status: ExitStatus, took: Duration) {
        if status.signal() == Some(9) {
            self.killed += 1;
            return;
        }
        self.whole += 1;
        self.backups += u64::from(status.success() && verb != Verb::Prune);
        let usual = &mut self.usual[usize::from(verb == Verb::Prune)];
        *usual = Some(usual.map_or(took, |before| (before * 3 + took) / 4));
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: Tally) {
        let Tally { failures, usual, .. } = other;
        self.failures.extend(failures);
        for (mine, others) in self.usual.iter_mut().zip(usual) {
            *mine = mine.or(others);
        }
        let pairs = [
            (&mut self.runs, other.runs),
            (&mut self.lost, other.lost),
            (&mut self.deaths, other.deaths),
            (&mut self.killed, other.killed),
            (&mut self.whole, other.whole),
            (&mut self.backups, other.backups),
            (&mut self.prunes, other.prunes),
            (&mut self.stopped, other.stopped),
            (&mut self.packs_removed, other.packs_removed),
            (&mut self.failed, other.failed),
            (&mut self.refused, other.refused),
            (&mut self.races, other.races),
            (&mut self.restored, other.restored),
            (&mut self.forgotten, other.forgotten),
            (&mut self.forks, other.forks),
            (&mut self.lying, other.lying),
            (&mut self.noticed, other.noticed),
        ];
        for (mine, others) in pairs {
            *mine += others;
        }
    }

    /// The line that counts.
    pub fn verdict(&self) -> String {
        let kills = self.deaths + self.killed;
        let failed = match self.failures.len() {
            0 => String::new(),
            n => format!(", {n} runs FAILED"),
        };
        format!("{} runs, {kills} kills, {} committed snapshots unrestorable{failed}", self.runs, self.lost)
    }

    /// Fails where a share of runs has not met what it is to meet.
    pub fn must_have_seen_it_all(&self) {
        let seen = [
            self.deaths,
            self.killed,
            self.backups,
            self.prunes,
            self.packs_removed,
            self.failed,
            self.refused,
            self.races,
            self.restored,
            self.forgotten,
            self.forks,
            self.lying,
            self.noticed,
        ];
        assert!(seen.iter().all(|n| *n > 0), "{self:?}");
        assert!((self.deaths + self.killed) * 5 > self.runs, "{self:?}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self;
        for failure in &t.failures {
            writeln!(f, "{failure}")?;
        }
        writeln!(
            f,
            "killed: {} processes of the real binary by SIGKILL, {} more at a call of the store",
            t.killed, t.deaths
        )?;
        writeln!(
            f,
            "backups: {} committed, {} runs of the binary left alone, {} verbs failed, {} of them refused",
            t.backups, t.whole, t.failed, t.refused
        )?;
        writeln!(
            f,
            "prunes: {}, of which {} stopped; {} packs removed; {} races",
            t.prunes, t.stopped, t.packs_removed, t.races
        )?;
        writeln!(
            f,
            "snapshots: {} restored byte for byte, {} forgotten by prune and signed for; {} runs with a fork",
            t.restored, t.forgotten, t.forks
        )?;
        write!(
            f,
            "lies: {} runs on a store that lied lost {} snapshots, each named by a check",
            t.lying, t.noticed
        )
    }
}
