//! `[platform]` of the host file: what new tenants are made of.
//!
//! Owns the shape of what all tenants of a host share when they are provisioned: images, proxy, name server, single
//! sign-on, looks. A section that is absent means that the step is skipped. Knows nothing of how steps are done.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::branding::{self, Branding};
use super::check::{Checker, absolute, container, http_url, not_empty};
use super::domain::domain;
use super::places::own_folder;
use super::raw;
use super::secret::SecretRef;
use super::setup::{self, Setup};
use super::units::some_time;
use crate::error::{Error, Kind, Result};

/// What new tenants are made of.
#[derive(Debug, Clone)]
pub struct Platform {
    /// The folder that holds one folder a tenant: its compose file, secrets and branding.
    pub projects_dir: PathBuf,
    /// Where the bench lies in the app's containers.
    pub bench_dir: String,
    /// The apps that a new site gets, in their order.
    pub apps: Vec<String>,
    /// What its containers run.
    pub images: Images,
    /// The proxy before all tenants.
    pub proxy: Option<Proxy>,
    /// The name server.
    pub dns: Option<Dns>,
    /// Single sign-on.
    pub sso: Option<Sso>,
    /// How a tenant looks, where its own file says nothing else.
    pub branding: Option<Branding>,
    /// What the setup wizard is told, where a tenant's own file says nothing else.
    pub setup: Setup,
}

/// The images of a tenant's containers, by tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// The app's, in the manner of `frappe/erpnext`.
    pub app: String,
    /// The database's.
    pub mariadb: String,
    /// That of both Redis.
    pub redis: String,
}

/// A Traefik that finds its routes in the labels of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The Docker network in which it reaches the tenants' frontends.
    pub network: String,
    /// Its entrypoint for TLS.
    pub entrypoint: String,
    /// Its certificate resolver; none where certificates are given as files.
    pub resolver: Option<String>,
    /// The folder on this host from which its file provider reads.
    pub dynamic_dir: Option<PathBuf>,
    /// Its `acme.json` on this host.
    pub acme_file: Option<PathBuf>,
    /// The folder of given certificates: `DOMAIN.crt` and `DOMAIN.key`.
    pub given_dir: Option<PathBuf>,
}

/// A CoreDNS that serves zones from files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// The folder of its zone files, named `db.ZONE`.
    pub zones_dir: PathBuf,
    /// The zone that holds the tenants' names; none where each domain is a zone of its own.
    pub zone: Option<String>,
    /// Where it answers.
    pub server: SocketAddr,
    /// The address to which the tenants' names lead.
    pub address: IpAddr,
    /// How long others may keep an answer.
    pub ttl: Duration,
}

/// An Authentik.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sso {
    /// Its address, without a slash at the end.
    pub url: String,
    /// Where the token of its API is kept.
    pub token: SecretRef,
    /// The groups whose members may log in; all where there is none.
    pub groups: Vec<String>,
}

/// Checks `[platform]`; none where a key without a default lacks or is faulty.
pub(super) fn check(raw: &raw::Platform, c: &mut Checker<'_>) -> Option<Platform> {
    let hint = "write projects_dir = \"/srv/erp\"";
    let projects_dir = c.require("platform.projects_dir", &raw.projects_dir, hint, own_folder);
    let bench_dir = c.parse("platform.bench_dir", &raw.bench_dir, absolute);
    let apps = match raw.apps {
        None => vec!["erpnext".to_owned()],
        Some(_) => c.parse_all("platform.apps", &raw.apps, app),
    };
    let images = images(&raw.images, c);
    let proxy = raw.proxy.as_ref().map(|p| proxy(p, c));
    let dns = raw.dns.as_ref().map(|d| dns(d, c));
    let sso = raw.sso.as_ref().map(|s| sso(s, c));
    let written = [&raw.country, &raw.language, &raw.timezone, &raw.currency];
    let setup = setup::of_host(written, c);
    let branding = raw.branding.as_ref().map(|b| looks(b, c));
    Some(Platform {
        projects_dir: projects_dir?,
        bench_dir: bench_dir.map_or_else(default_bench, |p| p.to_string_lossy().into_owned()),
        apps,
        images: images?,
        proxy: sound(proxy)?,
        dns: sound(dns)?,
        sso: sound(sso)?,
        branding,
        setup,
    })
}

/// Turns a section that is there but faulty into nothing at all.
fn sound<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(None) => None,
        Some(some) => Some(some),
        None => Some(None),
    }
}

fn looks(raw: &raw::Branding, c: &mut Checker<'_>) -> Branding {
    if let Some(skip) = &raw.skip {
        let error = Error::new(Kind::Config, "means nothing for all tenants").hint("leave the section out");
        c.fault(Some(&skip.span()), "platform.branding.skip", &error);
    }
    branding::looks("platform.branding", raw, c)
}

