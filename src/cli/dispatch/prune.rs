//! `prune` and `pin`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::{PinArgs, PruneArgs};
use crate::cli::ask;
use crate::cli::render::{Rendered, bytes, table};
use crate::config::LockMode;
use crate::error::{Error, Kind, Result, counted};
use crate::ops::appliance::Appliance;
use crate::ops::pin::{self, Pinned};
use crate::ops::prune::plan::{Amount, Line, Orders, Plan};
use crate::ops::prune::{self, Pruned};

/// A plan, before it is applied or instead of that.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// Whether it is only shown.
    dry_run: bool,
}

pub(super) async fn run(call: &Call<'_>, args: &PruneArgs) -> Result<u8> {
    if (args.accept_missing || !args.forget.is_empty()) && args.tenants.len() != 1 {
        return Err(Error::new(Kind::Usage, "--forget and --accept-missing are for one tenant: name it"));
    }
    let appliance = Appliance::open_to_prune(call.config()?, call.around()).await?;
    let orders = Orders { forget: args.forget.clone(), accept_missing: args.accept_missing };
    let tenants = appliance.tenants(&args.tenants)?;
    if !args.dry_run {
        prune::refuse_without_role(&appliance, &tenants)?;
    }
    let mut worst = DONE;
    for tenant in tenants {
        appliance.around.monitor.step(&format!("prune {tenant}"));
        let plan = prune::plan(&appliance, &tenant, &orders).await?;
        call.output.result(&Shown { plan: &plan, dry_run: args.dry_run });
        if plan.is_stopped() {
            worst = Kind::CheckFailed.exit_code();
        }
        let goes_on = !args.dry_run && !plan.is_stopped();
        if goes_on && !plan.is_idle() && !args.yes && !confirmed(&plan)? {
            appliance.around.monitor.note("nothing was changed");
        } else if goes_on {
            let done = prune::apply(&appliance, &plan).await;
            prune::remember(&appliance, &tenant, &done)?;
            let done = done?;
            // What is still locked stays, as it should, until its lock ends.
            let locks = appliance.config.tenant(&tenant)?.policy.lock.mode != LockMode::Off;
            if done.not_removed > 0 && !locks && worst == DONE {
                worst = Kind::Denied.exit_code();
            }
            call.output.result(&done);
        }
    }
    if !args.dry_run && worst == DONE {
        sweep(&appliance).await;
    }
    Ok(worst)
}

/// Half-done puts cost room and nothing else: what cannot be swept is told and no failure.
async fn sweep(appliance: &Appliance) {
    match prune::sweep(appliance).await {
        Ok(0) => {}
        Ok(n) => appliance.around.monitor.note(&format!("swept: {} killed half-way", counted(n, "upload"))),
        Err(e) => appliance.around.monitor.problem(&e.in_context("half-done uploads were not swept")),
    }
}

fn confirmed(plan: &Plan) -> Result<bool> {
    let what = counted(plan.forget.len(), "snapshot");
    ask::agreed(
        &format!("Forget {what} of {}, for good?", plan.tenant),
        &format!("the prune of {}", plan.tenant),
    )
}

impl Rendered for Shown<'_> {
    fn text(&self) -> String {
        let p = self.plan;
        let kept = p.snapshots.iter().filter(|l| l.decision.keep).count();
        let mut text = format!("{}: {}, {kept} kept\n", p.tenant, counted(p.snapshots.len(), "snapshot"));
        text.push_str(&table(&p.snapshots.iter().map(row).collect::<Vec<_>>()));
        text.push_str(&amounts(p));
        for wait in &p.waits {
            let seen = wait.seen.map_or("has never written".to_owned(), |n| format!("saw mark {n}"));
            text.push_str(&format!(
                "  waits for a backup by host {}, which {seen} of {}\n",
                wait.host, wait.mark
            ));
        }
        if let Some(hold) = &p.on_hold {
            text.push_str(&format!("  nothing goes: {hold}\n"));
        }
        for stop in &p.stops {
            text.push_str(&format!("  STOP [{}] {}\n", stop.fault, stop.what));
        }
        if p.is_stopped() {
            text.push_str(match p.is_stopped_by_orders_alone() {
                true => "  nothing goes: --forget asks for what may not be; without it prune goes on\n",
                false => "  nothing goes until this is cleared up: `lifeboat check`, docs/operations.md\n",
            });
        }
        text
    }
}

