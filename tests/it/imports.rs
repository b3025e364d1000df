//! Who imports whom: no room looks up to one above it, and no two look at each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The rooms of `src/`, from the lowest: each imports only what stands before it. So there is no circle either.
const FLOORS: [&str; 30] = [
    "fault",
    "seeds",
    "unseen",
    "spelled",
    "tags",
    "directory",
    "errors",
    "units",
    "secret",
    "time",
    "trust",
    "yaml",
    "event",
    "rules",
    "store",
    "destination",
    "telemetry",
    "deliver",
    "notify",
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

/// What stands in a module, without comments and without its tests.
struct Source {
    code: String,
    /// The names that `use` lines bring in, with the paths that they stand for.
    names: Vec<(String, Vec<String>)>,
    /// The names of what is defined in it.
    items: BTreeSet<String>,
}

impl Source {
    fn read(code: String) -> Self {
        Self { names: brought_in(&code), items: items(&code), code }
    }
}

type Modules = BTreeMap<Module, Source>;

/// All of `src/`, but what is for tests alone.
fn modules() -> Modules {
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
        (module, Source::read(without_tests(&source)))
    };
    files.iter().map(|path| code(path)).filter(|(module, _)| !is_of_tests(module)).collect()
}

/// Whether all of a file is for tests.
fn is_of_tests(module: &Module) -> bool {
    module.iter().any(|step| ["tests", "model_test", "by_hand"].contains(&step.as_str()))
}

