//! When runs are due, over whole years, summer time, downtime and clocks that jump.

#![expect(clippy::unwrap_used, reason = "a test may end so")]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::{Date, Time, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat::config::{Calendar, CatchUp, Times};
use lifeboat::service::schedule::{Action, Due, Past, Rule, due, next_run, previous_run, share_of};
use proptest::prelude::*;

const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
const HOUR: Duration = Duration::from_secs(3600);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn calendar(zone: &str, times: Times) -> Calendar {
    Calendar { times, days: [true; 7], zone: TimeZone::get(zone).unwrap() }
}

fn nightly(zone: &str) -> Calendar {
    calendar(zone, Times::At(vec![time(2, 0, 0, 0)]))
}

fn rule(calendar: &Calendar) -> Rule<'_> {
    Rule {
        calendar,
        shift: SignedDuration::ZERO,
        window: HOUR * 4,
        catch_up: CatchUp::IfRpoBroken,
        rpo: HOUR * 26,
    }
}

/// All runs from the start of 2026 to that of 2027, in UTC.
fn runs_of_2026(rule: &Rule<'_>) -> Vec<Timestamp> {
    let end = at("2027-01-01T00:00:00Z");
    let mut runs = Vec::new();
    let mut last = at("2025-12-31T23:59:59Z");
    while let Some(next) = next_run(rule, last).filter(|t| *t < end) {
        assert!(next > last);
        runs.push(next);
        last = next;
    }
    runs
}

/// The same by looking at the clock on the wall each minute of the year: on each day, the first minute that
/// shows the time or a later one.
fn by_looking_at_the_clock(zone: &TimeZone, times: &[Time]) -> BTreeMap<Time, Vec<Timestamp>> {
    let mut runs: BTreeMap<Time, Vec<Timestamp>> = times.iter().map(|t| (*t, Vec::new())).collect();
    let mut done: BTreeMap<Time, Date> = BTreeMap::new();
    let start = at("2025-12-30T00:00:00Z").as_second();
    for minute in 0..370 * 24 * 60 {
        let instant = Timestamp::from_second(start + minute * 60).unwrap();
        let local = zone.to_datetime(instant);
        for time in times {
            if local.time() >= *time && done.get(time).is_none_or(|d| *d < local.date()) {
                done.insert(*time, local.date());
                runs.get_mut(time).unwrap().push(instant);
            }
        }
    }
    let year = at("2026-01-01T00:00:00Z")..at("2027-01-01T00:00:00Z");
    runs.values_mut().for_each(|all| all.retain(|t| year.contains(t)));
    runs
}

#[test]
fn every_night_of_a_year_has_one_run_when_the_clock_on_the_wall_says_so() {
    let times = [(0, 0), (1, 45), (2, 0), (2, 15), (2, 30), (3, 0), (23, 59)].map(|(h, m)| time(h, m, 0, 0));
    for zone in ZONES {
        let expected = by_looking_at_the_clock(&TimeZone::get(zone).unwrap(), &times);
        for time in times {
            let calendar = calendar(zone, Times::At(vec![time]));
            assert_eq!(runs_of_2026(&rule(&calendar)), expected[&time], "{zone} {time}");
        }
    }
}

#[test]
fn a_time_that_summer_time_skips_comes_at_the_end_of_the_gap() {
    let half_past_two = calendar("Europe/Berlin", Times::At(vec![time(2, 30, 0, 0)]));
    let next = next_run(&rule(&half_past_two), at("2026-03-28T12:00:00Z")).unwrap();
    assert_eq!(next, at("2026-03-29T03:00:00+02:00"));
    // Lord Howe skips half an hour only: 02:00 becomes 02:30.
    let lord_howe = nightly("Australia/Lord_Howe");
    let next = next_run(&rule(&lord_howe), at("2026-10-03T12:00:00Z")).unwrap();
    assert_eq!(next, at("2026-10-04T02:30:00+11:00"));
}

#[test]
fn a_time_that_comes_twice_gives_one_run_the_first_time() {
    let half_past_two = calendar("Europe/Berlin", Times::At(vec![time(2, 30, 0, 0)]));
    let rule = rule(&half_past_two);
    let first = next_run(&rule, at("2026-10-24T12:00:00Z")).unwrap();
    assert_eq!(first, at("2026-10-25T02:30:00+02:00"));
    assert_eq!(next_run(&rule, first).unwrap(), at("2026-10-26T02:30:00+01:00"));
}

