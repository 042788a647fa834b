//! `init`: a new repository, its operator keys and recovery kit, and this host's first certificate.
//!
//! Owns the order in which these come to be, so that a crash leaves no repository whose keys nobody has.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::config::{Config, Machine};
use crate::error::{Context, Error, Kind, Result};
use crate::id::{HostName, RepositoryId, Sha256, TenantName};
use crate::ops::appliance::{self, Surroundings};
use crate::ops::keys::{hand_over, host};
use crate::ops::kit::Kit;
use crate::ops::place;
use crate::ops::probe::{self, Outcome, Protection, Trial};
use crate::ops::state::{self, Membership, State};
use crate::repo::age_file;
use crate::repo::certificate::{self, Certificate, Grant, Role, Trust};
use crate::repo::repository::{Draft, Repository};
use crate::repo::sign::SigningKey;
use crate::store::SharedStore;

/// Where drills run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drills {
    /// On this host: it gets an identity that reads its tenants' backups.
    Here,
    /// On another machine.
    Elsewhere,
    /// On this host, when an operator unlocks them.
    Unlocked,
}

/// What `init` is told.
#[derive(Debug)]
pub struct Options {
    /// Where the recovery kit goes.
    pub kit: PathBuf,
    /// Where drills run.
    pub drills: Drills,
    /// Recipients of operators who have a key of their own.
    pub operators: Vec<String>,
}

/// What `init` made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The repository.
    pub repository: RepositoryId,
    /// The hash of its `lifeboat.json`.
    pub pin: Sha256,
    /// Where it lies.
    pub store: String,
    /// The recovery kit.
    pub kit: PathBuf,
    /// The tenants this host may write for.
    pub tenants: Vec<TenantName>,
    /// Whether an identity was made that stands in the kit alone.
    pub new_identity: bool,
    /// Whether this host can read backups.
    pub host_can_read: bool,
    /// What the store was seen not to do.
    pub warnings: Vec<String>,
}

/// Makes a repository in the configured store and certifies this host for the configured tenants.
pub async fn init(config: &Config, options: Options, around: &Surroundings) -> Result<Made> {
    refuse_kit_on_host(&options.kit, config)?;
    let state = State::open(&config.machine.state_dir)?;
    refuse_second_init(&state)?;
    let store = place::open_untried(&config.machine, true).await?;
    let warnings = try_store(&state, &store, around).await?;
    let keys = make_keys(&config.machine, &options)?;
    let mut kit_file = match KitFile::reserve(&options.kit) {
        Err(e) if e.kind() == Kind::Conflict => return Err(half_done(e, &options.kit, store).await),
        other => other?,
    };

    // The sheet first: a repository whose root key nobody has could never be used, nor perhaps removed.
    let draft = Repository::draft(keys.root.public(), around.now(), rand::random())?;
    kit_file.write(&keys.kit(&draft, &config.machine, around)?)?;
    // From here on somebody may need it: whether the repository came to be is known from a good answer only.
    kit_file.needed = true;
    let repo = draft.create(store).await.inspect_err(|e| kit_file.needed = e.kind() != Kind::Conflict)?;
    keep_host_keys(&state, &keys)?;
    let tenants: Vec<TenantName> = config.tenants().map(|t| t.name.clone()).collect();
    certify(&repo, &state, &keys.root, config, &[], around).await?;
    let pin = repo.hash();
    state.join(&Membership {
        repository: repo.id().clone(),
        pin,
        operators: keys.operators.clone(),
        drill: keys.drill.as_ref().map(|(_, recipient)| recipient.clone()),
        removed: Vec::new(),
        drills_elsewhere: options.drills == Drills::Elsewhere,
        kit_confirmed: None,
    })?;
    Ok(Made {
        repository: repo.id().clone(),
        pin,
        store: repo.store().address(),
        kit: options.kit.clone(),
        tenants,
        new_identity: keys.identity.is_some(),
        host_can_read: keys.drill.is_some(),
        warnings,
    })
}

/// What a host was certified for.
#[derive(Debug, Serialize)]
pub struct Certified {
    /// The host.
    pub host: HostName,
    /// The certificate's number.
    pub certificate: u32,
    /// Its roles.
    pub roles: Vec<&'static str>,
    /// The tenants it names.
    pub tenants: Vec<TenantName>,
    /// Configured tenants that it does not name, each with the reason.
    pub without: Vec<String>,
}

