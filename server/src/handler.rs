//! What a handler is: extractors in, a reply out; and the table of them.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::Extensions;
use pomelo_protocol::{Body, BodyError, Codec, CodecError, FrameRef, RequestId, Route};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::app::App;
use crate::dispatch;
use crate::encode::scratch;
use crate::error::Error;
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

    /// Makes the next request of the same client out of this one.
    pub(crate) fn renew(&mut self, id: Option<RequestId>, route: Route, body: Body) {
        self.id = id;
        self.route = route;
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

/// What a handler answers: any value that serde can write, kept until the
/// client's encoding is known.
pub struct Reply {
    value: Box<dyn Encode>,
    options: Option<Box<Value>>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl Reply {
    /// Answers `value`.
    ///
    /// `null`, `false`, `0` and `""` (and so `()` and `None`) answer `{}`, as pomelo does.
    pub fn new(value: impl Serialize + Send + 'static) -> Self {
        Self {
            value: Box::new(value),
            options: None,
        }
    }

    /// Gives `options` along for the frontend's push scheduler: `next(null, response, options)`.
    #[must_use]
    pub fn with_options(mut self, options: Value) -> Self {
        self.options = Some(Box::new(options));
        self
    }

    pub(crate) fn options(&self) -> &Value {
        self.options.as_deref().unwrap_or(&Value::Null)
    }

    /// Encodes the response and gives it to `send`.
    pub(crate) fn respond(&self, to: Asked<'_>, send: SendTo<'_>) -> Result<(), CodecError> {
        self.value.respond(to, send)
    }

    /// The answer as JSON, for filters that look into it.
    ///
    /// # Errors
    ///
    /// What serde says of a value that JSON cannot hold.
    pub fn to_value(&self) -> Result<Value, serde_json::Error> {
        self.value.to_value()
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        self.value.to_json()
    }
}

/// How a response is encoded.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) codec: &'a Codec,
    pub(crate) id: RequestId,
    pub(crate) route: &'a Route,
}

impl Asked<'_> {
    pub(crate) fn respond<T: Serialize + ?Sized>(
        self,
        body: &T,
        send: SendTo<'_>,
    ) -> Result<(), CodecError> {
        scratch(|scratch| {
            send(self.codec.response_in(scratch, self.id, self.route, body)?);
            Ok(())
        })
    }
}

/// Takes an encoded response.
pub(crate) type SendTo<'a> = &'a mut dyn FnMut(FrameRef<'_>);

/// Serde's `Serialize` behind a pointer, for the things that a reply becomes.
trait Encode: Send {
    fn respond(&self, to: Asked<'_>, send: SendTo<'_>) -> Result<(), CodecError>;
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error>;
    fn to_value(&self) -> Result<Value, serde_json::Error>;
}

impl<T: Serialize + Send> Encode for T {
    fn respond(&self, to: Asked<'_>, send: SendTo<'_>) -> Result<(), CodecError> {
        let mut falsy = false;
        to.respond(self, &mut |frame| {
            falsy = ends_falsy(frame.as_bytes(), to.id)
                && to.codec.outgoing.message(to.route).is_none();
            if !falsy {
                send(frame);
            }
        })?;
        if falsy {
            return to.respond(&serde_json::Map::new(), send);
        }
        Ok(())
    }

    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}

/// JSON text as it is.
struct Text(Bytes);

impl Encode for Text {
    fn respond(&self, to: Asked<'_>, send: SendTo<'_>) -> Result<(), CodecError> {
        if is_falsy(self.0.trim_ascii()) {
            return to.respond(&serde_json::Map::new(), send);
        }
        let Asked { codec, id, route } = to;
        scratch(|scratch| {
            send(codec.response_json_in(scratch, id, route, &self.0)?);
            Ok(())
        })
    }

    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(self.0.to_vec())
    }

    fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

/// Whether the JSON body of a response is one that pomelo replaces by `{}`.
fn ends_falsy(package: &[u8], id: RequestId) -> bool {
    // Head of the package, flag, and the id in groups of seven bits.
    let groups = usize::try_from((64 - id.get().leading_zeros()).div_ceil(7)).unwrap_or(10);
    let body = package.get(4 + 1 + groups..).unwrap_or_default();
    is_falsy(body)
}

fn is_falsy(json: &[u8]) -> bool {
    matches!(
        json,
        b"" | b"null" | b"false" | b"0" | b"0.0" | b"-0.0" | b"\"\""
    )
}

/// What a handler may answer: `Reply`, or any value serde can write wrapped in [`Json`],
/// alone or as the `Ok` of a `Result` whose error is [`Error`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of a handler",
    label = "not a reply",
    note = "a handler answers `()`, `Reply`, `Json<T>`, `Body`, `serde_json::Value`, or a `Result` of one of them with `pomelo_server::Error`"
)]
pub trait IntoReply {
    /// The reply, or what went wrong.
    ///
    /// # Errors
    ///
    /// The handler's own.
    fn into_reply(self) -> Result<Reply, Error>;
}

/// Answers any value that serde can write.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(self)
    }
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::new(()))
    }
}

/// Answers the message of a client, or JSON text made elsewhere ([`Body::json`]), without reading
/// it: text goes out as it is, and it is up to the application that it is JSON.
///
/// ```
/// use pomelo_server::Body;
///
/// async fn echo(body: Body) -> Body {
///     body
/// }
/// # let _ = pomelo_server::App::builder().handler("connector.entryHandler.echo", echo);
/// ```
impl IntoReply for Body {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply {
            value: Box::new(Text(self.to_json()?)),
            options: None,
        })
    }
}

impl IntoReply for Value {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::new(self))
    }
}

impl<T: Serialize + Send + 'static> IntoReply for Json<T> {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::new(self.0))
    }
}

impl<T: IntoReply> IntoReply for Result<T, Error> {
    fn into_reply(self) -> Result<Reply, Error> {
        self.and_then(IntoReply::into_reply)
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
}

/// The running call of a handler.
pub type BoxedReply = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send>>;

macro_rules! handler_of {
    ($($argument:ident)*) => {
        impl<F, R, $($argument,)*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Clone + Send + Sync + 'static,
            R: Future<Output: IntoReply> + Send + 'static,
            $($argument: FromRequest,)*
        {
            #[allow(unused_variables, reason = "a handler without arguments looks at nothing")]
            fn call(&self, request: &Request) -> BoxedReply {
                let take = || Ok(($($argument::from_request(request)?,)*));
                match take() {
                    #[allow(non_snake_case, reason = "one name for the type and its value")]
                    Ok(($($argument,)*)) => {
                        let running = self($($argument),*);
                        Box::pin(async move { running.await.into_reply() })
                    }
                    Err(error) => Box::pin(std::future::ready(Err(error))),
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

/// What starts a call of a handler or a remote.
type Start = dyn Fn(&Request) -> BoxedReply + Send + Sync;

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
    start: Box<Start>,
}

impl Entry {
    pub(crate) fn is_of(&self, server_type: &str) -> bool {
        *self.server_type == *server_type
    }

    /// Starts a call; it runs when the future is polled.
    pub(crate) fn start(&self, request: &Request) -> BoxedReply {
        (self.start)(request)
    }
}

impl Table {
    /// Answers `false` if the route is taken.
    pub(crate) fn insert<A, H: Handler<A>>(&mut self, route: &str, handler: H) -> bool {
        let entry = Entry {
            server_type: dispatch::server_type(route).unwrap_or_default().into(),
            start: Box::new(move |request| handler.call(request)),
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
