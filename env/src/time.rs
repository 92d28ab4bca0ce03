//! Monotonic time and timers, real or virtual.
//!
//! On a simulated thread all timers run on the world's virtual clock; elsewhere on tokio's. The functions are static, so
//! that code which is handed no `Env` (openraft's runtime) has them too. Instants are durations since boot
//! (`CLOCK_BOOTTIME`: it goes on while the machine sleeps, as leases must).

use crate::{
    precise::{self, PreciseSleep},
    sim::virtual_time::{self, VirtualSleep},
};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Time since boot; never goes back.
pub fn now() -> Duration {
    match virtual_time::current() {
        Some(virtual_time) => virtual_time.now(),
        None => clock_gettime(libc::CLOCK_BOOTTIME),
    }
}

#[expect(clippy::disallowed_methods, reason = "the real clock")]
pub(crate) fn clock_gettime(clock: libc::clockid_t) -> Duration {
    let mut value = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `value` is a valid timespec to write to; the clock ids used exist on every Linux we run on.
    let code = unsafe { libc::clock_gettime(clock, &mut value) };
    assert_eq!(code, 0, "clock_gettime({clock}) failed");
    Duration::new(value.tv_sec as u64, value.tv_nsec as u32)
}

/// A timer. Real ones fire up to a millisecond late (tokio's wheel), virtual ones at their microsecond.
pub struct Sleep(Kind);

enum Kind {
    Real(Pin<Box<tokio::time::Sleep>>),
    Virtual(VirtualSleep),
    /// Too far away to be represented.
    Never,
}

#[expect(clippy::disallowed_methods, reason = "the real timer")]
pub fn sleep(duration: Duration) -> Sleep {
    match virtual_time::current() {
        Some(time) => match time.now().checked_add(duration) {
            Some(at) => Sleep(Kind::Virtual(time.sleep_until(at))),
            None => Sleep(Kind::Never),
        },
        // tokio cuts what it cannot represent to some 30 years.
        None => Sleep(Kind::Real(Box::pin(tokio::time::sleep(duration)))),
    }
}

/// Sleeps until [`now`] has reached `at`.
pub fn sleep_until(at: Duration) -> Sleep {
    sleep(at.saturating_sub(now()))
}

/// [`sleep`] for short waits that a millisecond more would spoil.
pub async fn sleep_precisely(duration: Duration) {
    if virtual_time::current().is_some() {
        return sleep(duration).await;
    }
    let deadline = now().saturating_add(duration);
    if duration > precise::LONGEST {
        sleep(duration - precise::LONGEST).await;
    }
    let left = deadline.saturating_sub(now());
    match PreciseSleep::new(left) {
        _ if left.is_zero() => {}
        Some(precise) => precise.await,
        None => sleep(left).await,
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Kind::Real(sleep) => sleep.as_mut().poll(cx),
            Kind::Virtual(sleep) => Pin::new(sleep).poll(cx),
            Kind::Never => Poll::Pending,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time ran out")]
pub struct Elapsed;

pin_project! {
    /// See [`timeout`].
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

/// Gives up on `future` after `duration`; a future that is ready at once always wins.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep(duration) }
}

/// Gives up on `future` when [`now`] has reached `at`.
pub fn timeout_at<F: Future>(at: Duration, future: F) -> Timeout<F> {
    Timeout { future, sleep: sleep_until(at) }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Ok(value));
        }
        Pin::new(this.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}
