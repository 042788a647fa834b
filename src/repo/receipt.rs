//! The receipt: a snapshot's signed, clear header; that it is there commits the snapshot.
//!
//! Owns its shape and what makes one right. Knows nothing of the other receipts of a tenant: `history` does.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, HostName, RepositoryId, Sha256, SnapshotId, TenantName, VaultId};
use crate::store::Key;

use super::age_file::Recipient;
use super::certificate::{Role, Trust};
use super::manifest::State;
use super::vault::{Wrap, vault_id};
use super::{keys, object};

/// The greatest length of a receipt, in bytes: 64 wraps and about a million packs.
pub const LIMIT_BYTES: u64 = 32 * 1024 * 1024;

/// What the snapshot was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// The policy's schedule.
    Scheduled,
    /// An operator.
    Manual,
    /// A restore, of what it was about to replace.
    Safety,
    /// Something that a later version added.
    #[serde(other)]
    Other,
}

/// An object that the receipt binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its SHA-256.
    pub hash: Sha256,
    /// Its length in bytes.
    pub size: u64,
}

/// The pack list that the receipt binds, and the packs' sizes in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacksRef {
    /// The list's SHA-256.
    pub hash: Sha256,
    /// The list's length in bytes, 32 for each pack.
    pub size: u64,
    /// The packs' lengths in bytes.
    pub sizes: Vec<u64>,
}

/// How a component fared, as everybody may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentState {
    /// Its name.
    pub component: ComponentName,
    /// How far it was read.
    pub state: State,
    /// Why it failed: a word of the error table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What makes it look wrong beside the nights before, each a word; nothing where it looks as usual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomalies: Vec<String>,
}

/// A receipt, as `<snapshot>.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub(super) format: u64,
    pub(super) kind: String,
    /// The repository.
    pub repository: RepositoryId,
    /// The tenant.
    pub tenant: TenantName,
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The host that wrote it.
    pub host: HostName,
    /// The number of the certificate it was written under.
    pub certificate: u32,
    /// Its place among the tenant's receipts, from 1.
    pub sequence: u64,
    /// The hash of the receipt before it.
    pub previous: Option<Sha256>,
    /// When the snapshot was begun, by the host's clock.
    pub started: Timestamp,
    /// When it was complete, by the host's clock.
    pub finished: Timestamp,
    /// What it was made for.
    pub trigger: Trigger,
    /// Until when it is kept whatever the policy says.
    pub pinned_until: Option<Timestamp>,
    /// The vault that its packs are sealed to.
    pub vault: VaultId,
    /// The vault's recipient.
    pub recipient: Recipient,
    /// The wraps in force.
    pub wraps: Vec<Wrap>,
    /// The manifest.
    pub manifest: ObjectRef,
    /// The pack list.
    pub packs: PacksRef,
    /// The highest void mark that the writer saw; 0 for none.
    pub void_seen: u32,
    /// What this snapshot newly stored, in bytes.
    pub added_bytes: u64,
    /// Its components.
    #[serde(deserialize_with = "known_components")]
    pub components: Vec<ComponentState>,
}

/// Reads components, leaving out those that a later version added: their states are words this one may not know.
fn known_components<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<ComponentState>, D::Error> {
    let all: Vec<serde_json::Value> = Deserialize::deserialize(from)?;
    let is_known = |v: &serde_json::Value| match v.get("component").and_then(|c| c.as_str()) {
        Some(name) => name.parse::<ComponentName>().is_ok(),
        None => true,
    };
    all.into_iter()
        .filter(is_known)
        .map(|v| serde_json::from_value(v).map_err(serde::de::Error::custom))
        .collect()
}

impl Receipt {
    /// Tells whether all its components are whole.
    pub fn is_whole(&self) -> bool {
        !self.components.is_empty() && self.components.iter().all(|c| c.state == State::Whole)
    }

    /// Tells whether something in it looks wrong beside the nights before.
    pub fn is_suspicious(&self) -> bool {
        self.components.iter().any(|c| !c.anomalies.is_empty())
    }

    /// Returns the state of a component; none where it was not part of the snapshot.
    pub fn state(&self, component: ComponentName) -> Option<State> {
        self.components.iter().find(|c| c.component == component).map(|c| c.state)
    }

