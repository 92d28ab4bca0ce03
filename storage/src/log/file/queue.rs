//! The writer's queue: a crossbeam channel, and a bell.
//!
//! The channel's own blocking receive yields the processor a few times before it sleeps. On a busy machine each yield gives
//! a whole time slice (4 ms) away, during which a job waits although the writer could run; a thread that sleeps at once is
//! woken ahead of the others. So the writer parks, and senders ring.

use crossbeam::channel::{Receiver, Sender, TryRecvError, unbounded};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Bell {
    /// The writer sleeps, or is about to.
    asleep: AtomicBool,
    writer: OnceLock<Thread>,
}

pub(super) struct Jobs<T> {
    queue: Sender<T>,
    bell: Arc<Bell>,
}

pub(super) struct Work<T> {
    queue: Receiver<T>,
    bell: Arc<Bell>,
}

/// What the writer woke up for.
pub(super) enum Wake<T> {
    Job(T),
    /// Nothing came in time.
    Idle,
    /// Nothing will ever come.
    Over,
}

pub(super) fn queue<T>() -> (Jobs<T>, Work<T>) {
    let (sender, receiver) = unbounded();
    let bell = Arc::new(Bell::default());
    (Jobs { queue: sender, bell: bell.clone() }, Work { queue: receiver, bell })
}

#[expect(clippy::disallowed_methods, reason = "a thread that no simulation runs")]
fn now() -> Instant {
    Instant::now()
}

impl<T> Jobs<T> {
    /// Gives the job back if the writer is gone.
    pub fn send(&self, job: T) -> Result<(), T> {
        self.queue.send(job).map_err(|lost| lost.into_inner())?;
        // Either this sees the writer asleep, or the writer, which looks once more after lying down, sees the job.
        fence(Ordering::SeqCst);
        if self.bell.asleep.swap(false, Ordering::SeqCst)
            && let Some(writer) = self.bell.writer.get()
        {
            writer.unpark();
        }
        Ok(())
    }
}

impl<T> Work<T> {
    /// The next job if one waits already.
    pub fn ready(&self) -> Wake<T> {
        match self.queue.try_recv() {
            Ok(job) => Wake::Job(job),
            Err(TryRecvError::Empty) => Wake::Idle,
            Err(TryRecvError::Disconnected) => Wake::Over,
        }
    }

    /// The next job, waited for as long as it takes, or for `limit`. For one thread only.
    #[expect(clippy::disallowed_methods, reason = "a thread that no simulation runs")]
    pub fn wait(&self, limit: Option<Duration>) -> Wake<T> {
        self.bell.writer.get_or_init(thread::current);
        let deadline = limit.map(|limit| now() + limit);
        loop {
            self.bell.asleep.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            match self.ready() {
                Wake::Idle => {}
                found => {
                    self.bell.asleep.store(false, Ordering::SeqCst);
                    return found;
                }
            }
            match deadline {
                None => thread::park(),
                Some(deadline) => thread::park_timeout(deadline.saturating_duration_since(now())),
            }
            self.bell.asleep.store(false, Ordering::SeqCst);
            match self.ready() {
                // Rung for a job that was found without sleeping, or woken for nothing.
                Wake::Idle if deadline.is_none_or(|deadline| now() < deadline) => {}
                found => return found,
            }
        }
    }

    /// Takes in what comes within the time. `false` when nothing will ever come any more.
    pub fn gather(&self, time: Duration, into: &mut VecDeque<T>) -> bool {
        let until = now() + time;
        loop {
            match self.wait(Some(until.saturating_duration_since(now()))) {
                Wake::Job(job) => into.push_back(job),
                Wake::Idle => return true,
                Wake::Over => return false,
            }
            if now() >= until {
                return true;
            }
        }
    }

    /// All that is left, until nothing more can come.
    pub fn drain(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| match self.wait(None) {
            Wake::Job(job) => Some(job),
            Wake::Idle | Wake::Over => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "real threads are what is tested")]
    fn no_job_is_slept_through() {
        let (jobs, work) = queue();
        let count = 4 * 20_000;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|n| jobs.send(n).unwrap()));
            }
            for seen in 0..count {
                let limit = (seen % 3 == 0).then_some(Duration::from_secs(60));
                assert!(matches!(work.wait(limit), Wake::Job(_)));
            }
        });
        assert!(matches!(work.ready(), Wake::Idle));
        assert!(matches!(work.wait(Some(Duration::from_millis(1))), Wake::Idle));
        drop(jobs);
        assert!(matches!(work.ready(), Wake::Over));
    }
}
