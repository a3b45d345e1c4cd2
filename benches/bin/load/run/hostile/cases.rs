//! What hostile peers do, byte by byte.

use std::io::{self, Write as _};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use pomelo_protocol::{Frame, MessageHead, PackageKind, RequestId};

use crate::run::Error;
use crate::run::hostile::attack::{Group, Then};
use crate::run::socket::{BINARY, write_frame};

/// At the same time, unless a case says otherwise.
const PEERS: usize = 200;

/// Who was cut is back after this long; otherwise each case would be a storm of connects.
const BACK_AFTER: Duration = Duration::from_millis(100);

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The longest package of the server's defaults.
const MAX_PACKAGE: usize = 1 << 20;

/// Something that hostile peers do.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) groups: Vec<Group>,
    /// What stops them, as the server counts it: each of these must have.
    pub(crate) stopped_by: &'static [&'static str],
}

/// All of them, over TCP or, where that is possible, over WebSocket; routes begin with `prefix`.
pub(crate) fn all(prefix: &str, websocket: bool) -> Result<Vec<Case>, Error> {
    let wire = Wire { prefix, websocket };
    // Those that are about one of the two stay with it.
    let tcp = Wire {
        websocket: false,
        ..wire
    };
    let ws = Wire {
        websocket: true,
        ..wire
    };
    Ok(vec![
        Case {
            name: "claims",
            about: "heads that claim 16 MiB, stalled and dribbled, in a handshake and after it",
            groups: vec![
                stall(PEERS / 4, wire.connected(&wire.begun(1, CLAIMED, &[]))),
                dribble(
                    PEERS / 4,
                    wire.connected(&wire.begun(1, CLAIMED, &[])),
                    b"x",
                    50,
                ),
                stall(PEERS / 4, wire.entered(&wire.begun(4, CLAIMED, &[]))?),
                dribble(
                    PEERS / 4,
                    wire.entered(&wire.begun(4, CLAIMED, &[]))?,
                    b"x",
                    50,
                ),
            ],
            stopped_by: if websocket { &[TRANSPORT] } else { &[PROTOCOL] },
        },
        Case {
            name: "dribble",
            about: "heads that claim the longest package allowed, then a byte now and then",
            groups: vec![dribble(
                PEERS,
                wire.entered(&wire.begun(4, MAX_PACKAGE, &[]))?,
                b"x",
                20,
            )],
            stopped_by: &["pomelo_connections_closed_total{heartbeat_timeout}"],
        },
        Case {
            name: "hoard",
            about: "the longest package allowed, all but its last byte",
            groups: vec![stall(
                PEERS,
                wire.entered(&wire.begun(4, MAX_PACKAGE, &vec![b'x'; MAX_PACKAGE - 1]))?,
            )],
            stopped_by: &["pomelo_connections_closed_total{unfinished}"],
        },
        Case {
            name: "handshakes",
            about: "handshakes that are never finished: none, a byte now and then, no ack",
            groups: vec![
                stall(PEERS / 4, Vec::new()),
                dribble(
                    PEERS / 4,
                    wire.connected(&wire.begun(1, 4096, &[])),
                    b" ",
                    100,
                ),
                dribble(PEERS / 4, b"GET / HTTP/1.1\r\nX-A: ".to_vec(), b"a", 100),
                stall(PEERS / 4, wire.connected(&wire.handshake()?)),
            ],
            stopped_by: &[
                "pomelo_connections_refused_total{timeout}",
                "pomelo_connections_closed_total{handshake_timeout}",
            ],
        },
        Case {
            name: "upgrades",
            about: "WebSocket upgrades followed by nothing, half a head, half a handshake",
            groups: vec![
                stall(PEERS / 2, UPGRADE.into()),
                stall(
                    PEERS / 4,
                    [UPGRADE.as_bytes(), &[0x82, 0xfe, 0x01]].concat(),
                ),
                dribble(
                    PEERS / 4,
                    [UPGRADE.as_bytes(), &[0x82, 0xfe, 0x10, 0, 0, 0, 0, 0]].concat(),
                    b"\x01",
                    100,
                ),
            ],
            stopped_by: &["pomelo_connections_closed_total{handshake_timeout}"],
        },
        Case {
            name: "frames",
            about: "WebSocket frames of 2^62 bytes and of 16 MiB, and messages without an end",
            groups: vec![
                stall(PEERS / 4, ws.entered(&frame_head(1 << 62))?),
                dribble(PEERS / 4, ws.entered(&frame_head(16 << 20))?, b"xxxx", 50),
                Group {
                    then: Then::Flood {
                        piece: continuation(),
                    },
                    ..stall(PEERS / 2, ws.entered(&[0x02, 0x80, 0, 0, 0, 0])?)
                },
            ],
            stopped_by: &[TRANSPORT],
        },
        Case {
            name: "pings",
            about: "WebSocket pings, fragments of one byte and empty messages, as fast as they can",
            groups: vec![
                ping(ws.entered(&[])?, PING, false),
                ping(ws.entered(&[])?, PING, true),
                ping(ws.entered(&[0x02, 0x80, 0, 0, 0, 0])?, FRAGMENT, true),
                ping(ws.entered(&[])?, EMPTY, true),
            ],
            stopped_by: &["pomelo_throttled_total"],
        },
        Case {
            name: "garbage",
            about: "noise: at first, after the handshake, in WebSocket frames, as JSON",
            groups: vec![
                stall(PEERS / 4, noise()),
                stall(PEERS / 4, tcp.entered(&noise())?),
                stall(PEERS / 4, ws.entered(&masked(&noise()))?),
                Group {
                    then: Then::Repeat {
                        piece: wire.request("echo", b"{\"msg\":[[[[{\"a\":\x80\xff", false)?,
                        every: Duration::from_millis(10),
                    },
                    ..stall(PEERS / 4, wire.entered(&[])?)
                },
            ],
            stopped_by: &["pomelo_connections_refused_total{first_bytes}", PROTOCOL],
        },
        Case {
            name: "nested",
            about: "arrays in arrays as deep as a package is long, in a handshake and after it",
            groups: vec![
                stall(
                    PEERS / 2,
                    wire.connected(&wire.package(PackageKind::Handshake, &nested(60 << 10))?),
                ),
                Group {
                    then: Then::Repeat {
                        piece: wire.request("echo", &nested(MAX_PACKAGE - 100), false)?,
                        every: Duration::from_secs(1),
                    },
                    ..stall(PEERS / 2, wire.entered(&[])?)
                },
            ],
            stopped_by: &["pomelo_connections_closed_total{handshake}", ERRORS],
        },
        Case {
            name: "bombs",
            about: "bodies of 1 KiB that inflate to 1 MiB, and of 64 KiB to 64 MiB",
            groups: vec![
                bomb(PEERS / 2, &wire, MAX_PACKAGE - 100)?,
                bomb(PEERS / 2, &wire, 64 << 20)?,
            ],
            stopped_by: &["pomelo_connections_closed_total{inflated}"],
        },
        Case {
            name: "unread",
            about: "requests for answers of 256 KiB that nobody reads",
            groups: vec![Group {
                then: Then::Repeat {
                    piece: wire.request("echo", &text(256 << 10), false)?,
                    every: Duration::from_millis(500),
                },
                ..stall(PEERS, wire.entered(&[])?)
            }],
            stopped_by: &["pomelo_connections_closed_total{unread}"],
        },
        Case {
            name: "deaf",
            about: "40 members of a channel that never read while broadcasts go on",
            groups: vec![
                stall(40, wire.joined(&[])?),
                Group {
                    then: Then::Repeat {
                        piece: wire.request("broadcast", &text(16 << 10), false)?,
                        every: Duration::from_millis(5),
                    },
                    reads: true,
                    ..stall(1, wire.joined(&[])?)
                },
            ],
            stopped_by: &["pomelo_connections_closed_total{outbox_full}"],
        },
        Case {
            name: "flood",
            about: "one connection that sends requests as fast as it can, and one that never reads",
            groups: vec![
                Group {
                    reads: true,
                    ..flood(1, &wire, 64)?
                },
                flood(1, &wire, 64)?,
            ],
            stopped_by: &["pomelo_throttled_total"],
        },
        Case {
            name: "pipelines",
            about: "200 connections that send requests of 1 KiB and never read the answers",
            groups: vec![flood(PEERS, &wire, 1 << 10)?],
            stopped_by: &["pomelo_connections_closed_total{heartbeat_timeout}"],
        },
        Case {
            name: "churn",
            about: "connect and close: at once, by a reset, in the handshake, after a login",
            groups: vec![
                churn(PEERS / 4, Vec::new(), false),
                churn(PEERS / 4, Vec::new(), true),
                churn(PEERS / 4, wire.connected(&wire.handshake()?), true),
                churn(PEERS / 4, wire.joined(&[])?, false),
            ],
            stopped_by: &[],
        },
    ])
}

