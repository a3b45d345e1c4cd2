//! Filters around calls to other servers.

use std::fmt;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::Extensions;
use pomelo_protocol::{Body, Route};
use serde::Serialize;

use crate::app::ServerSetup;
use crate::error::{Error, RpcError};
use crate::filter::{Running, shielded};

/// What goes to another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RpcKind {
    /// A call of a remote of the application: namespace `user`.
    Remote,
    /// A client's request on its way to its handler: `sys` `msgRemote.forwardMessage`.
    Forward,
}

/// A call on its way to another server, as its filters see it. A clone costs a few reference
/// counts.
#[derive(Debug, Clone)]
pub struct RpcRequest {
    pub(super) kind: RpcKind,
    pub(super) server: Arc<str>,
    pub(super) route: Route,
    pub(super) arguments: Body,
    pub(super) extensions: Extensions,
}

impl RpcRequest {
    /// What it is.
    pub fn kind(&self) -> RpcKind {
        self.kind
    }

    /// The server it goes to.
    pub fn server_id(&self) -> &str {
        &self.server
    }

    /// Sends it to another server.
    pub fn set_server(&mut self, id: &str) {
        self.server = id.into();
    }

    /// The remote, or the client's route.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The arguments, a list normally, or the client's message.
    pub fn arguments(&self) -> &Body {
        &self.arguments
    }

    /// Sends other arguments.
    ///
    /// # Errors
    ///
    /// [`RpcError::Arguments`] if serde cannot write them as JSON; nothing is changed then.
    pub fn set_arguments(&mut self, arguments: impl Serialize) -> Result<(), RpcError> {
        self.arguments = Body::json(super::call::json_of(&arguments)?);
        Ok(())
    }

    /// What filters left here for each other, by type.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Leaves something for filters that come later, by type.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

/// What may run before and after each call that a server makes: of remotes, and of handlers on
/// backends for its clients.
///
/// All run in the order in which they were registered, after as before. Registered with
/// [`ServerSetup::rpc_filter`].
///
/// ```
/// use pomelo_server::{Error, RpcFilter, RpcRequest};
///
/// /// Calls for the old server go to the new one.
/// struct Moved;
///
/// impl RpcFilter for Moved {
///     async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
///         if call.server_id() == "area-1" {
///             call.set_server("area-2");
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait RpcFilter: Send + Sync + 'static {
    /// Runs before the call leaves. It may change the server and the arguments.
    ///
    /// # Errors
    ///
    /// An error stops the call: the caller gets it as [`RpcError::Filter`], and the after filters
    /// do not run.
    fn before(&self, call: &mut RpcRequest) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = call;
        ready(Ok(()))
    }

    /// Runs when the call is answered or has failed; then `outcome` holds the text of the error.
    /// A call that was given up or whose time is over is not seen here.
    ///
    /// # Errors
    ///
    /// An error stops the filters that come later and is reported to the rpc error handler; the
    /// caller gets the answer all the same.
    fn after(
        &self,
        call: &mut RpcRequest,
        outcome: Result<(), &str>,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let (_, _) = (call, outcome);
        ready(Ok(()))
    }
}

/// [`RpcFilter`] behind a pointer.
trait Erased: Send + Sync {
    fn before<'a>(&'a self, call: &'a mut RpcRequest) -> Running<'a, Result<(), Error>>;

    fn after<'a>(
        &'a self,
        call: &'a mut RpcRequest,
        outcome: Result<(), &'a str>,
    ) -> Running<'a, Result<(), Error>>;
}

impl<F: RpcFilter> Erased for F {
    fn before<'a>(&'a self, call: &'a mut RpcRequest) -> Running<'a, Result<(), Error>> {
        Box::pin(async { RpcFilter::before(self, call).await })
    }

    fn after<'a>(
        &'a self,
        call: &'a mut RpcRequest,
        outcome: Result<(), &'a str>,
    ) -> Running<'a, Result<(), Error>> {
        Box::pin(async move { RpcFilter::after(self, call, outcome).await })
    }
}

type OnError = Box<dyn Fn(&Error, &RpcRequest) + Send + Sync>;

/// The rpc filters of one server.
#[derive(Default)]
pub(crate) struct RpcFilters {
    before: Vec<Arc<dyn Erased>>,
    after: Vec<Arc<dyn Erased>>,
    on_error: Option<OnError>,
}

impl fmt::Debug for RpcFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcFilters").finish_non_exhaustive()
    }
}

impl RpcFilters {
    pub(super) fn are_there(&self) -> bool {
        !(self.before.is_empty() && self.after.is_empty())
    }

    pub(super) async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
        for filter in &self.before {
            let verdict = shielded("rpc before filter", filter.before(call)).await;
            verdict.inspect_err(|error| self.report(error, call))?;
        }
        Ok(())
    }

    pub(super) async fn after(&self, call: &mut RpcRequest, outcome: Result<(), &str>) {
        for filter in &self.after {
            let verdict = shielded("rpc after filter", filter.after(call, outcome)).await;
            if let Err(error) = verdict {
                return self.report(&error, call);
            }
        }
    }

    fn report(&self, error: &Error, call: &RpcRequest) {
        let Some(handler) = &self.on_error else {
            let (server, route) = (&*call.server, call.route.as_str());
            return tracing::error!(server, route, %error, "rpc filter failed");
        };
        if catch_unwind(AssertUnwindSafe(|| handler(error, call))).is_err() {
            tracing::error!("rpc error handler panicked");
        }
    }
}

/// Calls to other servers.
impl ServerSetup {
    /// How the server calls others. Default: [`RpcConfig::new`](super::RpcConfig::new).
    pub fn rpc(mut self, config: super::RpcConfig) -> Self {
        self.rpc_config = config;
        self
    }

    /// Adds a filter before and after the server's calls to others.
    pub fn rpc_filter(mut self, filter: impl RpcFilter) -> Self {
        let filter: Arc<dyn Erased> = Arc::new(filter);
        self.rpc_filters.before.push(Arc::clone(&filter));
        self.rpc_filters.after.push(filter);
        self
    }

    /// Adds an async function before the server's calls to others. It gets the call and answers
    /// what takes its place.
    pub fn rpc_before<F, R>(mut self, filter: F) -> Self
    where
        F: Fn(RpcRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<RpcRequest, Error>> + Send + 'static,
    {
        self.rpc_filters.before.push(Arc::new(Before(filter)));
        self
    }

    /// Adds an async function after the server's calls to others.
    pub fn rpc_after<F, R>(mut self, filter: F) -> Self
    where
        F: Fn(RpcRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.rpc_filters.after.push(Arc::new(After(filter)));
        self
    }

    /// Sets what hears of errors of rpc filters, and of no others. Default: they are logged.
    pub fn rpc_error_handler(
        mut self,
        handler: impl Fn(&Error, &RpcRequest) + Send + Sync + 'static,
    ) -> Self {
        self.rpc_filters.on_error = Some(Box::new(handler));
        self
    }
}

struct Before<F>(F);

impl<F, R> RpcFilter for Before<F>
where
    F: Fn(RpcRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Result<RpcRequest, Error>> + Send + 'static,
{
    async fn before(&self, call: &mut RpcRequest) -> Result<(), Error> {
        *call = (self.0)(call.clone()).await?;
        Ok(())
    }
}

struct After<F>(F);

impl<F, R> RpcFilter for After<F>
where
    F: Fn(RpcRequest) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Error>> + Send + 'static,
{
    async fn after(&self, call: &mut RpcRequest, _: Result<(), &str>) -> Result<(), Error> {
        (self.0)(call.clone()).await
    }
}
