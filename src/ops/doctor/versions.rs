//! Versions: what runs here, as far as it decides whether a restore elsewhere will fit.

use futures::future::join_all;

use super::{Diagnosis, LIMIT, Question, Weight};
use crate::config::{Config, Tenant};
use crate::host::Docker;
use crate::ops::health::{Versions, versions_of};

const ASKED: Question = Question::Versions;

/// The prefix by which age finds its plugins.
const PLUGIN: &str = "age-plugin-";

/// Names versions of Lifeboat, Docker, age plugins, and of each tenant's servers.
pub(super) async fn look(d: &mut Diagnosis, config: &Config, docker: Option<&Docker>) {
    d.say(ASKED, Weight::Good, format!("lifeboat {}", env!("CARGO_PKG_VERSION")));
    plugins(d, config);
    let Some(docker) = docker else { return };
    match tokio::time::timeout(LIMIT, docker.machine()).await {
        Ok(Ok(machine)) => d.say(
            ASKED,
            Weight::Good,
            format!(
                "docker {}, {} processors, {} MB of memory",
                machine.version,
                machine.cpus,
                machine.memory_bytes / 1_000_000
            ),
        ),
        Ok(Err(e)) => d.say(ASKED, Weight::Look, format!("docker does not say its version: {e}")),
        Err(_) => d.say(ASKED, Weight::Look, "docker does not say its version in time"),
    }
    let tenants: Vec<&Tenant> = config.tenants().collect();
    let asked = join_all(tenants.iter().map(|t| versions_of(docker, t, LIMIT))).await;
    for (tenant, versions) in tenants.iter().zip(asked) {
        let Versions { known, unknown } = versions;
        let weight = if unknown.is_empty() { Weight::Good } else { Weight::Look };
        let all: Vec<String> = known.into_iter().chain(unknown).collect();
        if !all.is_empty() {
            d.say(ASKED, weight, format!("tenant {}: {}", tenant.name, all.join(", ")));
        }
    }
}

/// Names the age plugins that operators' recipients need, and whether they are there.
fn plugins(d: &mut Diagnosis, config: &Config) {
    let members = crate::ops::state::State::peek(&config.machine.state_dir).membership().ok().flatten();
    let operators = config.machine.operators.iter().chain(members.iter().flat_map(|m| &m.operators));
    // A plugin's recipient is `age1name1…`; the plain one has no second `1` before its data ends.
    let mut names: Vec<&str> = operators.filter_map(|o| plugin_of(o)).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let program = format!("{PLUGIN}{name}");
        match on_path(&program) {
            true => d.say(ASKED, Weight::Good, format!("{program} is there")),
            false => d.say(
                ASKED,
                Weight::Bad,
                format!("{program} is not on the PATH, so nothing can be sealed to an operator of it"),
            ),
        }
    }
}

/// Returns the plugin's name in a recipient `age1name1…`; none in a recipient of age itself.
fn plugin_of(recipient: &str) -> Option<&str> {
    let (head, _) = recipient.rsplit_once('1')?;
    head.strip_prefix("age1").filter(|name| !name.is_empty())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_told_from_its_recipient() {
        assert_eq!(plugin_of("age1yubikey1q2w3e4r"), Some("yubikey"));
        assert_eq!(plugin_of("age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"), None);
    }
}
