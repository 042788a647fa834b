//! `provision` and `deprovision`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::{DeprovisionArgs, ProvisionArgs};
use crate::cli::render::{Rendered, seconds, table};
use crate::error::{Error, Kind, Result};
use crate::id::TenantName;
use crate::ops::appliance::Appliance;
use crate::ops::provision::deprovision::{self, Removal, Removed};
use crate::ops::provision::{self, Chosen, Did, Job, Plan, Report, Standing, Step, StepName};
use crate::ops::snapshots::Which;
use crate::ops::state::read_if_there;

pub(super) async fn run(call: &Call<'_>, args: &ProvisionArgs) -> Result<u8> {
    let steps = provision::steps();
    let mut chosen =
        Chosen { only: args.only.iter().copied().collect(), skip: args.skip.iter().copied().collect() };
    if args.apply {
        chosen.only = [StepName::Secrets, StepName::Services, StepName::Sso].into();
    }
    let to_make = !args.dry_run && !args.rollback && !args.apply;
    let mut job = open(call, &args.tenant, args.domain.as_deref(), args.from.clone(), to_make).await?;
    if args.from.is_some() && to_make {
        job.identities = Some(super::files::needed(&args.identity)?);
    }
    if args.dry_run {
        let code = dry_run(call, &steps, &job, &chosen).await;
        // A look leaves nothing behind, not even an empty journal.
        if job.journal.run().is_none() {
            job.journal.remove()?;
        }
        return code;
    }
    if args.rollback {
        provision::run::roll_back(&steps, &job).await?;
        let tenant = args.tenant.clone();
        job.journal.remove()?;
        return Ok(call.done(&RolledBack { tenant }));
    }
    if args.apply && !job.journal.is_ended() {
        return Err(Error::new(Kind::Conflict, format!("tenant {} is not provisioned yet", args.tenant))
            .hint(format!("`lifeboat provision {}` completes it", args.tenant)));
    }
    let to_verify = chosen.refuses(StepName::Verify).is_none();
    if let (true, Err(error)) = (to_verify, call.reading(provision::verify::foresee(&job)).await) {
        job.around.monitor.problem(&error.in_context("the last step, a first backup, will not be possible"));
    }
    let report = provision::run::apply(&steps, &job, &chosen).await?;
    let verified =
        report.steps.iter().any(|s| s.name == StepName::Verify && !matches!(s.did, Did::Skipped(_)));
    if verified {
        job.journal.end(job.now())?;
    }
    call.output.result(&Shown::new(&job, report, verified));
    Ok(DONE)
}

async fn open(
    call: &Call<'_>,
    tenant: &TenantName,
    domain: Option<&str>,
    from: Option<Which>,
    to_make: bool,
) -> Result<Job> {
    let config = call.config()?;
    let there = read_if_there(&config.tenant_file(tenant))?;
    let there = there.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (config, order) = provision::plan::order(&config, tenant, domain, there.as_deref(), from)?;
    call.reading(provision::open(config, order, call.around(), to_make)).await
}

async fn dry_run(call: &Call<'_>, steps: &[Box<dyn Step>], job: &Job, chosen: &Chosen) -> Result<u8> {
    let plan = provision::plan::plan(steps, &job.order, chosen);
    let mut standing = Vec::new();
    for (step, planned) in steps.iter().zip(&plan.steps) {
        // What an earlier step has still to make, a later one cannot look at.
        let earlier = standing.iter().all(|s: &String| s == "done" || s.starts_with("skipped"));
        standing.push(match &planned.skipped {
            Some(reason) => format!("skipped: {reason}"),
            None if !earlier => "to be done".to_owned(),
            None => match call.reading(step.check(job)).await? {
                Standing::Done => "done".to_owned(),
                other => format!("to be done: {other}"),
            },
        });
    }
    Ok(call.done(&Planned { plan, standing }))
}