fn row(l: &Line) -> Vec<String> {
    let reasons: Vec<String> = l.decision.reasons.iter().map(ToString::to_string).collect();
    let fate = match (l.decision.keep, l.postponed) {
        (true, _) => "keep",
        (false, false) => "forget",
        (false, true) => "later",
    };
    let state = match (l.whole, l.intact) {
        (true, true) => l.proof.map_or(String::new(), |level| level.to_string()),
        (false, true) => "PARTIAL".to_owned(),
        (_, false) => "NOT INTACT".to_owned(),
    };
    vec![
        format!("  {fate}"),
        l.decision.snapshot.to_string(),
        l.started.strftime("%Y-%m-%d %H:%M").to_string(),
        state,
        reasons.join(", "),
    ]
}

fn amounts(p: &Plan) -> String {
    let line = |what: &str, a: Amount| vec![format!("  {what}"), counted(a.packs, "pack"), bytes(a.bytes)];
    let dead = p.stored.bytes.saturating_sub(p.needed.bytes);
    let rows = [
        line("stored", p.stored),
        line("needed by what is kept", p.needed),
        line("goes now", p.now_go),
        line("goes later (void from now on)", p.become_void),
        line("goes later (void before)", p.void_before),
    ];
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let share = if p.stored.bytes == 0 { 0.0 } else { dead as f64 * 100.0 / p.stored.bytes as f64 };
    let mut text = table(&rows);
    text.push_str(&format!("  {} ({share:.1} %) is needed by none\n", bytes(dead)));
    if p.postponed > 0 {
        text.push_str(&format!(
            "  {} more in later runs: each forgets a quarter at most\n",
            counted(p.postponed, "snapshot")
        ));
    }
    text
}

impl Rendered for Pruned {
    fn text(&self) -> String {
        let mark = self.mark.map_or(String::new(), |n| format!(", void mark {n} written"));
        let mut text = format!(
            "{}: {} forgotten, {} removed, {} freed{mark}\n",
            self.tenant,
            counted(self.forgotten, "snapshot"),
            counted(self.packs, "pack"),
            bytes(self.bytes)
        );
        if self.not_removed > 0 {
            text.push_str(&format!(
                "  {} could NOT be removed; the next run tries again:\n",
                counted(self.not_removed, "object")
            ));
        }
        for failure in &self.failures {
            text.push_str(&format!("    {failure}\n"));
        }
        text
    }
}

pub(super) async fn pin(call: &Call<'_>, args: &PinArgs) -> Result<u8> {
    let appliance = call.appliance().await?;
    let pinned = match (&args.until, &args.reason) {
        (Some(until), Some(reason)) => {
            pin::pin(&appliance, &args.tenant, &args.snapshot, until, reason).await?
        }
        _ if args.release => pin::release(&appliance, &args.tenant, &args.snapshot).await?,
        _ => return Err(Error::new(Kind::Usage, "a pin needs --until and --reason, or --release")),
    };
    drop(appliance);
    Ok(call.done(&pinned))
}

impl Rendered for Pinned {
    fn text(&self) -> String {
        let whose = format!("{} {}", self.tenant, self.snapshot);
        let mut text = match (&self.pin, &self.ended) {
            (Some(p), _) => return format!("{whose} is kept until {}: {}\n", p.until, p.reason),
            (None, Some(p)) => format!("the pin of {whose} until {} is ended: {}\n", p.until, p.reason),
            (None, None) => format!("{whose} was not pinned on this machine: nothing is changed\n"),
        };
        if let Some(until) = self.since_backup {
            text.push_str(&format!(
                "  it is kept until {until} all the same: its backup pinned it, and no verb takes that back\n"
            ));
        }
        text
    }
}
