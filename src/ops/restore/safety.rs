//! The snapshot of what is there, taken before a restore touches it.

use crate::error::{Error, Kind, Result};
use crate::ops::appliance::Appliance;
use crate::ops::backup;
use crate::repo::receipt::Trigger;

use super::journal::Safety;
use super::{Plan, Request};

/// Backs up what a restore would move aside.
///
/// [`Kind::Conflict`] where that does not become a whole snapshot and the operator has not said to go on without.
pub(super) async fn take(appliance: &Appliance, request: &Request, plan: &Plan) -> Result<Safety> {
    // Nothing there, or a copy under a name that no backup knows.
    if !plan.overwrites() || request.into.is_some() || request.commit {
        return Ok(Safety::NotNeeded);
    }
    appliance.around.monitor.step("safety snapshot");
    let problem = match attempt(appliance, request, plan).await {
        Ok(safety) => return Ok(safety),
        Err(e) if e.kind() == Kind::Interrupted => return Err(e),
        Err(e) => e,
    };
    let Some(reason) = &request.without_safety else {
        let tenant = &request.tenant;
        let what = format!("restore of {tenant}: no safety snapshot of what is there: {problem}");
        return Err(Error::new(Kind::Conflict, what).hint(
            "nothing is changed; where it cannot be backed up any more, --no-safety-snapshot REASON goes on without: \
             what was there is kept on this host all the same, until --commit",
        ));
    };
    appliance.around.monitor.problem(&problem);
    Ok(Safety::Lacks { reason: reason.clone(), problem: problem.to_string() })
}

async fn attempt(appliance: &Appliance, request: &Request, plan: &Plan) -> Result<Safety> {
    if appliance.state.is_of_copy() {
        return Err(Error::new(Kind::Conflict, "the second store takes no snapshots, only copies"));
    }
    let asked = backup::Request {
        tenant: request.tenant.clone(),
        trigger: Trigger::Safety,
        label: Some(format!("before the restore of {}", plan.snapshot)),
        pinned_until: None,
    };
    let backed = backup::backup(appliance, &asked).await?;
    if !backed.whole {
        return Err(Error::new(Kind::Partial, format!("snapshot {} is partial", backed.snapshot)));
    }
    Ok(Safety::Taken { snapshot: backed.snapshot })
}
