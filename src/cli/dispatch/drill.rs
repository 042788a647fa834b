//! `drill`.

use crate::cli::args::DrillArgs;
use crate::cli::dispatch::{Call, DONE};
use crate::cli::render::{Rendered, seconds, table};
use crate::error::{Context, Kind, Result};
use crate::ops::appliance;
use crate::ops::drill::report::{Outcome, Report};
use crate::ops::drill::{self, Request};

pub(super) async fn run(call: &Call<'_>, args: &DrillArgs) -> Result<u8> {
    let appliance = call.appliance_of(args.source).await?;
    appliance.known(&args.tenant)?;
    if let Some(dir) = &args.report_dir {
        try_folder(dir)?;
    }
    args.identity.identity.iter().try_for_each(|kit| appliance.compare_kit(kit))?;
    let own = appliance::drill_identity_file(&appliance.config.machine.drills, &appliance.state);
    let identities = match (&args.identity.identity, own) {
        (None, Some(file)) => appliance::read_identities(&file)?,
        _ => super::files::needed(&args.identity)?,
    };
    drill::sweep(&appliance).await?;
    let request = Request { tenant: args.tenant.clone(), which: args.snapshot.clone() };
    let report = drill::drill(&appliance, &request, &identities).await?;
    drop(appliance);
    // First, for a disk that is full by now must not hide what the drill found.
    call.output.result(&report);
    if let Some(dir) = &args.report_dir {
        write_report(dir, &report)?;
    }
    Ok(if report.outcome == Outcome::Passed { DONE } else { Kind::CheckFailed.exit_code() })
}

/// Fails where no report could be written, before a drill is made for nothing.
fn try_folder(dir: &std::path::Path) -> Result<()> {
    let about = || format!("report folder {}", dir.display());
    std::fs::create_dir_all(dir).context(Kind::Io, about())?;
    tempfile::tempfile_in(dir).map(drop).context(Kind::Io, about())
}

fn write_report(dir: &std::path::Path, report: &Report) -> Result<()> {
    let about = || format!("report folder {}", dir.display());
    std::fs::create_dir_all(dir).context(Kind::Io, about())?;
    let name = format!("{}-{}", report.tenant, report.drill);
    let json = serde_json::to_vec_pretty(report).context(Kind::Bug, "report of a drill")?;
    std::fs::write(dir.join(format!("{name}.json")), json).context(Kind::Io, about())?;
    std::fs::write(dir.join(format!("{name}.html")), report.to_html()).context(Kind::Io, about())
}

impl Rendered for Report {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        let rows: Vec<Vec<String>> = self
            .checks
            .iter()
            .map(|c| {
                let word = if c.outcome == Outcome::Failed { "FAILED" } else { c.outcome.word() };
                vec![format!("  {}", c.check), word.to_owned(), c.seen.clone()]
            })
            .collect();
        text.push_str(&table(&rows));
        let rows: Vec<Vec<String>> =
            self.phases.iter().map(|p| vec![format!("  {}", p.phase), seconds(p.seconds)]).collect();
        text.push_str(&table(&rows));
        text
    }
}
