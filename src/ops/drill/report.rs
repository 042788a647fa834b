//! What a drill reports: one value, as JSON (signed in the repository) and as a page that needs nothing else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{DrillId, HostName, Sha256, SnapshotId, TenantName};

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
}

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
    /// The highest level that was reached: `L0` to `L5`.
    pub level: String,
    /// Passed only if every check passed and nothing was left behind.
    pub outcome: Outcome,
    /// From the start to the last component checked, in seconds.
    pub rto_seconds: f64,
    /// Age of the snapshot when the drill began, in seconds: what would have been lost.
    pub rpo_seconds: f64,
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

    /// Returns a page that needs no other file.
    pub fn to_html(&self) -> String {
        let title = format!("Drill of {}: {}", escape(self.tenant.as_str()), self.outcome.word());
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
             <title>{title}</title><style>{STYLE}</style><main><h1 class={class}>{headline}</h1>\
             <table class=facts>{facts}</table><h2>Where the time went</h2>{phases}\
             <h2>What was checked</h2><table><tr><th>check<th>outcome<th>seen</tr>{checks}</table>\
             <p class=foot>Signed outcome: <code>tenants/{tenant}/drills/{drill}.json</code> with its \
             <code>.minisig</code>.</p></main>",
            class = self.outcome.word(),
            headline = escape(&self.headline()),
            facts = self.facts_html(),
            phases = self.phases_html(),
            checks = self.checks_html(),
            tenant = self.tenant,
            drill = self.drill,
        )
    }

    fn facts_html(&self) -> String {
        let mut rows = vec![
            ("snapshot".to_owned(), format!("{} (picked: {})", self.snapshot, self.picked)),
            ("receipt".to_owned(), format!("sequence {}, {}", self.sequence, self.receipt.short())),
            ("drill".to_owned(), format!("{} on {}, {}", self.drill, self.host, self.started)),
            ("proof level".to_owned(), self.level.clone()),
            ("RTO measured".to_owned(), seconds(self.rto_seconds)),
            ("RPO measured".to_owned(), seconds(self.rpo_seconds)),
        ];
        rows.extend(self.versions.iter().map(|(k, v)| (k.clone(), v.clone())));
        rows.iter().map(|(k, v)| format!("<tr><th>{}<td>{}</tr>", escape(k), escape(v))).collect()
    }

    fn phases_html(&self) -> String {
        let total: f64 = self.phases.iter().map(|p| p.seconds).sum::<f64>().max(f64::MIN_POSITIVE);
        let mut before = 0.0;
        let mut rows = String::new();
        for p in &self.phases {
            rows.push_str(&format!(
                "<div class=phase><span>{}</span><i style='margin-left:{:.2}%;width:{:.2}%'></i><b>{}</b></div>",
                escape(&p.phase),
                before / total * 100.0,
                (p.seconds / total * 100.0).max(0.3),
                seconds(p.seconds)
            ));
            before += p.seconds;
        }
        rows
    }

    fn checks_html(&self) -> String {
        self.checks
            .iter()
            .map(|c| {
                format!(
                    "<tr><td>{}<td class={w}>{w}<td>{}</tr>",
                    escape(&c.check),
                    escape(&c.seen),
                    w = c.outcome.word()
                )
            })
            .collect()
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff}\
main{max-width:52rem;margin:auto;padding:1.5rem}h1{font-size:1.4rem;border-left:.5rem solid;padding-left:.8rem}\
h1.passed{border-color:#1a7f4b}h1.failed{border-color:#b3261e}h2{font-size:1.05rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dde4;\
vertical-align:top;overflow-wrap:anywhere}.facts th{width:11rem;font-weight:500;color:#4a5563}\
td.passed{color:#1a7f4b}td.failed{color:#b3261e;font-weight:600}td.skipped{color:#7a5b00}\
.phase{display:grid;grid-template-columns:11rem 1fr 6rem;gap:.6rem;align-items:center}\
.phase i{height:.8rem;background:#2f6fb3;border-radius:.2rem}.phase b{font-weight:500;text-align:right}\
.foot{color:#4a5563;margin-top:2rem}@media(max-width:600px){.phase{grid-template-columns:7rem 1fr 5rem}}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#e4e8ee}th,td{border-color:#333c48}\
.facts th,.foot{color:#a5afbd}td.passed{color:#5fd39a}td.failed{color:#ff8a80}td.skipped{color:#e0c060}}";

fn seconds(s: f64) -> String {
    if s < 120.0 {
        return format!("{s:.1} s");
    }
    if s < 7200.0 { format!("{:.0} min", s / 60.0) } else { format!("{:.1} h", s / 3600.0) }
}

/// Makes text safe inside HTML and quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
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
            phases: vec![Phase { phase: "load database".into(), seconds: 7.5 }],
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
    fn the_report_reads_back() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report());
    }
}
