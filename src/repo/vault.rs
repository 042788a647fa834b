//! Vaults: a tenant's age key pair, its wraps to the operators, and the way back from a wrap to the key.
//!
//! Owns vault identities and wraps. Knows nothing of packs. Only [`VaultKey`] can read what was backed up; a host
//! that backs up holds a [`Vault`] alone.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result, counted};
use crate::id::{Sha256, TenantName, VaultId};

use super::age_file::{self, Identities, Recipient};
use super::repository::Repository;
use super::{keys, object, wraps};

/// The greatest length of a wrap, in bytes.
pub const WRAP_LIMIT: u64 = 64 * 1024;

/// How many wraps of one vault are read and embedded; each set of operators that ever was makes one.
pub const WRAPS_LIMIT: usize = 64;

/// Returns the id of the vault with this recipient.
pub fn vault_id(recipient: &Recipient) -> VaultId {
    let hash = Sha256::of(recipient.to_string().as_bytes()).to_string();
    hash[..32].parse().expect("32 hex digits are a vault id")
}

/// A vault identity sealed to one set of operators; as a receipt embeds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrapShape", into = "WrapShape")]
pub struct Wrap {
    hash: Sha256,
    age: Bytes,
}

#[derive(Serialize, Deserialize)]
struct WrapShape {
    hash: Sha256,
    age: String,
}

impl Wrap {
    /// Makes a wrap of its bytes.
    pub fn of(age: impl Into<Bytes>) -> Wrap {
        let age = age.into();
        Wrap { hash: Sha256::of(&age), age }
    }

    /// Returns the hash that names it.
    pub fn hash(&self) -> &Sha256 {
        &self.hash
    }

    /// Returns the age file.
    pub fn bytes(&self) -> &Bytes {
        &self.age
    }
}

impl TryFrom<WrapShape> for Wrap {
    type Error = Error;
    fn try_from(shape: WrapShape) -> Result<Wrap> {
        let damaged = || Error::new(Kind::Damaged, format!("wrap {} is damaged", shape.hash.short()));
        let wrap = Wrap::of(STANDARD.decode(&shape.age).map_err(|_| damaged())?);
        if wrap.hash == shape.hash { Ok(wrap) } else { Err(damaged()) }
    }
}

impl From<Wrap> for WrapShape {
    fn from(wrap: Wrap) -> WrapShape {
        WrapShape { hash: wrap.hash, age: STANDARD.encode(&wrap.age) }
    }
}

/// The public half of a tenant's vault, as a host keeps it (in its own state, as JSON) and a receipt embeds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "VaultShape")]
pub struct Vault {
    #[serde(rename = "vault")]
    id: VaultId,
    recipient: Recipient,
    wraps: Vec<Wrap>,
}

#[derive(Deserialize)]
struct VaultShape {
    vault: VaultId,
    recipient: Recipient,
    wraps: Vec<Wrap>,
}

impl TryFrom<VaultShape> for Vault {
    type Error = Error;
    fn try_from(shape: VaultShape) -> Result<Vault> {
        if vault_id(&shape.recipient) != shape.vault {
            return Err(Error::new(Kind::Damaged, format!("vault {} has another recipient", shape.vault)));
        }
        Ok(Vault { id: shape.vault, recipient: shape.recipient, wraps: shape.wraps })
    }
}

impl Vault {
    /// Makes a tenant's vault: a new identity, wrapped to the operators, the wrap stored.
    ///
    /// The secret leaves this call in the wrap alone.
    pub async fn create(repo: &Repository, tenant: &TenantName, operators: &[Recipient]) -> Result<Vault> {
        let key = VaultKey::generate();
        let mut vault = Vault { id: key.id.clone(), recipient: key.recipient.clone(), wraps: Vec::new() };
        vault.rewrap(repo, tenant, &key, operators).await?;
        Ok(vault)
    }

    /// Takes the vault of a verified receipt: how a host that lost its state goes on.
    pub fn of_receipt(receipt: &super::receipt::Receipt) -> Result<Vault> {
        Vault::try_from(VaultShape {
            vault: receipt.vault.clone(),
            recipient: receipt.recipient.clone(),
            wraps: receipt.wraps.clone(),
        })
    }

    /// Wraps the vault to another set of operators and stores the wrap; older wraps stay.
    pub async fn rewrap(
        &mut self,
        repo: &Repository,
        tenant: &TenantName,
        key: &VaultKey,
        operators: &[Recipient],
    ) -> Result<()> {
        if key.id != self.id {
            return Err(Error::new(
                Kind::WrongKey,
                format!("the key of vault {} cannot wrap {}", key.id, self.id),
            ));
        }
        self.wraps.push(key.put_wrap(repo, tenant, operators).await?);
        Ok(())
    }

