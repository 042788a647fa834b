//! A folder of files into one checked configuration, or into all that is wrong with it.
//!
//! Owns which files there are and the rules that span several. Knows nothing of single keys.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::check::{Checker, Findings};
use super::fault::{Fault, Faults, did_you_mean};
use super::file::SourceFile;
use super::policy::Policy;
use super::secret::SecretRef;
use super::tenant::{SitesPlace, Tenant};
use super::{Config, machine, places, policy, raw, tenant};
use crate::error::{Error, Kind};
use crate::id::{Sha256, TenantName};

/// The policies that need no file; a file of the same name takes the place of one.
const SHIPPED: [(&str, &str); 3] = [
    ("policies/nightly.toml", include_str!("../../policies/nightly.toml")),
    ("policies/hourly.toml", include_str!("../../policies/hourly.toml")),
    ("policies/weekly.toml", include_str!("../../policies/weekly.toml")),
];

/// The policy of a tenant that names none.
const DEFAULT_POLICY: &str = "nightly";

/// The longest configuration file, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// What a configuration takes from the machine it is read on.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What the machine calls itself.
    pub hostname: String,
    /// Its time zone.
    pub zone: TimeZone,
}

impl Surroundings {
    /// Asks this machine; where it has no time zone, it counts as UTC.
    pub fn here() -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Surroundings { hostname, zone: TimeZone::try_system().unwrap_or(TimeZone::UTC) }
    }
}

/// By what a configuration's files are known to have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The hash of `lifeboat.toml`.
    pub host: Sha256,
    /// The hash of all policies and tenants.
    pub rest: Sha256,
}

impl Marks {
    /// Reads the files of a folder; none where one of them cannot be read.
    pub fn of(dir: &Path) -> Option<Marks> {
        let mut faults = Vec::new();
        let files = read_all(dir, &mut faults);
        let (mut host, mut rest) = (String::new(), String::new());
        for file in &files {
            let to = if file.name == Path::new("lifeboat.toml") { &mut host } else { &mut rest };
            to.push_str(&format!("{}\0{}\0", file.name.display(), file.text));
        }
        let of = |text: String| Sha256::of(text.as_bytes());
        faults.is_empty().then(|| Marks { host: of(host), rest: of(rest) })
    }
}

impl Config {
    /// Reads and checks `dir`: `lifeboat.toml`, `policies/*.toml`, `tenants/*.toml`.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(dir: &Path) -> Result<Config, Faults> {
        let mut findings = Findings::default();
        let files = read_all(dir, &mut findings.faults);
        let config = check(dir, &files, &Surroundings::here(), &mut findings);
        look_at_secrets(&mut findings);
        finish(config, findings)
    }

    /// Checks one more tenant's file beside this configuration, as it would be read from its folder.
    ///
    /// The file takes the place of the tenant that it names, where there is one.
    ///
    /// # Errors
    /// Every fault of the file, and of what it shares with other tenants.
    pub fn with_tenant_file(&self, name: &TenantName, text: &str) -> Result<Config, Faults> {
        let file = SourceFile::new(Path::new("tenants").join(format!("{name}.toml")), text);
        let mut findings = Findings::default();
        let mut config = self.clone();
        let files = [file];
        let read = tenants(&self.dir, &files, &self.policies, &mut findings);
        config.tenants.extend(read);
        tenants_are_apart(&config.tenants, &files, &mut findings);
        finish(Some(config), findings)
    }

    /// Checks files that are already read; looks at nothing on disk.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_files(dir: &Path, files: &[SourceFile], around: &Surroundings) -> Result<Config, Faults> {
        let mut findings = Findings::default();
        let config = check(dir, files, around, &mut findings);
        finish(config, findings)
    }
}

fn finish(config: Option<Config>, mut findings: Findings) -> Result<Config, Faults> {
    findings.warnings.sort();
    match (config, Faults::of(findings.faults)) {
        (_, Some(faults)) => Err(faults),
        (Some(mut config), None) => {
            config.warnings = findings.warnings;
            Ok(config)
        }
        // A check gives nothing only where it noted why; this keeps a slip there from becoming a panic.
        (None, None) => Err(Faults::one("lifeboat.toml", "could not be checked, for an unknown reason")),
    }
}

