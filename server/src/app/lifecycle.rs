//! What an application does around start and stop: hooks of a server type, and components.

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;

use super::builder::matches;
use super::{App, AppBuilder};
use crate::error::{Error, StartError};
use crate::lock;

type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a hook of the lifecycle may answer: `()`, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of a lifecycle hook",
    note = "a hook answers `()` or `Result<(), pomelo_server::Error>`"
)]
pub trait HookOutcome {
    /// Whether the hook did its work.
    ///
    /// # Errors
    ///
    /// The hook's own.
    fn outcome(self) -> Result<(), Error>;
}

impl HookOutcome for () {
    fn outcome(self) -> Result<(), Error> {
        Ok(())
    }
}

impl HookOutcome for Result<(), Error> {
    fn outcome(self) -> Result<(), Error> {
        self
    }
}

/// A moment in the life of a server; the names are those of lifecycle.js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    BeforeStartup,
    AfterStartup,
    AfterStartAll,
    BeforeShutdown,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeStartup => "before_startup",
            Self::AfterStartup => "after_startup",
            Self::AfterStartAll => "after_start_all",
            Self::BeforeShutdown => "before_shutdown",
        })
    }
}

struct Hook {
    moment: Moment,
    types: String,
    work: Box<dyn Fn(App) -> Work<'static, Result<(), Error>> + Send + Sync>,
}

/// The hooks of all server types, in the order in which they were given.
#[derive(Default)]
pub(super) struct Hooks(Vec<Hook>);

impl Hooks {
    pub(super) fn add<F, R>(&mut self, moment: Moment, types: &str, work: F)
    where
        F: Fn(App) -> R + Send + Sync + 'static,
        R: Future<Output: HookOutcome> + Send + 'static,
    {
        self.0.push(Hook {
            moment,
            types: types.to_owned(),
            work: Box::new(move |app| {
                let work = work(app);
                Box::pin(async move { work.await.outcome() })
            }),
        });
    }
}

impl App {
    /// Runs the hooks of a moment one after the other; the first failure ends it.
    pub(super) async fn run_hooks(&self, moment: Moment) -> Result<(), StartError> {
        let hooks = self.0.shared.hooks.0.iter();
        let mine =
            hooks.filter(|hook| hook.moment == moment && matches(&hook.types, self.server_type()));
        for hook in mine {
            contained(async { (hook.work)(self.clone()).await })
                .await
                .map_err(|problem| StartError::Hook {
                    server: self.server_id().to_owned(),
                    hook: moment.to_string(),
                    problem,
                })?;
        }
        Ok(())
    }

    /// The component of this type that was loaded for this server.
    pub fn component<C: Component>(&self) -> Option<Arc<C>> {
        let components = lock(&self.0.components);
        let mut found = components
            .iter()
            .filter_map(|component| Arc::clone(component).any().downcast().ok());
        found.next()
    }
}

/// A part of a server with a life of its own: `app.load` of pomelo.
///
/// Each server of a matching type has its own instance. All methods but the name have an empty
/// default. A component should not keep an [`App`], which each method is given: the two would
/// keep each other in memory.
///
/// ```
/// use pomelo_server::{App, Component, Error};
///
/// struct Ranking;
///
/// impl Component for Ranking {
///     fn name(&self) -> &str {
///         "ranking"
///     }
///
///     async fn start(&self, app: &App) -> Result<(), Error> {
///         println!("{} reads its ranking", app.server_id());
///         Ok(())
///     }
/// }
///
/// let app = App::builder().component("chat", |_| Ranking);
/// ```
pub trait Component: Send + Sync + 'static {
    /// What it is called. A second one of the same name at a server is ignored with a warning.
    fn name(&self) -> &str;

    /// Runs before the server takes a client or a call, in the order of loading.
    ///
    /// # Errors
    ///
    /// The component's own; it ends the start of the application.
    fn start(&self, app: &App) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = app;
        async { Ok(()) }
    }

    /// Runs when all components of the server have started, in the order of loading.
    ///
    /// # Errors
    ///
    /// The component's own; it ends the start of the application.
    fn after_start(&self, app: &App) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = app;
        async { Ok(()) }
    }

    /// Runs when the server's connections have ended, in the order of loading, too.
    fn stop(&self, app: &App) -> impl Future<Output = ()> + Send {
        let _ = app;
        async {}
    }
}

