//! What `packaging/` says fits the program: the unit, what systemd is told, the image's files, the installed config.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{PATIENCE, parse};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn systemd_is_told_when_the_relay_is_ready_alive_and_stopping() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).expect("a socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let config = directory.path().join("config.yaml");
    let text = "listen: 127.0.0.1:0\nadmin: { listen: \"127.0.0.1:0\" }\ndata_dir: data\n\
        sources: { vero: { token: secret } }\nrules: [{ to: [a] }]\ndestinations: { a: { file: { path: a } } }\n";
    std::fs::write(&config, text).expect("a config");
    let mut relay = Command::new(env!("CARGO_BIN_EXE_vero-relay"));
    relay.args(["run", "-c"]).arg(&config).stderr(Stdio::null());
    relay.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000").env_remove("WATCHDOG_PID");
    let mut relay = relay.spawn().expect("it starts");
    let heard = |what: &str| {
        let mut message = [0; 4096];
        loop {
            let read = systemd.recv(&mut message).unwrap_or_else(|error| panic!("waited for {what}: {error}"));
            let message = String::from_utf8_lossy(&message[..read]).into_owned();
            if message.lines().any(|line| line == what) {
                return;
            }
        }
    };
    heard("READY=1");
    heard("WATCHDOG=1");
    heard("WATCHDOG=1");
    let pid = rustix::process::Pid::from_child(&relay);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the relay is there");
    heard("STOPPING=1");
    assert!(relay.wait().expect("it ends").success());
}

#[test]
fn the_unit_asks_for_little_where_systemd_can_judge_it() {
    let unit = text("packaging/vero-relay.service");
    for line in [
        "Type=notify",
        "ExecReload=/usr/bin/vero-relay reload --config /etc/vero-relay/config.yaml",
        "StateDirectory=vero-relay",
        "ReadWritePaths=-/var/backups/vero-relay",
        "RestartPreventExitStatus=75 78",
    ] {
        assert!(unit.lines().any(|found| found == line), "the unit says {line}");
    }
    assert!(unit.contains("LoadCredential=") && unit.contains("WatchdogSec="));
    // Its analyzer comes with systemd, which a machine for building need not have; where it is, it judges.
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
        .arg(root("packaging/vero-relay.service"))
        .output();
    match judged {
        Ok(judged) => {
            assert!(judged.status.success(), "exposure above 2.0: {}", String::from_utf8_lossy(&judged.stdout));
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}

#[test]
fn the_image_is_built_from_files_that_exist_and_uses_verbs_that_exist() {
    let file = text("packaging/Dockerfile");
    let copied: Vec<&str> = file
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split(' ').collect::<Vec<_>>().into_iter().rev().skip(1))
        .collect();
    assert!(copied.len() >= 8, "{copied:?}");
    for name in copied {
        assert!(root(name).exists(), "COPY {name}");
    }
    for needed in ["USER vero-relay", "ENV VERO_RELAY_LISTEN=0.0.0.0:8080", "\"vero-relay\", \"healthcheck\""] {
        assert!(file.contains(needed), "{needed}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_vero-relay")).args(["healthcheck", "--help"]).output().expect("help");
    assert!(help.status.success());
}

#[test]
fn compose_mounts_what_exists_and_keeps_the_data() {
    let compose: serde_yaml::Value = serde_yaml::from_str(&text("packaging/compose.yaml")).expect("YAML");
    let relay = &compose["services"]["relay"];
    let volumes: Vec<&str> =
        relay["volumes"].as_sequence().expect("volumes").iter().filter_map(|v| v.as_str()).collect();
    let config = volumes.iter().find(|volume| volume.contains("config.yaml")).expect("the config is mounted");
    assert!(root("packaging").join(config.split(':').next().expect("a path")).exists(), "{config}");
    let image = text("packaging/Dockerfile");
    for (name, path) in [("data", "/var/lib/vero-relay/data"), ("backups", "/var/backups/vero-relay")] {
        assert!(volumes.contains(&format!("{name}:{path}").as_str()), "{volumes:?}");
        assert!(compose["volumes"].get(name).is_some(), "the volume {name}");
        assert!(image.contains(path), "the image has no {path} that its user may write");
    }
    assert!(relay["build"]["dockerfile"].as_str().is_some_and(|path| root(path).exists()));
}

#[test]
fn the_config_of_several_relays_is_good_and_says_where_lines_lie() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.yaml");
    let good = text("packaging/cluster.yaml");
    // A file of which nobody says which relay has it is refused.
    let vague = good.replace("archive-{relay}/", "archive/");
    assert_ne!(good, vague);
    for (config, is_good) in [(good, true), (vague, false)] {
        std::fs::write(&path, &config).expect("a config");
        let checked = Command::new(env!("CARGO_BIN_EXE_vero-relay"))
            .args(["check", "--strict", "-c"])
            .arg(&path)
            .env_clear()
            .env("RELAY_NAME", "relay-a")
            .env("VERO_TOKEN", "0123456789abcdef0123456789abcdef0123456789abcdef")
            .env("DATABASE_URL", "postgresql://relay:a-password@db1,db2,db3/relay?sslmode=disable")
            .output()
            .expect("check runs");
        let said = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(checked.status.success(), is_good, "{config}{said}");
        assert!(is_good || said.contains("{relay}"), "{said}");
    }
}

