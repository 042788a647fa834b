//! The main job, end to end, with the real binary on a whole tenant: the first test to look at.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use support::host::TestHost;
use support::tenant::TestTenant;

#[test]
fn a_lost_tenant_comes_back_equal_with_one_command() {
    let tenant = TestTenant::start("tour");
    tenant.create_sample();
    let host = TestHost::with_folder();
    host.add_tenant("tour", &tenant);
    host.init("here");
    host.run(&["backup", "tour"]).expect(0);
    let (dump, files) = (tenant.dump(), kept(&tenant));

    tenant.wreck();
    host.run_unlocked(&["restore", "tour"]).expect(0);

    assert!(tenant.dump() == dump, "the database came back otherwise");
    assert_eq!(kept(&tenant), files);
    let status = host.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status[0]["tenants"][0]["light"], "yellow", "backed up, never drilled: {status:?}");

    host.run(&["drill", "tour"]).expect(0);
    let status = host.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status[0]["tenants"][0]["light"], "green", "{status:?}");
}

/// Returns the site's files with their hashes, without the logs, which no backup keeps.
fn kept(tenant: &TestTenant) -> std::collections::BTreeMap<String, String> {
    let mut files = tenant.files();
    files.retain(|path, _| !path.starts_with("./logs/"));
    files
}
