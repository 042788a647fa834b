//! The component `database` on real MariaDB servers: whole dumps come back equal, others are never green.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use lifeboat::component::fernet::FernetProof;
use lifeboat::component::mariadb::{
    self, Credentials, LoadOptions, NewUser, Retry, Server, Timeouts, dump, dump_body_digest, load, retry_of,
};
use lifeboat::error::Kind;
use secrecy::SecretString;
use support::docker::Scope;
use support::mariadb::{ROOT_PASSWORD, fill, shell, source, sql, started, stream, take, whole};
use support::shared;

const ODD: &str = include_str!("mariadb/odd.sql");

fn options() -> LoadOptions {
    let timeouts = Timeouts { stage: Duration::from_secs(600), idle: Duration::from_secs(120) };
    let (charset, collation) = ("utf8mb4".into(), "utf8mb4_unicode_ci".into());
    LoadOptions { dumped_as: "as it was".into(), charset, collation, timeouts }
}

fn user(server: &Server, name: &str, password: &str) -> Server {
    let credentials = Credentials::User { user: name.into(), password: SecretString::from(password) };
    Server { credentials, ..server.clone() }
}

#[tokio::test]
async fn every_kind_of_object_comes_back_equal_in_a_fresh_server() {
    let scope = Scope::new("odd").await;
    let (from, to) =
        (started(&scope, "from", &["--max-allowed-packet=64M"]).await, started(&scope, "to", &[]).await);
    fill(&from, "odd db", ODD);
    sql(&from, "odd db", "INSERT INTO bin VALUES (2, REPEAT(UNHEX('00FF0A275C'), 4*1024*1024))");
    let (bytes, completion, record) = whole(dump(source(&from, "odd db")).await.unwrap()).await;
    assert_eq!(completion.lacks, [] as [String; 0]);
    assert!(completion.warnings.iter().any(|w| w.contains("not InnoDB") && w.contains("mi")));
    assert_eq!(record.tables["tab Space Name"].rows, Some(3));
    assert_eq!(record.tables["mi"].engine, "MyISAM");
    assert_eq!((record.sequences.len(), record.views.len(), record.events.len()), (2, 1, 1));
    assert_eq!((record.triggers.len(), record.routines.len()), (1, 2));
    assert_eq!(record.binlog, None);
    assert!(bytes.len() > 40 << 20);

    let loaded = load(&to, "another name", stream(bytes), &options()).await.unwrap();
    assert_eq!(loaded.scanned.body_sha256, Some(record.body_sha256));
    let again = dump_body_digest(&to, "another name", &record, options().timeouts).await.unwrap();
    assert_eq!(again.body_sha256, Some(record.body_sha256));
    assert_eq!(sql(&to, "another name", "SELECT nextval(s1) >= 15").trim(), "1");
    assert!(sql(&to, "another name", "SHOW CREATE PROCEDURE p1").contains("a comment stays"));
}

