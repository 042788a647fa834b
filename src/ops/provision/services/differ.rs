//! How a container that is there differs from the one that is to be; pure.

use crate::host::ContainerSpec;

/// The labels of compose that say what a container is; the others say how it was made.
const COMPOSE: [&str; 2] = ["com.docker.compose.project", "com.docker.compose.service"];

/// Names what only a new container can have otherwise: command, environment, labels, mounts, networks.
///
/// What the image adds to environment and labels does not count.
pub fn configuration(wanted: &ContainerSpec, found: &ContainerSpec) -> Option<&'static str> {
    let lacks_env = || wanted.environment.iter().any(|v| found.env(&v.name) != Some(v.value.as_str()));
    // Compose writes its own in another way: a container that an operator started by the compose file is as good.
    let counts = |name: &str| !name.starts_with("com.docker.compose.") || COMPOSE.contains(&name);
    let lacks_label =
        || wanted.labels.iter().any(|(k, v)| counts(k.as_str()) && found.labels.get(k) != Some(v));
    let lacks_mount = || {
        let has = |m: &crate::host::Mount| {
            found.mounts.iter().any(|f| f.target == m.target && f.source == m.source)
        };
        !wanted.mounts.iter().all(has)
    };
    // A container that was made and has not joined its second network yet, as a kill leaves it.
    let lacks_network = || {
        let is_in = |name: &str| found.networks.iter().any(|f| f.network.name == name);
        !wanted.networks.iter().all(|w| is_in(&w.network.name))
    };
    if !wanted.command.is_empty() && wanted.command != found.command {
        Some("command")
    } else if !wanted.entrypoint.is_empty() && wanted.entrypoint != found.entrypoint {
        Some("entrypoint")
    } else if lacks_env() {
        Some("environment")
    } else if lacks_label() {
        Some("label")
    } else if lacks_mount() {
        Some("mount")
    } else if lacks_network() {
        Some("network")
    } else {
        None
    }
}

/// Names a limit that can be changed while the container runs.
pub fn limits(wanted: &ContainerSpec, found: &ContainerSpec) -> Option<&'static str> {
    let (w, f) = (&wanted.limits, &found.limits);
    if w.memory_bytes != f.memory_bytes {
        Some("limit of memory")
    } else if w.nano_cpus != f.nano_cpus {
        Some("limit of processors")
    } else if w.memory_reservation_bytes.is_some() && w.memory_reservation_bytes != f.memory_reservation_bytes
    {
        Some("reservation of memory")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{EnvVar, Limits};

    #[test]
    fn what_the_image_adds_is_no_difference_and_what_lacks_is_one() {
        let wanted = ContainerSpec {
            environment: vec![EnvVar::parse("BACKEND=a:8000")],
            labels: [("a".to_owned(), "1".to_owned())].into(),
            ..ContainerSpec::default()
        };
        let mut found = wanted.clone();
        found.environment.push(EnvVar::parse("PATH=/bin"));
        found.labels.insert("of.image".into(), "x".into());
        found.command = vec!["start.sh".into()];
        assert_eq!(configuration(&wanted, &found), None);
        let by_compose = "com.docker.compose.oneoff";
        let ours = ContainerSpec {
            labels: [(by_compose.to_owned(), "False".to_owned()), (COMPOSE[1].to_owned(), "db".to_owned())]
                .into(),
            ..ContainerSpec::default()
        };
        let mut theirs = ours.clone();
        theirs.labels.remove(by_compose);
        assert_eq!(configuration(&ours, &theirs), None);
        theirs.labels.insert(COMPOSE[1].to_owned(), "other".to_owned());
        assert_eq!(configuration(&ours, &theirs), Some("label"));
        found.environment[0].value = "b:8000".into();
        assert_eq!(configuration(&wanted, &found), Some("environment"));
        found.limits = Limits { nano_cpus: Some(1), ..Limits::default() };
        assert_eq!(limits(&wanted, &found), Some("limit of processors"));
    }
}
