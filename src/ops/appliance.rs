//! What every verb works with: the configuration, the opened repository, the host's state and keys, a clock and a monitor.
//!
//! Owns how these are found and checked at the start. A verb takes an [`Appliance`] and what it is to do.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DrillPlace, Machine, unknown_tenant};
use crate::error::{Context, Error, Kind, Result};
use crate::host::Docker;
use crate::id::TenantName;
use crate::monitor::SharedMonitor;
use crate::ops::kit::Kit;
use crate::ops::place;
use crate::ops::recall::Kept;
use crate::ops::state::{self, Membership, State};
use crate::repo::age_file::{Identities, Nobody, Recipient, SharedAsked};
use crate::repo::certificate::Trust;
use crate::repo::chunk::DedupKey;
use crate::repo::repository::Repository;
use crate::repo::sign::SigningKey;
use crate::repo::vault::Vault;
use crate::store::{Lines, SharedStore, Store};

/// Tells the time; passed in, so that tests and simulations own it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What surrounds a verb and is not configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Clock,
    /// Who listens.
    pub monitor: SharedMonitor,
    /// Cancelled when the work should end.
    pub stop: CancellationToken,
    /// What is sent and fetched by all who share it, each line within its limit.
    pub lines: Lines,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("stop", &self.stop.is_cancelled()).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// Waits for `work`, unless a stop is asked for first: then it is dropped and the error is [`Kind::Interrupted`].
pub async fn unless_stopped<T>(stop: &CancellationToken, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::new(Kind::Interrupted, "interrupted")),
        result = work => result,
    }
}

/// All a verb needs.
#[derive(Debug)]
pub struct Appliance {
    /// The checked configuration.
    pub config: Config,
    /// The state folder.
    pub state: State,
    /// The opened repository.
    pub repo: Repository,
    /// The verified certificates.
    pub trust: Trust,
    /// Clock, monitor, stop.
    pub around: Surroundings,
}

impl Appliance {
    /// Opens the repository that this host was made a member of by `init`.
    pub async fn open(config: Config, around: Surroundings) -> Result<Appliance> {
        let store = place::open(&config.machine, &around.lines).await?;
        Appliance::open_on(store, config, around).await
    }

    /// The same on a store that is open.
    pub async fn open_on(store: SharedStore, config: Config, around: Surroundings) -> Result<Appliance> {
        let state = State::open(&config.machine.state_dir)?;
        Appliance::with_state(state, store, config, around).await
    }

    /// The same, with the store's credential that prune has for itself.
    pub async fn open_to_prune(config: Config, around: Surroundings) -> Result<Appliance> {
        let store = place::open_to_prune(&config.machine, &around.lines).await?;
        Appliance::open_on(store, config, around).await
    }

    /// Opens the copy of the repository in the second store; what is remembered of it is kept apart.
    ///
    /// [`Kind::Config`] where no second store is configured.
    pub async fn open_copy(config: Config, around: Surroundings) -> Result<Appliance> {
        let Some(copy) = &config.machine.copy else {
            return Err(Error::new(Kind::Config, "no second store is configured")
                .hint("write [copy] url = \"s3://…\" into lifeboat.toml, then `lifeboat copy`"));
        };
        let store = place::open_copy(&copy.store, false, &around.lines).await?;
        let state = State::open(&config.machine.state_dir)?.of_copy();
        Appliance::with_state(state, store, config, around).await
    }

    async fn with_state(
        state: State,
        store: SharedStore,
        config: Config,
        around: Surroundings,
    ) -> Result<Appliance> {
        let pin = match config.machine.pin {
            Some(pin) => Some(pin),
            None => state.membership()?.map(|m| m.pin),
        };
        let repo = Repository::open(store, pin).await?;
        if pin.is_none() {
            around.monitor.problem(&Error::new(
                Kind::Forged,
                format!(
                    "this host has no pin: whatever repository lies in {} is believed; set `[repository] pin` to the recovery kit's, \
                     or run `lifeboat keys certify --kit KIT`",
                    repo.store().address()
                ),
            ));
        }
        let certificates = Kept::of_certificates(&state);
        let trust = Trust::load(&certificates.through(&repo)).await?;
        certificates.keep();
        Ok(Appliance { config, state, repo, trust, around })
    }

