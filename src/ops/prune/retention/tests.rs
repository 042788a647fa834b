use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::config::Times;

const DAY: i64 = 24;

fn base() -> Timestamp {
    "2026-01-01T02:00:00Z".parse().unwrap()
}

fn after(hours: i64) -> Timestamp {
    base() + SignedDuration::from_hours(hours)
}

fn candidate(sequence: u64, hours: i64) -> Candidate {
    let started = after(hours);
    Candidate {
        snapshot: SnapshotId::new(started, u32::try_from(sequence).unwrap().to_be_bytes()),
        sequence,
        started,
        finished: started,
        stored: started,
        whole: true,
        intact: true,
        suspicious: false,
        proof: None,
        pins: Vec::new(),
    }
}

/// One each night, from 1.
fn nights(n: u64) -> Vec<Candidate> {
    (1..=n).map(|k| candidate(k, (i64::try_from(k).unwrap() - 1) * DAY)).collect()
}

fn nothing() -> Retention {
    Retention { keep_last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0, yearly: 0, within: Duration::ZERO }
}

fn shipped() -> Retention {
    let within = Duration::from_secs(14 * 86_400);
    Retention { keep_last: 7, hourly: 0, daily: 30, weekly: 8, monthly: 12, yearly: 3, within }
}

fn calendar(zone: &str) -> Calendar {
    Calendar {
        times: Times::At(vec!["02:00".parse().unwrap()]),
        days: [true; 7],
        zone: TimeZone::get(zone).unwrap(),
    }
}

fn kept_of(snapshots: &[Candidate], retention: &Retention, now: Timestamp) -> Vec<u64> {
    kept_in("UTC", snapshots, retention, now)
}

fn kept_in(zone: &str, snapshots: &[Candidate], retention: &Retention, now: Timestamp) -> Vec<u64> {
    let calendar = calendar(zone);
    let decisions = decide(snapshots, Rules { retention, calendar: &calendar }, now);
    decisions.iter().filter(|d| d.keep).map(|d| d.sequence).collect()
}

fn reasons_of(snapshots: &[Candidate], retention: &Retention, now: Timestamp, sequence: u64) -> Vec<Reason> {
    let calendar = calendar("UTC");
    let decisions = decide(snapshots, Rules { retention, calendar: &calendar }, now);
    decisions.into_iter().find(|d| d.sequence == sequence).unwrap().reasons
}

#[test]
fn an_empty_policy_keeps_the_young_and_the_newest_three() {
    let all = nights(60);
    let late = after(60 * DAY);
    assert_eq!(kept_of(&all, &nothing(), late), (48..=60).collect::<Vec<_>>(), "13 days and younger");
    let much_later = after(600 * DAY);
    assert_eq!(kept_of(&all, &nothing(), much_later), [58, 59, 60]);
    assert_eq!(kept_of(&all[..1], &nothing(), much_later), [1]);
    assert_eq!(kept_of(&[], &nothing(), late), [0_u64; 0]);
}

#[test]
fn a_year_of_nights_under_the_shipped_policy_leaves_about_fifty() {
    let all = nights(365);
    let kept = kept_of(&all, &shipped(), after(365 * DAY));
    // 30 days, four weeks before them, the firsts of twelve months, the first of the year among them.
    assert_eq!(kept.len(), 30 + 4 + 12);
    assert_eq!(kept[0], 1, "the first of the year stands for year and month");
    let why = reasons_of(&all, &shipped(), after(365 * DAY), 1);
    assert_eq!(
        why,
        [
            Reason::Stands { period: "monthly", name: "2026-01".into() },
            Reason::Stands { period: "yearly", name: "2026".into() }
        ]
    );
    let gone = reasons_of(&all, &shipped(), after(365 * DAY), 20);
    assert_eq!(gone, [Reason::Displaced { period: "monthly", by: all[0].snapshot.clone() }]);
    assert_eq!(reasons_of(&all, &nothing(), after(365 * DAY), 20), [Reason::OutOfReach]);
}

