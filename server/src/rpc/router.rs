//! How one of the servers of a type is chosen.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use md5::{Digest, Md5};
use pomelo_protocol::Route;
use serde_json::Value;

use super::param::{RouteFn, RouteParam};
use crate::app::App;
use crate::error::RpcError;
use crate::handler::Request;
use crate::lock;
use crate::session::Uid;
use crate::topology::{ServerInfo, pick_crc32};

/// Points of each server on the ring, pomelo-rpc's `replicas`.
const REPLICAS: usize = 100;

/// How a server calls one of many: `routerType` of pomelo.
///
/// All but [`Crc32`](Self::Crc32) take the place of route functions, too, as at pomelo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Router {
    /// The route function of the type, else that of `default`, else the server at
    /// `|crc32(uid)| mod n`: a user stays with a server while the list of servers stays.
    #[default]
    Crc32,
    /// One after another, from the first: `rr`.
    RoundRobin,
    /// One after another, as often as the `weight` of each in servers.json says; those without a
    /// weight never: `wrr`.
    Weighted,
    /// The one with the fewest calls under way, among these the one called least often: `la`.
    LeastActive,
    /// The nearest on a ring of hashes (md5, 100 points for each server), so that few users move
    /// when a server comes or goes: `ch`.
    ConsistentHash {
        /// The number of the argument that is hashed, from 0: `hashFieldIndex`. Without one, or
        /// when there is no such argument, the uid is; without a uid, pomelo's whole message.
        field: Option<usize>,
    },
    /// Any.
    Random,
}

/// The routers' memory of one server.
#[derive(Debug)]
pub(super) struct Routing {
    router: Router,
    types: Mutex<HashMap<Arc<str>, Turn>>,
}

/// What is remembered about a type.
#[derive(Debug, Default)]
struct Turn {
    round: usize,
    weighted: Weighted,
    used: HashMap<Arc<str>, Usage>,
    ring: Ring,
}

/// The chosen server. While it lives the call counts as under way.
#[derive(Debug)]
pub(super) struct Choice {
    server: Arc<str>,
    active: Option<Arc<AtomicUsize>>,
}

impl Choice {
    pub(super) fn of(server: Arc<str>) -> Self {
        Self {
            server,
            active: None,
        }
    }

