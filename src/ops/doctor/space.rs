//! Space and clocks: whether what Lifeboat must write fits, and whether times can be believed.

use std::path::PathBuf;

use super::{Diagnosis, LIMIT, Question, Weight};
use crate::config::{Config, StoreAddress};
use crate::host::Docker;
use crate::ops::appliance::Surroundings;
use crate::ops::health::Space;
use crate::store::time_at;

/// From this difference on clocks disagree, in seconds.
const SKEW: f64 = 30.0;

/// Looks at each place that Lifeboat or Docker writes to.
pub(super) async fn look(d: &mut Diagnosis, config: &Config, docker: Option<&Docker>) {
    let machine = &config.machine;
    let mut places: Vec<(&str, PathBuf, u64)> = vec![
        ("state", machine.state_dir.clone(), 0),
        ("spool", machine.spool_dir(), machine.spool_size.0),
        ("cache of restores", machine.restore_cache_dir(), machine.restore_cache_size.0),
    ];
    if let StoreAddress::Local { path } = &machine.store.address {
        places.push(("store", path.clone(), 0));
    }
    if let Some(docker) = docker
        && let Ok(Ok(told)) = tokio::time::timeout(LIMIT, docker.machine()).await
        && !told.root.is_empty()
    {
        places.push(("docker", PathBuf::from(told.root), 0));
    }
    for (what, folder, may_take) in places {
        one(d, what, folder, may_take);
    }
}

fn one(d: &mut Diagnosis, what: &str, folder: PathBuf, may_take: u64) {
    // What is made when it is first needed lies on the disk of its parent.
    let there = folder.ancestors().find(|f| f.exists()).map(PathBuf::from).unwrap_or(folder.clone());
    let space = match Space::of(&there) {
        Ok(space) => space,
        Err(e) => return d.say(Question::Space, Weight::Look, format!("{what}: {}: {e}", folder.display())),
    };
    let (free, percent) = (space.free_bytes, space.free_percent());
    let said = format!("{what}: {} has {} MB free ({percent} %)", folder.display(), free / 1_000_000);
    if percent < 5 {
        d.say(Question::Space, Weight::Bad, format!("{said}: it is nearly full"));
    } else if free < may_take {
        let said =
            format!("{said}, and may take {} MB: make room, or set a smaller size", may_take / 1_000_000);
        d.say(Question::Space, Weight::Look, said);
    } else {
        d.say(Question::Space, if percent < 12 { Weight::Look } else { Weight::Good }, said);
    }
}

/// Compares this host's clock with Docker's and the store's.
pub(super) async fn clocks(
    d: &mut Diagnosis,
    config: &Config,
    docker: Option<&Docker>,
    around: &Surroundings,
) {
    let ahead = |theirs: jiff::Timestamp| theirs.duration_since(around.now()).as_secs_f64();
    if let Some(docker) = docker
        && let Ok(Ok(told)) = tokio::time::timeout(LIMIT, docker.machine()).await
        && let Some(theirs) = told.now
    {
        say(d, "docker", ahead(theirs));
    }
    let StoreAddress::S3 { endpoint, region, .. } = &config.machine.store.address else { return };
    let server = endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    match time_at(&server, LIMIT).await {
        Ok(theirs) => say(d, &format!("the store at {server}"), ahead(theirs)),
        Err(e) => d.say(Question::Clock, Weight::Look, format!("the store's time is not known: {e}")),
    }
}

fn say(d: &mut Diagnosis, whose: &str, ahead: f64) {
    if ahead.abs() < SKEW {
        return d.say(Question::Clock, Weight::Good, format!("the clock of {whose} agrees with this host's"));
    }
    let way = if ahead > 0.0 { "ahead of" } else { "behind" };
    let said = format!("the clock of {whose} is {:.0} s {way} this host's: set both by NTP", ahead.abs());
    d.say(Question::Clock, Weight::Bad, said);
}
