//! A tenant's client in Authentik: looked up by its id, made or changed where it differs, and removed.
//!
//! Owns what must be there and what is left to the operator: flows, validities and further redirect addresses, scopes and groups stay
//! as they are. Calls in an order in which a run that is killed is completed by the next.

use authentik_client::apis::core_api as core;
use authentik_client::apis::policies_api as policies;
use authentik_client::apis::providers_api as providers;
use authentik_client::models::{
    Application, ApplicationRequest, ClientTypeEnum, GrantTypeEnum, MatchingModeEnum, OAuth2Provider,
    OAuth2ProviderRequest, PatchedApplicationRequest, PatchedOAuth2ProviderRequest, PolicyBindingRequest,
    RedirectUri, RedirectUriRequest, RedirectUriTypeEnum,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Authentik, Client, Credentials};
use crate::error::{Error, Kind, Result};

/// The flows of a fresh Authentik that a new provider gets.
const AUTHORIZATION_FLOW: &str = "default-provider-authorization-implicit-consent";
const INVALIDATION_FLOW: &str = "default-provider-invalidation-flow";

/// The scopes that Frappe asks for, by the names under which Authentik manages their mappings.
const SCOPES: [&str; 3] = [
    "goauthentik.io/providers/oauth2/scope-openid",
    "goauthentik.io/providers/oauth2/scope-email",
    "goauthentik.io/providers/oauth2/scope-profile",
];

/// Since 2026.5 a provider grants only what it lists.
const GRANTS: [GrantTypeEnum; 2] = [GrantTypeEnum::AuthorizationCode, GrantTypeEnum::RefreshToken];

/// Something that a change makes in Authentik, by what it can be found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// The provider of a client.
    Provider {
        /// The client's id.
        client: String,
    },
    /// An application.
    Application {
        /// Its slug.
        slug: String,
    },
    /// A group bound to an application.
    Binding {
        /// The application's slug.
        slug: String,
        /// The group's name.
        group: String,
    },
}

/// When somebody is told of a [`Thing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It is about to be made.
    Before,
    /// It is there.
    After,
}

/// Who is told; what it fails with ends the change.
pub type Told<'a> = &'a mut (dyn FnMut(&Thing, Moment) -> Result<()> + Send);

/// What is there of a client.
struct Seen {
    provider: Option<OAuth2Provider>,
    application: Option<Application>,
    scopes: Vec<Uuid>,
    /// Each group with whether it is bound.
    groups: Vec<(String, Uuid, bool)>,
}

impl Authentik {
    /// Says how Authentik differs from what a client is to be; changes nothing.
    pub async fn look(&self, client: &Client) -> Result<Vec<String>> {
        let seen = self.see(client).await?;
        let mut all = Vec::new();
        match &seen.provider {
            None => all.push(format!("no provider with client id {}", client.id)),
            Some(provider) => {
                all.extend(provider_patch(provider, client, &seen.scopes).map(|(_, what)| what))
            }
        }
        match (&seen.application, &seen.provider) {
            (None, _) => all.push(format!("no application {}", client.id)),
            (Some(application), Some(provider)) => {
                all.extend(application_patch(application, client, provider.pk)?.map(|(_, what)| what));
            }
            (Some(application), None) => free(application, None)?,
        }
        let unbound = seen.groups.iter().filter(|(_, _, bound)| !bound);
        all.extend(unbound.map(|(name, ..)| format!("group {name} is not bound to it")));
        Ok(all)
    }

    /// Makes or changes what differs, and returns what the site needs to log in; `told` hears of all that is made.
    pub async fn settle(&self, client: &Client, told: Told<'_>) -> Result<Credentials> {
        let seen = self.see(client).await?;
        let provider = match &seen.provider {
            None => self.make_provider(client, &seen.scopes, told).await?,
            Some(provider) => match provider_patch(provider, client, &seen.scopes) {
                None => provider.clone(),
                Some((patch, what)) => {
                    let call =
                        providers::providers_oauth2_partial_update(&self.api, provider.pk, Some(patch));
                    self.told(&what, call.await)?
                }
            },
        };
        let application = match &seen.application {
            None => self.make_application(client, provider.pk, told).await?,
            Some(application) => match application_patch(application, client, provider.pk)? {
                None => application.clone(),
                Some((patch, what)) => {
                    let call = core::core_applications_partial_update(&self.api, &client.id, Some(patch));
                    self.told(&what, call.await)?
                }
            },
        };
        for (name, group, _) in seen.groups.iter().filter(|(_, _, bound)| !bound) {
            self.bind(&application, name, *group, told).await?;
        }
        self.credentials(&provider)
    }

