//! How many more clients a host carries: profiles, and what is left. Pure.
//!
//! A profile is a rule of thumb; where tenants of its size run here, what the largest of them really uses counts instead.

use serde::Serialize;

use super::growth::float;
use super::{HostUse, TenantUse};

/// This share of a host is not given away: peaks, the page cache, a restore beside a tenant.
const RESERVE: f64 = 0.15;

/// Measured tenants count from this age of their containers on, in seconds: before it they have not warmed up.
const WARM_S: f64 = 24.0 * 3600.0;

/// A kind of client by what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// Who it is.
    pub who: &'static str,
    /// Processors on average.
    pub cpus: f64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Data on disk, in bytes.
    pub disk_bytes: u64,
}

const GB: u64 = 1_000_000_000;

/// The documented profiles, lightest first; the figures of a tenant with all its containers.
pub const PROFILES: [Profile; 3] = [
    Profile {
        name: "light",
        who: "up to 5 users, some documents a day",
        cpus: 0.1,
        memory_bytes: 3 * GB / 2,
        disk_bytes: 5 * GB,
    },
    Profile {
        name: "medium",
        who: "up to 25 users, hundreds of documents a day",
        cpus: 0.4,
        memory_bytes: 3 * GB,
        disk_bytes: 20 * GB,
    },
    Profile {
        name: "heavy",
        who: "up to 100 users, thousands of documents a day",
        cpus: 1.5,
        memory_bytes: 8 * GB,
        disk_bytes: 80 * GB,
    },
];

/// How many more clients of a profile fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// The profile's name.
    pub profile: &'static str,
    /// Who it is.
    pub who: &'static str,
    /// How many; nothing where something that decides is not known.
    pub more: Option<u64>,
    /// What runs out first.
    pub limited_by: &'static str,
    /// On what the estimate rests.
    pub rests_on: String,
    /// What one is taken to need: processors, memory and disk in bytes.
    pub needs: (f64, u64, u64),
}

/// Estimates how many more clients of a profile this host carries.
pub(super) fn fit(profile: &Profile, host: &HostUse, tenants: &[TenantUse]) -> Fit {
    let measured: Vec<&TenantUse> =
        tenants.iter().filter(|t| t.uptime_seconds >= WARM_S && class(t) == profile.name).collect();
    let needs = match measured.as_slice() {
        [] => (profile.cpus, profile.memory_bytes, profile.disk_bytes),
        all => (
            all.iter().map(|t| t.cpus_used).fold(0.01, f64::max),
            all.iter().map(|t| t.memory_bytes).max().unwrap_or(profile.memory_bytes),
            all.iter().map(|t| t.disk_bytes).max().unwrap_or(profile.disk_bytes).max(GB / 10),
        ),
    };
    let rests_on = match measured.as_slice() {
        [] => "the documented profile: no tenant of this size has run here for a day".to_owned(),
        all => {
            let names: Vec<&str> = all.iter().map(|t| t.tenant.as_str()).collect();
            format!("the largest of what {} used", names.join(", "))
        }
    };
    let left = |has: f64, used: f64| (has * (1.0 - RESERVE) - used).max(0.0);
    let disk = host.disk_bytes.zip(host.disk_free_bytes);
    let mut by = [
        ("processors", left(host.cpus, host.cpus_used) / needs.0),
        ("memory", left(float(host.memory_bytes), float(host.memory_used_bytes)) / float(needs.1.max(1))),
        (
            "disk",
            disk.map_or(f64::INFINITY, |(all, free)| {
                (float(free) - float(all) * RESERVE).max(0.0) / float(needs.2.max(1))
            }),
        ),
    ];
    by.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (limited_by, most) = by[0];
    let more = (host.cpus > 0.0 && host.memory_bytes > 0 && disk.is_some()).then(|| whole(most));
    Fit { profile: profile.name, who: profile.who, more, limited_by, rests_on, needs }
}

/// Returns the profile that a tenant's use is nearest to, by its memory, which is what hosts of this kind run out of.
pub(super) fn class(tenant: &TenantUse) -> &'static str {
    let between = |a: &Profile, b: &Profile| (a.memory_bytes + b.memory_bytes) / 2;
    match tenant.memory_bytes {
        m if m < between(&PROFILES[0], &PROFILES[1]) => PROFILES[0].name,
        m if m < between(&PROFILES[1], &PROFILES[2]) => PROFILES[1].name,
        _ => PROFILES[2].name,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and floored on purpose"
)]
fn whole(n: f64) -> u64 {
    // 5.8 / 0.2 is a little less than 29.
    (n + 1e-6) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostUse {
        HostUse {
            cpus: 8.0,
            cpus_used: 1.0,
            memory_bytes: 32 * GB,
            memory_used_bytes: 8 * GB,
            disk: "/".into(),
            disk_free_bytes: Some(400 * GB),
            disk_bytes: Some(500 * GB),
        }
    }

    fn tenant(memory_bytes: u64, uptime_seconds: f64) -> TenantUse {
        TenantUse {
            memory_bytes,
            uptime_seconds,
            cpus_used: 0.2,
            disk_bytes: 2 * GB,
            ..TenantUse::none("byrne".parse().unwrap())
        }
    }

    #[test]
    fn the_scarcest_decides_and_a_reserve_stays() {
        // 32 GB less 15 % less 8 GB: 19.2 GB.
        let found: Vec<(Option<u64>, &str)> =
            PROFILES.iter().map(|p| fit(p, &host(), &[])).map(|f| (f.more, f.limited_by)).collect();
        assert_eq!(found, [(Some(12), "memory"), (Some(6), "memory"), (Some(2), "memory")]);
        let full = HostUse { disk_free_bytes: Some(10 * GB), ..host() };
        assert_eq!(fit(&PROFILES[0], &full, &[]).more, Some(0));
        assert_eq!(fit(&PROFILES[0], &full, &[]).limited_by, "disk");
    }

    #[test]
    fn a_tenant_that_has_run_for_a_day_overrides_its_profile_and_says_so() {
        let young = fit(&PROFILES[0], &host(), &[tenant(GB / 2, 60.0)]);
        assert!(young.rests_on.contains("documented"), "{}", young.rests_on);
        let warm = fit(&PROFILES[0], &host(), &[tenant(GB / 2, 90_000.0)]);
        assert_eq!((warm.needs.1, warm.more), (GB / 2, Some(29)));
        assert!(warm.rests_on.contains("byrne") && warm.limited_by == "processors", "{warm:?}");
        assert_eq!(class(&tenant(3 * GB, 1.0)), "medium");
        assert_eq!(class(&tenant(30 * GB, 1.0)), "heavy");
    }

    #[test]
    fn without_a_look_at_the_disk_nothing_is_promised() {
        let blind = HostUse { disk_free_bytes: None, disk_bytes: None, ..host() };
        assert_eq!(fit(&PROFILES[0], &blind, &[]).more, None);
    }
}
