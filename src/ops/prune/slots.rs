//! The scheduled run that a snapshot belongs to, and the period of the calendar it lies in. Pure.

use std::time::Duration;

use jiff::tz::{Disambiguation, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::config::{Calendar, Times};

/// So many days hold each day of the week, whatever was skipped.
const SEARCH_DAYS: i64 = 8;

/// Returns the last instant that was planned for a run and is not after `t`, or `t` itself where there is none.
///
/// Only what falls between the same two planned instants matters, so an hour that summer time skips counts from
/// just before the gap, and one that comes twice from its first time.
pub(super) fn run_of(calendar: &Calendar, t: Timestamp) -> Timestamp {
    let found = match &calendar.times {
        Times::At(times) => {
            let today = t.to_zoned(calendar.zone.clone()).date();
            (0..=SEARCH_DAYS)
                .filter_map(|back| today.checked_sub(jiff::Span::new().days(back)).ok())
                .find_map(|day| {
                    let at = |time: &jiff::civil::Time| instant(&calendar.zone, day.to_datetime(*time));
                    let planned = times.iter().rev().filter_map(at).find(|planned| *planned <= t);
                    planned.filter(|_| calendar.includes(day.weekday()))
                })
        }
        Times::Every { interval, between } => every(calendar, *interval, *between, t),
    };
    found.unwrap_or(t)
}

fn instant(zone: &TimeZone, wall: jiff::civil::DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_zoned(wall).disambiguate(Disambiguation::Earlier).ok().map(|z| z.timestamp())
}

fn every(
    calendar: &Calendar,
    interval: Duration,
    between: Option<(jiff::civil::Time, jiff::civil::Time)>,
    t: Timestamp,
) -> Option<Timestamp> {
    let step = i64::try_from(interval.as_secs()).ok().filter(|s| *s > 0)?;
    let counts = |at: &Zoned| {
        let within = between.is_none_or(|(from, until)| {
            let wall = at.time();
            if from < until { from <= wall && wall < until } else { wall >= from || wall < until }
        });
        within && calendar.includes(at.date().weekday())
    };
    let newest = t.as_second().div_euclid(step);
    let most = SEARCH_DAYS * 86_400 / step;
    let grid = (0..=most).filter_map(|back| Timestamp::from_second((newest - back) * step).ok());
    grid.map(|at| at.to_zoned(calendar.zone.clone())).find(counts).map(|at| at.timestamp())
}

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// Names the period that `t` lies in, by the wall clock of `zone`; names sort by time.
    ///
    /// Of an hour that comes twice, each counts. Weeks are those of ISO 8601.
    pub fn of(self, t: Timestamp, zone: &TimeZone) -> String {
        let at = t.to_zoned(zone.clone());
        match self {
            Period::Hour => at.strftime("%Y-%m-%d %H%:z").to_string(),
            Period::Day => at.strftime("%Y-%m-%d").to_string(),
            Period::Week => {
                let week = at.date().iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Period::Month => at.strftime("%Y-%m").to_string(),
            Period::Year => at.strftime("%Y").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(times: Times, days: [bool; 7], zone: &str) -> Calendar {
        Calendar { times, days, zone: TimeZone::get(zone).unwrap() }
    }

    fn nightly(at: &str, zone: &str) -> Calendar {
        calendar(Times::At(vec![at.parse().unwrap()]), [true; 7], zone)
    }

    fn run(calendar: &Calendar, t: &str) -> String {
        run_of(calendar, t.parse().unwrap()).to_string()
    }

    #[test]
    fn what_is_made_until_the_next_planned_time_belongs_to_the_last() {
        let c = nightly("02:00", "Europe/Berlin");
        assert_eq!(run(&c, "2026-11-23T01:00:00Z"), "2026-11-23T01:00:00Z");
        assert_eq!(run(&c, "2026-11-23T16:00:00Z"), "2026-11-23T01:00:00Z");
        assert_eq!(run(&c, "2026-11-24T00:59:59Z"), "2026-11-23T01:00:00Z");
        let mut sundays = nightly("02:00", "UTC");
        sundays.days = [false, false, false, false, false, false, true];
        assert_eq!(run(&sundays, "2026-11-28T10:00:00Z"), "2026-11-22T02:00:00Z");
    }

    #[test]
    fn a_skipped_hour_keeps_its_night_and_a_doubled_hour_is_one_run() {
        // Summer time begins at 01:00 UTC: 02:30 does not exist, and the service starts that run at 03:00.
        let c = nightly("02:30", "Europe/Berlin");
        let spring = run(&c, "2026-03-29T01:00:00Z");
        assert_eq!(spring, run(&c, "2026-03-29T12:00:00Z"));
        assert_ne!(spring, run(&c, "2026-03-28T12:00:00Z"));
        // It ends at 01:00 UTC: 02:30 comes at 00:30 UTC and again at 01:30.
        assert_eq!(run(&c, "2026-10-25T00:30:00Z"), run(&c, "2026-10-25T01:45:00Z"));
    }

    #[test]
    fn intervals_count_from_midnight_utc_while_the_wall_clock_allows() {
        let every = |between| Times::Every { interval: Duration::from_secs(3600), between };
        let c = calendar(every(None), [true; 7], "Europe/Berlin");
        assert_eq!(run(&c, "2026-11-23T10:59:59Z"), "2026-11-23T10:00:00Z");
        let part = Some(("06:00".parse().unwrap(), "20:00".parse().unwrap()));
        let c = calendar(every(part), [true; 7], "Europe/Berlin");
        assert_eq!(run(&c, "2026-11-23T03:00:00Z"), "2026-11-22T18:00:00Z");
    }

    #[test]
    fn periods_follow_the_wall_clock_of_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let of = |period: Period, t: &str| period.of(t.parse().unwrap(), &zone);
        assert_eq!(of(Period::Day, "2026-12-31T23:30:00Z"), "2027-01-01");
        assert_eq!(of(Period::Week, "2026-12-31T23:30:00Z"), "2026-W53");
        assert_eq!(of(Period::Year, "2026-12-31T22:30:00Z"), "2026");
        assert_ne!(of(Period::Hour, "2026-10-25T00:10:00Z"), of(Period::Hour, "2026-10-25T01:10:00Z"));
    }
}
