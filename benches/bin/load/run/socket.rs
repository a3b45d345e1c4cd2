//! A non-blocking socket that carries packages: a TCP stream, or WebSocket messages over one.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::run::args::Target;

/// The nonce of RFC 6455's example: nothing between us and the server caches answers.
const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Longer answers to an upgrade are no WebSocket server's.
const MAX_UPGRADE_ANSWER: usize = 16 << 10;

pub(crate) const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// One client's socket. Bytes to send wait in it until the kernel takes them.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    framing: Framing,
    outgoing: Vec<u8>,
    sent: usize,
}

#[derive(Debug)]
enum Framing {
    Tcp,
    /// Waits for the answer to the upgrade; what came of it so far, and packages that wait for it.
    Upgrading {
        answer: Vec<u8>,
        early: Vec<u8>,
    },
    /// Bytes of a frame that is not complete.
    Ws {
        partial: Vec<u8>,
    },
}

impl Socket {
    /// Begins to connect, from the `index`th source address if there are several.
    pub(crate) fn connect(target: &Target, sources: u16, index: usize) -> io::Result<Self> {
        let socket = RawSocket::new(
            Domain::for_address(target.address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        if sources > 1 {
            // Ports of connections that ended a moment ago may be taken again.
            socket.set_reuse_address(true)?;
            socket.bind(&source(sources, index).into())?;
        }
        match socket.connect(&target.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        let mut socket = Self {
            stream,
            framing: Framing::Tcp,
            outgoing: Vec::new(),
            sent: 0,
        };
        if target.websocket {
            socket.outgoing = upgrade_request(target);
            socket.framing = Framing::Upgrading {
                answer: Vec::new(),
                early: Vec::new(),
            };
        }
        Ok(socket)
    }

    /// Queues one package.
    pub(crate) fn queue(&mut self, package: &[u8]) {
        match &mut self.framing {
            Framing::Tcp => self.outgoing.extend_from_slice(package),
            Framing::Upgrading { early, .. } => write_frame(early, BINARY, package),
            Framing::Ws { .. } => write_frame(&mut self.outgoing, BINARY, package),
        }
    }

    /// Writes what is queued. `false`: the kernel did not take everything.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self
            .outgoing
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if is_later(&error) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(true)
    }

    /// Reads once into `buffer`; bytes of packages are appended to `packages`. `None`: nothing to
    /// read at present. `Some(false)`: the peer has closed.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        packages: &mut Vec<u8>,
    ) -> io::Result<Option<bool>> {
        let read = match self.stream.read(buffer) {
            Ok(0) => return Ok(Some(false)),
            Ok(read) => read,
            Err(error) if is_later(&error) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        match &mut self.framing {
            Framing::Tcp => {
                packages.extend_from_slice(bytes);
                Ok(Some(true))
            }
            Framing::Upgrading { answer, early } => {
                answer.extend_from_slice(bytes);
                let Some(head) = upgrade_answer(answer)? else {
                    return Ok(Some(true));
                };
                let mut partial = answer.split_off(head);
                self.outgoing.append(early);
                let open = take_frames(&mut partial, packages, &mut self.outgoing)?;
                self.framing = Framing::Ws { partial };
                Ok(Some(open))
            }
            Framing::Ws { partial } => {
                partial.extend_from_slice(bytes);
                take_frames(partial, packages, &mut self.outgoing).map(Some)
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// `EINPROGRESS`, which has no `ErrorKind` on stable Rust.
pub(crate) const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Not yet connected counts as not yet writable.
pub(crate) fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
    )
}

/// 127.0.x.y; all of 127.0.0.0/8 is this machine on Linux.
fn source(sources: u16, index: usize) -> SocketAddr {
    let number = index % usize::from(sources) + 1;
    let [_, _, high, low] = u32::try_from(number).unwrap_or(1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, high, low)), 0)
}

pub(crate) fn upgrade_request(target: &Target) -> Vec<u8> {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {UPGRADE_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        target.path, target.address
    )
    .into_bytes()
}

/// Where the frames begin behind the answer to the upgrade; `None`: it is not complete.
fn upgrade_answer(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if answer.len() > MAX_UPGRADE_ANSWER {
            Err(invalid("the answer to the upgrade is endless"))
        } else {
            Ok(None)
        };
    };
    if answer.starts_with(b"HTTP/1.1 101 ") {
        Ok(Some(end + 4))
    } else {
        Err(invalid("the server refuses the upgrade to WebSocket"))
    }
}

/// Appends one masked frame. The mask is zero: it protects proxies from browsers, and there is
/// neither here; the server's work is the same.
pub(crate) fn write_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(FIN | opcode);
    if let Ok(short @ 0..126) = u8::try_from(payload.len()) {
        out.push(MASKED | short);
    } else if let Ok(medium) = u16::try_from(payload.len()) {
        out.push(MASKED | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(MASKED | 127);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Takes all whole frames off `bytes`: payloads go to `packages`, answers to pings to `replies`.
/// `false`: the peer has said goodbye.
fn take_frames(
    bytes: &mut Vec<u8>,
    packages: &mut Vec<u8>,
    replies: &mut Vec<u8>,
) -> io::Result<bool> {
    let mut taken = 0;
    while let Some((opcode, payload, rest)) = split_frame(bytes.get(taken..).unwrap_or_default())? {
        match opcode {
            CLOSE => return Ok(false),
            PING => write_frame(replies, PONG, payload),
            PONG => {}
            // Text, binary or a continuation: packages are found in the stream of payloads.
            _ => packages.extend_from_slice(payload),
        }
        taken = bytes.len() - rest;
    }
    bytes.drain(..taken);
    Ok(true)
}

/// The first frame's kind and payload, and how many bytes follow it.
fn split_frame(bytes: &[u8]) -> io::Result<Option<(u8, &[u8], usize)>> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    if second & MASKED != 0 {
        return Err(invalid("the server masks its frames"));
    }
    let parsed = match second {
        126 => rest
            .split_first_chunk()
            .map(|(&len, rest)| (u64::from(u16::from_be_bytes(len)), rest)),
        127 => rest
            .split_first_chunk()
            .map(|(&len, rest)| (u64::from_be_bytes(len), rest)),
        short => Some((u64::from(short), rest)),
    };
    let Some((len, rest)) = parsed else {
        return Ok(None);
    };
    let len = usize::try_from(len).map_err(|_| invalid("a frame is too long"))?;
    Ok(rest
        .split_at_checked(len)
        .map(|(payload, rest)| (first & 0x0f, payload, rest.len())))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let payloads = [vec![], vec![1; 125], vec![2; 126], vec![3; 70_000]];
        let mut stream = Vec::new();
        for payload in &payloads {
            let mut frame = Vec::new();
            write_frame(&mut frame, BINARY, payload);
            // As a server sends it: without mask.
            let head = frame.len() - payload.len() - 4;
            frame.drain(head..head + 4);
            frame[1] &= !MASKED;
            stream.extend(frame);
        }
        for chunk in [1, 3, 128, 100_000] {
            let (mut partial, mut packages) = (Vec::new(), Vec::new());
            for bytes in stream.chunks(chunk) {
                partial.extend_from_slice(bytes);
                assert!(take_frames(&mut partial, &mut packages, &mut Vec::new()).unwrap());
            }
            assert_eq!(packages, payloads.concat());
            assert!(partial.is_empty());
        }
    }

    #[test]
    fn pings_are_answered_and_goodbyes_end() {
        let mut replies = Vec::new();
        let mut bytes = vec![FIN | PING, 2, b'h', b'i', FIN | CLOSE, 0];
        assert!(!take_frames(&mut bytes, &mut Vec::new(), &mut replies).unwrap());
        assert_eq!(replies, [FIN | PONG, MASKED | 2, 0, 0, 0, 0, b'h', b'i']);
        assert!(split_frame(&[FIN | BINARY, MASKED]).is_err());
    }

    #[test]
    fn only_a_switch_of_protocols_is_an_upgrade() {
        assert_eq!(upgrade_answer(b"HTTP/1.1 101 S").unwrap(), None);
        let answer = b"HTTP/1.1 101 Switching Protocols\r\n\r\nrest";
        assert_eq!(upgrade_answer(answer).unwrap(), Some(answer.len() - 4));
        assert!(upgrade_answer(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
    }

    #[test]
    fn sources_go_round() {
        assert_eq!(source(300, 0).ip(), Ipv4Addr::new(127, 0, 0, 1));
        assert_eq!(source(300, 256).ip(), Ipv4Addr::new(127, 0, 1, 1));
        assert_eq!(source(300, 300).ip(), Ipv4Addr::new(127, 0, 0, 1));
    }
}
