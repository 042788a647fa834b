//! A tenant's containers: whether they run and stay up, what they may use, and the disks below them.
//!
//! One check a subject over all containers, so that the names of checks stay fixed; the reason names the container.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures::future::join_all;

use crate::config::Tenant;
use crate::error::{Error, Kind, Result, counted};
use crate::host::{Condition, Docker, State as Run, Usage};

use super::pace::within;
use super::report::State;
use super::subject::Subject;
use super::{Area, Check, Round};

const AREA: Area = Area::Containers;

/// A container that was started again by its policy within this time, in seconds, keeps falling over.
const JUST_RESTARTED_S: i64 = 15 * 60;

/// From this share of the allowed memory on, in percent.
const MUCH_MEMORY: u64 = 90;

/// Below this share of free space on a file system, in percent.
const LITTLE_SPACE: u64 = 12;
const NO_SPACE: u64 = 5;

/// What was found of one container or disk: how bad, what, and what to do.
type Finding = (State, String, &'static str);

/// One container, looked at.
struct Seen {
    name: String,
    condition: Result<Option<Condition>>,
    usage: Option<Usage>,
}

/// Looks at all containers that the tenant's file names.
pub(super) async fn look(round: &Round<'_>, subject: &Subject<'_>) -> Vec<Check> {
    let names = names(subject.tenant);
    if names.is_empty() {
        return Vec::new();
    }
    let docker = match round.docker(AREA, "state") {
        Ok(docker) => docker,
        Err(check) => return vec![check],
    };
    let seen = join_all(names.iter().map(|name| see(round, docker, name))).await;
    let folders: BTreeSet<PathBuf> = known(&seen).flat_map(|(_, c)| c.folders.iter().cloned()).collect();
    let mut checks = vec![
        merge("state", seen.iter().map(state), format!("{} run", counted(seen.len(), "container"))),
        merge(
            "restarts",
            known(&seen).map(|(n, c)| restarts(round, n, c)),
            "none keeps restarting".to_owned(),
        ),
        merge("memory", seen.iter().flat_map(memory), "all have memory left".to_owned()),
    ];
    if !folders.is_empty() {
        checks.push(disks(round, folders.into_iter().collect()).await);
    }
    checks
}

/// Returns the containers that a tenant's file names, each once.
pub fn names(tenant: &Tenant) -> Vec<String> {
    let servers = tenant.database_servers();
    let database = servers.iter().flat_map(|s| s.all().cloned().collect::<Vec<_>>());
    let redis = [tenant.redis_cache.on(), tenant.redis_queue.on()];
    let redis = redis.into_iter().flatten().map(|r| r.container.clone());
    let mut all: Vec<String> = Vec::new();
    for name in database.into_iter().chain(redis).chain(tenant.app_containers.iter().cloned()) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

async fn see(round: &Round<'_>, docker: &Docker, name: &str) -> Seen {
    let what = format!("container {name}");
    let condition = within(round.limits.probe, &what, docker.condition(name)).await;
    let limited = matches!(&condition, Ok(Some(c)) if c.memory_limit_bytes.is_some() && c.state.is_running());
    let usage = match limited {
        true => within(round.limits.probe, &what, docker.usage(name)).await.ok(),
        false => None,
    };
    Seen { name: name.to_owned(), condition, usage }
}

fn known(seen: &[Seen]) -> impl Iterator<Item = (&str, &Condition)> {
    seen.iter().filter_map(|s| Some((s.name.as_str(), s.condition.as_ref().ok()?.as_ref()?)))
}

/// Makes one check of what was found: the worst counts, and all that is not ok is named.
fn merge(name: &'static str, found: impl Iterator<Item = Finding>, ok: String) -> Check {
    let mut bad: Vec<Finding> = found.filter(|(state, ..)| *state != State::Ok).collect();
    bad.sort_by_key(|(state, ..)| std::cmp::Reverse(*state));
    let Some((state, _, advice)) = bad.first() else { return Check::new(AREA, name, State::Ok, ok) };
    let reasons: Vec<&str> = bad.iter().map(|(_, reason, _)| reason.as_str()).collect();
    let check = Check::new(AREA, name, *state, reasons.join("; "));
    if advice.is_empty() { check } else { check.advise(*advice) }
}

/// Returns the check of a container that is not there.
pub(super) fn missing(area: Area, name: &'static str, container: &str) -> Check {
    Check::new(area, name, State::Failed, format!("container {container} does not exist"))
        .advise("`docker ps -a` lists what is there; `lifeboat restore` makes it again")
}

/// Says why nothing can be asked of a container, and what to do; nothing where it runs.
pub(super) fn stopped(container: &str, condition: &Condition) -> Option<(String, &'static str)> {
    let (what, advice) = match condition.state {
        _ if condition.restarting => {
            (format!("container {container} keeps restarting ({} times)", condition.restarts), LOGS)
        }
        Run::Paused => (format!("container {container} is paused"), "`docker unpause` it"),
        Run::Created => (format!("container {container} was never started"), "`docker start` it"),
        Run::Exited(code) if condition.oom_killed => (
            format!("container {container} was killed for want of memory (exit code {code})"),
            "raise its memory limit, then `docker start` it",
        ),
        Run::Exited(code) => (
            format!("container {container} is stopped (exit code {code})"),
            "`docker logs` of it says why it ended; `docker start` it",
        ),
        Run::Running | Run::Starting | Run::Healthy | Run::Unhealthy => return None,
    };
    Some((what, advice))
}

const LOGS: &str = "`docker logs` of it says why it ends";

fn state(seen: &Seen) -> Finding {
    let container = &seen.name;
    match &seen.condition {
        Err(e) => (State::Unknown, e.to_string(), ""),
        Ok(None) => {
            let check = missing(AREA, "state", container);
            (
                State::Failed,
                check.reason,
                "`docker ps -a` lists what is there; `lifeboat restore` makes it again",
            )
        }
        Ok(Some(condition)) => match (stopped(container, condition), condition.state) {
            (Some((reason, advice)), _) => (State::Failed, reason, advice),
            (None, Run::Unhealthy) => (
                State::Failed,
                format!("container {container} runs, and its healthcheck fails"),
                "`docker inspect` of it shows what its healthcheck says",
            ),
            (None, Run::Starting) => (State::Warning, format!("container {container} is still starting"), ""),
            (None, _) => (State::Ok, String::new(), ""),
        },
    }
}

fn restarts(round: &Round<'_>, container: &str, condition: &Condition) -> Finding {
    let lately = condition.started.is_some_and(|at| {
        let age = round.now().duration_since(at).as_secs();
        (0..JUST_RESTARTED_S).contains(&age)
    });
    if condition.restarting || (condition.restarts > 0 && lately) {
        let reason = format!(
            "container {container} falls over: its restart policy started it again {}",
            counted(condition.restarts, "time")
        );
        return (State::Failed, reason, LOGS);
    }
    (State::Ok, String::new(), "")
}

fn memory(seen: &Seen) -> Vec<Finding> {
    let Ok(Some(condition)) = &seen.condition else { return Vec::new() };
    let container = &seen.name;
    let mut found = Vec::new();
    if condition.oom_killed && condition.state.is_running() {
        let reason = format!("the kernel killed a process of container {container} for want of memory");
        found.push((State::Warning, reason, "raise its memory limit, or have fewer workers in it"));
    }
    if let (Some(usage), Some(most)) = (seen.usage, condition.memory_limit_bytes) {
        let percent = usage.memory_bytes.saturating_mul(100) / most;
        if percent >= MUCH_MEMORY {
            let reason = format!("container {container} uses {percent} % of the memory that it may");
            found.push((
                State::Warning,
                reason,
                "raise its memory limit before the kernel kills something in it",
            ));
        }
    }
    found
}

/// Looks at the file systems below some folders; folders on the same one count once.
pub(super) async fn disks(round: &Round<'_>, folders: Vec<PathBuf>) -> Check {
    let name = "disk";
    let looking = async {
        // A file system that hangs keeps a thread, but nobody who waits.
        let spaces = tokio::task::spawn_blocking(move || spaces(&folders)).await;
        spaces.map_err(|e| Error::new(Kind::Bug, "disks").caused_by(e))
    };
    match within(round.limits.probe, "a disk", looking).await {
        Ok(found) if found.is_empty() => {
            Check::new(AREA, name, State::Unknown, "no folder of its containers can be looked at from here")
        }
        Ok(found) => {
            let least = found.iter().map(|s| s.free_percent()).min().unwrap_or(100);
            let ok = format!("{} with {least} % free or more", counted(found.len(), "file system"));
            merge(name, found.iter().map(Space::judge), ok)
        }
        Err(e) => Check::of_error(AREA, name, State::Unknown, &e),
    }
}

/// The space of a file system.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// A folder on it.
    pub folder: PathBuf,
    /// What can be written by whoever is not root, in bytes.
    pub free_bytes: u64,
    /// The same and what is written, in bytes.
    pub total_bytes: u64,
    /// Files that can still be made, of how many; none where there is no bound.
    pub inodes: Option<(u64, u64)>,
}

impl Space {
    /// Asks the file system of a folder.
    pub fn of(folder: &Path) -> std::io::Result<Space> {
        let v = rustix::fs::statvfs(folder)?;
        let used = (v.f_blocks - v.f_bfree.min(v.f_blocks)) * v.f_frsize;
        let free = v.f_bavail * v.f_frsize;
        let inodes = (v.f_files > 0).then_some((v.f_favail, v.f_files));
        Ok(Space { folder: folder.to_owned(), free_bytes: free, total_bytes: used + free, inodes })
    }

    /// Returns the share that is free, in percent.
    pub fn free_percent(&self) -> u64 {
        self.free_bytes.saturating_mul(100).checked_div(self.total_bytes).unwrap_or(100)
    }

    fn judge(&self) -> Finding {
        let folder = self.folder.display();
        let free = self.free_percent();
        let state = match free {
            ..NO_SPACE => State::Failed,
            NO_SPACE..LITTLE_SPACE => State::Warning,
            _ => State::Ok,
        };
        if state != State::Ok {
            let mega = self.free_bytes / 1_000_000;
            let reason = format!("the disk below {folder} is nearly full: {mega} MB ({free} %) are free");
            return (state, reason, "make room, or move the tenant to a larger disk");
        }
        if let Some((left, all)) = self.inodes
            && left.saturating_mul(100) / all.max(1) < NO_SPACE
        {
            let reason = format!("the disk below {folder} has room for {left} more files only");
            return (State::Warning, reason, "remove small files, or make a file system with more inodes");
        }
        (State::Ok, String::new(), "")
    }
}

/// Returns the space below each of the folders that can be looked at, each file system once.
pub(super) fn spaces(folders: &[PathBuf]) -> Vec<Space> {
    use std::os::unix::fs::MetadataExt;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for folder in folders {
        let Ok(meta) = std::fs::metadata(folder) else { continue };
        if seen.insert(meta.dev())
            && let Ok(space) = Space::of(folder)
        {
            found.push(space);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(state: Run) -> Condition {
        Condition {
            state,
            restarting: false,
            restarts: 0,
            oom_killed: false,
            started: None,
            image: String::new(),
            folders: Vec::new(),
            memory_limit_bytes: Some(1000),
            cpu_limit: None,
        }
    }

    #[test]
    fn each_way_not_to_run_has_its_words_and_its_remedy() {
        for (state, restarting, oom, word) in [
            (Run::Paused, false, false, "is paused"),
            (Run::Created, false, false, "was never started"),
            (Run::Exited(137), false, false, "is stopped (exit code 137)"),
            (Run::Exited(137), false, true, "want of memory"),
            (Run::Exited(1), true, false, "keeps restarting"),
        ] {
            let seen = Condition { restarting, oom_killed: oom, ..condition(state) };
            let (reason, advice) = stopped("byrne-db", &seen).unwrap();
            assert!(reason.contains(word) && reason.contains("byrne-db") && !advice.is_empty(), "{reason}");
        }
        assert_eq!(stopped("byrne-db", &condition(Run::Healthy)), None);
    }

    #[test]
    fn the_worst_finding_counts_and_all_are_named() {
        let found = [
            (State::Ok, String::new(), ""),
            (State::Warning, "b".to_owned(), "do b"),
            (State::Failed, "c".to_owned(), "do c"),
        ];
        let check = merge("state", found.into_iter(), "fine".to_owned());
        assert_eq!((check.state, check.reason.as_str()), (State::Failed, "c; b"));
        assert_eq!(check.advice.as_deref(), Some("do c"));
        assert_eq!(merge("state", std::iter::empty(), "fine".to_owned()).reason, "fine");
    }

    #[test]
    fn a_disk_is_judged_by_its_space_and_by_its_inodes() {
        let space = |free_bytes, inodes| Space { folder: "/x".into(), free_bytes, total_bytes: 1000, inodes };
        assert_eq!(space(500, None).judge().0, State::Ok);
        assert_eq!(space(100, None).judge().0, State::Warning);
        assert_eq!(space(40, None).judge().0, State::Failed);
        assert_eq!(space(500, Some((1, 1000))).judge().0, State::Warning);
        assert!(Space::of(Path::new("/")).unwrap().total_bytes > 0);
    }

    #[test]
    fn memory_near_its_limit_is_named_before_the_kernel_kills() {
        let seen = |used, oom_killed| Seen {
            name: "byrne-app".into(),
            condition: Ok(Some(Condition { oom_killed, ..condition(Run::Running) })),
            usage: Some(Usage { memory_bytes: used, cpu_seconds: 0.0 }),
        };
        assert!(memory(&seen(500, false)).is_empty());
        assert_eq!(memory(&seen(950, false))[0].0, State::Warning);
        assert!(memory(&seen(1, true))[0].1.contains("want of memory"));
    }
}