    pub(super) fn server(&self) -> &Arc<str> {
        &self.server
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        if let Some(active) = &self.active {
            active.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What goes to the chosen server.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    Forward(&'a Request),
    Remote(&'a Route, &'a Bytes),
}

impl Routing {
    pub(super) fn new(router: Router) -> Self {
        Self {
            router,
            types: Mutex::default(),
        }
    }

    pub(super) fn choose(
        &self,
        app: &App,
        server_type: &str,
        param: &RouteParam,
        subject: Subject<'_>,
    ) -> Result<Choice, RpcError> {
        let topology = app.topology_now();
        let servers = topology.by_type(server_type);
        let none = || RpcError::NoServer(server_type.to_owned());
        if servers.is_empty() {
            return Err(none());
        }
        let chosen = match self.router {
            Router::Crc32 => match app.route_of(server_type) {
                Some(route) => return ask(route, param, servers).map(Choice::of).ok_or_else(none),
                None => {
                    let uid = param.uid();
                    pick_crc32(uid.as_ref().map_or("", Uid::as_str), servers)
                }
            },
            Router::RoundRobin => self.with_turn(server_type, |turn| turn.round_robin(servers)),
            Router::Weighted => {
                let chosen = self.with_turn(server_type, |turn| turn.weighted.choose(servers));
                return chosen
                    .map(|server| Choice::of(Arc::clone(&server.id)))
                    .ok_or_else(|| RpcError::NoWeight(server_type.to_owned()));
            }
            Router::LeastActive => {
                let choice = self.with_turn(server_type, |turn| turn.least_active(servers));
                return choice.ok_or_else(none);
            }
            Router::ConsistentHash { field } => {
                let key = subject.hash_key(param, field);
                self.with_turn(server_type, |turn| turn.ring.choose(servers, &key))
            }
            Router::Random => {
                let count = u64::try_from(servers.len()).map_err(|_| none())?;
                // Every `RandomState` is keyed anew: a random number without a crate for it.
                let random = RandomState::new().hash_one(()).checked_rem(count);
                random.and_then(|index| servers.get(usize::try_from(index).ok()?))
            }
        };
        let chosen = chosen.map(|server| Choice::of(Arc::clone(&server.id)));
        chosen.ok_or_else(none)
    }

    fn with_turn<T>(&self, server_type: &str, work: impl FnOnce(&mut Turn) -> T) -> T {
        let mut types = lock(&self.types);
        if let Some(turn) = types.get_mut(server_type) {
            return work(turn);
        }
        work(types.entry(server_type.into()).or_default())
    }
}

/// Asks a route function, which is the application's code and may panic.
fn ask(route: &RouteFn, param: &RouteParam, servers: &[ServerInfo]) -> Option<Arc<str>> {
    catch_unwind(AssertUnwindSafe(|| route(param, servers))).unwrap_or_else(|_| {
        tracing::error!("route function panicked");
        None
    })
}

impl Turn {
    fn round_robin<'a>(&mut self, servers: &'a [ServerInfo]) -> Option<&'a ServerInfo> {
        let index = self.round.checked_rem(servers.len())?;
        self.round = self.round.wrapping_add(1);
        servers.get(index)
    }

    fn least_active(&mut self, servers: &[ServerInfo]) -> Option<Choice> {
        if self.used.len() > servers.len() {
            self.used
                .retain(|id, _| servers.iter().any(|server| server.id == *id));
        }
        // One that comes later does not have to make up for what the others did before.
        let least = self.used.values().map(|usage| usage.total).min();
        for server in servers {
            if !self.used.contains_key(&server.id) {
                let usage = Usage {
                    active: Arc::default(),
                    total: least.unwrap_or(0),
                };
                self.used.insert(Arc::clone(&server.id), usage);
            }
        }
        let server = servers.iter().min_by_key(|server| {
            let usage = self.used.get(&server.id);
            usage.map(|usage| (usage.active.load(Ordering::Relaxed), usage.total))
        })?;
        let usage = self.used.get_mut(&server.id)?;
        usage.total += 1;
        usage.active.fetch_add(1, Ordering::Relaxed);
        Some(Choice {
            server: Arc::clone(&server.id),
            active: Some(Arc::clone(&usage.active)),
        })
    }
}

/// How often a server was called.
#[derive(Debug)]
struct Usage {
    active: Arc<AtomicUsize>,
    total: u64,
}

/// `wrrRoute` of pomelo-rpc 1.0.7 `router.js`: rounds over the servers, each with a lower bar for
/// the weight, from the highest weight down to one.
#[derive(Debug)]
struct Weighted {
    /// Of the server chosen last.
    index: Option<usize>,
    bar: f64,
}

impl Default for Weighted {
    fn default() -> Self {
        Self {
            index: None,
            bar: 0.0,
        }
    }
}

impl Weighted {
    fn choose<'a>(&mut self, servers: &'a [ServerInfo]) -> Option<&'a ServerInfo> {
        let highest = servers.iter().map(weight).fold(0.0, f64::max);
        if highest <= 0.0 {
            return None;
        }
        // Weights that were lowered meanwhile must not cost as many rounds as they were lower by.
        self.bar = self.bar.min(highest);
        loop {
            let index = self.index.map_or(0, |index| index + 1);
            let index = index.checked_rem(servers.len())?;
            self.index = Some(index);
            if index == 0 {
                self.bar -= 1.0;
                if self.bar <= 0.0 {
                    self.bar = highest;
                }
            }
            let server = servers.get(index)?;
            if weight(server) >= self.bar {
                return Some(server);
            }
        }
    }
}

/// The `weight` of servers.json; 0 if there is none.
fn weight(server: &ServerInfo) -> f64 {
    match server.extra.get("weight") {
        Some(Value::Number(number)) => number.as_f64().unwrap_or(0.0),
        // On the command line every member is a text.
        Some(Value::String(text)) => text
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite())
            .unwrap_or(0.0),
        _ => 0.0,
    }
}

/// `util/consistentHash.js` of pomelo-rpc 1.0.7.
#[derive(Debug, Default)]
struct Ring {
    /// What the ring was made of.
    servers: Vec<Arc<str>>,
    /// By hash; what the original compares as hexadecimal text compares alike as bytes.
    points: Vec<([u8; 16], usize)>,
}

