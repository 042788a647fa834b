//! The status as Prometheus reads it.
//!
//! Owns names and labels of metrics. Every value is taken from one [`Status`] when it is asked for, so that nothing
//! is counted twice; labels are tenants and fixed words only, so that their number is bounded.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::run::{JobKind, Outcome};
use super::status::{Light, Status, TenantStatus};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTenant {
    tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    tenant: String,
    job: &'static str,
    outcome: &'static str,
}

/// A gauge of one tenant: name, help, value.
type Reading = (&'static str, &'static str, fn(&TenantStatus) -> Option<i64>);

const READINGS: [Reading; 11] = [
    ("backup_last_success_timestamp_seconds", "When the newest whole snapshot was begun", |t| {
        t.newest_whole.map(|at| at.as_second())
    }),
    ("backup_age_seconds", "How old the newest whole snapshot is", |t| t.age_seconds),
    ("backup_rpo_seconds", "How old the newest whole snapshot may be", |t| i64::try_from(t.rpo_seconds).ok()),
    ("backup_duration_seconds", "How long the last good backup took", |t| t.backup_seconds),
    ("backup_next_timestamp_seconds", "When the next backup is planned", |t| {
        t.next_backup.map(|at| at.as_second())
    }),
    ("backup_added_bytes", "What the last backup added to the store", |t| {
        i64::try_from(t.last_backup.as_ref()?.report.added_bytes?).ok()
    }),
    ("drill_next_timestamp_seconds", "When the next drill is planned", |t| {
        t.next_drill.map(|at| at.as_second())
    }),
    ("proof_level", "The level that the last good drill reached, 0 to 5", |t| {
        t.proof.map(|level| level as i64)
    }),
    ("proof_timestamp_seconds", "When the last good drill began", |t| t.proven.map(|at| at.as_second())),
    ("tenant_good", "1 where a tenant is green", |t| Some(i64::from(t.light == Light::Good))),
    ("tenant_held", "1 where a tenant is on hold", |t| Some(i64::from(t.light == Light::Held))),
];

/// Returns the text of all metrics.
pub fn text(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("lifeboat");
    for (name, help, value) in READINGS {
        let family = Family::<OfTenant, Gauge>::default();
        for tenant in &status.tenants {
            // What is not known has no line, rather than a zero that would look like a fact.
            if let Some(value) = value(tenant) {
                family.get_or_create(&OfTenant { tenant: tenant.tenant.to_string() }).set(value);
            }
        }
        registry.register(name, help, family);
    }
    registry.register("last_run_outcome", "1 for how the last run of each kind ended", outcomes(status));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn outcomes(status: &Status) -> Family<OfRun, Gauge> {
    let family = Family::<OfRun, Gauge>::default();
    for t in &status.tenants {
        for (kind, last) in [(JobKind::Backup, &t.last_backup), (JobKind::Drill, &t.last_drill)] {
            let Some(last) = last else { continue };
            for outcome in Outcome::ALL {
                let labels =
                    OfRun { tenant: t.tenant.to_string(), job: kind.as_str(), outcome: outcome.as_str() };
                family.get_or_create(&labels).set(i64::from(last.outcome == Some(outcome)));
            }
        }
    }
    family
}
