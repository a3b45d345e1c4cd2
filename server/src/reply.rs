//! What a handler answers, and how that gets to who asked.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use pomelo_protocol::{Body, Codec, CodecError, FrameRef, RequestId, Route};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::encode::scratch;
use crate::error::{Error, PushError, code_500};
use crate::push::{Outbound, OutboundKind};
use crate::session::Session;

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

    /// Answers at once, which is what becomes of a reply that no filter looks at: nothing has to
    /// be kept for it. By default it is kept nevertheless; a type that wraps one of those here
    /// may pass this on to it.
    fn answer(self, asker: &mut Asker<'_>)
    where
        Self: Sized,
    {
        asker.answer(&self.into_reply());
    }
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

    fn answer(self, asker: &mut Asker<'_>) {
        match self.to_json() {
            Ok(text) => asker.respond_text(&text, &Value::Null),
            Err(error) => asker.fail(&error.into()),
        }
    }
}

impl IntoReply for Value {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::new(self))
    }

    fn answer(self, asker: &mut Asker<'_>) {
        asker.respond(&self, &Self::Null);
    }
}

impl<T: Serialize + Send + 'static> IntoReply for Json<T> {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::new(self.0))
    }

    fn answer(self, asker: &mut Asker<'_>) {
        asker.respond(&self.0, &Value::Null);
    }
}

impl<T: IntoReply> IntoReply for Result<T, Error> {
    fn into_reply(self) -> Result<Reply, Error> {
        self.and_then(IntoReply::into_reply)
    }

    fn answer(self, asker: &mut Asker<'_>) {
        match self {
            Ok(answer) => answer.answer(asker),
            Err(error) => asker.fail(&error),
        }
    }
}

/// The running call of a handler: a future of its reply.
pub struct BoxedReply(Pin<Box<dyn Running>>);

impl fmt::Debug for BoxedReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxedReply").finish_non_exhaustive()
    }
}

impl BoxedReply {
    /// The call whose answer `running` is.
    pub fn new(running: impl Future<Output: IntoReply> + Send + 'static) -> Self {
        Self(Box::pin(Some(running)))
    }

    /// [`new`](Self::new) in the memory of a call that has ended, if that was one of the same
    /// handler.
    pub fn after(
        ended: Option<Self>,
        running: impl Future<Output: IntoReply> + Send + 'static,
    ) -> Self {
        let mut next = Some(running);
        if let Some(mut ended) = ended
            && ended.0.as_mut().restart(&mut next)
        {
            return ended;
        }
        Self(Box::pin(next))
    }

    /// Runs it on; what the handler answers goes straight to who asked.
    pub(crate) fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
        asker: &mut Asker<'_>,
    ) -> Poll<()> {
        self.0.as_mut().poll_answer(context, asker)
    }
}

impl Future for BoxedReply {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll_reply(context)
    }
}

/// A handler's own future until it is done, which may be run to either end.
trait Running: Send {
    /// Takes the next future out of `next`, if that is an option of the same type.
    fn restart(self: Pin<&mut Self>, next: &mut dyn Any) -> bool;

    fn poll_reply(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Reply, Error>>;

    fn poll_answer(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        asker: &mut Asker<'_>,
    ) -> Poll<()>;
}

impl<F: Future<Output: IntoReply> + Send + 'static> Running for Option<F> {
    fn restart(mut self: Pin<&mut Self>, next: &mut dyn Any) -> bool {
        let next = next.downcast_mut().and_then(Self::take);
        let fits = next.is_some();
        if fits {
            self.set(next);
        }
        fits
    }

    fn poll_reply(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Reply, Error>> {
        poll_once(self, context).map(IntoReply::into_reply)
    }

    fn poll_answer(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        asker: &mut Asker<'_>,
    ) -> Poll<()> {
        ready!(poll_once(self, context)).answer(asker);
        Poll::Ready(())
    }
}

/// Polls a future that is dropped when it is done.
fn poll_once<F: Future>(
    mut running: Pin<&mut Option<F>>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    let Some(future) = running.as_mut().as_pin_mut() else {
        return Poll::Pending;
    };
    let output = ready!(future.poll(context));
    running.set(None);
    Poll::Ready(output)
}

/// Serde's `Serialize` behind a pointer, for the things that a reply becomes.
trait Encode: Send {
    fn respond(&self, asker: &mut Asker<'_>, options: &Value);
    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error>;
    fn to_value(&self) -> Result<Value, serde_json::Error>;
}

impl<T: Serialize + Send> Encode for T {
    fn respond(&self, asker: &mut Asker<'_>, options: &Value) {
        asker.respond(self, options);
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
    fn respond(&self, asker: &mut Asker<'_>, options: &Value) {
        asker.respond_text(&self.0, options);
    }

    fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(self.0.to_vec())
    }

    fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }
}

/// Who asked, and so who gets the answer: one, and for a notify none.
#[derive(Debug)]
pub struct Asker<'a> {
    app: &'a App,
    session: &'a Session,
    /// Until it is answered.
    id: Option<RequestId>,
    route: &'a Route,
}

impl<'a> Asker<'a> {
    /// The client of a session of `app`, a frontend.
    pub(crate) fn new(
        app: &'a App,
        session: &'a Session,
        id: Option<RequestId>,
        route: &'a Route,
    ) -> Self {
        Self {
            app,
            session,
            id,
            route,
        }
    }

    /// Sends the answer, or counts the failure and sends what is answered then.
    pub(crate) fn answer(&mut self, outcome: &Result<Reply, Error>) {
        match outcome {
            Ok(Reply { value, options }) => {
                value.respond(self, options.as_deref().unwrap_or(&Value::Null));
            }
            Err(error) => self.fail(error),
        }
    }

