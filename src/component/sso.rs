//! Single sign-on of a tenant: its provider and application in Authentik, and the login key in its site.
//!
//! Owns what a tenant's client looks like on both sides, and that each side is changed only where it differs. Never takes away
//! what an operator added (another redirect address, scope or group), never shows a client's secret. Users and groups are Authentik's
//! own business.

use secrecy::SecretString;

use crate::id::TenantName;

mod authentik;
mod client;
mod export;
mod login_key;

pub use authentik::Authentik;
pub use client::{Moment, Thing};
pub use export::Export;
pub use login_key::{
    LoginKey, look as look_login_key, remove as remove_login_key, settle as settle_login_key,
};

/// The path of the site to which Authentik sends a browser back. Without a slash at its end: Frappe takes exactly four parts,
/// and Authentik compares the whole address.
const CALLBACK: &str = "/api/method/frappe.integrations.oauth2_logins.custom/authentik";

/// A tenant's client as it is to be in Authentik.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id, which is also the application's slug.
    pub id: String,
    /// What users see.
    pub name: String,
    /// Where a browser is sent back to.
    pub redirect_uri: String,
    /// The site's address.
    pub launch_url: String,
    /// The groups whose members may log in; all users where there is none.
    pub groups: Vec<String>,
}

impl Client {
    /// Returns the client of a tenant that is reached under a domain.
    pub fn of(tenant: &TenantName, domain: &str, groups: &[String]) -> Client {
        Client {
            id: format!("erpnext-{tenant}"),
            name: format!("ERPNext {tenant}"),
            redirect_uri: format!("https://{domain}{CALLBACK}"),
            launch_url: format!("https://{domain}"),
            groups: groups.to_vec(),
        }
    }
}

/// What a site needs to log in through Authentik.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The client's id.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_sent_back_to_an_address_without_a_slash_at_its_end() {
        let client = Client::of(&"acme".parse().unwrap(), "acme.example", &[]);
        assert_eq!(
            client.redirect_uri,
            "https://acme.example/api/method/frappe.integrations.oauth2_logins.custom/authentik"
        );
        assert_eq!(CALLBACK.split('/').skip(1).count(), 4);
    }
}