#[test]
fn what_somebody_adds_within_a_run_or_a_day_takes_the_place_of_none() {
    let mut all = nights(60);
    let newest = after(59 * DAY);
    // A hundred more in one afternoon, as an intruder with the host's key would make.
    for n in 0..100 {
        let mut fake = candidate(61 + n, 59 * DAY + 9);
        fake.stored = newest + SignedDuration::from_hours(9);
        all.push(fake);
    }
    let only = |keep_last, daily| Retention { keep_last, daily, ..nothing() };
    let now = after(400 * DAY);
    assert_eq!(kept_of(&all, &only(7, 0), now)[..7], [54, 55, 56, 57, 58, 59, 60]);
    assert_eq!(kept_of(&all, &only(0, 7), now)[..7], [54, 55, 56, 57, 58, 59, 60]);
}

#[test]
fn a_drill_makes_a_snapshot_stand_for_its_period_and_the_best_proof_stays() {
    let mut all = nights(60);
    all[9].proof = Some(ProofLevel::Loaded);
    let monthly = Retention { monthly: 12, ..nothing() };
    let now = after(400 * DAY);
    assert_eq!(kept_of(&all, &monthly, now), [10, 32, 58, 59, 60]);
    assert_eq!(
        reasons_of(&all, &nothing(), now, 10),
        [Reason::Proven { level: ProofLevel::Loaded }],
        "no rule but the proof"
    );
    all[9].intact = false;
    assert_eq!(kept_of(&all, &monthly, now), [1, 32, 58, 59, 60], "a proof of what is damaged now is none");
}

#[test]
fn partial_and_damaged_ones_take_no_place_of_a_whole_one() {
    let mut all = nights(60);
    for c in &mut all[50..] {
        c.whole = false;
    }
    all[49].intact = false;
    let three = Retention { daily: 3, keep_last: 3, ..nothing() };
    let kept = kept_of(&all, &three, after(400 * DAY));
    assert_eq!(
        kept,
        (47..=60).collect::<Vec<_>>(),
        "the ten partial nights, the damaged one, and three good ones"
    );
    // In the same period a later whole one goes before an earlier partial one.
    let mut day = vec![candidate(1, 0), candidate(2, 5), candidate(3, 30 * DAY), candidate(4, 31 * DAY)];
    day[0].whole = false;
    day[0].proof = Some(ProofLevel::Loaded);
    let kept = kept_of(&day, &Retention { daily: 5, ..nothing() }, after(400 * DAY));
    assert_eq!(kept, [2, 3, 4]);
    assert_eq!(kept_of(&day[..3], &nothing(), after(400 * DAY)), [1, 2, 3], "two good ones are too few");
}

#[test]
fn the_last_before_a_suspicious_one_stays_a_quarter_and_a_suspicious_one_takes_no_place() {
    let mut all = nights(60);
    (all[29].suspicious, all[30].suspicious) = (true, true);
    let kept = kept_of(&all, &nothing(), after(60 * DAY));
    assert_eq!(kept[0], 29, "of the run of two, the one before its first");
    assert_eq!(kept[1..], (48..=60).collect::<Vec<_>>());
    let why = reasons_of(&all, &nothing(), after(60 * DAY), 29);
    assert_eq!(why, [Reason::LastClean { before: all[29].snapshot.clone() }]);
    assert_eq!(kept_of(&all, &nothing(), after((29 + 90) * DAY)), [58, 59, 60]);

    // The newest three looked wrong: three clean ones stay besides.
    (57..60).for_each(|n| all[n].suspicious = true);
    assert_eq!(kept_of(&all, &nothing(), after(600 * DAY)), [55, 56, 57, 60]);
    // A manual backup of that day is clean: it stands for the day.
    let mut day = vec![candidate(1, 0), candidate(2, 5)];
    day[0].suspicious = true;
    let daily = Retention { daily: 1, ..nothing() };
    let why = reasons_of(&day, &daily, after(400 * DAY), 2);
    assert!(why.iter().any(|r| matches!(r, Reason::Stands { period: "daily", .. })), "{why:?}");
}

#[test]
fn pins_hold_until_they_end() {
    let mut all = nights(60);
    let pin = Pin { until: after(500 * DAY), reason: "before the upgrade".into() };
    all[4].pins = vec![pin.clone()];
    assert_eq!(reasons_of(&all, &nothing(), after(499 * DAY), 5), [Reason::Pinned(pin)]);
    assert_eq!(kept_of(&all, &nothing(), after(500 * DAY)), [58, 59, 60]);
}

