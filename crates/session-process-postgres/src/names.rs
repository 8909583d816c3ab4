//! [`Names`]: what the store's things are called in the database, checked and quoted.

use sha2::{Digest, Sha256};

use crate::OpenError;

/// Bytes of an identifier that PostgreSQL keeps (`NAMEDATALEN` - 1); it cuts off the rest without an error.
const IDENTIFIER: usize = 63;
/// The longest name that a prefix is put before.
const LONGEST: &str = "session_by_sweep";
/// Entries of a notification: 40 bytes each, 4/3 of that in Base64 with line ends, and a head. PostgreSQL's limit is
/// 8,000 bytes.
pub(crate) const TOGETHER: usize = 140;

/// The same of moves, whose entries have 72 bytes.
const MOVES_TOGETHER: usize = 75;

/// What the database's clock says, in SQL: microseconds since 1970, as late as can be.
macro_rules! clock {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    };
}
pub(crate) use clock;

#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) schema: String,
    prefix: String,
}

impl Names {
    /// Without anything that could be taken for a part of a statement.
    pub(crate) fn plain() -> Self {
        Self {
            schema: String::from("s"),
            prefix: String::new(),
        }
    }

    pub(crate) fn new(schema: &str, prefix: &str) -> Result<Self, OpenError> {
        let check = |what, name: &str, most| {
            if name.contains('\0') || name.len() > most {
                return Err(OpenError::Name {
                    what,
                    name: name.to_owned(),
                    most,
                });
            }
            Ok(())
        };
        check("prefix", prefix, IDENTIFIER - LONGEST.len())?;
        check("schema", schema, IDENTIFIER)?;
        if schema.is_empty() {
            return Err(OpenError::Name {
                what: "schema",
                name: String::new(),
                most: IDENTIFIER,
            });
        }
        Ok(Self {
            schema: schema.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    pub(crate) fn quoted_schema(&self) -> String {
        quote(&self.schema)
    }

    /// A name with its schema, for use in a statement.
    pub(crate) fn qualified(&self, name: &str) -> String {
        format!("{}.{}", quote(&self.schema), self.bare(name))
    }

    /// A name without its schema: that of an index or a constraint.
    fn bare(&self, name: &str) -> String {
        quote(&format!("{}{name}", self.prefix))
    }

    fn hash(&self, of: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        // With their lengths: ("a", "bc") is not ("ab", "c").
        for part in [self.schema.as_bytes(), self.prefix.as_bytes(), of] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// The channel of notifications. Channels belong to the whole database, so it is made of schema and prefix.
    pub(crate) fn channel(&self) -> String {
        let hash = self.hash(b"channel");
        let hex: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("session_process_{hex}")
    }

    /// The key of an advisory lock.
    pub(crate) fn lock(&self, of: &str) -> i64 {
        let hash = self.hash(of.as_bytes());
        i64::from_be_bytes(hash[..8].try_into().expect("eight bytes"))
    }

    /// Puts the names into a statement.
    pub(crate) fn render(&self, sql: &str) -> String {
        const MAX: &str = "9223372036854775807";
        // The sum of `Lifetime::ends`.
        let ends = |expires: &str, idle: &str, accessed: &str| {
            format!(
                "least(coalesce({expires}, {MAX}), CASE WHEN {idle} IS NULL OR {idle} > {MAX} - greatest({accessed}, \
                 0) THEN {MAX} ELSE {accessed} + {idle} END)"
            )
        };
        let accessed = "greatest(s.accessed_at, g.accessed_at)";
        // What was changed is told to the other nodes, and to the caller, who needs no row for each change either.
        let entries = "string_agg(p.key || int8send(p.version), ''::bytea)";
        let part_of_rows = format!("(row_number() OVER () - 1) / {TOGETHER} AS part");
        let told = format!(
            "told AS (SELECT pg_notify('{}', $2::text || encode({entries}, 'base64')) FROM (SELECT key, version, \
             {part_of_rows} FROM changed) AS p GROUP BY p.part)",
            self.channel()
        );
        let replaced = [
            ("{session}", self.qualified("session")),
            ("{sessions}", self.qualified("sessions")),
            ("{sequence}", self.qualified("session_range")),
            (
                "{sequence_literal}",
                format!("{}::regclass", literal(&self.qualified("session_range"))),
            ),
            ("{pkey}", self.bare("session_pkey")),
            ("{lock}", self.qualified("lock")),
            ("{locks}", self.qualified("locks")),
            ("{lock_pkey}", self.bare("lock_pkey")),
            ("{lock_token}", self.qualified("lock_token")),
            (
                "{lock_token_literal}",
                format!("{}::regclass", literal(&self.qualified("lock_token"))),
            ),
            // As late as can be, where {now} is the same for a whole statement.
            ("{clock}", concat!("(", clock!(), " + $1::bigint)").to_owned()),
            ("{by_user}", self.bare("session_by_user")),
            ("{by_group}", self.bare("session_by_group")),
            ("{by_sweep}", self.bare("session_by_sweep")),
            ("{by_first}", self.bare("session_by_first")),
            ("{channel_literal}", literal(&self.channel())),
            (
                "{columns}",
                "key, version, epoch, born, user_id, group_id, label, created_at, accessed_at, expires_at, \
                 idle_timeout, attributes, first_key"
                    .to_owned(),
            ),
            // A subquery that stands on its own is evaluated once for a statement. A CTE is for those that need the same time
            // in several places: it adds about a fifth to a lone load.
            ("{now}", concat!("SELECT ", clock!(), " + $1::bigint AS now").to_owned()),
            (
                "{edited_end}",
                ends(
                    "CASE WHEN g.sets & 8 <> 0 THEN g.expires_at ELSE s.expires_at END",
                    "CASE WHEN g.sets & 8 <> 0 THEN g.idle_timeout ELSE s.idle_timeout END",
                    accessed,
                ),
            ),
            // Attributes that have expired go with an edit: where there may be some, they must have been looked at.
            (
                "{editable_until}",
                "CASE WHEN g.attributes IS NULL THEN least(s.ends_at, s.attributes_end) ELSE s.ends_at END".to_owned(),
            ),
            // What a save and an edit set in the same way.
            (
                "{edited_state}",
                "attributes = coalesce(g.attributes, s.attributes), \
                 attributes_end = CASE WHEN g.attributes IS NULL THEN s.attributes_end ELSE g.attributes_end END, \
                 snapshot_kind = CASE WHEN g.sets & 16 <> 0 THEN g.kind ELSE s.snapshot_kind END, \
                 snapshot_schema = CASE WHEN g.sets & 16 <> 0 THEN g.schema ELSE s.snapshot_schema END, \
                 snapshot = CASE WHEN g.sets & 16 <> 0 THEN g.snapshot ELSE s.snapshot END"
                    .to_owned(),
            ),
            ("{touched_end}", ends("s.expires_at", "s.idle_timeout", accessed)),
            ("{created_end}", ends("g.expires_at", "g.idle_timeout", "t.now")),
            // After 65,536 changes another number is drawn, which nobody knows beforehand: attributes without a version
            // have that one then, by `born`.
            (
                "{next}",
                format!(
                    "CASE WHEN (u.version + 1) & 65535 = 0 THEN nextval({}::regclass) << 16 ELSE u.version + 1 END",
                    literal(&self.qualified("session_range"))
                ),
            ),
            // As `TOGETHER` go into one notification. By the place in the arrays, which is cheaper than to count.
            ("{part}", format!("(g.nth - 1) / {TOGETHER} AS part")),
            (
                "{part_of_rows}",
                format!("(row_number() OVER () - 1) / {TOGETHER} AS part"),
            ),
            (
                "{parts}",
                format!(
                    "parts AS (SELECT {entries} AS entries FROM changed AS p GROUP BY p.part) SELECT entries, \
                     pg_notify('{}', $2::text || encode(entries, 'base64')) FROM parts",
                    self.channel()
                ),
            ),
            ("{moves_together}", MOVES_TOGETHER.to_string()),
            ("{told}", told),
        ];
        // In one pass, so that a name with braces in it is left alone.
        let mut rendered = String::with_capacity(sql.len() * 2);
        let mut rest = sql;
        while let Some(at) = rest.find('{') {
            rendered.push_str(&rest[..at]);
            rest = &rest[at..];
            match replaced.iter().find(|(placeholder, _)| rest.starts_with(placeholder)) {
                Some((placeholder, text)) => {
                    rendered.push_str(text);
                    rest = &rest[placeholder.len()..];
                }
                None => {
                    rendered.push('{');
                    rest = &rest[1..];
                }
            }
        }
        rendered.push_str(rest);
        rendered
    }
}

pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL writes it, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let text = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", text.replace('\\', "\\\\"))
    } else {
        format!("'{text}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_postgresql_would_cut_off_are_refused() {
        assert!(Names::new("s", &"p".repeat(47)).is_ok());
        assert!(Names::new("s", &"p".repeat(48)).is_err());
        assert!(Names::new("s", &"é".repeat(24)).is_err());
        assert!(Names::new(&"s".repeat(64), "").is_err());
        assert!(Names::new("", "").is_err());
        assert!(Names::new("a\0", "").is_err());
    }

    #[test]
    fn a_name_is_quoted_and_its_braces_are_left_alone() {
        let names = Names::new("a\"{session}", "x%{now}'\\").unwrap();
        assert_eq!(names.qualified("session"), "\"a\"\"{session}\".\"x%{now}'\\session\"");
        assert_eq!(
            names.render("DROP TABLE {session}"),
            format!("DROP TABLE {}", names.qualified("session"))
        );
        assert!(
            names
                .render("{sequence_literal}")
                .starts_with(" E'\"a\"\"{session}\".\"x%{now}''\\\\session_range\"'")
        );
    }

    #[test]
    fn channels_and_locks_of_two_stores_differ() {
        let (one, other) = (Names::new("a", "bc").unwrap(), Names::new("ab", "c").unwrap());
        assert_ne!(one.channel(), other.channel());
        assert_ne!(one.lock("x"), other.lock("x"));
    }
}
