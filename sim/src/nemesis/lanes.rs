//! Which troubles can go on at the same time: those that touch different things, for each puts right in the end what it has touched.

use crate::plan::Trouble;
use quorate_env::Task;
use std::collections::BTreeMap;

/// What a trouble touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// Whether nodes run, and what they read of time.
    Nodes,
    /// Who reaches whom.
    Links,
    /// How messages fare.
    Messages,
    Disks,
}

fn touched(trouble: &Trouble) -> &'static [Lane] {
    match trouble {
        Trouble::LeaderCrash { .. }
        | Trouble::Crash { .. }
        | Trouble::CrashOfAll { .. }
        | Trouble::Pause { .. }
        | Trouble::ClockJump { .. }
        | Trouble::ClockShift { .. }
        | Trouble::Replacement { .. } => &[Lane::Nodes],
        Trouble::CrashInPartition { .. } => &[Lane::Nodes, Lane::Links],
        Trouble::Partition { .. }
        | Trouble::OneWayCut { .. }
        | Trouble::PairCut { .. }
        | Trouble::Sides { .. } => &[Lane::Links],
        Trouble::BadNetwork { .. } => &[Lane::Messages],
        Trouble::SlowDisk { .. } | Trouble::FullDisk { .. } => &[Lane::Disks],
        // Over at once.
        Trouble::BadBlock { .. } | Trouble::Departure { .. } | Trouble::Operation { .. } => &[],
    }
}

/// The troubles under way.
#[derive(Default)]
pub struct Lanes {
    tasks: BTreeMap<u64, (&'static [Lane], Task<()>)>,
    next: u64,
}

impl Lanes {
    /// Until nothing that goes on touches what this one does.
    pub async fn wait(&mut self, trouble: &Trouble) {
        self.wait_for(touched(trouble)).await;
    }

    pub async fn wait_for_all(&mut self) {
        for (_, (_, task)) in std::mem::take(&mut self.tasks) {
            end(task).await;
        }
    }

    async fn wait_for(&mut self, lanes: &[Lane]) {
        let shares = |taken: &[Lane]| taken.is_empty() || taken.iter().any(|lane| lanes.contains(lane));
        let before: Vec<u64> =
            self.tasks.iter().filter(|(_, (taken, _))| shares(taken)).map(|(id, _)| *id).collect();
        for id in before {
            let (_, task) = self.tasks.remove(&id).expect("listed");
            end(task).await;
        }
    }

    pub fn take(&mut self, trouble: &Trouble, task: Task<()>) {
        self.tasks.insert(self.next, (touched(trouble), task));
        self.next += 1;
    }

    /// Nobody is about to start a node, or to wake one.
    pub fn leaves_nodes_alone(&self) -> bool {
        self.tasks.values().all(|(taken, _)| !taken.contains(&Lane::Nodes))
    }
}

async fn end(task: Task<()>) {
    if let Err(error) = task.join().await {
        tracing::error!("a trouble: {error}");
    }
}
