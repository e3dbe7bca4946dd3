//! Files that are right, and each that is wrong.

use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey as Made, IsCa, KeyPair, date_time_ymd,
    generate_simple_self_signed,
};

use crate::config::{Config, Environment, Overrides};

const SERVER: &str = "[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
const PEERS: &str = "[plugins.proxy]\nproxy_urls = [\"https://b\"]\n[plugins.proxy.tls]\nca = \"cert.pem\"\n";

fn made() -> Made<KeyPair> {
    generate_simple_self_signed(["host-b".to_owned()]).unwrap()
}

/// A folder with `cert.pem` and `key.pem`, which belong together, and `other.pem`, another key.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let own = made();
    put("cert.pem", &own.cert.pem());
    put("key.pem", &own.signing_key.serialize_pem());
    put("other.pem", &made().signing_key.serialize_pem());
    put("empty.pem", "");
    put("text.pem", "no PEM");
    put("broken.pem", "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n");
    put("nonsense.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n");
    put(
        "locked.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    put(
        "locked-old.pem",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\naGVsbG8=\n\
         -----END RSA PRIVATE KEY-----\n",
    );
    put("ssh.pem", "-----BEGIN OPENSSH PRIVATE KEY-----\naGVsbG8=\n-----END OPENSSH PRIVATE KEY-----\n");
    put("request.pem", "-----BEGIN CERTIFICATE REQUEST-----\naGVsbG8=\n-----END CERTIFICATE REQUEST-----\n");
    put("marked.pem", &format!("\u{feff}{}", own.cert.pem()));
    let wide: Vec<u8> = own.cert.pem().encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(folder.path().join("wide.pem"), [b"\xff\xfe", &wide[..]].concat()).unwrap();
    fs::write(folder.path().join("cert.der"), own.cert.der()).unwrap();
    put("odd.pem", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n");
    folder
}

fn load(folder: &tempfile::TempDir, text: &str) -> Result<Config, String> {
    let file = folder.path().join("config.toml");
    let loaded = Config::from_text(text, &file, &Environment::default(), &Overrides::default());
    loaded.map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(load(&folder(), text).map(|_| ()), Err(format!("DIR/config.toml line {expected}")), "{text}");
}

#[test]
fn certificates_and_keys_are_read_and_watched() {
    let folder = folder();
    let config = load(&folder, &format!("{SERVER}client_ca = \"cert.pem\"\n")).unwrap();
    let tls = config.server_tls.as_ref().unwrap();
    assert_eq!(tls.cert, folder.path().join("cert.pem"));
    assert_eq!(tls.rustls.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    let names: Vec<_> = config.files().iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["config.toml", "cert.pem", "key.pem", "cert.pem"]);
    let config = load(&folder, &format!("{PEERS}cert = \"cert.pem\"\nkey = \"key.pem\"\n")).unwrap();
    assert_eq!(config.files().len(), 4);
    assert!(config.proxy.tls.unwrap().identity.is_some());
    assert!(load(&folder, "").unwrap().proxy.tls.is_none(), "no peer needs it");
}

#[test]
fn the_same_files_are_the_same_and_others_are_not() {
    let folder = folder();
    let tls = || load(&folder, SERVER).unwrap().server_tls.unwrap();
    let before = tls();
    assert!(before == tls());
    let other = made();
    fs::write(folder.path().join("cert.pem"), other.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), other.signing_key.serialize_pem()).unwrap();
    assert!(before != tls());
}

#[test]
fn bad_files_are_named_with_their_fault() {
    let cert = |file: &str, fault: &str| {
        let text = SERVER.replace("cert.pem", file);
        check(&text, &format!("2: `server.tls.cert` is file `DIR/{file}`, {fault}"));
        let text = PEERS.replace("cert.pem", file);
        let fault = fault.replace("first certificate", "certificate 1");
        check(&text, &format!("4: `plugins.proxy.tls.ca` is file `DIR/{file}`, {fault}"));
    };
    cert("gone.pem", "which does not exist");
    cert("empty.pem", "which has no certificate in PEM form");
    cert("text.pem", "which has no certificate in PEM form");
    cert("key.pem", "which has a private key instead of a certificate");
    cert("request.pem", "which has a request for a certificate: an authority makes the certificate of it");
    cert("wide.pem", "which is UTF-16 text: save it as UTF-8");
    let der = "which is DER or PKCS #12, and not PEM: `openssl x509 -inform der`, `openssl pkey -inform der` or \
               `openssl pkcs12 -nodes` converts it";
    cert("cert.der", der);
    cert("broken.pem", "which is damaged: it is not well-formed PEM");
    cert("nonsense.pem", "whose first certificate cannot be read");
    let key = |file: &str, fault: &str| {
        let text = SERVER.replace("key.pem", file);
        check(&text, &format!("3: `server.tls.key` is file `DIR/{file}`, {fault}"));
    };
    key("gone.pem", "which does not exist");
    key("cert.pem", "which has a certificate instead of a private key");
    key("empty.pem", "which has no private key in PEM form");
    key("cert.der", der);
    key("ssh.pem", "which has a private key in OpenSSH form: `ssh-keygen -p -m PKCS8 -f FILE` changes it");
    for locked in ["locked.pem", "locked-old.pem"] {
        key(
            locked,
            "whose private key needs a password: `openssl pkey -in FILE -out NEW` writes one without",
        );
    }
    key("other.pem", "which is not the key of the certificate in `DIR/cert.pem`");
    key(
        "odd.pem",
        "whose private key is damaged or of a kind that is not supported: RSA of 2048 to 4096 bits, ECDSA on P-256 or \
         P-384, and Ed25519 are",
    );
}

