//! Docker itself: exec, specifications that make a container again, isolation, sweeping.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::time::Duration;

use lifeboat::error::Kind;
use lifeboat::host::{ContainerSpec, Docker, ExecSpec, LeftoverKind, RunLabels, State};
use support::docker::{REDIS_IMAGE, Scope, redis_spec};
use tokio::io::AsyncWriteExt;

const LIMIT: Duration = Duration::from_secs(120);

async fn started(scope: &Scope, name: &str) -> String {
    let spec = redis_spec(scope, name);
    scope.docker.create(&spec).await.unwrap();
    scope.docker.start(&spec.name).await.unwrap();
    spec.name
}

#[tokio::test]
async fn stdout_and_stderr_come_apart_and_the_exit_code_is_read() {
    let scope = Scope::new("exec").await;
    let c = started(&scope, "c").await;
    let script = "i=0; while [ $i -lt 2000 ]; do echo out; echo err >&2; i=$((i+1)); done; exit 7";
    let ran = scope.docker.run(&c, ExecSpec::script::<&str>(script, []), b"", 1 << 20, LIMIT).await.unwrap();
    assert_eq!(ran.exit.code, 7);
    assert_eq!(&ran.stdout[..], "out\n".repeat(2000).as_bytes());
    assert!(ran.exit.stderr.ends_with("err\n"));
    assert!(ran.text("script").unwrap_err().to_string().contains("exit code 7"));
}

#[tokio::test]
async fn a_large_stream_goes_in_and_comes_out_whole() {
    let scope = Scope::new("cat").await;
    let c = started(&scope, "c").await;
    let exec = scope.docker.exec(&c, ExecSpec::new(["cat"])).await.unwrap();
    let (mut input, mut output) = (exec.input, exec.output);
    let block: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = block.clone();
    let feed = tokio::spawn(async move {
        for _ in 0..32 {
            input.write_all(&sent).await.unwrap();
        }
        input.shutdown().await.unwrap();
        input
    });
    let mut seen = 0usize;
    while let Some(piece) = output.next().await.unwrap() {
        for byte in &piece {
            assert_eq!(*byte, block[seen % block.len()], "byte {seen}");
            seen += 1;
        }
    }
    assert_eq!(seen, 32 * block.len());
    assert_eq!(output.exit().await.unwrap().code, 0);
    drop(feed.await.unwrap());
}

#[tokio::test]
async fn dropping_both_halves_ends_the_stdin_of_what_runs() {
    let scope = Scope::new("drop").await;
    let c = started(&scope, "c").await;
    let watch = "while IFS= read -r _; do :; done; echo gone > /tmp/gone";
    let mut exec = scope.docker.exec(&c, ExecSpec::script::<&str>(watch, [])).await.unwrap();
    exec.input.write_all(b"line\n").await.unwrap();
    drop(exec);
    let seen =
        "n=0; while [ ! -e /tmp/gone ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done; cat /tmp/gone";
    let ran = scope.docker.run(&c, ExecSpec::script::<&str>(seen, []), b"", 100, LIMIT).await.unwrap();
    assert_eq!(&ran.stdout[..], b"gone\n");
}

#[tokio::test]
async fn output_beyond_its_limit_is_an_error() {
    let scope = Scope::new("limit").await;
    let c = started(&scope, "c").await;
    let spec = ExecSpec::new(["head", "-c", "5000", "/dev/zero"]);
    let e = scope.docker.run(&c, spec, b"", 4999, LIMIT).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Source);
}

#[tokio::test]
async fn a_command_that_hangs_is_given_up() {
    let scope = Scope::new("hang").await;
    let c = started(&scope, "c").await;
    let spec = ExecSpec::new(["sleep", "30"]);
    let e = scope.docker.run(&c, spec, b"", 10, Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Timeout);
    assert!(e.what().contains("sleep"));
}

