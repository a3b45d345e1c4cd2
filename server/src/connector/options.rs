//! How clients connect: the options of pomelo's `connectorConfig` and our own.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pomelo_protocol::{HandshakeRequest, ServerSettings};
use serde_json::Value;

use super::hosts::{Blacklist, HostFilter, Network};
use super::http::RealIp;
use super::limit::RateLimit;
#[cfg(feature = "tls")]
use super::tls::Tls;
use crate::mailbox::{Limits, Overflow};
use crate::session::Session;

/// The application's answer to a handshake: a value for the client, or no.
type Answer = Pin<Box<dyn Future<Output = Result<Option<Value>, Refused>> + Send>>;

type CheckClient = dyn Fn(&str, &str) -> bool + Send + Sync;
type Shake = dyn Fn(HandshakeRequest, SocketAddr) -> Answer + Send + Sync;
type Decode = dyn Fn(Bytes, &Session) -> Option<Bytes> + Send + Sync;
/// An application's encoder; see [`Hybrid::encode`].
pub(crate) type Encode = dyn Fn(&[u8], &Session) -> Option<Vec<u8>> + Send + Sync;

/// The handshake is refused: the client gets code 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// How the server ends a TCP connection: pomelo's `closeMethod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CloseMethod {
    /// Written out, then closed both ways.
    #[default]
    Destroy,
    /// `end`: written out, then the server's half is closed and the client's is read, and thrown
    /// away, until the client closes it or the flush timeout is over. A client that is still
    /// sending then does not lose what it has not read yet to a reset.
    End,
}

