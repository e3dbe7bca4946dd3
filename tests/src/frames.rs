//! Sealed frames as tests make them: with the host's own wire code, and once more without it.
//!
//! The host's code cannot be made to seal what is wrong inside, so [`RawKeys`] derives keys and seals by itself,
//! from WIRE.md.

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use framex_host::base::{FunctionName, InstanceId, Outcome, RequestId};
use framex_host::wire::{
    self, By, Compression, KeyRing, KeySet, Limits, RequestEnvelope, RequestExtensions, ResponseEnvelope,
    ResponseExtensions,
};
use hkdf::Hkdf;
use serde::Serialize;
use sha2::Sha256;

use crate::{Answer, http_answer, send};

/// A generated secret, which the test vectors use as well.
pub const SECRET: &str = "fxk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// Another one.
pub const OTHER_SECRET: &str = "fxk1_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

/// The limits of a peer that takes any answer of a test.
pub const LIMITS: Limits = Limits::of_size(64 << 20);

/// The keys of [`SECRET`].
#[must_use]
pub fn key() -> KeySet {
    key_of(SECRET)
}

/// The keys of a secret.
///
/// # Panics
/// If it is not one.
#[must_use]
pub fn key_of(secret: &str) -> KeySet {
    KeySet::derive(secret).expect("tests use well-formed secrets")
}

/// The line of a config that protects the sealed path with these secrets.
#[must_use]
pub fn rules(secrets: &[&str]) -> String {
    format!("plugins.proxy.auth.rules = {{ \"/api/v1/proxy/remote\" = {secrets:?} }}")
}

/// Unix time in milliseconds.
///
/// # Panics
/// If the clock stands before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(since.as_millis()).expect("milliseconds fit for ages")
}

/// A call with named arguments, 10 s and no hops.
///
/// # Panics
/// If the name is invalid.
#[must_use]
pub fn envelope(function: &str, arguments: &impl Serialize) -> RequestEnvelope {
    RequestEnvelope {
        function: FunctionName::new(function).expect("tests use well-formed names"),
        arguments: rmp_serde::to_vec_named(arguments).expect("arguments encode").into(),
        remaining_ms: 10_000,
        hops: Vec::new(),
        traceparent: None,
        idempotency_key: None,
        extensions: RequestExtensions::default(),
    }
}

/// Seals a call, stamped now.
#[must_use]
pub fn seal(key: &KeySet, envelope: &RequestEnvelope) -> (RequestId, Vec<u8>) {
    wire::seal_request(key, now_ms(), envelope, Compression::Never)
}

/// The process that scripted peers are, to hosts.
pub const SCRIPTED: InstanceId = InstanceId([0x5c; 16]);

/// Opens a frame that a host sealed with [`SECRET`] or [`OTHER_SECRET`].
///
/// # Panics
/// If a frame that opens cannot be read.
#[must_use]
pub fn open_request(frame: &[u8]) -> Option<(OpenedKey, RequestEnvelope)> {
    static RING: LazyLock<KeyRing> = LazyLock::new(|| {
        KeyRing::new(vec![key().into(), key_of(OTHER_SECRET).into()]).expect("there are keys")
    });
    let opened = wire::open_request(&RING, BytesMut::from(frame)).ok()?;
    let envelope = opened.plaintext.decode_request(&LIMITS).expect("hosts send what they should");
    Some((OpenedKey { key: opened.key, id: opened.request_id }, envelope))
}

/// The keys and ids that seal the answer to a frame.
#[derive(Debug, Clone)]
pub struct OpenedKey {
    /// The keys that opened the frame.
    pub key: Arc<KeySet>,
    /// The id that the answer repeats.
    pub id: RequestId,
}

impl OpenedKey {
    /// Seals an answer, as the HTTP answer that carries it.
    #[must_use]
    pub fn answer(&self, envelope: &ResponseEnvelope) -> Vec<u8> {
        let frame = wire::seal_response(&self.key, self.id, now_ms(), envelope, Compression::Never);
        http_answer("200 OK", &[("content-type", wire::CONTENT_TYPE)], &frame)
    }
}

/// An answer of a scripted peer, which says that it is `instance` of the host `scripted`.
#[must_use]
pub fn answer_by(instance: InstanceId, outcome: Outcome) -> ResponseEnvelope {
    let by = By { host_id: "scripted".into(), instance };
    let extensions = ResponseExtensions { by: Some(by), ..ResponseExtensions::default() };
    ResponseEnvelope { host_id: "scripted".into(), outcome, extensions }
}

/// The HTTP answer of [`SCRIPTED`] to a hello; `None` for any other frame.
#[must_use]
pub fn greeting(frame: &[u8]) -> Option<Vec<u8>> {
    let (opened, envelope) = open_request(frame)?;
    envelope.extensions.hello?;
    let mut answer = answer_by(SCRIPTED, Ok(vec![0xc0].into()));
    answer.extensions.now_ms = Some(now_ms());
    Some(opened.answer(&answer))
}

