//! Any plaintext of a peer that has the key: the first byte says whether it is compressed.
#![no_main]

use bytes::BytesMut;
use framex_fuzz::{LIMITS, key, ring};
use framex_host::wire::{Compression, NESTING_MAX, check_arguments, open_request, seal_bytes, seal_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((form, plaintext)) = data.split_first() else { return };
    let frame = seal_bytes(key(), None, form & 1 == 1, plaintext);
    let opened = open_request(ring(), BytesMut::from(&frame[..])).expect("what was sealed opens");
    let envelope = match opened.plaintext.decode_request(&LIMITS) {
        Ok(envelope) => envelope,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
            return;
        }
    };
    check_arguments(&envelope.arguments, NESTING_MAX).expect("arguments of an envelope are checked");
    for compression in [Compression::Never, Compression::Auto { bytes_min: 16 }] {
        let (_, frame) = seal_request(key(), 0, &envelope, compression);
        let opened = open_request(ring(), BytesMut::from(&frame[..])).expect("what was sealed opens");
        assert_eq!(opened.plaintext.decode_request(&LIMITS).as_ref(), Ok(&envelope));
    }
});
