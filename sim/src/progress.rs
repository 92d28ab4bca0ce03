//! How far it is, on standard error, for whoever waits longer than a second.
#![expect(clippy::disallowed_methods, reason = "for the person who waits, outside of any world")]

use std::{
    io::{self, IsTerminal},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);
/// A terminal shows the last line alone; a log keeps them all.
const PAUSE_IN_LOG: Duration = Duration::from_secs(10);
/// Back to the start of the line, and away with what stands there.
const CLEAR: &str = "\r\x1b[K";

/// Real time, for telling how fast it goes.
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Shows a line until it is dropped.
pub struct Progress {
    terminal: bool,
    ticker: Ticker,
}

impl Progress {
    /// `text` is asked anew each time; the time that has passed follows it.
    pub fn show(text: impl Fn() -> String + Send + 'static) -> io::Result<Progress> {
        let (began, terminal) = (Instant::now(), io::stderr().is_terminal());
        let tick = move || {
            let line = format!("{}, {} s", text(), began.elapsed().as_secs());
            if terminal { eprint!("{CLEAR}{line}") } else { eprintln!("{line}") }
        };
        let pause = if terminal { SECOND } else { PAUSE_IN_LOG };
        Ok(Progress { terminal, ticker: Ticker::start(SECOND, pause, tick)? })
    }

    /// Makes room for something else.
    pub fn clear(&self) {
        if self.terminal {
            eprint!("{CLEAR}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ticker.stop();
        self.clear();
    }
}

/// A thread that does something now and then.
struct Ticker(Option<(Sender<()>, JoinHandle<()>)>);

impl Ticker {
    fn start(
        first: Duration,
        pause: Duration,
        mut tick: impl FnMut() + Send + 'static,
    ) -> io::Result<Ticker> {
        let (stop, stopped) = channel();
        let run = move || {
            let mut wait = first;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                tick();
                wait = pause;
            }
        };
        Ok(Ticker(Some((stop, Builder::new().name("progress".into()).spawn(run)?))))
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // It only prints; if that has failed, nothing is lost.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_ticks_until_it_is_stopped() {
        let (told, ticks) = channel();
        let tick = move || {
            let _ = told.send(());
        };
        let mut ticker = Ticker::start(Duration::ZERO, Duration::ZERO, tick).unwrap();
        (0..3).for_each(|_| ticks.recv().unwrap());
        ticker.stop();
        // Ends only because the thread, which holds the other end, has.
        ticks.iter().for_each(drop);
    }
}
