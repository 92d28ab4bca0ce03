//! placeholder
use super::Numeric;
impl Numeric {
    /// Rounded to `scale` digits after the point (before it when negative), halves away from zero.
    pub fn round(&self, scale: i32) -> Numeric {
        let _ = scale;
        todo!()
    }
}
