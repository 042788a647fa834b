//! When runs are due: pure functions of a calendar, the past and the time.
//!
//! Owns what the times of a policy mean on real days: time zones, summer time, downtime and clocks that jump.
//! Knows nothing of clocks, journals or jobs; every time is passed in.
//!
//! An hour that summer time skips gives its run at the first instant after it; an hour that comes twice gives
//! one run, the first time. Intervals count real hours. A run is named by its planned instant, so that
//! whatever a clock does, a run that was dealt with is never due again.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::config::{Calendar, CatchUp, Times};
use crate::id::{Sha256, TenantName};

/// How many days a search goes before it gives up: two weeks hold each day of the week, whatever was skipped.
const SEARCH_DAYS: i64 = 15;

/// The most missed runs that are named one by one.
const NAMED_MISSES: usize = 50;

/// When the runs of one kind of one tenant are planned, and what becomes of missed ones.
#[derive(Debug, Clone)]
pub struct Rule<'a> {
    /// The planned times, before the tenant's share of the jitter.
    pub calendar: &'a Calendar,
    /// The tenant's share of the jitter.
    pub shift: SignedDuration,
    /// How long after its planned time a run may start.
    pub window: Duration,
    /// What becomes of a run that was missed by more than the window.
    pub catch_up: CatchUp,
    /// The greatest age that the newest whole snapshot may have.
    pub rpo: Duration,
}

/// What is known of the past of the same runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// The planned instant of the latest run that was dealt with, or when the tenant was first seen.
    pub handled: Timestamp,
    /// When the newest whole snapshot was begun.
    pub whole: Option<Timestamp>,
}

/// A run that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When it was planned, which names it.
    pub planned: Timestamp,
    /// What to do about it.
    pub action: Action,
    /// Earlier runs that were missed and are not made up for, oldest first; at most the last 50.
    pub missed: Vec<Timestamp>,
}

/// What to do about a run that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start it: it is within its window.
    Start,
    /// Start it to make up for what was missed.
    CatchUp,
    /// Record that it was missed.
    Miss,
}

/// Returns a tenant's share of the jitter, always the same, in whole seconds below `jitter`.
pub fn share_of(jitter: Duration, tenant: &TenantName) -> SignedDuration {
    let hash = Sha256::of(tenant.as_str().as_bytes()).0;
    let number = hash[..8].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let seconds = number.checked_rem(jitter.as_secs()).unwrap_or(0);
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0))
}

/// Returns the first planned instant after `after`; none where none comes within two weeks.
pub fn next_run(rule: &Rule<'_>, after: Timestamp) -> Option<Timestamp> {
    let unshifted = after.checked_sub(rule.shift).ok()?;
    next_in(rule.calendar, unshifted)?.checked_add(rule.shift).ok()
}

/// Returns the last planned instant that is not after `now`; none where none was within two weeks.
pub fn previous_run(rule: &Rule<'_>, now: Timestamp) -> Option<Timestamp> {
    let unshifted = now.checked_sub(rule.shift).ok()?;
    previous_in(rule.calendar, unshifted)?.checked_add(rule.shift).ok()
}

/// Tells whether a run is due: the latest planned one, if neither it nor a later one was dealt with.
pub fn due(rule: &Rule<'_>, past: &Past, now: Timestamp) -> Option<Due> {
    let planned = previous_run(rule, now)?;
    if planned <= past.handled {
        return None;
    }
    let action = if longer_than(now.duration_since(planned), rule.window) {
        make_up_for(rule, past, now)
    } else {
        Action::Start
    };
    Some(Due { planned, action, missed: missed(rule, past.handled, planned) })
}

fn make_up_for(rule: &Rule<'_>, past: &Past, now: Timestamp) -> Action {
    let rpo_broken = past.whole.is_none_or(|whole| longer_than(now.duration_since(whole), rule.rpo));
    match rule.catch_up {
        CatchUp::Always => Action::CatchUp,
        CatchUp::IfRpoBroken if rpo_broken => Action::CatchUp,
        CatchUp::IfRpoBroken | CatchUp::Never => Action::Miss,
    }
}

