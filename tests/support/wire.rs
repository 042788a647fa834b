//! A wire to a server on loopback that a test cuts: after so many bytes every connection breaks and none is served any more.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A wire; it ends with the test process.
pub struct Wire {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    /// How many bytes may still go to the server.
    budget: AtomicU64,
    cut: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// Stands before the server of an endpoint such as `http://127.0.0.1:8333`.
    pub fn to(endpoint: &str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(State {
            server: endpoint.trim_start_matches("http://").parse().unwrap(),
            budget: AtomicU64::new(u64::MAX),
            cut: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                serve(&serving, client);
            }
        });
        Wire { address, state }
    }

    /// Returns its own endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets so many more bytes go to the server, then cuts everything.
    pub fn cut_after(&self, bytes: u64) {
        self.state.budget.store(bytes, Ordering::SeqCst);
    }

    /// Tells whether it was cut.
    pub fn is_cut(&self) -> bool {
        self.state.cut.load(Ordering::SeqCst)
    }

    /// Serves again, without a limit.
    pub fn heal(&self) {
        self.state.budget.store(u64::MAX, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

fn serve(state: &Arc<State>, client: TcpStream) {
    // Dropping the connection is the refusal.
    if state.cut.load(Ordering::SeqCst) {
        return;
    }
    let Ok(server) = TcpStream::connect(state.server) else { return };
    {
        let mut connections = state.connections.lock().unwrap();
        connections.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    }
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let counting = Arc::clone(state);
    thread::spawn(move || pump(from, to, |n| counting.pass(n)));
    thread::spawn(move || pump(server, client, |_| true));
}

fn pump(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(u64) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 || !pass(n as u64) || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}

impl State {
    /// Takes bytes from the budget; cuts everything where they are more than what is left.
    fn pass(&self, n: u64) -> bool {
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(n) };
        if self.budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            return true;
        }
        self.cut.store(true, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.shutdown(Shutdown::Both).ok();
        }
        false
    }
}
