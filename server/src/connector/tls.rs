//! TLS on the clients' listener (feature `tls`): rustls, driven by readiness like a bare socket.

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;

use crate::lock;

/// The certificate of a connector; clones are handles to one, so that the application can change
/// it while the server runs.
///
/// New connections get the new certificate, those that are there keep theirs:
///
/// ```no_run
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use pomelo_server::{Hybrid, Tls};
///
/// let tls = Tls::from_files("chain.pem", "key.pem")?;
/// let connector = Hybrid::new().tls(tls.clone());
/// // Later, when the files were renewed:
/// tls.reload()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<Mutex<Arc<ServerConfig>>>,
    files: Option<Arc<(PathBuf, PathBuf)>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: cannot be read")]
    Read {
        /// Which file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
    /// There is no certificate, or something that is none, where the chain should be.
    #[error("no certificate chain in PEM form")]
    Chain(#[source] pem::Error),
    /// There is no private key where one should be.
    #[error("no private key in PEM form")]
    Key(#[source] pem::Error),
    /// Certificate and key do not fit together, or are of a kind that rustls does not know.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// [`Tls::reload`] of what did not come from files.
    #[error("the certificate did not come from files")]
    NoFiles,
}

impl Tls {
    /// Reads the chain, the server's own certificate first, and its key from PEM files.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        let files = (chain.as_ref().to_owned(), key.as_ref().to_owned());
        let mut tls = Self::from_config(read(&files)?);
        tls.files = Some(Arc::new(files));
        Ok(tls)
    }

    /// The same from PEM text.
    ///
    /// # Errors
    ///
    /// [`TlsError`], but not `Read`.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self::from_config(config(chain, key)?))
    }

    /// Any configuration of rustls: client certificates, several names, another crypto provider.
    pub fn from_config(config: Arc<ServerConfig>) -> Self {
        Self {
            config: Arc::new(Mutex::new(config)),
            files: None,
        }
    }

    /// Reads the files again. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the old certificate stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = self.files.as_ref().ok_or(TlsError::NoFiles)?;
        self.replace(read(files)?);
        Ok(())
    }

    /// Takes another configuration for new connections.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *lock(&self.config) = config;
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.config))
    }
}

fn read(files: &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| TlsError::Read {
            path: path.display().to_string(),
            source,
        })
    };
    config(&read(&files.0)?, &read(&files.1)?)
}

fn config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Chain)?;
    if chain.is_empty() {
        return Err(TlsError::Chain(pem::Error::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
    // Named here, so that nothing depends on what the process chose as its default.
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map(Arc::new)
        .map_err(TlsError::Unusable)
}

/// Room that one read from the socket may turn into plaintext: the rest of a record that was
/// begun and a new one, rounded up.
const ROOM: usize = 40 * 1024;

/// A socket inside TLS. Between calls it keeps no plaintext: what is read goes to the caller,
/// what is written becomes records at once.
pub(crate) struct TlsSocket {
    stream: Arc<TcpStream>,
    session: ServerConnection,
    /// Bytes that were read before it was clear that they are TLS.
    first: Vec<u8>,
    /// What went wrong after plaintext that the caller is to have first.
    failed: Option<io::Error>,
}

impl TlsSocket {
    pub(crate) fn new(tls: &Tls, stream: Arc<TcpStream>, first: Vec<u8>) -> io::Result<Self> {
        Ok(Self {
            stream,
            session: ServerConnection::new(tls.config()).map_err(io::Error::other)?,
            first,
            failed: None,
        })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Plaintext. Takes whatever the socket has until there are `enough` bytes or `buffer`, which
    /// must be longer than [`ROOM`], has no room for more; an error after plaintext comes with the
    /// next call.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8], enough: usize) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            let room = buffer.get_mut(filled..).unwrap_or_default();
            match self.session.reader().read(room) {
                Ok(0) => return Ok(filled),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                // The end of the stream without TLS's own: framing tells whether something is cut.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(filled),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if let Some(error) = self.failed.take() {
                if filled > 0 {
                    self.failed = Some(error);
                    return Ok(filled);
                }
                return Err(error);
            }
            if filled >= enough || buffer.len() - filled < ROOM {
                return Ok(filled);
            }
            let mut source = Source {
                first: &mut self.first,
                stream: &self.stream,
            };
            match self.session.read_tls(&mut source) {
                Ok(_) => {}
                Err(error) if filled > 0 && error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(filled);
                }
                Err(error) => return Err(error),
            }
            let processed = self.session.process_new_packets();
            // Answers of the handshake, or the alert that says what was wrong.
            let flushed = self.flush();
            self.failed = processed.map_err(io::Error::other).and(flushed).err();
        }
    }

    /// Takes plaintext when everything before is written.
    pub(crate) fn try_write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        if self.session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = self.session.writer().write_vectored(slices)?;
        self.flush()?;
        Ok(written)
    }

    /// Writes records until all are written or the socket takes no more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Sink(&self.stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn is_flushed(&self) -> bool {
        !self.session.wants_write()
    }

    /// Says that nothing more comes, as far as the socket takes it, and answers the bare socket.
    pub(crate) fn into_stream(mut self) -> Arc<TcpStream> {
        self.session.send_close_notify();
        // The end of the stream follows, which says the same.
        drop(self.flush());
        self.stream
    }
}

struct Source<'a> {
    first: &'a mut Vec<u8>,
    stream: &'a TcpStream,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.first.is_empty() {
            return self.stream.try_read(buffer);
        }
        let read = self.first.as_slice().read(buffer)?;
        self.first.drain(..read);
        if self.first.is_empty() {
            *self.first = Vec::new();
        }
        Ok(read)
    }
}

struct Sink<'a>(&'a TcpStream);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
