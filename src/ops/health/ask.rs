//! Which versions a tenant's servers are of, for `doctor`.

use std::time::Duration;

use crate::component::{mariadb, redis};
use crate::config::Tenant;
use crate::host::Docker;
use crate::ops::backup;

use super::pace::within;

/// What a tenant's servers say they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// Each as `mariadb 10.11.19`.
    pub known: Vec<String>,
    /// Of whom it is not known, and why.
    pub unknown: Vec<String>,
}

/// Asks a tenant's servers for their versions, each for at most `limit`.
pub async fn versions_of(docker: &Docker, tenant: &Tenant, limit: Duration) -> Versions {
    let mut versions = Versions::default();
    if let Some(part) = tenant.database.on() {
        let asked = within(limit, "mariadb", async {
            let credentials = backup::credentials(&part.login)?;
            let container = part.container.clone();
            let server = mariadb::Server { docker: docker.clone(), container, credentials };
            mariadb::vitals(&server, None, limit, limit).await
        });
        match asked.await {
            Ok(vitals) => versions.known.push(format!("mariadb {}", vitals.version)),
            Err(e) => versions.unknown.push(format!("mariadb of unknown version ({e})")),
        }
    }
    for (name, part) in [("redis-cache", tenant.redis_cache.on()), ("redis-queue", tenant.redis_queue.on())] {
        let Some(part) = part else { continue };
        let asked = within(limit, name, async {
            let credentials = backup::redis_credentials(&part.login)?;
            redis::vitals(docker, &part.container, &credentials, limit).await
        });
        match asked.await {
            Ok(vitals) => {
                versions.known.push(format!("{name} {}", vitals.text("redis_version").unwrap_or("unknown")));
            }
            Err(e) => versions.unknown.push(format!("{name} of unknown version ({e})")),
        }
    }
    versions
}
