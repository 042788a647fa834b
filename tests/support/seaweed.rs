//! A real S3 store for tests: SeaweedFS on free loopback ports, one for each test process.
//!
//! `weed` is found on PATH. A shell stands between: it waits for its standard input to end, which happens when this
//! process does, however it dies, and then kills the server and removes its folder.
//!
//! With `LIFEBOAT_TEST_S3_URL` (and `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, perhaps `AWS_REGION`) the tests run
//! on that store instead. They make buckets named `lifeboat-test-*` there.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

/// How long the server may take until it stores something.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// Kills the server and removes what it made once standard input ends. Its sockets lie in /tmp whatever one asks for.
const KEEPER: &str = r#"
dir=$1; ports=$2; shift 2
(setpriv --pdeathsig KILL "$@" </dev/null >"$dir/log" 2>&1; : >"$dir/ended") &
server=$!
cat >/dev/null
kill -KILL "$server" # and with it, by its death signal, what it runs
wait "$server" 2>/dev/null
for port in $ports; do rm -f /tmp/seaweedfs-*-"$port".sock; done
for try in 1 2 3 4 5; do rm -rf "$dir" && break; sleep 0.2; done
"#;

/// A running S3 store.
#[derive(Debug)]
pub struct Seaweed {
    /// Its endpoint.
    pub endpoint: String,
    /// An access key that may do everything.
    pub access_key: String,
    /// The secret to it.
    pub secret_key: String,
    /// The region to sign for.
    pub region: String,
    // The end of its standard input is what the keeper waits for; a static is never dropped, so the process's end is it.
    keeper: Option<Keeper>,
}

#[derive(Debug)]
struct Keeper {
    dir: PathBuf,
    _child: Child,
    _stdin: ChildStdin,
}

static SEAWEED: OnceLock<Seaweed> = OnceLock::new();
static BUCKETS: AtomicU32 = AtomicU32::new(0);

