//! The rules of the source: arrows point down, the ABI and the HTTP statuses are known where they belong,
//! and `unsafe` stands in the files that are named for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the host from the bottom up; each uses those before it, and itself.
const ORDER: [&str; 11] =
    ["base", "api", "files", "config", "wire", "functions", "plugins", "peers", "router", "http", "app"];

/// The files that may have hand-written `unsafe`, or emit it.
const UNSAFE: [&str; 26] = [
    "host/src/plugins/load/generation.rs",
    "host/src/plugins/load/library.rs",
    "host/src/plugins/native/callbacks.rs",
    "host/src/plugins/native/contained.rs",
    "host/src/plugins/native/environment.rs",
    "host/src/plugins/native/keys.rs",
    "host/src/plugins/native/original.rs",
    "host/src/plugins/native/signals.rs",
    "host/src/plugins/native/spawned.rs",
    "host/src/plugins/native/standing.rs",
    "host/src/plugins/native/thread_exit.rs",
    "host/src/plugins/run/call.rs",
    "host/src/plugins/run/host_table.rs",
    "host/src/plugins/run/nested_call.rs",
    "host/src/plugins/run/waker.rs",
    "plugin-sdk/abi/src/descriptor.rs",
    "plugin-sdk/abi/src/future.rs",
    "plugin-sdk/abi/src/host.rs",
    "plugin-sdk/abi/src/memory.rs",
    "plugin-sdk/macros/src/plugin.rs",
    "plugin-sdk/src/context.rs",
    "plugin-sdk/src/export.rs",
    "plugin-sdk/src/instance.rs",
    "plugin-sdk/src/logging.rs",
    "plugin-sdk/src/outgoing.rs",
    "plugin-sdk/src/waker.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the project").to_owned()
}

/// A source file, by its path from the root.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The code without comments, so that a sentence about a rule does not break it.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate();
        numbered.map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    fn has_word(&self, word: &str) -> bool {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        self.code().any(|(_, line)| line.split(|c| !is_part(c)).any(|part| part == word))
    }
}

/// The Rust files below a folder.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The module of the host that a file belongs to: `plugins` for `host/src/plugins/call.rs`.
fn module_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("host/src/")?;
    let module = rest.split('/').next()?;
    ORDER.into_iter().find(|known| *known == module.trim_end_matches(".rs"))
}

/// The modules that a line names after `crate::`, also those of a list in braces.
fn modules_used(line: &str) -> Vec<String> {
    let names = |text: &str| {
        let name: String =
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        Some(name).filter(|name| !name.is_empty())
    };
    let after = line.match_indices("crate::").filter(|(at, _)| !line[..*at].ends_with('$'));
    after
        .flat_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            match rest.strip_prefix('{') {
                Some(list) => list.split(',').filter_map(names).collect(),
                None => names(rest).into_iter().collect::<Vec<_>>(),
            }
        })
        .collect()
}

#[test]
fn uses_are_found() {
    assert_eq!(modules_used("use crate::base::{Clock, Tasks};"), ["base"]);
    assert_eq!(modules_used("fn f(a: crate::wire::Key) -> crate::http::Door {"), ["wire", "http"]);
    assert_eq!(modules_used("use crate::{base, http::Door};"), ["base", "http"]);
    assert!(modules_used("use super::crate_name;").is_empty());
    assert_eq!(module_of("host/src/plugins/run/call.rs"), Some("plugins"));
    assert_eq!(module_of("host/src/app.rs"), Some("app"));
    assert_eq!(module_of("host/src/cli/check.rs"), None);
}

#[test]
fn modules_of_the_host_use_only_those_below_them() {
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources("host/src") {
        let Some(module) = module_of(&source.path) else { continue };
        seen.insert(module.to_owned());
        for (number, line) in source.code() {
            for used in modules_used(line) {
                let Some(used_rank) = rank(&used) else {
                    wrong.push(format!(
                        "{}:{number} uses `{used}`, which has no place in the order",
                        source.path
                    ));
                    continue;
                };
                if Some(used_rank) > rank(module) {
                    wrong.push(format!("{}:{number} uses `{used}`, which is above `{module}`", source.path));
                }
            }
        }
    }
    assert_eq!(seen.len(), ORDER.len(), "modules with sources: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_order_is_the_one_of_the_library() {
    let library = fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    let modules: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, ORDER);
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let check = |manifest: &str, allowed: &[&str]| {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let document: toml::Table = text.parse().unwrap();
        let mut found = BTreeSet::new();
        for table in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let names =
                document.get(table).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
            found.extend(names.filter(|name| name.starts_with("framex-")).cloned());
        }
        let allowed: BTreeSet<String> = allowed.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, allowed, "{manifest}");
    };
    check("plugin-sdk/abi/Cargo.toml", &[]);
    check("plugin-sdk/macros/Cargo.toml", &[]);
    check("plugin-sdk/Cargo.toml", &["framex-abi", "framex-macros"]);
    check("plugins/demo/Cargo.toml", &["framex-sdk"]);
    check("host/Cargo.toml", &["framex-abi"]);
}

#[test]
fn what_only_one_module_knows_stays_there() {
    for source in sources("host/src") {
        let path = source.path.as_str();
        let of_plugins = path.starts_with("host/src/plugins");
        assert!(of_plugins || !source.has_word("framex_abi"), "{path} knows the ABI");
        assert!(of_plugins || !source.has_word("libloading"), "{path} maps libraries");
        // Peers and the command line read the status of an answer; only `http` gives one.
        let reads = path.starts_with("host/src/peers") || path.starts_with("host/src/cli/");
        let knows = path.starts_with("host/src/http") || reads;
        assert!(knows || !source.has_word("StatusCode"), "{path} knows HTTP statuses");
        let of_wire = path.starts_with("host/src/wire");
        assert!(of_wire || !source.has_word("chacha20poly1305"), "{path} sees ciphertext");
    }
}

#[test]
fn unsafe_code_stands_in_the_files_that_are_named_for_it() {
    let folders = ["host/src", "plugin-sdk/abi/src", "plugin-sdk/macros/src", "plugin-sdk/src", "plugins"];
    let found: Vec<String> = folders
        .into_iter()
        .flat_map(sources)
        .filter(|source| source.has_word("unsafe"))
        .map(|source| source.path)
        .collect();
    assert_eq!(found, UNSAFE);
}
