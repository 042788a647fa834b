//! Faults of servers, containers, disks, clocks and backups.

use std::time::Duration;

use jiff::SignedDuration;
use lifeboat::ops::health::{Area, State};

use crate::named;
use crate::scene::{Scene, is_content};
use crate::support::cli::{Container, docker, shell, try_docker, unique, wait_until};

const MB: u64 = 1_000_000;

/// Injects one after the other.
pub async fn all(scene: &Scene) {
    database_stopped(scene).await;
    wrong_password(scene).await;
    crashed_table(scene).await;
    redis_full(scene).await;
    queue_that_evicts(scene).await;
    aof_broken(scene).await;
    disk_nearly_full(scene).await;
    container_restarting(scene).await;
    clock_skewed(scene).await;
    store_down(scene).await;
    backup_late(scene).await;
    drill_failed(scene).await;
    lock_running_out(scene).await;
    key_missing(scene).await;
}

async fn database_stopped(scene: &Scene) {
    let db = scene.tenant.container("db");
    docker(&["stop", &db]);
    let report = scene.look().await;
    let said = scene.host.run(&["health"]).expect(4);
    docker(&["start", &db]);
    assert!(
        said.out.contains("byrne is NOT WELL: container") && said.out.contains("`docker logs` of it"),
        "{}",
        said.out
    );
    scene.tenant.wait_for_database();
    is_content(&db);
    for (area, check) in [(Area::Containers, "state"), (Area::Database, "reachable")] {
        named(area, check, State::Failed, &[&db, "is stopped"]).in_report("database stopped", &report);
    }
}

async fn wrong_password(scene: &Scene) {
    let (db, password) = (scene.tenant.db_name(), scene.tenant.get("db_password"));
    scene.tenant.sql(&format!("ALTER USER '{db}'@'%' IDENTIFIED BY 'another'"));
    let report = scene.look().await;
    scene.tenant.sql(&format!("ALTER USER '{db}'@'%' IDENTIFIED BY '{password}'"));
    named(Area::Database, "login", State::Failed, &[db, "cannot log in"])
        .in_report("wrong password", &report);

    // Lifeboat's own, as the tenant's file names it.
    let file = scene.host.path("password");
    std::fs::write(&file, "another").unwrap();
    let database = format!("container = \"{}\"", scene.tenant.container("db"));
    let was = scene.rewrite(&database, &format!("{database}\nuser = \"root\"\npassword_file = {file:?}"));
    let report = scene.look().await;
    scene.write(&was);
    named(Area::Database, "reachable", State::Failed, &["Access denied"])
        .in_report("wrong own password", &report);
}

async fn crashed_table(scene: &Scene) {
    let (t, db) = (&scene.tenant, scene.tenant.db_name());
    t.sql("CREATE TABLE `tabWrecked` (a INT PRIMARY KEY, b VARCHAR(100)) ENGINE=MyISAM");
    let rows: Vec<String> =
        (0..2000).map(|n| format!("({n}, 'row {n} of a table that will be cut')")).collect();
    t.sql(&format!("INSERT INTO `tabWrecked` VALUES {}; FLUSH TABLES `tabWrecked`", rows.join(",")));
    shell(&t.container("db"), &format!("truncate -s 5000 /var/lib/mysql/{db}/tabWrecked.MYD"));
    let report = scene.look().await;
    t.sql("DROP TABLE `tabWrecked`");
    named(Area::Database, "tables", State::Failed, &["tabWrecked", "is damaged"])
        .in_report("crashed table", &report);
}

async fn redis_full(scene: &Scene) {
    let queue = |command: &[&str]| scene.tenant.redis("redis-queue", command);
    let used = queue(&["INFO", "memory"]);
    let used = used.lines().find_map(|l| l.trim().strip_prefix("used_memory:")).unwrap().to_owned();
    queue(&["CONFIG", "SET", "maxmemory", &used]);
    let report = scene.look().await;
    queue(&["CONFIG", "SET", "maxmemory", "0"]);
    named(Area::RedisQueue, "memory", State::Failed, &["redis-queue", "refuses writes"])
        .in_report("redis full", &report);
}

