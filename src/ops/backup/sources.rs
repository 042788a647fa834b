//! Where each component of a tenant is read from: configuration, containers and host paths become dumps.

use std::sync::Arc;

use crate::component::certs::{self, Acme};
use crate::component::config::{self, Item};
use crate::component::files::{self, FileIndex};
use crate::component::mariadb::{self, Retry, Server, SiteAccount, Timeouts};
use crate::component::site::SiteConfig;
use crate::component::{Dump, SegmentId, redis};
use crate::config::{Tenant, is_system_schema};
use crate::error::{Error, Kind, Result};
use crate::host::Docker;
use crate::id::ComponentName;
use crate::ops::record::Envelope;
use crate::ops::site::Site;
use crate::repo::writer::SegmentKey;

use super::begin::Night;
use super::{containers, sso};

/// What earlier attempts of the same component found out.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// How many there were.
    pub made: u32,
    /// Tables and views that cannot be read.
    pub leave_out: Vec<String>,
}

/// How often a component is tried when its source fails in a way that may pass.
const LIMIT: u32 = 3;
/// How many unreadable tables are left out one by one before the dump is given up.
const UNREADABLE_LIMIT: usize = 20;

impl Attempts {
    /// Tells whether another attempt may help, and remembers what it should do differently.
    pub fn again(&mut self, error: &Error) -> bool {
        match mariadb::retry_of(error) {
            Some(Retry::Again) => {
                self.made += 1;
                self.made < LIMIT
            }
            Some(Retry::Without(table)) => {
                self.leave_out.push(table.clone());
                self.leave_out.len() <= UNREADABLE_LIMIT
            }
            None => false,
        }
    }
}

/// A dump that runs, and what the manifest keeps beside the component's own record.
pub(super) struct Dumping {
    pub dump: Dump,
    pub envelope: Envelope,
}

/// Starts the dump of one component.
pub(super) async fn dump(night: &mut Night<'_>, name: ComponentName, attempts: &Attempts) -> Result<Dumping> {
    match name {
        ComponentName::Database => database(night, attempts).await,
        ComponentName::RedisCache | ComponentName::RedisQueue => redis_of(night, name).await,
        ComponentName::Files => files_of(night).await,
        ComponentName::Config => config_of(night).await,
        ComponentName::Certs => certs_of(night).await,
    }
}

fn not_configured(name: ComponentName) -> Error {
    Error::new(Kind::Bug, format!("{name} is not configured"))
}

/// Returns the connection to Docker, or why there is none.
pub(super) fn docker<'a>(night: &'a Night<'_>) -> Result<&'a Docker> {
    night.docker.as_ref().map_err(|e| {
        let same = Error::new(e.kind(), e.to_string());
        match e.hint_text() {
            Some(hint) => same.hint(hint),
            None => same,
        }
    })
}

async fn database(night: &mut Night<'_>, attempts: &Attempts) -> Result<Dumping> {
    let tenant = night.tenant;
    let part = tenant.database.on().ok_or_else(|| not_configured(ComponentName::Database))?;
    let docker = docker(night)?.clone();
    let site = Site::find(tenant, Some(&docker)).await;
    let config = site.as_ref().ok().and_then(|s| s.effective_config().ok());
    let spec = docker.inspect(&part.container).await?;
    let credentials = containers::credentials(&part.login)?;
    let server = Server { docker, container: part.container.clone(), credentials };
    let name = match (&part.name, &config) {
        // Named by the operator.
        (Some(name), _) => name.clone(),
        (None, Some(config)) => named_by_site(tenant, &server, config).await?,
        (None, None) => return Err(site.err().unwrap_or_else(|| no_database_name(&tenant.site))),
    };
    let policy = &tenant.policy;
    let dump = mariadb::dump(mariadb::DatabaseSource {
        server,
        database: name,
        encryption_key: config.and_then(|c| c.encryption_key()),
        leave_out: attempts.leave_out.clone(),
        last_try: attempts.made + 1 >= LIMIT,
        timeouts: Timeouts { stage: policy.stage_timeout, idle: policy.no_progress_timeout },
    })
    .await?;
    let envelope = Envelope { site: tenant.site.clone(), container: Some(spec), ..Envelope::default() };
    Ok(Dumping { dump, envelope })
}

/// Returns the database that the site's own configuration names, once its own account has shown that it may read it: the
/// tenant may write that file, and could name another's.
async fn named_by_site(tenant: &Tenant, server: &Server, config: &SiteConfig) -> Result<String> {
    let name = config.db_name().ok_or_else(|| no_database_name(&tenant.site))?;
    let refused = |e: Error| {
        e.in_context(format!("tenant {}: site_config.json names database `{name}`", tenant.name)).hint(format!(
            "if this database is the tenant's, write name = \"{name}\" below [database] in tenants/{}.toml; if it is \
             not, somebody changed the site_config.json of {}",
            tenant.name, tenant.site
        ))
    };
    if is_system_schema(name) {
        return Err(refused(Error::new(Kind::Denied, "it is the server's own")));
    }
    let (Some(user), Some(password)) = (config.db_user(), config.db_password()) else {
        return Err(refused(Error::new(
            Kind::Denied,
            "there is no db_password to show that the site may read it",
        )));
    };
    let account = SiteAccount { user: user.to_owned(), password };
    match mariadb::prove_readable(server, name, &account).await {
        Err(e) if e.kind() == Kind::Denied => Err(refused(e)),
        other => other.map(|()| name.to_owned()),
    }
}

