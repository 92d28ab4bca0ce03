//! Build script of a crate without code; it exists so that the build dependencies above take part.
fn main() {}
