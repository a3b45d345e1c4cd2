//! Filters: what runs before and after the handlers of a server, and when one fails.

mod function;
mod serial;
mod setup;
mod time;
mod timeout;
mod toobusy;

use std::fmt;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;

pub use self::function::{AfterFn, BeforeFn, ErrorFn, IntoVerdict};
pub(crate) use self::function::{AfterFunction, BeforeFunction, ErrorFunction};
pub use self::serial::Serial;
pub use self::time::Time;
pub use self::timeout::Timeout;
pub use self::toobusy::TooBusy;
pub(crate) use self::toobusy::{DEFAULT_MAX_LAG, LagMeter};

use crate::error::Error;
use crate::handler::Request;
use crate::reply::Reply;

/// A future on the heap that borrows.
pub(crate) type Running<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What may run before and after the handlers of a server.
///
/// ```
/// use pomelo_server::{Error, Filter, Reply, Request};
///
/// /// Nobody chats before he has entered.
/// struct Entered;
///
/// impl Filter for Entered {
///     async fn before(&self, request: &mut Request) -> Result<(), Error> {
///         match request.session().and_then(|session| session.uid()) {
///             Some(_) => Ok(()),
///             None => Err(Error::new("not entered").with_reply(serde_json::json!({"code": 401}))),
///         }
///     }
///
///     async fn after(
///         &self,
///         request: &mut Request,
///         outcome: Result<Reply, Error>,
///     ) -> Result<Reply, Error> {
///         if let Err(error) = &outcome {
///             tracing::warn!(route = request.route().as_str(), %error);
///         }
///         outcome
///     }
/// }
/// ```
///
/// One filter serves all requests of its server, many at a time. What it has to remember from
/// `before` to `after` goes into [`Request::extensions_mut`]. Registered with
/// [`ServerSetup::filter`](crate::ServerSetup::filter) and
/// [`global_filter`](crate::ServerSetup::global_filter); for a part alone there are
/// [`before`](crate::ServerSetup::before) and its kin, which take async functions.
pub trait Filter: Send + Sync + 'static {
    /// Runs before the handler.
    ///
    /// # Errors
    ///
    /// An error stops the request: later filters and the handler do not see it, the error
    /// handler and the after filters do. It answers what [`Error::with_reply`] says.
    fn before(&self, request: &mut Request) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = request;
        ready(Ok(()))
    }

    /// Runs after the handler, also if it or a filter before it failed.
    ///
    /// # Errors
    ///
    /// What it answers takes the place of `outcome`: a local filter may change or clear the
    /// error and the reply. A global filter runs when the answer has been sent, and what it
    /// answers is only seen by the next one.
    fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> impl Future<Output = Result<Reply, Error>> + Send {
        let _ = request;
        ready(outcome)
    }
}

/// [`Filter`] behind a pointer.
trait Erased: Send + Sync {
    fn before<'a>(&'a self, request: &'a mut Request) -> Running<'a, Result<(), Error>>;

    fn after<'a>(
        &'a self,
        request: &'a mut Request,
        outcome: Result<Reply, Error>,
    ) -> Running<'a, Result<Reply, Error>>;
}

impl<F: Filter> Erased for F {
    fn before<'a>(&'a self, request: &'a mut Request) -> Running<'a, Result<(), Error>> {
        Box::pin(async { Filter::before(self, request).await })
    }

    fn after<'a>(
        &'a self,
        request: &'a mut Request,
        outcome: Result<Reply, Error>,
    ) -> Running<'a, Result<Reply, Error>> {
        Box::pin(async { Filter::after(self, request, outcome).await })
    }
}

/// What is done with an error before the after filters see it.
pub(crate) trait OnError: Send + Sync {
    fn handle<'a>(
        &'a self,
        request: &'a mut Request,
        error: Error,
    ) -> Running<'a, Result<Reply, Error>>;
}

/// The filters of one server.
#[derive(Default)]
pub(crate) struct Filters {
    /// Around every request of the server's own clients.
    pub(crate) global: Chain,
    /// Around the server's own handlers, whosever clients ask.
    pub(crate) local: Chain,
}

impl Filters {
    pub(crate) fn are_there(&self) -> bool {
        self.global.is_there() || self.local.is_there()
    }
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filters").finish_non_exhaustive()
    }
}

/// Filters in the order in which they were registered, and one error handler.
#[derive(Default)]
pub(crate) struct Chain {
    before: Vec<Arc<dyn Erased>>,
    after: Vec<Arc<dyn Erased>>,
    on_error: Option<Box<dyn OnError>>,
}

impl Chain {
    pub(crate) fn add(&mut self, filter: impl Filter) {
        let filter: Arc<dyn Erased> = Arc::new(filter);
        self.before.push(Arc::clone(&filter));
        self.after.push(filter);
    }

    pub(crate) fn add_before(&mut self, filter: impl Filter) {
        self.before.push(Arc::new(filter));
    }

    pub(crate) fn add_after(&mut self, filter: impl Filter) {
        self.after.push(Arc::new(filter));
    }

    pub(crate) fn set_on_error(&mut self, handler: impl OnError + 'static) {
        self.on_error = Some(Box::new(handler));
    }

    fn is_there(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty() || self.on_error.is_some()
    }

    /// Whether nothing is left to run once a request has its outcome.
    pub(crate) fn ends_with_outcome(&self) -> bool {
        self.after.is_empty()
    }

    /// In registration order up to the first error.
    pub(crate) async fn before(&self, request: &mut Request) -> Result<(), Error> {
        for filter in &self.before {
            shielded("before filter", filter.before(request)).await?;
        }
        Ok(())
    }

    /// The error handler's answer to an error; without a handler the error itself.
    pub(crate) async fn recover(
        &self,
        request: &mut Request,
        error: Error,
    ) -> Result<Reply, Error> {
        match &self.on_error {
            Some(handler) => shielded("error handler", handler.handle(request, error)).await,
            None => Err(error),
        }
    }

    /// All of them, in reverse registration order.
    pub(crate) async fn after(
        &self,
        request: &mut Request,
        mut outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        for filter in self.after.iter().rev() {
            outcome = shielded("after filter", filter.after(request, outcome)).await;
        }
        outcome
    }
}

/// Runs code of the user: one that panics fails the request it works for and nothing else.
///
/// No `async fn`: that would hold the work twice, and a request is as large as its future.
pub(crate) fn shielded<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Error>> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .map(move |outcome| outcome.unwrap_or_else(|_| Err(panicked(what))))
}

/// The error that takes the place of a panic.
#[cold]
pub(crate) fn panicked(what: &str) -> Error {
    tracing::error!("{what} panicked");
    Error::new(format!("{what} panicked"))
}
