//! `init` and `keys`.

mod confirm;
mod hosts;
mod operators;

use std::io::{BufRead, IsTerminal, Write};

use super::{Call, DONE};
use crate::cli::args::{CertifyArgs, DrillsRun, IdentityArgs, InitArgs, KeysVerb, RoleArg};
use crate::cli::ask;
use crate::cli::render::{Rendered, moment, table};
use crate::error::{Context, Error, Kind, Result, counted};
use crate::ops::init::{self, Certified, Drills, Made, Options};
use crate::ops::keys as verbs;
use crate::ops::keys::KeysOverview;
use crate::ops::kit::Kit;
use crate::ops::state::State;
use crate::repo::certificate::Role;

pub(super) async fn init(call: &Call<'_>, args: &InitArgs) -> Result<u8> {
    let config = call.config()?;
    let drills = match args.drills {
        Some(choice) => choice,
        None if args.non_interactive || !std::io::stdin().is_terminal() => {
            return Err(Error::new(Kind::Usage, "nobody said where drills run")
                .hint("--drills here (this host can then read its backups), elsewhere, or unlocked"));
        }
        None => ask_where_drills_run()?,
    };
    let options = Options {
        kit: args.kit.clone(),
        drills: match drills {
            DrillsRun::Here => Drills::Here,
            DrillsRun::Elsewhere => Drills::Elsewhere,
            DrillsRun::Unlocked => Drills::Unlocked,
        },
        operators: args.operator.clone(),
    };
    let made = init::init(&config, options, &call.around()).await?;
    call.done(&made);
    if !args.non_interactive && std::io::stdin().is_terminal() {
        confirm::ask(call).await?;
    }
    Ok(DONE)
}

fn ask_where_drills_run() -> Result<DrillsRun> {
    let mut err = std::io::stderr();
    let question = "Where do drills run? A drill must read backups.\n\
        \x20 here       unattended on this host; whoever takes it over can read its backups\n\
        \x20 elsewhere  on a second machine; this host reads nothing\n\
        \x20 unlocked   on this host, each unlocked by an operator\n";
    err.write_all(question.as_bytes()).context(Kind::Io, "cannot ask")?;
    for _ in 0..3 {
        err.write_all(b"here, elsewhere or unlocked? ").context(Kind::Io, "cannot ask")?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context(Kind::Io, "cannot read the answer")?;
        match answer.trim() {
            "here" => return Ok(DrillsRun::Here),
            "elsewhere" => return Ok(DrillsRun::Elsewhere),
            "unlocked" => return Ok(DrillsRun::Unlocked),
            _ => {}
        }
    }
    Err(Error::new(Kind::Usage, "nobody said where drills run").hint("--drills here|elsewhere|unlocked"))
}

pub(super) async fn run(call: &Call<'_>, verb: &KeysVerb) -> Result<u8> {
    match verb {
        KeysVerb::List(args) => list(call, args).await,
        KeysVerb::Certify(args) => certify(call, args).await,
        KeysVerb::Rewrap(args) => operators::rewrap(call, args).await,
        KeysVerb::AddOperator(args) => operators::add(call, args).await,
        KeysVerb::RemoveOperator(args) => operators::remove(call, args).await,
        KeysVerb::Confirm(args) => confirm::run(call, args).await,
        KeysVerb::RotateHost(args) => hosts::rotate(call, args).await,
        KeysVerb::EndHost(args) => hosts::end(call, args).await,
        KeysVerb::NewEpoch(args) => hosts::new_epoch(call, args).await,
        KeysVerb::HandOver(args) => hosts::hand_over(call, args).await,
    }
}

async fn list(call: &Call<'_>, args: &IdentityArgs) -> Result<u8> {
    let identities = args.identity.as_deref().map(ask::identities).transpose()?;
    let appliance = call.appliance().await?;
    let overview = verbs::list(&appliance, identities.as_ref()).await?;
    Ok(call.done(&overview))
}

async fn certify(call: &Call<'_>, args: &CertifyArgs) -> Result<u8> {
    let kit = Kit::read(&args.kit)?;
    let config = call.config()?;
    let around = call.around();
    let root = init::root_of(&kit)?;
    let state = State::open(&config.machine.state_dir)?;
    let repo = verbs::join(&config, &state, &kit).await?;
    let roles: Vec<Role> = args.role.iter().map(|r| role_of(*r)).collect();
    Ok(call.done(&init::certify(&repo, &state, &root, &config, &roles, &around).await?))
}

