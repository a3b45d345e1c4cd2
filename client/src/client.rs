//! The handle an application holds.

use std::io;
use std::sync::Arc;

use pomelo_protocol::{Body, CloseReason, HandshakeRequest, RequestId, SendError, Tables};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config::ClientConfig;
use crate::driver::{self, Answer, Shared};
use crate::error::{ConnectError, NotifyError, RequestError};
use crate::listeners::{Events, Listener, Push, Subscription};
use crate::transport::{Address, Transport, upgrade};

/// A connection to a server of the pomelo family.
///
/// Clones are handles of the same connection; it is closed when the last of them is dropped. (A
/// callback given to [`on`](Self::on) that owns a clone keeps it open.)
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    user: Option<Value>,
    config: ClientConfig,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What has been counted on a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Pushes to a route that nobody listened to.
    pub unheard_pushes: u64,
    /// Messages that were ignored: malformed ones, and responses nobody waits for any more. Each is also
    /// an [`Event::Dropped`](crate::Event::Dropped).
    pub dropped_messages: u64,
}

impl Client {
    /// Connects with the default options to `tcp://host:port` or `ws://host:port/path`, and shakes hands.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says how far it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes whatever was opened.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::builder().connect(url).await
    }

    /// The default options, to be changed before connecting.
    pub fn builder() -> ClientConfig {
        ClientConfig::default()
    }

    /// What the server's handshake function answered, if it did.
    pub fn user(&self) -> Option<&Value> {
        self.handle.user.as_ref()
    }

    /// The dictionary and schemas of this server, to be given to the next connection
    /// ([`ClientConfig::tables`]) so that the server need not send them again.
    pub fn tables(&self) -> Tables {
        self.handle.shared.lock().connection.tables().clone()
    }

    /// Sends a request and waits for its answer.
    ///
    /// pomelo has no notion of a failed request: an error of the server is an ordinary answer, most often
    /// `{"code":500}`, so `Res` should be able to hold one.
    ///
    /// The body's `Serialize` runs while the connection is locked and must not use this client.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; whatever it is, the connection's other requests go on.
    ///
    /// # Cancel safety
    ///
    /// The request is sent by the first poll. Dropping the future then forgets it: nothing waits for the
    /// answer any more, and when it comes it is counted in [`Stats::dropped_messages`].
    pub async fn request<Req, Res>(&self, route: &str, body: &Req) -> Result<Res, RequestError>
    where
        Req: Serialize + ?Sized,
        Res: DeserializeOwned,
    {
        self.request_body(route, body)
            .await?
            .decode()
            .map_err(RequestError::Decode)
    }

    /// Like [`request`](Self::request), and leaves the answer as it came.
    ///
    /// # Errors
    ///
    /// [`RequestError`], but never [`RequestError::Decode`].
    ///
    /// # Cancel safety
    ///
    /// As for [`request`](Self::request).
    pub async fn request_body<Req>(&self, route: &str, body: &Req) -> Result<Body, RequestError>
    where
        Req: Serialize + ?Sized,
    {
        let (waiter, answer) = oneshot::channel();
        let pending = Pending {
            shared: &self.handle.shared,
            id: self.send(route, body, waiter)?,
        };
        let answer = match self.handle.config.request_timeout {
            Some(limit) => timeout(limit, answer)
                .await
                .map_err(|_| RequestError::Timeout(limit))?,
            None => answer.await,
        };
        drop(pending);
        match answer {
            Ok(Ok(Answer { body, error: false })) => Ok(body),
            Ok(Ok(Answer { body, error: true })) => Err(RequestError::Refused(body)),
            Ok(Err(reason)) => Err(RequestError::Closed(reason)),
            // The driver answers every waiter before it ends; only a runtime that is shut down under it
            // can drop them.
            Err(_) => Err(RequestError::Closed(CloseReason::Local)),
        }
    }

    fn send<Req>(
        &self,
        route: &str,
        body: &Req,
        waiter: oneshot::Sender<Result<Answer, CloseReason>>,
    ) -> Result<RequestId, RequestError>
    where
        Req: Serialize + ?Sized,
    {
        let shared = &self.handle.shared;
        let mut machine = shared.lock();
        let id = match machine.connection.request(route, body) {
            Ok(id) => id,
            Err(pomelo_protocol::RequestError::Send(SendError::Closed)) => {
                return Err(RequestError::Closed(machine.close_reason()));
            }
            Err(error) => return Err(RequestError::Send(error)),
        };
        machine.waiters.insert(id, waiter);
        drop(machine);
        shared.wake();
        Ok(id)
    }

    /// Sends a message that has no answer. It is queued and goes out in order with everything else.
    ///
    /// The body's `Serialize` runs while the connection is locked and must not use this client.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; nothing is sent then.
    pub fn notify<T>(&self, route: &str, body: &T) -> Result<(), NotifyError>
    where
        T: Serialize + ?Sized,
    {
        let shared = &self.handle.shared;
        let mut machine = shared.lock();
        match machine.connection.notify(route, body) {
            Ok(()) => {}
            Err(pomelo_protocol::RequestError::Send(SendError::Closed)) => {
                return Err(NotifyError::Closed(machine.close_reason()));
            }
            Err(error) => return Err(NotifyError::Send(error)),
        }
        drop(machine);
        shared.wake();
        Ok(())
    }

    /// Calls `callback` for each push on `route`, in order, until the connection ends or
    /// [`Listener::off`] is called; dropping the [`Listener`] changes nothing.
    ///
    /// Callbacks run in the task of the connection: one that blocks holds up everything, and one that
    /// panics ends the connection. Pushes that came before are gone; to miss none, register with
    /// [`ClientConfig::on`].
    pub fn on(&self, route: &str, callback: impl Fn(&Push) + Send + Sync + 'static) -> Listener {
        self.handle.shared.listeners.on(route, Arc::new(callback))
    }

    /// The pushes on `route` from now on, as a stream with a bounded queue.
    pub fn subscribe(&self, route: &str) -> Subscription {
        let capacity = self.handle.config.subscription_capacity;
        self.handle.shared.listeners.subscribe(route, capacity)
    }

    /// What happens to the connection itself from now on, as a stream that ends after
    /// [`Event::Closed`](crate::Event::Closed). On a closed connection it has just that.
    pub fn events(&self) -> Events {
        self.handle
            .shared
            .events(self.handle.config.subscription_capacity)
    }

    /// What has been counted so far.
    pub fn stats(&self) -> Stats {
        self.handle.shared.stats()
    }

    /// Closes the connection and waits until what was sent before is written and the transport is closed,
    /// but not longer than a second for a server that does not read. Requests in flight fail with
    /// [`CloseReason::Local`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection closes all the same.
    pub async fn disconnect(&self) {
        self.handle.shared.close();
        self.closed().await;
    }

    /// Waits until the connection is closed, by whomever, and says why.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        self.handle.shared.closed().await
    }

    pub(crate) async fn open(config: &ClientConfig, url: &str) -> Result<Self, ConnectError> {
        let address = Address::parse(url)?;
        let limit = config.connect_timeout;
        let transport = timeout(limit, dial(config, &address))
            .await
            .map_err(|_| ConnectError::Timeout(limit))??;
        Self::start(config, transport).await
    }

    pub(crate) async fn open_over<S>(config: &ClientConfig, stream: S) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Self::start(config, Transport::tcp(stream)).await
    }

    async fn start<S>(config: &ClientConfig, transport: Transport<S>) -> Result<Self, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut hello = HandshakeRequest::new(&config.client_type, &config.client_version);
        if let Some(user) = &config.user {
            hello = hello.with_user(user.clone());
        }
        let (shared, ready) = driver::spawn(config, hello, transport);
        let mut handle = Handle {
            shared,
            user: None,
            config: config.clone(),
        };
        match ready.await {
            Ok(user) => {
                handle.user = user;
                Ok(Self {
                    handle: Arc::new(handle),
                })
            }
            Err(_) => Err(ConnectError::Handshake(handle.shared.closed().await)),
        }
    }
}

async fn dial(
    config: &ClientConfig,
    address: &Address,
) -> Result<Transport<TcpStream>, ConnectError> {
    let stream = TcpStream::connect((address.host(), address.port()))
        .await
        .map_err(ConnectError::Io)?;
    // Requests are small and somebody waits for each.
    stream.set_nodelay(true).map_err(ConnectError::Io)?;
    match address {
        Address::Tcp { .. } => Ok(Transport::tcp(stream)),
        Address::Ws { url, .. } => upgrade(url, stream, &config.limits).await.map_err(|error| {
            match error.downcast::<io::Error>() {
                Ok(error) => ConnectError::Io(*error),
                Err(error) => ConnectError::Upgrade(error),
            }
        }),
    }
}

/// A request in flight: however the wait for it ends, nothing of it stays behind.
struct Pending<'a> {
    shared: &'a Shared,
    id: RequestId,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut machine = self.shared.lock();
        // An answered request is gone already, and its id may be in use again.
        if machine
            .waiters
            .get(&self.id)
            .is_some_and(oneshot::Sender::is_closed)
        {
            machine.waiters.remove(&self.id);
            machine.connection.forget(self.id);
        }
    }
}