fn default_bench() -> String {
    super::BENCH_SITES.trim_end_matches("/sites").to_owned()
}

fn images(raw: &raw::Images, c: &mut Checker<'_>) -> Option<Images> {
    let mut one = |key: &str, text: &raw::Text, example: &str| {
        let hint = format!("write {key} = \"{example}\"");
        c.require(&format!("platform.images.{key}"), text, &hint, image)
    };
    let app = one("app", &raw.app, "frappe/erpnext:v15.99.1");
    let mariadb = one("mariadb", &raw.mariadb, "mariadb:10.11");
    let redis = one("redis", &raw.redis, "redis:7.2");
    Some(Images { app: app?, mariadb: mariadb?, redis: redis? })
}

fn proxy(raw: &raw::Proxy, c: &mut Checker<'_>) -> Option<Proxy> {
    let hint = "write network = \"proxy\", the Docker network that it shares with the tenants";
    let network = c.require("platform.proxy.network", &raw.network, hint, container);
    let entrypoint = c.parse("platform.proxy.entrypoint", &raw.entrypoint, word);
    let resolver = c.parse("platform.proxy.resolver", &raw.resolver, word);
    let dynamic_dir = c.parse("platform.proxy.dynamic_dir", &raw.dynamic_dir, absolute);
    let acme_file = c.parse("platform.proxy.acme_file", &raw.acme_file, absolute);
    let given_dir = c.parse("platform.proxy.given_dir", &raw.given_dir, absolute);
    // Only now, so that one fault hides no other.
    let network = network?;
    let entrypoint = entrypoint.unwrap_or_else(|| "websecure".to_owned());
    Some(Proxy { network, entrypoint, resolver, dynamic_dir, acme_file, given_dir })
}

fn dns(raw: &raw::Dns, c: &mut Checker<'_>) -> Option<Dns> {
    let hint = "write zones_dir = \"/srv/coredns/zones\"";
    let zones_dir = c.require("platform.dns.zones_dir", &raw.zones_dir, hint, absolute);
    let zone = c.parse("platform.dns.zone", &raw.zone, domain);
    let server = c.parse("platform.dns.server", &raw.server, |t| {
        let wrong = || Error::new(Kind::Config, format!("{t:?} is not an address with a port"));
        t.parse().map_err(|_| wrong().hint("write 127.0.0.1:53"))
    });
    let hint = "write address = \"203.0.113.7\", where the tenants' names lead";
    let address = c.require("platform.dns.address", &raw.address, hint, |t| {
        t.parse().map_err(|_| Error::new(Kind::Config, format!("{t:?} is not an IP address")))
    });
    let ttl = c.parse("platform.dns.ttl", &raw.ttl, some_time);
    Some(Dns {
        zones_dir: zones_dir?,
        zone,
        server: server.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 53))),
        address: address?,
        ttl: ttl.unwrap_or(Duration::from_secs(3600)),
    })
}

fn sso(raw: &raw::Sso, c: &mut Checker<'_>) -> Option<Sso> {
    let hint = "write url = \"https://sso.example.com\"";
    let url = c.require("platform.sso.url", &raw.url, hint, http_url);
    let token = c.secret("platform.sso.token", &raw.token, &raw.token_file);
    if raw.token.is_none() && raw.token_file.is_none() {
        let hint = "write token_file = \"/path\": the token of its API";
        c.fault(None, "platform.sso.token_file", &Error::new(Kind::Config, "missing").hint(hint));
    }
    let groups = c.parse_all("platform.sso.groups", &raw.groups, not_empty);
    Some(Sso { url: url?.trim_end_matches('/').to_owned(), token: token?, groups })
}

/// Accepts the name of an app, which is that of a Python package.
fn app(text: &str) -> Result<String> {
    let good = text.starts_with(|ch: char| ch.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !good {
        return Err(Error::new(Kind::Config, format!("{text:?} is not an app's name")).hint("write erpnext"));
    }
    Ok(text.to_owned())
}

/// Accepts the name of an image: by tag, by digest or by id.
fn image(text: &str) -> Result<String> {
    let good = text.starts_with(|ch: char| ch.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b));
    if !good {
        return Err(Error::new(Kind::Config, format!("{text:?} is not an image's name"))
            .hint("write name:tag, or name@sha256:… to pin it"));
    }
    Ok(text.to_owned())
}

/// Accepts a name that stands in the proxy's labels as it is.
fn word(text: &str) -> Result<String> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    if !good {
        return Err(
            Error::new(Kind::Config, format!("{text:?} is not a name")).hint("use letters, digits, _ and -")
        );
    }
    Ok(text.to_owned())
}
