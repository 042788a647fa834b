//! What an S3 store may answer, or not answer, and what the driver makes of it: servers that say what they are told to.

#![allow(clippy::unwrap_used, reason = "a test may panic, in the functions it calls too")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeboat::error::Kind;
use lifeboat::id::Sha256;
use lifeboat::store::{
    Body, Credentials, Key, PutMode, RetryPolicy, SharedStore, StoreAddress, StoreOptions, Timeouts, open,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const NOT_IMPLEMENTED: &str = "<Error><Code>NotImplemented</Code><Message>no</Message></Error>";

/// A server that reads whole requests and answers them by a rule.
struct Server {
    store: SharedStore,
    /// The heads of the requests so far.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts one; `rule` makes the answer of a request's head. A store that is not patient is opened on it.
    async fn start(rule: impl Fn(&str) -> String + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (rule, heads) = (Arc::new(rule), heard.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (rule, heads) = (rule.clone(), heads.clone());
                tokio::spawn(async move {
                    drop(serve(socket, &*rule, &heads).await);
                });
            }
        });
        Server { store: impatient(endpoint).await, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    socket: TcpStream,
    rule: &(dyn Fn(&str) -> String + Send + Sync),
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut socket = tokio::io::BufReader::new(socket);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    if head.contains("expect: 100-continue") {
        socket.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut body = (&mut socket).take(header(&head, "content-length").map_or(0, |n| n.parse().unwrap()));
    tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
    let answer = rule(&head);
    heads.lock().unwrap().push(head);
    if answer.is_empty() {
        // Silence, as long as anybody listens.
        return socket.read_u8().await.map(drop);
    }
    socket.write_all(answer.as_bytes()).await
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let date = "date: Mon, 23 Nov 2026 05:54:50 GMT\r\nconnection: close";
    format!("HTTP/1.1 {status}\r\n{date}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

async fn impatient(endpoint: String) -> SharedStore {
    let timeouts = Timeouts {
        connect: Duration::from_millis(500),
        silence: Duration::from_millis(500),
        operation: Duration::from_millis(1500),
        ..Timeouts::default()
    };
    let credentials =
        Some(Credentials { access_key: "a".into(), secret_key: "b".into(), session_token: None });
    let options = StoreOptions {
        endpoint: Some(endpoint),
        credentials,
        timeouts,
        retry: RetryPolicy::ONCE,
        ..StoreOptions::default()
    };
    let address: StoreAddress = "s3://bucket/some/prefix".parse().unwrap();
    open(&address, &options).await.unwrap()
}

fn key(name: &str) -> Key {
    name.parse().unwrap()
}

fn one() -> Body {
    vec![1].into()
}

#[tokio::test]
async fn an_endpoint_where_nobody_listens_is_a_fault_of_the_store() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = impatient(endpoint).await;
    assert_eq!(store.head(&key("x")).await.unwrap_err().kind(), Kind::Store);
    let error = store.put(&key("x"), one(), PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Store);
    assert!(error.to_string().contains("put x to s3://bucket/some/prefix"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up() {
    let server = Server::start(|_| String::new()).await;
    let store = &server.store;
    for error in [
        store.head(&key("x")).await.map(drop).unwrap_err(),
        store.get(&key("x"), None).await.map(drop).unwrap_err(),
        store.put(&key("x"), one(), PutMode::Create).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
    }
}

#[tokio::test]
async fn a_short_answer_that_says_ok_is_not_believed() {
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\n12345";
    let server = Server::start(move |_| short.to_owned()).await;
    let download = server.store.get(&key("x"), None).await.unwrap();
    assert_eq!(download.size_bytes, 10);
    assert_eq!(download.bytes(100).await.unwrap_err().kind(), Kind::Store);

    let endless = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n12345";
    let server = Server::start(move |_| endless.to_owned()).await;
    assert_eq!(server.store.get(&key("x"), None).await.unwrap_err().kind(), Kind::Store);
}

#[tokio::test]
async fn what_is_no_s3_does_not_say_that_an_object_is_missing() {
    let Server { store, .. } = Server::start(|_| answer("404 Not Found", "", "<html></html>")).await;
    assert_eq!(store.get(&key("x"), None).await.unwrap_err().kind(), Kind::Store);
    assert_eq!(store.delete(&key("x"), None).await.unwrap_err().kind(), Kind::Store);
    assert_eq!(store.head(&key("x")).await.unwrap_err().kind(), Kind::NoRepository);
}

#[tokio::test]
async fn answers_of_the_store_become_kinds() {
    let table = [
        ("503 Slow Down", "SlowDown", Kind::Store),
        ("507 Insufficient Storage", "InsufficientStorage", Kind::Full),
        ("403 Forbidden", "AccessDenied", Kind::Denied),
        ("403 Forbidden", "QuotaExceeded", Kind::Full),
        ("301 Moved Permanently", "PermanentRedirect", Kind::Config),
    ];
    for (status, code, kind) in table {
        let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        let Server { store, .. } = Server::start(move |_| answer(status, "", &body)).await;
        let error = store.put(&key("x"), one(), PutMode::Replace).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(store.list("").await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_put_is_signed_over_its_bytes_and_names_their_checksum() {
    let source = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(source.path(), b"abc").unwrap();
    let file = Body::File { path: source.path().to_owned(), size_bytes: 3, sha256: None };
    for body in [Body::from(b"abc".to_vec()), file] {
        let server = Server::start(|_| answer("200 OK", "", "")).await;
        let entry = server.store.put(&key("x"), body, PutMode::Create).await.unwrap();
        assert_eq!(entry.modified, "2026-11-23T05:54:50Z".parse().unwrap());
        let heard = server.heard();
        assert_eq!(heard.len(), 1);
        let head = &heard[0];
        assert!(head.starts_with("put /bucket/some/prefix/x"), "{head}");
        let hash = Sha256::of(b"abc");
        assert_eq!(header(head, "x-amz-content-sha256"), Some(hash.to_string().as_str()));
        let checksum = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=".to_lowercase();
        assert_eq!(header(head, "x-amz-checksum-sha256"), Some(checksum.as_str()));
        assert_eq!(header(head, "content-length"), Some("3"));
        assert_eq!(header(head, "if-none-match"), Some("*"));
        assert_eq!(header(head, "content-encoding"), None);
        assert_eq!(header(head, "x-amz-trailer"), None);
    }
}

#[tokio::test]
async fn a_store_without_checksums_and_conditions_still_does_what_it_can() {
    let rule = |head: &str| {
        let asks_too_much =
            ["x-amz-checksum-sha256", "if-none-match"].iter().any(|h| header(head, h).is_some());
        match head.split(' ').next().unwrap() {
            "put" if asks_too_much => answer("501 Not Implemented", "", NOT_IMPLEMENTED),
            "head" if head.contains("/there") => {
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nlast-modified: Mon, 23 Nov 2026 05:54:50 GMT\r\n\r\n"
                    .into()
            }
            "head" if head.contains("/absent") => "HTTP/1.1 404 Not Found\r\n\r\n".into(),
            _ => answer("200 OK", "", ""),
        }
    };
    let Server { store, .. } = Server::start(rule).await;
    store.put(&key("absent"), one(), PutMode::Create).await.unwrap();
    let error = store.put(&key("there"), one(), PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    store.put(&key("there"), one(), PutMode::Replace).await.unwrap();
}

#[tokio::test]
async fn a_conflict_with_a_put_that_failed_itself_may_be_tried_again() {
    let conflict = "<Error><Code>ConditionalRequestConflict</Code></Error>";
    for (head_status, kind) in [("404 Not Found", Kind::Store), ("200 OK", Kind::Conflict)] {
        let rule = move |head: &str| match head.split(' ').next().unwrap() {
            "put" => answer("409 Conflict", "", conflict),
            // The bucket is there, whatever the object.
            _ if !head.contains("/prefix/x") => "HTTP/1.1 200 OK\r\n\r\n".into(),
            _ => format!(
                "HTTP/1.1 {head_status}\r\ncontent-length: 1\r\nlast-modified: Mon, 23 Nov 2026 05:54:50 GMT\r\n\r\n"
            ),
        };
        let Server { store, .. } = Server::start(rule).await;
        assert_eq!(store.put(&key("x"), one(), PutMode::Create).await.unwrap_err().kind(), kind);
    }
}

#[tokio::test]
async fn a_store_without_versions_lists_its_objects_instead() {
    let page = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>some/prefix/b</Key><Size>2</Size>\
        <LastModified>2026-11-23T05:54:50.000Z</LastModified></Contents><Contents><Key>some/prefix/no key</Key>\
        </Contents><Contents><Key>some/prefix/a</Key><Size>1</Size>\
        <LastModified>2026-11-23T05:54:50.000Z</LastModified></Contents></ListBucketResult>";
    let rule = move |head: &str| {
        if head.contains("versions") {
            answer("501 Not Implemented", "", NOT_IMPLEMENTED)
        } else {
            answer("200 OK", "", page)
        }
    };
    let Server { store, .. } = Server::start(rule).await;
    let found = store.versions("").await.unwrap();
    let found: Vec<_> = found.iter().map(|e| (e.key.as_str(), e.size_bytes)).collect();
    assert_eq!(found, [("a", 1), ("b", 2)]);
}

#[tokio::test]
async fn a_listing_that_never_ends_is_a_fault_of_the_store() {
    let page = "<ListBucketResult><IsTruncated>true</IsTruncated>\
        <NextContinuationToken>again</NextContinuationToken></ListBucketResult>";
    let Server { store, .. } = Server::start(move |_| answer("200 OK", "", page)).await;
    assert_eq!(store.list("").await.unwrap_err().kind(), Kind::Store);
}

#[tokio::test]
async fn an_upload_that_says_ok_and_holds_an_error_is_not_believed_and_aborted() {
    let rule = |head: &str| match head.split(' ').next().unwrap() {
        "post" if head.contains("uploads") => {
            let id = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
            answer("200 OK", "", id)
        }
        "put" => answer("200 OK", "etag: \"e\"\r\n", ""),
        "post" => answer("200 OK", "", "<Error><Code>InternalError</Code><Message>no</Message></Error>"),
        "delete" => answer("204 No Content", "", ""),
        _ if head.contains("/prefix/x") => "HTTP/1.1 404 Not Found\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\n\r\n".into(),
    };
    let server = Server::start(rule).await;
    let body = Body::from(vec![7; 65 * 1024 * 1024]);
    let error = server.store.put(&key("x"), body, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Store, "{error}");
    let heard = server.heard();
    let aborts = heard.iter().filter(|h| h.starts_with("delete") && h.contains("uploadid=u1")).count();
    assert_eq!(aborts, 1);
    assert_eq!(heard.iter().filter(|h| h.starts_with("put")).count(), 5);
}
