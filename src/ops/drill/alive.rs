//! From L3 to L4: the loaded copy made harmless, shown to be isolated, booted, asked, and what it used.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};

use crate::component::config;
use crate::component::mariadb::{self, NewUser};
use crate::component::redis;
use crate::component::site::{self, SiteConfig};
use crate::config::{Ask, Drilling};
use crate::error::{Context, Error, Kind, Result};
use crate::host::LeftoverKind;
use crate::id::{ComponentName, ProofLevel};
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;

use super::Request;
use super::app;
use super::bench::{Bench, random_password};
use super::checks::Findings;
use super::database::LoadedDatabase;
use super::report::{Used, UsedBy};
use super::site::SiteFolder;
use super::{data, isolation};

/// Names in the drill's network.
const DATABASE_HOST: &str = "db";
const DATABASE_PORT: u16 = 3306;
const REDIS_PORT: u16 = 6379;

/// Keys that lead to another database server than the drill's.
const ELSEWHERE: [&str; 6] =
    ["db_socket", "rds_db", "root_login", "root_password", "mariadb_root_login", "mariadb_root_password"];
const ELSEWHERE_PREFIXES: [&str; 2] = ["db_ssl_", "replica_"];

/// What was loaded of a snapshot.
#[derive(Debug)]
pub(super) struct Copy {
    pub database: Option<LoadedDatabase>,
    pub queues: Vec<ComponentName>,
    pub site: Option<SiteFolder>,
}

/// Brings the loaded copy to life, as far as is wanted and possible.
pub(super) async fn drill(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
    bench: &Bench,
    copy: &Copy,
    findings: &mut Findings,
) -> Result<()> {
    let default = Drilling::default();
    let policy = appliance.config.tenant(&request.tenant).ok().map(|t| std::sync::Arc::clone(&t.policy));
    let how = policy.as_ref().map_or(&default, |p| &p.drilling);
    if request.level.unwrap_or(how.level) < ProofLevel::Alive {
        return Ok(());
    }
    findings.bring_to_life();
    if let Some(database) = &copy.database {
        data::drill(appliance, opened, database, copy.site.as_ref(), findings).await?;
        data::ask(database, &how.own, findings).await;
    }
    let booted = boot(appliance, request, opened, bench, copy, findings).await?;
    let Some(app) = booted else {
        for check in how.own.iter().filter(|c| !matches!(c.ask, Ask::Sql { .. })) {
            findings.skipped(&format!("own: {}", check.name), "no application runs that could be asked");
        }
        return Ok(());
    };
    appliance.around.monitor.step("drill: ask the application");
    let clock = Instant::now();
    let logged_in = app.log_in().await;
    if let Some(seen) = findings.step("login", logged_in) {
        findings.passed("login", seen);
        findings.alive = true;
    }
    match copy.queues.contains(&ComponentName::RedisQueue) {
        true => app.doctor(findings).await,
        false => findings.skipped("doctor", "there is no queue that it could ask"),
    }
    app.own(&how.own, findings).await;
    findings.proof_since("ask the application", clock);
    Ok(())
}

async fn boot<'a>(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
    bench: &'a Bench,
    copy: &Copy,
    findings: &mut Findings,
) -> Result<Option<app::App<'a>>> {
    let wanted = match app::wanted(appliance, request, opened)? {
        Ok(wanted) => wanted,
        Err(why) => {
            findings.skipped("application", why);
            return Ok(None);
        }
    };
    let (Some(database), Some(folder)) = (&copy.database, &copy.site) else {
        findings.skipped("application", "without database and files there is nothing to boot it on");
        return Ok(None);
    };
    let proven = isolation::prove(appliance, request, bench, &wanted.backend, findings).await;
    let Some(isolated) = findings.step("isolation", proven).flatten() else {
        findings.skipped("application", "it is not booted, for what it does could get out");
        return Ok(None);
    };
    let clock = Instant::now();
    let muted = mute(opened, bench, copy, (database, folder), isolated.user).await;
    findings.phase_since("mute the copy", clock);
    let Some(seen) = findings.step("muted", muted) else { return Ok(None) };
    findings.passed("muted", seen);
    appliance.around.monitor.step("drill: start the application");
    app::boot(bench, &wanted, folder, findings).await
}

