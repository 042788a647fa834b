//! `keys rotate-host`, `keys end-host`, `keys new-epoch`, `keys hand-over`.

use crate::cli::args::{EndHostArgs, HandOverArgs, RootArgs, RotateArgs};
use crate::cli::dispatch::Call;
use crate::cli::render::Rendered;
use crate::error::{Error, Kind, Result};
use crate::ops::appliance::Appliance;
use crate::ops::init;
use crate::ops::keys::epoch::{self, Renewed};
use crate::ops::keys::hand_over::{self, HandedOver};
use crate::ops::keys::host::{self, EndedHost, Last, Rotated};
use crate::ops::kit::Kit;
use crate::repo::certificate::LastAccepted;
use crate::repo::sign::SigningKey;

/// Opens the repository, and the root key of a kit that is its own.
async fn with_root(call: &Call<'_>, args: &RootArgs) -> Result<(Appliance, SigningKey)> {
    let kit = Kit::read(&args.kit)?;
    let root = init::root_of(&kit)?;
    let appliance = call.appliance().await?;
    if kit.pin != appliance.repo.hash() || root.public() != appliance.repo.root() {
        return Err(Error::new(
            Kind::WrongKey,
            format!("this kit is that of repository {}, not of {}", kit.repository, appliance.repo.id()),
        ));
    }
    Ok((appliance, root))
}

pub(super) async fn rotate(call: &Call<'_>, args: &RotateArgs) -> Result<u8> {
    let (appliance, root) = with_root(call, &args.root).await?;
    let done = host::rotate(&appliance, &root, args.distrust_since, args.root.dry_run).await?;
    Ok(call.done(&done))
}

pub(super) async fn end(call: &Call<'_>, args: &EndHostArgs) -> Result<u8> {
    let RotateArgs { root: root_args, distrust_since } = &args.rotate;
    let (appliance, root) = with_root(call, root_args).await?;
    let done = host::end(&appliance, &root, &args.host, *distrust_since, root_args.dry_run).await?;
    Ok(call.done(&done))
}

pub(super) async fn new_epoch(call: &Call<'_>, args: &RotateArgs) -> Result<u8> {
    let (appliance, root) = with_root(call, &args.root).await?;
    let done = epoch::begin(&appliance, &root, args.distrust_since, args.root.dry_run).await?;
    Ok(call.done(&done))
}

pub(super) async fn hand_over(call: &Call<'_>, args: &HandOverArgs) -> Result<u8> {
    let (appliance, root) = with_root(call, &args.root).await?;
    let done = hand_over::hand_over(&appliance, &root, &args.tenant, &args.to, args.root.dry_run).await?;
    Ok(call.done(&done))
}

const PLANNED: &str = "Nothing is changed: without --dry-run, this happens.\n";

fn accepted(last: &Last) -> String {
    let lines =
        last.iter().map(|(t, l)| format!("  {t}: receipts up to {} ({})\n", l.sequence, l.receipt.short()));
    let text: String = lines.collect();
    if text.is_empty() { "  no receipt of any tenant\n".to_owned() } else { text }
}

impl Rendered for Rotated {
    fn text(&self) -> String {
        let mut text = if self.certificate.is_some() { String::new() } else { PLANNED.to_owned() };
        if let Some(ended) = &self.ended {
            text.push_str(&format!(
                "Key {ended} of host {} ends. Accepted of it:\n{}",
                self.host,
                accepted(&self.last)
            ));
        }
        let tenants: Vec<&str> = self.tenants.iter().map(|t| t.as_str()).collect();
        let number = self.certificate.map_or(String::new(), |n| format!(" (certificate {n})"));
        text.push_str(&format!("Its new key{number} writes for: {}.\n", tenants.join(", ")));
        text
    }
}

impl Rendered for EndedHost {
    fn text(&self) -> String {
        let mut text = if self.planned { PLANNED.to_owned() } else { String::new() };
        text.push_str(&format!(
            "Host {} signs no more. Accepted of it:\n{}",
            self.host,
            accepted(&self.last)
        ));
        for tenant in &self.orphaned {
            text.push_str(&format!(
                "nobody backs {tenant} up now: `lifeboat keys hand-over {tenant} --to HOST --kit FILE`\n"
            ));
        }
        text
    }
}

impl Rendered for Renewed {
    fn text(&self) -> String {
        let mut text = if self.planned { PLANNED.to_owned() } else { String::new() };
        match &self.host {
            Some(rotated) if !self.planned => text.push_str(&rotated.text()),
            Some(rotated) => text.push_str(rotated.text().trim_start_matches(PLANNED)),
            None => text.push_str("The host's key was replaced before.\n"),
        }
        let tenants: Vec<&str> = self.tenants.iter().map(|t| t.as_str()).collect();
        text.push_str(&format!(
            "New vault and dedup key for: {}. The next backup of each stores everything once more.\n",
            tenants.join(", ")
        ));
        if self.drill_identity {
            text.push_str("New drill identity.\n");
        }
        text.push_str("Snapshots until now stay open to whoever could read them.\n");
        text
    }
}

impl Rendered for HandedOver {
    fn text(&self) -> String {
        let mut text = if self.planned { PLANNED.to_owned() } else { String::new() };
        for (from, last) in &self.from {
            let last =
                last.as_ref().map_or("none".to_owned(), |l: &LastAccepted| format!("up to {}", l.sequence));
            text.push_str(&format!("Host {from} writes {} no more; accepted of it: {last}.\n", self.tenant));
        }
        text.push_str(&format!("Host {} writes {}.\n", self.to, self.tenant));
        text
    }
}
