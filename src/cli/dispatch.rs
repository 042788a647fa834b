//! From the parsed command line to a verb and its rendered outcome.
//!
//! Owns which option reaches which verb, and the exit code of outcomes that are not errors.

mod benchmark;
mod capacity;
mod check;
mod copy;
mod diff;
mod doctor;
mod drill;
mod erase;
mod files;
mod health;
mod keys;
mod probe;
mod provision;
mod prune;
mod read;
mod repair;
mod restore;
mod service;
mod unlock;
mod write;

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::args::{Cli, ConfigVerb, SourceArgs, Verb};
use super::progress::{JsonLines, Terminal};
use super::render::{Output, Rendered};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::monitor::{SharedMonitor, Silent};
use crate::ops::appliance::{Appliance, Surroundings, unless_stopped};
use crate::store::Lines;

/// The exit code of an outcome that is not an error.
pub(super) const DONE: u8 = 0;

/// One run of the command line.
pub(super) struct Call<'a> {
    pub cli: &'a Cli,
    pub output: &'a Output,
    pub stop: &'a CancellationToken,
}

/// Runs the verb and returns its exit code.
pub async fn verb(cli: &Cli, output: &Output, stop: &CancellationToken) -> Result<u8> {
    let call = Call { cli, output, stop };
    match &cli.verb {
        Verb::Init(args) => keys::init(&call, args).await,
        Verb::Keys(verb) => keys::run(&call, verb).await,
        Verb::Backup(args) => write::backup(&call, args).await,
        Verb::Prune(args) => prune::run(&call, args).await,
        Verb::Erase(args) => erase::run(&call, args).await,
        Verb::Pin(args) => prune::pin(&call, args).await,
        Verb::Hold(args) => write::hold(&call, args).await,
        Verb::Accept(args) => write::accept(&call, args).await,
        Verb::Restore(args) => write::restore(&call, args).await,
        Verb::Drill(args) => write::drill(&call, args).await,
        Verb::Status(args) => call.reading(read::status(&call, args)).await,
        Verb::Snapshots(args) => call.reading(read::snapshots(&call, args)).await,
        Verb::Show(args) => call.reading(read::show(&call, args)).await,
        Verb::Files(verb) => call.reading(read::files(&call, verb)).await,
        Verb::Diff(args) => call.reading(diff::run(&call, args)).await,
        Verb::Check(args) => check::run(&call, args).await,
        Verb::Copy(args) => copy::run(&call, args).await,
        Verb::Unlock(args) => unlock::run(&call, args).await,
        Verb::Probe(args) => probe::run(&call, args).await,
        Verb::Benchmark(args) => benchmark::run(&call, args).await,
        Verb::Health(args) => health::run(&call, args).await,
        Verb::Capacity(args) => capacity::run(&call, args).await,
        Verb::Doctor => doctor::run(&call).await,
        Verb::Provision(args) => provision::run(&call, args).await,
        Verb::Deprovision(args) => provision::deprovision(&call, args).await,
        Verb::Discover(args) => call.reading(service::discover(&call, args)).await,
        Verb::Config(ConfigVerb::Check) => service::config_check(&call),
        Verb::Serve(args) => service::serve(&call, args).await,
    }
}

impl Call<'_> {
    /// Reads the configuration; its warnings go to the monitor.
    pub fn config(&self) -> Result<Config> {
        Ok(Config::load(&self.cli.config)?)
    }

    /// Returns clock, monitor and stop for this run.
    pub fn around(&self) -> Surroundings {
        let monitor: SharedMonitor = if self.cli.quiet {
            Arc::new(Silent)
        } else if self.output.is_json() {
            Arc::new(JsonLines)
        } else {
            let terminal = Terminal::new();
            self.output.beside(terminal.bar());
            Arc::new(terminal)
        };
        let lines = Lines::default();
        Surroundings { clock: Arc::new(Timestamp::now), monitor, stop: self.stop.clone(), lines }
    }

    /// Opens the repository of this host.
    pub async fn appliance(&self) -> Result<Appliance> {
        let around = self.around();
        self.reading(Appliance::open(self.config()?, around)).await.map_err(not_begun)
    }

    /// Opens the repository of this host, or its copy in the second store.
    pub async fn appliance_of(&self, source: SourceArgs) -> Result<Appliance> {
        if !source.from_copy {
            return self.appliance().await;
        }
        let around = self.around();
        self.reading(Appliance::open_copy(self.config()?, around)).await.map_err(not_begun)
    }

    /// Waits for work that only reads, and ends at once when a stop is asked for.
    pub async fn reading<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        unless_stopped(self.stop, work).await
    }

    /// Prints a result; the monitor's line must be gone by then.
    pub fn done(&self, result: &impl Rendered) -> u8 {
        self.output.result(result);
        DONE
    }
}

/// A verb that was interrupted while its repository was opened has done nothing yet, and says so.
fn not_begun(error: Error) -> Error {
    match error.kind() {
        Kind::Interrupted => error.hint("nothing had been changed"),
        _ => error,
    }
}