/// Makes the copy harmless before anything of it runs: no mail, no jobs, no live session, a host name of its own.
async fn mute(
    opened: &Opened,
    bench: &Bench,
    copy: &Copy,
    (database, folder): (&LoadedDatabase, &SiteFolder),
    owner: Option<(u32, u32)>,
) -> Result<String> {
    let (server, name) = (&database.server, &database.record.database);
    mariadb::end_sessions(server, name).await?;
    let path = folder.folder().join("site_config.json");
    // A link would lead out of the copy, to a file of this host.
    if !std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_file()) {
        return Err(Error::new(Kind::CheckFailed, "the site has no site_config.json of its own"));
    }
    let bytes = std::fs::read(&path).context(Kind::Io, "site_config.json of the copy")?;
    let backup = SiteConfig::parse(&bytes)?;
    let common = common_config(opened).await?;
    let password = random_password();
    let user = backup.db_user().unwrap_or(name).to_owned();
    let new = NewUser { user: user.clone(), password: password.clone(), databases: vec![name.clone()] };
    mariadb::create_user(server, &new).await?;

    let host_name = format!("http://{}.drill.invalid", opened.committed.receipt.tenant);
    let effective = backup.over(&common);
    let redis = addresses(bench, copy, &effective).await?;
    let mut site = site::merge(&backup, None).config;
    let mut common = common;
    let mut gone = Vec::new();
    for config in [&mut site, &mut common] {
        gone.extend(site::mute(config, &host_name));
        let elsewhere = |key: &str| {
            ELSEWHERE.contains(&key) || ELSEWHERE_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        };
        let leading: Vec<String> = config.keys().filter(|k| elsewhere(k)).map(str::to_owned).collect();
        for key in leading {
            config.remove(&key);
        }
        config.set("db_host", DATABASE_HOST);
        config.set("db_port", DATABASE_PORT);
        redis.iter().for_each(|(key, url)| config.set(key, url.expose_secret()));
    }
    site.set("db_name", name.as_str());
    site.set("db_user", user);
    site.set("db_password", password.expose_secret());
    let (site, shared) = (site.to_json()?, common.to_json()?);
    let apps = lists(opened).await?;
    let (sites, own) = (folder.sites.clone(), folder.folder());
    let written = tokio::task::spawn_blocking(move || {
        place(&sites, &own, &site, &shared, &apps)?;
        owner.map_or(Ok(()), |owner| give(&sites, owner))
    });
    written.await.context(Kind::Bug, "configuration of the copy")??;
    gone.sort();
    gone.dedup();
    let removed = if gone.is_empty() { String::new() } else { format!("; taken out: {}", gone.join(", ")) };
    Ok(format!("no mail, scheduler paused and disabled, sessions ended, {host_name}{removed}"))
}

/// Returns the addresses of the drill's Redis by their keys.
async fn addresses(
    bench: &Bench,
    copy: &Copy,
    effective: &SiteConfig,
) -> Result<[(&'static str, SecretString); 3]> {
    // One whose password lay in a file of the host has none in a drill, and refuses any.
    let refuses = async |component: ComponentName| match copy.queues.contains(&component) {
        true => redis::is_open(&bench.docker, &bench.part(component.as_str())).await,
        false => Ok(false),
    };
    let (cache, queue) = (ComponentName::RedisCache, ComponentName::RedisQueue);
    let of_cache = address(effective.redis_cache().as_ref(), cache, !refuses(cache).await?);
    let of_queue = address(effective.redis_queue().as_ref(), queue, !refuses(queue).await?);
    Ok([("redis_cache", of_cache), ("redis_queue", of_queue.clone()), ("redis_socketio", of_queue)])
}

/// Returns the address of a Redis of the drill, with the login of the recorded one where one is asked for.
fn address(recorded: Option<&SecretString>, component: ComponentName, asks: bool) -> SecretString {
    let recorded = recorded.map(|url| url.expose_secret().to_owned()).unwrap_or_default();
    let rest = recorded.split_once("://").map_or(recorded.as_str(), |(_, rest)| rest);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let login = authority.rsplit_once('@').filter(|_| asks);
    let login = login.map_or(String::new(), |(login, _)| format!("{login}@"));
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    SecretString::from(format!("redis://{login}{component}:{REDIS_PORT}{path}"))
}

/// Reads the bench's common configuration from the snapshot; empty where it has none.
async fn common_config(opened: &Opened) -> Result<SiteConfig> {
    match member(opened, "site/common_site_config.json").await? {
        Some(bytes) => SiteConfig::parse(&bytes).map_err(|e| e.in_context("common_site_config.json")),
        None => Ok(SiteConfig::default()),
    }
}

/// Returns the lists of apps that stand beside the sites.
async fn lists(opened: &Opened) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut all = Vec::new();
    for name in ["apps.txt", "apps.json"] {
        if let Some(bytes) = member(opened, &format!("site/{name}")).await? {
            all.push((name, bytes));
        }
    }
    Ok(all)
}

