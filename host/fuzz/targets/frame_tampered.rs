//! An authentic frame that an attacker on the path has changed: it never opens, unless it is what was sent.
#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use framex_fuzz::{LIMITS, key, ring};
use framex_host::base::RequestId;
use framex_host::wire::{OpenError, ResponseError, open_request, open_response, seal_bytes};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Change {
    Flip { at: u16, bits: u8 },
    Cut { length: u16 },
    Append { byte: u8 },
    Swap { a: u16, b: u16 },
}

#[derive(Debug, Arbitrary)]
struct Tampered<'a> {
    is_response: bool,
    compressed: bool,
    id: [u8; 16],
    changes: [Option<Change>; 4],
    plaintext: &'a [u8],
}

fuzz_target!(|input: Tampered<'_>| {
    let id = RequestId(input.id);
    let sent = seal_bytes(key(), input.is_response.then_some(id), input.compressed, input.plaintext);
    let mut arrived = sent.clone();
    for change in input.changes.into_iter().flatten() {
        let length = arrived.len();
        match change {
            Change::Flip { at, bits } if length > 0 => arrived[usize::from(at) % length] ^= bits,
            Change::Cut { length: to } => arrived.truncate(usize::from(to) % (length + 1)),
            Change::Append { byte } => arrived.push(byte),
            Change::Swap { a, b } if length > 0 => {
                arrived.swap(usize::from(a) % length, usize::from(b) % length)
            }
            Change::Flip { .. } | Change::Swap { .. } => {}
        }
    }
    let untouched = arrived == sent;
    let request = open_request(ring(), BytesMut::from(&arrived[..]));
    assert_eq!(request.is_ok(), untouched && !input.is_response, "{request:?}");
    let response = open_response(key(), id, BytesMut::from(&arrived[..]), &LIMITS);
    let refused = matches!(
        &response,
        Err(ResponseError::Open(OpenError::NotAuthentic | OpenError::Incompatible { .. }))
    );
    assert_eq!(!refused, untouched && input.is_response, "{response:?}");
});
