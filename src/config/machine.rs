//! `lifeboat.toml`: this host, its store, its operators and its service.
//!
//! Owns the checked shape of the host file and its defaults, but for the store. Knows nothing of tenants and policies.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::check::{Checker, absolute, not_empty, one_of};
use super::coverage::{self, Excluded};
use super::places::own_folder;
use super::platform::{self, Platform};
use super::raw;
use super::secret::{SecretRef, SecretUrl};
use super::store::{self, Credentials, StoreAddress, StoreConfig};
use super::units::{Size, size, some_time};
use crate::error::{Error, Kind, Result};
use crate::id::{HostName, Sha256};

/// This host, as checked.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The name under which it writes to the repository.
    pub host: HostName,
    /// Where journal, caches, spool and keys of this host lie.
    pub state_dir: PathBuf,
    /// Where snapshots go.
    pub store: StoreConfig,
    /// The hash of `lifeboat.json`; none before `init` wrote it.
    pub pin: Option<Sha256>,
    /// The age recipients of operators with a key of their own; those that `init` made are known to the state folder.
    pub operators: Vec<String>,
    /// How much sealed data may wait for the store on disk.
    pub spool_size: Size,
    /// How long a component waits for room there before it fails.
    pub spool_wait: Duration,
    /// How much sealed data a restore may keep on disk.
    pub restore_cache_size: Size,
    /// Where drills run.
    pub drills: DrillPlace,
    /// How it prunes.
    pub prune: Prune,
    /// The second store, where there is one.
    pub copy: Option<CopyTo>,
    /// Whom to tell.
    pub notify: Notify,
    /// Where the service answers; always a loopback address.
    pub listen: SocketAddr,
    /// Where the metrics alone are answered too, for a Prometheus that is not on this host.
    pub metrics: Option<MetricsDoor>,
    /// How many tenants are worked on at once, at least 1.
    pub concurrency: usize,
    /// What of this host needs no backup.
    pub excluded: Vec<Excluded>,
    /// The Docker socket, `unix:///…` or `http://…`; none for Docker's own default.
    pub docker_host: Option<String>,
    /// What new tenants are made of; none where nothing is provisioned here.
    pub platform: Option<Platform>,
}

/// An address at which only metrics are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsDoor {
    /// The address.
    pub listen: SocketAddr,
    /// What whoever asks must present as bearer token; there is one unless the address is a loopback address.
    pub token: Option<SecretRef>,
}

/// Where drills run, and so who can read backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrillPlace {
    /// On this host, unattended: it holds an identity that can read backups.
    Here {
        /// The drill identity's file; none for the one that `init` made.
        identity_file: Option<PathBuf>,
    },
    /// On another machine.
    Elsewhere,
    /// On this host, each unlocked by an operator.
    Unlocked,
    /// As `init` was answered.
    AsInitSaid,
}

/// The second store, and when it is written.
#[derive(Debug, Clone)]
pub struct CopyTo {
    /// Where and how.
    pub store: StoreConfig,
    /// Whether the service copies a tenant after each of its backups.
    pub after_backup: bool,
}

/// How this host prunes; whether it may stands in its certificate.
#[derive(Debug, Clone, Default)]
pub struct Prune {
    /// The store's credential that may delete; none for that of `[store]`.
    pub credentials: Option<Credentials>,
    /// Whether the service prunes a tenant after each of its backups.
    pub after_backup: bool,
}

/// Whom to tell of failures, and who listens for life.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    /// Gets a JSON document by POST for each failure.
    pub webhook: Option<SecretUrl>,
    /// Is run for each failure, the JSON document on its standard input; empty for none.
    pub command: Vec<String>,
    /// A dead-man's switch in the manner of Healthchecks: this for success, `/start` and `/fail` below it.
    pub ping: Option<SecretUrl>,
    /// Pinged at a start, instead of `ping`.
    pub ping_start: Option<SecretUrl>,
    /// Pinged at success, instead of `ping`.
    pub ping_success: Option<SecretUrl>,
    /// Pinged at failure, instead of `ping`.
    pub ping_failure: Option<SecretUrl>,
}

impl Machine {
    /// Returns the folder of sealed packs that wait for the store.
    pub fn spool_dir(&self) -> PathBuf {
        self.state_dir.join("spool")
    }

    /// Returns the folder of sealed packs that a restore keeps.
    pub fn restore_cache_dir(&self) -> PathBuf {
        self.state_dir.join("restore")
    }
}