/// What of a source is not for tests, without comments. An item that is theirs ends at a line as far to the left as it began.
pub fn without_tests(source: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut kept = String::new();
    let mut skipped = None;
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let trimmed = line.trim_start();
        if let Some(start) = skipped {
            let is_last = !trimmed.starts_with("#[") && trimmed.ends_with([';', '}', ',']);
            if is_last && indent(line) == start {
                skipped = None;
            }
        } else if trimmed.starts_with("#[cfg(") && trimmed.contains("test") && !trimmed.contains("not(") {
            skipped = Some(indent(line));
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn what_is_for_tests_is_cut_out_and_nothing_behind_it() {
    let source = "use one;\n#[cfg(test)]\nuse two::{\n    three,\n};\nimpl Four {\n    #[cfg(test)]\n    fn five(\n        &self,\n    ) {\n        \
                  six();\n    }\n\n    fn seven() {}\n}\n#[cfg(test)]\nmod tests {\n    use eight;\n}\nuse nine; // ten\n";
    assert_eq!(without_tests(source), "use one;\nimpl Four {\n\n    fn seven() {}\n}\nuse nine; // ten\n");
}

/// Which modules each module names.
fn all_imported() -> BTreeMap<Module, BTreeSet<Module>> {
    let modules = modules();
    modules.keys().map(|module| (module.clone(), imported(module, &modules))).collect()
}

#[test]
fn no_room_imports_one_above_it() {
    let floor = |room: &str| FLOORS.iter().position(|known| *known == room);
    let mut rooms = BTreeSet::new();
    for (module, imported) in all_imported() {
        let Some(room) = module.first() else { continue };
        let own = floor(room).unwrap_or_else(|| panic!("`{room}` has no floor: give it one"));
        rooms.insert(own);
        for named in imported.iter().filter_map(|imported| imported.first()) {
            let is_below = named == room || floor(named).is_some_and(|floor| floor < own);
            assert!(is_below, "{} imports `{named}`, which does not stand below it", module.join("::"));
        }
    }
    assert_eq!(rooms.len(), FLOORS.len(), "a floor that nobody lives on");
}

#[test]
fn no_two_files_of_a_room_need_each_other() {
    // Of each folder, which of the modules in it imports which.
    let mut folders: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let mut imports = 0;
    for (module, imported) in &all_imported() {
        for imported in imported {
            let shared = module.iter().zip(imported).take_while(|(one, other)| one == other).count();
            // A folder and what is in it are one.
            if let (Some(from), Some(to)) = (module.get(shared), imported.get(shared)) {
                let folder = folders.entry(module[..shared].to_vec()).or_default();
                folder.entry(from.clone()).or_default().insert(to.clone());
                imports += 1;
            }
        }
    }
    assert!(imports > 300, "imports were found: {imports}");
    let mut circles = Vec::new();
    for (folder, graph) in &folders {
        for (module, imported) in graph {
            for other in imported.iter().filter(|other| reaches(graph, other, module)) {
                circles.push(format!("{}: {module} imports {other}, and that leads back", folder.join("::")));
            }
        }
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
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

/// The modules that a module names: by its `use` lines, by paths within its code, and by what `use super::*` takes from above. What is
/// named where it is passed on comes from where it is defined as well.
fn imported(module: &Module, modules: &Modules) -> BTreeSet<Module> {
    let Source { code, names, .. } = &modules[module];
    let by_name = names.iter().map(|(_, path)| path.clone());
    let mut found = BTreeSet::new();
    let mut followed = BTreeSet::new();
    let mut follow = |of: &Module, name: &str| follow(of, name, modules, &mut followed);
    for path in by_name.chain(paths_within(code)) {
        let Some((of, rest)) = resolve(module, &path, modules) else { continue };
        match rest.first().map(String::as_str) {
            Some("*") => words(code).collect::<BTreeSet<_>>().into_iter().for_each(|word| follow(&of, word)),
            Some(name) => follow(&of, name),
            None => {}
        }
        found.insert(of);
    }
    found.extend(followed.into_iter().map(|(module, _)| module));
    found
}

/// Where a name in a module comes from, if it is passed on there: modules, each with the name that it has there.
fn follow(of: &Module, name: &str, modules: &Modules, followed: &mut BTreeSet<(Module, String)>) {
    for (brought, path) in &modules[of].names {
        if brought != name && brought != "*" {
            continue;
        }
        let Some((from, rest)) = resolve(of, path, modules) else { continue };
        let is_here = brought == name || modules[&from].items.contains(name);
        let name = rest.first().filter(|step| *step != "*").map_or(name, String::as_str);
        if is_here && followed.insert((from.clone(), name.to_owned())) {
            follow(&from, name, modules, followed);
        }
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> + Clone {
    code.split(|c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

/// The names of what some code defines.
fn items(code: &str) -> BTreeSet<String> {
    let is_item = |word: &str| ["struct", "enum", "trait", "type", "fn", "const", "static"].contains(&word);
    let named = words(code).zip(words(code).skip(1)).filter(|(kind, _)| is_item(kind));
    named.map(|(_, name)| name.to_owned()).collect()
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The module that a path leads into, and what of the path is something in it.
fn resolve(module: &Module, path: &[String], modules: &Modules) -> Option<(Module, Vec<String>)> {
    let mut path = path.iter().peekable();
    let first = path.next()?;
    let mut whole: Module = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.clone(),
        "super" => module.split_last()?.1.to_vec(),
        // A module below, or else a crate.
        _ => {
            let below = module.iter().chain([first]).cloned().collect();
            modules.contains_key(&below).then_some(below)?
        }
    };
    while path.next_if(|step| *step == "super").is_some() {
        whole.pop();
    }
    whole.extend(path.cloned());
    let length = (1..=whole.len()).rev().find(|length| modules.contains_key(&whole[..*length]))?;
    let rest = whole.split_off(length);
    Some((whole, rest))
}

/// The names that `use` lines bring in, with their paths, also within a function.
fn brought_in(code: &str) -> Vec<(String, Vec<String>)> {
    let mut named = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some((visibility, start)) = line.trim_start().split_once("use ") else { continue };
        if !(visibility.is_empty() || visibility.starts_with("pub")) {
            continue;
        }
        let mut tree = start.to_owned();
        while !tree.contains(';') {
            let Some(more) = lines.next() else { break };
            tree.push_str(more);
        }
        expand(tree.split(';').next().unwrap_or_default(), &[], &mut named);
    }
    named
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
        (
            "room",
            "use self::other::Thing;\npub use third::One;\npub use self::fourth::*;\npub use self::fifth::Five as Other;\n",
        ),
        ("room::other", ""),
        ("room::third", ""),
        ("room::fourth", "pub struct Four;\n"),
        ("room::fifth", "pub use super::third::Five;\n"),
        ("room::by_use", "use super::{third::{One, Two}, other};\n"),
        ("room::by_path", "fn f() {\n    super::other::run(&crate::room::third::ALL);\n}\n"),
        ("room::by_star", "use super::*;\n\nfn f(_: Thing) {}\n"),
        ("room::by_name", "use super::Thing;\nuse crate::room::One;\n"),
        ("room::by_two_stars", "use super::*;\n\nfn f(_: Four) {}\n"),
        ("room::within", "fn f() {\n    use super::{\n        One,\n        fourth,\n    };\n}\n"),
        ("room::by_another_name", "use super::Other;\nuse super::fifth::Six;\n"),
        ("room::alone", "use super::*;\n\nfn f(_: Things) {}\n"),
    ];
    let modules = sources.iter().map(|(name, code)| (module(name), Source::read((*code).to_owned()))).collect();
    for (name, expected) in [
        ("room::by_use", &["other", "third"][..]),
        ("room::by_path", &["other", "third"]),
        ("room::by_star", &["other"]),
        ("room::by_name", &["other", "third"]),
        ("room::by_two_stars", &["fourth"]),
        ("room::within", &["fourth", "third"]),
        ("room::by_another_name", &["fifth", "third"]),
        ("room::alone", &[]),
    ] {
        let imported = imported(&module(name), &modules);
        let beside: Vec<_> = imported.iter().filter_map(|module| module.get(1)).collect();
        assert_eq!(beside, expected, "{name}");
    }
}

/// The single paths of a tree of imports, each with the name that it brings in.
fn expand(tree: &str, before: &[String], into: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        let (tree, alias) = tree.split_once(" as ").map_or((tree, None), |(tree, alias)| (tree, Some(alias)));
        let steps = tree.split("::").map(|step| step.trim().to_owned());
        let path: Vec<String> = before.iter().cloned().chain(steps).collect();
        let name = alias.or_else(|| path.iter().map(String::as_str).rfind(|step| *step != "self"));
        if let Some(name) = name.map(str::to_owned) {
            into.push((name, path));
        }
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
