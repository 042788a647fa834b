//! Growth: from points in time to a rate, and to the day on which a place is full. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// No older points count: what a tenant did in another season says little of the next weeks.
const WINDOW: SignedDuration = SignedDuration::from_hours(60 * 24);

/// Fewer days or fewer points are no trend.
const LEAST_DAYS: f64 = 7.0;
const LEAST_POINTS: usize = 5;

/// Beyond this a day is not worth naming, in days.
const FAR: f64 = 10.0 * 365.0;

/// A snapshot as far as growth is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When it was begun.
    pub at: Timestamp,
    /// Bytes of the packs that it needs.
    pub needed_bytes: u64,
    /// Bytes that it newly stored.
    pub added_bytes: u64,
}

/// How something grows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    /// Bytes a day; nothing where there is too little history.
    pub bytes_a_day: Option<f64>,
    /// What is free, in bytes, where that is known.
    pub free_bytes: Option<u64>,
    /// When it is full, if it goes on so; nothing where that is years away or not known.
    pub full_on: Option<Timestamp>,
    /// On what the estimate rests, or why there is none.
    pub rests_on: String,
}

fn days(d: SignedDuration) -> f64 {
    d.as_secs_f64() / 86_400.0
}

fn recent(points: &[Point], now: Timestamp) -> Vec<&Point> {
    points.iter().filter(|p| now.duration_since(p.at) <= WINDOW && p.at <= now).collect()
}

fn enough(points: &[&Point]) -> bool {
    match (points.first(), points.last()) {
        (Some(first), Some(last)) => {
            points.len() >= LEAST_POINTS && days(last.at.duration_since(first.at)) >= LEAST_DAYS
        }
        _ => false,
    }
}

/// Returns the growth of a size in bytes a day, by least squares over the last 60 days; nothing below a week or five points.
pub(super) fn slope(points: &[Point], now: Timestamp, size: impl Fn(&Point) -> u64) -> Option<f64> {
    let points = recent(points, now);
    if !enough(&points) {
        return None;
    }
    let first = points.first()?.at;
    let xy: Vec<(f64, f64)> =
        points.iter().map(|p| (days(p.at.duration_since(first)), float(size(p)))).collect();
    let n = float(xy.len() as u64);
    let (mx, my) = (xy.iter().map(|p| p.0).sum::<f64>() / n, xy.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = xy.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let together: f64 = xy.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    (spread > 0.0).then(|| together / spread)
}

/// Returns what snapshots added a day over the last 60 days, the first of them apart, which holds everything.
pub(super) fn added_a_day(points: &[Point], now: Timestamp) -> Option<f64> {
    let points = recent(points, now);
    if !enough(&points) {
        return None;
    }
    let span = days(points.last()?.at.duration_since(points.first()?.at));
    let added: u64 = points.iter().skip(1).map(|p| p.added_bytes).sum();
    Some(float(added) / span)
}

/// Adds the rates of all tenants up, and says when what is free is used up.
pub(super) fn trend(parts: Vec<Option<f64>>, free: Option<u64>, now: Timestamp, rests_on: &str) -> Trend {
    let (all, known): (usize, Vec<f64>) = (parts.len(), parts.into_iter().flatten().collect());
    if known.is_empty() {
        let rests_on = format!(
            "unknown: a trend needs {LEAST_POINTS} whole snapshots over {LEAST_DAYS:.0} days or more"
        );
        return Trend { bytes_a_day: None, free_bytes: free, full_on: None, rests_on };
    }
    let rate: f64 = known.iter().sum();
    let left = match free {
        Some(free) if rate > 0.0 => Some(float(free) / rate).filter(|d| *d < FAR),
        _ => None,
    };
    let full_on =
        left.and_then(|d| now.checked_add(SignedDuration::try_from_secs_f64(d * 86_400.0).ok()?).ok());
    let of = if known.len() == all {
        String::new()
    } else {
        format!(" ({} of {all} tenants have enough history)", known.len())
    };
    Trend { bytes_a_day: Some(rate), free_bytes: free, full_on, rests_on: format!("{rests_on}{of}") }
}

/// Returns how many times larger `a` is than `b`; 1 where either is not known.
pub(super) fn ratio(a: u64, b: u64) -> f64 {
    if a == 0 || b == 0 { 1.0 } else { float(a) / float(b) }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub(super) fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn now() -> Timestamp {
        "2026-11-23T02:00:00Z".parse().unwrap()
    }

    /// A snapshot a night that is `n` MB larger each time.
    fn nights(nights: i64, n: u64) -> Vec<Point> {
        let point = |i: i64| Point {
            at: now() - SignedDuration::from_hours(24 * (nights - 1 - i)),
            needed_bytes: 100 * MB + n * MB * i.unsigned_abs(),
            added_bytes: if i == 0 { 100 * MB } else { n * MB },
        };
        (0..nights).map(point).collect()
    }

    #[test]
    fn steady_growth_is_measured_and_the_first_backup_is_no_growth() {
        let points = nights(30, 2);
        let rate = slope(&points, now(), |p| p.needed_bytes).unwrap();
        assert!((rate - 2e6).abs() < 1.0, "{rate}");
        assert!((added_a_day(&points, now()).unwrap() - 2e6).abs() < 1.0);
        let trend = trend(vec![Some(rate)], Some(200 * MB), now(), "x");
        let left = days(trend.full_on.unwrap().duration_since(now()));
        assert!((left - 100.0).abs() < 0.1, "{left}");
    }

    #[test]
    fn too_little_history_is_unknown_and_what_shrinks_is_never_full() {
        assert_eq!(slope(&nights(6, 2), now(), |p| p.needed_bytes), None, "six days");
        let sparse: Vec<Point> = nights(30, 2).into_iter().step_by(10).collect();
        assert_eq!(added_a_day(&sparse, now()), None, "three points");
        let unknown = trend(vec![None, None], Some(1), now(), "x");
        assert!(unknown.bytes_a_day.is_none() && unknown.rests_on.starts_with("unknown"));
        assert_eq!(trend(vec![Some(-5.0)], Some(1), now(), "x").full_on, None);
        assert_eq!(trend(vec![Some(1.0)], Some(u64::MAX), now(), "x").full_on, None);
    }

    #[test]
    fn old_points_do_not_count_and_gaps_are_said() {
        let mut points = nights(90, 0);
        points.iter_mut().take(20).for_each(|p| p.needed_bytes = 0);
        assert!(slope(&points, now(), |p| p.needed_bytes).unwrap().abs() < 1.0);
        assert!(trend(vec![Some(1.0), None], None, now(), "x").rests_on.contains("1 of 2 tenants"));
        assert!((ratio(10, 4) - 2.5).abs() < 1e-9 && (ratio(0, 4) - 1.0).abs() < 1e-9);
    }
}
