//! The components `redis-cache` and `redis-queue` on real servers: what is dumped comes back, whatever goes on meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use lifeboat::component::redis::{
    self, Counts, Credentials, Keys, Persistence, RedisRecord, RedisSource, Timeouts,
};
use lifeboat::component::{Completion, PIECE_BYTES, Piece};
use lifeboat::error::{Kind, Result};
use lifeboat::host::{ContainerSpec, EnvVar, Exec, ExecSpec};
use secrecy::SecretString;
use support::docker::{Scope, redis_spec};
use support::shared;

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "pa ss'wo\"rd-hunter22";
const TIMEOUTS: Timeouts = Timeouts { stage: Duration::from_secs(300), idle: Duration::from_secs(60) };

/// One Redis in a container of its own.
struct Server<'a> {
    scope: &'a Scope,
    spec: ContainerSpec,
    credentials: Credentials,
}

fn given(password: &str) -> Credentials {
    Credentials::User { user: None, password: SecretString::from(password.to_owned()) }
}

/// Starts a Redis with options of redis-server, and the test's password.
async fn start<'a>(scope: &'a Scope, name: &str, options: &[&str]) -> Server<'a> {
    let server = made(scope, name, options).await;
    server.run().await;
    server
}

async fn made<'a>(scope: &'a Scope, name: &str, options: &[&str]) -> Server<'a> {
    let mut spec = redis_spec(scope, name);
    let debug = ["redis-server", "--enable-debug-command", "local", "--requirepass", PASSWORD];
    spec.command = debug.iter().chain(options).map(|o| (*o).to_owned()).collect();
    scope.docker.create(&spec).await.unwrap();
    Server { scope, spec, credentials: Credentials::Container }
}

impl Server<'_> {
    async fn run(&self) {
        self.scope.docker.start(&self.spec.name).await.unwrap();
        redis::wait_ready(&self.scope.docker, &self.spec.name, &self.credentials, LIMIT).await.unwrap();
    }

    async fn stop(&self) {
        self.scope.docker.stop(&self.spec.name, Duration::from_secs(20)).await.unwrap();
    }

    fn exec_spec(script: &str) -> ExecSpec {
        let mut spec = ExecSpec::script::<&str>(script, []);
        spec.env.push(("REDISCLI_AUTH".into(), PASSWORD.into()));
        spec
    }

    /// Runs a shell script in the container.
    async fn shell(&self, script: &str) -> String {
        let spec = Self::exec_spec(script);
        let ran = self.scope.docker.run(&self.spec.name, spec, b"", 1 << 24, LIMIT).await.unwrap();
        ran.text("script").unwrap().to_owned()
    }

    /// Runs commands, one a line.
    async fn commands(&self, commands: &str) -> String {
        let spec = Self::exec_spec("redis-cli");
        let run = self.scope.docker.run(&self.spec.name, spec, commands.as_bytes(), 1 << 20, LIMIT);
        run.await.unwrap().text("commands").unwrap().to_owned()
    }

    /// Starts a script that ends with the container, or when what is returned is dropped.
    async fn behind(&self, script: &str) -> Exec {
        let script = format!("({script}) </dev/null >/dev/null 2>&1 & while read -r _; do :; done; kill $!");
        self.scope.docker.exec(&self.spec.name, Self::exec_spec(&script)).await.unwrap()
    }

    fn source(&self) -> RedisSource {
        RedisSource {
            docker: self.scope.docker.clone(),
            container: self.spec.name.clone(),
            credentials: self.credentials.clone(),
            timeouts: TIMEOUTS,
        }
    }

    async fn dump(&self) -> Taken {
        take(self.source()).await.unwrap()
    }

    async fn count(&self) -> Counts {
        redis::count(&self.scope.docker, &self.spec.name, &self.credentials).await.unwrap()
    }

    async fn folder(&self) -> PathBuf {
        self.scope.docker.host_path_of(&self.spec.name, "/data").await.unwrap()
    }

    /// Places a dump while it does not run.
    async fn place(&self, taken: &Taken) -> Vec<PathBuf> {
        let source = Box::pin(std::io::Cursor::new(taken.bytes.clone()));
        redis::place(&self.folder().await, &taken.record, source, "t").await.unwrap()
    }

    async fn check(&self, record: &RedisRecord) -> Result<()> {
        redis::check_files(&self.scope.docker, &self.spec, record).await
    }

    /// Command lines of what runs in the container besides the server.
    fn others(&self) -> Vec<String> {
        let top = self.scope.cli(&["top", &self.spec.name, "-eo", "pid,args"]);
        let lines = top.lines().skip(1).map(|l| l.trim().split_once(' ').unwrap_or_default().1.trim());
        lines
            .filter(|l| !l.starts_with("redis-server") && !l.starts_with("redis-rdb-to-slaves"))
            .map(str::to_owned)
            .collect()
    }

    /// Waits until nothing but the server runs in the container.
    async fn wait_alone(&self) {
        for _ in 0..600 {
            if self.others().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("left behind: {:?}", self.others());
    }

    async fn listing(&self) -> String {
        self.shell("find /data /tmp | sort").await
    }
}

