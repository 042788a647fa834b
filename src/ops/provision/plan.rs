//! What is to be provisioned, and what that would do: pure values that can be printed.
//!
//! Owns the tenant's file: the text of a new one, or what an operator's own lacks. A file that is complete is left alone.

use std::path::Path;

use serde::Serialize;

use super::job::Order;
use super::names::{Folder, Names};
use super::run::{Chosen, skipped};
use super::secrets::Secret;
use super::step::Step;
use crate::component::tls;
use crate::config::{BENCH_SITES, Config, Part, Platform, Tenant};
use crate::error::{Error, Kind, Result};
use crate::id::TenantName;
use crate::ops::snapshots::Which;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its name.
    pub step: &'static str,
    /// What it makes.
    pub makes: String,
    /// Why it is not done, where it is not.
    pub skipped: Option<String>,
}

/// What `provision` would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose.
    pub tenant: TenantName,
    /// Where it will be reached.
    pub domain: String,
    /// The snapshot that the site comes from.
    pub from: Option<String>,
    /// The steps, in their order.
    pub steps: Vec<Planned>,
    /// The tenant's file as it would be written; none where it stays.
    pub file: Option<String>,
}

/// Returns what the steps would do; pure.
pub fn plan(steps: &[Box<dyn Step>], order: &Order, chosen: &Chosen) -> Plan {
    let planned = steps.iter().map(|step| Planned {
        step: step.name().as_str(),
        makes: step.sentence(order),
        skipped: skipped(&**step, order, chosen),
    });
    Plan {
        tenant: order.tenant.name.clone(),
        domain: order.domain.clone(),
        from: order.snapshot(),
        steps: planned.collect(),
        file: order.file_text.clone(),
    }
}

/// Works out the order for a tenant; returns the configuration with the tenant in it too.
///
/// `there` is the text of the tenant's file, where it has one. Fails with [`Kind::Config`] without `[platform]`, with
/// [`Kind::Conflict`] for a tenant that is configured otherwise, with [`Kind::Usage`] where no domain is known.
pub fn order(
    config: &Config,
    name: &TenantName,
    domain: Option<&str>,
    there: Option<&str>,
    from: Option<Which>,
) -> Result<(Config, Order)> {
    let platform = config.machine.platform.clone().ok_or_else(|| {
        Error::new(Kind::Config, "lifeboat.toml has no [platform]: nothing says what tenants are made of")
            .hint("write [platform] with projects_dir and [platform.images]; docs/configuration.md shows all of it")
    })?;
    let known = config.tenants().find(|t| t.name == *name);
    let domain = domain_of(known, name, domain)?;
    let folder = Folder::of(&platform.projects_dir, name);
    let text = complete(&platform, &Names::of(name), &folder, &domain, known, there.unwrap_or_default());
    let file_text = Some(text).filter(|t| Some(t.as_str()) != there);
    let whole = match &file_text {
        Some(text) => config.with_tenant_file(name, text)?,
        None => config.clone(),
    };
    let tenant = whole.tenant(name)?.clone();
    let order = Order { tenant, domain, platform, names: Names::of(name), folder, from, file_text };
    Ok((whole, order))
}

fn domain_of(known: Option<&Tenant>, name: &TenantName, asked: Option<&str>) -> Result<String> {
    let asked = asked.map(crate::config::domain).transpose()?;
    match (known, asked) {
        (Some(Tenant { domain: Some(own), .. }), None) => Ok(own.clone()),
        (Some(Tenant { domain: Some(own), .. }), Some(asked)) if *own == asked => Ok(asked),
        (Some(Tenant { domain: Some(own), .. }), Some(asked)) => {
            Err(Error::new(Kind::Conflict, format!("tenant {name} is reached as {own}, not as {asked}"))
                .hint("a site is not renamed by provisioning it again"))
        }
        (Some(_), _) => Err(Error::new(
            Kind::Conflict,
            format!("tenant {name} is configured, and provisioning did not make it"),
        )
        .hint("a file written for `provision` holds domain = \"…\"; give a new tenant another name")),
        (None, Some(asked)) => Ok(asked),
        (None, None) => {
            Err(Error::new(Kind::Usage, format!("there is no tenant {name}, and no domain is given"))
                .hint(format!("`lifeboat provision {name} {name}.example.com`")))
        }
    }
}