/// Checks the host file; none where something without a default lacks.
pub(super) fn check(raw: &raw::Host, hostname: &str, c: &mut Checker<'_>) -> Option<Machine> {
    let host = host_name(&raw.host, hostname, c);
    let store = store::check(&raw.store, c);
    let operators = operators(&raw.operators, c);
    Some(Machine {
        state_dir: c
            .parse("state_dir", &raw.state_dir, own_folder)
            .unwrap_or_else(|| "/var/lib/lifeboat".into()),
        pin: c.parse("repository.pin", &raw.repository.pin, |t| t.parse()),
        spool_size: c.parse("spool.size", &raw.spool.size, at_least_one_pack).unwrap_or(Size(4 << 30)),
        spool_wait: c.parse("spool.wait", &raw.spool.wait, some_time).unwrap_or(Duration::from_secs(15 * 60)),
        restore_cache_size: c
            .parse("restore.cache", &raw.restore.cache, at_least_one_pack)
            .unwrap_or(Size(2 << 30)),
        drills: drills(&raw.drills, c),
        prune: prune(&raw.prune, store.as_ref(), c),
        copy: raw.copy.as_ref().and_then(|raw| {
            let (store, after_backup) = store::check_copy(raw, store.as_ref(), c)?;
            Some(CopyTo { store, after_backup })
        }),
        notify: notify(&raw.notify, c),
        listen: c
            .parse("service.listen", &raw.service.listen, loopback)
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8470))),
        metrics: metrics_door(&raw.service, c),
        concurrency: c.number("service.concurrency", &raw.service.concurrency, 1..65, 2) as usize,
        excluded: coverage::check(&raw.coverage, c),
        docker_host: c.parse("docker.host", &raw.docker.host, docker_host),
        platform: raw.platform.as_ref().and_then(|raw| platform::check(raw, c)),
        host: host?,
        store: store?,
        operators,
    })
}

fn host_name(text: &raw::Text, hostname: &str, c: &mut Checker<'_>) -> Option<HostName> {
    if text.is_some() {
        return c.parse("host", text, str::parse);
    }
    let name = from_hostname(hostname);
    if name.is_none() {
        let error = Error::new(Kind::Config, "missing, and this machine's own name is none that can be used")
            .hint("write host = \"h1\"");
        c.fault(None, "host", &error);
    }
    name
}

/// Makes a host name of what the machine calls itself: its first label, in lowercase, other signs as `-`.
fn from_hostname(hostname: &str) -> Option<HostName> {
    let label = hostname.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
    let spelled: String = label.chars().map(|ch| if ch.is_ascii_alphanumeric() { ch } else { '-' }).collect();
    let cut: String = spelled.trim_matches('-').chars().take(40).collect();
    cut.trim_matches('-').parse().ok()
}

fn operators(raw: &raw::Operators, c: &mut Checker<'_>) -> Vec<String> {
    let recipients = c.parse_all("operators.recipients", &raw.recipients, recipient);
    // Left out, the operators are those that `init` made; an empty list is a mistake.
    if raw.recipients.as_ref().is_some_and(Vec::is_empty) {
        let error = Error::new(Kind::Config, "an empty list: nobody could read the backups")
            .hint("leave it out to use the operator that `lifeboat init` makes, or write [\"age1…\"]");
        c.fault(None, "operators.recipients", &error);
    }
    recipients
}

fn recipient(text: &str) -> Result<String> {
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY") {
        return Err(Error::new(Kind::Config, "a secret identity, which may never be on this host")
            .hint("write its recipient, age1…; treat this identity as known and make a new one"));
    }
    text.parse::<age::x25519::Recipient>().map(|r| r.to_string()).map_err(|_| {
        Error::new(Kind::Config, "not an age recipient")
            .hint("it starts with age1; `age-keygen -y` prints it")
    })
}

/// A pack may have 64 MiB; less room than some of them would stop all work.
fn at_least_one_pack(text: &str) -> Result<Size> {
    let size = size(text)?;
    if size.0 < 256 << 20 {
        return Err(Error::new(Kind::Config, format!("{size} is too small")).hint("give it at least 256MiB"));
    }
    Ok(size)
}

