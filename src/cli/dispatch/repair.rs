//! `check --repair`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::CheckArgs;
use crate::cli::ask;
use crate::cli::render::{Rendered, bytes};
use crate::error::{Kind, Result, counted};
use crate::ops::appliance::Appliance;
use crate::ops::check::loss::Loss;
use crate::ops::check::repair::{self, MOST_ROUNDS, Plan, Repaired};
use crate::ops::check::{self, ReadData};
use crate::ops::snapshots;
use crate::repo::age_file::Identities;

/// How many objects are told one by one.
const TOLD: usize = 20;

/// A plan, before it is applied or instead of that.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// Whether it is only shown.
    dry_run: bool,
}

/// Repairs tenants, round by round until nothing is left to do; returns the exit code.
pub(super) async fn run(
    call: &Call<'_>,
    args: &CheckArgs,
    appliance: &mut Appliance,
    identities: Option<&Identities>,
) -> Result<u8> {
    let read_data = args.read_data.map_or(ReadData::None, |packs| packs.0);
    let other = repair::other(appliance).await;
    let mut worst = DONE;
    for tenant in snapshots::known_tenants(appliance, &args.tenants)? {
        // The same packs in each round.
        let depth = check::depth_of(appliance, &tenant, read_data)?;
        for round in 1..=MOST_ROUNDS {
            appliance.around.monitor.step(&format!("look at {tenant}"));
            let plan = repair::plan(appliance, other.as_ref(), &tenant, depth, identities).await?;
            if round == 1 || !plan.is_idle() {
                call.output.result(&Shown { plan: &plan, dry_run: args.dry_run });
            }
            if plan.is_idle() || args.dry_run || round == MOST_ROUNDS {
                worst = if plan.is_well() { worst } else { Kind::CheckFailed.exit_code() };
                break;
            }
            if !args.yes
                && !ask::agreed(
                    &format!("Repair {} as planned?", plan.tenant),
                    &format!("the repair of {}", plan.tenant),
                )?
            {
                appliance.around.monitor.note("nothing was changed");
                worst = Kind::CheckFailed.exit_code();
                break;
            }
            let done = repair::apply(appliance, &plan).await?;
            let failed = !done.failed.is_empty();
            call.output.result(&done);
            if failed {
                worst = Kind::CheckFailed.exit_code();
                break;
            }
        }
    }
    Ok(worst)
}

impl Rendered for Shown<'_> {
    fn text(&self) -> String {
        let p = self.plan;
        if p.is_well() {
            return format!("{}: nothing is to be repaired\n", p.tenant);
        }
        let mut text = match &p.other {
            Some(other) => format!("Repair of {}, with {other}\n", p.tenant),
            None => format!("Repair of {}, without a second store\n", p.tenant),
        };
        for step in p.steps.iter().take(TOLD) {
            let from = match step.from {
                "older-version" => "its older version",
                "receipt" => "the receipts",
                _ => "the other store",
            };
            text.push_str(&format!("  put right from {from}: {} [{}]\n", step.object, step.kind));
        }
        if p.steps.len() > TOLD {
            text.push_str(&format!("  and {} more\n", counted(p.steps.len() - TOLD, "object")));
        }
        for snapshot in &p.bring_back {
            text.push_str(&format!("  bring back from the other store: snapshot {snapshot}\n"));
        }
        for pack in p.give_up.iter().take(TOLD) {
            text.push_str(&format!("  give up: pack {}, which nobody has whole\n", pack.short()));
        }
        if p.give_up.len() > TOLD {
            text.push_str(&format!("  and {} more\n", counted(p.give_up.len() - TOLD, "pack")));
        }
        text.extend(p.losses.iter().map(loss));
        for left in p.left.iter().take(TOLD) {
            text.push_str(&format!("  CANNOT be put right [{}] {}\n", left.kind, left.what));
        }
        if p.left.len() > TOLD {
            text.push_str(&format!("  and {} more\n", p.left.len() - TOLD));
        }
        text
    }
}

fn loss(loss: &Loss) -> String {
    let mut text = match loss.all {
        true => format!("  snapshot {} is LOST: its manifest or pack list is\n", loss.snapshot),
        false => format!(
            "  snapshot {} LOSES {}, {}",
            loss.snapshot,
            counted(loss.packs, "pack"),
            bytes(loss.bytes)
        ),
    };
    if loss.all {
        return text;
    }
    match &loss.streams {
        None => text.push_str(" (of what, --identity FILE tells)\n"),
        Some(streams) => {
            text.push('\n');
            for s in streams {
                text.push_str(&format!(
                    "    {}/{}: {} of {}\n",
                    s.component,
                    s.stream,
                    bytes(s.lost_bytes),
                    bytes(s.size_bytes)
                ));
            }
        }
    }
    text
}

impl Rendered for Repaired {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} put right, {} brought back, {} given up{}\n",
            self.tenant,
            counted(self.mended, "object"),
            counted(self.brought_back, "snapshot"),
            counted(self.given_up, "pack"),
            self.mark.map_or(String::new(), |n| format!(
                " (void mark {n}); the next backup writes anew what they held"
            ))
        );
        for failed in &self.failed {
            text.push_str(&format!("  FAILED: {failed}\n"));
        }
        text
    }
}
