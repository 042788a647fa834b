//! One planned run of a tenant's backup or drill: what it is, and what became of it.
//!
//! Owns the shapes that the journal keeps and that status, metrics and notices are made of. Knows nothing of how
//! work is done.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::report::JobReport;
use crate::error::Kind;
use crate::id::TenantName;

/// What is done in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// A backup of the tenant.
    Backup,
    /// A drill of its newest snapshot.
    Drill,
}

impl JobKind {
    /// Both kinds, the one that goes first when both are due first.
    pub const ALL: [JobKind; 2] = [JobKind::Backup, JobKind::Drill];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Backup => "backup",
            JobKind::Drill => "drill",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// Its time had come.
    Scheduled,
    /// It was missed while nothing ran here.
    CatchUp,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it was done; only this is green.
    Good,
    /// Some components are whole, others failed.
    Partial,
    /// All of it was done, and something in it looks wrong beside the nights before.
    Suspicious,
    /// It failed.
    Failed,
    /// The service ended during it.
    Interrupted,
    /// It never began.
    Missed,
    /// It could not be begun: a drill without an identity.
    NotRun,
    /// The tenant is on hold.
    Held,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Outcome; 8] = [
        Outcome::Good,
        Outcome::Partial,
        Outcome::Suspicious,
        Outcome::Failed,
        Outcome::Interrupted,
        Outcome::Missed,
        Outcome::NotRun,
        Outcome::Held,
    ];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Partial => "partial",
            Outcome::Suspicious => "suspicious",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
            Outcome::Missed => "missed",
            Outcome::NotRun => "not-run",
            Outcome::Held => "held",
        }
    }

    /// Tells whether all of it was done.
    pub fn is_whole(self) -> bool {
        matches!(self, Outcome::Good | Outcome::Suspicious)
    }

    /// Tells whether somebody must be told.
    pub fn is_bad(self) -> bool {
        !matches!(self, Outcome::Good | Outcome::Held)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One try of a planned run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Whose.
    pub tenant: TenantName,
    /// What.
    pub kind: JobKind,
    /// The instant it was planned for; with tenant and kind it names the run.
    pub planned: Timestamp,
    /// Which try of that run this is, from 1.
    pub attempt: u32,
    /// Why it was started.
    pub trigger: Trigger,
    /// When it began; none where it never did.
    pub started: Option<Timestamp>,
    /// When it ended; none while it runs, and where nobody saw its end.
    pub finished: Option<Timestamp>,
    /// How it ended; none while it runs.
    pub outcome: Option<Outcome>,
    /// Why it is not good; never holds a secret.
    pub reason: Option<String>,
    /// The kind of the error that ended it.
    pub error: Option<String>,
    /// What the job said.
    pub report: JobReport,
}

impl Run {
    /// Makes a run that has not begun.
    pub fn new(tenant: TenantName, kind: JobKind, planned: Timestamp, trigger: Trigger) -> Self {
        Run {
            tenant,
            kind,
            planned,
            attempt: 1,
            trigger,
            started: None,
            finished: None,
            outcome: None,
            reason: None,
            error: None,
            report: JobReport::default(),
        }
    }

    /// Ends it at `now` with a reason.
    #[must_use]
    pub fn ended(mut self, now: Timestamp, outcome: Outcome, reason: impl Into<Option<String>>) -> Self {
        self.finished = Some(now);
        self.outcome = Some(outcome);
        self.reason = reason.into();
        self
    }

    /// Ends it at `now` with what the job gave.
    #[must_use]
    pub fn concluded(mut self, now: Timestamp, result: crate::error::Result<JobReport>) -> Self {
        match result {
            Ok(report) => {
                let (fault, lacks, suspicion) =
                    (report.fault.clone(), report.lacks.clone(), report.suspicion.clone());
                self.report = report;
                if fault.is_some() {
                    self.error = Some(Kind::CheckFailed.word().to_owned());
                    return self.ended(now, Outcome::Failed, fault);
                }
                let outcome = match (&lacks, &suspicion) {
                    (Some(_), _) => Outcome::Partial,
                    (None, Some(_)) => Outcome::Suspicious,
                    (None, None) => Outcome::Good,
                };
                self.ended(now, outcome, lacks.or(suspicion))
            }
            Err(error) => {
                self.error = Some(error.kind().word().to_owned());
                let outcome = match error.kind() {
                    Kind::Partial => Outcome::Partial,
                    Kind::Interrupted => Outcome::Interrupted,
                    _ => Outcome::Failed,
                };
                self.ended(now, outcome, error.to_string())
            }
        }
    }

    /// Returns how long it took.
    pub fn duration(&self) -> Option<jiff::SignedDuration> {
        Some(self.finished?.duration_since(self.started?))
    }
}
