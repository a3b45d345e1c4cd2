//! The whole path of a request: route -> filters -> handler here or forward there -> filters ->
//! answer. In pomelo 2.2.7 this is `server/server.js` with `components/connector.js` around it.

use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::Either;
use pomelo_protocol::{Body, RequestId, Route};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span};

use crate::app::App;
use crate::error::Error;
use crate::filter::{panicked, shielded};
use crate::handler::{BoxFuture, Request, Start};
use crate::reply::{Asker, BoxedReply, Reply};
use crate::session::Session;

/// What a turn of a connection's task lends to the calls that begin in it.
pub(crate) struct Batch<'a, 'b> {
    pub(crate) context: &'a mut Context<'b>,
    last: Option<Last>,
}

/// The last request that was done at once, to make the next one of.
struct Last {
    request: Request,
    /// What its route asks for, if that can be begun right here.
    handler: Option<Arc<Start>>,
    /// The handler's call, which has ended.
    ended: Option<BoxedReply>,
}

impl<'a, 'b> Batch<'a, 'b> {
    pub(crate) fn new(context: &'a mut Context<'b>) -> Self {
        Self {
            context,
            last: None,
        }
    }
}

/// A request or notify of a session of `app`, a frontend.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) session: &'a Session,
    pub(crate) id: Option<RequestId>,
    pub(crate) route: Route,
    pub(crate) body: Body,
}

impl Call<'_> {
    /// As filters and handlers see it, made out of the last one of the same client if there is
    /// one. What comes in one go is often for one route, which is looked up once then.
    #[inline]
    fn into_request(self, last: &mut Option<Last>) -> &mut Last {
        let Self {
            app,
            session,
            id,
            route,
            body,
        } = self;
        match last {
            Some(last) => {
                if last.request.route != route {
                    last.handler = handler(app, &route);
                    last.request.route = route;
                }
                last.request.renew(id, body);
                last
            }
            none => none.insert(Last {
                handler: handler(app, &route),
                request: Request::of_client(app, session, id, route, body),
                ended: None,
            }),
        }
    }
}

/// The handler of this server that the route asks for, if there are no filters around it.
fn handler(app: &App, route: &str) -> Option<Arc<Start>> {
    if app.filters().are_there() {
        return None;
    }
    let handler = app.handlers().get(route)?;
    handler.is_of(app.server_type()).then(|| handler.shared())
}

/// Begins a call and runs it as far as it goes without waiting: normally to its end. What is left
/// of it, if anything, is answered, to be polled until it is done.
pub(crate) fn begin<T: From<()> + 'static>(
    batch: &mut Batch<'_, '_>,
    call: Call<'_>,
) -> Option<BoxFuture<T>> {
    let app = call.app;
    // The fields are looked at only when somebody wants the span.
    let span = tracing::info_span!(
        "request",
        server = app.server_id(),
        session = call.session.id(),
        uid = call.session.uid().as_ref().map(tracing::field::display),
        route = &*call.route,
    );
    if span.is_none() && !app.metrics().measures() {
        return start(batch, call);
    }
    watched(batch, call, span)
}

/// [`begin`] while somebody wants to know how it goes.
fn watched<T: From<()> + 'static>(
    batch: &mut Batch<'_, '_>,
    call: Call<'_>,
    span: Span,
) -> Option<BoxFuture<T>> {
    let app = call.app;
    let measured = app.metrics().measures().then(Instant::now);
    let measured = measured.map(|started| (started, app.clone(), call.route.clone()));
    let measure = move || {
        if let Some((started, app, route)) = measured {
            app.metrics().handled(&route, started.elapsed());
        }
    };
    let Some(rest) = span.in_scope(|| start(batch, call)) else {
        measure();
        return None;
    };
    let rest = async {
        let done = rest.await;
        measure();
        done
    };
    Some(Box::pin(rest.instrument(span)))
}

/// A handler of this server without filters around it runs right here: a future of the whole
/// request is only made if it waits.
fn start<T: From<()> + 'static>(batch: &mut Batch<'_, '_>, call: Call<'_>) -> Option<BoxFuture<T>> {
    let Call { app, session, .. } = call;
    let Last {
        request,
        handler,
        ended,
    } = call.into_request(&mut batch.last);
    let Some(handler) = handler else {
        return general(batch, session.clone());
    };
    let mut asker = asker(request, session);
    let first = catch_unwind(AssertUnwindSafe(|| {
        let mut running = handler(request, ended.take());
        if running.poll_answer(batch.context, &mut asker).is_pending() {
            return Some(running);
        }
        *ended = Some(running);
        None
    }));
    let mut running = match first {
        Ok(running) => running?,
        Err(_) => {
            asker.fail(&panicked("handler"));
            return None;
        }
    };
    let (app, session, route) = (app.clone(), session.clone(), request.route.clone());
    let id = request.id;
    Some(Box::pin(async move {
        let mut asker = Asker::new(&app, &session, id, &route);
        let answered = poll_fn(|context| running.poll_answer(context, &mut asker));
        if AssertUnwindSafe(answered).catch_unwind().await.is_err() {
            asker.fail(&panicked("handler"));
        }
        T::from(())
    }))
}

/// Who sent a client's request.
fn asker<'a>(request: &'a Request, session: &'a Session) -> Asker<'a> {
    Asker::new(&request.app, session, request.id, &request.route)
}

