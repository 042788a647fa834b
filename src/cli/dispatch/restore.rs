//! `restore`.

use std::sync::Arc;

use serde::Serialize;

use super::files::needed;
use super::{Call, DONE};
use crate::cli::args::RestoreArgs;
use crate::cli::render::{Rendered, bytes, seconds, table};
use crate::error::{Kind, Result};
use crate::ops::appliance::Appliance;
use crate::ops::kit::Kit;
use crate::ops::restore::{self, Action, Plan, Request, Restored};

pub(super) async fn run(call: &Call<'_>, args: &RestoreArgs) -> Result<u8> {
    let identities = needed(&args.identity)?;
    let appliance = match &args.kit {
        Some(path) => call.reading(Appliance::from_kit(&Kit::read(path)?, call.around())).await?,
        None => call.appliance_of(args.source).await?,
    };
    args.identity.identity.iter().try_for_each(|kit| appliance.compare_kit(kit))?;
    let request = Request {
        tenant: args.tenant.clone(),
        which: args.snapshot.clone(),
        into: args.into.clone(),
        live: args.live,
        only: args.only.clone(),
        with_queue: args.with_queue,
        with_sso: args.with_sso,
        yes_overwrite: args.yes_overwrite.clone(),
    };
    request.refuse_name_in_use(&appliance.config)?;
    request.refuse_sso_without_place(&appliance.config)?;
    let opening = restore::open(&appliance, &request.tenant, &request.which, &identities);
    let opened = call.reading(opening).await?;
    let plan = call.reading(restore::plan(&appliance, &request, &opened)).await?;
    if args.dry_run {
        return Ok(call.done(&plan));
    }
    if !call.cli.quiet {
        call.output.result(&Shown(&plan));
    }
    let restored = restore::apply(&appliance, &request, &opened, &plan).await?;
    drop((opened, Arc::new(appliance)));
    call.output.result(&restored);
    Ok(if restored.lacks.is_empty() { DONE } else { Kind::Partial.exit_code() })
}

/// The plan, before it is applied.
#[derive(Debug, Serialize)]
struct Shown<'a>(&'a Plan);

impl Rendered for Shown<'_> {
    fn text(&self) -> String {
        self.0.text()
    }
}

impl Rendered for Plan {
    fn text(&self) -> String {
        let mut text = format!(
            "Plan: {} as of {} (snapshot {}){}\n",
            self.tenant,
            self.as_of,
            self.snapshot,
            if self.target == self.tenant { String::new() } else { format!(", into {}", self.target) }
        );
        let rows: Vec<Vec<String>> = self
            .steps
            .iter()
            .map(|s| {
                let action = match s.action {
                    Action::Load => "load",
                    Action::Flush => "flush",
                    Action::Leave => "leave",
                };
                let size = if s.action == Action::Load { bytes(s.bytes) } else { String::new() };
                vec![format!("  {}", s.component), action.to_owned(), size, s.target.clone()]
            })
            .collect();
        text.push_str(&table(&rows));
        if !self.makes.is_empty() {
            text.push_str(&format!("  makes again: {}\n", self.makes.join(", ")));
        }
        for aside in self.steps.iter().filter_map(|s| s.moves_aside.as_ref()) {
            text.push_str(&format!("  moves aside: {aside}\n"));
        }
        if self.muted {
            text.push_str("  muted: no mail, no scheduler, no integrations (until --live)\n");
        }
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        text
    }
}

impl Rendered for Restored {
    fn text(&self) -> String {
        let mut text = format!(
            "{} is back as of {}, in {}{}\n",
            self.target,
            self.as_of,
            seconds(self.seconds),
            if self.muted { "; it is muted" } else { "" }
        );
        let rows: Vec<Vec<String>> = self
            .components
            .iter()
            .map(|c| vec![format!("  {}", c.component), seconds(c.seconds), c.detail.clone()])
            .collect();
        text.push_str(&table(&rows));
        if !self.made.is_empty() {
            text.push_str(&format!("  made: {}\n", self.made.join(", ")));
        }
        for aside in &self.aside {
            text.push_str(&format!("  kept aside: {aside}\n"));
        }
        for lack in &self.lacks {
            text.push_str(&format!("  LACKS {lack}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        text
    }
}