fn drills(raw: &raw::Drills, c: &mut Checker<'_>) -> DrillPlace {
    let words = [("here", 0), ("elsewhere", 1), ("unlocked", 2)];
    let place = c.parse("drills.run", &raw.run, |t| one_of(t, &words));
    let identity_file = c.secret_file("drills.identity_file", &raw.identity_file);
    if identity_file.is_some() && place != Some(0) {
        let span = raw.identity_file.as_ref().map(serde_spanned::Spanned::span);
        let error = Error::new(Kind::Config, "an identity that can read backups, and nothing here uses it")
            .hint("write drills.run = \"here\", or take the file away from this host");
        c.fault(span.as_ref(), "drills.identity_file", &error);
    }
    match place {
        Some(0) => DrillPlace::Here { identity_file },
        Some(1) => DrillPlace::Elsewhere,
        Some(_) => DrillPlace::Unlocked,
        None => DrillPlace::AsInitSaid,
    }
}

fn prune(raw: &raw::Prune, store: Option<&StoreConfig>, c: &mut Checker<'_>) -> Prune {
    let written = [&raw.access_key, &raw.access_key_file, &raw.secret_key, &raw.secret_key_file];
    let credentials = store::credentials("prune", written, c);
    if let (Some(text), Some(StoreAddress::Local { .. })) =
        (written.into_iter().flatten().next(), store.map(|s| &s.address))
    {
        let error = Error::new(Kind::Config, "a credential means nothing for a file:// store");
        c.fault(Some(&text.span()), "prune", &error);
    }
    let after_backup = raw.after_backup.as_ref().is_some_and(|b| *b.get_ref());
    Prune { credentials, after_backup }
}

fn notify(raw: &raw::Notify, c: &mut Checker<'_>) -> Notify {
    let command = c.parse_all("notify.command", &raw.command, not_empty);
    if let Some(program) = raw.command.as_ref().and_then(|list| list.first())
        && let Err(error) = absolute(program.get_ref())
    {
        c.fault(Some(&program.span()), "notify.command", &error);
    }
    Notify {
        webhook: c.secret_url("notify.webhook", &raw.webhook, &raw.webhook_file),
        command,
        ping: c.secret_url("notify.ping", &raw.ping, &raw.ping_file),
        ping_start: c.secret_url("notify.ping_start", &raw.ping_start, &None),
        ping_success: c.secret_url("notify.ping_success", &raw.ping_success, &None),
        ping_failure: c.secret_url("notify.ping_failure", &raw.ping_failure, &None),
    }
}

fn loopback(text: &str) -> Result<SocketAddr> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| Error::new(Kind::Config, format!("{text:?} is not an address with a port")))
        .map_err(|e| e.hint("write 127.0.0.1:8470"))?;
    if !address.ip().is_loopback() {
        return Err(Error::new(
            Kind::Config,
            format!("{text:?} is reachable from outside, without any login"),
        )
        .hint("write 127.0.0.1:8470 and put a proxy with a login before it"));
    }
    Ok(address)
}

fn metrics_door(raw: &raw::Service, c: &mut Checker<'_>) -> Option<MetricsDoor> {
    let token = c.secret("service.metrics_token", &raw.metrics_token, &raw.metrics_token_file);
    let listen = c.parse("service.metrics", &raw.metrics, |text| {
        text.parse::<SocketAddr>().map_err(|_| {
            Error::new(Kind::Config, format!("{text:?} is not an address with a port"))
                .hint("write 0.0.0.0:9470, or an address of this host that Prometheus reaches")
        })
    })?;
    if token.is_none() && !listen.ip().is_loopback() {
        let place = raw.metrics.as_ref().map(serde_spanned::Spanned::span);
        let error = Error::new(
            Kind::Config,
            format!("{listen} is reachable from outside, and nobody is asked who he is"),
        )
        .hint("write metrics_token_file = \"/path\"; Prometheus presents the same file as credentials_file");
        c.fault(place.as_ref(), "service.metrics", &error);
    }
    Some(MetricsDoor { listen, token })
}

fn docker_host(text: &str) -> Result<String> {
    let known = ["unix:///", "http://", "tcp://"].iter().any(|scheme| text.starts_with(scheme));
    if !known {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a Docker host"))
            .hint("write unix:///var/run/docker.sock"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_name_becomes_a_valid_host_name() {
        for (given, made) in [("h1\n", "h1"), ("Web_01.example.com", "web-01"), ("--x--", "x")] {
            assert_eq!(from_hostname(given).unwrap().as_str(), made);
        }
        assert_eq!(from_hostname(&"x".repeat(60)).unwrap().as_str().len(), 40);
        assert!(from_hostname("").is_none());
        assert!(from_hostname("…").is_none());
    }

    #[test]
    fn the_service_never_listens_on_an_outside_address() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("[::1]:8470").is_ok());
        assert!(loopback("0.0.0.0:8470").is_err());
        assert!(loopback("8470").is_err());
    }
}