    /// Returns what a site needs to log in as a client; none where there is no such client.
    pub async fn credentials_of(&self, client: &Client) -> Result<Option<Credentials>> {
        self.provider(&client.id).await?.map(|provider| self.credentials(&provider)).transpose()
    }

    fn credentials(&self, provider: &OAuth2Provider) -> Result<Credentials> {
        match (&provider.client_id, provider.client_secret.as_deref()) {
            (Some(id), Some(secret)) if !secret.is_empty() => {
                Ok(Credentials { id: id.clone(), secret: SecretString::from(secret) })
            }
            _ => Err(Error::new(
                Kind::Denied,
                format!(
                    "Authentik at {}: it does not tell the secret of provider {}",
                    self.url(),
                    provider.name
                ),
            )
            .hint("give the token's user the right to see it, as `authentik Admins` have")),
        }
    }

    async fn see(&self, client: &Client) -> Result<Seen> {
        let provider = self.provider(&client.id).await?;
        let application = self.application(&client.id).await?;
        let all = self.scopes().await?;
        let managed = |name: &str| {
            let found = all.iter().find(|s| s.managed.as_ref().and_then(Option::as_deref) == Some(name));
            found.map(|s| s.pk).ok_or_else(|| {
                Error::new(Kind::NotFound, format!("Authentik at {} has no scope mapping {name}", self.url()))
                    .hint("it makes them itself when it starts; were its default blueprints switched off?")
            })
        };
        let scopes = SCOPES.iter().map(|name| managed(name)).collect::<Result<Vec<_>>>()?;
        let bound = match &application {
            Some(application) => self.bindings(application.pk).await?,
            None => Vec::new(),
        };
        let mut groups = Vec::new();
        for name in &client.groups {
            let group = self.group(name).await?.ok_or_else(|| {
                Error::new(Kind::NotFound, format!("Authentik at {} has no group {name}", self.url()))
                    .hint("make it there, or take it out of `groups`")
            })?;
            let is_bound = bound.iter().any(|b| b.group == Some(Some(group.pk)) && b.enabled != Some(false));
            groups.push((name.clone(), group.pk, is_bound));
        }
        Ok(Seen { provider, application, scopes, groups })
    }

