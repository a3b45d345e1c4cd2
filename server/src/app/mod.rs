//! The application: what is registered, and the servers it runs.

mod args;
mod builder;
mod lifecycle;
mod running;
mod settings;
mod start;
mod tables;
mod transaction;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

pub use self::builder::{AppBuilder, ServerSetup};
pub use self::lifecycle::{Component, HookOutcome};
pub use self::running::Running;
pub use self::transaction::{Transaction, TransactionError};

use self::lifecycle::{Hooks, Loaded};
use self::settings::Settings;
pub(crate) use self::tables::Offered;
use self::tables::Place;

use crate::channel::ChannelService;
use crate::config::Config;
use crate::connector::{Deadlines, Hybrid, Queue, Room};
use crate::cron::{Clock, Crons};
use crate::error::{PushError, RpcError};
use crate::events::{Event, Events};
use crate::filter::Filters;
use crate::handler::{States, Table};
use crate::lock;
use crate::metrics::{self, Metrics};
use crate::push::{Direct, Outbound, PushScheduler, PushSchedulers};
use crate::rpc::{RouteFn, RpcCall, RpcClient};
use crate::session::{BackendSessionService, Session, SessionService};
use crate::topology::{ServerInfo, Topology};

/// The application as one of its servers sees it: a cheap handle.
///
/// All servers of servers.json run in this process, each with its own sessions and channels.
/// The `App` that a handler or a remote gets is that of the server it runs on.
#[derive(Clone)]
pub struct App(Arc<Node>);

/// An `App` that does not keep the application alive.
#[derive(Clone)]
pub(crate) struct WeakApp(Weak<Node>);

impl WeakApp {
    pub(crate) fn upgrade(&self) -> Option<App> {
        self.0.upgrade().map(App)
    }
}

impl fmt::Debug for WeakApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakApp").finish_non_exhaustive()
    }
}

struct Node {
    info: ServerInfo,
    sessions: SessionService,
    channels: ChannelService,
    front: Option<Arc<Front>>,
    filters: Filters,
    rpc: RpcClient,
    events: Events,
    metrics: Metrics,
    settings: Settings,
    components: Mutex<Vec<Arc<dyn Loaded>>>,
    crons: Crons,
    shared: Arc<Shared>,
}

/// What only a frontend has.
pub(crate) struct Front {
    pub(crate) hybrid: Hybrid,
    /// What new connections get; those that are there keep theirs.
    offered: ArcSwap<Offered>,
    schedulers: PushSchedulers,
    /// What clients have begun to send and not finished.
    pub(crate) unfinished: Room,
    /// What clients alone make the server keep and do not read.
    pub(crate) unread: Room<Session>,
    pub(crate) deadlines: Deadlines,
    /// Where connections that have much to do wait for a turn.
    pub(crate) queue: Queue,
    /// Time zero of the state machines.
    pub(crate) origin: Instant,
}

impl Front {
    pub(crate) fn offered(&self) -> Arc<Offered> {
        self.offered.load_full()
    }

    pub(crate) fn now(&self) -> pomelo_protocol::Instant {
        pomelo_protocol::Instant::from_origin(self.origin.elapsed())
    }

    /// When to sleep until; `None` is never.
    pub(crate) fn at(&self, at: pomelo_protocol::Instant) -> Option<Instant> {
        self.origin.checked_add(at.since_origin())
    }
}

struct Shared {
    topology: ArcSwap<Topology>,
    /// Held while servers come or go, so that listeners hear of changes in their order.
    changing: Mutex<()>,
    config: Config,
    place: Place,
    handlers: Table,
    remotes: Table,
    crons: Table,
    routes: HashMap<String, RouteFn>,
    states: States,
    hooks: Hooks,
    clock: Clock,
    nodes: OnceLock<HashMap<Arc<str>, WeakApp>>,
}

impl Shared {
    /// Every server of this process.
    fn apps(&self) -> impl Iterator<Item = App> {
        let nodes = self.nodes.get();
        nodes
            .into_iter()
            .flat_map(HashMap::values)
            .filter_map(WeakApp::upgrade)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("server", &self.0.info.id)
            .finish_non_exhaustive()
    }
}

impl App {
    /// Begins an application.
    pub fn builder() -> AppBuilder {
        AppBuilder::new()
    }

    /// The environment, for example `development`.
    pub fn env(&self) -> &str {
        &self.0.shared.place.env
    }

    /// The configuration that the application was started with: `getServersFromConfig`,
    /// `getMaster` and the like. What has changed since is in [`topology`](Self::topology).
    pub fn config(&self) -> &Config {
        &self.0.shared.config
    }

    /// This server's entry of servers.json.
    pub fn info(&self) -> &ServerInfo {
        &self.0.info
    }

    /// This server's id.
    pub fn server_id(&self) -> &str {
        &self.0.info.id
    }

    /// This server's type.
    pub fn server_type(&self) -> &str {
        &self.0.info.server_type
    }

    /// Whether clients connect to this server.
    pub fn is_frontend(&self) -> bool {
        self.0.front.is_some()
    }

    /// The sessions of this server; always empty on a backend.
    pub fn sessions(&self) -> &SessionService {
        &self.0.sessions
    }

    /// Sessions of any frontend, asked by its id.
    pub fn backend_sessions(&self) -> BackendSessionService {
        BackendSessionService::new(self.clone())
    }

    /// The channels of this server.
    pub fn channels(&self) -> &ChannelService {
        &self.0.channels
    }

