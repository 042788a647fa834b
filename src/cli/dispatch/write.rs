//! Verbs that make or change something: `backup`, `hold`, `restore`, `drill`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::{AcceptArgs, BackupArgs, DrillArgs, HoldArgs, RestoreArgs};
use crate::cli::render::{Rendered, bytes, seconds, table};
use crate::error::{Error, Kind, Result, counted};
use crate::id::{ComponentName, TenantName};
use crate::ops::anomaly::{self, Accepted};
use crate::ops::backup::{self, Backed, ComponentState, Request};
use crate::ops::hold::{self, Held};
use crate::repo::receipt::Trigger;

/// What a dry run of a backup says.
#[derive(Debug, Serialize)]
struct Planned {
    tenant: TenantName,
    components: Vec<(ComponentName, String)>,
}

/// A tenant whose backup committed nothing.
#[derive(Debug, Serialize)]
struct NotBacked {
    tenant: TenantName,
    kind: &'static str,
    message: String,
    hint: Option<String>,
}

/// A tenant on hold, which a run over all tenants passes by.
#[derive(Debug, Serialize)]
struct PassedBy {
    tenant: TenantName,
    until: jiff::Timestamp,
    reason: String,
}

impl Rendered for PassedBy {
    fn text(&self) -> String {
        format!("{}: not backed up, on hold until {}: {}\n", self.tenant, self.until, self.reason)
    }
}

pub(super) async fn backup(call: &Call<'_>, args: &BackupArgs) -> Result<u8> {
    let appliance = call.appliance().await?;
    let tenants = appliance.tenants(&args.tenants)?;
    if args.dry_run {
        for tenant in &tenants {
            let components = backup::plan(&appliance, tenant)?;
            call.output.result(&Planned { tenant: tenant.clone(), components });
        }
        return Ok(DONE);
    }
    let pinned_until =
        args.pin.as_deref().map(|t| hold::parse_time(t, appliance.around.now())).transpose()?;
    let mut worst = DONE;
    for tenant in tenants {
        // Who names a tenant on hold is told so as an error; a run over all passes it by, as the service does.
        if args.tenants.is_empty()
            && let Some(hold) = appliance.state.hold(&tenant, appliance.around.now())?
        {
            call.output.result(&PassedBy { tenant, until: hold.until, reason: hold.reason });
            continue;
        }
        let request = Request {
            tenant: tenant.clone(),
            trigger: Trigger::Manual,
            label: args.label.clone(),
            pinned_until,
        };
        let code = match backup::backup(&appliance, &request).await {
            Ok(backed) => {
                call.output.result(&backed);
                match (backed.whole, backed.suspicion()) {
                    (false, _) => Kind::Partial.exit_code(),
                    (true, Some(_)) => Kind::CheckFailed.exit_code(),
                    (true, None) => DONE,
                }
            }
            // With one tenant named, its error is the command's; among several, the others go on.
            Err(e) if args.tenants.len() == 1 || e.kind() == Kind::Interrupted => return Err(e),
            Err(e) => {
                call.output.result(&NotBacked {
                    tenant,
                    kind: e.kind().word(),
                    message: e.to_string(),
                    hint: e.hint_text().map(str::to_owned),
                });
                e.kind().exit_code()
            }
        };
        worst = worse(worst, code);
    }
    Ok(worst)
}

/// Returns the exit code of two outcomes together: a failure before a partial one before done.
fn worse(a: u8, b: u8) -> u8 {
    let rank = |code: u8| match code {
        DONE => 0,
        3 => 1,
        _ => 2,
    };
    if rank(b) > rank(a) { b } else { a }
}

impl Rendered for Planned {
    fn text(&self) -> String {
        let rows: Vec<_> =
            self.components.iter().map(|(c, what)| vec![format!("  {c}"), what.clone()]).collect();
        format!("{}:\n{}", self.tenant, table(&rows))
    }
}

