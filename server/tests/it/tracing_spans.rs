//! What a subscriber sees of a request.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::peer::{Tcp, golden_app, request, response, start};

/// Writes the request spans down, one text each.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("pomelo_server")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut text));
        let mut spans = self.0.lock().unwrap();
        spans.push(text);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn a_span_names_server_session_uid_and_route_and_no_body() {
    crate::logs::share_callsites();
    let spans = Spans::default();
    tracing::subscriber::with_default(spans.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (running, address) = start(golden_app()).await;
            let mut peer = Tcp::ready(address).await;
            let bind = r#"{"uid":"zhang","password":"12345"}"#;
            peer.send(&request(1, "connector.entryHandler.bind", bind))
                .await;
            assert_eq!(peer.package().await, response(1, r#"{"err":null}"#));
            peer.send(&request(2, "chat.chatHandler.nothing", "{}"))
                .await;
            assert_eq!(peer.package().await, response(2, "{}"));
            running.stop().await;
        });
    });
    let requests = spans.0.lock().unwrap().clone();
    assert_eq!(
        requests,
        [
            r#"request server="connector-1" session=1 route="connector.entryHandler.bind""#,
            r#"request server="connector-1" session=1 uid=zhang route="chat.chatHandler.nothing""#,
        ]
    );
}
