//! A value that tasks wait on for changes: the interface of `tokio::sync::watch`, with waiters that wake in the order in
//! which they came. tokio's spreads them over several lists by chance, drawn from the process, so that a seed would not
//! repeat its run; and every change locks all the lists, which costs more than our few waiters are worth.

use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// What a borrowed value is read through. Not to be held across an await: it keeps senders waiting.
pub type Ref<'a, T> = RwLockReadGuard<'a, T>;

/// Every sender is gone: there will be no further change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was watched has ended")]
pub struct Closed;

/// A sender, and a receiver that has seen `init`.
pub fn channel<T>(init: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(init);
    let receiver = sender.subscribe();
    (sender, receiver)
}

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// Counts changes; it grows under the write lock.
    version: AtomicU64,
    senders: AtomicUsize,
    changes: Notify,
}

#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    pub fn new(init: T) -> Self {
        Sender(Arc::new(Shared {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            changes: Notify::new(),
        }))
    }

    /// A receiver that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        let _unchanged = self.0.value.read();
        Receiver { seen: self.0.version.load(Ordering::Relaxed), shared: self.0.clone() }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.value.read()
    }

    /// Puts `value` in place of the present one, which it returns.
    pub fn send_replace(&self, value: T) -> T {
        let mut before = value;
        self.send_modify(|present| std::mem::swap(present, &mut before));
        before
    }

    pub fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            modify(value);
            true
        });
    }

    /// Wakes the waiters only where `modify` says that it changed something; returns what it says.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut value = self.0.value.write();
            if !modify(&mut value) {
                return false;
            }
            self.0.version.fetch_add(1, Ordering::Release);
        }
        self.0.changes.notify_waiters();
        true
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changes.notify_waiters();
        }
    }
}

#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value.read()
    }

    /// Marks what it returns as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.value.read();
        self.seen = self.shared.version.load(Ordering::Relaxed);
        value
    }

    /// Takes the present value as seen.
    pub fn mark_unchanged(&mut self) {
        drop(self.borrow_and_update());
    }

    /// Returns when there is a change that has not been seen, and marks it as seen. May be dropped at any time.
    ///
    /// # Errors
    /// When no sender is left, and the last change has been seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Taken before the look, so that a change right after it is not missed.
            let change = self.shared.changes.notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(Closed);
            }
            change.await;
        }
    }

    /// Returns when the value is as `wanted`, which may be at once.
    ///
    /// # Errors
    /// When no sender is left, and the last value is not as wanted.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> Result<(), Closed> {
        while !wanted(&self.borrow_and_update()) {
            self.changed().await?;
        }
        Ok(())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver { shared: self.shared.clone(), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use futures::executor::block_on;

    #[test]
    fn a_change_is_seen_once_and_the_last_one_even_after_the_end() {
        let (sender, mut receiver) = channel(1);
        assert!(receiver.changed().now_or_never().is_none(), "the first value counts as seen");
        assert_eq!(sender.send_replace(2), 1);
        sender.send_modify(|value| *value += 1);
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(())));
        assert_eq!(*receiver.borrow(), 3);
        assert!(receiver.changed().now_or_never().is_none(), "two changes, seen together");
        assert!(!sender.send_if_modified(|_| false));
        assert!(receiver.changed().now_or_never().is_none(), "nothing changed");
        sender.send_replace(4);
        drop(sender);
        assert_eq!(block_on(receiver.changed()), Ok(()));
        assert_eq!(*receiver.borrow_and_update(), 4);
        assert_eq!(block_on(receiver.changed()), Err(Closed));
        assert_eq!(block_on(receiver.wait_for(|value| *value == 4)), Ok(()));
        assert_eq!(block_on(receiver.wait_for(|value| *value == 5)), Err(Closed));
    }

    struct Woken(u32, Arc<parking_lot::Mutex<Vec<u32>>>);

    impl futures::task::ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.1.lock().push(this.0);
        }
    }

    #[test]
    fn waiters_wake_in_the_order_in_which_they_came() {
        let (sender, receiver) = channel(0);
        let woken = Arc::default();
        let mut receivers = vec![receiver; 20];
        let mut waiting: Vec<_> = receivers.iter_mut().map(|receiver| Box::pin(receiver.changed())).collect();
        for (n, future) in (0..).zip(&mut waiting) {
            let waker = futures::task::waker(Arc::new(Woken(n, Arc::clone(&woken))));
            assert!(future.poll_unpin(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        sender.send_replace(1);
        assert_eq!(*woken.lock(), (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_end_wakes_who_waits_and_only_the_last_sender_is_the_end() {
        let (sender, mut receiver) = channel(());
        let other = sender.clone();
        let mut waiting = Box::pin(receiver.changed());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(sender);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(other);
        assert_eq!(waiting.as_mut().now_or_never(), Some(Err(Closed)));
    }
}
