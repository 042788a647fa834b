//! What `discover` proposes is a tenant file that works as it is.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use support::cli::docker;
use support::host::TestHost;
use support::tenant::TestTenant;

#[test]
fn a_proposed_tenant_file_names_the_site_and_is_backed_up_as_it_is() {
    let tenant = TestTenant::start("found");
    tenant.create_sample();
    let host = TestHost::with_folder();
    let found = host.run(&["discover", "--project", tenant.project()]).expect(0).out;
    assert!(found.contains(&format!("site = \"{}\"\n", tenant.site())), "{found}");
    host.write_tenant_file("found", &found);
    host.run(&["config", "check"]).expect(0);
    host.init("here");
    let said = host.run(&["backup", "found"]).expect(0);
    assert!(said.out.contains("database"), "{}", said.out);

    // A second site of the same bench is named, since the proposal is for one.
    let sites = tenant.sites_path();
    let second = format!("mkdir {sites}/a.example && echo '{{}}' >{sites}/a.example/site_config.json");
    docker(&["exec", &tenant.container("app-double"), "sh", "-c", &second]);
    let found = host.run(&["discover", "--project", tenant.project()]).expect(0).out;
    assert!(found.contains("site = \"a.example\"  # this bench also has"), "{found}");
    assert!(found.contains(tenant.site()), "{found}");

    let said = host.run(&["discover", "--project", "nowhere"]).expect(1);
    assert!(said.err.contains("compose project nowhere"), "{}", said.err);

    // The daemon that the configuration names is the one that every verb speaks to, whatever the environment names.
    let store = format!("url = \"file://{}\"", host.path("store").display());
    let with_daemon = |daemon: &str, environment: &str, args: &[&str]| {
        host.write_host_file(&store, &format!("[docker]\nhost = \"{daemon}\""));
        support::host::said(host.command(args).env("DOCKER_HOST", environment).output().unwrap())
    };
    let (real, gone) =
        ("unix:///var/run/docker.sock", format!("unix://{}", host.path("gone.sock").display()));
    let verbs: [&[&str]; 4] = [&["discover"], &["backup", "found"], &["doctor"], &["health", "found"]];
    for verb in verbs {
        let said = with_daemon(&gone, real, verb);
        let text = said.out + &said.err;
        assert!(said.code != 0 && text.contains("gone.sock"), "{verb:?}: {text}");
    }
    with_daemon(real, &gone, &["backup", "found"]).expect(0);
}
