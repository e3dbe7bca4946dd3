//! Any plaintext of the answer of a peer that has the key: the first byte says whether it is compressed.
#![no_main]

use bytes::BytesMut;
use framex_fuzz::{LIMITS, key};
use framex_host::base::RequestId;
use framex_host::wire::{Compression, ResponseError, open_response, seal_bytes, seal_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((form, plaintext)) = data.split_first() else { return };
    let id = RequestId([7; 16]);
    let open = |frame: &[u8]| open_response(key(), id, BytesMut::from(frame), &LIMITS);
    let envelope = match open(&seal_bytes(key(), Some(id), form & 1 == 1, plaintext)) {
        Ok(envelope) => envelope,
        Err(ResponseError::Decode(error)) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
            return;
        }
        Err(error) => panic!("what was sealed opens: {error}"),
    };
    for compression in [Compression::Never, Compression::Auto { bytes_min: 16 }] {
        let again = open(&seal_response(key(), id, 0, &envelope, compression));
        assert_eq!(again.as_ref(), Ok(&envelope));
    }
});
