use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::facts::{Disk, Facts, TenantFacts};
use super::super::journal::Runs;
use super::super::queue::Waiting;
use super::super::report::{CheckRun, ComponentRun, JobReport, PhaseRun};
use super::super::run::{JobKind, Outcome, Run, Trigger};
use super::super::status::Status;
use super::drills::MOST_WORDS;
use super::*;
use crate::config::{Config, SourceFile, Surroundings};
use crate::error::Kind;
use crate::id::{ComponentName, DrillId, ProofLevel, SnapshotId, TenantName};
use crate::ops::backup::ComponentState;
use crate::ops::capacity::{Capacity, Fit, HostUse, PROFILES, Profile, TenantUse, Trend};
use crate::ops::drill::report::Outcome as Found;
use crate::ops::health::{Area, Check, Report, State, TenantHealth};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn config(tenants: usize) -> Config {
    let host = "host = \"h1\"\n[store]\nurl = \"file:///srv/store\"\n";
    let mut files = vec![
        SourceFile::new("lifeboat.toml", host),
        SourceFile::new("policies/locked.toml", "[lock]\nmode = \"compliance\"\nhorizon = \"30d\"\n"),
    ];
    for n in 0..tenants {
        let text = format!("site = \"s{n}\"\npolicy = \"locked\"\n[files]\npath = \"/sites\"\n");
        files.push(SourceFile::new(format!("tenants/t{n}.toml"), text));
    }
    let around = Surroundings { hostname: "h1".into(), zone: jiff::tz::TimeZone::UTC };
    Config::from_files(Path::new("/etc/lifeboat"), &files, &around).unwrap()
}

fn backup(tenant: &TenantName) -> Run {
    let planned = at("2026-05-04T02:00:00Z");
    let mut run = Run::new(tenant.clone(), JobKind::Backup, planned, Trigger::Scheduled);
    run.started = Some(planned);
    let component = |component| ComponentRun {
        component,
        state: ComponentState::Whole,
        read_bytes: 1000,
        new_bytes: 10,
        took_ms: 1500,
    };
    let report = JobReport {
        snapshot: Some(SnapshotId::new(planned, [1; 4])),
        added_bytes: Some(42),
        stored_bytes: Some(4200),
        components: ComponentName::ALL.map(component).into(),
        anomalies: Some(BTreeMap::from([("fork".to_owned(), 2), ("unheard-of".to_owned(), 1)])),
        ..JobReport::default()
    };
    run.concluded(at("2026-05-04T02:05:00Z"), Ok(report))
}

/// A drill that names more phases and checks than any does.
fn drill(tenant: &TenantName) -> Run {
    let planned = at("2026-05-03T04:00:00Z");
    let mut run = Run::new(tenant.clone(), JobKind::Drill, planned, Trigger::Scheduled);
    run.started = Some(planned);
    let words = || (0..2 * MOST_WORDS).map(|n| format!("word {n}"));
    let report = JobReport {
        drill: Some(DrillId::new(planned, [2; 4])),
        level: Some(ProofLevel::Loaded),
        rto_ms: Some(12_500),
        snapshot_age_seconds: Some(7200),
        phases: words().chain(words()).map(|phase| PhaseRun { phase, took_ms: 250 }).collect(),
        checks: words().map(|check| CheckRun { check, outcome: Found::Passed }).collect(),
        ..JobReport::default()
    };
    run.concluded(at("2026-05-03T04:01:00Z"), Ok(report))
}