    /// Refuses a recovery kit of another repository; files that are no kit say nothing of it.
    pub fn compare_kit(&self, file: &Path) -> Result<()> {
        if file == Path::new("-") {
            return Ok(());
        }
        match Kit::read(file) {
            Ok(kit) if kit.pin != self.repo.hash() => {
                let what = format!(
                    "{} is of repository {}, and {} holds {}",
                    file.display(),
                    kit.repository,
                    self.store().address(),
                    self.repo.id()
                );
                Err(Error::new(Kind::Forged, what).hint(
                    "another repository lies there, or somebody replaced it, or this is the wrong sheet",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Opens the repository that a recovery kit describes, without any configuration or state of this host.
    ///
    /// Store credentials come from the environment; fetched packs and locks lie in a temporary folder.
    pub async fn from_kit(kit: &Kit, around: Surroundings) -> Result<Appliance> {
        let (config, state) = Appliance::place_from_kit(kit)?;
        let place = of_kit(kit)?;
        let repo = Repository::open(place::open_from_kit(&place).await?, Some(kit.pin)).await?;
        let trust = Trust::load(&repo).await?;
        Ok(Appliance { config, state, repo, trust, around })
    }

    /// Returns configuration and state of a host that has nothing but a recovery kit.
    pub fn place_from_kit(kit: &Kit) -> Result<(Config, State)> {
        let folder = std::env::temp_dir().join(format!("lifeboat-recovery-{}", kit.repository));
        let config = Config::for_recovery(&of_kit(kit)?.address.to_string(), &folder)?;
        Ok((config, State::open(&folder)?))
    }

    /// Connects to the Docker daemon of this host.
    pub async fn docker(&self) -> Result<Docker> {
        Docker::connect_to(self.config.machine.docker_host.as_deref()).await
    }

    /// Returns the store.
    pub fn store(&self) -> &dyn Store {
        &**self.repo.store()
    }

    /// Returns the configured tenants that are named, or all when none is; an unknown one is an error.
    pub fn tenants(&self, named: &[TenantName]) -> Result<Vec<TenantName>> {
        for name in named {
            self.config.tenant(name)?;
        }
        if named.is_empty() && self.config.tenants().next().is_none() {
            return Err(Error::new(Kind::Config, "no tenant is configured")
                .hint("write tenants/NAME.toml; `lifeboat discover` prints one for what runs here"));
        }
        if named.is_empty() {
            return Ok(self.config.tenants().map(|t| t.name.clone()).collect());
        }
        Ok(named.to_vec())
    }

    /// Returns the tenants that are configured here or that a certificate names, so that the store may hold them.
    pub fn known_tenants(&self) -> BTreeSet<TenantName> {
        let mut all = self.trust.tenants();
        all.extend(self.config.tenants().map(|t| t.name.clone()));
        all
    }

    /// Fails with [`Kind::Usage`] where a tenant is neither configured here nor named by any certificate.
    pub fn known(&self, tenant: &TenantName) -> Result<()> {
        let known = self.known_tenants();
        // A certificate that does not verify may be the one that names it: then the store is to be looked at.
        if known.contains(tenant) || !self.trust.faults().is_empty() {
            return Ok(());
        }
        Err(unknown_tenant(tenant, "is configured on this host or in the repository", known.iter()))
    }

    /// Returns whom vaults are wrapped to: the configured operators and those that `init` made.
    pub fn operators(&self) -> Result<Vec<Recipient>> {
        recipients(&self.config.machine, &self.state)
    }

    /// Returns the host's signing key.
    pub fn host_key(&self) -> Result<SigningKey> {
        load_host_key(&self.state)?.ok_or_else(|| {
            Error::new(Kind::NotFound, "this host has no signing key")
                .hint("`lifeboat init` makes one; after its loss, `lifeboat keys certify --kit FILE`")
        })
    }

    /// Returns the tenant's dedup key, making one when there is none; a lost one costs one full upload.
    pub fn dedup_key(&self, tenant: &TenantName) -> Result<DedupKey> {
        let path = self.state.dedup_key(tenant);
        if let Some(bytes) = state::read_if_there(&path)? {
            return DedupKey::from_slice(&bytes).map_err(|e| e.in_context(path.display()));
        }
        let bytes: [u8; 32] = rand::random();
        state::write_private(&path, &bytes)?;
        Ok(DedupKey::new(bytes))
    }

    /// Returns the tenant's vault as this host remembers it.
    pub fn vault(&self, tenant: &TenantName) -> Result<Option<Vault>> {
        state::read_json(&self.state.tenant_if_there(tenant).join("vault.json"))
    }

    /// Remembers the tenant's vault.
    pub fn remember_vault(&self, tenant: &TenantName, vault: &Vault) -> Result<()> {
        state::write_json(&self.state.tenant(tenant)?.join("vault.json"), vault)
    }
}

fn of_kit(kit: &Kit) -> Result<place::Place> {
    Ok(place::Place {
        address: kit.store.parse()?,
        endpoint: kit.endpoint.clone(),
        region: kit.region.clone(),
    })
}

/// Reads identities from a file, a recovery kit or, for `-`, standard input; nobody is asked for a passphrase.
pub fn read_identities(path: &Path) -> Result<Identities> {
    Identities::open(&path.to_string_lossy(), &(Arc::new(Nobody) as SharedAsked))
}

/// Returns the operators' recipients and, where drills run here, the drill identity's.
pub fn recipients(machine: &Machine, state: &State) -> Result<Vec<Recipient>> {
    recipients_with(machine, state.membership()?.as_ref())
}

/// Returns the recipients as they would be with these members.
pub fn recipients_with(machine: &Machine, members: Option<&Membership>) -> Result<Vec<Recipient>> {
    let mut all = operators_alone(machine, members)?;
    let drill = members.and_then(|m| m.drill.as_deref()).map(str::parse).transpose()?;
    all.extend(drill.filter(|d| !all.contains(d)));
    Ok(all)
}

/// Returns the operators' recipients as they would be with these members, without a drill identity.
pub fn operators_alone(machine: &Machine, members: Option<&Membership>) -> Result<Vec<Recipient>> {
    let known = members.into_iter().flat_map(|m| &m.operators);
    let mut all: Vec<Recipient> = Vec::new();
    for text in machine.operators.iter().chain(known) {
        let one: Recipient = text.parse()?;
        if !all.contains(&one) {
            all.push(one);
        }
    }
    if all.is_empty() {
        return Err(Error::new(Kind::Config, "this host knows no operator who could read its backups").hint(
            "`lifeboat keys certify --kit FILE` learns them from the recovery kit, where the repository is there; \
             else name one in [operators] recipients, or let `lifeboat init` make one",
        ));
    }
    Ok(all)
}

/// Reads the host's signing key, if it has one.
pub fn load_host_key(state: &State) -> Result<Option<SigningKey>> {
    load_key(&state.host_key())
}

/// Reads a signing key from a file that may be missing.
pub fn load_key(path: &Path) -> Result<Option<SigningKey>> {
    let Some(bytes) = state::read_if_there(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes).context(Kind::Damaged, path.display())?;
    SigningKey::parse(&SecretString::from(text), None).map(Some).map_err(|e| e.in_context(path.display()))
}

/// Returns where drills run: as configured, else as `init` was told.
pub fn drill_place(machine: &Machine, state: &State) -> Result<DrillPlace> {
    let elsewhere = || Ok::<_, Error>(state.membership()?.is_some_and(|m| m.drills_elsewhere));
    Ok(match &machine.drills {
        DrillPlace::AsInitSaid if elsewhere()? => DrillPlace::Elsewhere,
        place => place.clone(),
    })
}

/// Returns the file of the drill identity that this host may use unattended, if drills run here.
pub fn drill_identity_file(place: &DrillPlace, state: &State) -> Option<std::path::PathBuf> {
    match place {
        DrillPlace::Here { identity_file: Some(file) } => Some(file.clone()),
        DrillPlace::Here { identity_file: None } => Some(state.drill_identity()),
        DrillPlace::AsInitSaid => Some(state.drill_identity()).filter(|f| f.exists()),
        DrillPlace::Elsewhere | DrillPlace::Unlocked => None,
    }
}
