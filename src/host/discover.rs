//! What runs here, by compose project.

use std::collections::BTreeMap;

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::{ContainerSpec, Docker, State, call};
use crate::error::Result;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const FOLDER: &str = "com.docker.compose.project.working_dir";
const FILES: &str = "com.docker.compose.project.config_files";

/// A compose project and its containers.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// Its name; empty for containers that belong to none.
    pub name: String,
    /// The folder it was started in, where compose says so.
    pub folder: Option<String>,
    /// Its compose files, where compose says so.
    pub files: Vec<String>,
    /// Its containers, by name.
    pub containers: Vec<Found>,
}

/// A container that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its compose service, or its name.
    pub service: String,
    /// Whether it runs.
    pub state: State,
    /// What it is.
    pub spec: ContainerSpec,
}

impl Docker {
    /// Lists all containers, running or not, by compose project; projects and containers sorted by name.
    pub async fn discover(&self) -> Result<Vec<Project>> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let mut projects: BTreeMap<String, Project> = BTreeMap::new();
        for summary in call("containers", self.client.list_containers(Some(options))).await? {
            let Some(id) = summary.id else { continue };
            // A container may go while the list is read.
            let (Some(spec), Some(state)) = (self.try_inspect(&id).await?, self.state(&id).await?) else {
                continue;
            };
            add(&mut projects, spec, state);
        }
        let mut projects: Vec<Project> = projects.into_values().collect();
        for project in &mut projects {
            project.containers.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        }
        Ok(projects)
    }
}

fn add(projects: &mut BTreeMap<String, Project>, spec: ContainerSpec, state: State) {
    let label = |name: &str| spec.labels.get(name).cloned();
    let name = label(PROJECT).unwrap_or_default();
    let project = projects.entry(name.clone()).or_default();
    project.name = name;
    if !project.name.is_empty() {
        project.folder = project.folder.take().or(label(FOLDER));
        if let (true, Some(files)) = (project.files.is_empty(), label(FILES)) {
            project.files = files.split(',').map(str::to_owned).collect();
        }
    }
    let service = label(SERVICE).unwrap_or_else(|| spec.name.clone());
    project.containers.push(Found { service, state, spec });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_meet_under_their_project_and_strays_under_none() {
        let mut projects = BTreeMap::new();
        let spec = |name: &str, labels: &[(&str, &str)]| ContainerSpec {
            name: name.into(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..ContainerSpec::default()
        };
        let byrne = [(PROJECT, "byrne"), (SERVICE, "db"), (FOLDER, "/srv/byrne"), (FILES, "/a.yml,/b.yml")];
        add(&mut projects, spec("byrne-db-1", &byrne), State::Healthy);
        add(&mut projects, spec("stray", &[]), State::Exited(1));
        assert_eq!(projects["byrne"].files, ["/a.yml", "/b.yml"]);
        assert_eq!(projects["byrne"].containers[0].service, "db");
        assert_eq!(projects[""].containers[0].service, "stray");
    }
}
