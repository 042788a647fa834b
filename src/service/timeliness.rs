//! Whether a tenant's backup is on time: a pure function of its rule, its newest whole snapshot and the time.
//!
//! Owns what late means. The RPO is another question: a night may be late long before too much would be lost.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::schedule::{Past, Rule, previous_run};

/// Whether the backup that was planned last is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timeliness {
    /// A whole snapshot was begun at or after the time that was planned last, or none was planned since the tenant is known.
    OnTime,
    /// It was planned, and its window is not over: it may run, or wait.
    Grace,
    /// Its window is over.
    Late,
}

impl Timeliness {
    /// All of them.
    pub const ALL: [Timeliness; 3] = [Timeliness::OnTime, Timeliness::Grace, Timeliness::Late];

    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Timeliness::OnTime => "on-time",
            Timeliness::Grace => "grace",
            Timeliness::Late => "late",
        }
    }

    /// Judges at `now`; `first_seen` is when the tenant was first planned here.
    pub fn of(rule: &Rule<'_>, past: &Past, first_seen: Option<Timestamp>, now: Timestamp) -> Timeliness {
        let Some(planned) = previous_run(rule, now) else { return Timeliness::OnTime };
        let is_new = first_seen.is_none_or(|seen| seen > planned);
        if past.whole.is_some_and(|whole| whole >= planned) || (past.whole.is_none() && is_new) {
            return Timeliness::OnTime;
        }
        let window = SignedDuration::try_from(rule.window).unwrap_or(SignedDuration::MAX);
        if now.duration_since(planned) <= window { Timeliness::Grace } else { Timeliness::Late }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Calendar, CatchUp, Times};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn judged(whole: Option<&str>, seen: Option<&str>, now: &str) -> Timeliness {
        let calendar = Calendar {
            times: Times::At(vec![jiff::civil::time(2, 0, 0, 0)]),
            days: [true; 7],
            zone: jiff::tz::TimeZone::UTC,
        };
        let hour = Duration::from_secs(3600);
        let rule = Rule {
            calendar: &calendar,
            shift: SignedDuration::ZERO,
            window: 4 * hour,
            catch_up: CatchUp::Always,
            rpo: 26 * hour,
        };
        let past = Past { handled: at(now), whole: whole.map(at) };
        Timeliness::of(&rule, &past, seen.map(at), at(now))
    }

    #[test]
    fn a_night_is_in_grace_until_its_window_is_over_and_late_afterwards() {
        let (before, seen) = (Some("2026-05-03T02:00:01Z"), Some("2026-05-01T00:00:00Z"));
        assert_eq!(judged(before, seen, "2026-05-04T01:59:59Z"), Timeliness::OnTime);
        assert_eq!(judged(before, seen, "2026-05-04T02:00:00Z"), Timeliness::Grace);
        assert_eq!(judged(before, seen, "2026-05-04T06:00:00Z"), Timeliness::Grace);
        assert_eq!(judged(before, seen, "2026-05-04T06:00:01Z"), Timeliness::Late);
        assert_eq!(judged(Some("2026-05-04T02:00:00Z"), seen, "2026-05-04T09:00:00Z"), Timeliness::OnTime);
    }

    #[test]
    fn a_tenant_is_not_late_for_nights_before_it_was_known_and_is_for_those_after() {
        assert_eq!(judged(None, Some("2026-05-04T03:00:00Z"), "2026-05-04T12:00:00Z"), Timeliness::OnTime);
        assert_eq!(judged(None, Some("2026-05-04T01:00:00Z"), "2026-05-04T12:00:00Z"), Timeliness::Late);
        assert_eq!(judged(None, None, "2026-05-04T12:00:00Z"), Timeliness::OnTime);
    }
}
