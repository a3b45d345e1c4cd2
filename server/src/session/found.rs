//! Sessions that were found under uids before, for pushes to the same users again and again.

use std::mem;
use std::slice;
use std::sync::Mutex;

use super::{Session, SessionService, Uid};
use crate::lock;

/// The sessions that a list of uids led to last time, at the same places as the uids: a push that
/// finds them here looks nothing up.
///
/// Only a session that its uid leads to alone is kept, and it is asked whether that still holds.
/// One that has ended stays until the next push, or until its user leaves the list.
#[derive(Debug, Default)]
pub(crate) struct Found(Mutex<Vec<Option<Session>>>);

impl Found {
    /// The uid at this place leaves the list, and those behind it move up.
    pub(crate) fn remove(&mut self, place: usize) {
        let known = self.0.get_mut().unwrap_or_else(|error| error.into_inner());
        if place < known.len() {
            drop(known.remove(place));
        }
    }
}

/// What finds the sessions of a list of uids.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    sessions: &'a SessionService,
    /// What is known, taken out of `found` meanwhile: no lock is held while somebody pushes, and a
    /// second push at the same time looks everybody up.
    known: Vec<Option<Session>>,
    found: Option<&'a Found>,
    looked_up: Vec<Session>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(sessions: &'a SessionService, found: Option<&'a Found>, uids: usize) -> Self {
        let known = found.map(|found| {
            let mut known = mem::take(&mut *lock(&found.0));
            known.resize(uids, None);
            known
        });
        Self {
            sessions,
            known: known.unwrap_or_default(),
            found,
            looked_up: Vec::new(),
        }
    }

    /// The sessions that are bound to the uid at this place of the list, in the order of their
    /// binding.
    pub(crate) fn sessions(&mut self, place: usize, uid: &Uid) -> &[Session] {
        let known = self.known.get_mut(place);
        let is_known = known
            .as_ref()
            .is_some_and(|known| known.as_ref().is_some_and(|known| !known.is_doubted()));
        if is_known {
            return known
                .and_then(|known| known.as_ref())
                .map(slice::from_ref)
                .unwrap_or_default();
        }
        self.looked_up.clear();
        self.sessions
            .append_by_uid(uid.as_str(), &mut self.looked_up);
        if let Some(known) = known {
            *known = match &*self.looked_up {
                [one] if !one.is_doubted() => Some(one.clone()),
                _ => None,
            };
        }
        &self.looked_up
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        if let Some(found) = self.found {
            *lock(&found.0) = mem::take(&mut self.known);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::app::{App, Running};
    use crate::config::Config;
    use crate::mailbox::Outgoing;
    use crate::session::Owned;

    async fn frontend() -> Running {
        let servers = json!({"test": {"connector": [
            {"id": "connector-1", "host": "127.0.0.1", "port": 1, "clientPort": 0, "frontend": true}]}});
        App::builder()
            .env("test")
            .config(Config::from_servers(&servers, "test").unwrap())
            .start()
            .await
            .unwrap()
    }

    fn connect(app: &App) -> Owned {
        let tables = app.front().unwrap().offered().settings().clone();
        let peer = ([127, 0, 0, 1], 1).into();
        app.sessions()
            .create(peer, tables, Outgoing::default(), None)
    }

    fn ids(sessions: &[Session]) -> Vec<u64> {
        sessions.iter().map(Session::id).collect()
    }

    #[tokio::test]
    async fn who_was_found_is_known_until_that_is_in_doubt() {
        let running = frontend().await;
        let app = running.app("connector-1").unwrap();
        let (found, uid) = (Found::default(), Uid::from("u"));
        let push = || ids(Search::new(app.sessions(), Some(&found), 1).sessions(0, &uid));
        let knows = || lock(&found.0).iter().flatten().count() == 1;
        assert!(push().is_empty() && !knows());
        let first = connect(app);
        first.bind("u").unwrap();
        assert!(push() == [first.id()] && knows());
        first.unbind("u").unwrap();
        assert!(push().is_empty() && !knows());
        let second = connect(app);
        second.bind("u").unwrap();
        assert!(push() == [second.id()] && knows());
        // Its client connects again, and the server hears of the first connection's end later.
        let third = connect(app);
        third.bind("u").unwrap();
        assert!(push() == [second.id(), third.id()] && !knows());
        drop(second);
        assert!(push() == [third.id()] && knows());
        third.kick(None);
        assert!(push().is_empty() && !knows());
    }

    /// Users come, go, connect twice and change their names, and join and leave the list, in every
    /// order that 200 seeds lead to; three lists, of which one is pushed to seldom.
    #[tokio::test]
    async fn what_is_known_is_what_a_look_up_answers() {
        let running = frontend().await;
        let app = running.app("connector-1").unwrap();
        let sessions = app.sessions();
        for seed in 1..=200_u64 {
            let mut state = seed;
            let mut random = |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state % 1_000).unwrap() % below
            };
            let mut open: Vec<Owned> = Vec::new();
            let mut lists: [(Vec<Uid>, Found); 3] = Default::default();
            for _ in 0..100 {
                let name = Uid::from(random(4) as u64);
                let some = random(open.len().max(1));
                let list = random(3);
                match random(8) {
                    0 => open.push(connect(app)),
                    1 if !open.is_empty() => drop(open.remove(some)),
                    2 | 3 => {
                        let _ = open.get(some).map(|session| session.bind(name));
                    }
                    4 => {
                        let bound = open.get(some).and_then(|session| session.uid());
                        let _ = bound.map(|uid| open[some].unbind(uid));
                    }
                    5 => lists[list].0.push(name),
                    6 if !lists[list].0.is_empty() => {
                        let (uids, found) = &mut lists[list];
                        let place = random(uids.len());
                        uids.remove(place);
                        found.remove(place);
                    }
                    _ => {
                        let (uids, found) = &lists[list.min(random(3))];
                        let mut search = Search::new(sessions, Some(found), uids.len());
                        for (place, uid) in uids.iter().enumerate() {
                            let expected = ids(&sessions.by_uid(uid.as_str()));
                            assert_eq!(ids(search.sessions(place, uid)), expected, "seed {seed}");
                        }
                    }
                }
            }
        }
    }
}
