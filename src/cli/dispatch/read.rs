//! Verbs that only read: `status`, `snapshots`, `show`, `files`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::{FilesVerb, ShowArgs, SnapshotsArgs, StatusArgs};
use crate::cli::ask;
use crate::cli::render::{Rendered, ago, bytes, seconds, table};
use crate::error::{Kind, Result, counted};
use crate::ops::snapshots::{self, Shown, TenantSnapshots};
use crate::ops::status::{self, Light, Status, TenantStatus};

pub(super) async fn status(call: &Call<'_>, args: &StatusArgs) -> Result<u8> {
    let appliance = call.appliance().await?;
    let status = status::status(&appliance, &args.tenants).await?;
    drop(appliance);
    call.output.result(&status);
    Ok(if status.is_red() { Kind::CheckFailed.exit_code() } else { DONE })
}

impl Rendered for Status {
    fn text(&self) -> String {
        let mut text = format!("{}\n{}\n\n", self.sentence(), self.copies.sentence());
        let mut rows = vec![
            ["", "tenant", "as of", "needs", "snapshots", "proof", "packs read", "head"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(self.tenants.iter().map(|t| row(t, self.now)));
        text.push_str(&table(&rows));
        for t in self.tenants.iter().filter(|t| !t.reasons.is_empty()) {
            text.push('\n');
            for reason in &t.reasons {
                text.push_str(&format!("{}: {reason}\n", t.tenant));
            }
        }
        text
    }
}

fn row(t: &TenantStatus, now: jiff::Timestamp) -> Vec<String> {
    let light = match t.light {
        Light::Green => "ok",
        Light::Yellow => "look",
        Light::Red => "BAD",
    };
    let proof = match &t.proof {
        Some(p) => format!("{} {}, in {}", p.level, ago(p.at, now), seconds(p.seconds)),
        None => "none".to_owned(),
    };
    vec![
        light.to_owned(),
        t.tenant.to_string(),
        t.as_of.map_or("never".to_owned(), |at| ago(at, now)),
        bytes(t.needed_bytes),
        t.snapshots.to_string(),
        proof,
        packs_read(t, now),
        t.head.as_ref().map_or("-".to_owned(), |(n, hash)| format!("{n}:{}", hash.short())),
    ]
}

/// Says how long ago the pack was read that waits longest, where all of them were.
fn packs_read(t: &TenantStatus, now: jiff::Timestamp) -> String {
    match (t.verified.never, t.verified.oldest) {
        (0, Some(oldest)) => ago(oldest, now),
        (_, None) => "never".to_owned(),
        (never, Some(_)) => format!("{never} never"),
    }
}

pub(super) async fn snapshots(call: &Call<'_>, args: &SnapshotsArgs) -> Result<u8> {
    let appliance = call.appliance_of(args.source).await?;
    let all = snapshots::list(&appliance, &args.tenants).await?;
    drop(appliance);
    for tenant in &all {
        call.output.result(tenant);
    }
    nothing_to_say(call, all.len());
    Ok(DONE)
}

/// What is printed where there is no tenant at all: silence would read as success.
#[derive(Debug, Serialize)]
struct NoTenant {
    tenants: [(); 0],
}

impl Rendered for NoTenant {
    fn text(&self) -> String {
        "There is no tenant: none is configured on this host, and no certificate names one.\n".to_owned()
    }
}

pub(super) fn nothing_to_say(call: &Call<'_>, tenants: usize) {
    if tenants == 0 {
        call.output.result(&NoTenant { tenants: [] });
    }
}

impl Rendered for TenantSnapshots {
    fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.tenant, counted(self.snapshots.len(), "snapshot"));
        let mut rows = vec![
            ["snapshot", "begun (UTC)", "state", "added", "needs", "packs", "proof"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for s in &self.snapshots {
            let state = if s.whole && s.suspicious {
                "whole, SUSPICIOUS".to_owned()
            } else if s.whole {
                "whole".to_owned()
            } else {
                let parts: Vec<String> = s.not_whole.iter().map(|(c, _)| c.to_string()).collect();
                format!("PARTIAL, not whole: {}", parts.join(", "))
            };
            rows.push(vec![
                s.snapshot.to_string(),
                s.started.strftime("%Y-%m-%d %H:%M").to_string(),
                state,
                bytes(s.added_bytes),
                bytes(s.needed_bytes),
                s.packs.to_string(),
                s.proof.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        text.push_str(&table(&rows));
        for fault in &self.faults {
            text.push_str(&format!("fault: {fault}\n"));
        }
        text
    }
}

pub(super) async fn show(call: &Call<'_>, args: &ShowArgs) -> Result<u8> {
    let identities = args.identity.identity.as_deref().map(ask::identities).transpose()?;
    let appliance = call.appliance_of(args.source).await?;
    let shown = snapshots::show(&appliance, &args.tenant, &args.snapshot, identities.as_ref()).await?;
    drop(appliance);
    Ok(call.done(&shown))
}

impl Rendered for Shown {
    fn text(&self) -> String {
        let l = &self.line;
        let mut text = format!(
            "{} {}{}\nbegun {}, written by {}, sequence {}, receipt {}\nadded {}, needs {} in {}\n",
            self.tenant,
            l.snapshot,
            self.label.as_ref().map_or(String::new(), |label| format!("  {label:?}")),
            l.started,
            l.host,
            l.sequence,
            self.receipt.short(),
            bytes(l.added_bytes),
            bytes(l.needed_bytes),
            counted(l.packs, "pack")
        );
        if let Some(pending) = &self.restore {
            text.push_str(&format!("{}\n", pending.sentence()));
        }
        if let Some(until) = l.pinned_until {
            text.push_str(&format!("pinned until {until}\n"));
        }
        let mut rows = Vec::new();
        for c in &self.components {
            let streams: Vec<String> =
                c.streams.iter().map(|(name, n)| format!("{name} {}", bytes(*n))).collect();
            let state = format!("{:?}", c.state).to_lowercase();
            let mut rest = streams.join(", ");
            if let Some(reason) = &c.reason {
                rest = format!("{rest}{reason}");
            }
            if !c.lacks.is_empty() {
                rest = format!("{rest}; lacks {}", c.lacks.join(", "));
            }
            rows.push(vec![format!("  {}", c.component), state, rest]);
        }
        text.push_str(&table(&rows));
        if !self.opened {
            text.push_str("(sizes and names are sealed: add --identity FILE)\n");
        }
        text
    }
}

pub(super) async fn files(call: &Call<'_>, verb: &FilesVerb) -> Result<u8> {
    super::files::run(call, verb).await
}
