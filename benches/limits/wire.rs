//! The part of pomelo's wire that no server can avoid, for both bare servers.
//!
//! Heads are read and written, nothing else: a request is recognised by the last part of its
//! route, and a body is bytes. Input that is not what a correct client sends ends the connection.

use std::process::ExitCode;

use base64::Engine as _;
use sha1::Digest as _;

/// Bytes one read brings at most; one buffer for all connections.
pub(crate) const READ_BUFFER: usize = 64 << 10;

/// Whoever leaves more than this untaken is cut, as by our server: to hoard it is no work that the
/// wire asks for.
pub(crate) const MAX_UNSENT: usize = 4 << 20;

const HANDSHAKE: u8 = 0x01;
const HANDSHAKE_ACK: u8 = 0x02;
const HEARTBEAT: u8 = 0x03;
const DATA: u8 = 0x04;

const RESPONSE: u8 = 0x04;
const PUSH: u8 = 0x06;
const PUSH_ROUTE: &[u8] = b"onMessage";

const DONE: &[u8] = b"{\"code\":200}";

const BINARY: u8 = 0x82;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;

/// RFC 6455, 1.3.
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) port: u16,
    /// Seconds.
    pub(crate) heartbeat: u64,
    /// All broadcasts of one readable event reach a member in one write.
    pub(crate) gather: bool,
}

/// The program around a server that runs until it is killed.
pub(crate) fn main<E: std::fmt::Display>(
    name: &str,
    serve: impl FnOnce(Options) -> Result<std::convert::Infallible, E>,
) -> ExitCode {
    let fail = |error: &dyn std::fmt::Display| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    };
    match options(lexopt::Parser::from_env()) {
        Ok(Some(options)) => match serve(options) {
            Ok(never) => match never {},
            Err(error) => fail(&error),
        },
        Ok(None) => {
            println!("usage: {name} [--port P] [--heartbeat SECONDS] [--gather]");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn options(mut args: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};

    let mut options = Options {
        port: 3010,
        heartbeat: 30,
        gather: false,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("port") => options.port = args.value()?.parse()?,
            Long("heartbeat") => options.heartbeat = args.value()?.parse()?,
            Long("gather") => options.gather = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

/// What a connection speaks, which its first byte tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Unknown,
    Tcp,
    WebSocket,
}

/// The peer did something that only a hostile or unknown client does, or said goodbye.
#[derive(Debug)]
pub(crate) struct Over;

/// What one readable event leads to.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// For the peer itself, to be written at once.
    pub(crate) replies: Vec<u8>,
    /// The peer has joined the channel.
    pub(crate) joined: bool,
    /// Bodies to be pushed to all members, one behind the other, and where each ends.
    bodies: Vec<u8>,
    ends: Vec<usize>,
}

impl Output {
    pub(crate) fn clear(&mut self) {
        self.replies.clear();
        self.joined = false;
        self.bodies.clear();
        self.ends.clear();
    }

    /// Each piece is one write to each member who speaks `framing`; with `gather` there is one
    /// piece at most.
    pub(crate) fn pushes(&self, framing: Framing, gather: bool) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut begin = 0;
        for &end in &self.ends {
            let body = self.bodies.get(begin..end).unwrap_or_default();
            begin = end;
            if !gather || pieces.is_empty() {
                pieces.push(Vec::new());
            }
            if let Some(piece) = pieces.last_mut() {
                let route_len = u8::try_from(PUSH_ROUTE.len()).unwrap_or(u8::MAX);
                package(
                    piece,
                    framing,
                    DATA,
                    &[&[PUSH, route_len], PUSH_ROUTE, body],
                );
            }
        }
        pieces
    }

    pub(crate) fn has_pushes(&self) -> bool {
        !self.ends.is_empty()
    }
}

/// Answers everything that is complete in `bytes` and tells how much of them that was.
pub(crate) fn serve(
    framing: &mut Framing,
    bytes: &mut [u8],
    heartbeat: u64,
    out: &mut Output,
) -> Result<usize, Over> {
    if *framing == Framing::Unknown {
        *framing = match bytes.first() {
            None => return Ok(0),
            Some(b'G') => {
                let Some(taken) = upgrade(bytes, &mut out.replies)? else {
                    return Ok(0);
                };
                *framing = Framing::WebSocket;
                // A client waits for the answer before it sends frames.
                return Ok(taken);
            }
            Some(_) => Framing::Tcp,
        };
    }
    if *framing == Framing::Tcp {
        return packages(bytes, Framing::Tcp, heartbeat, out);
    }
    let mut taken = 0;
    while let Some(rest) = bytes.get_mut(taken..)
        && let Some((payload, len)) = frame(rest)?
    {
        if packages(payload, Framing::WebSocket, heartbeat, out)? != payload.len() {
            return Err(Over);
        }
        taken += len;
    }
    Ok(taken)
}

