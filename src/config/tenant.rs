//! `tenants/<name>.toml`: where a tenant's components lie.
//!
//! Owns the checked shape of a tenant. A component without a section is not backed up, and shown so. Knows
//! nothing of how components are dumped.

use std::path::PathBuf;
use std::sync::Arc;

use serde_spanned::Spanned;

use super::check::{Checker, absolute, container, not_empty};
use super::policy::Policy;
use super::raw::{self, Text};
use super::secret::SecretRef;
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, TenantName};

/// Where a bench's sites lie in the containers of `frappe_docker`.
pub const BENCH_SITES: &str = "/home/frappe/frappe-bench/sites";

/// A tenant, as checked.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name: that of its file.
    pub name: TenantName,
    /// When it is backed up and drilled, and what is kept.
    pub policy: Arc<Policy>,
    /// The name of its site's folder.
    pub site: String,
    /// Its database.
    pub database: Part<Database>,
    /// The Redis that caches.
    pub redis_cache: Part<Redis>,
    /// The Redis that holds jobs.
    pub redis_queue: Part<Redis>,
    /// Its site's folder.
    pub files: Part<Files>,
    /// Its configuration.
    pub config: Part<ConfigFiles>,
    /// Its certificates.
    pub certs: Part<Certs>,
    /// The containers that run its application.
    pub app_containers: Vec<String>,
}

/// Whether a component is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<T> {
    /// It is.
    On(T),
    /// It is not, for a reason.
    Skipped {
        /// The reason, as the operator gave it.
        reason: String,
    },
    /// It is not: the tenant's file does not mention it.
    NotConfigured,
}

impl<T> Part<T> {
    /// Returns the component's configuration where it is backed up.
    pub fn on(&self) -> Option<&T> {
        match self {
            Part::On(part) => Some(part),
            Part::Skipped { .. } | Part::NotConfigured => None,
        }
    }

    /// Returns the same without what is configured.
    fn state(&self) -> Part<()> {
        match self {
            Part::On(_) => Part::On(()),
            Part::Skipped { reason } => Part::Skipped { reason: reason.clone() },
            Part::NotConfigured => Part::NotConfigured,
        }
    }
}

/// A database in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The container of its server.
    pub container: String,
    /// Its name; none to read it from the site's `site_config.json` at each run.
    pub name: Option<String>,
    /// As whom to log in.
    pub login: Login,
}

/// As whom to log in to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// As the administrator, with the secret that the container itself holds.
    OfContainer,
    /// With a password of ours.
    Password {
        /// The user; none for the server's default one.
        user: Option<String>,
        /// Where its password is kept.
        password: SecretRef,
    },
}

/// A Redis in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Its container.
    pub container: String,
    /// As whom to log in.
    pub login: Login,
}

/// A site's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Where the bench's `sites` folder lies, which holds the site's.
    pub sites: SitesPlace,
    /// What to leave out, as paths below the site's folder; `*` stands for any part of a name.
    pub exclude: Vec<String>,
}

/// Where a bench's `sites` folder lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SitesPlace {
    /// In a container.
    Container {
        /// The container.
        container: String,
        /// The folder in it.
        path: String,
    },
    /// On the host.
    Host {
        /// The folder.
        path: PathBuf,
    },
}

/// Configuration files on the host, beside those of the site, which are always taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// Files and folders without a special meaning.
    pub paths: Vec<PathBuf>,
    /// Compose files.
    pub compose: Vec<PathBuf>,
    /// Environment files.
    pub env: Vec<PathBuf>,
    /// Traefik's dynamic configuration of this tenant.
    pub traefik: Vec<PathBuf>,
    /// CoreDNS zone files of this tenant.
    pub dns: Vec<PathBuf>,
}

/// Certificates on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certs {
    /// Certificate and key files.
    pub paths: Vec<PathBuf>,
    /// An `acme.json` of Traefik, of which this tenant's entries are taken.
    pub acme_file: Option<PathBuf>,
    /// The tenant's domains in it; the site's name where none are given.
    pub domains: Vec<String>,
}

/// Tells whether a database is one that every server has for itself, and no site ever.
pub fn is_system_schema(name: &str) -> bool {
    ["mysql", "information_schema", "performance_schema", "sys"].iter().any(|s| name.eq_ignore_ascii_case(s))
}

