//! Dictionary and schemas: what all frontends share, and how it changes while they run.

use std::path::PathBuf;

use arc_swap::ArcSwap;
use pomelo_protocol::protobuf::Protos;
use pomelo_protocol::{Dictionary, ProtosOffer, ServerSettings};
use std::sync::Arc;
use tokio::time::Instant;

use super::{App, Front};
use crate::config::Config;
use crate::connector::{Bound, Deadlines, Hybrid, MESSAGE_ROOM, Queue, Room};
use crate::error::StartError;
use crate::handler::Table;
use crate::push::PushSchedulers;
use crate::workers;

/// Where the files of the configuration are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) env: String,
}

/// Made once for all frontends, whose codes must be equal.
pub(super) struct Tables {
    dictionary: Result<Dictionary, String>,
    client: Result<Protos, String>,
    server: Result<Protos, String>,
}

impl Tables {
    pub(super) fn of(config: &Config, handlers: &Table) -> Self {
        let extra = config.dictionary.iter().map(String::as_str);
        let protos = |file: &Option<serde_json::Value>| match file {
            Some(file) => Protos::parse(file).map_err(|error| error.to_string()),
            None => Ok(Protos::default()),
        };
        Self {
            dictionary: Dictionary::build(handlers.routes(), extra)
                .map_err(|error| format!("dictionary: {error}")),
            client: protos(&config.client_protos).map_err(|e| format!("clientProtos: {e}")),
            server: protos(&config.server_protos).map_err(|e| format!("serverProtos: {e}")),
        }
    }
}

/// What a new connection gets.
#[derive(Debug)]
pub(crate) struct Offered {
    settings: Arc<ServerSettings>,
    browser: Arc<ServerSettings>,
}

impl Offered {
    /// Settings of all connections, before and apart from what is known of the client.
    pub(crate) fn settings(&self) -> &Arc<ServerSettings> {
        &self.settings
    }

    /// How messages are written to a client of this type (`sys.type` of its handshake).
    ///
    /// The original browser client, and what was built on it, reads characters of up to three
    /// bytes in protobuf bodies, so it gets surrogate pairs.
    pub(crate) fn to_client(&self, client_type: Option<&str>) -> &Arc<ServerSettings> {
        if client_type == Some("js-websocket") {
            &self.browser
        } else {
            &self.settings
        }
    }

    fn new(settings: ServerSettings) -> Self {
        let settings = Arc::new(settings);
        let codec = &settings.codec;
        let browser = if codec.escape_astral && !codec.outgoing.is_empty() {
            let mut browser = ServerSettings::clone(&settings);
            browser.codec.outgoing = codec.outgoing.with_surrogate_pairs();
            Arc::new(browser)
        } else {
            Arc::clone(&settings)
        };
        Self { settings, browser }
    }
}

pub(super) fn front_of(
    hybrid: Hybrid,
    schedulers: PushSchedulers,
    tables: &Tables,
    server_id: &str,
) -> Result<Front, StartError> {
    let settings = settings_of(&hybrid, tables, server_id)?;
    let longest = hybrid.max_package.saturating_add(MESSAGE_ROOM);
    let longest = usize::try_from(longest).unwrap_or(usize::MAX);
    let unfinished = Room::new(Bound {
        given: hybrid.max_unfinished,
        few: 12 << 20,
        share: 4 << 10,
        least: longest,
    });
    let unread = Room::new(Bound {
        given: hybrid.max_unread,
        few: 8 << 20,
        share: 64 << 10,
        least: hybrid.mailbox.bytes,
    });
    Ok(Front {
        unfinished,
        unread,
        deadlines: Deadlines::default(),
        queue: Queue::new(workers()),
        hybrid,
        offered: ArcSwap::from_pointee(Offered::new(settings)),
        schedulers,
        origin: Instant::now(),
    })
}

fn settings_of(
    hybrid: &Hybrid,
    tables: &Tables,
    server_id: &str,
) -> Result<ServerSettings, StartError> {
    let wrong = |problem: &String| StartError::Tables {
        server: server_id.to_owned(),
        problem: problem.clone(),
    };
    let mut settings = hybrid.settings();
    settings.codec.known = tables.dictionary.as_ref().ok().cloned();
    if hybrid.use_dict {
        let dictionary = tables.dictionary.as_ref().map_err(wrong)?;
        settings.offer.dictionary = Some(dictionary.clone());
        settings.codec.dictionary = Some(dictionary.clone());
    }
    if hybrid.use_protobuf {
        let client = tables.client.as_ref().map_err(wrong)?;
        let server = tables.server.as_ref().map_err(wrong)?;
        settings.offer.protos = Some(ProtosOffer::dialect(client.clone(), server.clone()));
        settings.codec.incoming = client.clone();
        settings.codec.outgoing = server.clone();
    }
    Ok(settings)
}

impl App {
    /// Reads dictionary.json, clientProtos.json and serverProtos.json again, for all frontends of
    /// this process: handshakes from now on get them, clients that are there keep what they were
    /// told.
    ///
    /// [`AppBuilder::watch_tables`](crate::AppBuilder::watch_tables) does it on every change.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] and [`StartError::Tables`]; then nothing has changed.
    pub fn reload_tables(&self) -> Result<(), StartError> {
        let place = &self.0.shared.place;
        let mut config = Config::default();
        config.load_tables(&place.dir, &place.env)?;
        self.set_tables(&config)
    }

    /// Takes dictionary and schemas of `config` for all frontends of this process, as
    /// [`reload_tables`](Self::reload_tables) does from files; the rest of it is not looked at.
    ///
    /// # Errors
    ///
    /// [`StartError::Tables`]; then nothing has changed.
    pub fn set_tables(&self, config: &Config) -> Result<(), StartError> {
        let shared = &self.0.shared;
        let tables = Tables::of(config, &shared.handlers);
        let mut made = Vec::new();
        for app in shared.apps() {
            if let Some(front) = app.front() {
                let settings = settings_of(&front.hybrid, &tables, app.server_id())?;
                made.push((app.clone(), settings));
            }
        }
        for (app, settings) in made {
            if let Some(front) = app.front() {
                front.offered.store(Arc::new(Offered::new(settings)));
            }
        }
        Ok(())
    }
}