/// Returns the tenant's file with what it lacks: its domain first, sections of components last.
fn complete(
    platform: &Platform,
    names: &Names,
    folder: &Folder,
    domain: &str,
    known: Option<&Tenant>,
    there: &str,
) -> String {
    let lacks = |pick: fn(&Tenant) -> bool| known.is_none_or(pick);
    let mut text = String::new();
    if known.is_none() {
        text.push_str(&format!(
            "# Written by `lifeboat provision`. After a change of [size]: `lifeboat provision {} --apply`.\ndomain = {}\n",
            names.project(),
            quoted(domain)
        ));
    }
    text.push_str(there);
    let secret = |secret: Secret| path(&folder.secrets().join(secret.file()));
    if lacks(|t| t.database == Part::NotConfigured) {
        text.push_str(&format!("\n[database]\ncontainer = {}\n", quoted(&names.container("db"))));
    }
    let redis = |section: &str, service: &str, password: Secret| {
        let container = quoted(&names.container(service));
        format!("\n[{section}]\ncontainer = {container}\npassword_file = {}\n", secret(password))
    };
    if lacks(|t| t.redis_cache == Part::NotConfigured) {
        text.push_str(&redis("redis_cache", "redis-cache", Secret::RedisCache));
    }
    if lacks(|t| t.redis_queue == Part::NotConfigured) {
        text.push_str(&redis("redis_queue", "redis-queue", Secret::RedisQueue));
    }
    if lacks(|t| t.files == Part::NotConfigured) {
        let backend = quoted(&names.container("backend"));
        text.push_str(&format!("\n[files]\ncontainer = {backend}\n"));
        let sites = format!("{}/sites", platform.bench_dir);
        if sites != BENCH_SITES {
            text.push_str(&format!("path = {}\n", quoted(&sites)));
        }
        text.push_str("exclude = [\"private/backups\"]\n");
    }
    if lacks(|t| t.config == Part::NotConfigured) {
        text.push_str(&config_section(platform, folder, domain));
    }
    if lacks(|t| t.certs == Part::NotConfigured) {
        text.push_str(&certs_section(platform, domain));
    }
    if known.is_none() {
        text.push_str(&wishes());
    }
    text
}

fn config_section(platform: &Platform, folder: &Folder, domain: &str) -> String {
    let mut text = format!(
        "\n[config]\ncompose = [{}]\nenv = [{}]\npaths = [{}]\n",
        path(&folder.compose()),
        path(&folder.env()),
        path(&folder.secrets())
    );
    // Of given certificates, the proxy's file for this tenant holds both.
    let proxy = platform.proxy.as_ref().filter(|p| p.resolver.is_none() && p.given_dir.is_some());
    if let Some(dir) = proxy.and_then(|p| p.dynamic_dir.as_ref()) {
        text.push_str(&format!("traefik = [{}]\n", path(&tls::given_file_of(dir, domain))));
    }
    // A zone that holds other tenants' names too is the platform's.
    if let Some(dns) = platform.dns.as_ref().filter(|dns| dns.zone.is_none()) {
        text.push_str(&format!("dns = [{}]\n", path(&dns.zones_dir.join(format!("db.{domain}")))));
    }
    text
}

