//! Redis in a restore: the cache is flushed for the site, the queue is loaded only when asked for.

use std::time::Duration;

use crate::component::redis::{self, Credentials, RedisRecord};
use crate::error::{Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::record::Envelope;

use super::apply::{Work, begin_part};
use super::journal::Event;
use super::made::Made;
use super::part::Part;

/// How long a Redis may take to load and answer.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Starts the cache, whose keys of the site are removed once parts have changed places.
pub(super) async fn start_cache(work: &Work<'_>, envelope: &Envelope) -> Result<String> {
    let spec = envelope.container_of(ComponentName::RedisCache)?;
    let name = work.naming.container(&spec.name);
    work.run.docker.start(&name).await?;
    if Made::of(&work.story()?.made).container(&name) {
        return Ok(format!("{name} is new and empty"));
    }
    redis::wait_ready(&work.run.docker, &name, &Credentials::Container, READY_LIMIT).await?;
    if work.envelope(ComponentName::Database)?.is_none() {
        return Ok(format!("{name} runs; without the database restored, nothing is flushed"));
    }
    Ok(format!("{name}: flushed for the site"))
}

/// Starts a queue that this restore made and that is not to be loaded: the application needs one; says so.
pub(super) async fn start_new(work: &Work<'_>, envelope: &Envelope) -> Result<Option<String>> {
    let spec = envelope.container_of(ComponentName::RedisQueue)?;
    let name = work.naming.container(&spec.name);
    if !Made::of(&work.story()?.made).container(&name) {
        return Ok(None);
    }
    work.run.docker.start(&name).await?;
    Ok(Some(format!("{name} is new and empty; --with-queue loads the jobs")))
}

/// Writes the recorded files into the queue's volume, under a name that it does not read.
pub(super) async fn stage(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let record: RedisRecord = envelope.own()?;
    let spec = envelope.container_of(ComponentName::RedisQueue)?;
    let name = work.naming.container(&spec.name);
    work.run.queue = Some((work.naming.spec(spec), record.clone()));
    let said = format!("{} in {name}", counted(record.queues.values().sum::<u64>(), "job"));
    if work.story()?.whole("queue").is_some() {
        return Ok(said);
    }
    let folder = work.run.docker.host_path_of(&name, record.data_folder()).await?;
    let part = |placed| Part::Queue { container: name.clone(), folder: folder.clone(), placed };
    begin_part(&work.run, part(None)).await?;
    let source = work.stream(ComponentName::RedisQueue, record.stream())?;
    let placed = redis::stage(&folder, &record, source, &work.stamp).await?;
    work.run.write(Event::Staged(part(Some(placed))))?;
    Ok(said)
}

/// Compares the queue, which runs from the recorded files now, with what was recorded.
pub(super) async fn compare(work: &Work<'_>, envelope: &Envelope) -> Result<()> {
    let record: RedisRecord = envelope.own()?;
    let spec = envelope.container_of(ComponentName::RedisQueue)?;
    let name = work.naming.container(&spec.name);
    let counts = redis::count(&work.run.docker, &name, &Credentials::Container).await?;
    let differences = counts.compare(&record);
    if differences.is_empty() {
        return Ok(());
    }
    let what = format!("the queue came back otherwise: {}", differences.join(", "));
    Err(Error::new(Kind::Damaged, what))
}
