//! Who imports whom: no room looks up to one above it, and no two look at each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The rooms of `src/`, from the lowest: each imports only what stands before it. So there is no circle either.
const FLOORS: [&str; 26] = [
    "fault",
    "seeds",
    "spelled",
    "directory",
    "errors",
    "units",
    "secret",
    "time",
    "yaml",
    "event",
    "rules",
    "store",
    "destination",
    "telemetry",
    "deliver",
    "config",
    "listener",
    "explain",
    "bins",
    "relay",
    "receive",
    "admin",
    "systemd",
    "daemon",
    "cli",
    "simulation",
];

/// The path of a module, from the crate on.
type Module = Vec<String>;

/// The code of every module, without comments and without its tests.
fn modules() -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    crate::structure::sources(&root, &mut files);
    let code = |path: &Path| {
        let source = std::fs::read_to_string(path).expect("read");
        let module = path.strip_prefix(&root).expect("below").with_extension("");
        let mut module: Module = module.iter().map(|step| step.to_string_lossy().into_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
            module.pop();
        }
        (module, without_tests(&source))
    };
    files.iter().map(|path| code(path)).filter(|(module, _)| !is_of_tests(module)).collect()
}

/// Whether all of a file is for tests.
fn is_of_tests(module: &Module) -> bool {
    module.iter().any(|step| ["tests", "model_test", "by_hand"].contains(&step.as_str()))
}

/// What of a source is not for tests: those stand at a file's foot, and a single import may be theirs as well.
fn without_tests(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut kept = String::new();
    let mut is_of_tests = false;
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        if line.trim_start().starts_with("#[cfg(") && line.contains("test") {
            is_of_tests = true;
            continue;
        }
        let is_import = line.starts_with("use ") || line.starts_with("pub use ") || line.starts_with("pub(");
        if !(is_of_tests && is_import) {
            kept.push_str(line);
            kept.push('\n');
        }
        is_of_tests &= is_import && !line.ends_with(';');
    }
    kept
}

#[test]
fn no_room_imports_one_above_it() {
    let floor = |room: &str| FLOORS.iter().position(|known| *known == room);
    let mut rooms = BTreeSet::new();
    for (module, code) in modules() {
        let Some(room) = module.first() else { continue };
        let own = floor(room).unwrap_or_else(|| panic!("`{room}` has no floor: give it one"));
        rooms.insert(own);
        for named in code.split("crate::").skip(1) {
            let named = named.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).next().unwrap_or_default();
            let below = named.is_empty() || named == room || floor(named).is_some_and(|floor| floor < own);
            assert!(below, "{} imports `{named}`, which does not stand below it", module.join("::"));
        }
    }
    assert_eq!(rooms.len(), FLOORS.len(), "a floor that nobody lives on");
}

#[test]
fn no_two_files_of_a_room_need_each_other() {
    let modules = modules();
    // Of each folder, which of the modules in it imports which.
    let mut folders: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let mut imports = 0;
    for (module, code) in &modules {
        for imported in imported(module, code, &modules) {
            let shared = module.iter().zip(&imported).take_while(|(one, other)| one == other).count();
            // A folder and what is in it are one.
            if let (Some(from), Some(to)) = (module.get(shared), imported.get(shared)) {
                let folder = folders.entry(module[..shared].to_vec()).or_default();
                folder.entry(from.clone()).or_default().insert(to.clone());
                imports += 1;
            }
        }
    }
    assert!(imports > 300, "imports were found: {imports}");
    for (folder, graph) in &folders {
        let circle = graph.keys().find(|module| reaches(graph, module, module));
        assert!(circle.is_none(), "in {}: {} is in a circle of imports", folder.join("::"), circle.expect("there"));
    }
}

/// Whether a module can be reached from another by at least one import.
fn reaches(graph: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(module) = next.pop() {
        for imported in graph.get(module).into_iter().flatten() {
            if imported == to {
                return true;
            }
            if seen.insert(imported.as_str()) {
                next.push(imported);
            }
        }
    }
    false
}

/// The modules that a module's `use` lines name.
fn imported(module: &Module, code: &str, modules: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let mut named = Vec::new();
    for item in code.split(";\n") {
        let item = item.rsplit_once("\n\n").map_or(item, |(_, item)| item).trim_start();
        let item = item
            .lines()
            .skip_while(|line| line.starts_with("#[") || !line.contains("use "))
            .collect::<Vec<_>>()
            .join(" ");
        if let Some((visibility, tree)) = item.split_once("use ")
            && (visibility.is_empty() || visibility.starts_with("pub"))
        {
            expand(tree, &[], &mut named);
        }
    }
    let resolve = |path: Vec<String>| {
        let mut path = path.into_iter().peekable();
        let mut base: Module = match path.next()?.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len() - 1].to_vec(),
            _ => return None,
        };
        while path.next_if(|step| step == "super").is_some() {
            base.pop();
        }
        base.extend(path);
        // What comes behind the module is something in it.
        (1..=base.len()).rev().map(|length| base[..length].to_vec()).find(|base| modules.contains_key(base))
    };
    named.into_iter().filter_map(resolve).collect()
}

/// The single paths of a tree of imports.
fn expand(tree: &str, before: &[String], into: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let steps = tree.split("::").map(|step| step.split(" as ").next().unwrap_or_default().trim().to_owned());
        into.push(before.iter().cloned().chain(steps).collect());
        return;
    };
    let steps = head.split("::").map(|step| step.trim().to_owned()).filter(|step| !step.is_empty());
    let before: Vec<String> = before.iter().cloned().chain(steps).collect();
    let rest = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let mut depth = 0;
    let is_between = |c: char| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    };
    for part in rest.split(is_between).filter(|part| !part.trim().is_empty()) {
        expand(part, &before, into);
    }
}