impl Rendered for NotBacked {
    fn text(&self) -> String {
        let hint = self.hint.as_ref().map_or(String::new(), |h| format!("  hint: {h}\n"));
        format!("{}: FAILED, no snapshot was made: {}\n{hint}", self.tenant, self.message)
    }
}

impl Rendered for Backed {
    fn text(&self) -> String {
        let read: u64 = self.components.iter().map(|c| c.read_bytes).sum();
        let mut text = format!(
            "{}: snapshot {} is {}: {} read, {} stored, in {}\n",
            self.tenant,
            self.snapshot,
            if self.whole { "whole" } else { "PARTIAL" },
            bytes(read),
            bytes(self.added_bytes),
            seconds(self.seconds)
        );
        if self.renewed_locks > 0 {
            text.push_str(&format!("  {} renewed\n", counted(self.renewed_locks, "lock")));
        }
        let mut rows = Vec::new();
        for c in &self.components {
            let state = match c.state {
                ComponentState::Whole => "whole",
                ComponentState::Lacking => "LACKS",
                ComponentState::Failed => "FAILED",
                ComponentState::Skipped => "skipped",
                ComponentState::NotConfigured => "not configured",
            };
            let mut why = c.reason.clone().unwrap_or_default();
            if !c.anomalies.is_empty() {
                let said: Vec<String> = c.anomalies.iter().map(ToString::to_string).collect();
                why = format!("SUSPICIOUS: {}", said.join("; "));
            }
            if !c.lacks.is_empty() {
                why = c.lacks.join(", ");
            }
            let size = if c.read_bytes > 0 { bytes(c.read_bytes) } else { String::new() };
            rows.push(vec![format!("  {}", c.component), state.to_owned(), size, why]);
        }
        text.push_str(&table(&rows));
        if let Some(suspicion) = self.suspicion() {
            text.push_str(&format!(
                "  it is kept, and {suspicion}\n  until then prune forgets nothing of {}\n",
                self.tenant
            ));
        }
        for warning in self.components.iter().flat_map(|c| &c.warnings).chain(&self.warnings) {
            text.push_str(&format!("  note: {warning}\n"));
        }
        text
    }
}

pub(super) async fn hold(call: &Call<'_>, args: &HoldArgs) -> Result<u8> {
    let config = call.config()?;
    let held = match (&args.until, &args.reason) {
        (Some(until), Some(reason)) => hold::hold(&config, &args.tenant, until, reason, &call.around())?,
        _ if args.release => hold::release(&config, &args.tenant, &call.around())?,
        _ => return Err(Error::new(Kind::Usage, "a hold needs --until and --reason, or --release")),
    };
    Ok(call.done(&held))
}

pub(super) async fn accept(call: &Call<'_>, args: &AcceptArgs) -> Result<u8> {
    Ok(call.done(&anomaly::accept(&call.config()?, &args.tenant, &args.reason, &call.around())?))
}

impl Rendered for Accepted {
    fn text(&self) -> String {
        let mut text = format!(
            "snapshot {} of {} is accepted: {}\n",
            self.acceptance.snapshot, self.tenant, self.acceptance.reason
        );
        for (component, anomalies) in &self.components {
            for anomaly in anomalies {
                text.push_str(&format!("  {component}: {anomaly}\n"));
            }
        }
        text.push_str("nights are held against it from now on\n");
        text
    }
}

impl Rendered for Held {
    fn text(&self) -> String {
        let tenant = &self.tenant;
        match (&self.hold, &self.ended) {
            (Some(h), _) => format!("{tenant} is on hold until {}: {}\n", h.until, h.reason),
            (None, Some(h)) => format!("the hold of {tenant} until {} is ended: {}\n", h.until, h.reason),
            (None, None) => format!("{tenant} was not on hold: nothing is changed\n"),
        }
    }
}

pub(super) async fn restore(call: &Call<'_>, args: &RestoreArgs) -> Result<u8> {
    super::restore::run(call, args).await
}

pub(super) async fn drill(call: &Call<'_>, args: &DrillArgs) -> Result<u8> {
    super::drill::run(call, args).await
}
