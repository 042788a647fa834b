//! Coverage: each container, volume and site on this host is protected by a tenant, excluded with a reason, or named.
//!
//! Also whether the store lies where the tenants do. What Lifeboat itself makes for a while does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Diagnosis, LIMIT, Question, Weight};
use crate::config::{Config, Excluded, SitesPlace, StoreAddress, Tenant};
use crate::error::counted;
use crate::host::{ContainerSpec, Docker, Mount, MountKind, Project};
use crate::ops::{discover, health, place};

/// Stands on what Lifeboat makes for a while.
const OWN_LABEL: &str = "lifeboat.run";

/// Looks at everything that runs or ran here.
pub(super) async fn look(d: &mut Diagnosis, config: &Config, docker: &Docker) {
    let looking = async { Ok::<_, crate::error::Error>((docker.discover().await?, docker.volumes().await?)) };
    let (projects, volumes) = match tokio::time::timeout(LIMIT, looking).await {
        Ok(Ok(found)) => found,
        Ok(Err(e)) => {
            return d.say(Question::Covered, Weight::Bad, format!("what runs here is not known: {e}"));
        }
        Err(_) => {
            return d.say(
                Question::Covered,
                Weight::Bad,
                "what runs here is not known: docker does not list it",
            );
        }
    };
    let there: Vec<&ContainerSpec> =
        projects.iter().flat_map(|p| &p.containers).map(|c| &c.spec).filter(|s| is_foreign(s)).collect();
    let mut tally = Tally::new(&config.machine.excluded);
    containers(&mut tally, config, &there);
    of_volumes(&mut tally, config, &there, &volumes);
    sites(&mut tally, config, docker, &projects).await;
    tally.tell(d);
    store(d, config, docker, &there).await;
}

fn is_foreign(spec: &ContainerSpec) -> bool {
    !spec.labels.contains_key(OWN_LABEL)
}

/// What was found, kind by kind.
struct Tally<'a> {
    excluded: &'a [Excluded],
    protected: BTreeMap<&'static str, usize>,
    spared: BTreeMap<String, Vec<String>>,
    bare: Vec<String>,
}

impl<'a> Tally<'a> {
    fn new(excluded: &'a [Excluded]) -> Self {
        Tally { excluded, protected: BTreeMap::new(), spared: BTreeMap::new(), bare: Vec::new() }
    }

    /// Counts one thing; `names` are those by which it can be excluded, the first its own.
    fn count(
        &mut self,
        kind: &'static str,
        names: &[&str],
        by: Option<&Tenant>,
        bare: impl FnOnce() -> String,
    ) {
        if by.is_some() {
            *self.protected.entry(kind).or_default() += 1;
            return;
        }
        let own = names.first().copied().unwrap_or_default();
        match self.excluded.iter().find(|e| names.iter().any(|name| e.means(name))) {
            Some(why) => self.spared.entry(why.reason.clone()).or_default().push(format!("{kind} {own}")),
            None => self.bare.push(bare()),
        }
    }

    fn tell(self, d: &mut Diagnosis) {
        for said in &self.bare {
            d.say(Question::Covered, Weight::Bad, said.clone());
        }
        if !self.protected.is_empty() {
            let parts: Vec<String> = self.protected.iter().map(|(kind, n)| counted(*n, kind)).collect();
            d.say(Question::Covered, Weight::Good, format!("{} belong to a tenant", parts.join(", ")));
        }
        for (reason, names) in &self.spared {
            d.say(
                Question::Covered,
                Weight::Good,
                format!("not protected, by [coverage]: {} ({reason})", names.join(", ")),
            );
        }
    }
}

const REMEDY: &str = "name it in a tenant's file, or in [coverage] exclude with a reason";

fn containers(tally: &mut Tally<'_>, config: &Config, there: &[&ContainerSpec]) {
    for spec in there {
        let owner = config.tenants().find(|t| health::containers_of(t).contains(&spec.name));
        tally.count("container", &[&spec.name], owner, || {
            format!("not protected: container {} ({}) belongs to no tenant; {REMEDY}", spec.name, spec.image)
        });
    }
}

fn of_volumes(tally: &mut Tally<'_>, config: &Config, there: &[&ContainerSpec], volumes: &[String]) {
    for volume in volumes {
        let users: Vec<(&ContainerSpec, &Mount)> = there
            .iter()
            .flat_map(|s| s.mounts.iter().map(move |m| (*s, m)))
            .filter(|(_, m)| m.kind == MountKind::Volume && m.source == *volume)
            .collect();
        // That of a drill or another copy made for a while.
        let own = users.is_empty() && volume.starts_with("lifeboat-");
        if own {
            continue;
        }
        let owner = config.tenants().find(|t| users.iter().any(|(spec, mount)| dumps(t, spec, mount)));
        let places: Vec<String> = users.iter().map(|(s, m)| format!("{}:{}", s.name, m.target)).collect();
        let mut names: Vec<&str> = vec![volume];
        names.extend(places.iter().map(String::as_str));
        tally.count("volume", &names, owner, || {
            let used = match places.first() {
                Some(place) => format!("mounted at {place}"),
                None => "no container mounts it".to_owned(),
            };
            format!("not protected: volume {volume} ({used}) is in no tenant's backup; {REMEDY}")
        });
    }
}

