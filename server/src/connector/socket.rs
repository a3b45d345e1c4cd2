//! What a connection reads from and writes to: a TCP socket, bare or inside TLS.

use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
use super::tls::{Tls, TlsSocket};
use crate::mailbox::try_write;

pub(crate) enum Socket {
    /// Shared with whoever writes while the connection's task waits.
    Plain(Arc<TcpStream>),
    /// On the heap, so that others do not pay for its size.
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocket>),
}

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self::Plain(Arc::new(stream))
    }

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

    /// The socket for others to write to, if bytes can be written to it as they are.
    pub(crate) fn shared(&self) -> Option<Arc<TcpStream>> {
        match self {
            Self::Plain(stream) => Some(Arc::clone(stream)),
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
        }
    }

    /// Waits until the system says that one of these may work. Cancel safe.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.stream().ready(interest).await
    }

    /// Whether a read may work; otherwise the task is woken when it may.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read_ready(context)
    }

    /// Whether a write may work; otherwise the task is woken when it may.
    pub(crate) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_write_ready(context)
    }

    /// 0 is the end of the stream.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_read_some(buffer, buffer.len())
    }

    /// The same, but no more is read when there are `enough` bytes. What TLS has read has to fit in
    /// the buffer, so it may be more.
    pub(crate) fn try_read_some(&mut self, buffer: &mut [u8], enough: usize) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => read(stream, buffer.get_mut(..enough).unwrap_or_default()),
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.try_read(buffer, enough),
        }
    }

    pub(crate) fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => try_write(stream, slices),
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

    /// Whether the system says all there is to say when the socket is closed.
    pub(crate) fn is_bare(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            #[cfg(feature = "tls")]
            Self::Tls(_) => false,
        }
    }

    /// Says that nothing more comes; the peer may still send.
    pub(crate) fn end(self) -> Arc<TcpStream> {
        let stream = match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(socket) => socket.into_stream(),
        };
        // Best effort: the peer gets the end of the stream either way when the socket is dropped.
        drop(SockRef::from(&*stream).shutdown(Shutdown::Write));
        stream
    }
}

/// Reads, and when that did not fill the buffer says at once that there is nothing more: a second
/// read to find out would cost a system call for each message.
fn read(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut taken = None;
    let tried = stream.try_io(Interest::READABLE, || {
        let read = (&*SockRef::from(stream)).read(buffer)?;
        taken = Some(read);
        if read > 0 && read < buffer.len() {
            // How tokio is told to wait for the system's next word.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match taken {
        Some(read) => Ok(read),
        None => tried.map(|()| 0),
    }
}