    pub(super) async fn flow(&self, slug: &str) -> Result<Uuid> {
        let all = self.flows().await?;
        all.iter().find(|flow| flow.slug == slug).map(|flow| flow.pk).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("Authentik at {} has no flow {slug}", self.url()))
                .hint("it makes it itself when it starts; were its default blueprints switched off?")
        })
    }

    async fn make_provider(
        &self,
        client: &Client,
        scopes: &[Uuid],
        told: Told<'_>,
    ) -> Result<OAuth2Provider> {
        let thing = Thing::Provider { client: client.id.clone() };
        let request = OAuth2ProviderRequest {
            property_mappings: Some(scopes.to_vec()),
            client_type: Some(ClientTypeEnum::Confidential),
            client_id: Some(client.id.clone()),
            grant_types: Some(GRANTS.to_vec()),
            // Its secret is Authentik's to make, and stands in its answer.
            ..OAuth2ProviderRequest::new(
                client.name.clone(),
                self.flow(AUTHORIZATION_FLOW).await?,
                self.flow(INVALIDATION_FLOW).await?,
                vec![redirect(client)],
            )
        };
        told(&thing, Moment::Before)?;
        let call = providers::providers_oauth2_create(&self.api, request);
        let made = self.told(&format!("make the provider of client {}", client.id), call.await)?;
        told(&thing, Moment::After)?;
        Ok(made)
    }

    async fn make_application(&self, client: &Client, provider: i32, told: Told<'_>) -> Result<Application> {
        let thing = Thing::Application { slug: client.id.clone() };
        let request = ApplicationRequest {
            provider: Some(Some(provider)),
            meta_launch_url: Some(client.launch_url.clone()),
            ..ApplicationRequest::new(client.name.clone(), client.id.clone())
        };
        told(&thing, Moment::Before)?;
        let call = core::core_applications_create(&self.api, request);
        let made = self.told(&format!("make application {}", client.id), call.await)?;
        told(&thing, Moment::After)?;
        Ok(made)
    }

    pub(super) async fn bind(
        &self,
        application: &Application,
        name: &str,
        group: Uuid,
        told: Told<'_>,
    ) -> Result<()> {
        let thing = Thing::Binding { slug: application.slug.clone(), group: name.to_owned() };
        let request = PolicyBindingRequest {
            group: Some(Some(group)),
            enabled: Some(true),
            ..PolicyBindingRequest::new(application.pk, 0)
        };
        told(&thing, Moment::Before)?;
        let call = policies::policies_bindings_create(&self.api, request);
        self.told(&format!("bind group {name} to application {}", application.slug), call.await)?;
        told(&thing, Moment::After)
    }

    /// Removes what a change made; what is gone already is no error.
    pub async fn remove(&self, thing: &Thing) -> Result<()> {
        match thing {
            Thing::Provider { client } => {
                let Some(provider) = self.provider(client).await? else { return Ok(()) };
                let call = providers::providers_oauth2_destroy(&self.api, provider.pk);
                gone(self.told(&format!("remove the provider of client {client}"), call.await))
            }
            Thing::Application { slug } => {
                let call = core::core_applications_destroy(&self.api, slug);
                gone(self.told(&format!("remove application {slug}"), call.await))
            }
            Thing::Binding { slug, group } => {
                let (Some(application), Some(found)) =
                    (self.application(slug).await?, self.group(group).await?)
                else {
                    return Ok(());
                };
                let bound = self.bindings(application.pk).await?;
                for binding in bound.iter().filter(|b| b.group == Some(Some(found.pk))) {
                    let pk = binding.pk.to_string();
                    let call = policies::policies_bindings_destroy(&self.api, &pk);
                    gone(self.told(&format!("unbind group {group}"), call.await))?;
                }
                Ok(())
            }
        }
    }
}

fn gone(result: Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        other => other,
    }
}

fn redirect(client: &Client) -> RedirectUriRequest {
    RedirectUriRequest {
        redirect_uri_type: Some(RedirectUriTypeEnum::Authorization),
        ..RedirectUriRequest::new(MatchingModeEnum::Strict, client.redirect_uri.clone())
    }
}

fn leads_back(found: &RedirectUri, client: &Client) -> bool {
    found.matching_mode == MatchingModeEnum::Strict
        && found.url == client.redirect_uri
        && !matches!(found.redirect_uri_type, Some(RedirectUriTypeEnum::Logout))
}

/// Returns what of a provider is to be changed, with its reason; what an operator added is kept.
fn provider_patch(
    found: &OAuth2Provider,
    client: &Client,
    scopes: &[Uuid],
) -> Option<(PatchedOAuth2ProviderRequest, String)> {
    let mut patch = PatchedOAuth2ProviderRequest::new();
    let mut why = Vec::new();
    if !found.redirect_uris.iter().any(|uri| leads_back(uri, client)) {
        let kept = found.redirect_uris.iter().map(|uri| RedirectUriRequest {
            matching_mode: uri.matching_mode,
            url: uri.url.clone(),
            redirect_uri_type: uri.redirect_uri_type,
        });
        patch.redirect_uris = Some(kept.chain([redirect(client)]).collect());
        why.push(format!("does not lead back to {}", client.redirect_uri));
    }
    if found.client_type.is_some_and(|t| t != ClientTypeEnum::Confidential) {
        patch.client_type = Some(ClientTypeEnum::Confidential);
        why.push("is not confidential".to_owned());
    }
    if let Some(more) = with_all(found.property_mappings.as_deref(), scopes) {
        patch.property_mappings = Some(more);
        why.push("lacks scopes".to_owned());
    }
    // An instance of before 2026.5 does not tell of grants, and grants all.
    if let Some(more) = found.grant_types.as_deref().and_then(|grants| with_all(Some(grants), &GRANTS)) {
        patch.grant_types = Some(more);
        why.push("lacks grants".to_owned());
    }
    (!why.is_empty()).then(|| (patch, format!("provider {} {}", found.name, why.join(", "))))
}

