//! From an accepted socket to a known transport and a known client.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::http::{self, Head};
use super::proxy::{self, Header};
use super::socket::Socket;
use super::transport::{MESSAGE_ROOM, Transport};
use super::{Hybrid, Network, Queue};
use crate::mailbox::Outgoing;
use crate::metrics::Refusal;

/// One read takes at most this much; the buffer belongs to the worker thread, not the connection.
const READ_BUFFER: usize = 64 * 1024;

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection whose transport is known.
pub(crate) struct Opened {
    pub(crate) socket: Socket,
    /// The client, not the proxy before it.
    pub(crate) peer: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) out: Outgoing,
    /// What came with the bytes that told.
    pub(crate) first: Vec<u8>,
}

/// Finds out who is there and what it speaks.
pub(crate) async fn open(
    stream: TcpStream,
    peer: SocketAddr,
    hybrid: &Hybrid,
    queue: &Queue,
) -> Result<Opened, Refusal> {
    let mut socket = Socket::new(stream);
    let mut bytes = Vec::new();
    let mut client = peer;
    if hybrid.proxy_protocol {
        if !trusts(&hybrid.trusted_proxies, peer) {
            return Err(Refusal::FirstBytes);
        }
        client = proxied(&mut socket, &mut bytes, queue)
            .await?
            .unwrap_or(peer);
    }
    if hybrid.hosts.refuses(client.ip()).await {
        return Err(Refusal::Blacklist);
    }
    if bytes.is_empty() {
        read_more(&mut socket, &mut bytes, queue).await?;
    }
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        (socket, bytes) = secured(socket, bytes, hybrid, queue).await?;
    } else if hybrid.needs_tls() {
        return Err(Refusal::FirstBytes);
    }
    match bytes.first() {
        // Package kinds are 1 to 5, and no HTTP method begins with one.
        Some(0x01..=0x05) => {
            if !hybrid.no_delay {
                // Best effort, as when it was switched on.
                drop(socket.stream().set_nodelay(false));
            }
            Ok(Opened {
                socket,
                peer: client,
                transport: Transport::Tcp,
                out: Outgoing::default(),
                first: bytes,
            })
        }
        Some(b'A'..=b'Z') => upgrade(socket, bytes, client, hybrid, queue).await,
        _ => Err(Refusal::FirstBytes),
    }
}

fn trusts(proxies: &[Network], peer: SocketAddr) -> bool {
    proxies.is_empty() || proxies.iter().any(|proxy| proxy.contains(peer.ip()))
}

/// The address in the header that must come first; the header is taken off.
async fn proxied(
    socket: &mut Socket,
    bytes: &mut Vec<u8>,
    queue: &Queue,
) -> Result<Option<SocketAddr>, Refusal> {
    loop {
        read_more(socket, bytes, queue).await?;
        match proxy::read(bytes) {
            Header::Incomplete => {}
            Header::Complete { client, len } => {
                bytes.drain(..len);
                let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
                return Ok(client.map(canonical));
            }
            Header::Invalid => return Err(Refusal::FirstBytes),
        }
    }
}

#[cfg(feature = "tls")]
async fn secured(
    socket: Socket,
    first: Vec<u8>,
    hybrid: &Hybrid,
    queue: &Queue,
) -> Result<(Socket, Vec<u8>), Refusal> {
    let tls = hybrid.tls.as_ref().ok_or(Refusal::FirstBytes)?;
    let mut socket = socket.into_tls(tls, first)?;
    let mut bytes = Vec::new();
    // What came with the first bytes may be all that comes for now.
    match with_buffer(|buffer| take(&mut socket, buffer, &mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            read_more(&mut socket, &mut bytes, queue).await?;
        }
        Ok(read) if read > 0 => {}
        _ => return Err(Refusal::Transport),
    }
    Ok((socket, bytes))
}

#[cfg(not(feature = "tls"))]
#[expect(clippy::unused_async, reason = "the same as with TLS")]
async fn secured(
    _: Socket,
    _: Vec<u8>,
    _: &Hybrid,
    _: &Queue,
) -> Result<(Socket, Vec<u8>), Refusal> {
    Err(Refusal::FirstBytes)
}

