//! `probe`.

use serde::Serialize;

use super::{Call, DONE};
use crate::cli::args::ProbeArgs;
use crate::cli::render::{Rendered, table};
use crate::error::{Kind, Result};
use crate::ops::probe::{self, Probed, Protection, Trial};

pub(super) async fn run(call: &Call<'_>, args: &ProbeArgs) -> Result<u8> {
    let config = call.config()?;
    if args.dry_run {
        return Ok(call.done(&Planned { trials: Trial::ALL.to_vec() }));
    }
    let around = call.around();
    let probed = probe::probe(&config, &around).await?;
    drop(around);
    let harms = probed.harms();
    call.output.result(&Shown { protection: probed.protection(), sentence: probed.sentence(), probed });
    Ok(if harms { Kind::CheckFailed.exit_code() } else { DONE })
}

/// What `--dry-run` prints.
#[derive(Debug, Serialize)]
struct Planned {
    trials: Vec<Trial>,
}

#[derive(Debug, Serialize)]
struct Shown {
    protection: Protection,
    sentence: &'static str,
    #[serde(flatten)]
    probed: Probed,
}

impl Rendered for Planned {
    fn text(&self) -> String {
        let words: Vec<&str> = self.trials.iter().map(|t| t.word()).collect();
        format!("Would try, below probe/ in the store: {}.\n", words.join(", "))
    }
}

impl Rendered for Shown {
    fn text(&self) -> String {
        let found = self.probed.findings.iter();
        let rows: Vec<Vec<String>> = found
            .map(|f| vec![format!("  {}", f.trial), f.outcome.word().to_owned(), f.said.clone()])
            .collect();
        format!("{}\n{}{}\n", self.probed.store, table(&rows), self.sentence)
    }
}
