//! Where a secret is kept, as opposed to what it is.
//!
//! Owns references to secrets and reading them when they are needed. A secret is never part of a configuration
//! file, and none is held longer than its use.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::error::{Context, Error, Kind, Result};

/// The most that is read of a secret file, in bytes.
const SECRET_BYTES: u64 = 64 * 1024;

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// The content of a file, without the line feed at its end.
    File(PathBuf),
    /// The value of an environment variable.
    Env(String),
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`Kind::Config`] naming the file or variable where it is missing, empty, too long or not text.
    pub fn resolve(&self) -> Result<SecretString> {
        let text = match self {
            SecretRef::File(path) => read(path)?,
            SecretRef::Env(name) => std::env::var(name).map_err(|_| {
                Error::new(Kind::Config, format!("environment variable {name} is not set to text"))
            })?,
        };
        let trimmed = trimmed(&text);
        if trimmed.is_empty() {
            return Err(Error::new(Kind::Config, format!("{self} is empty")));
        }
        Ok(SecretString::from(trimmed))
    }

    /// Tells whether the place is there and holds nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            SecretRef::File(path) => read(path).is_ok_and(|text| trimmed(&text).is_empty()),
            SecretRef::Env(name) => std::env::var(name).is_ok_and(|text| trimmed(&text).is_empty()),
        }
    }
}

fn trimmed(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_BYTES + 1).read_to_string(&mut text))
        .context(Kind::Config, format!("secret file {}", path.display()))?;
    if text.len() as u64 > SECRET_BYTES {
        return Err(Error::new(
            Kind::Config,
            format!("secret file {} is no secret: too long", path.display()),
        ));
    }
    Ok(text)
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::File(path) => write!(f, "secret file {}", path.display()),
            SecretRef::Env(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// An address that may hold a token: printed as scheme and host only.
#[derive(Clone)]
pub struct SecretUrl {
    given: Given,
}

#[derive(Clone)]
enum Given {
    Url(SecretString),
    Ref(SecretRef),
}

impl SecretUrl {
    /// Takes an address as it is.
    pub fn new(url: impl Into<String>) -> Self {
        SecretUrl { given: Given::Url(SecretString::from(url.into())) }
    }

    /// Takes an address that is kept elsewhere.
    pub fn kept_in(place: SecretRef) -> Self {
        SecretUrl { given: Given::Ref(place) }
    }

    /// Returns the place where it is kept, if it does not stand in the configuration itself.
    pub fn place(&self) -> Option<&SecretRef> {
        match &self.given {
            Given::Url(_) => None,
            Given::Ref(place) => Some(place),
        }
    }

    /// Returns the address, reading it where it is kept elsewhere.
    pub fn resolve(&self) -> Result<SecretString> {
        match &self.given {
            Given::Url(url) => Ok(url.clone()),
            Given::Ref(place) => place.resolve(),
        }
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use secrecy::ExposeSecret;
        match &self.given {
            Given::Ref(place) => write!(f, "the address in {place}"),
            Given::Url(url) => {
                let (scheme, rest) = url.expose_secret().split_once("://").unwrap_or(("", ""));
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                write!(f, "{scheme}://{}/…", host.rsplit('@').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_secret_file_loses_its_last_line_feed_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, " two words \n").unwrap();
        assert_eq!(SecretRef::File(path).resolve().unwrap().expose_secret(), " two words ");
    }

    #[test]
    fn an_empty_or_missing_secret_is_an_error_that_names_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let missing = SecretRef::File(path.clone()).resolve().unwrap_err();
        assert!(missing.to_string().contains("/s"), "{missing}");
        std::fs::write(&path, "\n").unwrap();
        let empty = SecretRef::File(path).resolve().unwrap_err();
        assert!(empty.to_string().ends_with("is empty"), "{empty}");
        let env = SecretRef::Env("LIFEBOAT_TEST_NO_SUCH_VARIABLE".into()).resolve().unwrap_err();
        assert!(env.to_string().contains("LIFEBOAT_TEST_NO_SUCH_VARIABLE"));
    }

    #[test]
    fn an_address_is_printed_without_its_token() {
        let url = SecretUrl::new("https://me:pw@hooks.example.com/T000/token?x=1");
        assert_eq!(url.to_string(), "https://hooks.example.com/…");
        assert_eq!(format!("{url:?}"), "SecretUrl(https://hooks.example.com/…)");
    }
}
