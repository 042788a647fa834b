//! `hold`: a tenant's backups are paused until a date, with a reason; shown, never green.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::id::TenantName;
use crate::ops::appliance::Surroundings;
use crate::ops::state::{Hold, State};

/// The tenant's hold after the verb.
#[derive(Debug, Serialize)]
pub struct Held {
    /// Whose.
    pub tenant: TenantName,
    /// The hold in force, or none after a release.
    pub hold: Option<Hold>,
    /// The hold that a release ended, if one was in force.
    pub ended: Option<Hold>,
}

/// Pauses a tenant until a time that must lie ahead.
pub fn hold(
    config: &Config,
    tenant: &TenantName,
    until: &str,
    reason: &str,
    around: &Surroundings,
) -> Result<Held> {
    let since = around.now();
    let until = parse_time(until, since)?;
    if reason.trim().is_empty() {
        return Err(
            Error::new(Kind::Usage, "a hold needs a reason").hint("whoever reads `status` will ask for it")
        );
    }
    config.tenant(tenant)?;
    let hold = Hold { until, reason: reason.trim().to_owned(), since };
    State::open(&config.machine.state_dir)?.set_hold(tenant, Some(&hold))?;
    Ok(Held { tenant: tenant.clone(), hold: Some(hold), ended: None })
}

/// Ends a tenant's hold, if one is in force.
pub fn release(config: &Config, tenant: &TenantName, around: &Surroundings) -> Result<Held> {
    config.tenant(tenant)?;
    let state = State::open(&config.machine.state_dir)?;
    let ended = state.hold(tenant, around.now())?;
    state.set_hold(tenant, None)?;
    Ok(Held { tenant: tenant.clone(), hold: None, ended })
}

/// Reads a date (its end, UTC), a date with a time (UTC) or an RFC 3339 time, that lies after `now`.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let bad = || {
        Error::new(Kind::Usage, format!("{text:?} is not a date or time"))
            .hint("write 2027-03-31, or 2027-03-31T12:00:00Z")
    };
    let time = if let Ok(t) = text.parse::<Timestamp>() {
        t
    } else if let (Ok(date), 10) = (text.parse::<Date>(), text.len()) {
        let next = date.tomorrow().map_err(|_| bad())?;
        next.to_zoned(TimeZone::UTC).map_err(|_| bad())?.timestamp()
    } else {
        let t: DateTime = text.parse().map_err(|_| bad())?;
        t.to_zoned(TimeZone::UTC).map_err(|_| bad())?.timestamp()
    };
    if time <= now {
        return Err(Error::new(Kind::Usage, format!("{text:?} lies in the past")));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_means_its_end_and_the_past_is_refused() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let at = |t: &str| parse_time(t, now).map(|t| t.to_string());
        assert_eq!(at("2026-11-23").unwrap(), "2026-11-24T00:00:00Z");
        assert_eq!(at("2026-11-23T12:00:00Z").unwrap(), "2026-11-23T12:00:00Z");
        assert_eq!(at("2026-11-23T12:00").unwrap(), "2026-11-23T12:00:00Z");
        for bad in ["2026-11-22", "soon", "2026-13-01", "2026-11-23T09:00:00Z"] {
            assert_eq!(at(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
