//! `serve`, `discover` and `config check`.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Call, DONE};
use crate::cli::args::{DiscoverArgs, ServeArgs};
use crate::cli::render::{Rendered, print_out};
use crate::config::{Config, SecretRef};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::ops::state::State;
use crate::ops::{appliance, discover};
use crate::service::unlocked::Door;
use crate::service::verbs::Verbs;
use crate::service::{Clock, Desk, Patience, Service, SystemClock};

/// A configuration without faults.
#[derive(Debug, Serialize)]
struct GoodConfig {
    tenants: Vec<String>,
    policies: Vec<String>,
    warnings: Vec<String>,
}

pub(super) fn config_check(call: &Call<'_>) -> Result<u8> {
    let config = call.config()?;
    let good = GoodConfig {
        tenants: config.tenants().map(|t| t.name.to_string()).collect(),
        policies: config.policies().map(|p| p.name.clone()).collect(),
        warnings: config.warnings().iter().map(ToString::to_string).collect(),
    };
    Ok(call.done(&good))
}

impl Rendered for GoodConfig {
    fn text(&self) -> String {
        let names = match self.tenants.is_empty() {
            true => String::new(),
            false => format!(" ({})", self.tenants.join(", ")),
        };
        let mut text = format!(
            "The configuration is good: {}{names}, {}.\n",
            counted(self.tenants.len(), "tenant"),
            counted(self.policies.len(), "policy")
        );
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct FoundTenant {
    project: String,
    file: String,
}

impl Rendered for FoundTenant {
    fn text(&self) -> String {
        format!("{}\n", self.file)
    }
}

pub(super) async fn discover(call: &Call<'_>, args: &DiscoverArgs) -> Result<u8> {
    // It comes before there is a configuration that is good.
    let host = call.config().ok().and_then(|config| config.machine.docker_host);
    let found = discover::discover(host.as_deref(), args.project.as_deref()).await?;
    if found.is_empty() {
        let which = args.project.as_ref().map_or("with".to_owned(), |name| format!("{name}, with"));
        return Err(Error::new(
            Kind::NotFound,
            format!("Docker has no compose project {which} a MariaDB here"),
        )
        .hint("containers of a tenant are found by their compose labels; see docs/configuration.md"));
    }
    for tenant in found {
        call.output.result(&FoundTenant { project: tenant.project, file: tenant.file });
    }
    Ok(DONE)
}

pub(super) async fn serve(call: &Call<'_>, args: &ServeArgs) -> Result<u8> {
    let mut config = call.config()?;
    config.machine.drills =
        appliance::drill_place(&config.machine, &State::open(&config.machine.state_dir)?)?;
    let config = Arc::new(config);
    let address = match &args.listen {
        Some(text) => {
            text.parse().context(Kind::Usage, format_args!("{text:?} is not an address with a port"))?
        }
        None => config.machine.listen,
    };
    let address: SocketAddr = address;
    if !address.ip().is_loopback() {
        return Err(Error::new(
            Kind::Usage,
            format!("{address} is reachable from outside, without any login"),
        )
        .hint("listen on 127.0.0.1 and put a proxy with a login before it"));
    }
    let clock = Arc::new(SystemClock::start().await?);
    let verbs = Arc::new(Verbs::new(Arc::clone(&config), Arc::clone(&clock)));
    let service =
        Service::open(Arc::clone(&config), Arc::clone(&clock), Arc::clone(&verbs), Patience::default())?
            .rereading();
    let listener = listen(address).await?;
    let metrics = open_metrics_door(call, &config, &service.desk(), &clock).await?;
    let bound = listener.local_addr().context(Kind::Io, "the service's address")?;
    if !call.cli.quiet {
        let tenants = counted(config.tenants().count(), "tenant");
        print_out(&format!("lifeboat serves {tenants}; http://{bound}/health\n"));
    }
    let door = Door::open(&config.machine.state_dir, verbs.unlocked())?;
    let stop = call.stop.clone();
    let door = tokio::spawn(door.serve(Arc::clone(&clock), async move { stop.cancelled().await }));
    let router = crate::web::router(service.desk(), Arc::clone(&clock));
    let stop = call.stop.clone();
    let web = tokio::spawn(crate::web::serve(listener, router, async move { stop.cancelled().await }));
    service.run(call.stop.cancelled()).await?;
    call.stop.cancel();
    verbs.finish().await;
    web.await.context(Kind::Bug, "the web service's task")??;
    metrics.await.context(Kind::Bug, "the task of the door for metrics")??;
    door.await.context(Kind::Bug, "the unlock socket's task")?;
    tracing::info!(now = %clock.now(), "stopped");
    Ok(DONE)
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.context(Kind::Io, format_args!("cannot listen on {address}"))
}

/// Answers metrics at the configured address too, where there is one, until the service stops.
async fn open_metrics_door<C: Clock>(
    call: &Call<'_>,
    config: &Config,
    desk: &Arc<Desk>,
    clock: &Arc<C>,
) -> Result<JoinHandle<Result<()>>> {
    let Some(door) = &config.machine.metrics else { return Ok(tokio::spawn(async { Ok(()) })) };
    let token = door.token.as_ref().map(SecretRef::resolve).transpose()?;
    let listener = listen(door.listen).await?;
    let bound = listener.local_addr().context(Kind::Io, "the address of the door for metrics")?;
    if !call.cli.quiet {
        print_out(&format!("metrics for Prometheus: http://{bound}/metrics\n"));
    }
    let router = crate::web::metrics_router(Arc::clone(desk), Arc::clone(clock), token.as_ref());
    let stop = call.stop.clone();
    Ok(tokio::spawn(crate::web::serve(listener, router, async move { stop.cancelled().await })))
}
