//! Something between a client and SeaweedFS that makes it a worse store, or the credential a lesser one.
//!
//! What passes keeps its `Host` header, so its signature stays valid. What is changed is sent anew by the tests' own
//! client, since the signature covers the headers that are dropped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ObjectLockMode;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};

use super::seaweed::Seaweed;

const MOST_BYTES: usize = 256 * 1024 * 1024;

/// What a proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Ignores `If-None-Match` and `If-Match` of puts, and answers as if all went well.
    IgnoreConditions,
    /// Takes locks, says OK, and locks nothing.
    IgnoreLocks,
    /// Refuses to delete versions, to switch them off, or to have them removed by rules.
    GuardVersions,
    /// Refuses to delete anything.
    NoDelete,
    /// Listens.
    None,
}

/// A running proxy; it ends with the test process.
pub struct Proxy {
    /// Its endpoint.
    pub endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    rule: Rule,
    upstream: String,
    client: reqwest::Client,
    sdk: aws_sdk_s3::Client,
    struck: AtomicU64,
    heard: Mutex<Vec<String>>,
}

impl Proxy {
    /// Starts a proxy before the SeaweedFS of this test process.
    pub fn start(rule: Rule) -> Proxy {
        let seaweed = Seaweed::start();
        let shared = Arc::new(Shared {
            rule,
            upstream: seaweed.endpoint.clone(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            sdk: seaweed.client(),
            struck: AtomicU64::new(0),
            heard: Mutex::default(),
        });
        let state = Arc::clone(&shared);
        let (told, address) = std::sync::mpsc::channel::<SocketAddr>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let app = axum::Router::new().fallback(handle).with_state(state);
                axum::serve(listener, app).await.unwrap();
            });
        });
        Proxy { endpoint: format!("http://{}", address.recv().unwrap()), shared }
    }

    /// Returns the requests since the last call of this: a method, and a key or a prefix with its bucket.
    pub fn take_heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.heard.lock().unwrap())
    }

    /// Returns how many requests met the rule.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Relaxed)
    }
}

/// Tells whether a request has this parameter.
fn asks(request: &Request, name: &str) -> bool {
    let query = request.uri().query().unwrap_or("");
    query.split('&').any(|part| part == name || part.starts_with(&format!("{name}=")))
}

/// Spells a request; what lists is `list` with its prefix.
fn told(request: &Request) -> String {
    let (path, query) = (request.uri().path().trim_start_matches('/'), request.uri().query().unwrap_or(""));
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix="));
    match prefix {
        Some(prefix) => format!("list {}/{}", path.trim_end_matches('/'), prefix.replace("%2F", "/")),
        None => format!("{} {path}", request.method().as_str().to_lowercase()),
    }
}

fn strikes(rule: Rule, request: &Request) -> bool {
    let has = |name: &str| asks(request, name);
    let header = |name: &str| request.headers().contains_key(name);
    let put = *request.method() == Method::PUT;
    let deletes = *request.method() == Method::DELETE && !has("uploadId") && !has("lifecycle");
    let sets = (put && has("versioning")) || (has("lifecycle") && *request.method() != Method::GET);
    match rule {
        Rule::None => false,
        Rule::GuardVersions => sets || (deletes && has("versionId")),
        Rule::NoDelete => deletes,
        Rule::IgnoreConditions => put && (header("if-none-match") || header("if-match")),
        Rule::IgnoreLocks => put && (header("x-amz-object-lock-mode") || has("retention")),
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    shared.heard.lock().unwrap().push(told(&request));
    if !strikes(shared.rule, &request) {
        return pass(&shared, request).await;
    }
    shared.struck.fetch_add(1, Ordering::Relaxed);
    match shared.rule {
        Rule::GuardVersions | Rule::NoDelete => answer(
            StatusCode::FORBIDDEN,
            "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>",
        ),
        Rule::None => pass(&shared, request).await,
        Rule::IgnoreLocks if asks(&request, "retention") => answer(StatusCode::OK, ""),
        Rule::IgnoreConditions | Rule::IgnoreLocks => put_anew(&shared, request).await,
    }
}

fn answer(status: StatusCode, body: &'static str) -> Response<Body> {
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

async fn pass(shared: &Shared, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let url = format!("{}{}", shared.upstream, parts.uri.path_and_query().unwrap());
    let body = axum::body::to_bytes(body, MOST_BYTES).await.unwrap();
    let mut headers = parts.headers;
    headers.remove("connection");
    let sent = shared.client.request(parts.method, url).headers(headers).body(body).send().await;
    let Ok(got) = sent else { return answer(StatusCode::BAD_GATEWAY, "") };
    let mut response = Response::builder().status(got.status());
    for (name, value) in got.headers() {
        if !["connection", "transfer-encoding"].contains(&name.as_str()) {
            response = response.header(name, value);
        }
    }
    let body = got.bytes().await;
    body.map_or_else(|_| answer(StatusCode::BAD_GATEWAY, ""), |b| response.body(Body::from(b)).unwrap())
}

/// Stores the object without what is ignored.
async fn put_anew(shared: &Shared, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MOST_BYTES).await.unwrap();
    let (bucket, key) = parts.uri.path().trim_start_matches('/').split_once('/').unwrap();
    let mut put = shared.sdk.put_object().bucket(bucket).key(key).body(ByteStream::from(body));
    let text = |name: &str| parts.headers.get(name).map(|v| v.to_str().unwrap());
    if let (Rule::IgnoreConditions, Some(mode)) = (shared.rule, text("x-amz-object-lock-mode")) {
        use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
        let until = text("x-amz-object-lock-retain-until-date").unwrap();
        let until = DateTime::from_str(until, DateTimeFormat::DateTime).unwrap();
        put = put.object_lock_mode(ObjectLockMode::from(mode)).object_lock_retain_until_date(until);
    }
    match put.send().await {
        Ok(stored) => {
            let mut response = Response::builder().status(StatusCode::OK);
            for (name, value) in [("etag", stored.e_tag()), ("x-amz-version-id", stored.version_id())] {
                if let Some(value) = value {
                    response = response.header(name, value);
                }
            }
            response.body(Body::empty()).unwrap()
        }
        Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, ""),
    }
}
