//! PostgreSQL's hash of a text, which applications name advisory locks by: `pg_advisory_lock(hashtext('…'))`. It is the second
//! generation of Bob Jenkins's lookup functions (burtleburtle.net/bob/c/lookup3.c), over little-endian words.

use super::catalog::Catalog;
use super::kind::{Int4, Int8, Text};

pub(super) fn register(c: &mut Catalog) {
    c.fn1::<Text, Int4>("hashtext", |s| Ok(Some(hash(s.as_bytes(), 0) as u32 as i32)));
    c.fn2::<Text, Int8, Int8>("hashtextextended", |s, seed| Ok(Some(hash(s.as_bytes(), seed as u64) as i64)));
}

/// The lower half is the hash of 32 bits.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let start = 0x9e37_79b9_u32.wrapping_add(bytes.len() as u32).wrapping_add(3_923_095);
    let mut state = [start; 3];
    if seed != 0 {
        state[0] = state[0].wrapping_add((seed >> 32) as u32);
        state[1] = state[1].wrapping_add(seed as u32);
        mix(&mut state);
    }
    let whole = bytes.chunks_exact(12);
    let rest = whole.remainder();
    for block in whole {
        for (part, word) in state.iter_mut().zip(block.chunks_exact(4)) {
            *part = part.wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        }
        mix(&mut state);
    }
    for (at, byte) in rest.iter().enumerate() {
        // The lowest byte of the last word is the length's.
        let shift = 8 * (at % 4 + usize::from(at >= 8));
        state[at / 4] = state[at / 4].wrapping_add(u32::from(*byte) << shift);
    }
    finish(&mut state);
    u64::from(state[1]) << 32 | u64::from(state[2])
}

fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: u32, by: u32| {
        *x = x.wrapping_sub(*y) ^ y.rotate_left(by);
        *y = y.wrapping_add(z);
    };
    step(a, c, *b, 4);
    step(b, a, *c, 6);
    step(c, b, *a, 8);
    step(a, c, *b, 16);
    step(b, a, *c, 19);
    step(c, b, *a, 4);
}

fn finish([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: u32, by: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(by));
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
}
