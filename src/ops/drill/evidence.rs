//! A drill's report as evidence: signed JSON for whoever gets it without the store, and the check of that signature.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::{Outcome, Report};
use crate::error::{Context, Error, Kind, Result};
use crate::id::{DrillId, HostName, SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::repo::drill::{self as stored, DrillOutcome};
use crate::repo::sign::SigningKey;

/// The longest report that is read.
const REPORT_LIMIT: u64 = 64 << 20;

/// A drill that was carried out, with its signed report.
#[derive(Debug, Clone)]
pub struct Drilled {
    /// The report.
    pub report: Report,
    /// The same as JSON: the very bytes that are signed.
    pub json: Vec<u8>,
    /// Their signature, as minisign spells it.
    pub signature: String,
}

impl Drilled {
    /// Signs a report with the host's key.
    pub(super) fn sign(report: Report, signer: &SigningKey) -> Result<Drilled> {
        let json = serde_json::to_vec_pretty(&report).context(Kind::Bug, "report of a drill")?;
        let signature = stored::sign_report(signer, &report.tenant, &report.drill, &json)?;
        Ok(Drilled { report, json, signature })
    }

    /// Writes the report into a folder: JSON and its signature, HTML, Markdown.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let name = format!("{}-{}", self.report.tenant, self.report.drill);
        let json = dir.join(format!("{name}.json"));
        let all = [
            (signature_of(&json), self.signature.clone().into_bytes()),
            (dir.join(format!("{name}.html")), self.report.to_html().into_bytes()),
            (dir.join(format!("{name}.md")), self.report.to_markdown().into_bytes()),
            // Last, so that a JSON that is there has all else beside it.
            (json, self.json.clone()),
        ];
        for (path, bytes) in all {
            let about = || format!("report {}", path.display());
            let mut file = tempfile::NamedTempFile::new_in(dir).context(Kind::Io, about())?;
            file.write_all(&bytes).context(Kind::Io, about())?;
            file.persist(&path).map_err(|e| e.error).context(Kind::Io, about())?;
        }
        Ok(())
    }
}

/// Returns where the signature of a report lies: beside it.
fn signature_of(report: &Path) -> PathBuf {
    let mut name = report.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// A report whose signature was found good.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// Whose backup was tried.
    pub tenant: TenantName,
    /// The drill.
    pub drill: DrillId,
    /// The snapshot that was restored.
    pub snapshot: SnapshotId,
    /// The level that the report names.
    pub level: String,
    /// Whether it passed.
    pub outcome: Outcome,
    /// The host that signed it.
    pub host: HostName,
    /// The number of its certificate, which the root signed.
    pub certificate: u32,
    /// Whether the store holds the outcome too; a drill may be newer than a copy, or erased with its tenant.
    pub stored: bool,
}

/// Checks a report file against the signature beside it, through the root of trust, and against the store's own outcome.
///
/// [`Kind::Forged`] where either says otherwise.
pub async fn verify(appliance: &Appliance, file: &Path) -> Result<Verified> {
    let json = read(file)?;
    let signature = read(&signature_of(file))?;
    let about = || format!("report {}", file.display());
    let report: Report = serde_json::from_slice(&json).context(Kind::Damaged, about())?;
    if report.repository.as_ref().is_some_and(|id| id != appliance.repo.id()) {
        return Err(Error::new(Kind::Forged, format!("{} is of another repository", about())));
    }
    let signer = (&report.host, report.certificate);
    stored::verify_report(&appliance.trust, signer, (&report.tenant, &report.drill), &json, &signature)
        .map_err(|e| e.in_context(about()))?;
    let (outcomes, _) = stored::load(&appliance.repo, &appliance.trust, &report.tenant).await?;
    let outcome = outcomes.iter().find(|o| o.drill == report.drill);
    if let Some(what) = outcome.and_then(|o| difference(&report, o)) {
        let error =
            Error::new(Kind::Forged, format!("{}: the store's signed outcome differs: {what}", about()));
        return Err(error.hint("one of the two was not written by the drill that they name"));
    }
    Ok(Verified {
        tenant: report.tenant,
        drill: report.drill,
        snapshot: report.snapshot,
        level: report.level,
        outcome: report.outcome,
        host: report.host,
        certificate: report.certificate,
        stored: outcome.is_some(),
    })
}

/// Returns in what a report differs from the stored outcome of its drill.
fn difference(report: &Report, outcome: &DrillOutcome) -> Option<&'static str> {
    let checks = report.checks.iter().map(|c| (c.check.as_str(), c.outcome.word()));
    let stored = outcome.checks.iter().map(|c| (c.check.as_str(), c.outcome.as_str()));
    let level = report.proof().map(|l| l.to_string());
    let same = [
        ("snapshot", report.snapshot == outcome.snapshot && report.receipt == outcome.receipt),
        ("host", report.host == outcome.host && report.certificate == outcome.certificate),
        ("times", report.started == outcome.started && report.finished == outcome.finished),
        ("level", level.as_deref() == Some(outcome.level.as_str()) && report.has_double() == outcome.double),
        ("outcome", (report.outcome == Outcome::Passed) == outcome.passed()),
        ("checks", checks.eq(stored)),
    ];
    same.into_iter().find(|(_, same)| !same).map(|(what, _)| what)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).context(Kind::NotFound, path.display())?.len();
    if size > REPORT_LIMIT {
        return Err(Error::new(Kind::Damaged, format!("{} is no report: {size} bytes", path.display())));
    }
    std::fs::read(path).context(Kind::Io, path.display())
}