    /// Returns how many packs the snapshot needs.
    pub fn pack_count(&self) -> usize {
        self.packs.sizes.len()
    }

    /// Returns the sizes of all its packs added up, in bytes.
    pub fn packs_bytes(&self) -> u64 {
        self.packs.sizes.iter().sum()
    }
}

/// A receipt whose signature verifies through its certificate to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The receipt.
    pub receipt: Receipt,
    /// Its hash, which its successor names.
    pub hash: Sha256,
    /// When the store took it, by the store's clock.
    pub stored: Timestamp,
}

/// Checks a receipt that lies under the key of `tenant` and `snapshot`, with its signature.
///
/// [`Kind::Forged`] where anything about its origin is wrong, [`Kind::TooNew`] where its format is above 1,
/// [`Kind::Damaged`] where it cannot be read or contradicts itself. The signature is checked first; only what
/// selects the key (host and certificate number) is read before.
pub fn verify(
    trust: &Trust,
    tenant: &TenantName,
    snapshot: &SnapshotId,
    json: &[u8],
    signature: &[u8],
) -> Result<(Receipt, Sha256)> {
    #[derive(Deserialize)]
    struct Signer {
        host: HostName,
        certificate: u32,
    }
    let key = keys::receipt(tenant, snapshot).json;
    let signer: Signer = object::decode(&key, "receipt", json)?;
    let certificate = trust
        .named(&signer.host, signer.certificate, Role::Backup, tenant)
        .map_err(|e| e.in_context(&key))?;
    certificate.signing_key.verify(&key, json, signature)?;
    let receipt = parse(&key, json)?;
    if receipt.repository != *trust.repository() || receipt.tenant != *tenant || receipt.snapshot != *snapshot
    {
        return Err(Error::new(
            Kind::Forged,
            format!("{key} belongs to another repository, tenant or snapshot"),
        ));
    }
    let hash = Sha256::of(json);
    trust.accepts(certificate, tenant, receipt.sequence, &hash).map_err(|e| e.in_context(&key))?;
    Ok((receipt, hash))
}

/// Reads a receipt that lies under `key`, and checks that it does not contradict itself; not who wrote it.
pub fn parse(key: &Key, json: &[u8]) -> Result<Receipt> {
    let receipt: Receipt = object::decode(key, "receipt", json)?;
    check_sums(&receipt).map_err(|e| e.in_context(key))?;
    Ok(receipt)
}

fn check_sums(receipt: &Receipt) -> Result<()> {
    let damaged = |what| Err(Error::new(Kind::Damaged, what));
    if receipt.sequence > object::MOST_RECEIPTS {
        return damaged("receipt with a sequence above the format's limit");
    }
    if receipt.sequence == 0 || (receipt.sequence == 1) != receipt.previous.is_none() {
        return damaged("receipt with a sequence and predecessor that do not fit");
    }
    if vault_id(&receipt.recipient) != receipt.vault {
        return damaged("receipt whose vault and recipient do not fit");
    }
    let sizes = &receipt.packs.sizes;
    let sum = sizes.iter().try_fold(0u64, |sum, size| sum.checked_add(*size));
    if receipt.packs.size != 32 * sizes.len() as u64 || sum.is_none() {
        return damaged("receipt whose pack sizes do not fit its pack list");
    }
    Ok(())
}

