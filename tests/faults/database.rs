//! The database and its dump: refused, killed, failing half-way, crashed, or left alone by a killed Lifeboat.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;

use crate::scene::{GROWN_ROWS, Held, SOME_ROWS, Scene, start_again, waiting_dump};
use crate::support::cli::{docker, shell, try_docker, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// What a pack holds at least when it is full, in bytes.
const PACK_BYTES: u64 = 16 << 20;

#[test]
fn a_wrong_database_password_is_said_with_the_key_to_correct_and_shown_nowhere() {
    let scene = Scene::start("password");
    let wrong = "wr0ng-pass/word";
    let file = scene.host.path("db.password");
    fs::write(&file, format!("{wrong}\n")).unwrap();
    let right = fs::read_to_string(scene.host.path("etc/tenants/t.toml")).unwrap();
    let login = format!("[database]\nuser = \"root\"\npassword_file = \"{}\"\n", file.display());
    scene.host.write_tenant_file("t", &right.replace("[database]\n", &login));

    let said = scene.backup(3);
    assert!(!format!("{}{}", said.out, said.err).contains(wrong), "the password is shown");
    said.says(&["t: snapshot", "PARTIAL", "database", &scene.db(), "Access denied", "password_file"]);
    scene.only_the_database_lacks();
    let status = scene.host.run(&["status"]).clean(&scene.tenant);
    status.says(&["t: the last backup", "partial", "Access denied"]);

    fs::write(&file, scene.tenant.get("db_root_password")).unwrap();
    scene.backup(0);
    assert_eq!(states(&scene), [true, false, true]);
}

#[test]
fn a_server_that_is_killed_under_its_dump_is_named_and_leaves_no_half_database() {
    let scene = Scene::start("killed");
    scene.grow(SOME_ROWS);
    let held = Held::table(&scene.tenant);
    let run = scene.host.start(&["backup", "t"]);
    wait_until("the dump stands before its end", LIMIT, || waiting_dump(&scene.tenant).is_some());
    docker(&["kill", &scene.db()]);
    drop(held);
    let said = run.wait().expect(3).clean(&scene.tenant);
    said.says(&["t: snapshot", "PARTIAL", "database", &scene.db(), "is not running", "docker start"]);
    scene.only_the_database_lacks();

    start_again(&scene.tenant);
    scene.backup(0);
    assert_eq!(states(&scene), [true, false, true]);
    scene.verified();
}

#[test]
fn a_dump_that_fails_after_10_mb_leaves_no_half_database() {
    let scene = Scene::start("halfdump");
    scene.grow(SOME_ROWS);
    // Found before the real one.
    let program = "/usr/local/sbin/mariadb-dump";
    let script = "#!/bin/sh\\n[ \"$1\" != --version ] || exec /usr/bin/mariadb-dump --version\\n\
                  /usr/bin/mariadb-dump \"$@\" | head -c 10000000\\n\
                  echo \"mariadb-dump: Got errno 5 on write\" >&2\\nexit 3\\n";
    shell(&scene.db(), &format!("printf '{script}' > {program} && chmod +x {program}"));
    scene.backup(3).says(&[
        "t: snapshot",
        "PARTIAL",
        "database",
        &scene.db(),
        "exit code 3",
        "by hand in the container",
    ]);
    scene.only_the_database_lacks();
    shell(&scene.db(), &format!("rm {program}"));

    // The server ends the dump's connection, at each try, when all but the last table is through.
    let held = Held::table(&scene.tenant);
    let mut run = scene.host.start(&["backup", "t"]);
    wait_until("the backup gives the database up", LIMIT, || {
        if let Some(thread) = waiting_dump(&scene.tenant) {
            let auth = format!("MYSQL_PWD={}", scene.tenant.get("db_root_password"));
            let kill = format!("KILL {thread}");
            // It may be gone by now.
            try_docker(&["exec", "-e", &auth, &scene.db(), "mariadb", "-uroot", "-e", &kill]).ok();
        }
        run.has_ended()
    });
    drop(held);
    run.wait().expect(3).clean(&scene.tenant).says(&[
        "t: snapshot",
        "PARTIAL",
        &scene.db(),
        "`zz`",
        "(2013)",
    ]);
    scene.only_the_database_lacks();

    scene.backup(0);
    assert_eq!(states(&scene), [true, false, false, true]);
    scene.verified();
}

#[test]
fn a_crashed_table_is_named_with_what_to_do_and_the_rest_of_the_database_is_kept() {
    let scene = Scene::start("crashed");
    let tables = ["__global_search", "tabError Log"];
    let folder = format!("/var/lib/mysql/{}", scene.tenant.db_name());
    scene.tenant.sql("FLUSH TABLES");
    shell(&scene.db(), &format!("cp -a {folder} /tmp/whole"));
    // One whose data is cut, one whose index is overwritten.
    shell(
        &scene.db(),
        &format!(
            "cd {folder} && truncate -s 100 __global_search.MYD &&
             dd if=/dev/zero of='tabError@0020Log.MYI' bs=1 count=64 conv=notrunc 2>/dev/null"
        ),
    );
    scene.tenant.sql("FLUSH TABLES");
    let said = scene.backup(3);
    said.says(&["t: snapshot", "PARTIAL", "LACKS", "REPAIR TABLE", tables[0], tables[1]]);
    let newest = scene.newest();
    assert_eq!((newest[0].1.as_str(), newest[0].2), ("lacking", 1), "the other tables are there");
    let status = scene.host.run(&["status"]).clean(&scene.tenant);
    status.says(&["t: the last backup", "partial", tables[0]]);

    shell(&scene.db(), &format!("cp -a /tmp/whole/*.MY? {folder}/"));
    scene.tenant.sql("FLUSH TABLES; REPAIR TABLE __global_search, `tabError Log`");
    scene.backup(0);
    assert_eq!(states(&scene), [true, false, true]);
}

#[test]
fn after_a_kill_the_dump_ends_by_itself_and_the_next_backup_reuses_what_was_stored() {
    let scene = Scene::start("sigkill");
    scene.grow(GROWN_ROWS);
    let stored = || scene.host.bytes_below("store/tenants/t/packs");
    let before = stored();
    let held = Held::table(&scene.tenant);
    let mut run = scene.host.start(&["backup", "t"]);
    wait_until("the dump stands before its end and a pack is stored", LIMIT, || {
        waiting_dump(&scene.tenant).is_some() && stored() > before + PACK_BYTES
    });
    assert_eq!(scene.dumps(), 1);
    run.signal(Signal::KILL);
    assert_eq!(run.wait().code, 137);
    // While the server still makes it wait.
    scene.dumps_end();
    drop(held);

    let left = stored() - before;
    let said = scene.host.run(&["backup", "t", "--json"]).expect(0).clean(&scene.tenant).json();
    let added = said[0]["added_bytes"].as_u64().unwrap();
    assert!(added < PACK_BYTES, "{added} bytes were added, though {left} were there");
    assert_eq!(states(&scene), [true, true]);
    scene.empty("state/tenants/t/spool");
    scene.empty("store/~tmp");
    scene.verified();
}

fn states(scene: &Scene) -> Vec<bool> {
    scene.snapshots().into_iter().map(|(_, whole)| whole).collect()
}
