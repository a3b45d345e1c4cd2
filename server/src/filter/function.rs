//! Plain async functions as filters and error handlers, with the extractors of handlers.

use std::marker::PhantomData;

use super::{Filter, OnError, Running};
use crate::error::Error;
use crate::handler::{FromRequest, Request};
use crate::reply::{IntoReply, Reply};

/// What a function that filters may answer: `()`, or a `Result` of it with [`Error`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the answer of a before filter",
    label = "not an answer of a before filter",
    note = "a before filter answers `()` or `Result<(), pomelo_server::Error>`"
)]
pub trait IntoVerdict {
    /// Whether the request goes on.
    ///
    /// # Errors
    ///
    /// The filter's own.
    fn into_verdict(self) -> Result<(), Error>;
}

impl IntoVerdict for () {
    fn into_verdict(self) -> Result<(), Error> {
        Ok(())
    }
}

impl IntoVerdict for Result<(), Error> {
    fn into_verdict(self) -> Self {
        self
    }
}

/// An async function of up to six extractors that runs before handlers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a before filter",
    label = "not a before filter",
    note = "a before filter is an `async fn` whose arguments all implement `FromRequest`, which answers `()` or `Result<(), pomelo_server::Error>`, and whose future is `Send`"
)]
pub trait BeforeFn<Arguments>: Send + Sync + 'static {
    /// Starts it; it runs when the future is polled.
    fn call(&self, request: &Request) -> impl Future<Output = Result<(), Error>> + Send;
}

/// An async function that runs after handlers: of the outcome and up to five extractors.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an after filter",
    label = "not an after filter",
    note = "an after filter is an `async fn` whose first argument is the outcome, `Result<Reply, Error>`, whose other arguments all implement `FromRequest`, whose answer implements `IntoReply` (normally the outcome), and whose future is `Send`"
)]
pub trait AfterFn<Arguments>: Send + Sync + 'static {
    /// Starts it; it runs when the future is polled.
    fn call(
        &self,
        request: &Request,
        outcome: Result<Reply, Error>,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;
}

/// An async function that handles errors: of the [`Error`] and up to five extractors.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an error handler",
    label = "not an error handler",
    note = "an error handler is an `async fn` whose first argument is `pomelo_server::Error`, whose other arguments all implement `FromRequest`, whose answer implements `IntoReply`, and whose future is `Send`"
)]
pub trait ErrorFn<Arguments>: Send + Sync + 'static {
    /// Starts it; it runs when the future is polled.
    fn call(
        &self,
        request: &Request,
        error: Error,
    ) -> impl Future<Output = Result<Reply, Error>> + Send;
}

macro_rules! functions_of {
    ($($argument:ident)*) => {
        impl<F, R, $($argument,)*> BeforeFn<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Send + Sync + 'static,
            R: Future<Output: IntoVerdict> + Send + 'static,
            $($argument: FromRequest,)*
        {
            #[allow(unused_variables, reason = "a filter without arguments looks at nothing")]
            fn call(
                &self,
                request: &Request,
            ) -> impl Future<Output = Result<(), Error>> + Send {
                let take = || Ok::<_, Error>(($($argument::from_request(request)?,)*));
                #[allow(non_snake_case, reason = "one name for the type and its value")]
                let running = take().map(|($($argument,)*)| self($($argument),*));
                async move { running?.await.into_verdict() }
            }
        }

        impl<F, R, $($argument,)*> AfterFn<($($argument,)*)> for F
        where
            F: Fn(Result<Reply, Error>, $($argument),*) -> R + Send + Sync + 'static,
            R: Future<Output: IntoReply> + Send + 'static,
            $($argument: FromRequest,)*
        {
            #[allow(unused_variables, reason = "a filter without arguments looks at nothing")]
            fn call(
                &self,
                request: &Request,
                outcome: Result<Reply, Error>,
            ) -> impl Future<Output = Result<Reply, Error>> + Send {
                let take = || Ok::<_, Error>(($($argument::from_request(request)?,)*));
                #[allow(non_snake_case, reason = "one name for the type and its value")]
                let running = match take() {
                    Ok(($($argument,)*)) => Ok(self(outcome, $($argument),*)),
                    // What failed first is what the client is told.
                    Err(error) => Err(outcome.and(Err(error))),
                };
                async move {
                    match running {
                        Ok(running) => running.await.into_reply(),
                        Err(failed) => failed,
                    }
                }
            }
        }

        impl<F, R, $($argument,)*> ErrorFn<($($argument,)*)> for F
        where
            F: Fn(Error, $($argument),*) -> R + Send + Sync + 'static,
            R: Future<Output: IntoReply> + Send + 'static,
            $($argument: FromRequest,)*
        {
            #[allow(unused_variables, reason = "a handler without arguments looks at nothing")]
            fn call(
                &self,
                request: &Request,
                error: Error,
            ) -> impl Future<Output = Result<Reply, Error>> + Send {
                let take = || Ok::<_, Error>(($($argument::from_request(request)?,)*));
                #[allow(non_snake_case, reason = "one name for the type and its value")]
                let running = match take() {
                    Ok(($($argument,)*)) => Ok(self(error, $($argument),*)),
                    Err(_) => Err(error),
                };
                async move { running?.await.into_reply() }
            }
        }
    };
}

functions_of!();
functions_of!(A1);
functions_of!(A1 A2);
functions_of!(A1 A2 A3);
functions_of!(A1 A2 A3 A4);
functions_of!(A1 A2 A3 A4 A5);

/// A function in a [`Chain`](super::Chain), with the types of its arguments.
pub(crate) struct BeforeFunction<F, A>(F, PhantomData<fn(A)>);

impl<F, A> BeforeFunction<F, A> {
    pub(crate) fn new(function: F) -> Self {
        Self(function, PhantomData)
    }
}

impl<A: 'static, F: BeforeFn<A>> Filter for BeforeFunction<F, A> {
    async fn before(&self, request: &mut Request) -> Result<(), Error> {
        self.0.call(request).await
    }
}

/// As [`BeforeFunction`].
pub(crate) struct AfterFunction<F, A>(F, PhantomData<fn(A)>);

impl<F, A> AfterFunction<F, A> {
    pub(crate) fn new(function: F) -> Self {
        Self(function, PhantomData)
    }
}

impl<A: 'static, F: AfterFn<A>> Filter for AfterFunction<F, A> {
    async fn after(
        &self,
        request: &mut Request,
        outcome: Result<Reply, Error>,
    ) -> Result<Reply, Error> {
        self.0.call(request, outcome).await
    }
}

/// As [`BeforeFunction`].
pub(crate) struct ErrorFunction<F, A>(F, PhantomData<fn(A)>);

impl<F, A> ErrorFunction<F, A> {
    pub(crate) fn new(function: F) -> Self {
        Self(function, PhantomData)
    }
}

impl<A: 'static, F: ErrorFn<A>> OnError for ErrorFunction<F, A> {
    fn handle<'a>(
        &'a self,
        request: &'a mut Request,
        error: Error,
    ) -> Running<'a, Result<Reply, Error>> {
        Box::pin(async move { self.0.call(request, error).await })
    }
}
