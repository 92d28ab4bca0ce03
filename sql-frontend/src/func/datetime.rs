//! stub
use super::catalog::Catalog;
pub(super) fn register(_c: &mut Catalog) {}
