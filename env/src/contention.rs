//! How much the processors are fought over: the share of the time in which threads of this process could have run, and
//! waited for a processor instead. Who can choose between doing a thing at once and doing it together with others asks here.
//!
//! Read from the kernel when somebody asks, and costs nothing while nobody does.

use crate::time;
use parking_lot::Mutex;
use std::{fs::File, os::unix::fs::FileExt, time::Duration};

/// A measurement counts for this long.
const FRESH: Duration = Duration::from_millis(50);
/// In less time than this on processors or in wait for them nothing is measured.
const LEAST: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Contention {
    Measured,
    /// Under simulation.
    Given(f64),
}

impl Contention {
    pub(crate) fn share(self) -> f64 {
        match self {
            Contention::Measured => WATCH.lock().share(time::now()),
            Contention::Given(share) => share,
        }
    }
}

static WATCH: Mutex<Watch> =
    Mutex::new(Watch { threads: Vec::new(), last: Totals::NOTHING, share: 0.0, due: Duration::ZERO });

/// From now on the calling thread is one of those of which [`crate::Env::contention`] tells. Where the kernel does not say how
/// long a thread waits, nothing happens.
pub fn watch_this_thread() {
    if let Ok(file) = File::open("/proc/thread-self/schedstat") {
        WATCH.lock().threads.push(file);
    }
}

struct Watch {
    /// Each the `schedstat` of a thread (proc(5)).
    threads: Vec<File>,
    last: Totals,
    share: f64,
    due: Duration,
}

/// What the threads have spent.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Totals {
    running: Duration,
    waiting: Duration,
}

impl Watch {
    fn share(&mut self, now: Duration) -> f64 {
        if now < self.due {
            return self.share;
        }
        self.due = now + FRESH;
        let mut totals = Totals::NOTHING;
        self.threads.retain(|thread| {
            let spent = read(thread);
            totals = totals.plus(spent.unwrap_or(Totals::NOTHING));
            spent.is_some()
        });
        if let Some(share) = totals.share_since(self.last) {
            self.share = share;
        }
        self.last = totals;
        metrics::gauge!("quorate_env_contention").set(self.share);
        self.share
    }
}

impl Totals {
    const NOTHING: Totals = Totals { running: Duration::ZERO, waiting: Duration::ZERO };

    fn plus(self, other: Totals) -> Totals {
        Totals { running: self.running + other.running, waiting: self.waiting + other.waiting }
    }

    /// None when too little has happened, or a thread has ended, with what it had spent.
    fn share_since(self, before: Totals) -> Option<f64> {
        let running = self.running.checked_sub(before.running)?;
        let waiting = self.waiting.checked_sub(before.waiting)?;
        let all = running + waiting;
        (all >= LEAST).then(|| waiting.as_secs_f64() / all.as_secs_f64())
    }
}

/// None: the thread has ended.
fn read(thread: &File) -> Option<Totals> {
    let mut text = [0; 64];
    let length = thread.read_at(&mut text, 0).ok()?;
    parse(std::str::from_utf8(&text[..length]).ok()?)
}

/// Nanoseconds on a processor, nanoseconds in wait for one, and how often it got one.
fn parse(text: &str) -> Option<Totals> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().map(Duration::from_nanos));
    Some(Totals { running: fields.next()?.ok()?, waiting: fields.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(running: u64, waiting: u64) -> Totals {
        Totals { running: Duration::from_millis(running), waiting: Duration::from_millis(waiting) }
    }

    #[test]
    fn the_share_is_that_of_what_happened_since() {
        assert_eq!(totals(40, 30).share_since(totals(10, 20)), Some(0.25));
        assert_eq!(totals(40, 30).share_since(totals(40, 30)), None, "nothing happened");
        assert_eq!(totals(5, 5).share_since(totals(40, 30)), None, "a thread has ended");
    }

    #[test]
    fn the_kernels_words_are_understood() {
        assert_eq!(parse("2000000 1000000 17\n"), Some(totals(2, 1)));
        assert_eq!(parse("2000000\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_thread_is_watched_until_it_ends() {
        let mut watch = Watch { threads: Vec::new(), last: Totals::NOTHING, share: 0.0, due: Duration::ZERO };
        let (give, take) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        #[expect(clippy::disallowed_methods, reason = "a thread to be watched")]
        let thread = std::thread::spawn(move || {
            let _ = give.send(File::open("/proc/thread-self/schedstat"));
            let _ = ended.recv();
        });
        let Ok(file) = take.recv().unwrap() else { return };
        watch.threads.push(file);
        assert!((0.0..=1.0).contains(&watch.share(FRESH)));
        assert_eq!(watch.threads.len(), 1);
        drop(end);
        thread.join().unwrap();
        // The kernel may need a moment to take its files away.
        let mut now = FRESH;
        while !watch.threads.is_empty() {
            now += FRESH;
            watch.share(now);
            std::thread::yield_now();
        }
    }
}
