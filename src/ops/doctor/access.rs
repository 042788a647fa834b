//! `doctor`, access: who can read backups, who can delete them, and who can sign them, as far as this host can know.
//!
//! Draws on wraps, certificates and the last probe; tries nothing itself.

use super::{Diagnosis, Question, Weight};
use crate::error::{Result, counted};
use crate::ops::appliance::{self, Appliance};
use crate::ops::keys::{self, KeysOverview};
use crate::ops::probe::{self, Protection};
use crate::repo::certificate::Role;

/// Answers the three questions.
pub(super) async fn look(d: &mut Diagnosis, appliance: &Appliance) -> Result<()> {
    // Where drills run here, this host's own identity tells more of what it opens.
    let own = appliance::drill_identity_file(&appliance.config.machine.drills, &appliance.state)
        .and_then(|file| appliance::read_identities(&file).ok());
    let overview = keys::list(appliance, own.as_ref()).await?;
    readers(d, &overview);
    deleters(d, appliance);
    signers(d, appliance, &overview);
    Ok(())
}

fn readers(d: &mut Diagnosis, keys: &KeysOverview) {
    let operators: Vec<&String> = keys.operators.iter().filter(|o| keys.drill.as_ref() != Some(*o)).collect();
    for operator in &operators {
        d.say(Question::Read, Weight::Good, format!("operator {operator} opens new snapshots"));
    }
    match keys.kit_confirmed {
        Some(at) => d.say(Question::Read, Weight::Good, format!("the recovery kit was confirmed on {at}")),
        None => d.say(
            Question::Read,
            Weight::Bad,
            "not protected: kit never confirmed, so nobody knows that any backup can be read; `lifeboat keys confirm --kit FILE`",
        ),
    }
    if operators.len() == 1 {
        d.say(
            Question::Read,
            Weight::Look,
            "one key alone opens everything: a second operator (`lifeboat keys add-operator`) survives its loss",
        );
    }
    if keys.host_can_read {
        d.say(
            Question::Read,
            Weight::Look,
            "this host can read backups: drills run here, and whoever takes it over reads its tenants' history",
        );
    } else {
        d.say(Question::Read, Weight::Good, "this host opens no backup");
    }
    wraps(d, keys);
}

fn wraps(d: &mut Diagnosis, keys: &KeysOverview) {
    for vault in keys.vaults.iter().filter(|v| v.unknown > 0) {
        d.say(
            Question::Read,
            Weight::Look,
            format!(
                "tenant {}: vault {} has {} not made here, so who opens it is not known; \
                 `lifeboat keys list --identity FILE` reads it",
                vault.tenant,
                vault.vault,
                counted(vault.unknown, "wrap")
            ),
        );
    }
    for gone in &keys.removed {
        let open: Vec<_> = keys.vaults.iter().filter(|v| v.opens_for.contains(gone)).collect();
        let snapshots: usize = open.iter().map(|v| v.snapshots).sum();
        if open.iter().any(|v| v.in_force) {
            d.say(
                Question::Read,
                Weight::Bad,
                format!("removed operator {gone} opens a vault in force; run `lifeboat keys remove-operator` again"),
            );
        } else if snapshots > 0 {
            d.say(
                Question::Read,
                Weight::Look,
                format!(
                    "removed operator {gone} still opens {}, until pruned",
                    counted(snapshots, "older snapshot")
                ),
            );
        }
    }
}

fn deleters(d: &mut Diagnosis, appliance: &Appliance) {
    let Some(probed) = probe::last(&appliance.state, &appliance.store().address()) else {
        return d.say(
            Question::Delete,
            Weight::Bad,
            "nobody has tried what this host's credential may delete: run `lifeboat probe`",
        );
    };
    let weight = match (probed.harms(), probed.protection()) {
        (true, _) => Weight::Bad,
        (false, Protection::None) => Weight::Look,
        (false, Protection::Locks | Protection::Versions) => Weight::Good,
    };
    d.say(Question::Delete, weight, format!("{} (probed on {})", probed.sentence(), probed.at));
    if probed.protection() == Protection::Locks {
        let unlocked: Vec<String> = appliance
            .config
            .tenants()
            .filter(|t| t.policy.lock.mode != crate::config::LockMode::Compliance)
            .map(|t| t.name.to_string())
            .collect();
        if !unlocked.is_empty() {
            d.say(
                Question::Delete,
                Weight::Look,
                format!("locks hold, but no policy asks for them for: {}", unlocked.join(", ")),
            );
        }
    }
    let host = &appliance.config.machine.host;
    if appliance.trust.in_force(host).is_ok_and(|c| c.grants(Role::Prune) && c.grants(Role::Backup)) {
        d.say(
            Question::Delete,
            Weight::Look,
            "this host backs up and prunes: a machine of its own for pruning keeps the right to delete off this one",
        );
    }
}

fn signers(d: &mut Diagnosis, appliance: &Appliance, keys: &KeysOverview) {
    d.say(Question::Sign, Weight::Good, "whoever holds the recovery kit's root key certifies and ends hosts");
    for host in &keys.hosts {
        d.say(
            Question::Sign,
            Weight::Good,
            format!(
                "host {} signs ({}) for {}, by certificate {}",
                host.host,
                host.roles.join(", "),
                if host.tenants.is_empty() { "no tenant".to_owned() } else { host.tenants.join(", ") },
                host.certificate
            ),
        );
    }
    for tenant in appliance.config.tenants().map(|t| &t.name) {
        let all: Vec<String> = appliance.trust.writing(tenant).iter().map(ToString::to_string).collect();
        match all.len() {
            0 => d.say(
                Question::Sign,
                Weight::Bad,
                format!("no host may back tenant {tenant} up: `lifeboat keys certify --kit FILE`"),
            ),
            1 => {}
            _ => d.say(
                Question::Sign,
                Weight::Bad,
                format!(
                    "hosts {} all may write for tenant {tenant}: `lifeboat keys hand-over {tenant} --to HOST --kit FILE` leaves one",
                    all.join(" and ")
                ),
            ),
        }
    }
    for ended in appliance.trust.certificates().filter(|c| c.ended.is_some()) {
        d.say(
            Question::Sign,
            Weight::Good,
            format!(
                "key {} of host {} was ended by certificate {}",
                ended.signing_key, ended.host, ended.number
            ),
        );
    }
    for fault in &keys.faults {
        d.say(Question::Sign, Weight::Bad, format!("certificate {fault}"));
    }
}
