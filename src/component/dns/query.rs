//! Questions to one DNS server, asked directly (RFC 1035, 4; RFC 7766 for TCP).
//!
//! Owns asking: over UDP, again where no answer comes, over TCP where it does not fit. Believes only an answer with the
//! question's own number, sender and name. Asks no resolver: what a cache remembers says nothing of a zone that was changed just now.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::zone::{Host, absolute};
use crate::error::{Context, Error, Kind, Result};

/// How long one question waits for its answer, and how often it is asked.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;

/// The largest answer over UDP without extensions, in bytes, with room to see one that is larger.
const DATAGRAM_BYTES: usize = 4096;

/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Returns the serial that a server serves of a zone; none where it does not serve it.
///
/// [`Kind::Timeout`] where no answer comes, [`Kind::Host`] where it cannot be asked.
pub async fn serial(server: SocketAddr, zone: &str) -> Result<Option<u32>> {
    let answer = ask(server, zone, RecordType::SOA).await?;
    // A cache may tell of a zone that it is not the authority of.
    if !answer.metadata.authoritative {
        return Ok(None);
    }
    Ok(answer.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }))
}

/// Returns the addresses that a server gives for a name, sorted; none where it knows of none.
pub async fn addresses(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>> {
    let mut all = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = ask(server, name, kind).await?;
        all.extend(answer.answers.iter().filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        }));
    }
    all.sort();
    Ok(all)
}

/// What a server says of a host, compared with what it is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// It answers all the addresses of the host, under this serial.
    Right(u32),
    /// It does not: why.
    Wrong(String),
}

/// Asks once whether a server answers for a host, under at least `serial`.
pub async fn look(server: SocketAddr, zone: &str, host: &Host, serial_wanted: u32) -> Result<Served> {
    let Some(served) = serial(server, zone).await? else {
        return Ok(Served::Wrong(format!("{server} does not serve zone {zone}")));
    };
    if served < serial_wanted {
        let what = format!("{server} serves serial {served} of zone {zone}, the file has {serial_wanted}");
        return Ok(Served::Wrong(what));
    }
    let found = addresses(server, &host.domain).await?;
    let lacks: Vec<String> =
        host.addresses.iter().filter(|a| !found.contains(a)).map(ToString::to_string).collect();
    Ok(match lacks.is_empty() {
        true => Served::Right(served),
        false => Served::Wrong(format!("{server} does not answer {} for {}", lacks.join(", "), host.domain)),
    })
}

/// Asks until the server answers for a host under at least `serial`, for `limit`; returns how long it took.
///
/// CoreDNS looks at its files once a minute unless told otherwise. [`Kind::Timeout`] says what the last answer lacked.
pub async fn await_served(
    server: SocketAddr,
    zone: &str,
    host: &Host,
    serial: u32,
    limit: Duration,
) -> Result<Duration> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let lacks = match look(server, zone, host, serial).await {
            Ok(Served::Right(_)) => return Ok(since.elapsed()),
            Ok(Served::Wrong(lacks)) => lacks,
            Err(e) if since.elapsed() + pause >= limit => return Err(e),
            Err(e) => e.to_string(),
        };
        if since.elapsed() + pause >= limit {
            let what = format!("after {} s, {lacks}", limit.as_secs());
            return Err(Error::new(Kind::Timeout, what).hint(
                "does the server's `file` or `auto` plugin read this folder? Its log names a zone that it could not read",
            ));
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE);
    }
}

async fn ask(server: SocketAddr, name: &str, kind: RecordType) -> Result<Message> {
    let what = || format!("DNS server {server}, asked for {kind} of {name}");
    let question = question(name, kind)?;
    let mut last = Error::new(Kind::Timeout, format!("{}: no answer", what()));
    for _ in 0..ATTEMPTS {
        match timeout(ANSWER_LIMIT, over_udp(server, &question)).await {
            Ok(Ok(answer)) if answer.metadata.truncation => {
                let answer = timeout(ANSWER_LIMIT, over_tcp(server, &question)).await;
                let answer = answer.context(Kind::Timeout, what())?.context(Kind::Host, what())?;
                return judged(answer).map_err(|e| e.in_context(what()));
            }
            Ok(Ok(answer)) => return judged(answer).map_err(|e| e.in_context(what())),
            Ok(Err(e)) => last = Error::new(Kind::Host, what()).caused_by(e),
            Err(_) => {}
        }
    }
    Err(last)
}

