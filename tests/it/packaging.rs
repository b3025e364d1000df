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
    assert!(volumes.contains(&"data:/var/lib/vero-relay/data"), "{volumes:?}");
    assert!(relay["build"]["dockerfile"].as_str().is_some_and(|path| root(path).exists()));
}

#[test]
fn the_installed_config_is_good_and_has_no_warnings() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("token"), "0123456789abcdef0123456789abcdef0123456789abcdef")
        .expect("a token");
    let config = parse(directory.path(), &text("packaging/config.yaml"));
    assert_eq!(config.data_dir, Path::new("/var/lib/vero-relay"));
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, text("packaging/config.yaml")).expect("a config");
    let checked = Command::new(env!("CARGO_BIN_EXE_vero-relay"))
        .args(["check", "--strict", "-c"])
        .arg(&path)
        .output()
        .expect("check runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn what_the_package_holds_exists() {
    let manifest = text("Cargo.toml");
    let assets = manifest.split_once("assets = [").and_then(|(_, rest)| rest.split_once("\n]")).expect("assets").0;
    let paths: Vec<&str> =
        assets.lines().filter_map(|line| line.trim().strip_prefix("[\"")?.split('"').next()).collect();
    assert!(paths.len() >= 8, "{paths:?}");
    for path in paths.iter().filter(|path| !path.starts_with("target/")) {
        assert!(root(path.trim_end_matches('*')).exists(), "{path}");
    }
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