/// Tells whether a tenant's backup takes what lies in a mount.
fn dumps(tenant: &Tenant, spec: &ContainerSpec, mount: &Mount) -> bool {
    // A server and the one that follows it hold the same.
    let database = tenant.database_servers().is_some_and(|s| s.all().any(|name| *name == spec.name));
    let redis = [tenant.redis_cache.on(), tenant.redis_queue.on()];
    let redis = redis.into_iter().flatten().any(|r| r.container == spec.name);
    let files = tenant.files.on().is_some_and(|f| match &f.sites {
        SitesPlace::Container { container, path } => {
            *container == spec.name && spec.mount_of(path).is_some_and(|m| m.target == mount.target)
        }
        SitesPlace::Host { .. } => false,
    });
    // A server's image has one place for its data; what else is mounted there is configuration.
    database || redis || files
}

async fn sites(tally: &mut Tally<'_>, config: &Config, docker: &Docker, projects: &[Project]) {
    let mut seen = BTreeSet::new();
    for project in projects {
        let looking = discover::sites(docker, project);
        let Ok(names) = tokio::time::timeout(LIMIT, looking).await else { continue };
        for name in names.into_iter().filter(|n| seen.insert((project.name.clone(), n.clone()))) {
            let owner = config.tenants().find(|t| t.site == name && t.files.on().is_some());
            tally.count("site", &[&name], owner, || {
                format!(
                    "not protected: site {name} of project {} belongs to no tenant; {REMEDY}",
                    project.name
                )
            });
        }
    }
}

/// Tells whether the store would be lost with the tenants.
async fn store(d: &mut Diagnosis, config: &Config, docker: &Docker, there: &[&ContainerSpec]) {
    let kept = place::of_store(&config.machine.store);
    let StoreAddress::Local { path } = &config.machine.store.address else {
        if kept.is_here() {
            let said = format!(
                "the server of store {} is on this host: what destroys the host may take the backups along",
                kept.address
            );
            d.say(Question::Covered, Weight::Look, said);
        }
        return;
    };
    let tenants: BTreeSet<String> = config.tenants().flat_map(health::containers_of).collect();
    let mut folders: Vec<(String, PathBuf)> = Vec::new();
    for spec in there.iter().filter(|s| tenants.contains(&s.name)) {
        if let Ok(Some(condition)) = docker.condition(&spec.name).await {
            folders.extend(condition.folders.into_iter().map(|f| (spec.name.clone(), f)));
        }
    }
    for tenant in config.tenants() {
        if let Some(SitesPlace::Host { path }) = tenant.files.on().map(|f| &f.sites) {
            folders.push((format!("tenant {}", tenant.name), path.clone()));
        }
    }
    let same = folders.iter().find(|(_, folder)| on_one_disk(path, folder));
    match same {
        Some((whose, folder)) => d.say(
            Question::Covered,
            Weight::Bad,
            format!(
                "the store {} lies on the disk of the tenants ({whose} has {} there): one broken disk takes both; \
                 use another disk, or better another machine",
                path.display(),
                folder.display()
            ),
        ),
        None => d.say(
            Question::Covered,
            Weight::Look,
            format!("the store {} is a folder on this host: what destroys the host takes the backups along", path.display()),
        ),
    }
}

fn on_one_disk(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let disk = |p: &Path| std::fs::metadata(p).ok().map(|m| m.dev());
    disk(a).is_some_and(|one| disk(b) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_protects_is_named_unless_it_is_excluded_with_a_reason() {
        let excluded = [Excluded { name: "mon-*".into(), reason: "metrics only".into() }];
        let mut tally = Tally::new(&excluded);
        for (kind, name) in [("container", "mon-grafana"), ("volume", "byrne-db"), ("volume", "other")] {
            tally.count(kind, &[name], None, || format!("{kind} {name} is bare"));
        }
        let mut d = Diagnosis::default();
        tally.tell(&mut d);
        let bad: Vec<&str> =
            d.findings.iter().filter(|f| f.weight == Weight::Bad).map(|f| f.said.as_str()).collect();
        assert_eq!(bad, ["volume byrne-db is bare", "volume other is bare"]);
        assert!(d.findings.iter().any(|f| f.said.contains("container mon-grafana (metrics only)")));
    }
}