#[tokio::test]
async fn a_real_site_comes_back_equal_and_its_key_is_proven() {
    let name = "a_real_site_comes_back_equal_and_its_key_is_proven";
    let (Some(mut sql), Some(files)) =
        (shared::unpacked("day1.sql.zst"), shared::unpacked("day1.files.tar.zst"))
    else {
        skip!(name, "no ../shared/data");
    };
    let scope = Scope::new("day1").await;
    let server = started(&scope, "db", &[]).await;
    let mut day1 = Vec::new();
    sql.read_to_end(&mut day1).unwrap();
    load(&server, "_16c8d89b1150a4c8", stream(day1), &options()).await.unwrap();

    let mut source = source(&server, "_16c8d89b1150a4c8");
    source.encryption_key = Some(SecretString::from(encryption_key(files)));
    let (bytes, completion, record) = whole(dump(source.clone()).await.unwrap()).await;
    assert_eq!(completion.lacks, [] as [String; 0]);
    assert_eq!(record.fernet, FernetProof::Proven { rows: 4 });
    assert_eq!((record.tables.len(), record.sequences.len()), (699, 5));
    assert_eq!(record.tables["tabSales Invoice"].rows, Some(505));

    source.encryption_key = Some(SecretString::from("A".repeat(43) + "="));
    let (second, completion, other) = whole(dump(source).await.unwrap()).await;
    assert!(second == bytes, "two dumps of unchanged data differ");
    assert_eq!(other.fernet, FernetProof::Mismatch { failed: 4, rows: 4 });
    assert!(completion.warnings.iter().any(|w| w.contains("does not open 4 of its 4")));

    let absent = mariadb::swap(&server, "_16c8d89b1150a4c8", "staged", "aside").await.unwrap_err();
    assert_eq!(absent.kind(), Kind::NotFound);
    load(&server, "staged", stream(bytes), &options()).await.unwrap();
    let moved = mariadb::swap(&server, "_16c8d89b1150a4c8", "staged", "aside").await.unwrap();
    assert_eq!((moved.moved_aside, moved.moved_in), (704, 704));
    for database in ["_16c8d89b1150a4c8", "aside"] {
        let digest = dump_body_digest(&server, database, &record, options().timeouts).await.unwrap();
        assert_eq!(digest.body_sha256, Some(record.body_sha256), "{database}");
    }
    assert!(!mariadb::database_exists(&server, "staged").await.unwrap());
}

fn encryption_key(files: impl Read) -> String {
    let mut archive = tar::Archive::new(files);
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        if entry.path().unwrap().ends_with("site_config.json") {
            let config: serde_json::Value = serde_json::from_reader(entry).unwrap();
            return config["encryption_key"].as_str().unwrap().to_owned();
        }
    }
    panic!("no site_config.json");
}

#[tokio::test]
async fn a_database_with_views_or_triggers_is_not_moved() {
    let scope = Scope::new("fixed").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "live", ODD);
    fill(&server, "staged", "CREATE TABLE t (a INT)");
    let e = mariadb::swap(&server, "live", "staged", "aside").await.unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
    assert!(!mariadb::database_exists(&server, "aside").await.unwrap());
    assert_eq!(sql(&server, "live", "SELECT COUNT(*) FROM `tab Space Name`").trim(), "3");
}

#[tokio::test]
async fn the_binlog_position_is_recorded_and_changes_no_digest() {
    let scope = Scope::new("binlog").await;
    let server = started(&scope, "db", &["--log-bin=bin", "--server-id=7"]).await;
    fill(&server, "a", "CREATE TABLE t (a INT); INSERT INTO t VALUES (1)");
    let (bytes, _, record) = whole(dump(source(&server, "a")).await.unwrap()).await;
    let position = record.binlog.clone().unwrap();
    assert!(position.file.starts_with("bin.") && position.gtid.is_some());
    sql(&server, "", "CREATE DATABASE unrelated");
    let (_, _, later) = whole(dump(source(&server, "a")).await.unwrap()).await;
    assert_ne!(later.binlog, record.binlog);
    assert_eq!(later.body_sha256, record.body_sha256);
    load(&server, "b", stream(bytes), &options()).await.unwrap();
    let again = dump_body_digest(&server, "b", &record, options().timeouts).await.unwrap();
    assert_eq!(again.body_sha256, Some(record.body_sha256));
}

