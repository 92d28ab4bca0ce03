//! Shards that have lost their quorum for good are brought back when an operator says so.

use crate::support::{Cluster, node, run};
use quorate_proto::{
    NodeId, ReplicaId, ShardId,
    placement::{
        Operation, OperationState, PlacementDecision, PlacementReply, PlacementRequest, Recovery,
        RecoveryPlan, Survey,
    },
};
use std::time::Duration;

const SHARD: ShardId = ShardId::FIRST;

async fn survey(cluster: &Cluster, shard: Option<ShardId>) -> Vec<Survey> {
    match cluster.ask(PlacementRequest::Survey(shard)).await {
        PlacementReply::Surveyed(surveys) => surveys,
        other => panic!("{other:?}"),
    }
}

async fn recoveries(cluster: &Cluster) -> Vec<Recovery> {
    match cluster.ask(PlacementRequest::Recoveries).await {
        PlacementReply::Recoveries(all) => all,
        other => panic!("{other:?}"),
    }
}

async fn decisions(cluster: &Cluster) -> Vec<PlacementDecision> {
    match cluster.ask(PlacementRequest::Decisions { limit: 100 }).await {
        PlacementReply::Decisions(all) => all,
        other => panic!("{other:?}"),
    }
}

async fn set(cluster: &Cluster, name: &str, value: &str) {
    cluster.ask(PlacementRequest::SetSetting { name: name.into(), value: value.into() }).await;
}

/// Copies on nodes 3, 4 and 5, of which the last two die; the driver goes on without them.
async fn bereft(cluster: &Cluster) -> RecoveryPlan {
    for (from, to) in [(1, 4), (2, 5)] {
        let operation = Operation::MoveReplica { shard: SHARD, from: node(from), to: node(to) };
        assert_eq!(cluster.do_it(operation).await.state, OperationState::Done);
    }
    assert!(survey(cluster, None).await.is_empty(), "it has its quorum");
    for id in [4, 5] {
        cluster.crash(node(id)).await;
    }
    cluster.world.sleep(Duration::from_secs(8)).await;
    let early = survey(cluster, None).await;
    let why = early[0].plan.as_ref().expect_err("they may live on, out of reach");
    assert!(why.contains("silent for"), "{why}");
    cluster.world.sleep(Duration::from_secs(4)).await;
    let mut surveys = survey(cluster, None).await;
    assert_eq!((surveys.len(), surveys[0].left.len(), surveys[0].lost.len()), (1, 1, 2));
    surveys.remove(0).plan.expect("it can be recovered")
}

fn recover(plan: &RecoveryPlan) -> Operation {
    Operation::Recover { plan: Box::new(plan.clone()), by: "somebody".into() }
}

fn held(cluster: &Cluster) -> Vec<(NodeId, ReplicaId)> {
    let shards = cluster.shards.lock();
    shards.copies.iter().filter(|((id, _), _)| *id == SHARD).map(|((_, n), (id, _))| (*n, *id)).collect()
}

#[test]
fn a_shard_goes_on_from_the_copy_that_is_left() {
    run(51, 6, |cluster| async move {
        let plan = bereft(&cluster).await;
        assert_eq!(plan.taken.node, node(3));
        assert!(plan.loss.is_possible(), "{:?}", plan.loss);
        let status = cluster.do_it(recover(&plan)).await;
        assert_eq!(status.state, OperationState::Done, "{status:?}");
        let now = cluster.map().await[&SHARD].clone();
        let [alone] = &now.replicas[..] else { panic!("{now:?}") };
        assert_eq!((alone.node, now.epochs()), (node(3), plan.after));
        assert!(plan.ended().all(|member| member.id != alone.id), "under an id that nobody had");

        let all = recoveries(&cluster).await;
        let [certificate] = &all[..] else { panic!("{all:?}") };
        assert_eq!((&certificate.plan, &*certificate.by, &*certificate.outcome), (&plan, "somebody", "done"));
        assert_eq!(certificate.reborn, Some(alone.id));
        let told = decisions(&cluster).await;
        let why = told.iter().find(|decision| decision.scheduler == "recover").expect("it is told why");
        assert_eq!((why.operation, &*why.outcome), (Some(status.id), "done"));
        assert!(why.seen.contains("may be missing"), "{why:?}");

        set(&cluster, "placement.look_every", "1s").await;
        set(&cluster, "placement.moves", "2").await;
        cluster.world.sleep(Duration::from_secs(60)).await;
        assert_eq!(cluster.map().await[&SHARD].voters().count(), 3, "it has its copies again");
        let again = survey(&cluster, Some(SHARD)).await;
        assert!(again[0].plan.is_err(), "{again:?}");
    });
}

