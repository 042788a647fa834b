//! The two Redis of a drill: files placed, checked, loaded into fresh servers, keys counted. No worker ever runs.

use std::time::{Duration, Instant};

use crate::component::redis::{self, Credentials, RedisRecord};
use crate::error::{Result, counted};
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::record::Envelope;
use crate::ops::restore::Opened;

use super::bench::Bench;
use super::checks::Findings;

/// How long a Redis may take to load and answer.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Loads both Redis and counts their keys; returns those that answer.
pub(super) async fn drill(
    appliance: &Appliance,
    opened: &Opened,
    bench: &Bench,
    findings: &mut Findings,
) -> Result<Vec<ComponentName>> {
    let mut answering = Vec::new();
    for component in [ComponentName::RedisQueue, ComponentName::RedisCache] {
        let Some(envelope) = opened.envelope(component)? else { continue };
        appliance.around.monitor.step(&format!("drill: load {component}"));
        let record: RedisRecord = envelope.own()?;
        findings.version("Redis", record.version.clone());
        let clock = Instant::now();
        let loaded = load(opened, bench, component, &envelope, &record).await;
        findings.phase_since(&format!("load {component}"), clock);
        if let Some((differences, seen)) = findings.step(component.as_str(), loaded) {
            let seen = if differences.is_empty() { seen } else { differences.join("; ") };
            findings.check(component.as_str(), differences.is_empty(), seen);
            answering.push(component);
        }
    }
    Ok(answering)
}

async fn load(
    opened: &Opened,
    bench: &Bench,
    component: ComponentName,
    envelope: &Envelope,
    record: &RedisRecord,
) -> Result<(Vec<String>, String)> {
    let recorded = envelope.container_of(component)?;
    let mut spec = bench.fresh(component.as_str(), recorded);
    spec.environment.clone_from(&recorded.environment);
    bench.docker.create(&spec).await?;
    let folder = bench.docker.host_path_of(&spec.name, record.data_folder()).await?;
    let source = opened.reader.stream(component, record.stream())?;
    redis::place(&folder, record, Box::pin(source), "drill").await?;
    redis::check_files(&bench.docker, &spec, record).await?;
    bench.docker.start(&spec.name).await?;
    redis::wait_ready(&bench.docker, &spec.name, &Credentials::Container, READY_LIMIT).await?;
    let counts = redis::count(&bench.docker, &spec.name, &Credentials::Container).await?;
    Ok((
        counts.compare(record),
        format!("{}, {}", counted(counts.keys(), "key"), counted(counts.jobs(), "job")),
    ))
}
