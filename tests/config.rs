//! The configuration as an operator meets it: what the smallest file does, and how faults read.

#![expect(clippy::unwrap_used, reason = "a test may end so")]

use std::path::Path;
use std::time::Duration;

use lifeboat::config::{
    Ask, CatchUp, Config, Cpus, DrillPlace, DrillPolicy, Drilling, Faults, Login, Part, Role, SecretRef,
    SitesPlace, Size, SourceFile, StoreAddress, Surroundings, TenantSize, Times,
};
use lifeboat::error::{Error, Kind};
use lifeboat::id::{ComponentName, ProofLevel, TenantName};

const OPERATOR: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const SMALLEST: &str = "[store]\nurl = \"file:///srv/lifeboat\"\n[operators]\nrecipients = [\"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"]\n";
const PAGE: &str = include_str!("../docs/configuration.md");

fn read(files: &[(&str, &str)]) -> Result<Config, Faults> {
    let files: Vec<SourceFile> = files.iter().map(|(name, text)| SourceFile::new(*name, *text)).collect();
    let around = Surroundings { hostname: "box.example.com\n".into(), zone: jiff::tz::TimeZone::UTC };
    Config::from_files(Path::new("/etc/lifeboat"), &files, &around)
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    read(files).expect_err("a fault").as_slice().iter().map(ToString::to_string).collect()
}

fn host_faults(text: &str) -> Vec<String> {
    faults(&[("lifeboat.toml", text)])
}

fn tenant_faults(text: &str) -> Vec<String> {
    faults(&[("lifeboat.toml", SMALLEST), ("tenants/byrne.toml", text)])
}

fn tenant(config: &Config, name: &str) -> lifeboat::config::Tenant {
    config.tenant(&name.parse().unwrap()).unwrap().clone()
}

/// Returns the TOML block of the manual that starts with `mark`.
fn block(mark: &str) -> &'static str {
    PAGE.split("```toml\n").find(|b| b.starts_with(mark)).unwrap().split("```").next().unwrap()
}

#[test]
fn the_smallest_file_is_a_store_and_an_operator() {
    assert!(PAGE.contains(&format!("```toml\n{SMALLEST}```")), "the manual shows another smallest file");
    let config = read(&[("lifeboat.toml", SMALLEST)]).unwrap();
    let m = &config.machine;
    assert_eq!(m.host.as_str(), "box");
    assert_eq!(m.state_dir, Path::new("/var/lib/lifeboat"));
    assert_eq!(m.operators, [OPERATOR]);
    assert!(matches!(&m.store.address, StoreAddress::Local { path } if path == Path::new("/srv/lifeboat")));
    assert_eq!(m.listen.to_string(), "127.0.0.1:8470");
    assert_eq!(m.concurrency, 2);
    assert_eq!(m.drills, DrillPlace::AsInitSaid);
    assert!(m.pin.is_none());
    assert_eq!(config.tenants().count(), 0);
    let names: Vec<&str> = config.policies().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["hourly", "nightly", "weekly"]);
}

#[test]
fn every_key_of_the_manual_is_understood() {
    let files = [("lifeboat.toml", block("# host-full")), ("tenants/byrne.toml", block("# tenant-full"))];
    let config = read(&files).unwrap_or_else(|f| panic!("{f}"));
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
    let StoreAddress::S3 { bucket, prefix, credentials, path_style, .. } = &config.machine.store.address
    else {
        panic!("not s3")
    };
    assert_eq!((bucket.as_str(), prefix.as_str(), *path_style), ("backups", "lifeboat", true));
    let secret = SecretRef::File("/etc/lifeboat/secrets/secret-key".into());
    assert_eq!(credentials.as_ref().unwrap().secret_key, secret);
    let byrne = tenant(&config, "byrne");
    assert_eq!(byrne.policy.name, "nightly");
    let password = SecretRef::File("/etc/lifeboat/secrets/byrne-db".into());
    let database = byrne.database.on().unwrap();
    assert_eq!(database.login, Login::Password { user: Some("backup".into()), password });
    assert_eq!(byrne.redis_cache, Part::Skipped { reason: "rebuildable".into() });
    let states = byrne.components();
    assert_eq!(states[2], (ComponentName::RedisCache, Part::Skipped { reason: "rebuildable".into() }));
}

