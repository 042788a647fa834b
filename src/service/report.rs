//! What a job says of itself, as the journal keeps it.
//!
//! Owns the shapes and that lines of older versions can be read: all that is new has a default. Numbers are whole, so
//! that a run that was read is equal to the one that was written.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ComponentName, DrillId, ProofLevel, SnapshotId};
use crate::ops::backup::{Backed, ComponentState};
use crate::ops::drill::report::{Outcome, Report};

/// What a job says of itself when it was carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobReport {
    /// What lacks, for people; a report with it is partial.
    pub lacks: Option<String>,
    /// What looks wrong in a backup beside the nights before, for people; a report with it is suspicious.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<String>,
    /// What a drill found wrong, for people; a report with it is a failed run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The snapshot that was made or drilled.
    pub snapshot: Option<SnapshotId>,
    /// The drill.
    pub drill: Option<DrillId>,
    /// The level that the snapshot was proven to.
    pub level: Option<ProofLevel>,
    /// What the store holds more than before, in bytes.
    pub added_bytes: Option<u64>,
    /// What a restore of the snapshot would read from the store, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// The components of a backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentRun>,
    /// How much was wrong with the tenant's receipts after a backup, by the word of the fault; none where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomalies: Option<BTreeMap<String, u64>>,
    /// How long the restore took that a drill made, in milliseconds: the RTO as measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_ms: Option<u64>,
    /// How old the snapshot was when a drill of it began, in seconds: what would have been lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_age_seconds: Option<u64>,
    /// The phases of a drill in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseRun>,
    /// What a drill checked, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckRun>,
    /// The tenant's head after it: sequence and short hash.
    pub head: Option<String>,
}

/// One component of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentRun {
    /// Which.
    pub component: ComponentName,
    /// What became of it.
    pub state: ComponentState,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes of its chunks that were not known, before compression.
    pub new_bytes: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One phase of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRun {
    /// Its name.
    pub phase: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One check of a drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRun {
    /// Its name.
    pub check: String,
    /// How it ended.
    pub outcome: Outcome,
}

impl JobReport {
    /// Makes the report of a backup that was committed.
    pub fn of_backup(backed: &Backed) -> JobReport {
        let bad = |c: &&_| is_bad(c);
        let lacks: Vec<String> = backed
            .components
            .iter()
            .filter(bad)
            .map(|c| format!("{}: {}", c.component, c.reason.clone().unwrap_or_else(|| c.lacks.join(", "))))
            .collect();
        let components = backed.components.iter().map(|c| ComponentRun {
            component: c.component,
            state: c.state,
            read_bytes: c.read_bytes,
            new_bytes: c.new_bytes,
            took_ms: milliseconds(c.seconds),
        });
        JobReport {
            lacks: (!backed.whole).then(|| lacks.join("; ")),
            suspicion: backed.suspicion(),
            snapshot: Some(backed.snapshot.clone()),
            added_bytes: Some(backed.added_bytes),
            stored_bytes: Some(backed.needed_bytes),
            components: components.collect(),
            head: Some(format!("{}:{}", backed.sequence, backed.receipt.short())),
            ..JobReport::default()
        }
    }

    /// Makes the report of a drill, good or not.
    pub fn of_drill(report: &Report) -> JobReport {
        let passed = report.outcome == Outcome::Passed;
        let phase =
            |phase: &str, seconds| PhaseRun { phase: phase.to_owned(), took_ms: milliseconds(seconds) };
        let check = |check: &str, outcome| CheckRun { check: check.to_owned(), outcome };
        JobReport {
            fault: (!passed).then(|| report.headline()),
            snapshot: Some(report.snapshot.clone()),
            drill: Some(report.drill.clone()),
            level: report.proof().filter(|_| passed),
            rto_ms: Some(milliseconds(report.rto_seconds)),
            snapshot_age_seconds: Some(milliseconds(report.rpo_seconds) / 1000),
            phases: report.phases.iter().map(|p| phase(&p.phase, p.seconds)).collect(),
            checks: report.checks.iter().map(|c| check(&c.check, c.outcome)).collect(),
            head: Some(format!("{}:{}", report.sequence, report.receipt.short())),
            ..JobReport::default()
        }
    }
}

fn is_bad(c: &crate::ops::backup::ComponentOutcome) -> bool {
    matches!(c.state, ComponentState::Failed | ComponentState::Lacking)
}

/// Turns seconds into whole milliseconds; what is no time counts as none.
fn milliseconds(seconds: f64) -> u64 {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_an_older_version_is_read_and_a_new_one_reads_back() {
        let old = r#"{"lacks":null,"snapshot":"20261123t020000z-00000001","drill":null,"level":"L3","added_bytes":42,"head":"3:abc"}"#;
        let old: JobReport = serde_json::from_str(old).unwrap();
        assert_eq!(
            (old.added_bytes, old.level, old.components.len()),
            (Some(42), Some(ProofLevel::Loaded), 0)
        );
        let component = ComponentRun {
            component: ComponentName::Files,
            state: ComponentState::Lacking,
            read_bytes: 7,
            new_bytes: 3,
            took_ms: 1500,
        };
        let new = JobReport {
            components: vec![component],
            checks: vec![CheckRun { check: "files".into(), outcome: Outcome::Failed }],
            anomalies: Some(BTreeMap::from([("fork".to_owned(), 2)])),
            ..old
        };
        let text = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<JobReport>(&text).unwrap(), new);
    }

    #[test]
    fn no_time_is_longer_than_a_number_holds() {
        assert_eq!((milliseconds(1.5), milliseconds(-1.0), milliseconds(f64::NAN)), (1500, 0, 0));
    }
}