/// A time as compose and a config write it: `40s`.
fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no seconds: {text}"))
}

#[test]
fn compose_of_several_relays_has_two_of_them_behind_a_balancer_that_asks_for_readyz() {
    let mut compose: serde_yaml::Value = serde_yaml::from_str(&text("packaging/compose-cluster.yaml")).expect("YAML");
    compose.apply_merge().expect("what services have in common");
    let config: serde_yaml::Value = serde_yaml::from_str(&text("packaging/cluster.yaml")).expect("YAML");
    let services = compose["services"].as_mapping().expect("services");
    let caddy = text("packaging/cluster/Caddyfile");
    let balanced = caddy.lines().find(|line| line.trim().starts_with("reverse_proxy ")).expect("a balancer");
    assert!(caddy.lines().any(|line| line.trim() == "health_uri /readyz"), "{caddy}");
    assert!(caddy.contains("handle /hooks/* {") && caddy.contains("exclude http.log.error"), "{caddy}");
    let grace = seconds(config["limits"]["shutdown_grace"].as_str().expect("a time"));
    for name in ["relay-a", "relay-b"] {
        let relay = &compose["services"][name];
        assert!(balanced.contains(&format!("{name}:8080")), "{balanced}");
        assert_eq!(relay["environment"]["RELAY_NAME"].as_str(), Some(name), "each has a name of its own");
        let stops = seconds(relay["stop_grace_period"].as_str().expect("a time"));
        assert!(stops > grace, "{name} is killed after {stops} s, and may need {grace} s");
        assert!(relay["build"]["dockerfile"].as_str().is_some_and(|path| root(path).exists()), "{name}");
        assert!(relay["ports"].is_null(), "{name} is reached by way of the balancer alone");
    }
    // Whatever is mounted is in the repository, or a volume that is declared.
    let mut mounted = 0;
    for (name, service) in services {
        for volume in service["volumes"].as_sequence().into_iter().flatten().filter_map(|volume| volume.as_str()) {
            let from = volume.split(':').next().expect("a path");
            match from.strip_prefix("./") {
                Some(path) => assert!(root("packaging").join(path).exists(), "{name:?}: {volume}"),
                None => assert!(compose["volumes"].get(from).is_some(), "{name:?}: {volume}"),
            }
            mounted += 1;
        }
    }
    assert!(mounted >= 10, "{mounted}");
    // Any one of the servers may be lost, and nothing that was acknowledged with it.
    for name in ["db1", "db2", "db3"] {
        assert_eq!(compose["services"][name]["environment"]["NAME"].as_str(), Some(name));
    }
    assert!(text("packaging/cluster/database.sh").contains("synchronous_standby_names = 'ANY 1 (db1, db2, db3)'"));
}

