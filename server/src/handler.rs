//! What a handler is: extractors in, a reply out; and the table of them.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use http::Extensions;
use pomelo_protocol::{Body, BodyError, RequestId, Route};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::app::App;
use crate::dispatch;
use crate::error::Error;
use crate::reply::{BoxedReply, IntoReply};
use crate::session::{BackendSession, FrontendSession, RequestSession, Session};

/// A future on the heap.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A message of a client on its way to a handler, or a call on its way to a remote: everything
/// that filters, handlers and remotes can ask for.
#[derive(Debug)]
pub struct Request {
    pub(crate) app: App,
    pub(crate) id: Option<RequestId>,
    pub(crate) route: Route,
    pub(crate) body: Body,
    /// Of a client of this frontend: what the copy is made of when somebody asks.
    session: Option<Session>,
    copy: OnceLock<RequestSession>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) extensions: Extensions,
}

impl Request {
    /// From a client of `app`, a frontend.
    pub(crate) fn of_client(
        app: &App,
        session: &Session,
        id: Option<RequestId>,
        route: Route,
        body: Body,
    ) -> Self {
        Self {
            id,
            session: Some(session.clone()),
            ..Self::new(app.clone(), route, body)
        }
    }

    /// Makes the next request of the same client to the same route out of this one.
    pub(crate) fn renew(&mut self, id: Option<RequestId>, body: Body) {
        self.id = id;
        self.body = body;
        self.copy = OnceLock::new();
        self.deadline = None;
        self.extensions.clear();
    }

    /// To a remote or a cron job of `app`.
    pub(crate) fn new(app: App, route: Route, body: Body) -> Self {
        Self {
            app,
            id: None,
            route,
            body,
            session: None,
            copy: OnceLock::new(),
            deadline: None,
            extensions: Extensions::new(),
        }
    }

    /// This client's request on its way to a handler of `app`, with the session that is seen
    /// there.
    pub(crate) fn forwarded(&self, app: App, session: Option<RequestSession>, body: Body) -> Self {
        Self {
            id: self.id,
            copy: session.map_or_else(OnceLock::new, OnceLock::from),
            deadline: self.deadline,
            ..Self::new(app, self.route.clone(), body)
        }
    }

    /// The server it is on.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What the client's answer is sent under; `None` for a notify and for a remote call.
    pub fn id(&self) -> Option<RequestId> {
        self.id
    }

    /// `serverType.handler.method`
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The message as it came, not decoded.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Puts another message in place of the one that came.
    pub fn set_body(&mut self, body: Body) {
        self.body = body;
    }

    /// The message, decoded as [`Msg`] does it.
    ///
    /// # Errors
    ///
    /// [`BodyError`], when the message is not a `T`.
    pub fn msg<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        self.body.decode_or_empty()
    }

    /// The copy of the session that was made for this request; a remote call has none.
    pub fn session(&self) -> Option<&RequestSession> {
        match &self.session {
            None => self.copy.get(),
            Some(session) => Some(self.copy.get_or_init(|| session.request_copy())),
        }
    }

    /// When its time is over, if that was set.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ends what is after this filter at `deadline`: what runs then is dropped where it waits,
    /// and the request fails. The earliest deadline stands.
    pub fn limit(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
    }

    /// What filters left here for each other and for the handler, by type. Global filters have
    /// a set of their own.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Leaves something for filters that come later and for the handler, by type.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }
}

/// A type that a handler may have as an argument.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "not an extractor",
    note = "arguments of handlers are `Msg<T>`, `FrontendSession`, `BackendSession`, `RequestSession`, `App`, `State<T>`, `Extension<T>`, `Body`, `Route`, and of remotes also `Args<T>`"
)]
pub trait FromRequest: Sized {
    /// Takes it out of the request.
    ///
    /// # Errors
    ///
    /// What the client is answered instead of calling the handler.
    fn from_request(request: &Request) -> Result<Self, Error>;
}

/// The message, decoded from JSON or from the protobuf dialect alike.
///
/// A body that is no JSON, or `null`, `false`, `0` or `""`, is read as `{}`, as
/// pomelo does; a body that does not fit `T` answers `{"code":500}`.
#[derive(Debug, Clone)]
pub struct Msg<T>(pub T);

/// The arguments of a remote call, a tuple normally; nothing is read into what does not fit.
#[derive(Debug, Clone)]
pub struct Args<T>(pub T);

/// What a filter left in [`Request::extensions_mut`] under this type.
#[derive(Debug, Clone)]
pub struct Extension<T>(pub T);

/// A value given to [`AppBuilder::state`](crate::AppBuilder::state), shared by all handlers.
#[derive(Debug)]
pub struct State<T>(pub Arc<T>);

impl<T: DeserializeOwned> FromRequest for Msg<T> {
    fn from_request(request: &Request) -> Result<Self, Error> {
        Ok(Self(request.body.decode_or_empty()?))
    }
}

impl<T: DeserializeOwned> FromRequest for Args<T> {
    fn from_request(request: &Request) -> Result<Self, Error> {
        Ok(Self(request.body.decode()?))
    }
}

impl<T: Send + Sync + 'static> FromRequest for State<T> {
    fn from_request(request: &Request) -> Result<Self, Error> {
        request.app.state().map(Self).ok_or_else(|| {
            Error::new(format!(
                "no state of type {} was given",
                std::any::type_name::<T>()
            ))
        })
    }
}