#[tokio::test]
async fn a_missing_and_a_stopped_container_are_told_apart() {
    let scope = Scope::new("absent").await;
    let e = scope.docker.exec("host-no-such-container", ExecSpec::new(["true"])).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Host);
    assert!(e.what().contains("container host-no-such-container does not exist"), "{e}");
    let spec = redis_spec(&scope, "c");
    scope.docker.create(&spec).await.unwrap();
    let e = scope.docker.exec(&spec.name, ExecSpec::new(["true"])).await.unwrap_err();
    assert!(e.what().contains("is not running"), "{e}");
    assert_eq!(scope.docker.state(&spec.name).await.unwrap(), Some(State::Created));
    assert_eq!(scope.docker.state("host-no-such-container").await.unwrap(), None);
}

/// What changes when a container is made again, taken out.
fn lasting(mut spec: ContainerSpec) -> serde_json::Value {
    spec.mounts.sort_by(|a, b| a.target.cmp(&b.target));
    serde_json::to_value(spec).unwrap()
}

fn full_options(scope: &Scope) -> Vec<String> {
    let (net, vol) = (scope.name("net"), scope.name("vol"));
    let options = [
        format!("--name={}", scope.name("full")),
        format!("--network={net}"),
        "--network-alias=redis-queue".into(),
        "--env=SECRET=a=b c\"d".into(),
        "--label=com.example.x=y".into(),
        format!("--label={}", scope.label()),
        "--memory=256m".into(),
        "--cpus=0.5".into(),
        "--pids-limit=99".into(),
        "--restart=on-failure:3".into(),
        format!("--volume={vol}:/data"),
        "--volume=/etc/hostname:/etc/of-host:ro".into(),
        "--tmpfs=/scratch:size=1m".into(),
        "--publish=127.0.0.1::6379".into(),
        "--cap-drop=NET_RAW".into(),
        "--cap-add=SYS_NICE".into(),
        "--security-opt=no-new-privileges".into(),
        "--add-host=db.example:10.1.2.3".into(),
        "--health-cmd=redis-cli ping".into(),
        "--health-interval=1s".into(),
        "--ulimit=nofile=4096:4096".into(),
        "--shm-size=33554432".into(),
        "--init".into(),
        "--log-opt=max-size=1m".into(),
        "--log-driver=json-file".into(),
        "--workdir=/data".into(),
        REDIS_IMAGE.into(),
        "redis-server".into(),
        "--appendonly".into(),
        "yes".into(),
    ];
    options.into()
}

