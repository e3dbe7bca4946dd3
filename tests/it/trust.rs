//! `[trust]`: only signed or pinned builds are mapped, at the start and later, and what every user may write to is not
//! trusted.

mod files;
mod inspect;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use framex_tests::{Answer, Build, Daemon, DaemonBuilder, broken};
use minisign::KeyPair;
use serde_json::json;
use sha2::{Digest, Sha256};

const FILE: &str = "libchanging.so";
const SIGNATURE: &str = "libchanging.so.minisig";

/// A signer of builds.
struct Signer(KeyPair);

impl Signer {
    fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().unwrap())
    }

    /// The public key in one line.
    fn key(&self) -> String {
        self.0.pk.to_base64()
    }

    /// The id as minisign writes it.
    fn key_id(&self) -> String {
        let id = self.0.pk.keynum().try_into().unwrap();
        format!("{:016X}", u64::from_le_bytes(id))
    }

    /// The contents of a signature file.
    fn sign(&self, bytes: &[u8]) -> String {
        let signed = minisign::sign(Some(&self.0.pk), &self.0.sk, bytes, Some("a release\tof today"), None);
        signed.unwrap().into_string()
    }

    /// `[trust]` with this key alone.
    fn trusted(&self) -> String {
        format!("trust.keys = [\"{}\"]", self.key())
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A daemon that trusts this signer, with a signed build 1 of the changing plugin.
fn host(signer: &Signer) -> DaemonBuilder {
    let first = Build::new(1);
    let signature = signer.sign(&first.bytes());
    Daemon::builder().config(&signer.trusted()).build(first).plugin_bytes(SIGNATURE, signature.as_bytes())
}

/// Puts a signed build into the place of the last one.
fn put_signed(host: &Daemon, signer: &Signer, build: Build) {
    host.put(SIGNATURE, signer.sign(&build.bytes()).as_bytes());
    host.put_build(build);
}

/// A library that calls itself a plugin of this name, and leaves a file when it is mapped.
fn tracer(name: &str, trace: &Path) -> Vec<u8> {
    let text = format!(
        "#include <stdint.h>\n\
         #include <stdio.h>\n\
         __attribute__((constructor)) static void leave(void) {{ FILE *f = fopen({trace:?}, \"w\"); if (f) fclose(f); }}\n\
         struct {{ char magic[8]; uint32_t size; uint16_t major, minor; uint64_t flags; char name[64]; \
         char rest[112]; }} framex_plugin_v1 = \
         {{ {{'F','X','P','L','U','G','I','N'}}, 200, 1, 0, 1, \"{name}\", {{0}} }};\n"
    );
    broken::compile_c_text(&text)
}

/// A plugin file that is not to be trusted: what lies beside it, and a part of the reason.
struct Bad {
    case: &'static str,
    bytes: Vec<u8>,
    signature: Option<Vec<u8>>,
    reason: String,
}

/// Everything that can be wrong with the signature of a library.
fn bad_files(signer: &Signer, library: &[u8]) -> Vec<Bad> {
    let stranger = Signer::new();
    let good = signer.sign(library);
    let mut tampered = library.to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let bad = |case, bytes: &[u8], signature: Option<&str>, reason: &str| Bad {
        case,
        bytes: bytes.to_vec(),
        signature: signature.map(|signature| signature.as_bytes().to_vec()),
        reason: reason.to_owned(),
    };
    let no_signature =
        "has a signature file that is not a minisign signature: sign it again with `minisign -S -m ";
    let changed = "is not the file that its signature was made for";
    let by_stranger = format!(
        "is signed by key {}, which [trust] does not have: sign it with the secret key of {}",
        stranger.key_id(),
        signer.key_id()
    );
    let oversized = format!("{good}{}", "#".repeat(4096));
    vec![
        bad("unsigned", library, None, "has no signature: sign it with `minisign -S -m "),
        bad("tampered", &tampered, Some(&good), changed),
        bad("foreign", library, Some(&signer.sign(b"another file")), changed),
        bad("stranger", library, Some(&stranger.sign(library)), &by_stranger),
        bad("oversized", library, Some(&oversized), "has a signature file of more than 4096 bytes"),
        bad("garbage", library, Some("RW and so on\n\n\n\n"), no_signature),
        bad("empty", library, Some(""), no_signature),
        bad("comment", library, Some(&good.replace("of today", "of tomorrow")), changed),
    ]
}

/// Checks that a change was refused while it was staged, that build 1 serves on, and that nothing else is mapped.
#[track_caller]
fn check_refused(host: &Daemon, answer: &Answer, reason: &str) {
    check_not_staged(answer, reason);
    check_serves(host, Build::new(1));
    assert_eq!(host.mapped_copies().len(), 1, "{}", answer.json());
}

/// Checks that a change was refused while it was staged.
#[track_caller]
fn check_not_staged(answer: &Answer, reason: &str) {
    let (status, code, detail) = answer.problem();
    assert_eq!((status, code.as_str()), (422, "reload_failed"), "{detail}");
    assert_eq!(answer.json()["step"], "stage", "{detail}");
    assert!(detail.contains(reason), "{detail:?} lacks {reason:?}");
    assert!(!detail.contains("/state/"), "no paths of the host: {detail}");
}

#[track_caller]
fn check_serves(host: &Daemon, build: Build) {
    let answer = host.call("changing.functions.build", &json!({}));
    assert_eq!((answer.status, &answer.json()[0]), (200, &json!(build.name())), "{}", host.log());
}

#[track_caller]
fn check_done(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.json());
}

