//! Conditions, then steps that are tried again as a whole: `app.transaction` of pomelo.

use std::fmt;
use std::pin::Pin;

use super::lifecycle::HookOutcome;
use crate::error::Error;

type Step<'a> = (
    String,
    Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> + Send + 'a>,
);

/// Conditions that must hold, then handlers that must all succeed.
///
/// Conditions run one after the other, and the first failure ends everything. Then the handlers
/// run one after the other; after a failure they are tried again from the first one, as often as
/// [`tries`](Self::tries) says. Nothing is undone: handlers must bear being run again.
///
/// ```
/// # use pomelo_server::{Error, Transaction, TransactionError};
/// # async fn f() -> Result<(), TransactionError> {
/// Transaction::new("buy")
///     .condition("has money", async || Ok::<_, Error>(()))
///     .handler("pay", async || Ok::<_, Error>(()))
///     .handler("hand over", async || ())
///     .tries(3)
///     .run()
///     .await
/// # }
/// ```
#[must_use = "a transaction does nothing before `run`"]
pub struct Transaction<'a> {
    name: String,
    conditions: Vec<Step<'a>>,
    handlers: Vec<Step<'a>>,
    tries: u32,
}

/// Which part of a transaction failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// A condition does not hold; no handler has run.
    #[error("transaction {transaction}: condition {condition:?}: {problem}")]
    Condition {
        /// The transaction's name.
        transaction: String,
        /// The condition's name.
        condition: String,
        /// What it says.
        problem: Error,
    },
    /// A handler failed in the last try; those before it have run.
    #[error("transaction {transaction}: handler {handler:?} in try {tries}: {problem}")]
    Handler {
        /// The transaction's name.
        transaction: String,
        /// The handler's name.
        handler: String,
        /// How often it was tried.
        tries: u32,
        /// What it says.
        problem: Error,
    },
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("name", &self.name)
            .field("conditions", &self.conditions.len())
            .field("handlers", &self.handlers.len())
            .field("tries", &self.tries)
            .finish()
    }
}

impl<'a> Transaction<'a> {
    /// Begins a transaction; the name is for errors and the log.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            conditions: Vec::new(),
            handlers: Vec::new(),
            tries: 1,
        }
    }

    /// Adds a condition.
    pub fn condition<F, R>(mut self, name: &str, condition: F) -> Self
    where
        F: FnMut() -> R + Send + 'a,
        R: Future<Output: HookOutcome> + Send + 'a,
    {
        self.conditions.push(step(name, condition));
        self
    }

    /// Adds a handler.
    pub fn handler<F, R>(mut self, name: &str, handler: F) -> Self
    where
        F: FnMut() -> R + Send + 'a,
        R: Future<Output: HookOutcome> + Send + 'a,
    {
        self.handlers.push(step(name, handler));
        self
    }

    /// How often the handlers are tried, once at least. Default: once, as at pomelo.
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// [`TransactionError`]: which condition, or which handler of the last try, and why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves done what is done.
    pub async fn run(mut self) -> Result<(), TransactionError> {
        for (condition, check) in &mut self.conditions {
            if let Err(problem) = check().await {
                return Err(TransactionError::Condition {
                    transaction: self.name,
                    condition: std::mem::take(condition),
                    problem,
                });
            }
        }
        let mut done = 1;
        while let Err((handler, problem)) = run_all(&mut self.handlers).await {
            let transaction = &self.name;
            tracing::warn!(transaction, handler, %problem, "try {done} of {} failed", self.tries);
            if done == self.tries {
                return Err(TransactionError::Handler {
                    transaction: self.name,
                    handler,
                    tries: done,
                    problem,
                });
            }
            done += 1;
        }
        Ok(())
    }
}

async fn run_all(handlers: &mut [Step<'_>]) -> Result<(), (String, Error)> {
    for (name, handle) in handlers {
        handle().await.map_err(|problem| (name.clone(), problem))?;
    }
    Ok(())
}

fn step<'a, F, R>(name: &str, mut work: F) -> Step<'a>
where
    F: FnMut() -> R + Send + 'a,
    R: Future<Output: HookOutcome> + Send + 'a,
{
    let work = move || {
        let work = work();
        Box::pin(async move { work.await.outcome() })
            as Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>
    };
    (name.to_owned(), Box::new(work))
}
