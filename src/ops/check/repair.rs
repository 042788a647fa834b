//! `check --repair`: what can be put right is, and what cannot is given up, so that the next night is whole.
//!
//! Owns the order: first looking, then a plan that is printed, then doing it. One round may make the next possible, since
//! what a certificate vouches for can be verified only once that is back.

use std::sync::Arc;

use serde::Serialize;

use super::loss::{Loss, losses};
use super::{Looked, look, of_certificates, remember};
use crate::error::{Context, Kind, Result};
use crate::id::{PackId, SnapshotId, TenantName};
use crate::ops::appliance::{Appliance, unless_stopped};
use crate::ops::{place, state};
use crate::repo::age_file::Identities;
use crate::repo::certificate::{Role, Trust};
use crate::repo::check::{Depth, Finding, Wrong};
use crate::repo::repair::{Mend, Mender, Needs, Origin, Side};
use crate::repo::repository::Repository;
use crate::repo::void::{self, NewMark};
use crate::repo::{keys, object};

/// So many rounds end any repair; more would go in circles.
pub const MOST_ROUNDS: usize = 4;

/// An object that is put right.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Its key.
    pub object: String,
    /// The word for what is wrong with it.
    pub kind: &'static str,
    /// Where it comes from: `older-version`, `receipt` or `other-store`.
    pub from: &'static str,
}

/// What cannot be put right here.
#[derive(Debug, Serialize)]
pub struct Left {
    /// The object, or a prefix.
    pub object: String,
    /// The word for what is wrong with it.
    pub kind: &'static str,
    /// What that means and what to do.
    pub what: String,
}

/// What a round of repair would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Whose.
    pub tenant: TenantName,
    /// The store that objects are brought from, where there is a second one.
    pub other: Option<String>,
    /// What is put right.
    pub steps: Vec<Step>,
    /// Snapshots whose receipts lack and that the other store has.
    pub bring_back: Vec<SnapshotId>,
    /// Packs that nobody has, which are given up by a void mark.
    pub give_up: Vec<PackId>,
    /// What snapshots lose by that.
    pub losses: Vec<Loss>,
    /// What cannot be put right.
    pub left: Vec<Left>,
    #[serde(skip)]
    work: Work,
}

struct Work {
    own: Arc<Side>,
    other: Option<Arc<Side>>,
    mends: Vec<Mend>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("mends", &self.mends.len()).finish_non_exhaustive()
    }
}

impl Plan {
    /// Tells whether anything would change.
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty() && self.bring_back.is_empty() && self.give_up.is_empty()
    }

    /// Tells whether nothing is wrong.
    pub fn is_well(&self) -> bool {
        self.is_idle() && self.left.is_empty()
    }
}

/// What a round of repair did.
#[derive(Debug, Serialize)]
pub struct Repaired {
    /// Whose.
    pub tenant: TenantName,
    /// How many objects are right again.
    pub mended: usize,
    /// How many snapshots are back.
    pub brought_back: usize,
    /// How many packs were given up.
    pub given_up: usize,
    /// The number of the void mark that says so.
    pub mark: Option<u32>,
    /// What could not be done, and why.
    pub failed: Vec<String>,
}

/// Opens the other store: the second one, or, where the copy itself is repaired, the first.
///
/// One that cannot be opened is told, and the repair goes on without it.
pub async fn other(appliance: &Appliance) -> Option<Repository> {
    let (machine, lines) = (&appliance.config.machine, &appliance.around.lines);
    let opened = async {
        let store = match (appliance.state.is_of_copy(), &machine.copy) {
            (true, _) => place::open(machine, lines).await?,
            (false, Some(copy)) => place::open_copy(&copy.store, false, lines).await?,
            (false, None) => return Ok(None),
        };
        Repository::open(store, Some(appliance.repo.hash())).await.map(Some)
    };
    match opened.await {
        Ok(repo) => repo,
        Err(e) => {
            appliance.around.monitor.problem(&e.in_context("nothing can be brought from the other store"));
            None
        }
    }
}