impl Tenant {
    /// Returns each component with whether it is backed up, in the order of a backup.
    pub fn components(&self) -> [(ComponentName, Part<()>); 6] {
        ComponentName::ALL.map(|name| {
            let state = match name {
                ComponentName::Database => self.database.state(),
                ComponentName::RedisCache => self.redis_cache.state(),
                ComponentName::RedisQueue => self.redis_queue.state(),
                ComponentName::Files => self.files.state(),
                ComponentName::Config => self.config.state(),
                ComponentName::Certs => self.certs.state(),
            };
            (name, state)
        })
    }
}

/// Checks a tenant's file; none where a key without a default lacks or is faulty.
pub(super) fn check(
    name: &TenantName,
    raw: &raw::Tenant,
    policy: Option<Arc<Policy>>,
    c: &mut Checker<'_>,
) -> Option<Tenant> {
    let site =
        c.require("site", &raw.site, "write site = \"erp.example.com\", the name of the site's folder", site);
    let database = part("database", &raw.database, |d| &d.skip, database, c);
    let redis_cache =
        part("redis_cache", &raw.redis_cache, |r| &r.skip, |r, c| redis("redis_cache", r, c), c);
    let redis_queue =
        part("redis_queue", &raw.redis_queue, |r| &r.skip, |r, c| redis("redis_queue", r, c), c);
    let files = part("files", &raw.files, |f| &f.skip, files, c);
    let config = part("config", &raw.config, |r| &r.skip, config_files, c);
    let certs = part("certs", &raw.certs, |r| &r.skip, |r, c| certs(r, site.as_deref(), c), c);
    let app_containers = c.parse_all("app.containers", &raw.app.containers, container);
    let tenant = Tenant {
        name: name.clone(),
        policy: policy?,
        site: site?,
        database: database?,
        redis_cache: redis_cache?,
        redis_queue: redis_queue?,
        files: files?,
        config: config?,
        certs: certs?,
        app_containers,
    };
    warn_of_gaps(&tenant, c);
    database_name_is_found(&tenant, raw, c);
    Some(tenant)
}