    /// All servers there are now, those that run elsewhere included.
    pub fn topology(&self) -> Arc<Topology> {
        self.0.shared.topology.load_full()
    }

    /// [`topology`](Self::topology) for a moment, without touching a count that all share.
    pub(crate) fn topology_now(&self) -> Guard<Arc<Topology>> {
        self.0.shared.topology.load()
    }

    /// Makes servers known that came at run time; one whose id is known takes that one's place.
    ///
    /// The default routing counts them from the next message on. They do not start to run here.
    pub fn add_servers(&self, servers: Vec<ServerInfo>) {
        if !servers.is_empty() {
            self.change_servers(
                |old| old.with(&servers),
                || Event::AddServers(servers.clone()),
            );
        }
    }

    /// Forgets the servers with these ids: nothing is routed to them any more. Servers of this
    /// process keep running, and keep their clients.
    pub fn remove_servers<I: AsRef<str>>(&self, ids: &[I]) {
        let ids: Vec<Arc<str>> = ids.iter().map(|id| Arc::from(id.as_ref())).collect();
        if !ids.is_empty() {
            self.change_servers(
                |old| old.without(&ids),
                || Event::RemoveServers(ids.clone()),
            );
        }
    }

    /// Takes these for all servers there are.
    pub fn replace_servers(&self, servers: Vec<ServerInfo>) {
        self.change_servers(
            |_| Topology::new(servers.clone()),
            || Event::ReplaceServers(servers.clone()),
        );
    }

    fn change_servers(&self, change: impl Fn(&Topology) -> Topology, event: impl Fn() -> Event) {
        let shared = &self.0.shared;
        let _changing = lock(&shared.changing);
        let next = change(&shared.topology.load());
        shared.topology.store(Arc::new(next));
        for app in shared.apps() {
            app.emit_with(&event);
        }
    }

    /// Calls a remote: `serverType.service.method`.
    ///
    /// ```no_run
    /// # async fn f(app: pomelo_server::App, session: pomelo_server::FrontendSession)
    /// # -> Result<(), pomelo_server::Error> {
    /// let users: Vec<String> =
    ///     app.rpc("chat.chatRemote.add").route_by(&session).call(("uid", "room")).await?;
    /// # Ok(()) }
    /// ```
    pub fn rpc(&self, route: &str) -> RpcCall {
        RpcCall::new(self.clone(), route)
    }

    /// The value of this type given to [`AppBuilder::state`].
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.shared.states.get()
    }

    /// What `/metrics` of the admin port shows, for an application that has an HTTP server of its
    /// own: text exposition format 0.0.4, all servers of this process.
    pub fn metrics_page(&self) -> String {
        let mut apps: Vec<_> = self.0.shared.apps().collect();
        apps.sort_unstable_by(|a, b| a.server_id().cmp(b.server_id()));
        metrics::page(&apps)
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn front(&self) -> Option<&Arc<Front>> {
        self.0.front.as_ref()
    }

    pub(crate) fn start_schedulers(&self) {
        if let Some(front) = &self.0.front {
            front.schedulers.start(self);
        }
    }

    pub(crate) fn stop_schedulers(&self) {
        if let Some(front) = &self.0.front {
            front.schedulers.stop();
        }
    }

    /// Whether answers go into the mailboxes at once and as they are: no scheduler and no `encode`
    /// of the application has a say.
    pub(crate) fn answers_at_once(&self) -> bool {
        let front = self.0.front.as_ref();
        front.is_none_or(|front| front.schedulers.are_default() && front.hybrid.encode.is_none())
    }

    /// What puts this message into the mailboxes of this frontend's sessions.
    pub(crate) fn scheduler(
        &self,
        message: &Outbound<'_>,
    ) -> Result<&dyn PushScheduler, PushError> {
        match &self.0.front {
            Some(front) => front.schedulers.choose(message),
            None => Ok(&Direct),
        }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.shared.clock
    }

    /// The jobs that are scheduled on this server.
    pub(crate) fn cron_jobs(&self) -> &Crons {
        &self.0.crons
    }

    /// The jobs that can be scheduled, of all server types.
    pub(crate) fn cron_actions(&self) -> &Table {
        &self.0.shared.crons
    }

    pub(crate) fn has_cron_actions(&self) -> bool {
        let mut routes = self.cron_actions().routes();
        routes.any(|route| route.split('.').next() == Some(self.server_type()))
    }

    pub(crate) fn events(&self) -> &Events {
        &self.0.events
    }

    pub(crate) fn handlers(&self) -> &Table {
        &self.0.shared.handlers
    }

    pub(crate) fn remotes(&self) -> &Table {
        &self.0.shared.remotes
    }

    /// The server with this id, if it runs in this process.
    pub(crate) fn server(&self, id: &str) -> Result<Self, RpcError> {
        let nodes = self.0.shared.nodes.get();
        let here = nodes.and_then(|nodes| nodes.get(id)?.upgrade());
        here.ok_or_else(|| match self.0.shared.topology.load().by_id(id) {
            Some(_) => RpcError::NotHere(id.to_owned()),
            None => RpcError::UnknownServer(id.to_owned()),
        })
    }

    /// The route function of this type, or that of `default`.
    pub(crate) fn route_of(&self, server_type: &str) -> Option<&RouteFn> {
        let routes = &self.0.shared.routes;
        routes.get(server_type).or_else(|| routes.get("default"))
    }

    pub(crate) fn filters(&self) -> &Filters {
        &self.0.filters
    }

    pub(crate) fn rpc_client(&self) -> &RpcClient {
        &self.0.rpc
    }
}
