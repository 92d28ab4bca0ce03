//! Where copies are to lie, over fake shards: what is asked for is carried out, kept through a change of the driver's leader, told
//! where it is not kept, and forgotten with what it was for.

use crate::{
    leader,
    support::{Cluster, node, run},
};
use quorate_placement::planner::why::Inputs;
use quorate_proto::{
    Key, NodeId, ShardDescriptor, ShardId, Span,
    placement::{
        ExplainPlacement, Explained, Operation, OperationState, PlacementChange, PlacementReply,
        PlacementRequest, PlacementStatus, read_constraints, read_tiers,
    },
};
use std::{collections::BTreeSet, time::Duration};

fn stand(cluster: &Cluster, zones: &[&str]) {
    for (id, tiers) in (1..).zip(zones) {
        cluster.localities.lock().insert(NodeId(id), read_tiers(tiers).expect("tiers"));
    }
}

/// The schedulers look often, and only what is about places moves anything.
async fn awake(cluster: &Cluster) {
    let settings = [
        ("placement.look_every", "1s"),
        ("placement.merge_after", "3s"),
        ("placement.balance_leaders", "off"),
        ("placement.moves", "2"),
    ];
    for (name, value) in settings {
        let (name, value) = (name.to_owned(), value.to_owned());
        cluster.ask(PlacementRequest::SetSetting { name, value }).await;
    }
    // Where nodes stand is told with their heartbeats.
    cluster.world.sleep(Duration::from_secs(2)).await;
}

fn nodes(shard: &ShardDescriptor) -> BTreeSet<u64> {
    shard.replicas.iter().map(|replica| replica.node.0).collect()
}

/// Until the shard that begins at the key is as it should be.
async fn until(
    cluster: &Cluster,
    at: &str,
    what: &str,
    wanted: impl Fn(&ShardDescriptor) -> bool,
) -> ShardDescriptor {
    for _ in 0..120 {
        let map = cluster.map().await;
        if let Some(shard) =
            map.into_values().find(|shard| shard.span.start == Key::from(at) && wanted(shard))
        {
            return shard;
        }
        cluster.world.sleep(Duration::from_secs(1)).await;
    }
    panic!("this never comes: {what}: {:?}", cluster.map().await);
}

async fn configure(cluster: &Cluster, change: Option<PlacementChange>) -> Vec<PlacementStatus> {
    let span = Span::new("b", "c");
    match cluster.ask(PlacementRequest::Configure { span, change }).await {
        PlacementReply::Rules(rules) => rules,
        other => panic!("{other:?}"),
    }
}

async fn rules(cluster: &Cluster) -> Vec<PlacementStatus> {
    match cluster.ask(PlacementRequest::Rules).await {
        PlacementReply::Rules(rules) => rules,
        other => panic!("{other:?}"),
    }
}

