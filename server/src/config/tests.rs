use std::path::PathBuf;

use serde_json::json;

use super::*;

/// A directory that is gone with its value.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("pomelo-config-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("e")).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, value: &Value) {
        std::fs::write(self.0.join(file), value.to_string()).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn mistakes(error: ConfigError) -> Vec<Mistake> {
    match error {
        ConfigError::Wrong(mistakes) => mistakes,
        other => panic!("{other}"),
    }
}

#[test]
fn mistakes_are_named_by_file_and_member() {
    let port = "must be a port, 0 to 65535";
    let text = "must be a text that is not empty";
    let whole = "must be a whole number";
    let flag = "must be true or false";
    let servers = [
        (json!(7), "", "must be an object of server types"),
        (json!({"e": []}), "e", "must be an object of server types"),
        (
            json!({"development": {}, "production": {"chat": []}}),
            "e",
            "is no environment of this file, which has development, production",
        ),
        (
            json!({"e": {"chat": {}}}),
            "e.chat",
            "must be a list of servers",
        ),
        (
            json!({"e": {"a.b": []}}),
            "e.a.b",
            "must be a name without dots, since routes begin with it",
        ),
        (
            json!({"e": {"chat": [7]}}),
            "e.chat[0]",
            "must be an object",
        ),
        (
            json!({"e": {"chat": [{}]}}),
            "e.chat[0].id",
            "is missing: must be a text",
        ),
        (json!({"e": {"chat": [{"id": ""}]}}), "e.chat[0].id", text),
        (json!({"e": {"chat": [{"id": 7}]}}), "e.chat[0].id", text),
        (
            json!({"e": {"chat": [{"id": "a"}], "area": [{"id": "a"}]}}),
            "e.area[0].id",
            "is the id of another server, too: e.chat[0]",
        ),
        (
            json!({"e": {"c": [{"id": "c", "frontend": true}]}}),
            "e.c[0].clientPort",
            "is missing at a frontend: must be a port",
        ),
        (
            json!({"e": {"c": [{"id": "c", "frontend": "yes"}]}}),
            "e.c[0].frontend",
            flag,
        ),
        (
            json!({"e": {"c": [{"id": "c", "frontend": 1}]}}),
            "e.c[0].frontend",
            flag,
        ),
        (
            json!({"e": {"c": [{"id": "c", "host": 127}]}}),
            "e.c[0].host",
            text,
        ),
        (
            json!({"e": {"c": [{"id": "c"}, {"id": "d", "port": 70000}]}}),
            "e.c[1].port",
            port,
        ),
        (
            json!({"e": {"c": [{"id": "c", "port": "3o10"}]}}),
            "e.c[0].port",
            port,
        ),
        (
            json!({"e": {"c": [{"id": "c", "port": 1.5}]}}),
            "e.c[0].port",
            port,
        ),
        (
            json!({"e": {"c": [{"id": "c", "clientPort": -1}]}}),
            "e.c[0].clientPort",
            port,
        ),
        (
            json!({"e": {"c": [{"id": "c", "clientHost": true}]}}),
            "e.c[0].clientHost",
            text,
        ),
        (
            json!({"e": {"c": [{"id": "c", "max-connections": "many"}]}}),
            "e.c[0].max-connections",
            whole,
        ),
        (
            json!({"e": {"c": [{"id": "c", "weight": -1}]}}),
            "e.c[0].weight",
            whole,
        ),
        (
            json!({"e": {"c": [{"id": "c", "cpu": [1]}]}}),
            "e.c[0].cpu",
            "must be a text that is not empty, or a number",
        ),
        (
            json!({"e": {"c": [{"id": "c", "args": [1]}]}}),
            "e.c[0].args",
            "must be a text or a list of texts",
        ),
        (
            json!({"e": {"c": [{"id": "c", "auto-restart": 1}]}}),
            "e.c[0].auto-restart",
            flag,
        ),
        (
            json!({"e": {"c": [{"id": "c", "restart-force": "no"}]}}),
            "e.c[0].restart-force",
            flag,
        ),
        (
            json!({"e": {"c": [{"clusterCount": 0}]}}),
            "e.c[0].clusterCount",
            "must be a whole number, 1 to 10000",
        ),
        (
            json!({"e": {"c": [{"clusterCount": "x"}]}}),
            "e.c[0].clusterCount",
            "must be a whole number, 1 to 10000",
        ),
        (
            json!({"e": {"c": [{"clusterCount": 2, "port": "65535++"}]}}),
            "e.c[0].port",
            port,
        ),
    ];
    for (document, field, problem) in servers {
        let error = Config::from_servers(&document, "e").unwrap_err();
        let found = mistakes(error);
        let [mistake] = found.as_slice() else {
            panic!("{document}: {found:?}");
        };
        assert_eq!(
            (&*mistake.field, &*mistake.problem),
            (field, problem),
            "{document}"
        );
        assert_eq!(mistake.file, "servers.json");
    }
}

