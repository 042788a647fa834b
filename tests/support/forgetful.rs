//! A Docker daemon that does not know an option of a network, as older ones do not: it takes it and does nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

/// Starts it before the real daemon and returns its address; `option` is not known to it.
pub fn daemon(option: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let known = option.as_bytes().to_vec();
    // Of the same length, so that the request's is right.
    let mut unknown = known.clone();
    *unknown.last_mut().unwrap() = b'X';
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, known, unknown) = (client.unwrap(), known.clone(), unknown.clone());
            thread::spawn(move || {
                let daemon = UnixStream::connect("/var/run/docker.sock").unwrap();
                let (mut from, mut to) = (daemon.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Both).ok();
                });
                pass(client, daemon, &known, &unknown);
            });
        }
    });
    format!("tcp://{address}")
}

/// Passes a client's bytes on, one word exchanged for another; a request of the daemon comes in one piece.
fn pass(mut client: TcpStream, mut daemon: UnixStream, known: &[u8], unknown: &[u8]) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(n) = client.read(&mut buffer) {
        if n == 0 {
            break;
        }
        let piece = &mut buffer[..n];
        let at: Vec<usize> =
            piece.windows(known.len()).enumerate().filter(|(_, w)| *w == known).map(|(i, _)| i).collect();
        for i in at {
            piece[i..i + known.len()].copy_from_slice(unknown);
        }
        if daemon.write_all(piece).is_err() {
            break;
        }
    }
    daemon.shutdown(Shutdown::Write).ok();
}
