//! `policies/<name>.toml`: when backups and drills run, and what is kept.
//!
//! Owns the checked shape of a policy and its defaults, which are those of the shipped `nightly`. What the times
//! mean on a given day is not known here, but in `service::schedule`.

use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde_spanned::Spanned;

use super::check::{Checker, one_of};
use super::drill::{self, DrillPolicy, Drilling};
use super::raw::{self, OneOrMore};
use super::units::{Rate, duration, rate, some_time, time_of_day, weekday};
use crate::error::{Error, Kind, Result};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The longest time for which a policy may lock objects: a mistake must not cost years of storage.
const MAX_LOCK: Duration = Duration::from_secs(366 * 86_400);

/// A policy, as checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name: that of its file.
    pub name: String,
    /// When backups run.
    pub backups: Calendar,
    /// How long after its planned time a run may start and still count as that run.
    pub window: Duration,
    /// How far tenants are spread behind the planned time; a tenant's share of it never changes.
    pub jitter: Duration,
    /// What happens to a run that was missed by more than the window.
    pub catch_up: CatchUp,
    /// What is kept.
    pub retention: Retention,
    /// How objects are locked in the store.
    pub lock: Lock,
    /// The regular proof.
    pub drill: DrillPolicy,
    /// How drills are done, planned or not.
    pub drilling: Drilling,
    /// How much may be lost: the greatest age of the newest whole snapshot.
    pub rpo: Duration,
    /// How long a restore may take.
    pub rto: Duration,
    /// How long any one stage of a run may take.
    pub stage_timeout: Duration,
    /// How long a stage may go without a byte of progress.
    pub no_progress_timeout: Duration,
    /// How many tenants of this policy may be worked on at once; none for the service's own limit.
    pub concurrency: Option<usize>,
    /// The most that runs of this policy send; none for the store's own limit.
    pub upload_limit: Option<Rate>,
}

/// Times that come again and again, in a time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    /// The times on a day that counts.
    pub times: Times,
    /// The days of the week that count, Monday first.
    pub days: [bool; 7],
    /// The zone of times and days.
    pub zone: TimeZone,
}

/// The times on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Times {
    /// At these times by the wall clock, sorted, never empty.
    At(Vec<Time>),
    /// Each time this much real time has passed, counted from midnight UTC, while the wall clock shows a
    /// time in `[from, until)`, which may go over midnight and is at least an interval long; no bounds
    /// for the whole day.
    Every {
        /// The interval; it divides a day.
        interval: Duration,
        /// The first and the end of the times that count.
        between: Option<(Time, Time)>,
    },
}

impl Calendar {
    /// Tells whether `day` counts.
    pub fn includes(&self, day: Weekday) -> bool {
        self.days[usize::from(day.to_monday_zero_offset().unsigned_abs())]
    }
}

/// What happens to a run that was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// It is made up for, once.
    Always,
    /// It is made up for, once, if the newest whole snapshot is older than the RPO.
    IfRpoBroken,
    /// The next planned run is waited for.
    Never,
}

/// What is kept; nothing younger than 14 days goes, whatever stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// This many newest snapshots, one a scheduled run.
    pub keep_last: u32,
    /// One an hour, for this many hours that have one.
    pub hourly: u32,
    /// One a day.
    pub daily: u32,
    /// One an ISO week.
    pub weekly: u32,
    /// One a month.
    pub monthly: u32,
    /// One a year.
    pub yearly: u32,
    /// All that is younger.
    pub within: Duration,
}

/// How objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whether, and how firmly.
    pub mode: LockMode,
    /// For how long after the commit.
    pub horizon: Duration,
}

/// How firmly objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Not at all.
    Off,
    /// Whoever has a special right may unlock.
    Governance,
    /// Nobody may unlock.
    Compliance,
}

