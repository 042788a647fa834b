//! The connection to an Authentik: one call each for what is asked of it.
//!
//! Owns timeouts, the token and how failures are told. The shapes are those of the published client, made from Authentik's own
//! description of its API 2026.8; an older one whose answers lack a field is refused by name rather than guessed at.

use std::fmt::Debug;
use std::time::Duration;

use authentik_client::apis::configuration::Configuration;
use authentik_client::apis::core_api as core;
use authentik_client::apis::flows_api as flows;
use authentik_client::apis::policies_api as policies;
use authentik_client::apis::propertymappings_api as mappings;
use authentik_client::apis::providers_api as providers;
use authentik_client::apis::{Error as ApiError, ResponseContent};
use authentik_client::models::{
    Application, Flow, Group, OAuth2Provider, Pagination, PolicyBinding, ScopeMapping,
};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::error::{Context, Error, Kind, Result};

/// How long a connection and one whole answer may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The most entries of a list that are asked for at once; no list here comes near it.
const PAGE: i32 = 500;

/// How much of a refusal is quoted, in characters.
const QUOTE_CHARS: usize = 300;

/// An Authentik that answers with a token's rights.
#[derive(Clone)]
pub struct Authentik {
    pub(super) api: Configuration,
    url: String,
}

impl Debug for Authentik {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authentik({})", self.url)
    }
}

impl Authentik {
    /// Makes a connection; nothing is asked yet.
    pub fn new(url: &str, token: &SecretString) -> Result<Authentik> {
        let url = url.trim_end_matches('/').to_owned();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            // A redirect would turn a POST into a GET, or take the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context(Kind::Bug, "HTTP client")?;
        let api = Configuration {
            base_path: format!("{url}/api/v3"),
            user_agent: Some(concat!("lifeboat/", env!("CARGO_PKG_VERSION")).to_owned()),
            client: reqwest_middleware::ClientBuilder::new(client).build(),
            basic_auth: None,
            oauth_access_token: None,
            bearer_access_token: Some(token.expose_secret().to_owned()),
            api_key: None,
        };
        Ok(Authentik { api, url })
    }

    /// Returns its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn told<T, E: Debug>(&self, what: &str, result: Result<T, ApiError<E>>) -> Result<T> {
        result.map_err(|e| fault(format!("Authentik at {}: {what}", self.url), e))
    }

    /// Finds a provider by its client's id.
    pub(super) async fn provider(&self, id: &str) -> Result<Option<OAuth2Provider>> {
        let asked = providers::providers_oauth2_list(
            &self.api,
            None,
            None,
            None,
            None,
            Some(id),
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        );
        let list = self.told(&format!("provider of client {id}"), asked.await)?;
        // An instance that does not know the filter answers with all of them.
        Ok(list.results.into_iter().find(|p| p.client_id.as_deref() == Some(id)))
    }

    /// Finds an application by its slug.
    pub(super) async fn application(&self, slug: &str) -> Result<Option<Application>> {
        match core::core_applications_retrieve(&self.api, slug).await {
            Err(ApiError::ResponseError(ResponseContent { status, .. })) if status.as_u16() == 404 => {
                Ok(None)
            }
            other => self.told(&format!("application {slug}"), other).map(Some),
        }
    }

    /// Returns all flows.
    pub(super) async fn flows(&self) -> Result<Vec<Flow>> {
        let asked = flows::flows_instances_list(
            &self.api,
            None,
            None,
            None,
            None,
            None,
            None,
            Some(PAGE),
            None,
            None,
        );
        let list = self.told("flows", asked.await)?;
        whole("flows", &list.pagination).map(|()| list.results)
    }

    /// Returns all mappings of scopes.
    pub(super) async fn scopes(&self) -> Result<Vec<ScopeMapping>> {
        let asked = mappings::propertymappings_provider_scope_list(
            &self.api,
            None,
            None,
            None,
            None,
            None,
            Some(PAGE),
            None,
            None,
        );
        let list = self.told("scope mappings", asked.await)?;
        whole("scope mappings", &list.pagination).map(|()| list.results)
    }

    /// Finds a group by its name.
    pub(super) async fn group(&self, name: &str) -> Result<Option<Group>> {
        let asked = core::core_groups_list(
            &self.api,
            None,
            Some(false),
            Some(false),
            Some(false),
            Some(false),
            None,
            None,
            None,
            Some(name),
            None,
            None,
            None,
            None,
        );
        let list = self.told(&format!("group {name}"), asked.await)?;
        Ok(list.results.into_iter().find(|g| g.name == name))
    }

    /// Returns who is bound to an application.
    pub(super) async fn bindings(&self, application: Uuid) -> Result<Vec<PolicyBinding>> {
        let target = application.to_string();
        let asked = policies::policies_bindings_list(
            &self.api,
            None,
            None,
            None,
            None,
            Some(PAGE),
            None,
            None,
            None,
            Some(&target),
            None,
            None,
        );
        let list = self.told("bindings", asked.await)?;
        whole("bindings", &list.pagination)?;
        Ok(list.results.into_iter().filter(|b| b.target == application).collect())
    }
}