/// Looks at a tenant and returns what a round would do; changes nothing but what this host remembers of a look.
pub async fn plan(
    appliance: &mut Appliance,
    other: Option<&Repository>,
    tenant: &TenantName,
    depth: Depth,
    identities: Option<&Identities>,
) -> Result<Plan> {
    appliance.trust = Trust::load(&appliance.repo).await?;
    let appliance = &*appliance;
    let (own, findings) = look_here(appliance, tenant, depth).await?;
    let own = Arc::new(own);
    let other = match other {
        Some(repo) => Some(Arc::new(Side::look(repo, tenant).await?)),
        None => None,
    };
    let folder = working_folder(appliance)?;
    let needs = own.needs(other.as_deref()).await;
    let mut plan = Plan {
        tenant: tenant.clone(),
        other: other.as_ref().map(|o| o.repo.store().address()),
        steps: Vec::new(),
        bring_back: Vec::new(),
        give_up: Vec::new(),
        losses: Vec::new(),
        left: Vec::new(),
        work: Work { own: Arc::clone(&own), other: other.clone(), mends: Vec::new() },
    };
    let mender = mender(appliance, &own, other.as_deref(), folder.path());
    for finding in &findings {
        plan.sort(finding, &mender, &needs).await?;
    }
    plan.refuse_without_role(appliance);
    let gone: Vec<&str> = plan.left.iter().map(|l| l.object.as_str()).collect();
    plan.losses =
        losses(appliance, &own.history, (&plan.give_up, &gone), &findings, &needs, identities).await;
    Ok(plan)
}

/// Looks at the certificates and the tenant.
async fn look_here(appliance: &Appliance, tenant: &TenantName, depth: Depth) -> Result<(Side, Vec<Finding>)> {
    let (mut findings, certificates) = of_certificates(appliance).await?;
    let Looked { history, kept, findings: of_tenant, read, .. } =
        look(appliance, tenant, depth, false, &certificates).await?;
    remember(appliance, tenant, (&kept, &read), &of_tenant, depth)?;
    findings.extend(of_tenant);
    let hosts = object::kept(appliance.store(), keys::HOSTS).await?;
    Ok((Side { repo: appliance.repo.clone(), history, kept, hosts }, findings))
}

impl Step {
    fn of(finding: &Finding, origin: Origin) -> Step {
        let from = match origin {
            Origin::OlderVersion => "older-version",
            Origin::Receipt => "receipt",
            Origin::Other => "other-store",
        };
        Step { object: finding.object.clone(), kind: finding.wrong.word(), from }
    }
}

impl Left {
    fn of(finding: &Finding) -> Left {
        Left { object: finding.object.clone(), kind: finding.wrong.word(), what: finding.to_string() }
    }
}

impl Plan {
    /// Decides what is done about a finding.
    async fn sort(&mut self, finding: &Finding, mender: &Mender<'_>, needs: &Needs) -> Result<()> {
        let is_row = finding.object.ends_with('/');
        match finding.wrong {
            Wrong::Unfinished | Wrong::Ended => {}
            Wrong::Missing | Wrong::RolledBack if is_row => {
                let there: Vec<SnapshotId> =
                    mender.only_there().into_iter().map(|c| c.receipt.snapshot.clone()).collect();
                match there.is_empty() {
                    true => self.left.push(Left::of(finding)),
                    false => self.bring_back = there,
                }
            }
            Wrong::Fork | Wrong::Unlinked | Wrong::TooNew | Wrong::Unread | Wrong::Unverifiable => {
                self.left.push(Left::of(finding));
            }
            _ => match mender.find(finding, needs).await? {
                Some(mend) => {
                    self.steps.push(Step::of(finding, mend.origin));
                    self.work.mends.push(mend);
                }
                None => self.give_up_or_leave(finding),
            },
        }
        Ok(())
    }

