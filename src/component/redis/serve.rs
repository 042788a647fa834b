//! A server that runs: waiting for it, counting, removing a site's keys.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, sleep};

use super::connect::QUERY_LIMIT;
use super::{Counts, Credentials, Server};
use crate::error::{Error, Kind, Result};
use crate::host::{Docker, State};

const FLUSH: &str = include_str!("flush.sh");

const PAUSE: Duration = Duration::from_millis(200);

/// Waits until a server answers and has loaded its data.
///
/// Fails at once with [`Kind::Host`] where its container has exited or is not there, with [`Kind::Denied`] where it
/// refuses the login, with [`Kind::Timeout`] after `limit`.
pub async fn wait_ready(
    docker: &Docker,
    container: &str,
    credentials: &Credentials,
    limit: Duration,
) -> Result<()> {
    let server = Server::of(docker, container, credentials).await?;
    let deadline = Instant::now() + limit;
    loop {
        match docker.state(container).await? {
            None => return Err(Error::new(Kind::Host, format!("container {container} does not exist"))),
            Some(State::Exited(code)) => {
                return Err(Error::new(
                    Kind::Host,
                    format!("{server} exited with code {code} instead of loading"),
                )
                .hint(format!("`docker logs {container}` says why")));
            }
            Some(_) => {}
        }
        let last = match server.look(&[]).await {
            Ok(look) if !look.is("loading") => return Ok(()),
            Ok(_) => format!("{server} is still loading"),
            Err(e) if e.kind() == Kind::Denied => return Err(e),
            Err(e) => e.to_string(),
        };
        if Instant::now() > deadline {
            return Err(Error::new(Kind::Timeout, format!("{last}, after {} s", limit.as_secs())));
        }
        sleep(PAUSE).await;
    }
}

/// Tells whether a server that answers takes commands without a login: one that does refuses a password.
pub async fn is_open(docker: &Docker, container: &str) -> Result<bool> {
    let nobody = Credentials::User { user: None, password: SecretString::default() };
    match Server::of(docker, container, &nobody).await?.query("PING\n").await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == Kind::Denied => Ok(false),
        Err(e) => Err(e),
    }
}

/// Counts keys and jobs, all of one instant.
pub async fn count(docker: &Docker, container: &str, credentials: &Credentials) -> Result<Counts> {
    let server = Server::of(docker, container, credentials).await?;
    let (_, queues) = server.look_for_queues().await?;
    Ok(server.look(&queues).await?.counts)
}

/// Removes all keys that begin with `prefix`, in every database, about a thousand at a time, and returns how many.
///
/// Keys that others write meanwhile may stay.
pub async fn flush_site_keys(
    docker: &Docker,
    container: &str,
    credentials: &Credentials,
    prefix: &str,
) -> Result<u64> {
    if prefix.is_empty() {
        return Err(Error::new(Kind::Usage, "an empty prefix would remove every key"));
    }
    let server = Server::of(docker, container, credentials).await?;
    let databases = server.look(&[]).await?.counts.databases;
    let arguments = [pattern(prefix)].into_iter().chain(databases.keys().map(u32::to_string));
    let printed = server.run(FLUSH, arguments, "", QUERY_LIMIT).await?;
    let number = printed.trim().parse().ok();
    number.ok_or_else(|| Error::new(Kind::Source, format!("{server} did not say how many keys it removed")))
}

/// Makes a pattern of a prefix, in which nothing stands for anything else.
fn pattern(prefix: &str) -> String {
    let mut out = String::new();
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('*');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_matches_only_itself() {
        assert_eq!(pattern("_16c8d89b1150a4c8|"), "_16c8d89b1150a4c8|*");
        assert_eq!(pattern("a*[b]"), "a\\*\\[b\\]*");
    }
}
