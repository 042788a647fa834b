//! `discover`: proposes a tenant file for each compose project that looks like an ERPNext tenant.

use crate::error::Result;
use crate::host::{ContainerSpec, Docker, Project};

/// A proposed tenant.
#[derive(Debug)]
pub struct Proposal {
    /// The compose project.
    pub project: String,
    /// The text of its tenant file.
    pub file: String,
}

/// Looks at the compose projects of the Docker daemon at `host`, or at the default one; with `only`, at one.
pub async fn discover(host: Option<&str>, only: Option<&str>) -> Result<Vec<Proposal>> {
    let docker = Docker::connect_to(host).await?;
    let projects = docker.discover().await?;
    let mut proposals = Vec::new();
    for project in projects.iter().filter(|p| !p.name.is_empty() && only.is_none_or(|o| o == p.name)) {
        let sites = sites(&docker, project).await;
        proposals.extend(proposal(project, &sites));
    }
    Ok(proposals)
}

/// Returns the names of the sites in a project's bench, as far as this host may look.
///
/// None where it may not, or where there is none yet: a proposal is read by a person before it counts.
pub(super) async fn sites(docker: &Docker, project: &Project) -> Vec<String> {
    for container in &project.containers {
        let Some(path) = sites_target(&container.spec) else { continue };
        let Ok(folder) = docker.host_path_of(&container.spec.name, &path).await else { continue };
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let is_site = |e: &std::fs::DirEntry| e.path().join("site_config.json").is_file();
        let names = entries.flatten().filter(is_site).filter_map(|e| e.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        return names;
    }
    Vec::new()
}

/// Returns the line that names the site, and what there is to say about it.
fn site_line(project: &Project, sites: &[String]) -> String {
    match sites {
        [site] => format!("site = {}\n", quoted(site)),
        [site, others @ ..] => format!(
            "site = {}  # this bench also has {}: each is a tenant with a file of its own\n",
            quoted(site),
            others.join(", ")
        ),
        [] => format!(
            "site = {}  # check: the name of the site's folder below sites/\n",
            quoted(site_of(project).as_deref().unwrap_or("erp.example.com"))
        ),
    }
}

/// Proposes a file for a project that has a MariaDB.
fn proposal(project: &Project, sites: &[String]) -> Option<Proposal> {
    let find = |test: &dyn Fn(&str, &ContainerSpec) -> bool| {
        project.containers.iter().find(|c| test(&c.service, &c.spec)).map(|c| c.spec.name.clone())
    };
    let database = find(&|service, spec| is_database(service, spec))?;
    let cache = find(&|service, spec| is_redis(service, spec) && service.contains("cache"));
    let queue = find(&|service, spec| is_redis(service, spec) && service.contains("queue"));
    let app = project.containers.iter().find(|c| sites_target(&c.spec).is_some());
    let mut file = format!(
        "# Proposed by `lifeboat discover` for compose project {}.\npolicy = \"nightly\"\n{}\n[database]\n\
         container = {}\n",
        project.name,
        site_line(project, sites),
        quoted(&database)
    );
    for (section, container) in [("redis_cache", cache), ("redis_queue", queue)] {
        match container {
            Some(name) => file.push_str(&format!("\n[{section}]\ncontainer = {}\n", quoted(&name))),
            None => file.push_str(&format!("\n# [{section}]: no such container was found in this project\n")),
        }
    }
    match app.and_then(|c| sites_target(&c.spec).map(|path| (c.spec.name.clone(), path))) {
        Some((name, path)) => file.push_str(&format!(
            "\n[files]\ncontainer = {}\npath = {}\n\n[app]\ncontainers = [{}]\n",
            quoted(&name),
            quoted(&path),
            quoted(&name)
        )),
        None => file.push_str("\n# [files]: no container mounts a folder named sites; give its path\n"),
    }
    file.push_str("\n[config]\n");
    if !project.files.is_empty() {
        let files: Vec<String> = project.files.iter().map(|f| quoted(f)).collect();
        file.push_str(&format!("compose = [{}]\n", files.join(", ")));
    }
    file.push_str("\n# [certs]\n# paths = [\"/etc/letsencrypt/live/erp.example.com\"]\n");
    Some(Proposal { project: project.name.clone(), file })
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn is_database(service: &str, spec: &ContainerSpec) -> bool {
    let named = spec.image.contains("mariadb") || service == "db" || service.contains("mariadb");
    named
        && (spec.env("MARIADB_ROOT_PASSWORD").is_some()
            || spec.env("MYSQL_ROOT_PASSWORD").is_some()
            || spec.env("MARIADB_ROOT_PASSWORD_FILE").is_some()
            || spec.env("MYSQL_ROOT_PASSWORD_FILE").is_some()
            || spec.image.contains("mariadb"))
}

fn is_redis(service: &str, spec: &ContainerSpec) -> bool {
    spec.image.contains("redis") || spec.image.contains("valkey") || service.contains("redis")
}

/// Returns where a container has the bench's `sites` folder mounted.
fn sites_target(spec: &ContainerSpec) -> Option<String> {
    spec.mounts.iter().map(|m| &m.target).find(|t| t.ends_with("/sites")).cloned()
}

/// Guesses the site from Traefik's rule or the header that `frappe_docker` sets.
fn site_of(project: &Project) -> Option<String> {
    project.containers.iter().find_map(|c| {
        let header = c.spec.env("FRAPPE_SITE_NAME_HEADER").filter(|v| !v.starts_with('$')).map(str::to_owned);
        let rule = c.spec.labels.iter().find(|(k, _)| k.ends_with(".rule")).and_then(|(_, rule)| {
            rule.split_once("Host(`")?.1.split_once('`').map(|(host, _)| host.to_owned())
        });
        header.or(rule)
    })
}