#[test]
fn an_hourly_run_comes_each_real_hour_of_the_long_and_the_short_day() {
    for zone in ZONES {
        let hourly = calendar(zone, Times::Every { interval: HOUR, between: None });
        let runs = runs_of_2026(&rule(&hourly));
        assert_eq!(runs.len(), 365 * 24, "{zone}");
    }
}

#[test]
fn hours_outside_office_time_have_no_run() {
    let office = Times::Every { interval: HOUR, between: Some((time(6, 0, 0, 0), time(20, 0, 0, 0))) };
    let mut calendar = calendar("Europe/Berlin", office);
    calendar.days = [true, true, true, true, true, false, false];
    let runs = runs_of_2026(&rule(&calendar));
    assert_eq!(runs.len(), 261 * 14, "261 working days of 14 hours");
    for run in runs {
        let local = calendar.zone.to_datetime(run);
        assert!((6..20).contains(&local.hour()) && local.weekday().to_monday_zero_offset() < 5, "{local}");
    }
    let night = Times::Every { interval: HOUR, between: Some((time(22, 0, 0, 0), time(5, 0, 0, 0))) };
    let over_midnight = self::calendar("UTC", night);
    assert_eq!(runs_of_2026(&rule(&over_midnight)).len(), 365 * 7);
}

#[test]
fn the_previous_run_of_a_run_is_itself_and_of_a_moment_before_is_the_one_before() {
    for zone in ZONES {
        let calendar = calendar(zone, Times::At(vec![time(1, 30, 0, 0), time(2, 30, 0, 0)]));
        let rule = rule(&calendar);
        let runs = runs_of_2026(&rule);
        for pair in runs.windows(2) {
            assert_eq!(previous_run(&rule, pair[1]), Some(pair[1]), "{zone}");
            let moment = SignedDuration::from_nanos(1);
            assert_eq!(previous_run(&rule, pair[1] - moment), Some(pair[0]), "{zone}");
        }
    }
}

#[test]
fn only_the_days_that_count_have_runs() {
    let mut sundays = nightly("Europe/Berlin");
    sundays.days = [false, false, false, false, false, false, true];
    let runs = runs_of_2026(&rule(&sundays));
    assert_eq!(runs.len(), 52);
    assert_eq!(runs[0], at("2026-01-04T02:00:00+01:00"));
}

#[test]
fn a_tenants_share_of_the_jitter_never_changes_and_stays_below_it() {
    let byrne = "byrne".parse().unwrap();
    let share = share_of(HOUR, &byrne);
    // Written down, so that a change of the hash does not move everybody's nights.
    assert_eq!(share, SignedDuration::from_secs(2401));
    assert_eq!(share_of(Duration::ZERO, &byrne), SignedDuration::ZERO);
    let shares: Vec<i64> =
        (0..500).map(|n| share_of(HOUR, &format!("tenant-{n}").parse().unwrap()).as_secs()).collect();
    assert!(shares.iter().all(|s| (0..3600).contains(s)));
    let firsts = shares.iter().filter(|s| **s < 1800).count();
    assert!((200..300).contains(&firsts), "{firsts} of 500 in the first half");
    let calendar = nightly("UTC");
    let shifted = Rule { shift: share, ..rule(&calendar) };
    let next = next_run(&shifted, at("2026-05-01T02:00:00Z")).unwrap();
    assert_eq!(next, at("2026-05-01T02:00:00Z") + share);
    assert_eq!(next_run(&shifted, next).unwrap(), at("2026-05-02T02:00:00Z") + share);
}

#[test]
fn nine_hours_of_downtime_over_two_o_clock_are_made_up_for_once() {
    let calendar = nightly("UTC");
    let rule = rule(&calendar);
    let mut past = Past { handled: at("2026-05-01T02:00:00Z"), whole: Some(at("2026-05-01T02:00:00Z")) };
    let now = at("2026-05-02T11:00:00Z");
    let planned = at("2026-05-02T02:00:00Z");
    assert_eq!(due(&rule, &past, now), Some(Due { planned, action: Action::CatchUp, missed: vec![] }));
    past.handled = planned;
    assert_eq!(due(&rule, &past, now), None);
}

