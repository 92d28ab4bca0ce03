//! What the driver does by itself, over fake shards that tell of sizes and loads.

use crate::{
    leader,
    support::{Cluster, node, run},
};
use quorate_placement::planner::why::Inputs;
use quorate_proto::{
    Key, ShardId, Tempo,
    placement::{
        Cut, Operation, OperationState, PlacementDecision, PlacementReply, PlacementRequest, ShardLoad,
    },
};
use std::{collections::BTreeSet, time::Duration};

async fn set(cluster: &Cluster, settings: &[(&str, &str)]) {
    for (name, value) in settings {
        let (name, value) = ((*name).to_owned(), (*value).to_owned());
        cluster.ask(PlacementRequest::SetSetting { name, value }).await;
    }
}

/// They look often, and begin soon.
const AWAKE: &[(&str, &str)] =
    &[("placement.look_every", "1s"), ("placement.merge_after", "5s"), ("placement.moves", "2")];

fn tell(cluster: &Cluster, shard: ShardId, bytes: u64, requests: u64, cut: Option<&str>) {
    let cut = cut.map(|at| Cut {
        at: Key::from(at),
        left_bytes: bytes / 2,
        right_bytes: bytes / 2,
        left_load: 500,
        right_load: 500,
    });
    let load = ShardLoad { reads: requests, writes: 0, load_cut: cut.clone(), size_cut: cut };
    cluster.shards.lock().loads.insert(shard, (bytes, load));
}

async fn starts(cluster: &Cluster) -> BTreeSet<Key> {
    cluster.map().await.values().map(|shard| shard.span.start.clone()).collect()
}

async fn begin_at(cluster: &Cluster, wanted: &[&str]) {
    let wanted: BTreeSet<Key> = wanted.iter().map(|at| Key::from(*at)).collect();
    for _ in 0..60 {
        if starts(cluster).await == wanted {
            return;
        }
        cluster.world.sleep(Duration::from_secs(1)).await;
    }
    panic!("{:?} instead of {wanted:?}", starts(cluster).await);
}

async fn decisions(cluster: &Cluster) -> Vec<PlacementDecision> {
    match cluster.ask(PlacementRequest::Decisions { limit: 0 }).await {
        PlacementReply::Decisions(all) => all,
        other => panic!("{other:?}"),
    }
}

/// Each says what was seen and chosen, and comes out again from what is kept with it.
async fn explained(cluster: &Cluster, schedulers: &[&str]) {
    let all = decisions(cluster).await;
    for scheduler in schedulers {
        let mut own = all.iter().filter(|decision| decision.scheduler == *scheduler).peekable();
        assert!(own.peek().is_some(), "no {scheduler} in {all:?}");
        for decision in own {
            let again = Inputs::replay(decision).expect("the same again").decision;
            assert_eq!((&again.seen, &again.chosen), (&decision.seen, &decision.chosen));
            assert!(again.candidates == decision.candidates && again.options == decision.options);
        }
    }
}

#[test]
fn what_is_large_or_busy_is_split_and_what_is_cold_merged_but_where_a_user_has_split() {
    run(61, 3, |cluster| async move {
        assert_eq!(cluster.do_it(Operation::Split { at: Key::from("d") }).await.state, OperationState::Done);
        set(&cluster, AWAKE).await;
        let second = cluster.map().await.values().find(|d| !d.span.start.is_empty()).unwrap().id;
        tell(&cluster, ShardId::FIRST, 300 << 20, 0, Some("b"));
        tell(&cluster, second, 10 << 20, 4000, Some("m"));
        begin_at(&cluster, &["", "b", "d", "m"]).await;
        // The driver's leader dies; the next one knows whose boundary is whose.
        let first = leader(&cluster).await;
        cluster.crash(first).await;
        cluster.world.sleep(Duration::from_secs(10)).await;
        cluster.up(first);
        cluster.shards.lock().loads.clear();
        begin_at(&cluster, &["", "d"]).await;
        cluster.world.sleep(Duration::from_secs(30)).await;
        assert_eq!(starts(&cluster).await.len(), 2, "it stays");
        explained(&cluster, &["split", "merge"]).await;
        // The user takes it back, and asks again.
        assert_eq!(cluster.do_it(Operation::Merge { at: Key::from("d") }).await.state, OperationState::Done);
        begin_at(&cluster, &[""]).await;
    });
}

#[test]
fn a_split_that_a_user_asks_for_outlives_a_merge_that_is_under_way() {
    for seed in 0..6 {
        run(62 + seed, 3, move |cluster| async move {
            tell(&cluster, ShardId::FIRST, 300 << 20, 0, Some("b"));
            set(&cluster, AWAKE).await;
            begin_at(&cluster, &["", "b"]).await;
            cluster.shards.lock().loads.clear();
            // Whenever it comes: before the merge is decided, in its midst, or behind it.
            cluster.world.sleep(Duration::from_millis(5000 + seed * 400)).await;
            let status = cluster.do_it(Operation::Split { at: Key::from("b") }).await;
            assert_eq!(status.state, OperationState::Done, "{status:?}");
            cluster.world.sleep(Duration::from_secs(30)).await;
            begin_at(&cluster, &["", "b"]).await;
        });
    }
}