async fn upgrade(
    mut socket: Socket,
    mut bytes: Vec<u8>,
    peer: SocketAddr,
    hybrid: &Hybrid,
    queue: &Queue,
) -> Result<Opened, Refusal> {
    let mut out = Outgoing::default();
    let real_ip = hybrid
        .real_ip
        .as_ref()
        .filter(|_| trusts(&hybrid.trusted_proxies, peer));
    loop {
        match http::read(&bytes, real_ip, &hybrid.trusted_proxies) {
            Head::Incomplete => read_more(&mut socket, &mut bytes, queue).await?,
            Head::Upgrade {
                answer,
                len,
                client,
            } => {
                let client = client.map_or(peer, |(ip, port)| SocketAddr::new(ip, port));
                if client != peer && hybrid.hosts.refuses(client.ip()).await {
                    return Err(Refusal::Blacklist);
                }
                out.push_raw(answer.into());
                out.set_websocket();
                return Ok(Opened {
                    socket,
                    peer: client,
                    // Strangers send no more than a handshake, which may be 64 KiB long.
                    transport: Transport::websocket(2 * MESSAGE_ROOM),
                    out,
                    first: bytes.split_off(len),
                });
            }
            Head::Refuse(answer) => {
                out.push_raw(answer.into());
                loop {
                    socket.flush()?;
                    out.write(|slices| socket.try_write(slices))?;
                    if out.is_empty() && socket.is_flushed() {
                        break;
                    }
                    socket.ready(Interest::WRITABLE).await?;
                }
                // What else came is taken: unread bytes would turn the close into a reset, which
                // may overtake the answer.
                drop(with_buffer(|buffer| socket.try_read(buffer)));
                drop(socket.end());
                return Err(Refusal::Http);
            }
        }
    }
}

/// Appends what comes next, after those that have a session; the end of the stream is an error
/// here.
async fn read_more(socket: &mut Socket, bytes: &mut Vec<u8>, queue: &Queue) -> Result<(), Refusal> {
    loop {
        let interest = if socket.is_flushed() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        socket.ready(interest).await?;
        queue.turn().await;
        socket.flush()?;
        match with_buffer(|buffer| take(socket, buffer, bytes)) {
            Ok(0) => return Err(Refusal::Transport),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn take(socket: &mut Socket, buffer: &mut [u8], bytes: &mut Vec<u8>) -> io::Result<usize> {
    let read = socket.try_read(buffer)?;
    bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
    Ok(read)
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Transport
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the worker's read buffer. It is taken out meanwhile: a nested call makes its own.
pub(crate) fn with_buffer<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = take_buffer();
    let result = work(&mut buffer);
    return_buffer(buffer);
    result
}

/// The worker's read buffer, for longer than a call; see [`return_buffer`].
pub(crate) fn take_buffer() -> Vec<u8> {
    let mut buffer = BUFFER.take();
    buffer.resize(READ_BUFFER, 0);
    buffer
}

/// Gives it back to the thread it is used on.
pub(crate) fn return_buffer(buffer: Vec<u8>) {
    BUFFER.set(buffer);
}

#[cfg(test)]
mod tests {
    use pomelo_protocol::Instant;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn delay_is_a_choice_for_raw_tcp_only() {
        let upgrade = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nHost: a\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        for (no_delay, first, expected) in [
            (true, "\u{1}", true),
            (false, "\u{1}", false),
            (false, upgrade, true),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(first.as_bytes()).await.unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let hybrid = Hybrid::new().set_no_delay(no_delay);
            let queue = Queue::new(1);
            let opened = tokio::select! {
                opened = open(stream, peer, &hybrid, &queue) => opened,
                () = queue.run(0, Instant::default) => unreachable!(),
            };
            let Ok(opened) = opened else {
                panic!("refused");
            };
            assert_eq!(opened.socket.stream().nodelay().unwrap(), expected);
        }
    }
}
