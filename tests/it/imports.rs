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
    let names = modules.iter().map(|(module, code)| (module.clone(), brought_in(code))).collect();
    for (module, code) in &modules {
        for imported in imported(module, code, &modules, &names) {
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

/// The names that `use` lines bring into each module, with the paths that they stand for.
type Names = BTreeMap<Module, Vec<(String, Vec<String>)>>;

/// The modules that a module names: by its `use` lines, by paths within its code, and by what `use super::*` takes from above.
fn imported(module: &Module, code: &str, modules: &BTreeMap<Module, String>, names: &Names) -> BTreeSet<Module> {
    let by_name = names[module].iter().map(|(_, path)| path.clone());
    let mut found = BTreeSet::new();
    for path in by_name.chain(paths_within(code)) {
        let Some((of, rest)) = resolve(module, &path, modules) else { continue };
        if rest.first().is_some_and(|step| step == "*") {
            let is_used = |name: &str| code.split(|c: char| !is_of_word(c)).any(|word| word == name);
            let taken = names[&of].iter().filter(|(name, _)| is_used(name));
            found.extend(taken.filter_map(|(_, path)| Some(resolve(&of, path, modules)?.0)));
        }
        found.insert(of);
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The module that a path leads into, and what of the path is something in it.
fn resolve(module: &Module, path: &[String], modules: &BTreeMap<Module, String>) -> Option<(Module, Vec<String>)> {
    let mut path = path.iter().peekable();
    let mut whole: Module = match path.next()?.as_str() {
        "crate" => Vec::new(),
        "self" => module.clone(),
        "super" => module[..module.len() - 1].to_vec(),
        _ => return None,
    };
    while path.next_if(|step| *step == "super").is_some() {
        whole.pop();
    }
    whole.extend(path.cloned());
    let length = (1..=whole.len()).rev().find(|length| modules.contains_key(&whole[..*length]))?;
    let rest = whole.split_off(length);
    Some((whole, rest))
}

/// The names that `use` lines bring in, with their paths.
fn brought_in(code: &str) -> Vec<(String, Vec<String>)> {
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
    let name = |path: &[String]| path.iter().rfind(|step| *step != "self").cloned();
    named.into_iter().filter_map(|path| Some((name(&path)?, path))).collect()
}

/// The paths from `crate`, `super` or `self` on that stand within some code.
fn paths_within(code: &str) -> Vec<Vec<String>> {
    let is_of_path = |c: char| is_of_word(c) || c == ':';
    let paths = code
        .split(|c| !is_of_path(c))
        .filter(|path| ["crate::", "super::", "self::"].iter().any(|start| path.starts_with(start)));
    let steps = |path: &str| path.split("::").filter(|step| !step.is_empty()).map(str::to_owned).collect();
    paths.map(steps).collect()
}

#[test]
fn an_import_is_seen_however_it_is_written() {
    let module = |text: &str| text.split("::").map(str::to_owned).collect::<Module>();
    let sources = [
        ("room", "use self::other::Thing;\n"),
        ("room::other", ""),
        ("room::third", ""),
        ("room::by_use", "use super::{third::{One, Two}, other};\n"),
        ("room::by_path", "fn f() {\n    super::other::run(&crate::room::third::ALL);\n}\n"),
        ("room::by_star", "use super::*;\n\nfn f(_: Thing) {}\n"),
        ("room::alone", "use super::*;\n\nfn f(_: Things) {}\n"),
    ];
    let modules: BTreeMap<_, _> = sources.iter().map(|(name, code)| (module(name), (*code).to_owned())).collect();
    let names = sources.iter().map(|(name, code)| (module(name), brought_in(code))).collect();
    for (name, expected) in [
        ("room::by_use", &["other", "third"][..]),
        ("room::by_path", &["other", "third"]),
        ("room::by_star", &["other"]),
        ("room::alone", &[]),
    ] {
        let module = module(name);
        let imported = imported(&module, &modules[&module], &modules, &names);
        let beside: Vec<_> = imported.iter().filter_map(|module| module.get(1)).collect();
        assert_eq!(beside, expected, "{name}");
    }
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
