//! Looking at placed files with the server's own checkers, before a server sees them.
//!
//! A server that starts is no proof: it loads a file whose end lacks, and some that are changed in the middle.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::RedisRecord;
use crate::error::{Error, Kind, Result};
use crate::host::{ContainerSpec, Docker, ExecSpec, Healthcheck, Restart, RunLabels};

/// The longest a check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(3600);

/// A checker prints a line or two for each file.
const SAID_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Checks the files that [`super::place()`] put into the volume of the container of this specification, which is not running.
///
/// Runs `redis-check-aof` or `redis-check-rdb` of the same image, without a network, in a container that is always
/// removed. Fails with [`Kind::Damaged`], naming file and position, where they refuse.
pub async fn check_files(docker: &Docker, spec: &ContainerSpec, record: &RedisRecord) -> Result<()> {
    let room = room(spec);
    if let Some(old) = docker.try_inspect(&room.name).await? {
        if old.labels.get("lifeboat.kind") != Some(&"check".into()) {
            return Err(Error::new(Kind::Conflict, format!("container {} is not lifeboat's", room.name))
                .hint("rename it: its name is needed for a moment to check files of a redis"));
        }
        docker.remove(&room.name).await?;
    }
    // Whoever drops this future does not leave the container behind either.
    let guard = Guard { docker: docker.clone(), name: Some(room.name.clone()) };
    docker.create(&room).await?;
    let checked = check(docker, &room.name, record).await;
    let removed = guard.remove().await;
    checked.and(removed)
}

async fn check(docker: &Docker, room: &str, record: &RedisRecord) -> Result<()> {
    docker.start(room).await?;
    let (program, path) = what(record);
    let about = format!("{program} {path}");
    let spec = ExecSpec::new([program, &path]).user("0");
    let ran = docker.run(room, spec, b"", SAID_LIMIT_BYTES, CHECK_LIMIT).await?;
    if ran.exit.code == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &ran.exit.stderr;
    match ran.exit.code {
        126 | 127 => Err(Error::new(Kind::Host, format!("{about}: the image has no {program}"))),
        code => Err(Error::new(
            Kind::Damaged,
            format!("{about} refuses it (exit code {code}): {}", judgement(&said)),
        )),
    }
}

/// Returns the checker and the file it is to be given.
fn what(record: &RedisRecord) -> (&'static str, String) {
    let dir = record.dir.trim_end_matches('/');
    match (record.starts_from_aof(), record.has_folder()) {
        (true, true) => {
            ("redis-check-aof", format!("{dir}/{}/{}", record.appenddirname, record.manifest_name()))
        }
        (true, false) => ("redis-check-aof", format!("{dir}/{}", record.appendfilename)),
        (false, _) => ("redis-check-rdb", format!("{dir}/{}", record.dbfilename)),
    }
}

/// Returns what of a checker's words names files and positions, without what shows keys.
fn judgement(said: &str) -> String {
    let mut lines = said.lines().map(str::trim);
    if lines.any(|l| l.contains("RDB ERROR DETECTED")) {
        return lines.next().unwrap_or("it gives no reason").to_owned();
    }
    let telling = |l: &&str| ["analyzed", "not valid", "Cannot open"].iter().any(|word| l.contains(word));
    let lines: Vec<&str> = said.lines().map(str::trim).filter(telling).collect();
    let from = lines.len().saturating_sub(2);
    if lines.is_empty() { "it gives no reason".to_owned() } else { lines[from..].join("; ") }
}

