//! A drill's report as a page that needs nothing else, neither fonts nor scripts.

use super::{Report, against, seconds};
use crate::error::counted;

impl Report {
    /// Returns a page that needs no other file.
    pub fn to_html(&self) -> String {
        let title = format!("Drill of {}: {}", escape(self.tenant.as_str()), self.outcome.word());
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
             <title>{title}</title><style>{STYLE}</style><main><h1 class={class}>{headline}</h1>\
             <table class=facts>{facts}</table><h2>Where the time went</h2>{phases}\
             <p class=foot>Lighter bars only prove something: a restore has no such phase, and the RTO does not count them.</p>\
             <h2>What was checked</h2><table><tr><th>check<th>outcome<th>seen</tr>{checks}</table>\
             <h2>Isolation</h2><table><tr><th>from<th>to<th>reached</tr>{isolation}</table>\
             <h2>What was used</h2><table><tr><th>part<th>image<th>memory<th>processor</tr>{used}</table>\
             <p>{disk} on disk. Removed again: {removed}.</p>\
             <p class=foot>Signed outcome: <code>tenants/{tenant}/drills/{drill}.json</code> with its \
             <code>.minisig</code>.</p></main>",
            class = self.outcome.word(),
            headline = escape(&self.headline_with_reason()),
            facts = self.facts_html(),
            phases = self.phases_html(),
            checks = self.checks_html(),
            isolation = self.isolation_html(),
            used = self.used_html(),
            disk = counted(self.used.disk_bytes, "byte"),
            removed = match self.removed.is_empty() {
                true => "see the check teardown".to_owned(),
                false => escape(&self.removed.join(", ")),
            },
            tenant = self.tenant,
            drill = self.drill,
        )
    }

    fn facts_html(&self) -> String {
        let mut rows = vec![
            ("snapshot".to_owned(), format!("{} (picked: {})", self.snapshot, self.picked)),
            ("receipt".to_owned(), format!("sequence {}, {}", self.sequence, self.receipt.short())),
            ("drill".to_owned(), format!("{} on {}, {}", self.drill, self.host, self.started)),
            ("proof level".to_owned(), self.level.clone()),
            ("RTO measured".to_owned(), against(self.rto_seconds, self.rto_target_seconds)),
            ("RPO measured".to_owned(), against(self.rpo_seconds, self.rpo_target_seconds)),
            ("restored from".to_owned(), self.store.clone()),
        ];
        rows.extend(self.versions.iter().map(|(k, v)| (k.clone(), v.clone())));
        rows.iter().map(|(k, v)| format!("<tr><th>{}<td>{}</tr>", escape(k), escape(v))).collect()
    }

    fn phases_html(&self) -> String {
        let total: f64 = self.phases.iter().map(|p| p.seconds).sum::<f64>().max(f64::MIN_POSITIVE);
        let mut before = 0.0;
        let mut rows = String::new();
        for p in &self.phases {
            rows.push_str(&format!(
                "<div class=phase><span>{}</span><i{} style='margin-left:{:.2}%;width:{:.2}%'></i><b>{}</b></div>",
                escape(&p.phase),
                if p.restores { "" } else { " class=proof" },
                before / total * 100.0,
                (p.seconds / total * 100.0).max(0.3),
                seconds(p.seconds)
            ));
            before += p.seconds;
        }
        rows
    }

    fn isolation_html(&self) -> String {
        let row = |a: &super::Attempt| {
            let reached = if a.reached { "yes" } else { "no" };
            format!("<tr><td>{}<td>{}<td>{reached}</tr>", escape(&a.from), escape(&a.to))
        };
        self.isolation.iter().map(row).collect()
    }

    fn used_html(&self) -> String {
        let row = |u: &super::UsedBy| {
            format!(
                "<tr><td>{}<td>{}<td>{} MiB<td>{:.1} s</tr>",
                escape(&u.part),
                escape(&u.image),
                u.memory_bytes >> 20,
                u.cpu_seconds
            )
        };
        self.used.containers.iter().map(row).collect()
    }

    fn checks_html(&self) -> String {
        self.checks
            .iter()
            .map(|c| {
                format!(
                    "<tr><td>{}<td class={w}>{w}<td>{}</tr>",
                    escape(&c.check),
                    escape(&c.seen),
                    w = c.outcome.word()
                )
            })
            .collect()
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1c2430;background:#fff}\
main{max-width:52rem;margin:auto;padding:1.5rem}h1{font-size:1.4rem;border-left:.5rem solid;padding-left:.8rem}\
h1.passed{border-color:#1a7f4b}h1.failed{border-color:#b3261e}h2{font-size:1.05rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dde4;\
vertical-align:top;overflow-wrap:anywhere}.facts th{width:11rem;font-weight:500;color:#4a5563}\
td.passed{color:#1a7f4b}td.failed{color:#b3261e;font-weight:600}td.skipped{color:#7a5b00}\
.phase{display:grid;grid-template-columns:11rem 1fr 6rem;gap:.6rem;align-items:center}\
.phase i{height:.8rem;background:#2f6fb3;border-radius:.2rem}.phase i.proof{background:#a9c3dd}.phase b{font-weight:500;text-align:right}\
.foot{color:#4a5563;margin-top:2rem}@media(max-width:600px){.phase{grid-template-columns:7rem 1fr 5rem}}\
@media(prefers-color-scheme:dark){body{background:#12161c;color:#e4e8ee}th,td{border-color:#333c48}\
.facts th,.foot{color:#a5afbd}td.passed{color:#5fd39a}td.failed{color:#ff8a80}td.skipped{color:#e0c060}}";

/// Makes text safe inside HTML and quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