async fn member(opened: &Opened, name: &str) -> Result<Option<Vec<u8>>> {
    if opened.envelope(ComponentName::Config)?.is_none() {
        return Ok(None);
    }
    let archive = config::load(super::site::source(opened, ComponentName::Config, "tar")?).await?;
    Ok(archive.get(name).map(|m| m.content.to_vec()))
}

/// Writes the copy's configuration, in the place of what is there and through no link.
fn place(
    sites: &Path,
    own: &Path,
    site: &[u8],
    bench: &[u8],
    apps: &[(&'static str, Vec<u8>)],
) -> Result<()> {
    let mut all: Vec<(PathBuf, &[u8])> =
        vec![(own.join("site_config.json"), site), (sites.join("common_site_config.json"), bench)];
    all.extend(apps.iter().map(|(name, bytes)| (sites.join(name), bytes.as_slice())));
    for (path, content) in all {
        let about = || format!("{} of the copy", path.file_name().unwrap_or_default().display());
        let folder = path.parent().unwrap_or(sites);
        let mut file = tempfile::NamedTempFile::new_in(folder).context(Kind::Io, about())?;
        file.write_all(content).context(Kind::Io, about())?;
        let readable = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(readable).context(Kind::Io, about())?;
        file.persist(&path).map_err(|e| e.error).context(Kind::Io, about())?;
    }
    Ok(())
}

/// Gives the copy to the user as whom its application runs: the original may have belonged to another number.
///
/// Links are given, not followed: a site's are its tenant's.
fn give(sites: &Path, (user, group): (u32, u32)) -> Result<()> {
    let mut waiting = vec![sites.to_owned()];
    while let Some(path) = waiting.pop() {
        let about = || "folder sites of the copy";
        std::os::unix::fs::lchown(&path, Some(user), Some(group)).context(Kind::Io, about())?;
        if std::fs::symlink_metadata(&path).context(Kind::Io, about())?.is_dir() {
            for entry in std::fs::read_dir(&path).context(Kind::Io, about())? {
                waiting.push(entry.context(Kind::Io, about())?.path());
            }
        }
    }
    Ok(())
}

/// Returns what the drill's containers and volumes use.
pub(super) async fn used(bench: &Bench) -> Result<Used> {
    let mut used = Used::default();
    for thing in bench.made().await? {
        match thing.kind {
            LeftoverKind::Container => {
                let Some(condition) = bench.docker.condition(&thing.name).await? else { continue };
                let usage = bench.docker.usage(&thing.name).await?;
                let part = thing.name.strip_prefix(&bench.part("")).unwrap_or(&thing.name);
                used.containers.push(UsedBy {
                    part: part.to_owned(),
                    image: condition.image,
                    memory_bytes: usage.memory_bytes,
                    cpu_seconds: usage.cpu_seconds,
                });
            }
            LeftoverKind::Volume => {
                let folder = bench.docker.volume_path(&thing.name).await?;
                let size = tokio::task::spawn_blocking(move || bytes_below(&folder));
                used.disk_bytes += size.await.context(Kind::Bug, "size of a volume")?;
            }
            LeftoverKind::Network => {}
        }
    }
    Ok(used)
}

/// Adds up the files below a folder; what goes away meanwhile counts as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let mut folders = vec![folder.to_owned()];
    let mut sum = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(m) if m.is_dir() => folders.push(entry.path()),
                Ok(m) => sum += m.len(),
                Err(_) => {}
            }
        }
    }
    sum
}

/// Says that what a drill used could not be found out; it is no fault of the copy.
pub(super) fn unknown_use(error: &Error) -> String {
    format!("what the drill used is not known: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_of_the_drill_has_the_login_of_the_recorded_one_and_no_other_host() {
        let of = |url: &str| {
            let url = SecretString::from(url);
            address(Some(&url), ComponentName::RedisQueue, true).expose_secret().to_owned()
        };
        assert_eq!(of("redis://:p@byrne-queue:6380/1"), "redis://:p@redis-queue:6379/1");
        assert_eq!(of("rediss://u:p@x"), "redis://u:p@redis-queue:6379");
        assert_eq!(of("redis://127.0.0.1:13006"), "redis://redis-queue:6379");
        assert_eq!(
            address(None, ComponentName::RedisCache, true).expose_secret(),
            "redis://redis-cache:6379"
        );
        let open = address(Some(&"redis://:p@x/1".into()), ComponentName::RedisCache, false);
        assert_eq!(open.expose_secret(), "redis://redis-cache:6379/1");
    }
}
