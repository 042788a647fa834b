//! Step `sso`: the tenant's client in Authentik, and the login key in its site.

use async_trait::async_trait;

use super::{Job, Order, Standing, Step, StepName, Thing};
use crate::component::sso::{self, Authentik, Client, Credentials, LoginKey, Moment};
use crate::error::{Context, Kind, Result};

/// What the journal calls something in Authentik, and the site's login key.
const AUTHENTIK: &str = "authentik";
const LOGIN_KEY: &str = "login key";

/// The step.
#[derive(Debug)]
pub struct SsoStep;

fn client(order: &Order) -> Client {
    let groups = order.sso_groups().unwrap_or_default();
    Client::of(&order.tenant.name, &order.domain, &groups)
}

/// Connects to the configured Authentik; none where the section lacks, which the engine has skipped before.
fn authentik(order: &Order) -> Result<Option<Authentik>> {
    let Some(sso) = &order.platform.sso else { return Ok(None) };
    Authentik::new(&sso.url, &sso.token.resolve()?).map(Some)
}

fn key(authentik: &Authentik, credentials: Credentials) -> LoginKey {
    LoginKey { url: authentik.url().to_owned(), credentials, enabled: true }
}

/// Returns the groups that provisioning bound and that are no longer listed, each with what the journal calls its binding.
fn no_longer_listed(made: Vec<Thing>, client: &Client) -> Result<Vec<(Thing, sso::Thing, String)>> {
    let mut stale = Vec::new();
    for thing in made.into_iter().filter(|t| t.kind == AUTHENTIK) {
        let found: sso::Thing =
            serde_json::from_str(&thing.name).context(Kind::Damaged, "client in the journal")?;
        if let sso::Thing::Binding { slug, group } = &found
            && *slug == client.id
            && !client.groups.contains(group)
        {
            let group = group.clone();
            stale.push((thing, found, group));
        }
    }
    Ok(stale)
}

#[async_trait]
impl Step for SsoStep {
    fn name(&self) -> StepName {
        StepName::Sso
    }

    fn sentence(&self, order: &Order) -> String {
        let client = client(order);
        let who = match client.groups.is_empty() {
            true => "all users".to_owned(),
            false => format!("members of {}", client.groups.join(", ")),
        };
        let url = order.platform.sso.as_ref().map_or("", |sso| &sso.url);
        format!("{who} of {url} log in as client {}, back to {}", client.id, client.redirect_uri)
    }

    fn skipped(&self, order: &Order) -> Option<String> {
        order.sso_groups().err()
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let Some(authentik) = authentik(&job.order)? else { return Ok(Standing::Done) };
        let client = client(&job.order);
        let mut differs = authentik.look(&client).await?;
        let stale = no_longer_listed(job.journal.things(StepName::Sso), &client)?;
        differs
            .extend(stale.iter().map(|(.., group)| format!("group {group} is bound and no longer listed")));
        if let Some(credentials) = authentik.credentials_of(&client).await? {
            let standing = sso::look_login_key(&job.bench(), &key(&authentik, credentials)).await?;
            match (standing.there, standing.differs) {
                (false, _) => differs.push("no login key in the site".to_owned()),
                (true, fields) if fields.is_empty() => {}
                (true, fields) => {
                    differs.push(format!("the site's login key has other {}", fields.join(", ")))
                }
            }
        }
        Ok(match differs.is_empty() {
            true => Standing::Done,
            false => Standing::differs(differs.join("; ")),
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let Some(authentik) = authentik(&job.order)? else { return Ok(()) };
        let mut told = |thing: &sso::Thing, moment: Moment| {
            let name = serde_json::to_string(thing).context(Kind::Bug, "journal")?;
            let thing = Thing::new(AUTHENTIK, name);
            match moment {
                Moment::Before => job.journal.intend(job.now(), StepName::Sso, &thing),
                Moment::After => job.journal.made(job.now(), StepName::Sso, &thing),
            }
        };
        let client = client(&job.order);
        let credentials = authentik.settle(&client, &mut told).await?;
        // What an operator bound is in no journal, and stays.
        for (thing, found, group) in no_longer_listed(job.journal.things(StepName::Sso), &client)? {
            job.around.monitor.note(&format!("group {group} is unbound: it is no longer listed"));
            authentik.remove(&found).await?;
            job.journal.undone(job.now(), StepName::Sso, &thing)?;
        }
        let (bench, key) = (job.bench(), key(&authentik, credentials));
        let settle = sso::settle_login_key(&bench, &key);
        match sso::look_login_key(&bench, &key).await?.there {
            true => settle.await.map(|_| ()),
            false => job.make(StepName::Sso, Thing::new(LOGIN_KEY, bench.site()), settle).await.map(|_| ()),
        }
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        let Some(authentik) = authentik(&job.order)? else { return Ok(()) };
        let bench = job.bench();
        // With the site, its key goes.
        let site_goes = !job.journal.things(StepName::Site).is_empty();
        job.unmake(StepName::Sso, |thing| {
            let (authentik, bench) = (authentik.clone(), bench.clone());
            async move {
                if thing.kind == AUTHENTIK {
                    let thing: sso::Thing =
                        serde_json::from_str(&thing.name).context(Kind::Damaged, "client in the journal")?;
                    return authentik.remove(&thing).await;
                }
                if site_goes { Ok(()) } else { sso::remove_login_key(&bench).await }
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_that_provisioning_bound_and_that_are_not_listed_are_to_be_unbound() {
        let client = Client::of(&"acme".parse().unwrap(), "acme.example", &["staff".to_owned()]);
        let thing = |found: &sso::Thing| Thing::new(AUTHENTIK, serde_json::to_string(found).unwrap());
        let binding =
            |slug: &str, group: &str| sso::Thing::Binding { slug: slug.to_owned(), group: group.to_owned() };
        let made = vec![
            thing(&sso::Thing::Provider { client: client.id.clone() }),
            thing(&sso::Thing::Application { slug: client.id.clone() }),
            thing(&binding(&client.id, "staff")),
            thing(&binding(&client.id, "former")),
            thing(&binding("erpnext-other", "former")),
            Thing::new(LOGIN_KEY, "acme.example"),
        ];
        let stale = no_longer_listed(made, &client).unwrap();
        let groups: Vec<&str> = stale.iter().map(|(.., group)| group.as_str()).collect();
        assert_eq!(groups, ["former"]);
    }
}