/// All that can be told of so many tenants.
fn sight(tenants: usize) -> Sight {
    let (config, now) = (config(tenants), at("2026-05-04T12:00:00Z"));
    let names: Vec<TenantName> = config.tenants().map(|t| t.name.clone()).collect();
    let mut runs = Runs::default();
    let failed = |run: Run| run.concluded(now, Err(crate::error::Error::new(Kind::Store, "gone")));
    for name in &names {
        runs.put(backup(name));
        runs.put(drill(name));
        let mut last =
            Run::new(name.clone(), JobKind::Backup, at("2026-05-04T03:00:00Z"), Trigger::Scheduled);
        last.started = Some(last.planned);
        runs.put(failed(last));
    }
    let of_tenant = TenantFacts {
        locked_until: Some(at("2026-06-01T00:00:00Z")),
        anomalies: BTreeMap::from([("overwritten", 3), ("damaged", 1)]),
        copied: Some((now, true)),
        pruned: Some((now, false)),
    };
    let disk = |place| Disk { place, free_bytes: 5, size_bytes: 10 };
    Sight {
        status: Status::of(&config, &runs, |_| None, true, now),
        facts: Facts {
            read: Some(now),
            kit_confirmed: Some(now),
            disks: vec![disk("state"), disk("store")],
            tenants: names.iter().map(|n| (n.clone(), of_tenant.clone())).collect(),
        },
        waiting: names
            .iter()
            .map(|n| Waiting { tenant: n.clone(), kind: JobKind::Drill, planned: now })
            .collect(),
        ended: names
            .iter()
            .flat_map(|n| Outcome::ALL.map(|o| ((n.clone(), JobKind::Backup, o), 1)))
            .collect(),
        beat: now,
        health: Some(Arc::new(health(&names, now))),
        capacity: Some(Arc::new(capacity(&names, now))),
    }
}

/// A measurement of all of them, in which everything is known.
fn capacity(names: &[TenantName], now: Timestamp) -> Capacity {
    let trend = || Trend {
        bytes_a_day: Some(1.5),
        free_bytes: Some(7),
        full_on: Some(at("2026-08-01T00:00:00Z")),
        rests_on: "x".into(),
    };
    let of_tenant = |tenant: &TenantName| TenantUse {
        tenant: tenant.clone(),
        profile: "light",
        containers: 3,
        uptime_seconds: 60.0,
        cpus_used: 0.25,
        cpus_limit: Some(2.0),
        memory_bytes: 10,
        memory_limit_bytes: Some(20),
        database_bytes: Some(3),
        files_bytes: Some(4),
        disk_bytes: 7,
        connections: Some((5, 9, 151)),
    };
    let fit = |p: &Profile| Fit {
        profile: p.name,
        who: p.who,
        more: Some(4),
        limited_by: "memory",
        rests_on: "x".into(),
        needs: (p.cpus, p.memory_bytes, p.disk_bytes),
    };
    Capacity {
        format: 1,
        now,
        host: HostUse {
            cpus: 4.0,
            cpus_used: 1.0,
            memory_bytes: 100,
            memory_used_bytes: 50,
            disk: "/".into(),
            disk_free_bytes: Some(7),
            disk_bytes: Some(100),
        },
        tenants: names.iter().map(of_tenant).collect(),
        fits: PROFILES.iter().map(fit).collect(),
        disk: trend(),
        store: trend(),
        unknown: Vec::new(),
    }
}

/// A look at all of them, with a check that is made of two containers.
fn health(names: &[TenantName], now: Timestamp) -> Report {
    let checks = |state| {
        let all = Area::ALL.into_iter().flat_map(move |area| {
            ["reachable", "space"].map(|name| Check::new(area, name, State::Ok, "as it should be"))
        });
        all.chain([Check::new(Area::Containers, "space", state, "full")]).collect::<Vec<_>>()
    };
    Report {
        format: 1,
        now,
        seconds: 1.5,
        state: State::Failed,
        host: vec![Check::new(Area::Host, "docker", State::Unknown, "no answer")],
        tenants: names.iter().map(|n| TenantHealth::of(n.clone(), checks(State::Failed))).collect(),
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|l| !l.starts_with('#')).collect()
}

#[test]
fn each_tenant_adds_a_bounded_number_of_lines_whatever_its_runs_say() {
    let count = |tenants| lines(&text(&sight(tenants), Format::Plain).unwrap()).len();
    let (none, one, two, ten) = (count(0), count(1), count(2), count(10));
    assert_eq!(ten - one, 9 * (two - one));
    // docs/monitoring.md states both figures.
    assert!(none <= 40, "{none} without any tenant");
    assert!(two - one <= 370, "{} a tenant", two - one);
}

