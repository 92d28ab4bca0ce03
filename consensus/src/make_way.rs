//! A node whose disk fills gives its leaderships to others that have room: new rows are refused where it leads.

use crate::Consensus;
use quorate_env::{Env, probe};
use quorate_proto::Room;
use std::sync::Weak;
use std::time::Duration;

/// Between two rounds, for leaderships that could not go yet or came meanwhile; and before the first, so that the others have
/// told of their disks: who hands over to one that cannot write either leaves the group without a leader.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs as long as the node.
pub(crate) async fn run(env: Env, consensus: Weak<Consensus>) {
    let mut space = env.space().watch();
    while space.wait_for(|space| space.room > Room::Plenty).await.is_ok() {
        env.sleep(AGAIN).await;
        let Some(consensus) = consensus.upgrade() else { return };
        if env.space().room() > Room::Plenty {
            consensus.make_way().await;
        }
    }
}

impl Consensus {
    async fn make_way(&self) {
        let leads = |group: &std::sync::Arc<crate::Group>| group.leadership().borrow().is_leader;
        let giving = self.groups().into_iter().filter(leads).filter_map(|group| {
            let heir = group.shared.roomy_heir()?;
            Some(async move {
                match group.transfer(heir).await {
                    Ok(()) => probe!("consensus.full_leader_gave_up"),
                    Err(error) => {
                        tracing::info!(shard = %group.shard(), %error, "the disk is full, and nobody took the leadership");
                    }
                }
            })
        });
        futures::future::join_all(giving).await;
    }
}