/// Compares a signed span with a bound; what lies in the future is never too long ago.
fn longer_than(span: SignedDuration, bound: Duration) -> bool {
    Duration::try_from(span).is_ok_and(|span| span > bound)
}

/// Lists the planned instants after `from` and before `until`, at most the last 50.
fn missed(rule: &Rule<'_>, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let mut all = Vec::new();
    let mut at = until;
    while all.len() < NAMED_MISSES {
        let before = at.checked_sub(SignedDuration::from_nanos(1)).ok();
        match before.and_then(|before| previous_run(rule, before)) {
            Some(earlier) if earlier > from => all.push(earlier),
            _ => break,
        }
        at = all.last().copied().unwrap_or(from);
    }
    all.reverse();
    all
}

fn next_in(calendar: &Calendar, after: Timestamp) -> Option<Timestamp> {
    match &calendar.times {
        Times::At(times) => {
            // A run that summer time moved may lie on the day after its own, so the search starts a day early.
            let first = calendar.zone.to_datetime(after).date().checked_sub(1.day()).ok()?;
            (0..=SEARCH_DAYS)
                .filter_map(|n| first.checked_add(n.days()).ok())
                .flat_map(|date| on_day(calendar, times, date))
                .find(|t| *t > after)
        }
        Times::Every { interval, between } => {
            let step = step_seconds(*interval);
            let first = after.as_second().div_euclid(step) + 1;
            steps(calendar, *between, (first..first + steps_searched(step)).map(|n| n * step))
        }
    }
}

fn previous_in(calendar: &Calendar, now: Timestamp) -> Option<Timestamp> {
    match &calendar.times {
        Times::At(times) => {
            let last = calendar.zone.to_datetime(now).date();
            (0..=SEARCH_DAYS)
                .filter_map(|n| last.checked_sub(n.days()).ok())
                .find_map(|date| on_day(calendar, times, date).into_iter().rev().find(|t| *t <= now))
        }
        Times::Every { interval, between } => {
            let step = step_seconds(*interval);
            let last = now.as_second().div_euclid(step);
            steps(calendar, *between, (0..steps_searched(step)).map(|n| (last - n) * step))
        }
    }
}

fn step_seconds(interval: Duration) -> i64 {
    i64::try_from(interval.as_secs()).unwrap_or(i64::MAX).max(1)
}

fn steps_searched(step: i64) -> i64 {
    SEARCH_DAYS * 86_400 / step
}

/// Returns the first of the instants, in seconds, whose wall clock counts.
fn steps(
    calendar: &Calendar,
    between: Option<(Time, Time)>,
    mut instants: impl Iterator<Item = i64>,
) -> Option<Timestamp> {
    instants.find_map(|seconds| {
        let instant = Timestamp::from_second(seconds).ok()?;
        let local = calendar.zone.to_datetime(instant);
        let in_time = between.is_none_or(|(from, until)| {
            let time = local.time();
            if from <= until { from <= time && time < until } else { from <= time || time < until }
        });
        (in_time && calendar.includes(local.weekday())).then_some(instant)
    })
}

/// Returns the instants of `times` on `date`, in order; none where the day does not count.
fn on_day(calendar: &Calendar, times: &[Time], date: Date) -> Vec<Timestamp> {
    if !calendar.includes(date.weekday()) {
        return Vec::new();
    }
    times.iter().filter_map(|time| instant(&calendar.zone, date.to_datetime(*time))).collect()
}

/// Returns the first instant at which the wall clock shows `local`, or, where it never does, the first one after.
fn instant(zone: &TimeZone, local: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
        // Read with the offset that comes after the gap, the time lies before the change: the change is next.
        AmbiguousOffset::Gap { after, .. } => {
            let before_change = after.to_timestamp(local).ok()?;
            zone.following(before_change).next().map(|change| change.timestamp())
        }
    }
}