/// The names of the staged copies and their signatures.
fn staged(host: &Daemon) -> Vec<String> {
    let entries = fs::read_dir(host.folder().join("state/staged")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn the_tests_library_leaves_a_trace_where_nothing_is_checked() {
    let builder = Daemon::builder();
    let trace = builder.folder().join("trace");
    let host = builder.plugin_bytes("libtracer.so", &tracer("tracer", &trace)).start();
    assert!(trace.exists(), "{}", host.log());
    host.stop();
}

#[test]
fn at_the_start_bad_files_are_named_and_nothing_of_them_is_mapped() {
    let signer = Signer::new();
    let builder = host(&signer);
    let trace = builder.folder().join("trace");
    let bad = bad_files(&signer, &tracer("tracer", &trace));
    let name = |bad: &Bad| format!("lib{}.so", bad.case);
    let builder = bad.iter().fold(builder, |builder, bad| {
        let builder = builder.plugin_bytes(&name(bad), &bad.bytes);
        match &bad.signature {
            Some(signature) => builder.plugin_bytes(&format!("{}.minisig", name(bad)), signature),
            None => builder,
        }
    });
    let checked = builder.run(&["check", "--output", "json"]);
    let host = builder.start();
    for bad in &bad {
        let file = name(bad);
        let reason = host.failure(&file).unwrap_or_else(|| panic!("{file} is not refused:\n{}", host.log()));
        let expected = format!("plugin file `{file}` {}", bad.reason);
        assert!(reason.starts_with(&expected), "{reason:?} is not {expected:?}");
        assert!(!reason.contains('/'), "{reason:?} shows a path to any client");
        let logged = host.logged(&reason);
        assert_eq!((&logged["level"], &logged["step"]), (&json!("ERROR"), &json!("stage")));
        assert!(checked.stdout.contains(&bad.reason), "check says nothing of {file}: {}", checked.stdout);
    }
    assert_eq!(host.get("/ready").json()["failed_plugins"].as_array().unwrap().len(), bad.len());
    assert_eq!(checked.code, Some(1));
    assert!(!trace.exists(), "a constructor of a file that is not trusted ran");
    check_serves(&host, Build::new(1));
    assert_eq!(host.mapped_copies().len(), 1);
    host.stop();
}

#[test]
fn at_a_reload_bad_files_are_refused_and_the_old_build_serves() {
    let signer = Signer::new();
    let host = host(&signer).start();
    let trace = host.folder().join("trace");
    for bad in bad_files(&signer, &tracer("changing", &trace)) {
        host.put(FILE, &bad.bytes);
        match &bad.signature {
            Some(signature) => host.put(SIGNATURE, signature),
            None => fs::remove_file(host.plugins().join(SIGNATURE)).unwrap(),
        }
        check_refused(&host, &host.reload("changing"), &bad.reason);
        check_refused(&host, &host.admin_post("plugins", &json!({ "file": FILE })), &bad.reason);
    }
    assert!(!trace.exists(), "a constructor of a file that is not trusted ran");
    assert_eq!(staged(&host).len(), 2, "what was refused left a copy: {:?}", staged(&host));
    put_signed(&host, &signer, Build::new(2));
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
    host.stop();
}

#[test]
fn a_file_that_is_found_again_under_another_name_needs_its_signature_too() {
    let signer = Signer::new();
    let host = host(&signer).start();
    for (from, to) in [(FILE, "libother.so"), (SIGNATURE, "libother.so.minisig")] {
        fs::rename(host.plugins().join(from), host.plugins().join(to)).unwrap();
    }
    fs::copy(host.plugins().join("libother.so.minisig"), host.folder().join("kept")).unwrap();
    fs::remove_file(host.plugins().join("libother.so.minisig")).unwrap();
    check_refused(&host, &host.reload("changing"), "plugin file `libother.so` has no signature");
    fs::rename(host.folder().join("kept"), host.plugins().join("libother.so.minisig")).unwrap();
    check_done(&host.reload("changing"));
    host.stop();
}

#[test]
fn a_signature_stays_with_its_copy_for_a_rollback() {
    let signer = Signer::new();
    let host = host(&signer).config("reload.keep_generations = 1").start();
    for number in 2..5 {
        put_signed(&host, &signer, Build::new(number));
        check_done(&host.reload("changing"));
    }
    fs::remove_file(host.plugins().join(SIGNATURE)).unwrap();
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    check_serves(&host, Build::new(3));
    let staged = staged(&host);
    let (signatures, copies): (Vec<&String>, Vec<&String>) =
        staged.iter().partition(|name| name.ends_with(".minisig"));
    assert_eq!((copies.len(), signatures.len()), (2, 2), "{staged:?}");
    assert!(copies.iter().all(|copy| staged.contains(&format!("{copy}.minisig"))), "{staged:?}");
    host.stop();
}

#[test]
fn a_key_that_was_removed_lets_nothing_back_in() {
    let (old, new) = (Signer::new(), Signer::new());
    let host = host(&old).start();
    let config = fs::read_to_string(host.folder().join("config.toml")).unwrap();
    let both =
        config.replace(&format!("\"{}\"", old.key()), &format!("\"{}\", \"{}\"", old.key(), new.key()));
    host.put_config(&both);
    check_done(&host.reload_host());
    put_signed(&host, &new, Build::new(2));
    check_done(&host.reload("changing"));
    host.put_config(&config.replace(&old.key(), &new.key()));
    check_done(&host.reload_host());
    check_not_staged(&host.admin_post("plugins/changing/rollback", &json!({})), "key");
    let host = host.start_again();
    check_serves(&host, Build::new(2));
    check_not_staged(&host.admin_post("plugins/changing/rollback", &json!({})), "key");
    // Nothing that is in force was signed by the first key alone.
    host.put_config(&config);
    check_not_staged(&host.reload_host(), "key");
    check_serves(&host, Build::new(2));
    host.stop();
}

#[test]
fn keys_may_be_files_and_several() {
    let (old, new) = (Signer::new(), Signer::new());
    let builder = Daemon::builder().config(&format!("trust.keys = [\"{}\", \"file:new.pub\"]", old.key()));
    fs::write(builder.folder().join("new.pub"), new.0.pk.to_box().unwrap().into_string()).unwrap();
    let first = old.sign(&Build::new(1).bytes());
    let host = builder.build(Build::new(1)).plugin_bytes(SIGNATURE, first.as_bytes()).start();
    check_serves(&host, Build::new(1));
    put_signed(&host, &new, Build::new(2));
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
    host.stop();
}

#[test]
fn pinned_digests_let_only_their_builds_in() {
    let pinned: Vec<String> = [1, 2].map(|number| sha256(&Build::new(number).bytes())).to_vec();
    let builder = Daemon::builder().config(&format!("trust.sha256 = {{ changing = {pinned:?} }}"));
    let host = builder.build(Build::new(1)).plugin("demo").start();
    let unlisted = host.failure("libdemo.so").unwrap();
    let expected = "plugin file `libdemo.so` holds plugin `demo`, which [trust] does not name: add demo = \"";
    assert!(unlisted.starts_with(expected), "{unlisted}");
    assert_eq!(host.logged(&unlisted)["step"], "stage");
    check_refused(&host, &host.admin_post("plugins", &json!({ "file": "libdemo.so" })), expected);
    assert_eq!(host.call("demo.some.example_func", &json!({})).status, 404);

    let trace = host.folder().join("trace");
    let third = tracer("changing", &trace);
    host.put(FILE, &third);
    let other =
        format!("has the SHA-256 {}, which [trust] does not have for plugin `changing`", sha256(&third));
    check_refused(&host, &host.reload("changing"), &other);
    assert!(!trace.exists(), "a constructor of a file that is not trusted ran");
    host.put_build(Build::new(2));
    check_done(&host.reload("changing"));
    check_serves(&host, Build::new(2));
    check_done(&host.admin_post("plugins/changing/rollback", &json!({})));
    check_serves(&host, Build::new(1));
    host.stop();
}

#[test]
fn a_pinned_plugin_needs_its_signature_as_well() {
    let signer = Signer::new();
    let pinned = sha256(&Build::new(1).bytes());
    let host = host(&signer).config(&format!("trust.sha256.changing = \"{pinned}\"")).start();
    check_serves(&host, Build::new(1));
    put_signed(&host, &signer, Build::new(2));
    check_refused(&host, &host.reload("changing"), "which [trust] does not have for plugin `changing`");
    host.put_build(Build::new(1));
    check_refused(&host, &host.reload("changing"), "is not the file that its signature was made for");
    put_signed(&host, &signer, Build::new(1));
    check_done(&host.reload("changing"));
    host.stop();
}

#[test]
fn what_load_plugins_does_not_name_need_not_be_pinned() {
    let pinned = sha256(&Build::new(1).bytes());
    let builder = Daemon::builder()
        .config(&format!("load_plugins = [\"changing\"]\ntrust.sha256.changing = \"{pinned}\""))
        .build(Build::new(1))
        .plugin("demo");
    assert_eq!(builder.run(&["check"]).code, Some(0));
    let host = builder.start();
    assert_eq!(host.get("/ready").json()["failed_plugins"], json!([]));
    host.stop();
}

/// Opens a file or directory for every user, or closes it.
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