#[test]
fn a_node_that_is_new_gets_its_share_of_copies_and_leaders() {
    run(70, 4, |cluster| async move {
        for at in ["b", "d", "f", "h", "j", "l", "n"] {
            let split = cluster.do_it(Operation::Split { at: Key::from(at) }).await;
            assert_eq!(split.state, OperationState::Done);
        }
        set(&cluster, AWAKE).await;
        let even = |cluster: &Cluster| {
            let shards = cluster.shards.lock();
            (1..=4).map(node).all(|id| {
                let copies = shards.truth.values().filter(|s| s.descriptor.replica_on(id).is_some()).count();
                let led = shards.truth.values().filter(|s| s.leader == id).count();
                copies == 6 && led == 2
            })
        };
        for _ in 0..120 {
            if even(&cluster) {
                break;
            }
            cluster.world.sleep(Duration::from_secs(1)).await;
        }
        assert!(even(&cluster), "{:?}", cluster.map().await);
        explained(&cluster, &["balance", "balance leaders"]).await;
        let before = decisions(&cluster).await.len();
        let committed = cluster.committed();
        cluster.world.sleep(Duration::from_secs(60)).await;
        assert_eq!(decisions(&cluster).await.len(), before, "it stays so");
        assert_eq!(cluster.committed(), committed, "and costs nothing");
    });
}

#[test]
fn what_is_switched_off_does_not_happen() {
    run(71, 4, |cluster| async move {
        let off = [
            ("placement.split_by_size", "off"),
            ("placement.split_by_load", "off"),
            ("placement.merge", "off"),
            ("placement.balance_replicas", "off"),
            ("placement.balance_leaders", "off"),
        ];
        set(&cluster, &off).await;
        set(&cluster, AWAKE).await;
        tell(&cluster, ShardId::FIRST, 300 << 20, 9000, Some("b"));
        cluster.world.sleep(Duration::from_secs(20)).await;
        assert_eq!(starts(&cluster).await.len(), 1);
        set(&cluster, &[("placement.split_by_load", "on")]).await;
        begin_at(&cluster, &["", "b"]).await;
        tell(&cluster, ShardId::FIRST, 0, 0, None);
        cluster.world.sleep(Duration::from_secs(20)).await;
        assert_eq!(starts(&cluster).await.len(), 2);
        let schedulers: Vec<String> = decisions(&cluster).await.into_iter().map(|d| d.scheduler).collect();
        assert_eq!(schedulers, ["split", "found"]);
    });
}

/// Its disk takes long: it leads nothing while it does, not even the driver, whoever leads that, and as much as others again later.
#[test]
fn a_slow_node_leads_nothing_until_it_is_fast_again() {
    run(76, 3, |cluster| async move {
        for at in ["b", "d", "f", "h", "j"] {
            cluster.do_it(Operation::Split { at: Key::from(at) }).await;
        }
        set(&cluster, AWAKE).await;
        set(&cluster, &[("placement.merge", "off")]).await;
        cluster.world.sleep(Duration::from_secs(60)).await;
        let slow = leader(&cluster).await;
        let led = || cluster.shards.lock().truth.values().filter(|shard| shard.leader == slow).count();
        assert_eq!(led(), 2, "of six");
        let fast = Tempo { sync_micros: 3000, delay_micros: 0 };
        cluster.tempos.lock().extend((1..=3).map(|id| (node(id), fast)));
        cluster.tempos.lock().insert(slow, Tempo { sync_micros: 400_000, ..fast });
        cluster.world.sleep(Duration::from_secs(60)).await;
        let second = leader(&cluster).await;
        assert!(led() == 0 && second != slow);
        let PlacementReply::Nodes(told) = cluster.ask(PlacementRequest::Nodes).await else { panic!() };
        let shown: Vec<_> = told.iter().filter(|status| !status.slow.is_empty()).collect();
        assert!(shown.len() == 1 && shown[0].info.id == slow, "{told:?}");
        assert!(shown[0].slow.contains("durable after 400 ms, those of others after 3 ms"), "{told:?}");
        cluster.crash(second).await;
        cluster.up(second);
        cluster.world.sleep(Duration::from_secs(90)).await;
        assert!(led() == 0 && leader(&cluster).await != slow, "also when another one begins to judge");
        cluster.tempos.lock().insert(slow, fast);
        cluster.world.sleep(Duration::from_secs(120)).await;
        assert_eq!(led(), 2, "of six");
        explained(&cluster, &["slow nodes", "balance leaders"]).await;
    });
}
