//! `capacity`.

use super::{Call, DONE};
use crate::cli::args::CapacityArgs;
use crate::cli::render::{Rendered, bytes, table};
use crate::error::Result;
use crate::ops::capacity::{self, Capacity, TenantUse, Trend};

pub(super) async fn run(call: &Call<'_>, args: &CapacityArgs) -> Result<u8> {
    let config = call.config()?;
    let around = call.around();
    let measured = call.reading(capacity::capacity(&config, &around, &args.tenants)).await?;
    drop(around);
    call.output.result(&measured);
    Ok(DONE)
}

impl Rendered for Capacity {
    fn text(&self) -> String {
        let h = &self.host;
        let mut text = format!(
            "This host: {:.1} of {:.0} processors, {} of {} of memory in use; {} of {} free below {}\n\n",
            h.cpus_used,
            h.cpus,
            bytes(h.memory_used_bytes),
            bytes(h.memory_bytes),
            h.disk_free_bytes.map_or("an unknown part".to_owned(), bytes),
            h.disk_bytes.map_or("a disk".to_owned(), bytes),
            h.disk.display()
        );
        let head = ["tenant", "like", "processors", "memory", "disk", "connections"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.tenants.iter().map(row));
        text.push_str(&table(&rows));
        text.push_str("\nHow many more clients fit:\n");
        let fits = self.fits.iter().map(|f| {
            let more = f.more.map_or("unknown".to_owned(), |n| n.to_string());
            let needs = format!(
                "{:.2} processors, {}, {} of disk each",
                f.needs.0,
                bytes(f.needs.1),
                bytes(f.needs.2)
            );
            vec![
                format!("  {more}"),
                f.profile.to_owned(),
                needs,
                format!("{} runs out first; by {}", f.limited_by, f.rests_on),
            ]
        });
        text.push_str(&table(&fits.collect::<Vec<_>>()));
        text.push('\n');
        for (what, trend) in [("The disk", &self.disk), ("The store", &self.store)] {
            text.push_str(&format!("{what} {}\n", told(trend)));
        }
        for gap in &self.unknown {
            text.push_str(&format!("unknown: {gap}\n"));
        }
        text
    }
}

fn row(t: &TenantUse) -> Vec<String> {
    let limit = |limit: Option<String>| limit.map_or("no limit".to_owned(), |l| format!("of {l}"));
    vec![
        t.tenant.to_string(),
        t.profile.to_owned(),
        format!("{:.2} {}", t.cpus_used, limit(t.cpus_limit.map(|c| format!("{c:.1}")))),
        format!("{} {}", bytes(t.memory_bytes), limit(t.memory_limit_bytes.map(bytes))),
        format!("{}{}", bytes(t.disk_bytes), if t.files_bytes.is_none() { " without files" } else { "" }),
        t.connections
            .map_or("unknown".to_owned(), |(now, most, all)| format!("{now} (at most {most}) of {all}")),
    ]
}

fn told(trend: &Trend) -> String {
    let Some(rate) = trend.bytes_a_day else { return format!("grows: {}", trend.rests_on) };
    let word = if rate < 0.0 { "shrinks" } else { "grows" };
    let size = rate.abs();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure for people")]
    let rate = bytes(size as u64);
    let end = match (trend.full_on, trend.free_bytes) {
        (Some(at), _) => format!("full on about {}", at.strftime("%Y-%m-%d")),
        (None, Some(_)) => "not full for years".to_owned(),
        (None, None) => "how much it can hold is not known".to_owned(),
    };
    format!("{word} by {rate} a day: {end}; by {}", trend.rests_on)
}
