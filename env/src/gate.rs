//! A gate before work of which there can be more than a node bears. While there is, as much goes in at a time as it bears, and the
//! rest stands in line, higher priority first. Who is inside goes on, because others may wait for what it holds.
//!
//! How much that is follows a measure of strain, taken while anybody is inside: a quarter less where there is strain, a little more
//! where there is none (additive increase and multiplicative decrease after Chiu and Jain 1989, "Analysis of the increase and decrease
//! algorithms for congestion avoidance"; CockroachDB adjusts the slots of its admission control by runnable threads in this way).

use crate::Env;
use parking_lot::{Mutex, MutexGuard};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Strain is measured so often.
const EVERY: Duration = Duration::from_millis(50);
/// So many at a time are as good as no bound.
const OPEN: usize = 1 << 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

/// Whether there is strain. It is told how late a thread came to a task that was ready.
pub type Strained = dyn Fn(Duration) -> bool + Send + Sync;

pub struct Gate {
    env: Env,
    strained: Box<Strained>,
    /// So many are always let in.
    least: usize,
    state: Mutex<State>,
}

struct State {
    slots: usize,
    inside: usize,
    line: BTreeMap<Place, oneshot::Sender<Pass>>,
    /// How many have stood in line.
    came: u64,
    /// Somebody has gone out since the last measurement.
    moved: bool,
    measuring: bool,
}

/// Higher priority first, among equals who has come first.
type Place = (Reverse<Priority>, u64);

/// To be inside; dropped, one is out.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

/// Stood in line for this long, and did not get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded(pub Duration);

impl Gate {
    pub fn new(
        env: Env,
        least: usize,
        strained: impl Fn(Duration) -> bool + Send + Sync + 'static,
    ) -> Arc<Gate> {
        let state =
            State { slots: OPEN, inside: 0, line: BTreeMap::new(), came: 0, moved: false, measuring: false };
        Arc::new(Gate { env, strained: Box::new(strained), least, state: Mutex::new(state) })
    }

    /// Stands in line for `patience` at most. Dropping the future leaves the line.
    ///
    /// # Errors
    /// [`Crowded`] after that.
    pub async fn enter(self: &Arc<Self>, priority: Priority, patience: Duration) -> Result<Pass, Crowded> {
        let (standing, turn) = {
            let mut state = self.state.lock();
            self.measure(&mut state);
            if state.inside < state.slots {
                state.inside += 1;
                return Ok(Pass(self.clone()));
            }
            state.came += 1;
            let place = (Reverse(priority), state.came);
            let (sender, turn) = oneshot::channel();
            state.line.insert(place, sender);
            (Standing { gate: self, place }, turn)
        };
        crate::count!("quorate_gate_waits_total");
        let admitted = tokio::select! {
            biased;
            pass = turn => pass.ok(),
            () = self.env.sleep(patience) => None,
        };
        drop(standing);
        admitted.ok_or_else(|| {
            crate::count!("quorate_gate_refused_total");
            Crowded(patience)
        })
    }

    /// How many are inside, and how many stand in line.
    pub fn crowd(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.inside, state.line.len())
    }

    /// Measures from now on, until nobody is inside.
    fn measure(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.measuring, true) {
            return;
        }
        let gate = self.clone();
        let measuring = self.env.spawn("gate", async move { while gate.look().await {} });
        measuring.detach();
    }

    async fn look(self: &Arc<Self>) -> bool {
        let begun = self.env.boottime();
        self.env.sleep(EVERY).await;
        let late = (self.env.boottime() - begun).saturating_sub(EVERY);
        let strained = (self.strained)(late);
        let mut state = self.state.lock();
        state.adjust(strained, self.least);
        state.measuring = state.inside > 0;
        let goes_on = state.measuring;
        self.admit(state);
        goes_on
    }

    /// Lets in who is next in line, as far as there is place.
    fn admit(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut admitted = Vec::new();
        while state.inside < state.slots
            && let Some((_, sender)) = state.line.pop_first()
        {
            state.inside += 1;
            admitted.push(sender);
        }
        drop(state);
        for sender in admitted {
            // Who has gone meanwhile leaves the pass to be dropped, which lets in the next one.
            let _ = sender.send(Pass(self.clone()));
        }
    }
}

