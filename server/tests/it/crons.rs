//! Cron jobs, on a clock that does not wait.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pomelo_server::{
    App, AppBuilder, Config, CronEntry, CronError, Error, Event, StartError, State,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// 2026-01-05, a Monday, 00:00:00 UTC.
const MONDAY: Duration = Duration::from_secs(1_767_571_200);

type Ran = (String, &'static str, u64);

/// Two chat servers whose jobs say when they ran, in seconds after Monday began.
fn app(crons: &Value) -> (AppBuilder, mpsc::Receiver<Ran>) {
    let servers =
        json!({"test": {"chat": [{"id": "chat-1"}, {"id": "chat-2"}], "area": [{"id": "area-1"}]}});
    let config = Config::from_servers(&servers, "test").unwrap();
    let config = config.with_crons(crons, "test").unwrap();
    let origin = Instant::now();
    let (sender, receiver) = mpsc::channel(1024);
    let job = |name: &'static str| {
        let sender = sender.clone();
        move |app: App| {
            let sender = sender.clone();
            async move {
                let at = origin.elapsed().as_secs();
                drop(sender.send((app.server_id().to_owned(), name, at)).await);
            }
        }
    };
    let app = App::builder()
        .env("test")
        .config(config)
        .cron_time_zone("UTC")
        .clock(move || SystemTime::UNIX_EPOCH + MONDAY + origin.elapsed())
        .cron("chat", "chatCron.a", job("a"))
        .cron("chat", "chatCron.b", job("b"))
        .cron("area", "areaCron.c", job("c"));
    (app, receiver)
}

async fn ran(receiver: &mut mpsc::Receiver<Ran>, count: usize) -> Vec<Ran> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(receiver.recv().await.unwrap());
    }
    all.sort_by_key(|(server, name, at)| (*at, server.clone(), *name));
    all
}

fn at(server: &str, name: &'static str, seconds: u64) -> Ran {
    (server.to_owned(), name, seconds)
}

