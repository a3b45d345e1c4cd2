//! What is done when a server cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use crate::error::RpcError;
use crate::topology::ServerInfo;

/// What is done with a call whose server is known but cannot be reached: `failMode` of pomelo.
///
/// Only calls that did not arrive are repeated. One that got no answer in time may have been
/// carried out, and one that the remote refused has been. The time limit is that of the call as a
/// whole, whatever is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FailMode {
    /// The caller gets the error: `failfast`.
    #[default]
    Fast,
    /// The other servers of the type are tried, each once, in their order: `failover`. Calls that
    /// name their server stay with it.
    Over,
    /// The same server is tried again: `failsafe`.
    Safe {
        /// How often; pomelo 3 times.
        retries: u32,
        /// How long to wait before the first time, twice as long before the second, and so on;
        /// pomelo 5 s.
        delay: Duration,
    },
}

/// The attempts of one call so far.
pub(super) struct Attempts {
    mode: FailMode,
    tried: Vec<Arc<str>>,
    retries: u32,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    GiveUp,
    /// Another server.
    Try(Arc<str>),
    /// The same server after a while.
    Again(Duration),
}

impl Attempts {
    pub(super) fn new(mode: FailMode) -> Self {
        Self {
            mode,
            tried: Vec::new(),
            retries: 0,
        }
    }

    /// After `server` failed; `others` are those that may stand in for it.
    pub(super) fn after(
        &mut self,
        error: &RpcError,
        server: &Arc<str>,
        others: &[ServerInfo],
    ) -> Next {
        if !matches!(error, RpcError::NotHere(_)) {
            return Next::GiveUp;
        }
        match self.mode {
            FailMode::Fast => Next::GiveUp,
            FailMode::Over => {
                self.tried.push(Arc::clone(server));
                let next = others.iter().find(|other| !self.tried.contains(&other.id));
                next.map_or(Next::GiveUp, |next| Next::Try(Arc::clone(&next.id)))
            }
            FailMode::Safe { retries, delay } => {
                if self.retries >= retries {
                    return Next::GiveUp;
                }
                self.retries += 1;
                Next::Again(delay.saturating_mul(self.retries))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> RpcError {
        RpcError::NotHere("chat-1".to_owned())
    }

    #[test]
    fn over_tries_each_server_once() {
        let servers = ["chat-1", "chat-2", "chat-3"].map(|id| ServerInfo::new(id, "chat"));
        let mut attempts = Attempts::new(FailMode::Over);
        let next = attempts.after(&away(), &"chat-2".into(), &servers);
        assert_eq!(next, Next::Try("chat-1".into()));
        let next = attempts.after(&away(), &"chat-1".into(), &servers);
        assert_eq!(next, Next::Try("chat-3".into()));
        let next = attempts.after(&away(), &"chat-3".into(), &servers);
        assert_eq!(next, Next::GiveUp);
        let mut named = Attempts::new(FailMode::Over);
        assert_eq!(named.after(&away(), &"chat-2".into(), &[]), Next::GiveUp);
    }

    #[test]
    fn safe_waits_longer_each_time() {
        let delay = Duration::from_secs(5);
        let mut attempts = Attempts::new(FailMode::Safe { retries: 3, delay });
        let server: Arc<str> = "chat-1".into();
        for times in 1..=3 {
            let next = attempts.after(&away(), &server, &[]);
            assert_eq!(next, Next::Again(delay * times));
        }
        assert_eq!(attempts.after(&away(), &server, &[]), Next::GiveUp);
    }

    #[test]
    fn what_may_have_arrived_is_not_repeated() {
        let delay = Duration::ZERO;
        for mode in [FailMode::Over, FailMode::Safe { retries: 9, delay }] {
            let mut attempts = Attempts::new(mode);
            let servers = [ServerInfo::new("chat-2", "chat")];
            for error in [
                RpcError::Timeout,
                RpcError::Remote(String::new()),
                RpcError::UnknownRemote(String::new()),
                RpcError::UnknownServer(String::new()),
            ] {
                let next = attempts.after(&error, &"chat-1".into(), &servers);
                assert_eq!(next, Next::GiveUp, "{error:?}");
            }
        }
    }
}
