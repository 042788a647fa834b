//! The compose file: what provisioning runs, as an operator can read it and run it without Lifeboat.
//!
//! Written from the very specifications that containers are made of, with the same names, networks, volumes and labels.
//! Scalars are JSON strings, which YAML reads as they are; `$` is doubled, since compose would replace variables.

use serde_json::{Map, Value, json};

use super::job::Order;
use crate::host::{ContainerSpec, Mount, MountKind};

/// Returns the text of `compose.yaml`.
pub fn text(order: &Order, specs: &[ContainerSpec]) -> String {
    let mut services = Map::new();
    for spec in specs {
        services.insert(service_of(spec).to_owned(), service(order, spec));
    }
    let mut volumes = Map::new();
    for volume in specs.iter().flat_map(|s| &s.mounts).filter_map(|m| m.volume.as_ref()) {
        let key = volume.labels.get("com.docker.compose.volume").unwrap_or(&volume.name);
        volumes.insert(key.clone(), json!({ "name": volume.name, "labels": labels(&volume.labels) }));
    }
    let own = order.names.network();
    let mut networks = Map::new();
    for endpoint in specs.iter().flat_map(|s| &s.networks) {
        let network = &endpoint.network;
        let value = if network.name == own {
            json!({ "name": network.name, "driver": network.driver, "labels": labels(&network.labels) })
        } else {
            json!({ "name": network.name, "external": true })
        };
        networks.insert(key_of(&network.name, &own), value);
    }
    // The project's name stands in .env, which every version of compose reads.
    let whole = json!({ "services": services, "networks": networks, "volumes": volumes });
    let name = &order.tenant.name;
    let mut out = format!(
        "# Tenant {name}, as Lifeboat runs it. Written by `lifeboat provision`; change tenants/{name}.toml and run\n\
         # `lifeboat provision {name} --apply`. Without Lifeboat: docker compose --project-directory . up -d\n\
         # The passwords stand in secrets/, one file each.\n"
    );
    yaml(&whole, 0, &mut out);
    out
}

/// Returns the text of `.env`: no secret.
pub fn environment(order: &Order) -> String {
    format!("COMPOSE_PROJECT_NAME={}\nDOMAIN={}\n", order.names.project(), order.domain)
}

fn service_of(spec: &ContainerSpec) -> &str {
    spec.labels.get("com.docker.compose.service").map_or(spec.name.as_str(), String::as_str)
}

fn key_of(network: &str, own: &str) -> String {
    if network == own { "default" } else { network }.to_owned()
}

/// Returns the labels without those that compose sets by itself, and refuses to be given.
fn labels(all: &std::collections::BTreeMap<String, String>) -> Map<String, Value> {
    let own = all.iter().filter(|(name, _)| !name.starts_with("com.docker.compose."));
    own.map(|(name, value)| (name.clone(), json!(value))).collect()
}

fn service(order: &Order, spec: &ContainerSpec) -> Value {
    let own = order.names.network();
    let networks: Map<String, Value> = spec
        .networks
        .iter()
        .map(|e| (key_of(&e.network.name, &own), json!({ "aliases": e.aliases })))
        .collect();
    let environment: Map<String, Value> =
        spec.environment.iter().map(|v| (v.name.clone(), json!(v.value))).collect();
    let mut value = json!({
        "container_name": spec.name,
        "image": spec.image,
        "restart": spec.restart.policy,
        "labels": labels(&spec.labels),
        "networks": networks,
        "volumes": spec.mounts.iter().map(mount).collect::<Vec<Value>>(),
        "security_opt": spec.security_opt,
        "logging": { "driver": spec.log.driver, "options": spec.log.options },
        "stop_grace_period": format!("{}s", spec.stop_timeout_s.unwrap_or(10)),
    });
    let mut set = |key: &str, part: Value| {
        let empty = part.is_null()
            || part.as_array().is_some_and(Vec::is_empty)
            || part.as_object().is_some_and(Map::is_empty);
        if !empty {
            value[key] = part;
        }
    };
    set("entrypoint", json!(spec.entrypoint));
    set("command", json!(spec.command));
    set("environment", Value::Object(environment));
    set("mem_limit", json!(spec.limits.memory_bytes));
    set("memswap_limit", json!(spec.limits.memory_swap_bytes));
    set("mem_reservation", json!(spec.limits.memory_reservation_bytes));
    set("cpus", json!(spec.limits.nano_cpus.map(|n| crate::config::Cpus(n).to_string())));
    set("healthcheck", healthcheck(spec));
    value
}

fn mount(mount: &Mount) -> Value {
    let source = match (&mount.kind, &mount.volume) {
        (MountKind::Volume, Some(volume)) => {
            volume.labels.get("com.docker.compose.volume").unwrap_or(&volume.name).clone()
        }
        _ => mount.source.clone(),
    };
    let kind = if mount.kind == MountKind::Volume { "volume" } else { "bind" };
    json!({ "type": kind, "source": source, "target": mount.target, "read_only": mount.read_only })
}

fn healthcheck(spec: &ContainerSpec) -> Value {
    let Some(check) = &spec.healthcheck else { return Value::Null };
    let seconds = |ns: Option<i64>| json!(format!("{}s", ns.unwrap_or_default() / 1_000_000_000));
    json!({
        "test": check.test, "interval": seconds(check.interval_ns), "timeout": seconds(check.timeout_ns),
        "retries": check.retries, "start_period": seconds(check.start_period_ns),
    })
}

/// Writes a value as YAML, a line each.
fn yaml(value: &Value, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                out.push_str(&format!("{pad}{}:", scalar(&json!(key))));
                nested(value, depth + 1, out);
            }
        }
        Value::Array(all) => {
            for value in all {
                out.push_str(&format!("{pad}-"));
                nested(value, depth + 1, out);
            }
        }
        other => out.push_str(&format!("{pad}{}\n", scalar(other))),
    }
}

fn nested(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(all) if all.is_empty() => out.push_str(" {}\n"),
        Value::Array(all) if all.is_empty() => out.push_str(" []\n"),
        Value::Object(_) | Value::Array(_) => {
            out.push('\n');
            yaml(value, depth, out);
        }
        other => out.push_str(&format!(" {}\n", scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    value.to_string().replace('$', "$$")
}