#[tokio::test(start_paused = true)]
async fn jobs_of_the_file_run_at_their_times_on_their_servers() {
    let (app, mut receiver) = app(&json!({"test": {
        "chat": [
            {"id": 1, "time": "0/10 * * * * *", "action": "chatCron.a"},
            {"id": 2, "time": "0 30 10 * * *", "action": "chatCron.b", "serverId": "chat-2"},
            {"id": 1, "time": "* * * * * *", "action": "chatCron.a"},
            {"id": 3, "time": "* * * * * *", "action": "chatCron.nobody"},
            {"id": 4, "time": "* * * * * *", "action": "noDot"},
            {"id": 5, "time": "0 0 0 31 1 *", "action": "chatCron.a"},
        ],
        "area": [{"id": 1, "time": "5 0 0 * * 2", "action": "areaCron.c"}],
    }}));
    let running = app.start().await.unwrap();
    let ids: Vec<_> = running
        .app("chat-1")
        .unwrap()
        .crons()
        .into_iter()
        .map(|cron| cron.id)
        .collect();
    assert_eq!(ids, ["1", "5"].map(Arc::from));
    assert_eq!(
        ran(&mut receiver, 4).await,
        [
            at("chat-1", "a", 10),
            at("chat-2", "a", 10),
            at("chat-1", "a", 20),
            at("chat-2", "a", 20)
        ]
    );
    for app in ["chat-1", "chat-2"] {
        running.app(app).unwrap().remove_crons(&["1"]);
    }
    assert_eq!(
        ran(&mut receiver, 2).await,
        [
            at("chat-2", "b", 10 * 3600 + 30 * 60),
            at("area-1", "c", 24 * 3600 + 5)
        ]
    );
    running.stop().await;
    assert_eq!(receiver.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn jobs_come_and_go_at_run_time() {
    let (told, mut events) = mpsc::channel(64);
    let (app, mut receiver) = app(&json!({}));
    let app = app.on_event(move |app: App, event| {
        let told = told.clone();
        async move {
            let (what, crons) = match event {
                Event::AddCrons(crons) => ("add", crons),
                Event::RemoveCrons(crons) => ("remove", crons),
                _ => return,
            };
            let ids: Vec<_> = crons.iter().map(|cron| cron.id.to_string()).collect();
            let line = format!("{} {what} {}", app.server_id(), ids.join(" "));
            drop(told.send(line).await);
        }
    });
    let running = app.start().await.unwrap();
    let chat = running.app("chat-1").unwrap();
    let mut elsewhere = CronEntry::new("4", "* * * * * *", "chatCron.a");
    elsewhere.server_id = Some("chat-2".into());
    let refused = chat.add_crons([
        CronEntry::new("1", "0 * * * * *", "chatCron.a"),
        CronEntry::new("2", "30 * * * * *", "chatCron.b"),
        CronEntry::new("1", "* * * * * *", "chatCron.b"),
        CronEntry::new("3", "* * * * * *", "areaCron.c"),
        elsewhere,
        CronEntry::new("5", "60 * * * * *", "chatCron.a"),
    ]);
    let why: Vec<_> = refused.iter().map(|(_, error)| error.to_string()).collect();
    assert_eq!(
        why,
        [
            "cron \"1\" is there already",
            "cron action \"areaCron.c\" is not registered",
            "cron is for server \"chat-2\"",
            "the cron time cannot be read",
        ]
    );
    assert!(matches!(refused[3].1, CronError::Time(_)));
    assert_eq!(
        ran(&mut receiver, 3).await,
        [
            at("chat-1", "b", 30),
            at("chat-1", "a", 60),
            at("chat-1", "b", 90)
        ]
    );
    let removed = chat.remove_crons(&["1", "7"]);
    assert_eq!(removed.len(), 1);
    assert_eq!(
        ran(&mut receiver, 2).await,
        [at("chat-1", "b", 150), at("chat-1", "b", 210)]
    );
    // The id is free again.
    assert!(
        chat.add_crons([CronEntry::new("1", "0 * * * * *", "chatCron.a")])
            .is_empty()
    );
    assert_eq!(ran(&mut receiver, 1).await, [at("chat-1", "a", 240)]);
    chat.remove_crons(&["1", "2"]);
    running.stop().await;
    let mut lines = Vec::new();
    while let Some(line) = events.recv().await {
        lines.push(line);
    }
    assert_eq!(
        lines,
        [
            "chat-1 add 1 2",
            "chat-1 remove 1",
            "chat-1 add 1",
            "chat-1 remove 2 1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_or_panics_runs_again_and_others_notice_nothing() {
    let (app, mut receiver) = app(&json!({"chat": [
        {"id": 1, "time": "0/2 * * * * *", "action": "bad.panics", "serverId": "chat-1"},
        {"id": 2, "time": "0/2 * * * * *", "action": "bad.fails", "serverId": "chat-1"},
        {"id": 3, "time": "0/2 * * * * *", "action": "chatCron.a", "serverId": "chat-1"},
    ]}));
    let (sender, mut runs) = mpsc::channel::<&str>(64);
    let app = app
        .state(sender)
        .cron(
            "chat",
            "bad.panics",
            async |State(runs): State<mpsc::Sender<&'static str>>| {
                runs.send("panics").await.unwrap();
                assert!(runs.is_closed(), "as the test wants");
            },
        )
        .cron(
            "chat",
            "bad.fails",
            async |State(runs): State<mpsc::Sender<&'static str>>| {
                runs.send("fails").await.unwrap();
                Err::<(), _>(Error::new("as the test wants"))
            },
        );
    let running = app.start().await.unwrap();
    assert_eq!(
        ran(&mut receiver, 2).await,
        [at("chat-1", "a", 2), at("chat-1", "a", 4)]
    );
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(runs.recv().await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, ["fails", "fails", "panics", "panics"]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_is_left_out_while_the_one_before_goes_on_and_a_stop_waits_for_it() {
    let (app, _receiver) =
        app(&json!({"area": [{"id": 1, "time": "* * * * * *", "action": "areaCron.slow"}]}));
    let (sender, mut runs) = mpsc::channel(64);
    let origin = Instant::now();
    let app = app.cron("area", "areaCron.slow", move || {
        let sender = sender.clone();
        async move {
            let began = origin.elapsed().as_secs();
            tokio::time::sleep(Duration::from_millis(2500)).await;
            sender.send(began).await.unwrap();
        }
    });
    let running = app.start().await.unwrap();
    assert_eq!(runs.recv().await, Some(1));
    assert_eq!(runs.recv().await, Some(4));
    tokio::time::sleep(Duration::from_secs(1)).await;
    running.stop().await;
    assert_eq!(runs.recv().await, Some(7));
    assert_eq!(runs.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_noticed() {
    let (app, mut receiver) = app(&json!({"area": [
        {"id": 1, "time": "0 0 12 * * *", "action": "areaCron.c"}]}));
    let (set, now) = tokio::sync::watch::channel(MONDAY);
    let origin = Instant::now();
    let app = app.clock(move || SystemTime::UNIX_EPOCH + *now.borrow() + origin.elapsed());
    let running = app.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let day = Duration::from_secs(24 * 3600);
    // The machine slept for five days: what was missed runs once, and as soon as it is seen.
    set.send(MONDAY + 5 * day).unwrap();
    assert_eq!(ran(&mut receiver, 1).await, [at("area-1", "c", 30)]);
    assert_eq!(ran(&mut receiver, 1).await, [at("area-1", "c", 12 * 3600)]);
    // A step back by seconds runs nothing again.
    set.send(MONDAY + 5 * day - Duration::from_secs(20))
        .unwrap();
    assert_eq!(
        ran(&mut receiver, 1).await,
        [at("area-1", "c", 36 * 3600 + 20)]
    );
    // A clock that was days ahead does not keep jobs waiting for days.
    set.send(MONDAY).unwrap();
    assert_eq!(ran(&mut receiver, 1).await, [at("area-1", "c", 60 * 3600)]);
    running.stop().await;
}

#[tokio::test]
async fn mistakes_of_the_registration_are_found_at_the_start() {
    let zone = App::builder().cron_time_zone("Mars/Olympus").start().await;
    assert!(matches!(zone, Err(StartError::TimeZone(name)) if name == "Mars/Olympus"));
    let (app, _receiver) = app(&json!({}));
    let twice = app.cron("chat", "chatCron.a", async || {}).start().await;
    assert!(matches!(twice, Err(StartError::Route(route, _)) if route == "chat.chatCron.a"));
    let parts = App::builder()
        .cron("chat", "chatCron", async || {})
        .start()
        .await;
    assert!(matches!(parts, Err(StartError::Route(..))));
}