impl Ring {
    fn choose<'a>(&mut self, servers: &'a [ServerInfo], key: &str) -> Option<&'a ServerInfo> {
        if !self
            .servers
            .iter()
            .eq(servers.iter().map(|server| &server.id))
        {
            *self = Self::of(servers);
        }
        let hash = md5(key);
        // The point at or before the hash; before the first comes the last.
        let after = self.points.partition_point(|(point, _)| *point <= hash);
        let at = after
            .checked_sub(1)
            .unwrap_or(self.points.len().checked_sub(1)?);
        let (_, server) = self.points.get(at)?;
        servers.get(*server)
    }

    fn of(servers: &[ServerInfo]) -> Self {
        let mut points: Vec<_> = servers
            .iter()
            .enumerate()
            .flat_map(|(index, server)| {
                (0..REPLICAS).map(move |replica| (md5(&format!("{}:{replica}", server.id)), index))
            })
            .collect();
        points.sort_unstable();
        Self {
            servers: servers
                .iter()
                .map(|server| Arc::clone(&server.id))
                .collect(),
            points,
        }
    }
}

fn md5(text: &str) -> [u8; 16] {
    Md5::digest(text).into()
}

impl Subject<'_> {
    fn hash_key(self, param: &RouteParam, field: Option<usize>) -> String {
        let uid = || param.uid().map(|uid| uid.to_string());
        match self {
            // Without a uid, the session itself is what belongs together.
            Self::Forward(request) => uid().unwrap_or_else(|| match request.session() {
                Some(session) => format!("{}:{}", session.frontend_id(), session.id()),
                None => String::new(),
            }),
            Self::Remote(route, arguments) => field
                .and_then(|field| argument(arguments, field))
                .or_else(uid)
                .unwrap_or_else(|| whole_message(route, arguments)),
        }
    }
}

/// An argument as text; `None` for what JavaScript holds for false.
fn argument(arguments: &[u8], field: usize) -> Option<String> {
    let list: Vec<Value> = serde_json::from_slice(arguments).ok()?;
    match list.get(field)? {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        other => Some(other.to_string()),
    }
}

