//! What a drill reports: one value, as JSON (signed), as a page that needs nothing else, and as Markdown.

mod html;
mod markdown;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{DrillId, HostName, ProofLevel, RepositoryId, Sha256, SnapshotId, TenantName};

/// How one check or the whole drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// It was not tried, and says why.
    Skipped,
}

impl Outcome {
    /// Returns the word for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// One check with what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, a stable word that also stands in the clear outcome.
    pub check: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen; encrypted with the report, so it may name tables and files.
    pub seen: String,
}

/// One phase with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub phase: String,
    /// How long it took.
    pub seconds: f64,
    /// Whether a restore has it too: only then it counts towards the RTO.
    #[serde(default = "yes")]
    pub restores: bool,
}

/// Reports before this was told counted every phase.
fn yes() -> bool {
    true
}

/// One try to leave the drill's network, or to leave an ordinary one, to compare with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// Whether it got there.
    pub reached: bool,
}

/// What a part of the drill used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsedBy {
    /// Which.
    pub part: String,
    /// The image that it ran.
    pub image: String,
    /// Memory at the end, in bytes.
    pub memory_bytes: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
}

/// What a drill used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Used {
    /// Its containers.
    pub containers: Vec<UsedBy>,
    /// What its volumes held at the end, in bytes.
    pub disk_bytes: u64,
}

/// The level of a drill whose application was a double.
pub const ALIVE_WITH_DOUBLE: &str = "L4 (double)";

/// The report of one drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always 1.
    pub format: u32,
    /// Whose backup was tried.
    pub tenant: TenantName,
    /// The drill.
    pub drill: DrillId,
    /// Where it ran.
    pub host: HostName,
    /// The snapshot that was restored.
    pub snapshot: SnapshotId,
    /// How it was picked, such as `latest`.
    pub picked: String,
    /// The hash of its receipt.
    pub receipt: Sha256,
    /// Its place in the tenant's chain of receipts: with hash and time, the head to compare a bucket with.
    pub sequence: u64,
    /// When the snapshot was begun.
    pub snapshot_started: Timestamp,
    /// When the drill began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// The highest level that was reached: `L0` to `L5`, or [`ALIVE_WITH_DOUBLE`].
    pub level: String,
    /// Passed only if every check passed and nothing was left behind.
    pub outcome: Outcome,
    /// How long a restore takes: the phases that only a drill has left out, in seconds.
    pub rto_seconds: f64,
    /// How long it may take, by the policy.
    #[serde(default)]
    pub rto_target_seconds: Option<f64>,
    /// Age of the snapshot when the drill began, in seconds: what would have been lost.
    pub rpo_seconds: f64,
    /// How much may be lost, by the policy.
    #[serde(default)]
    pub rpo_target_seconds: Option<f64>,
    /// The repository.
    #[serde(default)]
    pub repository: Option<RepositoryId>,
    /// The address of the store that it was restored from.
    #[serde(default)]
    pub store: String,
    /// The number of the host's certificate under which this is signed.
    #[serde(default)]
    pub certificate: u32,
    /// What was tried to leave the drill's network.
    #[serde(default)]
    pub isolation: Vec<Attempt>,
    /// What it used.
    #[serde(default)]
    pub used: Used,
    /// What it had made, all of it removed; empty where something was left.
    #[serde(default)]
    pub removed: Vec<String>,
    /// The phases in order.
    pub phases: Vec<Phase>,
    /// The checks in order.
    pub checks: Vec<Check>,
    /// Versions and images in use, by name.
    pub versions: std::collections::BTreeMap<String, String>,
}