/// Loads a dump into a new server, which must then hold exactly what the record says; returns the server.
async fn loads<'a>(scope: &'a Scope, name: &str, taken: &Taken, options: &[&str]) -> Server<'a> {
    let server = made(scope, name, options).await;
    server.place(taken).await;
    server.check(&taken.record).await.unwrap();
    server.run().await;
    assert_eq!(server.count().await.compare(&taken.record), Vec::<String>::new());
    server
}

/// A whole dump.
struct Taken {
    stream: &'static str,
    bytes: Vec<u8>,
    completion: Completion,
    record: RedisRecord,
}

async fn take(source: RedisSource) -> Result<Taken> {
    let mut dump = redis::dump(source).await?;
    let (mut stream, mut bytes, mut ended) = ("", Vec::new(), false);
    while let Some(piece) = dump.pieces.recv().await {
        assert!(!ended, "nothing follows the end");
        match piece {
            Piece::Begin { stream: name, .. } => stream = name,
            Piece::Bytes(b) => {
                assert!(b.len() <= PIECE_BYTES);
                bytes.extend_from_slice(&b);
            }
            Piece::End => ended = true,
            Piece::Cut | Piece::Open { .. } | Piece::Close { .. } | Piece::Known(_) => {
                panic!("a dump is one segment")
            }
        }
    }
    let completion = dump.completion.await?;
    assert!(ended);
    let record: RedisRecord = serde_json::from_value(completion.record.clone()).unwrap();
    assert_eq!(record.stream(), stream);
    Ok(Taken { stream, bytes, completion, record })
}

/// Names in a tar, by the stock crate, with contents.
fn entries(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let read = |e: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut e = e.unwrap();
        let mut content = Vec::new();
        e.read_to_end(&mut content).unwrap();
        (e.path().unwrap().to_str().unwrap().to_owned(), content)
    };
    archive.entries().unwrap().map(read).collect()
}

const SOME_KEYS: &str = "MSET a 1 b 2 c 3\nSET t 1 EX 100000\nSELECT 3\nSET d 4\nSELECT 0\n\
                         RPUSH rq:queue:x:short j1 j2 j3\nSET rq:queue:no-list 1\nHSET rq:job:1 data x\n";
const AOF: &[&str] = &["--appendonly", "yes"];

