//! The application of a drill: booted from the tenant's own image on the restored copy, asked as its users would ask it.
//!
//! Only backend and frontend are started: no worker, no scheduler, so that no job of the original runs. All questions are
//! asked from within the backend's container, since nobody outside reaches the drill's network.

use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::component::bench::{Bench as FrappeBench, Program};
use crate::config::Role;
use crate::error::{Error, Kind, Result};
use crate::host::{ContainerSpec, EnvVar};
use crate::id::ComponentName;
use crate::ops::appliance::Appliance;
use crate::ops::restore::Opened;

use super::Request;
use super::bench::Bench;
use super::checks::Findings;
use super::site::SiteFolder;

/// How long the application may take until it answers.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// How long is waited between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// How long one program or command may take.
pub(super) const RUN_LIMIT: Duration = Duration::from_secs(300);

const BACKEND: &str = "backend";
pub(super) const FRONTEND: &str = "frontend";

/// An image that is a test double of the application says so in this label.
const DOUBLE_LABEL: &str = "lifeboat.double";

/// Gives the Administrator of the copy a password of the drill's own, with which one may log in.
const SET_PASSWORD: &str = r#"
from frappe.utils.password import update_password
update_password("Administrator", SECRETS["password"])
for field in ("disable_user_pass_login", "enable_two_factor_auth"):
    frappe.db.set_single_value("System Settings", field, 0)
frappe.db.commit()
frappe.clear_cache()
answer(True)
"#;

/// Asks each question by the site's name; `login` asks as Administrator.
const QUESTIONS: &str = r#"
import http.client, re, urllib.parse
def ask(method, path, sid=None, form=None):
    connection = http.client.HTTPConnection(ARGS["server"], ARGS["port"], timeout=60)
    headers = {"Host": ARGS["site"], "Accept": "application/json"}
    body = None
    if sid:
        headers["Cookie"] = "sid=" + sid
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        body = urllib.parse.urlencode(form)
    connection.request(method, path, body, headers)
    reply = connection.getresponse()
    text = reply.read(262144).decode("utf-8", "replace")
    found = re.search(r"\bsid=([^;,\s]+)", reply.getheader("Set-Cookie") or "")
    connection.close()
    return reply.status, text, found.group(1) if found else None
answers, sid = [], None
if ARGS["login"]:
    status, text, sid = ask("POST", "/api/method/login", form={"usr": "Administrator", "pwd": SECRETS["password"]})
    answers.append([status, text[:400] if status != 200 else ("sid" if sid and sid != "Guest" else "")])
for question in ARGS["questions"]:
    try:
        status, text, _ = ask("GET", question["path"], sid if question["login"] else None)
        answers.append([status, text])
    except OSError as e:
        answers.append([0, str(e)])
answer(answers)
"#;

/// What is booted.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Image and command of the backend.
    pub backend: ContainerSpec,
    /// Image and command of the frontend.
    pub frontend: ContainerSpec,
}

/// Finds out which image to boot; says in words where there is none.
pub(super) fn wanted(
    appliance: &Appliance,
    request: &Request,
    opened: &Opened,
) -> Result<std::result::Result<Wanted, String>> {
    let tenant = appliance.config.tenant(&request.tenant).ok();
    let configured = request.app_image.clone().or_else(|| tenant.and_then(|t| t.app_image.clone()));
    let serving = |image: ContainerSpec| ContainerSpec {
        command: vec!["nginx-entrypoint.sh".to_owned()],
        entrypoint: Vec::new(),
        ..image
    };
    if let Some(image) = configured {
        let backend = ContainerSpec { image, ..ContainerSpec::default() };
        return Ok(Ok(Wanted { frontend: serving(backend.clone()), backend }));
    }
    let Some(name) = tenant.and_then(|t| t.roles.get(&Role::Backend)?.first()) else {
        return Ok(Err(format!(
            "no image of the application is known, so no more than L3: write [app] image or backend into tenants/{}.toml",
            request.tenant
        )));
    };
    let apps = opened.envelope(ComponentName::Config)?.map(|e| e.apps).unwrap_or_default();
    let recorded = |name: &String| apps.iter().find(|spec| spec.name == *name).cloned();
    let Some(backend) = recorded(name) else {
        return Ok(Err(format!(
            "the snapshot does not describe container {name}, so no more than L3: write [app] image into tenants/{}.toml",
            request.tenant
        )));
    };
    let frontend = tenant.and_then(|t| t.roles.get(&Role::Frontend)?.first()).and_then(recorded);
    let frontend = frontend.unwrap_or_else(|| serving(backend.clone()));
    Ok(Ok(Wanted { backend, frontend }))
}

