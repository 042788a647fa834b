//! Void marks, as writers read them: packs that must not be reused any more.
//!
//! Owns their shape and verification. Knows nothing of when prune makes them.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::id::{HostName, PackId, RepositoryId, TenantName};

use super::certificate::{Role, Trust};
use super::repository::Repository;
use super::{keys, object};

const LIMIT_BYTES: u64 = 64 * 1024 * 1024;

/// A void mark, as `void/<n>.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidMark {
    pub(super) format: u64,
    pub(super) kind: String,
    /// The repository.
    pub repository: RepositoryId,
    /// The tenant.
    pub tenant: TenantName,
    /// The host that wrote it.
    pub host: HostName,
    /// The number of the certificate it was written under.
    pub certificate: u32,
    /// Its number, from 1.
    pub number: u32,
    /// When it was written, by the host's clock.
    pub time: Timestamp,
    /// The packs that no writer may reuse.
    pub packs: Vec<PackId>,
    /// `prune` or `damaged`.
    pub reason: String,
}

/// What all right void marks of a tenant say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoidMarks {
    /// The highest number seen; 0 for none.
    pub highest: u32,
    /// The packs they name.
    pub packs: HashSet<PackId>,
}

impl VoidMarks {
    /// Loads the void marks of a tenant.
    ///
    /// A mark that does not verify counts for nothing, and is not seen: only who may prune can void a pack.
    /// What cannot be fetched fails the call, since a writer must know them all.
    pub async fn load(repo: &Repository, trust: &Trust, tenant: &TenantName) -> Result<VoidMarks> {
        VoidMarks::default().newer(repo, trust, tenant).await
    }

    /// Loads the marks that came after these; returns all together. Costs one listing where none came.
    pub async fn newer(&self, repo: &Repository, trust: &Trust, tenant: &TenantName) -> Result<VoidMarks> {
        let mut marks = self.clone();
        let listed = object::versions(&**repo.store(), &keys::void_marks(tenant)).await?;
        let mut numbers: Vec<u32> =
            listed.iter().filter_map(|e| keys::parse_void_mark(tenant, &e.key)).collect();
        numbers.retain(|n| *n > self.highest);
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let keys = keys::void_mark(tenant, number);
            let check = |json: &[u8], signature: &[u8]| verify(trust, tenant, number, json, signature);
            match object::get_signed(&**repo.store(), &keys, &listed, LIMIT_BYTES, check).await {
                Ok(mark) => {
                    marks.highest = number;
                    marks.packs.extend(mark.value.packs);
                }
                Err(e) if matches!(e.kind(), Kind::Forged | Kind::Damaged) => {
                    tracing::warn!(key = %keys.json, error = %e, "void mark does not count");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(marks)
    }
}

fn verify(
    trust: &Trust,
    tenant: &TenantName,
    number: u32,
    json: &[u8],
    signature: &[u8],
) -> Result<VoidMark> {
    let key = keys::void_mark(tenant, number).json;
    let mark: VoidMark = object::decode(&key, "void", json)?;
    trust
        .named(&mark.host, mark.certificate, Role::Prune, tenant)
        .map_err(|e| e.in_context(&key))?
        .signing_key
        .verify(&key, json, signature)?;
    if mark.repository != *trust.repository() || mark.tenant != *tenant || mark.number != number {
        return Err(Error::new(
            Kind::Forged,
            format!("{key} belongs to another repository, tenant or number"),
        ));
    }
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Sha256;
    use crate::repo::testing::{House, host, now, tenant};

    async fn put(house: &House, number: u32, certificate: u32, pack: &[u8]) {
        let mark = VoidMark {
            format: 1,
            kind: "void".into(),
            repository: house.repo.id().clone(),
            tenant: tenant(),
            host: host(),
            certificate,
            number,
            time: now(),
            packs: vec![Sha256::of(pack)],
            reason: "prune".into(),
        };
        let keys = keys::void_mark(&tenant(), number);
        let json = object::encode(&mark).unwrap();
        house.overwrite(&keys.minisig, house.host.sign(&keys.json, &json).unwrap()).await;
        house.overwrite(&keys.json, json).await;
    }

    #[tokio::test]
    async fn only_marks_of_a_host_that_may_prune_count() {
        let house = House::build().await;
        let mut grant = house.grant(house.host.public());
        grant.roles = vec![Role::Prune];
        house.certify(grant).await;
        let trust = house.trust().await;
        put(&house, 1, 2, b"a").await;
        let first = VoidMarks::load(&house.repo, &trust, &tenant()).await.unwrap();
        assert_eq!(first, VoidMarks { highest: 1, packs: HashSet::from([Sha256::of(b"a")]) });
        put(&house, 2, 1, b"not allowed to prune").await;
        put(&house, 3, 2, b"c").await;
        let all = first.newer(&house.repo, &trust, &tenant()).await.unwrap();
        assert_eq!(all, VoidMarks { highest: 3, packs: HashSet::from([Sha256::of(b"a"), Sha256::of(b"c")]) });
    }
}