#[test]
fn a_time_that_cannot_be_is_kept_and_never_counted() {
    let mut all = nights(60);
    // From a clock that is ten years ahead; it would be the newest of every period for ten years.
    all[30].started = after(3650 * DAY);
    all[30].finished = all[30].started;
    // And one that claims to be older than it can be.
    all[40].started = after(-3650 * DAY);
    let now = after(400 * DAY);
    let kept = kept_of(&all, &Retention { yearly: 1, ..nothing() }, now);
    assert_eq!(kept, [1, 31, 41, 58, 59, 60]);
    assert_eq!(reasons_of(&all, &nothing(), now, 31), [Reason::FutureDated]);
    assert_eq!(reasons_of(&all, &nothing(), now, 41), [Reason::BackDated]);
    let doubted: Vec<_> = doubted(&all).into_iter().map(|d| (d.sequence, d.reasons)).collect();
    assert_eq!(doubted, [(31, vec![Reason::FutureDated]), (41, vec![Reason::BackDated])]);
    // A minute of difference between two machines is none.
    all[30] = candidate(31, 30 * DAY);
    all[30].stored = all[30].started - SignedDuration::from_mins(1);
    assert_eq!(reasons_of(&all, &nothing(), now, 31), [Reason::OutOfReach]);
}

#[test]
fn days_are_those_of_the_policys_zone_on_the_days_of_summer_time_too() {
    let daily = Retention { daily: 100, ..nothing() };
    // Hourly around both changes in Berlin: 23 hours on 29 March, 25 on 25 October.
    for (start, days) in [("2026-03-28T23:00:00Z", 23), ("2026-10-24T22:00:00Z", 25)] {
        let start: Timestamp = start.parse().unwrap();
        let first = (start.as_second() - base().as_second()) / 3600;
        let all: Vec<Candidate> =
            (0..days + 1).map(|n| candidate(u64::try_from(n).unwrap() + 1, first + n)).collect();
        let kept = kept_in("Europe/Berlin", &all, &daily, after(4000 * DAY));
        let newest: Vec<u64> = (0..3).map(|n| u64::try_from(days + 1 - n).unwrap()).rev().collect();
        assert_eq!(kept[0], 1, "the first of the day");
        assert_eq!(kept[1..], newest, "and the first of the next day is the newest");
        let hourly = Retention { hourly: 1000, ..nothing() };
        assert_eq!(
            kept_in("Europe/Berlin", &all, &hourly, after(4000 * DAY)).len(),
            all.len(),
            "each real hour"
        );
    }
}

#[derive(Debug, Clone)]
struct World {
    snapshots: Vec<Candidate>,
    retention: Retention,
    zone: &'static str,
    now: Timestamp,
}

fn world() -> impl Strategy<Value = World> {
    let one = (1_i64..100, proptest::bool::weighted(0.8), proptest::bool::weighted(0.9), 0_u8..12, 0_u8..20);
    let snapshots = proptest::collection::vec(one, 0..90).prop_map(|rows| {
        let mut hours = 0;
        let make = |(n, (gap, whole, intact, proof, odd)): (usize, (i64, bool, bool, u8, u8))| {
            hours += gap;
            let mut c = candidate(n as u64 + 1, hours);
            c.whole = whole;
            c.intact = intact;
            c.proof = [Some(ProofLevel::Readable), Some(ProofLevel::Loaded)]
                .get(usize::from(proof))
                .copied()
                .flatten();
            if odd == 0 {
                c.started = after(hours + 20_000);
            }
            if odd == 1 {
                c.pins = vec![Pin { until: after(hours + 9000), reason: "x".into() }];
            }
            c
        };
        rows.into_iter().enumerate().map(make).collect::<Vec<_>>()
    });
    let retention = (0_u32..10, 0_u32..30, 0_u32..20, 0_u32..8, 0_u32..6, 0_u32..3, 0_u64..60).prop_map(
        |(keep_last, hourly, daily, weekly, monthly, yearly, days)| Retention {
            keep_last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within: Duration::from_secs(days * 86_400),
        },
    );
    let zones =
        prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Pacific/Apia")];
    (snapshots, retention, zones, 0_i64..3000).prop_map(|(snapshots, retention, zone, ahead)| {
        let newest = snapshots.iter().map(|c| c.stored).max().unwrap_or_else(base);
        World { snapshots, retention, zone, now: newest + SignedDuration::from_hours(ahead) }
    })
}