fn packages(
    bytes: &[u8],
    framing: Framing,
    heartbeat: u64,
    out: &mut Output,
) -> Result<usize, Over> {
    let mut rest = bytes;
    while let Some((&[kind, a, b, c], behind)) = rest.split_first_chunk() {
        let len = u32::from_be_bytes([0, a, b, c]);
        let Some((body, behind)) = behind.split_at_checked(len as usize) else {
            break;
        };
        rest = behind;
        match kind {
            DATA => request(body, framing, out)?,
            HEARTBEAT | HANDSHAKE_ACK => package(&mut out.replies, framing, HEARTBEAT, &[]),
            HANDSHAKE => {
                let answer = format!("{{\"code\":200,\"sys\":{{\"heartbeat\":{heartbeat}}}}}");
                package(&mut out.replies, framing, HANDSHAKE, &[answer.as_bytes()]);
            }
            _ => return Err(Over),
        }
    }
    Ok(bytes.len() - rest.len())
}

/// flag, id, length of the route, route, body.
fn request(message: &[u8], framing: Framing, out: &mut Output) -> Result<(), Over> {
    let (&[0], after_flag) = message.split_first_chunk().ok_or(Over)? else {
        return Err(Over);
    };
    let id_len = after_flag.iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let (id, rest) = after_flag.split_at_checked(id_len).ok_or(Over)?;
    let (&route_len, rest) = rest.split_first().ok_or(Over)?;
    let (route, body) = rest.split_at_checked(usize::from(route_len)).ok_or(Over)?;
    let method = route.rsplit(|byte| *byte == b'.').next().unwrap_or(route);
    let mut respond = |parts: [&[u8]; 2]| {
        let [head, tail] = parts;
        package(
            &mut out.replies,
            framing,
            DATA,
            &[&[RESPONSE], id, head, tail],
        );
    };
    match method {
        b"echo" => {
            let members = body.strip_prefix(b"{").ok_or(Over)?;
            respond([b"{\"code\":200,", members]);
        }
        b"raw" => respond([body, b""]),
        b"entry" => respond([DONE, b""]),
        b"join" => {
            respond([DONE, b""]);
            out.joined = true;
        }
        b"broadcast" => {
            respond([DONE, b""]);
            out.bodies.extend_from_slice(body);
            out.ends.push(out.bodies.len());
        }
        _ => return Err(Over),
    }
    Ok(())
}

