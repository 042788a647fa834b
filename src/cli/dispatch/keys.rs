//! `init` and `keys`.

use std::io::{BufRead, IsTerminal, Write};

use serde::Serialize;

use super::Call;
use crate::cli::args::{CertifyArgs, DrillsRun, IdentityArgs, InitArgs, RoleArg};
use crate::cli::render::{Rendered, table};
use crate::error::{Context, Error, Kind, Result};
use crate::ops::init::{self, Drills, Made, Options};
use crate::ops::keys::{KeysOverview, Rewrapped};
use crate::ops::kit::Kit;
use crate::ops::state::State;
use crate::ops::{appliance, keys as verbs};
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
        drills: if drills == DrillsRun::Here { Drills::Here } else { Drills::NotAlone },
        operators: args.operator.clone(),
    };
    let made = init::init(&config, options, &call.around()).await?;
    Ok(call.done(&made))
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

pub(super) async fn list(call: &Call<'_>) -> Result<u8> {
    let appliance = call.appliance().await?;
    let overview = verbs::list(&appliance).await?;
    Ok(call.done(&overview))
}

#[derive(Debug, Serialize)]
struct Certified {
    host: String,
    certificate: u32,
    tenants: Vec<String>,
}

pub(super) async fn certify(call: &Call<'_>, args: &CertifyArgs) -> Result<u8> {
    let kit = Kit::read(&args.kit)?;
    let config = call.config()?;
    let around = call.around();
    let root = init::root_of(&kit)?;
    let state = State::open(&config.machine.state_dir)?;
    let repo = verbs::join(&config, &state, &kit).await?;
    let roles: Vec<Role> = args.role.iter().map(|r| role_of(*r)).collect();
    let certificate = init::certify(&repo, &state, &root, &config, &roles, &around).await?;
    let tenants = config.tenants().map(|t| t.name.to_string()).collect();
    Ok(call.done(&Certified { host: config.machine.host.to_string(), certificate, tenants }))
}

fn role_of(role: RoleArg) -> Role {
    match role {
        RoleArg::Backup => Role::Backup,
        RoleArg::Drill => Role::Drill,
        RoleArg::Prune => Role::Prune,
    }
}

pub(super) async fn rewrap(call: &Call<'_>, args: &IdentityArgs) -> Result<u8> {
    let appliance = call.appliance().await?;
    let path = args.identity.as_deref().ok_or_else(|| {
        Error::new(Kind::Usage, "rewrapping opens vaults")
            .hint("give --identity FILE, an operator's or the kit")
    })?;
    let done = verbs::rewrap(&appliance, &appliance::read_identities(path)?).await?;
    Ok(call.done(&done))
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
            "\nRecovery kit: {}\nMove it off this host now, print it, and lock it away. {}\n",
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
        format!(
            "Certificate {} lets host {} write for {}.\n",
            self.certificate,
            self.host,
            self.tenants.join(", ")
        )
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
        let mut rows = vec![vec!["tenant".into(), "vault".into(), "wraps".into()]];
        for v in &self.vaults {
            rows.push(vec![v.tenant.to_string(), v.vault.to_string(), v.wraps.to_string()]);
        }
        text.push_str(&table(&rows));
        text.push_str(&format!("backups open for: {}\n", self.operators.join(", ")));
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

impl Rendered for Rewrapped {
    fn text(&self) -> String {
        let names: Vec<&str> = self.tenants.iter().map(|t| t.as_str()).collect();
        format!("Wrapped again to {} operators: {}.\n", self.operators, names.join(", "))
    }
}