/// pomelo's hybrid connector: raw TCP and WebSocket clients on one port.
#[derive(Clone)]
#[must_use]
pub struct Hybrid {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) heartbeat_timeout: Option<Duration>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) strict_heartbeat: bool,
    pub(crate) forward_messages: bool,
    pub(crate) use_dict: bool,
    pub(crate) use_protobuf: bool,
    pub(crate) escape_astral: bool,
    pub(crate) single_session: bool,
    pub(crate) distinct_host: bool,
    pub(crate) no_delay: bool,
    pub(crate) close_method: CloseMethod,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) stop_reason: Option<Arc<str>>,
    pub(crate) rate_limit: Option<RateLimit>,
    pub(crate) proxy_protocol: bool,
    pub(crate) real_ip: Option<RealIp>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) hosts: HostFilter,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    #[cfg(feature = "tls")]
    pub(crate) allow_plain: bool,
    #[cfg(feature = "crypto")]
    pub(crate) use_crypto: bool,
    pub(crate) decode: Option<Arc<Decode>>,
    pub(crate) encode: Option<Arc<Encode>>,
    pub(crate) max_package: u32,
    pub(crate) max_inflated: Option<u32>,
    pub(crate) max_inflate_ratio: Option<u32>,
    pub(crate) max_unfinished: Option<usize>,
    pub(crate) max_unread: Option<usize>,
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
            strict_heartbeat: false,
            forward_messages: true,
            use_dict: false,
            use_protobuf: false,
            escape_astral: true,
            single_session: false,
            distinct_host: false,
            no_delay: true,
            close_method: CloseMethod::Destroy,
            idle_timeout: Some(Duration::from_secs(90)),
            drain_timeout: None,
            stop_reason: Some("server stop".into()),
            rate_limit: Some(RateLimit::default()),
            proxy_protocol: false,
            real_ip: None,
            trusted_proxies: Vec::new(),
            hosts: HostFilter::default(),
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "tls")]
            allow_plain: false,
            #[cfg(feature = "crypto")]
            use_crypto: false,
            decode: None,
            encode: None,
            max_package: 1 << 20,
            max_inflated: None,
            max_inflate_ratio: Some(100),
            max_unfinished: None,
            max_unread: None,
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

    /// Only heartbeats keep a connection, as at pomelo. Default: anything that the client sends
    /// does, so that one that is busy sending is not dropped.
    pub fn strict_heartbeat(mut self) -> Self {
        self.strict_heartbeat = true;
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

    /// Whether characters above U+FFFF are written as escapes in JSON, and as surrogate pairs in
    /// the protobuf bodies of `js-websocket` clients. Default: true, since the browser client
    /// garbles them otherwise; false gives the bytes of pomelo.
    pub fn escape_astral(mut self, escape: bool) -> Self {
        self.escape_astral = escape;
        self
    }

    /// `singleSession`: a uid that has a session on this frontend is refused a second one.
    pub fn single_session(mut self) -> Self {
        self.single_session = true;
        self
    }

    /// `distinctHost`: listens on the server's `host` of servers.json only. Default: on all
    /// addresses, IPv6 and IPv4.
    pub fn distinct_host(mut self) -> Self {
        self.distinct_host = true;
        self
    }

    /// The longest package taken from a client, in bytes. Default: 1 MiB.
    pub fn max_package(mut self, bytes: u32) -> Self {
        self.max_package = bytes;
        self
    }

    /// The longest body that a compressed one (flag 0x10, sent by clients of pitaya) may inflate to,
    /// in bytes; inflating stops there, and the client is kicked with the reason `inflated`.
    /// Inflated bytes count for [`rate_limit`](Self::rate_limit) as if they had been sent. Default:
    /// as long as the longest package, which may come plain.
    pub fn max_inflated(mut self, bytes: u32) -> Self {
        self.max_inflated = Some(bytes);
        self
    }

    /// How many times its compressed length a body may inflate to, looked at wherever more than
    /// 64 KiB have come out; above it the client is kicked with the reason `inflated`. `None` is any
    /// number of times. Default: 100. Zlib makes JSON of games 2 to 35 times shorter, a map on which
    /// one field in a hundred is set up to 93 times, and a bomb 1,000 times.
    pub fn max_inflate_ratio(mut self, times: impl Into<Option<u32>>) -> Self {
        self.max_inflate_ratio = times.into();
        self
    }

    /// How many bytes all clients together may have sent of packages that are not finished; up to
    /// 4 KiB of each are not counted. Above it the client whose package is unfinished for longest
    /// is kicked with the reason `unfinished`. Default: 12 MiB, or 4 KiB for each connection there
    /// is if that is more: a crowd that never sends the last byte does not cost a package each (nor,
    /// with what [`max_unread`](Self::max_unread) allows and an allocator needs besides, 32 MB), and
    /// a crowd of players that send at the same time is let through. Never less than the longest
    /// package.
    pub fn max_unfinished(mut self, bytes: usize) -> Self {
        self.max_unfinished = Some(bytes);
        self
    }

    /// How many bytes all clients together may leave unread of what waits for one of them alone,
    /// answers most of all; up to 4 KiB of each are not counted, nor is what several clients are
    /// sent, which is kept once for all. Above it the connection of the client that has left
    /// something unread for longest is closed, without a kick, since that would not be read either.
    /// Default: 8 MiB, or 64 KiB for each connection there is if that is more: a few that ask for
    /// much and never read do not cost a [`mailbox`](Self::mailbox) each, and players who all log in
    /// at once over slow networks are waited for. Never less than one mailbox.
    pub fn max_unread(mut self, bytes: usize) -> Self {
        self.max_unread = Some(bytes);
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
    ///
    /// The handshake timeout goes on meanwhile.
    pub fn handshake<F, R>(self, answer: F) -> Self
    where
        F: Fn(HandshakeRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<Value>, Refused>> + Send + 'static,
    {
        self.handshake_from(move |request, _| answer(request))
    }

    /// [`handshake`](Self::handshake) that is told where the client is, too.
    pub fn handshake_from<F, R>(mut self, answer: F) -> Self
    where
        F: Fn(HandshakeRequest, SocketAddr) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<Value>, Refused>> + Send + 'static,
    {
        self.handshake = Some(Arc::new(move |request, peer| {
            Box::pin(answer(request, peer))
        }));
        self
    }

    /// pinus' `forwardMsg`: whether clients' messages for other server types go there; `false`
    /// drops them without an answer. Default: true.
    pub fn forward_messages(mut self, forward: bool) -> Self {
        self.forward_messages = forward;
        self
    }

    /// `setNoDelay` for raw TCP; WebSocket never delays. Default: true, other than at pomelo.
    /// Everything that is ready leaves in one write, so there is nothing to gather: to delay small
    /// packets would only add up to 40 ms to answers.
    pub fn set_no_delay(mut self, no_delay: bool) -> Self {
        self.no_delay = no_delay;
        self
    }

    /// How connections are closed. Default: [`CloseMethod::Destroy`], as at pomelo.
    pub fn close_method(mut self, method: CloseMethod) -> Self {
        self.close_method = method;
        self
    }

    /// After how long without a byte in either direction a raw TCP connection without heartbeats
    /// is closed; `None` is never. Default: 90 s, as at pomelo, which has no such timer on
    /// WebSocket either. With heartbeats the [heartbeat timeout](Self::heartbeat_timeout) decides.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// When the server stops: how long the requests of a client that are running may take to
    /// answer before it is kicked; new ones are not taken. Default: half of the builder's
    /// `stop_timeout`, so that the other half is left to flush and for `closed` listeners.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = Some(timeout);
        self
    }

    /// The reason with which clients are kicked when the server stops. `None` closes without a
    /// word, as pomelo does. Default: `server stop`.
    pub fn stop_reason(mut self, reason: Option<&str>) -> Self {
        self.stop_reason = reason.map(Arc::from);
        self
    }

    /// How much one client may send; `None` is any amount. Default: [`RateLimit::default`].
    pub fn rate_limit(mut self, limit: impl Into<Option<RateLimit>>) -> Self {
        self.rate_limit = limit.into();
        self
    }

    /// Every connection begins with the header of a TCP proxy (PROXY protocol, version 1 or 2),
    /// which names the client; one that does not is closed. Default: off.
    ///
    /// Unless [`trusted_proxies`](Self::trusted_proxies) says otherwise, whoever reaches the port
    /// is believed.
    pub fn proxy_protocol(mut self) -> Self {
        self.proxy_protocol = true;
        self
    }

    /// `realIPKey`: the header of the WebSocket upgrade in which an HTTP proxy names the client,
    /// for example `x-forwarded-for` or `x-real-ip`. Default: none is believed.
    ///
    /// Of several entries the one furthest right that is no [trusted](Self::trusted_proxies)
    /// proxy counts, since clients can send entries of their own. Without such a header the
    /// socket's address stays.
    pub fn real_ip_header(mut self, name: &str) -> Self {
        let port = self.real_ip.and_then(|names| names.port);
        let address = name.to_owned();
        self.real_ip = Some(RealIp { address, port });
        self
    }

    /// `realPortKey`: the header with the client's port; only together with
    /// [`real_ip_header`](Self::real_ip_header), after it. Without it the port is that in the
    /// address's entry, or 0.
    pub fn real_port_header(mut self, name: &str) -> Self {
        if let Some(names) = &mut self.real_ip {
            names.port = Some(name.to_owned());
        }
        self
    }

    /// Only these may speak for somebody else: a connection from elsewhere is closed under
    /// [`proxy_protocol`](Self::proxy_protocol), and its
    /// [headers](Self::real_ip_header) are not believed. Default: everybody may.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.trusted_proxies = proxies.into_iter().collect();
        self
    }

    /// `useHostFilter`: clients whose address this list matches are closed without a word. Keep a
    /// clone to change the list while the server runs. Default: an empty list.
    pub fn blacklist(mut self, list: Blacklist) -> Self {
        self.hosts.list = list;
        self
    }

    /// `blacklistFun`: answers more patterns, asked for each client whom the list lets in. An
    /// error, or a pattern that is none, lets the client in, as at pomelo.
    pub fn blacklist_fun<F, R, E>(mut self, list: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Vec<String>, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.hosts.fun = Some(Arc::new(move || {
            let answer = list();
            Box::pin(async {
                answer
                    .await
                    .inspect_err(|error| tracing::warn!(%error, "blacklist_fun failed"))
                    .ok()
            })
        }));
        self
    }

    /// `ssl`: clients must speak TLS, WebSocket (`wss:`) or raw. Default: none may.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Lets clients without [`tls`](Self::tls) in, too, on the same port.
    #[cfg(feature = "tls")]
    pub fn allow_plain(mut self) -> Self {
        self.allow_plain = true;
        self
    }

    /// `useCrypto`: clients sign every message with the RSA key they announced in the handshake;
    /// messages with a wrong signature or without one are dropped, and clients that announce
    /// nothing are refused. See `pomelo_protocol::crypto`, also for why this is no protection to
    /// build on. Default: off.
    #[cfg(feature = "crypto")]
    pub fn use_crypto(mut self) -> Self {
        self.use_crypto = true;
        self
    }

    /// `decode`: what a client sent (flag, id, route and body of the data package) becomes what
    /// the standard codec reads; `None` drops the message. For a cipher of your own, or another
    /// format altogether.
    pub fn decode(
        mut self,
        decode: impl Fn(Bytes, &Session) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.decode = Some(Arc::new(decode));
        self
    }

    /// `encode`: what the standard codec wrote becomes what this client gets; `None` drops the
    /// message. It runs for each receiver of a push, after pushes were encoded once for all.
    pub fn encode(
        mut self,
        encode: impl Fn(&[u8], &Session) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.encode = Some(Arc::new(encode));
        self
    }

    #[cfg(feature = "tls")]
    pub(crate) fn needs_tls(&self) -> bool {
        self.tls.is_some() && !self.allow_plain
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn needs_tls(&self) -> bool {
        false
    }

    /// What the state machines of this connector's connections need, without any tables.
    pub(crate) fn settings(&self) -> ServerSettings {
        let mut settings = ServerSettings::default();
        settings.config.max_package = self.max_package;
        settings.config.handshake_timeout = self.handshake_timeout;
        settings.config.heartbeat_timeout = self.heartbeat_timeout;
        settings.config.outbox_frames = self.mailbox.frames;
        settings.config.outbox_bytes = self.mailbox.bytes;
        settings.config.strict_heartbeat = self.strict_heartbeat;
        settings.config.raw_messages = self.decode.is_some();
        settings.offer.heartbeat = self.heartbeat;
        settings.codec.escape_astral = self.escape_astral;
        let max_inflated = self.max_inflated.unwrap_or(self.max_package);
        settings.codec.max_inflated = usize::try_from(max_inflated).unwrap_or(usize::MAX);
        settings.codec.max_inflate_ratio = self.max_inflate_ratio;
        settings
    }
}
