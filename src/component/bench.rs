//! A Frappe bench in a container: its commands, and Python within a site.
//!
//! Owns how either is run as the user `frappe`, and that a secret goes in through standard input and comes out in no error.
//! Python is preferred: its exit codes are real, while `bench console` always ends with 0 and `bench execute` runs
//! what failed a second time. Knows nothing of what is asked of a site.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::{Context, Error, Kind, Result};
use crate::host::{Docker, ExecSpec, Ran};

/// The most that a command may answer, in bytes.
const ANSWER_BYTES: usize = 4 << 20;

/// How long it may take to end what was left.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The user that owns a bench; `bench` refuses root.
const USER: &str = "frappe";

/// What stands before an answer, so that whatever else a site prints is passed over.
const MARK: &str = "lifeboat-answer ";

/// What a program is given, and how it answers.
const GIVEN: &str = r#"
import base64, json, os, sys
_given = json.loads(base64.b64decode("@GIVEN@"))
ARGS, SECRETS = _given["args"], _given["secrets"]
def answer(value):
    sys.stdout.write("\n@MARK@" + json.dumps(value, default=str) + "\n")
    sys.stdout.flush()
"#;

/// Opens the site, as Administrator, from the folder in which Frappe's relative paths are right.
const PRELUDE: &str = r#"import frappe
frappe.init(_given["site"], sites_path=".")
frappe.connect()
try:
    frappe.set_user("Administrator")
"#;

/// Closes the site; what was not committed is lost.
const POSTLUDE: &str = "finally:\n    frappe.destroy()\n";

/// Stands in the environment of long work, by which what a killed run left is found.
const WORK: &str = "LIFEBOAT_WORK";

/// Ends what bears that mark: killing the client of an exec does not kill what runs inside.
const END_LEFT: &str = r#"
for p in /proc/[0-9]*; do
  if grep -qz "^$1=" "$p/environ" 2>/dev/null; then kill -KILL "${p#/proc/}" 2>/dev/null; fi
done
true"#;

/// A site's bench in a container.
#[derive(Clone)]
pub struct Bench {
    docker: Docker,
    container: String,
    dir: String,
    site: String,
}

/// A Python program for a site, with what it is given.
#[derive(Clone)]
pub struct Program<'a> {
    /// What it does, for errors: `letter head`.
    pub what: &'a str,
    /// Its lines. It finds `ARGS`, `SECRETS` and `frappe`, calls `answer(value)` once and commits by itself.
    pub text: &'a str,
    /// What it is told.
    pub args: Value,
    /// What it is told and nobody else may see: a map of texts.
    pub secrets: Value,
    /// How long it may take.
    pub limit: Duration,
}

impl Bench {
    /// Names a bench by its container and folder, and the site in it.
    pub fn new(docker: Docker, container: String, dir: &str, site: String) -> Bench {
        Bench { docker, container, dir: dir.trim_end_matches('/').to_owned(), site }
    }

    /// Returns the container.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Returns the site.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// Returns the folder of sites in the container.
    pub fn sites(&self) -> String {
        format!("{}/sites", self.dir)
    }

    /// Runs any command in the bench's folder as its user, with `stdin`; the exit code is returned, not judged.
    pub async fn command(&self, argv: &[&str], stdin: &[u8], limit: Duration) -> Result<Ran> {
        let mut spec = ExecSpec::new(argv.iter().copied()).user(USER);
        spec.workdir = Some(self.dir.clone());
        self.docker.run(&self.container, spec, stdin, ANSWER_BYTES, limit).await
    }

    /// Runs `bench` with arguments that hold no secret; fails with its last words where it fails.
    pub async fn bench(&self, arguments: &[&str], limit: Duration) -> Result<String> {
        let argv: Vec<&str> = ["bench"].into_iter().chain(arguments.iter().copied()).collect();
        let ran = self.command(&argv, b"", limit).await?;
        let shown = arguments.iter().take(3).copied().collect::<Vec<&str>>().join(" ");
        judged(&ran, &format!("container {}: bench {shown}", self.container), &[])
    }

    /// Runs `bench --site SITE` likewise.
    pub async fn site_bench(&self, arguments: &[&str], limit: Duration) -> Result<String> {
        let all: Vec<&str> = ["--site", &self.site].into_iter().chain(arguments.iter().copied()).collect();
        self.bench(&all, limit).await
    }

