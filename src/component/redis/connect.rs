//! Scripts and commands in the server's container.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::hints::Hints;
use super::{Credentials, Server};
use crate::error::{Context, Error, Kind, Result};
use crate::host::{Docker, Exec, ExecSpec, Exit};

const CONNECT: &str = include_str!("connect.sh");

/// Hands the rest of stdin to the client, one command a line.
const QUERY: &str = "cli\n";

/// The longest a short script of ours may take.
pub(super) const QUERY_LIMIT: Duration = Duration::from_secs(300);

/// How much longer than its caller waits a client may live.
const GRACE: Duration = Duration::from_secs(2);

/// The most that a short script of ours may answer.
const ANSWER_LIMIT_BYTES: usize = 16 * 1024 * 1024;

impl Server {
    /// Finds out how to log in to the server of a container, which need not run yet.
    pub(super) async fn of(docker: &Docker, container: &str, credentials: &Credentials) -> Result<Server> {
        let spec = docker.inspect(container).await?;
        let hints = Hints::of(spec.entrypoint.iter().chain(&spec.command));
        let (mode, user, password) = match credentials {
            Credentials::Container => ("container", "", hints.password.as_str()),
            Credentials::User { user, password } => {
                ("given", user.as_deref().unwrap_or_default(), password.expose_secret())
            }
        };
        let conf = hints.conf_in(&spec.working_dir);
        let lines = [mode, user, password, &hints.port, &conf];
        let login = Zeroizing::new(lines.join("\n") + "\n");
        let server = Server { docker: docker.clone(), container: container.to_owned(), login };
        if lines.iter().any(|l| l.contains(['\n', '\0'])) {
            return Err(Error::new(Kind::Config, format!("{server}: a login may not hold a line feed")));
        }
        Ok(server)
    }

    /// Starts a script that connects, with its secrets given; what follows on its stdin is its own.
    pub(super) async fn exec<S: Into<String>>(
        &self,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Exec> {
        let mut exec = self.docker.exec(&self.container, spec(script, arguments)).await?;
        exec.input.write_all(self.login.as_bytes()).await.context(Kind::Host, self)?;
        exec.input.flush().await.context(Kind::Host, self)?;
        Ok(exec)
    }

    /// Runs a short script that connects, to its end, which must be good, and returns its output.
    pub(super) async fn run<S: Into<String>>(
        &self,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
        stdin: &str,
        limit: Duration,
    ) -> Result<String> {
        let lines = Zeroizing::new(format!("{}{stdin}", self.login.as_str()));
        let ran = self
            .docker
            .run(&self.container, spec(script, arguments), lines.as_bytes(), ANSWER_LIMIT_BYTES, limit)
            .await?;
        if ran.exit.code != 0 {
            return Err(self.fault(&ran.exit));
        }
        // Only names of keys could be something else than UTF-8; those are left out where they are read.
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Runs commands, one a line, in one connection, and returns all that the client prints.
    pub(super) async fn query(&self, commands: &str) -> Result<String> {
        self.run::<&str>(QUERY, [], commands, QUERY_LIMIT).await
    }

    /// Runs commands as [`Server::query`] does, on a server that may hang: the client inside the container ends by itself
    /// after `limit`.
    pub(super) async fn query_within(&self, commands: &str, limit: Duration) -> Result<String> {
        let lines = Zeroizing::new(format!("{}{commands}", self.login.as_str()));
        // The caller's own limit comes first, so that it is told as such.
        let spec = spec::<&str>(QUERY, []).ended_after(limit + GRACE);
        let limit = limit + GRACE * 2;
        let ran = self.docker.run(&self.container, spec, lines.as_bytes(), ANSWER_LIMIT_BYTES, limit).await?;
        if ran.exit.code != 0 {
            return Err(self.fault(&ran.exit));
        }
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// Returns the error that a script of ours ended with.
    pub(super) fn fault(&self, exit: &Exit) -> Error {
        match exit.code {
            77 => Error::new(Kind::Denied, format!("{self} refused the login: {}", exit.stderr.trim()))
                .hint("give user and password in the tenant's file, as `login`"),
            127 => Error::new(Kind::Host, format!("{self}: {}", exit.stderr.trim()))
                .hint("the container needs a shell and redis-cli"),
            69 => Error::new(Kind::Host, format!("{self} does not answer: {}", exit.stderr.trim())),
            _ => Error::new(Kind::Source, format!("{self}: {exit}")),
        }
    }
}

fn spec<S: Into<String>>(script: &str, arguments: impl IntoIterator<Item = S>) -> ExecSpec {
    // Root reads secret files and the append-only files, whatever user they belong to.
    ExecSpec::script(&format!("{CONNECT}{script}"), arguments).user("0")
}
