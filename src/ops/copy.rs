//! `copy`: the repository in a second store, written without any key and readable as the first.
//!
//! Owns what is remembered of it on this host, and the facts of the rule 3-2-1: three copies, two keepers, one elsewhere.

use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Machine};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::id::TenantName;
use crate::ops::appliance::{Appliance, Surroundings, unless_stopped};
use crate::ops::state::{self, State};
use crate::ops::{place, snapshots};
use crate::repo::copy::{Copier, Done};
use crate::repo::history::{Head, Seen};
use crate::store::SharedStore;

/// What was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The object or the snapshot.
    pub object: String,
    /// The word of the error.
    pub kind: String,
    /// Why.
    pub what: String,
}

/// What a copy of a tenant did, or would do.
#[derive(Debug, Serialize)]
pub struct Copied {
    /// Whose.
    pub tenant: TenantName,
    /// Where it lies.
    pub address: String,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// How many snapshots are new there.
    pub snapshots: usize,
    /// How many were there.
    pub there: usize,
    /// The objects that were put.
    pub objects: u64,
    /// Of these, the packs.
    pub packs: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// The newest receipt of the copy: sequence and short hash.
    pub head: Option<String>,
    /// What is not right here and was not copied.
    pub left_out: Vec<LeftOut>,
    /// How long it took.
    pub seconds: f64,
}

impl Copied {
    /// Tells whether the copy lacks something.
    pub fn is_bad(&self) -> bool {
        !self.left_out.is_empty()
    }
}

/// How the last copy of a tenant by this host ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// Where to.
    pub address: String,
    /// The newest receipt in the copy.
    pub head: Option<Head>,
    /// What went wrong, if anything did.
    pub problem: Option<String>,
}

/// What a host remembers of the second store as a whole.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    address: String,
}

/// A copy that is on its way.
pub struct Copying<'a> {
    appliance: &'a Appliance,
    to: SharedStore,
    folder: tempfile::TempDir,
    dry_run: bool,
}

impl<'a> Copying<'a> {
    /// Opens the second store and copies what concerns all tenants.
    ///
    /// [`Kind::NoRepository`] where a copy was there and is gone, such as a disk that is not mounted, unless `anew`;
    /// [`Kind::Forged`] where another repository lies there.
    pub async fn begin(appliance: &'a Appliance, anew: bool, dry_run: bool) -> Result<Copying<'a>> {
        let Some(copy) = &appliance.config.machine.copy else {
            return Err(Error::new(Kind::Config, "no second store is configured")
                .hint("write [copy] url = \"s3://…\" or \"file:///…\" into lifeboat.toml"));
        };
        let written = appliance.state.copy_folder()?.join("written.json");
        let address = place::of_store(&copy.store).address.to_string();
        let before = state::read_json::<Written>(&written)?.is_some_and(|w| w.address == address);
        let to = place::open_copy(&copy.store, !before || anew, &appliance.around.lines).await?;
        Copying::into(appliance, to, before && !anew, dry_run).await
    }

    /// The same into a store that is open; `must_be_there` refuses one without a repository.
    pub async fn into(
        appliance: &'a Appliance,
        to: SharedStore,
        must_be_there: bool,
        dry_run: bool,
    ) -> Result<Copying<'a>> {
        if must_be_there && to.head(&crate::repo::keys::repository()).await?.is_none() {
            let what = format!("{} holds no repository any more, and did before", to.address());
            return Err(Error::new(Kind::NoRepository, what)
                .hint("is it mounted? If it was lost on purpose: `lifeboat copy --anew`"));
        }
        let base = appliance.state.copy_folder()?;
        // What a copy that was killed left there goes with the next one.
        let on_the_way = base.join("on-the-way");
        let folder = state::make_private_dir(&on_the_way)
            .and_then(|()| tempfile::tempdir_in(&on_the_way).context(Kind::Io, on_the_way.display()))?;
        let copying = Copying { appliance, to, folder, dry_run };
        let done = unless_stopped(&appliance.around.stop, copying.copier().house()).await?;
        if let Some((object, error)) = done.left_out.first() {
            appliance.around.monitor.problem(&Error::new(error.kind(), format!("{object}: {error}")));
        }
        if !dry_run {
            let written = Written { address: copying.to.address() };
            state::write_json(&base.join("written.json"), &written)?;
        }
        Ok(copying)
    }

