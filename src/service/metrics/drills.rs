//! Drills: when, how long, phase by phase, and what they found.

use super::page::{Labels, Page};
use crate::ops::drill::report::Outcome;
use crate::service::desk::Sight;
use crate::service::run::Run;
use crate::service::status::TenantStatus;

/// Phases and checks have names that drills spell; so many of each are told of a tenant.
pub const MOST_WORDS: usize = 40;

const OUTCOMES: [Outcome; 3] = [Outcome::Passed, Outcome::Failed, Outcome::Skipped];

pub fn write(sight: &Sight, page: &mut Page) {
    let tenants = &sight.status.tenants;
    let drilled = || tenants.iter().filter_map(|t| Some((Labels::of(&t.tenant), t.drilled.as_ref()?)));
    page.whole(
        "drill_last_timestamp_seconds",
        "When the last drill began, good or not",
        drilled().filter_map(|(l, run)| Some((l, run.started?.as_second()))),
    );
    page.real(
        "drill_duration_seconds",
        "How long the last drill took, good or not",
        drilled().filter_map(|(l, run)| Some((l, run.duration()?.as_secs_f64()))),
    );
    page.real(
        "rto_seconds",
        "How long the restore took that the last good drill made",
        tenants.iter().filter_map(rto),
    );
    page.whole(
        "drill_snapshot_age_seconds",
        "How old the snapshot was when the last drill of it began",
        drilled().filter_map(|(l, run)| Some((l, i64::try_from(run.report.snapshot_age_seconds?).ok()?))),
    );
    let phases = drilled().flat_map(|(labels, run)| phases(&labels, run));
    page.real("drill_phase_duration_seconds", "How long each phase of the last drill took", phases);
    let checks = drilled().flat_map(|(labels, run)| checks(&labels, run));
    page.whole("drill_check", "1 for how each check of the last drill ended", checks);
}

fn rto(t: &TenantStatus) -> Option<(Labels, f64)> {
    let ms = t.drilled_well.as_ref()?.report.rto_ms?;
    Some((Labels::of(&t.tenant), ms as f64 / 1000.0))
}

/// A phase that comes twice counts with the sum of its times.
fn phases(labels: &Labels, run: &Run) -> Vec<(Labels, f64)> {
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for phase in &run.report.phases {
        if let Some((_, ms)) = sums.iter_mut().find(|(name, _)| *name == phase.phase) {
            *ms += phase.took_ms;
        } else if sums.len() < MOST_WORDS {
            sums.push((&phase.phase, phase.took_ms));
        }
    }
    sums.into_iter().map(|(name, ms)| (labels.clone().and("phase", name), ms as f64 / 1000.0)).collect()
}

/// A check that comes twice counts as it ended worst.
fn checks(labels: &Labels, run: &Run) -> Vec<(Labels, i64)> {
    let mut ended: Vec<(&str, Outcome)> = Vec::new();
    for check in &run.report.checks {
        if let Some((_, outcome)) = ended.iter_mut().find(|(name, _)| *name == check.check) {
            *outcome = if check.outcome == Outcome::Failed { Outcome::Failed } else { *outcome };
        } else if ended.len() < MOST_WORDS {
            ended.push((&check.check, check.outcome));
        }
    }
    let line = |name: &str, is: Outcome, outcome: Outcome| {
        (labels.clone().and("check", name).and("outcome", outcome.word()), i64::from(is == outcome))
    };
    ended.into_iter().flat_map(|(name, is)| OUTCOMES.map(|outcome| line(name, is, outcome))).collect()
}
