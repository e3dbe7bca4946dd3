//! Writes MessagePack into a frame under construction, always in the shortest form.
//!
//! Writing to memory cannot fail, which `rmp`'s own writers do not know; only its markers are used.

use rmp::Marker;

use super::cipher::TAG_BYTES;
use super::frame::HEADER_BYTES;

/// A frame under construction: room for the header, then the plaintext so far.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a frame whose plaintext is expected to have at most `plaintext_bytes`: up to that,
    /// this is the only allocation that the frame takes.
    pub(super) fn new(plaintext_bytes: usize) -> Self {
        let mut frame = Vec::with_capacity(HEADER_BYTES + plaintext_bytes + TAG_BYTES);
        frame.resize(HEADER_BYTES, 0);
        Self(frame)
    }

    /// The frame, to be sealed.
    pub(super) fn into_frame(self) -> Vec<u8> {
        self.0
    }

    /// Returns the plaintext so far, without the room for the header.
    pub(super) fn into_plaintext(mut self) -> Vec<u8> {
        self.0.split_off(HEADER_BYTES)
    }

    pub(super) fn nil(&mut self) {
        self.marker(Marker::Null);
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.marker(if value { Marker::True } else { Marker::False });
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        let [.., c3, c2, c1, c0] = value.to_be_bytes();
        match value {
            0..=0x7f => self.marker(Marker::FixPos(c0)),
            0x80..=0xff => self.head(Marker::U8, &[c0]),
            0x100..=0xffff => self.head(Marker::U16, &[c1, c0]),
            0x1_0000..=0xffff_ffff => self.head(Marker::U32, &[c3, c2, c1, c0]),
            _ => self.head(Marker::U64, &value.to_be_bytes()),
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        match length(text.len()) {
            [0, 0, 0, short @ 0..=31] => self.marker(Marker::FixStr(short)),
            [0, 0, 0, c0] => self.head(Marker::Str8, &[c0]),
            [0, 0, c1, c0] => self.head(Marker::Str16, &[c1, c0]),
            long => self.head(Marker::Str32, &long),
        }
        self.raw(text.as_bytes());
    }

    pub(super) fn binary(&mut self, bytes: &[u8]) {
        match length(bytes.len()) {
            [0, 0, 0, c0] => self.head(Marker::Bin8, &[c0]),
            [0, 0, c1, c0] => self.head(Marker::Bin16, &[c1, c0]),
            long => self.head(Marker::Bin32, &long),
        }
        self.raw(bytes);
    }

    /// The head of an array; its entries follow.
    pub(super) fn array(&mut self, count: usize) {
        match length(count) {
            [0, 0, 0, few @ 0..=15] => self.marker(Marker::FixArray(few)),
            [0, 0, c1, c0] => self.head(Marker::Array16, &[c1, c0]),
            many => self.head(Marker::Array32, &many),
        }
    }

    /// The head of a map of at most 15 pairs, which follow.
    pub(super) fn small_map(&mut self, pairs: u8) {
        self.marker(Marker::FixMap(pairs));
    }

    /// One value that is MessagePack already.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn head(&mut self, marker: Marker, rest: &[u8]) {
        self.marker(marker);
        self.raw(rest);
    }

    fn marker(&mut self, marker: Marker) {
        self.0.push(marker.to_u8());
    }
}

/// A length in four bytes, big-endian. One of 4 GiB and more, which MessagePack cannot express, becomes the
/// greatest that it can, and the receiver refuses the message as it refuses any above its limit.
fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reader::Reader;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::new(0);
        write(&mut writer);
        writer.into_frame().split_off(HEADER_BYTES)
    }

    /// `rmp` writes the shortest form too: an independent second opinion at every border.
    #[test]
    fn the_forms_are_those_of_rmp() {
        for value in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 32, u64::MAX] {
            let mut expected = Vec::new();
            rmp::encode::write_uint(&mut expected, value).unwrap();
            assert_eq!(written(|writer| writer.unsigned(value)), expected, "{value}");
        }
        for size in [0, 1, 31, 32, 255, 256, 65_535, 65_536] {
            let text = "x".repeat(size);
            let mut expected = Vec::new();
            rmp::encode::write_str(&mut expected, &text).unwrap();
            assert_eq!(written(|writer| writer.text(&text)), expected, "{size}");
            expected.clear();
            rmp::encode::write_bin(&mut expected, text.as_bytes()).unwrap();
            assert_eq!(written(|writer| writer.binary(text.as_bytes())), expected, "{size}");
            expected.clear();
            rmp::encode::write_array_len(&mut expected, u32::try_from(size).unwrap()).unwrap();
            assert_eq!(written(|writer| writer.array(size)), expected, "{size}");
        }
    }

    #[test]
    fn small_values_read_back() {
        let bytes = written(|writer| {
            writer.small_map(1);
            writer.boolean(true);
            writer.nil();
        });
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.map("map"), Ok(1));
        assert_eq!(reader.boolean("key"), Ok(true));
        assert!(reader.nil());
        assert_eq!(reader.finish("map"), Ok(()));
    }
}
