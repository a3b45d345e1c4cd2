//! An application in the making: what is registered, and how its servers are set up.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use pomelo_protocol::protobuf::Protos;
use pomelo_protocol::{Dictionary, ProtosOffer};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::running::Running;
use super::{App, Front, Node, Shared, WeakApp};
use crate::admin;
use crate::channel::{ChannelConfig, ChannelService};
use crate::config::Config;
use crate::connector::{self, Hybrid, Phase};
use crate::error::StartError;
use crate::events::{Event, Events, Listener};
use crate::filter::Filters;
use crate::handler::{Handler, States, Table};
use crate::metrics::Metrics;
use crate::push::PushSchedulers;
use crate::rpc::{RouteFn, RouteParam, RpcClient, RpcConfig, RpcFilters};
use crate::session::SessionService;
use crate::topology::{ServerInfo, Topology};

/// How long a stop waits for connections and handlers: pomelo ends the process after 3 s, too.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What [`AppBuilder::configure`] may change on a server.
#[derive(Debug)]
#[must_use]
pub struct ServerSetup {
    info: ServerInfo,
    hybrid: Option<Hybrid>,
    port: Option<u16>,
    channels: ChannelConfig,
    schedulers: PushSchedulers,
    pub(crate) filters: Filters,
    pub(crate) rpc_config: RpcConfig,
    pub(crate) rpc_filters: RpcFilters,
}

impl ServerSetup {
    /// The server's entry of servers.json.
    pub fn info(&self) -> &ServerInfo {
        &self.info
    }

    /// How clients connect. Default: [`Hybrid::new`].
    pub fn connector(mut self, hybrid: Hybrid) -> Self {
        self.hybrid = Some(hybrid);
        self
    }

    /// How channels work: pomelo's `channelConfig`. Default: [`ChannelConfig::new`].
    pub fn channels(mut self, channels: ChannelConfig) -> Self {
        self.channels = channels;
        self
    }

    /// How messages get to the clients of this frontend: pomelo's `pushSchedulerConfig`.
    /// Default: at once, by [`Direct`](crate::Direct).
    pub fn push_schedulers(mut self, schedulers: PushSchedulers) -> Self {
        self.schedulers = schedulers;
        self
    }

    /// Listens on this port instead of `clientPort`; 0 lets the system choose.
    pub fn client_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

/// An application in the making.
#[must_use = "an application does nothing before `run` or `start`"]
pub struct AppBuilder {
    env: String,
    dir: PathBuf,
    config: Option<Config>,
    setups: Vec<(String, String, SetupFn)>,
    handlers: Table,
    remotes: Table,
    routes: HashMap<String, RouteFn>,
    states: States,
    listeners: Vec<Listener>,
    problem: Option<StartError>,
    stop_timeout: Duration,
    admin: Option<SocketAddr>,
    measure: bool,
}

type SetupFn = Box<dyn Fn(ServerSetup) -> ServerSetup + Send>;

impl fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppBuilder")
            .field("env", &self.env)
            .finish_non_exhaustive()
    }
}

impl AppBuilder {
    pub(super) fn new() -> Self {
        Self {
            env: std::env::var("NODE_ENV").unwrap_or_else(|_| "development".to_owned()),
            dir: PathBuf::from("config"),
            config: None,
            setups: Vec::new(),
            handlers: Table::default(),
            remotes: Table::default(),
            routes: HashMap::new(),
            states: States::default(),
            listeners: Vec::new(),
            problem: None,
            stop_timeout: STOP_TIMEOUT,
            admin: None,
            measure: false,
        }
    }

    /// Where servers.json and the other files are. Default: `config`.
    pub fn config_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Takes this configuration instead of files.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// The environment. Default: the variable `NODE_ENV`, else `development`.
    pub fn env(mut self, env: &str) -> Self {
        self.env = env.to_owned();
        self
    }

    /// Changes servers of matching environments and types; each is a name, several with `|`
    /// between them, or `all`. Applied in order.
    pub fn configure(
        mut self,
        envs: &str,
        server_types: &str,
        setup: impl Fn(ServerSetup) -> ServerSetup + Send + 'static,
    ) -> Self {
        self.setups
            .push((envs.to_owned(), server_types.to_owned(), Box::new(setup)));
        self
    }

    /// Registers a handler of clients' messages under `serverType.handler.method`.
    pub fn handler<A, H: Handler<A>>(mut self, route: &str, handler: H) -> Self {
        let problem = registered(route, |route| self.handlers.insert(route, handler));
        self.problem = self.problem.or(problem);
        self
    }

    /// Registers a remote under `serverType.service.method`.
    pub fn remote<A, H: Handler<A>>(mut self, route: &str, remote: H) -> Self {
        let problem = registered(route, |route| self.remotes.insert(route, remote));
        self.problem = self.problem.or(problem);
        self
    }

