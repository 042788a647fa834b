//! The rules, their tests and the page that explains them, judged by promtool and by each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::support::prometheus::{Setup, promtool, repository};

fn shipped(name: &str) -> PathBuf {
    repository().join("deploy/prometheus").join(name)
}

/// Reads a YAML file by Python, as JSON.
pub fn yaml(path: &std::path::Path) -> serde_json::Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = std::process::Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns all alert rules.
pub fn alerts() -> Vec<serde_json::Value> {
    let rules = yaml(&shipped("lifeboat.rules.yml"));
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|g| g["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn prometheus_takes_its_configuration_and_each_rule_does_what_its_test_says() {
    let setup = Setup::new("token", &[]);
    let said = promtool(setup.path(), &["check", "config", "prometheus.yml"], "");
    assert!(said.contains("is valid prometheus config"), "{said}");
    promtool(setup.path(), &["check", "rules", "lifeboat.rules.yml"], "");
    let said = promtool(setup.path(), &["test", "rules", "lifeboat.rules.test.yml"], "");
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn every_alert_is_tested_to_fire_and_not_to_fire_and_is_explained() {
    let tests = yaml(&shipped("lifeboat.rules.test.yml"));
    let tests = tests["tests"].as_array().unwrap();
    let manual = fs::read_to_string(repository().join("docs/monitoring.md")).unwrap();
    let explained: BTreeSet<&str> = manual.lines().filter_map(|l| l.strip_prefix("### ")).collect();
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        assert!(explained.contains(name.as_str()), "docs/monitoring.md does not explain {name}");
        let expected = format!("{{alertname=\"{name}\"}}");
        let of_it = tests.iter().flat_map(|t| {
            let asked = t["promql_expr_test"].as_array().unwrap();
            let fires = asked.iter().any(|a| a["exp_samples"][0]["labels"] == expected);
            let quiet = asked.iter().any(|a| a["exp_samples"].as_array().unwrap().is_empty());
            fires.then_some(quiet)
        });
        let quiet: Vec<bool> = of_it.collect();
        assert!(!quiet.is_empty() && quiet.iter().all(|q| *q), "{name} is not tested both ways");
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name} is {severity}");
        for annotation in ["summary", "description", "action"] {
            assert!(
                alert["annotations"][annotation].as_str().is_some_and(|t| t.len() > 10),
                "{name}: {annotation}"
            );
        }
        let anchor = format!("docs/monitoring.md#{}", name.to_lowercase());
        assert_eq!(alert["annotations"]["runbook"], anchor);
        let section = manual.split(&format!("### {name}\n")).nth(1).unwrap();
        assert!(
            section.starts_with(&format!("{severity}. ")),
            "docs/monitoring.md names another severity of {name}"
        );
        assert!(names.insert(name), "an alert is there twice");
    }
    let spare: Vec<_> = explained.iter().filter(|e| !names.contains(**e)).collect();
    assert!(spare.is_empty(), "docs/monitoring.md explains what is not there: {spare:?}");
}
