//! `copy`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::CopyArgs;
use crate::cli::render::{Rendered, bytes, seconds};
use crate::error::{Kind, Result, counted};
use crate::ops::copy::{Copied, Copies, Copying};
use crate::ops::snapshots;

/// How many reasons for what was left out are told one by one.
const REASONS_TOLD: usize = 10;

/// The facts of the rule 3-2-1.
#[derive(Debug, Serialize)]
struct Facts {
    copies: Copies,
}

pub(super) async fn run(call: &Call<'_>, args: &CopyArgs) -> Result<u8> {
    let appliance = call.appliance().await?;
    let copying = Copying::begin(&appliance, args.anew, args.dry_run).await?;
    let mut worst = DONE;
    for tenant in snapshots::known_tenants(&appliance, &args.tenants)? {
        appliance.around.monitor.step(&format!("copy {tenant}"));
        let copied = copying.tenant(&tenant).await?;
        if copied.is_bad() {
            worst = Kind::CheckFailed.exit_code();
        }
        call.output.result(&copied);
    }
    drop(copying);
    call.output.result(&Facts { copies: Copies::of(&appliance.config.machine) });
    Ok(worst)
}

impl Rendered for Facts {
    fn text(&self) -> String {
        format!("{}\n", self.copies.sentence())
    }
}

impl Rendered for Copied {
    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} {} (there before: {}), {}, {} to {}, in {}\n",
            self.tenant,
            if self.dry_run { "would copy" } else { "copied" },
            counted(self.snapshots, "snapshot"),
            self.there,
            counted(self.packs, "pack"),
            bytes(self.bytes),
            self.address,
            seconds(self.seconds)
        );
        for left in self.left_out.iter().take(REASONS_TOLD) {
            text.push_str(&format!("  NOT copied [{}] {}\n", left.kind, left.what));
        }
        if self.left_out.len() > REASONS_TOLD {
            text.push_str(&format!("  and {} more\n", self.left_out.len() - REASONS_TOLD));
        }
        if self.is_bad() {
            text.push_str(
                "  `lifeboat check` says what is wrong here; what the copy had before it still has\n",
            );
        }
        text
    }
}
