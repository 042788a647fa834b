//! The operator's own checks of a booted application: questions over HTTP, and commands.

use serde_json::json;

use crate::config::{Ask, OwnCheck};
use crate::error::{Error, Kind, Result};

use super::app::{App, FRONTEND, RUN_LIMIT};
use super::checks::{Findings, sentence};

impl App<'_> {
    /// Asks the operator's own questions of the application.
    pub async fn own(&self, own: &[OwnCheck], findings: &mut Findings) {
        for check in own {
            let name = format!("own: {}", check.name);
            let seen = match &check.ask {
                Ask::Sql { .. } => continue,
                Ask::Http { path, status, expect, login } => {
                    self.get(path, *status, expect.as_deref(), *login).await
                }
                Ask::Command { run, expect } => self.run(run, expect.as_deref()).await,
            };
            match seen {
                Ok(seen) => findings.passed(&name, seen),
                Err(e) => findings.failed(&name, sentence(&e)),
            }
        }
    }

    async fn get(&self, path: &str, status: u16, expect: Option<&str>, login: bool) -> Result<String> {
        let question = json!([{ "path": path, "login": login }]);
        let answers = self.ask(FRONTEND, 8080, login, question).await?;
        let wrong = |what: String| Err(Error::new(Kind::CheckFailed, what));
        match answers.last() {
            Some((code, _)) if *code != u64::from(status) => {
                wrong(format!("{path} answers {code}, not {status}"))
            }
            Some((code, text)) => match expect {
                Some(expect) if !text.contains(expect) => {
                    wrong(format!("{path} answers {code} without {expect:?}"))
                }
                _ => Ok(format!("{path} answers {code}{}", holding(expect))),
            },
            None => wrong(format!("{path} is not answered")),
        }
    }

    async fn run(&self, command: &[String], expect: Option<&str>) -> Result<String> {
        let words: Vec<String> =
            command.iter().map(|word| word.replace("{site}", self.frappe.site())).collect();
        let argv: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = self.frappe.command(&argv, b"", RUN_LIMIT).await?;
        let said = String::from_utf8_lossy(&ran.stdout);
        if ran.exit.code != 0 {
            let last = ran.exit.stderr.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
            return Err(Error::new(Kind::CheckFailed, format!("exit code {}: {last}", ran.exit.code)));
        }
        match expect {
            Some(expect) if !said.contains(expect) => {
                Err(Error::new(Kind::CheckFailed, format!("exit code 0, and its output lacks {expect:?}")))
            }
            _ => Ok(format!("exit code 0{}", holding(expect))),
        }
    }
}

fn holding(expect: Option<&str>) -> String {
    expect.map_or_else(String::new, |expect| format!(", with {expect:?}"))
}
