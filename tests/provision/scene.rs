//! A host with a platform: store, name server, Authentik, proxy's network, certificates of a local CA; and looks at
//! what provisioning made of it, by other eyes than Lifeboat's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::app::{BENCH, app_image};
use crate::support::authentik::TestAuthentik;
use crate::support::cli::{docker, labels, left_behind, try_docker, unique};
use crate::support::dns::TestDns;
use crate::support::host::{Said, TestHost};

/// Where the names of tenants lead.
pub const ADDRESS: &str = "127.0.0.1";

/// A host on which one tenant is provisioned; all of both goes with it.
pub struct Scene {
    pub host: TestHost,
    pub dns: TestDns,
    pub authentik: TestAuthentik,
    /// The tenant, which nothing else in Docker is named after.
    pub tenant: String,
    pub domain: String,
    proxy: String,
}

impl Scene {
    pub fn new(name: &str) -> Scene {
        let tenant = unique(name);
        let scene = Scene {
            host: TestHost::with_folder(),
            dns: TestDns::start(),
            authentik: TestAuthentik::start(),
            domain: format!("{tenant}.example"),
            proxy: unique("proxy"),
            tenant,
        };
        let labels = labels();
        docker(
            &[
                &["network", "create"][..],
                &labels.iter().map(String::as_str).collect::<Vec<_>>(),
                &[&scene.proxy],
            ]
            .concat(),
        );
        for folder in ["erp", "traefik", "given", "looks"] {
            fs::create_dir_all(scene.host.path(folder)).unwrap();
        }
        fs::write(
            scene.host.path("looks/logo.svg"),
            "<svg xmlns='http://www.w3.org/2000/svg'><circle r='9'/></svg>\n",
        )
        .unwrap();
        scene.issue_certificate(90);
        scene.write_configuration("");
        // Before `init`, so that the host's certificate names the tenant.
        scene.host.write_tenant_file(&scene.tenant, &scene.wishes());
        scene.host.init("here");
        scene
    }

    /// Writes lifeboat.toml; `more` stands behind it.
    pub fn write_configuration(&self, more: &str) {
        let path = |below: &str| self.host.path(below).display().to_string();
        let platform = format!(
            "[platform]\nprojects_dir = \"{erp}\"\nbench_dir = \"{BENCH}\"\ncountry = \"Ireland\"\nlanguage = \"English\"\n\
             timezone = \"Europe/Dublin\"\ncurrency = \"EUR\"\n\n\
             [platform.images]\napp = \"{app}\"\nmariadb = \"lifeboat-mariadb:dev\"\nredis = \"lifeboat-redis:dev\"\n\n\
             [platform.proxy]\nnetwork = \"{proxy}\"\ndynamic_dir = \"{traefik}\"\ngiven_dir = \"{given}\"\n\n\
             [platform.dns]\nzones_dir = \"{zones}\"\nserver = \"{server}\"\naddress = \"{ADDRESS}\"\nttl = \"60s\"\n\n\
             [platform.sso]\nurl = \"{sso}\"\ntoken_file = \"{token}\"\n\n\
             [platform.branding]\napp_name = \"Acme ERP\"\nlogo = \"{looks}/logo.svg\"\nprimary_color = \"#1a2b3c\"\n\n{more}\n",
            erp = path("erp"),
            app = app_image(),
            proxy = self.proxy,
            traefik = path("traefik"),
            given = path("given"),
            zones = self.dns.zones().display(),
            server = self.dns.server,
            sso = self.authentik.url(),
            token = self.authentik.token_file().display(),
            looks = path("looks"),
        );
        let store = format!("url = \"file://{}\"", path("store"));
        self.host.write_host_file(&store, &platform);
    }

    /// Returns what an operator says of the tenant before it is provisioned.
    pub fn wishes(&self) -> String {
        format!(
            "domain = \"{}\"\n\n[size]\napp_memory = \"256MiB\"\ndb_memory = \"512MiB\"\n\n[setup]\ncompany = \"Acme Tools\"\n\
             email = \"ann@acme.example\"\nfull_name = \"Ann Acme\"\n",
            self.domain
        )
    }

