//! The site as its users and its jobs see it: whether it answers under its name, whether jobs are worked off, and
//! which switches are set.
//!
//! `bench doctor` exits with 0 however bad a state is, so its text is read; and a worker that was killed stays in its list for
//! eight minutes, so containers and signs of life are looked at beside it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::component::redis::{self, Worker};
use crate::component::site::SiteConfig;
use crate::config::{BENCH_SITES, Role, SitesPlace, Tenant};
use crate::error::{Error, Kind, Result, counted};
use crate::host::{Docker, ExecSpec};
use crate::ops::backup;

use super::pace::within;
use super::subject::Subject;
use super::{Area, Check, Round, State, containers};

const AREA: Area = Area::Application;

/// Asks the site for its name, from inside a container: prints the answer, then its status on a line of its own.
const PING: &str = include_str!("ping.sh");

/// The most that is read of an answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// RQ's workers give a sign of life at least this often: 405 s where they wait for jobs, with room.
const SILENT: SignedDuration = SignedDuration::from_secs(430);

/// The queues that a bench's jobs are put into.
const QUEUES: [&str; 3] = ["default", "long", "short"];

/// Looks at a tenant's site.
pub(super) async fn look(round: &Round<'_>, subject: &Subject<'_>) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    if let Some(Err(e)) = &subject.site {
        checks.push(Check::of_error(AREA, "site", State::Failed, e));
    }
    checks.extend(subject.config().into_iter().flat_map(|c| switches(&subject.tenant.site, c)));
    let doctor = doctor(round, subject);
    let (ping, doctor, workers) = futures::join!(ping(round, subject), doctor, workers(round, subject));
    checks.extend(ping.into_iter().chain(workers));
    for check in doctor {
        // What the site's own configuration said is said once.
        if !checks.iter().any(|c| c.name == check.name && c.state != State::Ok) {
            checks.retain(|c| c.name != check.name);
            checks.push(check);
        }
    }
    checks
}

/// Judges the switches in the site's configuration.
fn switches(site: &str, config: &SiteConfig) -> Vec<Check> {
    let muted = ["mute_emails", "pause_scheduler", "disable_scheduler"].iter().all(|flag| config.flag(flag));
    if muted {
        let reason = format!("site {site} is a muted copy: it sends no mail and runs no jobs by the clock");
        let advice =
            "meant so after `restore --into`; without the three switches in site_config.json it is live";
        return vec![Check::new(AREA, "scheduler", State::Warning, reason).advise(advice)];
    }
    let mut checks = Vec::new();
    if config.flag("maintenance_mode") {
        let reason = format!("maintenance mode is on for site {site}: every request is answered 503");
        checks.push(
            Check::new(AREA, "maintenance", State::Failed, reason)
                .advise(format!("`bench --site {site} set-maintenance-mode off`")),
        );
    } else {
        checks.push(Check::new(
            AREA,
            "maintenance",
            State::Ok,
            format!("site {site} is not in maintenance mode"),
        ));
    }
    let off = [
        ("pause_scheduler", "paused", "resume"),
        ("disable_scheduler", "disabled in its configuration", "resume"),
    ];
    match off.iter().find(|(flag, ..)| config.flag(flag)) {
        Some((_, word, verb)) => checks.push(scheduler_off(site, word, verb)),
        None => checks.push(Check::new(
            AREA,
            "scheduler",
            State::Ok,
            format!("the scheduler of site {site} is not paused"),
        )),
    }
    checks
}

fn scheduler_off(site: &str, word: &str, verb: &str) -> Check {
    let reason =
        format!("the scheduler of site {site} is {word}: no mail goes out, nothing runs by the clock");
    Check::new(AREA, "scheduler", State::Failed, reason)
        .advise(format!("`bench --site {site} scheduler {verb}`"))
}

/// Returns the first container of a role.
fn of_role(tenant: &Tenant, role: Role) -> Option<&str> {
    tenant.roles.get(&role)?.first().map(String::as_str)
}

/// Returns the name by which browsers ask for the site.
pub(super) fn domain(tenant: &Tenant) -> &str {
    tenant.domain.as_deref().unwrap_or(&tenant.site)
}