impl State {
    fn adjust(&mut self, strained: bool, least: usize) {
        self.slots = if strained {
            (self.slots.min(self.inside) * 3 / 4).max(least)
        } else {
            (self.slots + self.slots.div_ceil(8)).min(OPEN)
        };
        // All who are inside wait for something, and so do not make the strain.
        if !std::mem::take(&mut self.moved) && !self.line.is_empty() {
            self.slots = self.slots.max(self.inside + 1);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.inside -= 1;
        state.moved = true;
        self.0.admit(state);
    }
}

/// A place in the line; dropped, one stands there no longer.
struct Standing<'g> {
    gate: &'g Gate,
    place: Place,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.gate.state.lock().line.remove(&self.place);
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (inside, waiting) = self.crowd();
        f.debug_struct("Gate").field("inside", &inside).field("waiting", &waiting).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{SimConfig, SimWorld};
    use quorate_proto::NodeId;
    use std::sync::atomic::{AtomicBool, Ordering};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Runs with a gate that lets in two at least, and the switch of its strain.
    fn with_gate<F>(scenario: impl FnOnce(Env, Arc<Gate>, Arc<AtomicBool>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let run = SimWorld::run(SimConfig::new(1), |world| async move {
            let env = world.start(NodeId(1), "gate");
            let strain = Arc::new(AtomicBool::new(false));
            let seen = strain.clone();
            let gate = Gate::new(env.clone(), 2, move |_| seen.load(Ordering::Relaxed));
            scenario(env, gate, strain).await;
        });
        run.expect("the simulation ends");
    }

    #[test]
    fn without_strain_everybody_goes_in_and_with_it_few_stay() {
        with_gate(|env, gate, strain| async move {
            let mut inside = Vec::new();
            for _ in 0..100 {
                inside.push(gate.enter(Priority::Low, PATIENCE).await.unwrap());
            }
            strain.store(true, Ordering::Relaxed);
            env.sleep(20 * EVERY).await;
            inside.truncate(1);
            inside.push(gate.enter(Priority::Low, PATIENCE).await.unwrap());
            let begun = env.boottime();
            // Who is inside does nothing, so one more is let in.
            inside.push(gate.enter(Priority::Low, PATIENCE).await.unwrap());
            assert!(env.boottime() - begun >= EVERY / 2);
            strain.store(false, Ordering::Relaxed);
            env.sleep(200 * EVERY).await;
            for _ in 0..100 {
                inside.push(gate.enter(Priority::Low, PATIENCE).await.unwrap());
            }
            assert_eq!(gate.crowd(), (103, 0));
        });
    }

    #[test]
    fn higher_priority_goes_first_and_who_leaves_the_line_takes_nothing() {
        with_gate(|env, gate, strain| async move {
            strain.store(true, Ordering::Relaxed);
            let first = gate.enter(Priority::Normal, PATIENCE).await.unwrap();
            let _second = gate.enter(Priority::Normal, PATIENCE).await.unwrap();
            // Between two measurements.
            env.sleep(EVERY * 5 / 2).await;
            let order = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = Vec::new();
            for (name, priority) in [
                ("low", Priority::Low),
                ("first", Priority::Normal),
                ("second", Priority::Normal),
                ("high", Priority::High),
            ] {
                let (gate, order) = (gate.clone(), order.clone());
                tasks.push(env.spawn("waits", async move {
                    let _pass = gate.enter(priority, PATIENCE).await.unwrap();
                    order.lock().push(name);
                }));
                env.sleep(Duration::from_millis(1)).await;
            }
            let gone = gate.enter(Priority::High, Duration::from_millis(1)).await;
            assert_eq!(gone.unwrap_err(), Crowded(Duration::from_millis(1)));
            drop(first);
            for task in tasks {
                task.join().await.unwrap();
            }
            assert_eq!(*order.lock(), ["high", "first", "second", "low"]);
            assert_eq!(gate.crowd(), (1, 0));
        });
    }
}