#[tokio::test]
async fn an_append_only_server_is_dumped_placed_checked_loaded_and_counted_equal() {
    let scope = Scope::new("redis-aof").await;
    let a = start(&scope, "a", AOF).await;
    a.commands(SOME_KEYS).await;
    let before = a.listing().await;
    let taken = a.dump().await;
    assert_eq!((taken.stream, taken.record.persistence), ("aof", Persistence::Aof));
    assert_eq!(taken.completion.warnings, Vec::<String>::new());
    assert_eq!((taken.record.version.as_str(), taken.record.data_folder()), ("7.0.15", "/data"));
    assert_eq!(taken.record.config["appendonly"], "yes");
    assert_eq!(taken.record.databases[&0], Keys { keys: 7, with_ttl: 1 });
    assert_eq!(taken.record.databases[&3], Keys { keys: 1, with_ttl: 0 });
    assert_eq!(taken.record.queues, [("rq:queue:x:short".to_owned(), 3)].into());
    assert!(!taken.record.moving);
    let names: Vec<String> = entries(&taken.bytes).into_iter().map(|(n, _)| n).collect();
    let expected =
        ["", "/appendonly.aof.1.base.rdb", "/appendonly.aof.1.incr.aof", "/appendonly.aof.manifest"];
    assert_eq!(names, expected.map(|n| format!("appendonlydir{n}")));
    assert_eq!(a.dump().await.bytes, taken.bytes, "the same data gives the same bytes");
    a.wait_alone().await;
    assert_eq!(a.listing().await, before, "nothing is left in the container");

    let b = loads(&scope, "b", &taken, AOF).await;
    let counts = b.count().await;
    assert_eq!((counts.keys(), counts.jobs()), (8, 3));
    b.stop().await;
    let aside = ["appendonlydir.before-t", "dump.rdb.before-t"];
    let folder = b.folder().await;
    assert_eq!(
        b.place(&taken).await,
        aside.map(|n| folder.join(n)),
        "the server saved an RDB when it was stopped"
    );
    b.run().await;
    assert_eq!(b.count().await, counts);
}

#[tokio::test]
async fn the_queue_of_the_real_site_comes_back_with_its_41_jobs() {
    let Some(mut tar) = shared::unpacked("redis-queue-aof.tar.zst") else {
        skip!("the_queue_of_the_real_site_comes_back_with_its_41_jobs", "../shared is not there");
    };
    let scope = Scope::new("redis-real").await;
    let a = made(&scope, "a", AOF).await;
    let mut bytes = Vec::new();
    tar.read_to_end(&mut bytes).unwrap();
    tar::Archive::new(&bytes[..]).unpack(a.folder().await).unwrap();
    a.run().await;
    let taken = a.dump().await;
    let lengths: Vec<u64> = taken.record.queues.values().copied().collect();
    let names: Vec<&str> = taken.record.queues.keys().map(|n| n.rsplit(':').next().unwrap()).collect();
    assert_eq!((names, lengths), (vec!["default", "long", "short"], vec![27, 7, 7]));
    let b = loads(&scope, "b", &taken, AOF).await;
    assert_eq!(b.count().await.jobs(), 41);
    assert_eq!(a.commands("DEBUG DIGEST\n").await, b.commands("DEBUG DIGEST\n").await);
}

/// Two keys that are equal between any two transactions, many others, and a queue that grows.
const WRITERS: &str = "redis-benchmark -a \"$REDISCLI_AUTH\" -q -c 4 -P 8 -n 100000000 -r 50000 SET k:__rand_int__ v &
    redis-benchmark -a \"$REDISCLI_AUTH\" -q -c 2 -n 100000000 RPUSH rq:queue:x:short job &
    redis-benchmark -a \"$REDISCLI_AUTH\" -q -c 2 -n 100000000 EVAL \"redis.call('INCR','one') redis.call('INCR','two')\" 0 &
    wait";

#[tokio::test]
async fn a_dump_while_rewrites_and_writes_go_on_is_of_one_instant() {
    let scope = Scope::new("redis-busy").await;
    let a = start(&scope, "a", AOF).await;
    let writers = a.behind(WRITERS).await;
    // The first is taken before any rewrite, when the server does not count the base that it began with.
    let mut all = vec![a.dump().await];
    let rewriters = a.behind("while :; do redis-cli BGREWRITEAOF; sleep 1.5; done").await;
    for _ in 0..3 {
        all.push(a.dump().await);
    }
    a.stop().await;
    drop((writers, rewriters));
    let mut jobs = 0;
    for (i, taken) in all.iter().enumerate() {
        assert_eq!((taken.stream, taken.record.moving), ("aof", false), "{:?}", taken.completion.warnings);
        let b = loads(&scope, &format!("b{i}"), taken, AOF).await;
        let pair = b.commands("GET one\nGET two\n").await;
        let pair: Vec<&str> = pair.lines().collect();
        assert_eq!(pair[0], pair[1]);
        assert!(taken.record.queues["rq:queue:x:short"] > jobs, "writes went on");
        jobs = taken.record.queues["rq:queue:x:short"];
        b.stop().await;
    }
}

