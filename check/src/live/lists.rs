//! Lists that clients append to and read, a few of them at a time, in all the ways that SQL has for it.

use super::{
    run::{Plan, Workload},
    session::{Answer, Broken, Session, Step, number, transaction},
    tables::Tables,
};
use crate::{
    append::{Element, Key, Op},
    level::Level,
};
use anyhow::Result;
use rand::{Rng, rngs::StdRng};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

/// Lists in use at a time; each has a stretch of keys of its own, of which it uses one after the other.
const LISTS: i64 = 8;
const STRETCH: i64 = 1_000_000;
/// A list of so many elements gives way to an empty one.
const LENGTH: u64 = 30;

pub struct Lists {
    table: String,
    level: Level,
    /// The key in use of each stretch, and how many appends it was given.
    now: RefCell<Vec<(Key, u64)>>,
    next: Cell<Element>,
}

/// One statement, or two.
#[derive(Clone, Copy, Debug)]
enum Part {
    Read {
        key: Key,
    },
    /// With a lock that others wait for.
    ReadLocked {
        key: Key,
    },
    /// Several at once.
    ReadMany {
        keys: [Key; 3],
    },
    /// A key, the ones before and behind it, of which the latter is not there yet.
    ReadAround {
        key: Key,
    },
    Append {
        key: Key,
        element: Element,
    },
    /// Only to a list that is there.
    AppendIfThere {
        key: Key,
        element: Element,
    },
    /// Reads the list and writes it whole: only that nobody else has written meanwhile makes that an append.
    ReadAndWrite {
        key: Key,
        element: Element,
    },
}

impl Lists {
    /// With its table, of two lists for each shard.
    ///
    /// # Errors
    /// When that cannot be made.
    pub async fn create(session: &Session, tables: &Tables, number: usize, level: Level) -> Result<Self> {
        let splits = (2..LISTS).step_by(2).map(|list| list * STRETCH);
        let columns = "k int8 PRIMARY KEY, v text NOT NULL";
        Ok(Lists::new(tables.table(session, format!("lists_{number}"), columns, splits).await?, level))
    }

    fn new(table: String, level: Level) -> Self {
        let now = (0..LISTS).map(|list| (list * STRETCH + 1, 0)).collect();
        Lists { table, level, now: RefCell::new(now), next: Cell::new(1) }
    }

    fn key(&self, random: &mut StdRng) -> Key {
        self.now.borrow()[random.random_range(0..LISTS) as usize].0
    }

    /// A key to append to, with a new element.
    fn target(&self, random: &mut StdRng) -> (Key, Element) {
        let mut now = self.now.borrow_mut();
        let (key, given) = &mut now[random.random_range(0..LISTS) as usize];
        if *given == LENGTH {
            (*key, *given) = (*key + 1, 0);
        }
        *given += 1;
        self.next.set(self.next.get() + 1);
        (*key, self.next.get())
    }

    fn part(&self, random: &mut StdRng, alone: bool) -> Part {
        match random.random_range(0..20) {
            0..6 => Part::Read { key: self.key(random) },
            6 => Part::ReadLocked { key: self.key(random) },
            7..9 => Part::ReadMany { keys: [0; 3].map(|_| self.key(random)) },
            9..11 => Part::ReadAround { key: self.key(random) },
            // READ COMMITTED allows that to overwrite others' appends.
            11..14 if !alone && self.level != Level::ReadCommitted => {
                let (key, element) = self.target(random);
                Part::ReadAndWrite { key, element }
            }
            14 => {
                let (key, element) = self.target(random);
                Part::AppendIfThere { key, element }
            }
            _ => {
                let (key, element) = self.target(random);
                Part::Append { key, element }
            }
        }
    }

