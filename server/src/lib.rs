//! A game server for unmodified pomelo clients.
//!
//! An [`App`] reads `servers.json`, runs every server of it in this process, and calls plain
//! async functions for the requests of clients:
//!
//! ```no_run
//! use pomelo_server::{App, Error, FrontendSession, Hybrid, Json, Msg};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Enter { username: String }
//!
//! #[derive(Serialize)]
//! struct Entered { code: u16, users: usize }
//!
//! async fn enter(
//!     session: FrontendSession,
//!     app: App,
//!     Msg(request): Msg<Enter>,
//! ) -> Result<Json<Entered>, Error> {
//!     session.bind(&request.username).await?;
//!     Ok(Json(Entered { code: 200, users: app.sessions().count() }))
//! }
//!
//! # async fn run() -> Result<(), pomelo_server::StartError> {
//! App::builder()
//!     .config_dir("config")
//!     .configure("all", "connector", |server| {
//!         server.connector(Hybrid::new().heartbeat_secs(3).use_dict())
//!     })
//!     .handler("connector.entryHandler.enter", enter)
//!     .run()
//!     .await
//! # }
//! ```
//!
//! `config` holds pomelo's own files, in either of its layouts: see [`Config`]. One process runs
//! all servers of servers.json, or those that [`AppBuilder::args`] finds on the command line
//! (`--env production --server-id chat-server-1`, or pomelo's `env=production id=chat-server-1`).
//! [Hooks](AppBuilder::before_startup), [components](Component), [events](Event) and
//! [cron jobs](AppBuilder::cron) do what they do in pomelo.
//!
//! The path of a request is in one file, `dispatch.rs`: route, [filters](Filter), handler here or
//! forward there, filters, answer. Requests of a session start in the order they came, inside the
//! connection's own task; their answers and all pushes leave through the session's one mailbox, in
//! the order they were made. A peer that does not read fills its own mailbox and nothing else: see [`Overflow`].
//!
//! The path of a push: [`Channel`], one call to each frontend of its members, where the message is
//! encoded once, then a reference count and a place in the mailbox for each session. When it enters
//! the mailbox is the [`PushSchedulers`]' choice. Everything pushed in one turn of the event loop to
//! a session that has nothing else to do leaves in one write.
//!
//! # Features
//!
//! - `tls`: TLS on the clients' port, `Tls`; rustls with ring, which needs a C compiler.
//! - `crypto`: messages signed by clients, `Hybrid::use_crypto`.
//! - `store`: channels survive a restart in a file, `RedbStore`. A [`ChannelStore`] of the
//!   application's own needs no feature.
//!
//! # Watching it
//!
//! Each request runs in a [`tracing`](https://docs.rs/tracing) span `request` with the fields
//! `server`, `session`, `uid` and `route`; bodies are never logged. [`AppBuilder::admin_port`]
//! opens a port for Prometheus and health checks.

mod admin;
mod app;
mod channel;
mod config;
mod connection;
mod connector;
mod cron;
mod dispatch;
mod encode;
mod error;
mod events;
mod filter;
mod handler;
mod mailbox;
mod metrics;
mod push;
mod reply;
mod rpc;
mod session;
mod store;
mod topology;

pub use app::{
    App, AppBuilder, Component, HookOutcome, Running, ServerSetup, Transaction, TransactionError,
};
pub use channel::{BroadcastOptions, Channel, ChannelConfig, ChannelService, PushReport};
pub use config::{AdminServer, AdminUser, Config, ConfigError, MasterInfo, Mistake};
pub use connector::{
    Blacklist, CloseMethod, Excess, Hybrid, Network, NetworkError, PatternError, RateLimit, Refused,
};
#[cfg(feature = "tls")]
pub use connector::{Tls, TlsError};
pub use cron::{CronEntry, CronError, CronTime, CronTimeError};
pub use error::{Error, PushError, RpcError, SessionError, StartError};
pub use events::Event;
pub use filter::{AfterFn, BeforeFn, ErrorFn, Filter, IntoVerdict};
pub use handler::{Args, Extension, FromRequest, Handler, Msg, Request, State};
pub use mailbox::Overflow;
pub use pomelo_protocol as protocol;
pub use pomelo_protocol::{Body, CloseReason, Frame, HandshakeRequest, Route};
pub use push::{Buffer, Direct, Outbound, OutboundKind, PushScheduler, PushSchedulers};
pub use reply::{Asker, BoxedReply, IntoReply, Json, Reply};
pub use rpc::system::ReachError;
pub use rpc::{FailMode, RouteParam, Router, RpcCall, RpcConfig, RpcFilter, RpcKind, RpcRequest};
#[cfg(feature = "tls")]
pub use rustls;
pub use session::{
    BackendSession, BackendSessionService, ClosedSession, ConnectionStatistics, FrontendSession,
    Login, RequestSession, Session, SessionData, SessionService, Uid,
};
#[cfg(feature = "store")]
pub use store::RedbStore;
pub use store::{ChannelStore, StoreChange, StoreError, StoreFuture};
pub use topology::{ServerInfo, Topology, pick_crc32};

/// The filters that come with the server: `pomelo.filters`.
pub mod filters {
    pub use crate::filter::{Serial, Time, Timeout, TooBusy};
}

/// The rpc filters that come with the server: `pomelo.rpcFilters`.
pub mod rpc_filters {
    pub use crate::rpc::{RpcLog, RpcTooBusy};
}

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

/// Locks; what a panic elsewhere left behind is whole, since no user code runs under our locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many threads work on the tasks of this runtime.
fn workers() -> usize {
    Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers())
}

/// The samples of the guide, which is outside the package: only tests may look for it.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../../docs/pomelo-users.md")]
    mod english {}
    #[doc = include_str!("../../docs/pomelo-users.zh-CN.md")]
    mod chinese {}
}