#[tokio::test]
async fn without_append_only_files_an_rdb_is_taken_and_the_server_is_not_changed() {
    let scope = Scope::new("redis-rdb").await;
    let a = start(&scope, "a", &["--save", ""]).await;
    a.commands(SOME_KEYS).await;
    let before = a.listing().await;
    let mut taken = a.dump().await;
    assert_eq!(
        (taken.stream, taken.record.persistence, taken.record.moving),
        ("rdb", Persistence::Rdb, false)
    );
    assert_eq!(taken.completion.warnings, Vec::<String>::new());
    assert!(taken.bytes.starts_with(b"REDIS"));
    a.wait_alone().await;
    assert_eq!(a.listing().await, before, "no RDB that the next start would load");
    let counts = a.count().await;
    assert_eq!(loads(&scope, "b", &taken, &["--save", ""]).await.count().await, counts);
    // A server that starts from append-only files would start empty beside an RDB.
    taken.record.config.insert("appendonly".into(), "yes".into());
    let c = loads(&scope, "c", &taken, AOF).await;
    assert_eq!(c.count().await, counts);
    assert_eq!(c.commands("DEBUG DIGEST\n").await, a.commands("DEBUG DIGEST\n").await);
}

#[tokio::test]
async fn an_rdb_taken_while_writes_go_on_says_how_far_its_counts_may_be_off() {
    let scope = Scope::new("redis-rdb-busy").await;
    let a = start(&scope, "a", &["--save", "", "--repl-diskless-sync-delay", "0"]).await;
    let writers = a.behind(WRITERS).await;
    let taken = a.dump().await;
    a.stop().await;
    drop(writers);
    assert!(taken.record.moving && taken.record.changes < u64::MAX, "{:?}", taken.record);
    loads(&scope, "b", &taken, &["--save", ""]).await;
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_shown_nowhere() {
    let scope = Scope::new("redis-denied").await;
    let mut a = start(&scope, "a", AOF).await;
    for credentials in [given("wrong-s3cret"), given("")] {
        a.credentials = credentials;
        let e = take(a.source()).await.err().unwrap();
        assert_eq!(e.kind(), Kind::Denied, "{e}");
        let shown = format!("{e} {e:?} {:?} {:?}", e.hint_text(), a.source());
        assert!(!shown.contains("s3cret") && !shown.contains("hunter22"), "{shown}");
        let e = redis::wait_ready(&scope.docker, &a.spec.name, &a.credentials, LIMIT).await.unwrap_err();
        assert_eq!(e.kind(), Kind::Denied, "{e}");
    }
    a.credentials = given(PASSWORD);
    assert_eq!(a.dump().await.stream, "aof");
    a.commands("ACL SETUSER backup on >key-s3cret allkeys +@all\n").await;
    let password = SecretString::from("key-s3cret".to_owned());
    a.credentials = Credentials::User { user: Some("backup".into()), password };
    assert_eq!(a.dump().await.stream, "aof");
}

#[tokio::test]
async fn a_container_says_its_password_itself_in_any_of_its_ways() {
    let scope = Scope::new("redis-login").await;
    let server = "exec redis-server --port 7000 --requirepass \"$REDIS_PASSWORD\"";
    let from_file = "printf 'from-file' > /run/secret; exec redis-server --requirepass from-file";
    let conf =
        "printf 'port 7001\\nrequirepass \"from conf\"\\n' > /data/my.conf; exec redis-server /data/my.conf";
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("env", &["sh", "-c", server], &["REDIS_PASSWORD=from env"]),
        ("file", &["sh", "-c", from_file], &["REDIS_PASSWORD_FILE=/run/secret"]),
        ("conf", &["sh", "-c", conf], &[]),
        ("none", &["redis-server"], &["REDIS_PASSWORD=set but not used"]),
    ];
    for (name, command, environment) in cases {
        let mut spec = redis_spec(&scope, name);
        spec.command = command.iter().map(|w| (*w).to_owned()).collect();
        spec.environment = environment.iter().map(|v| EnvVar::parse(v)).collect();
        scope.docker.create(&spec).await.unwrap();
        let server = Server { scope: &scope, spec, credentials: Credentials::Container };
        server.run().await;
        assert_eq!(server.count().await, Counts::default(), "{name}");
        assert_eq!(server.dump().await.stream, "rdb", "{name}");
    }
}