impl<T: Clone + Send + Sync + 'static> FromRequest for Extension<T> {
    fn from_request(request: &Request) -> Result<Self, Error> {
        request.extensions.get().cloned().map(Self).ok_or_else(|| {
            Error::new(format!(
                "no filter left a {} for the handler",
                std::any::type_name::<T>()
            ))
        })
    }
}

impl FromRequest for App {
    fn from_request(request: &Request) -> Result<Self, Error> {
        Ok(request.app.clone())
    }
}

impl FromRequest for Route {
    fn from_request(request: &Request) -> Result<Self, Error> {
        Ok(request.route.clone())
    }
}

impl FromRequest for Body {
    fn from_request(request: &Request) -> Result<Self, Error> {
        Ok(request.body.clone())
    }
}

impl FromRequest for RequestSession {
    fn from_request(request: &Request) -> Result<Self, Error> {
        let session = request.session();
        session
            .cloned()
            .ok_or_else(|| Error::new("a remote call has no session"))
    }
}

impl FromRequest for FrontendSession {
    fn from_request(request: &Request) -> Result<Self, Error> {
        let session = RequestSession::from_request(request)?;
        if session.frontend_id() == request.app.server_id() {
            Ok(Self(session))
        } else {
            Err(Error::new("a handler on a backend has a BackendSession"))
        }
    }
}

impl FromRequest for BackendSession {
    fn from_request(request: &Request) -> Result<Self, Error> {
        let session = RequestSession::from_request(request)?;
        if session.frontend_id() == request.app.server_id() {
            Err(Error::new(
                "a handler on the client's frontend has a FrontendSession",
            ))
        } else {
            Ok(Self(session))
        }
    }
}

/// An async function of up to eight extractors that answers an [`IntoReply`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "a handler is an `async fn` whose arguments all implement `FromRequest` (`Msg<T>`, `FrontendSession`, `App`, ...), whose answer implements `IntoReply`, and whose future is `Send`"
)]
pub trait Handler<Arguments>: Clone + Send + Sync + 'static {
    /// Starts a call; it runs when the future is polled.
    fn call(&self, request: &Request) -> BoxedReply;

    /// [`call`](Self::call) in the memory of a call that has ended; see [`BoxedReply::after`].
    fn call_after(&self, request: &Request, ended: Option<BoxedReply>) -> BoxedReply {
        drop(ended);
        self.call(request)
    }
}

macro_rules! handler_of {
    ($($argument:ident)*) => {
        impl<F, R, $($argument,)*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Clone + Send + Sync + 'static,
            R: Future<Output: IntoReply> + Send + 'static,
            $($argument: FromRequest,)*
        {
            fn call(&self, request: &Request) -> BoxedReply {
                self.call_after(request, None)
            }

            #[allow(unused_variables, reason = "a handler without arguments looks at nothing")]
            fn call_after(&self, request: &Request, ended: Option<BoxedReply>) -> BoxedReply {
                let take = || Ok(($($argument::from_request(request)?,)*));
                match take() {
                    #[allow(non_snake_case, reason = "one name for the type and its value")]
                    Ok(($($argument,)*)) => BoxedReply::after(ended, self($($argument),*)),
                    Err(error) => BoxedReply::new(ready(Err::<(), _>(error))),
                }
            }
        }
    };
}

handler_of!();
handler_of!(A1);
handler_of!(A1 A2);
handler_of!(A1 A2 A3);
handler_of!(A1 A2 A3 A4);
handler_of!(A1 A2 A3 A4 A5);
handler_of!(A1 A2 A3 A4 A5 A6);
handler_of!(A1 A2 A3 A4 A5 A6 A7);
handler_of!(A1 A2 A3 A4 A5 A6 A7 A8);

/// What starts a call of a handler or a remote, in the memory of one that has ended if there is one.
pub(crate) type Start = dyn Fn(&Request, Option<BoxedReply>) -> BoxedReply + Send + Sync;

/// Handlers or remotes by `serverType.service.method`.
#[derive(Default)]
pub(crate) struct Table {
    /// Asked for every request, and filled before the first: clients choose what is asked for,
    /// not what is in it.
    entries: HashMap<Box<str>, Entry, RandomState>,
}

/// A handler or a remote.
pub(crate) struct Entry {
    /// The first part of its route; empty if no client reaches it.
    server_type: Box<str>,
    start: Arc<Start>,
}

impl Entry {
    pub(crate) fn is_of(&self, server_type: &str) -> bool {
        *self.server_type == *server_type
    }

    /// Starts a call; it runs when the future is polled.
    pub(crate) fn start(&self, request: &Request) -> BoxedReply {
        (self.start)(request, None)
    }

    /// What starts its calls, for who starts many.
    pub(crate) fn shared(&self) -> Arc<Start> {
        Arc::clone(&self.start)
    }
}

impl Table {
    /// Answers `false` if the route is taken.
    pub(crate) fn insert<A, H: Handler<A>>(&mut self, route: &str, handler: H) -> bool {
        let entry = Entry {
            server_type: dispatch::server_type(route).unwrap_or_default().into(),
            start: Arc::new(move |request, ended| handler.call_after(request, ended)),
        };
        self.entries.insert(route.into(), entry).is_none()
    }

    pub(crate) fn get(&self, route: &str) -> Option<&Entry> {
        self.entries.get(route)
    }

    pub(crate) fn has(&self, route: &str) -> bool {
        self.entries.contains_key(route)
    }

    pub(crate) fn routes(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(|route| &**route)
    }
}

/// The application's own values, one per type.
#[derive(Default)]
pub(crate) struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get(&TypeId::of::<T>())?).downcast().ok()
    }
}
