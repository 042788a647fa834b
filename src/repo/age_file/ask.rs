//! Questions that opening something may raise: a passphrase, a hardware key's PIN, a touch.
//!
//! Owns what can be asked. Who answers is given from above; here nothing is printed and no terminal is known.

use std::sync::Arc;

use secrecy::SecretString;

/// Somebody who may be asked. No answer means that nobody is there.
pub trait Asked: Send + Sync {
    /// Asks for a secret, which is not shown while it is typed.
    fn passphrase(&self, question: &str) -> Option<SecretString>;

    /// Tells something, such as that a key is to be touched.
    fn say(&self, _text: &str) {}

    /// Asks to choose between `yes` and, where there is one, `no`.
    fn confirm(&self, _question: &str, _yes: &str, _no: Option<&str>) -> Option<bool> {
        None
    }

    /// Asks for something that is no secret.
    fn text(&self, _question: &str) -> Option<String> {
        None
    }
}

/// Whoever is asked, shared.
pub type SharedAsked = Arc<dyn Asked>;

/// Nobody: a service, a schedule.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Asked for Nobody {
    fn passphrase(&self, _: &str) -> Option<SecretString> {
        None
    }
}

/// Carries the questions of the age crate and its plugins to whoever is asked.
#[derive(Clone)]
pub(super) struct Asking(pub SharedAsked);

impl age::Callbacks for Asking {
    fn display_message(&self, message: &str) {
        self.0.say(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.0.confirm(message, yes, no)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.text(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.0.passphrase(description)
    }
}
