//! Many tenants, some of them dead.

use std::time::Duration;

use jiff::SignedDuration;
use lifeboat::config::Config;
use lifeboat::ops::health::{self, Area, Limits, Report, Scope, State};

use crate::scene::{around, is_content};
use crate::support::cli::{Container, docker};
use crate::support::host::TestHost;
use crate::support::tenant::TestTenant;

/// Looks at fifty tenants, then at the same with five of them dead in three ways: paused, stopped, and running without ever
/// answering.
pub async fn look() {
    let tenant = TestTenant::start("crowd");
    let host = TestHost::with_folder();
    // Servers of databases are shared by tenants, as on hosts with one bench for all; a Redis belongs to one.
    let well = |n: usize| {
        format!(
            "site = \"t{n:02}.example\"\n[database]\ncontainer = \"{}\"\nname = \"{}\"\n[files]\nskip = \"none\"\n",
            tenant.container("db"),
            format_args!("_{n}")
        )
    };
    for n in 0..50 {
        host.write_tenant_file(&format!("t{n:02}"), &well(n));
    }
    is_content(&tenant.container("db"));
    let all_well = look_at(&host).await;
    assert!(all_well.tenants.iter().all(areas_ok), "{:#?}", all_well.tenants[0]);

    // A client that never answers, in a container that runs: what a server that hangs looks like.
    let silent = "for n in mariadb redis-cli; do printf '#!/bin/sh\\nsleep 600\\n' > /usr/bin/$n; chmod +x /usr/bin/$n; done; sleep 3600";
    let hangs: Vec<Container> =
        (0..3).map(|_| Container::run("hangs", &["lifeboat-base:bookworm", "sh", "-c", silent])).collect();
    let paused = Container::run("paused", &["lifeboat-base:bookworm", "sleep", "3600"]);
    docker(&["pause", &paused.name]);
    let stopped = Container::run("stopped", &["lifeboat-base:bookworm", "sleep", "3600"]);
    docker(&["kill", &stopped.name]);
    for (n, dead) in [(3, &hangs[0]), (14, &hangs[1]), (25, &hangs[2]), (36, &paused), (47, &stopped)] {
        let mut file = well(n).replace(&tenant.container("db"), &dead.name);
        file.push_str(&format!("[redis_queue]\ncontainer = \"{}\"\n", dead.name));
        host.write_tenant_file(&format!("t{n:02}"), &file);
    }
    let report = look_at(&host).await;
    let dead: Vec<&str> = report
        .tenants
        .iter()
        .filter(|t| t.state == State::Failed && !areas_ok(t))
        .map(|t| t.tenant.as_str())
        .collect();
    assert_eq!(dead, ["t03", "t14", "t25", "t36", "t47"]);
    let words = [
        "does not answer within",
        "does not answer within",
        "does not answer within",
        "is paused",
        "is stopped",
    ];
    for (name, word) in dead.iter().zip(words) {
        let tenant = report.tenant(&name.parse().unwrap()).unwrap();
        for area in [Area::Database, Area::RedisQueue] {
            assert!(
                tenant.checks.iter().any(|c| c.area == area && c.reason.contains(word)),
                "{name} {area:?}: {tenant:#?}"
            );
        }
    }
    let more = Duration::from_secs_f64((report.seconds - all_well.seconds).max(0.0));
    // Not how fast this machine is: what the dead add to it.
    let most = Limits::default().slowest() + Duration::from_secs(5);
    assert!(more < most, "{more:?} of waiting, {most:?} are allowed: {:.1} s with the dead", report.seconds);
}

fn areas_ok(tenant: &health::TenantHealth) -> bool {
    let servers = [Area::Database, Area::RedisQueue];
    tenant.checks.iter().filter(|c| servers.contains(&c.area)).all(|c| c.state == State::Ok)
}

async fn look_at(host: &TestHost) -> Report {
    let config = Config::load(&host.path("etc")).unwrap();
    let scope = Scope::of(&[]).without(Area::Backups);
    health::look(&config, &around(SignedDuration::ZERO), &scope).await.unwrap()
}
