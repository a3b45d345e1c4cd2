//! Random sequences of operations, after which nothing may be left over: sockets, sessions,
//! bindings and channels agree.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pomelo_server::{
    App, Buffer, ChannelConfig, Error, FrontendSession, Msg, PushSchedulers, Running, State,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::Notify;

use crate::peer::{Tcp, request};
use crate::two_frontends::{app, two_frontends};

const FRONTENDS: [&str; 2] = ["connector-1", "connector-2"];
const UIDS: [&str; 4] = ["a", "b", "c", "d"];

/// What happens next; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
enum Op {
    Connect(usize),
    /// Asks the server to bind, joins a channel there, and does not wait.
    Join {
        client: usize,
        uid: usize,
    },
    /// The same, and closes the socket while it happens.
    JoinAndClose {
        client: usize,
        uid: usize,
    },
    /// A request whose handler never ends by itself.
    Hang(usize),
    Close(usize),
    Bind {
        client: usize,
        uid: usize,
    },
    Unbind {
        client: usize,
        uid: usize,
    },
    Set(usize),
    KickUid(usize),
    KickSession(usize),
    Add {
        channel: usize,
        uid: usize,
        frontend: usize,
    },
    Leave {
        channel: usize,
        uid: usize,
        frontend: usize,
    },
    Push(usize),
    Broadcast,
    Destroy(usize),
    /// Lets the server work.
    Pause,
}

fn op() -> impl Strategy<Value = Op> {
    let n = || 0..1000_usize;
    prop_oneof![
        4 => n().prop_map(Op::Connect),
        3 => (n(), n()).prop_map(|(client, uid)| Op::Join { client, uid }),
        3 => (n(), n()).prop_map(|(client, uid)| Op::JoinAndClose { client, uid }),
        1 => n().prop_map(Op::Hang),
        1 => n().prop_map(Op::Close),
        3 => (n(), n()).prop_map(|(client, uid)| Op::Bind { client, uid }),
        2 => (n(), n()).prop_map(|(client, uid)| Op::Unbind { client, uid }),
        1 => n().prop_map(Op::Set),
        1 => n().prop_map(Op::KickUid),
        1 => n().prop_map(Op::KickSession),
        3 => (n(), n(), n()).prop_map(|(channel, uid, frontend)| Op::Add { channel, uid, frontend }),
        3 => (n(), n(), n()).prop_map(|(channel, uid, frontend)| Op::Leave { channel, uid, frontend }),
        2 => n().prop_map(Op::Push),
        1 => Just(Op::Broadcast),
        1 => n().prop_map(Op::Destroy),
        2 => Just(Op::Pause),
    ]
}

/// Where [`join`] waits, and how many do.
#[derive(Default)]
struct Gate {
    opens: Notify,
    joining: AtomicUsize,
}

struct Joining(Arc<Gate>);