impl Seaweed {
    /// Returns the store of this test process, started when first asked for.
    pub fn start() -> &'static Seaweed {
        SEAWEED.get_or_init(|| Seaweed::foreign().unwrap_or_else(Seaweed::launch))
    }

    fn foreign() -> Option<Seaweed> {
        let endpoint = std::env::var("LIFEBOAT_TEST_S3_URL").ok().filter(|url| !url.is_empty())?;
        let needed = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| panic!("LIFEBOAT_TEST_S3_URL needs {name} as well"))
        };
        Some(Seaweed {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            access_key: needed("AWS_ACCESS_KEY_ID"),
            secret_key: needed("AWS_SECRET_ACCESS_KEY"),
            region: std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
            keeper: None,
        })
    }

    fn launch() -> Seaweed {
        // Another process may take a port between our look and the server's; then the server ends, and we look again.
        for _ in 0..3 {
            let seaweed = Seaweed::spawn();
            if seaweed.wait_until_ready() {
                return seaweed;
            }
        }
        panic!("SeaweedFS did not start within {} s", READY_WITHIN.as_secs());
    }

    fn spawn() -> Seaweed {
        let dir = tempfile::Builder::new().prefix("lifeboat-seaweed-").tempdir().unwrap().keep();
        let ports = free_ports::<10>();
        let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, admin, admin_grpc] =
            ports;
        let secret_key = format!("secret-{}-{s3}", std::process::id());
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "seaweed-keeper"]).arg(&dir);
        command.arg(ports.map(|p| p.to_string()).join(" "));
        command.args(["weed", "-logtostderr=true", "mini"]).arg(format!("-dir={}", dir.display()));
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"]);
        let flags = [
            ("s3.port", s3),
            ("s3.port.grpc", s3_grpc),
            ("master.port", master),
            ("master.port.grpc", master_grpc),
            ("volume.port", volume),
            ("volume.port.grpc", volume_grpc),
            ("filer.port", filer),
            ("filer.port.grpc", filer_grpc),
            ("admin.port", admin),
            ("admin.port.grpc", admin_grpc),
        ];
        command.args(flags.map(|(flag, port)| format!("-{flag}={port}")));
        command.env("AWS_ACCESS_KEY_ID", "lifeboat-test").env("AWS_SECRET_ACCESS_KEY", &secret_key);
        command.env("TMPDIR", &dir).env_remove("S3_BUCKET");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sh starts; SeaweedFS needs `weed` and `setpriv` on PATH");
        let stdin = child.stdin.take().unwrap();
        Seaweed {
            endpoint: format!("http://127.0.0.1:{s3}"),
            access_key: "lifeboat-test".to_owned(),
            secret_key,
            region: "us-east-1".to_owned(),
            keeper: Some(Keeper { dir, _child: child, _stdin: stdin }),
        }
    }

    /// Ready means that an object was stored: the gateway answers before the volumes behind it do.
    fn wait_until_ready(&self) -> bool {
        let (client, began) = (self.client(), Instant::now());
        let ended = self.keeper.as_ref().map(|k| k.dir.join("ended"));
        block_on(async move {
            while began.elapsed() < READY_WITHIN && !ended.as_ref().is_some_and(|e| e.exists()) {
                let made = client.create_bucket().bucket("ready").send().await;
                let stored = client.put_object().bucket("ready").key("x").body(vec![1].into()).send().await;
                if stored.is_ok() {
                    return true;
                }
                drop(made);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            false
        })
    }

    /// Returns a client of the SDK, for what the product itself has no need of.
    pub fn client(&self) -> aws_sdk_s3::Client {
        let credentials = Credentials::new(&self.access_key, &self.secret_key, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(self.region.clone()))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(30)).build())
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Makes an empty bucket of a new name whose versions can be locked, and returns the name.
    ///
    /// On a store that outlives the tests it stays until its locks have ended.
    pub fn new_locking_bucket(&self) -> String {
        let name = Seaweed::new_name();
        let (client, bucket) = (self.client(), name.clone());
        block_on(async move {
            let request = client.create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(true);
            request.send().await.unwrap();
        });
        name
    }

    fn new_name() -> String {
        let n = BUCKETS.fetch_add(1, Ordering::Relaxed);
        format!("lifeboat-test-{:08x}-{n}", rand::random::<u32>())
    }

    /// Makes an empty bucket of a new name, and returns the name.
    pub fn new_bucket(&self, versioned: bool) -> String {
        let name = Seaweed::new_name();
        let (client, bucket) = (self.client(), name.clone());
        block_on(async move {
            client.create_bucket().bucket(&bucket).send().await.unwrap();
            if versioned {
                let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
                let request = client.put_bucket_versioning().bucket(&bucket).versioning_configuration(on);
                request.send().await.unwrap();
            }
        });
        name
    }

    /// Removes a bucket with all that is in it, for stores that outlive the tests.
    pub fn remove_bucket(&self, name: &str) {
        let (client, bucket) = (self.client(), name.to_owned());
        block_on(async move {
            loop {
                let page = client.list_object_versions().bucket(&bucket).send().await.unwrap();
                let versions = page.versions().iter().map(|v| (v.key(), v.version_id()));
                let markers = page.delete_markers().iter().map(|m| (m.key(), m.version_id()));
                for (key, version) in versions.chain(markers) {
                    let version = version.map(str::to_owned);
                    let request = client.delete_object().bucket(&bucket).key(key.unwrap());
                    request.set_version_id(version).send().await.unwrap();
                }
                if page.is_truncated() != Some(true) {
                    break;
                }
            }
            client.delete_bucket().bucket(&bucket).send().await.unwrap();
        });
    }
}

/// Runs to the end on a thread and runtime of its own, so that tests with and without a runtime may call it.
fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::spawn(run).join().expect("the store answers")
}

/// Returns ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are known, so that none comes twice.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