#[tokio::test]
async fn crashed_tables_and_dead_views_are_left_out_and_named() {
    let scope = Scope::new("crashed").await;
    let server = started(&scope, "db", &[]).await;
    fill(
        &server,
        "c",
        "CREATE TABLE `tab Ok` (a INT PRIMARY KEY); INSERT INTO `tab Ok` SELECT seq FROM seq_1_to_2000;
         CREATE TABLE `tab Log` (a INT PRIMARY KEY, t VARCHAR(200)) ENGINE=MyISAM;
         INSERT INTO `tab Log` SELECT seq, REPEAT('x', 100) FROM seq_1_to_5000;
         CREATE TABLE header ENGINE=MyISAM AS SELECT * FROM `tab Log`;
         CREATE TABLE aria ENGINE=Aria AS SELECT * FROM `tab Log`;
         CREATE TABLE sound ENGINE=MyISAM AS SELECT * FROM `tab Log`;
         CREATE TABLE gone (a INT); CREATE VIEW dead AS SELECT a FROM gone; DROP TABLE gone; FLUSH TABLES",
    );
    shell(
        &server,
        "cd /var/lib/mysql/c && truncate -s 1000 'tab@0020Log.MYD' && truncate -s 100 header.MYI && truncate -s 9000 aria.MAD",
    );
    let (bytes, completion, record) = whole(dump(source(&server, "c")).await.unwrap()).await;
    let lacking: BTreeSet<&str> = completion.lacks.iter().map(|l| l.split(':').next().unwrap()).collect();
    assert_eq!(lacking, BTreeSet::from(["table aria", "table header", "table tab Log", "view dead"]));
    assert_eq!(record.tables["tab Ok"].rows, Some(2000));
    assert_eq!(record.tables["sound"].rows, Some(5000));
    let loaded = load(&server, "c2", stream(bytes), &options()).await.unwrap();
    assert_eq!(loaded.scanned.tables.len(), 2);
}

#[tokio::test]
async fn routines_that_the_user_may_not_read_are_named() {
    let scope = Scope::new("routines").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "odd", ODD);
    let new = NewUser {
        user: "site".into(),
        password: SecretString::from("s'p\\w"),
        databases: vec!["odd".into()],
    };
    mariadb::create_user(&server, &new).await.unwrap();
    let site = user(&server, "site", "s'p\\w");
    let (_, completion, record) = whole(dump(source(&site, "odd")).await.unwrap()).await;
    let lacks = completion.lacks.join("\n");
    assert!(lacks.contains("procedure p1") && lacks.contains("function f1"), "{lacks}");
    assert_eq!((record.routines.len(), record.triggers.len(), record.events.len()), (0, 1, 1));

    sql(&server, "", "CREATE USER poor IDENTIFIED BY 'x'; GRANT SELECT ON odd.* TO poor");
    let poor = user(&server, "poor", "x");
    let (_, completion, _) = whole(dump(source(&poor, "odd")).await.unwrap()).await;
    assert!(completion.warnings.iter().any(|w| w.contains("poor lacks SHOW VIEW, TRIGGER, EVENT")));
    assert!(completion.lacks.contains(&"events: the user may not see them".to_owned()));
    assert!(completion.lacks.contains(&"view v1: the user may not see its definition".to_owned()));
}

#[tokio::test]
async fn accounts_come_back_with_their_passwords_for_every_address() {
    let scope = Scope::new("accounts").await;
    let (from, to) = (started(&scope, "from", &[]).await, started(&scope, "to", &[]).await);
    fill(&from, "_1a", "CREATE TABLE t (a INT)");
    sql(
        &from,
        "",
        "CREATE USER '_1a'@'172.18.0.5' IDENTIFIED BY 'pw1'; GRANT ALL ON `_1a`.* TO '_1a'@'172.18.0.5'",
    );
    let (bytes, _, record) = whole(dump(source(&from, "_1a")).await.unwrap()).await;
    assert_eq!(record.users.len(), 1);
    assert!(!format!("{record:?}").contains("PASSWORD"));
    load(&to, "_1b", stream(bytes), &options()).await.unwrap();
    mariadb::recreate_users(&to, &record.users, "_1a", &["_1b"]).await.unwrap();
    let back = user(&to, "_1a", "pw1");
    let (_, completion, _) = whole(dump(source(&back, "_1b")).await.unwrap()).await;
    assert_eq!(completion.lacks, [] as [String; 0]);
}

