//! A drill's report as Markdown, for wikis, tickets and mails.

use super::{Report, against, seconds};
use crate::error::counted;

impl Report {
    /// Returns the report as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("# Drill of {}\n\n{}\n\n", self.tenant, cell(&self.headline_with_reason()));
        let facts = [
            ("snapshot", format!("{} (picked: {})", self.snapshot, self.picked)),
            ("receipt", format!("sequence {}, {}", self.sequence, self.receipt.short())),
            ("drill", format!("{} on {}, {} to {}", self.drill, self.host, self.started, self.finished)),
            ("restored from", self.store.clone()),
            ("proof level", self.level.clone()),
            ("RTO measured", against(self.rto_seconds, self.rto_target_seconds)),
            ("RPO measured", against(self.rpo_seconds, self.rpo_target_seconds)),
        ];
        let facts = facts.into_iter().map(|(k, v)| [k.to_owned(), v]);
        let versions = self.versions.iter().map(|(k, v)| [k.clone(), v.clone()]);
        table(&mut out, ["", ""], facts.chain(versions));
        out.push_str("## Where the time went\n\n");
        let counts = |restores: bool| if restores { "yes" } else { "no, it only proves" }.to_owned();
        let phases = self.phases.iter().map(|p| [p.phase.clone(), seconds(p.seconds), counts(p.restores)]);
        table(&mut out, ["phase", "time", "counts as RTO"], phases);
        out.push_str("## What was checked\n\n");
        let checks =
            self.checks.iter().map(|c| [c.check.clone(), c.outcome.word().to_owned(), c.seen.clone()]);
        table(&mut out, ["check", "outcome", "seen"], checks);
        out.push_str("## Isolation\n\n");
        let reached = |reached: bool| if reached { "yes" } else { "no" }.to_owned();
        let attempts = self.isolation.iter().map(|a| [a.from.clone(), a.to.clone(), reached(a.reached)]);
        table(&mut out, ["from", "to", "reached"], attempts);
        out.push_str("## What was used\n\n");
        let used = self.used.containers.iter().map(|u| {
            let memory = format!("{} MiB", u.memory_bytes >> 20);
            [u.part.clone(), u.image.clone(), memory, format!("{:.1} s", u.cpu_seconds)]
        });
        table(&mut out, ["part", "image", "memory", "processor"], used);
        out.push_str(&format!("{} on disk. ", counted(self.used.disk_bytes, "byte")));
        match self.removed.is_empty() {
            true => out.push_str("Whether it was removed again: see the check teardown.\n"),
            false => out.push_str(&format!("Removed again: {}.\n", self.removed.join(", "))),
        }
        out
    }
}

fn table<const N: usize>(out: &mut String, head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    out.push_str(&format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N)));
    for row in rows {
        out.push_str(&format!("| {} |\n", row.map(|text| cell(&text)).join(" | ")));
    }
    out.push('\n');
}

/// Makes text safe inside a cell: what was seen may come from the tenant.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '`' | '*' | '_' | '[' | ']' | '#' | '\\' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
