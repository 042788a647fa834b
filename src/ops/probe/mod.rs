//! `probe`: what the store and this host's credential really do, found out by trying.
//!
//! Owns the trials, under a prefix of their own, and their outcome, which the state folder keeps. Others read from it
//! what they may rely on; nobody asks for a vendor's name. Stores were seen to accept conditions and locks and to ignore them.

mod bench;
mod bytes;
mod conditions;
mod finding;
mod guards;
mod locks;

use crate::config::Config;
use crate::error::Result;
use crate::ops::appliance::Surroundings;
use crate::ops::place;
use crate::ops::state::{self, State};
use crate::store::SharedStore;

use bench::Bench;
pub use finding::{Finding, Outcome, Probed, Protection, Trial};

/// Tries the configured store and remembers the outcome.
///
/// Fails where not even storing and reading works.
pub async fn probe(config: &Config, around: &Surroundings) -> Result<Probed> {
    let state = State::open(&config.machine.state_dir)?;
    let store = place::open_untried(&config.machine, false).await?;
    let probed = try_all(store, around).await?;
    remember(&state, &probed)?;
    Ok(probed)
}

/// Tries everything about a store.
pub async fn try_all(store: SharedStore, around: &Surroundings) -> Result<Probed> {
    let mut bench = Bench::begin(store, around);
    bytes::try_all(&mut bench).await?;
    conditions::try_all(&mut bench).await;
    guards::try_versions(&mut bench).await;
    locks::try_all(&mut bench).await;
    guards::try_settings(&mut bench).await;
    bench.clean_up().await;
    Ok(bench.end())
}

/// Keeps the outcome in the state folder.
pub fn remember(state: &State, probed: &Probed) -> Result<()> {
    state::write_json(&state.probe(), probed)
}

/// Returns what the last probe of this store found out, if there was one.
///
/// One that cannot be read any more counts as none: a probe costs seconds.
pub fn last(state: &State, store: &str) -> Option<Probed> {
    let probed = state::read_json::<Probed>(&state.probe()).ok().flatten();
    probed.filter(|p| p.store == store)
}
