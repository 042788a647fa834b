//! Each tenant: how it stands, its nights, its runs.

use super::page::{Labels, Page};
use crate::service::desk::Sight;
use crate::service::run::{JobKind, Outcome, Run};
use crate::service::status::{Light, TenantStatus};
use crate::service::timeliness::Timeliness;

/// A gauge of one tenant: name, help, value.
type Reading = (&'static str, &'static str, fn(&TenantStatus) -> Option<i64>);

const READINGS: [Reading; 15] = [
    ("backup_last_success_timestamp_seconds", "When the newest whole snapshot was begun", |t| {
        t.newest_whole.map(|at| at.as_second())
    }),
    ("backup_age_seconds", "How old the newest whole snapshot is", |t| t.age_seconds),
    ("backup_rpo_seconds", "How old the newest whole snapshot may be", |t| i64::try_from(t.rpo_seconds).ok()),
    ("backup_duration_seconds", "How long the last good backup took", |t| t.backup_seconds),
    ("backup_next_timestamp_seconds", "When the next backup is planned", |t| {
        t.next_backup.map(|at| at.as_second())
    }),
    ("backup_added_bytes", "What the last committed backup added to the store", |t| {
        i64::try_from(t.committed.as_ref()?.report.added_bytes?).ok()
    }),
    ("backup_stored_bytes", "What a restore of the last committed backup reads from the store", |t| {
        i64::try_from(t.committed.as_ref()?.report.stored_bytes?).ok()
    }),
    ("drill_next_timestamp_seconds", "When the next drill is planned", |t| {
        t.next_drill.map(|at| at.as_second())
    }),
    ("drill_interval_seconds", "How far apart drills are planned", |t| t.drill_interval_seconds),
    ("rto_target_seconds", "How long a restore may take", |t| i64::try_from(t.rto_seconds).ok()),
    ("proof_level", "The level that the last good drill reached, 0 to 5", |t| {
        t.proof.map(|level| level as i64)
    }),
    ("proof_timestamp_seconds", "When the last good drill began", |t| t.proven.map(|at| at.as_second())),
    ("tenant_good", "1 where a tenant is green", |t| Some(i64::from(t.light == Light::Good))),
    ("tenant_held", "1 where a tenant is on hold", |t| Some(i64::from(t.light == Light::Held))),
    ("tenant_problems", "How much is wrong with a tenant; lifeboat status says what", |t| {
        i64::try_from(t.problems.len()).ok()
    }),
];

pub fn write(sight: &Sight, page: &mut Page) {
    let tenants = &sight.status.tenants;
    let info = |t: &TenantStatus| (Labels::of(&t.tenant).and("policy", &t.policy), 1);
    page.whole("tenant_info", "1 for each tenant, with its policy", tenants.iter().map(info));
    for (name, help, value) in READINGS {
        page.whole(name, help, tenants.iter().filter_map(|t| Some((Labels::of(&t.tenant), value(t)?))));
    }
    let timely = tenants.iter().flat_map(|t| {
        let line = |state: Timeliness| {
            (Labels::of(&t.tenant).and("state", state.word()), i64::from(t.timeliness == state))
        };
        Timeliness::ALL.map(line)
    });
    page.whole(
        "backup_timeliness",
        "1 for whether the backup planned last is there, in grace or late",
        timely,
    );
    runs(sight, page);
}

fn runs(sight: &Sight, page: &mut Page) {
    let tenants = &sight.status.tenants;
    let outcomes = tenants.iter().flat_map(last_runs).flat_map(|(kind, last)| {
        let labels = of_kind(last, kind);
        Outcome::ALL.map(|o| (labels.clone().and("outcome", o.as_str()), i64::from(last.outcome == Some(o))))
    });
    page.whole("last_run_outcome", "1 for how the last run of each kind ended", outcomes);
    let errors = tenants
        .iter()
        .flat_map(last_runs)
        .filter_map(|(kind, last)| Some((of_kind(last, kind).and("error", last.error.as_deref()?), 1)));
    page.whole("last_run_error", "1 for the kind of error that ended the last run", errors);
    let running = tenants.iter().flat_map(|t| {
        JobKind::ALL.map(|kind| {
            let labels = Labels::of(&t.tenant).and("kind", kind.as_str());
            (labels, i64::from(t.running.contains(&kind)))
        })
    });
    page.whole("job_running", "1 while a run is under way", running);
    let waiting = tenants.iter().flat_map(|t| {
        JobKind::ALL.map(|kind| {
            let waits = sight.waiting.iter().any(|w| w.tenant == t.tenant && w.kind == kind);
            (Labels::of(&t.tenant).and("kind", kind.as_str()), i64::from(waits))
        })
    });
    page.whole("job_waiting", "1 while a run waits in the queue", waiting);
    let ended = sight.ended.iter().map(|((tenant, kind, outcome), n)| {
        (Labels::of(tenant).and("kind", kind.as_str()).and("outcome", outcome.as_str()), *n)
    });
    page.count("runs", "Runs that ended since the service began", ended);
}

fn last_runs(t: &TenantStatus) -> impl Iterator<Item = (JobKind, &Run)> {
    let both = [(JobKind::Backup, &t.last_backup), (JobKind::Drill, &t.last_drill)];
    both.into_iter().filter_map(|(kind, last)| Some((kind, last.as_ref()?)))
}

fn of_kind(run: &Run, kind: JobKind) -> Labels {
    Labels::of(&run.tenant).and("kind", kind.as_str())
}
