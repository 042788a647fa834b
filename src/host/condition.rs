//! How a container is doing, and what it uses: the daemon's own figures, asked for once.
//!
//! Owns which figure means what. Judges nothing and changes nothing.

use std::path::PathBuf;

use bollard::models::{ContainerInspectResponse, ContainerMemoryStats, ContainerStateStatusEnum};
use bollard::query_parameters::{InspectContainerOptions, StatsOptionsBuilder};
use futures::StreamExt;
use jiff::Timestamp;

use super::life::state_of;
use super::{Docker, State, call, fault};
use crate::error::Result;

/// How a container is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Whether it runs, and how well.
    pub state: State,
    /// Whether it has ended and the daemon is about to start it again.
    pub restarting: bool,
    /// How often its restart policy started it again since it was made.
    pub restarts: u64,
    /// Whether the kernel killed a process of its last run for want of memory.
    pub oom_killed: bool,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// The image that it was asked to run.
    pub image: String,
    /// The folders on the daemon's machine of the volumes and folders that it may write.
    pub folders: Vec<PathBuf>,
    /// The most memory that it may use, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// The most processors that it may use.
    pub cpu_limit: Option<f64>,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Memory that cannot be taken back at once, in bytes: without the cache of files that are not in use.
    pub memory_bytes: u64,
    /// Processor time since it was started, in seconds.
    pub cpu_seconds: f64,
}

/// What the daemon says of its machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// The daemon's version.
    pub version: String,
    /// Processors.
    pub cpus: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Where images, containers and volumes lie.
    pub root: String,
    /// The time by its clock.
    pub now: Option<Timestamp>,
}

impl Docker {
    /// Returns how a container is doing, or nothing where there is none of that name.
    pub async fn condition(&self, container: &str) -> Result<Option<Condition>> {
        match self.client.inspect_container(container, None::<InspectContainerOptions>).await {
            Ok(answer) => Ok(Some(condition(answer))),
            Err(e) if fault::is_missing(&e) => Ok(None),
            Err(e) => Err(fault::of(e, format_args!("container {container}"))),
        }
    }

    /// Returns what a running container uses now; all zero for one that does not run.
    pub async fn usage(&self, container: &str) -> Result<Usage> {
        let what = format!("container {container}");
        // Without a second sample, for which the daemon would wait a second.
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut answers = Box::pin(self.client.stats(container, Some(options)));
        let answer = call(&what, async {
            answers.next().await.unwrap_or(Err(bollard::errors::Error::RequestTimeoutError))
        })
        .await?;
        let cpu = answer.cpu_stats.and_then(|c| c.cpu_usage).and_then(|c| c.total_usage).unwrap_or(0);
        Ok(Usage {
            memory_bytes: answer.memory_stats.map_or(0, |m| in_use(&m)),
            cpu_seconds: seconds_of_nanos(cpu),
        })
    }

    /// Returns what the daemon says of its machine.
    pub async fn machine(&self) -> Result<Machine> {
        let info = call("docker", self.client.info()).await?;
        let count = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Ok(Machine {
            version: info.server_version.unwrap_or_default(),
            cpus: count(info.ncpu),
            memory_bytes: count(info.mem_total),
            root: info.docker_root_dir.unwrap_or_default(),
            now: info.system_time.and_then(|t| t.parse().ok()),
        })
    }

    /// Lists the names of all volumes.
    pub async fn volumes(&self) -> Result<Vec<String>> {
        let none = None::<bollard::query_parameters::ListVolumesOptions>;
        let answer = call("volumes", self.client.list_volumes(none)).await?;
        let mut names: Vec<String> = answer.volumes.unwrap_or_default().into_iter().map(|v| v.name).collect();
        names.sort();
        Ok(names)
    }
}

fn condition(answer: ContainerInspectResponse) -> Condition {
    let state = answer.state.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let limit = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    let cpu_limit = match (limit(host.nano_cpus), limit(host.cpu_quota), limit(host.cpu_period)) {
        (Some(nanos), _, _) => Some(seconds_of_nanos(nanos)),
        (None, Some(quota), period) => Some(ratio(quota, period.unwrap_or(100_000))),
        (None, None, _) => None,
    };
    let mounts = answer.mounts.unwrap_or_default().into_iter();
    let writable =
        mounts.filter(|m| m.rw != Some(false) && matches!(m.typ.as_deref(), Some("volume" | "bind")));
    Condition {
        folders: writable.filter_map(|m| m.source.filter(|s| !s.is_empty()).map(PathBuf::from)).collect(),
        restarting: state.status == Some(ContainerStateStatusEnum::RESTARTING),
        restarts: limit(answer.restart_count).unwrap_or(0),
        oom_killed: state.oom_killed.unwrap_or(false),
        started: state.started_at.as_deref().and_then(time),
        state: state_of(&state),
        image: answer.config.and_then(|c| c.image).unwrap_or_default(),
        memory_limit_bytes: limit(host.memory),
        cpu_limit,
    }
}

/// Reads a time; the daemon writes year 1 for never.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|t| t.as_second() > 0)
}

/// Returns usage less the cache that the kernel takes back first, as `docker stats` does.
///
/// Source: the kernel's memory controller, `inactive_file` (version 2) and `total_inactive_file` (version 1).
fn in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let stats = memory.stats.as_ref();
    let of = |name: &str| stats.and_then(|s| s.get(name)).copied();
    let cache = of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or(0);
    usage.saturating_sub(cache)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn seconds_of_nanos(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerState, HostConfig};

    use super::*;

    #[test]
    fn a_container_that_ended_and_comes_back_is_restarting_and_year_one_is_never() {
        let answer = ContainerInspectResponse {
            restart_count: Some(3),
            state: Some(ContainerState {
                status: Some(ContainerStateStatusEnum::RESTARTING),
                exit_code: Some(1),
                started_at: Some("0001-01-01T00:00:00Z".into()),
                ..ContainerState::default()
            }),
            host_config: Some(HostConfig { cpu_quota: Some(50_000), ..HostConfig::default() }),
            ..ContainerInspectResponse::default()
        };
        let seen = condition(answer);
        assert!(seen.restarting && seen.restarts == 3 && seen.started.is_none());
        assert_eq!((seen.state, seen.cpu_limit), (State::Exited(1), Some(0.5)));
        assert_eq!(seen.memory_limit_bytes, None);
    }

    #[test]
    fn memory_in_use_leaves_out_what_the_kernel_takes_back_first() {
        let stats = [("total_inactive_file".to_owned(), 30), ("inactive_file".to_owned(), 10)];
        let memory = ContainerMemoryStats {
            usage: Some(100),
            stats: Some(stats.into()),
            ..ContainerMemoryStats::default()
        };
        assert_eq!(in_use(&memory), 70);
    }
}
