//! The page that Prometheus reads.

use std::fmt::{self, Write as _};
use std::sync::atomic::AtomicU64;

use super::{BUCKETS, CLOSES, REFUSALS, Routes, load};
use crate::app::App;

/// The page of these servers.
pub(crate) fn page(apps: &[App]) -> String {
    let mut page = Page::default();
    // A write to a String cannot fail.
    let _ = page.write(apps);
    page.text
}

#[derive(Default)]
struct Page {
    text: String,
}

/// One number of a server, and the labels it has besides `server`.
type Sample = (&'static str, &'static str, u64);

impl Page {
    fn write(&mut self, apps: &[App]) -> fmt::Result {
        self.family(
            "pomelo_sessions",
            "gauge",
            "Sessions, one per connection that finished its handshake.",
            apps,
            |app| vec![("", "", app.sessions().count() as u64)],
        )?;
        self.family(
            "pomelo_sessions_bound",
            "gauge",
            "Sessions that are bound to a uid.",
            apps,
            |app| vec![("", "", app.sessions().bound_count() as u64)],
        )?;
        self.family(
            "pomelo_connections",
            "gauge",
            "Open sockets of clients.",
            apps,
            |app| vec![("", "", app.metrics().open())],
        )?;
        self.family(
            "pomelo_connections_accepted_total",
            "counter",
            "Connections accepted.",
            apps,
            |app| vec![("", "", load(&app.metrics().accepted))],
        )?;
        self.family(
            "pomelo_connections_refused_total",
            "counter",
            "Connections closed before their first package, by reason.",
            apps,
            |app| by_label("reason", &REFUSALS, &app.metrics().refused),
        )?;
        self.family(
            "pomelo_connections_closed_total",
            "counter",
            "Connections that ended later, by reason.",
            apps,
            |app| by_label("reason", &CLOSES, &app.metrics().closed),
        )?;
        self.traffic(apps)?;
        self.family(
            "pomelo_requests_running",
            "gauge",
            "Requests and notifies whose handlers have not ended.",
            apps,
            |app| vec![("", "", load(&app.metrics().running))],
        )?;
        self.queues(apps)?;
        self.family(
            "pomelo_unfinished_bytes",
            "gauge",
            "Bytes of packages that are not finished, of clients that have sent much of one.",
            apps,
            |app| {
                let bytes = app.front().map_or(0, |front| front.unfinished.bytes());
                vec![("", "", bytes as u64)]
            },
        )?;
        self.family(
            "pomelo_unread_bytes",
            "gauge",
            "Bytes that wait for one client each, of clients that leave much unread.",
            apps,
            |app| {
                let bytes = app.front().map_or(0, |front| front.unread.bytes());
                vec![("", "", bytes as u64)]
            },
        )?;
        self.channels(apps)?;
        let lost = "pomelo_events_lost_total";
        let help = "Events that did not fit into the queue of a listener.";
        head(&mut self.text, lost, "counter", help)?;
        // Backends have events, too.
        for app in apps {
            let number = app.events().lost();
            sample(&mut self.text, lost, app.server_id(), "", "", number)?;
        }
        self.histograms(
            "pomelo_handler_seconds",
            "Time from a client's message to the end of its handler and filters, by route.",
            apps,
            |app| &app.metrics().handlers,
        )?;
        self.failures(
            "pomelo_handler_errors_total",
            "Clients' messages whose handler or filter failed, by route.",
            apps,
            |app| &app.metrics().handlers,
        )?;
        self.histograms(
            "pomelo_rpc_seconds",
            "Time of calls of remotes, as the caller sees it, by route.",
            apps,
            |app| &app.metrics().remotes,
        )?;
        self.failures(
            "pomelo_rpc_errors_total",
            "Calls of remotes that failed, by route.",
            apps,
            |app| &app.metrics().remotes,
        )
    }

    fn traffic(&mut self, apps: &[App]) -> fmt::Result {
        self.family(
            "pomelo_messages_received_total",
            "counter",
            "Messages from clients, by kind; ignored ones are malformed, early or refused.",
            apps,
            |app| {
                let metrics = app.metrics();
                vec![
                    ("kind", "request", metrics.sum(|all| &all.requests)),
                    ("kind", "notify", metrics.sum(|all| &all.notifies)),
                    ("kind", "ignored", metrics.sum(|all| &all.ignored)),
                ]
            },
        )?;
        self.family(
            "pomelo_messages_sent_total",
            "counter",
            "Messages handed to sockets, by kind.",
            apps,
            |app| {
                let metrics = app.metrics();
                vec![
                    ("kind", "response", metrics.sum(|all| &all.responses)),
                    ("kind", "push", metrics.sum(|all| &all.pushes)),
                ]
            },
        )?;
        self.family(
            "pomelo_bytes_received_total",
            "counter",
            "Bytes from clients, without TLS.",
            apps,
            |app| vec![("", "", app.metrics().sum(|all| &all.bytes_in))],
        )?;
        self.family(
            "pomelo_bytes_sent_total",
            "counter",
            "Bytes to clients, without TLS.",
            apps,
            |app| vec![("", "", app.metrics().sum(|all| &all.bytes_out))],
        )?;
        self.family(
            "pomelo_frames_dropped_total",
            "counter",
            "Frames that a full mailbox refused.",
            apps,
            |app| vec![("", "", app.sessions().dropped_frames())],
        )?;
        self.family(
            "pomelo_throttled_total",
            "counter",
            "How often a client was not read for a while because of its rate limit.",
            apps,
            |app| vec![("", "", app.metrics().sum(|all| &all.throttled))],
        )
    }

