//! Starting, stopping, renaming and removing containers.

use std::time::Duration;

use bollard::models::{ContainerState, ContainerStateStatusEnum, HealthStatusEnum};
use bollard::query_parameters::{
    InspectContainerOptions, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    RenameContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use tokio::time::{Instant, sleep};

use super::{Docker, call, fault};
use crate::error::{Error, Kind, Result};

/// The longest a container may take to stop before it is killed; below the limit of one call.
const STOP_LIMIT_S: i32 = 90;

/// How long a container may stay that somebody else removes.
const GOING_LIMIT: Duration = Duration::from_secs(60);
const GOING_PAUSE: Duration = Duration::from_millis(200);

/// Whether a container runs, and how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs and has no healthcheck.
    Running,
    /// It runs; its healthcheck has not succeeded yet.
    Starting,
    /// It runs and its healthcheck succeeds.
    Healthy,
    /// It runs and its healthcheck fails.
    Unhealthy,
    /// It is paused.
    Paused,
    /// It is made and was never started.
    Created,
    /// It has ended, with this exit code.
    Exited(i64),
}

impl State {
    /// Tells whether commands can run in it.
    pub fn is_running(self) -> bool {
        matches!(self, State::Running | State::Starting | State::Healthy | State::Unhealthy)
    }
}

/// Reads the daemon's words for a state.
pub(super) fn state_of(state: &ContainerState) -> State {
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) => match state.health.as_ref().and_then(|h| h.status) {
            Some(HealthStatusEnum::HEALTHY) => State::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => State::Unhealthy,
            Some(HealthStatusEnum::STARTING) => State::Starting,
            _ => State::Running,
        },
        Some(ContainerStateStatusEnum::PAUSED) => State::Paused,
        Some(ContainerStateStatusEnum::CREATED) => State::Created,
        _ => State::Exited(state.exit_code.unwrap_or_default()),
    }
}

impl Docker {
    /// Returns a container's state, or nothing where there is no such container.
    pub async fn state(&self, container: &str) -> Result<Option<State>> {
        let answer = match self.client.inspect_container(container, None::<InspectContainerOptions>).await {
            Ok(answer) => answer,
            Err(e) if fault::is_missing(&e) => return Ok(None),
            Err(e) => return Err(fault::of(e, format_args!("container {container}"))),
        };
        Ok(Some(state_of(&answer.state.unwrap_or_default())))
    }

    /// Starts a container; one that runs already is left as it is.
    pub async fn start(&self, container: &str) -> Result<()> {
        let started = self.client.start_container(container, None::<StartContainerOptions>);
        call(format!("container {container}"), started).await
    }

    /// Stops a container, by force after `grace` (at most 90 s); one that has ended is left as it is.
    pub async fn stop(&self, container: &str, grace: Duration) -> Result<()> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(STOP_LIMIT_S).min(STOP_LIMIT_S);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let (client, name) = (self.client.clone(), container.to_owned());
        // A stop that was cut off would end a container that was started again meanwhile.
        let stopping = async move {
            call(format!("container {name}"), client.stop_container(&name, Some(options))).await
        };
        self.to_its_end(stopping).await
    }

    /// Waits until a container is healthy, or runs where it has no healthcheck.
    ///
    /// Fails with [`Kind::Host`] as soon as it has exited, with [`Kind::Timeout`] after `limit`.
    pub async fn wait_healthy(&self, container: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let state = self.state(container).await?;
            match state {
                Some(State::Running | State::Healthy) => return Ok(()),
                Some(State::Exited(code)) => {
                    return Err(Error::new(
                        Kind::Host,
                        format!("container {container} exited with code {code} instead of starting"),
                    )
                    .hint(format!("`docker logs {container}` says why")));
                }
                None => return Err(Error::new(Kind::Host, format!("container {container} does not exist"))),
                Some(State::Starting | State::Unhealthy | State::Paused | State::Created) => {}
            }
            if Instant::now() > deadline {
                return Err(Error::new(
                    Kind::Timeout,
                    format!("container {container} is not healthy after {} s", limit.as_secs()),
                )
                .hint(format!("`docker inspect {container}` shows what its healthcheck says")));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Gives a container another name; its volumes and networks stay.
    pub async fn rename(&self, container: &str, name: &str) -> Result<()> {
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        call(format!("container {container}"), self.client.rename_container(container, options)).await
    }

    /// Removes a container, running or not, and leaves all its volumes; one that is not there counts as removed.
    pub async fn remove(&self, container: &str) -> Result<()> {
        self.remove_container(container, false).await
    }

    /// Removes a container that Lifeboat made, with its anonymous volumes, whose data is lost.
    pub async fn remove_with_volumes(&self, container: &str) -> Result<()> {
        self.remove_container(container, true).await
    }

    async fn remove_container(&self, container: &str, volumes: bool) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(volumes).build();
        match self.client.remove_container(container, Some(options)).await {
            Err(e) if fault::is_going(&e) => self.wait_gone(container).await,
            Err(e) if !fault::is_missing(&e) => Err(fault::of(e, format_args!("container {container}"))),
            _ => Ok(()),
        }
    }

    /// Waits until a container is gone that somebody else removes.
    async fn wait_gone(&self, container: &str) -> Result<()> {
        let deadline = Instant::now() + GOING_LIMIT;
        while self.state(container).await?.is_some() {
            if Instant::now() > deadline {
                let what = format!("container {container} is being removed, and is still there");
                return Err(Error::new(Kind::Timeout, what));
            }
            sleep(GOING_PAUSE).await;
        }
        Ok(())
    }

    /// Removes a volume that no container uses; one that is not there counts as removed.
    pub async fn remove_volume(&self, volume: &str) -> Result<()> {
        match self.client.remove_volume(volume, None::<RemoveVolumeOptions>).await {
            Err(e) if !fault::is_missing(&e) => Err(fault::of(e, format_args!("volume {volume}"))),
            _ => Ok(()),
        }
    }

    /// Removes a network that no container is in; one that is not there counts as removed.
    pub async fn remove_network(&self, network: &str) -> Result<()> {
        match self.client.remove_network(network).await {
            Err(e) if !fault::is_missing(&e) => Err(fault::of(e, format_args!("network {network}"))),
            _ => Ok(()),
        }
    }
}
