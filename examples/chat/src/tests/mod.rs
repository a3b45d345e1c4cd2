//! The whole chat over sockets, driven by the clients that people have.

mod connections;
mod native;
mod original;
mod rooms;

use pomelo_server::{AppBuilder, Config, Hybrid, Running};

use crate::servers;

/// What gate and connectors offer to clients.
#[derive(Clone, Copy, Debug)]
struct Offer {
    dictionary: bool,
    protobuf: bool,
}

/// The chat on ports that the system chose.
struct Chat {
    running: Running,
    gate: u16,
}

fn config(env: &str) -> Config {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    Config::load(dir, env).unwrap()
}

impl Chat {
    /// As it is shipped.
    async fn start(env: &str) -> Self {
        Self::start_app(servers::app(config(env), env)).await
    }

    async fn offering(offer: Offer) -> Self {
        let env = "development";
        let app = servers::app(config(env), env).configure(env, "connector|gate", move |server| {
            let mut hybrid = Hybrid::new().heartbeat_secs(3);
            if offer.dictionary {
                hybrid = hybrid.use_dict();
            }
            if offer.protobuf {
                hybrid = hybrid.use_protobuf();
            }
            server.connector(hybrid)
        });
        Self::start_app(app).await
    }

    /// As it is shipped, with another version of the schemas.
    async fn with_changed_schemas() -> Self {
        let env = "development";
        let mut config = config(env);
        let schemas = config.server_protos.as_mut().unwrap();
        schemas["onNothing"] = serde_json::json!({"optional string why": 1});
        Self::start_app(servers::app(config, env)).await
    }

    async fn start_app(app: AppBuilder) -> Self {
        let app = app.configure("all", "connector|gate", |server| server.client_port(0));
        let running = app.start().await.unwrap();
        let gate = running.addresses()["gate-server-1"].port();
        Self { running, gate }
    }

    /// Kicks a user off, whichever connector has the session.
    fn kick(&self, uid: &str, reason: &str) {
        let kicked = self.running.addresses().keys().map(|server| {
            let app = self.running.app(server).unwrap();
            app.sessions().kick_by_uid(uid, Some(reason))
        });
        assert_eq!(kicked.sum::<usize>(), 1, "{uid}");
    }

    async fn stop(self) {
        self.running.stop().await;
    }
}
