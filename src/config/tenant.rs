//! `tenants/<name>.toml`: where a tenant's components lie.
//!
//! Owns the checked shape of a tenant. A component without a section is not backed up, and shown so. Knows
//! nothing of how components are dumped.

mod parts;

use std::path::PathBuf;
use std::sync::Arc;

use serde_spanned::Spanned;

use super::app::{self, Roles};
use super::branding::{self, Branding};
use super::check::{Checker, container, not_empty};
use super::domain::domain;
use super::policy::Policy;
use super::raw::{self, Text};
use super::secret::SecretRef;
use super::setup::{self, Setup};
use super::size::{self, TenantSize};
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
    /// The image that drills boot its application from; none for that of its backend.
    pub app_image: Option<String>,
    /// The containers that run its application, with a role or without.
    pub app_containers: Vec<String>,
    /// Those with a role, by what they do.
    pub roles: Roles,
    /// The name under which it is reached; none where Lifeboat did not provision it.
    pub domain: Option<String>,
    /// What its containers may use.
    pub size: TenantSize,
    /// What the setup wizard is told.
    pub setup: Part<Setup>,
    /// How it looks, besides what the host says.
    pub branding: Part<Branding>,
    /// Who may log in through single sign-on.
    pub sso: Part<TenantSso>,
}

/// Who may log in through single sign-on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantSso {
    /// The groups whose members may, instead of the host's; none for those.
    pub groups: Vec<String>,
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
    let domain = c.parse("domain", &raw.domain, domain);
    let site = match (&raw.site, &domain) {
        (None, Some(domain)) => Some(domain.clone()),
        _ => c.require("site", &raw.site, SITE_HINT, site),
    };
    let database = part("database", &raw.database, |d| &d.skip, parts::database, c);
    let redis_cache =
        part("redis_cache", &raw.redis_cache, |r| &r.skip, |r, c| parts::redis("redis_cache", r, c), c);
    let redis_queue =
        part("redis_queue", &raw.redis_queue, |r| &r.skip, |r, c| parts::redis("redis_queue", r, c), c);
    let files = part("files", &raw.files, |f| &f.skip, parts::files, c);
    let config = part("config", &raw.config, |r| &r.skip, parts::config_files, c);
    // A certificate is for the name that browsers ask for.
    let name_of_certs = domain.as_deref().or(site.as_deref());
    let certs = part("certs", &raw.certs, |r| &r.skip, |r, c| parts::certs(r, name_of_certs, c), c);
    let size = size::check(&raw.size, c);
    let mut roles = app::roles(&raw.app, c);
    if domain.is_some() && roles.is_empty() && raw.app.containers.is_none() {
        roles = app::by_convention(name, &size);
    }
    let mut app_containers = c.parse_all("app.containers", &raw.app.containers, container);
    let unnamed = roles.values().flatten().filter(|name| !app_containers.contains(name)).cloned();
    app_containers.extend(unnamed.collect::<Vec<String>>());
    let setup = part("setup", &raw.setup, |s| &s.skip, |s, c| Some(setup::of_tenant(s, c)), c);
    let looks = |b: &raw::Branding, c: &mut Checker<'_>| Some(branding::looks("branding", b, c));
    let branding = part("branding", &raw.branding, |b| &b.skip, looks, c);
    let sso = part("sso", &raw.sso, |s| &s.skip, sso, c);
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
        app_image: c.parse("app.image", &raw.app.image, not_empty),
        app_containers,
        roles,
        domain,
        size,
        setup: setup?,
        branding: branding?,
        sso: sso?,
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

const SITE_HINT: &str = "write site = \"erp.example.com\", the name of the site's folder";

fn sso(raw: &raw::TenantSso, c: &mut Checker<'_>) -> Option<TenantSso> {
    Some(TenantSso { groups: c.parse_all("sso.groups", &raw.groups, not_empty) })
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
