//! A node that had better not lead gives its leaderships to others: one whose disk fills, for new rows are refused where it
//! leads, and one that drains. It still votes, and leads if nobody else can.

use crate::{Consensus, Group};
use quorate_env::{Env, probe};
use quorate_proto::Room;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Between two rounds, for leaderships that could not go yet or came meanwhile; and before the first, so that the others have
/// told of themselves: who hands over to one that cannot write either leaves the group without a leader.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs as long as the node.
pub(crate) async fn run(env: Env, consensus: Weak<Consensus>) {
    let (mut space, mut drains) = match consensus.upgrade() {
        Some(consensus) => (env.space().watch(), consensus.node.drains.subscribe()),
        None => return,
    };
    loop {
        let filled = async { space.wait_for(|space| space.room > Room::Plenty).await.is_ok() };
        let told = async { drains.wait_for(|drains| *drains).await.is_ok() };
        let goes_on = tokio::select! {
            biased;
            goes_on = filled => goes_on,
            goes_on = told => goes_on,
        };
        if !goes_on {
            return;
        }
        env.sleep(AGAIN).await;
        let Some(consensus) = consensus.upgrade() else { return };
        if !consensus.node.is_fit_to_lead() {
            consensus.make_way().await;
        }
    }
}

impl Consensus {
    /// From now on this node leads only where nobody else can, until it is told otherwise.
    pub fn drain(&self, drains: bool) {
        self.node.drains.send_if_modified(|now| std::mem::replace(now, drains) != drains);
    }

    async fn make_way(&self) {
        let leads = |group: &Arc<Group>| group.leadership().borrow().is_leader;
        let giving = self.groups().into_iter().filter(leads).filter_map(|group| {
            let heir = group.shared.fit_heir()?;
            Some(async move {
                match group.transfer(heir).await {
                    Ok(()) => probe!("consensus.made_way"),
                    Err(error) => {
                        tracing::info!(shard = %group.shard(), %error, "this node had better not lead, and nobody took the leadership");
                    }
                }
            })
        });
        futures::future::join_all(giving).await;
    }
}