pub(super) async fn deprovision(call: &Call<'_>, args: &DeprovisionArgs) -> Result<u8> {
    let steps = provision::steps();
    let job = open(call, &args.tenant, None, None, false).await?;
    let plan = call.reading(deprovision::plan(&steps, &job)).await?;
    if args.dry_run {
        return Ok(call.done(&plan));
    }
    if args.yes_remove.as_ref() != Some(&args.tenant) {
        let what = format!("nobody confirmed that tenant {} is to be removed", args.tenant);
        return Err(Error::new(Kind::Usage, what)
            .hint(format!("repeat its name: --yes-remove {}; --dry-run shows what would go", args.tenant)));
    }
    let identities = match &args.identity.identity {
        Some(_) => Some(super::files::needed(&args.identity)?),
        None => None,
    };
    let appliance = call.reading(Appliance::open(job.config.clone(), job.around.clone())).await?;
    let removed = deprovision::apply(&appliance, &steps, &job, &plan, identities.as_ref()).await?;
    job.journal.remove()?;
    Ok(call.done(&removed))
}

#[derive(Debug, Serialize)]
struct RolledBack {
    tenant: TenantName,
}

impl Rendered for RolledBack {
    fn text(&self) -> String {
        format!("What provisioning of {} had made is removed.\n", self.tenant)
    }
}

#[derive(Debug, Serialize)]
struct Planned {
    #[serde(flatten)]
    plan: Plan,
    standing: Vec<String>,
}

impl Rendered for Planned {
    fn text(&self) -> String {
        let mut text = format!("Plan: tenant {} at {}\n", self.plan.tenant, self.plan.domain);
        let rows: Vec<Vec<String>> = self
            .plan
            .steps
            .iter()
            .zip(&self.standing)
            .map(|(step, standing)| vec![format!("  {}", step.step), standing.clone(), step.makes.clone()])
            .collect();
        text.push_str(&table(&rows));
        if let Some(file) = &self.plan.file {
            text.push_str(&format!("\ntenants/{}.toml would be:\n\n{file}", self.plan.tenant));
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    tenant: TenantName,
    domain: String,
    steps: Vec<ShownStep>,
    changed: bool,
    verified: bool,
    secrets: std::path::PathBuf,
}

#[derive(Debug, Serialize)]
struct ShownStep {
    step: &'static str,
    outcome: &'static str,
    detail: String,
    seconds: f64,
}

impl Shown {
    fn new(job: &Job, report: Report, verified: bool) -> Shown {
        let changed = report.changed();
        let steps = report.steps.into_iter().map(|step| {
            let (outcome, detail) = match step.did {
                Did::Nothing => ("unchanged", String::new()),
                Did::Made(before) => ("done", format!("{before} before")),
                Did::Skipped(reason) => ("skipped", reason),
            };
            ShownStep { step: step.name.as_str(), outcome, detail, seconds: step.took.as_secs_f64() }
        });
        Shown {
            tenant: job.order.tenant.name.clone(),
            domain: job.order.domain.clone(),
            steps: steps.collect(),
            changed,
            verified,
            secrets: job.order.folder.secrets(),
        }
    }
}

impl Rendered for Shown {
    fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .steps
            .iter()
            .map(|s| {
                vec![format!("  {}", s.step), s.outcome.to_owned(), seconds(s.seconds), s.detail.clone()]
            })
            .collect();
        let mut text = format!("Tenant {} at https://{}\n{}", self.tenant, self.domain, table(&rows));
        if !self.changed {
            text.push_str("Nothing was to be done.\n");
        }
        if self.verified {
            text.push_str(&format!("Passwords of the site: {}\n", self.secrets.display()));
        } else {
            text.push_str("Not verified: this was not all of it.\n");
        }
        text
    }
}

impl Rendered for Removal {
    fn text(&self) -> String {
        let mut text = format!("Plan: remove tenant {} at {}\n", self.tenant, self.domain);
        text.push_str(
            "A last snapshot is taken and read back first; until that is done nothing is removed.\n",
        );
        if !self.stops.is_empty() {
            text.push_str(&format!("Stopped before it: {}\n", self.stops.join(", ")));
        }
        let rows: Vec<Vec<String>> =
            self.removes.iter().map(|(kind, name)| vec![format!("  {kind}"), name.clone()]).collect();
        text.push_str(&table(&rows));
        text.push_str("Snapshots and keys stay; `lifeboat erase` is for those.\n");
        text
    }
}

impl Rendered for Removed {
    fn text(&self) -> String {
        format!(
            "Tenant {} is removed: {} things. Its last snapshot is {}, verified to {}.\n",
            self.tenant, self.removed, self.snapshot, self.proof
        )
    }
}
