//! Secrets that the tests recognise from any piece of them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use framex_host::wire;
use framex_tests::{Answer, Exit};

/// This number of bytes of a secret in one piece counts as shown.
const PIECE: usize = 8;

/// The secrets that must not show, by where they were planted.
pub(super) struct Canaries {
    pub(super) secrets: HashMap<&'static str, String>,
    /// First bytes of every piece of every secret, in every form; the whole piece, and whose it is.
    pieces: HashMap<[u8; PIECE], Vec<(Vec<u8>, &'static str)>>,
}

impl Canaries {
    /// New secrets at each of these places: generated keys where the name begins with `key`, passphrases elsewhere.
    pub(super) fn plant(places: &[&'static str]) -> Self {
        let mut canaries = Self { secrets: HashMap::new(), pieces: HashMap::new() };
        for place in places {
            let key = wire::generate_secret();
            let random = key.strip_prefix("fxk1_").unwrap().to_owned();
            canaries.add_pieces(place, random.as_bytes());
            canaries.add_pieces(place, &URL_SAFE_NO_PAD.decode(&random).unwrap());
            canaries.secrets.insert(place, if place.starts_with("key") { key } else { random });
        }
        canaries
    }

    /// Also watches for a private key, which is in PEM.
    pub(super) fn watch_pem(&mut self, place: &'static str, pem: &str) {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body).unwrap();
        // The last part of it: what comes first is the same in all keys of the kind, and the public key comes in between.
        let private = &der[36..68];
        self.add_pieces(place, private);
    }

    fn add_pieces(&mut self, place: &'static str, bytes: &[u8]) {
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for piece in bytes.windows(PIECE) {
            let hex: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let list: Vec<String> = piece.iter().map(u8::to_string).collect();
            forms.extend([piece.to_vec(), hex.to_ascii_uppercase().into_bytes(), hex.into_bytes()]);
            forms.extend([list.join(", ").into_bytes(), list.join(",").into_bytes()]);
        }
        // Base64 turns three bytes into four characters, so a piece has three forms, and more at its ends.
        for skipped in 0..3 {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                let text = engine.encode(&bytes[skipped..]).into_bytes();
                forms.extend(text.windows(PIECE * 4 / 3).map(<[u8]>::to_vec));
            }
        }
        for form in forms {
            self.pieces.entry(*form.first_chunk().unwrap()).or_default().push((form, place));
        }
    }

    pub(super) fn at(&self, place: &str) -> &str {
        &self.secrets[place]
    }

    /// Returns the places of the secrets that show in a text.
    pub(super) fn shown_in(&self, text: &[u8]) -> Option<&'static str> {
        let at = |at: usize| {
            let candidates = self.pieces.get(text[at..].first_chunk()?)?;
            candidates.iter().find(|(piece, _)| text[at..].starts_with(piece)).map(|(_, place)| *place)
        };
        (0..text.len()).find_map(at)
    }

    #[track_caller]
    pub(super) fn check(&self, what: &str, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if let Some(place) = self.shown_in(text) {
            panic!("{what} shows the secret of {place}: {}", String::from_utf8_lossy(text));
        }
    }

    #[track_caller]
    pub(super) fn check_exit(&self, what: &str, exit: &Exit) {
        self.check(what, &exit.stdout);
        self.check(what, &exit.stderr);
    }

    /// Body and headers.
    #[track_caller]
    pub(super) fn check_answer(&self, what: &str, answer: &Answer) {
        self.check(what, &answer.body);
        self.check(what, format!("{:?}", answer.headers));
    }

    #[track_caller]
    pub(super) fn check_folder(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                self.check_folder(&path);
            } else if kind.is_file() && path.extension().is_none_or(|extension| extension != "so") {
                self.check(&path.display().to_string(), fs::read(&path).unwrap());
            }
            self.check("the name of a file", path.to_str().unwrap());
        }
    }
}

#[test]
fn pieces_of_secrets_are_found_in_every_form() {
    let canaries = Canaries::plant(&["key", "passphrase"]);
    for place in ["key", "passphrase"] {
        let text = canaries.at(place).trim_start_matches("fxk1_");
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for form in [
            text[20..28].to_owned(),
            format!("...{}...", &text[..9]),
            hex(&bytes[10..18]),
            hex(&text.as_bytes()[3..11]).to_ascii_uppercase(),
            format!("{:?}", &bytes[7..15]),
            STANDARD_NO_PAD.encode(text),
            STANDARD_NO_PAD.encode(&bytes[1..]),
            STANDARD_NO_PAD.encode(format!("authorization: Bearer {text}")),
        ] {
            assert_eq!(canaries.shown_in(form.as_bytes()), Some(place), "{form}");
        }
        assert_eq!(canaries.shown_in(&text.as_bytes()[..7]), None);
    }
}
