//! Committing a snapshot: packs; manifest and pack list; signature; receipt. In this order and no other.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::error::{Context, Error, Kind, Result};
use crate::id::{ComponentName, PackId, Sha256};
use crate::repo::extent::PackRef;
use crate::repo::keys::{self, SnapshotPart};
use crate::repo::manifest::{self, ComponentRecord, Header, Manifest};
use crate::repo::object;
use crate::repo::recall;
use crate::repo::receipt::{self, Committed, ComponentState, ObjectRef, PacksRef, Receipt};
use crate::repo::renewal;
use crate::repo::repository::whole_seconds;
use crate::repo::tampered;
use crate::repo::void::VoidMarks;
use crate::repo::writer::{BackupWriter, Sealed};
use crate::store::Kept;

use super::write::{Part, SnapshotOptions};

/// The steps of a commit.
pub(super) struct Committing<'a> {
    pub options: &'a SnapshotOptions,
    pub certificate: u32,
    pub marks: &'a VoidMarks,
}

impl Committing<'_> {
    pub async fn run(
        &self,
        packs: &mut BackupWriter,
        mut parts: Vec<Part>,
        finished: Timestamp,
    ) -> Result<Committed> {
        refuse_without_content(&mut parts)?;
        let sealed = packs.finish().await?;
        let states = parts.iter().map(state_of).collect();
        let manifest = self.put_manifest(parts, &sealed).await?;
        let list = self.put_pack_list(&sealed.packs).await?;
        let (void_seen, kept) = self.recheck(&sealed.packs).await?;
        let ids: Vec<PackId> = sealed.packs.iter().map(|p| p.id).collect();
        renewal::renew(self.options, self.certificate, &ids, &kept).await;
        let added_bytes = sealed.added_bytes + manifest.size + list.size;
        let sizes = sealed.packs.iter().map(|p| p.size_bytes).collect();
        let packs = PacksRef { hash: list.hash, size: list.size, sizes };
        let receipt = self.receipt(finished, manifest, packs, void_seen, added_bytes, states);
        self.put_receipt(receipt).await
    }

    async fn put_manifest(&self, parts: Vec<Part>, sealed: &Sealed) -> Result<ObjectRef> {
        let o = self.options;
        let packs =
            u32::try_from(sealed.packs.len()).context(Kind::Full, "more packs than a snapshot can name")?;
        let mut manifest = Manifest {
            header: Header {
                repository: o.repo.id().clone(),
                tenant: o.tenant.clone(),
                snapshot: o.snapshot.clone(),
                host: o.host.clone(),
                started: whole_seconds(o.started),
                label: o.label.clone(),
                packs,
            },
            components: Vec::new(),
            streams: Vec::new(),
        };
        for part in parts {
            manifest.components.push(part.record);
            manifest.streams.extend(part.streams);
        }
        let recipient = o.vault.recipient().clone();
        let encoded = tokio::task::spawn_blocking(move || manifest::encode(&manifest, &recipient));
        let object = encoded.await.context(Kind::Bug, "encoding the manifest")??;
        self.put(SnapshotPart::Manifest, object).await
    }

    async fn put_pack_list(&self, packs: &[PackRef]) -> Result<ObjectRef> {
        let list = packs.iter().flat_map(|p| p.id.0).collect();
        self.put(SnapshotPart::PackList, list).await
    }

    async fn put(&self, part: SnapshotPart, bytes: Vec<u8>) -> Result<ObjectRef> {
        let key = keys::snapshot(&self.options.tenant, &self.options.snapshot, part);
        let made = ObjectRef { hash: Sha256::of(&bytes), size: bytes.len() as u64 };
        object::put_once(&**self.options.repo.store(), &key, bytes.into()).await?;
        Ok(made)
    }

    /// Looks once more at what could have changed under a running backup: void marks, and packs that were reused.
    async fn recheck(&self, packs: &[PackRef]) -> Result<(u32, Kept)> {
        let SnapshotOptions { repo, trust, tenant, .. } = self.options;
        // In one listing, of a tenant that is small to list: each request counts, every night.
        let kept = recall::kept(repo, &keys::tenant(tenant)).await?;
        let marks = self.marks.newer_of(repo, trust, tenant, &kept.versions).await?;
        if let Some(voided) = packs.iter().find(|p| marks.packs.contains(&p.id)) {
            return Err(Error::new(
                Kind::Conflict,
                format!("pack {} was voided while the backup of {tenant} ran", voided.id.short()),
            )
            .hint("run the backup again"));
        }
        let there: HashMap<PackId, u64> = tampered::newest(tenant, &kept).collect();
        if let Some(lost) = packs.iter().find(|p| there.get(&p.id) != Some(&p.size_bytes)) {
            return Err(Error::new(
                Kind::Damaged,
                format!("pack {} is not in the store as it was written", keys::pack(tenant, &lost.id)),
            )
            .hint("run the backup again: it writes what that pack held anew, and names the snapshots that lost it"));
        }
        drop(there);
        Ok((marks.highest, kept))
    }

    fn receipt(
        &self,
        finished: Timestamp,
        manifest: ObjectRef,
        packs: PacksRef,
        void_seen: u32,
        added_bytes: u64,
        components: Vec<ComponentState>,
    ) -> Receipt {
        let o = self.options;
        Receipt {
            format: object::FORMAT,
            kind: "receipt".to_owned(),
            repository: o.repo.id().clone(),
            tenant: o.tenant.clone(),
            snapshot: o.snapshot.clone(),
            host: o.host.clone(),
            certificate: self.certificate,
            sequence: o.predecessor.as_ref().map_or(0, |h| h.sequence) + 1,
            previous: o.predecessor.as_ref().map(|h| h.receipt),
            started: whole_seconds(o.started),
            finished,
            trigger: o.trigger,
            pinned_until: o.pinned_until.map(whole_seconds),
            vault: o.vault.id().clone(),
            recipient: o.vault.recipient().clone(),
            wraps: o.vault.wraps().to_vec(),
            manifest,
            packs,
            void_seen,
            added_bytes,
            components,
        }
    }

    async fn put_receipt(&self, receipt: Receipt) -> Result<Committed> {
        let store = &**self.options.repo.store();
        let keys = keys::receipt(&receipt.tenant, &receipt.snapshot);
        let json = object::encode(&receipt)?;
        if json.len() as u64 > receipt::LIMIT_BYTES {
            return Err(Error::new(
                Kind::Full,
                format!("receipt of {} bytes is above the format's limit", json.len()),
            ));
        }
        let hash = Sha256::of(&json);
        let signature = self.options.signer.sign(&keys.json, &json)?;
        // What a reader would refuse must not be called committed.
        receipt::verify(
            &self.options.trust,
            &receipt.tenant,
            &receipt.snapshot,
            &json,
            signature.as_bytes(),
        )?;
        object::put_once(store, &keys.minisig, signature.into_bytes().into()).await?;
        let entry = object::put_once(store, &keys.json, json.into()).await?;
        Ok(Committed { receipt, hash, stored: entry.modified })
    }
}

/// Puts components into the order of a backup; fails where there is none or all failed, with the first one's kind.
fn refuse_without_content(parts: &mut [Part]) -> Result<()> {
    parts.sort_by_key(|p| ComponentName::ALL.iter().position(|c| *c == p.record.component));
    if let Some(twice) = parts.windows(2).find(|w| w[0].record.component == w[1].record.component) {
        return Err(Error::new(
            Kind::Bug,
            format!("component {} was written twice", twice[0].record.component),
        ));
    }
    if parts.iter().any(|p| p.failure.is_none()) {
        return Ok(());
    }
    let Some((first, (kind, hint))) = parts.first().and_then(|p| Some((&p.record, p.failure.as_ref()?)))
    else {
        return Err(Error::new(Kind::Bug, "a snapshot without any component"));
    };
    let detail = first.detail.as_deref().unwrap_or("no reason given");
    let what =
        format!("no component could be backed up, so there is no snapshot; {}: {detail}", first.component);
    let error = Error::new(*kind, what);
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

fn state_of(part: &Part) -> ComponentState {
    let ComponentRecord { component, state, reason, .. } = &part.record;
    let anomalies = part.anomalies.clone();
    ComponentState { component: *component, state: *state, reason: reason.clone(), anomalies }
}
