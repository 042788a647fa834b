//! The containers of a tenant as they are to be; pure.
//!
//! After `frappe_docker`: roles by its commands, the bench's folders on volumes. Passwords come from files below
//! `/run/secrets`; none stands in an environment or a command, where `docker inspect` and `ps` would show it.

use std::collections::BTreeMap;

use crate::config::{Cpus, Role, Size};
use crate::host::{
    ContainerSpec, Endpoint, EnvVar, Healthcheck, Limits, LogSpec, Mount, MountKind, NetworkSpec,
    PinnedImage, Restart, VolumeSpec,
};

use super::super::job::Order;
use super::super::secrets::Secret;

/// The label that says which run of provisioning made something.
pub const RUN_LABEL: &str = "lifeboat.provision";

/// Gives MariaDB's entrypoint the password from a file that only root may read, which it reads too late to be root.
const START_MARIADB: &str = r#"if [ -r "${MARIADB_ROOT_PASSWORD_FILE:-}" ]; then
  MARIADB_ROOT_PASSWORD=$(cat "$MARIADB_ROOT_PASSWORD_FILE")
  export MARIADB_ROOT_PASSWORD
fi
unset MARIADB_ROOT_PASSWORD_FILE
exec docker-entrypoint.sh "$@""#;

/// Gives Redis its password as configuration on standard input, since its image reads none from a file.
const START_REDIS: &str = r#"if [ -r /run/secrets/redis-password ]; then
  exec docker-entrypoint.sh "$@" <<CONF
requirepass $(cat /run/secrets/redis-password)
CONF
fi
exec docker-entrypoint.sh "$@" </dev/null"#;

const MARIADB_WELL: &str = r#"MYSQL_PWD=$(cat /run/secrets/db-root-password) mariadb-admin --user=root --silent ping && MYSQL_PWD=$(cat /run/secrets/db-root-password) mariadb --user=root --execute='DO 1'"#;

const REDIS_WELL: &str = r#"REDISCLI_AUTH=$(cat /run/secrets/redis-password) redis-cli ping | grep -q PONG"#;

/// What the images mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// The app's.
    pub app: PinnedImage,
    /// The database's.
    pub mariadb: PinnedImage,
    /// That of both Redis.
    pub redis: PinnedImage,
}

/// Makes the specifications of one tenant.
pub struct Specs<'a> {
    order: &'a Order,
    pins: &'a Pins,
    run: &'a str,
}

