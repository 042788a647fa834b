//! The proof that nothing leaves a drill's network: canaries knock where they must not be heard.
//!
//! Two are tried, and nothing else is ever contacted: a listener of our own on this host, bound to all its addresses, and
//! the tenant as it lives. A canary that fails proves nothing unless the same one succeeds where it may: from an ordinary
//! network of ours to the listener, from this host to the tenant. Else the check is skipped.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::config::Role;
use crate::error::{Context, Error, Kind, Result};
use crate::host::{ContainerSpec, Docker, ExecSpec};
use crate::ops::appliance::Appliance;

use super::Request;
use super::bench::Bench;
use super::checks::Findings;
use super::report::Attempt;

/// How long a canary knocks.
const KNOCK_LIMIT: Duration = Duration::from_secs(5);

/// How long Docker may take to run one.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Knocks at `$1:$2`, says that it got there, and reads a line.
const KNOCK: &str =
    "exec 3<>\"/dev/tcp/$1/$2\" && printf 'open ' && { IFS= read -r -t 2 line <&3; printf '%s' \"$line\"; }";

/// Ports on which the tenant's containers answer, by their role.
const FRONTEND_PORT: u16 = 8080;
const BACKEND_PORT: u16 = 8000;
const REDIS_PORT: u16 = 6379;

/// How a canary fared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Knock {
    /// It got through, and read this.
    Through(String),
    /// It did not.
    Barred,
    /// It could not be tried, and why.
    Untried(String),
}

/// Tries to leave the drill's network from a container of the application's image.
///
/// Returns what the image told where the application may be booted: nothing got out, as far as could be tried.
pub(super) async fn prove(
    appliance: &Appliance,
    request: &Request,
    bench: &Bench,
    image: &ContainerSpec,
    findings: &mut Findings,
) -> Result<Option<Isolated>> {
    let clock = Instant::now();
    let ordinary = bench.ordinary_network().await?;
    let inside = bench.canary("canary", image, bench.network());
    let outside = bench.canary("canary-outside", image, &ordinary);
    for canary in [&inside, &outside] {
        bench.docker.create(canary).await?;
        bench.docker.start(&canary.name).await?;
    }
    appliance.around.monitor.step("drill: prove isolation");
    let canaries = Canaries { docker: &bench.docker, inside: &inside.name, outside: &outside.name };
    let host = canaries.host(bench.network(), &ordinary, findings).await?;
    let live = canaries.live_tenant(appliance, request, findings).await?;
    let user = user(&bench.docker, &inside.name).await?;
    for canary in [&inside, &outside] {
        bench.docker.remove_with_volumes(&canary.name).await?;
    }
    findings.proof_since("prove isolation", clock);
    Ok((host && live).then_some(Isolated { user }))
}

/// A network that nothing got out of.
#[derive(Debug)]
pub(super) struct Isolated {
    /// User and group by number, as whom the image's bench runs; none where it did not say.
    pub user: Option<(u32, u32)>,
}

/// Asks a container as whom the bench of its image runs.
async fn user(docker: &Docker, container: &str) -> Result<Option<(u32, u32)>> {
    let script = "id -u frappe 2>/dev/null && id -g frappe || { id -u; id -g; }";
    let ran = docker.run(container, ExecSpec::new(["bash", "-c", script]), b"", 4096, RUN_LIMIT).await?;
    let said = String::from_utf8_lossy(&ran.stdout);
    let mut numbers = said.lines().map(|line| line.trim().parse::<u32>());
    Ok(match (numbers.next(), numbers.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Some((user, group)),
        _ => None,
    })
}

struct Canaries<'a> {
    docker: &'a Docker,
    inside: &'a str,
    outside: &'a str,
}