    /// Runs `bench` with arguments that hold no secret, for long work that asks for its secrets on standard input.
    ///
    /// What is left of it after a kill is found by [`Bench::end_left`]; `secrets` are kept out of an error.
    pub async fn work(
        &self,
        arguments: &[&str],
        stdin: &[u8],
        secrets: &[&str],
        limit: Duration,
    ) -> Result<()> {
        let argv = ["bench"].into_iter().chain(arguments.iter().copied());
        let mut spec = ExecSpec::new(argv).user(USER);
        spec.workdir = Some(self.dir.clone());
        spec.env.push((WORK.to_owned(), "1".to_owned()));
        let ran = self.docker.run(&self.container, spec, stdin, ANSWER_BYTES, limit).await?;
        let shown = arguments.iter().take(2).copied().collect::<Vec<&str>>().join(" ");
        let secrets: Vec<String> = secrets.iter().map(|s| (*s).to_owned()).collect();
        judged(&ran, &format!("container {}: bench {shown}", self.container), &secrets).map(drop)
    }

    /// Ends long work that a killed run left in the container.
    pub async fn end_left(&self) -> Result<()> {
        let spec = ExecSpec::script(END_LEFT, [WORK]).user(USER);
        self.docker.run(&self.container, spec, b"", ANSWER_BYTES, END_LIMIT).await.map(drop)
    }

    /// Runs a Python program within the site and returns its answer.
    pub async fn python(&self, program: Program<'_>) -> Result<Value> {
        // Frappe opens its logs relative to the folder of sites.
        let text = within_site(program.text);
        self.run_python(program, &text, self.sites()).await
    }

    /// Runs a Python program in the bench's folder, without Frappe, and returns its answer.
    pub async fn bare_python(&self, program: Program<'_>) -> Result<Value> {
        let text = program.text.to_owned();
        self.run_python(program, &text, self.dir.clone()).await
    }

    async fn run_python(&self, program: Program<'_>, text: &str, folder: String) -> Result<Value> {
        let given = serde_json::json!({
            "site": self.site, "args": program.args, "secrets": program.secrets,
        });
        let text = Zeroizing::new(head(&given) + text);
        let python = format!("{}/env/bin/python", self.dir);
        let mut spec = ExecSpec::new([python.as_str(), "-"]).user(USER);
        spec.workdir = Some(folder);
        let ran =
            self.docker.run(&self.container, spec, text.as_bytes(), ANSWER_BYTES, program.limit).await?;
        let what = format!("site {}: {}", self.site, program.what);
        let stdout = judged(&ran, &what, &texts(&program.secrets))?;
        let line = stdout.lines().rev().find_map(|line| line.strip_prefix(MARK));
        let line =
            line.ok_or_else(|| Error::new(Kind::Source, format!("{what}: ended without an answer")))?;
        serde_json::from_str(line).context(Kind::Source, format_args!("{what}: its answer"))
    }
}

/// Returns the lines before a program, which give it what it is told.
fn head(given: &Value) -> String {
    let given = BASE64.encode(given.to_string());
    GIVEN.trim_start().replace("@GIVEN@", &given).replace("@MARK@", MARK)
}

/// Puts a program between opening and closing its site.
fn within_site(text: &str) -> String {
    let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
    format!("{PRELUDE}{indented}{POSTLUDE}")
}

/// Returns stdout where a command succeeded, else its last words without `secrets`.
fn judged(ran: &Ran, what: &str, secrets: &[String]) -> Result<String> {
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.exit.code == 0 {
        return Ok(stdout);
    }
    // Python and bench say last what went wrong; bench says some of it on stdout.
    let said = if ran.exit.stderr.trim().is_empty() { &stdout } else { &ran.exit.stderr };
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no word");
    let shown =
        secrets.iter().filter(|s| !s.is_empty()).fold(last.to_owned(), |t, s| t.replace(s.as_str(), "…"));
    Err(Error::new(Kind::Source, format!("{what}: exit code {}: {shown}", ran.exit.code)))
}

/// Returns all texts in a value.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(texts).collect(),
        Value::Object(all) => all.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bench({}:{} {})", self.container, self.dir, self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Exit;

    fn ran(code: i64, stdout: &str, stderr: &str) -> Ran {
        Ran { stdout: stdout.to_owned().into(), exit: Exit { code, stderr: stderr.to_owned() } }
    }

    #[test]
    fn an_error_shows_the_last_word_and_no_secret() {
        let stderr = "Traceback\n  File \"<stdin>\"\nValidationError: hunter2 is too short\n\n";
        let error = judged(&ran(1, "", stderr), "site x: admin", &["hunter2".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "site x: admin: exit code 1: ValidationError: … is too short");
        assert_eq!(judged(&ran(0, "ok", "warning"), "x", &[]).unwrap(), "ok");
    }

    #[test]
    fn a_program_stands_between_opening_and_closing_its_site() {
        let given = serde_json::json!({"site": "s", "args": {}, "secrets": {"p": "hunter2"}});
        let text = head(&given) + &within_site("if True:\n    answer(1)");
        assert!(text.contains("\n    if True:\n        answer(1)\nfinally:\n"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains('@'), "{text}");
    }
}
