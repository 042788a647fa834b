//! A tenant's name in a zone that operators wrote, with a real name server that takes zones by CoreDNS's rules and
//! with `named-checkzone` as the judge of what is written.
#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

mod support;

use std::fs;
use std::time::Duration;

use jiff::civil::{Date, date};
use lifeboat::component::dns::{Host, Place, Served, Standing, addresses, look_served, served_serial};
use lifeboat::error::Kind;

use support::cli::{docker, wait_until};
use support::dns::TestDns;

const LIMIT: Duration = Duration::from_secs(60);

/// A zone as an operator writes one, with all that must stay.
const OPERATORS: &str = "; zone of the platform; ask hostmaster before you touch it\n\
$TTL 1h\n\
@\t3600 IN SOA ns1 hostmaster (\n\t\t2026010501 ; serial, YYYYMMDDnn\n\t\t7200 900 ; refresh, retry\n\t\t2w 5m )\n\
\tIN NS ns1\n\
\tIN TXT ( \"v=spf1 -all; really\"\n\t      \"( second half\" )\n\
ns1\tIN A 127.0.0.1\n\
$ORIGIN lan.example.com.\n\
printer 60 A 192.0.2.9 ; third floor\n\
\tAAAA 2001:db8::9\n";

fn today() -> Date {
    date(2026, 11, 23)
}

fn place(dns: &TestDns, zone: &str) -> Place {
    Place { zone: zone.to_owned(), folder: dns.zones().to_owned(), server: dns.server.parse().unwrap() }
}

fn host(tenant: &str, domain: &str, address: &str) -> Host {
    Host {
        tenant: tenant.parse().unwrap(),
        domain: domain.to_owned(),
        addresses: vec![address.parse().unwrap()],
        ttl_seconds: 300,
    }
}

fn wait_for_serial(dns: &TestDns, zone: &str, serial: u32) {
    wait_until("the zone is served", LIMIT, || dns.serial(zone) == Some(serial));
}

/// Lets `named-checkzone` judge the zone's file.
fn judge(dns: &TestDns, zone: &str) -> String {
    docker(&["exec", dns.container(), "named-checkzone", zone, &format!("/zones/db.{zone}")])
}

#[tokio::test]
async fn a_tenants_name_is_added_to_a_zone_that_operators_wrote_answered_and_taken_away_again() {
    let dns = TestDns::start();
    let file = dns.zones().join("db.example.com");
    fs::write(&file, OPERATORS).unwrap();
    wait_for_serial(&dns, "example.com", 2_026_010_501);
    let (place, acme) = (place(&dns, "example.com"), host("acme", "erp.acme.example.com", "203.0.113.7"));
    assert!(matches!(place.standing(&acme).unwrap(), Some((Standing::Differs(_), 2_026_010_501))));

    let changed = place.add(&acme, today()).await.unwrap().unwrap();
    assert_eq!((changed.made, changed.serial, &changed.path), (false, 2_026_112_301, &file));
    place.await_served(&acme, changed.serial, LIMIT).await.unwrap();
    assert_eq!(dns.addresses("erp.acme.example.com"), ["203.0.113.7".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert!(judge(&dns, "example.com").contains("loaded serial 2026112301"));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(&OPERATORS.replace("2026010501", "2026112301")), "{text}");

    assert_eq!(place.add(&acme, today()).await.unwrap(), None, "a second time changes nothing");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);

    assert!(place.remove(&acme, false, today()).await.unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), OPERATORS.replace("2026010501", "2026112302"));
    wait_for_serial(&dns, "example.com", 2_026_112_302);
    assert!(addresses(place.server, "erp.acme.example.com").await.unwrap().is_empty());
    assert!(!place.remove(&acme, false, today()).await.unwrap());
}

#[tokio::test]
async fn a_domain_without_a_zone_gets_one_that_is_sound_and_goes_as_it_came() {
    let dns = TestDns::start();
    let (place, acme) = (place(&dns, "acme.example"), host("acme", "acme.example", "203.0.113.8"));
    assert_eq!(place.standing(&acme).unwrap(), None);
    assert_eq!(served_serial(place.server, "acme.example").await.unwrap(), None);
    let changed = place.add(&acme, today()).await.unwrap().unwrap();
    assert!(changed.made);
    assert!(judge(&dns, "acme.example").contains("OK"));
    place.await_served(&acme, changed.serial, LIMIT).await.unwrap();

    // Somebody else's record in it keeps the zone alive when the tenant goes.
    let file = dns.zones().join("db.acme.example");
    let made = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{made}www A 203.0.113.9\n")).unwrap();
    assert!(place.remove(&acme, true, today()).await.unwrap());
    let left = fs::read_to_string(&file).unwrap();
    assert!(left.contains("www A 203.0.113.9") && !left.contains("203.0.113.8 ; lifeboat"), "{left}");
    fs::write(&file, &made).unwrap();
    assert!(place.remove(&acme, true, today()).await.unwrap());
    assert!(!file.exists());
    wait_until("the zone is gone", LIMIT, || dns.serial("acme.example").is_none());
}

#[tokio::test]
async fn tenants_that_are_added_to_one_zone_at_once_are_all_there() {
    let dns = TestDns::start();
    dns.write_zone("example.com", 1, "www", "192.0.2.1");
    let place = place(&dns, "example.com");
    let hosts: Vec<Host> = (1..=8)
        .map(|n| host(&format!("t{n}"), &format!("t{n}.example.com"), &format!("10.0.0.{n}")))
        .collect();
    let added = futures::future::join_all(hosts.iter().map(|h| place.add(h, today()))).await;
    let serials: std::collections::BTreeSet<u32> =
        added.into_iter().map(|c| c.unwrap().unwrap().serial).collect();
    assert_eq!(serials.len(), 8, "each change has a serial of its own: {serials:?}");
    for host in &hosts {
        place.await_served(host, *serials.last().unwrap(), LIMIT).await.unwrap();
    }
    judge(&dns, "example.com");
}

#[tokio::test]
async fn a_serial_rises_above_what_is_served_and_a_zone_that_is_not_taken_ends_in_words() {
    let dns = TestDns::start();
    dns.write_zone("example.com", 2_030_010_101, "www", "192.0.2.1");
    wait_for_serial(&dns, "example.com", 2_030_010_101);
    // An older file, as a restore leaves one, which the server cannot read besides.
    let text = fs::read_to_string(dns.zones().join("db.example.com")).unwrap();
    let older = text.replace("2030010101", "2026010501") + "broken A 999.0.2.1\n";
    fs::write(dns.zones().join("db.example.com"), older).unwrap();
    let (place, acme) = (place(&dns, "example.com"), host("acme", "erp.example.com", "203.0.113.7"));
    let changed = place.add(&acme, today()).await.unwrap().unwrap();
    assert_eq!(changed.serial, 2_030_010_102);
    let error = place.await_served(&acme, changed.serial, Duration::from_secs(2)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(error.to_string().contains("serves serial 2030010101"), "{error}");
    assert!(error.hint_text().unwrap().contains("log"));
    let found = look_served(place.server, "example.com", &acme, changed.serial).await.unwrap();
    assert!(matches!(found, Served::Wrong(_)));
}
