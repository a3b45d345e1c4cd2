//! The listener: TCP and WebSocket on one port, told apart by the first byte.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pomelo_protocol::HandshakeRequest;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::connection;
use crate::mailbox::{Limits, Overflow};

pub(crate) mod http;
pub(crate) mod transport;

/// The application's answer to a handshake: a value for the client, or no.
type Answer = Pin<Box<dyn Future<Output = Result<Option<Value>, Refused>> + Send>>;

type CheckClient = dyn Fn(&str, &str) -> bool + Send + Sync;
type Shake = dyn Fn(HandshakeRequest) -> Answer + Send + Sync;

/// The handshake is refused: the client gets code 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// pomelo's hybrid connector: raw TCP and WebSocket clients on one port.
#[derive(Clone)]
#[must_use]
pub struct Hybrid {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) heartbeat_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) use_dict: bool,
    pub(crate) use_protobuf: bool,
    pub(crate) escape_astral: bool,
    pub(crate) single_session: bool,
    pub(crate) max_package: u32,
    pub(crate) max_running: usize,
    pub(crate) mailbox: Limits,
    pub(crate) check_client: Option<Arc<CheckClient>>,
    pub(crate) handshake: Option<Arc<Shake>>,
}

impl fmt::Debug for Hybrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hybrid")
            .field("heartbeat", &self.heartbeat)
            .field("use_dict", &self.use_dict)
            .field("use_protobuf", &self.use_protobuf)
            .field("max_package", &self.max_package)
            .field("mailbox", &self.mailbox)
            .finish_non_exhaustive()
    }
}

impl Default for Hybrid {
    fn default() -> Self {
        Self {
            heartbeat: None,
            heartbeat_timeout: None,
            handshake_timeout: Duration::from_secs(10),
            flush_timeout: Duration::from_secs(5),
            use_dict: false,
            use_protobuf: false,
            escape_astral: true,
            single_session: false,
            max_package: 1 << 20,
            max_running: 256,
            mailbox: Limits {
                frames: 1024,
                bytes: 4 << 20,
                overflow: Overflow::Disconnect,
            },
            check_client: None,
            handshake: None,
        }
    }
}

impl Hybrid {
    /// Without heartbeat, dictionary and protobuf, as pomelo begins.
    pub fn new() -> Self {
        Self::default()
    }

    /// The heartbeat interval in seconds; 0 is none. Default: none.
    pub fn heartbeat_secs(mut self, seconds: u64) -> Self {
        self.heartbeat = (seconds > 0).then(|| Duration::from_secs(seconds));
        self
    }

    /// After how much silence a connection is closed. Default: twice the heartbeat interval.
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = Some(timeout);
        self
    }

    /// How long a client may take from connecting to the handshake's ack. Default: 10 s, so that
    /// connections that never say anything do not add up.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// How long a closing connection may take to read what was sent before. Default: 5 s.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Routes travel as two-byte codes. Default: off, as at pomelo.
    pub fn use_dict(mut self) -> Self {
        self.use_dict = true;
        self
    }

    /// Bodies of routes with a schema travel in pomelo's protobuf dialect. Default: off.
    pub fn use_protobuf(mut self) -> Self {
        self.use_protobuf = true;
        self
    }

    /// Whether characters above U+FFFF are written as escapes in JSON. Default: true, since the
    /// browser client garbles them otherwise; false gives the bytes of pomelo.
    pub fn escape_astral(mut self, escape: bool) -> Self {
        self.escape_astral = escape;
        self
    }

    /// `singleSession`: a uid that has a session on this frontend is refused a second one.
    pub fn single_session(mut self) -> Self {
        self.single_session = true;
        self
    }

    /// The longest package taken from a client, in bytes. Default: 1 MiB.
    pub fn max_package(mut self, bytes: u32) -> Self {
        self.max_package = bytes;
        self
    }

    /// How many requests of one session may run at a time; above it nothing more is read from the
    /// client until one ends. Default: 256.
    pub fn max_running(mut self, requests: usize) -> Self {
        self.max_running = requests.max(1);
        self
    }

    /// How much may wait for one client, in frames and bytes, and what happens above it.
    /// Default: 1024 frames, 4 MiB, [`Overflow::Disconnect`].
    pub fn mailbox(mut self, frames: usize, bytes: usize, overflow: Overflow) -> Self {
        self.mailbox = Limits {
            frames,
            bytes,
            overflow,
        };
        self
    }

    /// Decides by the client's type and version; `false` answers code 501, "client too old".
    pub fn check_client(
        mut self,
        check: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.check_client = Some(Arc::new(check));
        self
    }

    /// The application's part of the handshake: the client gets the value as `user`.
    pub fn handshake<F, R>(mut self, answer: F) -> Self
    where
        F: Fn(HandshakeRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<Value>, Refused>> + Send + 'static,
    {
        self.handshake = Some(Arc::new(move |request| Box::pin(answer(request))));
        self
    }
}

/// How far a server is on its way to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Stopping,
}

/// Waits for the order to stop; it has come, too, when nobody is left to give it. Cancel safe.
pub(crate) async fn stopped(phase: &mut watch::Receiver<Phase>) {
    drop(phase.wait_for(|phase| *phase == Phase::Stopping).await);
}

/// Accepts until the server stops, then waits for every connection, `limit` at most.
pub(crate) async fn serve(
    app: App,
    listener: TcpListener,
    phase: watch::Receiver<Phase>,
    limit: Duration,
) {
    let max = app.info().max_connections;
    let mut connections = JoinSet::new();
    let mut watching = phase.clone();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut watching) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    // Without a package and without a session, as pomelo does.
                    if max.is_some_and(|max| connections.len() >= max) {
                        continue;
                    }
                    drop(stream.set_nodelay(true));
                    connections.spawn(connection::run(app.clone(), stream, peer, phase.clone()));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: the next try would fail at once.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, all).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not end in time");
        connections.shutdown().await;
    }
}

/// How long accepting rests after a failure of the system.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the port of a frontend.
pub(crate) async fn listen(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
