//! Host certificates: who may sign what, as the root says.
//!
//! Owns issuing, loading and the rules of certificates. Knows nothing of what hosts write with them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{HostName, RepositoryId, Sha256, TenantName};
use crate::store::{Entry, Key};

use super::repository::{Repository, whole_seconds};
use super::sign::{PublicKey, SigningKey};
use super::{keys, object, recall};

pub(super) const LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// How many certificates are fetched at a time.
const PARALLEL: usize = 8;

/// What a host may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Write snapshots.
    Backup,
    /// Write outcomes of drills.
    Drill,
    /// Write void marks and delete what no snapshot needs.
    Prune,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Role::Backup, Role::Drill, Role::Prune];

    /// Returns the word in certificates.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Backup => "backup",
            Role::Drill => "drill",
            Role::Prune => "prune",
        }
    }
}

/// The last receipt of a tenant that is accepted from a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAccepted {
    /// Its sequence number.
    pub sequence: u64,
    /// Its hash.
    pub receipt: Sha256,
}

/// The end of a signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When the operators ended it.
    pub at: Timestamp,
    /// The last receipts accepted from it; of a tenant not named here, none is.
    pub last: BTreeMap<TenantName, LastAccepted>,
}

/// A host's certificate, as `hosts/<host>.<n>.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    format: u64,
    kind: String,
    repository: RepositoryId,
    /// The host.
    pub host: HostName,
    /// Its number, from 1.
    pub number: u32,
    /// The host's public key.
    pub signing_key: PublicKey,
    /// The words of its roles; unknown ones grant nothing.
    pub roles: Vec<String>,
    /// The tenants it writes for.
    pub tenants: Vec<TenantName>,
    /// When it was issued.
    pub issued: Timestamp,
    /// Set where this certificate ends its signing key.
    pub ended: Option<Ended>,
    /// Tenants that went to another host, and the last receipt accepted of each from this signing key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub handed_over: BTreeMap<TenantName, LastAccepted>,
    /// Numbers before this one that were never issued: when this one was, the store held a signature and nothing to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<u32>,
}

impl Certificate {
    /// Tells whether it grants a role.
    pub fn grants(&self, role: Role) -> bool {
        self.roles.iter().any(|r| r == role.as_str())
    }

    /// Tells whether it names a tenant.
    pub fn names(&self, tenant: &TenantName) -> bool {
        self.tenants.contains(tenant)
    }

    /// Says how the host comes by what this certificate does not grant it.
    fn hint_to_allow(&self, role: Role) -> String {
        // Without roles, a certificate is issued for those that the host has.
        let roles = match self.grants(role) {
            true => String::new(),
            false => {
                let known = Role::ALL.into_iter().filter(|r| *r == role || self.grants(*r));
                let words: Vec<&str> = known.map(Role::as_str).collect();
                format!(" --role {}", words.join(","))
            }
        };
        let host = &self.host;
        format!("allow it with the recovery kit, on host {host}: `lifeboat keys certify --kit FILE{roles}`")
    }

    /// Returns what it says about the end of its key's receipts of a tenant: `None` nothing, `Some(None)` none accepted.
    fn limit(&self, tenant: &TenantName) -> Option<Option<&LastAccepted>> {
        match &self.ended {
            Some(ended) => Some(ended.last.get(tenant)),
            None => self.handed_over.get(tenant).map(Some),
        }
    }
}

/// What a new certificate is to say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The host.
    pub host: HostName,
    /// Its public key.
    pub signing_key: PublicKey,
    /// What it may do.
    pub roles: Vec<Role>,
    /// For which tenants.
    pub tenants: Vec<TenantName>,
    /// Set to end its signing key.
    pub ended: Option<Ended>,
    /// Tenants that went to another host.
    pub handed_over: BTreeMap<TenantName, LastAccepted>,
}

/// All certificates of a repository that verify through its root.
#[derive(Debug, Clone)]
pub struct Trust {
    repository: RepositoryId,
    hosts: BTreeMap<HostName, BTreeMap<u32, Certificate>>,
    faults: Vec<(HostName, u32, Kind, String)>,
}

impl Trust {
    /// Loads and verifies all certificates; bad ones become [`Trust::faults`].
    pub async fn load(repo: &Repository) -> Result<Trust> {
        let listed = recall::versions(repo, keys::HOSTS).await?;
        let mut names: Vec<_> = listed.iter().filter_map(|e| keys::parse_certificate(&e.key)).collect();
        names.dedup();
        let mut trust = Trust { repository: repo.id().clone(), hosts: BTreeMap::new(), faults: Vec::new() };
        let mut loads = futures::stream::iter(names)
            .map(|(host, number)| {
                let listed = &listed;
                async move { (load_one(repo, listed, &host, number).await, host, number) }
            })
            .buffer_unordered(PARALLEL);
        while let Some((loaded, host, number)) = loads.next().await {
            match loaded {
                Ok(c) => {
                    trust.hosts.entry(host).or_default().insert(number, c);
                }
                // Without an answer nobody can say what is in force.
                Err(e) if matches!(e.kind(), Kind::Store | Kind::Denied | Kind::Timeout) => return Err(e),
                Err(e) => trust.faults.push((host, number, e.kind(), e.to_string())),
            }
        }
        drop(loads);
        trust.faults.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Ok(trust)
    }