impl Report {
    /// Returns the checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| c.outcome == Outcome::Failed)
    }

    /// Returns the level that counts: with a double of the application no more than L3 is proven.
    pub fn proof(&self) -> Option<ProofLevel> {
        match self.level.as_str() {
            ALIVE_WITH_DOUBLE => Some(ProofLevel::Loaded),
            level => level.parse().ok(),
        }
    }

    /// Tells whether the application that it booted was a double.
    pub fn has_double(&self) -> bool {
        self.level == ALIVE_WITH_DOUBLE
    }

    /// Returns the sentence an operator reads first.
    pub fn headline(&self) -> String {
        let when = self.snapshot_started.strftime("%Y-%m-%d %H:%M UTC");
        match self.outcome {
            Outcome::Passed => format!(
                "{} can be restored as of {when}: proven to {} in {}.",
                self.tenant,
                self.level,
                seconds(self.rto_seconds)
            ),
            _ => {
                let what: Vec<_> = self.failures().map(|c| c.check.as_str()).collect();
                format!("{} as of {when} is NOT proven: {} failed.", self.tenant, what.join(", "))
            }
        }
    }

    /// Returns the same with the reason of the first failure, which may name tables and files: for those who may read them.
    pub fn headline_with_reason(&self) -> String {
        let reason = self.failures().next().and_then(|c| c.seen.lines().next());
        match reason {
            Some(reason) => format!("{} {reason}", self.headline()),
            None => self.headline(),
        }
    }
}

fn against(measured: f64, target: Option<f64>) -> String {
    match target {
        Some(target) if measured <= target => format!("{} (target {})", seconds(measured), seconds(target)),
        Some(target) => format!("{}, LONGER than the target of {}", seconds(measured), seconds(target)),
        None => seconds(measured),
    }
}

fn seconds(s: f64) -> String {
    if s < 120.0 {
        return format!("{s:.1} s");
    }
    if s < 7200.0 { format!("{:.0} min", s / 60.0) } else { format!("{:.1} h", s / 3600.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            format: 1,
            tenant: "byrne".parse().unwrap(),
            drill: DrillId::new(Timestamp::UNIX_EPOCH, [1; 4]),
            host: "h1".parse().unwrap(),
            snapshot: SnapshotId::new(Timestamp::UNIX_EPOCH, [2; 4]),
            picked: "latest".into(),
            receipt: Sha256::of(b"r"),
            sequence: 3,
            snapshot_started: Timestamp::UNIX_EPOCH,
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            level: "L3".into(),
            outcome: Outcome::Failed,
            rto_seconds: 12.0,
            rpo_seconds: 60.0,
            rto_target_seconds: None,
            rpo_target_seconds: None,
            repository: None,
            store: String::new(),
            certificate: 1,
            isolation: Vec::new(),
            used: Used::default(),
            removed: Vec::new(),
            phases: vec![Phase { phase: "load database".into(), seconds: 7.5, restores: true }],
            checks: vec![Check {
                check: "files".into(),
                outcome: Outcome::Failed,
                seen: "<script>alert('x')</script>".into(),
            }],
            versions: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn the_page_says_what_failed_and_runs_nothing_that_a_file_name_holds() {
        let html = report().to_html();
        assert!(html.contains("is NOT proven: files failed"));
        assert!(!html.contains("<script>"), "{html}");
    }

    #[test]
    fn markdown_holds_all_checks_in_cells_that_nothing_leaves() {
        let mut report = report();
        report.checks[0].seen = "a | b\n<b>".into();
        let text = report.to_markdown();
        assert!(text.contains("| files | failed | a \\| b &lt;b&gt; |"), "{text}");
        assert!(text.contains("RTO measured | 12.0 s"), "{text}");
    }

    #[test]
    fn a_double_of_the_application_proves_no_more_than_the_loaded_copy() {
        let of = |level: &str| Report { level: level.into(), ..report() }.proof();
        assert_eq!(of(ALIVE_WITH_DOUBLE), Some(ProofLevel::Loaded));
        assert_eq!(of("L4"), Some(ProofLevel::Alive));
    }

    #[test]
    fn a_report_of_an_older_version_is_read() {
        let mut json = serde_json::to_value(report()).unwrap();
        let fields = json.as_object_mut().unwrap();
        for new in
            ["rto_target_seconds", "repository", "store", "certificate", "isolation", "used", "removed"]
        {
            assert!(fields.remove(new).is_some(), "{new}");
        }
        fields["phases"][0].as_object_mut().unwrap().remove("restores");
        let old: Report = serde_json::from_value(json).unwrap();
        assert!(old.phases[0].restores && old.certificate == 0);
    }

    #[test]
    fn the_report_reads_back() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }
}