#[test]
fn the_installed_config_is_good_and_has_no_warnings() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("token"), "0123456789abcdef0123456789abcdef0123456789abcdef")
        .expect("a token");
    let config = parse(directory.path(), &text("packaging/config.yaml"));
    assert_eq!(config.data_dir, Path::new("/var/lib/vero-relay"));
    // As it is, and with what stands in it as a comment: a shell has none of the service's variables, and needs none.
    std::fs::write(directory.path().join("slack_url"), "https://hooks.slack.com/services/T0/B0/x\n").expect("a secret");
    let whole: String = text("packaging/config.yaml")
        .lines()
        .skip_while(|line| !line.is_empty())
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(_) => format!("{}\n", line.replacen("# ", "", 1)),
            None => format!("{line}\n"),
        })
        .collect();
    let whole = whole.replace(
        "to: [archive] }",
        "to: [archive] }\n  - { name: t, event: { type: bounced }, expect: { to: [archive, alerts] } }",
    );
    assert!(whole.contains("\n  alerts:\n    slack:\n      url: \"${file:slack_url}\""), "{whole}");
    let path = directory.path().join("config.yaml");
    for config in [text("packaging/config.yaml"), whole] {
        std::fs::write(&path, &config).expect("a config");
        let checked = Command::new(env!("CARGO_BIN_EXE_vero-relay"))
            .args(["check", "--strict", "-c"])
            .arg(&path)
            .env_clear()
            .output()
            .expect("check runs");
        assert!(checked.status.success(), "{config}{}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// What the package installs below its documentation: each file of the repository, as it is named there.
fn documentation() -> Vec<(PathBuf, PathBuf)> {
    let manifest = text("Cargo.toml");
    let assets = manifest.split_once("assets = [").and_then(|(_, rest)| rest.split_once("\n]")).expect("assets").0;
    let mut installed = Vec::new();
    for line in assets.lines().filter(|line| line.trim().starts_with("[\"")) {
        let words: Vec<_> = line.split('"').collect();
        let (from, to) = (words[1], words[3]);
        if from.starts_with("target/") {
            continue;
        }
        let files = match from.strip_suffix("/*") {
            Some(directory) => {
                let entries = std::fs::read_dir(root(directory)).expect("a directory");
                let files = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
                files.map(|path| path.strip_prefix(root("")).expect("below").to_owned()).collect()
            }
            None => vec![PathBuf::from(from)],
        };
        assert!(!files.is_empty() && files.iter().all(|file| root("").join(file).exists()), "{from}");
        let Some(below) = to.strip_prefix("usr/share/doc/vero-relay/") else { continue };
        let named = |file: &PathBuf| match to.ends_with('/') {
            true => Path::new(below).join(file.file_name().expect("a name")),
            false => PathBuf::from(below),
        };
        installed.extend(files.iter().map(|file| (file.clone(), named(file))));
    }
    assert!(installed.len() >= 20, "{installed:?}");
    installed
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// A heading as the address of its section.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere_in_the_repository_and_in_the_package() {
    let installed = documentation();
    let mut links = 0;
    for (file, name) in installed.iter().filter(|(file, _)| file.extension().is_some_and(|kind| kind == "md")) {
        assert_eq!(file, name, "the package lays its pages out as the repository does");
        let page = text(file.to_str().expect("text"));
        for link in page.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            links += 1;
            let (path, section) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => name.clone(),
                path => plain(&name.parent().expect("a directory").join(path)),
            };
            assert!(root("").join(&target).exists(), "{}: {link}", file.display());
            assert!(
                installed.iter().any(|(_, name)| *name == target),
                "not in the package: {}: {link}",
                file.display()
            );
            let there = || text(target.to_str().expect("text"));
            let is_heading =
                |line: &str| line.starts_with('#') && anchor(line.trim_start_matches(['#', ' '])) == section;
            assert!(
                section.is_empty() || there().lines().any(is_heading),
                "no such section: {}: {link}",
                file.display()
            );
        }
    }
    assert!(links >= 40, "the links were found: {links}");
}

