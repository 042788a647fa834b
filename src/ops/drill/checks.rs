//! What a drill found so far, and the report made of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::{Error, Result, counted};
use crate::id::{ComponentName, DrillId, ProofLevel};
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;
use crate::repo::manifest::State;

use super::Request;
use super::bench::TornDown;
use super::report::{self, Attempt, Check, Outcome, Phase, Report, Used};

/// The check that nothing of a drill is left.
const TEARDOWN: &str = "teardown";

/// Checks and phases in their order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    checks: Vec<Check>,
    phases: Vec<Phase>,
    versions: BTreeMap<String, String>,
    /// How many of the checks belong to L3 and below; all until the site is brought to life.
    loading: Option<usize>,
    /// Whether an administrator was logged in to the booted application.
    pub alive: bool,
    /// Whether the application that was booted is a double.
    pub double: bool,
    /// What was tried to leave the drill's network.
    pub attempts: Vec<Attempt>,
    /// What was used.
    pub used: Used,
    removed: Vec<String>,
}

impl Findings {
    /// Begins with the phase that opened the snapshot.
    pub fn begin(opening: Duration) -> Findings {
        let mut findings = Findings::default();
        findings.phase("open snapshot", opening);
        findings.passed(
            "receipt",
            "signature verifies through the root; manifest and pack list have their hashes",
        );
        findings
    }

    /// Adds a phase that a restore has too.
    pub fn phase(&mut self, name: &str, took: Duration) {
        self.phases.push(Phase { phase: name.to_owned(), seconds: took.as_secs_f64(), restores: true });
    }

    /// Adds a phase that began at `since` and that only a drill has: it proves something.
    pub fn proof_since(&mut self, name: &str, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        self.phases.push(Phase { phase: name.to_owned(), seconds, restores: false });
    }

    /// Notes that what follows belongs to L4: the site is alive.
    pub fn bring_to_life(&mut self) {
        self.loading.get_or_insert(self.checks.len());
    }

    /// Adds a phase that began at `since`.
    pub fn phase_since(&mut self, name: &str, since: Instant) {
        self.phase(name, since.elapsed());
    }

    /// Adds a check that holds.
    pub fn passed(&mut self, check: &str, seen: impl Into<String>) {
        self.add(check, Outcome::Passed, seen.into());
    }

    /// Adds a check that does not hold.
    pub fn failed(&mut self, check: &str, seen: impl Into<String>) {
        self.add(check, Outcome::Failed, seen.into());
    }

    /// Adds a check that was not tried.
    pub fn skipped(&mut self, check: &str, why: impl Into<String>) {
        self.add(check, Outcome::Skipped, why.into());
    }

    /// Adds a check that holds or not.
    pub fn check(&mut self, check: &str, holds: bool, seen: impl Into<String>) {
        if holds { self.passed(check, seen) } else { self.failed(check, seen) }
    }

    fn add(&mut self, check: &str, outcome: Outcome, seen: String) {
        self.checks.push(Check { check: check.to_owned(), outcome, seen });
    }

    /// Takes what a step found; an error is a check that failed, not the end of the drill.
    pub fn step<T>(&mut self, check: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                self.failed(check, sentence(&e));
                None
            }
        }
    }

    /// Notes a version.
    pub fn version(&mut self, what: &str, version: impl Into<String>) {
        self.versions.insert(what.to_owned(), version.into());
    }

    /// Says which components the snapshot does not have whole.
    pub fn missing_components(&mut self, opened: &Opened) {
        for c in opened.reader.components() {
            match c.state {
                State::Whole => {}
                State::Lacking => self.failed(c.component.as_str(), format!("lacks {}", c.lacks.join(", "))),
                State::Failed => {
                    let why = c.detail.clone().or_else(|| c.reason.clone()).unwrap_or_default();
                    self.failed(c.component.as_str(), format!("not in the snapshot: {why}"));
                }
            }
        }
    }

    /// Takes what tearing down found.
    pub fn teardown(&mut self, result: Result<TornDown>) {
        match result {
            Ok(TornDown { removed, left }) if left.is_empty() => {
                self.passed(TEARDOWN, format!("nothing is left of {}", counted(removed.len(), "thing")));
                self.removed = removed;
            }
            Ok(TornDown { left, .. }) => {
                self.failed(TEARDOWN, format!("left behind: {}", left.join(", ")));
            }
            Err(e) => self.failed(TEARDOWN, sentence(&e)),
        }
    }

    /// Returns the highest level that was reached.
    fn level(&self, opened: &Opened) -> ProofLevel {
        let loading = self.loading.unwrap_or(self.checks.len());
        // What was left behind fails the drill, and takes nothing from what was shown before.
        let fails = |c: &Check| c.outcome == Outcome::Failed && c.check != TEARDOWN;
        let failed = |checks: &[Check]| checks.iter().any(fails);
        let loaded = [ComponentName::Database, ComponentName::Files]
            .iter()
            .all(|c| opened.reader.components().iter().any(|r| r.component == *c));
        match (failed(&self.checks[..loading]), loaded, self.alive && !failed(&self.checks[loading..])) {
            (true, _, _) => ProofLevel::Listed,
            (false, false, _) => ProofLevel::Readable,
            (false, true, false) => ProofLevel::Loaded,
            (false, true, true) => ProofLevel::Alive,
        }
    }

    /// Makes the report.
    pub fn report(
        self,
        appliance: &Appliance,
        request: &Request,
        opened: &Opened,
        opened_as: &str,
        (drill, started): (DrillId, Timestamp),
        certificate: u32,
    ) -> Report {
        let receipt = &opened.committed.receipt;
        let failed = self.checks.iter().any(|c| c.outcome == Outcome::Failed);
        let level = self.level(opened);
        let policy = appliance.config.tenant(&request.tenant).ok().map(|t| &t.policy);
        Report {
            format: 1,
            tenant: request.tenant.clone(),
            drill,
            host: appliance.config.machine.host.clone(),
            snapshot: receipt.snapshot.clone(),
            picked: opened_as.to_owned(),
            receipt: opened.committed.hash,
            sequence: receipt.sequence,
            snapshot_started: receipt.started,
            started,
            finished: appliance.around.now(),
            level: if level == ProofLevel::Alive && self.double {
                report::ALIVE_WITH_DOUBLE.to_owned()
            } else {
                level.to_string()
            },
            outcome: if failed { Outcome::Failed } else { Outcome::Passed },
            rto_seconds: self.phases.iter().filter(|p| p.restores).map(|p| p.seconds).sum(),
            rto_target_seconds: policy.map(|p| p.rto.as_secs_f64()),
            rpo_target_seconds: policy.map(|p| p.rpo.as_secs_f64()),
            repository: Some(appliance.repo.id().clone()),
            store: appliance.store().address().to_string(),
            certificate,
            isolation: self.attempts,
            used: self.used,
            removed: self.removed,
            rpo_seconds: started.duration_since(receipt.started).as_secs_f64().max(0.0),
            phases: self.phases,
            checks: self.checks,
            versions: self.versions,
        }
    }
}

pub(super) fn sentence(e: &Error) -> String {
    match e.hint_text() {
        Some(hint) => format!("{e} ({hint})"),
        None => e.to_string(),
    }
}
