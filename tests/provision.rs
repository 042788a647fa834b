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

use scene::{ADDRESS, Scene};
use support::cli::docker;

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
    let receipts = scene.host.run(&["snapshots", &scene.tenant]).expect(0);
    assert!(!receipts.out.trim().is_empty(), "a first backup was taken");
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
