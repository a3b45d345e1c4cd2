//! How filters are registered: on a server while it is set up.

use super::{AfterFn, AfterFunction, BeforeFn, BeforeFunction, ErrorFn, ErrorFunction, Filter};
use crate::app::ServerSetup;

/// Filters run in this order: global before, local before, the handler, local after in reverse,
/// *the answer is sent*, global after in reverse.
///
/// Global filters are around every request of the server's own clients, wherever its handler is;
/// local ones around the server's own handlers, whichever frontend the request came from. A
/// server has those it was given, so each has its own `serial` queues, as at pomelo.
///
/// ```no_run
/// use pomelo_server::{App, Error, Msg, Reply, RequestSession, filters};
///
/// # fn app() -> pomelo_server::AppBuilder {
/// App::builder()
///     .configure("all", "chat", |server| {
///         server
///             .filter(filters::Serial::default())
///             .before(async |session: RequestSession| match session.uid() {
///                 Some(_) => Ok(()),
///                 None => Err(Error::new("who are you")),
///             })
///             .after(async |outcome: Result<Reply, Error>| outcome)
///             .error_handler(async |error: Error| Err::<Reply, _>(error))
///     })
/// # }
/// ```
impl ServerSetup {
    /// Adds a local filter, before and after the server's handlers.
    pub fn filter(mut self, filter: impl Filter) -> Self {
        self.filters.local.add(filter);
        self
    }

    /// Adds an async function before the server's handlers.
    pub fn before<A: 'static>(mut self, filter: impl BeforeFn<A>) -> Self {
        self.filters.local.add_before(BeforeFunction::new(filter));
        self
    }

    /// Adds an async function after the server's handlers. It gets the outcome first and answers
    /// what takes its place.
    pub fn after<A: 'static>(mut self, filter: impl AfterFn<A>) -> Self {
        self.filters.local.add_after(AfterFunction::new(filter));
        self
    }

    /// Adds a global filter, before and after every request of the server's clients.
    pub fn global_filter(mut self, filter: impl Filter) -> Self {
        self.filters.global.add(filter);
        self
    }

    /// Adds an async function before every request of the server's clients.
    pub fn global_before<A: 'static>(mut self, filter: impl BeforeFn<A>) -> Self {
        self.filters.global.add_before(BeforeFunction::new(filter));
        self
    }

    /// Adds an async function after every request of the server's clients, when its answer has
    /// been sent. It gets the outcome first; what it answers is only seen by the next one.
    pub fn global_after<A: 'static>(mut self, filter: impl AfterFn<A>) -> Self {
        self.filters.global.add_after(AfterFunction::new(filter));
        self
    }

    /// Sets what is done with an error of a local before filter or of a handler: an async
    /// function that gets the error first. Its answer takes the error's place, and is what the
    /// local after filters see. A second one replaces the first.
    pub fn error_handler<A: 'static>(mut self, handler: impl ErrorFn<A>) -> Self {
        self.filters.local.set_on_error(ErrorFunction::new(handler));
        self
    }

    /// Sets what is done with an error of a global before filter, and with no other: errors of
    /// handlers are the [`error_handler`](Self::error_handler)'s. A second one replaces the first.
    pub fn global_error_handler<A: 'static>(mut self, handler: impl ErrorFn<A>) -> Self {
        self.filters
            .global
            .set_on_error(ErrorFunction::new(handler));
        self
    }
}