#[test]
fn a_byte_order_mark_does_not_matter() {
    let config = load(&folder(), &SERVER.replace("cert.pem", "marked.pem"));
    assert!(config.unwrap().server_tls.is_some());
}

#[test]
fn a_certificate_that_every_client_refuses_is_warned_of() {
    let warned = |parameters: CertificateParams| {
        let folder = folder();
        let key = KeyPair::generate().unwrap();
        fs::write(folder.path().join("cert.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        let warnings = load(&folder, SERVER).unwrap().warnings();
        warnings
            .into_iter()
            .filter(|warning| warning.contains("server.tls.cert"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let plain = || CertificateParams::new(["host-b".to_owned()]).unwrap();
    assert_eq!(warned(plain()), "");
    let mut authority = plain();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert!(warned(authority).contains("(CA:TRUE), which a host must not show"));
    let mut old = plain();
    old.not_after = date_time_ymd(2020, 1, 1);
    assert!(warned(old).contains("has expired"));
    let mut early = plain();
    (early.not_before, early.not_after) = (date_time_ymd(2100, 1, 1), date_time_ymd(2101, 1, 1));
    assert!(warned(early).contains("is not valid before"));
}

#[test]
fn what_was_pasted_in_the_place_of_its_file_is_not_shown() {
    let pem = made().signing_key.serialize_pem();
    for pasted in [pem.clone(), pem.replace('\n', ""), pem.lines().nth(1).unwrap().to_owned() + "\n"] {
        for (config, tables) in [
            (SERVER, "server.tls"),
            (&format!("{PEERS}cert = \"cert.pem\"\nkey = \"key.pem\"\n"), "plugins.proxy.tls"),
        ] {
            for key in ["cert", "key", "ca", "client_ca"] {
                let mut table: toml::Table = toml::from_str(config).unwrap();
                let within =
                    tables.split('.').fold(&mut table, |table, name| table[name].as_table_mut().unwrap());
                let of_other_table = if tables == "server.tls" { "ca" } else { "client_ca" };
                if key == of_other_table {
                    continue;
                }
                within.insert(key.to_owned(), pasted.clone().into());
                let error = load(&folder(), &toml::to_string(&table).unwrap()).unwrap_err();
                let expected =
                    format!("`{tables}.{key}` must be the path of a PEM file, found the content of one");
                assert!(error.ends_with(&expected), "{error}");
            }
        }
    }
}

#[test]
fn half_a_table_is_refused() {
    check("[server.tls]\ncert = \"cert.pem\"\n", "1: `server.tls` needs the key `key`");
    check("[server.tls]\nkey = \"key.pem\"\n", "1: `server.tls` needs the key `cert`");
    check(
        &format!("{PEERS}cert = \"cert.pem\"\n"),
        "5: `plugins.proxy.tls.cert` needs `plugins.proxy.tls.key`: a certificate and its private key",
    );
    check(
        &format!("{PEERS}key = \"key.pem\"\n"),
        "5: `plugins.proxy.tls.key` needs `plugins.proxy.tls.cert`: a certificate and its private key",
    );
}

#[test]
fn tls_comes_and_goes_with_a_restart_only() {
    let folder = folder();
    let (without, with) = (load(&folder, "").unwrap(), load(&folder, SERVER).unwrap());
    let mut next = with.clone();
    assert_eq!(next.keep_until_restart(&without), ["server.tls"]);
    assert!(next.server_tls.is_none());
    let mut next = without;
    assert_eq!(next.keep_until_restart(&with), ["server.tls"]);
    assert!(next.server_tls.is_some());
    let mut next = load(&folder, &format!("{SERVER}client_ca = \"cert.pem\"\n")).unwrap();
    assert_eq!(next.keep_until_restart(&with), [""; 0], "other files are for a reload");
}

#[cfg(unix)]
#[test]
fn keys_that_everybody_can_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let key = folder.path().join("key.pem");
    let text = format!("{SERVER}{PEERS}cert = \"cert.pem\"\nkey = \"key.pem\"\n");
    let warned = |mode: u32| {
        fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let warnings = load(&folder, &text).unwrap().warnings();
        warnings.into_iter().filter(|warning| warning.contains("chmod")).collect::<Vec<_>>()
    };
    assert_eq!(warned(0o640), [""; 0]);
    let sentence = format!("is {}, which every user of this machine can read: chmod o-r", key.display());
    let expected = ["server.tls.key", "plugins.proxy.tls.key"].map(|key| format!("`{key}` {sentence}"));
    assert_eq!(warned(0o644), expected);
}