    fn give_up_or_leave(&mut self, finding: &Finding) {
        let pack = finding.object.parse().ok().and_then(|key| keys::parse_pack(&self.tenant, &key));
        match pack {
            // Given up before, and nobody has it still.
            Some(_) if finding.wrong == Wrong::GivenUp => {}
            Some(id) if finding.loses() => self.give_up.push(id),
            _ => self.left.push(Left { what: finding.what.clone(), ..Left::of(finding) }),
        }
    }

    /// Leaves packs that this host may not give up.
    fn refuse_without_role(&mut self, appliance: &Appliance) {
        if self.give_up.is_empty() {
            return;
        }
        let host = &appliance.config.machine.host;
        let allowed = appliance.trust.may_write(host, Role::Prune, &self.tenant).map(drop);
        let Err(e) = allowed.and_then(|()| appliance.host_key().map(drop)) else { return };
        for id in std::mem::take(&mut self.give_up) {
            self.left.push(Left {
                object: keys::pack(&self.tenant, &id).to_string(),
                kind: "denied",
                what: format!(
                    "nobody has pack {} whole, and this host may not give it up: {e}; repair on the machine that prunes, or \
                     `lifeboat keys certify --role backup,drill,prune`",
                    id.short()
                ),
            });
        }
    }
}

/// Carries a plan out; what fails is told, and the rest goes on.
///
/// [`Kind::Locked`] where a copy or another repair of the tenant runs here.
pub async fn apply(appliance: &Appliance, plan: &Plan) -> Result<Repaired> {
    let _lock = appliance.state.copy_lock(&plan.tenant)?;
    let folder = working_folder(appliance)?;
    let mender = mender(appliance, &plan.work.own, plan.work.other.as_deref(), folder.path());
    let stop = &appliance.around.stop;
    let mut done = Repaired {
        tenant: plan.tenant.clone(),
        mended: 0,
        brought_back: 0,
        given_up: 0,
        mark: None,
        failed: Vec::new(),
    };
    for (mend, step) in plan.work.mends.iter().zip(&plan.steps) {
        match unless_stopped(stop, mender.mend(mend)).await {
            Ok(()) => done.mended += 1,
            Err(e) if e.kind() == Kind::Interrupted => return Err(e),
            Err(e) => done.failed.push(format!("{}: {e}", step.object)),
        }
    }
    if !plan.bring_back.is_empty() {
        let back = unless_stopped(stop, mender.bring_back(&plan.bring_back)).await?;
        done.brought_back = back.snapshots.len();
        done.failed.extend(back.left_out.into_iter().map(|(object, e)| format!("{object}: {e}")));
    }
    if !plan.give_up.is_empty() {
        let new = NewMark {
            tenant: plan.tenant.clone(),
            time: appliance.around.now(),
            packs: plan.give_up.clone(),
            forgotten: Vec::new(),
            gone: Default::default(),
            reason: "damaged",
        };
        let (host, signer) = (&appliance.config.machine.host, appliance.host_key()?);
        // The certificates may have been put right just now.
        let trust = Trust::load(&appliance.repo).await?;
        let mark = void::write(&appliance.repo, &trust, host, &signer, new).await?;
        (done.mark, done.given_up) = (Some(mark.number), plan.give_up.len());
    }
    Ok(done)
}

fn mender<'a>(
    appliance: &'a Appliance,
    own: &'a Side,
    other: Option<&'a Side>,
    folder: &'a std::path::Path,
) -> Mender<'a> {
    Mender { own, other, trust: &appliance.trust, folder, monitor: &*appliance.around.monitor }
}

fn working_folder(appliance: &Appliance) -> Result<tempfile::TempDir> {
    let folder = appliance.state.copy_folder()?.join("on-the-way");
    state::make_private_dir(&folder)?;
    tempfile::tempdir_in(&folder).context(Kind::Io, folder.display())
}
