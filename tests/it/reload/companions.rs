//! Plugins that bring libraries of their own: found from where the plugin's file lies, and never an old build in the place
//! of a new one.

use std::fs;
use std::path::{Path, PathBuf};

use framex_tests::{Build, Daemon, DaemonBuilder, broken, run_to_end};
use serde_json::json;

use super::{check_done, check_refused, check_serves, host};

const TINY: &str = "libtiny.so";

/// A library with the function `which`, which answers a number; it may need others.
fn library(folder: &Path, name: &str, soname: Option<&str>, text: &str, flags: &[&str]) -> PathBuf {
    let source = folder.join(format!("{name}.c"));
    fs::write(&source, text).unwrap();
    let soname = soname.map(|soname| format!("-Wl,-soname,{soname}"));
    let flags: Vec<&str> = flags.iter().copied().chain(soname.as_deref()).collect();
    let file = folder.join(name);
    fs::write(&file, broken::compile_c(&source, &flags)).unwrap();
    fs::remove_file(source).unwrap();
    file
}

/// `libdep.so` of a build, in `folder`.
fn dep(folder: &Path, build: u32) -> PathBuf {
    library(folder, "libdep.so", Some("libdep.so"), &format!("int which(void) {{ return {build}; }}\n"), &[])
}

/// The plugin `tiny`, whose start fails with what `which` answers unless that is `expected`; found by `run_path`.
fn plugin(folder: &Path, expected: u32, run_path: &str) -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = folder.join("plugin.c");
    let text = format!(
        "#define on_start tiny_on_start\n#define framex_plugin_v1 tiny_plugin_v1\n#include \"{}\"\n\
         #undef framex_plugin_v1\nint which(void);\n\
         static int32_t dep_on_start(const FramexHost *given, void **instance, FramexBuffer *error) {{\n\
         if (which() != {expected}) return 7;\nreturn on_start(given, instance, error);\n}}\n\
         const FramexPluginDescriptor framex_plugin_v1 = {{ .magic = {{'F', 'X', 'P', 'L', 'U', 'G', 'I', 'N'}},\n\
         .struct_size = sizeof(FramexPluginDescriptor), .abi_major = FRAMEX_ABI_MAJOR, .abi_minor = FRAMEX_ABI_MINOR,\n\
         .flags = FRAMEX_FLAG_CONTAINS_PANICS, .name = \"tiny\", .version = \"{expected}\", .built_with = \"C\",\n\
         .on_start = dep_on_start, .on_stop = on_stop }};\n",
        tests.join("c/plugin.c").display()
    );
    fs::write(&source, text).unwrap();
    let include = format!("-I{}", tests.join("../plugin-sdk/abi/include").display());
    let (search, rpath) = (format!("-L{}", folder.display()), format!("-Wl,-rpath,{run_path}"));
    broken::compile_c(&source, &["-std=c11", &include, "-Wl,--no-as-needed", &search, "-ldep", &rpath])
}

#[track_caller]
fn check_tiny(host: &Daemon, version: u32) {
    let argument = json!({ "id": 7 });
    assert_eq!(host.call("tiny.echo", &argument).json(), argument, "{}", host.log());
    assert_eq!(host.plugin_status("tiny")["version"], version.to_string());
}

