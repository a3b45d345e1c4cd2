//! An application in the making: what is registered, and how its servers are set up.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use super::App;
use super::args::Selection;
use super::lifecycle::{HookOutcome, Hooks, Loader, Moment};
use super::watch::Watched;
use crate::channel::ChannelConfig;
use crate::config::Config;
use crate::connector::Hybrid;
use crate::cron::Clock;
use crate::error::StartError;
use crate::events::{Event, Listener};
use crate::filter::Filters;
use crate::handler::{Handler, States, Table};
use crate::push::PushSchedulers;
use crate::rpc::{RouteFn, RouteParam, RpcConfig, RpcFilters};
use crate::topology::ServerInfo;

/// How long a stop waits for connections and handlers: pomelo ends the process after 3 s, too.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What [`AppBuilder::configure`] may change on a server.
#[derive(Debug)]
#[must_use]
pub struct ServerSetup {
    pub(super) info: ServerInfo,
    pub(super) hybrid: Option<Hybrid>,
    pub(super) port: Option<u16>,
    pub(super) settings: Map<String, Value>,
    pub(super) channels: ChannelConfig,
    pub(super) schedulers: PushSchedulers,
    pub(crate) filters: Filters,
    pub(crate) rpc_config: RpcConfig,
    pub(crate) rpc_filters: RpcFilters,
}

impl ServerSetup {
    pub(super) fn new(info: ServerInfo) -> Self {
        Self {
            info,
            hybrid: None,
            port: None,
            settings: Map::new(),
            channels: ChannelConfig::new(),
            schedulers: PushSchedulers::default(),
            filters: Filters::default(),
            rpc_config: RpcConfig::new(),
            rpc_filters: RpcFilters::default(),
        }
    }

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

    /// A setting that the server begins with: see [`App::set`]. A value that serde refuses is
    /// kept as null.
    pub fn set(mut self, key: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.settings.insert(key.to_owned(), value);
        self
    }

    /// A setting that begins as `true`.
    pub fn enable(self, key: &str) -> Self {
        self.set(key, true)
    }

    /// A setting that begins as `false`.
    pub fn disable(self, key: &str) -> Self {
        self.set(key, false)
    }
}

/// An application in the making.
#[must_use = "an application does nothing before `run` or `start`"]
pub struct AppBuilder {
    pub(super) env: String,
    pub(super) dir: PathBuf,
    pub(super) config: Option<Config>,
    pub(super) selection: Selection,
    pub(super) setups: Vec<(String, String, SetupFn)>,
    pub(super) handlers: Table,
    pub(super) remotes: Table,
    pub(super) crons: Table,
    pub(super) routes: HashMap<String, RouteFn>,
    pub(super) states: States,
    pub(super) listeners: Vec<Listener>,
    pub(super) hooks: Hooks,
    pub(super) loaders: Vec<Loader>,
    pub(super) files: Vec<(String, String)>,
    pub(super) watched: Vec<Watched>,
    pub(super) clock: Clock,
    pub(super) problem: Option<StartError>,
    pub(super) stop_timeout: Duration,
    pub(super) admin: Option<SocketAddr>,
    pub(super) measure: bool,
}

pub(super) type SetupFn = Box<dyn Fn(ServerSetup) -> ServerSetup + Send>;

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
            selection: Selection::default(),
            setups: Vec::new(),
            handlers: Table::default(),
            remotes: Table::default(),
            crons: Table::default(),
            routes: HashMap::new(),
            states: States::default(),
            listeners: Vec::new(),
            hooks: Hooks::default(),
            loaders: Vec::new(),
            files: Vec::new(),
            watched: Vec::new(),
            clock: Clock::default(),
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

    /// Registers a cron job of a server type under `cronName.method`, the action of crons.json.
    ///
    /// It is a function like a remote without arguments, and takes [`App`] and
    /// [`State<T>`](crate::State). A failure or a panic is logged, and the job runs again at its
    /// next time. A run that comes due while the one before still goes is left out.
    ///
    /// ```
    /// # use pomelo_server::App;
    /// let app = App::builder().cron("chat", "chatCron.sendMoney", async |app: App| {
    ///     println!("payday at {}", app.server_id());
    /// });
    /// ```
    pub fn cron<A, H: Handler<A>>(mut self, server_type: &str, action: &str, job: H) -> Self {
        let route = format!("{server_type}.{action}");
        let problem = registered(&route, |route| self.crons.insert(route, job));
        self.problem = self.problem.or(problem);
        self
    }

    /// The time zone of cron times, for example `Asia/Shanghai`. Default: the system's, as at
    /// pomelo; containers often have none of their own, which is UTC.
    pub fn cron_time_zone(mut self, name: &str) -> Self {
        match TimeZone::get(name) {
            Ok(zone) => self.clock.zone = zone.into(),
            Err(_) => {
                let problem = StartError::TimeZone(name.to_owned());
                self.problem = self.problem.or(Some(problem));
            }
        }
        self
    }

    /// What time it is, for cron jobs. Default: the system's clock. A clock of one's own lets a
    /// game live in another time, and tests need not wait.
    pub fn clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock.now = Box::new(now);
        self
    }

    /// Reads a file of the application's own into a setting of every server of this process, at
    /// the start: see [`App::load_config`]. A file that is missing or no JSON fails the start.
    pub fn load_config(mut self, key: &str, name: &str) -> Self {
        self.files.push((key.to_owned(), name.to_owned()));
        self
    }

    /// [`load_config`](Self::load_config), and again whenever the file changes. A change that
    /// cannot be read is logged and leaves the setting as it was.
    pub fn watch_config(mut self, key: &str, name: &str) -> Self {
        self.watched.push(Watched::Setting {
            key: key.to_owned(),
            name: name.to_owned(),
        });
        self.load_config(key, name)
    }

    /// Reads dictionary and schemas again whenever their files change: see
    /// [`App::reload_tables`].
    pub fn watch_tables(mut self) -> Self {
        if !self.watched.contains(&Watched::Tables) {
            self.watched.push(Watched::Tables);
        }
        self
    }

    /// Applies a set of registrations that is kept in one place: `app.use` of pomelo.
    ///
    /// ```
    /// # use pomelo_server::{App, AppBuilder};
    /// fn ranking(app: AppBuilder) -> AppBuilder {
    ///     app.cron("chat", "ranking.reset", async || ())
    ///         .after_startup("chat", async |_| ())
    /// }
    /// let app = App::builder().plugin(ranking);
    /// ```
    pub fn plugin(self, plugin: impl FnOnce(Self) -> Self) -> Self {
        plugin(self)
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

    /// Opens a port for `/metrics` (Prometheus) and `/healthz` (200 `ready`; 503 `starting`
    /// and, from the order to stop on, `draining`), and measures latencies for it. Default: no such port.
    ///
    /// Who reaches the port reads the page: give a loopback address, or one that only your own
    /// machines reach. Port 0 lets the system choose; see [`Running::admin_address`](crate::Running::admin_address).
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

    pub(super) fn hook<F, R>(mut self, moment: Moment, server_types: &str, hook: F) -> Self
    where
        F: Fn(App) -> R + Send + Sync + 'static,
        R: Future<Output: HookOutcome> + Send + 'static,
    {
        self.hooks.add(moment, server_types, hook);
        self
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

pub(super) fn matches(names: &str, name: &str) -> bool {
    names
        .split('|')
        .map(str::trim)
        .any(|one| one == "all" || one == name)
}
