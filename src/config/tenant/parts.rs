//! The sections of a tenant's components, one function each.
//!
//! Owns which keys a component needs. Knows nothing of how sections relate to each other.

use super::super::check::{Checker, absolute, container, not_empty};
use super::super::raw::{self, Text};
use super::{BENCH_SITES, Certs, ConfigFiles, Database, Files, Login, Redis, SitesPlace, is_system_schema};
use crate::error::{Error, Kind, Result};

const CONTAINER_HINT: &str = "write container = \"name\", or skip = \"reason\"";

pub(super) fn database(raw: &raw::Database, c: &mut Checker<'_>) -> Option<Database> {
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

pub(super) fn redis(key: &str, raw: &raw::Redis, c: &mut Checker<'_>) -> Option<Redis> {
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

pub(super) fn files(raw: &raw::Files, c: &mut Checker<'_>) -> Option<Files> {
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

pub(super) fn config_files(raw: &raw::Configs, c: &mut Checker<'_>) -> Option<ConfigFiles> {
    Some(ConfigFiles {
        paths: c.parse_all("config.paths", &raw.paths, absolute),
        compose: c.parse_all("config.compose", &raw.compose, absolute),
        env: c.parse_all("config.env", &raw.env, absolute),
        traefik: c.parse_all("config.traefik", &raw.traefik, absolute),
        dns: c.parse_all("config.dns", &raw.dns, absolute),
    })
}

pub(super) fn certs(raw: &raw::Certs, name: Option<&str>, c: &mut Checker<'_>) -> Option<Certs> {
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
        domains.extend(name.map(str::to_owned));
    }
    Some(Certs { paths, acme_file, domains })
}
