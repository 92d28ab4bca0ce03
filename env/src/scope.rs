//! The tasks of one node, as a group that can die together.
//!
//! Every task belongs to a scope and runs with it as the thread's *current* one, so that whatever it spawns, also through
//! the static [`spawn`] (which code without an `Env` uses, like openraft's runtime), belongs to the same node.
//! [`Scope::kill`] drops all of them at the await points where they stand: that is how a simulated node crashes.

use crate::{random::Random, sim::SimHooks};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use quorate_proto::NodeId;
use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::task::{AbortHandle, JoinHandle};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Scope>>> = const { RefCell::new(None) };
}

/// The scope of the task that is running on this thread.
pub fn current() -> Option<Arc<Scope>> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Spawns into the current scope; outside of any, a plain tokio task.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_named("unnamed", future)
}

/// [`spawn`] under a name.
pub fn spawn_named<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match current() {
        Some(scope) => scope.spawn(name, future),
        #[expect(clippy::disallowed_methods, reason = "the real one")]
        None => tokio::spawn(future),
    }
}

/// A random number from the current scope's generator; outside of any, from the operating system.
pub fn random_u64() -> u64 {
    match current() {
        Some(scope) => scope.random.u64(),
        None => Random::from_os().u64(),
    }
}

/// Runs `future` inside the scope without spawning it: what it spawns belongs to the scope.
pub async fn within<F: Future>(scope: &Arc<Scope>, future: F) -> F::Output {
    Within { scope: Some(scope.clone()), future }.await
}

pub struct Scope {
    node: NodeId,
    dead: AtomicBool,
    panics: AtomicU64,
    tasks: Mutex<Slots>,
    pub(crate) random: Random,
    pub(crate) sim: Option<Arc<SimHooks>>,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<usize>,
    generation: u64,
}

struct Slot {
    generation: u64,
    name: Option<&'static str>,
    abort: Option<AbortHandle>,
}

impl Scope {
    pub(crate) fn new(node: NodeId, random: Random, sim: Option<Arc<SimHooks>>) -> Arc<Self> {
        Arc::new(Scope {
            node,
            dead: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            tasks: Mutex::default(),
            random,
            sim,
        })
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The node's randomness.
    pub fn random(&self) -> &Random {
        &self.random
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// How many of its tasks have panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Live tasks by name.
    pub fn tasks(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for name in self.tasks.lock().slots.iter().filter_map(|slot| slot.name) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    pub fn is_empty(&self) -> bool {
        let tasks = self.tasks.lock();
        tasks.free.len() == tasks.slots.len()
    }

    /// A dead scope drops the future at once; its handle then reports a cancelled task.
    pub fn spawn<F>(self: &Arc<Self>, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let place = self.tasks.lock().reserve(name);
        let membership = Membership { scope: Some(self.clone()), place, name };
        let task = Scoped { future: Some(future), membership };
        #[expect(clippy::disallowed_methods, reason = "the real one; a simulated world has one thread")]
        let handle = tokio::spawn(task);
        let abort = handle.abort_handle();
        if let Some(sim) = &self.sim {
            sim.spawned(self.node, name);
        }
        let mut tasks = self.tasks.lock();
        let dead = self.is_dead();
        if !dead && let Some(slot) = tasks.get(place) {
            slot.abort = Some(abort);
        }
        drop(tasks);
        if dead {
            handle.abort();
        }
        handle
    }

    /// Runs `body` with this scope as the current one; a dead scope runs nothing.
    pub(crate) fn enter(self: &Arc<Self>, body: impl FnOnce()) {
        if !self.is_dead() {
            let mut home = Some(self.clone());
            let _current = Current::enter(&mut home);
            body();
        }
    }

    /// Aborts all tasks and refuses new ones. They are gone when [`Scope::is_empty`] says so.
    pub fn kill(&self) {
        let mut tasks = self.tasks.lock();
        self.dead.store(true, Ordering::Release);
        let handles: Vec<AbortHandle> = tasks.slots.iter_mut().filter_map(|slot| slot.abort.take()).collect();
        drop(tasks);
        handles.iter().for_each(AbortHandle::abort);
    }

    fn panicked(&self, name: &str, panic: &(dyn Any + Send)) {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        self.panics.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("quorate_env_task_panics_total", "task" => name.to_owned()).increment(1);
        tracing::error!(node = self.node.0, task = name, "task panicked: {text}");
        if let Some(sim) = &self.sim {
            sim.panicked(self.node, name, &text);
        }
    }
}

/// Index and generation of a slot.
type Place = (usize, u64);

impl Slots {
    fn reserve(&mut self, name: &'static str) -> Place {
        self.generation += 1;
        let generation = self.generation;
        let slot = Slot { generation, name: Some(name), abort: None };
        match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                (index, generation)
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1, generation)
            }
        }
    }

    fn get(&mut self, (index, generation): Place) -> Option<&mut Slot> {
        self.slots.get_mut(index).filter(|slot| slot.generation == generation && slot.name.is_some())
    }

    fn release(&mut self, place: Place) -> Option<AbortHandle> {
        let slot = self.get(place)?;
        slot.name = None;
        let abort = slot.abort.take();
        self.free.push(place.0);
        abort
    }
}

/// A task's place in its scope, given back when the task is over.
struct Membership {
    /// Lent to the thread while the task is polled.
    scope: Option<Arc<Scope>>,
    place: Place,
    name: &'static str,
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(scope) = &self.scope {
            let abort = scope.tasks.lock().release(self.place);
            drop(abort);
        }
    }
}

pin_project! {
    /// A task with its scope. The future runs and is dropped inside the scope, so that what a destructor spawns belongs
    /// to it too.
    struct Scoped<F> {
        #[pin]
        future: Option<F>,
        membership: Membership,
    }

    impl<F> PinnedDrop for Scoped<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _current = Current::enter(&mut this.membership.scope);
            this.future.set(None);
        }
    }
}

/// Puts a scope into the thread's slot and takes it out again, also when unwinding.
struct Current<'a> {
    home: &'a mut Option<Arc<Scope>>,
    previous: Option<Arc<Scope>>,
}

impl<'a> Current<'a> {
    fn enter(home: &'a mut Option<Arc<Scope>>) -> Self {
        let previous = CURRENT.with(|current| current.replace(home.take()));
        Current { home, previous }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        *self.home = CURRENT.with(|current| current.replace(self.previous.take()));
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let membership = this.membership;
        let future = this.future.as_pin_mut().expect("it is dropped only with the task");
        if let Some(scope) = &membership.scope {
            if scope.is_dead() {
                return Poll::Pending;
            }
            if let Some(sim) = scope.sim.clone()
                && !sim.may_run(scope, membership.name, cx)
            {
                return Poll::Pending;
            }
        }
        let outcome = {
            let _current = Current::enter(&mut membership.scope);
            catch_unwind(AssertUnwindSafe(|| future.poll(cx)))
        };
        match outcome {
            Ok(poll) => poll,
            Err(panic) => {
                if let Some(scope) = &membership.scope {
                    scope.panicked(membership.name, &*panic);
                }
                resume_unwind(panic)
            }
        }
    }
}

pin_project! {
    struct Within<F> {
        scope: Option<Arc<Scope>>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _current = Current::enter(this.scope);
        this.future.poll(cx)
    }
}
