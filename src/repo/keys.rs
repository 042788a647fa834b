//! The names of objects: the only place that spells store keys.
//!
//! Owns the way from names to keys and back. Knows nothing of what the objects hold. Every name that goes in is
//! validated by its type ([`crate::id`]), so that no key needs escaping; every key is below 512 bytes.

use crate::id::{DrillId, HostName, PackId, Sha256, SnapshotId, TenantName, VaultId};
use crate::store::Key;

/// The prefix below which all host certificates lie.
pub const HOSTS: &str = "hosts/";

/// The prefix below which all tenants lie.
pub const TENANTS: &str = "tenants/";

/// The two keys of a signed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The JSON object.
    pub json: Key,
    /// Its signature.
    pub minisig: Key,
}

/// The four objects of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SnapshotPart {
    /// `.manifest.age`
    Manifest,
    /// `.packs`
    PackList,
    /// `.minisig`
    Signature,
    /// `.json`
    Receipt,
}

impl SnapshotPart {
    const ALL: [SnapshotPart; 4] =
        [SnapshotPart::Manifest, SnapshotPart::PackList, SnapshotPart::Signature, SnapshotPart::Receipt];

    fn suffix(self) -> &'static str {
        match self {
            SnapshotPart::Manifest => ".manifest.age",
            SnapshotPart::PackList => ".packs",
            SnapshotPart::Signature => ".minisig",
            SnapshotPart::Receipt => ".json",
        }
    }
}

fn key(text: String) -> Key {
    text.parse().expect("names are labels, hex or numbers, so what is made of them is a key")
}

fn signed(stem: &str) -> Signed {
    Signed { json: key(format!("{stem}.json")), minisig: key(format!("{stem}.minisig")) }
}

/// Returns the key of the repository object.
pub fn repository() -> Key {
    key("lifeboat.json".to_owned())
}

/// Returns the keys of a host's certificate number `number`, from 1.
pub fn certificate(host: &HostName, number: u32) -> Signed {
    signed(&format!("{HOSTS}{host}.{number}"))
}

/// Reads a certificate's `.json` key back; none for any other key.
pub fn parse_certificate(key: &Key) -> Option<(HostName, u32)> {
    parse_certificate_stem(key.as_str().strip_suffix(".json")?)
}

/// Reads a certificate's `.minisig` key back; none for any other key.
pub fn parse_certificate_signature(key: &Key) -> Option<(HostName, u32)> {
    parse_certificate_stem(key.as_str().strip_suffix(".minisig")?)
}

fn parse_certificate_stem(stem: &str) -> Option<(HostName, u32)> {
    let (host, number) = stem.strip_prefix(HOSTS)?.rsplit_once('.')?;
    Some((host.parse().ok()?, parse_number(number)?))
}

/// Returns the key of a host's stored configuration number `number`.
pub fn host_config(host: &HostName, number: u32) -> Key {
    key(format!("{HOSTS}{host}/config/{number}.age"))
}

/// The prefix below which the statements about erased tenants lie.
pub const ERASED: &str = "erased/";

/// Returns the keys of the statement number `number`, from 1, about an erased tenant.
pub fn erasure(tenant: &TenantName, number: u32) -> Signed {
    signed(&format!("{ERASED}{tenant}.{number}"))
}

/// Reads the key of a statement about a tenant, or of its signature, back to its number; none for any other key.
pub fn parse_erasure(tenant: &TenantName, key: &Key) -> Option<u32> {
    let stem = key.as_str().strip_prefix(ERASED)?.strip_prefix(tenant.as_str())?.strip_prefix('.')?;
    parse_number(stem.strip_suffix(".json").or_else(|| stem.strip_suffix(".minisig"))?)
}

/// Returns the prefix below which all of a tenant lies.
pub fn tenant(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}/")
}

/// Returns the prefix of the wraps of all of a tenant's vaults.
pub fn vaults(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}/keys/")
}

/// Reads the vault out of a wrap's key.
pub fn parse_vault(tenant: &TenantName, key: &Key) -> Option<VaultId> {
    let (vault, _) = key.as_str().strip_prefix(&vaults(tenant))?.split_once('/')?;
    vault.parse().ok()
}

/// Returns the prefix of the wraps of one vault.
pub fn wraps(tenant: &TenantName, vault: &VaultId) -> String {
    format!("{TENANTS}{tenant}/keys/{vault}/")
}

/// Returns the key of a wrap; `hash` is that of the object.
pub fn wrap(tenant: &TenantName, vault: &VaultId, hash: &Sha256) -> Key {
    key(format!("{}{hash}.age", wraps(tenant, vault)))
}

/// Reads a wrap's key back to its hash.
pub fn parse_wrap(tenant: &TenantName, vault: &VaultId, key: &Key) -> Option<Sha256> {
    key.as_str().strip_prefix(&wraps(tenant, vault))?.strip_suffix(".age")?.parse().ok()
}

/// Reads the key of a wrap of any vault back to its hash.
pub fn parse_any_wrap(tenant: &TenantName, key: &Key) -> Option<Sha256> {
    let (vault, _) = key.as_str().strip_prefix(&format!("{TENANTS}{tenant}/keys/"))?.split_once('/')?;
    parse_wrap(tenant, &vault.parse().ok()?, key)
}

/// Returns the prefix of a tenant's packs.
pub fn packs(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}/packs/")
}

/// Returns the key of a pack.
pub fn pack(tenant: &TenantName, id: &PackId) -> Key {
    key(format!("{}{id}", packs(tenant)))
}