#[test]
fn the_other_files_are_looked_through_too() {
    let list = "must be a list";
    let text = "is missing: must be a text";
    let cases = [
        ("master", json!([]), "", "must be an object"),
        ("master", json!({"e": {}}), "e.id", text),
        (
            "master",
            json!({"id": "m", "port": "x"}),
            "port",
            "must be a port, 0 to 65535",
        ),
        ("masterha", json!({"masters": []}), "masterha", list),
        (
            "masterha",
            json!({"masterha": [{}]}),
            "masterha[0].id",
            text,
        ),
        ("adminUser", json!({}), "", list),
        ("adminUser", json!({"e": [7]}), "e[0]", "must be an object"),
        (
            "adminUser",
            json!([{"password": "p", "level": 1}]),
            "[0].username",
            text,
        ),
        (
            "adminUser",
            json!([{"username": "u", "level": 1}]),
            "[0].password",
            text,
        ),
        (
            "adminUser",
            json!([{"username": "u", "password": "p"}]),
            "[0].level",
            "is missing: must be a whole number, 1 for everything",
        ),
        (
            "adminUser",
            json!([{"username": "u", "password": "p", "level": "high"}]),
            "[0].level",
            "must be a whole number, 1 for everything",
        ),
        ("adminServer", json!([{"type": "chat"}]), "[0].token", text),
        ("adminServer", json!([{"token": "t"}]), "[0].type", text),
        (
            "dictionary",
            json!({"e": {"onChat": 1}}),
            "e",
            "must be a list of routes",
        ),
        (
            "dictionary",
            json!(["onChat", 7]),
            "",
            "must be a list of routes",
        ),
        (
            "clientProtos",
            json!({"a.b.c": {"required uInt128 n": 1}}),
            "a.b.c.n",
            "unknown type \"uInt128\"",
        ),
        ("serverProtos", json!([]), "", "expected an object"),
        ("crons", json!([]), "", "must be an object of server types"),
        (
            "crons",
            json!({"e": {"chat": {}}}),
            "e.chat",
            "must be a list of jobs",
        ),
        (
            "crons",
            json!({"chat": [7]}),
            "chat[0]",
            "must be an object",
        ),
        (
            "crons",
            json!({"chat": [{"id": true, "time": "* * * * * *", "action": "a.b"}]}),
            "chat[0].id",
            "must be a text that is not empty, or a number",
        ),
        (
            "crons",
            json!({"chat": [{"id": 1, "time": "* * * * *", "action": "a.b"}]}),
            "chat[0].time",
            "must have six fields (second, minute, hour, day of month, month, day of week), not 5",
        ),
        (
            "crons",
            json!({"chat": [{"id": 1, "time": "*/5 * * * * *", "action": "a.b"}]}),
            "chat[0].time",
            "second \"*/5\" must be *, or a list of n, a-b and a/n",
        ),
        (
            "crons",
            json!({"chat": [{"id": 1, "time": "0 0 0 1 12 *", "action": "a.b"}]}),
            "chat[0].time",
            "month \"12\" must lie within 0 to 11",
        ),
        (
            "crons",
            json!({"chat": [{"id": 1, "time": "* * * * * *", "action": 7}]}),
            "chat[0].action",
            "must be a text that is not empty",
        ),
    ];
    let dir = Dir::new("wrong");
    dir.write("servers.json", &json!({"e": {"chat": [{"id": "chat-1"}]}}));
    for (name, document, field, problem) in cases {
        let file = format!("{name}.json");
        dir.write(&file, &document);
        let found = mistakes(Config::load(&dir.0, "e").unwrap_err());
        let [mistake] = found.as_slice() else {
            panic!("{file} {document}: {found:?}");
        };
        let place = (&*mistake.field, &*mistake.problem);
        assert_eq!(place, (field, problem), "{file} {document}");
        assert_eq!(mistake.file, dir.0.join(&file).display().to_string());
        std::fs::remove_file(dir.0.join(file)).unwrap();
    }
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    let document = json!({"e": {"c": [{"port": "x"}, {"id": "d", "frontend": true}]}});
    let error = Config::from_servers(&document, "e").unwrap_err();
    assert_eq!(
        error.to_string(),
        "servers.json: e.c[0].id: is missing: must be a text\n\
         servers.json: e.c[0].port: must be a port, 0 to 65535\n\
         servers.json: e.c[1].clientPort: is missing at a frontend: must be a port"
    );
}