/// Issues this host's next certificate for the configured tenants; makes its signing key when it has none.
///
/// Without `roles` it keeps those it has, or gets those of a host that backs up and drills. A tenant that another host
/// writes is left out and named. A key that this host had before, and lost, is ended.
pub async fn certify(
    repo: &Repository,
    state: &State,
    root: &SigningKey,
    config: &Config,
    roles: &[Role],
    around: &Surroundings,
) -> Result<Certified> {
    let host = &config.machine.host;
    let trust = Trust::load(repo).await?;
    let host_key = host_key(state)?;
    host::end_lost(repo, &trust, root, host, host_key.public(), around.now()).await?;
    let roles = roles_of(&trust, host, roles);
    let (mut tenants, mut without) = (Vec::new(), Vec::new());
    for tenant in config.tenants().map(|t| t.name.clone()) {
        match hand_over::may_name(&trust, host, host_key.public(), &roles, &tenant) {
            Ok(()) => tenants.push(tenant),
            Err(e) => without.push(format!("{e}; {}", e.hint_text().unwrap_or_default())),
        }
    }
    // Under the same key, what went to another host stays gone.
    let before = host::newest_certificate(&trust, host).filter(|c| c.signing_key == *host_key.public());
    let grant = Grant {
        host: host.clone(),
        signing_key: host_key.public().clone(),
        roles: roles.clone(),
        tenants: tenants.clone(),
        ended: None,
        handed_over: before.map(|c| c.handed_over.clone()).unwrap_or_default(),
    };
    let certificate = certificate::issue(repo, root, grant, around.now()).await?.number;
    let roles = roles.into_iter().map(Role::as_str).collect();
    Ok(Certified { host: host.clone(), certificate, roles, tenants, without })
}

fn host_key(state: &State) -> Result<SigningKey> {
    if let Some(key) = appliance::load_host_key(state)? {
        return Ok(key);
    }
    let (key, text) = SigningKey::generate("lifeboat host key", None)?;
    state::write_private(&state.host_key(), text.expose_secret().as_bytes())?;
    Ok(key)
}

fn roles_of(trust: &Trust, host: &HostName, given: &[Role]) -> Vec<Role> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let granted = |c: &Certificate| Role::ALL.into_iter().filter(|r| c.grants(*r)).collect::<Vec<_>>();
    let before = trust.in_force(host).map(granted).unwrap_or_default();
    if before.is_empty() { vec![Role::Backup, Role::Drill] } else { before }
}

/// The keys that `init` makes; secrets are wiped when dropped.
struct Keys {
    root: SigningKey,
    root_text: SecretString,
    /// The identity for the kit, where no operator brought a recipient.
    identity: Option<SecretString>,
    /// Recipients besides the configured ones.
    operators: Vec<String>,
    /// The drill identity's text and recipient.
    drill: Option<(SecretString, String)>,
}

fn make_keys(machine: &Machine, options: &Options) -> Result<Keys> {
    let (root, root_text) = SigningKey::generate("lifeboat root key", None)?;
    for text in &options.operators {
        text.parse::<age_file::Recipient>()?;
    }
    let mut operators = options.operators.clone();
    let mut identity = None;
    if operators.is_empty() && machine.operators.is_empty() {
        let (secret, recipient) = age_file::generate_identity();
        operators.push(String::from(recipient));
        identity = Some(secret);
    }
    let drill = (options.drills == Drills::Here).then(|| {
        let (secret, recipient) = age_file::generate_identity();
        (secret, String::from(recipient))
    });
    Ok(Keys { root, root_text, identity, operators, drill })
}

impl Keys {
    fn kit(&self, repo: &Draft, machine: &Machine, around: &Surroundings) -> Result<Kit> {
        // The text form is a comment line and the key; the sheet holds the key alone.
        let root_secret = self.root_text.expose_secret().lines().nth(1).unwrap_or_default();
        let place = place::of(machine)?;
        Ok(Kit {
            repository: repo.id().clone(),
            pin: repo.hash(),
            store: place.address.to_string(),
            endpoint: place.endpoint,
            region: place.region,
            root_public: self.root.public().to_string(),
            root_secret: Some(SecretString::from(root_secret.to_owned())),
            identities: self.identity.iter().cloned().collect(),
            made: around.now(),
        })
    }
}

/// Reads the root's signing key from a recovery kit.
pub fn root_of(kit: &Kit) -> Result<SigningKey> {
    let secret = kit.root_secret.as_ref().ok_or_else(|| {
        Error::new(Kind::WrongKey, "this recovery kit holds no root secret key")
            .hint("use the sheet of the founder")
    })?;
    let text = format!("untrusted comment: lifeboat root key\n{}\n", secret.expose_secret());
    SigningKey::parse(&SecretString::from(text), None)
}

