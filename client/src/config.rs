//! What a client may be told before it connects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pomelo_protocol::{Config, Tables};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::Client;
use crate::error::ConnectError;
use crate::listeners::{Callback, Push};

/// Options of a connection; start from [`Client::builder`] and end with [`connect`](Self::connect).
///
/// One value may be used for several connections.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    pub(crate) client_type: String,
    pub(crate) client_version: String,
    pub(crate) user: Option<Value>,
    pub(crate) connect_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) subscription_capacity: usize,
    pub(crate) limits: Config,
    pub(crate) tables: Tables,
    pub(crate) callbacks: Vec<(String, Callback)>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            client_type: "rust".to_owned(),
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
            user: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Some(Duration::from_secs(35)),
            subscription_capacity: 256,
            limits: Config::client(),
            tables: Tables::default(),
            callbacks: Vec::new(),
        }
    }
}

impl ClientConfig {
    /// `sys.type` and `sys.version` of the handshake, which the server's `checkClient` looks at.
    /// By default `rust` and the version of this crate.
    #[must_use]
    pub fn client(mut self, kind: impl Into<String>, version: impl Into<String>) -> Self {
        self.client_type = kind.into();
        self.client_version = version.into();
        self
    }

    /// The member `user` of the handshake, given to the application's handshake function. None by default.
    #[must_use]
    pub fn user(mut self, user: Value) -> Self {
        self.user = Some(user);
        self
    }

    /// How long the transport may take to come up: name lookup, TCP connect, WebSocket upgrade. 10 s by
    /// default, which covers three lost SYNs. The handshake that follows has a limit of its own in the
    /// [`limits`](Self::limits).
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long a request waits for its answer; `None` waits as long as the connection lives.
    ///
    /// There is a limit by default because pomelo never answers some requests at all (an unknown route code,
    /// a handler that forgets its callback), and it is 35 s because pomelo's own remote calls give up
    /// after 30 s and then answer `{"code":500}`: a shorter limit would hide that answer.
    #[must_use]
    pub fn request_timeout(mut self, limit: Option<Duration>) -> Self {
        self.request_timeout = limit;
        self
    }

    /// How many pushes a [`Subscription`](crate::Subscription) holds for a slow reader before it loses the
    /// oldest. 256 by default: some seconds of a busy channel; at least 1.
    #[must_use]
    pub fn subscription_capacity(mut self, pushes: usize) -> Self {
        self.subscription_capacity = pushes.max(1);
        self
    }

    /// Limits and timeouts of the protocol: package size, handshake time, pending requests, outbox.
    #[must_use]
    pub fn limits(mut self, limits: Config) -> Self {
        self.limits = limits;
        self
    }

    /// Dictionary and schemas kept from an earlier connection ([`Client::tables`]). The handshake tells
    /// the server their versions, and it sends only what changed.
    #[must_use]
    pub fn tables(mut self, tables: Tables) -> Self {
        self.tables = tables;
        self
    }

    /// Registers a callback before there is a connection, so that it misses nothing the server pushes
    /// right after the handshake. Otherwise like [`Client::on`].
    #[must_use]
    pub fn on(
        mut self,
        route: impl Into<String>,
        callback: impl Fn(&Push) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.push((route.into(), Arc::new(callback)));
        self
    }

    /// Connects to `tcp://host:port` or `ws://host:port/path` and shakes hands. Must be called on a
    /// Tokio runtime; one task is spawned there for the connection.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says how far it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes whatever was opened.
    pub async fn connect(&self, url: &str) -> Result<Client, ConnectError> {
        Client::open(self, url).await
    }

    /// Shakes hands over a stream that is already there, with packages back to back as on TCP: a TLS
    /// session, a Unix socket, a `tokio::io::duplex`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Handshake`] if the handshake does not succeed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the stream.
    pub async fn connect_over<S>(&self, stream: S) -> Result<Client, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Client::open_over(self, stream).await
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes: Vec<&str> = self
            .callbacks
            .iter()
            .map(|(route, _)| route.as_str())
            .collect();
        f.debug_struct("ClientConfig")
            .field("client_type", &self.client_type)
            .field("client_version", &self.client_version)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("subscription_capacity", &self.subscription_capacity)
            .field("limits", &self.limits)
            .field("callbacks", &routes)
            .finish_non_exhaustive()
    }
}