/// Checks a policy; faulty keys count as their defaults, since their faults stop all use anyway.
pub(super) fn check(name: &str, raw: &raw::Policy, zone: &TimeZone, c: &mut Checker<'_>) -> Policy {
    let s = &raw.schedule;
    let zone =
        c.parse("schedule.timezone", &s.timezone, |t| time_zone(t, zone)).unwrap_or_else(|| zone.clone());
    let or = |found: Option<Duration>, default| found.unwrap_or(default);
    let rpo = or(c.parse("targets.rpo", &raw.targets.rpo, some_time), HOUR * 26);
    let t = &raw.timeouts;
    let drills = drill::policy(&raw.drill, &zone, c);
    let policy = Policy {
        name: name.to_owned(),
        backups: backup_calendar(s, &zone, c),
        window: or(c.parse("schedule.window", &s.window, some_time), HOUR * 4),
        jitter: or(c.parse("schedule.jitter", &s.jitter, duration), Duration::ZERO),
        catch_up: c.parse("schedule.catch_up", &s.catch_up, catch_up).unwrap_or(CatchUp::IfRpoBroken),
        retention: retention(&raw.retention, c),
        lock: lock(&raw.lock, c),
        drill: drills.0,
        drilling: drills.1,
        rpo,
        rto: or(c.parse("targets.rto", &raw.targets.rto, some_time), HOUR * 4),
        stage_timeout: or(c.parse("timeouts.stage", &t.stage, some_time), HOUR * 6),
        no_progress_timeout: or(c.parse("timeouts.no_progress", &t.no_progress, some_time), HOUR / 4),
        concurrency: raw
            .limits
            .concurrency
            .is_some()
            .then(|| c.number("limits.concurrency", &raw.limits.concurrency, 1..65, 1) as usize),
        upload_limit: c.parse("limits.upload", &raw.limits.upload, rate),
    };
    if policy.jitter >= policy.window {
        let error =
            Error::new(Kind::Config, "as long as the window or longer").hint("make schedule.window longer");
        c.fault(s.jitter.as_ref().map(Spanned::span).as_ref(), "schedule.jitter", &error);
    }
    policy
}

fn time_zone(text: &str, of_host: &TimeZone) -> Result<TimeZone> {
    if text == "host" {
        return Ok(of_host.clone());
    }
    TimeZone::get(text).map_err(|_| {
        Error::new(Kind::Config, format!("{text:?} is not a time zone"))
            .hint("write an IANA name such as Europe/Berlin, UTC, or host")
    })
}

fn catch_up(text: &str) -> Result<CatchUp> {
    let words =
        [("always", CatchUp::Always), ("if-rpo-broken", CatchUp::IfRpoBroken), ("never", CatchUp::Never)];
    one_of(text, &words)
}

fn backup_calendar(s: &raw::Schedule, zone: &TimeZone, c: &mut Checker<'_>) -> Calendar {
    let days = days("schedule.days", &s.days, [true; 7], c);
    let interval = c.parse("schedule.every", &s.every, interval);
    let between = c.parse("schedule.between", &s.between, between);
    if let (Some(every), Some(_)) = (&s.every, &s.at) {
        let error = Error::new(Kind::Config, "stands beside schedule.at").hint("keep one of the two");
        c.fault(Some(&every.span()), "schedule.every", &error);
    }
    if let (Some(between), None) = (&s.between, &s.every) {
        let error = Error::new(Kind::Config, "means nothing without schedule.every");
        c.fault(Some(&between.span()), "schedule.between", &error);
    }
    if let (Some(text), Some(between), Some(interval)) = (&s.between, between, interval)
        && length(between) < interval
    {
        let error = Error::new(Kind::Config, "shorter than schedule.every, so some days would have no run");
        c.fault(Some(&text.span()), "schedule.between", &error);
    }
    let times = match interval {
        Some(interval) => Times::Every { interval, between },
        None => Times::At(times("schedule.at", &s.at, Time::constant(2, 0, 0, 0), c)),
    };
    Calendar { times, days, zone: zone.clone() }
}