#[tokio::test]
async fn a_container_is_made_again_from_its_specification_with_its_network_and_volume() {
    let scope = Scope::new("spec").await;
    let (net, vol, net2) = (scope.name("net"), scope.name("vol"), scope.name("net2"));
    scope.cli(&["network", "create", "--internal", "--label", &scope.label(), &net]);
    scope.cli(&["network", "create", "--label", &scope.label(), &net2]);
    scope.cli(&["volume", "create", "--label", &scope.label(), "--label", "kept=1", &vol]);
    let mut arguments = vec!["run".to_owned(), "-d".into()];
    arguments.extend(full_options(&scope));
    scope.cli(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let name = scope.name("full");
    scope.cli(&["network", "connect", "--alias", "second", &net2, &name]);

    let before = scope.docker.inspect(&name).await.unwrap();
    assert_eq!(before.env("SECRET"), Some("a=b c\"d"));
    assert_eq!(before.limits.memory_bytes, Some(256 << 20));
    assert_eq!(before.networks.len(), 2);
    assert!(!format!("{before:?}").contains("a=b c"));
    scope.docker.remove(&name).await.unwrap();
    scope.docker.remove_volume(&vol).await.unwrap();
    scope.docker.remove_network(&net).await.unwrap();
    scope.docker.remove_network(&net2).await.unwrap();

    let written = serde_json::to_string(&before).unwrap();
    scope.docker.create(&serde_json::from_str(&written).unwrap()).await.unwrap();
    scope.docker.start(&name).await.unwrap();
    scope.docker.wait_healthy(&name, LIMIT).await.unwrap();
    let after = scope.docker.inspect(&name).await.unwrap();
    let (mut a, mut b) = (lasting(before), lasting(after));
    // The daemon gives a new network the next free range.
    for spec in [&mut a, &mut b] {
        for endpoint in spec["networks"].as_array_mut().unwrap() {
            endpoint["network"]["subnets"].take();
        }
    }
    assert_eq!(a, b);
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_and_a_rename_frees_it() {
    let scope = Scope::new("name").await;
    let spec = redis_spec(&scope, "c");
    scope.docker.create(&spec).await.unwrap();
    assert_eq!(scope.docker.create(&spec).await.unwrap_err().kind(), Kind::Conflict);
    scope.docker.rename(&spec.name, &scope.name("old")).await.unwrap();
    scope.docker.create(&spec).await.unwrap();
    assert!(scope.docker.try_inspect(&scope.name("old")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_container_that_exits_is_not_waited_for() {
    let scope = Scope::new("exit").await;
    let mut spec = redis_spec(&scope, "c");
    spec.command = vec!["sh".into(), "-c".into(), "exit 3".into()];
    scope.docker.create(&spec).await.unwrap();
    scope.docker.start(&spec.name).await.unwrap();
    let mut last = scope.docker.wait_healthy(&spec.name, LIMIT).await;
    // It may be seen running before it exits.
    while last.is_ok() {
        last = scope.docker.wait_healthy(&spec.name, LIMIT).await;
    }
    assert!(last.unwrap_err().what().contains("exited with code 3"));
}

#[tokio::test]
async fn paths_in_a_volume_and_a_folder_lead_to_the_host() {
    let scope = Scope::new("paths").await;
    let folder = tempfile::tempdir().unwrap();
    let mut spec = redis_spec(&scope, "c");
    spec.mounts.push(lifeboat::host::Mount {
        source: folder.path().to_str().unwrap().into(),
        target: "/data/sites".into(),
        ..Default::default()
    });
    scope.docker.create(&spec).await.unwrap();
    let d = &scope.docker;
    let volume = d.volume_path(&scope.name("c-data")).await.unwrap();
    assert_eq!(d.host_path_of(&spec.name, "/data/x/y").await.unwrap(), volume.join("x/y"));
    assert_eq!(d.host_path_of(&spec.name, "/data/sites/a").await.unwrap(), folder.path().join("a"));
    let e = d.host_path_of(&spec.name, "/etc/passwd").await.unwrap_err();
    assert!(e.what().contains("lies in no mount"));
    assert_eq!(d.host_path_of(&spec.name, "/data/../etc").await.unwrap_err().kind(), Kind::Usage);
}

#[tokio::test]
async fn an_isolated_network_reaches_its_members_and_nothing_of_the_host() {
    let scope = Scope::new("isolated").await;
    let labels = scope.run_labels();
    let net = scope.name("net");
    scope.docker.create_isolated_network(&net, &labels).await.unwrap();
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for name in ["a", "b"] {
        let mut spec = redis_spec(&scope, name);
        spec.network_mode = net.clone();
        spec.networks = vec![lifeboat::host::Endpoint {
            aliases: vec![format!("alias-{name}")],
            network: scope.docker.try_inspect_network(&net).await.unwrap().unwrap(),
            ..Default::default()
        }];
        scope.docker.create(&spec).await.unwrap();
        scope.docker.start(&spec.name).await.unwrap();
    }
    let script = "n=0; until redis-cli -h alias-b ping; do n=$((n+1)); [ $n -lt 50 ] || exit 9; sleep 0.1; done
        net=$(hostname -i | sed 's/[0-9]*$/1/')
        for host in $net 172.17.0.1 1.1.1.1; do
          if timeout 3 bash -c \": </dev/tcp/$host/$1\" 2>/dev/null; then echo \"reached $host\" >&2; exit 5; fi
        done; echo isolated";
    let spec = ExecSpec::script(script, [port.to_string()]);
    let ran = scope.docker.run(&scope.name("a"), spec, b"", 4096, LIMIT).await.unwrap();
    assert!(ran.text("probe").unwrap().ends_with("isolated\n"), "{ran:?}");
    assert!(listener.set_nonblocking(true).is_ok() && listener.accept().is_err(), "somebody came through");
}

#[tokio::test]
async fn a_sweep_removes_all_of_a_run_and_nothing_else() {
    let scope = Scope::new("sweep").await;
    let at = |s: &str| s.parse::<jiff::Timestamp>().unwrap();
    let labels = |run: &str, owner: &str, expires: &str| RunLabels {
        run: scope.name(run),
        kind: "drill".into(),
        owner: Some(scope.name(owner)),
        expires: at(expires),
    };
    let dead = labels("dead", "mine", "2001-01-01T00:00:00Z");
    let alive = labels("alive", "mine", "2999-01-01T00:00:00Z");
    let foreign = labels("foreign", "other", "2001-01-01T00:00:00Z");
    for run in [&dead, &alive, &foreign] {
        let mut spec = redis_spec(&scope, &run.run);
        spec.labels.extend(run.labels());
        for mount in &mut spec.mounts {
            mount.volume.as_mut().unwrap().labels.extend(run.labels());
        }
        scope.docker.create_isolated_network(&scope.name(&format!("net-{}", run.run)), run).await.unwrap();
        scope.docker.create(&spec).await.unwrap();
        scope.docker.start(&spec.name).await.unwrap();
    }
    let docker: &Docker = &scope.docker;
    let removed = docker.sweep_expired(&scope.name("mine"), at("2001-01-02T00:00:00Z")).await.unwrap();
    let kinds: Vec<LeftoverKind> =
        removed.iter().filter(|l| l.name.contains("dead")).map(|l| l.kind).collect();
    assert_eq!(kinds, [LeftoverKind::Container, LeftoverKind::Network, LeftoverKind::Volume]);
    assert!(!removed.iter().any(|l| l.name.contains("alive") || l.name.contains("foreign")));
    assert_eq!(docker.sweep(&foreign.filter()).await.unwrap().len(), 3);
    assert_eq!(docker.leftovers(&alive.filter()).await.unwrap().len(), 3);
    assert_eq!(docker.sweep(&alive.filter()).await.unwrap().len(), 3);
    assert!(docker.leftovers(&alive.filter()).await.unwrap().is_empty());
}

#[tokio::test]
async fn removing_a_container_leaves_the_volume_that_has_no_name() {
    let scope = Scope::new("anonymous").await;
    let mut spec = redis_spec(&scope, "c");
    // The image declares /data: without a mount there it gets a volume of its own.
    spec.mounts.clear();
    scope.docker.create(&spec).await.unwrap();
    let made = scope.docker.inspect(&spec.name).await.unwrap();
    let volume = made.mounts[0].source.clone();
    scope.docker.remove(&spec.name).await.unwrap();
    assert!(scope.docker.try_inspect_volume(&volume).await.unwrap().is_some());
    scope.docker.create(&made).await.unwrap();
    assert_eq!(scope.docker.inspect(&spec.name).await.unwrap().mounts[0].source, volume);
    scope.docker.remove(&spec.name).await.unwrap();
    scope.docker.remove_volume(&volume).await.unwrap();
    scope.docker.create(&redis_without_mounts(&scope)).await.unwrap();
    let other = scope.docker.inspect(&spec.name).await.unwrap().mounts[0].source.clone();
    scope.docker.remove_with_volumes(&spec.name).await.unwrap();
    assert!(scope.docker.try_inspect_volume(&other).await.unwrap().is_none());
}

fn redis_without_mounts(scope: &Scope) -> ContainerSpec {
    ContainerSpec { mounts: Vec::new(), ..redis_spec(scope, "c") }
}

#[tokio::test]
async fn compose_projects_are_discovered() {
    let scope = Scope::new("discover").await;
    let mut spec = redis_spec(&scope, "c");
    spec.labels.insert("com.docker.compose.project".into(), scope.name("project"));
    spec.labels.insert("com.docker.compose.service".into(), "redis-queue".into());
    scope.docker.create(&spec).await.unwrap();
    let projects = scope.docker.discover().await.unwrap();
    let project = projects.iter().find(|p| p.name == scope.name("project")).unwrap();
    assert_eq!(project.containers[0].service, "redis-queue");
    assert_eq!(project.containers[0].state, State::Created);
}