fn package(out: &mut Vec<u8>, framing: Framing, kind: u8, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // No body here is longer than what came in one read.
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if framing == Framing::WebSocket {
        out.push(BINARY);
        let framed = len + 4;
        if let Ok(short @ 0..126) = u8::try_from(framed) {
            out.push(short);
        } else if let Ok(medium) = u16::try_from(framed) {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        } else {
            out.push(127);
            out.extend_from_slice(&u64::from(framed).to_be_bytes());
        }
    }
    let [_, a, b, c] = len.to_be_bytes();
    out.extend_from_slice(&[kind, a, b, c]);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The first frame's payload, unmasked in place, and the length of the whole frame.
fn frame(bytes: &mut [u8]) -> Result<Option<(&[u8], usize)>, Over> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    if first & CONTROL != 0 || second & MASKED == 0 {
        return Err(Over);
    }
    let (extended, len) = match second & !MASKED {
        126 => match rest.first_chunk() {
            Some(&len) => (2, u64::from(u16::from_be_bytes(len))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(&len) => (8, u64::from_be_bytes(len)),
            None => return Ok(None),
        },
        short => (0, u64::from(short)),
    };
    let len = usize::try_from(len).map_err(|_| Over)?;
    let Some((_, rest)) = bytes.split_at_mut_checked(2 + extended) else {
        return Ok(None);
    };
    let Some((&mut mask, rest)) = rest.split_first_chunk_mut::<4>() else {
        return Ok(None);
    };
    let Some((payload, _)) = rest.split_at_mut_checked(len) else {
        return Ok(None);
    };
    for four in payload.chunks_mut(4) {
        for (byte, mask) in four.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    Ok(Some((payload, 2 + extended + 4 + len)))
}

/// Answers an upgrade to WebSocket; tells how long its request was, once all of it is there.
fn upgrade(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Over> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| Over)?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key")
            .then_some(value.trim())
    });
    let mut hash = sha1::Sha1::new_with_prefix(key.ok_or(Over)?);
    hash.update(WEBSOCKET_GUID);
    let accept = base64::engine::general_purpose::STANDARD.encode(hash.finalize());
    out.extend_from_slice(
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .as_bytes(),
    );
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole conversation as a client sends it over TCP.
    fn conversation() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut send = |kind, parts: &[&[u8]]| package(&mut bytes, Framing::Tcp, kind, parts);
        send(HANDSHAKE, &[b"{\"sys\":{}}"]);
        send(HANDSHAKE_ACK, &[]);
        send(HEARTBEAT, &[]);
        for (id, method, body) in [
            (&[1][..], "entry", "{}"),
            (&[0x80, 1][..], "echo", "{\"msg\":1}"),
            (&[3][..], "raw", "[]"),
            (&[4][..], "join", "{}"),
            (&[5][..], "broadcast", "{\"msg\":2}"),
            (&[6][..], "broadcast", "{\"msg\":3}"),
        ] {
            let route = format!("connector.entryHandler.{method}");
            let len = u8::try_from(route.len()).unwrap();
            send(DATA, &[&[0], id, &[len], route.as_bytes(), body.as_bytes()]);
        }
        bytes
    }

    fn answers(framing: Framing) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut send = |kind, parts: &[&[u8]]| package(&mut bytes, framing, kind, parts);
        send(HANDSHAKE, &[b"{\"code\":200,\"sys\":{\"heartbeat\":7}}"]);
        send(HEARTBEAT, &[]);
        send(HEARTBEAT, &[]);
        send(DATA, &[&[RESPONSE, 1], DONE]);
        send(DATA, &[&[RESPONSE, 0x80, 1], b"{\"code\":200,\"msg\":1}"]);
        send(DATA, &[&[RESPONSE, 3], b"[]"]);
        for id in [4, 5, 6] {
            send(DATA, &[&[RESPONSE, id], DONE]);
        }
        bytes
    }

    fn masked(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![
            BINARY,
            MASKED | u8::try_from(payload.len()).unwrap(),
            1,
            2,
            3,
            4,
        ];
        frame.extend(
            payload
                .iter()
                .zip([1, 2, 3, 4].iter().cycle())
                .map(|(a, b)| a ^ b),
        );
        frame
    }

    /// Feeds bytes in chunks, as a server does.
    fn feed(bytes: &[u8], chunk: usize) -> Output {
        let (mut framing, mut partial, mut out) = (Framing::Unknown, Vec::new(), Output::default());
        for bytes in bytes.chunks(chunk) {
            partial.extend_from_slice(bytes);
            // Twice, since nothing behind an upgrade is looked at with it.
            for _ in 0..2 {
                let taken = serve(&mut framing, &mut partial, 7, &mut out).unwrap();
                partial.drain(..taken);
            }
        }
        assert!(partial.is_empty());
        out
    }

    #[test]
    fn any_cut_gives_the_same_answers() {
        for chunk in [1, 3, 50, 10_000] {
            let out = feed(&conversation(), chunk);
            assert_eq!(out.replies, answers(Framing::Tcp));
            assert!(out.joined);
            let pushes = out.pushes(Framing::Tcp, false);
            assert_eq!(pushes.len(), 2);
            assert_eq!(out.pushes(Framing::Tcp, true), [pushes.concat()]);
            assert!(pushes[1].ends_with(b"onMessage{\"msg\":3}"));
        }
    }

    #[test]
    fn websocket_after_its_upgrade() {
        // The example of RFC 6455.
        let mut bytes =
            b"GET / HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_vec();
        let mut rest = &conversation()[..];
        while let Some((&[_, _, _, len], _)) = rest.split_first_chunk() {
            let (package, behind) = rest.split_at(4 + usize::from(len));
            bytes.extend(masked(package));
            rest = behind;
        }
        for chunk in [1, 7, 10_000] {
            let out = feed(&bytes, chunk);
            let head = out
                .replies
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .unwrap()
                + 4;
            let (head, frames) = out.replies.split_at(head);
            assert!(String::from_utf8_lossy(head).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            assert_eq!(frames, answers(Framing::WebSocket));
        }
    }

    #[test]
    fn nonsense_ends_the_connection() {
        for mut bytes in [
            b"\x09\0\0\0".to_vec(),
            b"\x04\0\0\x02\x02\x01".to_vec(),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            let mut out = Output::default();
            assert!(serve(&mut Framing::Unknown, &mut bytes, 7, &mut out).is_err());
        }
    }
}