    /// Returns the certificates that do not verify: host, number, kind of fault, message.
    pub fn faults(&self) -> &[(HostName, u32, Kind, String)] {
        &self.faults
    }

    /// Returns the repository whose certificates these are.
    pub fn repository(&self) -> &RepositoryId {
        &self.repository
    }

    /// Tells whether a certificate is there and verifies.
    pub fn holds(&self, host: &HostName, number: u32) -> bool {
        self.hosts.get(host).is_some_and(|all| all.contains_key(&number))
    }

    /// Returns the hosts that have a certificate.
    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.hosts.keys()
    }

    /// Returns all certificates that verify, by host and number.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.hosts.values().flat_map(BTreeMap::values)
    }

    /// Returns the tenants that any certificate names, those in force or not.
    pub fn tenants(&self) -> BTreeSet<TenantName> {
        self.certificates().flat_map(|c| c.tenants.iter().cloned()).collect()
    }

    /// Returns the hosts that may write for a tenant now.
    pub fn writing(&self, tenant: &TenantName) -> Vec<&HostName> {
        self.hosts().filter(|host| self.may_write(host, Role::Backup, tenant).is_ok()).collect()
    }

    /// Returns where the receipts of a tenant by a signing key end, if they do: none accepted, or up to one.
    pub fn limit(&self, key: &PublicKey, tenant: &TenantName) -> Option<Option<&LastAccepted>> {
        self.certificates().filter(|c| c.signing_key == *key).find_map(|c| c.limit(tenant))
    }

    /// Returns the certificate that governs what a host may write now: the highest number, unless it ends its key.
    pub fn in_force(&self, host: &HostName) -> Result<&Certificate> {
        let refused = |what: &str, verb: &str| {
            Err(Error::new(Kind::Denied, format!("host {host} {what}"))
                .hint(format!("with the recovery kit, on host {host}: `lifeboat keys {verb} --kit FILE`")))
        };
        let bad = |what: &str| refused(what, "certify");
        let Some((number, highest)) = self.hosts.get(host).and_then(|all| all.last_key_value()) else {
            return match self.faults.iter().rfind(|f| f.0 == *host) {
                Some(f) => bad(&format!("has no certificate that verifies through the root ({})", f.3)),
                None => bad("has no certificate"),
            };
        };
        // A bad certificate above the highest good one may be the one that ends it.
        if let Some(f) = self.faults.iter().find(|f| f.0 == *host && f.1 > *number) {
            return bad(&format!("has a certificate number {} that does not verify ({})", f.1, f.3));
        }
        if let Some(ended) = &highest.ended {
            return refused(&format!("was ended on {}", ended.at), "rotate-host");
        }
        Ok(highest)
    }

    /// Returns the certificate under which a host may now write for a tenant in a role.
    pub fn may_write(&self, host: &HostName, role: Role, tenant: &TenantName) -> Result<&Certificate> {
        let certificate = self.in_force(host)?;
        if !certificate.grants(role) || !certificate.names(tenant) {
            return Err(Error::new(
                Kind::Denied,
                format!(
                    "certificate {} of host {host} does not allow {} of tenant {tenant}",
                    certificate.number,
                    role.as_str()
                ),
            )
            .hint(certificate.hint_to_allow(role)));
        }
        Ok(certificate)
    }

    /// Returns the hosts from which a further receipt of a tenant would be accepted, under whatever certificate.
    pub fn writers(&self, tenant: &TenantName) -> Vec<&HostName> {
        let all = || self.hosts.values().flat_map(BTreeMap::values);
        let ended = |key: &PublicKey| all().any(|c| c.signing_key == *key && c.limit(tenant).is_some());
        let may = |c: &&Certificate| c.grants(Role::Backup) && c.names(tenant) && !ended(&c.signing_key);
        self.hosts.iter().filter(|(_, c)| c.values().any(|c| may(&c))).map(|(host, _)| host).collect()
    }

    /// Returns the certificate that an object names, if it allowed its host that role for that tenant.
    pub fn named(
        &self,
        host: &HostName,
        number: u32,
        role: Role,
        tenant: &TenantName,
    ) -> Result<&Certificate> {
        let forged = |what: String| {
            Error::new(Kind::Forged, what).hint(format!(
                "if host {host} is yours, certify it with the recovery kit, there: `lifeboat keys certify --kit FILE`"
            ))
        };
        let certificate = self.hosts.get(host).and_then(|all| all.get(&number)).ok_or_else(|| {
            forged(format!("certificate {number} of host {host} is not there, or not signed by the root"))
        })?;
        if !certificate.grants(role) || !certificate.names(tenant) {
            return Err(forged(format!(
                "certificate {number} of host {host} does not allow {} of tenant {tenant}",
                role.as_str()
            )));
        }
        Ok(certificate)
    }

    /// Checks that a receipt does not come after the end of the key that signed it; else [`Kind::Ended`].
    pub fn accepts(
        &self,
        signer: &Certificate,
        tenant: &TenantName,
        sequence: u64,
        receipt: &Sha256,
    ) -> Result<()> {
        let same_key =
            self.hosts.values().flat_map(BTreeMap::values).filter(|c| c.signing_key == signer.signing_key);
        for limit in same_key.filter_map(|c| c.limit(tenant)) {
            let within = limit.is_some_and(|last| {
                sequence < last.sequence || (sequence == last.sequence && *receipt == last.receipt)
            });
            if !within {
                return Err(Error::new(
                    Kind::Ended,
                    format!("receipt {sequence} of tenant {tenant} comes after the end of host {}'s key", signer.host),
                )
                .hint("whoever took that key over may have written it; `lifeboat keys list` shows when it ended"));
            }
        }
        Ok(())
    }
}