#[test]
fn entries_keep_members_nobody_knows() {
    let document = json!({"e": {"gate": [
        {"id": "g", "frontend": "true", "clientPort": "3014", "region": "cn", "port": null}]}});
    let config = Config::from_servers(&document, "e").unwrap();
    let gate = &config.servers[0];
    assert!(gate.frontend);
    assert_eq!(gate.client_port, Some(3014));
    assert_eq!(gate.extra["region"], "cn");
    assert_eq!(gate.port, None);
}

#[test]
fn members_for_whoever_starts_the_process_are_read() {
    let document = json!({"e": {"area": [{
        "id": "a", "host": "10.0.0.7", "port": 3050, "max-connections": "100", "weight": 3,
        "cpu": 2, "args": "--inspect", "auto-restart": "true", "restart-force": true,
    }, {"id": "b", "args": ["-a", "-b"], "cpu": "0,1"}]}});
    let config = Config::from_servers(&document, "e").unwrap();
    let area = &config.servers[0];
    assert_eq!((&*area.host, area.port), ("10.0.0.7", Some(3050)));
    assert_eq!((area.max_connections, area.weight), (Some(100), Some(3)));
    assert_eq!(
        (area.cpu.as_deref(), &*area.args),
        (Some("2"), &["--inspect".to_owned()][..])
    );
    assert!(area.auto_restart && area.restart_force);
    assert_eq!(config.servers[1].args, ["-a", "-b"]);
    assert_eq!(config.servers[1].cpu.as_deref(), Some("0,1"));
}

#[test]
fn a_cluster_is_the_servers_it_stands_for() {
    let document = json!({"e": {"connector": [
        {"clusterCount": 2, "port": "3010++", "clientPort": "4010++", "frontend": true, "zone": "7++"},
        {"id": "connector-x", "port": 9, "clientPort": 10, "frontend": true},
        {"clusterCount": "3", "host": "10.0.0.2", "port": "3010++", "clientPort": "4010++", "frontend": true},
    ]}});
    let config = Config::from_servers(&document, "e").unwrap();
    let found: Vec<_> = config
        .servers
        .iter()
        .map(|server| {
            (
                &*server.id,
                &*server.host,
                server.port.unwrap(),
                server.client_port.unwrap(),
            )
        })
        .collect();
    let local = "127.0.0.1";
    assert_eq!(
        found,
        [
            ("cluster-server-connector-0", local, 3010, 4010),
            ("cluster-server-connector-1", local, 3011, 4011),
            ("connector-x", local, 9, 10),
            ("cluster-server-connector-2", "10.0.0.2", 3010, 4010),
            ("cluster-server-connector-3", "10.0.0.2", 3011, 4011),
            ("cluster-server-connector-4", "10.0.0.2", 3012, 4012),
        ]
    );
    assert_eq!(config.servers[1].extra["zone"], 8);
    assert_eq!(config.servers[1].extra["clusterCount"], 2);
}

