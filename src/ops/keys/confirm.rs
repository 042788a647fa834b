//! `keys confirm`: the recovery kit, as it was taken away, shown to open what is sealed.
//!
//! Owns the challenge. Until it is passed nobody knows that any backup can ever be read, so `status` counts none as
//! protected.

use jiff::Timestamp;
use serde::Serialize;

use super::{operators, vaults};
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::{self, Appliance};
use crate::ops::init;
use crate::ops::kit::Kit;
use crate::ops::place;
use crate::repo::age_file::Identities;

/// What the challenge showed.
#[derive(Debug, Serialize)]
pub struct Confirmed {
    /// When.
    pub at: Timestamp,
    /// Whether the sheet can certify hosts.
    pub holds_root: bool,
    /// How many vaults opened: all there are.
    pub vaults: usize,
    /// What is to be seen to.
    pub warnings: Vec<String>,
}

/// Seals something new to the operators, lets the kit open it, and every vault of this host's tenants too.
///
/// `identities` are an operator's own, where the kit holds none. [`Kind::WrongKey`] where the kit is another
/// repository's, its root key another, or a vault does not open; nothing counts as confirmed then.
pub async fn confirm(appliance: &Appliance, kit: &Kit, identities: Option<Identities>) -> Result<Confirmed> {
    let mut warnings = belongs(appliance, kit)?;
    let holds_root = kit.root_secret.is_some();
    if holds_root && init::root_of(kit)?.public() != appliance.repo.root() {
        return Err(Error::new(Kind::WrongKey, "the root key of this kit is not that of the repository"));
    }
    let all = match (kit.identities.is_empty(), identities) {
        (true, None) => {
            return Err(Error::new(Kind::WrongKey, "this kit holds no identity, operators have their own")
                .hint("give one of theirs too: --identity FILE"));
        }
        (true, Some(given)) => given,
        (false, None) => kit.identities()?,
        (false, Some(given)) => {
            let mut all = kit.identities()?;
            all.extend(given);
            all
        }
    };
    let members = appliance.state.membership()?;
    operators::prove(&appliance::operators_alone(&appliance.config.machine, members.as_ref())?, &all)?;
    let vaults = open_all(appliance, &all).await?;
    let at = appliance.around.now();
    if let Some(mut members) = members {
        members.kit_confirmed = Some(at);
        appliance.state.join(&members)?;
    }
    if !holds_root {
        warnings.push(
            "this sheet opens backups and certifies no host: somebody must hold one with the root key".into(),
        );
    }
    Ok(Confirmed { at, holds_root, vaults, warnings })
}

/// Refuses a kit of another repository; an outdated address is told, for that is what it will be needed for.
fn belongs(appliance: &Appliance, kit: &Kit) -> Result<Vec<String>> {
    if kit.pin != appliance.repo.hash() {
        return Err(Error::new(
            Kind::WrongKey,
            format!("this kit is that of repository {}, not of {}", kit.repository, appliance.repo.id()),
        ));
    }
    let here = place::of(&appliance.config.machine)?;
    if (&kit.store, &kit.endpoint) == (&here.address.to_string(), &here.endpoint) {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "the kit names the store {}, this host uses {}: write the new address on the sheet",
        kit.store, here.address
    )])
}

async fn open_all(appliance: &Appliance, identities: &Identities) -> Result<usize> {
    let mut opened = 0;
    for tenant in appliance.config.tenants() {
        for found in vaults::find(appliance, &tenant.name).await? {
            found.open(identities).map_err(|e| e.in_context(format!("tenant {}", tenant.name)))?;
            opened += 1;
        }
    }
    Ok(opened)
}