    /// Counted when asked for: the mailboxes know their depth anyway.
    fn queues(&mut self, apps: &[App]) -> fmt::Result {
        let fronts = apps.iter().filter(|app| app.is_frontend());
        let depths: Vec<_> = fronts
            .map(|app| {
                let sessions = app.sessions().all();
                let waiting = sessions.iter().map(|session| session.mailbox().waiting());
                let sum = waiting.fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
                (app.server_id(), sum)
            })
            .collect();
        let text = &mut self.text;
        head(
            text,
            "pomelo_queue_frames",
            "gauge",
            "Frames that wait in the mailboxes of sessions.",
        )?;
        for (server, (frames, _)) in &depths {
            sample(text, "pomelo_queue_frames", server, "", "", *frames as u64)?;
        }
        head(
            text,
            "pomelo_queue_bytes",
            "gauge",
            "Bytes that wait in the mailboxes of sessions.",
        )?;
        for (server, (_, bytes)) in &depths {
            sample(text, "pomelo_queue_bytes", server, "", "", *bytes as u64)?;
        }
        Ok(())
    }

    /// Backends have channels, too.
    fn channels(&mut self, apps: &[App]) -> fmt::Result {
        let text = &mut self.text;
        let sizes = || {
            apps.iter().map(|app| {
                let (channels, members) = app.channels().size();
                (app.server_id(), channels as u64, members as u64)
            })
        };
        head(text, "pomelo_channels", "gauge", "Channels that exist.")?;
        for (server, channels, _) in sizes() {
            sample(text, "pomelo_channels", server, "", "", channels)?;
        }
        let members = "pomelo_channel_members";
        head(text, members, "gauge", "Members of all channels together.")?;
        for (server, _, number) in sizes() {
            sample(text, members, server, "", "", number)?;
        }
        Ok(())
    }

    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        apps: &[App],
        samples: impl Fn(&App) -> Vec<Sample>,
    ) -> fmt::Result {
        head(&mut self.text, name, kind, help)?;
        for app in apps.iter().filter(|app| app.is_frontend()) {
            for (label, value, number) in samples(app) {
                sample(&mut self.text, name, app.server_id(), label, value, number)?;
            }
        }
        Ok(())
    }

    fn failures(
        &mut self,
        name: &str,
        help: &str,
        apps: &[App],
        routes: impl Fn(&App) -> &Routes,
    ) -> fmt::Result {
        head(&mut self.text, name, "counter", help)?;
        for app in apps {
            for (route, histogram) in routes(app).each() {
                let failures = load(&histogram.failures);
                sample(
                    &mut self.text,
                    name,
                    app.server_id(),
                    "route",
                    route,
                    failures,
                )?;
            }
        }
        Ok(())
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        apps: &[App],
        routes: impl Fn(&App) -> &Routes,
    ) -> fmt::Result {
        let text = &mut self.text;
        head(text, name, "histogram", help)?;
        for app in apps {
            let server = Escaped(app.server_id());
            for (route, histogram) in routes(app).each() {
                let route = Escaped(route);
                let mut sum = 0;
                let bounds = BUCKETS.iter().map(|(_, text)| *text).chain(["+Inf"]);
                for (bucket, bound) in histogram.buckets.iter().zip(bounds) {
                    sum += load(bucket);
                    writeln!(
                        text,
                        "{name}_bucket{{server=\"{server}\",route=\"{route}\",le=\"{bound}\"}} {sum}"
                    )?;
                }
                let micros = load(&histogram.micros);
                let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
                writeln!(
                    text,
                    "{name}_sum{{server=\"{server}\",route=\"{route}\"}} {seconds}.{rest:06}"
                )?;
                writeln!(
                    text,
                    "{name}_count{{server=\"{server}\",route=\"{route}\"}} {sum}"
                )?;
            }
        }
        Ok(())
    }
}

fn by_label(label: &'static str, values: &[&'static str], counters: &[AtomicU64]) -> Vec<Sample> {
    values
        .iter()
        .zip(counters)
        .map(|(value, counter)| (label, *value, load(counter)))
        .collect()
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

fn sample(
    text: &mut String,
    name: &str,
    server: &str,
    label: &str,
    value: &str,
    number: u64,
) -> fmt::Result {
    write!(text, "{name}{{server=\"{}\"", Escaped(server))?;
    if !label.is_empty() {
        write!(text, ",{label}=\"{}\"", Escaped(value))?;
    }
    writeln!(text, "}} {number}")
}

/// A label's value: server ids and routes are free text.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let text = Escaped("a\\b\"c\nd聊").to_string();
        assert_eq!(text, r#"a\\b\"c\nd聊"#);
    }
}
