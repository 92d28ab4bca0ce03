//! Where a shard ends that is to be merged with the next.

use anyhow::{Context, Result, bail};
use quorate_proto::{Key, ShardDescriptor, ShardId};
use quorate_sql::row::key::split_prefix;

/// The key that divides a shard from the one behind it. Both must hold keys of one index of a table on its two sides.
pub fn boundary(shards: &[ShardDescriptor], left: ShardId) -> Result<Key> {
    let left =
        shards.iter().find(|shard| shard.id == left).with_context(|| format!("there is no shard {left}"))?;
    let Some(at) = left.span.end.clone() else { bail!("shard {} is the last one", left.id) };
    match split_prefix(&at) {
        Some((_, _, rest)) if !rest.is_empty() => Ok(at),
        _ => bail!(
            "shard {} does not end within a table: the one behind it begins with another's keys",
            left.id
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::Span;
    use quorate_sql::row::index_prefix;

    #[test]
    fn only_parts_of_one_index_are_merged() {
        let row: Key = [index_prefix(7, 1), vec![1, 2]].concat().into();
        let index: Key = index_prefix(7, 2).into();
        let ends = [Some(row.clone()), Some(index), Some(Key::from("x")), None];
        let shards: Vec<ShardDescriptor> = (1..)
            .zip(ends)
            .map(|(id, end)| ShardDescriptor {
                id: ShardId(id),
                span: Span { start: Key::default(), end },
                version: 1,
                config_epoch: 1,
                replicas: Vec::new(),
            })
            .collect();
        assert_eq!(boundary(&shards, ShardId(1)).ok(), Some(row));
        assert!((2..=5).all(|left| boundary(&shards, ShardId(left)).is_err()));
    }
}
