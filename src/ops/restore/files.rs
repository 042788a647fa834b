//! The site folder of a restore: unpacked beside its place, compared with its list, configured, and left to wait.

use std::path::{Path, PathBuf};

use crate::component::config::Waiting;
use crate::component::files::{self, Parked, Record, Target};
use crate::component::mariadb::{DatabaseRecord, NewUser};
use crate::component::site::{self, SiteConfig};
use crate::error::{Context, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::record::Envelope;
use crate::ops::state;

use super::apply::{Work, begin_part};
use super::journal::Event;
use super::part::Part;

/// The site's configuration in its folder.
const SITE_CONFIG: &str = "site_config.json";

/// Unpacks the site folder and parks it.
pub(super) async fn stage(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let record: Record = envelope.own()?;
    let sites = sites_folder(work, envelope).await?;
    let folder = sites.join(&envelope.site);
    let said = format!("{}, every hash equal, in {}", counted(record.totals.files, "file"), folder.display());
    if work.story()?.whole("folder").is_none() {
        unpack(work, record, &sites, folder).await?;
    }
    common_files(work, &sites).await?;
    Ok(said)
}

/// Unpacks beside the place, compares, configures, and parks.
async fn unpack(work: &mut Work<'_>, record: Record, sites: &Path, folder: PathBuf) -> Result<()> {
    let stamp = work.stamp.clone();
    let part = |parked| Part::Folder { place: folder.clone(), stamp: stamp.clone(), parked };
    begin_part(&work.run, part(None)).await?;
    let fresh = make_fresh(sites)?;
    let monitor = std::sync::Arc::clone(&work.appliance.around.monitor);
    let list = work.stream(ComponentName::Files, "list")?;
    let tar = work.stream(ComponentName::Files, "tar")?;
    let loaded = files::load(Target::Folder(folder.clone()), record, list, tar, monitor).await?;
    work.notes.extend(loaded.warnings.iter().cloned());
    configure(work, &loaded.folder(), &folder).await?;
    if fresh {
        give_to_owner_of(&loaded.folder(), sites)?;
    }
    let mark = stamp.clone();
    let parked = tokio::task::spawn_blocking(move || loaded.park(&mark))
        .await
        .context(Kind::Bug, "parking files")??;
    work.run.write(Event::Staged(part(Some(parked))))
}

/// Makes the folder of sites where it is missing, and tells whether nothing is in it: then nobody has set its owner yet.
fn make_fresh(sites: &Path) -> Result<bool> {
    std::fs::create_dir_all(sites).context(Kind::Io, sites.display())?;
    Ok(std::fs::read_dir(sites).context(Kind::Io, sites.display())?.next().is_none())
}

/// A new volume belongs to root, and Frappe writes into it as the site's owner.
fn give_to_owner_of(site: &Path, sites: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(site).context(Kind::Io, site.display())?;
    std::os::unix::fs::chown(sites, Some(owner.uid()), Some(owner.gid())).context(Kind::Io, sites.display())
}

async fn sites_folder(work: &Work<'_>, envelope: &Envelope) -> Result<PathBuf> {
    let path = envelope.path.clone().unwrap_or_default();
    match &envelope.container {
        Some(spec) => work.run.docker.host_path_of(&work.naming.container(&spec.name), &path).await,
        None => Ok(work.naming.host_path(&path).into()),
    }
}

/// Returns the configuration of the site that is there, if one is and it can be read.
pub(super) async fn living_config(work: &Work<'_>) -> Result<Option<SiteConfig>> {
    let Some(path) = living_path(work).await? else { return Ok(None) };
    Ok(state::read_if_there(&path)?.and_then(|bytes| SiteConfig::parse(&bytes).ok()))
}

async fn living_path(work: &Work<'_>) -> Result<Option<PathBuf>> {
    let Some(envelope) = work.recorded(ComponentName::Files)? else { return Ok(None) };
    // A container that is gone has no folder, and is made again only where its files are wanted.
    Ok(sites_folder(work, &envelope).await.ok().map(|sites| sites.join(&envelope.site).join(SITE_CONFIG)))
}

/// Makes the staged site's configuration fit its place: what the site is comes from the backup, where it lives from the
/// site that is there; a copy under another name is muted. The site's database account is made from it.
async fn configure(work: &mut Work<'_>, staged: &Path, live: &Path) -> Result<()> {
    let path = staged.join(SITE_CONFIG);
    let Some(bytes) = state::read_if_there(&path)? else {
        work.notes.push("the backup holds no site_config.json".to_owned());
        return Ok(());
    };
    let backup = SiteConfig::parse(&bytes).map_err(|e| e.in_context("site_config.json of the backup"))?;
    let living = state::read_if_there(&live.join(SITE_CONFIG))?.and_then(|b| SiteConfig::parse(&b).ok());
    let merged = site::merge(&backup, living.as_ref());
    work.notes.extend(merged.notes);
    let mut config = merged.config;
    let user = rename_database(&mut config, new_database(work)?);
    if work.request.into.is_some() && !work.request.live {
        let removed = site::mute(&mut config, &format!("http://{}.invalid", work.request.target()));
        if !removed.is_empty() {
            work.notes.push(format!("muted; taken out of site_config.json: {}", removed.join(", ")));
        }
    }
    if work.request.pause_scheduler {
        config.set("pause_scheduler", 1);
        work.notes.push("the scheduler is paused: `bench --site SITE scheduler resume` ends that".to_owned());
    }
    ensure_user(work, &config, user).await?;
    super::database::prove_key(work, &config, living.as_ref()).await?;
    rewrite(&path, &path, &config.to_json()?)
}

/// Returns the name that the site's configuration is to say, where the database was loaded under one.
fn new_database(work: &Work<'_>) -> Result<Option<String>> {
    Ok(match work.story()?.whole("database") {
        Some(Part::Database(part)) if part.renamed.is_none() => Some(part.new.clone()),
        _ => None,
    })
}

/// Lets a configuration name another database; returns the account that older versions then log in with besides.
///
/// Frappe 15 logs in under the database's name, later versions under `db_user`, where that is given.
fn rename_database(config: &mut SiteConfig, name: Option<String>) -> Option<String> {
    let name = name.filter(|name| config.db_name() != Some(name))?;
    let user = config.db_user().map(str::to_owned);
    config.set("db_name", name.clone());
    if let Some(user) = user {
        config.set("db_user", user);
    }
    Some(name)
}

/// Prepares the living site's configuration to name the database that is restored without its files.
pub(super) async fn stage_site_config(work: &mut Work<'_>) -> Result<()> {
    if work.request.wants(ComponentName::Files) || work.story()?.whole("site-config").is_some() {
        return Ok(());
    }
    let Some(name) = new_database(work)? else { return Ok(()) };
    let Some(path) = living_path(work).await? else { return Ok(()) };
    let Some(bytes) = state::read_if_there(&path)? else { return Ok(()) };
    let mut config = SiteConfig::parse(&bytes).map_err(|e| e.in_context(path.display()))?;
    super::database::prove_key(work, &config, None).await?;
    let Some(user) = rename_database(&mut config, Some(name)) else { return Ok(()) };
    ensure_user(work, &config, Some(user)).await?;
    let waiting = path.with_file_name(format!("{}{}-{SITE_CONFIG}", files::OWN_PREFIX, work.stamp));
    let part = |parked| Part::SiteConfig { waiting: waiting.clone(), parked };
    begin_part(&work.run, part(None)).await?;
    rewrite(&path, &waiting, &config.to_json()?)?;
    let parked = Parked::of(path, waiting.clone(), waiting.clone())?;
    work.run.write(Event::Staged(part(Some(parked))))
}

async fn ensure_user(work: &mut Work<'_>, config: &SiteConfig, older: Option<String>) -> Result<()> {
    let Some(envelope) = work.envelope(ComponentName::Database)? else { return Ok(()) };
    let record: DatabaseRecord = envelope.own()?;
    let (Some(user), Some(password), Some(_)) = (config.db_user(), config.db_password(), &envelope.container)
    else {
        return Ok(());
    };
    let server = super::database::server_of(work, &envelope)?;
    let databases: Vec<String> = match work.story()?.whole("database") {
        Some(Part::Database(part)) => part.old.iter().chain([&part.new]).cloned().collect(),
        _ => vec![record.database],
    };
    let site = NewUser { user: user.to_owned(), password: password.clone(), databases };
    super::database::ensure_site_user(work, &server, site).await?;
    match older.filter(|older| older != user) {
        Some(older) => {
            let same = NewUser { user: older.clone(), password, databases: vec![older] };
            super::database::ensure_site_user(work, &server, same).await
        }
        None => Ok(()),
    }
}

/// Writes a small file whole or not at all, with the owner and mode that `like` has.
pub(super) fn rewrite(like: &Path, path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, fchown};
    let about = || path.display().to_string();
    let old = std::fs::metadata(like).context(Kind::Io, about())?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(".lifeboat-").tempfile_in(folder).context(Kind::Io, about())?;
    file.write_all(content).context(Kind::Io, about())?;
    fchown(file.as_file(), Some(old.uid()), Some(old.gid())).context(Kind::Io, about())?;
    file.as_file().set_permissions(old.permissions()).context(Kind::Io, about())?;
    file.as_file().sync_all().context(Kind::Io, about())?;
    file.persist(path).map_err(|e| e.error).context(Kind::Io, about())?;
    std::fs::File::open(folder).and_then(|f| f.sync_all()).context(Kind::Io, about())
}

/// Puts the bench's common files back where they are gone; those that are there may be shared with other sites.
async fn common_files(work: &mut Work<'_>, sites: &Path) -> Result<()> {
    let Ok(tar) = work.stream(ComponentName::Config, "tar") else { return Ok(()) };
    let archive = crate::component::config::load(tar).await?;
    let mut places = std::collections::BTreeMap::new();
    for name in ["common_site_config.json", "apps.txt", "apps.json"] {
        let member = format!("site/{name}");
        if archive.get(&member).is_some() && !sites.join(name).exists() {
            places.insert(member, sites.join(name));
        }
    }
    let all = Waiting::all(&places, &super::settings::aside_folder(work)?, &format!("{}-s", work.stamp));
    super::settings::stage_part(work, "common", true, all, None, &archive).await
}