async fn queue_that_evicts(scene: &Scene) {
    let queue = |command: &[&str]| scene.tenant.redis("redis-queue", command);
    queue(&["CONFIG", "SET", "maxmemory", "512mb"]);
    queue(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let report = scene.look().await;
    queue(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    queue(&["CONFIG", "SET", "maxmemory", "0"]);
    named(Area::RedisQueue, "policy", State::Failed, &["allkeys-lru", "loses jobs"])
        .in_report("queue evicts", &report);
}

async fn aof_broken(scene: &Scene) {
    let queue = scene.tenant.container("redis-queue");
    let status = || {
        let info = scene.tenant.redis("redis-queue", &["INFO", "persistence"]);
        let of = |name: &str| info.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap().to_owned();
        (of("aof_rewrite_in_progress:"), of("aof_last_bgrewrite_status:"))
    };
    let rewrite = |wanted: &str| {
        scene.tenant.redis("redis-queue", &["BGREWRITEAOF"]);
        wait_until("the rewrite ended", Duration::from_secs(30), || status() == ("0".into(), wanted.into()));
    };
    // Whatever its user, nobody writes into a folder that is a file system without room.
    shell(&queue, "mv /data/appendonlydir /data/aside && touch /data/appendonlydir");
    scene.tenant.try_redis("redis-queue", &["BGREWRITEAOF"]).ok();
    wait_until("the rewrite failed", Duration::from_secs(30), || status().1 == "err");
    let report = scene.look().await;
    shell(&queue, "rm /data/appendonlydir && mv /data/aside /data/appendonlydir");
    rewrite("ok");
    named(Area::RedisQueue, "persistence", State::Failed, &[&queue, "AOF"]).in_report("AOF broken", &report);
}

async fn disk_nearly_full(scene: &Scene) {
    let volume = unique("small");
    docker(&[
        "volume",
        "create",
        "--label",
        crate::support::cli::LABEL,
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "-o",
        "o=size=16m",
        &volume,
    ]);
    let mount = format!("{volume}:/data");
    let full = Container::run(
        "full",
        &[
            "-v",
            &mount,
            "lifeboat-base:bookworm",
            "sh",
            "-c",
            "head -c 15700000 /dev/zero > /data/x; sleep 3600",
        ],
    );
    wait_until("the file is there", Duration::from_secs(30), || {
        try_docker(&["exec", &full.name, "stat", "-c", "%s", "/data/x"])
            .is_ok_and(|n| n.parse::<u64>().unwrap_or(0) > 15 * MB)
    });
    let was = scene.with_container(&full.name);
    let report = scene.look().await;
    scene.write(&was);
    drop(full);
    docker(&["volume", "rm", &volume]);
    named(Area::Containers, "disk", State::Warning, &[&volume, "nearly full"])
        .in_report("disk nearly full", &report);
}

async fn container_restarting(scene: &Scene) {
    let falls = Container::run("falls", &["--restart", "always", "lifeboat-base:bookworm", "false"]);
    wait_until("it fell twice", Duration::from_secs(60), || {
        docker(&["inspect", "-f", "{{.RestartCount}}", &falls.name]).parse::<u64>().unwrap() >= 2
    });
    let was = scene.with_container(&falls.name);
    let report = scene.look().await;
    scene.write(&was);
    named(Area::Containers, "restarts", State::Failed, &[&falls.name, "falls over"])
        .in_report("restarting", &report);
}

async fn clock_skewed(scene: &Scene) {
    let report = scene.look_at(SignedDuration::from_mins(10)).await;
    let says = ["mariadb in container", "behind this host's"];
    named(Area::Database, "clock", State::Failed, &says).in_report("clock skewed", &report);
}

async fn store_down(scene: &Scene) {
    let (store, aside) = (scene.host.path("store"), scene.host.path("store-aside"));
    std::fs::rename(&store, &aside).unwrap();
    let report = scene.look().await;
    std::fs::rename(&aside, &store).unwrap();
    let address = store.display().to_string();
    named(Area::Host, "store", State::Failed, &[&address]).in_report("store down", &report);
    let tenant = &report.tenants[0];
    assert!(tenant.checks.iter().any(|c| c.area == Area::Database && c.state == State::Ok), "{tenant:#?}");
}

async fn backup_late(scene: &Scene) {
    let report = scene.look_at(SignedDuration::from_hours(30)).await;
    let says = ["30 h old", "26 h are allowed"];
    named(Area::Backups, "age", State::Failed, &says).in_report("backup late", &report);
}

async fn drill_failed(scene: &Scene) {
    scene.drilled(false).await;
    let report = scene.look().await;
    scene.drilled(true).await;
    let says = ["the last drill", "failed", "dump-equal"];
    named(Area::Backups, "proof", State::Failed, &says).in_report("drill failed", &report);
}

async fn lock_running_out(scene: &Scene) {
    let policies = scene.host.path("etc/policies");
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::write(policies.join("locked.toml"), "[lock]\nmode = \"compliance\"\nhorizon = \"30d\"\n")
        .unwrap();
    let was = scene.rewrite("site = ", "policy = \"locked\"\nsite = ");
    // What the store was found to do is not asked here; a night's book is written as a night writes it.
    let probe = scene.host.path("state/probe.json");
    let found = std::fs::read(&probe).unwrap();
    std::fs::remove_file(&probe).unwrap();
    let book = scene.host.path("state/tenants/byrne/locks.json");
    let until = jiff::Timestamp::now() + SignedDuration::from_hours(3 * 24);
    std::fs::write(&book, format!(r#"{{"tenants/byrne/packs/x":{{"version":"1","until":"{until}"}}}}"#))
        .unwrap();
    let report = scene.look().await;
    std::fs::remove_file(&book).unwrap();
    std::fs::write(&probe, found).unwrap();
    scene.write(&was);
    std::fs::remove_file(policies.join("locked.toml")).unwrap();
    named(Area::Backups, "lock", State::Warning, &["locked for", "more only"])
        .in_report("lock running out", &report);
}

async fn key_missing(scene: &Scene) {
    let was = scene.site_config(|config| drop(config.remove("encryption_key")));
    let report = scene.look().await;
    scene.put_site_config(&was);
    let says = ["encryption_key", "is missing"];
    named(Area::Backups, "encryption-key", State::Failed, &says).in_report("key missing", &report);
}
