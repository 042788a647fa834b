//! The step `verify`: the tenant answers, its first backup is taken, its first drill is due.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::job::{COMMAND_LIMIT, Job, Order};
use super::journal::Thing;
use super::step::{Standing, Step, StepName};
use crate::component::bench::Program;
use crate::config::{DrillPolicy, Role};
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::Appliance;
use crate::ops::{backup, snapshots};
use crate::repo::receipt::Trigger;

/// How long a fresh tenant may take to answer: workers register, servers warm up.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// Asks each frontend for the site by its name, as the proxy would, and the doctor for workers.
const LOOK: &str = r#"
import subprocess, urllib.request
wrong = []
for server in ARGS["frontends"]:
    request = urllib.request.Request("http://%s:8080/api/method/ping" % server, headers={"Host": ARGS["domain"]})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            if "pong" not in reply.read().decode():
                wrong.append("%s answers something else than pong" % server)
    except Exception as e:
        wrong.append("%s: %s" % (server, e))
ran = subprocess.run(["bench", "--site", ARGS["site"], "doctor"], capture_output=True, text=True, timeout=60)
if ran.returncode != 0:
    wrong.append("bench doctor: exit code %d" % ran.returncode)
elif "Workers online: 0" in ran.stdout:
    wrong.append("no worker is online")
answer(wrong)
"#;

/// The step.
#[derive(Debug)]
pub struct Verify;

#[async_trait]
impl Step for Verify {
    fn name(&self) -> StepName {
        StepName::Verify
    }

    fn sentence(&self, order: &Order) -> String {
        let drill = match &order.tenant.policy.drill {
            DrillPolicy::Runs { level, .. } => {
                format!("drills to {level} as policy {} says", order.tenant.policy.name)
            }
            DrillPolicy::Skipped { .. } => {
                format!("no drills: policy {} skips them", order.tenant.policy.name)
            }
        };
        format!("{} answers, a first backup is whole, {drill}", order.domain)
    }

    async fn check(&self, job: &Job) -> Result<Standing> {
        if let Some(wrong) = look(job).await? {
            return Ok(Standing::differs(wrong));
        }
        let appliance = appliance(job).await?;
        Ok(if has_snapshot(&appliance, job).await? {
            Standing::Done
        } else {
            Standing::missing("a first backup")
        })
    }

    async fn apply(&self, job: &Job) -> Result<()> {
        let deadline = tokio::time::Instant::now() + ANSWER_LIMIT;
        while let Some(wrong) = look(job).await? {
            if tokio::time::Instant::now() > deadline {
                return Err(Error::new(Kind::CheckFailed, wrong)
                    .hint(format!("`lifeboat health {}` says more", job.order.tenant.name)));
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let appliance = appliance(job).await?;
        if has_snapshot(&appliance, job).await? {
            return Ok(());
        }
        let request = backup::Request {
            tenant: job.order.tenant.name.clone(),
            trigger: Trigger::Manual,
            label: Some("first, by provision".to_owned()),
            pinned_until: None,
        };
        let work = backup::backup(&appliance, &request);
        let backed = job.make(StepName::Verify, Thing::new("snapshot", "first"), work).await?;
        match backed.whole {
            true => Ok(()),
            false => Err(Error::new(Kind::Partial, "the first backup is not whole")
                .hint(format!("`lifeboat show {} latest` says what lacks", job.order.tenant.name))),
        }
    }

    async fn undo(&self, job: &Job) -> Result<()> {
        // A snapshot that is committed stays: nothing but prune and erase removes one.
        job.unmake(StepName::Verify, |_| async { Ok(()) }).await
    }
}

/// Looks ahead whether a backup of the tenant is possible at all, so that this is said before minutes of work.
pub async fn foresee(job: &Job) -> Result<()> {
    let appliance = appliance(job).await?;
    let (host, tenant) = (&appliance.config.machine.host, &job.order.tenant.name);
    appliance.trust.may_write(host, crate::repo::certificate::Role::Backup, tenant).map(drop)
}

async fn appliance(job: &Job) -> Result<Appliance> {
    Appliance::open(job.config.clone(), job.around.clone()).await
}

async fn has_snapshot(appliance: &Appliance, job: &Job) -> Result<bool> {
    let (history, _, _) = snapshots::seen(appliance, &job.order.tenant.name).await?;
    Ok(history.snapshots.iter().any(|c| c.receipt.is_whole()))
}

/// Returns what is wrong with the tenant as its users would meet it.
async fn look(job: &Job) -> Result<Option<String>> {
    let order = &job.order;
    let frontends: Vec<String> =
        (1..=order.tenant.size.workers).map(|n| order.names.of_role(Role::Frontend, n)).collect();
    let program = Program {
        what: "look whether it answers",
        text: LOOK,
        args: json!({ "frontends": frontends, "domain": order.domain, "site": order.tenant.site }),
        secrets: json!({}),
        limit: COMMAND_LIMIT,
    };
    let wrong = job.bench().bare_python(program).await?;
    let wrong: Vec<&str> = wrong.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
}