async fn ping(round: &Round<'_>, subject: &Subject<'_>) -> Option<Check> {
    let tenant = subject.tenant;
    let name = "ping";
    let (container, port) = match (of_role(tenant, Role::Frontend), of_role(tenant, Role::Backend)) {
        (Some(frontend), _) => (frontend, "8080"),
        (None, Some(backend)) => (backend, "8000"),
        (None, None) => {
            subject.site.as_ref()?;
            let reason = format!("no container is known that answers for site {}", tenant.site);
            return Some(
                Check::new(AREA, name, State::Unknown, reason)
                    .advise("name [app] frontend in the tenant's file"),
            );
        }
    };
    let docker = match round.running(AREA, name, container).await {
        Ok(docker) => docker,
        Err(check) => return Some(check),
    };
    let domain = domain(tenant);
    let limit = round.limits.probe;
    let asked = within(
        limit,
        format!("{domain} at container {container}"),
        answer(docker, container, domain, port, limit),
    );
    Some(judge_ping(domain, container, asked.await))
}

/// Asks for `/api/method/ping` by the site's name; returns the status and the answer.
async fn answer(
    docker: &Docker,
    container: &str,
    domain: &str,
    port: &str,
    limit: Duration,
) -> Result<(u16, String)> {
    let seconds = limit.as_secs().saturating_sub(1).max(1).to_string();
    let spec = ExecSpec::script(PING, [domain, port, &seconds]).ended_after(limit);
    let ran = docker.run(container, spec, b"", ANSWER_BYTES, limit).await?;
    let text = ran.text(format!("{domain} at container {container}"))?;
    let (answer, status) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    let status = status.trim().parse().ok();
    let status = status.ok_or_else(|| Error::new(Kind::Source, format!("{domain} answered no status")))?;
    Ok((status, answer.to_owned()))
}

fn judge_ping(domain: &str, container: &str, answer: Result<(u16, String)>) -> Check {
    let name = "ping";
    let bad = |what: String, advice: &str| Check::new(AREA, name, State::Failed, what).advise(advice);
    match answer {
        Ok((200, text)) if text.contains("pong") => {
            Check::new(AREA, name, State::Ok, format!("{domain} answers, through container {container}"))
        }
        Ok((200, _)) => bad(
            format!("{domain} answers through container {container}, but not as a site does"),
            "something else listens there, or the proxy serves a page of its own",
        ),
        Ok((status @ 503, _)) => bad(
            format!("{domain} answers {status} through container {container}: maintenance mode"),
            "`bench --site SITE set-maintenance-mode off`",
        ),
        Ok((status @ 404, _)) => bad(
            format!("{domain} answers {status} through container {container}: no site of that name is there"),
            "the site's folder below sites/ must be named as browsers ask for it",
        ),
        Ok((status @ 500, _)) => bad(
            format!(
                "{domain} answers {status} through container {container}: mostly a database that refuses it"
            ),
            "`docker logs` of the backend says why",
        ),
        Ok((status, _)) => bad(
            format!("{domain} answers {status} through container {container}"),
            "`docker logs` of backend and frontend say why",
        ),
        Err(e) => {
            let mut check = Check::of_error(AREA, name, State::Failed, &e);
            check.advice.get_or_insert_with(|| "`docker logs` of backend and frontend say why".to_owned());
            check
        }
    }
}

/// Runs `bench doctor` and reads its text.
async fn doctor(round: &Round<'_>, subject: &Subject<'_>) -> Vec<Check> {
    let tenant = subject.tenant;
    let Some(backend) = of_role(tenant, Role::Backend) else { return Vec::new() };
    let name = "doctor";
    let docker = match round.running(AREA, name, backend).await {
        Ok(docker) => docker,
        Err(check) => return vec![check],
    };
    let limit = round.limits.bench;
    let mut spec =
        ExecSpec::new(["bench", "--site", &tenant.site, "doctor"]).user("frappe").ended_after(limit);
    spec.workdir = Some(bench(tenant));
    let running = docker.run(backend, spec, b"", ANSWER_BYTES, limit);
    match within(limit, format!("bench doctor in container {backend}"), running).await {
        Ok(ran) => judge_doctor(&tenant.site, ran.exit.code, &String::from_utf8_lossy(&ran.stdout)),
        Err(e) => vec![Check::of_error(AREA, name, State::Unknown, &e)],
    }
}

