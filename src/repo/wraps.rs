//! Wraps as the store holds them: which vaults a tenant has, and to whom a wrap is sealed.
//!
//! Owns the comment lines of a wrap's plaintext that name its recipients, for age hides them. Knows nothing of who
//! ought to open what.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::id::{TenantName, VaultId};

use super::age_file::{self, Identities, Recipient};
use super::repository::Repository;
use super::vault::{VaultKey, WRAP_LIMIT, Wrap};
use super::{keys, object};

/// Stands before each recipient in the comments of a wrap's plaintext.
const SEALED_TO: &str = "# sealed to: ";

/// Spells the comment lines that name recipients.
pub(super) fn comments(recipients: &[Recipient]) -> String {
    recipients.iter().map(|r| format!("{SEALED_TO}{r}\n")).collect()
}

/// Lists the vaults of a tenant that have a wrap in the store.
pub async fn vaults(repo: &Repository, tenant: &TenantName) -> Result<BTreeSet<VaultId>> {
    let listed = object::versions(&**repo.store(), &keys::vaults(tenant)).await?;
    Ok(listed.iter().filter_map(|e| keys::parse_vault(tenant, &e.key)).collect())
}

/// Returns to whom a wrap is sealed, as whoever made it says.
///
/// Nothing where it does not open, does not say, or does not hold the vault's key: only who holds that key is believed,
/// for else an intruder's wrap could pass for one that an operator opens.
pub fn recipients(vault: &VaultId, wrap: &Wrap, identities: &Identities) -> Option<Vec<Recipient>> {
    VaultKey::open(vault, std::slice::from_ref(wrap), identities).ok()?;
    let opened = age_file::open("a wrap", wrap.bytes(), identities, WRAP_LIMIT).ok()?;
    let text = std::str::from_utf8(&opened).ok()?;
    let named = text.lines().filter_map(|line| line.strip_prefix(SEALED_TO)?.trim().parse().ok());
    Some(named.collect::<Vec<_>>()).filter(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::testing::House;

    #[tokio::test]
    async fn a_wrap_names_its_recipients_to_whoever_opens_it_and_to_nobody_else() {
        let house = House::build().await;
        let vault = house.vault().await;
        let wrap = &vault.wraps()[0];
        assert_eq!(recipients(vault.id(), wrap, &house.operator).unwrap(), vec![house.recipient.clone()]);
        let stranger = Identities::of_secret(&age_file::generate_identity().0).unwrap();
        assert_eq!(recipients(vault.id(), wrap, &stranger), None);
    }

    #[tokio::test]
    async fn a_wrap_that_holds_another_key_is_not_believed() {
        let house = House::build().await;
        let vault = house.vault().await;
        let intruders = VaultKey::generate().wrap(std::slice::from_ref(&house.recipient)).unwrap();
        assert_eq!(recipients(vault.id(), &intruders, &house.operator), None);
    }
}
