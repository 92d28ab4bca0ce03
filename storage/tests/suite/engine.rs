//! What every engine must do.

use crate::{Subject, on_every_engine};
use bytes::Bytes;
use quorate_storage::Family::{Data, Intent, Meta, Record};
use quorate_storage::{Engine, Family, FamilyRange, Snapshot, StorageError, WriteBatch};

on_every_engine!(
    families_are_apart,
    later_operations_win,
    snapshots_stand_still,
    ranges_go,
    iterators_keep_their_bounds,
    cursors_move,
    seek_prefix_stays_in_its_prefix,
    ingest_replaces_at_once,
    ingest_refuses_disorder,
    dropped_ingest_leaves_nothing,
    ingest_batch_wins_over_rows,
    sizes_grow,
    empty_keys_and_values,
    concurrent_use,
);

fn put(engine: &dyn Engine, family: Family, rows: &[(&str, &str)]) {
    let mut batch = WriteBatch::new();
    for (key, value) in rows {
        batch.put(family, key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    engine.write(&batch).unwrap();
}

fn range(family: Family, start: &str, end: Option<&str>) -> FamilyRange {
    let own = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    FamilyRange { family, start: own(start), end: end.map(own) }
}

fn all(snapshot: &dyn Snapshot, family: Family) -> String {
    list(snapshot, family, "", None, false)
}

fn list(snapshot: &dyn Snapshot, family: Family, start: &str, end: Option<&str>, reverse: bool) -> String {
    let pairs = snapshot.iter(family, start.as_bytes(), end.map(str::as_bytes), reverse);
    let text = |raw: &Bytes| String::from_utf8(raw.to_vec()).unwrap();
    let pairs: Vec<String> =
        pairs.map(Result::unwrap).map(|(k, v)| format!("{}={}", text(&k), text(&v))).collect();
    pairs.join(" ")
}

fn families_are_apart(s: Subject) {
    for (family, value) in Family::ALL.into_iter().zip(["d", "i", "r", "m"]) {
        put(&*s.engine, family, &[("k", value)]);
    }
    let snapshot = s.engine.snapshot();
    assert_eq!(all(&*snapshot, Data), "k=d");
    assert_eq!(all(&*snapshot, Intent), "k=i");
    assert_eq!(all(&*snapshot, Record), "k=r");
    assert_eq!(all(&*snapshot, Meta), "k=m");
    let mut batch = WriteBatch::new();
    batch.delete_range(range(Intent, "", None));
    s.engine.write(&batch).unwrap();
    assert_eq!(s.engine.get(Intent, b"k").unwrap(), None);
    assert_eq!(s.engine.get(Record, b"k").unwrap().unwrap(), "r");
    assert_eq!(list(&*s.engine.snapshot(), Data, "", None, true), "k=d");
}

fn later_operations_win(s: Subject) {
    put(&*s.engine, Data, &[("a", "0"), ("b", "0"), ("c", "0")]);
    let mut batch = WriteBatch::new();
    batch.put(Data, "a", "1");
    batch.put(Data, "a", "2");
    batch.put(Data, "b", "1");
    batch.delete(Data, "b");
    batch.delete_range(range(Data, "c", Some("d")));
    batch.put(Data, "c", "again");
    s.engine.write(&batch).unwrap();
    assert_eq!(all(&*s.engine.snapshot(), Data), "a=2 c=again");
    let mut batch = WriteBatch::new();
    batch.put(Data, "cc", "1");
    batch.delete_range(range(Data, "c", Some("d")));
    s.engine.write(&batch).unwrap();
    assert_eq!(all(&*s.engine.snapshot(), Data), "a=2");
}

fn snapshots_stand_still(s: Subject) {
    put(&*s.engine, Data, &[("a", "1"), ("b", "1")]);
    let old = s.engine.snapshot();
    put(&*s.engine, Data, &[("a", "2"), ("c", "2")]);
    let mut batch = WriteBatch::new();
    batch.delete(Data, "b");
    s.engine.write(&batch).unwrap();
    s.engine.flush().unwrap();
    let mut ingest = s.engine.ingest().unwrap();
    ingest.add(Data, b"d", b"3").unwrap();
    ingest.commit(&[range(Data, "", None)], &WriteBatch::new()).unwrap();
    assert_eq!(all(&*old, Data), "a=1 b=1");
    assert_eq!(old.get(Data, b"a").unwrap().unwrap(), "1");
    assert_eq!(old.get(Data, b"c").unwrap(), None);
    assert_eq!(all(&*s.engine.snapshot(), Data), "d=3");
    let engine = s.engine;
    drop(engine);
    assert_eq!(all(&*old, Data), "a=1 b=1", "a snapshot keeps its engine");
}

fn ranges_go(s: Subject) {
    put(&*s.engine, Record, &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    s.engine.flush().unwrap();
    let mut batch = WriteBatch::new();
    batch.delete_range(range(Record, "b", Some("d")));
    batch.delete_range(range(Record, "x", Some("a"))); // Upside down: nothing.
    batch.delete_range(range(Record, "a", Some("a"))); // Empty: nothing.
    s.engine.write(&batch).unwrap();
    assert_eq!(all(&*s.engine.snapshot(), Record), "a=1 d=1");
    let mut batch = WriteBatch::new();
    batch.delete_range(range(Record, "b", None));
    s.engine.write(&batch).unwrap();
    assert_eq!(all(&*s.engine.snapshot(), Record), "a=1");
}

fn iterators_keep_their_bounds(s: Subject) {
    put(&*s.engine, Data, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    put(&*s.engine, Intent, &[("b", "x")]);
    let snapshot = s.engine.snapshot();
    assert_eq!(list(&*snapshot, Data, "b", Some("d"), false), "b=2 c=3");
    assert_eq!(list(&*snapshot, Data, "b", Some("d"), true), "c=3 b=2");
    assert_eq!(list(&*snapshot, Data, "aa", None, false), "b=2 c=3 d=4");
    assert_eq!(list(&*snapshot, Data, "aa", None, true), "d=4 c=3 b=2");
    assert_eq!(list(&*snapshot, Data, "c", Some("b"), false), "");
    assert_eq!(list(&*snapshot, Data, "c", Some("c"), true), "");
    assert_eq!(list(&*snapshot, Data, "e", None, true), "");
}

fn cursors_move(s: Subject) {
    put(&*s.engine, Data, &[("a", "0"), ("b", "1"), ("d", "2"), ("f", "3"), ("h", "4")]);
    let snapshot = s.engine.snapshot();
    let mut c = snapshot.cursor(Data, b"b", Some(b"g")).unwrap();
    assert!(c.first().unwrap());
    assert_eq!((c.key(), c.value()), (&b"b"[..], &b"1"[..]));
    assert!(c.seek(b"c").unwrap());
    assert_eq!(c.key(), b"d");
    assert!(c.next().unwrap());
    assert_eq!(c.key(), b"f");
    assert!(!c.next().unwrap(), "h is out of bounds");
    assert!(c.seek_before(b"f").unwrap());
    assert_eq!(c.key(), b"d");
    assert!(c.seek_before(b"zzz").unwrap());
    assert_eq!(c.key(), b"f");
    assert!(c.prev().unwrap());
    assert_eq!(c.key(), b"d");
    assert!(c.seek(b"").unwrap(), "a seek before the start lands on the start");
    assert_eq!(c.key(), b"b");
    assert!(!c.prev().unwrap(), "a is out of bounds");
    assert!(!c.seek_before(b"b").unwrap());
    assert!(!c.seek_before(b"").unwrap());
    assert!(!c.seek(b"g").unwrap());
    assert!(!c.seek(b"zzz").unwrap());
    assert!(c.last().unwrap());
    assert_eq!(c.value_bytes(), "3");
}

fn seek_prefix_stays_in_its_prefix(s: Subject) {
    let key = |name: &str, n: u64| [name.as_bytes(), &n.to_be_bytes()].concat();
    for n in [1u64, 5, 9] {
        let mut batch = WriteBatch::new();
        batch.put(Data, key("aaa", n), n.to_string());
        batch.put(Data, key("ccc", n), n.to_string());
        s.engine.write(&batch).unwrap();
        if n == 5 {
            s.engine.flush().unwrap();
        }
    }
    let snapshot = s.engine.snapshot();
    let seek = |name: &str, n: u64| {
        let found = snapshot.seek_prefix(Data, &key(name, n), name.len()).unwrap();
        found.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
    };
    assert_eq!(seek("aaa", 0).as_deref(), Some("1"));
    assert_eq!(seek("aaa", 5).as_deref(), Some("5"));
    assert_eq!(seek("aaa", 6).as_deref(), Some("9"));
    assert_eq!(seek("aaa", 10), None);
    assert_eq!(seek("bbb", 0), None);
    assert_eq!(seek("ccc", 9).as_deref(), Some("9"));
    // A prefix that is not the family's grouping.
    assert!(snapshot.seek_prefix(Data, b"aa", 2).unwrap().is_some());
    assert!(snapshot.seek_prefix(Data, b"ab", 1).unwrap().is_none());
    assert!(snapshot.seek_prefix(Data, b"ab", 0).unwrap().is_some());
}

fn ingest_replaces_at_once(s: Subject) {
    put(&*s.engine, Data, &[("a", "old"), ("b", "old"), ("m", "old"), ("z", "old")]);
    put(&*s.engine, Intent, &[("b", "old"), ("z", "old")]);
    put(&*s.engine, Meta, &[("applied", "1")]);
    s.engine.flush().unwrap();
    put(&*s.engine, Data, &[("c", "old")]);
    let mut ingest = s.engine.ingest().unwrap();
    for n in 0..5000 {
        ingest.add(Data, format!("b{n:05}").as_bytes(), b"new").unwrap();
        if n % 1000 == 0 {
            ingest.add(Intent, format!("b{n:05}").as_bytes(), b"new").unwrap();
        }
    }
    ingest.add(Data, b"c", b"new").unwrap();
    assert_eq!(s.engine.get(Data, b"c").unwrap().unwrap(), "old");
    let mut batch = WriteBatch::new();
    batch.put(Meta, "applied", "2");
    ingest.commit(&[range(Data, "b", Some("n")), range(Intent, "b", Some("n"))], &batch).unwrap();
    let snapshot = s.engine.snapshot();
    assert_eq!(list(&*snapshot, Data, "", Some("b1"), false).split(' ').count(), 5001);
    assert_eq!(list(&*snapshot, Data, "b04999", None, false), "b04999=new c=new z=old");
    assert_eq!(all(&*snapshot, Intent), "b00000=new b01000=new b02000=new b03000=new b04000=new z=old");
    assert_eq!(s.engine.get(Meta, b"applied").unwrap().unwrap(), "2");
    // Later writes win over what came in.
    put(&*s.engine, Data, &[("c", "newer")]);
    assert_eq!(s.engine.get(Data, b"c").unwrap().unwrap(), "newer");
}

fn ingest_refuses_disorder(s: Subject) {
    let mut ingest = s.engine.ingest().unwrap();
    ingest.add(Data, b"b", b"1").unwrap();
    assert!(matches!(ingest.add(Data, b"a", b"1"), Err(StorageError::Misuse(_))));
    assert!(matches!(ingest.add(Data, b"b", b"1"), Err(StorageError::Misuse(_))));
    ingest.add(Intent, b"a", b"1").unwrap();
}

fn dropped_ingest_leaves_nothing(s: Subject) {
    put(&*s.engine, Data, &[("a", "1")]);
    let mut ingest = s.engine.ingest().unwrap();
    ingest.add(Data, b"b", b"1").unwrap();
    drop(ingest);
    assert_eq!(all(&*s.engine.snapshot(), Data), "a=1");
}

fn ingest_batch_wins_over_rows(s: Subject) {
    let mut ingest = s.engine.ingest().unwrap();
    for key in ["a", "b", "c", "d"] {
        ingest.add(Data, key.as_bytes(), b"row").unwrap();
    }
    let mut batch = WriteBatch::new();
    batch.put(Data, "a", "batch");
    batch.delete(Data, "b");
    batch.put(Data, "c", "gone");
    batch.delete_range(range(Data, "c", None));
    batch.put(Data, "e", "batch");
    ingest.commit(&[], &batch).unwrap();
    assert_eq!(all(&*s.engine.snapshot(), Data), "a=batch e=batch");
    // Only ranges and a batch, no rows.
    let ingest = s.engine.ingest().unwrap();
    ingest.commit(&[range(Data, "", None)], &WriteBatch::new()).unwrap();
    assert_eq!(all(&*s.engine.snapshot(), Data), "");
    s.engine.ingest().unwrap().commit(&[], &WriteBatch::new()).unwrap();
}

fn sizes_grow(s: Subject) {
    let size = |start: &str, end: Option<&str>| s.engine.size(&range(Data, start, end)).unwrap();
    assert_eq!(size("", None), 0);
    // Bytes that do not compress.
    let mut seed = 1u64;
    let mut noise = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_be_bytes()
    };
    for half in ["a", "b"] {
        let mut batch = WriteBatch::new();
        for n in 0..1000 {
            let value: Vec<u8> = (0..125).flat_map(|_| noise()).collect();
            batch.put(Data, format!("{half}{n:04}"), value);
        }
        s.engine.write(&batch).unwrap();
    }
    s.engine.flush().unwrap();
    let (whole, half) = (size("", None), size("a", Some("b")));
    assert!((1_500_000..3_000_000).contains(&whole), "{}: {whole}", s.name);
    assert!((700_000..1_500_000).contains(&half), "{}: {half}", s.name);
    assert!(size("c", None) < 100_000);
}

fn empty_keys_and_values(s: Subject) {
    let mut batch = WriteBatch::new();
    batch.put(Intent, "", "");
    batch.put(Intent, vec![0xff; 40], "");
    s.engine.write(&batch).unwrap();
    assert_eq!(s.engine.get(Intent, b"").unwrap().unwrap(), "");
    assert_eq!(s.engine.snapshot().iter(Intent, b"", None, true).count(), 2);
    assert_eq!(s.engine.get(Data, b"").unwrap(), None);
}

fn concurrent_use(s: Subject) {
    // Two keys are always written together; no reader may see one without the other.
    let engine = &s.engine;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..500u32 {
                let mut batch = WriteBatch::new();
                batch.put(Data, "x", n.to_string());
                batch.put(Meta, "x", n.to_string());
                engine.write(&batch).unwrap();
                if n % 100 == 0 {
                    engine.flush().unwrap();
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..500 {
                let snapshot = engine.snapshot();
                assert_eq!(snapshot.get(Data, b"x").unwrap(), snapshot.get(Meta, b"x").unwrap());
            }
        });
    });
}
