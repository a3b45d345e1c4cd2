//! Bytes in, frames out: the one file that knows TCP from WebSocket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use pomelo_protocol::{Config, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::error::ConnectError;

/// Room made for each read of a stream: more than most pushes, small enough to be allocated often.
const READ_CHUNK: usize = 8 * 1024;

/// The longest WebSocket message, in packages of the longest kind: pomelo's `buffer` push scheduler puts
/// several packages into one message.
const PACKAGES_PER_MESSAGE: usize = 4;

/// A parsed address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Ws { host: String, port: u16, url: Uri },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, ConnectError> {
        let invalid = || ConnectError::InvalidUrl {
            url: text.to_owned(),
        };
        let url: Uri = text.parse().map_err(|_| invalid())?;
        let scheme = url.scheme_str().ok_or_else(invalid)?;
        // A literal IPv6 address is bracketed in a URL and bare everywhere else.
        let host = url.host().ok_or_else(invalid)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let host = host.to_owned();
        if host.is_empty() {
            return Err(invalid());
        }
        match scheme {
            "tcp" => Ok(Self::Tcp {
                host,
                port: url.port_u16().ok_or_else(invalid)?,
            }),
            "ws" => Ok(Self::Ws {
                host,
                port: url.port_u16().unwrap_or(80),
                url,
            }),
            other => Err(ConnectError::UnsupportedScheme {
                scheme: other.to_owned(),
            }),
        }
    }

    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } | Self::Ws { host, .. } => host,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Tcp { port, .. } | Self::Ws { port, .. } => *port,
        }
    }
}

/// Speaks the WebSocket upgrade over `stream`.
pub(crate) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    url: &Uri,
    stream: S,
    limits: &Config,
) -> Result<Transport<S>, Box<dyn std::error::Error + Send + Sync>> {
    let longest = limits.max_package.max(limits.max_handshake) as usize;
    let longest = longest.saturating_mul(PACKAGES_PER_MESSAGE);
    let config = WebSocketConfig::default()
        // tungstenite reserves 128 KiB for each of these unless told otherwise.
        .read_buffer_size(READ_CHUNK)
        .write_buffer_size(READ_CHUNK)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest));
    match tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await {
        Ok((ws, _)) => Ok(Transport::websocket(ws)),
        Err(tungstenite::Error::Io(error)) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

/// How packages travel. `S` is the stream below: a socket, or whatever the application brought.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    Tcp {
        io: S,
        incoming: BytesMut,
        outgoing: BytesMut,
    },
    Ws {
        ws: Box<WebSocketStream<S>>,
        outgoing: VecDeque<Bytes>,
        flushed: bool,
    },
}

/// What [`Transport::progress`] came back with.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Bytes of a TCP stream, cut anywhere.
    Chunk(Bytes),
    /// One whole WebSocket message.
    Message(Bytes),
    /// Everything queued is on its way; there is room for more.
    Drained,
    /// The peer closed, and nothing follows.
    Eof,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    pub(crate) fn tcp(io: S) -> Self {
        Self::Tcp {
            io,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
        }
    }

    pub(crate) fn websocket(ws: WebSocketStream<S>) -> Self {
        Self::Ws {
            ws: Box::new(ws),
            outgoing: VecDeque::new(),
            flushed: true,
        }
    }

    /// Queues one frame. Only to be called while [`is_drained`](Self::is_drained), for as many frames as
    /// shall share a write.
    pub(crate) fn queue(&mut self, frame: Frame) {
        match self {
            Self::Tcp { outgoing, .. } => outgoing.extend_from_slice(frame.as_bytes()),
            Self::Ws {
                outgoing, flushed, ..
            } => {
                outgoing.push_back(frame.into_bytes());
                *flushed = false;
            }
        }
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Tcp { outgoing, .. } => outgoing.is_empty(),
            Self::Ws { flushed, .. } => *flushed,
        }
    }

    /// Writes what is queued and reads what is there, whichever is possible first.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: queued bytes stay in `self` until the stream has taken them, and bytes that were read
    /// are returned by the very poll that read them.
    pub(crate) async fn progress(&mut self) -> io::Result<Progress> {
        poll_fn(|cx| {
            if !self.is_drained()
                && let Poll::Ready(written) = self.poll_drain(cx)
            {
                return Poll::Ready(written.map(|()| Progress::Drained));
            }
            self.poll_receive(cx)
        })
        .await
    }

    /// Writes everything queued, then ends the sending direction: a close frame or a FIN.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; call it again to go on.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            if !self.is_drained() {
                ready!(self.poll_drain(cx))?;
            }
            match self {
                Self::Tcp { io, .. } => Pin::new(io).poll_shutdown(cx),
                Self::Ws { ws, .. } => Pin::new(ws).poll_close(cx).map_err(into_io),
            }
        })
        .await
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp { io, outgoing, .. } => {
                while !outgoing.is_empty() {
                    if ready!(poll_write_buf(Pin::new(io), cx, outgoing))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                }
                Pin::new(io).poll_flush(cx)
            }
            Self::Ws {
                ws,
                outgoing,
                flushed,
            } => {
                while !outgoing.is_empty() {
                    ready!(Pin::new(&mut *ws).poll_ready(cx)).map_err(into_io)?;
                    if let Some(package) = outgoing.pop_front() {
                        Pin::new(&mut *ws)
                            .start_send(Message::Binary(package))
                            .map_err(into_io)?;
                    }
                }
                ready!(Pin::new(ws).poll_flush(cx)).map_err(into_io)?;
                *flushed = true;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        match self {
            Self::Tcp { io, incoming, .. } => {
                incoming.reserve(READ_CHUNK);
                Poll::Ready(Ok(
                    match ready!(poll_read_buf(Pin::new(io), cx, incoming))? {
                        0 => Progress::Eof,
                        _ => Progress::Chunk(incoming.split().freeze()),
                    },
                ))
            }
            Self::Ws { ws, .. } => loop {
                return Poll::Ready(match ready!(Pin::new(&mut *ws).poll_next(cx)) {
                    Some(Ok(Message::Binary(bytes))) => Ok(Progress::Message(bytes)),
                    Some(Ok(Message::Text(text))) => Ok(Progress::Message(text.into())),
                    // tungstenite answers pings itself, with the next read or write.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Ok(Message::Close(_))) | None => Ok(Progress::Eof),
                    Some(Err(
                        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed,
                    )) => Ok(Progress::Eof),
                    Some(Err(error)) => Err(into_io(error)),
                });
            },
        }
    }
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = Address::parse("tcp://127.0.0.1:3010").unwrap();
        assert_eq!((tcp.host(), tcp.port()), ("127.0.0.1", 3010));
        let ws = Address::parse("ws://game.example/path?q=1").unwrap();
        assert_eq!((ws.host(), ws.port()), ("game.example", 80));
        let v6 = Address::parse("tcp://[::1]:3010").unwrap();
        assert_eq!((v6.host(), v6.port()), ("::1", 3010));
    }

    #[test]
    fn addresses_that_are_none() {
        for url in [
            "",
            "game.example",
            "game.example:3010",
            "tcp://game.example",
            "tcp://",
            "/x",
        ] {
            assert!(
                matches!(Address::parse(url), Err(ConnectError::InvalidUrl { url: named }) if named == url),
                "{url:?}"
            );
        }
        for url in [
            "wss://game.example/",
            "tls://game.example:1",
            "http://game.example/",
        ] {
            assert!(
                matches!(
                    Address::parse(url),
                    Err(ConnectError::UnsupportedScheme { .. })
                ),
                "{url:?}"
            );
        }
    }
}