    /// Takes up a wrap of this vault that is in the store already.
    pub fn add_wrap(&mut self, wrap: Wrap) {
        if !self.wraps.contains(&wrap) {
            self.wraps.push(wrap);
        }
    }

    /// Leaves out the wraps that `keep` does not want; the last one stays.
    pub fn retain_wraps(&mut self, keep: impl Fn(&Wrap) -> bool) {
        if self.wraps.iter().any(&keep) {
            self.wraps.retain(keep);
        }
    }

    /// Returns its id.
    pub fn id(&self) -> &VaultId {
        &self.id
    }

    /// Returns whom packs are sealed to.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Returns the wraps in force.
    pub fn wraps(&self) -> &[Wrap] {
        &self.wraps
    }
}

/// Loads the wraps of a vault from the store; those that are damaged are left out.
pub async fn load_wraps(repo: &Repository, tenant: &TenantName, vault: &VaultId) -> Result<Vec<Wrap>> {
    let listed = object::versions(&**repo.store(), &keys::wraps(tenant, vault)).await?;
    let mut hashes: Vec<_> = listed.iter().filter_map(|e| keys::parse_wrap(tenant, vault, &e.key)).collect();
    hashes.dedup();
    let mut wraps = Vec::new();
    for hash in hashes.into_iter().take(WRAPS_LIMIT) {
        let place = keys::wrap(tenant, vault, &hash);
        match object::get_hashed(&**repo.store(), &place, &hash, WRAP_LIMIT).await {
            Ok(age) => wraps.push(Wrap::of(age)),
            Err(e) if matches!(e.kind(), Kind::Damaged | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(wraps)
}

/// The secret half of a vault; wiped when dropped, never printed.
#[derive(Clone)]
pub struct VaultKey {
    id: VaultId,
    recipient: Recipient,
    identities: Identities,
    text: SecretString,
}

impl VaultKey {
    /// Makes a new identity from the operating system's generator.
    pub fn generate() -> VaultKey {
        let (text, recipient) = age_file::generate_identity();
        let identities = Identities::of_secret(&text).expect("a generated identity parses");
        VaultKey { id: vault_id(&recipient), recipient, identities, text }
    }

    /// Opens a vault with an operator's identities, from any of its wraps.
    ///
    /// [`Kind::WrongKey`] where no identity opens a wrap that holds this vault's key. To whom a wrap is sealed
    /// cannot be told: age hides it.
    /// An identity that is the vault's own key needs no wrap: that is how an unlocked tenant is opened.
    pub fn open(vault: &VaultId, wraps: &[Wrap], identities: &Identities) -> Result<VaultKey> {
        if let Some(key) = VaultKey::among(vault, identities.clone()) {
            return Ok(key);
        }
        let mut sealed_otherwise = 0;
        let mut refused = None;
        for wrap in wraps {
            let what = format!("wrap {} of vault {vault}", wrap.hash.short());
            match age_file::open(&what, &wrap.age, identities, WRAP_LIMIT) {
                Ok(text) => {
                    let inside =
                        std::str::from_utf8(&text).ok().and_then(|t| Identities::parse(&what, t).ok());
                    // A wrap that holds another key is somebody's trick: what it opens is not this vault.
                    if let Some(key) = inside.and_then(|all| VaultKey::among(vault, all)) {
                        return Ok(key);
                    }
                }
                Err(e) => {
                    sealed_otherwise += 1;
                    refused = refused.or(Some(e).filter(|e| e.kind() == Kind::Denied));
                }
            }
        }
        let tried = wraps.len();
        let given = identities.len();
        let what = match tried - sealed_otherwise {
            0 => format!(
                "vault {vault} does not open: of its {} none is sealed to the {} given",
                counted(tried, "wrap"),
                if given == 1 { "identity".to_owned() } else { format!("{given} identities") }
            ),
            n => format!("vault {vault} does not open: {n} of {tried} wraps hold another key"),
        };
        let error = Error::new(Kind::WrongKey, what).hint(
            "give an operator's identity with --identity FILE; one that was added later opens newer wraps only",
        );
        Err(match refused {
            Some(refused) => error.caused_by(refused),
            None => error,
        })
    }

    fn among(vault: &VaultId, all: Identities) -> Option<VaultKey> {
        all.split().into_iter().find_map(|(identities, recipient, text)| {
            let id = vault_id(&recipient);
            (id == *vault).then_some(VaultKey { id, recipient, identities, text })
        })
    }

    /// Seals the identity to operators, as an age identity file.
    pub fn wrap(&self, operators: &[Recipient]) -> Result<Wrap> {
        let comment = format!("lifeboat vault {}", self.id);
        let mut file = age_file::identity_file(&comment, &self.text);
        file.push_str(&wraps::comments(operators));
        Ok(Wrap::of(age_file::seal(operators, file.as_bytes())?))
    }

    /// Seals the identity to operators and stores that wrap; older wraps stay.
    pub async fn put_wrap(
        &self,
        repo: &Repository,
        tenant: &TenantName,
        operators: &[Recipient],
    ) -> Result<Wrap> {
        let wrap = self.wrap(operators)?;
        let place = keys::wrap(tenant, &self.id, wrap.hash());
        object::put_once(&**repo.store(), &place, wrap.bytes().clone()).await?;
        Ok(wrap)
    }

    /// Returns the vault's id.
    pub fn id(&self) -> &VaultId {
        &self.id
    }

    /// Returns the public half.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Returns the identity for opening small age files.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Returns the identity's text, for lending it to the service of this host.
    pub fn secret(&self) -> &SecretString {
        &self.text
    }

    /// Returns the identity as the age crate takes it, for opening packs.
    pub fn to_age(&self) -> Arc<dyn age::Identity + Send + Sync> {
        let key = self.identities.first().expect("a vault key is made of one X25519 identity");
        Arc::new(key.clone())
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultKey({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator() -> (Identities, Recipient) {
        let (secret, recipient) = age_file::generate_identity();
        (Identities::of_secret(&secret).unwrap(), recipient)
    }

    #[test]
    fn a_wrap_opens_for_its_operators_only() {
        let ((a, ra), (b, rb), (c, _)) = (operator(), operator(), operator());
        let key = VaultKey::generate();
        let wraps = [key.wrap(&[ra]).unwrap(), key.wrap(&[rb]).unwrap()];
        for identities in [&a, &b] {
            let opened = VaultKey::open(key.id(), &wraps, identities).unwrap();
            assert_eq!(opened.recipient(), key.recipient());
        }
        let e = VaultKey::open(key.id(), &wraps, &c).unwrap_err();
        assert_eq!(e.kind(), Kind::WrongKey);
        assert!(e.to_string().contains("of its 2 wraps none"), "{e}");
        assert!(VaultKey::open(key.id(), &wraps[..1], &b).is_err());
    }

    #[test]
    fn a_wrap_that_holds_another_vaults_key_does_not_pass_for_this_one() {
        let (a, ra) = operator();
        let (mine, other) = (VaultKey::generate(), VaultKey::generate());
        let e = VaultKey::open(mine.id(), &[other.wrap(&[ra]).unwrap()], &a).unwrap_err();
        assert!(e.to_string().contains("hold another key"), "{e}");
    }

    #[test]
    fn a_wrap_in_json_is_bound_to_its_hash() {
        let wrap = Wrap::of(&b"abc"[..]);
        let json = serde_json::to_string(&wrap).unwrap();
        assert_eq!(serde_json::from_str::<Wrap>(&json).unwrap(), wrap);
        assert!(serde_json::from_str::<Wrap>(&json.replace("YWJj", "YWJk")).is_err());
    }

    #[test]
    fn a_vault_with_another_recipient_is_refused() {
        let (a, b) = (VaultKey::generate(), VaultKey::generate());
        let vault = Vault { id: a.id.clone(), recipient: b.recipient.clone(), wraps: vec![] };
        let json = serde_json::to_string(&vault).unwrap();
        assert!(serde_json::from_str::<Vault>(&json).is_err());
    }

    #[tokio::test]
    async fn a_vault_opens_from_the_wraps_in_the_store_even_after_a_rewrap() {
        use crate::repo::testing::{House, tenant};
        let house = House::build().await;
        let mut vault = house.vault().await;
        let key = VaultKey::open(vault.id(), vault.wraps(), &house.operator).unwrap();
        let (later, recipient) = operator();
        vault.rewrap(&house.repo, &tenant(), &key, &[house.recipient.clone(), recipient]).await.unwrap();
        let garbage = keys::wrap(&tenant(), vault.id(), &Sha256::of(b"promised"));
        house.overwrite(&garbage, "other").await;
        let wraps = load_wraps(&house.repo, &tenant(), vault.id()).await.unwrap();
        assert_eq!(wraps.len(), 2);
        for identities in [&house.operator, &later] {
            assert_eq!(
                VaultKey::open(vault.id(), &wraps, identities).unwrap().recipient(),
                vault.recipient()
            );
        }
    }
}