/// The run path in the plugin's file, and where its library lies.
fn places(builder: &DaemonBuilder) -> [(String, PathBuf); 3] {
    let plugins = builder.plugins();
    let outside = builder.folder().join("outside");
    fs::create_dir_all(plugins.join("deps")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let absolute = outside.to_str().unwrap().to_owned();
    [
        ("$ORIGIN".to_owned(), plugins.clone()),
        ("$ORIGIN/deps".to_owned(), plugins.join("deps")),
        (absolute, outside),
    ]
}

#[test]
fn they_are_found_and_an_old_build_is_never_taken_for_a_new_one() {
    for place in 0..3 {
        let builder = host();
        let (run_path, folder) = places(&builder)[place].clone();
        dep(&folder, 1);
        let first = plugin(&folder, 1, &run_path);
        let host = builder.plugin_bytes(TINY, &first).start();
        check_tiny(&host, 1);
        assert_eq!(host.get("/ready").json()["failed_plugins"], json!([]), "it is not a failed plugin");
        // The same library once more, with a new build of the plugin and without.
        check_done(&host.reload("tiny"));
        host.put(TINY, &[first.clone(), vec![0]].concat());
        check_done(&host.reload_host());
        check_tiny(&host, 1);
        // A new build of both, under the same SONAME.
        fs::remove_file(folder.join("libdep.so")).unwrap();
        dep(&folder, 2);
        host.put(TINY, &plugin(&folder, 2, &run_path));
        let (step, detail) = check_refused(&host.reload("tiny"), 422, "reload_failed");
        assert_eq!(step, "load");
        for part in ["it needs the `libdep.so` in ", "another build of that is mapped", "restart the host"] {
            assert!(detail.contains(part), "{run_path}: {detail}");
        }
        check_tiny(&host, 1);
        check_serves(&host, Build::new(1));
        let host = host.start_again();
        check_tiny(&host, 2);
        // The originals may be overwritten: private copies are mapped.
        let library = folder.join("libdep.so");
        let bytes = fs::metadata(&library).unwrap().len();
        fs::write(&library, vec![0xff; usize::try_from(bytes).unwrap()]).unwrap();
        check_tiny(&host, 2);
        host.stop();
    }
}

#[test]
fn those_that_need_each_other_come_along() {
    let builder = host();
    let deps = builder.plugins().join("deps");
    fs::create_dir(&deps).unwrap();
    library(&deps, "libbase.so", Some("libbase.so.1"), "int base(void) { return 1; }\n", &[]);
    fs::copy(deps.join("libbase.so"), deps.join("libbase.so.1")).unwrap();
    let search = format!("-L{}", deps.display());
    let text = "int base(void);\nint which(void) { return base(); }\n";
    let flags = ["-Wl,--no-as-needed", &search, "-lbase", "-Wl,-rpath,$ORIGIN"];
    library(&deps, "libdep.so", Some("libdep.so"), text, &flags);
    let plugin = plugin(&deps, 1, "$ORIGIN/deps");
    let host = builder.plugin_bytes(TINY, &plugin).start();
    check_tiny(&host, 1);
    host.stop();
}

#[test]
fn what_the_loader_could_not_use_is_named() {
    let builder = host();
    let plugins = builder.plugins();
    library(&plugins, "libdep.so", None, "int which(void) { return 1; }\n", &[]);
    let plugin_file = plugin(&plugins, 1, "$ORIGIN");
    library(&plugins, "libdep.so", Some("other.so"), "int which(void) { return 1; }\n", &[]);
    let host = builder.plugin_bytes(TINY, &plugin_file).start();
    let reason = host.failure(TINY).unwrap();
    assert!(reason.contains("it needs `libdep.so`") && reason.contains("-Wl,-soname,libdep.so"), "{reason}");
    check_serves(&host, Build::new(1));
    host.stop();
}

#[test]
fn what_is_not_trusted_does_not_come_along() {
    let builder = host();
    let plugins = builder.plugins();
    let library = dep(&plugins, 1);
    let tiny = plugin(&plugins, 1, "$ORIGIN");
    fs::write(plugins.join(TINY), &tiny).unwrap();
    let sha256 = |path: &Path| {
        let exit = run_to_end(std::process::Command::new("sha256sum").arg(path));
        exit.stdout.split(' ').next().unwrap().to_owned()
    };
    let (of_plugin, of_library) = (sha256(&plugins.join(TINY)), sha256(&library));
    let host = builder.config(&format!("[trust]\nsha256 = {{ tiny = [\"{of_plugin}\"] }}\n"));
    let checked = host.run(&["check"]);
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.stderr.contains(&format!("`libdep.so` has the SHA-256 {of_library}")),
        "{}",
        checked.stderr
    );
    fs::remove_file(plugins.join("libchanging.so")).unwrap();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    assert!(config.contains("[trust]"));
    let listed = Daemon::builder()
        .config(&format!("[trust]\nsha256 = {{ tiny = [\"{of_plugin}\", \"{of_library}\"] }}\n"));
    fs::copy(&library, listed.plugins().join("libdep.so")).unwrap();
    let host = listed.plugin_bytes(TINY, &tiny).start();
    check_tiny(&host, 1);
    host.stop();
}