#[test]
fn a_policy_without_keys_is_nightly_and_the_shipped_file_says_so() {
    let config = read(&[("lifeboat.toml", SMALLEST), ("policies/empty.toml", "")]).unwrap();
    let named = |name: &str| config.policies().find(|p| p.name == name).unwrap().clone();
    let mut empty = named("empty");
    empty.name = "nightly".into();
    assert_eq!(empty, named("nightly"));
    assert_eq!(empty.backups.times, Times::At(vec![jiff::civil::time(2, 0, 0, 0)]));
    assert_eq!(empty.rpo, Duration::from_secs(26 * 3600));
    assert_eq!(empty.catch_up, CatchUp::IfRpoBroken);
    let DrillPolicy::Runs { calendar, level } = &empty.drill else { panic!("no drill") };
    assert_eq!(*level, ProofLevel::Alive);
    assert_eq!(empty.drilling, Drilling::default());
    assert_eq!(calendar.days, [false, false, false, false, false, false, true]);
    assert!(
        matches!(named("hourly").backups.times, Times::Every { interval, .. } if interval.as_secs() == 3600)
    );
}

#[test]
fn a_policy_of_the_folder_takes_the_place_of_a_shipped_one() {
    let policy = "[schedule]\nat = [\"22:30\", \"12:00\"]\ntimezone = \"Europe/Berlin\"\ndays = \"sat\"\n";
    let config = read(&[("lifeboat.toml", SMALLEST), ("policies/nightly.toml", policy)]).unwrap();
    let nightly = config.policies().find(|p| p.name == "nightly").unwrap();
    assert_eq!(
        nightly.backups.times,
        Times::At(vec![jiff::civil::time(12, 0, 0, 0), jiff::civil::time(22, 30, 0, 0)])
    );
    assert_eq!(nightly.backups.zone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(config.policies().count(), 3);
}

#[test]
fn all_faults_of_all_files_are_reported_at_once_by_file_and_line() {
    let found = faults(&[
        ("lifeboat.toml", "hots = \"x\"\n[store]\nurl = \"ftp://x\"\nupload_limit = \"fast\"\n"),
        ("policies/nightly.toml", "[schedule]\nat = \"2am\"\ntimezone = \"Berlin\"\n"),
        (
            "tenants/byrne.toml",
            "policy = \"nigthly\"\nsite = \"a/b\"\n\n[files]\npath = \"sites\"\n[database]\ncontaner = \"x\"\n",
        ),
    ]);
    let expected = [
        "lifeboat.toml:1: hots: unknown key; did you mean host?",
        "lifeboat.toml:3: store.url: not a store's address; write s3://bucket/prefix or file:///absolute/folder",
        "lifeboat.toml:4: store.upload_limit: \"fast\" is not a rate; write it as 20MiB/s or 100Mbit/s",
        "policies/nightly.toml:2: schedule.at: \"2am\" is not a time of day; write it as 02:00, from 00:00 to 23:59",
        "policies/nightly.toml:3: schedule.timezone: \"Berlin\" is not a time zone; write an IANA name such as Europe/Berlin, UTC, or host",
        "tenants/byrne.toml: database.container: missing; write container = \"name\", or skip = \"reason\"",
        "tenants/byrne.toml:1: policy: there is no policy \"nigthly\"; did you mean nightly?",
        "tenants/byrne.toml:2: site: \"a/b\" is not the name of a site's folder; write erp.example.com",
        "tenants/byrne.toml:5: files.path: \"sites\" is not an absolute path; start it with / and leave .. out",
        "tenants/byrne.toml:7: database.contaner: unknown key; did you mean container?",
    ];
    assert_eq!(found, expected);
}

#[test]
fn many_faults_are_one_error_with_the_exit_code_of_misuse() {
    let error: Error = read(&[("lifeboat.toml", "a = 1\nb = 2\n")]).unwrap_err().into();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(error.kind().exit_code(), 2);
    let text = error.to_string();
    assert!(text.starts_with("3 faults in the configuration\n"), "{text}");
    assert!(text.contains("\nlifeboat.toml:1: a: unknown key"), "{text}");
}

#[test]
fn no_secret_is_printed_even_where_it_should_not_stand() {
    let host = format!(
        "{SMALLEST}[notify]\nwebhook = \"hunter2://x\"\nping = [\"hunter2\"]\n[store.x]\ny = \"hunter2\"\n[drills]\nrun = \"here\"\n"
    );
    let identity = "[store]\nurl = \"s3://AKIA:hunter2@bucket\"\nendpoint = \"https://me:hunter2@x\"\naccess_key = \"hunter2\"\nsecret_key = \"hunter2\"\n[operators]\nrecipients = [\"AGE-SECRET-KEY-1HUNTER2\"]\n";
    let byrne = "site = \"s\"\n[database]\ncontainer = \"d\"\nuser = \"u\"\npassword = \"hunter2\"\n[redis_cache]\ncontainer = \"c\"\npassword = { x = \"hunter2\" }\n[redis_queue]\npassword = hunter2\n";
    for (host, tenant) in [(host.as_str(), ""), (identity, ""), (SMALLEST, byrne)] {
        let found = faults(&[("lifeboat.toml", host), ("tenants/byrne.toml", tenant)]).join("\n");
        assert!(!found.to_lowercase().contains("hunter2"), "{found}");
    }
    let literal = tenant_faults(
        "site = \"s\"\n[files]\npath = \"/s\"\n[database]\ncontainer = \"d\"\npassword = \"hunter2\"\n",
    );
    assert_eq!(
        literal,
        ["tenants/byrne.toml:6: database.password: a secret may not stand in a configuration file; \
          write password_file = \"/path\" or password = \"env:NAME\"; treat this one as known"]
    );
}

#[test]
fn an_identity_among_the_recipients_is_recognised() {
    let found = host_faults(
        "[store]\nurl = \"file:///s\"\n[operators]\nrecipients = [\n  \"AGE-SECRET-KEY-1QQQ\",\n  \"age1wrong\",\n]\n",
    );
    assert!(found[0].starts_with("lifeboat.toml:5: operators.recipients: a secret identity"), "{found:?}");
    assert!(found[1].starts_with("lifeboat.toml:6: operators.recipients: not an age recipient"), "{found:?}");
}

#[test]
fn keys_of_a_bucket_mean_nothing_for_a_folder_and_go_in_pairs() {
    let found = host_faults(&SMALLEST.replace("[operators]", "region = \"x\"\n[operators]"));
    assert_eq!(found, ["lifeboat.toml:3: store.region: means nothing for a file:// store"]);
    let s3 = SMALLEST.replace("file:///srv/lifeboat\"", "s3://bucket\"\naccess_key = \"env:A\"");
    let found = host_faults(&s3);
    assert!(
        found[0].starts_with("lifeboat.toml: store.secret_key: missing: access key and secret key"),
        "{found:?}"
    );
}

#[test]
fn a_drill_identity_stands_only_where_drills_run_here() {
    let with = |drills: &str| format!("{SMALLEST}[drills]\n{drills}\n");
    let here = read(&[("lifeboat.toml", &with("run = \"here\"\nidentity_file = \"id\""))]).unwrap();
    assert_eq!(here.machine.drills, DrillPlace::Here { identity_file: Some("/etc/lifeboat/id".into()) });
    let made_by_init = read(&[("lifeboat.toml", &with("run = \"here\""))]).unwrap();
    assert_eq!(made_by_init.machine.drills, DrillPlace::Here { identity_file: None });
    for bad in ["run = \"elsewhere\"\nidentity_file = \"id\"", "identity_file = \"id\"", "run = \"x\""] {
        assert_eq!(host_faults(&with(bad)).len(), 1, "{bad}");
    }
}

#[test]
fn a_component_without_a_section_is_a_gap_that_is_warned_of() {
    let text = "site = \"erp.example.com\"\n[database]\ncontainer = \"db\"\n[files]\ncontainer = \"app\"\n[certs]\nskip = \"at the proxy\"\n";
    let config = read(&[("lifeboat.toml", SMALLEST), ("tenants/byrne.toml", text)]).unwrap();
    let byrne = tenant(&config, "byrne");
    assert_eq!(byrne.config, Part::NotConfigured);
    assert_eq!(byrne.certs, Part::Skipped { reason: "at the proxy".into() });
    let SitesPlace::Container { container, path } = &byrne.files.on().unwrap().sites else { panic!("host") };
    assert_eq!((container.as_str(), path.as_str()), ("app", "/home/frappe/frappe-bench/sites"));
    let warned: Vec<&str> = config.warnings().iter().map(|w| w.key.as_str()).collect();
    assert_eq!(warned, ["config", "redis_cache", "redis_queue"]);
}

#[test]
fn a_skip_needs_a_reason_and_a_section_something_to_back_up() {
    let found = tenant_faults("site = \"s\"\n[redis_cache]\nskip = \"\"\n[files]\n[certs]\n[redis_queue]\n");
    assert!(found.iter().any(|f| f == "tenants/byrne.toml:3: redis_cache.skip: empty"), "{found:?}");
    for key in ["files.container", "certs.paths", "redis_queue.container"] {
        assert!(
            found.iter().any(|f| f.starts_with(&format!("tenants/byrne.toml: {key}: missing"))),
            "{found:?}"
        );
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn a_database_without_a_name_needs_the_sites_folder_to_read_it_from() {
    let found = tenant_faults("site = \"s\"\n[database]\ncontainer = \"db\"\n");
    assert!(
        found[0].starts_with("tenants/byrne.toml:2: database.name: missing, and without [files]"),
        "{found:?}"
    );
}

#[test]
fn two_tenants_never_share_a_database_a_redis_or_a_site() {
    let text = "site = \"s\"\n[database]\ncontainer = \"db\"\nname = \"x\"\n[redis_queue]\ncontainer = \"q\"\n[files]\npath = \"/sites\"\n";
    let found = faults(&[
        ("lifeboat.toml", SMALLEST),
        ("tenants/byrne.toml", text),
        ("tenants/dickinson.toml", text),
    ]);
    for key in ["database.name", "redis_queue.container", "site"] {
        let start = format!("tenants/dickinson.toml: {key}: also belongs to tenant byrne;");
        assert!(found.iter().any(|f| f.starts_with(&start)), "{start} is not in {found:#?}");
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn a_tenants_file_is_named_as_tenants_are() {
    let found = faults(&[("lifeboat.toml", SMALLEST), ("tenants/Byrne & Co.toml", "sit = 1\n")]);
    assert!(
        found.iter().any(|f| f.starts_with("tenants/Byrne & Co.toml: \"Byrne & Co\" is not a tenant name"))
    );
    assert!(found.iter().any(|f| f.contains(":1: sit: unknown key; did you mean site?")), "{found:?}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let policy = |text: &str| faults(&[("lifeboat.toml", SMALLEST), ("policies/p.toml", text)]).join("\n");
    assert!(
        policy("[schedule]\nat = \"02:00\"\nevery = \"1h\"\n").contains(":3: schedule.every: stands beside")
    );
    assert!(
        policy("[schedule]\nbetween = \"06:00-20:00\"\n").contains("means nothing without schedule.every")
    );
    let between = policy("[schedule]\nevery = \"4h\"\nbetween = \"06:00-08:00\"\n");
    assert!(between.contains(":3: schedule.between: shorter than schedule.every"), "{between}");
    assert!(policy("[schedule]\nevery = \"7m\"\n").contains("does not divide a day"));
    assert!(policy("[schedule]\njitter = \"4h\"\n").contains("as long as the window"));
    assert!(policy("[lock]\nhorizon = \"10000d\"\n").contains("366d at most"));
    assert!(policy("[drill]\nlevel = \"L5\"\n").contains("cannot be scheduled"));
    assert!(policy("[drill]\nlevel = \"L0\"\n").contains("is no drill"));
    assert!(policy("[targets]\nrpo = \"0s\"\n").contains("no time at all"));
    assert!(policy("[retention]\nkeep_last = 1000000\n").contains("it goes from 0 to 10000"));
}

#[test]
fn a_tenant_that_is_not_configured_is_named_with_the_nearest_one() {
    let text = "site = \"s\"\n[files]\npath = \"/sites\"\n";
    let config = read(&[("lifeboat.toml", SMALLEST), ("tenants/byrne.toml", text)]).unwrap();
    let error = config.tenant(&"bryne".parse::<TenantName>().unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(error.hint_text(), Some("did you mean byrne?"));
}

#[test]
fn a_folder_is_read_with_its_policies_and_tenants_and_loose_secrets_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lifeboat.toml", SMALLEST);
    write("policies/mine.toml", "[targets]\nrpo = \"1d\"\n");
    write("tenants/.byrne.toml.swp", "garbage");
    write("tenants/notes.txt", "garbage");
    write("open", "x");
    write("closed", "x");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("open", 0o644);
    mode("closed", 0o600);
    write(
        "tenants/byrne.toml",
        "policy = \"mine\"\nsite = \"s\"\n[files]\npath = \"/sites\"\n[database]\ncontainer = \"d\"\npassword_file = \"open\"\n\
         [redis_cache]\ncontainer = \"c\"\npassword_file = \"closed\"\n[redis_queue]\ncontainer = \"q\"\npassword_file = \"none\"\n",
    );
    let config = Config::load(dir.path()).unwrap();
    assert_eq!(tenant(&config, "byrne").policy.rpo.as_secs(), 86_400);
    let warned: Vec<(&str, Option<usize>)> = config
        .warnings()
        .iter()
        .filter(|w| w.key.ends_with("password_file"))
        .map(|w| (w.key.as_str(), w.line))
        .collect();
    assert_eq!(warned, [("database.password_file", Some(7)), ("redis_queue.password_file", Some(13))]);
}

#[test]
fn a_folder_without_a_host_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let found = Config::load(dir.path()).unwrap_err().to_string();
    assert!(found.starts_with("lifeboat.toml: cannot be read in /"), "{found}");
}

#[test]
fn folders_of_the_system_and_folders_in_each_other_are_refused_all_at_once() {
    for system in ["/", "/proc/x", "/sys", "/dev/shm", "/etc", "/var//lib/", "/tmp/."] {
        let found = host_faults(&format!("state_dir = \"{system}\"\n{SMALLEST}"));
        assert!(
            found[0].starts_with("lifeboat.toml:1: state_dir: ") && found[0].contains("of the system"),
            "{found:?}"
        );
        let found = host_faults(&SMALLEST.replace("/srv/lifeboat", system));
        assert!(found[0].starts_with("lifeboat.toml:2: store.url: "), "{found:?}");
    }
    for (state, store) in
        [("/srv/a", "/srv/a/b"), ("/srv/a/b", "/srv/a"), ("/srv/a", "/srv/a/"), ("/srv//a", "/srv/./a")]
    {
        let text = format!("state_dir = \"{state}\"\n{}", SMALLEST.replace("/srv/lifeboat", store));
        let found = host_faults(&text);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("lifeboat.toml:3: store.url: a store and the state folder"),
            "{found:?}"
        );
    }
    let host = format!(
        "state_dir = \"/srv/sites/s/private\"\n{}",
        SMALLEST.replace("/srv/lifeboat", "/srv/sites/s/public")
    );
    let byrne = "site = \"s\"\n[files]\npath = \"/srv/sites\"\n";
    let found = faults(&[("lifeboat.toml", &host), ("tenants/byrne.toml", byrne)]);
    assert_eq!(found.len(), 2, "{found:?}");
    for (line, key) in [("1", "state_dir"), ("3", "store.url")] {
        let begins = format!("lifeboat.toml:{line}: {key}: ");
        assert!(found.iter().any(|f| f.starts_with(&begins) && f.contains("tenant byrne")), "{found:?}");
    }
    assert!(read(&[("lifeboat.toml", SMALLEST), ("tenants/byrne.toml", byrne)]).is_ok());
}

const PLATFORM: &str = "[platform]\nprojects_dir = \"/srv/erp\"\n[platform.images]\napp = \"frappe/erpnext:v15.99.1\"\nmariadb = \"mariadb:10.11\"\nredis = \"redis:7.2\"\n";

#[test]
fn the_smallest_platform_is_a_folder_and_three_images() {
    let config = read(&[("lifeboat.toml", &format!("{SMALLEST}{PLATFORM}"))]).unwrap();
    let platform = config.machine.platform.unwrap();
    assert_eq!(platform.projects_dir, Path::new("/srv/erp"));
    assert_eq!(platform.bench_dir, "/home/frappe/frappe-bench");
    assert_eq!(platform.apps, ["erpnext"]);
    assert!(platform.proxy.is_none() && platform.dns.is_none() && platform.sso.is_none());
}

#[test]
fn all_faults_of_a_platform_are_reported_with_their_lines() {
    let text = format!(
        "{SMALLEST}[platform]\napps = [\"ERPNext\"]\ntimezone = \"Mars\"\n[platform.images]\napp = \"a b\"\nmariadb = \"m\"\n\
         [platform.proxy]\nresolver = \"a`b\"\n[platform.dns]\nzones_dir = \"zones\"\nserver = \"localhost\"\n[platform.sso]\n\
         url = \"sso\"\ntoken = \"abc\"\n[platform.branding]\nprimary_color = \"red\"\nskip = \"x\"\n"
    );
    let found = host_faults(&text);
    for key in [
        "lifeboat.toml: platform.projects_dir: missing",
        "lifeboat.toml:6: platform.apps:",
        "lifeboat.toml:7: platform.timezone:",
        "lifeboat.toml:9: platform.images.app:",
        "lifeboat.toml: platform.images.redis: missing",
        "lifeboat.toml: platform.proxy.network: missing",
        "lifeboat.toml:12: platform.proxy.resolver:",
        "lifeboat.toml:14: platform.dns.zones_dir:",
        "lifeboat.toml:15: platform.dns.server:",
        "lifeboat.toml: platform.dns.address: missing",
        "lifeboat.toml:17: platform.sso.url:",
        "lifeboat.toml:18: platform.sso.token:",
        "lifeboat.toml:20: platform.branding.primary_color:",
        "lifeboat.toml:21: platform.branding.skip:",
    ] {
        assert!(found.iter().any(|f| f.starts_with(key)), "{key} is not in {found:#?}");
    }
    assert!(!found.concat().contains("abc"), "a secret is shown: {found:#?}");
    assert_eq!(found.len(), 14, "{found:#?}");
}

#[test]
fn the_folder_of_projects_is_apart_from_store_and_state() {
    let text = format!("{SMALLEST}{PLATFORM}").replace("/srv/erp", "/srv/lifeboat/erp");
    let found = host_faults(&text);
    assert!(found.iter().any(|f| f.contains("store.url") && f.contains("projects")), "{found:#?}");
}

#[test]
fn a_tenant_of_a_domain_has_its_site_size_and_roles() {
    let text = "domain = \"acme.example\"\n[size]\nworkers = 2\napp_cpus = 1\ndb_memory = \"4GiB\"\nreplica = true\n\
                [app]\nbackend = [\"acme-backend\", \"acme-backend-2\"]\nscheduler = \"acme-scheduler\"\n[sso]\nskip = \"later\"\n";
    let config = read(&[("lifeboat.toml", SMALLEST), ("tenants/acme.toml", text)]).unwrap();
    let acme = tenant(&config, "acme");
    assert_eq!((acme.site.as_str(), acme.domain.as_deref()), ("acme.example", Some("acme.example")));
    assert_eq!(acme.roles[&Role::Backend], ["acme-backend", "acme-backend-2"]);
    assert_eq!(acme.app_containers.len(), 3);
    assert_eq!(
        (acme.size.workers, acme.size.app_cpus, acme.size.db_memory),
        (2, Cpus(1_000_000_000), Size(4 << 30))
    );
    assert!(acme.size.replica);
    assert_eq!(acme.size.app_memory, TenantSize::default().app_memory);
    assert_eq!(acme.sso, Part::Skipped { reason: "later".into() });
    assert_eq!(acme.branding, Part::NotConfigured);
}

#[test]
fn faults_of_what_a_tenant_is_provisioned_with_are_reported_with_their_lines() {
    let found = tenant_faults(
        "site = \"x\"\ndomain = \"Acme\"\n[size]\nworkers = 0\napp_cpus = \"many\"\ndb_cpus = 0\napp_memory = \"1MiB\"\n\
         db_memory_reserved = \"1TiB\"\n[setup]\ncurrency = \"euro\"\nemail = \"me\"\n[app]\nbackend = \"a b\"\n",
    );
    for key in [
        "tenants/byrne.toml:2: domain:",
        "tenants/byrne.toml:4: size.workers: 0 is out of bounds",
        "tenants/byrne.toml:5: size.app_cpus: wrong type: a number is expected, not a string",
        "tenants/byrne.toml:6: size.db_cpus:",
        "tenants/byrne.toml:7: size.app_memory:",
        "tenants/byrne.toml:8: size.db_memory_reserved: more than the limit",
        "tenants/byrne.toml:10: setup.currency:",
        "tenants/byrne.toml:11: setup.email:",
        "tenants/byrne.toml:13: app.backend:",
    ] {
        assert!(found.iter().any(|f| f.starts_with(key)), "{key} is not in {found:#?}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
}

#[test]
fn a_tenants_file_can_be_checked_before_it_is_written() {
    let one = "domain = \"acme.example\"\n[database]\ncontainer = \"acme-db\"\nname = \"_a\"\n";
    let config = read(&[("lifeboat.toml", SMALLEST), ("tenants/acme.toml", one)]).unwrap();
    let name = "byrne".parse().unwrap();
    let with = config.with_tenant_file(&name, "domain = \"byrne.example\"\n").unwrap();
    assert_eq!(tenant(&with, "byrne").site, "byrne.example");
    assert_eq!(config.tenants().count(), 1);
    let twice = config.with_tenant_file(&name, &one.replace("acme.example", "byrne.example")).unwrap_err();
    assert!(twice.to_string().contains("tenants/byrne.toml"), "{twice}");
    assert!(twice.to_string().contains("also belongs to tenant acme"), "{twice}");
}

#[test]
fn own_checks_of_drills_are_read_and_their_faults_are_told_with_all_others() {
    let using = "site = \"s\"\npolicy = \"own\"\n";
    let policy = |text: &str| {
        read(&[("lifeboat.toml", SMALLEST), ("policies/own.toml", text), ("tenants/byrne.toml", using)])
    };
    let good = "[drill]\npick = \"random\"\nwithin = \"30d\"\nledger_within = \"3d\"\n\
                [[drill.sql]]\nname = \"customers\"\nquery = \"SELECT 1\"\nexpect = \"1\"\n\
                [[drill.http]]\nname = \"ping\"\npath = \"/api/method/ping\"\n\
                [[drill.command]]\nname = \"apps\"\nrun = [\"bench\", \"version\"]\nexpect = \"erpnext\"\n";
    let config = policy(good).unwrap();
    let how = &tenant(&config, "byrne").policy.drilling;
    let names: Vec<&str> = how.own.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["customers", "ping", "apps"]);
    assert_eq!(how.ledger_within, Some(Duration::from_secs(3 * 86_400)));
    let ping = Ask::Http { path: "/api/method/ping".into(), status: 200, expect: None, login: false };
    assert_eq!(how.own[1].ask, ping);

    let bad = "[drill]\npick = \"newest\"\n[[drill.sql]]\nname = \"a\"\nquery = \"SELECT 1\"\n\
               [[drill.http]]\nname = \"b\"\npath = \"http://elsewhere/\"\nstatus = 9\n\
               [[drill.command]]\nname = \"c\"\n";
    let faults = policy(bad).unwrap_err().to_string();
    for fault in [
        "drill.pick: \"newest\"",
        "drill.sql.expect: missing",
        "drill.http.path: \"http://elsewhere/\" is not the path",
        "drill.http.status: 9 is out of bounds",
        "drill.command.run: missing",
    ] {
        assert!(faults.contains(fault), "{fault} is not in\n{faults}");
    }
    assert!(policy("[[drill.sql]]\nname = \"a\"\nsql = \"x\"\n").unwrap_err().to_string().contains("sql"));
    let twice = "[[drill.http]]\nname = \"a\"\npath = \"/a\"\n[[drill.http]]\nname = \"a\"\npath = \"/b\"\n";
    assert!(policy(twice).unwrap_err().to_string().contains("two own checks are called"));
}