fn read_all(dir: &Path, faults: &mut Vec<Fault>) -> Vec<SourceFile> {
    let mut names = vec![PathBuf::from("lifeboat.toml")];
    for folder in ["policies", "tenants"] {
        match std::fs::read_dir(dir.join(folder)) {
            Ok(entries) => names.extend(entries.filter_map(|e| toml_name(folder, &e.ok()?))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => faults.push(Fault::of_file(folder, format!("cannot be read: {e}"))),
        }
    }
    names.sort();
    let mut files = Vec::new();
    for name in names {
        match read_one(&dir.join(&name)) {
            Ok(text) => files.push(SourceFile { name, text }),
            Err(e) => faults.push(unread(dir, name, &e)),
        }
    }
    files
}

/// Says of a file that it cannot be read; where the host file is missing, the folder is most likely another one.
fn unread(dir: &Path, name: PathBuf, e: &std::io::Error) -> Fault {
    let mut fault = Fault::of_file(name, format!("cannot be read in {}: {e}", dir.display()));
    if e.kind() == std::io::ErrorKind::NotFound {
        fault.hint = Some("another folder is named with --config DIR or LIFEBOAT_CONFIG".to_owned());
    }
    fault
}

/// Names a TOML file in `folder`; what editors leave behind is passed over.
fn toml_name(folder: &str, entry: &std::fs::DirEntry) -> Option<PathBuf> {
    let name = PathBuf::from(entry.file_name());
    let is_toml = name.extension().is_some_and(|x| x == "toml");
    let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
    (is_toml && !hidden).then(|| Path::new(folder).join(name))
}

fn read_one(path: &Path) -> std::io::Result<String> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        // A FIFO would be waited for.
        return Err(std::io::Error::other("is not a file"));
    }
    if about.len() > FILE_BYTES {
        return Err(std::io::Error::other("longer than a configuration file is"));
    }
    std::fs::read_to_string(path)
}

/// Checks all files; none where there is no configuration to be had.
fn check(dir: &Path, files: &[SourceFile], around: &Surroundings, findings: &mut Findings) -> Option<Config> {
    let policies = policies(dir, files, around, findings);
    let tenants = tenants(dir, files, &policies, findings);
    tenants_are_apart(&tenants, files, findings);
    let Some(file) = files.iter().find(|f| f.name == Path::new("lifeboat.toml")) else {
        if findings.faults.is_empty() {
            findings.faults.push(Fault::of_file("lifeboat.toml", "missing"));
        }
        return None;
    };
    let raw: raw::Host = file.parse(&mut findings.faults)?;
    let mut checker = Checker::new(file, dir, findings);
    let machine = machine::check(&raw, &around.hostname, &mut checker)?;
    places::are_apart(&raw, &machine, &tenants, &mut checker);
    Some(Config { dir: dir.to_owned(), machine, policies, tenants, warnings: Vec::new() })
}

fn policies(
    dir: &Path,
    files: &[SourceFile],
    around: &Surroundings,
    findings: &mut Findings,
) -> BTreeMap<String, Arc<Policy>> {
    let shipped = SHIPPED.map(|(name, text)| SourceFile::new(name, text));
    let mut all = BTreeMap::new();
    // Those of the folder come last, and so take the place of shipped ones.
    for file in shipped.iter().chain(files.iter().filter(|f| f.name.starts_with("policies"))) {
        let Some(raw) = file.parse::<raw::Policy>(&mut findings.faults) else { continue };
        let policy = policy::check(file.stem(), &raw, &around.zone, &mut Checker::new(file, dir, findings));
        all.insert(policy.name.clone(), Arc::new(policy));
    }
    all
}

fn tenants(
    dir: &Path,
    files: &[SourceFile],
    policies: &BTreeMap<String, Arc<Policy>>,
    findings: &mut Findings,
) -> BTreeMap<TenantName, Tenant> {
    let mut all = BTreeMap::new();
    for file in files.iter().filter(|f| f.name.starts_with("tenants")) {
        let name = file.stem().parse::<TenantName>();
        if let Err(error) = &name {
            Checker::new(file, dir, findings).fault(None, "", error);
        }
        let Some(raw) = file.parse::<raw::Tenant>(&mut findings.faults) else { continue };
        let mut checker = Checker::new(file, dir, findings);
        let policy = match &raw.policy {
            None => policies.get(DEFAULT_POLICY).cloned(),
            some => checker.parse("policy", some, |text| policy_named(text, policies)),
        };
        // A faulty name must not hide the faults of the rest, so they are looked for under another.
        let checked_as = name.as_ref().ok().cloned().or_else(|| "unnamed".parse().ok());
        let tenant = checked_as.and_then(|n| tenant::check(&n, &raw, policy, &mut checker));
        if let (Ok(name), Some(tenant)) = (name, tenant) {
            all.insert(name, tenant);
        }
    }
    all
}