/// Returns a list with what it lacks of another, or none where it lacks nothing.
fn with_all<T: Copy + PartialEq>(found: Option<&[T]>, wanted: &[T]) -> Option<Vec<T>> {
    let found = found.unwrap_or_default();
    let lacks: Vec<T> = wanted.iter().filter(|w| !found.contains(w)).copied().collect();
    (!lacks.is_empty()).then(|| [found, &lacks].concat())
}

fn application_patch(
    found: &Application,
    client: &Client,
    provider: i32,
) -> Result<Option<(PatchedApplicationRequest, String)>> {
    free(found, Some(provider))?;
    let mut patch = PatchedApplicationRequest::new();
    let mut why = Vec::new();
    if found.provider.flatten() != Some(provider) {
        patch.provider = Some(Some(provider));
        why.push("has no provider");
    }
    if found.meta_launch_url.as_deref() != Some(&client.launch_url) {
        patch.meta_launch_url = Some(client.launch_url.clone());
        why.push("leads elsewhere");
    }
    Ok((!why.is_empty()).then(|| (patch, format!("application {} {}", found.slug, why.join(", ")))))
}

/// An application under our slug with a provider of another client is somebody else's.
fn free(found: &Application, ours: Option<i32>) -> Result<()> {
    match found.provider.flatten() {
        Some(theirs) if Some(theirs) != ours => {
            let what =
                format!("application {} in Authentik belongs to another provider ({theirs})", found.slug);
            Err(Error::new(Kind::Conflict, what).hint("rename that application's slug, or remove it"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::of(&"acme".parse().unwrap(), "acme.example", &[])
    }

    fn provider() -> OAuth2Provider {
        OAuth2Provider {
            property_mappings: Some(vec![Uuid::from_u128(9)]),
            grant_types: Some(vec![GrantTypeEnum::ClientCredentials]),
            redirect_uris: vec![RedirectUri::new(MatchingModeEnum::Regex, "https://old/.*".into())],
            ..OAuth2Provider::default()
        }
    }

    #[test]
    fn what_lacks_is_added_and_what_an_operator_added_is_kept() {
        let scopes = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let (patch, why) = provider_patch(&provider(), &client(), &scopes).unwrap();
        assert!(why.contains("does not lead back") && why.contains("lacks scopes, lacks grants"), "{why}");
        assert_eq!(patch.property_mappings, Some([9, 1, 2].map(Uuid::from_u128).to_vec()));
        assert_eq!(patch.redirect_uris.as_ref().map(Vec::len), Some(2));
        assert_eq!(patch.grant_types.map(|g| g.len()), Some(3));
        assert!(patch.client_secret.is_none() && patch.name.is_none() && patch.authorization_flow.is_none());
        let mut right = provider();
        right.property_mappings = Some(scopes.to_vec());
        right.redirect_uris.push(RedirectUri::new(MatchingModeEnum::Strict, client().redirect_uri));
        right.grant_types = None;
        assert!(provider_patch(&right, &client(), &scopes).is_none(), "an older instance tells no grants");
    }

    #[test]
    fn a_redirect_that_is_a_pattern_or_for_logout_does_not_count() {
        let url = client().redirect_uri;
        for (mode, kind) in
            [(MatchingModeEnum::Regex, None), (MatchingModeEnum::Strict, Some(RedirectUriTypeEnum::Logout))]
        {
            let uri = RedirectUri { redirect_uri_type: kind, ..RedirectUri::new(mode, url.clone()) };
            assert!(!leads_back(&uri, &client()));
        }
    }

    #[test]
    fn an_application_of_another_provider_is_left_alone() {
        let mut found = Application { provider: Some(Some(7)), ..Application::default() };
        assert_eq!(application_patch(&found, &client(), 8).unwrap_err().kind(), Kind::Conflict);
        assert_eq!(free(&found, None).unwrap_err().kind(), Kind::Conflict);
        found.provider = Some(None);
        let (patch, _) = application_patch(&found, &client(), 8).unwrap().unwrap();
        assert_eq!(patch.provider, Some(Some(8)));
        found = Application { provider: Some(Some(8)), meta_launch_url: Some(client().launch_url), ..found };
        assert!(application_patch(&found, &client(), 8).unwrap().is_none());
    }
}