/// Returns the bench's folder in the containers: the one that `sites` lies in.
fn bench(tenant: &Tenant) -> String {
    let sites = match tenant.files.on().map(|f| &f.sites) {
        Some(SitesPlace::Container { path, .. }) => path.as_str(),
        _ => BENCH_SITES,
    };
    sites.trim_end_matches('/').trim_end_matches("/sites").to_owned()
}

/// Reads what `bench doctor` printed; its exit code only tells whether it reached the queue and the database.
fn judge_doctor(site: &str, code: i64, text: &str) -> Vec<Check> {
    let name = "doctor";
    if code != 0 {
        let reason = match text.contains("Redis") {
            true => format!("bench doctor of site {site} does not reach its queue"),
            false => format!("bench doctor of site {site} failed: mostly a database that refuses it"),
        };
        return vec![
            Check::new(AREA, name, State::Failed, reason)
                .advise(format!("`bench --site {site} doctor` in the backend says why")),
        ];
    }
    let has = |words: &str| text.lines().any(|l| l.trim() == format!("{words} {site}"));
    let online =
        text.lines().find_map(|l| l.trim().strip_prefix("Workers online:")?.trim().parse::<u64>().ok());
    let Some(online) = online else {
        let reason = format!("bench doctor of site {site} said something that is not understood");
        return vec![Check::new(AREA, name, State::Unknown, reason)];
    };
    let mut checks = Vec::new();
    // Paused and in maintenance are said of the configuration already; disabled stands in the database only.
    for (words, word, verb) in [
        ("Scheduler paused for", "paused", "resume"),
        ("Scheduler disabled for", "disabled", "enable"),
        ("Scheduler inactive for", "inactive", "enable"),
    ] {
        if has(words) && checks.is_empty() && !has("Maintenance mode on for") {
            checks.push(scheduler_off(site, word, verb));
        }
    }
    let said = format!("bench doctor of site {site}: {} online", counted(online, "worker"));
    if online == 0 {
        checks.push(
            Check::new(AREA, name, State::Failed, format!("{said}: no job is worked off"))
                .advise("`docker start` the queue containers; `docker logs` of them says why they ended"),
        );
    } else {
        checks.push(Check::new(AREA, name, State::Ok, said));
    }
    checks
}

/// Compares the workers that the queue knows of with those that run, and with the queues that need one.
async fn workers(round: &Round<'_>, subject: &Subject<'_>) -> Option<Check> {
    let tenant = subject.tenant;
    let name = "workers";
    let part = tenant.redis_queue.on()?;
    let expected = [Role::QueueShort, Role::QueueLong, Role::Scheduler];
    let names: Vec<&String> = expected.iter().filter_map(|role| tenant.roles.get(role)).flatten().collect();
    if names.is_empty() {
        return None;
    }
    let docker = round.docker(AREA, name).ok()?;
    for container in names {
        let condition =
            within(round.limits.probe, format!("container {container}"), docker.condition(container)).await;
        let (reason, advice) = match condition {
            Ok(Some(condition)) => match containers::stopped(container, &condition) {
                Some(stopped) => stopped,
                None => continue,
            },
            Ok(None) => {
                (format!("container {container} does not exist"), "`docker ps -a` lists what is there")
            }
            Err(e) => return Some(Check::of_error(AREA, name, State::Unknown, &e)),
        };
        return Some(
            Check::new(AREA, name, State::Failed, format!("a worker is dead: {reason}")).advise(advice),
        );
    }
    let limit = round.limits.probe;
    let asked = within(limit, format!("redis in container {}", part.container), async {
        let credentials = backup::redis_credentials(&part.login)?;
        redis::workers(docker, &part.container, &credentials, limit).await
    });
    Some(match asked.await {
        Ok(found) => judge_workers(&found, round.now()),
        Err(e) => Check::of_error(AREA, name, State::Unknown, &e),
    })
}

