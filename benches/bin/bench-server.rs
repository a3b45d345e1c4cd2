//! A plain application on `pomelo-server`, for load tools: one frontend with a few routes.
//!
//! ```text
//! cargo run --release -p pomelo-benches --bin bench-server -- --port 3010 [--workers N]
//! ```
//!
//! | route of `connector.entryHandler` | message | does | answers |
//! |---|---|---|---|
//! | `entry` | | binds the session to a fresh uid | `{"code":200}` |
//! | `echo` | `{"msg":any}` | | `{"code":200,"msg":any}` |
//! | `raw` | any | | the message, which is not looked at |
//! | `join` | `{"room":text}` | joins the channel; leaves it when the connection ends | `{"code":200}` |
//! | `broadcast` | any | pushes `onMessage` with the message to every member of the caller's channel | `{"code":200}` |
//! | `enter` | `{"uid":text}` | binds the session to that uid | `{"code":200}` |
//! | `push` | `{"uid":text,"msg":any}` | pushes `onMessage` with the message to that uid, if it is there | `{"code":200}` |
//! | `kick` | `{"uid":text}` | kicks that uid, if it is there | `{"code":200}` |
//!
//! Everything is as it ships, but for the rate limit, which is made to stop what a load tool does.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use lexopt::prelude::{Long, Short, ValueExt as _};
use pomelo_benches::echo;
use pomelo_server::{
    App, AppBuilder, Body, Config, ConfigError, Error, FrontendSession, Hybrid, Json, Msg,
    RateLimit, RequestSession, StartError, State, filters,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const USAGE: &str = "\
usage: bench-server [OPTIONS]

  --port P              where clients connect; default: 3010, 0 lets the system choose
  --workers N           threads of the runtime; default: one for each core
  --heartbeat SECONDS   interval of heartbeats, 0 for none; default: 30
  --filters             has three filters: serial, time, and one that looks at the session
  --limited             keeps the rate limit that a server ships with
  --admin               opens a port for /metrics as well";

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\n\n{USAGE}")]
    Arguments(#[from] lexopt::Error),
    #[error("the runtime cannot be made: {0}")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
}

struct Options {
    port: u16,
    workers: Option<usize>,
    heartbeat: u64,
    filters: bool,
    limited: bool,
    admin: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let Some(options) = options(lexopt::Parser::from_env())? else {
        println!("{USAGE}");
        return Ok(());
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = options.workers {
        runtime.worker_threads(workers);
    }
    runtime.enable_all().build()?.block_on(serve(&options))
}

fn options(mut args: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        port: 3010,
        workers: None,
        heartbeat: 30,
        filters: false,
        limited: false,
        admin: false,
    };
    while let Some(argument) = args.next()? {
        match argument {
            Long("port") => options.port = args.value()?.parse()?,
            Long("workers") => {
                let workers: std::num::NonZeroUsize = args.value()?.parse()?;
                options.workers = Some(workers.get());
            }
            Long("heartbeat") => options.heartbeat = args.value()?.parse()?,
            Long("filters") => options.filters = true,
            Long("limited") => options.limited = true,
            Long("admin") => options.admin = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

async fn serve(options: &Options) -> Result<(), Failure> {
    let running = app(options)?.start().await?;
    for address in running.addresses().values() {
        println!("listening on {address}");
    }
    if let Some(address) = running.admin_address() {
        println!("metrics on {address}");
    }
    // Whoever started this reads it through a pipe, and a pipe that is closed is no reason to end.
    drop(std::io::stdout().flush());
    running.until_signal().await;
    Ok(())
}

fn app(options: &Options) -> Result<AppBuilder, ConfigError> {
    let servers = json!({"bench": {"connector": [
        {"id": "connector-1", "host": "127.0.0.1", "clientPort": options.port, "frontend": true}
    ]}});
    let mut hybrid = Hybrid::new();
    if options.heartbeat > 0 {
        hybrid = hybrid.heartbeat_secs(options.heartbeat);
    }
    if !options.limited {
        hybrid = hybrid.rate_limit(None::<RateLimit>);
    }
    let mut app = App::builder().env("bench");
    if options.admin {
        app = app.admin_port(0);
    }
    if options.filters {
        app = app.configure("all", "connector", |server| {
            server
                .filter(filters::Serial::default())
                .filter(filters::Time::new())
                .before(async |session: RequestSession| drop(session.uid()))
        });
    }
    Ok(app
        .config(Config::from_servers(&servers, "bench")?)
        .configure("all", "connector", move |server| {
            server.connector(hybrid.clone())
        })
        .state(Uids::default())
        .handler("connector.entryHandler.entry", entry)
        .handler("connector.entryHandler.echo", echo)
        .handler("connector.entryHandler.raw", raw)
        .handler("connector.entryHandler.join", join)
        .handler("connector.entryHandler.broadcast", broadcast)
        .handler("connector.entryHandler.enter", enter)
        .handler("connector.entryHandler.push", push)
        .handler("connector.entryHandler.kick", kick))
}

#[derive(Default)]
struct Uids(AtomicU64);

#[derive(Serialize)]
struct Done {
    code: u16,
}

const DONE: Json<Done> = Json(Done { code: 200 });

async fn entry(session: FrontendSession, State(uids): State<Uids>) -> Result<Json<Done>, Error> {
    session.bind(uids.0.fetch_add(1, Ordering::Relaxed)).await?;
    Ok(DONE)
}

async fn raw(body: Body) -> Body {
    body
}

#[derive(Deserialize)]
struct Join {
    room: String,
}

async fn join(
    session: FrontendSession,
    app: App,
    Msg(Join { room }): Msg<Join>,
) -> Result<Json<Done>, Error> {
    let uid = session.uid().ok_or_else(|| Error::new("not entered"))?;
    session.set("room", &room);
    session.push("room").await?;
    let frontend = app.server_id().to_owned();
    let channel = app.channels().create(&room);
    channel.add(uid.clone(), &frontend);
    session.on_closed(move |_| async move {
        channel.leave(uid.as_str(), &frontend);
    });
    Ok(DONE)
}

async fn broadcast(
    session: FrontendSession,
    app: App,
    Msg(message): Msg<Value>,
) -> Result<Json<Done>, Error> {
    let room: String = session
        .get("room")
        .ok_or_else(|| Error::new("not in a room"))?;
    let channel = app
        .channels()
        .get(&room)
        .ok_or_else(|| Error::new("no such room"))?;
    channel.push_message("onMessage", &message).await?;
    Ok(DONE)
}

#[derive(Deserialize)]
struct User {
    uid: String,
}

async fn enter(
    session: FrontendSession,
    Msg(User { uid }): Msg<User>,
) -> Result<Json<Done>, Error> {
    session.bind(uid).await?;
    Ok(DONE)
}

#[derive(Deserialize)]
struct Push {
    uid: String,
    msg: Value,
}

async fn push(app: App, Msg(Push { uid, msg }): Msg<Push>) -> Result<Json<Done>, Error> {
    let to = [(uid.into(), app.server_id().into())];
    let message = json!({"msg": msg});
    app.channels()
        .push_by_uids("onMessage", &message, &to)
        .await?;
    Ok(DONE)
}

async fn kick(app: App, Msg(User { uid }): Msg<User>) -> Json<Done> {
    app.sessions().kick_by_uid(&uid, Some("kicked"));
    DONE
}
