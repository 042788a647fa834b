//! What all tenants share: Docker, the store, the clocks, the disks of Lifeboat itself, the operators' key.

use std::path::PathBuf;

use crate::config::StoreAddress;
use crate::ops::place;
use crate::ops::state::State as Folder;
use crate::store::time_at;

use super::containers::disks;
use super::database::skew;
use super::pace::within;
use super::{Area, Check, Round, State};

const AREA: Area = Area::Host;

/// Looks at the host.
pub(super) async fn look(round: &Round<'_>) -> Vec<Check> {
    if !round.areas.contains(&AREA) {
        return Vec::new();
    }
    let (docker, store, clocks, disk) =
        futures::join!(docker(round), store(round), clocks(round), disk(round));
    docker.into_iter().chain([store]).chain(clocks).chain([disk]).chain(kit(round)).collect()
}

async fn docker(round: &Round<'_>) -> Vec<Check> {
    let docker = match &round.docker {
        Ok(docker) => docker,
        Err(e) => return vec![Check::of_error(AREA, "docker", State::Failed, e)],
    };
    match within(round.limits.probe, "docker", docker.machine()).await {
        Ok(machine) => {
            let said = format!("docker {} answers", machine.version);
            vec![Check::new(AREA, "docker", State::Ok, said)]
        }
        Err(e) => vec![Check::of_error(AREA, "docker", State::Failed, &e)],
    }
}

async fn store(round: &Round<'_>) -> Check {
    let address = place::of_store(&round.config.machine.store).address.to_string();
    match round.opened.clone().await {
        Ok(_) => Check::new(AREA, "store", State::Ok, format!("store {address} answers")),
        Err(e) => {
            let mut check = Check::of_error(AREA, "store", State::Failed, &e);
            if !check.reason.contains(&address) {
                check.reason = format!("store {address}: {}", check.reason);
            }
            check
        }
    }
}

/// Compares this host's clock with the store's, where a server keeps it; a folder has the host's own.
async fn clocks(round: &Round<'_>) -> Vec<Check> {
    let StoreAddress::S3 { endpoint, region, .. } = &round.config.machine.store.address else {
        return Vec::new();
    };
    let server = endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let asked = within(round.limits.probe, &server, time_at(&server, round.limits.probe));
    match asked.await {
        Ok(theirs) => {
            let ahead = theirs.duration_since(round.now()).as_secs_f64();
            vec![skew(AREA, &format!("the store at {server}"), ahead)]
        }
        // That it does not answer is said of the store already.
        Err(e) => vec![Check::of_error(AREA, "clock", State::Unknown, &e)],
    }
}

/// Looks at the disks that Lifeboat and Docker write to.
async fn disk(round: &Round<'_>) -> Check {
    let machine = &round.config.machine;
    let mut folders: Vec<PathBuf> = vec![machine.state_dir.clone()];
    if let StoreAddress::Local { path } = &machine.store.address {
        folders.push(path.clone());
    }
    if let Ok(docker) = &round.docker
        && let Ok(told) = within(round.limits.probe, "docker", docker.machine()).await
    {
        folders.push(PathBuf::from(told.root));
    }
    Check { area: AREA, ..disks(round, folders).await }
}

/// Tells whether anybody ever showed that the backups can be read, and by how many keys.
fn kit(round: &Round<'_>) -> Option<Check> {
    let name = "operators";
    let folder = Folder::peek(&round.config.machine.state_dir);
    let members = match folder.membership() {
        Ok(members) => members,
        Err(e) => return Some(Check::of_error(AREA, name, State::Unknown, &e)),
    };
    // Without one there is no repository either, which the store's check says.
    let members = members?;
    let keys =
        crate::ops::appliance::operators_alone(&round.config.machine, Some(&members)).map_or(0, |k| k.len());
    Some(match (keys, members.kit_confirmed) {
        (0, _) => {
            Check::new(AREA, name, State::Failed, "this host knows no operator who could read its backups")
                .advise("`lifeboat keys certify --kit KIT`")
        }
        (_, None) => {
            Check::new(AREA, name, State::Failed, "not protected: the recovery kit was never confirmed")
                .advise("`lifeboat keys confirm --kit FILE`")
        }
        (n, Some(at)) => Check::new(
            AREA,
            name,
            State::Ok,
            format!(
                "{} can read backups; the kit was confirmed on {}",
                crate::error::counted(n, "operator key"),
                at.strftime("%Y-%m-%d")
            ),
        ),
    })
}