fn judge_workers(found: &[Worker], now: Timestamp) -> Check {
    let name = "workers";
    let restart = "restart the queue containers; `docker logs` of them says what they did last";
    let is_alive = |w: &&Worker| w.heartbeat.is_some_and(|at| now.duration_since(at) < SILENT);
    let alive: Vec<&Worker> = found.iter().filter(is_alive).collect();
    let lacks: Vec<&str> = QUEUES
        .into_iter()
        .filter(|queue| !alive.iter().any(|w| w.queues.iter().any(|q| q == queue)))
        .collect();
    if !lacks.is_empty() {
        let silent = match found.len() - alive.len() {
            0 => String::new(),
            n => format!(
                "; {} gave no sign of life for {} min or longer",
                counted(n, "worker"),
                SILENT.as_mins()
            ),
        };
        let reason = format!("no worker takes jobs from {}{silent}", lacks.join(", "));
        return Check::new(AREA, name, State::Failed, reason).advise(restart);
    }
    Check::new(AREA, name, State::Ok, format!("{} take jobs from all queues", counted(alive.len(), "worker")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "erp.example.com";

    fn doctor(text: &str) -> Vec<(&'static str, State)> {
        judge_doctor(SITE, 0, text).iter().map(|c| (c.name, c.state)).collect()
    }

    #[test]
    fn the_text_of_doctor_counts_and_not_its_exit_code() {
        let well = "-----Checking scheduler status-----\nWorkers online: 2\n-----erp.example.com Jobs-----\n";
        assert_eq!(doctor(well), [("doctor", State::Ok)]);
        assert_eq!(doctor("Workers online: 0\n"), [("doctor", State::Failed)]);
        let disabled = "Scheduler disabled for erp.example.com\nScheduler inactive for erp.example.com\nWorkers online: 1\n";
        assert_eq!(doctor(disabled), [("scheduler", State::Failed), ("doctor", State::Ok)]);
        assert!(judge_doctor(SITE, 0, disabled)[0].reason.contains("is disabled"));
        let other = "Scheduler disabled for other.example.com\nWorkers online: 1\n";
        assert_eq!(doctor(other), [("doctor", State::Ok)], "another site's state is not this one's");
        assert_eq!(doctor("something new"), [("doctor", State::Unknown)]);
        let lost = judge_doctor(SITE, 1, "Please make sure that Redis Queue runs @ redis://x");
        assert!(lost[0].state == State::Failed && lost[0].reason.contains("queue"));
    }

    #[test]
    fn a_worker_without_a_sign_of_life_takes_no_jobs() {
        let now: Timestamp = "2026-11-23T02:00:00Z".parse().unwrap();
        let worker = |queues: &[&str], age: i64| Worker {
            name: "w".into(),
            state: "idle".into(),
            queues: queues.iter().map(|q| (*q).to_owned()).collect(),
            heartbeat: Some(now - SignedDuration::from_secs(age)),
        };
        let short = worker(&["short", "default"], 10);
        let well = judge_workers(&[short.clone(), worker(&["long", "default", "short"], 400)], now);
        assert_eq!(well.state, State::Ok);
        let silent = judge_workers(&[short, worker(&["long"], 500)], now);
        assert_eq!(silent.state, State::Failed);
        assert!(silent.reason.contains("from long; 1 worker gave no sign"), "{}", silent.reason);
        assert!(judge_workers(&[], now).reason.contains("default, long, short"));
    }

    #[test]
    fn switches_are_read_from_the_sites_own_configuration() {
        let of = |json: &str| {
            let checks = switches(SITE, &SiteConfig::parse(json.as_bytes()).unwrap());
            checks.iter().map(|c| (c.name, c.state)).collect::<Vec<_>>()
        };
        assert_eq!(of("{}"), [("maintenance", State::Ok), ("scheduler", State::Ok)]);
        assert_eq!(of(r#"{"maintenance_mode":1}"#)[0], ("maintenance", State::Failed));
        assert_eq!(of(r#"{"pause_scheduler":1}"#)[1], ("scheduler", State::Failed));
        let muted = r#"{"mute_emails":1,"pause_scheduler":1,"disable_scheduler":1}"#;
        assert_eq!(of(muted), [("scheduler", State::Warning)]);
    }

    #[test]
    fn each_answer_of_a_site_has_its_cause() {
        for (status, text, state, word) in [
            (200, r#"{"message":"pong"}"#, State::Ok, "answers"),
            (200, "<html>", State::Failed, "not as a site does"),
            (503, "", State::Failed, "maintenance"),
            (404, "", State::Failed, "no site of that name"),
            (500, "", State::Failed, "database"),
            (418, "", State::Failed, "418"),
        ] {
            let check = judge_ping(SITE, "byrne-frontend", Ok((status, text.into())));
            assert!(check.state == state && check.reason.contains(word), "{check:?}");
        }
    }
}