    fn sql(&self, part: Part) -> String {
        let table = &self.table;
        let read = format!("SELECT k, v FROM {table} WHERE k");
        match part {
            Part::Read { key } | Part::ReadAndWrite { key, .. } => format!("{read} = {key}"),
            Part::ReadLocked { key } => format!("{read} = {key} FOR UPDATE"),
            Part::ReadMany { keys: [a, b, c] } => format!("{read} IN ({a}, {b}, {c})"),
            Part::ReadAround { key } => format!("{read} BETWEEN {} AND {}", key - 1, key + 1),
            Part::Append { key, element } => format!(
                "INSERT INTO {table} AS t VALUES ({key}, '{element}') ON CONFLICT (k) DO UPDATE SET v = t.v || ' ' || excluded.v"
            ),
            Part::AppendIfThere { key, element } => {
                format!("UPDATE {table} SET v = v || ' {element}' WHERE k = {key}")
            }
        }
    }

    /// The second statement of a part that has read a list, or that it was not there.
    fn write_whole(&self, key: Key, element: Element, list: &[Element]) -> String {
        if list.is_empty() {
            return format!("INSERT INTO {} VALUES ({key}, '{element}')", self.table);
        }
        let all: Vec<String> = list.iter().chain([&element]).map(Element::to_string).collect();
        format!("UPDATE {} SET v = '{}' WHERE k = {key}", self.table, all.join(" "))
    }

    /// One part of a transaction; also what fails is noted, since it must not be seen by anybody.
    async fn run(&self, session: &Session, part: Part, did: &mut Vec<Op>) -> Result<(), Broken> {
        match session.one(&self.sql(part)).await {
            Ok(answer) => did.extend(done(part, &answer)?),
            Err(broken) => {
                did.extend(tried(part));
                return Err(broken);
            }
        }
        let (Part::ReadAndWrite { key, element }, Some(Op::Read { list, .. })) = (part, did.last()) else {
            return Ok(());
        };
        let write = self.write_whole(key, element, list);
        did.push(Op::Append { key, element });
        if session.one(&write).await?.count == 0 {
            did.pop();
        }
        Ok(())
    }

    /// All in one text, with its results behind it.
    async fn at_once(&self, session: &Session, parts: &[Part]) -> Step<Vec<Op>> {
        let body: Vec<String> = parts.iter().map(|part| self.sql(*part)).collect();
        let block = parts.len() > 1;
        let text = if block { format!("BEGIN; {}; COMMIT", body.join("; ")) } else { body.concat() };
        let answers = match session.run(&text).await {
            Ok(answers) => answers,
            Err(broken) => {
                let tried = parts.iter().copied().filter_map(tried).collect();
                return Step::broken_at_commit(session, tried, broken).await;
            }
        };
        if answers.len() != parts.len() + 2 * usize::from(block) {
            let broken = Broken::unreadable(&format!("{} answers to {text}", answers.len()));
            return Step::broken_at_commit(session, Vec::new(), broken).await;
        }
        let of_parts = answers.iter().skip(usize::from(block));
        let did: Result<Vec<Vec<Op>>, Broken> =
            parts.iter().zip(of_parts).map(|(part, a)| done(*part, a)).collect();
        match did {
            Ok(did) => Step::committed(did.concat()),
            Err(broken) => Step::broken_at_commit(session, Vec::new(), broken).await,
        }
    }

    /// All lists in the end.
    pub async fn last(&self, plan: &Plan) -> Result<BTreeMap<Key, Vec<Element>>> {
        let all = format!("SELECT k, v FROM {}", self.table);
        let lists = plan.settled(async |session| Ok(session.rows(&all, list).await?)).await?;
        Ok(lists.into_iter().collect())
    }
}

impl Workload for Lists {
    type Did = Vec<Op>;

    /// Mostly statement by statement, as applications do; the server runs what comes in one text again by itself.
    async fn step(&self, session: &Session, random: &mut StdRng) -> Step<Vec<Op>> {
        let alone = random.random_ratio(1, 4);
        let count = random.random_range(1..=5);
        let mut parts: Vec<Part> = (0..count).map(|_| self.part(random, alone)).collect();
        // In any order some would wait for one another in a circle, which takes long to find out.
        if random.random_ratio(7, 8) {
            parts.sort_by_key(|part| key(*part));
        }
        if alone {
            return self.at_once(session, &parts).await;
        }
        let body = async |did: &mut Vec<Op>| {
            for part in &parts {
                self.run(session, *part, did).await?;
            }
            Ok(())
        };
        transaction(session, Vec::new(), body).await
    }
}