/// Checks a certificate that lies under the key of `host` and `number`, with its signature by the root.
pub(super) fn verify(
    repo: &Repository,
    host: &HostName,
    number: u32,
    json: &[u8],
    signature: &[u8],
) -> Result<Certificate> {
    let key = keys::certificate(host, number).json;
    repo.root().verify(&key, json, signature)?;
    let c: Certificate = object::decode(&key, "host", json)?;
    if c.repository != *repo.id() || c.host != *host || c.number != number {
        return Err(Error::new(Kind::Forged, format!("{key} belongs elsewhere")));
    }
    Ok(c)
}

async fn load_one(repo: &Repository, listed: &[Entry], host: &HostName, number: u32) -> Result<Certificate> {
    let keys = keys::certificate(host, number);
    let check = |json: &[u8], signature: &[u8]| verify(repo, host, number, json, signature);
    recall::get_signed(repo, &keys, listed, LIMIT_BYTES, check).await.map(|o| o.value)
}

/// Issues the next certificate of a host, signed by the root, and returns it.
///
/// The number follows the highest in the store, good or bad. [`Kind::Denied`] where `root` is another root.
pub async fn issue(
    repo: &Repository,
    root: &SigningKey,
    grant: Grant,
    now: Timestamp,
) -> Result<Certificate> {
    if root.public() != repo.root() {
        return Err(Error::new(Kind::WrongKey, "this is not the root key of the repository")
            .hint("the recovery kit holds it"));
    }
    let listed = object::versions(&**repo.store(), keys::HOSTS).await?;
    let numbers = |parse: fn(&Key) -> Option<(HostName, u32)>| -> BTreeSet<u32> {
        let own = listed.iter().filter_map(|e| parse(&e.key)).filter(|(host, _)| *host == grant.host);
        own.map(|(_, number)| number).collect()
    };
    let (issued, signed) = (numbers(keys::parse_certificate), numbers(keys::parse_certificate_signature));
    // A signature alone is what a crash of an earlier issue left; its number is taken too.
    let taken = issued.union(&signed).max().copied();
    let certificate = Certificate {
        format: object::FORMAT,
        kind: "host".to_owned(),
        repository: repo.id().clone(),
        number: taken.unwrap_or(0) + 1,
        host: grant.host,
        signing_key: grant.signing_key,
        roles: grant.roles.iter().map(|r| r.as_str().to_owned()).collect(),
        tenants: grant.tenants,
        issued: whole_seconds(now),
        ended: grant.ended,
        handed_over: grant.handed_over,
        never: signed.difference(&issued).copied().collect(),
    };
    let keys = keys::certificate(&certificate.host, certificate.number);
    let json = object::encode(&certificate)?;
    let signature = root.sign(&keys.json, &json)?;
    object::put_once(&**repo.store(), &keys.minisig, signature.into_bytes().into()).await?;
    object::put_once(&**repo.store(), &keys.json, json.into()).await?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::{House, host, now, tenant};
    use crate::store::Store;

    #[tokio::test]
    async fn the_highest_number_is_in_force() {
        let house = House::build().await;
        let (second, _) = SigningKey::generate("h1", None).unwrap();
        house.certify(house.grant(second.public())).await;
        let trust = house.trust().await;
        let in_force = trust.may_write(&host(), Role::Backup, &tenant()).unwrap();
        assert_eq!((in_force.number, &in_force.signing_key), (2, second.public()));
        let older = trust.named(&host(), 1, Role::Backup, &tenant()).unwrap();
        assert_eq!(&older.signing_key, house.host.public());
    }

    #[tokio::test]
    async fn roles_tenants_and_unknown_hosts_are_refused_with_the_way_out() {
        let house = House::build().await;
        let trust = house.trust().await;
        let other: TenantName = "dickinson".parse().unwrap();
        let stranger: HostName = "h9".parse().unwrap();
        for (host, role, tenant) in [
            (host(), Role::Prune, tenant()),
            (host(), Role::Backup, other),
            (stranger, Role::Backup, tenant()),
        ] {
            let e = trust.may_write(&host, role, &tenant).unwrap_err();
            assert_eq!(e.kind(), Kind::Denied);
            assert!(e.to_string().contains(host.as_str()), "{e}");
            assert!(e.hint_text().unwrap().contains("lifeboat keys certify --kit FILE"), "{e}");
            assert_eq!(trust.named(&host, 1, role, &tenant).unwrap_err().kind(), Kind::Forged);
        }
    }

    #[tokio::test]
    async fn a_certificate_not_signed_by_the_root_grants_nothing() {
        let house = House::build().await;
        let keys = keys::certificate(&host(), 2);
        let first =
            object::get(&*house.store, &keys::certificate(&host(), 1).json, None, 9999).await.unwrap();
        let json = String::from_utf8(first.to_vec()).unwrap().replace("\"number\":1", "\"number\":2");
        let signature = house.host.sign(&keys.json, json.as_bytes()).unwrap();
        house.overwrite(&keys.json, json).await;
        house.overwrite(&keys.minisig, signature).await;
        let trust = house.trust().await;
        assert_eq!(trust.faults().len(), 1);
        assert!(trust.in_force(&host()).is_err(), "the bad one may hide the one that ended the host");
        assert!(trust.named(&host(), 2, Role::Backup, &tenant()).is_err());
        assert!(trust.named(&host(), 1, Role::Backup, &tenant()).is_ok());
        house.certify(house.grant(house.host.public())).await;
        assert_eq!(house.trust().await.in_force(&host()).unwrap().number, 3);
    }

    #[tokio::test]
    async fn an_overwritten_certificate_is_read_in_its_oldest_right_version() {
        let house = House::build().await;
        let keys = keys::certificate(&host(), 1);
        house.overwrite(&keys.json, "{}").await;
        house.store.delete(&keys.minisig, None).await.unwrap();
        assert_eq!(house.trust().await.in_force(&host()).unwrap().number, 1);
    }

    #[tokio::test]
    async fn after_a_key_ended_only_receipts_up_to_the_last_are_accepted() {
        let house = House::build().await;
        let receipt = Sha256::of(b"seventh");
        let mut grant = house.grant(house.host.public());
        let last = BTreeMap::from([(tenant(), LastAccepted { sequence: 7, receipt })]);
        grant.ended = Some(Ended { at: now(), last });
        house.certify(grant).await;
        let trust = house.trust().await;
        assert!(trust.in_force(&host()).unwrap_err().to_string().contains("was ended"));
        let signer = trust.named(&host(), 1, Role::Backup, &tenant()).unwrap();
        let accepts = |n, bytes: &[u8]| trust.accepts(signer, &tenant(), n, &Sha256::of(bytes)).is_ok();
        assert!(accepts(6, b"sixth") && accepts(7, b"seventh"));
        assert!(!accepts(7, b"another") && !accepts(8, b"eighth"));
        let other: TenantName = "dickinson".parse().unwrap();
        assert!(trust.accepts(signer, &other, 1, &receipt).is_err());
    }

    #[tokio::test]
    async fn a_tenant_handed_over_takes_no_more_receipts_from_the_old_host() {
        let house = House::build().await;
        let receipt = Sha256::of(b"x");
        let mut grant = house.grant(house.host.public());
        grant.tenants = vec!["dickinson".parse().unwrap()];
        grant.handed_over = BTreeMap::from([(tenant(), LastAccepted { sequence: 3, receipt })]);
        house.certify(grant).await;
        let trust = house.trust().await;
        assert!(trust.may_write(&host(), Role::Backup, &tenant()).is_err());
        let signer = trust.named(&host(), 1, Role::Backup, &tenant()).unwrap();
        assert!(trust.accepts(signer, &tenant(), 3, &receipt).is_ok());
        assert!(trust.accepts(signer, &tenant(), 4, &receipt).is_err());
    }

    #[tokio::test]
    async fn only_the_root_of_the_repository_issues() {
        let house = House::build().await;
        let e = issue(&house.repo, &house.host, house.grant(house.host.public()), now()).await.unwrap_err();
        assert_eq!(e.kind(), Kind::WrongKey);
    }
}
