//! `doctor`: the host and its configuration: what of it is protected, who can do what with the backups, and whether there is
//! room and a right clock.
//!
//! Owns the questions and the shape of their answers; each question has a file of its own. Tries nothing and changes nothing.

mod access;
mod coverage;
mod permissions;
mod space;
mod versions;

use std::time::Duration;

use serde::Serialize;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Docker;
use crate::ops::appliance::{Appliance, Surroundings};

/// The longest that one look may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What a sentence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What is protected.
    Covered,
    /// Who can read.
    Read,
    /// Who can delete.
    Delete,
    /// Who can sign.
    Sign,
    /// Who may read and write Lifeboat's own files.
    Permissions,
    /// Which versions run.
    Versions,
    /// Whether there is room.
    Space,
    /// Whether clocks are right.
    Clock,
}

impl Question {
    /// All questions, in the order of their answers.
    pub const ALL: [Question; 8] = [
        Question::Covered,
        Question::Read,
        Question::Delete,
        Question::Sign,
        Question::Permissions,
        Question::Versions,
        Question::Space,
        Question::Clock,
    ];

    /// Returns the question.
    pub fn asked(self) -> &'static str {
        match self {
            Question::Covered => "Is everything protected?",
            Question::Read => "Who can read?",
            Question::Delete => "Who can delete?",
            Question::Sign => "Who can sign?",
            Question::Permissions => "Are Lifeboat's own files closed to others?",
            Question::Versions => "What runs here?",
            Question::Space => "Is there room?",
            Question::Clock => "Is the clock right?",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// As it should be.
    Good,
    /// To be known; it may be meant so.
    Look,
    /// To be changed.
    Bad,
}

/// One sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// What it answers.
    pub question: Question,
    /// How bad it is.
    pub weight: Weight,
    /// The sentence.
    pub said: String,
}

/// All answers.
#[derive(Debug, Default, Serialize)]
pub struct Diagnosis {
    /// By question.
    pub findings: Vec<Sentence>,
}

impl Diagnosis {
    /// Tells whether something is to be changed.
    pub fn is_bad(&self) -> bool {
        self.findings.iter().any(|f| f.weight == Weight::Bad)
    }

    fn say(&mut self, question: Question, weight: Weight, said: impl Into<String>) {
        self.findings.push(Sentence { question, weight, said: said.into() });
    }
}

/// Answers all questions.
pub async fn diagnose(appliance: &Appliance) -> Result<Diagnosis> {
    let mut diagnosis = Diagnosis::default();
    access::look(&mut diagnosis, appliance).await?;
    of_host(&mut diagnosis, &appliance.config, &appliance.around).await;
    diagnosis.findings.sort_by_key(|f| f.question);
    Ok(diagnosis)
}

/// Answers what can be answered without the repository, which could not be opened.
pub async fn diagnose_without(config: &Config, around: &Surroundings, why: &Error) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let hint = why.hint_text().map(|h| format!(" ({h})")).unwrap_or_default();
    let said =
        format!("the repository cannot be opened, so nobody knows who can read, delete or sign: {why}{hint}");
    diagnosis.say(Question::Read, Weight::Bad, said);
    of_host(&mut diagnosis, config, around).await;
    diagnosis.findings.sort_by_key(|f| f.question);
    diagnosis
}

async fn of_host(d: &mut Diagnosis, config: &Config, around: &Surroundings) {
    let connecting = Docker::connect_to(config.machine.docker_host.as_deref());
    let docker = match tokio::time::timeout(LIMIT, connecting).await {
        Ok(Ok(docker)) => Some(docker),
        Ok(Err(e)) => {
            d.say(Question::Covered, Weight::Bad, format!("what runs here is not known: {e}"));
            None
        }
        Err(_) => {
            d.say(Question::Covered, Weight::Bad, "what runs here is not known: docker does not answer");
            None
        }
    };
    if let Some(docker) = &docker {
        coverage::look(d, config, docker).await;
    }
    permissions::look(d, config);
    versions::look(d, config, docker.as_ref()).await;
    space::look(d, config, docker.as_ref()).await;
    space::clocks(d, config, docker.as_ref(), around).await;
}
