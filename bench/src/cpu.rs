//! What server processes have used, read from `/proc`.

use anyhow::{Context, Result};
use std::fs;

/// Bytes of a process that are in memory, without what it has mapped of files (its program).
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kilobytes << 10)
}

/// Microseconds of user and system time of these processes and of all below them, ended children included.
pub fn of_trees(roots: &[u32]) -> u64 {
    let all: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect();
    let mut members: Vec<u32> = roots.to_vec();
    let mut next = 0;
    while next < members.len() {
        let parent = members[next];
        let children = all.iter().filter(|s| s.parent == parent).map(|s| s.pid);
        let new: Vec<u32> = children.filter(|pid| !members.contains(pid)).collect();
        members.extend(new);
        next += 1;
    }
    let ticks: u64 = all.iter().filter(|s| members.contains(&s.pid)).map(|s| s.ticks).sum();
    // SAFETY: sysconf(3) takes an integer and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks * 1_000_000 / u64::try_from(per_second).unwrap_or(100).max(1)
}

struct Stat {
    pid: u32,
    parent: u32,
    /// utime + stime + cutime + cstime
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok());
    let ticks = (11..=14).filter_map(number).sum();
    Some(Stat { pid, parent: u32::try_from(number(1)?).ok()?, ticks })
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_uses_time() {
        let mut x = 1u64;
        let before = super::of_trees(&[std::process::id()]);
        while super::of_trees(&[std::process::id()]) == before {
            (0..10_000_000).for_each(|_| x = x.wrapping_mul(7));
            std::hint::black_box(x);
        }
    }
}
