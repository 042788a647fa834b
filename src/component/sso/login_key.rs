//! ERPNext's side of single sign-on: its Social Login Key for Authentik.
//!
//! Owns the key's fields, which are compared first and written only where they differ. Its secret reaches the site on standard
//! input and is compared there.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CALLBACK, Credentials};
use crate::component::bench::{Bench, Program};
use crate::error::{Context, Kind, Result};

const SNIPPET: &str = include_str!("login_key.py");

/// How long Frappe may take: its start alone takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// The key as it is to be.
#[derive(Debug, Clone)]
pub struct LoginKey {
    /// Authentik's address, without a slash at its end.
    pub url: String,
    /// The client.
    pub credentials: Credentials,
    /// Whether users may log in by it; never in a copy or a drill, which is not to reach out.
    pub enabled: bool,
}

/// How a site stood to its key before a look or a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// Whether there is one at all.
    pub there: bool,
    /// What of it differs; never a value.
    pub differs: Vec<String>,
}

/// Says how the site's key differs; changes nothing.
pub async fn look(bench: &Bench, key: &LoginKey) -> Result<Standing> {
    run(bench, key, "look").await
}

/// Makes or changes the site's key; returns how it stood before.
pub async fn settle(bench: &Bench, key: &LoginKey) -> Result<Standing> {
    run(bench, key, "settle").await
}

/// Removes the site's key; one that is not there is no error.
pub async fn remove(bench: &Bench) -> Result<()> {
    let args = json!({ "verb": "remove", "fields": { "provider_name": "Authentik" } });
    bench.python(program(args, "")).await.map(|_| ())
}

async fn run(bench: &Bench, key: &LoginKey, verb: &str) -> Result<Standing> {
    let fields = json!({
        "provider_name": "Authentik",
        "social_login_provider": "Custom",
        "enable_social_login": u8::from(key.enabled),
        "client_id": key.credentials.id,
        // Frappe puts one behind the other: no slash here, one there.
        "custom_base_url": 1,
        "base_url": key.url,
        "authorize_url": "/application/o/authorize/",
        "access_token_url": "/application/o/token/",
        "api_endpoint": format!("{}/application/o/userinfo/", key.url),
        "redirect_url": CALLBACK,
        "auth_url_data": "{\"response_type\": \"code\", \"scope\": \"openid profile email\"}",
        "user_id_property": "preferred_username",
        "sign_ups": "Allow",
    });
    let args = json!({ "verb": verb, "fields": fields });
    let answer = bench.python(program(args, key.credentials.secret.expose_secret())).await?;
    Standing::deserialize(&answer)
        .context(Kind::Source, format!("site {}: answer on its login key", bench.site()))
}

fn program(args: Value, secret: &str) -> Program<'static> {
    let secrets = json!({ "client_secret": secret });
    Program { what: "login key", text: SNIPPET, args, secrets, limit: LIMIT }
}
