//! `restore`.

use std::sync::Arc;

use serde::Serialize;

use super::files::needed;
use super::{Call, DONE};
use crate::cli::args::{RestoreArgs, SourceArgs};
use crate::cli::render::{Rendered, bytes, seconds, table};
use crate::error::{Kind, Result};
use crate::ops::appliance::Appliance;
use crate::ops::kit::Kit;
use crate::ops::restore::{
    self, Action, Ended, Ending, Kept, Outcome, Outlook, Pending, Plan, Request, Restored, Safety,
};
use crate::ops::snapshots::Which;
use crate::ops::state::State;
use crate::repo::age_file::Identities;

pub(super) async fn run(call: &Call<'_>, args: &RestoreArgs) -> Result<u8> {
    if args.resume || args.undo || args.commit {
        return end(call, args).await;
    }
    let (appliance, identities) = opening(call, args, args.source).await?;
    let request = Request {
        tenant: args.tenant.clone(),
        which: args.snapshot.clone(),
        into: args.into.clone(),
        live: args.live,
        only: args.only.clone(),
        with_queue: args.with_queue,
        with_sso: args.with_sso,
        pause_scheduler: args.pause_scheduler,
        yes_overwrite: args.yes_overwrite.clone(),
        without_safety: args.no_safety_snapshot.clone(),
        commit: false,
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
    Ok(done(call, &restored))
}

async fn opening(call: &Call<'_>, args: &RestoreArgs, source: SourceArgs) -> Result<(Appliance, Identities)> {
    let identities = needed(&args.identity)?;
    let appliance = match &args.kit {
        Some(path) => call.reading(Appliance::from_kit(&Kit::read(path)?, call.around())).await?,
        None => call.appliance_of(source).await?,
    };
    args.identity.identity.iter().try_for_each(|kit| appliance.compare_kit(kit))?;
    Ok((appliance, identities))
}

fn done(call: &Call<'_>, restored: &Restored) -> u8 {
    call.output.result(restored);
    match (restored.worse.is_empty(), restored.lacks.is_empty()) {
        (false, _) => Kind::CheckFailed.exit_code(),
        (true, false) => Kind::Partial.exit_code(),
        (true, true) => DONE,
    }
}

/// Ends a restore that was begun: with what its journal tells alone, except where it is still to be built.
async fn end(call: &Call<'_>, args: &RestoreArgs) -> Result<u8> {
    let around = call.around();
    let (config, state) = match &args.kit {
        Some(path) => Appliance::place_from_kit(&Kit::read(path)?)?,
        None => {
            let config = call.config()?;
            let state = State::peek(&config.machine.state_dir);
            (config, state)
        }
    };
    let target = args.into.as_ref().unwrap_or(&args.tenant);
    let ending = Ending { config: &config, state: &state, around: &around };
    let pending = ending.pending(target).map_err(|none| match config.tenant(target) {
        Err(unknown) if args.kit.is_none() => unknown,
        _ => none,
    })?;
    if args.dry_run {
        return Ok(call.done(&Waits(&pending)));
    }
    let ended = if args.undo {
        ending.undo(target).await?
    } else if args.commit {
        ending.commit(target).await?
    } else if pending.needs_snapshot() {
        let source = SourceArgs { from_copy: pending.begun.from_copy };
        let (appliance, identities) = opening(call, args, source).await?;
        let which = Which::Id(pending.begun.snapshot.clone());
        let opening = restore::open(&appliance, &pending.begun.tenant, &which, &identities);
        let opened = call.reading(opening).await?;
        return Ok(done(call, &restore::resume(&appliance, target, &opened).await?));
    } else {
        ending.resume(target).await?
    };
    call.output.result(&ended);
    Ok(if ended.left.is_empty() { DONE } else { Kind::Partial.exit_code() })
}

/// A restore that waits to be ended, as `--dry-run` shows it.
#[derive(Debug, Serialize)]
struct Waits<'a>(&'a Pending);

impl Rendered for Waits<'_> {
    fn text(&self) -> String {
        let kept: String = self.0.keeps.iter().map(of_kept).collect();
        format!("{}: {}\n{kept}", self.0.target, self.0.sentence())
    }
}

fn of_kept(kept: &Kept) -> String {
    match kept.bytes {
        Some(n) => format!("  kept: {}, {}\n", kept.what, bytes(n)),
        None => format!("  kept: {}\n", kept.what),
    }
}

impl Rendered for Ended {
    fn text(&self) -> String {
        let target = &self.target;
        let mut text = match self.outcome {
            Outcome::Restored => {
                format!(
                    "{target} runs as restored from snapshot {}; --undo is possible until --commit\n",
                    self.snapshot
                )
            }
            Outcome::Committed => format!("{target}: what was there before the restore is dropped\n"),
            Outcome::Undone => {
                format!("{target} is as it was before the restore of snapshot {}\n", self.snapshot)
            }
        };
        if self.outcome == Outcome::Restored {
            text.extend(self.kept.iter().map(of_kept));
        }
        for left in &self.left {
            text.push_str(&format!("  STILL TO DO {left}\n"));
        }
        text
    }
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
            text.push_str(&format!("  replaces, and keeps until --commit: {aside}\n"));
        }
        if self.safety_snapshot {
            text.push_str("  first, a snapshot of what is there\n");
        }
        text.push_str(&of_outlook(&self.outlook));
        if self.muted {
            text.push_str("  muted: no mail, no scheduler, no integrations (until --live)\n");
        }
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        text
    }
}

fn of_outlook(outlook: &Outlook) -> String {
    let mut text = String::new();
    for v in &outlook.versions {
        let now = v.now.as_deref().unwrap_or("unknown");
        let differs = if v.now.as_ref().is_some_and(|now| *now != v.then) { "  DIFFERS" } else { "" };
        text.push_str(&format!("  version of {}: {} then, {now} now{differs}\n", v.component, v.then));
    }
    for room in &outlook.space {
        let free = room.free_bytes.map_or("unknown".to_owned(), bytes);
        let lacks = if room.lacks() { "  DOES NOT FIT" } else { "" };
        text.push_str(&format!(
            "  space for {}: about {} needed, {free} free{lacks}\n",
            room.component,
            bytes(room.needed_bytes)
        ));
    }
    match &outlook.expected {
        Some(e) => text.push_str(&format!("  time: about {}, as {} took\n", seconds(e.seconds), e.from)),
        None => text.push_str("  time: unknown, nothing was restored or drilled yet\n"),
    }
    text
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
        match &self.safety {
            Safety::NotNeeded => {}
            Safety::Taken { snapshot } => {
                text.push_str(&format!("  what was there before is snapshot {snapshot}\n"));
            }
            Safety::Lacks { reason, problem } => {
                text.push_str(&format!("  NO SAFETY SNAPSHOT ({reason}): {problem}\n"));
            }
        }
        if self.undoable {
            text.extend(self.kept.iter().map(of_kept));
            let target = &self.target;
            text.push_str(&format!(
                "  `lifeboat restore {target} --undo` brings it back, `lifeboat restore {target} --commit` drops it\n"
            ));
        }
        for worse in &self.worse {
            text.push_str(&format!("  FAILS NOW, and did not before: {worse}\n"));
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
