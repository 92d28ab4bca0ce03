//! Which copy is taken, and what is said to be missing.

use super::*;
use quorate_proto::{ShardId, Span};

const NOW: Timestamp = Timestamp::from_micros(100_000_000);
const FAREWELL: Duration = Duration::from_secs(6);

fn replica(node: u64) -> Replica {
    Replica { id: ReplicaId(10 + node), node: NodeId(node), role: ReplicaRole::Voter }
}

fn shard(nodes: &[u64]) -> ShardDescriptor {
    let replicas = nodes.iter().copied().map(replica).collect();
    ShardDescriptor { id: ShardId(7), span: Span::ALL, version: 4, config_epoch: 2, replicas }
}

/// A copy on `node` with a log up to that place, of the configurations given by nodes.
fn left(node: u64, term: u64, index: u64, configs: &[&[u64]]) -> Answer {
    let last = LogPosition { term, index };
    let nodes: BTreeSet<u64> = configs.iter().copied().flatten().copied().collect();
    Answer::Told(Box::new(Testimony {
        replica: replica(node),
        descriptor: shard(configs[0]),
        last,
        committed: last,
        applied: last,
        closed: Timestamp::from_micros(90_000_000),
        members: nodes.into_iter().map(replica).collect(),
        configs: configs.iter().map(|config| config.iter().map(|n| replica(*n).id).collect()).collect(),
        serves: false,
    }))
}

/// Silent for twenty seconds.
fn silent() -> Answer {
    Answer::Silent(Timestamp::from_micros(80_000_000), Duration::from_secs(20))
}

fn look(nodes: &[u64], answers: Vec<(u64, Answer)>) -> Survey {
    let answers = answers.into_iter().map(|(node, answer)| (NodeId(node), answer)).collect();
    survey(&Scene { shard: &shard(nodes), answers: &answers, now: NOW, farewell: FAREWELL })
}

fn obstacle(nodes: &[u64], answers: Vec<(u64, Answer)>) -> String {
    look(nodes, answers).plan.expect_err("not to be recovered")
}

#[test]
fn one_of_three_goes_on_and_an_interval_is_at_risk() {
    let of = &[&[1, 2, 3][..]];
    let plan = look(&[1, 2, 3], vec![(1, left(1, 5, 30, of)), (2, silent()), (3, silent())]).plan.unwrap();
    assert_eq!((plan.taken.node, plan.others.len(), plan.lost.len()), (NodeId(1), 0, 2));
    assert_eq!((plan.before, plan.after), ((4, 2), (5, 3)));
    let from = Timestamp::from_micros(90_000_000);
    // Six seconds behind the last word would be before what is known to be complete.
    assert_eq!(plan.loss, Loss::Interval { from, until: from, after: plan.last });
}

#[test]
fn the_newest_log_is_taken_as_an_election_would() {
    let of = &[&[1, 2, 3, 4, 5][..]];
    let answers =
        vec![(1, left(1, 4, 99, of)), (2, left(2, 5, 30, of)), (3, silent()), (4, silent()), (5, silent())];
    let plan = look(&[1, 2, 3, 4, 5], answers).plan.unwrap();
    assert_eq!(plan.taken.node, NodeId(2), "the later term counts before the length");
    assert_eq!(plan.others, [replica(1)]);
    assert!(plan.loss.is_possible());
}

#[test]
fn half_of_an_even_number_proves_all() {
    let of = &[&[1, 2, 3, 4][..]];
    let answers = vec![(1, left(1, 5, 30, of)), (2, left(2, 5, 31, of)), (3, silent()), (4, silent())];
    let plan = look(&[1, 2, 3, 4], answers).plan.unwrap();
    assert!(matches!(&plan.loss, Loss::Nothing(why) if why.contains("2 of 4 voters")), "{:?}", plan.loss);
}

/// A leader may have left the joint configuration behind, for the one that has lost its majority.
#[test]
fn each_of_two_configurations_must_prove_it() {
    let of = &[&[1, 2][..], &[1, 3, 4][..]];
    let answers = vec![(1, left(1, 5, 30, of)), (2, left(2, 5, 30, of)), (3, silent()), (4, silent())];
    let plan = look(&[1, 2], answers).plan.unwrap();
    assert!(plan.loss.is_possible(), "{:?}", plan.loss);
    let lost: Vec<NodeId> = plan.lost.iter().map(LostCopy::node).collect();
    assert_eq!(lost, [NodeId(3), NodeId(4)], "also those that the map does not know of");
}

#[test]
fn nothing_is_done_while_it_is_not_clear_what_is_lost() {
    let of = &[&[1, 2, 3][..]];
    let fresh = Answer::Silent(NOW, Duration::from_secs(9));
    let why = obstacle(&[1, 2, 3], vec![(1, left(1, 5, 30, of)), (2, silent()), (3, fresh)]);
    assert!(why.contains("node 3 has been silent for 9 s only"), "{why}");
    let hangs = Answer::Unclear("no answer".into());
    let why = obstacle(&[1, 2, 3], vec![(1, left(1, 5, 30, of)), (2, silent()), (3, hangs)]);
    assert!(why.contains("node 3 lives: no answer"), "{why}");
    let why = obstacle(&[1, 2, 3], vec![(1, left(1, 5, 30, of)), (2, left(2, 5, 30, of)), (3, silent())]);
    assert!(why.contains("quorum"), "{why}");
    let why = obstacle(&[1, 2, 3], vec![(1, silent()), (2, silent()), (3, silent())]);
    assert!(why.contains("no copy is left"), "{why}");
}

#[test]
fn a_node_that_has_lost_its_copy_counts_as_lost_though_it_lives() {
    let of = &[&[1, 2, 3][..]];
    let nothing = || Answer::Nothing("its disk is new".into());
    let plan = look(&[1, 2, 3], vec![(1, left(1, 5, 30, of)), (2, nothing()), (3, nothing())]).plan.unwrap();
    let Loss::Interval { until, .. } = plan.loss else { panic!("{:?}", plan.loss) };
    assert_eq!(until, NOW, "nobody knows since when");
}

#[test]
fn a_copy_that_has_missed_a_split_is_not_taken() {
    let of = &[&[1, 2, 3][..]];
    let mut behind = left(1, 5, 30, of);
    if let Answer::Told(testimony) = &mut behind {
        testimony.descriptor.version = 3;
    }
    let why = obstacle(&[1, 2, 3], vec![(1, behind), (2, silent()), (3, silent())]);
    assert!(why.contains("missed a split"), "{why}");
}
