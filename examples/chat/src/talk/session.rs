//! The chat as the servers see it: gate, connector, messages out and pushes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pomelo_client::{Body, Client, ClientConfig, CloseReason, Push, RequestError};
use pomelo_proto::chat::{
    Enter, EnterResponse, OnAdd, OnChat, OnLeave, QueryEntry, QueryEntryResponse, Send,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::line::EVERYBODY;
use super::{Error, Options};

const QUERY_ENTRY: &str = "gate.gateHandler.queryEntry";
const ENTER: &str = "connector.entryHandler.enter";
const SEND: &str = "chat.chatHandler.send";

const OK: u32 = 200;

/// Pushes that wait to be shown. What comes faster than a terminal shows it for this long is lost and
/// counted, since the connection must not wait for the terminal.
const MAX_NEWS: usize = 1024;

/// Messages that wait to be sent; whoever types or pipes more waits.
const MAX_UNSENT: usize = 16;

/// What a session tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    Entered(String),
    Left(String),
    Said(OnChat),
    /// A message could not be sent, or a push could not be read; says why.
    Problem(String),
    /// So many pushes came too fast to be shown.
    Missed(u64),
    /// The connection has ended. Nothing follows.
    Closed(CloseReason),
}

/// Membership of one person in one room.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    name: String,
    room: String,
    users: Vec<String>,
    news: mpsc::Receiver<News>,
    missed: Arc<AtomicU64>,
    unsent: Option<mpsc::Sender<OnChat>>,
    sender: JoinHandle<Result<(), CloseReason>>,
}