/// Splits a pack list into the names of packs.
pub fn parse_pack_list(bytes: &Bytes) -> Result<Vec<Sha256>> {
    let (names, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(Error::new(Kind::Damaged, "pack list whose length is not a multiple of 32"));
    }
    Ok(names.iter().map(|name| Sha256(*name)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repo::sign::SigningKey;
    use crate::repo::testing::{House, host, tenant};

    struct Signed {
        trust: Trust,
        receipt: Receipt,
        json: Vec<u8>,
        signature: Vec<u8>,
    }

    fn signed(receipt: &Receipt, signer: &SigningKey) -> (Vec<u8>, Vec<u8>) {
        let json = object::encode(receipt).unwrap();
        let key = keys::receipt(&receipt.tenant, &receipt.snapshot).json;
        let signature = signer.sign(&key, &json).unwrap();
        (json, signature.into_bytes())
    }

    async fn one(change: impl FnOnce(&mut Receipt, &House)) -> Signed {
        let house = House::build().await;
        let mut receipt = house.receipt(&house.vault().await, None);
        change(&mut receipt, &house);
        let (json, signature) = signed(&receipt, &house.host);
        Signed { trust: house.trust().await, receipt, json, signature }
    }

    impl Signed {
        fn verify(&self) -> Result<Receipt> {
            verify(&self.trust, &tenant(), &self.receipt.snapshot, &self.json, &self.signature)
                .map(|(r, _)| r)
        }
    }

    #[tokio::test]
    async fn a_right_receipt_comes_back_as_it_was_written() {
        let s = one(|_, _| {}).await;
        assert_eq!(s.verify().unwrap(), s.receipt);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_even_when_signed() {
        type Change = fn(&mut Receipt);
        let cases: [(&str, Change, Kind); 8] = [
            ("repository", |r| r.repository = "f".repeat(32).parse().unwrap(), Kind::Forged),
            ("certificate", |r| r.certificate = 2, Kind::Forged),
            ("host", |r| r.host = "h2".parse().unwrap(), Kind::Forged),
            ("vault", |r| r.vault = "0".repeat(32).parse().unwrap(), Kind::Damaged),
            ("sequence", |r| r.sequence = 0, Kind::Damaged),
            ("previous", |r| r.sequence = 2, Kind::Damaged),
            ("sizes", |r| r.packs.sizes = vec![1], Kind::Damaged),
            ("sum", |r| (r.packs.sizes, r.packs.size) = (vec![u64::MAX, 1], 64), Kind::Damaged),
        ];
        for (name, change, kind) in cases {
            let s = one(|r, _| change(r)).await;
            assert_eq!(s.verify().unwrap_err().kind(), kind, "{name}");
        }
    }

    #[tokio::test]
    async fn a_receipt_moved_to_another_snapshot_or_signed_by_another_is_forged() {
        let mut s = one(|_, _| {}).await;
        let moved = SnapshotId::new(s.receipt.started, [9; 4]);
        let e = verify(&s.trust, &tenant(), &moved, &s.json, &s.signature).unwrap_err();
        assert_eq!(e.kind(), Kind::Forged);
        let (stranger, _) = SigningKey::generate("x", None).unwrap();
        s.signature = signed(&s.receipt, &stranger).1;
        assert_eq!(s.verify().unwrap_err().kind(), Kind::Forged);
    }

    #[tokio::test]
    async fn an_error_names_the_host_and_says_how_to_certify_it() {
        let e = one(|r, _| r.certificate = 5).await.verify().unwrap_err();
        assert!(e.to_string().contains(&format!("certificate 5 of host {}", host())), "{e}");
        assert!(e.hint_text().unwrap().contains("lifeboat keys certify --kit FILE"));
    }

    #[tokio::test]
    async fn later_components_and_triggers_are_read_past() {
        let house = House::build().await;
        let receipt = house.receipt(&house.vault().await, None);
        let json = String::from_utf8(object::encode(&receipt).unwrap()).unwrap();
        let json = json
            .replace("\"scheduled\"", "\"lunar\"")
            .replace("\"components\":[", "\"components\":[{\"component\":\"physical\",\"state\":\"odd\"},");
        let key = keys::receipt(&receipt.tenant, &receipt.snapshot).json;
        let signature = house.host.sign(&key, json.as_bytes()).unwrap();
        let trust = house.trust().await;
        let (read, _) =
            verify(&trust, &tenant(), &receipt.snapshot, json.as_bytes(), signature.as_bytes()).unwrap();
        assert_eq!((read.trigger, read.components), (Trigger::Other, receipt.components));
    }

    #[tokio::test]
    async fn only_whole_components_make_a_whole_snapshot() {
        let mut receipt = one(|_, _| {}).await.receipt;
        assert!(receipt.is_whole());
        receipt.components[0].state = State::Lacking;
        assert!(!receipt.is_whole());
        receipt.components.clear();
        assert!(!receipt.is_whole());
    }

    proptest! {
        #[test]
        fn hostile_receipts_do_not_panic(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
            let key = "x.json".parse().unwrap();
            prop_assert!(object::decode::<Receipt>(&key, "receipt", &junk).is_err());
            let _list = parse_pack_list(&junk.into());
        }
    }
}
