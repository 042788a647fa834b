//! The one error of the program: what kind it is, what it concerns, what to do.
//!
//! Owns the table from kind to exit code and HTTP status. Knows nothing of any layer above it;
//! lower causes are kept as `source` and context is added once, where the object is known.

use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The command line is not usable as given.
    Usage,
    /// A configuration file is wrong.
    Config,
    /// A named thing (tenant, snapshot, file) does not exist.
    NotFound,
    /// There is no repository at the store's address.
    NoRepository,
    /// Somebody else works on the same thing now.
    Locked,
    /// The identity given does not open what it should open.
    WrongKey,
    /// The store, Docker, a database or a hardware key refused the credentials or the right.
    Denied,
    /// The store could not be reached or answered with a fault.
    Store,
    /// Docker could not be reached, or a container is missing or dead.
    Host,
    /// A source could not be read completely: a dump failed, a file vanished half-read.
    Source,
    /// Stored bytes are not those that were written.
    Damaged,
    /// A signature does not verify through the root.
    Forged,
    /// A signature by a key of ours whose end the operators signed before.
    Ended,
    /// Written by a newer version of the format.
    TooNew,
    /// What is there already would be overwritten.
    Conflict,
    /// A disk, spool or quota is full.
    Full,
    /// A stage took longer than it may.
    Timeout,
    /// Some components are whole, others failed.
    Partial,
    /// A check or drill found a fault.
    CheckFailed,
    /// This store or host does not do what was asked at all; asking again is of no use.
    Unsupported,
    /// A signal asked the program to stop.
    Interrupted,
    /// A local file or socket failed.
    Io,
    /// A fault in Lifeboat itself.
    Bug,
}

impl Kind {
    /// Returns the process exit code of this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage | Kind::Config => 2,
            Kind::Partial => 3,
            Kind::CheckFailed | Kind::Damaged | Kind::Forged | Kind::Ended => 4,
            Kind::NoRepository => 10,
            Kind::Locked => 11,
            Kind::WrongKey => 12,
            Kind::Interrupted => 130,
            _ => 1,
        }
    }

    /// Returns the HTTP status that the service answers for this kind.
    pub fn http_status(self) -> u16 {
        match self {
            Kind::Usage | Kind::Config => 400,
            Kind::Denied | Kind::WrongKey => 403,
            Kind::NotFound | Kind::NoRepository => 404,
            Kind::Locked | Kind::Conflict => 409,
            Kind::Full => 507,
            Kind::Timeout => 504,
            Kind::Store | Kind::Host => 502,
            _ => 500,
        }
    }

    /// Returns the stable word for this kind in JSON output.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Config => "config",
            Kind::NotFound => "not-found",
            Kind::NoRepository => "no-repository",
            Kind::Locked => "locked",
            Kind::WrongKey => "wrong-key",
            Kind::Denied => "denied",
            Kind::Store => "store",
            Kind::Host => "host",
            Kind::Source => "source",
            Kind::Damaged => "damaged",
            Kind::Forged => "forged",
            Kind::Ended => "ended",
            Kind::TooNew => "too-new",
            Kind::Conflict => "conflict",
            Kind::Full => "full",
            Kind::Timeout => "timeout",
            Kind::Partial => "partial",
            Kind::CheckFailed => "check-failed",
            Kind::Unsupported => "unsupported",
            Kind::Interrupted => "interrupted",
            Kind::Io => "io",
            Kind::Bug => "bug",
        }
    }
}

/// An error with its kind, the object it concerns, its cause and what to do about it.
///
/// Messages are lowercase fragments without a full stop and never hold a secret.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    what: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of anything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error of `kind`; `what` names the object and what is wrong with it.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Error { inner: Box::new(Inner { kind, what: what.into(), hint: None, source: None }) }
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Puts `context` before the message, keeping kind, hint and cause.
    #[must_use]
    pub fn in_context(mut self, context: impl fmt::Display) -> Self {
        self.inner.what = format!("{context}: {}", self.inner.what);
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Returns the message without its causes.
    pub fn what(&self) -> &str {
        &self.inner.what
    }

    /// Returns what the operator can do, where something is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.what)?;
        let mut cause = std::error::Error::source(self);
        while let Some(e) = cause {
            write!(f, ": {e}")?;
            // An `Error` prints its own causes.
            cause = if e.is::<Error>() { None } else { e.source() };
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }
}

/// Adds kind and object to foreign errors at the place where the object is known.
pub trait Context<T> {
    /// Turns the error into one of `kind` about `what`.
    fn context(self, kind: Kind, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Box<dyn std::error::Error + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn context(self, kind: Kind, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::new(kind, what.to_string()).caused_by(e))
    }
}

/// Spells a number of things: `1 snapshot`, `2 snapshots`; plurals end in s.
pub fn counted(n: impl TryInto<u64>, noun: &str) -> String {
    // Nothing counts above what fits.
    let n = n.try_into().unwrap_or(u64::MAX);
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o']) => format!("{n} {stem}ies"),
        _ => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_object_then_the_causes() {
        let io = std::io::Error::other("disk on fire");
        let e =
            Error::new(Kind::Io, "journal /x").caused_by(io).in_context("tenant byrne").hint("buy a disk");
        assert_eq!(e.to_string(), "tenant byrne: journal /x: disk on fire");
        assert_eq!(e.hint_text(), Some("buy a disk"));
    }

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(counted(1_usize, "snapshot"), "1 snapshot");
        assert_eq!(counted(0_u64, "entry"), "0 entries");
        assert_eq!(counted(2_u32, "day"), "2 days");
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let table = [(Kind::Usage, 2), (Kind::Partial, 3), (Kind::CheckFailed, 4), (Kind::NoRepository, 10)];
        for (kind, code) in table {
            assert_eq!(kind.exit_code(), code);
        }
        assert_eq!(Kind::Locked.exit_code(), 11);
        assert_eq!(Kind::WrongKey.exit_code(), 12);
        assert_eq!(Kind::Interrupted.exit_code(), 130);
        assert_eq!(Kind::Store.exit_code(), 1);
    }
}
