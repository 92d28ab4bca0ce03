//! OIDs of our objects, as the catalogs and `RowDescription` show them. They are made from ids and never kept.

/// Where PostgreSQL begins to number what users create.
const FIRST: u32 = 16_384;
pub const PG_CATALOG: u32 = 11;
pub const PUBLIC: u32 = 2200;
pub const INFORMATION_SCHEMA: u32 = 13_000;
pub const QUORATE: u32 = 13_001;
/// The only role's.
pub const ROOT: u32 = 10;
pub const BTREE: u32 = 403;
/// The databases, by name; they show the same.
pub const DATABASES: [(u32, &str); 2] = [(5, "postgres"), (16_383, "quorate")];
/// Collation "C".
pub const COLLATION_C: u32 = 950;

/// Tables, sequences and schemas share one number space.
pub fn object(id: u64) -> u32 {
    FIRST.wrapping_add(id as u32)
}

pub fn database(name: &str) -> Option<u32> {
    DATABASES.iter().find(|(_, known)| *known == name).map(|(oid, _)| *oid)
}

pub fn table(id: u64) -> u32 {
    object(id)
}

/// The object that an OID was made from.
pub fn object_id(oid: u32) -> Option<u64> {
    oid.checked_sub(FIRST).map(u64::from)
}

fn pair(table: u64, part: u32) -> u32 {
    (table as u32).wrapping_mul(64).wrapping_add(part) & 0x3fff_ffff
}

pub fn index(table: u64, index: u32) -> u32 {
    0x4000_0000 | pair(table, index)
}

pub fn constraint(table: u64, index: u32) -> u32 {
    0x8000_0000 | pair(table, index)
}

pub fn default(table: u64, column: u32) -> u32 {
    0xc000_0000 | pair(table, column)
}

pub fn schema(name: &str, id: Option<u64>) -> u32 {
    match name {
        "pg_catalog" => PG_CATALOG,
        "public" => PUBLIC,
        "information_schema" => INFORMATION_SCHEMA,
        "quorate" => QUORATE,
        _ => object(id.unwrap_or_default()),
    }
}

/// System tables get theirs from their place in the registry.
pub fn system(position: usize) -> u32 {
    12_000 + position as u32
}
