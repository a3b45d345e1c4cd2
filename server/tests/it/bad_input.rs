//! Every row of the protocol's table of bad input, on real sockets of both transports: what the
//! sender gets, and that its neighbour notices nothing.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::peer::{HANDSHAKE, Tcp, Ws, golden_app, package, request, response, start};

const ECHO: &str = "connector.entryHandler.echo";
const NOTHING: &str = "connector.entryHandler.nothing";

enum Gets {
    /// The end of the connection, and not a byte before it.
    Closed,
    /// Nothing; the connection goes on.
    Nothing,
    /// These packages; the connection goes on.
    Answer(Vec<u8>),
    /// A kick with this reason.
    Kicked(&'static str),
}

fn message(bytes: &[u8]) -> Vec<u8> {
    package(4, bytes)
}

fn to(route: &str, flag: u8, body: &[u8]) -> Vec<u8> {
    let id: &[u8] = if flag & 0x0e == 0 { &[1] } else { &[] };
    let len = [u8::try_from(route.len()).unwrap()];
    message(&[&[flag], id, &len, route.as_bytes(), body].concat())
}

fn zlib(body: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// 2 MiB that travel as a few KiB.
fn bomb() -> Vec<u8> {
    zlib(&format!(r#"{{"a":"{}"}}"#, "a".repeat(2 << 20)))
}

/// Many different numbers, which zlib makes a third as long.
fn list(len: usize) -> String {
    let numbers: Vec<String> = (0..len).map(|n| (n * n).to_string()).collect();
    format!(r#"{{"a":[{}]}}"#, numbers.join(","))
}

fn kick(reason: &str) -> Vec<u8> {
    package(5, format!(r#"{{"reason":"{reason}"}}"#).as_bytes())
}

/// What is sent on a connection whose handshake is done.
fn after_the_handshake() -> Vec<(&'static str, Vec<u8>, Gets)> {
    use Gets::{Answer, Closed, Kicked, Nothing};

    let error = || Answer(response(1, r#"{"code":500}"#));
    let empty = format!(r#"{{"code":200,"body":{{"__route__":"{ECHO}"}}}}"#);
    let replaced = format!(
        r#"{{"code":200,"body":{{"a":"{}","__route__":"{ECHO}"}}}}"#,
        '\u{fffd}'
    );
    let mut overlong = vec![0x00];
    overlong.extend([0x80; 10]);
    overlong.push(1);
    vec![
        ("package of kind 0", package(0, b""), Closed),
        ("package of kind 6", package(6, b""), Closed),
        ("package of kind 255", package(255, b""), Closed),
        ("kick", package(5, b""), Closed),
        ("length over the limit", vec![4, 0xff, 0xff, 0xff], Closed),
        ("data without a message", package(4, b""), Closed),
        (
            "second handshake",
            package(1, HANDSHAKE.as_bytes()),
            Nothing,
        ),
        ("second acknowledgement", package(2, b""), Nothing),
        ("cut before the id", message(&[0x00]), Nothing),
        ("cut in the id", message(&[0x00, 0x80]), Nothing),
        ("over-long id", message(&overlong), Nothing),
        ("cut in the route", message(&[0x00, 1, 30, b'a']), Nothing),
        ("cut in the code", message(&[0x01, 1, 0]), Nothing),
        ("unknown code", message(&[0x01, 1, 0xff, 0xfe]), Nothing),
        ("code 0", message(&[0x01, 1, 0, 0]), Nothing),
        ("message of kind 4", message(&[0x08, 1, 1, b'a']), Nothing),
        ("response", message(&[0x04, 1]), Nothing),
        ("push", message(&[0x06, 1, b'a']), Nothing),
        ("route without a dot", to("echo", 0, b"{}"), Nothing),
        (
            "route of two parts",
            to("connector.entryHandler", 0, b"{}"),
            error(),
        ),
        (
            "route of four parts",
            to("connector.entryHandler.echo.x", 0, b"{}"),
            error(),
        ),
        (
            "unknown server type",
            to("nobody.entryHandler.echo", 0, b"{}"),
            error(),
        ),
        (
            "unknown handler",
            to("connector.entryHandler.none", 0, b"{}"),
            error(),
        ),
        (
            "unknown handler, notified",
            to("connector.entryHandler.none", 2, b"{}"),
            Nothing,
        ),
        (
            "id 0",
            message(&[&[0x00, 0, 30], NOTHING.as_bytes()].concat()),
            Nothing,
        ),
        (
            "body that is no JSON",
            to(ECHO, 0, b"{\"a\":"),
            Answer(response(1, &empty)),
        ),
        ("no body", to(ECHO, 0, b""), Answer(response(1, &empty))),
        (
            "invalid UTF-8",
            to(ECHO, 0, b"{\"a\":\"\xff\"}"),
            Answer(response(1, &replaced)),
        ),
        (
            "body that breaks its schema",
            to("connector.entryHandler.pb", 0, &[0x0a, 0xff]),
            // An error fits the response's schema no better: the body is empty, as pomelo's is.
            Answer(response(1, "")),
        ),
        ("bomb", to(ECHO, 0x10, &bomb()), Kicked("inflated")),
        (
            "body that is over 1 MiB once inflated",
            to(ECHO, 0x10, &zlib(&list(120_000))),
            Kicked("inflated"),
        ),
        (
            "body that is long once inflated",
            to(NOTHING, 0x10, &zlib(&list(80_000))),
            Answer(response(1, "{}")),
        ),
        (
            "dense body that is not long",
            to(NOTHING, 0x10, &zlib(&" ".repeat(64 << 10))),
            Answer(response(1, "{}")),
        ),
        (
            "flag of compression on a plain body",
            to(NOTHING, 0x10, b"{}"),
            Answer(response(1, "{}")),
        ),
        (
            "damaged zlib",
            to(ECHO, 0x10, &[0x78, 0x9c, 0xff, 0xff]),
            error(),
        ),
    ]
}

fn before_the_handshake() -> Vec<(&'static str, Vec<u8>, Gets)> {
    use Gets::{Answer, Nothing};

    let refused = || Answer(package(1, br#"{"code":500}"#));
    vec![
        ("handshake that is no JSON", package(1, b"hello"), refused()),
        (
            "handshake without sys",
            package(1, br#"{"user":{}}"#),
            refused(),
        ),
        ("acknowledgement", package(2, b""), Nothing),
        ("heartbeat", package(3, b""), Nothing),
        ("data", request(1, ECHO, "{}"), Nothing),
    ]
}

#[tokio::test]
async fn on_tcp() {
    // Made before anybody's heartbeat is waited for.
    let rows = after_the_handshake();
    let (running, address) = start(golden_app()).await;
    let mut neighbour = Tcp::ready(address).await;
    for (name, bytes, gets) in rows {
        eprintln!("{name}");
        let mut peer = Tcp::ready(address).await;
        peer.send(&bytes).await;
        match gets {
            Gets::Closed => assert_eq!(peer.rest().await, b"", "{name}"),
            Gets::Kicked(reason) => assert_eq!(peer.rest().await, kick(reason), "{name}"),
            Gets::Nothing => alive(&mut peer).await,
            Gets::Answer(expected) => {
                let got = peer.exactly(expected.len()).await;
                assert_eq!(
                    got.escape_ascii().to_string(),
                    expected.escape_ascii().to_string()
                );
                alive(&mut peer).await;
            }
        }
        alive(&mut neighbour).await;
    }
    for (name, bytes, gets) in before_the_handshake() {
        eprintln!("{name}");
        let mut peer = Tcp::connect(address).await;
        peer.send(&bytes).await;
        match gets {
            Gets::Answer(expected) => assert_eq!(peer.rest().await, expected, "{name}"),
            Gets::Closed | Gets::Kicked(_) | Gets::Nothing => {
                peer.send(&package(1, HANDSHAKE.as_bytes())).await;
                assert_eq!(peer.package().await[0], 1, "{name}");
                // Still not its turn, and the answer must not come late either.
                peer.send(&request(2, ECHO, "{}")).await;
                peer.send(&package(2, b"")).await;
                assert_eq!(peer.package().await, [3, 0, 0, 0], "{name}");
                alive(&mut peer).await;
            }
        }
        alive(&mut neighbour).await;
    }
    let mut cut = Tcp::ready(address).await;
    cut.send(&request(1, ECHO, "{}")[..9]).await;
    drop(cut);
    alive(&mut neighbour).await;
    running.stop().await;
}

#[tokio::test]
async fn on_websocket() {
    // Made before anybody's heartbeat is waited for.
    let rows = after_the_handshake();
    let (running, address) = start(golden_app()).await;
    let mut neighbour = Ws::ready(address).await;
    for (name, bytes, gets) in rows {
        eprintln!("{name}");
        let mut peer = Ws::ready(address).await;
        peer.send(&bytes).await;
        match gets {
            Gets::Closed => closed(&mut peer).await,
            Gets::Kicked(reason) => {
                assert_eq!(peer.message().await, (0x82, kick(reason)), "{name}");
                closed(&mut peer).await;
            }
            Gets::Nothing => alive_ws(&mut peer).await,
            Gets::Answer(expected) => {
                assert_eq!(peer.message().await, (0x82, expected), "{name}");
                alive_ws(&mut peer).await;
            }
        }
        alive_ws(&mut neighbour).await;
    }
    for (name, bytes, gets) in before_the_handshake() {
        eprintln!("{name}");
        let mut peer = Ws::connect(address).await;
        peer.send(&bytes).await;
        match gets {
            Gets::Answer(expected) => {
                assert_eq!(peer.message().await, (0x82, expected), "{name}");
                closed(&mut peer).await;
            }
            Gets::Closed | Gets::Kicked(_) | Gets::Nothing => {
                peer.send(&package(1, HANDSHAKE.as_bytes())).await;
                assert_eq!(peer.message().await.1[0], 1, "{name}");
                peer.send(&request(2, ECHO, "{}")).await;
                peer.send(&package(2, b"")).await;
                assert_eq!(peer.message().await, (0x82, vec![3, 0, 0, 0]), "{name}");
                alive_ws(&mut peer).await;
            }
        }
        alive_ws(&mut neighbour).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn messages_of_websocket_itself() {
    let (running, address) = start(golden_app()).await;
    let mut neighbour = Ws::ready(address).await;
    let nothing = request(7, NOTHING, "{}");
    for (name, first, payload, goes_on) in [
        ("empty binary message", 0x82, vec![], true),
        ("empty text message", 0x81, vec![], true),
        (
            "text message that is a package",
            0x81,
            nothing.clone(),
            true,
        ),
        ("text message that is none", 0x81, b"hello".to_vec(), false),
        ("message of one byte", 0x82, vec![3], false),
        ("message of three bytes", 0x82, vec![3, 0, 0], false),
        (
            "length longer than the message",
            0x82,
            vec![4, 0, 0, 9, 0],
            false,
        ),
        (
            "length shorter, and the rest is no package",
            0x82,
            [&nothing[..], b"x"].concat(),
            false,
        ),
    ] {
        eprintln!("{name}");
        let mut peer = Ws::ready(address).await;
        peer.frame(first, &payload).await;
        if payload.starts_with(&nothing) {
            assert_eq!(peer.message().await, (0x82, response(7, "{}")), "{name}");
        }
        if goes_on {
            alive_ws(&mut peer).await;
        } else {
            closed(&mut peer).await;
        }
        alive_ws(&mut neighbour).await;
    }
    running.stop().await;
}

async fn alive(peer: &mut Tcp) {
    peer.send(&request(99, NOTHING, "{}")).await;
    assert_eq!(peer.package().await, response(99, "{}"));
}

async fn alive_ws(peer: &mut Ws) {
    peer.send(&request(99, NOTHING, "{}")).await;
    assert_eq!(peer.message().await, (0x82, response(99, "{}")));
}

async fn closed(peer: &mut Ws) {
    assert_eq!(peer.message().await, (0x88, vec![0x03, 0xe8]));
    assert_eq!(peer.tcp.rest().await, b"");
}
