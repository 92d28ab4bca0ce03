//! What a command waits for, said on standard error once that takes longer than a second. It is meant for people: nothing of
//! it goes to standard output, and nothing is said where `--json` asks for output that programs read ([`mute`]).

use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(5);

/// Nobody is told of anything.
static MUTE: AtomicBool = AtomicBool::new(false);

/// For the whole of a command whose output programs read.
pub fn mute() {
    MUTE.store(true, Ordering::Relaxed);
}

/// A wait; it is over when this is dropped.
pub struct Waiting {
    what: Arc<Mutex<String>>,
    telling: Option<tokio::task::JoinHandle<()>>,
}

/// Begins to wait: after a second, and then every five, a line says for what and for how long.
#[expect(clippy::disallowed_methods, reason = "the tools around a cluster run in real time only")]
pub fn waiting(what: impl Into<String>) -> Waiting {
    let what = Arc::new(Mutex::new(what.into()));
    let shown = what.clone();
    let telling = move || tokio::spawn(tell(shown, tokio::time::sleep, |line| eprintln!("{line}")));
    let quiet = MUTE.load(Ordering::Relaxed);
    Waiting { what, telling: (!quiet).then(telling) }
}

/// The same for those who only have to hold it.
pub fn held(what: String) -> Box<dyn Send> {
    Box::new(waiting(what))
}

impl Waiting {
    /// From now on something else is waited for.
    pub fn now(&self, what: impl Into<String>) {
        *self.what.lock() = what.into();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}

async fn tell<F: Future<Output = ()>>(
    what: Arc<Mutex<String>>,
    sleep: impl Fn(Duration) -> F,
    say: impl Fn(String),
) {
    let (mut waited, mut pause) = (Duration::ZERO, FIRST);
    loop {
        sleep(pause).await;
        waited += pause;
        pause = AGAIN;
        let line = format!("{} … {} s", what.lock(), waited.as_secs());
        say(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// What is said of a wait that lasts so long.
    fn said(lasts: Duration, what: &Arc<Mutex<String>>) -> Vec<String> {
        let (now, lines) = (Mutex::new(Duration::ZERO), Mutex::new(Vec::new()));
        let sleep = |time| {
            *now.lock() += time;
            let over = *now.lock() > lasts;
            async move {
                if over {
                    std::future::pending().await
                }
            }
        };
        let say = |line| lines.lock().push(line);
        assert!(tell(what.clone(), sleep, say).now_or_never().is_none());
        lines.into_inner()
    }

    #[test]
    fn a_line_after_a_second_and_then_every_five() {
        let what = Arc::new(Mutex::new("n2: waiting for SQL".to_owned()));
        assert!(said(Duration::from_millis(999), &what).is_empty());
        let all = ["1 s", "6 s", "11 s", "16 s"].map(|time| format!("n2: waiting for SQL … {time}"));
        assert_eq!(said(Duration::from_secs(5), &what), all[..1]);
        assert_eq!(said(Duration::from_secs(20), &what), all);
    }

    #[test]
    fn the_last_word_counts() {
        let waiting = Waiting { what: Arc::new(Mutex::new("asking".into())), telling: None };
        waiting.now("operation 7: copying data");
        assert_eq!(said(FIRST, &waiting.what), ["operation 7: copying data … 1 s"]);
    }
}
