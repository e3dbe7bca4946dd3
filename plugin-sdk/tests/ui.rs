//! The error messages of the attributes: their text, where they point, and that there is one for each problem.
//!
//! After a change: `TRYBUILD=overwrite cargo test -p framex-sdk --test ui`, and read the difference.

#[test]
fn errors_of_the_attributes() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
