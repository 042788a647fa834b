//! What rules and panels name of other programs: asked of the real exporters where the distribution has them.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::live::{alert_expressions, panel_expressions};
use super::support::cli::{docker, wait_until};
use super::support::prometheus::{Prometheus, Setup, free_port, names, program, repository, reqwest_get};
use super::support::tenant::TestTenant;

/// Metrics of programs that could not be run here, by their documentation; SeaweedFS' was seen in version 4.48.
const BY_DOCUMENTATION: [&str; 6] = [
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "container_spec_memory_limit_bytes",
    "container_start_time_seconds",
    "coredns_reload_failed_total",
    "SeaweedFS_volumeServer_read_only_volumes",
];

struct Exporter(Child);

impl Exporter {
    fn start(name: &str, args: &[String], environment: &[(&str, String)]) -> Exporter {
        let mut command = Command::new(program(name));
        command.args(args).envs(environment.iter().map(|(k, v)| (k, v)));
        Exporter(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns the metrics of other programs that rules and panels name.
fn foreign() -> BTreeSet<String> {
    let all = [panel_expressions(), alert_expressions()].concat();
    let begins = ["mysql_", "redis_", "probe_", "container_", "coredns_", "traefik_", "SeaweedFS_"];
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = all.iter().flat_map(|e| e.split(word)).filter(|w| begins.iter().any(|b| w.starts_with(b)));
    words.map(str::to_owned).collect()
}

/// A site that answers as Frappe does.
fn site() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::{Read, Write};
            let mut stream = stream;
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap_or(0);
            let good = request[..n].starts_with(b"GET /api/method/ping ");
            let body = if good { "{\"message\":\"pong\"}" } else { "down for maintenance" };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    format!("http://{address}")
}

#[test]
fn the_exporters_tell_what_rules_and_panels_name_of_databases_redis_and_sites() {
    let tenant = TestTenant::start("observed");
    let address = |part: &str| {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "-f", format, &tenant.container(part)])
    };
    let ports = [free_port(), free_port(), free_port()];
    let at = |port: u16| format!("--web.listen-address=127.0.0.1:{port}");
    let dir = tempfile::tempdir().unwrap();
    let queue = format!("redis://{}:6379", address("redis-queue"));
    let passwords = dir.path().join("passwords.json");
    let text = serde_json::json!({ &queue: tenant.redis_password("redis-queue") }).to_string();
    fs::write(&passwords, text).unwrap();
    let login = format!("root:{}@({}:3306)/", tenant.get("db_root_password"), address("db"));
    let file = format!("--config.file={}", repository().join("deploy/prometheus/blackbox.yml").display());
    let _mysqld =
        Exporter::start("prometheus-mysqld-exporter", &[at(ports[0])], &[("DATA_SOURCE_NAME", login)]);
    let options =
        [at(ports[1]), "--redis.addr=".into(), format!("--redis.password-file={}", passwords.display())];
    let _redis = Exporter::start("prometheus-redis-exporter", &options, &[]);
    let _blackbox = Exporter::start("prometheus-blackbox-exporter", &[at(ports[2]), file], &[]);

    let (good, bad) = (format!("{}/api/method/ping", site()), format!("{}/", site()));
    let through = |port: u16| format!("__exporter: \"127.0.0.1:{port}\"");
    let platform = format!("- targets: [\"127.0.0.1:{}\"]\n  labels: {{ job: mysqld-exporter }}\n", ports[0]);
    let redis = format!(
        "- targets: [\"{queue}\"]\n  labels: {{ tenant: observed, role: queue, {} }}\n",
        through(ports[1])
    );
    let sites = format!(
        "- targets: [\"{good}\", \"{bad}\"]\n  labels: {{ tenant: observed, {} }}\n",
        through(ports[2])
    );
    let setup = Setup::new("none", &[("platform", platform), ("redis", redis), ("sites", sites)]);
    let prometheus = Prometheus::start(setup);
    for expression in ["mysql_up", "redis_up{role=\"queue\"}", "probe_success{job=\"sites\"}"] {
        wait_until(expression, Duration::from_secs(150), || !prometheus.query(expression).is_empty());
    }
    wait_until("both sites were asked", Duration::from_secs(60), || {
        prometheus.query("probe_success").len() == 2
    });
    assert_eq!(prometheus.query("mysql_up")[0].1, 1.0);
    assert_eq!(prometheus.query(&format!("redis_up{{instance=\"{queue}\",tenant=\"observed\"}}"))[0].1, 1.0);
    let of = |url: &str| prometheus.query(&format!("probe_success{{instance=\"{url}\"}}"))[0].1;
    assert_eq!((of(&good), of(&bad)), (1.0, 0.0));

    let pages =
        ports.map(|port| reqwest_get(&format!("http://127.0.0.1:{port}/metrics")).unwrap_or_default());
    let mut there: BTreeSet<String> = pages.iter().flat_map(|page| names(page)).collect();
    let all = prometheus.api("label/__name__/values");
    there.extend(all.as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()));
    // A certificate is told of https alone.
    there.insert("probe_ssl_earliest_cert_expiry".into());
    let lacking: Vec<_> = foreign()
        .into_iter()
        .filter(|n| !there.contains(n) && !BY_DOCUMENTATION.contains(&n.as_str()))
        .collect();
    assert!(lacking.is_empty(), "nobody tells {lacking:?}");
}
