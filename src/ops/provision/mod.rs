//! `provision`: a tenant from a name and a domain, step by step.
//!
//! Each step is looked at, done where something lacks, and looked at again, so that a second call completes what a killed
//! one left and a third changes nothing. What is made stands in a journal first; a rollback removes that and no more.
//! Owns the order of the steps. What a step does lies in its own file.

pub mod admin;
pub mod branding;
pub mod certs;
pub mod compose;
pub mod deprovision;
pub mod dns;
pub mod job;
pub mod journal;
pub mod names;
pub mod plan;
pub mod run;
pub mod secrets;
pub mod services;
pub mod setup;
pub mod site;
pub mod sso;
pub mod step;
pub mod verify;

use std::time::Duration;

use crate::config::Config;
use crate::error::{Kind, Result};
use crate::host::Docker;
use crate::ops::appliance::Surroundings;

pub use job::{Job, Order};
pub use journal::{Journal, Thing};
pub use plan::{Plan, Planned};
pub use run::{Chosen, Did, Report, StepReport};
pub use step::{Standing, Step, StepName};

/// How often a locked journal is tried again, and how long it is waited in between: ten seconds in all.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(500);

/// Returns all steps in the order in which they are done.
pub fn steps() -> Vec<Box<dyn Step>> {
    vec![
        Box::new(secrets::Secrets),
        Box::new(services::Services),
        Box::new(site::Site),
        Box::new(dns::DnsStep),
        Box::new(certs::CertsStep),
        Box::new(admin::Admin),
        Box::new(setup::Setup),
        Box::new(branding::BrandingStep),
        Box::new(sso::SsoStep),
        Box::new(verify::Verify),
    ]
}

/// Opens what an order is carried out through: Docker and the journal, which is locked from here on.
///
/// `to_make` begins a run where none is begun; without it nothing is written, and the run's id is empty where there is none.
pub async fn open(config: Config, order: Order, around: Surroundings, to_make: bool) -> Result<Job> {
    let docker = Docker::connect_to(config.machine.docker_host.as_deref()).await?;
    let journal = open_journal(&config, &order).await?;
    let run = match to_make {
        true => journal.begin(around.now())?,
        false => journal.run().unwrap_or_default(),
    };
    Ok(Job { order, config, docker, journal, run, around, identities: None })
}

/// Opens the journal; a process that was killed may hold its lock for a moment yet.
async fn open_journal(config: &Config, order: &Order) -> Result<Journal> {
    for _ in 0..LOCK_ATTEMPTS {
        match Journal::open(&config.machine.state_dir, &order.tenant.name) {
            Err(e) if e.kind() == Kind::Locked => tokio::time::sleep(LOCK_PAUSE).await,
            opened => return opened,
        }
    }
    Journal::open(&config.machine.state_dir, &order.tenant.name)
}
