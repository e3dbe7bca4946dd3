//! The bytes of the library's file that tests change to make another build of it (`framex_tests::Build`).

/// Prefix (16 bytes), name of the build (10), then three letters: how it starts, what it registers, what it leaves.
#[used]
static MARKER: [u8; 50] = *b"framex-changing:build-0001:start=g:shape=a:leave=n";

fn bytes() -> &'static [u8; 50] {
    // Hidden from the compiler, which would otherwise write the bytes of today into the code.
    std::hint::black_box(&MARKER)
}

/// `build-0001` for example.
pub(crate) fn build() -> &'static str {
    std::str::from_utf8(&bytes()[16..26]).unwrap_or_default()
}

/// `g`ood, `f`ails, `p`anics, `h`angs.
pub(crate) fn start() -> u8 {
    bytes()[33]
}

/// `a` registers everything, `b` lacks a function, `c` takes another type.
pub(crate) fn shape() -> u8 {
    bytes()[41]
}

/// Remains of a stopped build: `n`othing, a `t`hread, a tas`k`, ti`m`ers.
pub(crate) fn leaves() -> u8 {
    bytes()[49]
}