#[test]
fn a_start_within_the_window_is_the_run_itself() {
    let calendar = nightly("UTC");
    let past = Past { handled: at("2026-05-01T02:00:00Z"), whole: None };
    let action = |now: &str| due(&rule(&calendar), &past, at(now)).map(|d| d.action);
    assert_eq!(action("2026-05-02T01:59:59Z"), None);
    assert_eq!(action("2026-05-02T02:00:00Z"), Some(Action::Start));
    assert_eq!(action("2026-05-02T06:00:00Z"), Some(Action::Start));
    assert_eq!(action("2026-05-02T06:00:01Z"), Some(Action::CatchUp));
}

#[test]
fn what_becomes_of_a_missed_run_is_the_policys_choice() {
    let calendar = nightly("UTC");
    let now = at("2026-05-02T11:00:00Z");
    let action = |catch_up, whole: Option<&str>| {
        let past = Past { handled: at("2026-05-01T02:00:00Z"), whole: whole.map(at) };
        due(&Rule { catch_up, ..rule(&calendar) }, &past, now).unwrap().action
    };
    assert_eq!(action(CatchUp::Never, None), Action::Miss);
    assert_eq!(action(CatchUp::Always, Some("2026-05-02T10:00:00Z")), Action::CatchUp);
    // Somebody made a backup by hand in the meantime: the RPO holds, nothing is to be made up for.
    assert_eq!(action(CatchUp::IfRpoBroken, Some("2026-05-02T10:00:00Z")), Action::Miss);
    assert_eq!(action(CatchUp::IfRpoBroken, Some("2026-05-01T08:59:59Z")), Action::CatchUp);
    assert_eq!(action(CatchUp::IfRpoBroken, None), Action::CatchUp);
}

#[test]
fn each_night_of_a_long_downtime_is_named_but_only_the_last_is_made_up_for() {
    let calendar = nightly("UTC");
    let rule = rule(&calendar);
    let past = Past { handled: at("2026-05-01T02:00:00Z"), whole: None };
    let found = due(&rule, &past, at("2026-05-05T11:00:00Z")).unwrap();
    assert_eq!(found.planned, at("2026-05-05T02:00:00Z"));
    let missed = ["2026-05-02T02:00:00Z", "2026-05-03T02:00:00Z", "2026-05-04T02:00:00Z"].map(at);
    assert_eq!(found.missed, missed);
    let years = due(&rule, &past, at("2036-05-05T11:00:00Z")).unwrap();
    assert_eq!(years.missed.len(), 50);
}

#[test]
fn a_tenant_that_was_just_configured_has_missed_nothing() {
    let calendar = nightly("UTC");
    let past = Past { handled: at("2026-05-02T10:00:00Z"), whole: None };
    assert_eq!(due(&rule(&calendar), &past, at("2026-05-02T11:00:00Z")), None);
}

proptest! {
    #[test]
    fn no_run_is_done_twice_whatever_the_clock_does(
        jumps in prop::collection::vec(-200_000_i64..400_000, 1..200),
        zone in 0..ZONES.len(),
    ) {
        let calendar = nightly(ZONES[zone]);
        let rule = rule(&calendar);
        let mut now = at("2026-03-20T12:00:00Z");
        let mut past = Past { handled: now, whole: None };
        let mut seen = Vec::new();
        for jump in jumps {
            now += SignedDuration::from_secs(jump);
            while let Some(found) = due(&rule, &past, now) {
                prop_assert!(found.planned <= now);
                seen.extend(found.missed.iter().copied().chain([found.planned]));
                past.handled = found.planned;
            }
        }
        // Strictly increasing: each planned run is dealt with once, as started, made up for or missed.
        prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        // And none is left out, as long as no gap is longer than what is named one by one.
        let mut expected = Vec::new();
        let mut last = at("2026-03-20T12:00:00Z");
        while let Some(next) = next_run(&rule, last).filter(|t| *t <= past.handled) {
            expected.push(next);
            last = next;
        }
        prop_assert_eq!(seen, expected);
    }
}
