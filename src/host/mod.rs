//! Where tenants live: the Docker daemon of this host.
//!
//! Owns how containers, volumes and networks are described, made again, run and removed, and how a command runs
//! inside a container. Knows nothing of what runs there: no database, no site, no snapshot.

mod condition;
mod create;
mod discover;
mod exec;
mod fault;
mod inspect;
mod life;
mod network;
mod paths;
mod pending;
mod reach;
mod run;
mod spec;
mod update;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::error::{Error, Kind, Result};

pub use condition::{Condition, Machine, Usage};
pub use discover::{Found, Project};
pub use exec::{Exec, ExecSpec, Exit, Input, Output, Ran};
pub use life::State;
pub use run::{Leftover, LeftoverKind, RunLabels};
pub use spec::{
    ContainerSpec, Endpoint, EnvVar, Healthcheck, Limits, LogSpec, Mount, MountKind, NetworkSpec, Published,
    Restart, Subnet, VolumeSpec,
};
pub use update::PinnedImage;

/// The longest a single answer of the daemon may take.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// A connection to the Docker daemon; clones share it.
#[derive(Clone)]
pub struct Docker {
    client: bollard::Docker,
    pending: pending::Pending,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Docker")
    }
}

impl Docker {
    /// Connects to the daemon that `DOCKER_HOST` names, else to the local socket, and agrees on a version.
    ///
    /// Fails with [`Kind::Host`] where no daemon answers, [`Kind::Denied`] where the socket may not be opened.
    pub async fn connect() -> Result<Docker> {
        Docker::connect_to(None).await
    }

    /// The same for the daemon at `host`, `unix:///…`, `tcp://…` or `http://…`; with none, as [`Docker::connect`].
    pub async fn connect_to(host: Option<&str>) -> Result<Docker> {
        let at = |e: Error| match host {
            Some(host) => e.in_context(host),
            None => e,
        };
        let connected = match host {
            Some(host) => bollard::Docker::connect_with_host(host),
            None => bollard::Docker::connect_with_local_defaults(),
        };
        let client = connected.map_err(|e| at(fault::unreachable(e.into())))?.with_timeout(CALL_LIMIT);
        let client = tokio::time::timeout(CALL_LIMIT, client.negotiate_version())
            .await
            .map_err(|e| at(fault::unreachable(e.into())))?
            .map_err(|e| at(fault::unreachable(e.into())))?;
        Ok(Docker { client, pending: pending::Pending::default() })
    }

    /// Returns the daemon's own version, such as `20.10.24`.
    pub async fn daemon_version(&self) -> Result<String> {
        let version = call("docker", self.client.version()).await?;
        Ok(version.version.unwrap_or_default())
    }
}

/// Waits for one answer of the daemon about `what`, at most [`CALL_LIMIT`].
async fn call<T>(
    what: impl fmt::Display,
    answer: impl Future<Output = std::result::Result<T, bollard::errors::Error>>,
) -> Result<T> {
    match tokio::time::timeout(CALL_LIMIT, answer).await {
        Ok(answer) => answer.map_err(|e| fault::of(e, what)),
        Err(_) => Err(Error::new(
            Kind::Timeout,
            format!("{what}: no answer from docker within {} s", CALL_LIMIT.as_secs()),
        )),
    }
}