/// The lost nodes were not dead: one of them takes itself for the leader, and has changed something since.
#[test]
fn old_members_that_come_back_are_not_believed_and_go() {
    run(52, 5, |cluster| async move {
        let plan = bereft(&cluster).await;
        {
            let mut shards = cluster.shards.lock();
            let (_, known) = shards.copies.get_mut(&(SHARD, node(4))).expect("its disk is there");
            known.version += 7;
            shards.deluded.insert((SHARD, node(4)));
            shards.keep_copies = true;
        }
        assert_eq!(cluster.do_it(recover(&plan)).await.state, OperationState::Done);
        let alone = cluster.map().await[&SHARD].clone();
        for id in [4, 5] {
            cluster.up(node(id));
        }
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(cluster.map().await[&SHARD], alone, "what an old member says is not learned");
        let PlacementReply::Map(map) =
            cluster.ask(PlacementRequest::WatchMap { after_version: 0, wait_millis: 0 }).await
        else {
            panic!("no map")
        };
        assert!(map.leaders.contains(&(SHARD, node(3))), "{:?}", map.leaders);
        cluster.shards.lock().keep_copies = false;
        cluster.world.sleep(Duration::from_secs(5)).await;
        assert_eq!(held(&cluster), [(node(3), alone.replicas[0].id)], "their copies are removed");
    });
}

#[test]
fn a_recovery_outlives_the_leader_that_began_it() {
    run(53, 5, |cluster| async move {
        let plan = bereft(&cluster).await;
        let leader = cluster.leaders()[0];
        assert_ne!(leader, plan.taken.node);
        let id = cluster.begin(recover(&plan)).await;
        let revived = |cluster: &Cluster| cluster.shards.lock().told.iter().any(|told| told == "3: Revive");
        while !revived(&cluster) {
            cluster.world.sleep(Duration::from_micros(100)).await;
        }
        // The copy is revived, and nobody hears of it.
        cluster.crash(leader).await;
        cluster.world.sleep(Duration::from_secs(5)).await;
        cluster.up(leader);
        let status = cluster.wait(id).await;
        assert_eq!(status.state, OperationState::Done, "{status:?}");
        let now = cluster.map().await[&SHARD].clone();
        assert!(held(&cluster).contains(&(node(3), now.replicas[0].id)), "{now:?}");
        assert_eq!(recoveries(&cluster).await.len(), 1);
    });
}

#[test]
fn what_was_not_shown_is_not_done() {
    run(54, 5, |cluster| async move {
        let plan = bereft(&cluster).await;
        let other = RecoveryPlan { last: quorate_proto::LogPosition { term: 1, index: 1 }, ..plan.clone() };
        let status = cluster.do_it(recover(&other)).await;
        assert!(
            matches!(&status.state, OperationState::Failed(why) if why.contains("look again")),
            "{status:?}"
        );
        assert_eq!(recoveries(&cluster).await[0].reborn, None);
        // A lost node is back: the shard has its quorum again.
        cluster.up(node(4));
        cluster.world.sleep(Duration::from_secs(3)).await;
        let status = cluster.do_it(recover(&plan)).await;
        assert!(matches!(&status.state, OperationState::Failed(why) if why.contains("quorum")), "{status:?}");
        assert_eq!(cluster.map().await[&SHARD].replicas.len(), 3);
    });
}