impl<'a> Specs<'a> {
    /// Takes what they are made of; `run` is the label of what is made.
    pub fn new(order: &'a Order, pins: &'a Pins, run: &'a str) -> Specs<'a> {
        Specs { order, pins, run }
    }

    /// Returns all containers, in the order in which they are started.
    pub fn all(&self) -> Vec<ContainerSpec> {
        let size = &self.order.tenant.size;
        let mut all = vec![self.database(), self.cache(), self.queue()];
        if size.replica {
            all.push(self.replica());
        }
        for role in Role::ALL {
            for n in 1..=role.count(size) {
                all.push(self.app(role, n));
            }
        }
        all
    }

    fn labels(&self, service: &str) -> BTreeMap<String, String> {
        let folder = &self.order.folder;
        [
            (RUN_LABEL, self.run.to_owned()),
            ("com.docker.compose.project", self.order.names.project().to_owned()),
            ("com.docker.compose.service", service.to_owned()),
            ("com.docker.compose.oneoff", "False".to_owned()),
            ("com.docker.compose.container-number", "1".to_owned()),
            ("com.docker.compose.project.working_dir", folder.root().display().to_string()),
            ("com.docker.compose.project.config_files", folder.compose().display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Returns the tenant's own network.
    pub fn network(&self) -> NetworkSpec {
        let labels = [
            (RUN_LABEL, self.run),
            ("com.docker.compose.project", self.order.names.project()),
            ("com.docker.compose.network", "default"),
        ];
        NetworkSpec {
            name: self.order.names.network(),
            driver: "bridge".to_owned(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..NetworkSpec::default()
        }
    }

    fn volume(&self, part: &str, target: &str) -> Mount {
        let labels = [
            (RUN_LABEL, self.run),
            ("com.docker.compose.project", self.order.names.project()),
            ("com.docker.compose.volume", part),
        ];
        let volume = VolumeSpec {
            name: self.order.names.volume(part),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..VolumeSpec::default()
        };
        Mount {
            kind: MountKind::Volume,
            source: volume.name.clone(),
            target: target.to_owned(),
            volume: Some(volume),
            ..Mount::default()
        }
    }

    fn secret(&self, secret: Secret, target: &str) -> Mount {
        Mount {
            kind: MountKind::Bind,
            source: self.order.folder.secrets().join(secret.file()).display().to_string(),
            target: format!("/run/secrets/{target}"),
            read_only: true,
            ..Mount::default()
        }
    }

    fn base(&self, service: &str, image: &PinnedImage) -> ContainerSpec {
        let network = self.network();
        ContainerSpec {
            name: self.order.names.container(service),
            image: image.name.clone(),
            image_id: image.id.clone(),
            image_digests: image.digests.clone(),
            labels: self.labels(service),
            network_mode: network.name.clone(),
            networks: vec![Endpoint { aliases: vec![service.to_owned()], network, ..Endpoint::default() }],
            restart: Restart { policy: "unless-stopped".to_owned(), maximum_retries: None },
            log: LogSpec {
                driver: "json-file".to_owned(),
                options: [("max-size", "10m"), ("max-file", "3")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
            },
            security_opt: vec!["no-new-privileges:true".to_owned()],
            stop_timeout_s: Some(60),
            ..ContainerSpec::default()
        }
    }

    fn mariadb(&self, service: &str, data: &str, options: &[&str]) -> ContainerSpec {
        let size = &self.order.tenant.size;
        let pool = size.db_memory.0 / 2;
        let mut command: Vec<String> = [
            "mariadbd",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_unicode_ci",
            "--skip-character-set-client-handshake",
        ]
        .map(str::to_owned)
        .into();
        command.push(format!("--innodb-buffer-pool-size={pool}"));
        command.extend(options.iter().map(|o| (*o).to_owned()));
        let mut spec = self.base(service, &self.pins.mariadb);
        spec.entrypoint = script(START_MARIADB);
        spec.command = command;
        spec.environment = vec![variable("MARIADB_ROOT_PASSWORD_FILE", "/run/secrets/db-root-password")];
        spec.mounts =
            vec![self.volume(data, "/var/lib/mysql"), self.secret(Secret::DbRoot, "db-root-password")];
        spec.healthcheck = Some(shell_check(MARIADB_WELL));
        spec.limits = limits(size.db_memory, size.db_memory_reserved, Some(size.db_cpus));
        spec
    }

    fn database(&self) -> ContainerSpec {
        let followed = [
            "--server-id=1",
            "--log-bin=mariadb-bin",
            "--binlog-format=ROW",
            "--gtid-strict-mode=1",
            "--sync-binlog=1",
            "--expire-logs-days=3",
        ];
        let options: &[&str] = if self.order.tenant.size.replica { &followed } else { &[] };
        self.mariadb("db", "db-data", options)
    }

    fn replica(&self) -> ContainerSpec {
        let options = ["--server-id=2", "--read-only=1", "--gtid-strict-mode=1", "--relay-log=relay-bin"];
        self.mariadb("db-replica", "db-replica-data", &options)
    }

    fn redis(&self, service: &str, secret: Secret, memory: Size, most: u64, policy: &str) -> ContainerSpec {
        let mut spec = self.base(service, &self.pins.redis);
        spec.entrypoint = script(START_REDIS);
        let memory = memory.0.to_string();
        spec.command = ["redis-server", "-", "--maxmemory", &memory, "--maxmemory-policy", policy]
            .into_iter()
            .chain(["--appendonly", "yes", "--save", ""])
            .map(str::to_owned)
            .collect();
        spec.mounts =
            vec![self.volume(&format!("{service}-data"), "/data"), self.secret(secret, "redis-password")];
        spec.healthcheck = Some(shell_check(REDIS_WELL));
        spec.limits = limits(Size(most), None, None);
        spec
    }

    fn cache(&self) -> ContainerSpec {
        let memory = self.order.tenant.size.redis_cache_memory;
        self.redis("redis-cache", Secret::RedisCache, memory, memory.0 / 2 * 3, "allkeys-lru")
    }

    fn queue(&self) -> ContainerSpec {
        // A job that was evicted would be lost without a word: better an error for whoever enqueues it.
        let memory = self.order.tenant.size.redis_queue_memory;
        self.redis("redis-queue", Secret::RedisQueue, memory, memory.0 * 2, "noeviction")
    }

    fn app(&self, role: Role, n: u32) -> ContainerSpec {
        let (order, size) = (self.order, &self.order.tenant.size);
        let bench = &order.platform.bench_dir;
        let mut spec = self.base(&order.names.service(role, n), &self.pins.app);
        spec.command = command(role, bench);
        spec.mounts = vec![
            self.volume("logs", &format!("{bench}/logs")),
            self.volume("sites", &format!("{bench}/sites")),
        ];
        spec.limits = limits(size.app_memory, size.app_memory_reserved, Some(size.app_cpus));
        spec.healthcheck = port(role).map(|port| {
            let test =
                ["CMD", "bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")].map(str::to_owned);
            Healthcheck { test: test.into(), ..timing() }
        });
        if role == Role::Frontend {
            self.as_frontend(&mut spec, n);
        }
        spec
    }

    fn as_frontend(&self, spec: &mut ContainerSpec, n: u32) {
        let order = self.order;
        spec.environment = vec![
            variable("BACKEND", &format!("{}:8000", order.names.of_role(Role::Backend, n))),
            variable("SOCKETIO", &format!("{}:9000", order.names.of_role(Role::Websocket, 1))),
            variable("FRAPPE_SITE_NAME_HEADER", &order.tenant.site),
            variable("UPSTREAM_REAL_IP_ADDRESS", "127.0.0.1"),
            variable("UPSTREAM_REAL_IP_HEADER", "X-Forwarded-For"),
            variable("UPSTREAM_REAL_IP_RECURSIVE", "off"),
            variable("PROXY_READ_TIMEOUT", "120"),
            variable("CLIENT_MAX_BODY_SIZE", "50m"),
        ];
        let Some(proxy) = &order.platform.proxy else { return };
        let name = order.names.project();
        let router = format!("traefik.http.routers.{name}");
        // All frontends name one service, which makes them its servers.
        let mut labels = vec![
            ("traefik.enable".to_owned(), "true".to_owned()),
            ("traefik.docker.network".to_owned(), proxy.network.clone()),
            (format!("{router}.rule"), format!("Host(`{}`)", order.domain)),
            (format!("{router}.entrypoints"), proxy.entrypoint.clone()),
            (format!("{router}.tls"), "true".to_owned()),
            (format!("{router}.service"), name.to_owned()),
            (format!("traefik.http.services.{name}.loadbalancer.server.port"), "8080".to_owned()),
        ];
        if let Some(resolver) = &proxy.resolver {
            labels.push((format!("{router}.tls.certresolver"), resolver.clone()));
        }
        spec.labels.extend(labels);
        let network = NetworkSpec { name: proxy.network.clone(), ..NetworkSpec::default() };
        spec.networks.push(Endpoint { network, ..Endpoint::default() });
    }
}

fn command(role: Role, bench: &str) -> Vec<String> {
    let socketio = format!("{bench}/apps/frappe/socketio.js");
    let words: &[&str] = match role {
        Role::Backend => &[],
        Role::Frontend => &["nginx-entrypoint.sh"],
        Role::Websocket => &["node", &socketio],
        Role::QueueShort => &["bench", "worker", "--queue", "short,default"],
        Role::QueueLong => &["bench", "worker", "--queue", "long,default,short"],
        Role::Scheduler => &["bench", "schedule"],
    };
    words.iter().map(|w| (*w).to_owned()).collect()
}

fn port(role: Role) -> Option<u16> {
    match role {
        Role::Backend => Some(8000),
        Role::Frontend => Some(8080),
        Role::Websocket => Some(9000),
        Role::QueueShort | Role::QueueLong | Role::Scheduler => None,
    }
}

fn script(text: &str) -> Vec<String> {
    ["sh", "-c", text, "lifeboat"].map(str::to_owned).into()
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: value.to_owned() }
}

fn timing() -> Healthcheck {
    const SECOND: i64 = 1_000_000_000;
    Healthcheck {
        test: Vec::new(),
        interval_ns: Some(10 * SECOND),
        timeout_ns: Some(10 * SECOND),
        retries: Some(6),
        start_period_ns: Some(60 * SECOND),
    }
}

fn shell_check(line: &str) -> Healthcheck {
    Healthcheck { test: vec!["CMD-SHELL".to_owned(), line.to_owned()], ..timing() }
}

fn limits(memory: Size, reserved: Option<Size>, cpus: Option<Cpus>) -> Limits {
    let bytes = |size: Size| i64::try_from(size.0).unwrap_or(i64::MAX);
    Limits {
        memory_bytes: Some(bytes(memory)),
        // The same for memory and swap together: a database in swap is slower than one that fails.
        memory_swap_bytes: Some(bytes(memory)),
        memory_reservation_bytes: reserved.map(bytes),
        nano_cpus: cpus.map(|c| c.0),
        ..Limits::default()
    }
}
