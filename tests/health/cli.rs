//! What the command line says of a tenant that is well, and how much it uses.

use std::time::Duration;

use rustix::process::Signal;

use crate::scene::Scene;

/// Looks once, again and again, and at the capacity.
pub fn all(scene: &Scene) {
    let said = scene.host.run(&["health"]).expect(0);
    let sentence =
        "0 of 1 tenant well.\n  byrne is not known well enough: no container is known that answers";
    assert!(said.out.starts_with(sentence), "{}", said.out);
    assert!(!said.out.contains("redis-queue memory"), "what is well is not told in detail: {}", said.out);
    assert!(scene.host.run(&["health", "byrne", "--all"]).expect(0).out.contains("redis-queue memory"));
    let report = &scene.host.run(&["health", "--json"]).expect(0).json()[0];
    assert_eq!((report["format"].as_u64(), report["state"].as_str()), (Some(1), Some("unknown")));
    assert_eq!(report["tenants"][0]["checks"][0]["area"], "containers");
    assert!(scene.host.run(&["health", "nobody"]).expect(2).err.contains("there is byrne"));
    watch(scene);
    capacity(scene);
}

fn watch(scene: &Scene) {
    let mut running = scene.host.start(&["health", "--watch", "--every", "1", "--json"]);
    // Two looks at least, or the limit of the test.
    for _ in 0..600 {
        if running.out().lines().count() >= 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    running.signal(Signal::INT);
    let said = running.wait().expect(0);
    assert!(said.json().len() >= 2, "{}", said.out);
}

fn capacity(scene: &Scene) {
    let measured = &scene.host.run(&["capacity", "--json"]).expect(0).json()[0];
    let tenant = &measured["tenants"][0];
    assert_eq!(tenant["containers"], 4, "{measured:#}");
    for figure in ["memory_bytes", "database_bytes", "files_bytes", "disk_bytes"] {
        assert!(tenant[figure].as_u64().unwrap() > 0, "{figure}: {measured:#}");
    }
    assert!(tenant["connections"][2].as_u64().unwrap() > 0, "{measured:#}");
    let fits = measured["fits"].as_array().unwrap();
    assert!(
        fits.iter()
            .all(|f| f["more"].is_u64() && f["rests_on"].as_str().unwrap().contains("documented profile"))
    );
    // One night is no trend.
    for trend in ["disk", "store"] {
        assert!(measured[trend]["rests_on"].as_str().unwrap().starts_with("unknown"), "{measured:#}");
    }
    let said = scene.host.run(&["capacity"]).expect(0);
    assert!(said.out.contains("How many more clients fit:") && said.out.contains("light"), "{}", said.out);
}
