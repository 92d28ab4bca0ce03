//! One hash over everything that happens, and on request (`QUORATE_TRACE=FILE`) every event as a line: comparing two such
//! files shows where two runs of one seed part.

use std::{
    fs::File,
    io::{BufWriter, Write},
    time::Duration,
};

pub(crate) struct Trace {
    hash: u64,
    events: u64,
    file: Option<BufWriter<File>>,
}

/// The multiplier of rustc's FxHash.
const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;

fn mix(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(5) ^ value).wrapping_mul(MULTIPLIER)
}

pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(0, bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

impl Trace {
    pub(crate) fn new(seed: u64) -> Self {
        let file = std::env::var_os("QUORATE_TRACE").and_then(|path| File::create(path).ok());
        Trace { hash: mix(0, seed), events: 0, file: file.map(BufWriter::new) }
    }

    pub(crate) fn event(&mut self, at: Duration, node: u64, name: &str, value: u64) {
        self.events += 1;
        for part in [at.as_nanos() as u64, node, hash_bytes(name.as_bytes()), value] {
            self.hash = mix(self.hash, part);
        }
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{:.6} n{node} {name} {value:x}", at.as_secs_f64());
        }
    }

    /// The hash and the number of events so far.
    pub(crate) fn finish(&mut self) -> (u64, u64) {
        if let Some(file) = &mut self.file {
            let _ = file.flush();
        }
        // The low bits of a product depend on few bits of its factors.
        (self.hash ^ (self.hash >> 32), self.events)
    }
}