#[tokio::test]
async fn a_container_that_is_missing_stopped_or_no_redis_is_named() {
    let scope = Scope::new("redis-absent").await;
    let mut a = start(&scope, "a", AOF).await;
    a.stop().await;
    let e = take(a.source()).await.err().unwrap();
    assert!(e.kind() == Kind::Host && e.what().contains("is not running"), "{e}");
    let e = redis::wait_ready(&scope.docker, &a.spec.name, &a.credentials, LIMIT).await.unwrap_err();
    assert!(e.kind() == Kind::Host && e.what().contains("exited with code"), "{e}");
    a.spec.name = scope.name("no-such");
    let e = take(a.source()).await.err().unwrap();
    assert!(e.kind() == Kind::Host && e.what().contains("does not exist"), "{e}");
    let mut spec = redis_spec(&scope, "idle");
    spec.command = ["sleep", "600"].map(str::to_owned).into();
    scope.docker.create(&spec).await.unwrap();
    scope.docker.start(&spec.name).await.unwrap();
    a.spec = spec;
    let e = take(a.source()).await.err().unwrap();
    assert!(e.kind() == Kind::Host && e.what().contains("Connection refused"), "{e}");
}

#[tokio::test]
async fn files_that_are_cut_or_changed_are_refused_with_name_and_position() {
    let scope = Scope::new("redis-cut").await;
    let a = start(&scope, "a", AOF).await;
    a.commands(SOME_KEYS).await;
    let taken = a.dump().await;
    let b = made(&scope, "b", AOF).await;
    b.place(&taken).await;
    let path = b.folder().await.join("appendonlydir/appendonly.aof.1.incr.aof");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let e = b.check(&taken.record).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Damaged);
    assert!(e.what().contains("appendonly.aof.1.incr.aof") && e.what().contains("ok_up_to="), "{e}");
    std::fs::remove_file(&path).unwrap();
    let e = b.check(&taken.record).await.unwrap_err();
    assert!(e.kind() == Kind::Damaged && e.what().contains("appendonly.aof.1.incr.aof"), "{e}");

    a.commands("CONFIG SET appendonly no\nCONFIG SET repl-diskless-sync-delay 0\n").await;
    let mut taken = a.dump().await;
    let middle = taken.bytes.len() - 20;
    taken.bytes[middle] ^= 0x20;
    let c = made(&scope, "c", &[]).await;
    c.place(&taken).await;
    let e = c.check(&taken.record).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Damaged);
    assert!(e.what().contains("/data/dump.rdb") && e.what().contains("offset"), "{e}");
    let left = scope.docker.containers_with("lifeboat.kind=check").await.unwrap();
    assert!(!left.iter().any(|n| n.contains(&scope.name(""))), "{left:?}");
}

/// A value so large that no queue between here and there holds it.
const LARGE: &str = "head -c 60000000 /dev/urandom | redis-cli -x SET large";

#[tokio::test]
async fn a_dump_that_nobody_reads_to_its_end_leaves_nothing_in_the_container() {
    let scope = Scope::new("redis-dropped").await;
    for (name, options, program) in [("aof", AOF, "head -c"), ("rdb", &["--save", ""], "/usr/bin/redis-cli")]
    {
        let a = start(&scope, name, options).await;
        a.commands("CONFIG SET repl-diskless-sync-delay 0\n").await;
        a.shell(LARGE).await;
        let before = a.listing().await;
        let mut dump = redis::dump(a.source()).await.unwrap();
        while !matches!(dump.pieces.recv().await, Some(Piece::Bytes(_))) {}
        let running = a.others();
        assert!(running.iter().any(|l| l.starts_with(program)), "{running:?}");
        assert!(!running.iter().any(|l| l.contains("hunter22")), "{running:?}");
        drop(dump);
        a.wait_alone().await;
        assert_eq!(a.listing().await, before);
        assert_eq!(a.dump().await.stream, name, "the next dump is not disturbed");
    }
}