/// An application that was booted.
pub(super) struct App<'a> {
    bench: &'a Bench,
    pub(super) frappe: FrappeBench,
    password: SecretString,
}

/// Boots the application on the restored copy and waits until it answers by its host name.
pub(super) async fn boot<'a>(
    bench: &'a Bench,
    wanted: &Wanted,
    site: &SiteFolder,
    findings: &mut Findings,
) -> Result<Option<App<'a>>> {
    let clock = Instant::now();
    let dir = site.inside.trim_end_matches('/').trim_end_matches("/sites").to_owned();
    let backend = bench.app(BACKEND, &wanted.backend, &site.inside);
    let app = App {
        bench,
        frappe: FrappeBench::new(bench.docker.clone(), backend.name.clone(), &dir, site.site.clone()),
        password: super::bench::random_password(),
    };
    let started = app.start(&backend, findings).await;
    let Some(()) = findings.step("application", started) else {
        findings.phase_since("start application", clock);
        return Ok(None);
    };
    let answered = app.serve(wanted, site).await;
    findings.phase_since("start application", clock);
    let Some(seen) = findings.step("ping", answered) else { return Ok(None) };
    findings.passed("ping", seen);
    Ok(Some(app))
}

impl App<'_> {
    /// Starts the backend and waits until it answers for the site.
    async fn start(&self, spec: &ContainerSpec, findings: &mut Findings) -> Result<()> {
        let docker = &self.bench.docker;
        docker.create(spec).await?;
        let made = docker.inspect(&spec.name).await?;
        findings.double = made.labels.contains_key(DOUBLE_LABEL);
        findings.version("application", named(&made));
        docker.start(&spec.name).await?;
        self.answers(&spec.name, "127.0.0.1", 8000).await?;
        let double = if findings.double { ", a double of the application" } else { "" };
        findings.passed("application", format!("boots from {}{double}", spec.image));
        Ok(())
    }

    /// Starts the frontend and waits until it answers by the site's name.
    async fn serve(&self, wanted: &Wanted, site: &SiteFolder) -> Result<String> {
        let mut spec = self.bench.app(FRONTEND, &wanted.frontend, &site.inside);
        spec.environment = [("BACKEND", "backend:8000"), ("SOCKETIO", "backend:9000")]
            .map(|(name, value)| EnvVar { name: name.to_owned(), value: value.to_owned() })
            .into();
        self.bench.docker.create(&spec).await?;
        self.bench.docker.start(&spec.name).await?;
        self.answers(&spec.name, FRONTEND, 8080).await?;
        Ok(format!("pong for {}", site.site))
    }

    /// Waits until the site's ping is answered there; fails as soon as a container has ended.
    async fn answers(&self, container: &str, server: &str, port: u16) -> Result<()> {
        let deadline = Instant::now() + BOOT_LIMIT;
        loop {
            let question = json!([{ "path": "/api/method/ping", "login": false }]);
            let seen = match self.ask(server, port, false, question).await {
                Ok(answers) => match answers.first() {
                    Some((200, text)) if text.contains("pong") => return Ok(()),
                    Some((0, why)) => why.clone(),
                    Some((status, _)) => format!("answers {status} for {}", self.frappe.site()),
                    None => "says nothing".to_owned(),
                },
                Err(e) => e.to_string(),
            };
            for name in [container, self.frappe.container()] {
                let state = self.bench.docker.state(name).await?;
                if !state.is_some_and(|s| s.is_running()) {
                    return Err(self.ended(name, state).await);
                }
            }
            if Instant::now() > deadline {
                let what = format!("does not answer within {} s: {seen}", BOOT_LIMIT.as_secs());
                return Err(Error::new(Kind::CheckFailed, what));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Says of a container that has ended what it said last.
    async fn ended(&self, container: &str, state: Option<crate::host::State>) -> Error {
        let part = container.rsplit('-').next().unwrap_or(container);
        let words = self.bench.docker.last_words(container, 10).await.unwrap_or_default();
        let last = words.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or("nothing").to_owned();
        let what = match state {
            Some(crate::host::State::Exited(code)) => {
                format!("does not start: {part} ended with exit code {code}, and said last: {last}")
            }
            _ => format!("does not start: {part} does not run, and said last: {last}"),
        };
        Error::new(Kind::CheckFailed, what)
    }

    /// Logs in as Administrator, with a password of the drill's own.
    pub async fn log_in(&self) -> Result<String> {
        let set = Program {
            what: "give the Administrator a password",
            text: SET_PASSWORD,
            args: json!({}),
            secrets: json!({ "password": self.password.expose_secret() }),
            limit: RUN_LIMIT,
        };
        self.frappe.python(set).await?;
        let who = json!([{ "path": "/api/method/frappe.auth.get_logged_user", "login": true }]);
        let answers = self.ask(FRONTEND, 8080, true, who).await?;
        let (login, user) = (answers.first(), answers.get(1));
        match (login, user) {
            (Some((200, sid)), Some((200, who))) if sid == "sid" && who.contains("\"Administrator\"") => {
                Ok("Administrator, with a password made for this drill".to_owned())
            }
            (Some((200, _)), Some((status, _))) => {
                Err(Error::new(Kind::CheckFailed, format!("logged in, and asked who that is: {status}")))
            }
            (Some((status, said)), _) => {
                let said = said.lines().next().unwrap_or_default();
                Err(Error::new(Kind::CheckFailed, format!("the login is answered with {status}: {said}")))
            }
            (None, _) => Err(Error::new(Kind::CheckFailed, "the login is not answered")),
        }
    }

    /// Runs `bench doctor` and reads its text: its exit code only tells whether it reached queue and database.
    pub async fn doctor(&self, findings: &mut Findings) {
        let site = self.frappe.site();
        let ran = self.frappe.command(&["bench", "--site", site, "doctor"], b"", RUN_LIMIT).await;
        let Some(ran) = findings.step("doctor", ran) else { return };
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        if ran.exit.code != 0 {
            let reaches = if text.contains("Redis") { "its queue" } else { "its database" };
            let seen = format!("exit code {}: it does not reach {reaches}", ran.exit.code);
            return findings.failed("doctor", seen);
        }
        match read_doctor(site, &text) {
            Ok(seen) => findings.passed("doctor", seen),
            Err(seen) => findings.failed("doctor", seen),
        }
    }

    pub(super) async fn ask(
        &self,
        server: &str,
        port: u16,
        login: bool,
        questions: Value,
    ) -> Result<Vec<(u64, String)>> {
        let program = Program {
            what: "ask the application",
            text: QUESTIONS,
            args: json!({
                "server": server, "port": port, "site": self.frappe.site(), "login": login, "questions": questions,
            }),
            secrets: json!({ "password": self.password.expose_secret() }),
            limit: RUN_LIMIT,
        };
        let answers = self.frappe.bare_python(program).await?;
        serde_json::from_value(answers)
            .map_err(|e| Error::new(Kind::Bug, "answers of the application").caused_by(e))
    }
}

/// Names an image by what it was asked for and what it is.
fn named(spec: &ContainerSpec) -> String {
    let id: String = spec.image_id.trim_start_matches("sha256:").chars().take(12).collect();
    format!("{} ({id})", spec.image)
}

/// Reads what `bench doctor` printed of a copy whose scheduler is off and that has no worker.
fn read_doctor(site: &str, text: &str) -> std::result::Result<String, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let workers = lines.iter().find_map(|l| l.strip_prefix("Workers online:"));
    let Some(workers) = workers.and_then(|n| n.trim().parse::<u64>().ok()) else {
        return Err("says something that is not understood".to_owned());
    };
    let off = ["disabled", "paused", "inactive"]
        .into_iter()
        .filter(|word| lines.contains(&format!("Scheduler {word} for {site}").as_str()));
    let off: Vec<&str> = off.collect();
    if off.is_empty() {
        return Err("the scheduler of the copy is not off".to_owned());
    }
    let jobs: u64 = lines
        .iter()
        .filter_map(|l| l.strip_prefix("Number of Jobs:"))
        .filter_map(|n| n.trim().parse::<u64>().ok())
        .sum();
    Ok(format!(
        "reaches database and queue; scheduler {}; {workers} workers online, none of the drill's; {jobs} jobs wait",
        off.join(" and ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doctor_is_believed_only_where_the_copys_scheduler_is_off() {
        let text = "-----Checking scheduler status-----\nScheduler disabled for s\nScheduler paused for s\nWorkers online: 0\n\
                    -----s Jobs-----\nQueue: short\nNumber of Jobs:  7\n";
        let seen = read_doctor("s", text).unwrap();
        assert!(seen.contains("disabled and paused") && seen.contains("7 jobs"), "{seen}");
        assert!(read_doctor("s", "Workers online: 1\n").unwrap_err().contains("not off"));
        assert!(read_doctor("s", "Scheduler disabled for other\nWorkers online: 0").is_err());
        assert!(read_doctor("s", "").is_err());
    }
}