fn whole(what: &str, pagination: &Pagination) -> Result<()> {
    match pagination.next > 0.0 {
        true => Err(Error::new(Kind::Unsupported, format!("Authentik has more than {PAGE} {what}"))),
        false => Ok(()),
    }
}

fn fault<E: Debug>(what: String, error: ApiError<E>) -> Error {
    match error {
        ApiError::ResponseError(ResponseContent { status, content, .. }) => {
            refused(what, status.as_u16(), &content)
        }
        ApiError::Reqwest(e) if e.is_timeout() => timed_out(what),
        ApiError::ReqwestMiddleware(reqwest_middleware::Error::Reqwest(e)) if e.is_timeout() => {
            timed_out(what)
        }
        ApiError::Reqwest(e) => Error::new(Kind::Host, what).caused_by(e),
        ApiError::ReqwestMiddleware(reqwest_middleware::Error::Reqwest(e)) => {
            Error::new(Kind::Host, what).caused_by(e)
        }
        ApiError::ReqwestMiddleware(e) => Error::new(Kind::Host, what).caused_by(e.to_string()),
        ApiError::Serde(e) => {
            // Other messages may quote what was answered, and with it a secret.
            let text = e.to_string();
            let said = if text.starts_with("missing field") || text.starts_with("Received `") {
                text
            } else {
                format!("line {}, column {}", e.line(), e.column())
            };
            Error::new(Kind::Unsupported, format!("{what}: the answer is not of API 2026.8: {said}"))
                .hint("is this address Authentik itself, and of version 2026.5 or later?")
        }
        ApiError::Io(e) => Error::new(Kind::Host, what).caused_by(e),
    }
}

fn timed_out(what: String) -> Error {
    Error::new(Kind::Timeout, format!("{what}: no answer within {} s", ANSWER_LIMIT.as_secs()))
}

fn refused(what: String, status: u16, content: &str) -> Error {
    let said: String = content.chars().filter(|c| !c.is_control()).take(QUOTE_CHARS).collect();
    match status {
        401 | 403 => Error::new(Kind::Denied, format!("{what}: refused with {status}"))
            .hint("the token may have ended, or its user lacks the right: `authentik Admins` have it"),
        404 => Error::new(Kind::NotFound, format!("{what}: not there")),
        400..=499 => Error::new(Kind::Config, format!("{what}: refused with {status}: {said}")),
        _ => Error::new(Kind::Host, format!("{what}: failed with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_kind_and_no_answer_is_quoted_that_may_hold_a_secret() {
        assert_eq!(refused("x".into(), 403, "").kind(), Kind::Denied);
        let error = refused("x".into(), 400, "{\"name\":[\"taken\"]}");
        assert!(error.to_string().contains("taken") && error.kind() == Kind::Config);
        assert_eq!(refused("x".into(), 502, "").kind(), Kind::Host);
        let wrong = serde_json::from_str::<u32>("\"hunter2\"").unwrap_err();
        let error = fault::<()>("x".into(), ApiError::Serde(wrong));
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let lacks = serde_json::from_str::<OAuth2Provider>("{\"pk\": 1}").unwrap_err();
        assert!(fault::<()>("x".into(), ApiError::Serde(lacks)).to_string().contains("missing field `name`"));
    }

    #[test]
    fn no_token_is_printed() {
        let authentik = Authentik::new("https://sso.example/", &SecretString::from("hunter2")).unwrap();
        assert_eq!(format!("{authentik:?}"), "Authentik(https://sso.example)");
        assert_eq!(authentik.api.base_path, "https://sso.example/api/v3");
    }
}
