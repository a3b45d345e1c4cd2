//! What servers are chosen by.

use std::sync::Arc;

use pomelo_protocol::Route;
use serde::de::DeserializeOwned;

use crate::session::{BackendSession, FrontendSession, RequestSession, Uid};
use crate::topology::ServerInfo;

/// What a route function decides by: a session, or any text the caller gives.
#[derive(Debug, Clone, Default)]
pub struct RouteParam {
    session: Option<RequestSession>,
    key: Option<Uid>,
    route: Option<Route>,
}

/// Chooses one of the servers of a type by its id.
pub(crate) type RouteFn = Arc<dyn Fn(&RouteParam, &[ServerInfo]) -> Option<Arc<str>> + Send + Sync>;

impl RouteParam {
    /// The session's uid, or the text that was given.
    pub fn uid(&self) -> Option<Uid> {
        match &self.session {
            Some(session) => session.uid(),
            None => self.key.clone(),
        }
    }

    /// A setting of the session.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.session.as_ref()?.get(key)
    }

    /// The session, if one was given; that of a client's request is.
    pub fn session(&self) -> Option<&RequestSession> {
        self.session.as_ref()
    }

    /// What is on its way: the route of a client's request or of a remote.
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    pub(crate) fn with_route(mut self, route: &Route) -> Self {
        self.route = Some(route.clone());
        self
    }
}

impl From<&RequestSession> for RouteParam {
    fn from(session: &RequestSession) -> Self {
        Self {
            session: Some(session.clone()),
            ..Self::default()
        }
    }
}

impl From<&FrontendSession> for RouteParam {
    fn from(session: &FrontendSession) -> Self {
        Self::from(&session.0)
    }
}

impl From<&BackendSession> for RouteParam {
    fn from(session: &BackendSession) -> Self {
        Self::from(&session.0)
    }
}

impl From<&str> for RouteParam {
    fn from(key: &str) -> Self {
        Self::from(Uid::from(key))
    }
}

impl From<&String> for RouteParam {
    fn from(key: &String) -> Self {
        Self::from(Uid::from(key))
    }
}

impl From<Uid> for RouteParam {
    fn from(uid: Uid) -> Self {
        Self {
            key: Some(uid),
            ..Self::default()
        }
    }
}

impl From<&Uid> for RouteParam {
    fn from(uid: &Uid) -> Self {
        Self::from(uid.clone())
    }
}
