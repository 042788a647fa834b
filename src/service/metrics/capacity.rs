//! What tenants use, what is left of the host, and when disk or store is full, as the last look found.

use super::page::{Labels, Page};
use crate::ops::capacity::{Capacity, TenantUse, Trend};
use crate::service::desk::Sight;

/// A gauge of one tenant: name, help, value.
type Reading = (&'static str, &'static str, fn(&TenantUse) -> Option<u64>);

const READINGS: [Reading; 5] = [
    ("tenant_memory_bytes", "Memory that a tenant's containers use", |t| Some(t.memory_bytes)),
    ("tenant_memory_limit_bytes", "Memory that they may use together", |t| t.memory_limit_bytes),
    ("tenant_disk_bytes", "A tenant's database and files, as far as they are known", |t| Some(t.disk_bytes)),
    ("tenant_connections", "Connections to a tenant's database", |t| t.connections.map(|(now, ..)| now)),
    ("tenant_connections_limit", "How many there may be", |t| t.connections.map(|(.., most)| most)),
];

pub fn write(sight: &Sight, page: &mut Page) {
    let Some(seen) = sight.capacity.as_deref() else { return };
    let one = || Labels::default();
    let bytes = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    page.whole(
        "capacity_timestamp_seconds",
        "When capacity was last measured",
        [(one(), seen.now.as_second())],
    );
    let free = places(seen).filter_map(|(l, trend)| Some((l, bytes(trend.free_bytes?))));
    page.whole(
        "capacity_free_bytes",
        "What is free on the tenants' disk, and in the store where that is a folder",
        free,
    );
    let growth = places(seen).filter_map(|(l, trend)| Some((l, trend.bytes_a_day?)));
    page.real("capacity_daily_growth_bytes", "By how much it grew a day over the last weeks", growth);
    let full = places(seen).filter_map(|(l, trend)| Some((l, trend.full_on?.as_second())));
    page.whole("capacity_full_timestamp_seconds", "When it is full, if it goes on so", full);
    let fits = seen.fits.iter().filter_map(|f| Some((one().and("profile", f.profile), bytes(f.more?))));
    page.whole("capacity_clients_left", "How many more clients of a profile this host carries", fits);
    let cpus = seen.tenants.iter().map(|t| (Labels::of(&t.tenant), t.cpus_used));
    page.real("tenant_cpus", "Processors that a tenant used on average since its containers began", cpus);
    for (name, help, value) in READINGS {
        let lines = seen.tenants.iter().filter_map(|t| Some((Labels::of(&t.tenant), bytes(value(t)?))));
        page.whole(name, help, lines);
    }
}

fn places(seen: &Capacity) -> impl Iterator<Item = (Labels, &Trend)> {
    let both = [("tenants", &seen.disk), ("store", &seen.store)];
    both.into_iter().map(|(place, trend)| (Labels::default().and("place", place), trend))
}
