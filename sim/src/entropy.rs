//! Takes the operating system's entropy away from this process.
//!
//! `RandomState`, `futures::select!` and `tokio::select!` seed themselves from `getrandom`. The symbols defined here come
//! before libc's, so that what they get follows from the seed alone; that is why every seed has a process of its own.

use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0x5175_6f72_6174_6531);

/// From now on all entropy follows from `seed`. To be called before anything else runs.
pub fn seed(seed: u64) {
    STATE.store(seed ^ 0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
fn next() -> u64 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
unsafe fn fill(buffer: *mut u8, length: usize) {
    for at in (0..length).step_by(8) {
        let word = next().to_le_bytes();
        // SAFETY: at + the copied length stays within `length`.
        unsafe { std::ptr::copy_nonoverlapping(word.as_ptr(), buffer.add(at), word.len().min(length - at)) };
    }
}

/// As getrandom(2), without any randomness.
///
/// # Safety
/// As the original.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: passed on from the caller.
    unsafe { fill(buffer, length) };
    length as isize
}

/// As getentropy(3), without any entropy.
///
/// # Safety
/// As the original.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut u8, length: usize) -> i32 {
    // SAFETY: passed on from the caller.
    unsafe { fill(buffer, length) };
    0
}
