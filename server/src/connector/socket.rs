//! What a connection reads from and writes to: a TCP socket, bare or inside TLS.

use std::io::{self, IoSlice};

use tokio::io::{AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use super::tls::{Tls, TlsSocket};

pub(crate) enum Socket {
    Plain(TcpStream),
    /// On the heap, so that others do not pay for its size.
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// Goes on in TLS; `first` was read already.
    #[cfg(feature = "tls")]
    pub(crate) fn into_tls(self, tls: &Tls, first: Vec<u8>) -> io::Result<Self> {
        match self {
            Self::Plain(stream) => Ok(Self::Tls(Box::new(TlsSocket::new(tls, stream, first)?))),
            inside @ Self::Tls(_) => Ok(inside),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.stream(),
        }
    }

    /// Waits until the system says that one of these may work. Cancel safe.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.stream().ready(interest).await
    }

    /// 0 is the end of the stream.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.try_read(buffer),
        }
    }

    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_write_vectored(slices),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.try_write_vectored(slices),
        }
    }

    /// Writes what was taken and is still here, as far as the system takes it.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::needless_pass_by_ref_mut, reason = "TLS changes its state")
    )]
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.flush(),
        }
    }

    /// Whether the system has everything that was taken.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.is_flushed(),
        }
    }

    /// Says that nothing more comes; the peer may still send.
    pub(crate) async fn end(self) -> TcpStream {
        let mut stream = match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.into_stream(),
        };
        // Best effort: the peer gets the end of the stream either way when the socket is dropped.
        drop(stream.shutdown().await);
        stream
    }
}