/// Reads a pack's key back to its name.
pub fn parse_pack(tenant: &TenantName, key: &Key) -> Option<PackId> {
    key.as_str().strip_prefix(&packs(tenant))?.parse().ok()
}

/// Returns the prefix of a tenant's snapshots.
pub fn snapshots(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}/snapshots/")
}

/// Returns the key of one object of a snapshot.
pub fn snapshot(tenant: &TenantName, id: &SnapshotId, part: SnapshotPart) -> Key {
    key(format!("{}{id}{}", snapshots(tenant), part.suffix()))
}

/// Returns the keys of a snapshot's receipt and its signature.
pub fn receipt(tenant: &TenantName, id: &SnapshotId) -> Signed {
    Signed {
        json: snapshot(tenant, id, SnapshotPart::Receipt),
        minisig: snapshot(tenant, id, SnapshotPart::Signature),
    }
}

/// Reads the key of a snapshot's object back; none for keys of another shape.
pub fn parse_snapshot(tenant: &TenantName, key: &Key) -> Option<(SnapshotId, SnapshotPart)> {
    let name = key.as_str().strip_prefix(&snapshots(tenant))?;
    SnapshotPart::ALL
        .into_iter()
        .find_map(|part| Some((name.strip_suffix(part.suffix())?.parse().ok()?, part)))
}

/// Returns the prefix of a tenant's void marks.
pub fn void_marks(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}/void/")
}

/// Returns the keys of a void mark, from 1.
pub fn void_mark(tenant: &TenantName, number: u32) -> Signed {
    signed(&format!("{}{number}", void_marks(tenant)))
}

/// Reads a void mark's `.json` key back to its number.
pub fn parse_void_mark(tenant: &TenantName, key: &Key) -> Option<u32> {
    parse_number(key.as_str().strip_prefix(&void_marks(tenant))?.strip_suffix(".json")?)
}

/// Reads a void mark's `.minisig` key back to its number.
pub fn parse_void_mark_signature(tenant: &TenantName, key: &Key) -> Option<u32> {
    parse_number(key.as_str().strip_prefix(&void_marks(tenant))?.strip_suffix(".minisig")?)
}

/// Returns the prefix of a tenant's drills.
pub fn drills(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}/drills/")
}

/// Returns the keys of a drill's outcome and its signature.
pub fn drill(tenant: &TenantName, id: &DrillId) -> Signed {
    signed(&format!("{}{id}", drills(tenant)))
}

/// Returns the key of a drill's encrypted report.
pub fn drill_report(tenant: &TenantName, id: &DrillId) -> Key {
    key(format!("{}{id}.report.age", drills(tenant)))
}

/// Returns the key that the signature of a report outside of the store is bound to; nothing lies there.
pub fn drill_paper(tenant: &TenantName, id: &DrillId) -> Key {
    key(format!("{}{id}.report.json", drills(tenant)))
}

/// Reads the `.json` key of a drill back.
pub fn parse_drill(tenant: &TenantName, key: &Key) -> Option<DrillId> {
    key.as_str().strip_prefix(&drills(tenant))?.strip_suffix(".json")?.parse().ok()
}

/// Reads the `.minisig` key of a drill back.
pub fn parse_drill_signature(tenant: &TenantName, key: &Key) -> Option<DrillId> {
    key.as_str().strip_prefix(&drills(tenant))?.strip_suffix(".minisig")?.parse().ok()
}

/// Returns the key of a tenant's lease.
pub fn lease(tenant: &TenantName) -> Key {
    key(format!("{TENANTS}{tenant}/lease.json"))
}

/// Reads a number that has one spelling only: decimal, from 1, without leading zeros or sign.
fn parse_number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number >= 1 && number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantName {
        "byrne".parse().unwrap()
    }

    fn snapshot_id() -> SnapshotId {
        "20261123t020000z-1a2b3c4d".parse().unwrap()
    }

    #[test]
    fn keys_are_spelled_as_the_format_page_says() {
        let hash = Sha256::of(b"");
        let vault: VaultId = "0123456789abcdef0123456789abcdef".parse().unwrap();
        assert_eq!(certificate(&"h1".parse().unwrap(), 2).minisig.as_str(), "hosts/h1.2.minisig");
        assert_eq!(pack(&tenant(), &hash).as_str(), format!("tenants/byrne/packs/{hash}"));
        assert_eq!(
            wrap(&tenant(), &vault, &hash).as_str(),
            format!("tenants/byrne/keys/0123456789abcdef0123456789abcdef/{hash}.age")
        );
        assert_eq!(
            receipt(&tenant(), &snapshot_id()).json.as_str(),
            "tenants/byrne/snapshots/20261123t020000z-1a2b3c4d.json"
        );
    }

    #[test]
    fn each_object_of_a_snapshot_reads_back() {
        for part in SnapshotPart::ALL {
            let key = snapshot(&tenant(), &snapshot_id(), part);
            assert_eq!(parse_snapshot(&tenant(), &key), Some((snapshot_id(), part)));
        }
        let other: TenantName = "byrne-2".parse().unwrap();
        let key = snapshot(&other, &snapshot_id(), SnapshotPart::Receipt);
        assert_eq!(parse_snapshot(&tenant(), &key), None);
    }

    #[test]
    fn a_number_has_one_spelling() {
        for bad in ["hosts/h1.0.json", "hosts/h1.01.json", "hosts/h1..json", "hosts/h1.json"] {
            assert_eq!(parse_certificate(&bad.parse().unwrap()), None, "{bad}");
        }
        let good: Key = "hosts/h1.12.json".parse().unwrap();
        assert_eq!(parse_certificate(&good), Some(("h1".parse().unwrap(), 12)));
    }
}
