//! Which troubles can go on at the same time: those that touch different things, for each puts right in the end what it has touched.

use crate::plan::Trouble;
use quorate_env::Task;

/// What a trouble touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct Lanes(Vec<(&'static [Lane], Task<()>)>);

impl Lanes {
    /// Until nothing that goes on touches what this one does.
    pub async fn wait(&mut self, trouble: &Trouble) {
        let lanes = touched(trouble);
        let shares = |taken: &[Lane]| taken.is_empty() || taken.iter().any(|lane| lanes.contains(lane));
        let before: Vec<_> = self.0.extract_if(.., |(taken, _)| shares(taken)).collect();
        end(before).await;
    }

    pub async fn wait_for_all(&mut self) {
        end(std::mem::take(&mut self.0)).await;
    }

    pub fn take(&mut self, trouble: &Trouble, task: Task<()>) {
        self.0.push((touched(trouble), task));
    }

    /// Nobody is about to start a node, or to wake one.
    pub fn leaves_nodes_alone(&self) -> bool {
        self.0.iter().all(|(taken, _)| !taken.contains(&Lane::Nodes))
    }
}

async fn end(troubles: Vec<(&'static [Lane], Task<()>)>) {
    for (_, task) in troubles {
        if let Err(error) = task.join().await {
            tracing::error!("a trouble: {error}");
        }
    }
}