#[test]
fn what_is_known_has_a_line_and_what_is_not_has_none() {
    let page = text(&sight(1), Format::Plain).unwrap();
    for line in [
        "lifeboat_backup_last_success_timestamp_seconds{tenant=\"t0\"} 1777860000",
        "lifeboat_component_read_bytes{tenant=\"t0\",component=\"redis-queue\"} 1000",
        "lifeboat_component_duration_seconds{tenant=\"t0\",component=\"files\"} 1.5",
        "lifeboat_component_state{tenant=\"t0\",component=\"certs\",state=\"whole\"} 1",
        "lifeboat_backup_timeliness{tenant=\"t0\",state=\"on-time\"} 1",
        "lifeboat_last_run_outcome{tenant=\"t0\",kind=\"backup\",outcome=\"failed\"} 1",
        "lifeboat_last_run_error{tenant=\"t0\",kind=\"backup\",error=\"store\"} 1",
        "lifeboat_rto_seconds{tenant=\"t0\"} 12.5",
        "lifeboat_drill_phase_duration_seconds{tenant=\"t0\",phase=\"word 0\"} 0.5",
        "lifeboat_anomalies{tenant=\"t0\",anomaly=\"overwritten\"} 3",
        "lifeboat_anomalies{tenant=\"t0\",anomaly=\"fork\"} 2",
        "lifeboat_anomalies{tenant=\"t0\",anomaly=\"other\"} 1",
        "lifeboat_anomalies{tenant=\"t0\",anomaly=\"missing\"} 0",
        "lifeboat_lock_horizon_seconds{tenant=\"t0\"} 2592000",
        "lifeboat_prune_good{tenant=\"t0\"} 0",
        "lifeboat_runs_total{tenant=\"t0\",kind=\"backup\",outcome=\"missed\"} 1",
        "lifeboat_health_check_state{tenant=\"t0\",area=\"containers\",check=\"space\"} 2",
        "lifeboat_health_check_state{tenant=\"t0\",area=\"database\",check=\"reachable\"} 0",
        "lifeboat_health_check_state{area=\"host\",check=\"docker\"} 3",
        "lifeboat_health_duration_seconds 1.5",
        "lifeboat_capacity_full_timestamp_seconds{place=\"tenants\"} 1785542400",
        "lifeboat_capacity_clients_left{profile=\"heavy\"} 4",
        "lifeboat_tenant_connections_limit{tenant=\"t0\"} 151",
        "lifeboat_tenant_cpus{tenant=\"t0\"} 0.25",
        "lifeboat_job_waiting{tenant=\"t0\",kind=\"drill\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
    }
    let nothing = Status::of(&config(1), &Runs::default(), |_| None, true, at("2026-05-04T12:00:00Z"));
    let unknown =
        Sight { status: nothing, facts: Facts::default(), health: None, capacity: None, ..sight(0) };
    let page = text(&unknown, Format::Plain).unwrap();
    for family in [
        "component_",
        "proof_",
        "rto_seconds{",
        "anomalies",
        "lock_end",
        "copy_",
        "backup_age",
        "health_",
        "capacity_",
    ] {
        assert!(!page.contains(&format!("\nlifeboat_{family}")), "{family} in\n{page}");
    }
}

#[test]
fn no_label_is_one_that_prometheus_itself_sets_and_each_family_is_told_once() {
    let page = text(&sight(2), Format::OpenMetrics).unwrap();
    for taken in ["job=", "instance=", "le=", "quantile="] {
        assert!(!page.contains(&format!("{{{taken}")) && !page.contains(&format!(",{taken}")), "{taken}");
    }
    let types: Vec<&str> = page.lines().filter(|l| l.starts_with("# TYPE ")).collect();
    assert_eq!(types.len(), types.iter().collect::<BTreeSet<_>>().len());
    assert!(page.ends_with("# EOF\n") && !page.contains("{}"));
    assert_eq!(page.matches("# EOF").count(), 1);
}

#[test]
fn whoever_does_not_ask_for_open_metrics_gets_the_older_format() {
    let prometheus = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    assert_eq!(Format::asked(Some(prometheus)), Format::OpenMetrics);
    assert_eq!(Format::asked(Some("*/*")), Format::Plain);
    assert_eq!(Format::asked(None), Format::Plain);
}