/// Checks a component's section: absent, skipped or on; none where it is faulty.
fn part<R, T>(
    key: &str,
    raw: &Option<Spanned<R>>,
    skip: impl Fn(&R) -> &Text,
    check: impl FnOnce(&R, &mut Checker<'_>) -> Option<T>,
    c: &mut Checker<'_>,
) -> Option<Part<T>> {
    let Some(section) = raw else { return Some(Part::NotConfigured) };
    let skip = skip(section.get_ref());
    if skip.is_some() {
        // The rest of a skipped section may be unfinished; its keys were still checked for their names.
        return c.parse(&format!("{key}.skip"), skip, not_empty).map(|reason| Part::Skipped { reason });
    }
    check(section.get_ref(), c).map(Part::On)
}

fn site(text: &str) -> Result<String> {
    let good = (1..=253).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !good {
        return Err(Error::new(Kind::Config, format!("{text:?} is not the name of a site's folder"))
            .hint("write erp.example.com"));
    }
    Ok(text.to_owned())
}

const CONTAINER_HINT: &str = "write container = \"name\", or skip = \"reason\"";

fn database(raw: &raw::Database, c: &mut Checker<'_>) -> Option<Database> {
    let container = c.require("database.container", &raw.container, CONTAINER_HINT, container);
    let name = c.parse("database.name", &raw.name, database_name);
    let login = login("database", &raw.user, (&raw.password, &raw.password_file), c);
    Some(Database { container: container?, name, login: login? })
}

fn database_name(text: &str) -> Result<String> {
    if is_system_schema(text.trim()) {
        return Err(Error::new(Kind::Config, format!("{text:?} is the server's own database, no site's"))
            .hint("db_name in the site's site_config.json is its name"));
    }
    not_empty(text)
}

fn redis(key: &str, raw: &raw::Redis, c: &mut Checker<'_>) -> Option<Redis> {
    let container = c.require(&format!("{key}.container"), &raw.container, CONTAINER_HINT, container);
    let login = login(key, &raw.user, (&raw.password, &raw.password_file), c);
    Some(Redis { container: container?, login: login? })
}

fn login(key: &str, user: &Text, password: (&Text, &Text), c: &mut Checker<'_>) -> Option<Login> {
    let given = password.0.is_some() || password.1.is_some();
    let secret = c.secret(&format!("{key}.password"), password.0, password.1);
    let name = c.parse(&format!("{key}.user"), user, not_empty);
    match (secret, given, user) {
        (Some(password), _, _) => Some(Login::Password { user: name, password }),
        (None, true, _) => None,
        (None, false, None) => Some(Login::OfContainer),
        (None, false, Some(user)) => {
            let error = Error::new(Kind::Config, "a user without a password")
                .hint("add password_file, or leave the user out to use the container's own secret");
            c.fault(Some(&user.span()), &format!("{key}.user"), &error);
            None
        }
    }
}

fn files(raw: &raw::Files, c: &mut Checker<'_>) -> Option<Files> {
    let exclude = c.parse_all("files.exclude", &raw.exclude, below_site);
    let in_container = c.parse("files.container", &raw.container, container);
    let path = c.parse("files.path", &raw.path, absolute);
    let sites = match (&raw.container, &raw.path) {
        (Some(_), None) => SitesPlace::Container { container: in_container?, path: BENCH_SITES.to_owned() },
        (Some(_), Some(path_text)) => {
            path?;
            SitesPlace::Container { container: in_container?, path: path_text.get_ref().clone() }
        }
        (None, Some(_)) => SitesPlace::Host { path: path? },
        (None, None) => {
            let error = Error::new(Kind::Config, "missing").hint(
                "write container = \"name\", or path = \"/host/folder/of/sites\", or skip = \"reason\"",
            );
            c.fault(None, "files.container", &error);
            return None;
        }
    };
    Some(Files { sites, exclude })
}

fn below_site(text: &str) -> Result<String> {
    let bad = |part: &str| part.is_empty() || part == "." || part == "..";
    if text.trim_end_matches('/').split('/').any(bad) {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a path below the site's folder"))
            .hint("write private/backups"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn config_files(raw: &raw::Configs, c: &mut Checker<'_>) -> Option<ConfigFiles> {
    Some(ConfigFiles {
        paths: c.parse_all("config.paths", &raw.paths, absolute),
        compose: c.parse_all("config.compose", &raw.compose, absolute),
        env: c.parse_all("config.env", &raw.env, absolute),
        traefik: c.parse_all("config.traefik", &raw.traefik, absolute),
        dns: c.parse_all("config.dns", &raw.dns, absolute),
    })
}

fn certs(raw: &raw::Certs, site: Option<&str>, c: &mut Checker<'_>) -> Option<Certs> {
    let paths = c.parse_all("certs.paths", &raw.paths, absolute);
    let acme_file = c.parse("certs.acme_file", &raw.acme_file, absolute);
    let mut domains = c.parse_all("certs.domains", &raw.domains, not_empty);
    if raw.paths.as_ref().is_none_or(Vec::is_empty) && raw.acme_file.is_none() {
        let error = Error::new(Kind::Config, "missing")
            .hint("write paths = [\"/…\"], acme_file, or skip = \"reason\"");
        c.fault(None, "certs.paths", &error);
        return None;
    }
    if acme_file.is_some() && domains.is_empty() {
        domains.extend(site.map(str::to_owned));
    }
    Some(Certs { paths, acme_file, domains })
}

/// Warns of each component that nobody decided about: silence would look like safety.
fn warn_of_gaps(tenant: &Tenant, c: &mut Checker<'_>) {
    for (name, state) in tenant.components() {
        if state == Part::NotConfigured {
            let section = name.as_str().replace('-', "_");
            let error = Error::new(Kind::Config, "not configured, so not backed up");
            c.warn(
                None,
                &section,
                &error.hint(format!("write [{section}], with skip = \"reason\" if it is meant so")),
            );
        }
    }
}

/// The name of the database is read from the site's folder, so one of the two must be configured.
fn database_name_is_found(tenant: &Tenant, raw: &raw::Tenant, c: &mut Checker<'_>) {
    let nameless = tenant.database.on().is_some_and(|d| d.name.is_none());
    if nameless && tenant.files.on().is_none() {
        let error = Error::new(
            Kind::Config,
            "missing, and without [files] there is no site_config.json to read it from",
        )
        .hint("write name = \"_0123456789abcdef\"");
        c.fault(raw.database.as_ref().map(Spanned::span).as_ref(), "database.name", &error);
    }
}