    /// Counts a failure of the application, and answers it.
    pub(crate) fn fail(&mut self, error: &Error) {
        self.app.metrics().failed(self.route);
        self.refuse(error);
    }

    /// Answers a request that never came as far as the application.
    pub(crate) fn refuse(&mut self, error: &Error) {
        let session = self.session.id();
        tracing::debug!(route = &**self.route, session, %error, "request failed");
        self.respond(&error.to_body(), &Value::Null);
    }

    /// Sends `body`, with `options` for the push scheduler.
    fn respond<T: Serialize + ?Sized>(&mut self, body: &T, options: &Value) {
        self.send(options, |codec, scratch, id, route| {
            codec.response_in(scratch, id, route, body)
        });
    }

    /// Sends JSON text as it is.
    fn respond_text(&mut self, text: &[u8], options: &Value) {
        if is_falsy(text.trim_ascii()) {
            return self.respond(&Map::new(), options);
        }
        self.send(options, |codec, scratch, id, route| {
            codec.response_json_in(scratch, id, route, text)
        });
    }

    /// Sends what `encode` makes, unless there is no answer to give.
    fn send(
        &mut self,
        options: &Value,
        encode: impl for<'s> FnOnce(
            &Codec,
            &'s mut Vec<u8>,
            RequestId,
            &str,
        ) -> Result<FrameRef<'s>, CodecError>,
    ) {
        let Some(id) = self.id.take() else { return };
        let this = &*self;
        let codec = &this.session.tables().codec;
        let send = |scratch: &mut Vec<u8>| match encode(codec, scratch, id, this.route) {
            Ok(frame) if ends_falsy(frame, id) => this.send_empty(id, options, frame),
            Ok(frame) => this.deliver(id, options, frame),
            Err(error) => this.make_up(id, options, Some(&error)),
        };
        // How a reply is written is the application's code, too.
        if catch_unwind(AssertUnwindSafe(|| scratch(send))).is_err() {
            this.make_up(id, options, None);
        }
    }

    /// Sends `{}` in place of a falsy answer, unless that has a schema.
    #[cold]
    fn send_empty(&self, id: RequestId, options: &Value, falsy: FrameRef<'_>) {
        let codec = &self.session.tables().codec;
        if codec.outgoing.message(self.route).is_some() {
            return self.deliver(id, options, falsy);
        }
        match codec.response(&mut Vec::new(), id, self.route, &Map::new()) {
            Ok(frame) => self.deliver(id, options, frame.borrowed()),
            Err(error) => self.make_up(id, options, Some(&error)),
        }
    }

    /// Sends something in place of an answer that cannot be written.
    #[cold]
    fn make_up(&self, id: RequestId, options: &Value, error: Option<&CodecError>) {
        let codec = &self.session.tables().codec;
        // A response that does not fit its schema has an empty body.
        let empty = || codec.empty_response(id);
        let instead = match error {
            Some(CodecError::Misfit(_)) => empty(),
            error => {
                if let Some(error) = error {
                    tracing::warn!(route = &**self.route, %error, "response cannot be encoded");
                }
                let failure = codec.response(&mut Vec::new(), id, self.route, &code_500());
                failure.or_else(|_| empty())
            }
        };
        match instead {
            Ok(frame) => self.deliver(id, options, frame.borrowed()),
            Err(error) => tracing::warn!(route = &**self.route, %error, "response is lost"),
        }
    }

    /// Through the frontend's push scheduler, so that answers keep their order among pushes.
    fn deliver(&self, id: RequestId, options: &Value, frame: FrameRef<'_>) {
        let delivered = if self.app.answers_at_once() {
            self.session.answer(frame)
        } else {
            // Schedulers, their selectors and `encode` are the application's code, too.
            let schedule = AssertUnwindSafe(|| self.schedule(id, options, frame));
            catch_unwind(schedule).unwrap_or_else(|_| {
                tracing::error!(route = &**self.route, "push scheduler panicked");
                Ok(())
            })
        };
        match delivered {
            // A session that closed meanwhile takes no answer, and its mailbox counts what it
            // refuses.
            Ok(()) | Err(PushError::Closed | PushError::Full) => {}
            Err(error) => tracing::warn!(route = &**self.route, %error, "response is lost"),
        }
    }

    fn schedule(
        &self,
        id: RequestId,
        options: &Value,
        frame: FrameRef<'_>,
    ) -> Result<(), PushError> {
        let outbound = Outbound {
            kind: OutboundKind::Response,
            id: Some(id),
            route: self.route,
            options,
        };
        self.app
            .scheduler(&outbound)?
            .schedule(&outbound, frame.to_frame(), self.session)
    }
}

/// Whether the JSON body of a response is one that pomelo replaces by `{}`.
fn ends_falsy(frame: FrameRef<'_>, id: RequestId) -> bool {
    // Head of the package, flag, the longest id, and the longest of such bodies.
    const MAX: usize = 4 + 1 + 10 + 5;
    let package = frame.as_bytes();
    if package.len() > MAX {
        return false;
    }
    // The id is in groups of seven bits.
    let groups = usize::try_from((64 - id.get().leading_zeros()).div_ceil(7)).unwrap_or(10);
    is_falsy(package.get(4 + 1 + groups..).unwrap_or_default())
}

fn is_falsy(json: &[u8]) -> bool {
    matches!(
        json,
        b"" | b"null" | b"false" | b"0" | b"0.0" | b"-0.0" | b"\"\""
    )
}