impl World {
    fn kept(&self, snapshots: &[Candidate], retention: &Retention) -> Vec<u64> {
        kept_in(self.zone, snapshots, retention, self.now)
    }
}

proptest! {
    #[test]
    fn more_of_anything_keeps_no_less(w in world(), field in 0_usize..7) {
        let before = w.kept(&w.snapshots, &w.retention);
        let mut more = w.retention;
        let numbers = [&mut more.keep_last, &mut more.hourly, &mut more.daily, &mut more.weekly,
            &mut more.monthly, &mut more.yearly];
        match numbers.into_iter().nth(field) {
            Some(number) => *number += 1,
            None => more.within += Duration::from_secs(86_400),
        }
        let after = w.kept(&w.snapshots, &more);
        prop_assert!(before.iter().all(|s| after.contains(s)), "{before:?} {after:?}");
    }

    #[test]
    fn what_is_kept_is_kept_again_when_the_rest_is_gone(w in world()) {
        let kept = w.kept(&w.snapshots, &w.retention);
        let rest: Vec<Candidate> = w.snapshots.iter().filter(|c| kept.contains(&c.sequence)).cloned().collect();
        prop_assert_eq!(w.kept(&rest, &w.retention), kept);
    }

    #[test]
    fn the_minimum_the_young_the_pinned_and_the_unbelieved_always_stay(w in world()) {
        let decisions = decide(&w.snapshots, Rules { retention: &w.retention, calendar: &calendar(w.zone) }, w.now);
        prop_assert_eq!(decisions.len(), w.snapshots.len());
        let believed: Vec<_> = w.snapshots.iter().zip(&decisions)
            .filter(|(_, d)| !d.reasons.iter().any(Reason::is_alarm)).map(|(c, _)| c).collect();
        let kept = |s: u64| decisions.iter().any(|d| d.sequence == s && d.keep);
        for c in believed.iter().rev().filter(|c| is_good(c)).take(LEAST_INTACT) {
            prop_assert!(kept(c.sequence));
        }
        for (c, d) in w.snapshots.iter().zip(&decisions) {
            prop_assert!(!d.reasons.is_empty());
            let young = w.now.duration_since(c.started) < LEAST_AGE;
            let pinned = c.pins.iter().any(|p| p.until > w.now);
            let odd = d.reasons.iter().any(Reason::is_alarm);
            prop_assert!(d.keep || !(young || pinned || odd), "{d:?}");
        }
        prop_assert!(w.snapshots.last().is_none_or(|c| kept(c.sequence)));
    }

    #[test]
    fn another_snapshot_now_makes_nobody_go_who_is_not_its_elder_by_a_period(w in world(), n in 1_u64..5) {
        // Snapshots added at the newest one's own time take no place of any that was there.
        let Some(newest) = w.snapshots.last().filter(|c| is_good(c) && c.started <= c.stored) else { return Ok(()) };
        let before = w.kept(&w.snapshots, &w.retention);
        let mut more = w.snapshots.clone();
        for k in 1..=n {
            let mut c = newest.clone();
            c.sequence += k;
            c.pins = Vec::new();
            c.proof = None;
            more.push(c);
        }
        let after = w.kept(&more, &w.retention);
        // Those that stayed only as one of the newest three, or as the newest, give way to newer ones.
        let rules = Rules { retention: &w.retention, calendar: &calendar(w.zone) };
        let by_rank: Vec<u64> = decide(&w.snapshots, rules, w.now).into_iter()
            .filter(|d| d.reasons.iter().any(|r| matches!(r, Reason::Least | Reason::Newest)))
            .map(|d| d.sequence).collect();
        let gone: Vec<_> = before.iter().filter(|s| !after.contains(s) && !by_rank.contains(s)).collect();
        prop_assert!(gone.is_empty(), "{gone:?}");
    }
}
