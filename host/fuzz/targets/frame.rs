//! Any bytes as the body of `POST /api/v1/proxy/remote`, and as the answer of a peer.
#![no_main]

use bytes::BytesMut;
use framex_fuzz::{LIMITS, key, ring};
use framex_host::base::RequestId;
use framex_host::wire::{open_request, open_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    if let Ok(opened) = open_request(ring(), BytesMut::from(frame)) {
        // Only an unchanged seed is authentic: it is decoded or refused, with any content.
        let _decoded = opened.plaintext.decode_request(&LIMITS);
    }
    let id = frame.get(16..32).and_then(|id| id.try_into().ok()).unwrap_or_default();
    let _answer = open_response(key(), RequestId(id), BytesMut::from(frame), &LIMITS);
});
