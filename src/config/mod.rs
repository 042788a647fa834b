//! The host file, policies and tenants: many files in, one checked [`Config`] out.
//!
//! Owns what may be configured, every default, and how faults are reported: all at once, each with file, line
//! and key. A secret is only ever a reference here. Knows nothing of stores, Docker or schedules at work; the rest of
//! the program never sees a raw file.

mod app;
mod branding;
mod check;
mod coverage;
mod domain;
mod drill;
mod fault;
mod file;
mod load;
mod machine;
mod places;
mod platform;
mod policy;
mod raw;
mod secret;
mod servers;
mod setup;
mod size;
mod store;
mod tenant;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use app::{Role, Roles};
pub use branding::Branding;
pub use coverage::Excluded;
pub use domain::domain;
pub use drill::{Ask, DrillPolicy, Drilling, OwnCheck, Pick};
pub use fault::{Fault, Faults};
pub use file::SourceFile;
pub use load::{Marks, Surroundings};
pub use machine::{CopyTo, DrillPlace, Machine, Notify, Prune};
pub use platform::{Dns, Images, Platform, Proxy, Sso};
pub use policy::{Calendar, CatchUp, Lock, LockMode, Policy, Retention, Times};
pub use secret::{SecretRef, SecretUrl};
pub use servers::DatabaseServers;
pub use setup::Setup;
pub use size::{Cpus, TenantSize};
pub use store::{Credentials, StoreAddress, StoreConfig};
pub use tenant::{
    BENCH_SITES, Certs, ConfigFiles, Database, Files, Login, Part, Redis, SitesPlace, Tenant, TenantSso,
    is_system_schema,
};
pub use units::{Rate, Size, duration};

use crate::error::{Error, Kind, Result};
use crate::id::TenantName;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder it was read from.
    pub dir: PathBuf,
    /// This host.
    pub machine: Machine,
    policies: BTreeMap<String, Arc<Policy>>,
    tenants: BTreeMap<TenantName, Tenant>,
    warnings: Vec<Fault>,
}

impl Config {
    /// Returns what a recovery needs of a configuration: a store's address and a folder for its state, no tenant.
    ///
    /// # Errors
    /// [`Kind::Config`] where the address or the folder cannot be one.
    pub fn for_recovery(store_url: &str, state_dir: &std::path::Path) -> Result<Config> {
        let text = |t: &str| toml::Value::String(t.to_owned()).to_string();
        let file = format!(
            "host = \"recovery\"\nstate_dir = {}\n[store]\nurl = {}\n",
            text(&state_dir.to_string_lossy()),
            text(store_url)
        );
        let around = Surroundings { hostname: "recovery".to_owned(), zone: jiff::tz::TimeZone::UTC };
        let files = [SourceFile::new("lifeboat.toml", file)];
        Ok(Config::from_files(state_dir, &files, &around)?)
    }

    /// Returns all tenants by name.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        self.tenants.values()
    }

    /// Returns a tenant.
    ///
    /// # Errors
    /// [`Kind::Usage`] where no file is named so.
    pub fn tenant(&self, name: &TenantName) -> Result<&Tenant> {
        self.tenants
            .get(name)
            .ok_or_else(|| unknown_tenant(name, "is configured on this host", self.tenants.keys()))
    }

    /// Returns where the file of a tenant lies, or would lie.
    pub fn tenant_file(&self, name: &TenantName) -> PathBuf {
        self.dir.join("tenants").join(format!("{name}.toml"))
    }

    /// Returns all policies by name, shipped ones too.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().map(Arc::as_ref)
    }

    /// Returns this host's configuration with the tenants and policies of one that was read later.
    #[must_use]
    pub fn with_tenants_of(&self, later: Config) -> Config {
        Config { dir: self.dir.clone(), machine: self.machine.clone(), ..later }
    }

    /// Returns what works but should be mended.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }
}

/// Makes the error of a name that none of the `known` tenants has; `lacks` says what no tenant of that name is.
pub fn unknown_tenant<'a>(
    name: &TenantName,
    lacks: &str,
    known: impl Iterator<Item = &'a TenantName>,
) -> Error {
    let known: Vec<&str> = known.map(TenantName::as_str).collect();
    let hint =
        fault::did_you_mean(name.as_str(), known.iter().copied()).unwrap_or_else(|| match known.len() {
            0 => "there is no tenant yet: tenants/NAME.toml makes one".to_owned(),
            _ => format!("there is {}", known.join(", ")),
        });
    Error::new(Kind::Usage, format!("no tenant {name} {lacks}")).hint(hint)
}
