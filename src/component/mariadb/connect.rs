//! Scripts and queries in the database's container.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use super::{Credentials, Server, fault};
use crate::error::{Context, Error, Kind, Result};
use crate::host::{Exec, ExecSpec};

const CONNECT: &str = include_str!("connect.sh");
const QUERY: &str = include_str!("query.sh");

/// A user of the container that no account of the server is bound to.
const NOBODY: &str = "65534";

/// The longest a query of ours may take.
pub(super) const QUERY_LIMIT: Duration = Duration::from_secs(300);

/// How much longer than its caller waits a client may live.
const GRACE: Duration = Duration::from_secs(2);

/// The most that a query of ours may answer: the catalogue of tens of thousands of tables.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;

impl Server {
    /// Starts a script that connects, with its secrets given; what follows on its stdin is its own.
    pub(super) async fn exec<S: Into<String>>(
        &self,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Exec> {
        let mut exec = self.docker.exec(&self.container, self.spec(script, arguments)).await?;
        let secrets = self.secret_lines()?;
        exec.input.write_all(secrets.as_bytes()).await.context(Kind::Host, self)?;
        exec.input.flush().await.context(Kind::Host, self)?;
        Ok(exec)
    }

    /// Runs a short script that connects, to its end, which must be good.
    pub(super) async fn run<S: Into<String>>(
        &self,
        script: &str,
        arguments: impl IntoIterator<Item = S>,
        stdin: &str,
    ) -> Result<String> {
        let mut lines = self.secret_lines()?;
        lines.push_str(stdin);
        let ran = self
            .docker
            .run(
                &self.container,
                self.spec(script, arguments),
                lines.as_bytes(),
                ANSWER_LIMIT_BYTES,
                QUERY_LIMIT,
            )
            .await?;
        if ran.exit.code != 0 {
            return Err(fault::of(&ran.exit, self));
        }
        String::from_utf8(ran.stdout.to_vec()).context(Kind::Source, self)
    }

    /// Runs statements in one session, stopping at the first that fails, and returns the lines they answer.
    pub(super) async fn lines(&self, sql: &str) -> Result<Vec<String>> {
        let limited = format!("SET max_statement_time={}, sql_mode='';\n{sql}\n", QUERY_LIMIT.as_secs());
        let answer = self.run::<&str>(QUERY, [], &limited).await?;
        Ok(answer.lines().map(str::to_owned).collect())
    }

    /// Runs statements that each answer one `JSON_ARRAY` a row.
    pub(super) async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>> {
        let lines = self.lines(sql).await?;
        // An unreadable row is not shown: it may hold data.
        let parsed = lines.iter().map(|line| serde_json::from_str(line).ok()).collect::<Option<Vec<T>>>();
        parsed.ok_or_else(|| Error::new(Kind::Source, format!("{self} answered what was not asked for")))
    }

    /// The same for a server that may hang: the client inside the container ends by itself after `limit`.
    pub(super) async fn rows_within<T: DeserializeOwned>(
        &self,
        sql: &str,
        limit: Duration,
    ) -> Result<Vec<T>> {
        let lines = self.lines_within(sql, limit).await?;
        let parsed = lines.iter().map(|line| serde_json::from_str(line).ok()).collect::<Option<Vec<T>>>();
        parsed.ok_or_else(|| Error::new(Kind::Source, format!("{self} answered what was not asked for")))
    }

    /// Runs statements as [`Server::lines`] does, for a server that may hang.
    pub(super) async fn lines_within(&self, sql: &str, limit: Duration) -> Result<Vec<String>> {
        let stdin = format!("SET max_statement_time={}, sql_mode='';\n{sql}\n", limit.as_secs().max(1));
        let text = self.run_within(QUERY, &stdin, limit).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Runs a short script as [`Server::run`] does, for a server that may hang.
    pub(super) async fn run_within(&self, script: &str, stdin: &str, limit: Duration) -> Result<String> {
        let mut lines = self.secret_lines()?;
        lines.push_str(stdin);
        // The caller's own limit comes first, so that it is told as such.
        let spec = self.spec::<&str>(script, []).ended_after(limit + GRACE);
        let limit = limit + GRACE * 2;
        let answer =
            self.docker.run(&self.container, spec, lines.as_bytes(), ANSWER_LIMIT_BYTES, limit).await?;
        if answer.exit.code != 0 {
            return Err(fault::of(&answer.exit, self));
        }
        String::from_utf8(answer.stdout.to_vec()).context(Kind::Source, self)
    }

    fn secret_lines(&self) -> Result<Zeroizing<String>> {
        let (user, password) = match &self.credentials {
            Credentials::Container => ("", ""),
            Credentials::User { user, password } | Credentials::Site { user, password } => {
                (user.as_str(), password.expose_secret())
            }
        };
        if user.contains('\n') || password.contains('\n') {
            return Err(Error::new(Kind::Config, format!("{self}: user or password holds a line feed")));
        }
        Ok(Zeroizing::new(format!("{user}\n{password}\n")))
    }

    fn spec<S: Into<String>>(&self, script: &str, arguments: impl IntoIterator<Item = S>) -> ExecSpec {
        let spec = ExecSpec::script(&format!("{CONNECT}{script}"), arguments);
        match self.credentials {
            // The socket lets the system's `root` in as the server's, whatever the password.
            Credentials::Site { .. } => spec.user(NOBODY),
            // Root reads the secret files and may come by the socket.
            Credentials::Container | Credentials::User { .. } => spec.user("0"),
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "mariadb in container {}", self.container)
    }
}

/// Quotes an identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Quotes a string, for a session whose `sql_mode` is empty.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strings_cannot_leave_their_quotes() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(literal(r"a\' OR 1"), r"'a\\\' OR 1'");
    }
}