#[test]
fn both_layouts_are_read_and_the_shared_one_first() {
    let dir = Dir::new("layouts");
    dir.write("e/servers.json", &json!({"chat": [{"id": "chat-e"}]}));
    dir.write("e/master.json", &json!({"id": "m", "port": 4000, "e": {}}));
    dir.write(
        "master.json",
        &json!({"e": {"id": "m-1", "region": "cn"}, "other": 7}),
    );
    dir.write("dictionary.json", &json!(["onChat"]));
    dir.write(
        "e/adminUser.json",
        &json!([{"id": 1, "username": "u", "password": "secret", "level": 1}]),
    );
    dir.write(
        "adminServer.json",
        &json!({"e": [{"type": "chat", "token": "secret"}]}),
    );
    dir.write(
        "masterha.json",
        &json!({"masterha": [{"id": "m-2", "host": "h", "port": 1}]}),
    );
    dir.write(
        "crons.json",
        &json!({"e": {"chat": [
        {"id": 1, "time": "0 30 10 * * *", "action": "chatCron.sendMoney"},
        {"id": 2, "time": "0 0 0 * * *", "action": "chatCron.b", "serverId": "chat-e"},
        {"time": "0 0 0 * * *", "action": "chatCron.without.id"}]}}),
    );
    let protos = json!({"onChat": {"required string msg": 1}});
    dir.write("e/serverProtos.json", &protos);
    let config = Config::load(&dir.0, "e").unwrap();
    assert_eq!(&*config.servers[0].id, "chat-e");
    let master = config.master.unwrap();
    assert_eq!(
        (&*master.id, &*master.host, master.port),
        ("m-1", "127.0.0.1", 3005)
    );
    assert_eq!(master.extra["region"], "cn");
    assert_eq!(config.standby_masters[0].id, "m-2");
    assert_eq!(config.dictionary, ["onChat"]);
    assert_eq!(config.server_protos, Some(protos));
    assert_eq!(config.client_protos, None);
    let user = &config.admin_users[0];
    assert_eq!((&*user.id, &*user.username, user.level), ("1", "u", 1));
    let tokens = config.admin_servers.unwrap();
    assert_eq!(
        (&*tokens[0].server_type, &*tokens[0].token),
        ("chat", "secret")
    );
    assert!(!format!("{user:?}{tokens:?}").contains("secret"));
    let crons: Vec<_> = config
        .crons
        .iter()
        .map(|(server_type, cron)| {
            (
                &**server_type,
                &*cron.id,
                &*cron.action,
                cron.server_id.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        crons,
        [
            ("chat", "1", "chatCron.sendMoney", None),
            ("chat", "2", "chatCron.b", Some("chat-e")),
        ]
    );
}

#[test]
fn what_pomelo_init_writes_is_read() {
    let dir = Dir::new("init");
    dir.write(
        "servers.json",
        &json!({"e": {"connector": [{
        "id": "connector-server-1", "host": "127.0.0.1", "port": 3150,
        "clientHost": "127.0.0.1", "clientPort": 3010, "frontend": true}]}}),
    );
    dir.write(
        "master.json",
        &json!({"e": {"id": "master-server-1", "host": "127.0.0.1", "port": 3005}}),
    );
    dir.write(
        "adminServer.json",
        &json!([{"type": "connector", "token": "agar"}]),
    );
    for name in ["dictionary", "clientProtos", "serverProtos"] {
        dir.write(&format!("{name}.json"), &json!({}));
    }
    let config = Config::load(&dir.0, "e").unwrap();
    assert!(config.dictionary.is_empty());
    assert_eq!(config.client_protos, Some(json!({})));
}

#[test]
fn files_that_are_missing_or_no_json_are_named() {
    let dir = Dir::new("missing");
    let message = |error: ConfigError| error.to_string();
    let servers = dir.0.join("servers.json").display().to_string();
    let error = Config::load(&dir.0, "e").unwrap_err();
    assert_eq!(message(error), format!("{servers}: cannot be read"));
    std::fs::write(&servers, "{").unwrap();
    let error = Config::load(&dir.0, "e").unwrap_err();
    assert_eq!(message(error), format!("{servers}: not JSON"));
    // Some editors begin a file with a byte order mark.
    std::fs::write(
        &servers,
        "\u{feff}{\"e\": {\"chat\": [{\"id\": \"chat-1\"}]}}",
    )
    .unwrap();
    assert_eq!(Config::load(&dir.0, "e").unwrap().servers.len(), 1);
}