    /// Chooses the server of a type for a session or a key; type `default` is for all types
    /// without one. An answer of `None` fails the request.
    pub fn route(
        mut self,
        server_type: &str,
        choose: impl Fn(&RouteParam, &[ServerInfo]) -> Option<Arc<str>> + Send + Sync + 'static,
    ) -> Self {
        self.routes.insert(server_type.to_owned(), Arc::new(choose));
        self
    }

    /// Gives a value to the handlers, which take it as [`State<T>`](crate::State); one per type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.states.insert(value);
        self
    }

    /// Listens to what happens to every server of this process; the `App` is the server's.
    ///
    /// A listener is given one event after the other, in the order in which they happened: the
    /// next one waits until the listener is done with this one. Several listeners do not wait
    /// for each other. A panic is logged and ends nothing but the listener's work on that event.
    ///
    /// ```
    /// # use pomelo_server::{App, Event};
    /// let app = App::builder().on_event(async |app: App, event| {
    ///     if let Event::CloseSession(session) = event {
    ///         println!("{}: {:?} is gone: {}", app.server_id(), session.uid, session.reason);
    ///     }
    /// });
    /// ```
    pub fn on_event<F, R>(mut self, listen: F) -> Self
    where
        F: Fn(App, Event) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.listeners.push(Listener::new(listen));
        self
    }

    /// How long a stop waits for connections to flush and handlers to end. Default: 3 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// Opens a port for `/metrics` (Prometheus) and `/healthz` (200 `ready`, while stopping 503
    /// `draining`), and measures latencies for it. Default: no such port.
    ///
    /// Who reaches the port reads the page: give a loopback address, or one that only your own
    /// machines reach. Port 0 lets the system choose; see [`Running::admin_address`].
    pub fn admin(mut self, address: SocketAddr) -> Self {
        self.admin = Some(address);
        self.measure_latency()
    }

    /// [`admin`](Self::admin) on 127.0.0.1.
    pub fn admin_port(self, port: u16) -> Self {
        self.admin(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Measures the latencies of handlers and remotes for [`App::metrics_page`]. Default: only
    /// with an admin port, since it reads the clock twice per message.
    pub fn measure_latency(mut self) -> Self {
        self.measure = true;
        self
    }

    /// Starts, and stops in good order on SIGINT or SIGTERM.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn run(self) -> Result<(), StartError> {
        self.start().await?.until_signal().await;
        Ok(())
    }

    /// Starts every server of the environment in this process.
    ///
    /// # Errors
    ///
    /// [`StartError`]; whatever was started is stopped again.
    pub async fn start(self) -> Result<Running, StartError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let config = match self.config {
            Some(config) => config,
            None => Config::load(&self.dir, &self.env)?,
        };
        if config.servers.is_empty() {
            return Err(StartError::NoServers(self.env));
        }
        let tables = Tables::of(&config, &self.handlers);
        // Every port is bound before any server is made, so that the topology tells the ports
        // which clients can really connect to.
        let mut setups = Vec::new();
        let mut listeners = Vec::new();
        let mut addresses = HashMap::new();
        for info in config.servers {
            let mut setup = ServerSetup {
                info,
                hybrid: None,
                port: None,
                channels: ChannelConfig::new(),
                schedulers: PushSchedulers::default(),
                filters: Filters::default(),
                rpc_config: RpcConfig::new(),
                rpc_filters: RpcFilters::default(),
            };
            for (envs, types, change) in &self.setups {
                if matches(envs, &self.env) && matches(types, &setup.info.server_type) {
                    setup = change(setup);
                }
            }
            if setup.info.frontend {
                let port = setup.port.or(setup.info.client_port).unwrap_or(0);
                let hybrid = setup.hybrid.get_or_insert_default();
                let (listener, address) = connector::listen(hybrid, &setup.info.host, port)
                    .await
                    .map_err(|(address, source)| StartError::Listen {
                    server: setup.info.id.to_string(),
                    address,
                    source,
                })?;
                setup.info.client_port = Some(address.port());
                addresses.insert(setup.info.id.to_string(), address);
                listeners.push(listener);
            }
            setups.push(setup);
        }
        let shared = Arc::new(Shared {
            topology: ArcSwap::from_pointee(Topology::new(
                setups.iter().map(|setup| setup.info.clone()).collect(),
            )),
            changing: Mutex::default(),
            handlers: self.handlers,
            remotes: self.remotes,
            routes: self.routes,
            states: self.states,
            nodes: OnceLock::new(),
        });
        let mut events = Events::default();
        for listener in &self.listeners {
            events.add(listener);
        }
        let mut apps = Vec::new();
        for setup in setups {
            apps.push(node_of(setup, &tables, &shared, &events, self.measure)?);
        }
        let nodes = apps
            .iter()
            .map(|app| (Arc::clone(&app.0.info.id), WeakApp(Arc::downgrade(&app.0))));
        // Set once: `shared` was made in this call.
        drop(shared.nodes.set(nodes.collect()));

        for app in &apps {
            let restored = app.channels().restore().await;
            restored.map_err(|source| StartError::Store {
                server: app.server_id().to_owned(),
                source,
            })?;
        }
        let (phase, watching) = watch::channel(Phase::Running);
        let mut admin_address = None;
        let mut admin_task = JoinSet::new();
        if let Some(address) = self.admin {
            let opened = admin::listen(address).await;
            let (listener, address) =
                opened.map_err(|source| StartError::Admin { address, source })?;
            admin_address = Some(address);
            admin_task.spawn(admin::serve(listener, apps.clone(), watching.clone()));
        }
        let mut tasks = JoinSet::new();
        let frontends = apps.iter().filter(|app| app.is_frontend());
        for (app, listener) in frontends.zip(listeners) {
            app.start_schedulers();
            tasks.spawn(connector::serve(
                app.clone(),
                listener,
                watching.clone(),
                self.stop_timeout,
            ));
        }
        let closers = self.listeners.iter().map(Listener::closer).collect();
        let mut listeners = JoinSet::new();
        for listener in self.listeners {
            listeners.spawn(listener.run());
        }
        for app in &apps {
            app.emit_with(|| Event::StartServer(Arc::clone(&app.info().id)));
        }
        for app in &apps {
            app.emit(Event::StartAll);
        }
        Ok(Running {
            apps,
            addresses,
            phase,
            tasks,
            listeners,
            closers,
            stop_timeout: self.stop_timeout,
            admin_address,
            _admin: admin_task,
        })
    }
}

