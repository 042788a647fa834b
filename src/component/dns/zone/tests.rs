use proptest::prelude::*;

use super::*;

const ZONE: &str = "$TTL 1h\n; SOA of old 1 2 3\n@ IN SOA ns1.x. admin.x. (\n  2026112301 ; serial\n  7200 900 1209600 300 )\n  NS ns1\nns1 A 192.0.2.1\n$ORIGIN sub.example.com.\nwww 300 IN A 192.0.2.2\n  TXT \"v=x ; ( not a comment\"\n";

fn host(tenant: &str, domain: &str, addresses: &[&str]) -> Host {
    Host {
        tenant: tenant.parse().unwrap(),
        domain: domain.to_owned(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ttl_seconds: 300,
    }
}

fn zone(text: &str) -> Zone {
    Zone::read("example.com", text).unwrap()
}

#[test]
fn a_host_is_added_behind_all_else_and_only_the_serial_changes_before_it() {
    let acme = host("acme", "erp.example.com", &["203.0.113.7", "2001:db8::7"]);
    assert_eq!(
        zone(ZONE).standing(&acme),
        Standing::Differs("erp.example.com: A 203.0.113.7 lacks, AAAA 2001:db8::7 lacks".into())
    );
    let text = zone(ZONE).with(&acme, 2_026_112_400).unwrap();
    let expected = format!(
        "{}erp.example.com. 300 IN A 203.0.113.7 ; lifeboat acme\nerp.example.com. 300 IN AAAA 2001:db8::7 ; lifeboat acme\n",
        ZONE.replace("2026112301", "2026112400")
    );
    assert_eq!(text, expected);
    assert_eq!(zone(&text).standing(&acme), Standing::There);
    let back = zone(&text).without(&acme.tenant, 2_026_112_301).unwrap().unwrap();
    assert_eq!(back, ZONE);
    assert_eq!(zone(ZONE).without(&acme.tenant, 5).unwrap(), None);
}

#[test]
fn a_stale_address_of_the_tenant_is_replaced_and_one_of_somebody_else_is_a_conflict() {
    let old = host("acme", "erp.example.com", &["203.0.113.7"]);
    let new = host("acme", "erp.example.com", &["203.0.113.8"]);
    let text = zone(ZONE).with(&old, 7).unwrap();
    assert!(
        matches!(zone(&text).standing(&new), Standing::Differs(what) if what.contains("A 203.0.113.7 is stale"))
    );
    let moved = zone(&text).with(&new, 8).unwrap();
    assert!(!moved.contains("203.0.113.7") && moved.contains("203.0.113.8"));
    for taken in [
        host("acme", "www.sub.example.com", &["203.0.113.7"]),
        host("other", "erp.example.com", &["203.0.113.9"]),
    ] {
        assert!(matches!(zone(&text).standing(&taken), Standing::Taken(_)), "{taken:?}");
        assert_eq!(zone(&text).with(&taken, 9).unwrap_err().kind(), Kind::Conflict);
    }
    let alias = format!("{ZONE}Erp.Example.Com. CNAME www\n");
    assert!(matches!(zone(&alias).standing(&old), Standing::Taken(what) if what.contains("CNAME")));
}

#[test]
fn a_record_that_the_operator_wrote_counts_and_is_never_removed() {
    let text = format!("{ZONE}erp.example.com. A 203.0.113.7\n");
    let acme = host("acme", "erp.example.com", &["203.0.113.7"]);
    assert_eq!(zone(&text).standing(&acme), Standing::There);
    assert_eq!(zone(&text).without(&acme.tenant, 1).unwrap(), None);
}

#[test]
fn a_record_that_would_change_its_owner_stops_a_removal() {
    let acme = host("acme", "erp.example.com", &["203.0.113.7"]);
    let text = zone(ZONE).with(&acme, 9).unwrap() + "  TXT \"of erp\"\n";
    assert_eq!(zone(&text).without(&acme.tenant, 10).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn a_zone_without_one_soa_of_its_own_is_refused() {
    let soa = "@ SOA a. b. 7 8 9 10 11\n";
    assert_eq!(zone(soa).serial(), 7);
    assert_eq!(zone("example.com. 60 IN soa a. b. 7 8 9 10 11").serial(), 7);
    for bad in [
        "",
        "@ A 127.0.0.1",
        "@ SOA a. b.",
        "@ SOA a. b. c.",
        "@ SOA a. b. 99999999999",
        "other.org. SOA a. b. 7 8 9 10 11",
        &format!("{soa}{soa}"),
        "  SOA a. b. 7",
    ] {
        assert_eq!(Zone::read("example.com", bad).unwrap_err().kind(), Kind::Source, "{bad}");
    }
}

#[test]
fn a_serial_follows_the_day_the_file_and_what_is_served() {
    let day = jiff::civil::date(2026, 11, 23);
    for (file, served, next) in [
        (1, None, 2_026_112_301),
        (2_026_112_301, None, 2_026_112_302),
        (2_026_112_301, Some(2_026_112_399), 2_026_112_400),
        (2_030_010_101, Some(5), 2_030_010_102),
    ] {
        assert_eq!(next_serial(file, served, day).unwrap(), next);
    }
    assert_eq!(next_serial(5, Some(u32::MAX), day).unwrap_err().kind(), Kind::Conflict);
}

#[test]
fn a_zone_that_is_put_back_has_a_serial_above_the_live_one() {
    let day = jiff::civil::date(2026, 11, 23);
    let live = ZONE.replace("2026112301", "2026112377");
    assert_eq!(put_back(ZONE, Some(&live), day).unwrap(), ZONE.replace("2026112301", "2026112378"));
    assert_eq!(put_back(ZONE, None, day).unwrap(), ZONE.replace("2026112301", "2026112302"));
    assert_eq!(put_back("no zone", Some(&live), day).unwrap(), "no zone");
}

#[test]
fn a_new_zone_names_its_server_and_takes_its_host() {
    let acme = host("acme", "acme.example", &["203.0.113.7"]);
    let made = Zone::new("acme.example", &acme, 2_026_112_301).unwrap();
    assert_eq!(made.serial(), 2_026_112_301);
    let text = made.with(&acme, 2_026_112_301).unwrap();
    assert!(text.contains("ns.acme.example. 300 IN A 203.0.113.7\n"));
    assert_eq!(Zone::read("acme.example", text).unwrap().standing(&acme), Standing::There);
}

/// One change of a zone by one of four tenants.
#[derive(Debug, Clone)]
enum Change {
    Add { tenant: usize, address: u8 },
    Remove { tenant: usize },
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (0..4usize, any::<u8>()).prop_map(|(tenant, address)| Change::Add { tenant, address }),
        (0..4usize).prop_map(|tenant| Change::Remove { tenant }),
    ];
    proptest::collection::vec(change, 1..24)
}

/// Lines that operators write, in any order behind the SOA.
fn operators_lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("; only a comment, lifeboat t0"),
        Just(""),
        Just("\t"),
        Just("mail 1h IN MX 10 mx.example.org. ; second ( of two"),
        Just("long TXT ( \"a;\"\n  \"b)\" ) ; over two lines"),
        Just("$ORIGIN deep.example.com."),
        Just("$ORIGIN example.com."),
        Just("$TTL 2d"),
        Just("$GENERATE 1-3 h$ A 192.0.2.$"),
        Just("x.y 60 TYPE65534 \\# 4 0A000001"),
        Just("esc\\;aped A 192.0.2.9"),
        Just("named A 192.0.2.3\n  AAAA 2001:db8::3"),
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn whatever_the_tenants_do_the_operators_bytes_stay_and_the_serial_only_rises(
        lines in operators_lines(),
        last_line_feed: bool,
        carriage_returns: bool,
        serial in 0..4_000_000_000_u32,
        changes in changes(),
    ) {
        let mut original = format!("@ SOA a. b. {serial} 1 1 1 1 ; of all\n{lines}");
        if last_line_feed { original.push('\n'); }
        if carriage_returns { original = original.replace('\n', "\r\n"); }
        let day = jiff::civil::date(2026, 11, 23);
        let mut text = original.clone();
        for change in changes {
            let before = zone(&text);
            let next = next_serial(before.serial(), None, day).unwrap();
            let after = match change {
                Change::Add { tenant, address } => {
                    let acme = host(&format!("t{tenant}"), &format!("t{tenant}.example.com"), &[&format!("10.0.0.{address}")]);
                    let after = before.with(&acme, next).unwrap();
                    prop_assert_eq!(zone(&after).standing(&acme), Standing::There);
                    Some(after)
                }
                Change::Remove { tenant } => {
                    before.without(&format!("t{tenant}").parse().unwrap(), next).unwrap()
                }
            };
            if let Some(after) = after {
                prop_assert!(zone(&after).serial() > before.serial());
                text = after;
            }
        }
        let last = zone(&text).serial();
        for tenant in 0..4 {
            let tenant = format!("t{tenant}").parse().unwrap();
            text = zone(&text).without(&tenant, last).unwrap().unwrap_or(text);
        }
        prop_assert_eq!(text, zone(&original).with_serial(last));
    }
}