/// A zone that is not served is refused or unknown; all other failures are the server's.
fn judged(answer: Message) -> Result<Message> {
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::Refused | ResponseCode::NotAuth => {
            Ok(answer)
        }
        code => Err(Error::new(Kind::Host, format!("it answers {code}"))),
    }
}

fn question(name: &str, kind: RecordType) -> Result<Message> {
    let parsed =
        Name::from_ascii(absolute(name)).context(Kind::Config, format!("{name:?} is not a domain name"))?;
    let mut message = Message::query();
    message.add_query(Query::query(parsed, kind));
    Ok(message)
}

fn answers(bytes: &[u8], question: &Message) -> Option<Message> {
    let fits = |answer: &Message| {
        answer.metadata.id == question.metadata.id
            && answer.metadata.message_type == MessageType::Response
            && answer.queries == question.queries
    };
    Message::from_vec(bytes).ok().filter(fits)
}

async fn over_udp(server: SocketAddr, question: &Message) -> std::io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, it takes datagrams of this sender only.
    socket.connect(server).await?;
    socket.send(&bytes_of(question)?).await?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    loop {
        let n = socket.recv(&mut buffer).await?;
        if let Some(answer) = answers(&buffer[..n], question) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = bytes_of(question)?;
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?.to_be_bytes();
    stream.write_all(&[&length, &bytes[..]].concat()).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    answers(&answer, question).ok_or_else(|| std::io::Error::other("it answers another question"))
}

fn bytes_of(question: &Message) -> std::io::Result<Vec<u8>> {
    question.to_vec().map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reply = fn(&[u8]) -> Option<Message>;

    /// Answers one datagram after the other by what a function makes of it; none sends nothing.
    async fn server(replies: Vec<Reply>) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            for reply in replies {
                let (n, from) = socket.recv_from(&mut buffer).await.unwrap();
                if let Some(reply) = reply(&buffer[..n]) {
                    socket.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        (address, task)
    }

    fn reply(question: &[u8], code: ResponseCode) -> Message {
        let asked = Message::from_vec(question).unwrap();
        let mut answer = Message::error_msg(asked.metadata.id, asked.metadata.op_code, code);
        answer.metadata.authoritative = true;
        answer.add_queries(asked.queries.clone());
        let root = Name::root();
        let soa = RData::SOA(hickory_proto::rr::rdata::SOA::new(root.clone(), root, 7, 1, 1, 1, 1));
        let name = asked.queries[0].name().clone();
        answer.add_answer(hickory_proto::rr::Record::from_rdata(name, 60, soa));
        answer
    }

    #[tokio::test]
    async fn an_answer_to_another_question_is_not_taken_and_a_lost_one_is_asked_again() {
        let (address, task) = server(vec![
            |_| None,
            |question| {
                let mut other = reply(question, ResponseCode::NoError);
                other.metadata.id ^= 1;
                Some(other)
            },
            |question| Some(reply(question, ResponseCode::NoError)),
        ])
        .await;
        assert_eq!(serial(address, "x.org").await.unwrap(), Some(7));
        drop(task);
    }

    #[tokio::test]
    async fn a_server_that_fails_or_is_not_there_is_told_from_one_without_the_zone() {
        let (address, _task) = server(vec![|question| Some(reply(question, ResponseCode::ServFail))]).await;
        let error = serial(address, "x.org").await.unwrap_err();
        assert!(error.to_string().contains("it answers"), "{error}");
        let (address, _task) = server(vec![|question| {
            let mut refused = reply(question, ResponseCode::Refused);
            refused.answers.clear();
            Some(refused)
        }])
        .await;
        assert_eq!(serial(address, "x.org").await.unwrap(), None);
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(serial(nobody, "x.org").await.is_err());
    }
}
