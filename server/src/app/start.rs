//! From a builder to a running application.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::builder::{ServerSetup, matches};
use super::lifecycle::Moment;
use super::running::Running;
use super::settings::{self, Settings};
use super::tables::{Place, Tables, front_of};
use super::watch::Watch;
use super::{App, AppBuilder, Node, Shared, WeakApp};
use crate::admin;
use crate::channel::ChannelService;
use crate::config::Config;
use crate::connector::{self, Phase};
use crate::cron::{self, CronEntry, Crons};
use crate::error::StartError;
use crate::events::{Event, Events, Listener};
use crate::metrics::Metrics;
use crate::rpc::RpcClient;
use crate::session::SessionService;
use crate::topology::{ServerInfo, Topology};

impl AppBuilder {
    /// Starts every server of the environment in this process, or those that
    /// [`servers`](Self::servers) and [`server_type`](Self::server_type) name.
    ///
    /// In order: ports are opened, so that a taken one is found before anything else happens;
    /// `before_startup` and [`Component::start`](crate::Component::start) of each server;
    /// [`Component::after_start`](crate::Component::after_start) and cron jobs of each; clients
    /// are taken; `after_startup` and [`Event::StartServer`] of each; and, if all servers of the
    /// configuration run here, `after_start_all` and [`Event::StartAll`] of each.
    ///
    /// # Errors
    ///
    /// [`StartError`]; whatever was started is stopped again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the ports and ends every task; components that have started
    /// are dropped without their `stop`.
    pub async fn start(mut self) -> Result<Running, StartError> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let watched = std::mem::take(&mut self.watched);
        let watch = Watch::begin(watched, &self.dir, &self.env).await;
        let mut config = match self.config.take() {
            Some(config) => config,
            None => Config::load(&self.dir, &self.env)?,
        };
        self.selection.apply(&mut config)?;
        self.load_files()?;
        warn_of_idle_crons(&config);
        let opened = self.open(config.servers.clone()).await?;
        let admin = match self.admin {
            Some(address) => {
                let opened = admin::listen(address).await;
                Some(opened.map_err(|source| StartError::Admin { address, source })?)
            }
            None => None,
        };
        let admin_address = admin.as_ref().map(|(_, address)| *address);
        let plan = Plan {
            admin: admin.map(|(listener, _)| listener),
            all_here: opened.known.len() == opened.local.len(),
            crons: config.crons.clone(),
            watch,
        };
        let loaders = std::mem::take(&mut self.loaders);
        let listeners = std::mem::take(&mut self.listeners);
        let stop_timeout = self.stop_timeout;
        let (apps, sockets) = self.make(opened, config, &listeners)?;
        let addresses = addresses_of(&sockets)?;

        let (phase, watching) = watch::channel(Phase::Starting);
        let mut running = Running {
            apps,
            addresses,
            phase,
            tasks: JoinSet::new(),
            closers: listeners.iter().map(Listener::closer).collect(),
            listeners: JoinSet::new(),
            stop_timeout,
            admin_address,
            admin: JoinSet::new(),
        };
        for listener in listeners {
            running.listeners.spawn(listener.run());
        }
        for app in &running.apps {
            app.load_components(&loaders);
        }
        let mut started = Vec::new();
        match running.begin(plan, sockets, &watching, &mut started).await {
            Ok(()) => Ok(running),
            Err(error) => {
                running.end(&started).await;
                Err(error)
            }
        }
    }

    /// Reads the application's own files, before anything is opened.
    fn load_files(&mut self) -> Result<(), StartError> {
        for (key, name) in std::mem::take(&mut self.files) {
            let value = settings::read(&self.dir, &self.env, &name)?;
            let set = move |setup: ServerSetup| setup.set(&key, &value);
            let all = || "all".to_owned();
            // First: what `configure` sets stands.
            self.setups.insert(0, (all(), all(), Box::new(set)));
        }
        Ok(())
    }

    /// Opens the ports of the frontends that run here.
    async fn open(&self, servers: Vec<ServerInfo>) -> Result<Opened, StartError> {
        let mut opened = Opened::default();
        for info in servers {
            if !self.selection.runs_here(&info) {
                opened.known.push(info);
                continue;
            }
            let mut setup = ServerSetup::new(info);
            for (envs, types, change) in &self.setups {
                if matches(envs, &self.env) && matches(types, &setup.info.server_type) {
                    setup = change(setup);
                }
            }
            let mut socket = None;
            if setup.info.frontend {
                let port = setup.port.or(setup.info.client_port).unwrap_or(0);
                let hybrid = setup.hybrid.get_or_insert_default();
                let failed = |(address, source)| StartError::Listen {
                    server: setup.info.id.to_string(),
                    address,
                    source,
                };
                let listening = connector::listen(hybrid, &setup.info.host, port).await;
                let (listener, address) = listening.map_err(failed)?;
                // The topology tells the port which clients can really connect to.
                setup.info.client_port = Some(address.port());
                socket = Some(listener);
            }
            opened.known.push(setup.info.clone());
            opened.local.push((setup, socket));
        }
        if opened.local.is_empty() {
            return Err(StartError::NoServers(self.env.clone()));
        }
        Ok(opened)
    }

    /// Makes the servers.
    fn make(
        self,
        opened: Opened,
        config: Config,
        listeners: &[Listener],
    ) -> Result<(Vec<App>, Sockets), StartError> {
        let tables = Tables::of(&config, &self.handlers);
        let shared = Arc::new(Shared {
            topology: ArcSwap::from_pointee(Topology::new(opened.known)),
            changing: Mutex::default(),
            config,
            place: Place {
                dir: self.dir,
                env: self.env,
            },
            handlers: self.handlers,
            remotes: self.remotes,
            crons: self.crons,
            routes: self.routes,
            states: self.states,
            hooks: self.hooks,
            clock: self.clock,
            nodes: OnceLock::new(),
        });
        let (mut apps, mut sockets) = (Vec::new(), Vec::new());
        for (setup, socket) in opened.local {
            let app = app_of(setup, &tables, &shared, listeners, self.measure)?;
            sockets.extend(socket.map(|socket| (app.clone(), socket)));
            apps.push(app);
        }
        let nodes = apps
            .iter()
            .map(|app| (Arc::clone(&app.0.info.id), WeakApp(Arc::downgrade(&app.0))));
        // Set once: `shared` was made in this call.
        drop(shared.nodes.set(nodes.collect()));
        Ok((apps, sockets))
    }
}