/// [`Component`] behind a pointer.
pub(super) trait Loaded: Send + Sync {
    fn name(&self) -> &str;
    fn start<'a>(&'a self, app: &'a App) -> Work<'a, Result<(), Error>>;
    fn after_start<'a>(&'a self, app: &'a App) -> Work<'a, Result<(), Error>>;
    fn stop<'a>(&'a self, app: &'a App) -> Work<'a, ()>;
    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<C: Component> Loaded for C {
    fn name(&self) -> &str {
        Component::name(self)
    }

    fn start<'a>(&'a self, app: &'a App) -> Work<'a, Result<(), Error>> {
        Box::pin(Component::start(self, app))
    }

    fn after_start<'a>(&'a self, app: &'a App) -> Work<'a, Result<(), Error>> {
        Box::pin(Component::after_start(self, app))
    }

    fn stop<'a>(&'a self, app: &'a App) -> Work<'a, ()> {
        Box::pin(Component::stop(self, app))
    }

    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

type Make = dyn Fn(&App) -> Arc<dyn Loaded> + Send + Sync;

/// How the components of matching servers are made.
pub(super) struct Loader {
    types: String,
    make: Box<Make>,
}

impl Loader {
    pub(super) fn new<C: Component>(
        types: &str,
        make: impl Fn(&App) -> C + Send + Sync + 'static,
    ) -> Self {
        Self {
            types: types.to_owned(),
            make: Box::new(move |app| Arc::new(make(app))),
        }
    }
}

impl App {
    pub(super) fn load_components(&self, loaders: &[Loader]) {
        for loader in loaders {
            if !matches(&loader.types, self.server_type()) {
                continue;
            }
            let component = (loader.make)(self);
            let mut components = lock(&self.0.components);
            if components.iter().any(|old| old.name() == component.name()) {
                let (server, name) = (self.server_id(), component.name());
                tracing::warn!(server, name, "a second component of this name is ignored");
            } else {
                components.push(component);
            }
        }
    }

    fn loaded(&self) -> Vec<Arc<dyn Loaded>> {
        lock(&self.0.components).clone()
    }

    /// The first failure ends it; those that were started before it are stopped again.
    pub(super) async fn start_components(&self) -> Result<(), StartError> {
        let components = self.loaded();
        for (index, component) in components.iter().enumerate() {
            if let Err(problem) = contained(component.start(self)).await {
                for started in components.iter().take(index) {
                    self.stop_component(&**started).await;
                }
                return Err(self.component_failed(&**component, problem));
            }
        }
        Ok(())
    }

    pub(super) async fn after_start_components(&self) -> Result<(), StartError> {
        for component in self.loaded() {
            if let Err(problem) = contained(component.after_start(self)).await {
                return Err(self.component_failed(&*component, problem));
            }
        }
        Ok(())
    }

    pub(super) async fn stop_components(&self) {
        for component in self.loaded() {
            self.stop_component(&*component).await;
        }
        lock(&self.0.components).clear();
    }

    async fn stop_component(&self, component: &dyn Loaded) {
        let stopping = async {
            component.stop(self).await;
            Ok(())
        };
        if let Err(problem) = contained(stopping).await {
            let (server, name) = (self.server_id(), component.name());
            tracing::error!(server, name, problem, "a component failed to stop");
        }
    }

    fn component_failed(&self, component: &dyn Loaded, problem: String) -> StartError {
        StartError::Component {
            server: self.server_id().to_owned(),
            name: component.name().to_owned(),
            problem,
        }
    }
}

/// Runs the user's code; a panic is a failure of that code only.
async fn contained(work: impl Future<Output = Result<(), Error>>) -> Result<(), String> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.message().to_owned()),
        Err(_) => Err("panicked".to_owned()),
    }
}

impl AppBuilder {
    /// Runs before the servers of these types (names with `|` between them, or `all`) start
    /// anything. A failure ends the start of the application.
    pub fn before_startup<F, R>(self, server_types: &str, hook: F) -> Self
    where
        F: Fn(App) -> R + Send + Sync + 'static,
        R: Future<Output: HookOutcome> + Send + 'static,
    {
        self.hook(Moment::BeforeStartup, server_types, hook)
    }

    /// Runs when a server of these types has started and takes clients.
    pub fn after_startup<F, R>(self, server_types: &str, hook: F) -> Self
    where
        F: Fn(App) -> R + Send + Sync + 'static,
        R: Future<Output: HookOutcome> + Send + 'static,
    {
        self.hook(Moment::AfterStartup, server_types, hook)
    }

    /// Runs when all configured servers have started.
    pub fn after_start_all<F, R>(self, server_types: &str, hook: F) -> Self
    where
        F: Fn(App) -> R + Send + Sync + 'static,
        R: Future<Output: HookOutcome> + Send + 'static,
    {
        self.hook(Moment::AfterStartAll, server_types, hook)
    }

    /// Runs first of all when the application stops: clients are still there and may be pushed
    /// to. The [`stop_timeout`](Self::stop_timeout) is the limit; a failure is logged.
    pub fn before_shutdown<F, R>(self, server_types: &str, hook: F) -> Self
    where
        F: Fn(App) -> R + Send + Sync + 'static,
        R: Future<Output: HookOutcome> + Send + 'static,
    {
        self.hook(Moment::BeforeShutdown, server_types, hook)
    }

    /// Loads a component into every server of these types: see [`Component`].
    pub fn component<C: Component>(
        mut self,
        server_types: &str,
        make: impl Fn(&App) -> C + Send + Sync + 'static,
    ) -> Self {
        self.loaders.push(Loader::new(server_types, make));
        self
    }
}
