//! `doctor`.

use super::{Call, DONE};
use crate::cli::render::Rendered;
use crate::error::{Kind, Result};
use crate::ops::doctor::{self, Diagnosis, Question, Weight};

pub(super) async fn run(call: &Call<'_>) -> Result<u8> {
    let appliance = call.appliance().await?;
    let diagnosis = call.reading(doctor::diagnose(&appliance)).await?;
    drop(appliance);
    call.output.result(&diagnosis);
    Ok(if diagnosis.is_bad() { Kind::CheckFailed.exit_code() } else { DONE })
}

impl Rendered for Diagnosis {
    fn text(&self) -> String {
        let mut text = String::new();
        let questions = [
            (Question::Read, "Who can read?"),
            (Question::Delete, "Who can delete?"),
            (Question::Sign, "Who can sign?"),
        ];
        for (question, asked) in questions {
            text.push_str(&format!("{asked}\n"));
            for found in self.findings.iter().filter(|f| f.question == question) {
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
