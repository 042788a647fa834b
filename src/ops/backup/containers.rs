//! A tenant's containers as specifications, and how to log in to them.

use std::collections::BTreeMap;

use crate::component::{mariadb, redis};
use crate::config::{Login, Tenant};
use crate::error::Result;
use crate::host::{ContainerSpec, Docker};

/// Returns how to log in to a tenant's MariaDB.
pub fn credentials(login: &Login) -> Result<mariadb::Credentials> {
    Ok(match login {
        Login::OfContainer => mariadb::Credentials::Container,
        Login::Password { user, password } => mariadb::Credentials::User {
            user: user.clone().unwrap_or_else(|| "root".to_owned()),
            password: password.resolve()?,
        },
    })
}

/// Returns how to log in to a tenant's Redis.
pub fn redis_credentials(login: &Login) -> Result<redis::Credentials> {
    Ok(match login {
        Login::OfContainer => redis::Credentials::Container,
        Login::Password { user, password } => {
            redis::Credentials::User { user: user.clone(), password: password.resolve()? }
        }
    })
}

/// Returns all containers of a tenant as JSON by name, those of its application, and what could not be read.
pub async fn of_tenant(
    tenant: &Tenant,
    docker: Option<&Docker>,
) -> (BTreeMap<String, serde_json::Value>, Vec<ContainerSpec>, Vec<String>) {
    let mut named = BTreeMap::new();
    let mut apps = Vec::new();
    let mut warnings = Vec::new();
    let Some(docker) = docker else {
        warnings.push("Docker cannot be reached: the containers are not described".to_owned());
        return (named, apps, warnings);
    };
    let servers = tenant.database_servers();
    let databases = servers.iter().flat_map(|s| s.all());
    let caches =
        [tenant.redis_cache.on(), tenant.redis_queue.on()].into_iter().flatten().map(|r| &r.container);
    for name in databases.into_iter().chain(caches).chain(&tenant.app_containers) {
        match docker.inspect(name).await {
            Ok(spec) => {
                // Strings, numbers and maps with string keys always have a JSON form.
                named.insert(name.clone(), serde_json::to_value(&spec).unwrap_or_default());
                if tenant.app_containers.contains(name) {
                    apps.push(spec);
                }
            }
            Err(e) => warnings.push(format!("container {name} is not described: {e}")),
        }
    }
    (named, apps, warnings)
}
