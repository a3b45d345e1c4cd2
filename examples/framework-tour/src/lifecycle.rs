//! App, configuration, lifecycle and events: settings by environment and server type, a file of
//! the game's own, hooks, a component, a listener of events.

use std::sync::Arc;

use pomelo_server::{App, AppBuilder, Component, Error, Event};
use serde_json::json;

use crate::journal::{Journal, Topic};

pub(crate) fn plugin(app: AppBuilder) -> AppBuilder {
    app.load_config("arenas", "arenas.json")
        .configure("development", "all", |server| server.set("seats", 4))
        .configure("production", "all", |server| server.set("seats", 100))
        .configure("production|development", "area", |server| {
            server.enable("friendlyFire")
        })
        .before_startup("area", async |app| {
            note(&app, Topic::Start, "before_startup")
        })
        .after_startup("area", async |app| {
            note(&app, Topic::Start, "after_startup")
        })
        .after_start_all("area", async |app| {
            note(&app, Topic::Start, "after_start_all")
        })
        .before_shutdown("area", farewell)
        .component("area", |_| Referee)
        .on_event(listen)
}

/// The journal that every server of the game has.
pub(crate) fn journal(app: &App) -> Arc<Journal> {
    app.state().unwrap_or_default()
}

fn note(app: &App, topic: Topic, what: &str) {
    journal(app).write(topic, format!("{} {what}", app.server_id()));
}

/// Runs while clients are still there.
async fn farewell(app: App) -> Result<(), Error> {
    note(&app, Topic::Stop, "before_shutdown");
    let message = json!({ "from": app.server_id() });
    let channels = app.channels();
    channels
        .broadcast("connector", "onFarewell", &message)
        .await?;
    Ok(())
}

/// A component: a part of a server that starts and stops with it.
struct Referee;

impl Component for Referee {
    fn name(&self) -> &str {
        "referee"
    }

    async fn start(&self, app: &App) -> Result<(), Error> {
        note(app, Topic::Start, "component start");
        Ok(())
    }

    async fn after_start(&self, app: &App) -> Result<(), Error> {
        note(app, Topic::Start, "component after_start");
        Ok(())
    }

    async fn stop(&self, app: &App) {
        note(app, Topic::Stop, "component stop");
    }
}

/// Sessions are heard of at their frontend, servers at every server: here at the gate alone.
async fn listen(app: App, event: Event) {
    let journal = journal(&app);
    match event {
        Event::BindSession { uid, .. } => journal.write(Topic::Session, format!("bind {uid}")),
        Event::UnbindSession { uid, .. } => journal.write(Topic::Session, format!("unbind {uid}")),
        Event::CloseSession(closed) => {
            if let Some(uid) = closed.uid {
                journal.write(Topic::Session, format!("close {uid}: {}", closed.reason));
            }
        }
        Event::AddServers(servers) if app.server_type() == "gate" => {
            for server in servers {
                journal.write(Topic::Servers, format!("add {}", server.id));
            }
        }
        Event::RemoveServers(ids) if app.server_type() == "gate" => {
            for id in ids {
                journal.write(Topic::Servers, format!("remove {id}"));
            }
        }
        Event::ReplaceServers(servers) if app.server_type() == "gate" => {
            journal.write(Topic::Servers, format!("replace by {}", servers.len()));
        }
        _ => {}
    }
}
