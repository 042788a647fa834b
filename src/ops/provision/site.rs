//! The step `site`: a new site with its apps, its address and its encryption key.
//!
//! `bench new-site` asks for the passwords on its standard input where it has none, so none stands in an argument. A site
//! that a kill left half made is made again over itself; one that somebody else made is left alone.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::job::{COMMAND_LIMIT, FROM_SNAPSHOT, Job, Order};
use super::journal::Thing;
use super::secrets::Secret;
use super::step::{Standing, Step, StepName};
use crate::component::bench::Program;
use crate::error::{Error, Kind, Result};
use crate::id::{ComponentName, TenantName};
use crate::ops::appliance::Appliance;
use crate::ops::restore;
use crate::ops::snapshots::Which;

/// How long a new site may take: it installs each app.
const NEW_SITE_LIMIT: Duration = Duration::from_secs(45 * 60);

const SITE: &str = "site";

/// Answers what there is of the site; a key that Frappe makes when it is first needed is made here, so that the first
/// backup holds it.
const LOOK: &str = r#"
answer({"apps": frappe.get_installed_apps(), "host_name": frappe.conf.get("host_name"),
        "key": bool(frappe.conf.get("encryption_key"))})
"#;

const MAKE_KEY: &str = r#"
from frappe.utils.password import get_encryption_key
answer(bool(get_encryption_key()))
"#;

/// The step.
#[derive(Debug)]
pub struct Site;

#[async_trait]
impl Step for Site {
    fn name(&self) -> StepName {
        StepName::Site
    }

