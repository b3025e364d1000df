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
