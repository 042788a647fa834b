//! `health`.

use std::io::IsTerminal;
use std::time::Duration;

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::HealthArgs;
use crate::cli::render::{Rendered, print_out, table};
use crate::config::Config;
use crate::error::{Kind, Result, counted};
use crate::ops::appliance::Surroundings;
use crate::ops::health::{self, Check, Report, Scope, State, troubles};

/// Puts the terminal's cursor home and clears what is below it (ECMA-48, CUP and ED).
const REDRAW: &str = "\x1b[H\x1b[J";

pub(super) async fn run(call: &Call<'_>, args: &HealthArgs) -> Result<u8> {
    let config = call.config()?;
    let around = call.around();
    if args.watch {
        return watch(call, args, &config, &around).await;
    }
    let report = call.reading(health::look(&config, &around, &Scope::of(&args.tenants))).await?;
    drop(around);
    let failed = report.has_failed();
    call.output.result(&Shown { all: args.all, report });
    Ok(if failed { Kind::CheckFailed.exit_code() } else { DONE })
}

/// Looks until it is interrupted, which then is no fault.
async fn watch(call: &Call<'_>, args: &HealthArgs, config: &Config, around: &Surroundings) -> Result<u8> {
    let redraws = std::io::stdout().is_terminal() && !call.output.is_json();
    loop {
        let look = call.reading(health::look(config, around, &Scope::of(&args.tenants))).await;
        let report = match look {
            Err(e) if e.kind() == Kind::Interrupted => return Ok(DONE),
            look => look?,
        };
        if redraws {
            print_out(REDRAW);
        }
        call.output.result(&Shown { all: args.all, report });
        tokio::select! {
            () = call.stop.cancelled() => return Ok(DONE),
            () = tokio::time::sleep(Duration::from_secs(args.every)) => {}
        }
    }
}

/// A report, and how much of it people want to read.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(skip)]
    all: bool,
    #[serde(flatten)]
    report: Report,
}

impl Rendered for Shown {
    fn text(&self) -> String {
        let report = &self.report;
        let mut text = format!("{}\n", report.sentence());
        for tenant in &report.tenants {
            text.push_str(&format!("  {}\n", tenant.sentence()));
        }
        details(&mut text, "host", &report.host, self.all);
        for tenant in &report.tenants {
            details(&mut text, tenant.tenant.as_str(), &tenant.checks, self.all);
        }
        let at = report.now.strftime("%H:%M:%S UTC");
        let checks = report.host.len() + report.tenants.iter().map(|t| t.checks.len()).sum::<usize>();
        text.push_str(&format!("\n{at}: {} in {:.1} s\n", counted(checks, "check"), report.seconds));
        text
    }
}

/// Writes what is not as it should be, worst first; with `all`, everything by area.
fn details(text: &mut String, whose: &str, checks: &[Check], all: bool) {
    let shown: Vec<&Check> = if all { checks.iter().collect() } else { troubles(checks) };
    if shown.is_empty() {
        return;
    }
    text.push_str(&format!("\n{whose}\n"));
    let mut rows = Vec::new();
    for check in shown {
        let word = match check.state {
            State::Ok => "ok",
            State::Unknown => "?",
            State::Warning => "look",
            State::Failed => "FAILED",
        };
        let name = format!("{} {}", check.area.as_str(), check.name);
        rows.push(vec![format!("  {word}"), name, check.reason.clone()]);
        if let Some(advice) = check.advice.as_ref().filter(|_| check.state != State::Ok) {
            rows.push(vec![String::new(), String::new(), format!("→ {advice}")]);
        }
    }
    text.push_str(&table(&rows));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::health::{Area, TenantHealth};

    fn shown(all: bool) -> String {
        let checks = vec![
            Check::new(Area::Database, "reachable", State::Failed, "container byrne-db is paused")
                .advise("`docker unpause` it"),
            Check::new(Area::RedisQueue, "memory", State::Ok, "redis uses 1 MB"),
        ];
        let tenants = vec![TenantHealth::of("byrne".parse().unwrap(), checks)];
        let now = "2026-11-23T02:00:00Z".parse().unwrap();
        let report = Report { format: 1, now, seconds: 1.0, state: State::Failed, host: Vec::new(), tenants };
        Shown { all, report }.text()
    }

    #[test]
    fn a_sentence_for_each_tenant_comes_first_and_details_only_of_what_is_not_well() {
        let text = shown(false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "0 of 1 tenant well, 1 not.");
        assert_eq!(lines[1], "  byrne is NOT WELL: container byrne-db is paused");
        assert!(text.contains("→ `docker unpause` it") && !text.contains("redis uses"), "{text}");
        assert!(shown(true).contains("redis uses 1 MB"));
    }
}
