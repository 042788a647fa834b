//! `benchmark`: what this host can do, stage by stage, with the functions that backups call.
//!
//! Owns which stages there are, how the time is shared out, and what holds a backup up. Leaves nothing behind.

mod figures;
mod sample;
mod stages;
mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

pub use figures::{Bottleneck, Figure, Stage};

use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::ops::appliance::{Surroundings, unless_stopped};
use crate::ops::place;
use crate::repo::spool::{LEAST_BYTES, Spool, SpoolOptions};
use crate::store::{LocalStore, SharedStore, Timeouts};
use figures::{bottleneck, figure};
use stages::Material;
use transfer::Transfer;

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// How many cores there are.
    pub cores: usize,
    /// How long it took.
    pub seconds: f64,
    /// The share of the generated SQL that is left after compression.
    pub sql_ratio: f64,
    /// The folder whose disk was written to.
    pub spool: String,
    /// The store, where it was measured.
    pub store: Option<String>,
    /// The stages, in the order of a backup.
    pub stages: Vec<Figure>,
    /// What holds a first backup of SQL up.
    pub bottleneck: Bottleneck,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Measures for about `budget`: the host, and with `with_store` the configured store.
///
/// Without a configuration, or before `init`, the disk of temporary files takes the place of the spool's. Limits of the
/// configuration do not count here.
pub async fn benchmark(
    config: Option<&Config>,
    with_store: bool,
    budget: Duration,
    around: &Surroundings,
) -> Result<Measured> {
    let clock = Instant::now();
    let store = match (config, with_store) {
        (Some(config), true) => Some(place::open_untried(&config.machine, false).await?),
        _ => None,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Each stage on one core and on all, the disk once, the store four times.
    let turns = 2 * (Stage::LOCAL.len() - 1) + 1 + if store.is_some() { 4 } else { 0 };
    let slice = budget.div_f64(turns as f64);
    around.monitor.step("benchmark: generating data");
    let material = tokio::task::spawn_blocking(Material::make).await.context(Kind::Bug, "making data")??;
    let material = Arc::new(material);
    let folder = temporary(config)?;
    let mut stages = Vec::new();
    for stage in Stage::LOCAL {
        around.monitor.step(&format!("benchmark: {}", stage.name()));
        let (one, all) = match stage {
            Stage::Spool => {
                let speed = unless_stopped(&around.stop, spool(folder.path(), slice)).await?;
                (speed, speed)
            }
            _ => {
                let material = Arc::clone(&material);
                let run = tokio::task::spawn_blocking(move || material.measure(stage, cores, slice));
                unless_stopped(&around.stop, async { run.await.context(Kind::Bug, "a stage")? }).await?
            }
        };
        stages.push(figure(stage, one, all, material.ratio));
    }
    let mut warnings = Vec::new();
    if let Some(store) = &store {
        around.monitor.step("benchmark: store");
        let (puts, gets) = through(store, slice, around, &mut warnings).await?;
        stages.push(figure(Stage::StorePut, puts.0, puts.1, material.ratio));
        stages.push(figure(Stage::StoreGet, gets.0, gets.1, material.ratio));
    }
    let found = bottleneck(&stages).ok_or_else(|| Error::new(Kind::Bug, "nothing was measured"))?;
    Ok(Measured {
        cores,
        seconds: clock.elapsed().as_secs_f64(),
        sql_ratio: material.ratio,
        spool: folder.path().parent().unwrap_or(folder.path()).display().to_string(),
        store: store.map(|s| s.address()),
        stages,
        bottleneck: found,
        warnings,
    })
}

/// Makes a folder on the disk where packs wait for the store.
fn temporary(config: Option<&Config>) -> Result<tempfile::TempDir> {
    let configured = config.map(|c| c.machine.state_dir.clone()).filter(|dir| dir.is_dir());
    let parent = configured.unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("benchmark-").tempdir_in(&parent);
    made.context(Kind::Io, format!("benchmark in {}", parent.display()))
}

/// Measures the disk below the spool.
async fn spool(folder: &Path, slice: Duration) -> Result<f64> {
    // No pack of it is ever put.
    let store: SharedStore = Arc::new(LocalStore::open(folder, Timeouts::default(), false).await?);
    let options = SpoolOptions {
        folder: folder.join("spool"),
        limit_bytes: LEAST_BYTES,
        patience: Duration::from_secs(60),
        uploads: 1,
    };
    let (spool, runtime) = (Spool::open(&options, store, "benchmark/")?, tokio::runtime::Handle::current());
    let run = tokio::task::spawn_blocking(move || stages::write_spool(&spool, &runtime, slice));
    run.await.context(Kind::Bug, "writing to the spool")?
}

/// Measures the store and removes what was put, also where that failed or was interrupted.
async fn through(
    store: &SharedStore,
    slice: Duration,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<(transfer::Speeds, transfer::Speeds)> {
    let transfer = Transfer::begin(Arc::clone(store));
    let measured = unless_stopped(&around.stop, transfer.measure(slice)).await;
    let left = transfer.clean_up().await;
    match (measured, left) {
        (Ok(measured), left) => {
            warnings.extend(left);
            Ok(measured)
        }
        (Err(e), Some(left)) => Err(e.hint(left)),
        (Err(e), None) => Err(e),
    }
}
