//! `lifeboat provision` with the real binary on real containers, a real name server and the doubles: all ten steps; a second
//! run that changes nothing; kills at every boundary and in random moments; a rollback that leaves nothing; sizes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and print its seed, in the functions it calls too"
)]

mod support;

#[path = "provision/kills.rs"]
mod kills;
#[path = "provision/scene.rs"]
mod scene;
#[path = "provision/sizes.rs"]
mod sizes;

use std::process::Command;
use std::time::Duration;

use scene::{ADDRESS, Scene};
use serde_json::Value;
use support::cli::{docker, wait_until};
use support::prometheus::reqwest_get;

/// Everything that makes a tenant one, seen from outside.
#[track_caller]
fn assert_whole(scene: &Scene) {
    let parts = [
        "backend",
        "db",
        "frontend",
        "queue-long",
        "queue-short",
        "redis-cache",
        "redis-queue",
        "scheduler",
        "websocket",
    ];
    assert_eq!(scene.running(), parts);
    assert_eq!(scene.get("/api/method/ping"), (200, "{\"message\": \"pong\"}\n".trim_end().to_owned()));
    let (status, login) = scene.get("/login");
    assert!(
        status == 200 && login.contains("btn-authentik") && login.contains("Acme ERP"),
        "{status} {login}"
    );
    assert_eq!(scene.dns.addresses(&scene.domain), [ADDRESS.parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(scene.authentik.rows("core/applications").len(), 1);
    assert_eq!(scene.sql("SELECT COUNT(*) FROM tabCompany")[0][0], "1");
    // What the proxy reads is what the backup of the configuration takes.
    let handed = scene.host.path("traefik").join(format!("{}.yml", scene.domain));
    let file = std::fs::read_to_string(scene.host.path("etc/tenants").join(format!("{}.toml", scene.tenant)))
        .unwrap();
    assert!(file.contains(&format!("traefik = [{handed:?}]")), "{file}");
    assert!(handed.exists(), "{} is not there", handed.display());
    // A file that is named and not there would make it partial.
    let receipts = scene.host.run(&["snapshots", &scene.tenant, "--json"]).expect(0);
    assert!(receipts.out.contains("\"whole\":true"), "a first backup was taken: {}", receipts.out);
}

#[test]
fn a_name_and_a_domain_become_a_tenant_by_ten_steps_and_a_second_run_changes_nothing() {
    let scene = Scene::new("acme");
    let plan = scene.run(&["--dry-run"]).expect(0);
    for step in ["secrets", "services", "site", "dns", "certs", "branding", "sso", "admin", "setup", "verify"]
    {
        assert!(plan.out.contains(step), "{step}: {}", plan.out);
    }
    assert!(scene.running().is_empty() && scene.authentik.writes() == 0, "a plan changes nothing");
    scene.run(&[]).expect(0);
    assert_whole(&scene);

    let (before, writes) = (scene.picture(), scene.authentik.writes());
    let since = docker(&["run", "--rm", "lifeboat-base:bookworm", "date", "+%s.%N"]);
    scene.run(&[]).expect(0);
    assert_eq!(scene.picture(), before);
    assert_eq!(scene.authentik.writes(), writes);
    assert_eq!(changes_since(&scene, &since), Vec::<String>::new());
    // What was whole once is not taken back by a rollback.
    scene.run(&["--rollback"]).expect(1);
    assert_whole(&scene);
}

/// Returns what happened to the tenant's things in Docker since a moment, commands within containers apart.
fn changes_since(scene: &Scene, since: &str) -> Vec<String> {
    let now = docker(&["run", "--rm", "lifeboat-base:bookworm", "date", "+%s.%N"]);
    // An action is quoted: that of an exec holds its whole command.
    let format = "{{.Type}} {{json .Action}} {{.Actor.Attributes.name}}";
    let events = docker(&["events", "--since", since, "--until", &now, "--format", format]);
    let kept = |line: &&str| {
        line.contains(&scene.tenant) && !line.contains(" \"exec_") && !line.contains(" \"health_status")
    };
    events.lines().filter(kept).map(str::to_owned).collect()
}

#[test]
fn a_service_that_runs_takes_the_new_tenant_over_and_makes_its_first_drill() {
    let scene = Scene::new("first");
    let port = support::prometheus::free_port();
    scene.write_configuration(&format!("[service]\nlisten = \"127.0.0.1:{port}\"\n"));
    // The tenant's file comes to a service that runs.
    let file = scene.host.path("etc/tenants").join(format!("{}.toml", scene.tenant));
    let wishes = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let _running = scene.host.start(&["serve"]);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    wait_until("the service answers", Duration::from_secs(60), || reqwest_get(&url("/health")).is_some());
    std::fs::write(&file, wishes).unwrap();
    scene.run(&[]).expect(0);

    let status = || scene.host.run(&["status", "--json"]).json()[0]["tenants"][0].clone();
    assert!(status()["drill_asked"].is_string() && status()["proof"].is_null(), "{}", status());
    let health = scene.host.run(&["health", &scene.tenant, "--json"]).json()[0].clone();
    // How full the disk is, is this machine's affair.
    let checks = health["tenants"][0]["checks"].as_array().unwrap();
    let ill: Vec<&Value> = checks.iter().filter(|c| c["state"] != "ok" && c["name"] != "disk").collect();
    assert!(ill.is_empty() && checks.len() > 5, "{health:#}");

    // The next planned backup is brought near, in the policy that the service reads anew.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(120);
    let policy = format!("[schedule]\nat = \"{}\"\ntimezone = \"UTC\"\n", soon.strftime("%H:%M"));
    std::fs::create_dir_all(scene.host.path("etc/policies")).unwrap();
    std::fs::write(scene.host.path("etc/policies/nightly.toml"), policy).unwrap();
    wait_until("the first drill was made", Duration::from_secs(600), || status()["proof"].is_object());
    assert!(status()["drill_asked"].is_null(), "{}", status());
    let page = reqwest_get(&url("/metrics")).unwrap();
    let line = format!("lifeboat_health_check_state{{tenant=\"{}\"", scene.tenant);
    wait_until("the service has looked at the tenant's health", Duration::from_secs(600), || {
        page.contains(&line) || reqwest_get(&url("/metrics")).is_some_and(|page| page.contains(&line))
    });
}

/// Returns compose, as the distribution's own program or as a plugin of docker's; none where there is neither.
fn compose() -> Option<Vec<&'static str>> {
    let works = |words: &[&str]| {
        Command::new(words[0]).args(&words[1..]).arg("version").output().is_ok_and(|o| o.status.success())
    };
    [vec!["docker-compose"], vec!["docker", "compose"]].into_iter().find(|words| works(words))
}

#[test]
fn the_compose_file_brings_the_tenant_up_without_lifeboat() {
    let Some(compose) = compose() else {
        assert!(std::env::var_os("LIFEBOAT_FULL").is_none(), "a full run needs docker-compose");
        println!("not run: there is no docker-compose here");
        return;
    };
    let scene = Scene::new("composed");
    scene.run(&["--skip", "verify"]).expect(0);
    let parts = scene.running();
    for part in &parts {
        docker(&["rm", "-f", &scene.container(part)]);
    }
    docker(&["network", "rm", &scene.tenant]);
    let up = Command::new(compose[0])
        .args(&compose[1..])
        .args(["--project-directory", ".", "up", "-d"])
        .current_dir(scene.host.path("erp").join(&scene.tenant))
        .output()
        .unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(scene.running(), parts);
    let healthy = |part: &str| {
        let state = docker(&["inspect", "-f", "{{.State.Health.Status}}", &scene.container(part)]);
        state == "healthy"
    };
    for part in ["db", "redis-cache", "redis-queue", "backend", "frontend"] {
        wait_until("its healthcheck is content", Duration::from_secs(180), || healthy(part));
    }
    // The same volumes, passwords and names: the site answers with its data.
    assert_eq!(scene.get("/api/method/ping").0, 200);
    assert_eq!(scene.sql("SELECT COUNT(*) FROM tabCompany")[0][0], "1");
    // And Lifeboat finds each container as it would have made it.
    let said = scene.run(&["--skip", "verify"]).expect(0);
    assert!(format!("{said:?}").contains("services: as it should be"), "{said:?}");
    scene.run(&["--rollback"]).expect(0);
    scene.assert_nothing_left();
}

#[test]
fn what_is_not_configured_is_shown_as_skipped_with_its_reason() {
    let scene = Scene::new("skips");
    let said = scene.run(&["--skip", "verify", "--skip", "sso", "--skip", "branding"]).expect(0);
    for step in ["verify", "sso", "branding"] {
        assert!(
            said.out.contains(&format!("{step}: skipped: --skip {step}"))
                || said.err.contains(&format!("{step}: skipped: --skip {step}")),
            "{said:?}"
        );
    }
    assert_eq!(scene.authentik.writes(), 0);
    assert_eq!(scene.get("/api/method/ping").0, 200);
    scene.run(&["--rollback"]).expect(0);
    scene.assert_nothing_left();
}
