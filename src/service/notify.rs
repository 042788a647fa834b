//! Whom to tell, and how, without ever waiting for them.
//!
//! Owns the webhook, the command and the dead-man's switch, each with a bounded queue and a task of its own: a
//! dead one loses its own notices, holds nobody up, and says so in the log. A notice is delivered once, and tried at
//! most twice. Knows nothing of why it is sent.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::run::{JobKind, Outcome, Run};
use crate::config::{Notify, SecretUrl};
use crate::error::{Context, Error, Kind, Result};
use crate::id::{HostName, TenantName};

/// How many notices may wait for one receiver.
const QUEUE: usize = 256;

/// How long deliveries may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// One try of a web request or command.
    pub timeout: Duration,
    /// The wait before the second and last try.
    pub pause: Duration,
    /// All that waits, when the service ends.
    pub farewell: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            timeout: Duration::from_secs(15),
            pause: Duration::from_secs(5),
            farewell: Duration::from_secs(5),
        }
    }
}

/// A document that tells of one run that was not good.
#[derive(Debug, Clone, Serialize)]
pub struct Notice {
    /// The version of this shape, 1.
    pub format: u32,
    /// Which host tells.
    pub host: HostName,
    /// One sentence for people.
    pub text: String,
    /// The run.
    #[serde(flatten)]
    pub run: Run,
}

impl Notice {
    /// Makes the notice of a run.
    pub fn of(host: &HostName, run: &Run) -> Self {
        let outcome = run.outcome.map_or("unfinished", Outcome::as_str);
        let reason = run.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        let text = format!(
            "{} of {} on {host}, planned for {}: {outcome}{reason}",
            run.kind, run.tenant, run.planned
        );
        Notice { format: 1, host: host.clone(), text, run: run.clone() }
    }
}

/// A sign of life for a dead-man's switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    /// A backup begins.
    Start,
    /// All is well.
    Success,
    /// It is not.
    Failure,
}

