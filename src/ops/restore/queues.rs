//! Redis in a restore: the cache is flushed for the site, the queue is loaded only when asked for.

use std::time::Duration;

use crate::component::mariadb::DatabaseRecord;
use crate::component::redis::{self, Credentials, RedisRecord};
use crate::error::{Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::record::Envelope;

use super::apply::Work;

/// How long a Redis may take to load and answer.
const READY_LIMIT: Duration = Duration::from_secs(300);
/// How long it may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Starts the cache and removes the site's keys from it.
pub(super) async fn flush_cache(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let spec = envelope.container_of(ComponentName::RedisCache)?;
    let name = work.naming.container(&spec.name);
    work.docker.start(&name).await?;
    if work.made.container(&name) {
        return Ok(format!("{name} is new and empty"));
    }
    redis::wait_ready(&work.docker, &name, &Credentials::Container, READY_LIMIT).await?;
    let Some(database) = work.envelope(ComponentName::Database)? else {
        return Ok(format!("{name} runs; without the database restored, nothing is flushed"));
    };
    let record: DatabaseRecord = database.own()?;
    let prefix = format!("{}|", record.database);
    let n = redis::flush_site_keys(&work.docker, &name, &Credentials::Container, &prefix).await?;
    Ok(format!("{n} keys of the site flushed from {name}"))
}

/// Starts a queue that this run made and that is not to be loaded: the application needs one; says so.
pub(super) async fn start_new(work: &Work<'_>, envelope: &Envelope) -> Result<Option<String>> {
    let spec = envelope.container_of(ComponentName::RedisQueue)?;
    let name = work.naming.container(&spec.name);
    if !work.made.container(&name) {
        return Ok(None);
    }
    work.docker.start(&name).await?;
    Ok(Some(format!("{name} is new and empty; --with-queue loads the jobs")))
}

/// Puts the recorded append-only files into the queue's volume, checks them, starts the queue and counts.
pub(super) async fn restore(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let record: RedisRecord = envelope.own()?;
    let spec = envelope.container_of(ComponentName::RedisQueue)?;
    let name = work.naming.container(&spec.name);
    // All of it, for a queue is small: it is not to stand still, nor to be exchanged by a thread that nobody waits for.
    let _unbroken = work.unbroken().await;
    work.stop(&name, STOP_GRACE).await?;
    let folder = work.docker.host_path_of(&name, record.data_folder()).await?;
    let source = work.stream(ComponentName::RedisQueue, record.stream())?;
    let aside = redis::place(&folder, &record, source, &work.stamp).await?;
    work.aside.extend(aside.iter().map(|p| format!("queue files {}", p.display())));
    redis::check_files(&work.docker, &work.naming.spec(spec), &record).await?;
    work.docker.start(&name).await?;
    work.stopped.retain(|stopped| *stopped != name);
    redis::wait_ready(&work.docker, &name, &Credentials::Container, READY_LIMIT).await?;
    let counts = redis::count(&work.docker, &name, &Credentials::Container).await?;
    let differences = counts.compare(&record);
    if !differences.is_empty() {
        return Err(Error::new(
            Kind::Damaged,
            format!("the queue came back otherwise: {}", differences.join(", ")),
        ));
    }
    Ok(format!("{} in {name}", counted(counts.jobs(), "job")))
}
