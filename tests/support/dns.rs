//! A real authoritative DNS server of one test (nsd, in a container), which serves a folder by CoreDNS's rules.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::app::partner_image;
use super::cli::{Container, labels, try_docker, unique, wait_until};

/// A running server.
#[derive(Debug)]
pub struct TestDns {
    /// Its address for queries, on UDP and TCP: `127.0.0.1:PORT`.
    pub server: String,
    zones: tempfile::TempDir,
    container: Container,
}

impl TestDns {
    /// Starts it with an empty folder.
    pub fn start() -> Self {
        let zones = tempfile::Builder::new().prefix("lifeboat-zones-").tempdir().unwrap();
        let image = partner_image("dns");
        let mount = format!("{}:/zones:ro", zones.path().display());
        // The same port for both, and free for both: another test may take it between, so a few are tried.
        for _ in 0..20 {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let (udp, tcp) = (format!("{server}:53/udp"), format!("{server}:53/tcp"));
            let container = Container { name: unique("dns") };
            let labels = labels();
            let mut run = vec!["run", "-d", "--name", &container.name, "-v", &mount, "-p", &udp, "-p", &tcp];
            run.extend(labels.iter().map(String::as_str));
            run.extend(["--stop-signal", "KILL", &image]);
            if try_docker(&run).is_ok() {
                let dns = TestDns { server, zones, container };
                wait_until("the name server answers", Duration::from_secs(30), || {
                    dns.ask("probe.invalid", 1).is_some()
                });
                return dns;
            }
        }
        panic!("no port was free");
    }

    /// Returns the folder of its zones; a file `db.ZONE` is one.
    pub fn zones(&self) -> &Path {
        self.zones.path()
    }

    /// Returns the container it runs in.
    pub fn container(&self) -> &str {
        &self.container.name
    }

    /// Writes a zone with one host, as somebody did before.
    pub fn write_zone(&self, zone: &str, serial: u32, host: &str, address: &str) {
        let text = format!(
            "$ORIGIN {zone}.\n$TTL 60\n@ IN SOA ns.{zone}. hostmaster.{zone}. {serial} 3600 600 86400 60\n\
             @ IN NS ns.{zone}.\nns IN A 127.0.0.1\n{host} IN A {address}\n"
        );
        std::fs::write(self.zones.path().join(format!("db.{zone}")), text).unwrap();
    }

    /// Returns the addresses of a name.
    pub fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let found = self.ask(name, 1).unwrap_or_default();
        found
            .iter()
            .filter_map(|data| <[u8; 4]>::try_from(data.as_slice()).ok())
            .map(Ipv4Addr::from)
            .collect()
    }

    /// Returns the serial of a zone, none while it is not served.
    pub fn serial(&self, zone: &str) -> Option<u32> {
        let data = self.ask(zone, 6)?.first()?.clone();
        // Five numbers end a SOA record; the serial is the first of them.
        let serial = data.len().checked_sub(20)?;
        Some(u32::from_be_bytes(data[serial..serial + 4].try_into().unwrap()))
    }

    /// Waits until a name has an address.
    pub fn wait_for(&self, name: &str, address: &str) {
        let wanted = [address.parse::<Ipv4Addr>().unwrap()];
        wait_until(&format!("{name} is {address}"), Duration::from_secs(20), || {
            self.addresses(name) == wanted
        });
    }

    /// Asks for records of a type and returns their data; none when nothing answers.
    fn ask(&self, name: &str, kind: u16) -> Option<Vec<Vec<u8>>> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut query = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.trim_end_matches('.').split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.as_bytes());
        }
        query.push(0);
        query.extend(kind.to_be_bytes());
        query.extend([0, 1]);
        socket.send_to(&query, &self.server).ok()?;
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).ok()?;
        Some(records(&answer[..length], query.len(), kind))
    }
}

/// Returns the data of an answer's records of a type; its names are skipped, the question is as long as it was asked.
fn records(answer: &[u8], mut at: usize, wanted: u16) -> Vec<Vec<u8>> {
    let number = |at: usize| u16::from_be_bytes([answer[at], answer[at + 1]]);
    let mut found = Vec::new();
    for _ in 0..number(6) {
        while answer[at] != 0 && answer[at] & 0xc0 == 0 {
            at += usize::from(answer[at]) + 1;
        }
        at += if answer[at] == 0 { 1 } else { 2 };
        let (kind, length) = (number(at), usize::from(number(at + 8)));
        if kind == wanted {
            found.push(answer[at + 10..at + 10 + length].to_vec());
        }
        at += 10 + length;
    }
    found
}