impl Session {
    /// Asks the gate for a connector and enters the room there.
    pub(super) async fn join(options: Options) -> Result<Self, Error> {
        let Options { gate, name, room } = options;
        let connector = find_connector(&gate, &name).await?;

        let (news_in, news) = mpsc::channel(MAX_NEWS);
        let missed = Arc::new(AtomicU64::new(0));
        let client = listen(&news_in, &missed)
            .connect(&connector)
            .await
            .map_err(|source| Error::Connect {
                server: "connector",
                url: connector.clone(),
                source,
            })?;
        let enter = Enter {
            username: name.clone(),
            rid: room.clone(),
        };
        let entered: EnterResponse = ask(&client, ENTER, &enter).await?;
        let refused = entered.code.filter(|code| *code != OK);
        if entered.error == Some(true) {
            return Err(Error::NameTaken { name, room });
        }
        if let Some(code) = refused {
            return Err(Error::Refused { route: ENTER, code });
        }

        let (unsent, queue) = mpsc::channel(MAX_UNSENT);
        let outcomes = Outcomes {
            news: news_in,
            missed: Arc::clone(&missed),
        };
        let sender = tokio::spawn(send_all(client.clone(), room.clone(), queue, outcomes));
        Ok(Self {
            client,
            name,
            room,
            users: entered.users,
            news,
            missed,
            unsent: Some(unsent),
            sender,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn room(&self) -> &str {
        &self.room
    }

    /// Who was in the room on entering, oneself included; later changes are [`News`].
    pub(super) fn users(&self) -> &[String] {
        &self.users
    }

    /// Queues a message, to everybody if there is no target. Once it has arrived it is [`News`] like those
    /// of others.
    ///
    /// Waits while too much is unsent. Cancel safe: nothing is queued then.
    pub(super) async fn say(&self, target: Option<String>, text: String) {
        let said = OnChat {
            msg: text,
            from: self.name.clone(),
            target: target.unwrap_or_else(|| EVERYBODY.to_owned()),
        };
        if let Some(unsent) = &self.unsent {
            // Without a reader the session is over, which the news tell.
            let _ = unsent.send(said).await;
        }
    }

    /// Waits for what happens next. Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            return News::Missed(missed);
        }
        tokio::select! {
            // What came before the end is told before the end.
            biased;
            Some(news) = self.news.recv() => news,
            reason = self.client.closed() => News::Closed(reason),
        }
    }

    /// Waits until everything said so far is answered; fails if the connection ends before. To be called
    /// once, as nothing can be said any more.
    pub(super) async fn flush(&mut self) -> Result<(), CloseReason> {
        self.unsent = None;
        // The task is not cancelled before `leave`; if it panicked, that was printed.
        (&mut self.sender).await.unwrap_or(Ok(()))
    }

    /// What is known already and was not told yet.
    pub(super) fn rest(&mut self) -> Vec<News> {
        std::iter::from_fn(|| self.news.try_recv().ok()).collect()
    }

    /// Leaves the room.
    pub(super) async fn leave(self) {
        self.sender.abort();
        self.client.disconnect().await;
    }
}

async fn find_connector(gate: &str, name: &str) -> Result<String, Error> {
    let client = Client::connect(gate)
        .await
        .map_err(|source| Error::Connect {
            server: "gate",
            url: gate.to_owned(),
            source,
        })?;
    let query = QueryEntry {
        uid: name.to_owned(),
    };
    let entry: QueryEntryResponse = ask(&client, QUERY_ENTRY, &query).await?;
    client.disconnect().await;
    connector_url(gate, &entry)
}

/// The connector speaks what the gate speaks.
fn connector_url(gate: &str, entry: &QueryEntryResponse) -> Result<String, Error> {
    if entry.code != OK {
        return Err(Error::Refused {
            route: QUERY_ENTRY,
            code: entry.code,
        });
    }
    let (Some(host), Some(port), Some((scheme, _))) =
        (&entry.host, entry.port, gate.split_once("://"))
    else {
        return Err(Error::NoConnector);
    };
    if host.contains(':') {
        Ok(format!("{scheme}://[{host}]:{port}"))
    } else {
        Ok(format!("{scheme}://{host}:{port}"))
    }
}

/// All routes go through one queue, so that they are told in the order they came.
fn listen(news: &mpsc::Sender<News>, missed: &Arc<AtomicU64>) -> ClientConfig {
    fn hear<T: for<'de> Deserialize<'de> + 'static>(
        config: ClientConfig,
        route: &'static str,
        news: &mpsc::Sender<News>,
        missed: &Arc<AtomicU64>,
        tell: fn(T) -> News,
    ) -> ClientConfig {
        let (news, missed) = (news.clone(), Arc::clone(missed));
        config.on(route, move |push: &Push| {
            let told = match push.decode() {
                Ok(body) => tell(body),
                Err(error) => News::Problem(format!("cannot read a push {route}: {error}")),
            };
            if news.try_send(told).is_err() {
                missed.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    let config = hear(Client::builder(), "onAdd", news, missed, |add: OnAdd| {
        News::Entered(add.user)
    });
    let config = hear(config, "onLeave", news, missed, |leave: OnLeave| {
        News::Left(leave.user)
    });
    hear(config, "onChat", news, missed, News::Said)
}

async fn ask<Req, Res>(client: &Client, route: &'static str, body: &Req) -> Result<Res, Error>
where
    Req: Serialize,
    Res: for<'de> Deserialize<'de>,
{
    client
        .request_body(route, body)
        .await
        .map_err(|source| Error::Request { route, source })?
        .decode()
        .map_err(|source| Error::Answer { route, source })
}

/// Where the sender tells what became of a message. It never waits there, so it cannot wait for a reader
/// who waits for the sender.
#[derive(Debug)]
struct Outcomes {
    news: mpsc::Sender<News>,
    missed: Arc<AtomicU64>,
}

impl Outcomes {
    fn tell(&self, outcome: News) {
        if self.news.try_send(outcome).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends one message after the other, each after the answer to the one before, so that they arrive in
/// order and a failure is known to be of this message.
async fn send_all(
    client: Client,
    room: String,
    mut queue: mpsc::Receiver<OnChat>,
    outcomes: Outcomes,
) -> Result<(), CloseReason> {
    while let Some(said) = queue.recv().await {
        let send = Send {
            rid: room.clone(),
            content: said.msg.clone(),
            from: said.from.clone(),
            target: said.target.clone(),
        };
        let problem = match client.request_body(SEND, &send).await {
            Ok(answer) => refusal(&answer),
            Err(RequestError::Closed(reason)) => return Err(reason),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            let text = format!("not delivered: {} ({problem})", said.msg);
            outcomes.tell(News::Problem(text));
        } else if said.target != EVERYBODY && said.target != said.from {
            // The server sends it to the other person only.
            outcomes.tell(News::Said(said));
        }
    }
    Ok(())
}

/// The answer to a message holds nothing of interest, except when it is an error.
fn refusal(answer: &Body) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Answer {
        code: Option<u32>,
    }

    match answer.decode_or_empty::<Answer>() {
        Ok(Answer {
            code: None | Some(OK),
        }) => None,
        Ok(Answer { code: Some(code) }) => Some(format!("code {code}")),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connector_is_at_the_address_the_gate_names() {
        let mut entry = QueryEntryResponse {
            code: OK,
            host: Some("127.0.0.1".into()),
            port: Some(3010),
        };
        let url = |gate, entry: &QueryEntryResponse| connector_url(gate, entry).unwrap();
        assert_eq!(url("ws://gate:3014", &entry), "ws://127.0.0.1:3010");
        assert_eq!(url("tcp://gate:3014", &entry), "tcp://127.0.0.1:3010");
        entry.host = Some("::1".into());
        assert_eq!(url("tcp://gate:3014", &entry), "tcp://[::1]:3010");
        entry.port = None;
        assert!(matches!(
            connector_url("ws://gate", &entry),
            Err(Error::NoConnector)
        ));
        entry.code = 500;
        assert!(matches!(
            connector_url("ws://gate", &entry),
            Err(Error::Refused { code: 500, .. })
        ));
    }
}