/// The receivers, each with its queue.
#[derive(Debug)]
pub struct Notifier {
    notices: Vec<(&'static str, mpsc::Sender<Arc<Notice>>)>,
    pings: Option<mpsc::Sender<(Ping, TenantName)>>,
    tasks: JoinSet<()>,
    patience: Patience,
}

impl Notifier {
    /// Starts a task for each receiver that is configured.
    pub fn start(to: &Notify, patience: Patience) -> Result<Self> {
        // Redirects are not followed: the document goes to the address that was configured, or nowhere.
        let web = reqwest::Client::builder()
            .timeout(patience.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
            .build()
            .context(Kind::Bug, "the web client of the notices")?;
        let mut notifier = Notifier { notices: Vec::new(), pings: None, tasks: JoinSet::new(), patience };
        if let Some(url) = to.webhook.clone() {
            let web = web.clone();
            notifier.receiver("webhook", move |notice| {
                let (web, url) = (web.clone(), url.clone());
                async move { post(&web, &url, &notice).await }
            });
        }
        if !to.command.is_empty() {
            let command = to.command.clone();
            notifier.receiver("command", move |notice| {
                let command = command.clone();
                async move { run(&command, &notice, patience.timeout).await }
            });
        }
        let pings = Addresses::of(to);
        if !pings.is_empty() {
            let (queue, waiting) = mpsc::channel(QUEUE);
            notifier.pings = Some(queue);
            notifier.tasks.spawn(deliver("ping", waiting, patience, move |(ping, tenant)| {
                let (web, pings) = (web.clone(), pings.clone());
                async move { pings.send(&web, ping, &tenant).await }
            }));
        }
        Ok(notifier)
    }

    fn receiver<F>(&mut self, name: &'static str, send: impl Fn(Arc<Notice>) -> F + Send + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(QUEUE);
        self.notices.push((name, queue));
        self.tasks.spawn(deliver(name, waiting, self.patience, send));
    }

    /// Queues the notice of a run; never waits.
    pub fn tell(&self, notice: Notice) {
        let notice = Arc::new(notice);
        for (name, queue) in &self.notices {
            if queue.try_send(notice.clone()).is_err() {
                tracing::error!(receiver = name, "too many notices wait for this receiver; one is dropped");
            }
        }
    }

    /// Queues a sign of life; never waits.
    pub fn ping(&self, ping: Ping, tenant: &TenantName) {
        if let Some(queue) = &self.pings
            && queue.try_send((ping, tenant.clone())).is_err()
        {
            tracing::error!(receiver = "ping", "too many signs of life wait; one is dropped");
        }
    }

    /// Delivers what waits, for as long as patience lasts.
    pub async fn finish(mut self) {
        self.notices.clear();
        self.pings = None;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.patience.farewell, all).await.is_err() {
            tracing::error!("some notices were not delivered before the end");
        }
    }
}

/// Sends what comes, one after the other, each at most twice.
async fn deliver<T: Clone, F: Future<Output = Result<()>>>(
    name: &'static str,
    mut waiting: mpsc::Receiver<T>,
    patience: Patience,
    send: impl Fn(T) -> F,
) {
    while let Some(item) = waiting.recv().await {
        let Err(first) = send(item.clone()).await else { continue };
        tracing::warn!(receiver = name, error = %first, "a notice was not delivered; it is tried once more");
        tokio::time::sleep(patience.pause).await;
        if let Err(second) = send(item).await {
            tracing::error!(receiver = name, error = %second, "a notice was not delivered");
        }
    }
}

async fn post(web: &reqwest::Client, url: &SecretUrl, notice: &Notice) -> Result<()> {
    let address = url.resolve()?;
    let answer = web.post(address.expose_secret()).json(notice).send().await;
    accepted(answer, url)
}

/// Reads the answer's status; neither the address nor the body appears in an error, for they may hold a token.
fn accepted(answer: reqwest::Result<reqwest::Response>, url: &SecretUrl) -> Result<()> {
    let status = answer.map_err(reqwest::Error::without_url).context(Kind::Io, url)?.status();
    if status.is_success() {
        return Ok(());
    }
    Err(Error::new(Kind::Io, format!("{url} answered {status}")))
}

/// Runs the command with the document on its standard input, in an environment without secrets.
async fn run(command: &[String], notice: &Notice, timeout: Duration) -> Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let document = serde_json::to_vec(notice).context(Kind::Bug, "a notice")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LIFEBOAT_TENANT", notice.run.tenant.as_str())
        .env("LIFEBOAT_JOB", notice.run.kind.as_str())
        .env("LIFEBOAT_OUTCOME", notice.run.outcome.map_or("unfinished", Outcome::as_str))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context(Kind::Io, format!("command {program}"))?;
    let fed = async {
        if let Some(mut input) = child.stdin.take() {
            // A command that does not read its input is no failure; its exit code says what it thinks.
            drop(input.write_all(&document).await);
        }
        child.wait().await
    };
    let status = tokio::time::timeout(timeout, fed)
        .await
        .map_err(|_| Error::new(Kind::Timeout, format!("command {program} ran longer than {timeout:?}")))?
        .context(Kind::Io, format!("command {program}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(Kind::Io, format!("command {program} ended with {status}")))
}

/// Where each sign of life goes.
#[derive(Clone)]
struct Addresses {
    base: Option<SecretUrl>,
    start: Option<SecretUrl>,
    success: Option<SecretUrl>,
    failure: Option<SecretUrl>,
}

impl Addresses {
    fn of(to: &Notify) -> Self {
        Addresses {
            base: to.ping.clone(),
            start: to.ping_start.clone(),
            success: to.ping_success.clone(),
            failure: to.ping_failure.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        [&self.base, &self.start, &self.success, &self.failure].iter().all(|url| url.is_none())
    }

    async fn send(&self, web: &reqwest::Client, ping: Ping, tenant: &TenantName) -> Result<()> {
        let (own, below) = match ping {
            Ping::Start => (&self.start, "/start"),
            Ping::Success => (&self.success, ""),
            Ping::Failure => (&self.failure, "/fail"),
        };
        let (url, below) = match (own, &self.base) {
            (Some(url), _) => (url, ""),
            (None, Some(url)) => (url, below),
            (None, None) => return Ok(()),
        };
        let address = address_of(&url.resolve()?, below, tenant);
        accepted(web.get(address.expose_secret()).send().await, url)
    }
}

/// Puts the tenant's name and the kind of ping into an address, before its query.
fn address_of(url: &SecretString, below: &str, tenant: &TenantName) -> SecretString {
    let url = url.expose_secret().replace("{tenant}", tenant.as_str());
    let (path, query) = url.split_once('?').map_or((url.as_str(), None), |(p, q)| (p, Some(q)));
    let mut address = format!("{}{below}", path.trim_end_matches('/'));
    if let Some(query) = query {
        address.push('?');
        address.push_str(query);
    }
    SecretString::from(address)
}

/// Returns what the switch of a host without `{tenant}` in its address hears after a run: success only while the
/// last run of every tenant was good.
pub(super) fn verdict(last_backups: impl IntoIterator<Item = Option<Outcome>>) -> Ping {
    let bad = last_backups.into_iter().flatten().any(Outcome::is_bad);
    if bad { Ping::Failure } else { Ping::Success }
}

/// Tells whether the run is one that switches listen to.
pub(super) fn is_pinged(kind: JobKind) -> bool {
    kind == JobKind::Backup
}

/// Tells whether each tenant has a switch of its own.
pub(super) fn switch_per_tenant(to: &Notify) -> bool {
    let urls = [&to.ping, &to.ping_success];
    let named = |url: &SecretUrl| url.resolve().is_ok_and(|u| u.expose_secret().contains("{tenant}"));
    urls.iter().any(|url| url.as_ref().is_some_and(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_ping_stands_below_the_path_and_before_the_query() {
        let tenant = "byrne".parse().unwrap();
        let made = |url: &str, below| {
            address_of(&SecretString::from(url), below, &tenant).expose_secret().to_owned()
        };
        assert_eq!(made("https://h/ping/{tenant}", "/fail"), "https://h/ping/byrne/fail");
        assert_eq!(made("https://h/ping/?rid=1", "/start"), "https://h/ping/start?rid=1");
        assert_eq!(made("https://h/ping", ""), "https://h/ping");
    }

    #[test]
    fn a_hosts_switch_hears_success_only_while_no_tenant_is_bad() {
        let ping = |outcomes: &[Option<Outcome>]| verdict(outcomes.iter().copied());
        assert_eq!(ping(&[Some(Outcome::Good), None, Some(Outcome::Held)]), Ping::Success);
        assert_eq!(ping(&[Some(Outcome::Good), Some(Outcome::Partial)]), Ping::Failure);
        assert_eq!(ping(&[Some(Outcome::Missed)]), Ping::Failure);
    }

    #[tokio::test]
    async fn a_commands_exit_code_is_read_and_its_environment_is_bare() {
        let run_of = |script: &str| ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let run_ = Run::new(
            "byrne".parse().unwrap(),
            JobKind::Backup,
            "2026-05-01T02:00:00Z".parse().unwrap(),
            super::super::run::Trigger::Scheduled,
        );
        let notice = Notice::of(&"h1".parse().unwrap(), &run_);
        let long = Duration::from_secs(60);
        run(&run_of("grep -q '\"tenant\":\"byrne\"' && test \"$LIFEBOAT_TENANT\" = byrne && test -z \"$HOME$CARGO\""), &notice, long)
            .await
            .unwrap();
        let failed = run(&run_of("exit 7"), &notice, long).await.unwrap_err();
        assert!(failed.to_string().contains("exit status: 7"), "{failed}");
        let hung = run(&run_of("sleep 600"), &notice, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(hung.kind(), Kind::Timeout);
    }
}