fn interval(text: &str) -> Result<Duration> {
    let interval = some_time(text)?;
    let divides = interval.subsec_nanos() == 0 && DAY.as_secs().is_multiple_of(interval.as_secs());
    if !divides || interval < Duration::from_secs(300) {
        return Err(Error::new(Kind::Config, format!("{text:?} does not divide a day, or is too short"))
            .hint("write 5m, 15m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h"));
    }
    Ok(interval)
}

fn between(text: &str) -> Result<(Time, Time)> {
    let (from, until) = text.split_once('-').ok_or_else(|| {
        Error::new(Kind::Config, format!("{text:?} is not a part of a day")).hint("write 06:00-20:00")
    })?;
    Ok((time_of_day(from.trim())?, time_of_day(until.trim())?))
}

/// Returns how long a part of a day is; one that ends before it starts goes over midnight.
fn length((from, until): (Time, Time)) -> Duration {
    let seconds =
        |t: Time| u64::from(t.hour().unsigned_abs()) * 3600 + u64::from(t.minute().unsigned_abs()) * 60;
    Duration::from_secs((seconds(until) + DAY.as_secs() - seconds(from)) % DAY.as_secs())
}

pub(super) fn times(
    key: &str,
    given: &Option<Spanned<OneOrMore>>,
    default: Time,
    c: &mut Checker<'_>,
) -> Vec<Time> {
    let mut times = one_or_more(key, given, time_of_day, c);
    times.sort_unstable();
    times.dedup();
    if times.is_empty() { vec![default] } else { times }
}

pub(super) fn days(
    key: &str,
    given: &Option<Spanned<OneOrMore>>,
    default: [bool; 7],
    c: &mut Checker<'_>,
) -> [bool; 7] {
    let days = one_or_more(key, given, weekday, c);
    if days.is_empty() {
        return default;
    }
    let mut set = [false; 7];
    for day in days {
        set[usize::from(day.to_monday_zero_offset().unsigned_abs())] = true;
    }
    set
}

fn one_or_more<T>(
    key: &str,
    given: &Option<Spanned<OneOrMore>>,
    parser: fn(&str) -> Result<T>,
    c: &mut Checker<'_>,
) -> Vec<T> {
    let Some(given) = given else { return Vec::new() };
    if given.get_ref().0.is_empty() {
        c.fault(Some(&given.span()), key, &Error::new(Kind::Config, "empty"));
    }
    let mut all = Vec::new();
    for text in &given.get_ref().0 {
        match parser(text) {
            Ok(value) => all.push(value),
            Err(error) => c.fault(Some(&given.span()), key, &error),
        }
    }
    all
}

fn retention(raw: &raw::Retention, c: &mut Checker<'_>) -> Retention {
    let mut number = |key, n, default| c.number(key, n, 0..10_001, default);
    Retention {
        keep_last: number("retention.keep_last", &raw.keep_last, 7),
        hourly: number("retention.hourly", &raw.hourly, 0),
        daily: number("retention.daily", &raw.daily, 30),
        weekly: number("retention.weekly", &raw.weekly, 8),
        monthly: number("retention.monthly", &raw.monthly, 12),
        yearly: number("retention.yearly", &raw.yearly, 3),
        within: c.parse("retention.within", &raw.within, duration).unwrap_or(DAY * 14),
    }
}

fn lock(raw: &raw::Lock, c: &mut Checker<'_>) -> Lock {
    let words =
        [("off", LockMode::Off), ("governance", LockMode::Governance), ("compliance", LockMode::Compliance)];
    let horizon = c.parse("lock.horizon", &raw.horizon, |text| {
        let horizon = some_time(text)?;
        if horizon > MAX_LOCK {
            return Err(Error::new(Kind::Config, format!("{text:?} is too long"))
                .hint("366d at most: snapshots kept longer are renewed"));
        }
        Ok(horizon)
    });
    Lock {
        mode: c.parse("lock.mode", &raw.mode, |t| one_of(t, &words)).unwrap_or(LockMode::Off),
        horizon: horizon.unwrap_or(DAY * 30),
    }
}