fn certs_section(platform: &Platform, domain: &str) -> String {
    let body = match &platform.proxy {
        None => "skip = \"no [platform.proxy]\"".to_owned(),
        Some(proxy) => match (&proxy.resolver, &proxy.acme_file, &proxy.given_dir) {
            (Some(_), Some(acme), _) => {
                format!("acme_file = {}\ndomains = [{}]", path(acme), quoted(domain))
            }
            (None, _, Some(dir)) => {
                let file = |end: &str| path(&dir.join(format!("{domain}.{end}")));
                format!("paths = [{}, {}]", file("crt"), file("key"))
            }
            _ => "skip = \"the proxy's certificates are not on this host\"".to_owned(),
        },
    };
    format!("\n[certs]\n{body}\n")
}

/// Returns the sections in which an operator says more, as comments.
fn wishes() -> String {
    "\n[size]\n# workers = 1          # pairs of frontend and backend\n# queue_workers = 1    # of each of the two queues\n\
     # app_memory = \"1GiB\"\n# db_memory = \"2GiB\"\n# replica = false\n\
     \n[setup]\n# company = \"Example Ltd\" # without it, the setup wizard is left to the first user\n# email = \"ann@example.com\"\n"
        .to_owned()
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, Surroundings};

    const HOST: &str = "host = \"h1\"\n[store]\nurl = \"file:///srv/lifeboat\"\n[platform]\nprojects_dir = \"/srv/erp\"\n\
        [platform.images]\napp = \"a\"\nmariadb = \"m\"\nredis = \"r\"\n\
        [platform.proxy]\nnetwork = \"proxy\"\nresolver = \"le\"\nacme_file = \"/srv/acme.json\"\n";

    fn config(tenants: &[(&str, &str)]) -> Config {
        let mut files = vec![SourceFile::new("lifeboat.toml", HOST)];
        files.extend(
            tenants.iter().map(|(name, text)| SourceFile::new(format!("tenants/{name}.toml"), *text)),
        );
        let around = Surroundings { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
        Config::from_files(Path::new("/etc/lifeboat"), &files, &around).unwrap()
    }

    fn ordered(config: &Config, domain: Option<&str>, there: Option<&str>) -> Result<Order> {
        order(config, &"acme".parse().unwrap(), domain, there, None).map(|(_, order)| order)
    }

    #[test]
    fn a_new_tenants_file_protects_all_components_and_is_complete_the_second_time() {
        let first = ordered(&config(&[]), Some("acme.example"), None).unwrap();
        let text = first.file_text.unwrap();
        assert!(first.tenant.components().iter().all(|(_, part)| *part == Part::On(())), "{text}");
        assert_eq!(first.tenant.site, "acme.example");
        assert_eq!(first.tenant.roles.len(), 6);
        let second = ordered(&config(&[("acme", &text)]), None, Some(&text)).unwrap();
        assert_eq!(second.file_text, None);
    }

    #[test]
    fn what_an_operator_wrote_stays_and_what_lacks_is_added_behind_it() {
        let own = "# mine\ndomain = \"acme.example\"\n[certs]\nskip = \"elsewhere\"\n[size]\nworkers = 2\n";
        let order = ordered(&config(&[("acme", own)]), None, Some(own)).unwrap();
        let text = order.file_text.unwrap();
        assert!(
            text.starts_with(own) && text.contains("[database]") && !text.contains("acme_file"),
            "{text}"
        );
        assert_eq!(order.tenant.roles[&crate::config::Role::Frontend], ["acme-frontend", "acme-frontend-2"]);
    }

    #[test]
    fn a_tenant_of_somebody_else_or_of_another_domain_is_refused() {
        let foreign = "site = \"x\"\n";
        let refused =
            ordered(&config(&[("acme", foreign)]), Some("acme.example"), Some(foreign)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict);
        let own = "domain = \"acme.example\"\n";
        let moved = ordered(&config(&[("acme", own)]), Some("other.example"), Some(own)).unwrap_err();
        assert_eq!(moved.kind(), Kind::Conflict);
        assert_eq!(ordered(&config(&[]), None, None).unwrap_err().kind(), Kind::Usage);
    }
}