fn keep_host_keys(state: &State, keys: &Keys) -> Result<()> {
    if let Some((secret, _)) = &keys.drill {
        let text = age_file::identity_file(
            "lifeboat drill identity: reads the backups of this host's tenants",
            secret,
        );
        state::write_private(&state.drill_identity(), text.as_bytes())?;
    }
    Ok(())
}

fn refuse_second_init(state: &State) -> Result<()> {
    match state.membership()? {
        None => Ok(()),
        Some(m) => Err(Error::new(
            Kind::Conflict,
            format!("this host belongs to repository {} already", m.repository),
        )
        .hint("for another repository use another state_dir")),
    }
}

/// A kit beside the keys of the host would be found by whoever takes the host over.
fn refuse_kit_on_host(kit: &Path, config: &Config) -> Result<()> {
    let parent = kit.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent =
        parent.canonicalize().context(Kind::Usage, format_args!("folder of the kit {}", kit.display()))?;
    for folder in [&config.dir, &config.machine.state_dir] {
        if folder.canonicalize().is_ok_and(|f| parent.starts_with(f)) {
            return Err(Error::new(
                Kind::Usage,
                format!("the recovery kit must not lie in {}, which stays on this host", folder.display()),
            )
            .hint("name a file on a device that leaves this host"));
        }
    }
    Ok(())
}

/// Says what an earlier `init` left undone whose recovery kit is there.
async fn half_done(there: Error, path: &Path, store: SharedStore) -> Error {
    // A device or FIFO is nobody's kit, and reading it may never end.
    let is_file = std::fs::metadata(path).is_ok_and(|m| m.is_file());
    let Some(kit) = is_file.then(|| Kit::read(path).ok()).flatten() else { return there };
    let address = store.address();
    let hint = match Repository::open(store, Some(kit.pin)).await {
        Ok(repo) => format!(
            "it is that of repository {}, which {address} holds: if an init was cut off, `lifeboat keys certify --kit {}` \
             completes it",
            repo.id(),
            path.display()
        ),
        Err(e) if e.kind() == Kind::NoRepository && kit.store == address => format!(
            "it is that of repository {}, which {address} does not hold: an init was cut off before it made it, so remove \
             the file and run init again",
            kit.repository
        ),
        Err(_) => format!("it is that of repository {} in {}: name another file", kit.repository, kit.store),
    };
    there.hint(hint)
}

/// The kit's place, taken before the repository exists, so that no repository is made whose kit cannot be kept.
struct KitFile<'a> {
    path: &'a Path,
    needed: bool,
}

impl<'a> KitFile<'a> {
    fn reserve(path: &'a Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let what = || format!("recovery kit {}", path.display());
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(_) => Ok(KitFile { path, needed: false }),
            // An init that was cut off had got so far and no further.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && is_empty_file(path) => {
                Ok(KitFile { path, needed: false })
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                Err(Error::new(Kind::Conflict, format!("{} is there already", what()))
                    .hint("name a file that does not exist, best on a device that leaves this host"))
            }
            Err(e) => Err(e).context(Kind::Io, what()),
        }
    }

    fn write(&mut self, kit: &Kit) -> Result<()> {
        state::write_private(self.path, kit.to_text().expose_secret().as_bytes())
    }
}

fn is_empty_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() == 0)
}

impl Drop for KitFile<'_> {
    fn drop(&mut self) {
        if !self.needed {
            // A sheet without its repository helps nobody; one that cannot be removed opens nothing.
            drop(std::fs::remove_file(self.path));
        }
    }
}

/// Probes the store, keeps what was found out, and refuses a store that would lose backups.
async fn try_store(state: &State, store: &SharedStore, around: &Surroundings) -> Result<Vec<String>> {
    let probed = probe::try_all(Arc::clone(store), around).await?;
    probe::remember(state, &probed)?;
    if probed.harms() {
        let bad = probed.findings.iter().filter(|f| f.outcome == Outcome::Harms);
        let said: Vec<&str> = bad.map(|f| f.said.as_str()).collect();
        return Err(Error::new(Kind::CheckFailed, format!("store {}: {}", store.address(), said.join("; "))));
    }
    let mut warnings = Vec::new();
    if probed.protection() == Protection::None {
        warnings.push(format!("{} `lifeboat probe` says what was tried.", probed.sentence()));
    }
    if probed.outcome(Trial::Clock) == Outcome::Lacks {
        warnings.extend(probed.warnings().into_iter().filter(|w| w.starts_with(Trial::Clock.word())));
    }
    Ok(warnings)
}