    /// Issues a certificate of a CA of this test, as an operator would hand it over.
    pub fn issue_certificate(&self, days: u32) {
        let given = self.host.path("given");
        let script = "set -e; cd \"$1\"
            [ -e ../ca.key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=test-ca -keyout ../ca.key -out ../ca.crt
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj \"/CN=${2%%.*}\" -keyout \"$2.key\" -out ../csr
            printf 'subjectAltName=DNS:%s' \"$2\" >../ext
            openssl x509 -req -in ../csr -CA ../ca.crt -CAkey ../ca.key -CAcreateserial -days \"$3\" -extfile ../ext -out \"$2.crt\"
            chmod 600 \"$2.key\"";
        let made = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&given)
            .args([&self.domain, &days.to_string()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// Returns the arguments of `lifeboat provision` for the tenant.
    pub fn provision<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [&["provision", &self.tenant, &self.domain][..], more].concat()
    }

    /// Runs `lifeboat provision` to its end.
    pub fn run(&self, more: &[&str]) -> Said {
        self.host.run(&self.provision(more))
    }

    /// Returns the journal's path.
    pub fn journal(&self) -> PathBuf {
        self.host.path("state/provision").join(format!("{}.jsonl", self.tenant))
    }

    /// Returns how many lines the journal has.
    pub fn journal_lines(&self) -> usize {
        fs::read(self.journal()).map_or(0, |text| text.iter().filter(|b| **b == b'\n').count())
    }

    /// Returns the container of a part.
    pub fn container(&self, part: &str) -> String {
        format!("{}-{part}", self.tenant)
    }

    /// Returns the names of the tenant's containers that run, without its own.
    pub fn running(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.tenant);
        let mut found: Vec<String> = docker(&["ps", "--filter", &filter, "--format", "{{.Names}}"])
            .lines()
            .map(|name| name.trim_start_matches(&format!("{}-", self.tenant)).to_owned())
            .collect();
        found.sort();
        found
    }

    /// Asks the frontend for a path by the tenant's domain, within its network; returns status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let program = format!(
            "import urllib.request, urllib.error\nr = urllib.request.Request('http://{}:8080{path}', headers={{'Host': '{}'}})\n\
             try:\n a = urllib.request.urlopen(r, timeout=20)\nexcept urllib.error.HTTPError as e:\n a = e\n\
             print(a.status)\nprint(a.read().decode())\n",
            self.container("frontend"),
            self.domain,
        );
        let answer = docker(&["exec", &self.container("backend"), "env/bin/python", "-c", &program]);
        let (status, body) = answer.split_once('\n').unwrap_or((&answer, ""));
        (status.parse().unwrap(), body.to_owned())
    }

    /// Runs SQL in the site's database, as its own account.
    pub fn sql(&self, query: &str) -> Vec<Vec<String>> {
        let program = format!(
            "import frappe, json\nfrappe.init({:?}, sites_path='.')\nfrappe.connect()\n\
             print(json.dumps([[str(v) for v in row] for row in frappe.db.sql({query:?})]))\n",
            self.domain
        );
        let (backend, workdir) = (self.container("backend"), format!("{BENCH}/sites"));
        let answer = docker(&["exec", "-w", &workdir, &backend, "../env/bin/python", "-c", &program]);
        serde_json::from_str(&answer).unwrap()
    }

    /// Returns everything that a second run must leave as it is: containers by id and start, files by content, rows.
    pub fn picture(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let filter = format!("label=com.docker.compose.project={}", self.tenant);
        for id in docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).lines() {
            let state = docker(&["inspect", "-f", "{{.Name}} {{.State.StartedAt}} {{.RestartCount}}", id]);
            found.insert(format!("container {id}"), state);
        }
        for folder in [
            self.host.path("erp"),
            self.host.path("traefik"),
            self.host.path("etc"),
            self.dns.zones().to_owned(),
        ] {
            files_below(&folder, &mut found);
        }
        for resource in ["providers/oauth2", "core/applications", "policies/bindings"] {
            found.insert(resource.to_owned(), Value::Array(self.authentik.rows(resource)).to_string());
        }
        let rows = "SELECT doctype, field, value FROM tabSingles WHERE doctype IN ('System Settings', 'Website Settings', \
                    'Navbar Settings', 'Global Defaults') ORDER BY 1, 2";
        found.insert("settings".to_owned(), format!("{:?}", self.sql(rows)));
        for table in ["tabCompany", "tabUser", "tabSocial Login Key", "tabLetter Head", "tabFile"] {
            let columns = "name, creation, modified";
            found.insert(
                table.to_owned(),
                format!("{:?}", self.sql(&format!("SELECT {columns} FROM `{table}` ORDER BY 1"))),
            );
        }
        found
    }

    /// Fails the test unless nothing of the tenant is left on the host; snapshots apart, which are kept.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(left_behind(&self.tenant), Vec::<String>::new());
        assert!(!self.host.path("erp").join(&self.tenant).exists(), "its folder is left");
        let file =
            fs::read_to_string(self.host.path("etc/tenants").join(format!("{}.toml", self.tenant))).unwrap();
        assert_eq!(file, self.wishes(), "its file is not as it was");
        assert_eq!(fs::read_dir(self.host.path("traefik")).unwrap().count(), 0, "the proxy's file is left");
        assert_eq!(self.dns.addresses(&self.domain), Vec::<std::net::Ipv4Addr>::new());
        assert!(self.authentik.rows("providers/oauth2").is_empty(), "a provider is left");
        assert!(self.authentik.rows("core/applications").is_empty(), "an application is left");
        assert!(!self.journal().exists(), "the journal is left");
    }
}

fn files_below(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&entry.metadata().unwrap().permissions()) & 0o777;
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.insert(path.display().to_string(), format!("{mode:o} {text}"));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let down = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sample/down");
        Command::new(down).args(["--prefix", &self.tenant]).output().ok();
        try_docker(&["network", "rm", &self.proxy]).ok();
    }
}
