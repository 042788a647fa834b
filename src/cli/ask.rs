//! Whoever sits at the terminal, asked for passphrases and by hardware keys.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::error::{Context, Error, Kind, Result};
use crate::repo::age_file::{Asked, Identities, SharedAsked};

/// Names a file whose first line is the passphrase of identity files, where nobody sits at a terminal.
const PASSPHRASE_FILE: &str = "LIFEBOAT_PASSPHRASE_FILE";

/// Reads identities from a file, a recovery kit or, for `-`, standard input, asking for what protects them.
pub fn identities(path: &Path) -> Result<Identities> {
    Identities::open(&path.to_string_lossy(), &(Arc::new(Terminal) as SharedAsked))
}

/// Asks whether what was planned is to be done; `what` names it where nobody sits at a terminal, which is
/// [`Kind::Usage`].
pub fn agreed(question: &str, what: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(Kind::Usage, format!("nobody confirmed {what}"))
            .hint("add --yes to carry it out, or --dry-run to see it only"));
    }
    write!(std::io::stderr(), "{question} Type yes: ").context(Kind::Io, "cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context(Kind::Io, "cannot read the answer")?;
    Ok(answer.trim() == "yes")
}

/// The terminal this program runs in, if it does.
struct Terminal;

impl Asked for Terminal {
    fn passphrase(&self, question: &str) -> Option<SecretString> {
        if let Some(file) = std::env::var_os(PASSPHRASE_FILE) {
            let text = Zeroizing::new(std::fs::read_to_string(file).ok()?);
            return Some(SecretString::from(text.lines().next().unwrap_or_default()));
        }
        // Of the terminal itself, since standard input may carry the identity file.
        rpassword::prompt_password(format!("{question}: ")).ok().map(SecretString::from)
    }

    fn say(&self, text: &str) {
        // Where standard error is closed, nobody could be told.
        drop(writeln!(std::io::stderr(), "{text}"));
    }

    fn confirm(&self, question: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let choice = no.map_or(format!("Enter for {yes}"), |no| format!("y: {yes}, n: {no}"));
        let answer = self.text(&format!("{question} ({choice})"))?;
        Some(no.is_none() || answer.trim().eq_ignore_ascii_case("y"))
    }

    fn text(&self, question: &str) -> Option<String> {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        write!(std::io::stderr(), "{question}: ").ok()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).ok()?;
        Some(answer.trim_end().to_owned())
    }
}