fn policy_named(text: &str, policies: &BTreeMap<String, Arc<Policy>>) -> Result<Arc<Policy>, Error> {
    policies.get(text).cloned().ok_or_else(|| {
        let names: Vec<&str> = policies.keys().map(String::as_str).collect();
        let hint = did_you_mean(text, names.iter().copied())
            .unwrap_or_else(|| format!("there are {}", names.join(", ")));
        Error::new(Kind::Config, format!("there is no policy {text:?}")).hint(hint)
    })
}

/// Refuses two tenants with the same database, Redis or site: one of them would be overwritten by the other's restore.
fn tenants_are_apart(tenants: &BTreeMap<TenantName, Tenant>, files: &[SourceFile], findings: &mut Findings) {
    let mut seen: BTreeMap<String, (&'static str, &TenantName)> = BTreeMap::new();
    for tenant in tenants.values() {
        for (key, place) in places(tenant) {
            let Some((_, other)) = seen.get(&place) else {
                seen.insert(place, (key, &tenant.name));
                continue;
            };
            let name = files.iter().map(|f| &f.name).find(|n| n.ends_with(format!("{}.toml", tenant.name)));
            findings.faults.push(Fault {
                file: name.cloned().unwrap_or_default(),
                line: None,
                key: key.to_owned(),
                what: if *other == &tenant.name {
                    "used twice by this tenant".to_owned()
                } else {
                    format!("also belongs to tenant {other}")
                },
                hint: Some("what tenants share belongs to the tenant `platform`".to_owned()),
            });
        }
    }
}

/// Names what only one tenant may have, each by the key that says it.
fn places(tenant: &Tenant) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if let Some(d) = tenant.database.on() {
        // Without a name it is the site's, which is told apart by `files`.
        all.extend(d.name.as_ref().map(|n| ("database.name", format!("database {} {n}", d.container))));
    }
    if let Some(r) = tenant.redis_cache.on() {
        all.push(("redis_cache.container", format!("redis {}", r.container)));
    }
    if let Some(r) = tenant.redis_queue.on() {
        all.push(("redis_queue.container", format!("redis {}", r.container)));
    }
    all.extend(tenant.files.on().map(|f| match &f.sites {
        SitesPlace::Container { container, path } => {
            ("site", format!("site {container}:{path}/{}", tenant.site))
        }
        SitesPlace::Host { path } => ("site", format!("site {}/{}", path.display(), tenant.site)),
    }));
    all
}

/// Notes secrets that are empty, and warns of those that lack or that others may read.
fn look_at_secrets(findings: &mut Findings) {
    for (place, secret) in std::mem::take(&mut findings.secrets) {
        if secret.is_empty() {
            let hint = Some("keep the secret there, or take the key away".to_owned());
            findings.faults.push(Fault { what: format!("{secret} is empty"), hint, ..place });
        } else if let Some((what, hint)) = doubt(&secret) {
            findings.warnings.push(Fault { what, hint, ..place });
        }
    }
}

/// Says what speaks against a secret's place, and what to do.
fn doubt(secret: &SecretRef) -> Option<(String, Option<String>)> {
    match secret {
        SecretRef::Env(name) => {
            let hint = "the service has it from its unit; this command has not".to_owned();
            std::env::var_os(name).is_none().then(|| (format!("{secret} is not set here"), Some(hint)))
        }
        SecretRef::File(path) => match std::fs::metadata(path) {
            Ok(about) if about.permissions().mode() & 0o007 != 0 => {
                let hint = format!("chmod 600 {}", path.display());
                Some(("readable by everybody on this host".to_owned(), Some(hint)))
            }
            Ok(_) => None,
            Err(e) => Some((format!("{secret}: {e}"), None)),
        },
    }
}