#[test]
fn the_unit_may_write_where_the_pages_put_a_backup() {
    let unit = text("packaging/vero-relay.service");
    let may: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ReadWritePaths=-")).collect();
    let mut named = 0;
    for page in ["docs/operations.md", "packaging/compose.yaml"] {
        for rest in text(page).split("store backup /").skip(1) {
            let path = format!("/{}", rest.split_whitespace().next().unwrap_or_default());
            assert!(
                may.iter().any(|may| Path::new(&path).starts_with(may) && Path::new(&path) != Path::new(may)),
                "{path}"
            );
            named += 1;
        }
    }
    assert!(named >= 3, "the pages name some: {named}");
    for script in ["packaging/debian/postinst", "packaging/test-deb.sh", "docs/install.md"] {
        assert!(may.iter().all(|may| text(script).contains(may)), "{script} makes it");
    }
}

#[test]
fn an_upgrade_of_the_package_restarts_the_service_and_not_the_socket() {
    // cargo-deb takes each unit of this name in `unit-scripts` for one to restart.
    assert!(text("Cargo.toml").contains("unit-name = \"vero-relay\", unit-scripts = \"packaging\","));
    let units =
        std::fs::read_dir(root("packaging")).expect("packaging").map(|entry| entry.expect("an entry").file_name());
    let units: Vec<_> = units.filter(|name| name.to_string_lossy().starts_with("vero-relay.")).collect();
    assert_eq!(units, ["vero-relay.service"]);
    assert!(text("packaging/socket/vero-relay.socket").contains("ListenStream=127.0.0.1:8080"));
}

/// The blocks of one language in a page: what stands between its fences.
fn blocks(path: &str, language: &str) -> Vec<String> {
    let page = text(path);
    let open = format!("```{language}\n");
    let found: Vec<_> =
        page.split(&open).skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned())).collect();
    assert!(!found.is_empty(), "{path} has a block of {language}");
    found
}

#[test]
fn the_proxies_of_the_page_pass_webhooks_on_and_answer_the_rest_and_log_no_token() {
    let caddy = blocks("docs/connect-vero.md", "caddy").concat();
    // Caddy sorts what stands at the top of a site by an order of its own, in which `respond` comes before `reverse_proxy`.
    let site = caddy.split_once("hooks.example.com {\n").expect("a site").1;
    let top: Vec<_> = site.lines().filter(|line| line.starts_with('\t') && !line.starts_with("\t\t")).collect();
    assert_eq!(top, ["\thandle /hooks/* {", "\t}", "\thandle {", "\t}"]);
    assert!(caddy.contains("exclude http.log.error"), "a 502 writes the path into the log");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("Caddyfile");
    std::fs::write(&file, caddy + "\n").expect("written");
    // Where Caddy is, it judges: the first route that fits a webhook must be the one to the relay.
    match Command::new("caddy").args(["adapt", "--config"]).arg(&file).output() {
        Ok(adapted) => {
            let said = String::from_utf8_lossy(&adapted.stderr);
            assert!(adapted.status.success() && !said.contains("not formatted"), "{said}");
            let adapted = String::from_utf8(adapted.stdout).expect("JSON");
            let (relay, rest) = (adapted.find("reverse_proxy"), adapted.find("static_response"));
            assert!(relay.is_some() && relay < rest, "{adapted}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
    let nginx = blocks("docs/connect-vero.md", "nginx").concat();
    for line in ["access_log off;", "error_log /dev/null emerg;", "location /hooks/ {", "location / {"] {
        assert!(nginx.lines().any(|found| found.trim() == line), "nginx: {line}");
    }
}