/// Posts a frame as it is.
#[must_use]
pub fn post_frame(host: &str, frame: &[u8]) -> Answer {
    send("POST", &format!("{host}/api/v1/proxy/remote"), &[("content-type", wire::CONTENT_TYPE)], frame)
}

/// Opens the sealed answer to a frame.
///
/// # Panics
/// If it is not a sealed answer to this request by these keys.
#[must_use]
pub fn open(key: &KeySet, id: RequestId, answer: &Answer) -> ResponseEnvelope {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(wire::CONTENT_TYPE)), "{text}");
    wire::open_response(key, id, BytesMut::from(&answer.body[..]), &LIMITS).expect("the answer opens")
}

/// Seals a call, posts it, and opens the answer.
#[must_use]
pub fn call_sealed(host: &str, key: &KeySet, envelope: &RequestEnvelope) -> ResponseEnvelope {
    let (id, frame) = seal(key, envelope);
    open(key, id, &post_frame(host, &frame))
}

/// The stamp in the header of a frame.
///
/// # Panics
/// If it is too short.
#[must_use]
pub fn sent_at_ms(frame: &[u8]) -> u64 {
    let (stamp, _) = frame[32..].split_first_chunk().expect("a frame has a header");
    u64::from_le_bytes(*stamp)
}

/// The result of a function as JSON.
///
/// # Panics
/// If it is not MessagePack.
#[must_use]
pub fn result_json(result: &Bytes) -> serde_json::Value {
    rmp_serde::from_slice(result).expect("results are MessagePack")
}

/// The keys of one generated secret, derived without the host's code.
pub struct RawKeys {
    id: [u8; 8],
    request: XChaCha20Poly1305,
    response: XChaCha20Poly1305,
}

impl std::fmt::Debug for RawKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl RawKeys {
    /// Derives them.
    ///
    /// # Panics
    /// For a passphrase.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let encoded = secret.strip_prefix("fxk1_").expect("a generated secret");
        let master = URL_SAFE_NO_PAD.decode(encoded).expect("base64url");
        let mut derived = [0; 72];
        let hkdf = Hkdf::<Sha256>::new(None, &master);
        hkdf.expand(b"framex-wire-v1 keys", &mut derived).expect("72 bytes are few");
        let cipher = |key: &[u8]| XChaCha20Poly1305::new_from_slice(key).expect("32 bytes");
        let id = *derived.first_chunk().expect("72 bytes are more than 8");
        Self { id, request: cipher(&derived[8..40]), response: cipher(&derived[40..]) }
    }

    /// Seals any bytes as a request, with any flags and any content of the bytes that should be zero.
    #[must_use]
    pub fn seal(&self, flags: u8, zero: [u8; 2], plaintext: &[u8]) -> (RequestId, Vec<u8>) {
        let id = RequestId::random();
        (id, self.frame([1, flags, zero[0], zero[1]], id, plaintext))
    }

    /// Seals any bytes with the keys of requests or of responses, as a frame of any form: the bytes of a header
    /// from the fifth to the eighth.
    #[must_use]
    pub fn seal_form(&self, as_request: bool, form: [u8; 4], plaintext: &[u8]) -> Vec<u8> {
        let cipher = if as_request { &self.request } else { &self.response };
        self.frame_by(cipher, form, RequestId::random(), plaintext)
    }

    /// A request as raw MessagePack, with any bytes as its arguments.
    ///
    /// # Panics
    /// If the name is too long.
    #[must_use]
    pub fn request(function: &str, arguments: &[u8]) -> Vec<u8> {
        let length = u32::try_from(arguments.len()).expect("arguments are short").to_be_bytes();
        let name =
            [&[0xd9, u8::try_from(function.len()).expect("names are short")], function.as_bytes()].concat();
        [b"\x97", &name[..], b"\xc6", &length, arguments, b"\x00\x90\xc0\xc0\x80"].concat()
    }

    /// Seals any bytes as the answer to a request.
    #[must_use]
    pub fn seal_response(&self, id: RequestId, plaintext: &[u8]) -> Vec<u8> {
        self.frame([2, 0, 0, 0], id, plaintext)
    }

    fn frame(&self, form: [u8; 4], id: RequestId, plaintext: &[u8]) -> Vec<u8> {
        let cipher = if form[0] == 1 { &self.request } else { &self.response };
        self.frame_by(cipher, form, id, plaintext)
    }

    fn frame_by(
        &self,
        cipher: &XChaCha20Poly1305,
        form: [u8; 4],
        id: RequestId,
        plaintext: &[u8],
    ) -> Vec<u8> {
        // Random enough to be used once.
        let random = [RequestId::random().0, RequestId::random().0].concat();
        let nonce = random.first_chunk::<24>().expect("there are 32 bytes");
        let stamp = now_ms().to_le_bytes();
        let header = [b"FXW1", &form[..], &self.id, &id.0, &stamp, nonce].concat();
        let sealed = cipher.encrypt(nonce.into(), Payload { msg: plaintext, aad: &header });
        [header, sealed.expect("short messages are sealed")].concat()
    }
}
