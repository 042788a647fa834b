//! The compose file of the platform: parsed and judged, for its images cannot be had here.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::files::yaml;
use super::support::prometheus::repository;

fn compose() -> Value {
    yaml(&repository().join("deploy/compose.yaml"))
}

fn words(value: &Value) -> Vec<String> {
    let one = |v: &Value| v.as_str().map_or_else(|| v["source"].as_str().unwrap().to_owned(), str::to_owned);
    value.as_array().into_iter().flatten().map(one).collect()
}

#[test]
fn each_service_has_limits_a_pinned_image_and_a_healthcheck_and_holds_no_secret() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["cpus"].is_string(), "{name} has no limits");
        let image = service["image"].as_str().unwrap();
        let tag = image.split_once(":-").map(|(_, rest)| rest.trim_end_matches('}')).unwrap_or_default();
        assert!(tag.chars().any(|c| c.is_ascii_digit()), "{name}: {image} is not pinned");
        // CoreDNS is alone in its image; Lifeboat's Dockerfile brings its own.
        let sick =
            service["healthcheck"]["test"].is_null() && !["coredns", "lifeboat"].contains(&name.as_str());
        assert!(!sick, "{name} has no healthcheck");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(words(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        for (key, value) in service["environment"].as_object().into_iter().flatten() {
            let key = key.to_uppercase();
            let secret = ["PASSWORD", "SECRET", "TOKEN", "_KEY"].iter().any(|w| key.contains(w));
            let text = value.as_str().unwrap();
            let is_path = text.starts_with("/run/secrets/") || text.starts_with("file:///run/secrets/");
            assert!(!secret || is_path, "{name}: {key} holds a secret and not its place");
        }
    }
    let known: BTreeSet<&String> = compose["secrets"].as_object().unwrap().keys().collect();
    let used: BTreeSet<String> = services.values().flat_map(|s| words(&s["secrets"])).collect();
    assert_eq!(known, used.iter().collect());
}

/// Authentik names its client crate by its own versions.
#[test]
fn the_single_sign_on_that_runs_is_the_version_whose_api_is_spoken() {
    let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let spoken = manifest.split_once("authentik-client = { version = \"=").unwrap().1;
    let spoken = spoken.split_once('"').unwrap().0;
    let compose = compose();
    for service in ["authentik-server", "authentik-worker"] {
        let image = compose["services"][service]["image"].as_str().unwrap().to_owned();
        assert!(image.ends_with(&format!(":-{spoken}}}")), "{service}: {image}, and {spoken} is spoken");
    }
}

#[test]
fn only_the_proxy_and_dns_are_reached_from_outside_and_what_holds_data_has_no_way_out() {
    let compose = compose();
    let networks = compose["networks"].as_object().unwrap();
    let internal = |n: &String| networks[n]["internal"] == true;
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["ports"].is_array(), ["traefik", "coredns"].contains(&name.as_str()), "{name}");
        let joined = words(&service["networks"]);
        assert!(joined.iter().all(|n| networks.contains_key(n)), "{name}: {joined:?}");
        let shut_in = ["authentik-postgresql", "seaweedfs", "prometheus", "cadvisor"];
        if shut_in.contains(&name.as_str()) {
            assert!(joined.iter().all(internal), "{name} has a way out: {joined:?}");
        }
        let volumes = words(&service["volumes"]);
        let has_docker = volumes.iter().any(|v| v.starts_with("/var/run/docker.sock"));
        assert_eq!(has_docker, ["traefik", "lifeboat"].contains(&name.as_str()), "{name}");
    }
}

#[test]
fn what_prometheus_asks_is_a_service_on_its_network() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let targets = repository().join("deploy/prometheus/targets");
    let mut asked = BTreeSet::new();
    for file in ["lifeboat.yml", "platform.yml"] {
        for group in yaml(&targets.join(file)).as_array().unwrap() {
            let target = group["targets"][0].as_str().unwrap();
            asked.insert(target.split_once(':').unwrap().0.to_owned());
        }
    }
    asked.remove("localhost");
    for name in
        asked.iter().map(String::as_str).chain(["mysqld-exporter", "redis-exporter", "blackbox-exporter"])
    {
        let networks = words(&services[name]["networks"]);
        assert!(networks.contains(&"monitoring".to_owned()), "{name}: {networks:?}");
    }
    let volumes = words(&services["prometheus"]["volumes"]).concat();
    for mounted in ["prometheus.yml:/etc/", "lifeboat.rules.yml:/etc/", "targets:/etc/"] {
        assert!(volumes.contains(mounted), "{mounted} in {volumes}");
    }
}

#[test]
fn every_variable_of_the_compose_file_stands_in_the_example_with_its_default() {
    let text = fs::read_to_string(repository().join("deploy/compose.yaml")).unwrap();
    let example = fs::read_to_string(repository().join("deploy/.env.example")).unwrap();
    let set: BTreeSet<&str> = example.lines().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    let mut used = BTreeSet::new();
    for rest in text.split("${").skip(1) {
        let inside = rest.split_once('}').unwrap().0;
        let name = inside.split([':', '?']).next().unwrap();
        used.insert(name);
        if let Some((_, default)) = inside.split_once(":-") {
            assert!(example.lines().any(|l| l == format!("{name}={default}")), "{name}: {default}");
        }
    }
    assert_eq!(used, set);
}

#[test]
fn secrets_are_made_once_and_nobody_else_may_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = dir.path().join("secrets");
    let make = || {
        let script = repository().join("deploy/lib/platform-secrets");
        let output = Command::new(script).arg(&secrets).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make();
    let read = || -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(&secrets).unwrap().map(|e| e.unwrap().path());
        let mut all: Vec<_> = entries
            .map(|p| (p.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&p).unwrap()))
            .collect();
        all.sort();
        all
    };
    let first = read();
    let wanted: Vec<String> = compose()["secrets"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        first.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(),
        wanted.into_iter().collect()
    );
    for (name, _) in &first {
        let mode = fs::metadata(secrets.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
    make();
    assert_eq!(read(), first, "a secret was made anew");
}
