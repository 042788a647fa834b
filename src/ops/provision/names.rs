//! How all that is made for a tenant is called, in Docker and on the host.
//!
//! The names are those that `docker compose` would give a project of the tenant's name whose services have their own
//! `container_name`, so that both see the same containers, volumes and network.

use std::path::{Path, PathBuf};

use crate::config::Role;
use crate::id::TenantName;

/// The names of a tenant's things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    tenant: TenantName,
}

impl Names {
    /// Takes the tenant's name.
    pub fn of(tenant: &TenantName) -> Names {
        Names { tenant: tenant.clone() }
    }

    /// Returns the compose project.
    pub fn project(&self) -> &str {
        self.tenant.as_str()
    }

    /// Returns the network.
    pub fn network(&self) -> String {
        self.tenant.to_string()
    }

    /// Returns the container of a service, such as `db`.
    pub fn container(&self, service: &str) -> String {
        format!("{}-{service}", self.tenant)
    }

    /// Returns the service of the `n`th container of a role, from 1; the first has no number.
    pub fn service(&self, role: Role, n: u32) -> String {
        match n {
            0 | 1 => role.service().to_owned(),
            n => format!("{}-{n}", role.service()),
        }
    }

    /// Returns the `n`th container of a role, from 1.
    pub fn of_role(&self, role: Role, n: u32) -> String {
        self.container(&self.service(role, n))
    }

    /// Returns a volume, such as that of `sites`.
    pub fn volume(&self, part: &str) -> String {
        format!("{}_{part}", self.tenant)
    }
}

/// The tenant's folder on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Names the folder of a tenant below that of all projects.
    pub fn of(projects_dir: &Path, tenant: &TenantName) -> Folder {
        Folder { root: projects_dir.join(tenant.as_str()) }
    }

    /// Returns the folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder of secrets, 0700.
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// Returns the folder of what the tenant looks like.
    pub fn branding(&self) -> PathBuf {
        self.root.join("branding")
    }

    /// Returns the compose file.
    pub fn compose(&self) -> PathBuf {
        self.root.join("compose.yaml")
    }

    /// Returns the compose file's environment file.
    pub fn env(&self) -> PathBuf {
        self.root.join(".env")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_compose_would_give() {
        let names = Names::of(&"acme".parse().unwrap());
        assert_eq!(names.container("db"), "acme-db");
        assert_eq!(names.of_role(Role::QueueShort, 1), "acme-queue-short");
        assert_eq!(names.of_role(Role::Backend, 2), "acme-backend-2");
        assert_eq!(names.volume("sites"), "acme_sites");
    }
}