fn registered(route: &str, insert: impl FnOnce(&str) -> bool) -> Option<StartError> {
    let wrong = |problem| Some(StartError::Route(route.to_owned(), problem));
    let parts: Vec<&str> = route.split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) {
        return wrong("must be serverType.service.method");
    }
    if insert(route) {
        None
    } else {
        wrong("is registered twice")
    }
}

fn matches(names: &str, name: &str) -> bool {
    names
        .split('|')
        .map(str::trim)
        .any(|one| one == "all" || one == name)
}

/// What all frontends share, made once.
struct Tables {
    dictionary: Result<Dictionary, String>,
    client: Result<Protos, String>,
    server: Result<Protos, String>,
}

impl Tables {
    fn of(config: &Config, handlers: &Table) -> Self {
        let extra = config.dictionary.iter().map(String::as_str);
        let protos = |file: &Option<serde_json::Value>| match file {
            Some(file) => Protos::parse(file).map_err(|error| error.to_string()),
            None => Ok(Protos::default()),
        };
        Self {
            dictionary: Dictionary::build(handlers.routes(), extra)
                .map_err(|error| format!("dictionary: {error}")),
            client: protos(&config.client_protos).map_err(|e| format!("clientProtos: {e}")),
            server: protos(&config.server_protos).map_err(|e| format!("serverProtos: {e}")),
        }
    }
}

fn node_of(
    setup: ServerSetup,
    tables: &Tables,
    shared: &Arc<Shared>,
    events: &Events,
    measure: bool,
) -> Result<App, StartError> {
    let info = setup.info;
    let front = if info.frontend {
        Some(
            front_of(setup.hybrid.unwrap_or_default(), setup.schedulers, tables).map_err(
                |problem| StartError::Tables {
                    server: info.id.to_string(),
                    problem,
                },
            )?,
        )
    } else {
        None
    };
    let single = front
        .as_ref()
        .is_some_and(|front| front.hybrid.single_session);
    Ok(App(Arc::new_cyclic(|node| Node {
        sessions: SessionService::new(WeakApp(Weak::clone(node)), Arc::clone(&info.id), single),
        channels: ChannelService::new(WeakApp(Weak::clone(node)), &info.id, setup.channels),
        front,
        filters: setup.filters,
        rpc: RpcClient::new(setup.rpc_config, setup.rpc_filters),
        events: events.clone(),
        metrics: Metrics::new(measure, shared.handlers.routes(), shared.remotes.routes()),
        shared: Arc::clone(shared),
        info,
    })))
}

fn front_of(hybrid: Hybrid, schedulers: PushSchedulers, tables: &Tables) -> Result<Front, String> {
    let mut settings = hybrid.settings();
    if hybrid.use_dict {
        let dictionary = tables.dictionary.clone()?;
        settings.offer.dictionary = Some(dictionary.clone());
        settings.codec.dictionary = Some(dictionary);
    }
    if hybrid.use_protobuf {
        let (client, server) = (tables.client.clone()?, tables.server.clone()?);
        settings.offer.protos = Some(ProtosOffer::dialect(client.clone(), server.clone()));
        settings.codec.incoming = client;
        settings.codec.outgoing = server;
    }
    Ok(Front {
        hybrid,
        settings: ArcSwap::from_pointee(settings),
        schedulers,
        origin: Instant::now(),
    })
}
