//! Recipients: whom something can be sealed to, as text and as the age crate takes them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use age::NoCallbacks;
use age::plugin::{self, RecipientPluginV1};

use super::limited::{Limited, SEAL_LIMIT};
use crate::error::{Error, Kind, Result};

/// Whom an age file can be sealed to: X25519 (`age1…`), a hardware key's tag recipient (`age1tag1…`, `age1tagpq1…`), or
/// one of a plugin (`age1<name>1…`, sealed to by the program `age-plugin-<name>` in the `PATH`).
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient {
    text: String,
    sealing: Sealing,
}

#[derive(Clone)]
enum Sealing {
    Native(Arc<dyn age::Recipient + Send + Sync>),
    /// Looked for when it is needed: a host that only reads its own certificate needs no plugin.
    Plugin(plugin::Recipient),
}

impl Recipient {
    /// Returns it as the age crate takes it; [`Kind::Config`] where its plugin is not installed.
    pub fn to_age(&self) -> Result<Arc<dyn age::Recipient + Send + Sync>> {
        match &self.sealing {
            Sealing::Native(age) => Ok(Arc::clone(age)),
            Sealing::Plugin(one) => {
                let all = std::slice::from_ref(one);
                // Sealing is unattended: a plugin that must ask somebody cannot be used for it.
                match RecipientPluginV1::new(one.plugin(), all, &[], NoCallbacks) {
                    Ok(plugin) => Ok(Arc::new(Limited::new(plugin, one.plugin(), SEAL_LIMIT))),
                    Err(e) => Err(Error::new(Kind::Config, format!("cannot seal to {self}: {e}"))
                        .hint(format!("install age-plugin-{} in the PATH of this host", one.plugin()))),
                }
            }
        }
    }

    pub(super) fn of(recipient: impl age::Recipient + fmt::Display + Send + Sync + 'static) -> Recipient {
        Recipient { text: recipient.to_string(), sealing: Sealing::Native(Arc::new(recipient)) }
    }
}

impl FromStr for Recipient {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if let Ok(r) = s.parse::<age::x25519::Recipient>() {
            return Ok(Recipient::of(r));
        }
        if let Ok(r) = s.parse::<age::tag::Recipient>() {
            return Ok(Recipient::of(r));
        }
        if let Ok(r) = s.parse::<age::tagpq::Recipient>() {
            return Ok(Recipient::of(r));
        }
        if let Ok(one) = s.parse::<plugin::Recipient>() {
            return Ok(Recipient { text: one.to_string(), sealing: Sealing::Plugin(one) });
        }
        if s.starts_with("AGE-SECRET-KEY-") || s.starts_with("AGE-PLUGIN-") {
            // The text itself must not travel further.
            return Err(Error::new(
                Kind::Config,
                "an age identity (secret) stands where a recipient belongs",
            )
            .hint("give its public key, age1...; treat the identity as exposed"));
        }
        Err(Error::new(Kind::Config, format!("{s:?} is not an age recipient"))
            .hint("it looks like age1...; `age-keygen -y FILE` prints it"))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl TryFrom<String> for Recipient {
    type Error = Error;
    fn try_from(s: String) -> Result<Self> {
        s.parse()
    }
}

impl From<Recipient> for String {
    fn from(r: Recipient) -> String {
        r.text
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::repo::age_file::generate_identity;

    #[test]
    fn an_identity_given_as_recipient_is_not_repeated_in_the_error() {
        let (secret, _) = generate_identity();
        let e = secret.expose_secret().parse::<Recipient>().unwrap_err();
        assert!(!e.to_string().contains(&secret.expose_secret()[20..40]));
    }

    #[test]
    fn a_plugin_that_is_not_installed_is_named_when_something_is_sealed_to_it() {
        let missing: Recipient = "age1lifeboatnone1ddjhjk2z4cd".parse().unwrap();
        let Err(e) = missing.to_age() else { panic!("there is no such plugin") };
        assert!(e.hint_text().unwrap().contains("age-plugin-lifeboatnone"), "{e}");
    }
}