#[derive(Default)]
struct Opened {
    /// All servers of the configuration, in the order of the file.
    known: Vec<ServerInfo>,
    /// Those that run here.
    local: Vec<(ServerSetup, Option<TcpListener>)>,
}

/// A job for a server that the configuration does not have never runs, and nothing else says so.
fn warn_of_idle_crons(config: &Config) {
    for (server_type, cron) in &config.crons {
        let mut servers = config
            .servers
            .iter()
            .filter(|server| server.server_type == *server_type);
        let runs = match &cron.server_id {
            Some(id) => servers.any(|server| server.id == *id),
            None => servers.next().is_some(),
        };
        if !runs {
            tracing::warn!(?server_type, ?cron, "no server runs this cron job");
        }
    }
}

type Sockets = Vec<(App, TcpListener)>;

/// What begins once the servers are made.
struct Plan {
    admin: Option<TcpListener>,
    all_here: bool,
    crons: Vec<(Arc<str>, CronEntry)>,
    watch: Watch,
}

fn addresses_of(sockets: &Sockets) -> Result<HashMap<String, SocketAddr>, StartError> {
    let mut addresses = HashMap::new();
    for (app, socket) in sockets {
        let address = socket.local_addr().map_err(|source| StartError::Listen {
            server: app.server_id().to_owned(),
            address: "unknown".to_owned(),
            source,
        })?;
        addresses.insert(app.server_id().to_owned(), address);
    }
    Ok(addresses)
}

fn app_of(
    setup: ServerSetup,
    tables: &Tables,
    shared: &Arc<Shared>,
    listeners: &[Listener],
    measure: bool,
) -> Result<App, StartError> {
    let info = setup.info;
    let hybrid = setup.hybrid.unwrap_or_default();
    let front = if info.frontend {
        let hybrid = hybrid.clone();
        let front = front_of(hybrid, setup.schedulers, tables, &info.id)?;
        Some(Arc::new(front))
    } else {
        None
    };
    Ok(App(Arc::new_cyclic(|node| Node {
        sessions: SessionService::new(WeakApp(Weak::clone(node)), Arc::clone(&info.id), &hybrid),
        channels: ChannelService::new(WeakApp(Weak::clone(node)), &info.id, setup.channels),
        front,
        filters: setup.filters,
        rpc: RpcClient::new(setup.rpc_config, setup.rpc_filters),
        events: Events::of(listeners),
        metrics: Metrics::new(measure, shared.handlers.routes(), shared.remotes.routes()),
        settings: Settings::new(setup.settings),
        components: Mutex::default(),
        crons: Crons::default(),
        shared: Arc::clone(shared),
        info,
    })))
}

impl Running {
    /// Brings all servers up; `started` are those whose components have started so far.
    async fn begin(
        &mut self,
        plan: Plan,
        sockets: Sockets,
        watching: &watch::Receiver<Phase>,
        started: &mut Vec<App>,
    ) -> Result<(), StartError> {
        let limit = self.stop_timeout;
        if let Some(listener) = plan.admin {
            let apps = self.apps.clone();
            self.admin
                .spawn(admin::serve(listener, apps, watching.clone()));
        }
        for app in &self.apps {
            app.run_hooks(Moment::BeforeStartup).await?;
            let restored = app.channels().restore().await;
            restored.map_err(|source| StartError::Store {
                server: app.server_id().to_owned(),
                source,
            })?;
            app.start_components().await?;
            started.push(app.clone());
        }
        for app in &self.apps {
            app.after_start_components().await?;
            app.load_crons(&plan.crons);
            if app.has_cron_actions() {
                self.tasks
                    .spawn(cron::run(app.clone(), watching.clone(), limit));
            }
        }
        for (app, socket) in sockets {
            app.start_schedulers();
            self.tasks
                .spawn(connector::serve(app, socket, watching.clone(), limit));
        }
        if !plan.watch.is_empty() {
            let apps = self.apps.clone();
            self.tasks.spawn(plan.watch.run(apps, watching.clone()));
        }
        for app in &self.apps {
            app.run_hooks(Moment::AfterStartup).await?;
            app.emit_with(|| Event::StartServer(Arc::clone(&app.info().id)));
        }
        if plan.all_here {
            for app in &self.apps {
                app.run_hooks(Moment::AfterStartAll).await?;
                app.emit(Event::StartAll);
            }
        }
        self.phase.send_replace(Phase::Running);
        Ok(())
    }
}