    fn copier(&self) -> Copier<'_> {
        Copier {
            from: &self.appliance.repo,
            trust: &self.appliance.trust,
            to: &self.to,
            folder: self.folder.path(),
            monitor: &*self.appliance.around.monitor,
            dry: self.dry_run,
        }
    }

    /// Copies a tenant and remembers how that ended.
    pub async fn tenant(&self, tenant: &TenantName) -> Result<Copied> {
        let copied = self.try_tenant(tenant).await;
        if self.dry_run {
            return copied.map(|(copied, _)| copied);
        }
        let state = &self.appliance.state;
        let before = last(state, tenant)?.and_then(|l| l.head);
        let (head, problem) = match &copied {
            Ok((copied, _)) if copied.is_bad() => {
                (before, Some(format!("not in it: {}", counted(copied.left_out.len(), "object"))))
            }
            Ok((_, head)) => (head.clone(), None),
            Err(e) => (before, Some(e.to_string())),
        };
        let last = Last { at: self.appliance.around.now(), address: self.to.address(), head, problem };
        state::write_json(&last_file(state, tenant)?, &last)?;
        copied.map(|(copied, _)| copied)
    }

    async fn try_tenant(&self, tenant: &TenantName) -> Result<(Copied, Option<Head>)> {
        let (appliance, clock) = (self.appliance, Instant::now());
        let _lock = appliance.state.copy_lock(tenant)?;
        let history = snapshots::history(appliance, tenant).await?;
        // A store that shows less than this host has seen is not what the copy should become.
        for fault in history.faults.iter().filter(|f| f.is_alarm()) {
            let what = format!("{tenant}: {fault}; what is right is copied nevertheless");
            appliance.around.monitor.problem(&Error::new(Kind::CheckFailed, what));
        }
        let copier = self.copier();
        let done = unless_stopped(&appliance.around.stop, copier.tenant(&history)).await?;
        let head = history.head();
        if !self.dry_run && done.left_out.is_empty() {
            let snapshots = history.snapshots.iter().map(|c| c.receipt.snapshot.clone()).collect();
            let seen = Seen { head: head.clone(), snapshots };
            state::write_json(&appliance.state.of_copy().tenant(tenant)?.join("seen.json"), &seen)?;
        }
        let told = head.as_ref().map(|h| format!("{}:{}", h.sequence, h.receipt.short()));
        Ok((self.told(tenant, done, told, clock), head))
    }

    fn told(&self, tenant: &TenantName, done: Done, head: Option<String>, clock: Instant) -> Copied {
        let left_out = done.left_out.into_iter().map(|(object, e)| LeftOut {
            object,
            kind: e.kind().word().to_owned(),
            what: e.to_string(),
        });
        Copied {
            tenant: tenant.clone(),
            address: self.to.address(),
            dry_run: self.dry_run,
            snapshots: done.snapshots.len(),
            there: done.there,
            objects: done.objects,
            packs: done.packs,
            bytes: done.bytes,
            head,
            left_out: left_out.collect(),
            seconds: clock.elapsed().as_secs_f64(),
        }
    }
}

/// Copies a tenant without asking, as the service does after a backup.
pub async fn unattended(config: Config, around: Surroundings, tenant: &TenantName) -> Result<Copied> {
    let appliance = Appliance::open(config, around).await?;
    let copying = Copying::begin(&appliance, false, false).await;
    match copying {
        Ok(copying) => copying.tenant(tenant).await,
        Err(e) => {
            let address = appliance.config.machine.copy.as_ref().map(|c| place::of_store(&c.store).address);
            let last = Last {
                at: appliance.around.now(),
                address: address.map_or_else(String::new, |a| a.to_string()),
                head: last(&appliance.state, tenant)?.and_then(|l| l.head),
                problem: Some(e.to_string()),
            };
            state::write_json(&last_file(&appliance.state, tenant)?, &last)?;
            Err(e)
        }
    }
}

/// Returns how the last copy of a tenant by this host ended.
pub fn last(state: &State, tenant: &TenantName) -> Result<Option<Last>> {
    state::read_json(&last_file(state, tenant)?)
}

fn last_file(state: &State, tenant: &TenantName) -> Result<PathBuf> {
    Ok(state.tenant(tenant)?.join("last-copy.json"))
}

/// Where a copy of the data is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The store's address.
    pub address: String,
    /// Who keeps it: this host, a server's name, or AWS in a region.
    pub keeper: String,
    /// Whether it goes with this host.
    pub on_this_host: bool,
}

/// The facts of the rule 3-2-1, as the configuration tells them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// How many copies of the data there are, that which is in use included.
    pub copies: usize,
    /// By how many different keepers, this host included.
    pub keepers: usize,
    /// How many of the copies do not go with this host.
    pub off_host: usize,
    /// The stores.
    pub stores: Vec<Kept>,
}

impl Copies {
    /// Reads them from the configuration.
    pub fn of(machine: &Machine) -> Copies {
        let configured = std::iter::once(&machine.store).chain(machine.copy.as_ref().map(|c| &c.store));
        let stores: Vec<Kept> = configured
            .map(place::of_store)
            .map(|p| Kept { address: p.address.to_string(), keeper: p.keeper(), on_this_host: p.is_here() })
            .collect();
        let mut keepers: Vec<&str> = stores.iter().map(|s| s.keeper.as_str()).chain(["this host"]).collect();
        keepers.sort_unstable();
        keepers.dedup();
        Copies {
            copies: stores.len() + 1,
            keepers: keepers.len(),
            off_host: stores.iter().filter(|s| !s.on_this_host).count(),
            stores,
        }
    }

    /// Says it in a sentence.
    pub fn sentence(&self) -> String {
        let stores: Vec<String> =
            self.stores.iter().map(|s| format!("{} ({})", s.address, s.keeper)).collect();
        let lacks = match (self.copies < 3, self.keepers < 2, self.off_host == 0) {
            (_, _, true) => "; ALL of them go with this host",
            (true, ..) => "; no second store is configured",
            (_, true, _) => "; one keeper has them all",
            _ => "",
        };
        format!(
            "3-2-1: {} copies (what is in use, {}), {} keepers, {} off this host{lacks}.",
            self.copies,
            stores.join(", "),
            self.keepers,
            self.off_host
        )
    }
}
