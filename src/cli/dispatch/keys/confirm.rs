//! `keys confirm`, and the same asked at the end of `init`.

use std::io::{BufRead, Read, Write};
use std::path::Path;

use crate::cli::args::ConfirmArgs;
use crate::cli::ask::identities;
use crate::cli::dispatch::Call;
use crate::cli::render::Rendered;
use crate::error::{Context, Kind, Result, counted};
use crate::ops::keys::confirm::{self, Confirmed};
use crate::ops::kit::Kit;

/// The greatest length of a recovery kit, in bytes.
const KIT_LIMIT: u64 = 64 * 1024;

pub(super) async fn run(call: &Call<'_>, args: &ConfirmArgs) -> Result<u8> {
    let kit = read(&args.kit)?;
    let identities = args.identity.as_deref().map(identities).transpose()?;
    let appliance = call.appliance().await?;
    let confirmed = confirm::confirm(&appliance, &kit, identities).await?;
    drop(appliance);
    Ok(call.done(&confirmed))
}

fn read(path: &Path) -> Result<Kit> {
    if path != Path::new("-") {
        return Kit::read(path);
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin()
        .lock()
        .take(KIT_LIMIT)
        .read_to_string(&mut text)
        .context(Kind::Usage, "recovery kit on standard input")?;
    Kit::parse(&text)
}

/// Asks where the kit can be read now; whoever has not moved it yet does this later.
pub(super) async fn ask(call: &Call<'_>) -> Result<()> {
    let mut err = std::io::stderr();
    let question = "\nNo backup counts as protected until the kit was read from where it is kept.\n\
        Take it away now, then name the file there; leave empty to do so later: ";
    for _ in 0..3 {
        err.write_all(question.as_bytes()).context(Kind::Io, "cannot ask")?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context(Kind::Io, "cannot read the answer")?;
        if answer.trim().is_empty() {
            return Ok(());
        }
        let args = ConfirmArgs { kit: answer.trim().into(), identity: None };
        match run(call, &args).await {
            Ok(_) => return Ok(()),
            // The repository is made; a wrong path is no failure of that.
            Err(e) => call.output.error(&e),
        }
    }
    Ok(())
}

impl Rendered for Confirmed {
    fn text(&self) -> String {
        let mut text = format!(
            "The recovery kit opens what is sealed{}{}: confirmed.\n",
            match self.vaults {
                0 => String::new(),
                n => format!(", {} among it", counted(n, "vault")),
            },
            if self.holds_root { ", and can certify hosts" } else { "" }
        );
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    }
}
