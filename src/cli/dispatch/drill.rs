//! `drill`, and the verbs below it.

use jiff::SignedDuration;

use crate::cli::args::{DrillArgs, DrillVerb, HistoryArgs, VerifyArgs};
use crate::cli::dispatch::{Call, DONE};
use crate::cli::render::{Rendered, bytes, seconds, table};
use crate::config::{Drilling, duration};
use crate::error::{Context, Error, Kind, Result};
use crate::ops::appliance::{self, Appliance};
use crate::ops::drill::evidence::{self, Verified};
use crate::ops::drill::history::{self, History, TenantHistory};
use crate::ops::drill::report::{Outcome, Report};
use crate::ops::drill::{self, Choice, Request};
use crate::ops::kit::Kit;

/// How many drills are shown in full.
const SHOWN: usize = 12;

pub(super) async fn run(call: &Call<'_>, args: &DrillArgs) -> Result<u8> {
    match &args.verb {
        Some(DrillVerb::Verify(args)) => verify(call, args).await,
        Some(DrillVerb::History(args)) => history(call, args).await,
        None => drill(call, args).await,
    }
}

async fn drill(call: &Call<'_>, args: &DrillArgs) -> Result<u8> {
    let tenant = args.tenant.clone().ok_or_else(|| Error::new(Kind::Usage, "no tenant is named"))?;
    let appliance = call.appliance_of(args.source).await?;
    appliance.known(&tenant)?;
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
    let request = Request {
        choice: choice(&appliance, args)?,
        tenant,
        level: args.level,
        app_image: args.app_image.clone(),
        chance: rand::random(),
    };
    let drilled = drill::drill(&appliance, &request, &identities).await?;
    drop(appliance);
    // First, for a disk that is full by now must not hide what the drill found.
    call.output.result(&drilled.report);
    if let Some(dir) = &args.report_dir {
        drilled.write(dir)?;
    }
    Ok(if drilled.report.outcome == Outcome::Passed { DONE } else { Kind::CheckFailed.exit_code() })
}

fn choice(appliance: &Appliance, args: &DrillArgs) -> Result<Choice> {
    let Some(pick) = args.pick else {
        return Ok(args.snapshot.clone().map_or(Choice::AsPolicySays, Choice::Named));
    };
    let policy = args.tenant.as_ref().and_then(|t| appliance.config.tenant(t).ok()).map(|t| &t.policy);
    let within = match &args.within {
        Some(text) => duration(text).map_err(|e| e.in_context("--within"))?,
        None => policy.map_or(Drilling::default().within, |p| p.drilling.within),
    };
    Ok(Choice::Picked(pick.pick(), SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX)))
}

async fn verify(call: &Call<'_>, args: &VerifyArgs) -> Result<u8> {
    let appliance = match &args.kit {
        Some(path) => call.reading(Appliance::from_kit(&Kit::read(path)?, call.around())).await?,
        None => call.appliance_of(args.source).await?,
    };
    let verified = call.reading(evidence::verify(&appliance, &args.report)).await?;
    drop(appliance);
    Ok(call.done(&verified))
}

async fn history(call: &Call<'_>, args: &HistoryArgs) -> Result<u8> {
    let appliance = call.appliance_of(args.source).await?;
    let history = call.reading(history::history(&appliance, &args.tenants)).await?;
    drop(appliance);
    Ok(call.done(&history))
}

/// Fails where no report could be written, before a drill is made for nothing.
fn try_folder(dir: &std::path::Path) -> Result<()> {
    let about = || format!("report folder {}", dir.display());
    std::fs::create_dir_all(dir).context(Kind::Io, about())?;
    tempfile::tempfile_in(dir).map(drop).context(Kind::Io, about())
}

impl Rendered for Report {
    fn text(&self) -> String {
        let mut text = format!("{}\n", self.headline_with_reason());
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

impl Rendered for Verified {
    fn text(&self) -> String {
        let stored = match self.stored {
            true => "the store's outcome of this drill says the same",
            false => {
                "the store holds no outcome of this drill: it is of a newer time than that copy, or was erased"
            }
        };
        format!(
            "The report is genuine: drill {} of {}, snapshot {}: {} to {}.\nSigned by host {} under certificate {}, which \
             the root signed; {stored}.\n",
            self.drill,
            self.tenant,
            self.snapshot,
            self.outcome.word(),
            self.level,
            self.host,
            self.certificate
        )
    }
}

impl Rendered for History {
    fn text(&self) -> String {
        let mut text = String::new();
        for tenant in &self.tenants {
            text.push_str(&of_tenant(tenant));
        }
        if self.tenants.len() > 1 {
            let host = &self.host;
            text.push_str(&format!(
                "All together: about {} one after the other, at least {} with {} at a time.\n",
                seconds(host.one_by_one_seconds),
                seconds(host.at_once_seconds),
                host.at_once
            ));
            if !host.unknown.is_empty() {
                let names: Vec<&str> = host.unknown.iter().map(|t| t.as_str()).collect();
                text.push_str(&format!(
                    "Not counted, for no drill of them has passed: {}.\n",
                    names.join(", ")
                ));
            }
        }
        text
    }
}

fn of_tenant(t: &TenantHistory) -> String {
    let target = t.target_seconds.map_or(String::new(), |s| format!(", target {}", seconds(s)));
    let mut text = match &t.forecast {
        Some(f) => format!(
            "{}: a restore is likely to take {} (from {} drills{target})\n",
            t.tenant,
            seconds(f.seconds),
            f.drills
        ),
        None => format!("{}: no drill has passed{target}\n", t.tenant),
    };
    let rows: Vec<Vec<String>> = t
        .drills
        .iter()
        .rev()
        .take(SHOWN)
        .map(|d| {
            let phases: Vec<String> =
                d.phases.iter().map(|p| format!("{} {}", p.phase, seconds(p.seconds))).collect();
            vec![
                format!("  {}", d.started.strftime("%Y-%m-%d %H:%M")),
                if d.passed { d.level.clone() } else { "FAILED".to_owned() },
                seconds(d.seconds),
                d.size_bytes.map(bytes).unwrap_or_default(),
                phases.join(", "),
            ]
        })
        .collect();
    text.push_str(&table(&rows));
    text
}
