//! What the daemon's errors mean to a caller.

use std::fmt;

use bollard::errors::Error as Bollard;

use crate::error::{Error, Kind};

type Cause = Box<dyn std::error::Error + Send + Sync>;

const START_DOCKER: &str = "start docker, or name the daemon in [docker] host or DOCKER_HOST";

/// Returns the error of a daemon that cannot be reached at all.
pub(super) fn unreachable(cause: Cause) -> Error {
    if denied(&*cause) {
        return Error::new(Kind::Denied, "the docker socket may not be opened")
            .caused_by(cause)
            .hint("run as root, or as a member of the group docker");
    }
    Error::new(Kind::Host, "docker cannot be reached").caused_by(cause).hint(START_DOCKER)
}

/// Returns the error that a call about `what` ended with.
pub(super) fn of(error: Bollard, what: impl fmt::Display) -> Error {
    match error {
        Bollard::DockerResponseServerError { status_code, message } => {
            answered(status_code, message.trim(), what)
        }
        Bollard::RequestTimeoutError => Error::new(Kind::Timeout, format!("{what}: no answer from docker")),
        // Its error is transparent: the chain of causes would leave the I/O error itself out.
        Bollard::IOError { err } => unreachable(err.into()).in_context(what),
        Bollard::SocketNotFoundError(_)
        | Bollard::HyperResponseError { .. }
        | Bollard::HyperLegacyError { .. } => unreachable(error.into()).in_context(what),
        other => Error::new(Kind::Host, what.to_string()).caused_by(other),
    }
}

/// Tells whether docker said that the named object does not exist.
pub(super) fn is_missing(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 404, .. })
}

/// Tells whether docker said that somebody else is removing the named object.
pub(super) fn is_going(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 409, message } if message.contains("already in progress"))
}

/// Tells whether docker said that several objects bear the name.
pub(super) fn is_ambiguous(error: &Bollard) -> bool {
    matches!(error, Bollard::DockerResponseServerError { status_code: 400, message } if message.contains("ambiguous"))
}

fn answered(status: u16, message: &str, what: impl fmt::Display) -> Error {
    match status {
        404 => Error::new(Kind::Host, format!("{what} does not exist"))
            .caused_by(message)
            .hint("`docker ps -a` lists what is there, `lifeboat discover` what could be backed up"),
        409 if message.contains("is not running") => Error::new(Kind::Host, format!("{what} is not running"))
            .hint("`docker logs` of it says why it ended; `docker start` it"),
        409 if message.contains("is paused") => {
            Error::new(Kind::Host, format!("{what} is paused")).hint("`docker unpause` it")
        }
        409 => Error::new(Kind::Conflict, what.to_string()).caused_by(message),
        401 | 403 => Error::new(Kind::Denied, what.to_string()).caused_by(message),
        _ => Error::new(Kind::Host, format!("{what}: docker answered {status}")).caused_by(message),
    }
}

fn denied(cause: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(cause);
    while let Some(e) = next {
        if let Some(io) = e.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::PermissionDenied
        {
            return true;
        }
        next = e.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(status_code: u16, message: &str) -> Bollard {
        Bollard::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn a_missing_container_is_named_and_is_not_a_dead_daemon() {
        let e = of(server(404, "No such container: x"), "container x");
        assert_eq!(e.kind(), Kind::Host);
        assert!(e.what().contains("container x does not exist"));
        assert!(e.hint_text().unwrap().contains("discover"));
    }

    #[test]
    fn a_stopped_container_says_so() {
        let e = of(server(409, "Container abc is not running"), "container x");
        assert_eq!((e.kind(), e.what()), (Kind::Host, "container x is not running"));
    }

    #[test]
    fn a_closed_socket_is_denied_and_a_missing_one_is_unreachable() {
        let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(of(refused.into(), "container x").kind(), Kind::Denied);
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        let e = of(gone.into(), "container x");
        assert_eq!(e.kind(), Kind::Host);
        assert!(e.to_string().contains("cannot be reached"), "{e}");
    }
}