fn role_of(role: RoleArg) -> Role {
    match role {
        RoleArg::Backup => Role::Backup,
        RoleArg::Drill => Role::Drill,
        RoleArg::Prune => Role::Prune,
    }
}

impl Rendered for Made {
    fn text(&self) -> String {
        let mut text = format!("Repository {} is ready at {}.\n", self.repository, self.store);
        let tenants: Vec<&str> = self.tenants.iter().map(|t| t.as_str()).collect();
        text.push_str(&format!(
            "This host may write for: {}.\n",
            if tenants.is_empty() {
                "no tenant yet (add tenants/*.toml, then `lifeboat keys certify`)".into()
            } else {
                tenants.join(", ")
            }
        ));
        text.push_str(if self.host_can_read {
            "Drills run here: THIS HOST CAN READ ITS BACKUPS.\n"
        } else {
            "This host holds no key that opens a backup.\n"
        });
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text.push_str(&format!(
            "\nRecovery kit: {}\nMove it off this host now, print it, and lock it away. {}\n\
             Then show that it can be read: `lifeboat keys confirm --kit FILE`; until then nothing counts as protected.\n",
            self.kit.display(),
            if self.new_identity {
                "Without it nobody can ever read the backups."
            } else {
                "It holds the root key; backups open with the operators' own identities."
            }
        ));
        text
    }
}

impl Rendered for Certified {
    fn text(&self) -> String {
        let tenants: Vec<&str> = self.tenants.iter().map(|t| t.as_str()).collect();
        let mut text = format!(
            "Certificate {} lets host {} ({}) work for {}.\n",
            self.certificate,
            self.host,
            self.roles.join(", "),
            if tenants.is_empty() { "no tenant".to_owned() } else { tenants.join(", ") }
        );
        for left_out in &self.without {
            text.push_str(&format!("left out: {left_out}\n"));
        }
        text
    }
}

impl Rendered for KeysOverview {
    fn text(&self) -> String {
        let mut text = format!("repository {}   root {}\n", self.repository, self.root);
        let mut rows = vec![vec!["host".into(), "certificate".into(), "may".into(), "tenants".into()]];
        for h in &self.hosts {
            rows.push(vec![
                h.host.to_string(),
                h.certificate.to_string(),
                h.roles.join(", "),
                h.tenants.join(", "),
            ]);
        }
        text.push_str(&table(&rows));
        text.push_str(&table(&self.vault_rows()));
        text.push_str(&match self.operators.is_empty() {
            true => "no operator is known to this host, which was never certified: \
                 `lifeboat keys certify --kit FILE`\n"
                .to_owned(),
            false => format!("new vaults open for: {}\n", self.operators.join(", ")),
        });
        for gone in &self.removed {
            text.push_str(&format!("removed: {gone} (what he could read before, he may have copied)\n"));
        }
        text.push_str(&match self.kit_confirmed {
            Some(at) => format!("recovery kit confirmed on {}\n", moment(at)),
            None => "recovery kit NEVER CONFIRMED: `lifeboat keys confirm --kit FILE`\n".to_owned(),
        });
        text.push_str(if self.host_can_read {
            "this host CAN READ its tenants' backups (drill identity)\n"
        } else {
            "this host cannot read any backup\n"
        });
        for fault in &self.faults {
            text.push_str(&format!("fault: {fault}\n"));
        }
        text
    }
}

impl KeysOverview {
    fn vault_rows(&self) -> Vec<Vec<String>> {
        let mut rows =
            vec![["tenant", "vault", "in force", "snapshots", "opens for"].map(str::to_owned).to_vec()];
        for v in &self.vaults {
            let mut names: Vec<String> = v.opens_for.iter().map(|r| self.name(r)).collect();
            if v.unknown > 0 {
                names.push(format!("{} of others", counted(v.unknown, "wrap")));
            }
            rows.push(vec![
                v.tenant.to_string(),
                v.vault.to_string(),
                if v.in_force { "yes" } else { "-" }.to_owned(),
                v.snapshots.to_string(),
                names.join(", "),
            ]);
        }
        rows
    }

    /// Returns a recipient short enough for a table, and what it is besides an operator.
    fn name(&self, recipient: &str) -> String {
        let tail: String = recipient.chars().skip(recipient.chars().count().saturating_sub(6)).collect();
        let head: String = recipient.chars().take(10).collect();
        match () {
            () if self.drill.as_deref() == Some(recipient) => "this host (drills)".to_owned(),
            () if self.removed.iter().any(|r| r == recipient) => format!("{head}…{tail} (removed)"),
            () => format!("{head}…{tail}"),
        }
    }
}