#[tokio::test]
async fn a_dump_that_comes_short_or_stands_still_fails() {
    let scope = Scope::new("redis-short").await;
    let a = start(&scope, "a", AOF).await;
    a.shell(LARGE).await;
    let begun = async |timeouts| {
        let mut dump = redis::dump(RedisSource { timeouts, ..a.source() }).await.unwrap();
        while !matches!(dump.pieces.recv().await, Some(Piece::Bytes(_))) {}
        dump
    };
    let failed = async |mut dump: lifeboat::component::Dump| {
        while let Some(piece) = dump.pieces.recv().await {
            assert!(!matches!(piece, Piece::End), "a dump that fails has no end");
        }
        dump.completion.await.unwrap_err()
    };
    let dump = begun(Timeouts { idle: Duration::from_secs(2), ..TIMEOUTS }).await;
    scope.cli(&["pause", &a.spec.name]);
    let e = failed(dump).await;
    scope.cli(&["unpause", &a.spec.name]);
    assert!(e.kind() == Kind::Timeout && e.what().contains("no progress"), "{e}");
    a.wait_alone().await;

    let dump = begun(TIMEOUTS).await;
    let path = a.folder().await.join("appendonlydir/appendonly.aof.1.incr.aof");
    std::fs::File::options().write(true).open(path).unwrap().set_len(30_000_000).unwrap();
    let e = failed(dump).await;
    assert!(e.kind() == Kind::Source && e.what().contains("appendonly.aof.1.incr.aof ended"), "{e}");
    let e = take(a.source()).await.err().unwrap();
    assert!(e.kind() == Kind::Source && e.what().contains("no whole command at byte"), "{e}");
}

/// Names the container that [`dumps_for_another_test_that_kills_it`] is to dump.
const VICTIM: &str = "LIFEBOAT_TEST_REDIS_VICTIM";

#[tokio::test]
async fn a_lifeboat_that_is_killed_leaves_nothing_in_the_container() {
    let scope = Scope::new("redis-killed").await;
    let a = start(&scope, "a", AOF).await;
    a.shell(LARGE).await;
    let before = a.listing().await;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dumps_for_another_test_that_kills_it"])
        .env(VICTIM, &a.spec.name)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..1200 {
        if a.others().iter().any(|l| l.starts_with("head -c")) {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "the dump ended before it was killed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    a.wait_alone().await;
    assert_eq!(a.listing().await, before);
}

#[tokio::test]
async fn dumps_for_another_test_that_kills_it() {
    let Ok(container) = std::env::var(VICTIM) else { return };
    let docker = lifeboat::host::Docker::connect().await.unwrap();
    let source = RedisSource { docker, container, credentials: Credentials::Container, timeouts: TIMEOUTS };
    let _dump = redis::dump(source).await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn only_the_keys_of_a_site_are_flushed_in_every_database() {
    let scope = Scope::new("redis-flush").await;
    let a = start(&scope, "a", &[]).await;
    let keys: String = (0..5000).map(|i| format!("SET _1a*|k{i} v\n")).collect();
    a.commands(&(keys + "SET _1ab|x 1\nSET \"_1a*|\\xff \\n\" 1\nSELECT 5\nSET _1a*|y 1\nSET other 1\n"))
        .await;
    let flush =
        |prefix: &'static str| redis::flush_site_keys(&scope.docker, &a.spec.name, &a.credentials, prefix);
    assert_eq!(flush("_1a*|").await.unwrap(), 5002);
    let counts = a.count().await;
    assert_eq!((counts.databases[&0].keys, counts.databases[&5].keys), (1, 1));
    assert_eq!(flush("_1a*|").await.unwrap(), 0);
    assert_eq!(flush("").await.unwrap_err().kind(), Kind::Usage);
}
