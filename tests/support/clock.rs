//! A clock that a test sets by hand, and a listener on loopback for what the service tells.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use lifeboat::service::Clock;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

/// Reads a time.
pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Waits for what must come; the bound only keeps a broken test from hanging.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(300), what).await.expect("it never came")
}

/// A clock that stands until a test sets it.
pub struct HandClock {
    now: watch::Sender<Timestamp>,
    /// The time at which the service's loop last went to sleep, having started all it would.
    asleep: watch::Sender<Timestamp>,
    /// The time at which a failed job last began its pause before the second try.
    pausing: watch::Sender<Timestamp>,
}

impl HandClock {
    /// Starts at a time.
    pub fn new(now: &str) -> Arc<Self> {
        let never = || watch::Sender::new(Timestamp::MIN);
        Arc::new(HandClock { now: watch::Sender::new(at(now)), asleep: never(), pausing: never() })
    }

    /// Sets it, forward or back.
    pub fn set(&self, now: &str) {
        self.now.send_replace(at(now));
    }

    /// Waits until a failed job pauses before its second try.
    pub async fn paused(&self) {
        let now = self.now();
        soon(self.pausing.subscribe().wait_for(|at| *at == now)).await.unwrap();
    }

    /// Waits until the loop has started all it would at this time.
    pub async fn settled(&self) {
        let now = self.now();
        soon(self.asleep.subscribe().wait_for(|at| *at == now)).await.unwrap();
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let now = self.now();
        self.asleep.send_replace(now);
        self.now.subscribe().wait_for(|n| *n >= at || *n < now).await.unwrap();
    }

    async fn sleep(&self, span: Duration) {
        let end = self.now() + span;
        if span <= Duration::from_secs(60) {
            self.pausing.send_replace(self.now());
        }
        self.now.subscribe().wait_for(|now| *now >= end).await.unwrap();
    }
}

/// A web server on loopback that passes on what it hears.
pub async fn ear() -> (String, mpsc::UnboundedReceiver<(String, String)>) {
    let (sender, heard) = mpsc::unbounded_channel();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let sender = sender.clone();
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            sender.send((line, String::from_utf8(body.to_vec()).unwrap())).unwrap();
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, heard)
}