impl Canaries<'_> {
    /// Knocks at a listener of ours, through the addresses that networks of Docker have on their host.
    async fn host(&self, isolated: &str, ordinary: &str, findings: &mut Findings) -> Result<bool> {
        let name = "isolation: host";
        let listener = Listener::start().await?;
        let own = gateway(self.docker, isolated).await?;
        let other = gateway(self.docker, ordinary).await?;
        let control = self.knock(self.outside, other, listener.port).await?;
        let control = heard(control, &listener.word);
        note(findings, "ordinary network", "this host", other, listener.port, &control);
        for address in [own, other] {
            let tried = heard(self.knock(self.inside, address, listener.port).await?, &listener.word);
            note(findings, "drill's network", "this host", address, listener.port, &tried);
            match tried {
                Knock::Through(_) => {
                    let seen = format!(
                        "the drill's network is not isolated: a container in it reached this host at {address}"
                    );
                    findings.failed(name, seen);
                    return Ok(false);
                }
                Knock::Untried(why) => {
                    findings.skipped(name, format!("no canary could be sent: {why}"));
                    return Ok(true);
                }
                Knock::Barred => {}
            }
        }
        match control {
            Knock::Through(_) => findings.passed(
                name,
                format!("from the drill's network {own} and {other} do not answer; from an ordinary one {other} does"),
            ),
            Knock::Barred => findings.skipped(
                name,
                format!("from an ordinary network this host does not answer at {other} either, so nothing is shown"),
            ),
            Knock::Untried(why) => findings.skipped(name, format!("no canary could be sent: {why}")),
        }
        Ok(true)
    }

    /// Knocks at the living tenant, if it runs here.
    async fn live_tenant(
        &self,
        appliance: &Appliance,
        request: &Request,
        findings: &mut Findings,
    ) -> Result<bool> {
        let name = "isolation: live tenant";
        let Some((container, address)) = self.living(appliance, request).await? else {
            findings.skipped(name, "the living tenant answers nowhere on this host");
            return Ok(true);
        };
        let to = format!("living tenant ({container})");
        note(findings, "this host", &to, address.ip(), address.port(), &Knock::Through(String::new()));
        let tried = self.knock(self.inside, address.ip(), address.port()).await?;
        note(findings, "drill's network", &to, address.ip(), address.port(), &tried);
        match tried {
            Knock::Through(_) => {
                let seen = format!(
                    "the drill's network is not isolated: a container in it reached {container} at {address}"
                );
                findings.failed(name, seen);
                Ok(false)
            }
            Knock::Barred => {
                findings.passed(
                    name,
                    format!("{container} does not answer from the drill's network, and does from this host"),
                );
                Ok(true)
            }
            Knock::Untried(why) => {
                findings.skipped(name, format!("no canary could be sent: {why}"));
                Ok(true)
            }
        }
    }

    /// Returns a container of the living tenant that answers this host: its application's, else its queue's.
    ///
    /// Not its database's: a server counts who connects and says nothing, and bars them after some times.
    async fn living(&self, appliance: &Appliance, request: &Request) -> Result<Option<(String, SocketAddr)>> {
        for (container, port) in answering(appliance, request) {
            for address in self.docker.addresses(&container).await? {
                let address = SocketAddr::new(address, port);
                let connected = tokio::time::timeout(KNOCK_LIMIT, TcpStream::connect(address)).await;
                if matches!(connected, Ok(Ok(_))) {
                    return Ok(Some((container, address)));
                }
            }
        }
        Ok(None)
    }

    async fn knock(&self, from: &str, address: IpAddr, port: u16) -> Result<Knock> {
        let argv = ["bash", "-c", KNOCK, "canary", &address.to_string(), &port.to_string()];
        let spec = ExecSpec::new(argv).ended_after(KNOCK_LIMIT);
        let ran = self.docker.run(from, spec, b"", 4096, RUN_LIMIT).await?;
        let said = String::from_utf8_lossy(&ran.stdout);
        Ok(match (said.strip_prefix("open "), ran.exit.code) {
            (Some(word), _) => Knock::Through(word.trim().to_owned()),
            (None, 126 | 127) => Knock::Untried("the image has no bash or no timeout".to_owned()),
            (None, _) => Knock::Barred,
        })
    }
}

/// Returns the containers of a tenant that say nothing bad of whoever connects and leaves, with their ports.
fn answering(appliance: &Appliance, request: &Request) -> Vec<(String, u16)> {
    let Ok(tenant) = appliance.config.tenant(&request.tenant) else { return Vec::new() };
    let mut all = Vec::new();
    for (role, port) in [(Role::Frontend, FRONTEND_PORT), (Role::Backend, BACKEND_PORT)] {
        all.extend(tenant.roles.get(&role).into_iter().flatten().map(|name| (name.clone(), port)));
    }
    for redis in [tenant.redis_queue.on(), tenant.redis_cache.on()].into_iter().flatten() {
        all.push((redis.container.clone(), REDIS_PORT));
    }
    all
}

/// A canary that got somewhere else than to our listener was not heard.
fn heard(knock: Knock, word: &str) -> Knock {
    match knock {
        Knock::Through(read) if read != word => Knock::Barred,
        other => other,
    }
}

fn note(findings: &mut Findings, from: &str, to: &str, address: IpAddr, port: u16, knock: &Knock) {
    let reached = matches!(knock, Knock::Through(_));
    let to = format!("{to} at {}", SocketAddr::new(address, port));
    findings.attempts.push(Attempt { from: from.to_owned(), to, reached });
}

/// Returns the address that the bridge of a network has, or would have, on this host.
async fn gateway(docker: &Docker, network: &str) -> Result<IpAddr> {
    let unknown = || Error::new(Kind::Host, format!("network {network}: Docker does not say its addresses"));
    let spec = docker.try_inspect_network(network).await?.ok_or_else(unknown)?;
    let found = spec.subnets.iter().find_map(|s| match &s.gateway {
        Some(gateway) => gateway.split('/').next()?.parse().ok(),
        None => first_of(&s.subnet),
    });
    found.ok_or_else(unknown)
}

/// Returns the first address of a range, which is the bridge's where nothing else is said.
fn first_of(subnet: &str) -> Option<IpAddr> {
    let base: Ipv4Addr = subnet.split('/').next()?.parse().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(u32::from(base).checked_add(1)?)))
}

/// A listener on all addresses of this host that says one word to whoever comes.
struct Listener {
    port: u16,
    word: String,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    async fn start() -> Result<Listener> {
        let about = "listener for the canaries";
        let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.context(Kind::Host, about)?;
        let port = socket.local_addr().context(Kind::Host, about)?.port();
        let word = hex::encode(rand::random::<[u8; 8]>());
        let said = format!("{word}\n");
        let task = tokio::spawn(async move {
            while let Ok((mut guest, _)) = socket.accept().await {
                guest.write_all(said.as_bytes()).await.ok();
            }
        });
        Ok(Listener { port, word, task })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listeners_own_word_counts_as_heard() {
        assert_eq!(heard(Knock::Through("w".into()), "w"), Knock::Through("w".into()));
        assert_eq!(heard(Knock::Through("220 mail".into()), "w"), Knock::Barred);
        assert_eq!(heard(Knock::Barred, "w"), Knock::Barred);
    }

    #[test]
    fn the_bridge_has_the_first_address_of_its_range() {
        assert_eq!(first_of("172.20.0.0/16"), Some("172.20.0.1".parse().unwrap()));
        assert_eq!(first_of("fd00::/64"), None);
    }
}