/// With all that there may be.
fn general<T: From<()> + 'static>(
    batch: &mut Batch<'_, '_>,
    session: Session,
) -> Option<BoxFuture<T>> {
    let last = batch.last.take()?;
    let mut whole = Box::pin(dispatch(last.request, session));
    match whole.as_mut().poll(batch.context) {
        Poll::Ready(request) => {
            batch.last = Some(Last { request, ..last });
            None
        }
        Poll::Pending => Some(Box::pin(whole.map(|_| T::from(())))),
    }
}

/// Runs one request or notify to its end, and gives it back.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` would hold the request twice"
)]
fn dispatch(mut request: Request, session: Session) -> impl Future<Output = Request> {
    async move {
        let server_type = match Target::of(&request.route) {
            Target::Handler(server_type) => server_type,
            Target::Silent => return request,
            Target::Attack => {
                session.kick(Some("attack"));
                return request;
            }
            Target::Malformed => {
                asker(&request, &session).refuse(&Error::new("malformed route"));
                return request;
            }
        };
        let is_here = server_type == request.app.server_type();
        let app = request.app.clone();
        let filters = &app.filters().global;
        // Filters may ask for the session when a handler has changed it already.
        request.session();
        let outcome = match filters.before(&mut request).await {
            Ok(()) if is_here => handle_here(&app, &mut request).await,
            Ok(()) => forward(&request).await,
            Err(error) => filters.recover(&mut request, error).await,
        };
        asker(&request, &session).answer(&outcome);
        // The client has its answer; nothing that these filters answer reaches it.
        drop(filters.after(&mut request, outcome).await);
        request
    }
}

/// The server type whose handler a client's route asks for, if it asks for one.
pub(crate) fn server_type(route: &str) -> Option<&str> {
    match Target::of(route) {
        Target::Handler(server_type) => Some(server_type),
        Target::Malformed | Target::Silent | Target::Attack => None,
    }
}

/// What a route asks for; server.js and connector.js of pomelo 2.2.7.
enum Target<'a> {
    /// `serverType.handler.method`
    Handler(&'a str),
    /// Not three parts: answered with code 500.
    Malformed,
    /// No dot, or a dot at the start: never answered.
    Silent,
    /// Something that only an attacker asks for.
    Attack,
}

impl<'a> Target<'a> {
    fn of(route: &'a str) -> Self {
        // A route is short, and so is looked at byte by byte.
        let cut = |text: &'a str| {
            let dot = text.bytes().position(|byte| byte == b'.')?;
            Some((text.get(..dot)?, text.get(dot + 1..)?))
        };
        let Some((server_type, rest)) = cut(route) else {
            return Self::Silent;
        };
        match cut(rest) {
            _ if server_type.is_empty() => Self::Silent,
            Some((_, "constructor")) => Self::Attack,
            Some((_, method)) if cut(method).is_none() => Self::Handler(server_type),
            _ => Self::Malformed,
        }
    }
}

/// On the client's own frontend.
async fn handle_here(app: &App, request: &mut Request) -> Result<Reply, Error> {
    let global = (!request.extensions.is_empty()).then(|| mem::take(&mut request.extensions));
    let deadline = request.deadline;
    let outcome = within(deadline, handle(app, request)).await;
    match global {
        Some(global) => request.extensions = global,
        // The memory stays for the next request.
        None => request.extensions.clear(),
    }
    request.deadline = deadline;
    outcome
}

/// On a backend, through the same door as remote calls.
async fn forward(request: &Request) -> Result<Reply, Error> {
    let server_type = server_type(&request.route).unwrap_or_default();
    // A frontend has no msgRemote: requests to another frontend type fail.
    if request.app.topology_now().is_frontend(server_type) {
        return Err(Error::new("the route is of another frontend type"));
    }
    let rpc = request.app.rpc_client();
    let deadline = Instant::now() + rpc.timeout();
    let deadline = request.deadline.map_or(deadline, |own| own.min(deadline));
    within(Some(deadline), rpc.forward(request, server_type)).await
}

/// Local filters and the handler, on `app`, the server that has them.
pub(crate) async fn handle(app: &App, request: &mut Request) -> Result<Reply, Error> {
    let filters = &app.filters().local;
    let mut outcome = match filters.before(request).await {
        Ok(()) => call(request).await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        outcome = filters.recover(request, error).await;
    }
    filters.after(request, outcome).await
}

async fn call(request: &Request) -> Result<Reply, Error> {
    let handler = async {
        match request.app.handlers().get(&request.route) {
            Some(handler) => handler.start(request).await,
            None => Err(Error::new("no such handler")),
        }
    };
    within(request.deadline, shielded("handler", handler)).await
}

/// Drops the work at the deadline, if there is one. No `async fn`, as [`shielded`] is none.
fn within(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<Reply, Error>>,
) -> impl Future<Output = Result<Reply, Error>> {
    match deadline {
        None => Either::Left(work),
        Some(deadline) => Either::Right(timeout_at(deadline, work).map(|outcome| {
            outcome.unwrap_or_else(|_| Err(Error::new("no answer within the time limit")))
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each request that runs costs its future, and a frontend runs many: wrapping a future in
    /// another `async fn` doubles it unnoticed.
    #[test]
    fn a_request_is_not_large() {
        fn size<A, B, F>(_: fn(A, B) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(dispatch) <= 1_280, "{}", size(dispatch));
        assert_eq!(size_of::<Result<Reply, Error>>(), 24);
    }
}