/// The longest that a head can claim.
const CLAIMED: usize = 0xff_ffff;

/// Small masked frames.
const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];
const FRAGMENT: &[u8] = &[0x00, 0x81, 0, 0, 0, 0, b'x'];
const EMPTY: &[u8] = &[0x82, 0x80, 0, 0, 0, 0];

const TRANSPORT: &str = "pomelo_connections_closed_total{transport}";
const PROTOCOL: &str = "pomelo_connections_closed_total{protocol}";
const ERRORS: &str = "pomelo_handler_errors_total{connector.entryHandler.echo}";

fn stall(count: usize, opening: Vec<u8>) -> Group {
    Group {
        count,
        opening,
        then: Then::Stall,
        reads: false,
        back_after: BACK_AFTER,
    }
}

fn dribble(count: usize, opening: Vec<u8>, piece: &[u8], millis: u64) -> Group {
    let then = Then::Repeat {
        piece: piece.to_vec(),
        every: Duration::from_millis(millis),
    };
    Group {
        then,
        ..stall(count, opening)
    }
}

fn churn(count: usize, opening: Vec<u8>, reset: bool) -> Group {
    Group {
        then: Then::End { reset },
        back_after: Duration::from_millis(20),
        ..stall(count, opening)
    }
}

fn flood(count: usize, wire: &Wire<'_>, size: usize) -> Result<Group, Error> {
    let piece = wire.request("echo", &text(size), false)?;
    Ok(Group {
        then: Then::Flood { piece },
        ..stall(count, wire.entered(&[])?)
    })
}

