//! A tenant's provider and application as they stand in a backup, and back from it.
//!
//! Owns a copy that another Authentik understands: what it refers to (flows, scope mappings, groups) is kept by name too, since
//! each instance gives ids of its own. The copy holds the client's secret, for with another one the site could not log in.

use std::collections::BTreeMap;

use authentik_client::apis::core_api as core;
use authentik_client::apis::providers_api as providers;
use authentik_client::models::{Application, ApplicationRequest, OAuth2Provider, OAuth2ProviderRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Authentik;
use crate::error::{Context, Error, Kind, Result};

/// A client with all that Authentik knows of it; it holds its secret, so it is never printed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The provider, as Authentik answers it.
    provider: Value,
    /// The application, as Authentik answers it.
    application: Option<Value>,
    /// The names of the groups that are bound to it.
    groups: Vec<String>,
    /// Slugs of flows by their id here.
    flows: BTreeMap<Uuid, String>,
    /// Names of scope mappings by their id here: the managed one where there is one.
    scopes: BTreeMap<Uuid, String>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Export")
    }
}

impl Authentik {
    /// Reads a client as it is; none where there is no provider with this client id.
    pub async fn export(&self, id: &str) -> Result<Option<Export>> {
        let Some(provider) = self.provider(id).await? else { return Ok(None) };
        let application = match &provider.assigned_application_slug {
            Some(slug) => self.application(slug).await?,
            None => None,
        };
        let bindings = match &application {
            Some(application) => self.bindings(application.pk).await?,
            None => Vec::new(),
        };
        let used = [
            Some(provider.authorization_flow),
            Some(provider.invalidation_flow),
            provider.authentication_flow.flatten(),
        ];
        let flows = self.flows().await?;
        let flows =
            flows.into_iter().filter(|f| used.contains(&Some(f.pk))).map(|f| (f.pk, f.slug)).collect();
        let mapped = provider.property_mappings.clone().unwrap_or_default();
        let scopes = self.scopes().await?;
        let scopes = scopes.into_iter().filter(|s| mapped.contains(&s.pk));
        Ok(Some(Export {
            provider: serde_json::to_value(&provider).context(Kind::Bug, "provider")?,
            application: application
                .map(|a| serde_json::to_value(a).context(Kind::Bug, "application"))
                .transpose()?,
            groups: bindings.into_iter().filter_map(|b| b.group_obj.map(|g| g.name)).collect(),
            flows,
            scopes: scopes.map(|s| (s.pk, s.managed.flatten().unwrap_or(s.name))).collect(),
        }))
    }

