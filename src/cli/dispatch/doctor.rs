//! `doctor`.

use super::{Call, DONE};
use crate::cli::render::Rendered;
use crate::error::{Kind, Result};
use crate::ops::doctor::{self, Diagnosis, Question, Weight};

pub(super) async fn run(call: &Call<'_>) -> Result<u8> {
    let config = call.config()?;
    // A host whose store is gone, or which has none yet, has a host all the same.
    let diagnosis = match call.appliance().await {
        Ok(appliance) => call.reading(doctor::diagnose(&appliance)).await?,
        Err(e) if e.kind() == Kind::Interrupted => return Err(e),
        Err(e) => {
            let around = call.around();
            let looking = async { Ok(doctor::diagnose_without(&config, &around, &e).await) };
            call.reading(looking).await?
        }
    };
    call.output.result(&diagnosis);
    Ok(if diagnosis.is_bad() { Kind::CheckFailed.exit_code() } else { DONE })
}

impl Rendered for Diagnosis {
    fn text(&self) -> String {
        let mut text = String::new();
        for question in Question::ALL {
            let mut answers = self.findings.iter().filter(|f| f.question == question).peekable();
            if answers.peek().is_none() {
                continue;
            }
            text.push_str(&format!("{}\n", question.asked()));
            for found in answers {
                let weight = match found.weight {
                    Weight::Good => "ok  ",
                    Weight::Look => "look",
                    Weight::Bad => "BAD ",
                };
                text.push_str(&format!("  {weight}  {}\n", found.said));
            }
        }
        text
    }
}
