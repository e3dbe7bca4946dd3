//! What the attributes say of code that they cannot take: each message, where it points, and that it says what to write.
//!
//! After a change: `TRYBUILD=overwrite cargo test -p framex-sdk --test ui`, and read the difference.

#[test]
fn errors_of_the_attributes() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
