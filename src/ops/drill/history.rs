//! How long restores took, drill by drill, and what that says of the next: one tenant's, and the whole host's.
//!
//! From the clear outcomes and receipts alone: no identity is needed.

use jiff::Timestamp;
use serde::Serialize;

use crate::error::Result;
use crate::id::{DrillId, SnapshotId, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::snapshots;
use crate::repo::drill::{DrillOutcome, PhaseTime};

/// How many of the newest drills a forecast looks at.
const LOOKED_AT: usize = 5;

/// One drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The drill.
    pub drill: DrillId,
    /// When it began.
    pub started: Timestamp,
    /// The snapshot that was restored.
    pub snapshot: SnapshotId,
    /// The level that it reached.
    pub level: String,
    /// Whether it passed.
    pub passed: bool,
    /// How long the restore took, in seconds.
    pub seconds: f64,
    /// Bytes of the packs that the snapshot needs; none where it is no longer kept.
    pub size_bytes: Option<u64>,
    /// Its phases.
    pub phases: Vec<PhaseTime>,
}

/// What a restore is likely to take now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forecast {
    /// In seconds.
    pub seconds: f64,
    /// How many drills it is drawn from.
    pub drills: usize,
}

/// One tenant's drills, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TenantHistory {
    /// Whose.
    pub tenant: TenantName,
    /// How long a restore may take, by the policy, in seconds.
    pub target_seconds: Option<f64>,
    /// The drills.
    pub drills: Vec<Line>,
    /// What a restore of the newest whole snapshot is likely to take; none without a drill that passed.
    pub forecast: Option<Forecast>,
}

/// What restoring all tenants is likely to take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostForecast {
    /// One after the other, in seconds.
    pub one_by_one_seconds: f64,
    /// So many at a time.
    pub at_once: usize,
    /// As many at a time, longest first, in seconds: the least it takes, for they share disks and line.
    pub at_once_seconds: f64,
    /// Tenants of which nothing is known, and which are not counted.
    pub unknown: Vec<TenantName>,
}

/// The drills of tenants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// By tenant.
    pub tenants: Vec<TenantHistory>,
    /// Of all of them together.
    pub host: HostForecast,
}

/// Looks at the drills of the named tenants, or of all.
pub async fn history(appliance: &Appliance, named: &[TenantName]) -> Result<History> {
    let mut tenants = Vec::new();
    for tenant in snapshots::known_tenants(appliance, named)? {
        let (history, drills, _) = snapshots::seen(appliance, &tenant).await?;
        let size = |id: &SnapshotId| history.find(id).map(|c| c.receipt.packs_bytes());
        let lines: Vec<Line> = drills.iter().map(|d| line(d, size(&d.snapshot))).collect();
        let now = history.latest_whole().map(|c| c.receipt.packs_bytes());
        let target = appliance.config.tenant(&tenant).ok().map(|t| t.policy.rto.as_secs_f64());
        tenants.push(TenantHistory {
            tenant,
            target_seconds: target,
            forecast: forecast(&lines, now),
            drills: lines,
        });
    }
    let host = of_host(&tenants, appliance.config.machine.concurrency);
    Ok(History { tenants, host })
}

fn line(d: &DrillOutcome, size_bytes: Option<u64>) -> Line {
    Line {
        drill: d.drill.clone(),
        started: d.started,
        snapshot: d.snapshot.clone(),
        level: d.shown_level(),
        passed: d.passed(),
        seconds: d.seconds(),
        size_bytes,
        phases: d.phases.clone(),
    }
}

/// Returns the median of what the newest drills that passed took, each stretched by how much more is stored now.
///
/// Less than it took is not promised: starting servers takes as long for little data.
fn forecast(drills: &[Line], size_now: Option<u64>) -> Option<Forecast> {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let growth = |then: Option<u64>| match (then, size_now) {
        (Some(then), Some(now)) if then > 0 => (now as f64 / then as f64).max(1.0),
        _ => 1.0,
    };
    let newest = drills.iter().rev().filter(|d| d.passed).take(LOOKED_AT);
    let mut all: Vec<f64> = newest.map(|d| d.seconds * growth(d.size_bytes)).collect();
    all.sort_by(f64::total_cmp);
    let middle = *all.get(all.len() / 2)?;
    Some(Forecast { seconds: middle, drills: all.len() })
}

fn of_host(tenants: &[TenantHistory], at_once: usize) -> HostForecast {
    let mut known: Vec<f64> = tenants.iter().filter_map(|t| Some(t.forecast?.seconds)).collect();
    known.sort_by(|a, b| b.total_cmp(a));
    let mut lanes = vec![0.0_f64; at_once.max(1)];
    for seconds in &known {
        if let Some(lane) = lanes.iter_mut().min_by(|a, b| a.total_cmp(b)) {
            *lane += seconds;
        }
    }
    HostForecast {
        one_by_one_seconds: known.iter().sum(),
        at_once: lanes.len(),
        at_once_seconds: lanes.into_iter().fold(0.0, f64::max),
        unknown: tenants.iter().filter(|t| t.forecast.is_none()).map(|t| t.tenant.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drill(n: u8, passed: bool, seconds: f64, size_bytes: Option<u64>) -> Line {
        Line {
            drill: DrillId::new(Timestamp::UNIX_EPOCH, [n; 4]),
            started: Timestamp::UNIX_EPOCH,
            snapshot: SnapshotId::new(Timestamp::UNIX_EPOCH, [n; 4]),
            level: "L3".into(),
            passed,
            seconds,
            size_bytes,
            phases: Vec::new(),
        }
    }

    #[test]
    fn a_forecast_is_the_median_of_the_drills_that_passed_grown_with_what_is_stored() {
        let drills =
            [drill(1, true, 10.0, Some(100)), drill(2, false, 900.0, Some(100)), drill(3, true, 30.0, None)];
        let found = forecast(&drills, Some(400)).unwrap();
        assert_eq!((found.seconds, found.drills), (40.0, 2));
        assert_eq!(forecast(&drills[..1], Some(50)).unwrap().seconds, 10.0, "less is not promised");
        assert!(forecast(&drills[1..2], Some(1)).is_none());
        let many: Vec<Line> =
            (0..9).map(|n| drill(n, true, if n < 4 { 900.0 } else { 10.0 }, None)).collect();
        assert_eq!(forecast(&many, None).unwrap().seconds, 10.0, "only the newest count");
    }

    #[test]
    fn the_host_takes_as_long_as_its_fullest_lane() {
        let tenant = |name: &str, seconds: Option<f64>| TenantHistory {
            tenant: name.parse().unwrap(),
            target_seconds: None,
            drills: Vec::new(),
            forecast: seconds.map(|seconds| Forecast { seconds, drills: 1 }),
        };
        let all =
            [tenant("a", Some(50.0)), tenant("b", Some(30.0)), tenant("c", Some(30.0)), tenant("d", None)];
        let host = of_host(&all, 2);
        assert_eq!((host.one_by_one_seconds, host.at_once_seconds), (110.0, 60.0));
        assert_eq!(host.unknown, ["d".parse().unwrap()]);
        assert_eq!(of_host(&[], 2).at_once_seconds, 0.0);
    }
}