fn no_database_name(site: &str) -> Error {
    Error::new(Kind::Source, format!("site {site}: its database's name is not known"))
        .hint("site_config.json has no db_name; write [database] name in the tenant's file")
}

async fn redis_of(night: &Night<'_>, name: ComponentName) -> Result<Dumping> {
    let tenant = night.tenant;
    let part = match name {
        ComponentName::RedisCache => tenant.redis_cache.on(),
        _ => tenant.redis_queue.on(),
    };
    let part = part.ok_or_else(|| not_configured(name))?;
    let docker = docker(night)?;
    let spec = docker.inspect(&part.container).await?;
    let dump = redis::dump(redis::RedisSource {
        docker: docker.clone(),
        container: part.container.clone(),
        credentials: containers::redis_credentials(&part.login)?,
        timeouts: redis::Timeouts {
            stage: tenant.policy.stage_timeout,
            idle: tenant.policy.no_progress_timeout,
        },
    })
    .await?;
    Ok(Dumping {
        dump,
        envelope: Envelope { site: tenant.site.clone(), container: Some(spec), ..Envelope::default() },
    })
}

async fn files_of(night: &mut Night<'_>) -> Result<Dumping> {
    let tenant = night.tenant;
    let part = tenant.files.on().ok_or_else(|| not_configured(ComponentName::Files))?;
    let site = Site::find(tenant, night.docker.as_ref().ok()).await?;
    let mut options = files::Options::frappe_site(night.started);
    options.excludes = options.excludes.and(part.exclude.iter().cloned());
    let monitor = Arc::clone(&night.appliance.around.monitor);
    let index = FileIndex::load(&night.folder().join("files.index"), &*monitor);
    let knows = night.writer()?.knowing();
    let knows = move |id: &SegmentId| knows(&SegmentKey { size_bytes: id.size_bytes, sha256: id.sha256 });
    let (dump, next) = files::dump(site.folder.clone(), options, index, knows, monitor);
    night.next_index = Some(next);
    Ok(Dumping { dump, envelope: site.envelope() })
}

async fn config_of(night: &Night<'_>) -> Result<Dumping> {
    let tenant = night.tenant;
    let part = tenant.config.on().ok_or_else(|| not_configured(ComponentName::Config))?;
    let site = Site::find(tenant, night.docker.as_ref().ok()).await;
    let (named, apps, mut notes) = containers::of_tenant(tenant, night.docker.as_ref().ok()).await;
    let mut items = Vec::new();
    match &site {
        Ok(site) => {
            items.push(Item::file("site/site_config.json", site.folder.join("site_config.json")));
            for name in ["common_site_config.json", "apps.txt", "apps.json"] {
                items.push(Item::file(format!("site/{name}"), site.sites.join(name)).optional());
            }
        }
        Err(e) => notes.push(format!("the site's own configuration is not in it: {e}")),
    }
    let kinds = [
        ("files", &part.paths),
        ("compose", &part.compose),
        ("env", &part.env),
        ("traefik", &part.traefik),
        ("dns", &part.dns),
    ];
    for (kind, paths) in kinds {
        items.extend(paths.iter().map(|path| item(kind, path)));
    }
    items.extend(named.iter().map(|(name, spec)| Item::json(format!("containers/{name}.json"), spec)));
    for note in &notes {
        night.appliance.around.monitor.note(note);
    }
    items.extend(sso::item(night.appliance.config.machine.platform.as_ref(), tenant).await);
    let dump = config::dump(items, serde_json::json!({ "notes": notes })).await?;
    let envelope = match site {
        Ok(site) => Envelope { apps, ..site.envelope() },
        Err(_) => Envelope { site: tenant.site.clone(), apps, ..Envelope::default() },
    };
    Ok(Dumping { dump, envelope })
}

/// Names a host path within an archive: its kind, then the whole path, so that no two collide.
fn item(kind: &str, path: &std::path::Path) -> Item {
    let name = format!("{kind}{}", path.display());
    if path.is_dir() { Item::folder(name, path) } else { Item::file(name, path) }
}

async fn certs_of(night: &Night<'_>) -> Result<Dumping> {
    let tenant = night.tenant;
    let part = tenant.certs.on().ok_or_else(|| not_configured(ComponentName::Certs))?;
    let domains = if part.domains.is_empty() { vec![tenant.site.clone()] } else { part.domains.clone() };
    // certbot's live folders hold links into its archive.
    let items = part.paths.iter().map(|path| item("files", path).through_links()).collect();
    let acmes = part.acme_file.iter().map(|path| Acme {
        name: "acme/acme.json".to_owned(),
        path: path.clone(),
        domains: domains.clone(),
    });
    let dump = certs::dump(items, acmes.collect()).await?;
    Ok(Dumping { dump, envelope: Envelope { site: tenant.site.clone(), domains, ..Envelope::default() } })
}