#[tokio::test]
async fn a_wrong_password_a_missing_database_and_a_missing_container_are_told_apart() {
    let scope = Scope::new("access").await;
    let server = started(&scope, "db", &[]).await;
    let e = dump(source(&user(&server, "root", "wr0ng-s3cret"), "x")).await.err().unwrap();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(!e.to_string().contains("wr0ng") && e.to_string().contains("Access denied"), "{e}");
    let e = dump(source(&server, "absent")).await.err().unwrap();
    assert!(e.to_string().contains("no database `absent`"), "{e}");
    fill(&server, "empty", "SELECT 1");
    let e = dump(source(&server, "empty")).await.err().unwrap();
    assert!(e.to_string().contains("no tables"), "{e}");
    let gone = Server { container: "host-no-such-container".into(), ..server.clone() };
    assert_eq!(dump(source(&gone, "x")).await.err().unwrap().kind(), Kind::Host);
    shell(&server, "printf '[client]\\npassword=wrong\\n' > /root/.my.cnf");
    sql(
        &server,
        "",
        "ALTER USER root@localhost IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('changed')",
    );
    // The container's own password is stale now; root still comes by the socket.
    let e = dump(source(&server, "empty")).await.err().unwrap();
    assert!(e.to_string().contains("no tables"), "{e}");
}

/// Puts a script before the real dump program; `$real` runs that one.
fn replace_dump(server: &Server, body: &str) {
    let script = format!(
        "#!/bin/sh\nreal=/usr/bin/mariadb-dump\n[ \"$1\" != --version ] || exec $real --version\n{body}\n"
    );
    let quoted = script.replace('\'', "'\\''");
    let to = "/usr/local/sbin/mariadb-dump";
    shell(server, &format!("printf '%s' '{quoted}' > {to} && chmod +x {to}"));
}

const LARGE: &str = "CREATE TABLE large (a INT PRIMARY KEY, t VARCHAR(1000));
    INSERT INTO large SELECT seq, REPEAT(CHAR(97 + seq % 26), 1000) FROM seq_1_to_60000;
    CREATE TABLE zlast (a INT); INSERT INTO zlast VALUES (1)";

#[tokio::test]
async fn a_dump_program_that_fails_lies_or_hangs_is_never_whole() {
    let scope = Scope::new("liar").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    let cases = [
        ("$real \"$@\" | head -c 10000000; exit 3", "exit code 3"),
        ("$real \"$@\" | head -c 10000000", "ends without its trailer"),
        ("exit 0", "does not begin as a dump"),
        ("$real --ignore-table=l.zlast \"$@\"", "lacks zlast"),
        ("$real --where='a < 10' \"$@\"", "holds 10 rows"),
        ("$real \"$@\" | head -c 10000000; kill -9 $$", "was killed"),
    ];
    for (body, expected) in cases {
        replace_dump(&server, body);
        let (_, _, completion) = take(dump(source(&server, "l")).await.unwrap()).await;
        let e = completion.err().unwrap();
        assert!(e.to_string().contains(expected), "{body}: {e}");
        assert_eq!(e.kind(), Kind::Source, "{body}");
    }
    replace_dump(&server, "$real \"$@\" | head -c 10000000; sleep 300");
    let mut hanging = source(&server, "l");
    hanging.timeouts.idle = Duration::from_secs(2);
    let (_, ended, completion) = take(dump(hanging).await.unwrap()).await;
    assert!(!ended);
    assert_eq!(completion.err().unwrap().kind(), Kind::Timeout);
}

#[tokio::test]
async fn a_container_that_dies_under_the_dump_fails_it() {
    let scope = Scope::new("dies").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    let mut dump = dump(source(&server, "l")).await.unwrap();
    dump.pieces.recv().await.unwrap();
    dump.pieces.recv().await.unwrap();
    scope.cli(&["kill", &server.container]);
    let (_, ended, completion) = take(dump).await;
    assert!(!ended && completion.is_err());
}