    fn sentence(&self, order: &Order) -> String {
        match order.snapshot() {
            Some(snapshot) => {
                format!(
                    "site {} from snapshot {snapshot}, live: mail and scheduler as they were",
                    order.tenant.site
                )
            }
            None => format!("site {} with {}", order.tenant.site, order.platform.apps.join(", ")),
        }
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        let site = &job.order.tenant.site;
        if !exists(job, "site_config.json").await? {
            return Ok(Standing::missing(format!("site {site}")));
        }
        if !job.journal.is_made(StepName::Site, SITE, site) {
            return Ok(Standing::differs(format!("site {site} is there half made, or not by this run")));
        }
        let found = job.bench().python(program("look at it", LOOK)).await?;
        let has = |app: &String| found["apps"].as_array().is_some_and(|all| all.contains(&json!(app)));
        if let Some(app) = job.order.platform.apps.iter().find(|app| !has(app)) {
            return Ok(Standing::missing(format!("app {app}")));
        }
        if found["host_name"] != json!(job.order.url()) {
            return Ok(Standing::differs(format!("site {site} has another address")));
        }
        Ok(if found["key"] == Value::Bool(true) {
            Standing::Done
        } else {
            Standing::missing("encryption_key")
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let site = job.order.tenant.site.clone();
        if !job.journal.is_made(StepName::Site, SITE, &site) {
            let there = exists(job, "").await?;
            if there && !job.journal.has(StepName::Site, SITE, &site) {
                return Err(Error::new(
                    Kind::Conflict,
                    format!("site {site} exists, and provisioning did not make it"),
                )
                .hint("restore it with `lifeboat restore`, or take its folder away"));
            }
            let thing = Thing::new(SITE, site.as_str());
            match &job.order.from {
                Some(which) => job.make(StepName::Site, thing, from_snapshot(job, which)).await?,
                None => job.make(StepName::Site, thing, new_site(job, there)).await?,
            }
        }
        let bench = job.bench();
        let installed = bench.python(program("look at it", LOOK)).await?;
        for app in &job.order.platform.apps {
            let has = installed["apps"].as_array().is_some_and(|all| all.contains(&json!(app)));
            if !has {
                bench.site_bench(&["install-app", app], NEW_SITE_LIMIT).await?;
            }
        }
        bench.site_bench(&["set-config", "host_name", &job.order.url()], COMMAND_LIMIT).await?;
        if job.order.from.is_some() {
            return Ok(());
        }
        bench.python(program("make its encryption key", MAKE_KEY)).await?;
        bench.site_bench(&["enable-scheduler"], COMMAND_LIMIT).await.map(drop)
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        // Database and folder go with their volumes.
        job.unmake(StepName::Site, |_| async { Ok(()) }).await
    }
}

async fn exists(job: &Job, below: &str) -> Result<bool> {
    let path = format!("sites/{}/{below}", job.order.tenant.site);
    let ran = job.bench().command(&["test", "-e", &path], b"", COMMAND_LIMIT).await?;
    Ok(ran.exit.code == 0)
}

async fn new_site(job: &Job, over: bool) -> Result<()> {
    let (order, bench) = (&job.order, job.bench());
    // What a killed run left at work would go on writing to the site.
    bench.end_left().await?;
    let help = bench.bench(&["new-site", "--help"], COMMAND_LIMIT).await?;
    let mut arguments = vec!["new-site".to_owned(), order.tenant.site.clone()];
    arguments.push(format!("--db-host={}", order.names.container("db")));
    arguments.push("--db-root-username=root".to_owned());
    arguments.push(host_scope(&help).to_owned());
    if over {
        arguments.push("--force".to_owned());
    }
    for app in order.platform.apps.iter().filter(|app| *app != "frappe") {
        arguments.push(format!("--install-app={app}"));
    }
    let root = order.secret(Secret::DbRoot)?;
    let admin = order.secret(Secret::Administrator)?;
    let (root, admin) = (root.expose_secret(), admin.expose_secret());
    let answers = Zeroizing::new(format!("{root}\n{admin}\n{admin}\n"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    bench.work(&arguments, answers.as_bytes(), &[root, admin], NEW_SITE_LIMIT).await
}

/// Brings database and files of this tenant back into the servers that are there, as a restore in its place does.
async fn from_snapshot(job: &Job, which: &Which) -> Result<()> {
    let name = &job.order.tenant.name;
    let shown = job.order.snapshot().unwrap_or_default();
    job.journal.intend(job.now(), StepName::Site, &Thing::new(FROM_SNAPSHOT, shown))?;
    let identities = job.identities.as_ref().ok_or_else(|| {
        Error::new(Kind::WrongKey, "backups are sealed: this needs an identity")
            .hint("give --identity FILE, an operator's age identity or the recovery kit")
    })?;
    let appliance = Appliance::open(job.config.clone(), job.around.clone()).await?;
    let request = restore::Request {
        tenant: name.clone(),
        which: which.clone(),
        into: None,
        live: true,
        only: vec![ComponentName::Database, ComponentName::Files],
        with_queue: false,
        with_sso: false,
        pause_scheduler: false,
        // What a run that was killed had loaded; nothing else can be there behind the journal's intent.
        yes_overwrite: Some(name.clone()),
        without_safety: None,
        commit: true,
    };
    if end_earlier(&appliance, name).await? {
        return Ok(());
    }
    let opened = restore::open(&appliance, name, which, identities).await?;
    let plan = restore::plan(&appliance, &request, &opened).await?;
    if !plan.makes.is_empty() {
        let what = format!(
            "this snapshot needs containers that provisioning does not make: {}",
            plan.makes.join(", ")
        );
        return Err(Error::new(Kind::Conflict, what)
            .hint(format!("`lifeboat restore {name}` makes them again as they were")));
    }
    restore::apply(&appliance, &request, &opened, &plan).await.map(drop)
}

/// Takes back what a restore left that was cut off; tells whether there is nothing more to do, for it had come to its end.
async fn end_earlier(appliance: &Appliance, name: &TenantName) -> Result<bool> {
    let Some(pending) = restore::pending(&appliance.state, name)? else { return Ok(false) };
    let Appliance { config, state, around, .. } = appliance;
    let ending = restore::Ending { config, state, around };
    let ended = matches!(pending.phase, restore::Phase::Done | restore::Phase::Committing);
    match ended {
        true => ending.commit(name).await?,
        false => ending.undo(name).await?,
    };
    Ok(ended)
}

/// Returns the option by which this version lets the site's account log in from any container.
///
/// Without it the account is bound to the address that this container has today.
fn host_scope(help: &str) -> &'static str {
    if help.contains("--mariadb-user-host-login-scope") {
        "--mariadb-user-host-login-scope=%"
    } else {
        "--no-mariadb-socket"
    }
}

fn program<'a>(what: &'a str, text: &'a str) -> Program<'a> {
    Program { what, text, args: json!({}), secrets: json!({}), limit: COMMAND_LIMIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_own_option_frees_the_account_from_one_address() {
        assert_eq!(
            host_scope("  --mariadb-user-host-login-scope TEXT  x"),
            "--mariadb-user-host-login-scope=%"
        );
        assert_eq!(host_scope("  --no-mariadb-socket"), "--no-mariadb-socket");
    }
}
