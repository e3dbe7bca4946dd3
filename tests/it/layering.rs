//! The rules of the source: arrows point down, the ABI and the HTTP statuses are known where they belong,
//! and `unsafe` stands in the files that are named for it.

mod circles;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use circles::Circle;
use sources::{Host, Source, Use, root, sources};

/// The modules of the host from the bottom up; each uses those before it, and itself.
/// The last is of the binary, the others of the library.
const ORDER: [&str; 12] = [
    "base",
    "api",
    "files",
    "config",
    "wire",
    "functions",
    "plugins",
    "peers",
    "router",
    "http",
    "app",
    "cli",
];

/// The files that may have hand-written `unsafe`, or emit it.
const UNSAFE: [&str; 31] = [
    "host/src/plugins/load/generation.rs",
    "host/src/plugins/load/library.rs",
    "host/src/plugins/native/abort_guard.rs",
    "host/src/plugins/native/callbacks.rs",
    "host/src/plugins/native/environment.rs",
    "host/src/plugins/native/exit.rs",
    "host/src/plugins/native/host_thread_locals.rs",
    "host/src/plugins/native/keys.rs",
    "host/src/plugins/native/original.rs",
    "host/src/plugins/native/process_state.rs",
    "host/src/plugins/native/signals.rs",
    "host/src/plugins/native/spawned.rs",
    "host/src/plugins/native/thread_exit.rs",
    "host/src/plugins/process/linker.rs",
    "host/src/plugins/run/call.rs",
    "host/src/plugins/run/handle.rs",
    "host/src/plugins/run/host_table.rs",
    "host/src/plugins/run/nested_call.rs",
    "host/src/plugins/run/routes.rs",
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

/// Modules that stand below another one, and that it still never uses.
const FOREIGN: [(&str, &[&str]); 2] =
    [("wire", &["api", "files", "config"]), ("router", &["api", "files", "plugins"])];

/// Returns the module of the host that a file belongs to: `plugins` for `host/src/plugins/call.rs`.
fn module_of(path: &str) -> &str {
    let inside = path.strip_prefix("host/src/").expect("a file of the host");
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

#[test]
fn uses_are_found() {
    let check = |text: &str, expected: &[&str]| {
        let source = Source { path: "host/src/peers/peer/hello.rs".to_owned(), text: text.to_owned() };
        let host = Host::read(&[source]);
        let uses = host.modules.values().flat_map(|module| &module.uses);
        let found: Vec<String> = uses
            .map(|used| used.path.join("::"))
            .filter(|path| !path.starts_with("peers::peer::hello"))
            .collect();
        assert_eq!(found, expected, "{text}");
    };
    check("use crate::base::{Clock, Tasks};", &["base::Clock", "base::Tasks"]);
    check("use crate::{\n    base,\n    http::Door,\n};", &["base", "http::Door"]);
    check("use super::super::super::http::Door;", &["http::Door"]);
    check(
        "use super::limit::{self, Limit as Other, *};",
        &["peers::peer::limit", "peers::peer::limit::Limit", "peers::peer::limit"],
    );
    check("fn f() { use framex_host::http::Door; }", &["http::Door"]);
    check("fn f() { warn!(door = super::super::balance::pick()); }", &["peers::balance::pick"]);
    check("impl From<crate::wire::Key> for String {}", &["wire::Key"]);
    check("use super_crate::name;", &[]);
    check("fn f() { a.crate_::<T>(); <T as ::crate_::X>::y() } // crate::http::Door", &[]);
    assert_eq!(module_of("host/src/plugins/any/file.rs"), "plugins");
    assert_eq!(module_of("host/src/app.rs"), "app");
}

#[test]
fn modules_of_the_host_use_only_those_below_them() {
    let rank = |module: &str| ORDER.iter().position(|known| *known == module);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for module in Host::read(&sources("host/src")).modules.values() {
        let name = module_of(&module.file);
        if ["lib", "main"].contains(&name) {
            continue;
        }
        seen.insert(name.to_owned());
        for Use { path, line, .. } in &module.uses {
            // Nothing is left of a `crate` alone, as in `pub(crate)`.
            let Some(first) = path.first() else { continue };
            let Some(used) = rank(first) else {
                wrong.push(format!("{}:{line} uses `{first}`, which has no place in the order", module.file));
                continue;
            };
            if FOREIGN.iter().any(|(module, foreign)| *module == name && foreign.contains(&first.as_str())) {
                wrong.push(format!("{}:{line} uses `{first}`, which `{name}` must not know", module.file));
            }
            if Some(used) > rank(name) {
                wrong.push(format!("{}:{line} uses `{first}`, which is above `{name}`", module.file));
            }
        }
    }
    assert_eq!(seen.len(), ORDER.len(), "modules with sources: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_of_a_module_use_each_other_in_one_direction() {
    let circles = circles::find(&Host::read(&sources("host/src")));
    let shown = circles.iter().map(Circle::to_string).collect::<String>();
    assert!(circles.is_empty(), "\n{shown}");
}

/// One name, one meaning: associated types and modules of tests aside.
#[test]
fn no_two_types_of_the_host_have_one_name() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Source { path, text } in sources("host/src") {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        for item in file.items {
            let name = match item {
                syn::Item::Struct(item) => item.ident,
                syn::Item::Enum(item) => item.ident,
                syn::Item::Union(item) => item.ident,
                syn::Item::Trait(item) => item.ident,
                syn::Item::Type(item) => item.ident,
                _ => continue,
            };
            places.entry(name.to_string()).or_default().push(path.clone());
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn the_order_is_the_one_of_the_library() {
    let library = fs::read_to_string(root().join("host/src/lib.rs")).unwrap();
    let modules: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, ORDER[..ORDER.len() - 1]);
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

#[test]
fn the_map_of_the_code_names_what_there_is() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> = map.split('`').skip(1).step_by(2).collect();
    let known: Vec<String> =
        ["host/src", "plugin-sdk", "tests"].into_iter().flat_map(sources).map(|source| source.path).collect();
    let is_gone = |name: &&&str| {
        name.ends_with(".rs")
            && !name.contains('{')
            && !known.iter().any(|path| path == **name || path.ends_with(&format!("/{name}")))
    };
    let gone: Vec<&&str> = named.iter().filter(is_gone).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names {gone:?}");

    // By itself, by the folder that it is in, or as the door of one.
    let folders: Vec<&&str> = named.iter().filter(|name| name.ends_with('/')).collect();
    let inside = known.iter().filter_map(|path| path.strip_prefix("host/src/"));
    let missing: Vec<&str> = inside
        .filter(|path| !["lib.rs", "main.rs"].contains(path))
        .filter(|path| {
            let door = path.replace(".rs", "/");
            !named.contains(path)
                && !folders.iter().any(|folder| path.starts_with(**folder) || door == **folder)
        })
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md has no place for {missing:?}");
}
