//! How many threads a node has, how the kernel schedules them, and SQL's own.

use std::{future::Future, io, thread};
use tokio::runtime::{Builder, Runtime};

/// Added to the threads' nice value: when the machine is busy, messages and timers of Raft groups go before statements.
const NICENESS: i32 = 5;

/// A statement that sleeps or waits for an advisory lock holds a thread up, and another one takes its place: more of them than there
/// can be clients, or those would wait for one another's threads.
const HELD_UP: usize = 2048;

/// Threads for messages, Raft groups and shards: half as many as there are processors. More of them wake one another for
/// tasks of microseconds; what takes long has threads elsewhere.
pub fn for_node() -> usize {
    thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}

/// Asks the kernel to schedule this thread, and all that it starts from now on, for throughput (`SCHED_BATCH`): a thread that
/// wakes takes a free processor at once, but does not push another off its processor in the middle of its slice. A node's
/// threads wake one another for work of microseconds; on a busy machine each such push costs more than the work, and what
/// waits for a moment goes along with more of its kind in one frame, one fsync, one message.
pub fn batch() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes integers and a structure that it only reads, all zeros; it concerns the calling thread.
    unsafe {
        let param: libc::sched_param = std::mem::zeroed();
        // Without it the node works as well, at a higher cost.
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &param);
    }
}

/// A runtime beside the node's first one. A statement that computes for long keeps its own threads busy, and the node's Raft
/// groups go on.
pub struct SqlThreads(Option<Runtime>);

impl SqlThreads {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("sql")
            .max_blocking_threads(HELD_UP)
            .on_thread_start(step_back)
            .enable_all()
            .build()?;
        Ok(SqlThreads(Some(runtime)))
    }

    /// Runs `future` there, with whatever it spawns.
    #[expect(clippy::disallowed_methods, reason = "what runs there spawns through env")]
    pub async fn run<F>(&self, future: F) -> io::Result<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.0 {
            Some(runtime) => runtime.spawn(future).await.map_err(io::Error::other),
            None => Err(io::Error::other("the threads have ended")),
        }
    }
}

impl Drop for SqlThreads {
    fn drop(&mut self) {
        // A runtime that is dropped the usual way waits for its threads, which a task must not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn step_back() {
    // SAFETY: both calls take integers and touch no memory of ours; on Linux a niceness is a thread's own.
    unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        // Without it statements are merely as important as the rest.
        libc::setpriority(libc::PRIO_PROCESS, 0, now + NICENESS);
    }
}