    /// Brings a client back to what was exported; returns what was done, and what could not be.
    ///
    /// Its groups are bound where they are there; what is bound besides stays.
    pub async fn put_back(&self, export: &Export) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let mut request: OAuth2ProviderRequest = parsed(&export.provider)?;
        self.translate(&mut request, export, &mut done).await?;
        let provider = self.put_provider(request, &mut done).await?;
        if let Some(application) = &export.application {
            let request = ApplicationRequest {
                provider: Some(Some(provider.pk)),
                backchannel_providers: None,
                ..parsed(application)?
            };
            let application = self.put_application(request, &mut done).await?;
            self.put_groups(&application, &export.groups, &mut done).await?;
        }
        Ok(done)
    }

    /// Replaces ids of the other instance by those of the same names here.
    async fn translate(
        &self,
        request: &mut OAuth2ProviderRequest,
        export: &Export,
        done: &mut Vec<String>,
    ) -> Result<()> {
        let flows: BTreeMap<String, Uuid> = self.flows().await?.into_iter().map(|f| (f.slug, f.pk)).collect();
        let flow = |id: Uuid| {
            let slug = export
                .flows
                .get(&id)
                .ok_or_else(|| Error::new(Kind::Damaged, "a flow without a name in the backup"))?;
            flows.get(slug).copied().ok_or_else(|| {
                Error::new(Kind::NotFound, format!("Authentik at {} has no flow {slug}", self.url()))
            })
        };
        request.authorization_flow = flow(request.authorization_flow)?;
        request.invalidation_flow = flow(request.invalidation_flow)?;
        request.authentication_flow = Some(request.authentication_flow.flatten().map(flow).transpose()?);
        let scopes = self.scopes().await?;
        let mut mappings = Vec::new();
        for id in request.property_mappings.take().unwrap_or_default() {
            let name = export.scopes.get(&id).map_or("", String::as_str);
            let same = |s: &&authentik_client::models::ScopeMapping| {
                s.managed.as_ref().and_then(Option::as_deref) == Some(name) || s.name == name
            };
            match scopes.iter().find(same) {
                Some(found) => mappings.push(found.pk),
                None => done.push(format!("scope mapping {name:?} is not there, so the provider lacks it")),
            }
        }
        request.property_mappings = Some(mappings);
        // Keys and other providers have no name to find them by; an instance that still has the provider keeps its own.
        let existing = self.provider(request.client_id.as_deref().unwrap_or_default()).await?;
        let (signing, encryption) =
            existing.as_ref().map_or((None, None), |p| (p.signing_key, p.encryption_key));
        if request.signing_key.flatten() != signing.flatten()
            || request.encryption_key.flatten() != encryption.flatten()
        {
            done.push("the provider's keys are those of this Authentik, not the recorded ones".to_owned());
        }
        (request.signing_key, request.encryption_key) = (signing, encryption);
        (request.jwt_federation_sources, request.jwt_federation_providers) = (None, None);
        Ok(())
    }

    async fn put_provider(
        &self,
        request: OAuth2ProviderRequest,
        done: &mut Vec<String>,
    ) -> Result<OAuth2Provider> {
        let id = request.client_id.clone().unwrap_or_default();
        let Some(found) = self.provider(&id).await? else {
            let made = providers::providers_oauth2_create(&self.api, request);
            done.push(format!("made the provider of client {id}"));
            return self.told(&format!("make the provider of client {id}"), made.await);
        };
        let mut there: OAuth2ProviderRequest =
            parsed(&serde_json::to_value(&found).context(Kind::Bug, "provider")?)?;
        (there.jwt_federation_sources, there.jwt_federation_providers) = (None, None);
        there.authentication_flow = Some(there.authentication_flow.flatten());
        if there == request {
            return Ok(found);
        }
        let changed = providers::providers_oauth2_update(&self.api, found.pk, request);
        done.push(format!("put back the provider of client {id}"));
        self.told(&format!("put back the provider of client {id}"), changed.await)
    }

    async fn put_application(
        &self,
        request: ApplicationRequest,
        done: &mut Vec<String>,
    ) -> Result<Application> {
        let slug = request.slug.clone();
        let Some(found) = self.application(&slug).await? else {
            let made = core::core_applications_create(&self.api, request);
            done.push(format!("made application {slug}"));
            return self.told(&format!("make application {slug}"), made.await);
        };
        let there: ApplicationRequest =
            parsed(&serde_json::to_value(&found).context(Kind::Bug, "application")?)?;
        if (ApplicationRequest { backchannel_providers: None, ..there }) == request {
            return Ok(found);
        }
        let changed = core::core_applications_update(&self.api, &slug, request);
        done.push(format!("put back application {slug}"));
        self.told(&format!("put back application {slug}"), changed.await)
    }

    async fn put_groups(
        &self,
        application: &Application,
        groups: &[String],
        done: &mut Vec<String>,
    ) -> Result<()> {
        let bound = self.bindings(application.pk).await?;
        for name in groups {
            match self.group(name).await? {
                Some(group) if bound.iter().any(|b| b.group == Some(Some(group.pk))) => {}
                Some(group) => {
                    self.bind(application, name, group.pk, &mut |_, _| Ok(())).await?;
                    done.push(format!("bound group {name} to it"));
                }
                None => done.push(format!("group {name} is not there, so it is not bound")),
            }
        }
        Ok(())
    }
}

fn parsed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    // The parser's message may quote a secret.
    T::deserialize(value)
        .map_err(|_| Error::new(Kind::Damaged, "a client of Authentik in the backup is not in its shape"))
}
