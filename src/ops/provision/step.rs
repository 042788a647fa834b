//! What a step of provisioning is: looked at, done, looked at again, taken back.
//!
//! Owns the names of the steps and their order. Knows nothing of what any one step does.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::job::{Job, Order};
use crate::error::{Error, Kind, Result};

/// The steps, in the order in which they are done.
///
/// Branding and single sign-on come behind the setup wizard, which makes the company whose letter head is set and a
/// letter head of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// Passwords.
    Secrets,
    /// Network, volumes and containers.
    Services,
    /// The site with its apps.
    Site,
    /// The name in the zone.
    Dns,
    /// The certificate.
    Certs,
    /// The administrator's password and the first user.
    Admin,
    /// The setup wizard.
    Setup,
    /// Logo, colours, login page, letter head.
    Branding,
    /// Single sign-on.
    Sso,
    /// Health, a first backup, a first drill.
    Verify,
}

impl StepName {
    /// All steps, in their order.
    pub const ALL: [StepName; 10] = [
        StepName::Secrets,
        StepName::Services,
        StepName::Site,
        StepName::Dns,
        StepName::Certs,
        StepName::Admin,
        StepName::Setup,
        StepName::Branding,
        StepName::Sso,
        StepName::Verify,
    ];

    /// Returns the word that names it on the command line and in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            StepName::Secrets => "secrets",
            StepName::Services => "services",
            StepName::Site => "site",
            StepName::Dns => "dns",
            StepName::Certs => "certs",
            StepName::Admin => "admin",
            StepName::Setup => "setup",
            StepName::Branding => "branding",
            StepName::Sso => "sso",
            StepName::Verify => "verify",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for StepName {
    type Err = Error;

    fn from_str(text: &str) -> Result<StepName> {
        StepName::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let all = StepName::ALL.map(StepName::as_str).join(", ");
            Error::new(Kind::Usage, format!("there is no step {text:?}")).hint(format!("there are {all}"))
        })
    }
}

/// How far a step is, as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// All of it is there and as it should be.
    Done,
    /// Something lacks.
    Missing(String),
    /// Something is there and not as it should be.
    Differs(String),
}

impl Standing {
    /// Says that something lacks.
    pub fn missing(what: impl Into<String>) -> Standing {
        Standing::Missing(what.into())
    }

    /// Says that something is not as it should be.
    pub fn differs(what: impl Into<String>) -> Standing {
        Standing::Differs(what.into())
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Done => f.write_str("done"),
            Standing::Missing(what) => write!(f, "{what} is missing"),
            Standing::Differs(what) => f.write_str(what),
        }
    }
}

/// One step of provisioning.
#[async_trait]
pub trait Step: Send + Sync {
    /// Returns which step it is.
    fn name(&self) -> StepName;

    /// Returns what it will make, as one line of a plan.
    fn sentence(&self, order: &Order) -> String;

    /// Returns why it is not done for this tenant at all, where it is not: a section of the configuration that lacks.
    fn skipped(&self, _order: &Order) -> Option<String> {
        None
    }

    /// Looks how far it is; changes nothing, neither here nor on any server.
    async fn check(&self, job: &Job) -> Result<Standing>;

    /// Does what lacks, and no more; writes into the journal what it is about to make before it makes it.
    async fn apply(&self, job: &Job) -> Result<()>;

    /// Removes what the journal says this run made, in reverse order; what is gone already counts as removed.
    async fn undo(&self, job: &Job) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_found_by_its_word() {
        for name in StepName::ALL {
            assert_eq!(name.as_str().parse::<StepName>().unwrap(), name);
            assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{name}\""));
        }
        assert!("ssh".parse::<StepName>().unwrap_err().hint_text().unwrap().contains("sso"));
    }
}
