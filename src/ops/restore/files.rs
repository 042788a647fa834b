//! The site folder of a restore: unpacked beside its place, compared with its list, configured, then swapped in.

use std::path::{Path, PathBuf};

use crate::component::files::{self, Record, Target};
use crate::component::mariadb::{DatabaseRecord, NewUser};
use crate::component::site::{self, SiteConfig};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::id::ComponentName;
use crate::ops::record::Envelope;
use crate::ops::state;

use super::apply::Work;

/// Restores the site folder.
pub(super) async fn restore(work: &mut Work<'_>, envelope: &Envelope) -> Result<String> {
    let record: Record = envelope.own()?;
    let sites = sites_folder(work, envelope).await?;
    let folder = sites.join(&envelope.site);
    let fresh = make_fresh(&sites)?;
    let monitor = std::sync::Arc::clone(&work.appliance.around.monitor);
    let list = work.stream(ComponentName::Files, "list")?;
    let tar = work.stream(ComponentName::Files, "tar")?;
    let loaded = files::load(Target::Folder(folder.clone()), record, list, tar, monitor).await?;
    work.notes.extend(loaded.warnings.iter().cloned());
    configure(work, &loaded.folder(), &folder).await?;
    let totals = loaded.totals;
    let stamp = work.stamp.clone();
    let _unbroken = work.unbroken().await;
    let aside = tokio::task::spawn_blocking(move || loaded.swap(&stamp))
        .await
        .context(Kind::Bug, "swap of files")??;
    work.aside.extend(aside.map(|p| format!("site folder {}", p.display())));
    if let Some(database) = work.envelope(ComponentName::Database)? {
        work.switched(&database.own::<DatabaseRecord>()?.database);
    }
    if fresh {
        give_to_owner_of(&folder, &sites)?;
    }
    common_files(work, &sites).await?;
    Ok(format!("{}, every hash equal, in {}", counted(totals.files, "file"), folder.display()))
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
        Some(spec) => work.docker.host_path_of(&work.naming.container(&spec.name), &path).await,
        None => Ok(work.naming.host_path(&path).into()),
    }
}

/// Makes the staged site's configuration fit its place: what the site is comes from the backup, where it lives from the
/// site that is there; a copy under another name is muted. The site's database account is made from it.
async fn configure(work: &mut Work<'_>, staged: &Path, live: &Path) -> Result<()> {
    let path = staged.join("site_config.json");
    let Some(bytes) = state::read_if_there(&path)? else {
        work.notes.push("the backup holds no site_config.json".to_owned());
        return Ok(());
    };
    let backup = SiteConfig::parse(&bytes).map_err(|e| e.in_context("site_config.json of the backup"))?;
    let target =
        state::read_if_there(&live.join("site_config.json"))?.and_then(|b| SiteConfig::parse(&b).ok());
    let merged = site::merge(&backup, target.as_ref());
    work.notes.extend(merged.notes);
    let mut config = merged.config;
    if let Some(name) = &work.new_database {
        rename_database(&mut config, name);
    }
    if work.request.into.is_some() && !work.request.live {
        let removed = site::mute(&mut config, &format!("http://{}.invalid", work.request.target()));
        if !removed.is_empty() {
            work.notes.push(format!("muted; taken out of site_config.json: {}", removed.join(", ")));
        }
    }
    ensure_user(work, &config).await?;
    rewrite(&path, &config.to_json()?)
}

/// Frappe 15 logs in under the database's name unless `db_user` says otherwise.
fn rename_database(config: &mut SiteConfig, name: &str) {
    let user = config.db_user().map(str::to_owned);
    config.set("db_name", name);
    if let Some(user) = user {
        config.set("db_user", user);
    }
}

/// Points the living site to the database that was restored without its files, where that has a name of its own.
pub(super) async fn point_to_new_database(work: &mut Work<'_>) -> Result<()> {
    let (Some(name), false) = (work.new_database.clone(), work.request.wants(ComponentName::Files)) else {
        return Ok(());
    };
    let Some(database) = work.envelope(ComponentName::Database)? else { return Ok(()) };
    let old = database.own::<DatabaseRecord>()?.database;
    let unknown = || {
        Error::new(Kind::Conflict, format!("where the site lies that is to use database {name} is not known"))
            .hint("restore database and files together")
    };
    let files = work.recorded(ComponentName::Files)?.ok_or_else(unknown)?;
    let path = sites_folder(work, &files).await?.join(&files.site).join("site_config.json");
    let bytes = state::read_if_there(&path)?.ok_or_else(unknown)?;
    let mut config = SiteConfig::parse(&bytes).map_err(|e| e.in_context(path.display()))?;
    rename_database(&mut config, &name);
    ensure_user(work, &config).await?;
    let _unbroken = work.unbroken().await;
    rewrite(&path, &config.to_json()?)?;
    work.switched(&old);
    Ok(())
}

async fn ensure_user(work: &Work<'_>, config: &SiteConfig) -> Result<()> {
    let Some(envelope) = work.envelope(ComponentName::Database)? else { return Ok(()) };
    let record: DatabaseRecord = envelope.own()?;
    let (Some(user), Some(password), Some(spec)) =
        (config.db_user(), config.db_password(), &envelope.container)
    else {
        return Ok(());
    };
    let databases = work.new_database.iter().cloned().chain([record.database]).collect();
    let user = NewUser { user: user.to_owned(), password, databases };
    super::database::ensure_site_user(work, &work.naming.container(&spec.name), user).await
}

/// Replaces a small file's content whole or not at all, keeping its owner and mode.
fn rewrite(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, fchown};
    let about = || path.display().to_string();
    let old = std::fs::metadata(path).context(Kind::Io, about())?;
    let folder = path.parent().ok_or_else(|| Error::new(Kind::Bug, format!("{} has no folder", about())))?;
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
    super::settings::put(work, archive, places).await?;
    Ok(())
}