impl Drop for Joining {
    fn drop(&mut self) {
        self.0.joining.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Joins the lobby for as long as the session lasts. Waits in the middle for the next
/// [`Op::Pause`]: the client may be gone by then.
async fn join(
    app: App,
    session: FrontendSession,
    State(gate): State<Gate>,
    Msg(uid): Msg<String>,
) -> Result<(), Error> {
    gate.joining.fetch_add(1, Ordering::SeqCst);
    let joining = Joining(gate);
    let gate = &joining.0.opens;
    session.set("uid", &uid);
    session.push("uid").await?;
    gate.notified().await;
    session.bind(&uid).await?;
    gate.notified().await;
    let member = format!("{uid}#{}", session.id());
    let lobby = app.channels().create("lobby");
    lobby.add(&member, app.server_id());
    let left = (lobby.clone(), member.clone());
    let listens = session.on_closed(async move |closed| {
        tokio::task::yield_now().await;
        let (lobby, member) = left;
        lobby.leave(member, &closed.frontend_id);
    });
    if !listens {
        lobby.leave(member, app.server_id());
    }
    Ok(())
}

async fn hang(session: FrontendSession) {
    // Ends when the session does, which would wait for it otherwise.
    let (closed, closing) = tokio::sync::oneshot::channel();
    if session.on_closed(async move |_| closed.send(()).unwrap_or_default()) {
        drop(closing.await);
    }
}

struct World {
    running: Running,
    clients: Vec<(usize, Tcp)>,
    /// What the channels of chat-1 are to hold, duplicates and all.
    model: HashMap<usize, HashMap<(usize, usize), usize>>,
}

impl World {
    async fn start() -> Self {
        let running = two_frontends()
            .state(Gate::default())
            .handler("connector.p.join", join)
            .handler("connector.p.hang", hang)
            .configure("all", "all", |server| {
                let buffered = server.info().id.ends_with('2');
                let server = server.channels(ChannelConfig::new().duplicates(true));
                if buffered {
                    server.push_schedulers(PushSchedulers::one(Buffer::new()))
                } else {
                    server
                }
            })
            .start()
            .await
            .unwrap();
        Self {
            running,
            clients: Vec::new(),
            model: HashMap::new(),
        }
    }

    async fn run(&mut self, op: &Op) {
        match *op {
            Op::Connect(frontend) => {
                let frontend = frontend % FRONTENDS.len();
                let port = self.running.addresses()[FRONTENDS[frontend]].port();
                let peer = Tcp::ready(SocketAddr::from(([127, 0, 0, 1], port))).await;
                self.clients.push((frontend, peer));
            }
            Op::Join { client, uid } => self.join(client, uid).await,
            Op::JoinAndClose { client, uid } => {
                self.join(client, uid).await;
                self.close(client);
            }
            Op::Hang(client) => {
                if let Some(client) = self.client(client) {
                    let request = request(9, "connector.p.hang", "{}");
                    client.try_send(&request).await;
                }
            }
            Op::Close(client) => self.close(client),
            Op::Bind { client, uid } => {
                if let Some(session) = self.session(client) {
                    let _ = session.bind(UIDS[uid % UIDS.len()]);
                }
            }
            Op::Unbind { client, uid } => {
                if let Some(session) = self.session(client) {
                    let _ = session.unbind(UIDS[uid % UIDS.len()]);
                }
            }
            Op::Set(client) => {
                if let Some(session) = self.session(client) {
                    session.set("n", client);
                }
            }
            Op::KickUid(uid) => {
                for frontend in FRONTENDS {
                    let backend = app(&self.running, "chat-1").backend_sessions();
                    let uid = UIDS[uid % UIDS.len()];
                    backend
                        .kick_by_uid(frontend, uid, Some("kick"))
                        .await
                        .unwrap();
                }
            }
            Op::KickSession(client) => {
                if let Some(session) = self.session(client) {
                    session.kick(None);
                }
            }
            Op::Add {
                channel,
                uid,
                frontend,
            } => {
                let (channel, key) = key(channel, uid, frontend);
                self.channel(channel).add(UIDS[key.0], FRONTENDS[key.1]);
                *self
                    .model
                    .entry(channel)
                    .or_default()
                    .entry(key)
                    .or_default() += 1;
            }
            Op::Leave {
                channel,
                uid,
                frontend,
            } => {
                let (channel, key) = key(channel, uid, frontend);
                let left = self.channel(channel).leave(UIDS[key.0], FRONTENDS[key.1]);
                let members = self.model.entry(channel).or_default();
                let count = members.entry(key).or_default();
                assert_eq!(left, *count > 0);
                *count = count.saturating_sub(1);
            }
            Op::Push(channel) => {
                let channel = self.channel(channel % 3);
                let members = channel.len();
                let report = channel.push_message("onX", &1).await.unwrap();
                assert!(report.unreachable.is_empty());
                assert!(report.delivered + report.failed.len() >= members);
            }
            Op::Broadcast => {
                let channels = app(&self.running, "chat-1").channels();
                channels.broadcast("connector", "onAll", &1).await.unwrap();
            }
            Op::Destroy(channel) => {
                self.channel(channel % 3).destroy();
                self.model.remove(&(channel % 3));
            }
            Op::Pause => {
                self.gate().opens.notify_waiters();
                tokio::task::yield_now().await;
            }
        }
    }

    /// Which of the clients still have a connection: those that get an answer.
    async fn alive(&mut self) -> usize {
        let mut alive = Vec::new();
        for (frontend, mut peer) in std::mem::take(&mut self.clients) {
            if peer.echoes().await {
                alive.push((frontend, peer));
            }
        }
        self.clients = alive;
        self.clients.len()
    }

    async fn check(&mut self) {
        let alive = self.alive().await;
        let views = FRONTENDS.map(|id| app(&self.running, id).clone());
        // Ends are noticed by the connections' own tasks.
        let quiet = async {
            let count = |of: fn(&App) -> usize| views.iter().map(of).sum::<usize>();
            while count(|view| view.sessions().connection_count()) != alive
                || count(|view| view.sessions().count()) != alive
                || self.gate().joining.load(Ordering::SeqCst) > 0
            {
                self.gate().opens.notify_waiters();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), quiet)
            .await
            .expect("sockets and sessions never agree");
        for view in &views {
            let sessions = view.sessions();
            let all = sessions.all();
            let ids: HashSet<u64> = all.iter().map(|session| session.id()).collect();
            assert_eq!(ids.len(), all.len());
            let bound = all.iter().filter(|session| session.uid().is_some()).count();
            let mut visited = 0;
            sessions.for_each_bound(|session| {
                assert!(ids.contains(&session.id()) && !session.is_closed());
                visited += 1;
            });
            let found: usize = UIDS
                .iter()
                .map(|uid| {
                    let found = sessions.by_uid(uid);
                    assert!(found.iter().all(|s| s.uid().unwrap().as_str() == *uid));
                    found.len()
                })
                .sum();
            let statistics = sessions.statistics();
            assert_eq!(
                [sessions.bound_count(), visited, found, statistics.logged_in],
                [bound; 4]
            );
            assert_eq!(statistics.connections, all.len());
            // Whoever is in the lobby is connected.
            if let Some(lobby) = view.channels().get("lobby") {
                for member in lobby.members() {
                    let (_, id) = member.as_str().split_once('#').unwrap();
                    assert!(ids.contains(&id.parse().unwrap()), "{member} is left over");
                }
            }
        }
        for (channel, expected) in &self.model {
            let channel = self.channel(*channel);
            assert_eq!(channel.len(), expected.values().sum::<usize>());
            assert_eq!(channel.members().len(), channel.len());
        }
    }

    async fn join(&mut self, client: usize, uid: usize) {
        let body = format!("{:?}", UIDS[uid % UIDS.len()]);
        if let Some(client) = self.client(client) {
            client
                .try_send(&request(1, "connector.p.join", &body))
                .await;
        }
    }

    fn close(&mut self, client: usize) {
        if !self.clients.is_empty() {
            let place = client % self.clients.len();
            self.clients.swap_remove(place);
        }
    }

    fn client(&mut self, client: usize) -> Option<&mut Tcp> {
        let place = client.checked_rem(self.clients.len())?;
        Some(&mut self.clients[place].1)
    }

    /// A session of the frontends, whosever.
    fn session(&self, client: usize) -> Option<pomelo_server::Session> {
        let mut all = app(&self.running, FRONTENDS[client % 2]).sessions().all();
        let place = client.checked_rem(all.len())?;
        Some(all.swap_remove(place))
    }

    fn gate(&self) -> Arc<Gate> {
        app(&self.running, "chat-1").state().unwrap()
    }

    fn channel(&self, channel: usize) -> pomelo_server::Channel {
        let channels = app(&self.running, "chat-1").channels();
        channels.create(&channel.to_string())
    }
}

fn key(channel: usize, uid: usize, frontend: usize) -> (usize, (usize, usize)) {
    (channel % 3, (uid % UIDS.len(), frontend % FRONTENDS.len()))
}

#[test]
fn nothing_is_left_over() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 48,
        // Threads race: a failure says so by itself, shrinking it would only take long.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = proptest::collection::vec(op(), 1..80);
    TestRunner::new(config)
        .run(&sequences, |ops| {
            runtime.block_on(async {
                let mut world = World::start().await;
                for op in &ops {
                    world.run(op).await;
                }
                world.check().await;
                let views = FRONTENDS.map(|id| app(&world.running, id).clone());
                // All clients go at once.
                world.clients.clear();
                world.check().await;
                world.running.stop().await;
                for view in views {
                    let lobby = view.channels().create("lobby");
                    assert!(lobby.is_empty(), "{:?}", lobby.members());
                }
            });
            Ok(())
        })
        .unwrap();
}
