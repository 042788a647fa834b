//! A tenant's client in Authentik, as a member of its configuration.
//!
//! Owns that a client which cannot be read makes the night partial by name: without its secret nobody could log in after a
//! disaster, and silence would look like safety.

use std::time::Duration;

use crate::component::config::Item;
use crate::component::sso::{Authentik, Client, Export};
use crate::config::{Part, Platform, Tenant};
use crate::error::{Context, Error, Kind, Result};

/// The member's name.
pub const MEMBER: &str = "authentik/client.json";

/// How long all questions to Authentik may take together: a night must not wait for a login server.
const LIMIT: Duration = Duration::from_secs(60);

/// Returns the member, or what lacks; nothing where single sign-on is not configured or skipped.
pub(super) async fn item(platform: Option<&Platform>, tenant: &Tenant) -> Option<Item> {
    let sso = platform?.sso.as_ref()?;
    if matches!(tenant.sso, Part::Skipped { .. }) {
        return None;
    }
    let id = Client::of(&tenant.name, "", &[]).id;
    let reading = async {
        let authentik = Authentik::new(&sso.url, &sso.token.resolve()?)?;
        authentik.export(&id).await
    };
    let read = tokio::time::timeout(LIMIT, reading).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Timeout, format!("Authentik took longer than {} s", LIMIT.as_secs())))
    });
    match read.and_then(|export| export.as_ref().map(json).transpose()) {
        Ok(Some(export)) => Some(Item::json(MEMBER, &export)),
        // It has none for tenants that log in otherwise; for one that was provisioned, somebody removed it.
        Ok(None) if tenant.domain.is_some() => {
            Some(Item::missing(MEMBER, format!("{} has no client {id}", sso.url)).optional())
        }
        Ok(None) => None,
        Err(e) => Some(Item::missing(MEMBER, e.to_string())),
    }
}

fn json(export: &Export) -> Result<serde_json::Value> {
    serde_json::to_value(export).context(Kind::Bug, "client in Authentik")
}
