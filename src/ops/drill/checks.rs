//! What a drill found so far, and the report made of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::id::{ComponentName, DrillId};
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;
use crate::repo::manifest::State;

use super::Request;
use super::report::{Check, Outcome, Phase, Report};

/// Checks and phases in their order.
#[derive(Debug)]
pub(super) struct Findings {
    checks: Vec<Check>,
    phases: Vec<Phase>,
    versions: BTreeMap<String, String>,
}

impl Findings {
    /// Begins with the phase that opened the snapshot.
    pub fn begin(opening: Duration) -> Findings {
        let mut findings = Findings { checks: Vec::new(), phases: Vec::new(), versions: BTreeMap::new() };
        findings.phase("open snapshot", opening);
        findings.passed(
            "receipt",
            "signature verifies through the root; manifest and pack list have their hashes",
        );
        findings
    }

    /// Adds a phase.
    pub fn phase(&mut self, name: &str, took: Duration) {
        self.phases.push(Phase { phase: name.to_owned(), seconds: took.as_secs_f64() });
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
    pub fn teardown(&mut self, result: Result<Vec<String>>) {
        match result {
            Ok(left) if left.is_empty() => self.passed("teardown", "nothing is left"),
            Ok(left) => self.failed("teardown", format!("left behind: {}", left.join(", "))),
            Err(e) => self.failed("teardown", sentence(&e)),
        }
    }

    /// Makes the report.
    pub fn report(
        self,
        appliance: &Appliance,
        request: &Request,
        opened: &Opened,
        drill: DrillId,
        started: Timestamp,
    ) -> Report {
        let receipt = &opened.committed.receipt;
        let failed = self.checks.iter().any(|c| c.outcome == Outcome::Failed);
        let loaded = [ComponentName::Database, ComponentName::Files]
            .iter()
            .all(|c| opened.reader.components().iter().any(|r| r.component == *c));
        let level = match (failed, loaded) {
            (false, true) => "L3",
            (false, false) => "L2",
            (true, _) => "L0",
        };
        Report {
            format: 1,
            tenant: request.tenant.clone(),
            drill,
            host: appliance.config.machine.host.clone(),
            snapshot: receipt.snapshot.clone(),
            picked: match &request.which {
                crate::ops::snapshots::Which::Latest => "latest".to_owned(),
                crate::ops::snapshots::Which::Id(_) => "named".to_owned(),
            },
            receipt: opened.committed.hash,
            sequence: receipt.sequence,
            snapshot_started: receipt.started,
            started,
            finished: appliance.around.now(),
            level: level.to_owned(),
            outcome: if failed { Outcome::Failed } else { Outcome::Passed },
            rto_seconds: self.phases.iter().map(|p| p.seconds).sum(),
            rpo_seconds: started.duration_since(receipt.started).as_secs_f64().max(0.0),
            phases: self.phases,
            checks: self.checks,
            versions: self.versions,
        }
    }
}

fn sentence(e: &Error) -> String {
    match e.hint_text() {
        Some(hint) => format!("{e} ({hint})"),
        None => e.to_string(),
    }
}