fn key(part: Part) -> Key {
    match part {
        Part::Read { key } | Part::ReadLocked { key } | Part::ReadAround { key } => key,
        Part::ReadMany { keys } => keys[0],
        Part::Append { key, .. } | Part::AppendIfThere { key, .. } | Part::ReadAndWrite { key, .. } => key,
    }
}

/// What a part would have appended.
fn tried(part: Part) -> Option<Op> {
    match part {
        Part::Append { key, element } | Part::AppendIfThere { key, element } => {
            Some(Op::Append { key, element })
        }
        _ => None,
    }
}

/// What a part did by its (first) statement's answer.
fn done(part: Part, answer: &Answer) -> Result<Vec<Op>, Broken> {
    let keys = match part {
        Part::Append { .. } => return Ok(tried(part).into_iter().collect()),
        Part::AppendIfThere { .. } => {
            return Ok(tried(part).filter(|_| answer.count > 0).into_iter().collect());
        }
        Part::Read { key } | Part::ReadLocked { key } | Part::ReadAndWrite { key, .. } => vec![key],
        Part::ReadMany { keys } => keys.to_vec(),
        Part::ReadAround { key } => vec![key - 1, key, key + 1],
    };
    let mut found = BTreeMap::new();
    for row in &answer.rows {
        let (key, list) = list(row).ok_or_else(|| Broken::unreadable(&format!("{row:?}")))?;
        if found.insert(key, list).is_some() || !keys.contains(&key) {
            return Err(Broken::unreadable(&format!(
                "key {key}, twice or not asked for, in {:?}",
                answer.rows
            )));
        }
    }
    // A key without a row has an empty list.
    Ok(keys
        .into_iter()
        .map(|key| Op::Read { key, list: found.get(&key).cloned().unwrap_or_default() })
        .collect())
}

fn list(row: &[Option<String>]) -> Option<(Key, Vec<Element>)> {
    let elements = row.get(1)?.as_ref()?.split(' ').map(|element| element.parse().ok());
    Some((number(row, 0)?, elements.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn answer(rows: &[(&str, &str)], count: u64) -> Answer {
        let row = |(k, v): &(&str, &str)| vec![Some(k.to_string()), Some(v.to_string())];
        Answer { rows: rows.iter().map(row).collect(), count }
    }

    #[test]
    fn absent_rows_are_empty_lists() {
        let read = done(Part::ReadAround { key: 5 }, &answer(&[("5", "1 2"), ("4", "7")], 2)).unwrap();
        let expected = [(4, vec![7]), (5, vec![1, 2]), (6, vec![])].map(|(key, list)| Op::Read { key, list });
        assert_eq!(read, expected);
        assert!(done(Part::Read { key: 5 }, &answer(&[("5", "1 x")], 1)).is_err());
        assert!(done(Part::Read { key: 5 }, &answer(&[("6", "1")], 1)).is_err());
    }

    #[test]
    fn an_update_of_nothing_appends_nothing() {
        let part = Part::AppendIfThere { key: 1, element: 9 };
        assert_eq!(done(part, &answer(&[], 0)).unwrap(), []);
        assert_eq!(done(part, &answer(&[], 1)).unwrap(), [Op::Append { key: 1, element: 9 }]);
    }

    #[test]
    fn keys_give_way_and_elements_are_new() {
        let lists = Lists::new("t".into(), Level::Serializable);
        let mut random = StdRng::seed_from_u64(1);
        let mut given: BTreeMap<Key, u64> = BTreeMap::new();
        let mut elements = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let (key, element) = lists.target(&mut random);
            *given.entry(key).or_default() += 1;
            assert!(elements.insert(element));
        }
        assert!(given.len() > 30 && given.values().all(|count| *count <= LENGTH));
    }

    #[test]
    fn read_committed_overwrites_nothing_that_it_has_read() {
        let lists = Lists::new("t".into(), Level::ReadCommitted);
        let mut random = StdRng::seed_from_u64(1);
        assert!((0..1000).all(|_| !matches!(lists.part(&mut random, false), Part::ReadAndWrite { .. })));
    }
}