fn ping(opening: Vec<u8>, piece: &[u8], reads: bool) -> Group {
    // In one write as many as there can be.
    let piece = piece.repeat(1024);
    Group {
        then: Then::Flood { piece },
        reads,
        ..stall(2, opening)
    }
}

fn bomb(count: usize, wire: &Wire<'_>, size: usize) -> Result<Group, Error> {
    let mut body = GzEncoder::new(Vec::new(), Compression::best());
    body.write_all(&text(size))?;
    Ok(Group {
        then: Then::Repeat {
            piece: wire.request("echo", &body.finish()?, true)?,
            every: Duration::from_millis(500),
        },
        reads: true,
        ..stall(count, wire.entered(&[])?)
    })
}

/// A message whose text has this many bytes.
fn text(size: usize) -> Vec<u8> {
    format!("{{\"msg\":\"{}\"}}", "x".repeat(size)).into_bytes()
}

fn nested(size: usize) -> Vec<u8> {
    format!("{{\"msg\":{}", "[".repeat(size)).into_bytes()
}

/// The same noise in every run: xorshift64.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(4096);
    while noise.len() < 4096 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise
}

/// The head of a masked binary frame with the longest form of length.
fn frame_head(len: u64) -> Vec<u8> {
    [&[0x82, 0xff][..], &len.to_be_bytes(), &[0; 4]].concat()
}

/// A fragment of 4 KiB that is not the last one of its message.
fn continuation() -> Vec<u8> {
    [&[0, 0xfe, 0x10, 0, 0, 0, 0, 0][..], &[b'x'; 4096]].concat()
}

fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(&mut frame, BINARY, payload);
    frame
}

/// What a well-behaved client would send, too.
#[derive(Clone, Copy)]
struct Wire<'a> {
    prefix: &'a str,
    websocket: bool,
}

impl Wire<'_> {
    fn handshake(&self) -> Result<Vec<u8>, Error> {
        let hello = br#"{"sys":{"type":"hostile","version":"1"},"user":{}}"#;
        self.package(PackageKind::Handshake, hello)
    }

    /// Whatever comes before packages, and `rest` behind it.
    fn connected(&self, rest: &[u8]) -> Vec<u8> {
        let upgrade = if self.websocket { UPGRADE } else { "" };
        [upgrade.as_bytes(), rest].concat()
    }

    /// Everything up to the login in one write, and `rest` behind it.
    fn entered(&self, rest: &[u8]) -> Result<Vec<u8>, Error> {
        let packages = [
            self.handshake()?,
            self.package(PackageKind::HandshakeAck, b"")?,
            self.request("entry", b"{}", false)?,
        ];
        Ok(self.connected(&[&packages.concat(), rest].concat()))
    }

    fn joined(&self, rest: &[u8]) -> Result<Vec<u8>, Error> {
        let join = self.request("join", br#"{"room":"hostile"}"#, false)?;
        self.entered(&[&join, rest].concat())
    }

    fn request(&self, method: &str, body: &[u8], compressed: bool) -> Result<Vec<u8>, Error> {
        let route = format!("{}.{method}", self.prefix);
        let head = MessageHead::Request {
            id: RequestId::new(1),
            route: route.as_str().into(),
        };
        let mut message = Vec::new();
        head.write(&mut message, compressed)
            .map_err(io::Error::other)?;
        message.extend_from_slice(body);
        self.package(PackageKind::Data, &message)
    }

    fn package(&self, kind: PackageKind, body: &[u8]) -> Result<Vec<u8>, Error> {
        let frame = Frame::new(kind, body).map_err(io::Error::other)?;
        let package = frame.as_bytes();
        Ok(if self.websocket {
            masked(package)
        } else {
            package.to_vec()
        })
    }

    /// A package whose body is to have `len` bytes, and these have come.
    fn begun(&self, kind: u8, len: usize, body: &[u8]) -> Vec<u8> {
        let [.., a, b, c] = len.to_be_bytes();
        let package = [&[kind, a, b, c], body].concat();
        if self.websocket {
            [frame_head(len as u64 + 4), package].concat()
        } else {
            package
        }
    }
}
