//! A MariaDB of one test, and what dumps give.

use std::time::Duration;

use lifeboat::component::mariadb::{
    Credentials, DatabaseRecord, DatabaseSource, Server, Timeouts, wait_ready,
};
use lifeboat::component::{Completion, Dump, Piece, Source};
use lifeboat::error::Result;
use lifeboat::host::EnvVar;

use super::docker::{MARIADB_IMAGE, Scope, spec};

pub const ROOT_PASSWORD: &str = "r00t 'pass\\word\"";

/// Starts a MariaDB that answers, with more options of the server.
pub async fn started(scope: &Scope, name: &str, options: &[&str]) -> Server {
    let mut spec = spec(scope, name, MARIADB_IMAGE, "/var/lib/mysql");
    spec.environment = vec![EnvVar { name: "MARIADB_ROOT_PASSWORD".into(), value: ROOT_PASSWORD.into() }];
    let head = ["mariadbd", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=128M"];
    spec.command = head.iter().chain(options).map(|o| (*o).to_owned()).collect();
    scope.docker.create(&spec).await.unwrap();
    scope.docker.start(&spec.name).await.unwrap();
    let server =
        Server { docker: scope.docker.clone(), container: spec.name, credentials: Credentials::Container };
    wait_ready(&server, Duration::from_secs(120)).await.unwrap();
    server
}

/// Runs SQL as root, through the client of the container, and returns what it says.
pub fn sql(server: &Server, database: &str, statements: &str) -> String {
    use std::io::Write;
    let mut child = std::process::Command::new("docker")
        .args(["exec", "-i", "-e", &format!("MYSQL_PWD={ROOT_PASSWORD}"), "-e", "HOME=/", &server.container])
        .args(["mariadb", "-uroot", "-N", "--comments", "--binary-mode", "--max-allowed-packet=1G", database])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "sql failed");
    String::from_utf8(out.stdout).unwrap()
}

/// Makes a database and fills it.
pub fn fill(server: &Server, database: &str, statements: &str) {
    sql(
        server,
        "",
        &format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"),
    );
    sql(server, database, statements);
}

/// Runs a script in the container as root.
pub fn shell(server: &Server, script: &str) -> String {
    let out = std::process::Command::new("docker")
        .args(["exec", &server.container, "sh", "-c", script])
        .output()
        .unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub fn source(server: &Server, database: &str) -> DatabaseSource {
    DatabaseSource {
        server: server.clone(),
        database: database.to_owned(),
        encryption_key: None,
        leave_out: Vec::new(),
        last_try: false,
        timeouts: Timeouts { stage: Duration::from_secs(600), idle: Duration::from_secs(120) },
    }
}

/// Reads a dump to its end; `ended` tells whether its stream did.
pub async fn take(mut dump: Dump) -> (Vec<u8>, bool, Result<Completion>) {
    let (mut bytes, mut ended) = (Vec::new(), false);
    while let Some(piece) = dump.pieces.recv().await {
        match piece {
            Piece::Bytes(b) => bytes.extend_from_slice(&b),
            Piece::End => ended = true,
            Piece::Begin { .. } | Piece::Cut | Piece::Open { .. } | Piece::Close { .. } | Piece::Known(_) => {
            }
        }
    }
    (bytes, ended, dump.completion.await)
}

/// Reads a dump that must succeed.
pub async fn whole(dump: Dump) -> (Vec<u8>, Completion, DatabaseRecord) {
    let (bytes, ended, completion) = take(dump).await;
    let completion = completion.unwrap();
    assert!(ended);
    let record = serde_json::from_value(completion.record.clone()).unwrap();
    (bytes, completion, record)
}

pub fn stream(bytes: Vec<u8>) -> Source {
    Box::pin(std::io::Cursor::new(bytes))
}