#[tokio::test]
async fn a_table_that_is_rebuilt_under_the_dump_asks_for_another_try() {
    let scope = Scope::new("rebuilt").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    // Backpressure holds the dump at the large table.
    let mut held = dump(source(&server, "l")).await.unwrap();
    held.pieces.recv().await.unwrap();
    held.pieces.recv().await.unwrap();
    sql(&server, "l", "TRUNCATE zlast");
    let (_, _, completion) = take(held).await;
    let e = completion.err().unwrap();
    assert_eq!(retry_of(&e), Some(&Retry::Again), "{e}");
    whole(dump(source(&server, "l")).await.unwrap()).await;
}

#[tokio::test]
async fn a_dump_that_stops_in_the_middle_is_not_loaded_silently() {
    let scope = Scope::new("cut").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    let (bytes, _, _) = whole(dump(source(&server, "l")).await.unwrap()).await;
    let text = String::from_utf8(bytes.clone()).unwrap();
    let boundary = text[..text.len() / 2].rfind(";\n").unwrap() + 2;
    let e = load(&server, "l1", stream(bytes[..boundary].to_vec()), &options()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Damaged);
    let broken = text.replacen("(2,'", "(1,'secret-of-a-client", 1);
    let e = load(&server, "l2", stream(broken.into_bytes()), &options()).await.unwrap_err();
    assert!(e.to_string().contains("error 1062 at line") && !e.to_string().contains("secret"), "{e}");
    assert!(!sql(&server, "l2", "SHOW TABLES").contains("zlast"), "went on after the first error");
    let e = load(&server, "l", stream(bytes), &options()).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Conflict);
}

fn dumps_running(server: &Server) -> usize {
    let script = "cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^mariadb-dump$' || :";
    shell(server, script).trim().parse().unwrap()
}

async fn ends_within_a_minute(server: &Server) {
    for _ in 0..600 {
        if dumps_running(server) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("mariadb-dump still runs in the container");
}

#[tokio::test]
async fn dropping_a_dump_ends_it_in_the_container() {
    let scope = Scope::new("drop").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    let mut dump = dump(source(&server, "l")).await.unwrap();
    dump.pieces.recv().await.unwrap();
    dump.pieces.recv().await.unwrap();
    assert!(dumps_running(&server) > 0);
    drop(dump);
    ends_within_a_minute(&server).await;
}

const HOLD: &str = "LIFEBOAT_TEST_HOLD";

/// Does nothing by itself: the next test runs it in a process of its own, and kills that.
#[tokio::test]
async fn holder_of_a_dump() {
    let Ok(container) = std::env::var(HOLD) else { return };
    let docker = lifeboat::host::Docker::connect().await.unwrap();
    let server = Server { docker, container, credentials: Credentials::Container };
    let _dump = dump(source(&server, "l")).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn killing_the_process_that_reads_a_dump_ends_it_in_the_container() {
    let scope = Scope::new("sigkill").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder_of_a_dump"])
        .env(HOLD, &server.container)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if dumps_running(&server) > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(dumps_running(&server) > 0);
    holder.kill().unwrap();
    holder.wait().unwrap();
    ends_within_a_minute(&server).await;
}

#[tokio::test]
async fn no_secret_is_shown_by_the_process_list() {
    let scope = Scope::new("argv").await;
    let server = started(&scope, "db", &[]).await;
    fill(&server, "l", LARGE);
    sql(&server, "", "CREATE USER site IDENTIFIED BY 'hush-hush'; GRANT ALL ON *.* TO site");
    let mut dump = dump(source(&user(&server, "site", "hush-hush"), "l")).await.unwrap();
    dump.pieces.recv().await.unwrap();
    let lines = shell(&server, "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'");
    assert!(lines.contains("--single-transaction"));
    assert!(!lines.contains("hush-hush") && !lines.contains(ROOT_PASSWORD));
}