/// A container of the same image and mounts that only waits, and has nothing else of the original's.
fn room(spec: &ContainerSpec) -> ContainerSpec {
    let mut labels = spec.labels.clone();
    labels.retain(|name, _| name.starts_with("lifeboat."));
    if !labels.contains_key("lifeboat.run") {
        let expires =
            Timestamp::now().saturating_add(SignedDuration::from_hours(2)).unwrap_or(Timestamp::MAX);
        labels.extend(
            RunLabels { run: spec.name.clone(), kind: "check".into(), owner: None, expires }.labels(),
        );
    }
    labels.insert("lifeboat.kind".into(), "check".into());
    ContainerSpec {
        name: format!("{}-check", spec.name),
        image: spec.image.clone(),
        image_id: spec.image_id.clone(),
        image_digests: spec.image_digests.clone(),
        environment: spec.environment.iter().filter(|v| v.name == "PATH").cloned().collect(),
        entrypoint: vec!["sleep".into()],
        command: vec![CHECK_LIMIT.as_secs().to_string()],
        user: "0".into(),
        labels,
        // The checkers open files for writing, though they write only when asked to.
        mounts: spec.mounts.clone(),
        tmpfs: spec.tmpfs.clone(),
        network_mode: "none".into(),
        healthcheck: Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }),
        restart: Restart { policy: "no".into(), maximum_retries: None },
        limits: spec.limits.clone(),
        ..ContainerSpec::default()
    }
}

/// Removes its container when dropped.
struct Guard {
    docker: Docker,
    name: Option<String>,
}

impl Guard {
    async fn remove(mut self) -> Result<()> {
        let name = self.name.take().unwrap_or_default();
        self.docker.remove(&name).await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.docker.remove_later(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Persistence;
    use super::super::record::sample;
    use super::*;
    use crate::host::EnvVar;

    #[test]
    fn each_kind_of_files_gets_its_checker() {
        let check = |persistence, version, appendonly| what(&sample(persistence, version, appendonly));
        let manifest = "/data/appendonlydir/appendonly.aof.manifest".to_owned();
        assert_eq!(check(Persistence::Aof, "7.0.15", "no"), ("redis-check-aof", manifest.clone()));
        assert_eq!(check(Persistence::Rdb, "7.0.15", "yes"), ("redis-check-aof", manifest));
        assert_eq!(
            check(Persistence::Rdb, "6.2.1", "yes"),
            ("redis-check-aof", "/data/appendonly.aof".into())
        );
        assert_eq!(check(Persistence::Rdb, "7.2.0", "no"), ("redis-check-rdb", "/data/dump.rdb".into()));
    }

    #[test]
    fn the_room_has_no_secret_no_network_and_no_port_of_the_original() {
        let spec = ContainerSpec {
            name: "q".into(),
            command: vec!["--requirepass".into(), "s3cret".into()],
            environment: vec![EnvVar::parse("REDIS_PASSWORD=s3cret"), EnvVar::parse("PATH=/bin")],
            labels: [("com.docker.compose.project".to_owned(), "byrne".to_owned())].into(),
            published: [("6379/tcp".to_owned(), Vec::new())].into(),
            network_mode: "byrne".into(),
            ..ContainerSpec::default()
        };
        let room = room(&spec);
        let json = serde_json::to_string(&room).unwrap();
        assert!(!json.contains("s3cret") && !json.contains("byrne") && !json.contains("6379"), "{json}");
        assert_eq!((room.network_mode.as_str(), room.name.as_str()), ("none", "q-check"));
        assert_eq!(room.labels["lifeboat.run"], "q");
    }

    #[test]
    fn a_refusal_names_file_and_position_and_shows_no_key() {
        let said = "Start to check INCR files.\nAOF analyzed: filename=a.1.incr.aof, size=99, ok_up_to=80, diff=19\n\
                    AOF a.1.incr.aof is not valid. Use the --fix option to try fixing it.\n";
        assert!(judgement(said).contains("ok_up_to=80"));
        let said = "--- RDB ERROR DETECTED ---\n[offset 203] Unexpected EOF reading RDB file\n\
                    [additional info] Reading key 'rq:queue:x:short'\n";
        assert!(judgement(said).contains("offset 203") && !judgement(said).contains("rq:queue"));
    }
}
