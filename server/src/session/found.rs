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
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::test_runner::TestRunner;
    use serde_json::json;
    use tokio::runtime::Builder;

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

    /// What may happen to four users and three lists of them.
    #[derive(Debug, Clone)]
    enum Op {
        Connect,
        Close(Index),
        Bind(Index, u64),
        Unbind(Index),
        Join(usize, u64),
        Leave(usize, Index),
        Push(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let (list, uid) = (|| 0..3_usize, || 0..4_u64);
        let any = any::<Index>;
        // One list is pushed to seldom.
        let pushed = prop_oneof![5 => Just(0), 3 => Just(1), 1 => Just(2)];
        prop_oneof![
            1 => Just(Op::Connect),
            1 => any().prop_map(Op::Close),
            2 => (any(), uid()).prop_map(|(one, uid)| Op::Bind(one, uid)),
            1 => any().prop_map(Op::Unbind),
            1 => (list(), uid()).prop_map(|(list, uid)| Op::Join(list, uid)),
            1 => (list(), any()).prop_map(|(list, place)| Op::Leave(list, place)),
            2 => pushed.prop_map(Op::Push),
        ]
    }

    /// Users come, go, connect twice and change their names, and join and leave the lists.
    #[test]
    fn users_are_found_by_look_up_and_by_what_is_known() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let running = runtime.block_on(frontend());
        let app = running.app("connector-1").unwrap();
        let config = ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        TestRunner::new(config)
            .run(&vec(op(), 0..200), |ops| {
                everybody_is_found(app, ops);
                Ok(())
            })
            .unwrap();
    }

    fn everybody_is_found(app: &App, ops: Vec<Op>) {
        let sessions = app.sessions();
        let mut open: Vec<Owned> = Vec::new();
        // Uids with the ids of their sessions, in the order of binding.
        let mut bound: Vec<(Uid, u64)> = Vec::new();
        let mut lists: [(Vec<Uid>, Found); 3] = Default::default();
        for op in ops {
            match op {
                Op::Connect => open.push(connect(app)),
                Op::Close(one) if !open.is_empty() => {
                    let session = open.remove(one.index(open.len()));
                    bound.retain(|(_, id)| *id != session.id());
                }
                Op::Bind(one, uid) if !open.is_empty() => {
                    let session = one.get(&open);
                    let before = session.uid();
                    // Refused to one that is bound otherwise.
                    if session.bind(uid).is_ok() && before.is_none() {
                        bound.push((uid.into(), session.id()));
                    }
                }
                Op::Unbind(one) if !open.is_empty() => {
                    let session = one.get(&open);
                    if let Some(uid) = session.uid() {
                        session.unbind(uid).unwrap();
                        bound.retain(|(_, id)| *id != session.id());
                    }
                }
                Op::Close(_) | Op::Bind(..) | Op::Unbind(_) => {}
                Op::Join(list, uid) => lists[list].0.push(Uid::from(uid)),
                Op::Leave(list, place) => {
                    let (uids, found) = &mut lists[list];
                    if !uids.is_empty() {
                        let place = place.index(uids.len());
                        uids.remove(place);
                        found.remove(place);
                    }
                }
                Op::Push(list) => {
                    let (uids, found) = &lists[list];
                    let mut search = Search::new(sessions, Some(found), uids.len());
                    for (place, uid) in uids.iter().enumerate() {
                        let of_uid = bound.iter().filter(|(of, _)| of == uid);
                        let expected: Vec<_> = of_uid.map(|(_, id)| *id).collect();
                        assert_eq!(ids(search.sessions(place, uid)), expected);
                        assert_eq!(ids(&sessions.by_uid(uid.as_str())), expected);
                    }
                }
            }
            let mut visited = Vec::new();
            sessions.for_each_bound(|session| visited.push(session.id()));
            visited.sort_unstable();
            let mut expected: Vec<_> = bound.iter().map(|(_, id)| *id).collect();
            expected.sort_unstable();
            assert_eq!(visited, expected);
        }
    }
}
