//! From a client's message to the future that answers it.

use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "crypto")]
use pomelo_protocol::crypto::PublicKey;
use pomelo_protocol::handshake::{CODE_OLD_CLIENT, CODE_REFUSED};
use pomelo_protocol::{Body, HandshakeRequest, InflateError, RequestId, Route, ServerEvent};

#[cfg(feature = "crypto")]
use super::coder;
use super::{Done, Driver, Turn};
use crate::connector::Refused;
use crate::dispatch::{self, Call};
use crate::handler::BoxFuture;
use crate::metrics::Cut;

impl Driver {
    /// What the application's own decoder makes of a message.
    pub(super) fn decode(&mut self, message: Bytes) -> Option<ServerEvent> {
        let decode = self.front.hybrid.decode.as_ref()?;
        let message = decode(message, self.session.as_ref()?)?;
        self.machine.decode(&message)
    }

    pub(super) fn ignored(&mut self, why: &str, turn: &mut Turn<'_, '_>) {
        tracing::trace!(peer = ?self.peer(), why, "ignored");
        turn.traffic.ignored += 1;
        self.charge(1, turn);
    }

    /// Begins a request or notify at once; one that waits is kept.
    pub(super) fn call(
        &mut self,
        id: Option<RequestId>,
        route: Route,
        mut body: Body,
        turn: &mut Turn<'_, '_>,
    ) {
        self.charge(1, turn);
        if !self.inflate(&mut body, turn) {
            return;
        }
        if !self.front.hybrid.forward_messages
            && route.split('.').next() != Some(self.app().server_type())
        {
            turn.traffic.ignored += 1;
            return;
        }
        let Some(session) = &self.session else { return };
        #[cfg(feature = "crypto")]
        let body = if self.front.hybrid.use_crypto {
            match self
                .key
                .as_deref()
                .and_then(|key| coder::verified(key, &body))
            {
                Some(body) => body,
                // Without an answer, as at pomelo.
                None => {
                    turn.traffic.ignored += 1;
                    return;
                }
            }
        } else {
            body
        };
        match id {
            Some(_) => turn.traffic.requests += 1,
            None => turn.traffic.notifies += 1,
        }
        let call = Call {
            app: self.counted.app(),
            session,
            id,
            route,
            body,
        };
        let rest = dispatch::begin(&mut turn.batch, call);
        if let Some(rest) = rest {
            self.running.push(rest);
        }
    }

    /// Once, and not for everybody who reads the body; what comes out counts as if it had been
    /// sent. `false`: it is too much, and the connection ends.
    fn inflate(&mut self, body: &mut Body, turn: &mut Turn<'_, '_>) -> bool {
        let mut made = 0;
        let inflated = body.inflate(&mut made);
        if made > 0 {
            self.charge_bytes(made as u64, turn);
        }
        match inflated {
            Err(InflateError::TooLarge { .. } | InflateError::TooDense { .. }) => {
                self.cut(Cut::Inflated);
                false
            }
            // One that is damaged costs an error answer, as any that cannot be read.
            _ => true,
        }
    }

    /// In the order of pomelo 2.2.7 `connectors/commands/handshake.js`.
    pub(super) fn shake_hands(&mut self, request: HandshakeRequest) {
        if let Some(early) = &mut self.early {
            early.tables = Arc::clone(early.offered.to_client(request.client_type()));
        }
        let hybrid = &self.front.hybrid;
        if let Some(check) = &hybrid.check_client {
            let kind = request.client_type().unwrap_or_default();
            let version = request.client_version().unwrap_or_default();
            if !check(kind, version) {
                return self.machine.reject(self.front.now(), CODE_OLD_CLIENT);
            }
        }
        #[cfg(feature = "crypto")]
        if hybrid.use_crypto {
            let Some(rsa) = request.sys("rsa") else {
                return self.machine.reject(self.front.now(), CODE_REFUSED);
            };
            // A key that cannot be used is no key: every message will be dropped.
            self.key = PublicKey::from_handshake(rsa).map(Box::new);
        }
        match &hybrid.handshake {
            None => self.machine.accept(self.front.now(), None),
            Some(answer) => {
                let Some(early) = &self.early else { return };
                let answer = answer(request, early.peer);
                let call = Box::pin(async { Done::Handshake(answer.await) });
                self.begin(call);
            }
        }
    }

    /// A call that is polled before the turn ends.
    pub(super) fn begin(&mut self, call: BoxFuture<Done>) {
        self.running.push(call);
        self.unpolled = true;
    }

    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Call => {}
            Done::Handshake(Ok(user)) => self.machine.accept(self.front.now(), user.as_ref()),
            Done::Handshake(Err(Refused)) => self.machine.reject(self.front.now(), CODE_REFUSED),
        }
    }
}