/// `JSON.stringify(msg)` of pomelo-rpc's client.
fn whole_message(route: &str, arguments: &[u8]) -> String {
    let mut parts = route.splitn(3, '.');
    let mut part = || Value::from(parts.next().unwrap_or_default());
    let (server_type, service, method) = (part(), part(), part());
    let arguments = String::from_utf8_lossy(arguments);
    // What is no list is the one argument of the call.
    let arguments = match &*arguments {
        "null" => Cow::Borrowed("[]"),
        list if list.starts_with('[') => arguments,
        one => Cow::Owned(format!("[{one}]")),
    };
    format!(
        r#"{{"namespace":"user","serverType":{server_type},"service":{service},"method":{method},"args":{arguments}}}"#
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn golden(part: &str) -> Vec<Value> {
        let text = include_str!("../../tests/golden/routers.json");
        let mut golden: Value = serde_json::from_str(text).unwrap();
        let Value::Array(cases) = golden[part].take() else {
            panic!("{part} is a list");
        };
        assert!(!cases.is_empty());
        cases
    }

    fn named(index: usize) -> ServerInfo {
        ServerInfo::new(&format!("chat-server-{}", index + 1), "chat")
    }

    fn servers_of(case: &Value) -> Vec<ServerInfo> {
        let count = usize::try_from(case["servers"].as_u64().unwrap()).unwrap();
        (0..count).map(named).collect()
    }

    #[test]
    fn round_robin_is_the_originals() {
        for case in golden("roundRobin") {
            let servers = servers_of(&case);
            let mut turn = Turn::default();
            for id in case["chosen"].as_array().unwrap() {
                let chosen = turn.round_robin(&servers).unwrap();
                assert_eq!(chosen.id.as_ref(), id, "{}", servers.len());
            }
        }
        assert!(Turn::default().round_robin(&[]).is_none());
    }

    #[test]
    fn weighted_is_the_originals() {
        for case in golden("weighted") {
            let weights = case["weights"].as_array().unwrap();
            for as_text in [false, true] {
                let servers: Vec<_> = weights
                    .iter()
                    .enumerate()
                    .map(|(index, weight)| {
                        let mut server = named(index);
                        let weight = match (as_text, weight) {
                            (true, Value::Number(number)) => number.to_string().into(),
                            _ => weight.clone(),
                        };
                        server.extra.insert("weight".to_owned(), weight);
                        server
                    })
                    .collect();
                let mut weighted = Weighted::default();
                for id in case["chosen"].as_array().unwrap() {
                    let chosen = weighted.choose(&servers).unwrap();
                    assert_eq!(chosen.id.as_ref(), id, "{weights:?}");
                }
            }
        }
        assert!(Weighted::default().choose(&[named(0), named(1)]).is_none());
    }

    #[test]
    fn weighted_survives_a_list_that_changes() {
        let heavy = |index, weight: u32| {
            let mut server = named(index);
            server.extra.insert("weight".to_owned(), weight.into());
            server
        };
        let mut weighted = Weighted::default();
        assert_eq!(
            weighted.choose(&[heavy(0, u32::MAX)]).unwrap().id,
            named(0).id
        );
        let two = [heavy(1, 1), heavy(2, 1)];
        let mut chosen: Vec<_> = (0..2)
            .map(|_| weighted.choose(&two).unwrap().id.clone())
            .collect();
        chosen.sort();
        assert_eq!(chosen, [named(1).id, named(2).id]);
    }

    #[test]
    fn the_ring_is_the_originals() {
        for case in golden("consistentHash") {
            let servers = servers_of(&case);
            let mut ring = Ring::default();
            for pair in case["chosen"].as_array().unwrap() {
                let key = pair[0].as_str().unwrap();
                let chosen = ring.choose(&servers, key).unwrap();
                assert_eq!(chosen.id.as_ref(), &pair[1], "{key:?} of {}", servers.len());
            }
        }
        assert!(Ring::default().choose(&[], "uid").is_none());
    }

    #[test]
    fn without_a_uid_the_whole_message_is_hashed_as_the_original_writes_it() {
        let route = Route::new("chat.chatRemote.add").unwrap();
        let servers: Vec<_> = (0..5).map(named).collect();
        for case in golden("whole") {
            let arguments = Bytes::from(case["args"].to_string());
            let subject = Subject::Remote(&route, &arguments);
            let key = subject.hash_key(&RouteParam::default(), None);
            let chosen = Ring::default().choose(&servers, &key).map(|s| s.id.clone());
            assert_eq!(chosen.unwrap().as_ref(), &case["chosen"], "{key}");
        }
    }

    #[test]
    fn what_is_hashed() {
        let route = Route::new("chat.chatRemote.add").unwrap();
        let hashed = |arguments: Value, param: &RouteParam, field| {
            let arguments = Bytes::from(arguments.to_string());
            Subject::Remote(&route, &arguments).hash_key(param, field)
        };
        let uid = RouteParam::from("uid");
        let arguments = json!(["first", 7, 0, {"a": 1}]);
        assert_eq!(hashed(arguments.clone(), &uid, None), "uid");
        assert_eq!(hashed(arguments.clone(), &uid, Some(0)), "first");
        assert_eq!(hashed(arguments.clone(), &uid, Some(1)), "7");
        assert_eq!(hashed(arguments.clone(), &uid, Some(2)), "uid");
        assert_eq!(hashed(arguments.clone(), &uid, Some(3)), r#"{"a":1}"#);
        assert_eq!(hashed(arguments, &uid, Some(9)), "uid");
        for (arguments, list) in [(json!(null), "[]"), (json!(5), "[5]")] {
            let message = hashed(arguments, &RouteParam::default(), Some(0));
            assert!(
                message.ends_with(&format!(r#","args":{list}}}"#)),
                "{message}"
            );
        }
    }

    #[test]
    fn least_active_counts_what_is_under_way() {
        let servers: Vec<_> = (0..3).map(named).collect();
        let mut turn = Turn::default();
        let mut held: Vec<_> = (0..3)
            .map(|_| turn.least_active(&servers).unwrap())
            .collect();
        let ids: Vec<_> = held.iter().map(|choice| choice.server().clone()).collect();
        assert_eq!(ids, [named(0).id, named(1).id, named(2).id]);
        // The one that is done is the least active, however often.
        for _ in 0..5 {
            held.remove(1);
            let choice = turn.least_active(&servers).unwrap();
            assert_eq!(*choice.server(), named(1).id);
            held.insert(1, choice);
        }
        drop(held);
        // With nothing under way all are used alike, as the original does over time; what was
        // used more before waits.
        let next: Vec<_> = (0..2)
            .map(|_| turn.least_active(&servers).unwrap().server().clone())
            .collect();
        assert_eq!(next, [named(0).id, named(2).id]);
    }

    #[test]
    fn least_active_does_not_drown_a_server_that_comes_later() {
        let mut turn = Turn::default();
        let one = [named(0)];
        for _ in 0..100 {
            turn.least_active(&one).unwrap();
        }
        let two = [named(0), named(1)];
        let chosen: Vec<_> = (0..4)
            .map(|_| turn.least_active(&two).unwrap().server().clone())
            .collect();
        assert_eq!(chosen, [named(0).id, named(1).id, named(0).id, named(1).id]);
        turn.least_active(&[named(2)]).unwrap();
        assert_eq!(turn.used.len(), 1);
    }
}