async fn explain(cluster: &Cluster, shard: ShardId, why_not: Option<NodeId>) -> String {
    let asked = ExplainPlacement { shard, why_not };
    match cluster.ask(PlacementRequest::Explain(asked)).await {
        PlacementReply::Explained(lines) => {
            let line = |Explained { about, text }: &Explained| format!("{about}: {text}\n");
            lines.iter().map(line).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Each decision of the scheduler comes out again, and tells what it was made from.
async fn replayed(cluster: &Cluster, scheduler: &str) {
    let PlacementReply::Decisions(all) = cluster.ask(PlacementRequest::Decisions { limit: 0 }).await else {
        panic!()
    };
    let own: Vec<_> = all.iter().filter(|decision| decision.scheduler == scheduler).collect();
    assert!(!own.is_empty(), "no {scheduler} in {all:?}");
    for decision in own {
        let again = Inputs::replay(decision).expect("the same again").decision;
        assert_eq!((&again.seen, &again.chosen), (&decision.seen, &decision.chosen));
        assert!(decision.told.starts_with("{\"place\":{"), "{}", decision.told);
    }
}

#[test]
fn copies_go_to_other_zones_one_by_one() {
    run(81, 5, |cluster| async move {
        stand(&cluster, &["zone=a", "zone=a", "zone=a", "zone=b", "zone=c"]);
        awake(&cluster).await;
        until(&cluster, "", "three zones", |shard| nodes(shard).is_superset(&[4, 5].into())).await;
        replayed(&cluster, "spread").await;
        // A node more in a zone that has a copy brings nothing.
        stand(&cluster, &["zone=a", "zone=b", "zone=a", "zone=b", "zone=c"]);
        cluster.world.sleep(Duration::from_secs(30)).await;
        let told = explain(&cluster, ShardId::FIRST, None).await;
        assert!(told.contains("spread: no two in one zone") && told.contains("decision "), "{told}");
    });
}

#[test]
fn what_is_asked_for_is_carried_out_kept_and_taken_back() {
    run(82, 6, |cluster| async move {
        let eu = "region=eu,zone=";
        let zones = ["a", "b", "c", "a", "b"].map(|zone| format!("{eu}{zone}"));
        let mut zones: Vec<&str> = zones.iter().map(String::as_str).collect();
        zones.push("region=us,zone=x");
        stand(&cluster, &zones);
        awake(&cluster).await;
        let change = PlacementChange {
            replicas: Some(5),
            constraints: Some(read_constraints("region=eu").unwrap()),
            leaders: Some(read_tiers("zone=c, zone=b").unwrap()),
        };
        let told = configure(&cluster, Some(change)).await;
        assert_eq!((told[0].rule.version, told[0].unfulfilled.is_empty()), (1, false), "{told:?}");
        let shard = until(&cluster, "b", "five copies", |shard| nodes(shard).len() == 5).await;
        assert_eq!((nodes(&shard), shard.span.end), ([1, 2, 3, 4, 5].into(), Some(Key::from("c"))));
        for _ in 0..60 {
            if rules(&cluster).await[0].unfulfilled.is_empty() {
                break;
            }
            cluster.world.sleep(Duration::from_secs(1)).await;
        }
        let status = rules(&cluster).await;
        assert!(status[0].unfulfilled.is_empty() && status[0].impossible.is_empty(), "{status:?}");
        assert_eq!(cluster.shards.lock().truth[&shard.id].leader, node(3));
        replayed(&cluster, "constraints").await;
        replayed(&cluster, "leader preference").await;

        // The next leader of the driver knows it, and operators are held to it.
        let first = leader(&cluster).await;
        cluster.crash(first).await;
        cluster.world.sleep(Duration::from_secs(10)).await;
        cluster.up(first);
        let away = Operation::MoveReplica { shard: shard.id, from: node(1), to: node(6) };
        let why = cluster.refused(PlacementRequest::Start(away)).await;
        assert!(why.contains("node 6 is not in region=eu"), "{why}");
        let why = cluster.refused(PlacementRequest::Start(Operation::Merge { at: Key::from("b") })).await;
        assert!(why.contains("different places"), "{why}");
        let why = explain(&cluster, shard.id, Some(node(6))).await;
        assert!(why.contains("node: node 6 is not in region=eu"), "{why}");

        // Nobody asks for it any more: three copies, and one shard.
        assert!(configure(&cluster, None).await.is_empty());
        until(&cluster, "", "one shard", |shard| shard.span == Span::ALL && nodes(shard).len() == 3).await;
    });
}

#[test]
fn what_cannot_be_is_told_and_done_as_far_as_it_can_be() {
    run(83, 4, |cluster| async move {
        stand(&cluster, &["region=eu", "region=eu", "region=us", "region=us"]);
        awake(&cluster).await;
        let asked = |replicas, constraints: &str| PlacementChange {
            replicas: Some(replicas),
            constraints: Some(read_constraints(constraints).unwrap()),
            leaders: None,
        };
        let request = PlacementRequest::Configure { span: Span::new("b", "c"), change: Some(asked(4, "")) };
        assert!(cluster.refused(request).await.contains("1, 3, 5 or 7"));
        let told = configure(&cluster, Some(asked(5, "region=us"))).await;
        assert!(told[0].impossible[0].contains("and there are 2"), "{told:?}");
        // Two of three copies can be where they are to be.
        until(&cluster, "b", "two there", |shard| nodes(shard).is_superset(&[3, 4].into())).await;
        let told = rules(&cluster).await;
        let open = told[0].unfulfilled.join("; ");
        assert!(open.contains("has 3 copies, of 5") && open.contains("is not in region=us"), "{open}");

        // Nothing lies there any more.
        assert_eq!(cluster.do_it(Operation::Split { at: Key::from("bb") }).await.state, OperationState::Done);
        cluster.ask(PlacementRequest::Forget(Span::new("b", "c"))).await;
        assert!(rules(&cluster).await.is_empty());
        until(&cluster, "", "one shard", |shard| shard.span == Span::ALL).await;
    });
}
