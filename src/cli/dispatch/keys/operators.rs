//! `keys add-operator`, `keys remove-operator`, `keys rewrap`.

use crate::cli::args::{OperatorArgs, RewrapArgs};
use crate::cli::dispatch::Call;
use crate::cli::dispatch::files::needed;
use crate::cli::render::{Rendered, table};
use crate::error::{Kind, Result};
use crate::ops::keys::operators::{self, Changed, Mode, TenantKeys};

pub(super) async fn rewrap(call: &Call<'_>, args: &RewrapArgs) -> Result<u8> {
    let identities = needed(&args.identity)?;
    let appliance = call.appliance().await?;
    finish(call, &operators::rewrap(&appliance, &identities, mode(args.dry_run)).await?)
}

pub(super) async fn add(call: &Call<'_>, args: &OperatorArgs) -> Result<u8> {
    let newcomer = args.recipient.parse()?;
    let identities = needed(&args.identity)?;
    let appliance = call.appliance().await?;
    finish(call, &operators::add(&appliance, &newcomer, &identities, mode(args.dry_run)).await?)
}

pub(super) async fn remove(call: &Call<'_>, args: &OperatorArgs) -> Result<u8> {
    let leaver = args.recipient.parse()?;
    let identities = needed(&args.identity)?;
    let appliance = call.appliance().await?;
    finish(call, &operators::remove(&appliance, &leaver, &identities, mode(args.dry_run)).await?)
}

fn mode(dry_run: bool) -> Mode {
    if dry_run { Mode::Plan } else { Mode::Apply }
}

fn finish(call: &Call<'_>, changed: &Changed) -> Result<u8> {
    let code = call.done(changed);
    Ok(if changed.is_partial() { Kind::Partial.exit_code() } else { code })
}

impl Rendered for Changed {
    fn text(&self) -> String {
        let mut text = match (&self.operator, self.planned) {
            (None, _) => "Wrapped again.\n".to_owned(),
            (Some(who), false) if self.operators.contains(who) => format!("{who} is an operator.\n"),
            (Some(who), false) => format!("{who} is an operator no longer.\n"),
            (Some(who), true) => format!("Would change for {who}; nothing is changed.\n"),
        };
        let head = ["tenant", "wrapped", "already", "not opened", "new vault", "still opens"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.tenants.iter().map(row));
        text.push_str(&table(&rows));
        text.push_str(&format!("backups open for: {}\n", self.operators.join(", ")));
        self.explain(&mut text);
        text
    }
}

impl Changed {
    fn explain(&self, text: &mut String) {
        if self.tenants.iter().any(|t| t.renewed) {
            text.push_str(
                "From the next backup on, tenants with a new vault are sealed to it, and that backup stores everything \
                 once more. Snapshots until now stay open to whoever could read them.\n",
            );
        }
        if self.is_partial() {
            text.push_str(
                "Some vaults do not open with the identity given: run this again with that of whoever opens them.\n",
            );
        }
        let elsewhere: std::collections::BTreeSet<String> =
            self.tenants.iter().flat_map(|t| &t.elsewhere).map(ToString::to_string).collect();
        if !elsewhere.is_empty() {
            let hosts: Vec<String> = elsewhere.into_iter().collect();
            text.push_str(&format!(
                "Run the same on {}: each host seals new vaults to the operators it knows.\n",
                hosts.join(", ")
            ));
        }
    }
}

fn row(t: &TenantKeys) -> Vec<String> {
    vec![
        t.tenant.to_string(),
        t.wrapped.len().to_string(),
        t.already.to_string(),
        t.unopened.len().to_string(),
        if t.renewed { "yes" } else { "-" }.to_owned(),
        if t.still_open > 0 { format!("{} older", t.still_open) } else { "-".to_owned() },
    ]
}
